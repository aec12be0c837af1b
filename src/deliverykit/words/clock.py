"""Time is handed in. Instants are UTC milliseconds since 1970, as whole numbers."""

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

__all__ = ["LATEST", "NEVER", "Clock", "instant", "length", "moment"]

NEVER: Final = 1 << 62
"""Later than any instant: no waiting helps."""

LATEST: Final = 253_370_764_799_999
"""The last millisecond of 9998, the latest instant that becomes a datetime."""

_LONGEST: Final = timedelta.max // timedelta(milliseconds=1)


class Clock(Protocol):
    """What tells the time and waits: the system's, or a test's that is moved by hand."""

    def now(self) -> int:
        """The instant, in UTC milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward, for measuring how long something took."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block for so long."""
        ...

    async def asleep(self, seconds: float) -> None:
        """Await for so long."""
        ...


def instant(value: datetime) -> int:
    """Return the UTC milliseconds of an aware datetime.

    Raises ``ValueError`` for one without a time zone, and for one before 1970 or after 9998.
    """
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no time zone; give a datetime with a time zone")
    try:
        at = round(value.timestamp() * 1000)
    except (OverflowError, ValueError):
        at = -1
    if not 0 <= at <= LATEST:
        raise ValueError(f"{value.isoformat()} is out of range; give a time from 1970 to 9998")
    return at


def moment(at: int) -> datetime | None:
    """Return the aware UTC datetime of an instant; ``None`` for ``NEVER``. It never raises.

    An instant before 1970 or after 9998, which only a damaged store holds, is the first or last of that time: every time
    zone can show it.
    """
    return None if at >= NEVER else datetime.fromtimestamp(min(max(at, 0), LATEST) / 1000, UTC)


def length(milliseconds: int) -> timedelta:
    """Return the timedelta of so many stored milliseconds; what is longer than one can be is the longest. It never raises."""
    return timedelta(milliseconds=min(max(milliseconds, -_LONGEST), _LONGEST))
