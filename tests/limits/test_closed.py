"""Closed doors: how long, and how they open again."""

import pytest
from clock_faces import ms
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.contracts.limit import State
from deliverykit.limits import Closed
from deliverykit.words.clock import NEVER

NOW = ms(2026, 11, 23, 12)
SECOND, MINUTE, DAY = 1000, 60_000, 86_400_000
door = Closed()


@pytest.mark.parametrize(
    ("named", "until"),
    [(0, SECOND), (-5 * DAY, SECOND), (5 * SECOND, 5 * SECOND), (DAY, DAY), (9 * DAY, DAY)],
)
def test_a_named_instant_is_held_to_a_second_and_a_day_and_opens_fully(named: int, until: int) -> None:
    state = door.close((), NOW, NOW + named)
    assert door.when(state, NOW, 50) == NOW + until
    assert door.room(state, NOW + until - 1) == 0
    assert door.room(state, NOW + until) >= 10**9
    assert door.take(state, NOW + until, 50) == (state, door.take((), NOW, 50)[1])


def test_an_open_door_is_no_limit() -> None:
    assert door.room((), NOW) >= 10**9
    assert door.when((), NOW, 10**6) == NOW
    assert not door.paces
    assert door.counts == "emails"


def test_without_a_named_instant_it_probes_after_1_5_15_and_60_minutes() -> None:
    state: State = ()
    now = NOW
    for minutes in (1, 5, 15, 60, 60):
        state = door.close(state, now)
        assert door.when(state, now, 1) == now + minutes * MINUTE
        now += minutes * MINUTE
        assert door.room(state, now) == 1
        state, _ = door.take(state, now, 1)
    assert door.when(door.close(door.opened(state, now), now), now, 1) == now + MINUTE


def test_one_probe_in_60_seconds_until_one_is_accepted() -> None:
    at = NOW + MINUTE
    state, terms = door.take(door.close((), NOW), at, 1)
    assert terms.until == at + MINUTE
    assert door.room(state, at) == door.room(state, at + MINUTE - 1) == 0
    assert door.when(state, at, 1) == at + MINUTE
    assert door.when(state, at, 2) == NEVER
    assert door.room(state, at + MINUTE) == 1
    assert door.opened(state) == door.opened(state, at) == ()


def test_a_probe_that_did_not_go_frees_its_place() -> None:
    at = NOW + MINUTE
    old, terms = door.take(door.close((), NOW), at, 1)
    assert door.room(door.give(old, terms.mark, 1), at) == 1
    later, _ = door.take(old, at + MINUTE, 1)
    assert door.give(later, terms.mark, 1) == later  # another probe is under way
    named = door.close((), NOW, NOW + 5000)
    assert door.give(named, door.take(named, NOW + 5000, 1)[1].mark, 1) == named


def test_fifty_answers_to_mail_under_way_are_one_event() -> None:
    state = door.close((), NOW)
    for after in range(50):
        state = door.close(state, NOW + after)
    assert door.when(state, NOW, 1) == NOW + MINUTE
    assert door.close(state, NOW + 1, NOW + 2000) == state  # it only gets longer
    assert door.when(door.close(state, NOW + 1, NOW + 2 * MINUTE), NOW, 9) == NOW + 2 * MINUTE


def test_an_accept_that_left_before_the_door_was_closed_does_not_open_it() -> None:
    state = door.close((), NOW, NOW + MINUTE)
    assert door.opened(state, NOW + 1) == state
    assert door.opened(state, NOW + MINUTE) == ()
    assert door.opened((), NOW) == ()


@given(st.lists(st.tuples(st.integers(0, 2 * DAY), st.none() | st.integers(-DAY, 9 * DAY), st.booleans()), max_size=20))
def test_it_is_never_closed_for_less_than_a_second_or_more_than_a_day(story: list[tuple[int, int | None, bool]]) -> None:
    state: State = ()
    now = NOW
    for wait, named, probe in story:
        now += wait
        if probe and door.room(state, now) >= 1:
            state, _ = door.take(state, now, 1)
        state = door.close(state, now, None if named is None else now + named)
        at = door.when(state, now, 1)
        assert now < at <= now + DAY
        assert door.room(state, at) >= 1 > door.room(state, at - 1)
        back = door.rewound(state, now - 5 * DAY)
        assert door.when(back, now - 5 * DAY, 1) <= now - 4 * DAY
        assert door.room(back, now - 5 * DAY) == 0
    assert door.rewound((), NOW) == ()
