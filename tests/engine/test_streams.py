"""Streams: a share of a quota that is kept for one, which of them go first, and that none waits for another's backlog."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from attrs import define, field
from engine_kit import DAY, KEY, NOON, message, messages
from hypothesis import given, settings
from hypothesis import strategies as st

from deliverykit import Budget, CalendarQuota, ConfigurationError, Mailer, Message, RollingQuota, SendStatus
from deliverykit.engine.admission.admit import MARGIN, Candidates, admit
from deliverykit.engine.admission.gates import Gate
from deliverykit.providers import SendGrid
from deliverykit.records.route import WhenExhausted
from deliverykit.routers import Priority
from deliverykit.testing import ManualClock
from deliverykit.words.clock import NEVER, instant
from deliverykit.words.wire import HttpRequest, HttpResponse

# -- a share that is kept -------------------------------------------------------------------------------------

BEGIN = instant(datetime(2026, 5, 4, 12, 30, tzinfo=UTC))
QUOTAS = st.one_of(
    st.builds(
        CalendarQuota,
        hour=st.none() | st.integers(1, 12),
        day=st.integers(1, 20),
        timezone=st.just("UTC"),
        keep=st.sampled_from([{"t": 0.1}, {"t": 0.5}, {"t": 1}, {"t": 0.25, "u": 0.25}]),
    ),
    st.builds(RollingQuota, st.integers(1, 15), st.just(timedelta(hours=1)), keep=st.sampled_from([{"t": 0.2}, {"t": 0.5}])),
)
ASKED = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["", "n", "t", "t", "u"]), st.lists(st.integers(1, 3), min_size=1, max_size=12)),
        st.tuples(st.just("wait"), st.sampled_from([60_000, 1_800_000, 3_600_000, 86_400_000])),
    ),
    max_size=14,
)


def asked(quota: Any, stream: str, costs: list[int], record: dict, now: int) -> Any:
    gates = {"a": (Gate(0, "s:a/quota", quota, "a").for_stream(stream),)}
    candidates = Candidates(gates=gates, router=Priority(), when_exhausted=WhenExhausted.QUEUE)
    return admit(candidates, costs, [record], now)


def windows(quota: Any, record: dict, now: int) -> list[tuple[int, int, int]]:
    """Of each window: used, limit, and what of it is kept for ``t``, and for ``u``, rounded up by hand."""
    usage = quota.usage(record.get("s:a/quota", ()), now)
    return [
        (one.used, one.limit, sum(-(-one.limit * round(share * 100) // 100) for share in quota.keep.values())) for one in usage
    ]


@given(QUOTAS, ASKED)
@settings(max_examples=300)
def test_what_is_kept_for_a_stream_is_used_by_no_other(quota: Any, steps: list[tuple[str, Any]]) -> None:
    record: dict = {}
    now = BEGIN
    for stream, value in steps:
        if stream == "wait":
            now += value
            continue
        before = windows(quota, record, now)
        answer = asked(quota, stream, value, record, now)
        count = sum(grant.cost for grant in answer.grants)
        record = dict(answer.records[0]) if answer.grants else record
        kept = [
            min(limit, total - (-(-limit * round(quota.keep[stream] * 100) // 100) if stream in quota.keep else 0))
            for _, limit, total in before
        ]
        for (used, limit, _), mine in zip(before, kept, strict=True):
            assert not count or used + count <= limit - mine  # never over the limit, nor into what is kept for others
        if len(answer.grants) < len(value):  # and refused only where the next would be
            following = value[len(answer.grants)]
            assert (
                any(used + count + following > limit - mine for (used, limit, _), mine in zip(before, kept, strict=True))
                or answer.refusal.by == "the window ends"
            )
            at = answer.refusal.at
            if answer.refusal.by != "the window ends" and at < NEVER:
                assert not asked(quota, stream, [following], record, at - 1).grants
                assert asked(quota, stream, [following], record, at).grants
    if set(quota.keep) == {"t"}:  # the one it is kept for may use everything
        left = min(limit - used for used, limit, _ in windows(quota, record, now))
        answer = asked(quota, "t", [1] * (left + 1), record, now)
        assert len(answer.grants) == left or all(grant.until - MARGIN <= now for grant in answer.grants) or left < 0


def test_a_share_is_kept_on_servers_budgets_and_accounts(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=10, keep={"transactional": 0.15}))
    mailer.enqueue(messages(12, stream="news"))
    mailer.worker().drain()
    assert world.sandbox.count() == 8  # 1.5 is kept as 2
    other = mailer.send(message())
    assert (other.status, other.goes_at) == (SendStatus.QUEUED, (NOON + DAY).replace(hour=0, minute=0, second=0))
    reset = message(stream="transactional")
    assert mailer.explain(message(stream="news")).server is None
    assert mailer.explain(reset).server == "a"
    assert [mailer.send(reset).status for _ in range(3)] == ["accepted", "accepted", "queued"]
    (view,) = mailer.servers.quota("a")
    assert (view.used, view.limit) == (10, 10)
    budget = Budget(name="plan", limits=(RollingQuota(4, DAY, keep={"transactional": 0.5}),))
    mailer.servers.update("a", quota=None, budgets=[budget])
    assert mailer.outbox.cancel(route="default") == 6
    assert [mailer.send(message()).status for _ in range(3)] == ["accepted", "accepted", "queued"]
    assert [mailer.send(reset).status for _ in range(3)] == ["accepted", "accepted", "queued"]
    mailer.accounts.add("acme", timezone="UTC", quota=CalendarQuota(day=3, keep={"transactional": 0.3}))
    acme = mailer.account("acme")
    world.server(acme, "b")  # its test is mail as any
    assert [acme.send(message()).status for _ in range(2)] == ["accepted", "queued"]
    assert acme.send(reset).status == "accepted"


def test_what_was_counted_stays_when_a_share_is_set_or_lifted(world, restarted):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=4))
    assert all(mailer.send(message()) for _ in range(3))
    mailer.servers.update("a", quota=CalendarQuota(day=4, keep={"t": 0.25}))
    mailer = restarted()
    assert mailer.servers.get("a").limits == (CalendarQuota(day=4, keep={"t": 0.25}),)
    assert mailer.send(message()).status is SendStatus.QUEUED
    mailer.servers.update("a", quota=CalendarQuota(day=4))
    mailer.worker().drain()
    assert world.sandbox.count() == 4


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ({"t": 0}, "above 0"), ({"t": 1.1}, "up to 1"), ({"t": 0.6, "u": 0.5}, "more than the whole"),
        ({"t": True}, r"keep\['t'\]=True: expected a number"), ({"t": "0.1"}, r"keep\['t'\]='0.1': expected a number"),
        ({1: 0.1}, "keep key=1: expected text; give shares by stream"), (0.1, "keep=0.1: expected a mapping"),
    ],
)  # fmt: skip
def test_a_share_that_makes_no_sense_is_refused(keep, words):
    for make in (lambda: CalendarQuota(day=9, keep=keep), lambda: RollingQuota(9, DAY, keep=keep)):
        with pytest.raises(ConfigurationError, match=words):
            make()


# -- who goes first -------------------------------------------------------------------------------------------


@define
class Loopback:
    """An ESP that accepts everything after a while, and remembers which subject came when."""

    seconds: float = 0.0
    subjects: list[str] = field(factory=list)

    def send(self, request: HttpRequest) -> HttpResponse:
        self.subjects.append(str(request.body).partition('"subject":')[2].strip(' "')[:1])
        time.sleep(self.seconds)
        return HttpResponse(status=202, headers={"x-message-id": "x"})

    def close(self) -> None:
        """Nothing was opened."""


def furnished(path: Any, transport: Any, account: str = "", **limits: Any) -> Any:
    """A mailer that works over this transport; its server was proven before."""

    options = {"durability": "normal", "secret_key": KEY}
    clock = limits.pop("clock", None)
    given = {**options, **({"clock": clock} if clock else {})}
    with Mailer(f"sqlite:///{path}", transport=Loopback(), **given) as mailer:
        if account:
            mailer.accounts.add(account, timezone="UTC")
        mine = mailer.account(account) if account else mailer
        mine.servers.add(id="a", name="A", provider=SendGrid(api_key="SG.a"), sender="a@example.com")
        assert mine.servers.send_test("a", to="me@example.org").proof
        mine.servers.activate("a")
        mine.servers.update("a", **limits)
    return Mailer(f"sqlite:///{path}", transport=transport, **given)


def mails(letter: str, count: int, stream: str = "") -> list[Message]:
    return [Message(to=f"u{number}@example.org", subject=letter, text="…", stream=stream) for number in range(count)]


def test_one_slot_at_a_time_is_shared_between_streams(tmp_path):
    """A paced server: the first lane asked gets the slot. It must not be the same one for ever."""
    transport = Loopback()
    clock = ManualClock(NOON)
    with furnished(tmp_path / "mail.db", transport, clock=clock, pause=timedelta(seconds=2)) as mailer:
        mailer.enqueue(mails("n", 30, "news"))
        mailer.enqueue(mails("r", 6, "reset"))
        mailer.worker().drain(timedelta(seconds=40))
        assert abs(Counter(transport.subjects[:10])["r"] - 5) <= 1, transport.subjects
        transport.subjects.clear()
        mailer.routes.add("default", ["a"], first="reset")
        mailer.enqueue(mails("r", 12, "reset"))
        mailer.worker().drain(timedelta(seconds=40))
        assert Counter(transport.subjects[:12])["r"] in (8, 9, 10), transport.subjects
        assert mailer.routes.get("default").first == ("reset",)


@pytest.mark.parametrize("other", ["a stream", "an account"])
def test_a_backlog_does_not_delay_anothers_mail_beyond_its_turn(tmp_path, other):
    """20,000 wait in one lane, and what is handed in beside them goes after no more than what is in the worker's hands."""
    transport = Loopback(0.02)
    mailer = furnished(tmp_path / "mail.db", transport)
    with mailer:
        if other == "an account":
            furnished(tmp_path / "mail.db", transport, "acme").close()
        desk = mailer.account("acme") if other == "an account" else mailer
        mailer.enqueue(mails("n", 20_000, "news"))
        worker = mailer.worker(concurrency=20)
        thread = Thread(target=worker.run)
        thread.start()
        try:
            while len(transport.subjects) < 100:
                thread.join(0.01)
            desk.enqueue(mails("r", 10, "reset"))
            before = len(transport.subjects)  # counted from here: how long enqueue takes is the machine's affair
            while transport.subjects.count("r") < 10 and thread.is_alive() and len(transport.subjects) < 15_000:
                thread.join(0.01)
        finally:
            worker.stop()
            thread.join(30)
        between = transport.subjects[before : len(transport.subjects) - transport.subjects[::-1].index("r")]
        assert transport.subjects.count("r") == 10
        assert between.count("n") <= 20 * 6, between.count("n")
