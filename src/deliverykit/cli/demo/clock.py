"""A clock that several processes read and the demo moves: the system's, and how far it was moved, in a file."""

import asyncio
import mmap
import time
from pathlib import Path
from typing import Final

__all__ = ["SharedClock"]

_STEP: Final = 0.005
"""How often a sleeper looks whether the clock was moved, in seconds."""
_SIZE: Final = 8


class SharedClock:
    """Implements :class:`~deliverykit.words.clock.Clock`. Whoever opens the same file is moved with it, at once.

    It is the system's clock plus one number of milliseconds in ``file``, which :meth:`create` writes.
    """

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._moved = memoryview(mmap.mmap(opened.fileno(), _SIZE)).cast("q")

    @classmethod
    def create(cls, file: Path, at: int) -> "SharedClock":
        """A new file; the clock shows ``at``, in UTC milliseconds."""
        file.write_bytes(bytes(_SIZE))
        clock = cls(file)
        clock._moved[0] = at - clock.now()
        return clock

    def advance(self, milliseconds: int) -> None:
        """Move it forward, for every process that reads it."""
        self._moved[0] += milliseconds

    def now(self) -> int:
        """The instant, in UTC milliseconds."""
        return time.time_ns() // 1_000_000 + self._moved[0]

    def monotonic(self) -> float:
        """Seconds that only go forward, with every move."""
        return time.monotonic() + self._moved[0] / 1000

    def sleep(self, seconds: float) -> None:
        """Wait for so long, or until the clock was moved past it."""
        wake = self.monotonic() + seconds
        while (left := wake - self.monotonic()) > 0:
            time.sleep(min(_STEP, left))

    async def asleep(self, seconds: float) -> None:
        """The same, awaited."""
        wake = self.monotonic() + seconds
        while (left := wake - self.monotonic()) > 0:  # noqa: ASYNC110 - another process may move it
            await asyncio.sleep(min(_STEP, left))
