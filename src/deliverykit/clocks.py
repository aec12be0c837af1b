"""The system's clock: the one place of the library that asks the machine for the time."""

import asyncio
import time
from typing import Final

from deliverykit.words.arguments import number

__all__ = ["SystemClock"]

# CLOCK_MONOTONIC stands still while a Linux machine is suspended; CLOCK_BOOTTIME goes on, so a lease
# or a pause is not taken for younger than it is after a laptop or a VM wakes up. macOS has none.
_STEADY: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


def _length(seconds: object) -> float:
    return number(seconds, "seconds", least=-1e9)


class SystemClock:
    """The machine's wall clock, a steady clock beside it, and real waiting: a :class:`~deliverykit.words.clock.Clock`."""

    def now(self) -> int:
        """The instant, in UTC milliseconds. It may jump either way when somebody sets the clock."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that only go forward, suspended time included where the system tells it."""
        return time.monotonic() if _STEADY is None else time.clock_gettime(_STEADY)

    def sleep(self, seconds: float) -> None:
        """Block for so long; not at all for zero and less."""
        if (length := _length(seconds)) > 0:
            time.sleep(length)

    async def asleep(self, seconds: float) -> None:
        """Await for so long; zero and less lets other tasks run once."""
        await asyncio.sleep(max(0.0, _length(seconds)))

    def __repr__(self) -> str:
        return "SystemClock()"
