"""An ESP that says "not now" for hours: asked ever more rarely, then all mail leaves; none is dead and no attempt is spent."""

from datetime import timedelta
from typing import Any

import pytest
from attrs import define, evolve, field
from engine_kit import ESPS, NOON, World, messages, used

from deliverykit import CalendarQuota
from deliverykit.testing import ManualClock
from deliverykit.transports import HttpTransport
from deliverykit.words.wire import HttpRequest, HttpResponse

MAILS = 30
AT_ONCE = 8
HOURS = timedelta(hours=6)
PROBES = [0, 1, 6, 21, 81, 141, 201, 261, 321]
"""In minutes: 1, 5, 15, then every 60 after the one before."""


@define
class Watched:
    """A transport that knows when each submission went, and may hide what an answer says about time."""

    clock: ManualClock
    hides: bool = False
    at: list[float] = field(factory=list)
    inner: HttpTransport = field(factory=HttpTransport)

    def send(self, request: HttpRequest) -> HttpResponse:
        self.at.append(self.clock.monotonic())
        response = self.inner.send(request)
        times = ("retry-after", "x-ratelimit-reset")
        kept = {name: value for name, value in response.headers.items() if name.lower() not in times}
        return evolve(response, headers=kept) if self.hides else response

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def watched(plain: World) -> Any:
    assert plain.clock is not None
    transport = Watched(plain.clock)
    yield transport
    transport.close()


def set_up(world: World, watched: Watched, esp: str) -> tuple[Any, Any]:
    world.server(world.mailer(), "a", esp, quota=CalendarQuota(month=1000))
    mailer = world.mailer(transport=watched)
    watched.at.clear()
    return mailer, mailer.enqueue(messages(MAILS))


def pass_time(world: World, mailer: Any, length: timedelta) -> None:
    """Work whenever something may go, for so long."""
    begun = world.clock.monotonic()
    while world.clock.monotonic() - begun < length.total_seconds():
        mailer.worker(concurrency=AT_ONCE).drain()
        (lane,) = mailer.outbox.lanes()
        now = NOON + timedelta(seconds=world.clock.monotonic())
        world.clock.set(max(lane.goes_at or now, now + timedelta(milliseconds=1)))


def all_left(world: World, mailer: Any, esp: str, ids: Any) -> None:
    """Nobody is dead, no attempt was spent on waiting, each came once, and the quota knows of no more."""
    assert {(mail.state, mail.attempts) for mail in mailer.outbox.list(limit=MAILS)} == {("ready", 0)}
    assert used(mailer, "a") == {"the server a": 0}
    world.sandbox.clear_faults()
    for _ in range(3):
        world.clock.advance(timedelta(minutes=61))
        mailer.worker(concurrency=AT_ONCE).drain()
    assert sum(mailer.outbox.counts().values()) == 0
    assert sorted(world.got()) == sorted(f"u{number}@example.org" for number in range(MAILS))
    assert used(mailer, "a") == {"the server a": MAILS}
    for id_ in ids:
        outcomes = [line.outcome for line in mailer.log.get(id_).lines]
        assert outcomes[-1] == "accepted"
        assert set(outcomes[:-1]) <= {"throttled"}
    health = mailer.servers.health("a")
    assert (health.faults, health.circuit, health.throttled_until) == (0, "closed", None)


@pytest.mark.parametrize(
    ("esp", "kind"), [(esp, kind) for esp in ESPS for kind in ("throttle", "quota") if (esp, kind) != ("ses", "throttle")]
)
def test_without_a_time_it_is_asked_after_1_5_15_and_60_minutes(plain: World, watched: Watched, esp: str, kind: str) -> None:
    watched.hides = True
    mailer, ids = set_up(plain, watched, esp)
    text = {"text": "Too many requests"} if esp == "mailgun" else {}  # its own words name a time
    plain.sandbox.fault(esp, kind, times=None, **text)
    pass_time(plain, mailer, HOURS)
    first = sum(at < 1 for at in watched.at)
    assert first <= AT_ONCE
    assert [round(at / 60) for at in watched.at[first - 1 :]] == PROBES, "one email each"
    all_left(plain, mailer, esp, ids)


def test_a_rate_at_ses_is_asked_for_once_a_minute_in_the_end(plain: World, watched: Watched) -> None:
    """SES names no time, and a second is the unit of its rate: there the pace gives way, down to one email a minute."""
    mailer, ids = set_up(plain, watched, "ses")
    plain.sandbox.fault("ses", "throttle", times=None)
    pass_time(plain, mailer, timedelta(minutes=30))
    last = [at for at in watched.at if at > 600]
    assert 15 <= len(last) <= 21, len(last)
    assert len(watched.at) <= 60
    assert mailer.servers.health("a").slowed is not None
    all_left(plain, mailer, "ses", ids)


@pytest.mark.parametrize(("esp", "kind"), [("mailgun", "quota"), ("sendgrid", "throttle"), ("elasticemail", "throttle")])
def test_with_a_time_nobody_asks_before_it(plain: World, watched: Watched, esp: str, kind: str) -> None:
    """Quota spent until tomorrow: not one submission until then. SES names no such time."""
    mailer, ids = set_up(plain, watched, esp)
    plain.sandbox.fault(esp, kind, times=None, retry_after=12 * 3600)
    for _ in range(12):
        mailer.worker(concurrency=AT_ONCE).drain()
        plain.clock.advance(timedelta(minutes=59))
    until = mailer.servers.health("a").throttled_until
    assert abs(until - NOON - timedelta(hours=12)) < timedelta(minutes=2)
    assert len(watched.at) <= AT_ONCE
    assert max(watched.at) < 1
    assert mailer.servers.health("a").slowed is None, "a spent quota is no pace"
    all_left(plain, mailer, esp, ids)
