"""Every journey, cut before and after everything it does to the world, and cancelled at each await; then resumed."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from engine_kit import NOON, message, messages

from deliverykit import CalendarQuota, SendStatus
from deliverykit.providers import SendGrid
from deliverykit.testing import Crash, CrashTest, Life, When
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.wire import HttpRequest, HttpResponse

LIMIT = 6
YES = HttpResponse(status=202, headers={"X-Message-Id": "taken"})
BAD = HttpResponse(status=400, body=b'{"errors": [{"message": "the to address is no address", "field": "personalizations"}]}')
BUSY = HttpResponse(status=503, body=b"busy")
FULL = HttpResponse(status=429, headers={"Retry-After": "60"}, body=b"{}")
HANG = TransportError(Stage.READ, "no answer")
REFUSED = TransportError(Stage.CONNECT, "refused")


def says(*answers: Any) -> Callable[[], Callable[[HttpRequest], HttpResponse]]:
    """These answers in order; from then on it takes everything."""

    def esp() -> Callable[[HttpRequest], HttpResponse]:
        left: Iterator[Any] = iter(answers)

        def answer(_: HttpRequest) -> HttpResponse:
            one = next(left, YES)
            if isinstance(one, Exception):
                raise one
            return one

        return answer

    return esp


def prepare(mailer: Any, **route: Any) -> None:
    """Two servers of six a day each, and a route over both."""
    for id_ in ("a", "b"):
        mailer.servers.add(id=id_, name=id_, provider=SendGrid(api_key=f"SG.{id_}"), sender=f"{id_}@example.com")
        assert mailer.servers.send_test(id_, to="me@example.org").proof
        mailer.servers.activate(id_)
        mailer.servers.update(id_, quota=CalendarQuota(day=LIMIT))
    mailer.routes.add("news", **{"servers": ["a", "b"], "when_exhausted": "failover", **route})


def prepared(**route: Any) -> Callable[[Any], None]:
    return lambda mailer: prepare(mailer, **route)


def exhausted(mailer: Any) -> None:
    prepare(mailer)
    for number in range(2 * LIMIT):
        assert mailer.send(message(number), route="news").status is SendStatus.ACCEPTED


def paced(mailer: Any) -> None:
    prepare(mailer, servers=["a"], when_exhausted="queue")
    mailer.servers.update("a", pause=timedelta(seconds=2))
    mailer.send(message("before"), route="news")


def with_mail(mailer: Any) -> None:
    prepare(mailer)
    mailer.enqueue(messages(4), route="news")


def untested(mailer: Any) -> None:
    mailer.servers.add(
        id="a", name="a", provider=SendGrid(api_key="SG.a"), sender="a@example.com", quota=CalendarQuota(day=LIMIT)
    )


KEYED = {"idempotency_key": "order 7"}
SENDS: dict[str, dict[str, Any]] = {
    "accepted": {},
    "queued": {"prepare": exhausted},
    "paced": {"prepare": paced},
    "failover": {"answer": says(FULL)},
    "failover, not sent": {"answer": says(REFUSED)},
    "retry": {"answer": says(BUSY, REFUSED)},
    "rejected": {"answer": says(BAD)},
    "in doubt": {"answer": says(HANG)},
    "in doubt, resend": {"answer": says(HANG, HANG), "fields": {"in_doubt": "resend"}, "resend": True},
    "reject route": {"prepare": prepared(when_exhausted="reject")},
    "reject route, not sent": {"prepare": prepared(when_exhausted="reject"), "answer": says(REFUSED, REFUSED)},
    "one server": {"named": {"server": "b"}},
    "one server, not sent": {"named": {"server": "b"}, "answer": says(REFUSED)},
    "key": {"fields": KEYED},
    "key, queued": {"fields": KEYED, "prepare": exhausted},
    "key, in doubt": {"fields": KEYED, "answer": says(HANG)},
    "later": {"fields": {"send_at": NOON + timedelta(hours=1)}},
}


def crash_test(
    name: str, colour: str, folder: Path | None, ways: tuple[When, ...] = (When.BEFORE, When.AFTER), times: int = 1
) -> CrashTest:
    given = dict(SENDS[name])
    named = given.pop("named", {"route": "news"})
    mail = message("x", **given.pop("fields", {}))

    def send(mailer: Any) -> None:
        for _ in range(times):
            mailer.send(mail, **named)

    async def awaited(mailer: Any) -> None:
        for _ in range(times):
            await mailer.send(mail, **named)

    return CrashTest(
        journey=send if colour == "blocking" else awaited, folder=folder, ways=ways, start=NOON, **{"prepare": prepare, **given}
    )


@pytest.mark.parametrize("colour", ["blocking", "awaited"])
@pytest.mark.parametrize("name", SENDS)
def test_send(name: str, colour: str, tmp_path: Path) -> None:
    """A file for each; what was told to the caller stands, no quota is passed, and nothing is twice on the wire."""
    assert crash_test(name, colour, tmp_path).run() >= 6


@pytest.mark.parametrize("name", ["accepted", "failover", "in doubt, resend"])
def test_send_in_memory(name: str) -> None:
    """The books outlive the journey here as well: another mailer of the process holds them."""
    assert crash_test(name, "awaited", None).run() >= 6


@pytest.mark.parametrize("name", ["key", "key, queued", "key, in doubt"])
def test_the_same_mail_handed_in_again_after_the_crash(name: str, tmp_path: Path) -> None:
    """The caller that was killed comes back with its key: one mail, whatever step the first call came to."""
    for life in crash_test(name, "blocking", tmp_path).lives():
        again = life.mailer.send(message("x", **KEYED), route="news")
        life.resume()
        life.check()
        mine = {one.id for one in life.submissions} | {mail.id for mail in life.mailer.outbox.list(limit=100)}
        assert mine == {again.id}, life


@pytest.mark.parametrize("colour", ["blocking", "awaited"])
def test_send_test(colour: str, tmp_path: Path) -> None:
    async def awaited(mailer: Any) -> None:
        await mailer.servers.send_test("a", to="me@example.org")

    def blocking(mailer: Any) -> None:
        mailer.servers.send_test("a", to="me@example.org")

    test = CrashTest(prepare=untested, journey=blocking if colour == "blocking" else awaited, folder=tmp_path, start=NOON)
    for life in test.lives():
        life.resume()
        life.check()
        assert len(life.submissions) <= 1
        proven = life.mailer.servers.get("a").proven
        assert not proven or life.submissions, f"{life}: proven without a test"


@pytest.mark.parametrize("colour", ["blocking", "awaited"])
def test_enqueue_is_all_or_nothing(colour: str, tmp_path: Path) -> None:
    mails = [message(number, idempotency_key=f"k{number}") for number in range(3)]

    async def awaited(mailer: Any) -> None:
        await mailer.enqueue(mails, route="news")

    test = CrashTest(
        prepare=prepare, journey=(lambda mailer: mailer.enqueue(mails, route="news")) if colour == "blocking" else awaited,
        folder=tmp_path, start=NOON,
    )  # fmt: skip
    for life in test.lives():
        assert sum(life.mailer.outbox.counts().values()) in (0, 3), life
        life.mailer.enqueue(mails, route="news")
        life.resume()
        life.check()
        assert len(life.submissions) == 3, life


@pytest.mark.parametrize(
    ("answer", "resend"),
    [((), False), ((FULL,), False), ((BUSY,), False), ((BAD, YES), False), ((HANG,), False), ((HANG, HANG), True)],
    ids=["accepted", "throttled", "busy", "rejected", "in doubt", "resend"],
)
def test_a_worker_with_several_mails(answer: Any, resend: bool, tmp_path: Path) -> None:
    """claim → mark → wire → settle, of four mails at once."""

    def with_mail(mailer: Any) -> None:
        prepare(mailer, in_doubt="resend" if resend else "hold")
        mailer.enqueue(messages(4), route="news")

    async def work(mailer: Any) -> None:
        await mailer.worker(concurrency=3).drain()

    waits = 0
    for life in CrashTest(
        prepare=with_mail, journey=work, answer=says(*answer), resend=resend, folder=tmp_path, start=NOON
    ).lives():
        life.resume()
        life.check()
        counts = life.mailer.outbox.counts()
        gone = {one.id for one in life.submissions}
        rows = {mail.id for mail in life.mailer.outbox.list(limit=9)}
        assert len(gone | rows) == 4, f"{life}: lost"
        assert counts["ready"] == counts["scheduled"] == 0, life
        waits += counts["in_doubt"] + sum(len(life.arrived(id_)) > 1 for id_ in gone)
    assert waits > 0, "no crash came upon the wire"


# -- cancelled ------------------------------------------------------------------------------------------


def left(life: Life) -> tuple[dict[str, int], int]:
    """What a cancelled call leaves: mail by state, and units spent."""
    counts = {state: count for state, count in life.mailer.outbox.counts().items() if count}
    return counts, sum(view.used for id_ in "ab" for view in life.mailer.servers.quota(id_))


@pytest.mark.parametrize("name", SENDS)
def test_a_cancelled_send_is_as_if_it_never_was_or_in_doubt_at_once(name: str, tmp_path: Path) -> None:
    """At each await, without waiting for a lease: nothing is left, or what was on the wire is in doubt."""
    prepared = 0
    for life in crash_test(name, "awaited", tmp_path, (When.CANCELLED,)).lives():
        counts, spent = left(life)
        arrived = [one for one in life.submissions if not one.surely_not]
        if not life.ended:
            break
        prepared = 2 * LIMIT if "queued" in name else 1 if name == "paced" else 0
        assert set(counts) <= {"in_doubt", "scheduled"}, f"{life}: {counts}"
        if life.told:
            continue  # cancelled too late: it had its answer
        if not arrived and "transmit" not in life.steps:
            assert not counts or name == "later", f"{life}: {counts}"
            assert spent == prepared, life
            again = life.mailer.send(message("again", **SENDS[name].get("fields", {})), route="news")
            assert again.repeated is False or name == "later", f"{life}: the key is not free"
        assert spent - prepared <= len(arrived) + counts.get("in_doubt", 0) + counts.get("scheduled", 0), life
        life.resume()
        life.check()


def test_cancelled_on_the_wire_is_in_doubt_at_once(tmp_path: Path) -> None:
    found = []
    for life in crash_test("accepted", "awaited", tmp_path, (When.CANCELLED,)).lives():
        if life.ended and life.steps[life.cut.step - 1] == "transmit":
            (row,) = life.mailer.outbox.in_doubt()
            found.append((row.server, row.reason))
    assert found == [("a", "it was cancelled while it was on the wire")]


def test_a_cancelled_worker_gives_back_what_it_holds(tmp_path: Path) -> None:
    """Its loop ends under it, at any await: no lease is left behind."""

    async def work(mailer: Any) -> None:
        await mailer.worker(concurrency=3).run()

    for life in CrashTest(prepare=with_mail, journey=work, folder=tmp_path, start=NOON, ways=(When.CANCELLED,)).lives():
        counts, spent = left(life)
        if life.cut.step > 12:
            break
        arrived = len(life.submissions)
        assert counts.get("leased", 0) == counts.get("sending", 0) == 0, f"{life}: {counts}"
        assert spent == arrived, life
        life.resume()
        life.check()


# -- the simulator itself ---------------------------------------------------------------------------------


def test_a_journey_that_submits_twice_is_found(tmp_path: Path) -> None:
    """The kit's own check: a caller without a key who tries again makes two mails; with a key that is forgotten, one twice."""
    test = crash_test("accepted", "blocking", tmp_path)
    with pytest.raises(AssertionError, match="was submitted 2 times"):
        for life in test.lives():
            life.resume()
            life.submissions.extend(life.submissions)
            life.check()


def test_a_lost_mail_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="is lost"):
        for life in crash_test("queued", "blocking", tmp_path).lives():
            life.resume()
            if life.told:
                life.told.append(("f" * 24, SendStatus.QUEUED))
            life.check()


def test_ports_that_fell_do_nothing_more(tmp_path: Path) -> None:
    steps = []

    def journey(mailer: Any) -> None:
        try:
            mailer.send(message("x"), route="news")
        except Crash:
            with pytest.raises(Crash):
                mailer.send(message("y"), route="news")
            raise

    for life in CrashTest(prepare=prepare, journey=journey, folder=tmp_path, start=NOON).lives():
        steps.append(len(life.steps))
        assert len(life.steps) <= life.cut.step
    assert max(steps) >= 5
