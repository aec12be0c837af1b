"""Error texts: which argument, what is wrong with its shortened value, and what to write instead."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from argument_kit import KEY, TO, Accepts, filled, message, prepared

from deliverykit import (
    Address,
    Attachment,
    Budget,
    By,
    CalendarQuota,
    DeliveryError,
    Env,
    Mailer,
    Message,
    Pause,
    Rate,
    Reconcile,
    RollingQuota,
    SendFailed,
    SendStatus,
    Weighted,
)
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.testing import ManualClock
from deliverykit.transports import HttpTransport, Timeouts

PLAIN = {"to": TO, "text": "t"}
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  that is the fault
MAILER = {"secret_key": KEY, "transport": Accepts()}


def _mailer(call: Callable[[Mailer], object]) -> Callable[[], object]:
    def run() -> object:
        with prepared() as mailer:
            filled(mailer, lambda value: value)
            return call(mailer)

    return run


WRONG: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    # a Mailer's own
    (lambda: Mailer(123), ("storage=123", "'sqlite:///mail.db'")),
    (lambda: Mailer("mail.db"), ("storage='mail.db'", "Path('mail.db')")),
    (lambda: Mailer("memory://", clock=5), ("clock=5", "ManualClock()")),
    (lambda: Mailer("memory://", clock=ManualClock), ("clock=the class ManualClock", "write ManualClock(…)")),
    (lambda: Mailer("memory://", transport=5), ("transport:", "httpx2 client")),
    (lambda: Mailer("memory://", back_off=5), ("back_off=5", "seconds(attempts)")),
    (lambda: Mailer("memory://", hooks=5), ("hooks:", "int")),
    (lambda: Mailer("memory://", register=SendGrid), ("register=the class SendGrid", "register=[MyProvider]")),
    (lambda: Mailer("memory://", timezone="GMT+5:30"), ("timezone='GMT+5:30'", "did you mean 'Asia/Kolkata'?")),
    (lambda: Mailer("memory://", timezone="IST"), ("timezone='IST'", "ambiguous", "'Asia/Kolkata'")),
    (lambda: Mailer("memory://", timezone="Asia/Kolkatta"), ("did you mean 'Asia/Kolkata'",)),
    (lambda: Mailer("memory://", pause=2), ("pause=2", "timedelta(seconds=2)", "timedelta(milliseconds=2)")),
    (lambda: Mailer("memory://", on_unsupported="ignore"), ("on_unsupported='ignore'", "'error' or 'warn' or 'drop'")),
    (lambda: Mailer("memory://", durability="ful"), ("durability='ful'", "did you mean 'full'?")),
    (lambda: Mailer("memory://", lease=timedelta.max), ("lease=", "too long", "timedelta(days=1)")),
    (lambda: Mailer("memory://", max_visible_recipients=0), ("max_visible_recipients=0", "from 1")),
    # messages
    (lambda: Message(to=("Ann", TO), text="t"), ("to='Ann'", f"Address('{TO}', 'Ann')")),
    (lambda: Message(to=", ".join([TO] * 10_000), text="t"), ("to:", "one address each")),
    (lambda: Message(**PLAIN, priority=2**70), ("priority=", "from -1,000 to 1,000")),
    (lambda: Message(**PLAIN, track_opens=1), ("track_opens=1", "True or False")),
    (lambda: Message(**PLAIN, send_at=NAIVE), ("send_at", "time zone")),
    (lambda: Message(**PLAIN, in_doubt="hodl"), ("in_doubt='hodl'", "did you mean 'hold'?")),
    (lambda: Message(**PLAIN, attachments=["a.pdf"]), ("attachments='a.pdf'", "Attachment(filename=…")),
    (lambda: Message(**PLAIN, headers=[1]), ("headers=a list of 1", "give a dict")),
    (lambda: Attachment(filename="a.txt", content="text"), ("content='text'", "bytes")),
    (lambda: Address(5), ("email=5", "Address('ann@example.org', 'Ann')")),
    # limits and routers
    (lambda: CalendarQuota(day="10"), ("day='10'", "whole number")),
    (lambda: CalendarQuota(day=5, counts="mails"), ("counts='mails'", "did you mean 'emails'?")),
    (lambda: CalendarQuota(day=5, keep={"a": 2}), ("keep['a']=2", "up to 1")),
    (lambda: RollingQuota(5, timedelta(seconds=1)), ("per=timedelta(seconds=1)", "Rate(…)")),
    (lambda: Pause(2), ("pause=2", "timedelta(seconds=2)")),
    (lambda: Rate(float("nan")), ("n=nan", "whole number")),
    (lambda: By("domian"), ("By field='domian'", "did you mean 'domain'?")),
    (lambda: Weighted({"a": 0}), ("Weighted weights['a']=0", "from 1")),
    (lambda: Budget(name="", limits=()), ("Budget name=''", "1 to 64 characters")),
    (lambda: Reconcile(within=5), ("within=5", "timedelta(hours=5)")),
    # providers and transports; no error shows a key
    (lambda: SendGrid(api_key="Bearer SG.very-secret"), ("SendGrid api_key", "'Bearer'", "give the key alone")),
    (lambda: Mailgun(api_key="Basic dmVyeS1zZWNyZXQ=", domain="a.org"), ("Mailgun api_key", "'Basic'")),
    (lambda: SendGrid(api_key=" SG.very-secret"), ("api_key", "blanks around it")),
    (lambda: SendGrid(api_key='"SG.very-secret"'), ("api_key", "quotation marks")),
    (lambda: SendGrid(api_key="SG.very secret"), ("api_key", "contains a blank")),
    (lambda: SendGrid(api_key="SG.x", base_url="https://api.sendgrid.com/v3"), ("base_url", "ends in /v3", "leave it out")),
    (lambda: ElasticEmail(api_key="x", base_url="https://a.org/v4/"), ("base_url", "ends in /v4")),
    (lambda: Mailgun(api_key="x", domain="mg example", region="eu"), ("Mailgun domain='mg example'", "'mg.example.com'")),
    (lambda: Mailgun(api_key="x", domain="localhost"), ("Mailgun domain='localhost'", "not a domain name", "'mg.example.com'")),
    (lambda: SES(region="mumbai", access_key_id="A", secret_access_key="B"), ("SES region", "'ap-south-1'")),
    (lambda: Env("SG.very-secret"), ("Env name", "not the secret itself")),
    (lambda: HttpTransport(timeouts=5), ("timeouts=5", "Timeouts(total=20)")),
    (lambda: Timeouts(read=-1), ("read", "out of range")),
    # methods
    (_mailer(lambda one: one.routes.add("x", ["aa"])), ("servers='aa'", "did you mean 'a'?")),
    (_mailer(lambda one: one.routes.add("x", ["a"], when_exhausted="failovr")), ("when_exhausted='failovr'", "'failover'?")),
    (_mailer(lambda one: one.routes.add("x", ["a"], strategy="round-robin")), ("strategy='round-robin'", "'round_robin'?")),
    (_mailer(lambda one: one.outbox.list(state="quued")), ("state='quued'", "'ready'")),
    (_mailer(lambda one: one.outbox.list(limit=2**70)), ("limit=", "out of range")),
    (_mailer(lambda one: one.outbox.prune(older_than=30)), ("older_than=30", "timedelta(days=30)")),
    (_mailer(lambda one: one.outbox.list(since="yesterday")), ("since='yesterday'", "datetime.now(UTC)")),
    (_mailer(lambda one: one.log.list(outcome="sent")), ("outcome='sent'", "'accepted'")),
    (_mailer(lambda one: one.budgets.get("bb")), ("name='bb'", "did you mean 'b'?")),
    (_mailer(lambda one: one.servers.remove("a", force="yes")), ("force='yes'", "True or False")),
    (_mailer(lambda one: one.worker(concurrency=True)), ("concurrency=True", "whole number")),
    (_mailer(lambda one: one.worker().drain(timeout=float("inf"))), ("timeout=inf", "finite")),
    (_mailer(lambda one: one.enqueue("text")), ("messages='text'", "[message]")),
    (_mailer(lambda one: one.send("text")), ("message='text'", "Message(to=…")),
    (_mailer(lambda one: one.account("acmee")), ("id='acmee'", "mailer.accounts.add()")),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[str(words[0]) for _, words in WRONG])
def test_an_error_says_what_to_write(call: Callable[[], object], words: tuple[str, ...]) -> None:
    with pytest.raises(DeliveryError) as caught:
        call()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert len(text) < 600
    assert "very-secret" not in text
    assert "dmVyeS1zZWNyZXQ" not in text


@pytest.mark.parametrize("timezone", ["Asia/Kolkata", ZoneInfo("Asia/Kolkata"), UTC])
def test_zones_are_taken_in_every_form(timezone: object) -> None:
    with Mailer("memory://", timezone=timezone, **MAILER) as mailer:  # type: ignore[arg-type]
        assert mailer.accounts.get("default").timezone in ("Asia/Kolkata", "UTC")
        assert mailer.accounts.add("acme", timezone=timezone)  # type: ignore[arg-type]


def test_a_path_is_an_sqlite_file(tmp_path: Path) -> None:
    with Mailer(tmp_path / "a%20b.db", **MAILER) as mailer:  # type: ignore[arg-type]
        mailer.accounts.add("acme", timezone="UTC")
    assert (tmp_path / "a%20b.db").exists()


def test_seconds_are_taken_for_time_limits() -> None:
    with prepared(max_wait=2, lease=30.5) as mailer:
        filled(mailer, lambda value: value)
        mailer.worker(poll=0.5).drain(timeout=5)
        mailer.servers.check("a", within=5)
    assert Timeouts(read=timedelta(seconds=2)) == Timeouts(read=2)


def test_none_means_absent_in_a_message() -> None:
    given = dict.fromkeys(("subject", "stream", "priority", "idempotency_key", "headers", "tags", "metadata", "cc", "in_doubt"))
    assert Message(**PLAIN, **given) == Message(**PLAIN)  # type: ignore[arg-type]


def test_a_stalled_message_says_who_must_act() -> None:
    with prepared() as mailer:
        filled(mailer, lambda value: value)
        assert mailer.send(message(), route="r")
        mailer.send(message(), route="r").raise_for_status()
        mailer.servers.pause("a", reason="holiday")
        result = mailer.send(message(), route="r")
        assert (result.status, result.stalled, bool(result)) == (SendStatus.QUEUED, True, False)
        assert result.reason == "no server of route 'r' can send: 'A' is PAUSED: holiday"
        with pytest.raises(SendFailed, match="no server sends it") as caught:
            result.raise_for_status()
        assert caught.value.result is result
        mailer.routes.update("r", when_exhausted="reject")
        refused = mailer.send(message(), route="r")
        assert (refused.status, refused.stalled, refused.reason) == (SendStatus.REJECTED, False, result.reason)


def test_a_quota_is_named_with_its_numbers() -> None:
    with prepared() as mailer:
        filled(mailer, lambda value: value)
        mailer.servers.update("a", quota=CalendarQuota(day=2, timezone="Asia/Kolkata"))
        assert mailer.send(message(), route="r")
        assert mailer.send(message(), route="r")
        queued = mailer.send(message(), route="r")
        assert queued.reason == "day quota of 'A' used up: 2 of 2, resets 2026-11-24 18:30 UTC"
        assert (bool(queued), queued.stalled) == (True, False)
        assert queued.reason in str(mailer.explain(message(), route="r"))
