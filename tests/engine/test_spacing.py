"""The gap between two starts of one process, however late the slots are found."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deliverykit.engine.spacing import Spacing


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 200)), min_size=1, max_size=40))
def test_starts_keep_the_gap(asks: list[tuple[int, int]]) -> None:
    spacing, now, starts = Spacing(), 0, []
    for step, gap in asks:
        now += step
        wait = spacing.start([("pause", gap)], now)
        if wait:
            assert spacing.start([("pause", gap)], now + wait - 1) == 1, "a refusal reserves nothing"
            now += wait
            assert spacing.start([("pause", gap)], now) == 0
        starts.append((now, gap))
    assert all(later - earlier >= gap for (earlier, gap), (later, _) in pairwise(starts))


def test_other_paces_do_not_wait() -> None:
    spacing = Spacing()
    assert spacing.start([("a", 100)], 0) == 0
    assert spacing.start([("b", 100)], 0) == 0
    assert spacing.start([("a", 100), ("b", 10)], 40) == 60
    assert spacing.start([], 0) == 0
