"""An oracle for windows that knows nothing of offsets: it reads the local clock once a minute, as a person would."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTE = 60_000


def ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1000


def boundaries(unit: str, zone: str, low: int, high: int, anchor_day: int = 1, anchor_hour: int = 0) -> list[int]:
    """The minutes in ``[low, high)`` at which a window of ``unit`` begins, that at ``low`` left out.

    A day begins when a later date than ever before is seen; so the look-out begins 26 hours early.
    """
    tz, found, latest = ZoneInfo(zone), [], None
    for at in range(low if unit == "hour" else low - 26 * 60 * MINUTE, high, MINUTE):
        face = datetime.fromtimestamp(at // 1000, tz)
        if unit == "hour":
            if face.minute == 0 and at > low:
                found.append(at)
            continue
        page = label(unit, (face.replace(tzinfo=None) - timedelta(hours=anchor_hour)).date(), anchor_day)
        if latest is None or page > latest:
            if latest is not None and at > low:
                found.append(at)
            latest = page
    return found


@lru_cache(maxsize=4096)
def label(unit: str, day: date, anchor_day: int) -> date:
    """The date on which the window that holds ``day`` begins, found by walking back."""
    while not (
        unit == "day"
        or (unit == "week" and day.strftime("%A") == "Monday")
        or (unit == "month" and day.day == min(anchor_day, monthrange(day.year, day.month)[1]))
    ):
        day -= timedelta(days=1)
    return day


def jumps(zone: str, low: int, high: int) -> list[tuple[int, float, float]]:
    """The minutes in ``[low, high)`` at which a zone's clock jumps, with the offsets before and after."""
    tz, found = ZoneInfo(zone), []

    def offset(at: int) -> float:
        return datetime.fromtimestamp(at // 1000, tz).utcoffset().total_seconds()

    step = 360 * MINUTE
    for at in range(low, high, step):
        if offset(at) != offset(at + step):
            here = next(minute for minute in range(at + MINUTE, at + step + 1, MINUTE) if offset(minute) != offset(at))
            found.append((here, offset(at), offset(at + step)))
    return found
