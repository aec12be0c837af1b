"""Calendar windows in a time zone, as half-open intervals of instants ``[start, end)`` in UTC milliseconds.

A wall clock jumps, so nothing here adds to wall-clock times: a zone is cut into stretches of one
UTC offset, and a boundary is solved for in each.

* A ``day`` begins at the first instant whose local date is that day or later: it has 23 to 25
  hours as a rule (23.5 and 24.5 on Lord Howe, 22 and 26 at Troll); a midnight that is skipped makes
  it begin with the jump, a midnight that comes twice with the first; a date that a zone skipped
  (Apia, 30 December 2011) has no window.
* A ``week`` begins with its Monday, a ``month`` with its first day or its anchor day, by the same rule.
* An ``hour`` begins whenever the local clock, read after any jump, shows HH:00:00. An hour that is
  repeated in autumn is two hours. It lasts 60 minutes, but where a zone jumps by half an hour 90
  (Lord Howe, twice a year) or, once in history, 30.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

from deliverykit.limits.zones import zone as zone_of
from deliverykit.words.clock import LATEST

__all__ = ["LONGEST", "UNITS", "Unit", "boundary", "window"]

Unit = Literal["hour", "day", "week", "month"]

UNITS: Final[tuple[Unit, ...]] = get_args(Unit)

_HOUR: Final = 3600

LONGEST: Final = (2 * _HOUR * 1000, 27 * _HOUR * 1000, (7 * 24 + 3) * _HOUR * 1000, (31 * 24 + 3) * _HOUR * 1000)
"""No window of each of :data:`UNITS` is longer than this, in any zone, in milliseconds."""

# UTC offsets lie within 16 hours of zero, in history too, and no jump is longer than a day.
_REACH: Final = 42 * _HOUR


_EARLIEST: Final = -62_000_000_000_000
_LAST: Final = LATEST - 32 * 24 * _HOUR * 1000
"""A month later the calendar has not ended yet, in any zone."""


def window(unit: Unit, timezone: str, at: int, anchor_day: int = 1, anchor_hour: int = 0) -> tuple[int, int]:
    """The window ``[start, end)`` of ``unit`` that holds the instant ``at``.

    ``anchor_day`` is the day on which a month begins, or its last day where it is shorter;
    ``anchor_hour`` the local hour at which days, weeks and months begin. An instant before the year 5 or after 9998, which only
    a damaged state holds, counts as the first or last of that time.
    """
    zone = zone_of(timezone)
    second = min(max(at, _EARLIEST), _LAST) // 1000
    if unit == "hour":
        start, end = _hour(zone, second)
    else:
        local = datetime.fromtimestamp(second, zone).replace(tzinfo=None) - timedelta(hours=anchor_hour)
        index = _index(unit, local.date(), anchor_day)
        start = _begin(unit, zone, index, anchor_day, anchor_hour)
        # Where the clock went back over midnight it shows yesterday's date again; yesterday stays closed.
        while (end := _begin(unit, zone, index + 1, anchor_day, anchor_hour)) <= second:
            index, start = index + 1, end
    return start * 1000, end * 1000


def boundary(unit: Unit, timezone: str, at: int, anchor_day: int = 1, anchor_hour: int = 0) -> int:
    """The first instant, ``at`` or later, at which a window of ``unit`` begins."""
    start, end = window(unit, timezone, at, anchor_day, anchor_hour)
    return start if start == at else end


def _stretches(zone: ZoneInfo, low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """Cut ``[low, high)`` into stretches ``(start, end, offset)`` of one UTC offset, in seconds.

    No zone ever jumped twice within one hour, so looking once an hour finds every jump.
    """
    begin, here, offset = low, low, _offset(zone, low)
    while here < high:
        step = min(here + _HOUR, high)
        after = _offset(zone, step)
        if after != offset:
            while step - here > 1:
                middle = (here + step) // 2
                if _offset(zone, middle) == offset:
                    here = middle
                else:
                    step = middle
            yield begin, step, offset
            begin, offset = step, after
        here = step
    yield begin, high, offset


def _offset(zone: ZoneInfo, second: int) -> int:
    ahead = datetime.fromtimestamp(second, zone).utcoffset()
    return int(ahead.total_seconds()) if ahead else 0


def _first(zone: ZoneInfo, local: datetime) -> int:
    """The first second at which the local clock shows ``local`` or later."""
    wanted = int(local.replace(tzinfo=UTC).timestamp())
    for start, end, offset in _stretches(zone, wanted - _REACH, wanted + _REACH):
        if (second := max(start, wanted - offset)) < end:
            return second
    raise AssertionError(f"{zone.key} never shows {local}")  # pragma: no cover


def _hour(zone: ZoneInfo, second: int) -> tuple[int, int]:
    begin = end = None
    for start, stop, offset in _stretches(zone, second - 3 * _HOUR, second + 3 * _HOUR):
        # HH:00:00 is every second s with s + offset a multiple of an hour; the first in this stretch:
        for sharp in range(start + -(start + offset) % _HOUR, stop, _HOUR):
            if sharp <= second:
                begin = sharp
            elif end is None:
                end = sharp
    assert begin is not None and end is not None, f"{zone.key} has no hour at {second}"  # noqa: S101, PT018 - no such jump
    return begin, end


def _index(unit: Unit, day: date, anchor_day: int) -> int:
    """Numbers the windows of a unit: that of a local date."""
    if unit == "day":
        return day.toordinal()
    if unit == "week":
        return (day.toordinal() - 1) // 7  # the first day of the ordinal calendar was a Monday
    month = day.year * 12 + day.month - 1
    return month if day >= _anchored(month, anchor_day) else month - 1


def _anchored(month: int, anchor_day: int) -> date:
    year, number = divmod(month, 12)
    return date(year, number + 1, min(anchor_day, monthrange(year, number + 1)[1]))


@lru_cache(maxsize=8192)
def _begin(unit: Unit, zone: ZoneInfo, index: int, anchor_day: int, anchor_hour: int) -> int:
    """The second at which the window of this number begins."""
    if unit == "day":
        day = date.fromordinal(index)
    elif unit == "week":
        day = date.fromordinal(index * 7 + 1)
    else:
        day = _anchored(index, anchor_day)
    return _first(zone, datetime(day.year, day.month, day.day, anchor_hour))  # noqa: DTZ001 - a wall clock's reading
