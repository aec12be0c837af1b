"""The system's clock, and the one that is moved by hand."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.clocks import SystemClock
from deliverykit.testing.clock import ManualClock
from deliverykit.words.clock import Clock, instant

START = datetime(2026, 3, 29, tzinfo=UTC)


def test_the_systems_clock_tells_the_time_and_waits() -> None:
    clock: Clock = SystemClock()
    first = time.time_ns() // 1_000_000
    before, steady = clock.now(), clock.monotonic()
    assert first <= before <= time.time_ns() // 1_000_000
    clock.sleep(0.02)
    asyncio.run(clock.asleep(0.02))
    clock.sleep(-1)
    assert clock.monotonic() - steady >= 0.04
    assert clock.now() - before >= 39


def test_a_frozen_clock_stands_still_until_it_is_moved() -> None:
    clock: ManualClock = ManualClock(START)
    assert clock.now() == ManualClock(instant(START)).now() == instant(START)
    clock.advance(timedelta(days=1))
    clock.advance(0.5)
    assert (clock.now(), clock.monotonic()) == (instant(START) + 86_400_500, 86_400.5)
    with pytest.raises(ValueError, match="time does not go back"):
        clock.advance(-1)


def test_set_back_is_a_clock_step() -> None:
    clock = ManualClock(START)
    clock.set(START + timedelta(hours=2))
    clock.set(START)
    assert (clock.now(), clock.monotonic()) == (instant(START), 7200.0)


def test_sleeping_on_a_frozen_clock_takes_no_time() -> None:
    """Else this would take two hours."""
    clock = ManualClock(START)
    clock.sleep(3600)
    asyncio.run(clock.asleep(3600))
    assert clock.now() == instant(START) + 7_200_000


@given(st.lists(st.integers(0, 10**9).map(lambda ms: ms / 1000), min_size=1, max_size=20))
def test_tasks_wake_in_order_each_at_its_instant(seconds: list[float]) -> None:
    clock = ManualClock(START)
    woken: list[tuple[float, float]] = []

    async def one(length: float) -> None:
        await clock.asleep(length)
        woken.append((length, clock.monotonic()))

    async def all_of_them() -> None:
        await asyncio.gather(*(one(length) for length in seconds))

    asyncio.run(all_of_them())
    assert [length for length, _ in woken] == sorted(seconds)
    assert all(abs(at - length) < 1e-6 for length, at in woken)


def test_a_sleeper_that_is_cancelled_holds_nobody_up() -> None:
    async def main() -> int:
        clock = ManualClock(START)
        first = asyncio.create_task(clock.asleep(1))
        second = asyncio.create_task(clock.asleep(5))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait_for(second, 60)
        return clock.now()

    assert asyncio.run(main()) == instant(START) + 5000


def test_a_running_clock_runs_and_is_moved_besides() -> None:
    clock = ManualClock(START, running=True)
    time.sleep(0.03)
    assert clock.now() - instant(START) >= 30
    for sleep in (clock.sleep, lambda seconds: asyncio.run(clock.asleep(seconds))):  # else each would take a day
        threading.Timer(0.05, clock.advance, [timedelta(days=1)]).start()
        sleep(80_000)
    started = time.monotonic()
    clock.sleep(0.05)
    assert time.monotonic() - started >= 0.05


def test_threads_may_share_it() -> None:
    clock = ManualClock(START)

    def move() -> None:
        for _ in range(500):
            clock.advance(0.001)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now() == instant(START) + 2000
