"""A clock that is moved by hand, so that a test of a month's quota takes a millisecond."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from deliverykit.words.arguments import flag, number, refused, timestamp, whole
from deliverykit.words.locks import Guard

__all__ = ["ManualClock"]

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_STEP: Final = 0.005
"""How often a sleeper of a running clock looks whether the clock was moved, in seconds."""
_TURNS: Final = 5
"""How many turns of the loop other tasks get, to begin a shorter sleep, before the clock jumps."""


class ManualClock:
    """A clock for tests. Implements :class:`~deliverykit.words.clock.Clock`; safe to share by threads and loops.

    ``at`` is where it starts: an aware datetime or UTC milliseconds; 2026-01-01T00:00Z by default.

    Frozen (the default): it stands still until :meth:`advance` or :meth:`set` moves it, or somebody
    sleeps. ``sleep`` and ``asleep`` never wait for real: they move the clock to the instant at which
    the sleeper wakes. Tasks of one loop that sleep at the same time wake in the order of their instants.

    ``running=True``: it runs with real time, and can be moved besides. ``sleep`` and ``asleep`` really
    wait, and return within some 5 ms once the clock was moved past the sleeper's instant::

        clock = ManualClock(datetime(2026, 3, 29, tzinfo=UTC))
        mailer = Mailer("memory://", clock=clock)
        clock.advance(timedelta(days=1))
    """

    def __init__(self, at: datetime | int = _START, *, running: bool = False) -> None:
        self._guard = Guard()
        self._wall = _milliseconds(at) * 1_000_000  # nanoseconds, UTC
        self._steady = 0  # nanoseconds since the clock was made
        self._running = flag(running, "running")
        self._origin = time.monotonic_ns()
        self._sleepers: list[tuple[int, int, asyncio.AbstractEventLoop]] = []
        self._serial = 0

    # -- the clock --------------------------------------------------------------------------------

    def now(self) -> int:
        """The instant, in UTC milliseconds."""
        return self._guard(self._now)

    def _now(self) -> int:
        return (self._wall + self._passed()) // 1_000_000

    def monotonic(self) -> float:
        """Seconds since the clock was made; never goes back, whatever :meth:`set` does."""
        return self._elapsed() / 1e9

    def sleep(self, seconds: float) -> None:
        """Frozen: move the clock forward by so much, at once. Running: wait for it."""
        if not self._running:
            self._move(_nanoseconds(seconds))
            return
        wake = self._elapsed() + _nanoseconds(seconds)
        while (left := wake - self._elapsed()) > 0:
            time.sleep(min(_STEP, left / 1e9))

    async def asleep(self, seconds: float) -> None:
        """Frozen: let the other tasks run, then move the clock to the earliest sleeper's instant. Running: await it."""
        wake = self._elapsed() + _nanoseconds(seconds)
        if self._running:
            while (left := wake - self._elapsed()) > 0:  # noqa: ASYNC110 - the clock may be moved from any thread
                await asyncio.sleep(min(_STEP, left / 1e9))
            return
        loop = asyncio.get_running_loop()
        sleeper = self._guard(self._asleep, wake, loop)
        try:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            while not self._woken(sleeper):  # noqa: ASYNC110 - every turn may change who is earliest
                await asyncio.sleep(0)
        finally:
            self._guard(self._sleepers.remove, sleeper)

    def _asleep(self, wake: int, loop: asyncio.AbstractEventLoop) -> tuple[int, int, asyncio.AbstractEventLoop]:
        self._serial += 1
        sleeper = (wake, self._serial, loop)
        self._sleepers.append(sleeper)
        return sleeper

    # -- the hand that moves it ---------------------------------------------------------------------

    def advance(self, by: timedelta | float) -> None:
        """Let so much time pass: a timedelta, or seconds.

        Raises :class:`~deliverykit.ConfigurationError` for a negative amount (see :meth:`set`).
        """
        if isinstance(by, timedelta):
            by = by.total_seconds()
        elif isinstance(by, bool) or not isinstance(by, int | float):
            refused("by", by, "expected a timedelta or a number of seconds", "write timedelta(seconds=…)")
        amount = _nanoseconds(number(by, "by", least=-1e10, most=1e10))
        if amount < 0:
            refused("by", by, "time does not go back", "use set() to put the wall clock back")
        self._move(amount)

    def set(self, at: datetime | int) -> None:
        """Put the clock to an instant: an aware datetime or UTC milliseconds.

        Forward is as :meth:`advance`. Back is a clock step: ``now`` goes back, ``monotonic`` stays.
        """
        self._guard(self._set, _milliseconds(at) * 1_000_000)

    def _set(self, wall: int) -> None:
        difference = wall - (self._wall + self._passed())
        self._wall += difference
        self._steady += max(0, difference)

    def __repr__(self) -> str:
        return f"ManualClock({datetime.fromtimestamp(self.now() / 1000, UTC).isoformat()}, running={self._running})"

    # -- inside -------------------------------------------------------------------------------------

    def _passed(self) -> int:
        return time.monotonic_ns() - self._origin if self._running else 0

    def _elapsed(self) -> int:
        return self._guard(lambda: self._steady + self._passed())

    def _move(self, amount: int) -> None:
        self._guard(self._moved, max(0, amount))

    def _moved(self, amount: int) -> None:
        self._wall += amount
        self._steady += amount

    def _woken(self, sleeper: tuple[int, int, asyncio.AbstractEventLoop]) -> bool:
        """Whether its instant has come; the earliest sleeper of a loop makes it come."""
        return self._guard(self._wakes, *sleeper)

    def _wakes(self, wake: int, serial: int, loop: asyncio.AbstractEventLoop) -> bool:
        if any(other[:2] < (wake, serial) for other in self._sleepers if other[2] is loop):
            return False
        self._moved(max(0, wake - self._steady))
        return True


def _milliseconds(at: datetime | int) -> int:
    if isinstance(at, datetime):
        return timestamp(at, "at")
    return whole(at, "at", least=-(10**14), most=10**15)


def _nanoseconds(seconds: float) -> int:
    return round(number(seconds, "seconds", least=-1e10, most=1e10) * 1e9)
