"""An ESP that was asked too fast: the server's pace halves and recovers, never above what was set; a spent quota is not that."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from engine_kit import ESPS, NOON, World, eventually, message, messages, running, used

from deliverykit import Budget, CalendarQuota, Pause, Rate, SendStatus
from deliverykit.words.outcomes import Throttled

PAUSE = timedelta(milliseconds=500)
DIRECT = {"elasticemail": {"retry_after": 1}}
"""Elastic Email names no time unless it is told to."""


def alone(world: World, esp: str = "ses", **values: Any) -> Any:
    mailer = world.mailer()
    world.server(mailer, "a", esp, **values)
    return mailer


def starts(world: World, mailer: Any, count: int) -> list[float]:
    """At which second each of so many emails went, one after the other."""
    at = []
    for one in messages(count):
        result = mailer.send(one)
        assert result.status is SendStatus.ACCEPTED, result
        at.append(world.clock.monotonic())
    return at


def gaps(at: list[float]) -> list[float]:
    return [round(later - earlier, 3) for earlier, later in pairwise(at)]


def too_fast(world: World, mailer: Any, esp: str = "ses") -> None:
    world.sandbox.fault(esp, "throttle", **DIRECT.get(esp, {}))
    outcome = mailer.send(message()).attempts[-1].outcome
    assert isinstance(outcome, Throttled)
    assert outcome.too_fast


@pytest.mark.parametrize("esp", ESPS)
def test_a_rate_halves_the_pace_and_a_quota_does_not(world, esp):
    mailer = alone(world, esp, pause=PAUSE, quota=CalendarQuota(day=100))
    assert gaps(starts(world, mailer, 4)) == [0.5] * 3
    world.clock.advance(10)
    world.sandbox.fault(esp, "quota", retry_after=3600)
    outcome = mailer.send(message()).attempts[-1].outcome
    assert isinstance(outcome, Throttled)
    assert not outcome.too_fast
    assert mailer.servers.health("a").slowed is None
    world.clock.advance(7200)
    assert mailer.servers.health("a").throttled_until is None
    mailer.worker().drain()
    world.clock.advance(10)
    assert gaps(starts(world, mailer, 3)) == [0.5] * 2
    too_fast(world, mailer, esp)
    health = mailer.servers.health("a")
    assert health.slowed == 2 * PAUSE
    assert health.circuit == "closed"
    world.clock.set(health.throttled_until)
    mailer.worker().drain()
    assert set(gaps(starts(world, mailer, 4))) == {health.slowed.total_seconds()}
    assert used(mailer, "a") == {"the server a": 13}
    assert {mail.attempts for mail in mailer.outbox.list()} <= {0}


def test_each_answer_halves_it_again_and_it_comes_back_step_by_step(world):
    mailer = alone(world, pause=PAUSE)
    starts(world, mailer, 3)
    seen = []
    for _ in range(3):
        world.clock.advance(2)
        too_fast(world, mailer)
        seen.append(mailer.servers.health("a").slowed.total_seconds())
        world.clock.advance(5)
        mailer.worker().drain()
    assert seen == [1.0, 2.0, 4.0]
    until = mailer.servers.health("a").slowed_until
    while (health := mailer.servers.health("a")).slowed is not None:
        seen.append(health.slowed.total_seconds())
        world.clock.advance(60)
    assert sorted(set(seen[3:]), reverse=True) == [4.0, 2.0, 1.0]
    assert timedelta() <= NOON + timedelta(seconds=world.clock.monotonic()) - until < timedelta(minutes=1)
    assert gaps(starts(world, mailer, 4)) == [0.5] * 3, "as set, and not above it"


def test_without_a_pause_what_was_seen_is_halved(world):
    mailer = alone(world)
    for _ in range(2):
        starts(world, mailer, 20)  # 20 a second, as far as the server's books know
        world.clock.advance(1)
    too_fast(world, mailer)
    assert mailer.servers.health("a").slowed == timedelta(milliseconds=100)
    world.clock.set(mailer.servers.health("a").throttled_until)
    mailer.worker().drain()
    assert gaps(starts(world, mailer, 4)) == [0.1] * 3
    world.clock.set(mailer.servers.health("a").slowed_until)
    assert gaps(starts(world, mailer, 4)) == [0.0] * 3


def test_without_a_pause_a_single_email_tells_of_no_pace(world):
    mailer = alone(world)
    world.clock.advance(10)
    too_fast(world, mailer)
    assert mailer.servers.health("a").slowed == timedelta(seconds=2), "half of one a second"


@pytest.mark.parametrize("limits", [{"pause": Rate(2)}, {"budgets": "shared"}])
def test_whatever_keeps_its_pace_is_what_is_halved(world, limits):
    mailer = world.mailer()
    if "budgets" in limits:
        limits = {"budgets": [Budget(name="shared", limits=(Pause(PAUSE),))]}
    world.server(mailer, "a", "ses", **limits)
    starts(world, mailer, 1)
    world.clock.advance(1)
    mailer.send(message())
    mailer.send(message())
    too_fast(world, mailer)
    assert mailer.servers.health("a").slowed == 2 * PAUSE


def test_all_processes_keep_it_and_a_hundred_answers_are_one(world):
    """A batch that was under way when the first answer came says nothing new."""
    mailer = alone(world)
    world.sandbox.fault("ses", "throttle", times=30)
    mailer.enqueue(messages(30))
    mailer.worker(concurrency=30).drain()
    slowed = world.mailer().servers.health("a").slowed
    assert slowed == timedelta(milliseconds=2 * -(-1000 // 30))
    world.clock.advance(2)
    at = []
    for number in range(4):
        assert world.mailer().send(message(number)).status is SendStatus.ACCEPTED
        at.append(world.clock.monotonic())
    assert gaps(at) == [slowed.total_seconds()] * 3
    mailer.worker().drain()
    assert world.sandbox.count() == 34
    assert len(world.sandbox.requests("ses")) == 64


def test_nobody_goes_past_a_slowed_server(world):
    mailer = world.mailer()
    world.server(mailer, "a", "ses", pause=timedelta(seconds=20))
    world.server(mailer, "b", "sendgrid")
    mailer.routes.add("r", ["a", "b"], when_exhausted="failover")
    world.sandbox.fault("ses", "throttle")
    assert [one.server for one in mailer.send(message(), route="r").attempts] == ["a", "b"]
    world.clock.advance(40)
    assert mailer.servers.health("a").slowed == timedelta(seconds=40)
    assert mailer.send(message(1), route="r").attempts[0].server == "a"
    result = mailer.send(message(2), route="r")
    assert (result.status, result.attempts) == (SendStatus.QUEUED, ())
    assert result.goes_at == mailer.servers.health("a").slowed_until == NOON + timedelta(seconds=61)
    (view, _) = mailer.explain(message(3), route="r").servers
    assert view.verdict == "waits"
    assert view.reason == "slowed to one email in 40 s, because its ESP was asked too fast"
    mailer.worker().drain()
    assert world.clock.monotonic() == 61
    assert (world.sandbox.count("ses"), world.sandbox.count("sendgrid")) == (2, 1)


def test_explain_says_so_where_it_takes_it(world):
    mailer = alone(world, pause=PAUSE)
    too_fast(world, mailer)
    world.clock.advance(3)
    mailer.worker().drain()
    (view,) = mailer.explain(message()).servers
    assert view.verdict == "takes it"
    assert view.reason == "slowed to one email in 1 s, because its ESP was asked too fast"


def test_activating_it_anew_forgets_it(world):
    mailer = alone(world, pause=PAUSE)
    too_fast(world, mailer)
    mailer.servers.pause("a")
    mailer.servers.activate("a")
    assert mailer.servers.health("a").slowed is None
    mailer.worker().drain()
    assert gaps(starts(world, mailer, 3)) == [0.5] * 2


def test_a_server_that_was_slowed_while_the_door_is_shut_for_long_is_slow_when_it_opens(world):
    """429 without a time: one probe after a minute, and then half the pace, not a burst and the next 429."""
    mailer = alone(world, "elasticemail", pause=PAUSE)
    world.sandbox.fault("elasticemail", "throttle")
    starts_at = world.clock.monotonic()
    mailer.send(message())
    mailer.worker().drain()
    world.clock.advance(61)
    mailer.worker().drain()
    assert world.clock.monotonic() - starts_at < 63
    assert world.sandbox.count() == 1
    assert mailer.servers.health("a").slowed == 2 * PAUSE
    assert gaps(starts(world, mailer, 3)) == [1.0] * 2


def test_under_load_it_finds_the_pace_that_the_esp_bears(live):
    """SES takes 10 a second, the worker asks for 30 at once: no mail is lost or late by its fault, few are refused."""
    mailer = live.mailer()
    live.server(mailer, "a", "ses")
    live.sandbox.limit("ses", per_second=10)
    mailer.enqueue(messages(25))
    with running(mailer, concurrency=20):
        assert eventually(lambda: live.sandbox.count("ses") == 25)
        assert eventually(lambda: sum(mailer.outbox.counts().values()) == 0)
    refused = len(live.sandbox.requests("ses")) - 25
    assert refused <= 25, refused
    assert sorted(live.got()) == sorted(f"u{number}@example.org" for number in range(25))
