"""What people read when a message must wait: which limit refuses, its numbers, and until when."""

from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from attrs import frozen

from deliverykit import CalendarQuota, Pause, Rate, RollingQuota
from deliverykit.contracts.limit import Limit, RateLimiter, State, Terms
from deliverykit.engine.admission.gates import Gate
from deliverykit.engine.admission.reasons import SEALED, nobody, unable, why
from deliverykit.limits import Brake, Circuit, Closed, Slowed
from deliverykit.providers import SendGrid
from deliverykit.records.server import DeliveryServer, Status
from deliverykit.words.clock import NEVER, instant

NOON = instant(datetime(2026, 12, 1, 12, tzinfo=UTC))
EVENING = instant(datetime(2026, 12, 1, 18, 30, tzinfo=UTC))
UNTIL = "2026-12-01 18:30 UTC"


@frozen
class Tides(RateLimiter):
    """A host's own limit."""

    name: ClassVar[str] = "tides"

    def room(self, state: State, now: int) -> int:
        return 0

    def when(self, state: State, now: int, n: int) -> int:
        return NEVER

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        return state, Terms(0)

    def give(self, state: State, mark: int, n: int) -> State:
        return state


def words(limit: Limit, at: int, *, used: int = 0, cost: int = 1, name: str = "s:a/x", owner: str = "A") -> str:
    state = limit.take((), NOON, used)[0] if used else ()
    return " ".join(why(Gate(0, name, limit, owner), state, NOON, cost, at))


@pytest.mark.parametrize(
    ("limit", "until", "never"),
    [
        (Closed(), f"accepts nothing until {UNTIL}: it said", "accepts nothing: it said"),
        (Slowed(), f"slowed until {UNTIL}, because", "slowed, because"),
        (Tides(), f"tides of 'A' refuses until {UNTIL}", "tides of 'A' refuses"),
        (Circuit(), f"open after repeated faults; one message tries it at {UNTIL}", None),
        (Brake(), f"open after repeated refusals; one message tries it at {UNTIL}", None),
        (Pause(timedelta(seconds=1)), f"pause of 'A' the next may start at {UNTIL}", None),
        (Rate(2), f"rate limit of 'A' the next may start at {UNTIL}", None),
    ],
    ids=lambda value: value.name if isinstance(value, Limit) else "",
)
def test_until_when_a_limit_refuses(limit: Limit, until: str, never: "str | None") -> None:
    assert until in words(limit, EVENING)
    if never is not None:
        assert never in words(limit, NEVER)
        assert "UTC" not in words(limit, NEVER)


@pytest.mark.parametrize(
    ("limit", "used", "cost", "at", "expected"),
    [
        (CalendarQuota(day=5, timezone="UTC"), 5, 1, EVENING, f"day quota of 'A' used up: 5 of 5, resets {UNTIL}"),
        (CalendarQuota(day=5, timezone="UTC"), 4, 2, EVENING,
         f"day quota of 'A' has 1 of 5 left, and the message needs 2, resets {UNTIL}"),
        (CalendarQuota(day=5, timezone="UTC"), 0, 6, NEVER,
         "day quota of 'A' has 5 of 5 left, and the message needs 6, and it never has room for so many"),
        (CalendarQuota(day=0, timezone="UTC"), 0, 1, NEVER, "day quota of 'A' is 0, so nothing leaves until it is raised"),
        (RollingQuota(1_500, per=timedelta(hours=24)), 1_500, 1, EVENING, f"used up: 1,500 of 1,500, has room again {UNTIL}"),
    ],
)  # fmt: skip
def test_a_quota_names_its_numbers(limit: Limit, used: int, cost: int, at: int, expected: str) -> None:
    assert expected in words(limit, at, used=used, cost=cost)


@pytest.mark.parametrize(
    ("name", "owner", "expected"),
    [
        ("s:a/calendar", "A", "'A'"),
        ("s:a/calendar", "account", "'account'"),
        ("e:account:1/closed", "budget x", "'budget x'"),
        ("b:plan/calendar", "budget plan", "budget 'plan'"),
        ("a/calendar", "account", "the account"),
        ("h/calendar", "host", "all accounts"),
    ],
)
def test_whose_limit_it_is(name: str, owner: str, expected: str) -> None:
    assert words(CalendarQuota(day=5, timezone="UTC"), EVENING, used=5, name=name, owner=owner).startswith(
        f"day quota of {expected} used up"
    )
    sealed = why(Gate(0, name, CalendarQuota(day=5), owner), (), NOON, 1, NEVER, sealed=True)
    assert sealed == (f"calendar limit of {expected}", SEALED)


def server(**given: object) -> DeliveryServer:
    fields = {"name": "A", "provider": SendGrid(api_key="SG.any"), "status": Status.PAUSED, "proven": True, **given}
    return DeliveryServer(id="a", account="default", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"status": Status.BROKEN, "reason": "no key"}, "is BROKEN: no key"),
        ({"status": Status.ACTIVE}, "is ACTIVE, but may not carry this message"),
        ({"paused_by": "engine", "reason": "bad key"}, "was PAUSED after an answer of its ESP: bad key"),
        ({"proven": False}, "is PAUSED and was never tested; send a test email and activate it"),
        ({"proven": False, "reason": "new key"}, "is PAUSED: new key; send a test email and activate it"),
        ({"reason": "tidy"}, "is PAUSED: tidy"),
        ({}, "is PAUSED by a person"),
    ],
)
def test_why_a_server_carries_nothing(given: "dict[str, object]", expected: str) -> None:
    assert unable(server(**given)) == expected


def test_at_most_five_servers_are_listed() -> None:
    five = nobody("r", [server()] * 5)
    assert five.count("'A' is PAUSED") == 5
    assert "more" not in five
    six = nobody("r", [server()] * 6)
    assert six.count("'A' is PAUSED") == 5
    assert six.endswith("; and 1 more")
    assert nobody("r", []) == "route 'r' has no server; add one to it"
    assert nobody("", [server()]) == "the server cannot send: 'A' is PAUSED by a person"
