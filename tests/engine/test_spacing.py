"""The gap between two starts of one process, however late the slots are found."""

import asyncio
import time
from datetime import timedelta
from itertools import pairwise

from engine_kit import message
from hypothesis import given
from hypothesis import strategies as st

from deliverykit import CalendarQuota
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


def test_a_stalled_worker_starts_its_overdue_slots_a_gap_apart(live, sandbox) -> None:
    mailer = live.mailer()
    live.server(mailer, "a", quota=CalendarQuota(hour=1000), pause=timedelta(milliseconds=50))
    mailer.enqueue([message(to=f"u{number}@example.org") for number in range(12)])
    worker = mailer.worker()

    async def stalled() -> None:
        running = asyncio.get_running_loop().run_in_executor(None, worker.drain)
        for _ in range(4):
            await asyncio.sleep(0.12)
            loop = worker._inner._loop if worker._inner is not None else None
            if loop is not None:
                loop.call_soon_threadsafe(time.sleep, 0.15)
        await running

    asyncio.run(stalled())
    arrivals = sorted(one.at for one in sandbox.received("sendgrid"))
    assert len(arrivals) == 12
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    # Two in a stall may have been written by the kernel together; without spacing up to five leave in the same moment.
    assert sum(gap < 40 for gap in gaps) <= 2, gaps
