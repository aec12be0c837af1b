"""Paces: slots in order, never too close, none twice."""

from datetime import timedelta
from itertools import pairwise

import pytest
from attrs import frozen
from clock_faces import ms
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.contracts.limit import RateLimiter, State
from deliverykit.limits import Pause, Rate, pace
from deliverykit.limits.pace import _Slots
from deliverykit.words.clock import NEVER
from deliverykit.words.errors import ConfigurationError

NOW = ms(2026, 11, 23, 12)
HORIZON = 250


@frozen
class Step:
    wait: int
    n: int
    back: str  # "no", "now": the slots just issued come back; "late": those issued before them


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([0, 0, 1]) | st.integers(0, 400) | st.integers(0, 5000),
        st.integers(1, 40),
        st.sampled_from(["no", "no", "now", "late"]),
    ),
    max_size=40,
)


def issue(paces: list[_Slots], steps: list[Step]) -> list[int]:
    """The slots that were issued and kept, in the order of issue; the paces take turns, as if the pause were edited."""
    state: State = ()
    now = NOW
    kept: list[list[int]] = []
    before: tuple[int, int] | None = None
    for turn, step in enumerate(steps):
        limit = paces[turn % len(paces)]
        now += step.wait
        room = limit.room(state, now)
        n = min(step.n, room)
        if n <= 0:
            assert limit.when(state, now, 1) > now, "no room, and when() says now"
            continue
        assert limit.when(state, now, n) == now
        new, terms = limit.take(state, now, n)
        assert terms.slot >= now, "a slot in the past"
        slots = [terms.slot + i * terms.step for i in range(n)]
        assert max(slots) <= now + HORIZON or n == 1
        if step.back == "now":
            back = limit.give(new, terms.mark, n)
            assert [limit.when(back, now, i) for i in (1, n)] == [limit.when(state, now, i) for i in (1, n)]
            state = back
            continue
        kept.append(slots)
        if step.back == "late" and before is not None:
            assert limit.give(new, *before) == new, "slots were issued again while a later one is under way"
        before = (terms.mark, n)
        state = new
    return [slot for slots in kept for slot in slots]


@given(st.timedeltas(timedelta(milliseconds=1), timedelta(seconds=3)), STEPS)
def test_slots_of_a_pause_are_never_closer_than_it(length: timedelta, steps: list[Step]) -> None:
    slots = issue([Pause(length)], steps)
    assert all(two - one >= length / timedelta(milliseconds=1) for one, two in pairwise(slots))


@given(st.integers(1, 900), st.integers(1, 900), STEPS)
def test_a_pause_that_is_edited_holds_from_the_next_slot_on(one: int, other: int, steps: list[Step]) -> None:
    slots = issue([Pause(timedelta(milliseconds=one)), Pause(timedelta(milliseconds=other))], steps)
    assert all(after - before >= min(one, other) for before, after in pairwise(slots))


@given(st.integers(1, 50), st.integers(1, 5), st.integers(1, 20), STEPS)
def test_a_rate_holds_in_any_time(n: int, seconds: int, burst: int, steps: list[Step]) -> None:
    rate = Rate(n, timedelta(seconds=seconds), burst)
    interval = -(-seconds * 1000 // n)
    slots = sorted(issue([rate], steps))
    for i, first in enumerate(slots):
        for j in range(i, len(slots)):
            assert j - i + 1 <= burst + -(-(slots[j] - first) // interval)


@given(st.integers(1, 600), st.integers(1, 20), STEPS, st.integers(1, 60), st.floats(0, 1))
def test_when_is_the_first_instant_with_room(interval: int, burst: int, steps: list[Step], n: int, part: float) -> None:
    rate = Rate(1, timedelta(milliseconds=interval), burst)
    state: State = ()
    now = NOW
    for step in steps:
        now += step.wait
        if rate.room(state, now) >= step.n:
            state, _ = rate.take(state, now, step.n)
    at = rate.when(state, now, n)
    if at >= NEVER:
        assert all(rate.room(state, now + after) < n for after in (0, 10**3, 10**6))
        return
    assert rate.room(state, at) >= n
    if at > now:
        for early in (at - 1, now + int((at - 1 - now) * part)):
            assert rate.room(state, early) < n


@pytest.mark.parametrize("k", [1, 5, 40])
def test_callers_in_a_queue_wait_no_longer_than_they_must(k: int) -> None:
    limit, state, now = Pause(timedelta(milliseconds=100)), (), NOW
    for _ in range(k):
        now = limit.when(state, now, 1)
        state, terms = limit.take(state, now, 1)
    assert terms.slot == NOW + (k - 1) * 100


def test_the_first_goes_at_once_and_after_a_rest_too() -> None:
    limit = Pause(timedelta(seconds=2))
    state, terms = limit.take((), NOW, 1)
    assert terms.slot == NOW
    assert limit.when(state, NOW + 5, 1) == NOW + 2000 - HORIZON
    _, terms = limit.take(state, NOW + 9000, 1)
    assert terms.slot == NOW + 9000


def test_a_burst_goes_at_once_and_then_no_more() -> None:
    rate = Rate(1, timedelta(seconds=1), burst=5)
    assert rate.room((), NOW) == 5
    state, terms = rate.take((), NOW, 5)
    assert (terms.slot, terms.step) == (NOW, 0)
    assert rate.room(state, NOW) == 0
    assert rate.when(state, NOW, 5) == NOW + 5000


def test_a_clock_set_back_does_not_stop_the_pace() -> None:
    limit = Pause(timedelta(seconds=2))
    state, _ = limit.take((), NOW + 86_400_000, 1)
    assert limit.when(limit.rewound(state, NOW), NOW, 1) == NOW + 2000 - HORIZON
    assert limit.rewound((), NOW) == ()


def test_keys_and_kinds() -> None:
    assert Pause(timedelta(seconds=1)).key == Pause(timedelta(seconds=2)).key == "pause"
    assert Rate(10).key == Rate(20, burst=3).key == "rate/1s"
    assert Rate(100, per=timedelta(minutes=1)).key == "rate/1m"
    assert Pause(timedelta(seconds=1)).counts == "emails"
    assert Rate(1).paces


def test_what_a_pause_may_be_written_as() -> None:
    class Own(RateLimiter):
        room = when = take = give = None

    own = Own()
    assert pace(None) is None
    assert pace(timedelta(seconds=2)) == Pause(timedelta(seconds=2))
    assert pace(Rate(3)) == Rate(3)
    assert pace(own) is own


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2000, "timedelta(milliseconds=2000)"),
        (0.5, "timedelta(milliseconds=0.5)"),
        ("2s", "timedelta(milliseconds=…)"),
        (True, "timedelta(milliseconds=…)"),
        (timedelta(0), "give timedelta(milliseconds=1) or more"),
        (timedelta(seconds=-1), "too short"),
    ],
)
def test_a_pause_without_a_unit_is_refused_with_what_to_write(value: object, text: str) -> None:
    for make in (pace, Pause):
        with pytest.raises(ConfigurationError) as caught:
            make(value)
        assert text in str(caught.value)


@pytest.mark.parametrize(("n", "burst", "text"), [(0, 1, "n=0"), (1.5, 1, "n=1.5"), (1, 0, "burst=0"), (True, 1, "n=True")])
def test_a_rate_of_nothing_is_refused(n: object, burst: object, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Rate(n, burst=burst)
    assert text in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"timedelta\(seconds=60\)"):
        Rate(1, per=60)
