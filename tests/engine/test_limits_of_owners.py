"""The limits of a server, its budget, its account and the host hold together: the strictest decides, whoever owns it."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from attrs import define, field
from engine_kit import NOON, message, messages

from deliverykit import Budget, CalendarQuota, Mailer, Pause, RollingQuota, SendStatus, Unsupported
from deliverykit.providers import SendGrid
from deliverykit.testing import ManualClock
from deliverykit.words.clock import instant
from deliverykit.words.wire import HttpRequest, HttpResponse

OWNERS = ("server", "budget", "account", "host")


@define
class Accepting:
    """A transport whose ESP accepts everything; it records when each submission started, and by which key."""

    clock: ManualClock
    starts: list[tuple[int, str]] = field(factory=list)

    def send(self, request: HttpRequest) -> HttpResponse:
        self.starts.append((self.clock.now(), request.headers["Authorization"].rpartition(".")[2]))
        return HttpResponse(status=202, headers={"X-Message-Id": "m"})

    def close(self) -> None:
        pass


@contextmanager
def opened(clock: ManualClock, **options: Any) -> Iterator[tuple[Mailer, Accepting]]:
    transport = Accepting(clock)
    with Mailer("memory://", clock=clock, transport=transport, timezone="UTC", **options) as mailer:
        yield mailer, transport


def active(mailer: Mailer, one: str) -> None:
    mailer.servers.add(id=one, name=one, provider=SendGrid(api_key=f"SG.{one}"), sender=f"{one}@example.com")
    assert mailer.servers.send_test(one, to="me@example.org").proof
    mailer.servers.activate(one)


@pytest.mark.parametrize("longest", OWNERS)
def test_longest_pause_decides(longest: str) -> None:
    """Each owner has a pause; the starts keep the longest of them, and no more than that."""
    clock = ManualClock(NOON)
    lengths = {owner: timedelta(milliseconds=300 if owner == longest else 100) for owner in OWNERS}
    with opened(clock, pause=lengths["host"]) as (mailer, transport):
        active(mailer, "a")
        mailer.accounts.update("default", pause=lengths["account"])
        budget = Budget(name="b", limits=(Pause(lengths["budget"]),))
        mailer.servers.update("a", pause=lengths["server"], budgets=[budget])
        mailer.routes.add("r", ["a"])
        clock.advance(10)
        transport.starts.clear()
        mailer.enqueue(messages(6), route="r")
        report = mailer.worker(concurrency=1).drain()
        assert report.accepted == 6
        at = [start for start, _ in transport.starts]
        gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
        assert min(gaps) >= 300
        assert max(gaps) < 600, "the pauses are not added up"


@pytest.mark.parametrize("smallest", OWNERS)
@pytest.mark.parametrize("by", ["send", "worker"])
def test_smallest_quota_decides(smallest: str, by: str) -> None:
    clock = ManualClock(NOON)
    sizes = {owner: CalendarQuota(day=3 if owner == smallest else 9) for owner in OWNERS}
    with opened(clock, quota=sizes["host"]) as (mailer, transport):
        active(mailer, "a")
        clock.advance(timedelta(days=1))
        mailer.accounts.update("default", quota=sizes["account"])
        mailer.servers.update("a", quota=sizes["server"], budgets=[Budget(name="b", limits=(sizes["budget"],))])
        mailer.routes.add("r", ["a"], when_exhausted="queue")
        transport.starts.clear()
        if by == "send":
            statuses = [mailer.send(one, route="r").status for one in messages(6)]
            assert statuses == [SendStatus.ACCEPTED] * 3 + [SendStatus.QUEUED] * 3
        else:
            mailer.enqueue(messages(6), route="r")
            mailer.worker().drain()
        assert len(transport.starts) == 3
        assert {view.owner: view.used for view in mailer.servers.quota("a")} == {
            "a": 3,
            "budget b": 3,
            "account": 3,
            "host": 3,
        }, "all owners count the same, and a refusal counts nowhere"


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("make", [lambda n: CalendarQuota(day=n), lambda n: RollingQuota(n, per=timedelta(hours=1))])
def test_two_recipients_never_fit_a_quota_of_one(owner: str, make: Callable[[int], Any]) -> None:
    """Such a message is refused when it is handed over: no waiting would help."""
    clock = ManualClock(NOON)
    with opened(clock, **({"quota": make(1)} if owner == "host" else {})) as (mailer, transport):
        active(mailer, "a")
        match owner:
            case "server":
                mailer.servers.update("a", quota=make(1))
            case "budget":
                mailer.servers.update("a", budgets=[Budget(name="b", limits=(make(1),))])
            case "account":
                mailer.accounts.update("default", quota=make(1))
        mailer.routes.add("r", ["a"])
        transport.starts.clear()
        two = message(to=["a@example.org", "b@example.org"])
        for call in (lambda: mailer.send(two, route="r"), lambda: mailer.enqueue([two], route="r")):
            with pytest.raises(Unsupported, match="2 recipients"):
                call()
        clock.advance(timedelta(days=1))
        assert mailer.send(message(), route="r").status is SendStatus.ACCEPTED
        assert len(transport.starts) == 1


def test_added_default_route_replaces_the_implicit_one() -> None:
    """Without it every active server carries messages; with it only those it names, in its order."""
    clock = ManualClock(NOON)
    with opened(clock) as (mailer, transport):
        active(mailer, "a")
        active(mailer, "b")
        transport.starts.clear()
        mailer.send(message())
        mailer.routes.add("default", ["b"], when_exhausted="queue")
        mailer.send(message())
        mailer.enqueue(messages(1))
        mailer.worker().drain()
        mailer.servers.pause("b")
        assert mailer.send(message()).status is SendStatus.QUEUED
        mailer.routes.update("default", servers=["a"])
        mailer.worker().drain()
        assert [key for _, key in transport.starts] == ["a", "b", "b", "a"]


def test_eta_knows_that_the_fallback_overtakes() -> None:
    """The first server waits for its next hour; the fallback has room now, so what it takes leaves before."""
    clock = ManualClock(NOON)
    with opened(clock) as (mailer, transport):
        active(mailer, "a")
        active(mailer, "b")
        mailer.servers.update("a", quota=CalendarQuota(hour=3), pause=timedelta(seconds=60))
        mailer.servers.update("b", quota=CalendarQuota(day=5))
        mailer.routes.add("r", ["a", "b"], when_exhausted="failover")
        mailer.enqueue(messages(6), route="r")
        eta = mailer.outbox.eta(route="r")
        transport.starts.clear()
        for _ in range(200):
            mailer.worker(concurrency=1).drain()
            if len(transport.starts) == 6:
                break
            clock.advance(timedelta(seconds=30))
        assert {key for _, key in transport.starts} == {"a", "b"}
        last = max(at for at, _ in transport.starts)
        assert eta.at is not None
        assert abs(last - instant(eta.at)) <= 61_000


# -- what listings say ---------------------------------------------------------------------------------


def test_lane_fields_without_ready_messages() -> None:
    """A lane that holds only scheduled messages is not blocked, and says when the first of them comes due."""
    clock = ManualClock(NOON)
    with opened(clock) as (mailer, _):
        active(mailer, "a")
        mailer.routes.add("r", ["a"])
        late, soon = NOON + timedelta(hours=2), NOON + timedelta(hours=1)
        mailer.enqueue([message(1, send_at=late), message(2, send_at=soon)], route="r")
        mailer.worker().drain()
        (lane,) = mailer.outbox.lanes()
        assert (lane.counts["scheduled"], lane.counts["ready"], lane.waiting) == (2, 0, 2)
        assert (lane.blocked, lane.blocked_by, lane.blocked_since, lane.goes_at) == (False, "", None, soon)
        assert [one.goes_at for one in mailer.outbox.list(state="scheduled")] == [late, soon]


def test_lane_fields_while_it_waits_for_quota() -> None:
    clock = ManualClock(NOON)
    with opened(clock) as (mailer, _):
        active(mailer, "a")
        mailer.servers.update("a", quota=CalendarQuota(hour=2))
        mailer.routes.add("r", ["a"], when_exhausted="queue")
        mailer.enqueue(messages(4), route="r")
        clock.advance(timedelta(minutes=5))
        mailer.worker().drain()
        blocked_at = instant(NOON + timedelta(minutes=5))
        (lane,) = mailer.outbox.lanes()
        next_hour = NOON.replace(hour=13, minute=0, second=0)
        assert (lane.counts["ready"], lane.blocked, lane.goes_at) == (2, True, next_hour)
        assert lane.blocked_since is not None
        assert blocked_at <= instant(lane.blocked_since) <= clock.now()
        rows = mailer.outbox.list(state="ready")
        assert [(row.goes_at, row.since) for row in rows] == [(next_hour, NOON)] * 2
        clock.set(next_hour)
        assert not mailer.outbox.lanes()[0].blocked
