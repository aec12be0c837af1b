"""Time is handed in. Instants are UTC milliseconds since 1970, as whole numbers."""

from datetime import UTC, datetime
from typing import Final, Protocol

__all__ = ["NEVER", "Clock", "instant", "moment"]

NEVER: Final = 1 << 62
"""Later than any instant: no waiting helps."""


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
    """The UTC milliseconds of an aware datetime; raises ``ValueError`` for a naive one."""
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no time zone; give an aware datetime")
    return round(value.timestamp() * 1000)


def moment(at: int) -> datetime | None:
    """The aware UTC datetime of an instant; ``None`` for ``NEVER``."""
    return None if at >= NEVER else datetime.fromtimestamp(at / 1000, UTC)
