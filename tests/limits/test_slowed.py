"""A pace that is halved: never faster than what was set, slower by two with each answer, and as before within a bounded time."""

from datetime import timedelta
from itertools import pairwise

from attrs import frozen
from clock_faces import ms
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.contracts.limit import RateLimiter, State
from deliverykit.limits import Pause, Rate, Slowed
from deliverykit.words.clock import NEVER

NOW = ms(2026, 11, 23, 12)
HORIZON, SECOND, MINUTE, HOUR = 250, 1000, 60_000, 3_600_000
free = Slowed()


@frozen
class Step:
    wait: int
    n: int
    back: bool
    fast: bool
    """Whether what is asked for now, or was before, is answered by "too fast"."""
    closed: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([0, 0, 1]) | st.integers(0, 400) | st.integers(0, 90_000),
        st.integers(1, 30),
        st.booleans(),
        st.sampled_from([False, False, True]),
        st.sampled_from([0, SECOND, SECOND, MINUTE, HOUR]),
    ),
    max_size=40,
)
INTERVALS = st.integers(0, 400) | st.sampled_from([2000, 59_000, 60_000, 90_000])


def at_rate(n: int, seconds: int = 2) -> State:
    """The state of a server that sends ``n`` a second, and has done so for a while."""
    state: State = ()
    for second in range(seconds):
        state, _ = free.take(state, NOW - (seconds - 1 - second) * SECOND, n)
    return state


@given(INTERVALS, STEPS)
def test_slots_are_in_order_and_no_closer_than_the_gap_they_were_issued_with(interval: int, steps: list[Step]) -> None:
    limit = Slowed(interval)
    state: State = ()
    now = NOW
    slots: list[tuple[int, int]] = []
    for step in steps:
        now += step.wait
        gap = limit.gap(state, now)
        n = min(step.n, limit.room(state, now))
        if n > 0:
            assert limit.when(state, now, n) == now
            new, terms = limit.take(state, now, n)
            assert (terms.gap, terms.step, terms.until) == (gap, gap, NEVER)
            if gap:
                assert now <= terms.slot
                assert terms.slot + (n - 1) * gap <= now + HORIZON or n == 1
            if step.back:
                back = limit.give(new, terms.mark, n)
                assert [limit.when(back, now, i) for i in (1, n)] == [limit.when(state, now, i) for i in (1, n)]
                new = back
            elif gap:
                slots += [(terms.slot + i * gap, gap) for i in range(n)]
            else:
                slots.append((now, 0))
            state = new
        else:
            assert limit.when(state, now, 1) > now
        if step.fast:
            state = limit.slower(state, now, now, now + step.closed)
    assert all(later - earlier >= gap for (earlier, _), (later, gap) in pairwise(slots))


@given(INTERVALS, st.lists(st.integers(1, 60), max_size=3), STEPS, st.integers(1, 40), st.floats(0, 1))
def test_when_is_the_first_instant_with_room(interval: int, sent: list[int], steps: list[Step], n: int, part: float) -> None:
    limit = Slowed(interval)
    state: State = ()
    now = NOW
    for count in sent:
        state, _ = limit.take(state, now, count)
        now += SECOND
    for step in steps:
        now += step.wait
        if step.fast:
            state = limit.slower(state, now, now, now + step.closed)
        if limit.room(state, now) >= step.n:
            state, _ = limit.take(state, now, step.n)
    at = limit.when(state, now, n)
    assert at < NEVER, "it only delays"
    assert limit.room(state, at) >= n
    if at > now:
        for early in (at - 1, now + int((at - 1 - now) * part)):
            assert limit.room(state, early) < n


@given(st.integers(1, 4), st.integers(3, 16), st.integers(0, 16 * MINUTE), st.integers(1, 30_000), st.floats(0, 1))
def test_a_recovery_brings_a_slot_nearer_and_never_too_near(rate: int, times: int, on: int, after: int, part: float) -> None:
    state, now = at_rate(rate), NOW
    for k in range(times):
        now = NOW + k
        state = free.slower(state, now, now, now)
    now += on
    state, _ = free.take(state, max(now, free.when(state, now, 1)), 1)
    now = max(now, state[0]) + min(after, 5000)
    at = free.when(state, now, 1)
    assert free.room(state, at) >= 1
    if at > now:
        for early in (at - 1, now + int((at - 1 - now) * part)):
            assert free.room(state, early) < 1


@given(st.integers(1, 5000), st.integers(0, 3000), st.integers(1, 30), st.integers(0, 50))
def test_each_answer_halves_the_pace_and_the_gap_ends_at_a_minute(rate: int, interval: int, times: int, after: int) -> None:
    limit = Slowed(interval)
    base = interval if interval and rate == 1 else max(interval, -(-SECOND // rate))
    state, now = at_rate(rate), NOW
    for k in range(1, times + 1):
        now += after
        state = limit.slower(state, now, now, now + SECOND)
        assert limit.gap(state, now) == min(base << k, MINUTE), k
        now += 1


@given(INTERVALS, st.integers(1, 200), st.integers(1, 40), st.sampled_from([0, SECOND, MINUTE, HOUR]))
def test_it_recovers_step_by_step_and_in_a_bounded_time(interval: int, rate: int, times: int, closed: int) -> None:
    limit = Slowed(interval)
    state, now = at_rate(rate), NOW
    for k in range(times):
        now = NOW + k
        state = limit.slower(state, now, now, now + closed)
    gaps = [limit.gap(state, now + closed + minute * MINUTE) for minute in range(30)]
    assert limit.gap(state, now + closed - 1) == gaps[0] == limit.gap(state, now + closed + MINUTE - 1)
    assert all(later in (0, max(earlier // 2, interval)) or earlier == MINUTE for earlier, later in pairwise(gaps)), gaps
    assert gaps[16] == 0, "at the latest after 16 minutes"
    assert limit.over(state) == now + closed + gaps.index(0) * MINUTE
    assert limit.room(state, limit.over(state)) == NEVER > limit.room(state, limit.over(state) - 1)


@given(st.integers(1, 40), st.integers(0, HOUR), st.integers(0, 2 * HOUR))
def test_clock_set_back_leaves_as_much_to_recover(times: int, closed: int, back: int) -> None:
    state, now = at_rate(5), NOW
    for k in range(times):
        now = NOW + k
        state = free.slower(state, now, now, now + closed)
    earlier = free.rewound(state, now - back)
    assert free.over(earlier) - (now - back) == free.over(state) - now
    assert free.gap(earlier, now - back) == free.gap(state, now)


@given(st.integers(1, 3000), st.integers(1, 60), STEPS)
def test_with_it_nothing_goes_faster_than_what_was_set(length: int, burst: int, steps: list[Step]) -> None:
    """As the engine does: the pace of the server and this one are asked together; the later slot counts."""
    for pace in (Pause(timedelta(milliseconds=length)), Rate(1, timedelta(milliseconds=length), burst)):
        limits = (pace, Slowed(pace.interval))
        states: list[State] = [(), ()]
        now, halved, slots = NOW, 0, []
        for step in steps:
            now += step.wait
            n = min(step.n, *(limit.room(state, now) for limit, state in zip(limits, states, strict=True)))
            if n > 0:
                taken = [limit.take(state, now, n) for limit, state in zip(limits, states, strict=True)]
                states = [state for state, _ in taken]
                starts = [max(terms.slot + i * terms.step for _, terms in taken) for i in range(n)]
                slots += [max(now, start) for start in starts]
                if halved:
                    slow = limits[1].gap(states[1], now)
                    assert slow == 0 or slow >= 2 * length or slow == max(MINUTE, length)
            if step.fast:
                states[1] = limits[1].slower(states[1], now, now, now + step.closed)
                halved += 1
        slots.sort()
        allowed = 1 if isinstance(pace, Pause) else burst
        for i, first in enumerate(slots):
            for j in range(i, len(slots)):
                assert j - i + 1 <= allowed + -(-(slots[j] - first) // length)


@given(st.integers(0, 30), st.integers(0, 5 * SECOND), st.integers(1, 99))
def test_answers_to_what_was_admitted_before_are_one_event(late: int, after: int, rate: int) -> None:
    state = free.slower(at_rate(rate), NOW, NOW, NOW + SECOND)
    same = state
    for _ in range(late):
        same = free.slower(same, NOW + after, NOW, NOW + after + SECOND)
    assert same == state
    assert free.gap(free.slower(same, NOW + after, NOW + 1, NOW + after), NOW + after) == 2 * free.gap(state, NOW + after)


def test_a_server_without_such_answers_is_never_delayed() -> None:
    state: State = ()
    for after in (0, 0, 3, 999, 1000, 5000, 5001):
        assert free.room(state, NOW + after) == NEVER
        assert free.when(state, NOW + after, 10**6) == NOW + after
        state, terms = free.take(state, NOW + after, 50)
        assert (terms.slot, terms.gap, terms.until) == (0, 0, NEVER)
    assert free.over(state) == free.gap(state, NOW) == 0
    assert free.paces
    assert free.counts == "emails"


def test_what_is_halved_is_the_pace_of_the_busier_of_two_seconds() -> None:
    state, _ = free.take((), NOW, 50)
    assert free.gap(free.slower(state, NOW, NOW, NOW), NOW) == 40
    state, _ = free.take(state, NOW + SECOND, 10)
    assert free.gap(free.slower(state, NOW, NOW, NOW), NOW) == 40
    state, _ = free.take(state, NOW + 2 * SECOND, 5)
    assert free.gap(free.slower(state, NOW, NOW, NOW), NOW) == 200
    state, _ = free.take(state, NOW + 9 * SECOND, 1)
    assert free.gap(free.slower(state, NOW, NOW, NOW), NOW) == 2000
    assert free.gap(free.slower((), NOW, NOW, NOW), NOW) == 2000
    own = Slowed(72)
    assert own.gap(own.slower(state, NOW, NOW, NOW), NOW) == own.gap(own.slower((), NOW, NOW, NOW), NOW) == 144
    assert own.gap(own.slower(at_rate(5), NOW, NOW, NOW), NOW) == 400


def test_mail_that_never_started_was_not_a_pace() -> None:
    state, terms = free.take((), NOW, 50)
    state = free.give(state, terms.mark, 40)
    assert free.gap(free.slower(state, NOW, NOW, NOW), NOW) == 200
    later, _ = free.take(state, NOW + SECOND, 1)
    assert free.give(later, terms.mark, 10) == later
    slow = free.slower(state, NOW, NOW, NOW)
    assert free.give(slow, terms.mark, 10) == slow
    assert free.give((), terms.mark, 1) == ()


def test_the_slots_of_a_grant_come_back_if_nobody_got_a_later_one() -> None:
    state = free.slower(at_rate(10), NOW, NOW, NOW + SECOND)
    first, terms = free.take(state, NOW + SECOND, 1)
    second, later = free.take(first, NOW + SECOND, 1)
    assert later.slot == terms.slot + 200
    assert free.give(second, terms.mark, 1) == second
    assert free.take(free.give(second, later.mark, 1), NOW + SECOND, 1)[1].slot == later.slot
    assert free.give(second, later.mark, 2) == second


@given(st.integers(0, 40 * 86_400_000), st.integers(1, 20), st.sampled_from([0, SECOND, HOUR]))
def test_a_clock_set_back_makes_nobody_wait_longer(back: int, times: int, closed: int) -> None:
    state = at_rate(5)
    for k in range(times):
        state = free.slower(state, NOW + k, NOW + k, NOW + k + closed)
    now = NOW + times - back
    old = free.rewound(state, now)
    assert free.over(old) <= now + closed + 16 * MINUTE
    assert free.when(old, now, 1) <= now + MINUTE
    assert free.gap(old, min(now, NOW)) == free.gap(state, NOW)
    assert free.rewound(at_rate(5), now) == free.rewound((), now) == ()
    assert free.slower(old, now + 1, now + 1, now + 1) != old, "an answer of the new time is news"


def test_the_interval_of_a_pace() -> None:
    assert Pause(timedelta(seconds=2)).interval == 2000
    assert Rate(14, burst=14).interval == 72
    assert Slowed(5).interval == 5


def test_limiter_of_ones_own_has_no_interval_unless_it_says_so() -> None:
    class Own(RateLimiter):
        name = "own"

    assert RateLimiter.interval.fget(Own) == 0  # type: ignore[attr-defined]
