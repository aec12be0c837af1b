"""The circuit: opened by a run of faults, closed by an accepted mail, told nothing by what was under way."""

from hypothesis import given
from hypothesis import strategies as st

from deliverykit.limits import Circuit
from deliverykit.words.clock import NEVER

NOW = 1_800_000_000_000
SECOND = 1000
door = Circuit()


def opened(now: int = NOW) -> tuple[int, ...]:
    state: tuple[int, ...] = ()
    for _ in range(door.after):
        state = door.failed(state, now, now)
    return state


@given(st.lists(st.booleans(), max_size=60))
def test_it_opens_at_the_fifth_in_a_row_and_not_before(answers: list[bool]) -> None:
    state: tuple[int, ...] = ()
    run = 0
    for accepted in answers:
        state = door.accepted(state, NOW) if accepted else door.failed(state, NOW, NOW)
        run = 0 if accepted else run + 1
        assert door.is_open(state) == (run >= 5)
        if door.is_open(state):
            return
        assert door.room(state, NOW) == NEVER
        assert door.when(state, NOW, 1) == NOW


def test_the_waits_grow_and_stay_at_ten_minutes() -> None:
    state, now = opened(), NOW
    for seconds in (30, 60, 120, 300, 600, 600):
        assert door.room(state, now + seconds * SECOND - 1) == 0
        assert door.when(state, now, 1) == now + seconds * SECOND
        now += seconds * SECOND
        assert door.room(state, now) == 1
        state, terms = door.take(state, now, 1)
        assert door.room(state, now) == 0, "one probe at a time"
        assert terms.until == now + 60 * SECOND
        state = door.failed(state, now, now)
    assert not door.is_open(door.accepted(state, now))


def test_a_probe_that_nobody_answers_for_is_followed_by_another_after_a_minute() -> None:
    at = NOW + 30 * SECOND
    state, _ = door.take(opened(), at, 1)
    assert door.when(state, at, 1) == at + 60 * SECOND
    assert door.when(state, at, 2) == NEVER
    assert door.room(state, at + 60 * SECOND) == 1


def test_a_probe_that_did_not_go_frees_its_place() -> None:
    at = NOW + 30 * SECOND
    state, terms = door.take(opened(), at, 1)
    assert door.room(door.give(state, terms.mark, 1), at) == 1
    later, _ = door.take(state, at + 60 * SECOND, 1)
    assert door.give(later, terms.mark, 1) == later


@given(st.integers(0, 100), st.integers(0, 25 * SECOND))
def test_late_answers_to_what_was_under_way_are_no_news(late: int, after: int) -> None:
    state = opened()
    for _ in range(late):
        state = door.failed(state, NOW + after, NOW)
    assert state == opened()
    assert door.accepted(state, NOW - 1) == state, "it left before the circuit opened"
    assert door.accepted(state, NOW + after) == ()


@given(st.integers(0, 40 * SECOND), st.booleans())
def test_a_clock_set_back_makes_nobody_wait_longer(back: int, probing: bool) -> None:
    state = opened()
    if probing:
        state, _ = door.take(state, NOW + 30 * SECOND, 1)
    now = NOW - back
    assert door.probe_at(door.rewound(state, now)) <= now + 60 * SECOND
