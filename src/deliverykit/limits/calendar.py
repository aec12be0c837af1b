"""Quotas by the calendar: so many per hour, day, week and month of a time zone."""

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar, Final, Self

from attrs import Attribute, evolve, field, frozen

from deliverykit.contracts.limit import Counts, QuotaPolicy, State, Terms, Usage
from deliverykit.limits.checks import check_counts, check_whole, kept_from, shares
from deliverykit.limits.windows import LONGEST, UNITS, boundary, window
from deliverykit.limits.zones import known_zone
from deliverykit.words.clock import NEVER
from deliverykit.words.errors import ConfigurationError

__all__ = ["CalendarQuota"]

# The state, flat: the start and end of the current hour, day, week and month; what was taken in
# each; what earlier windows put into each; the instant the windows last changed their shape; then,
# three at a time, the windows before: unit, end, taken.
_TAKEN: Final = 8
_CARRIED: Final = 12
_RESHAPED: Final = 16
_BEFORE: Final = 17

_KEPT: Final = 4
"""So many earlier windows of a unit are remembered apart; more are added to the oldest."""


def _limit(_: object, attribute: "Attribute[int | None]", value: object) -> None:
    if value is not None:
        check_whole(attribute.name, value, 0)


def _anchor_day(_: object, attribute: "Attribute[int]", value: object) -> None:
    check_whole(attribute.name, value, 1, 31)


def _anchor_hour(_: object, attribute: "Attribute[int]", value: object) -> None:
    check_whole(attribute.name, value, 0, 23)


def _timezone(value: object) -> str | None:
    return None if value is None else known_zone(value)


@frozen
class _Windows:
    """The four windows of some instants."""

    since: int
    until: int
    """For any instant from ``since`` on and before ``until``."""
    spans: State
    """Start and end of each."""
    ends: int
    """When the first of those that have a limit ends."""


@frozen(kw_only=True)
class CalendarQuota(QuotaPolicy):
    """At most so many in each hour, day, week and month of a time zone, all at once.

    Give at least one of the four; what is left out has no limit. Days, weeks and months begin at
    ``anchor_hour`` of the local clock, weeks on Monday, months on ``anchor_day`` (on the last day
    of a month that is shorter): set them as the ESP bills. Windows are exact through changes of
    daylight saving time; :mod:`deliverykit.limits.windows` says how. ``timezone`` left out is the
    account's.

    It guarantees that what was taken, and was used before its ``Terms.until``, never exceeds a limit
    in any of its windows, and that it refuses only where a window is full:

    * All four windows are counted whether they have a limit or not, so a limit that is raised,
      lowered, added or removed applies at once to all that was already taken. (What is under way
      while an hour's limit is added counts in the hour it was taken.)
    * After a change of zone or anchor the new window starts with all that was taken in any earlier
      window that overlaps it. That may be more than was sent inside it, never less; and what was
      taken before the change is not given back.

    ``keep`` are shares of each limit that only one stream may use, as ``{"transactional": 0.1}``: mail of every other stream
    is refused once no more than that is left, until the window ends; mail of that stream may use everything. Each
    share is rounded up. What that stream has used before does not make its share smaller.

    A limit of 0 lets nothing leave.
    """

    name: ClassVar[str] = "calendar"

    hour: int | None = field(default=None, validator=_limit)
    day: int | None = field(default=None, validator=_limit)
    week: int | None = field(default=None, validator=_limit)
    month: int | None = field(default=None, validator=_limit)
    timezone: str | None = field(default=None, converter=_timezone)
    anchor_day: int = field(default=1, validator=_anchor_day)
    anchor_hour: int = field(default=0, validator=_anchor_hour)
    # An attribute where the contract has a property: both are read the same way.
    counts: Counts = field(  # pyright: ignore[reportIncompatibleMethodOverride]
        default="recipients", validator=check_counts
    )

    keep: Mapping[str, float] = field(factory=dict, converter=shares, hash=False)

    def __attrs_post_init__(self) -> None:
        """Refuse a quota without any limit."""
        if all(limit is None for limit in (self.hour, self.day, self.week, self.month)):
            raise ConfigurationError("a CalendarQuota needs one of hour, day, week, month or more; for no limit give no quota")

    @property
    def key(self) -> str:
        """One state per owner, whatever the limits, the zone and the anchors are."""
        return self.name if self.counts == "recipients" else f"{self.name}/{self.counts}"

    def bound(self, timezone: str) -> Self:
        """The same quota, in this zone if it has none of its own."""
        return self if self.timezone is not None else evolve(self, timezone=timezone)

    def for_stream(self, stream: str) -> Self:
        """With limits that are smaller by what is kept for other streams."""
        if not any(other != stream for other in self.keep):
            return self
        left = [limit and limit - kept_from(stream, self.keep, limit) for limit in (self.hour, self.day, self.week, self.month)]
        return evolve(self, hour=left[0], day=left[1], week=left[2], month=left[3], keep={})

    def readable(self, state: State) -> bool:
        """Whether it has the form of the state of this module."""
        return super().readable(state) and (not state or (len(state) >= _BEFORE and (len(state) - _BEFORE) % 3 == 0))

    def room(self, state: State, now: int) -> int:
        """What the fullest of its windows has left."""
        state = self._rolled(state, now)
        return min([limit - state[_TAKEN + unit] - state[_CARRIED + unit] for unit, limit in self._limits])

    def when(self, state: State, now: int, n: int) -> int:
        """The first instant at which every window has room for ``n``: now, or the beginning of one."""
        at = now
        rolled = self._rolled(state, now)
        for unit, limit in self._limits:
            if n > limit:
                return NEVER
            if limit - rolled[_TAKEN + unit] - rolled[_CARRIED + unit] < n:
                at = max(at, self._free(rolled, unit, limit - n))
        return at

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        """Count ``n`` in all windows; good until the first of them that has a limit ends."""
        old = self._rolled(state, now)
        new = (*old[:8], old[8] + n, old[9] + n, old[10] + n, old[11] + n, *old[_CARRIED:])
        return new, Terms(now, self._windows(now).ends)

    def give(self, state: State, mark: int, n: int) -> State:
        """Take ``n`` off each current window that holds the instant ``mark``, at which it was taken."""
        if not state or mark <= state[_RESHAPED]:
            return state
        new = list(state)
        for unit in range(len(UNITS)):
            if state[2 * unit] <= mark < state[2 * unit + 1]:
                new[_TAKEN + unit] = max(0, state[_TAKEN + unit] - n)
        return tuple(new)

    def rewound(self, state: State, now: int) -> State:
        """After the clock was set back: all that was taken counts in the windows of ``now``, and ends with them."""
        if not state:
            return state
        new = list(self._rolled(state, now))
        before = new[_BEFORE:]
        for i in range(0, len(before), 3):
            before[i + 1] = min(before[i + 1], new[2 * before[i] + 1])
        return (*new[:_RESHAPED], min(new[_RESHAPED], now - 1), *before)

    def usage(self, state: State, now: int) -> tuple[Usage, ...]:
        """Each window that has a limit, by its unit: ``hour``, ``day``, ``week``, ``month``."""
        state = self._rolled(state, now)
        return tuple(
            Usage(UNITS[unit], state[_TAKEN + unit] + state[_CARRIED + unit], limit, state[2 * unit + 1])
            for unit, limit in self._limits
        )

    @cached_property
    def _limits(self) -> tuple[tuple[int, int], ...]:
        """The place of each unit that has a limit among :data:`UNITS`, and the limit."""
        limits = (self.hour, self.day, self.week, self.month)
        return tuple((unit, limit) for unit, limit in enumerate(limits) if limit is not None)

    @cached_property
    def _memo(self) -> list[_Windows]:
        """One entry: the windows last asked for. It is replaced as a whole, so threads may share it."""
        return [_Windows(0, 0, (), 0)]

    def _windows(self, now: int) -> _Windows:
        """The four windows that hold ``now``."""
        known = self._memo[0]
        if known.since <= now < known.until:
            return known
        spans = tuple(at for unit in UNITS for at in window(unit, self._zone, now, self.anchor_day, self.anchor_hour))
        ends = min(spans[2 * unit + 1] for unit, _ in self._limits)
        self._memo[0] = found = _Windows(max(spans[::2]), min(spans[1::2]), spans, ends)
        return found

    @property
    def _zone(self) -> str:
        if self.timezone is None:
            raise ConfigurationError("this CalendarQuota has no timezone: give one, or ask bound(timezone) for one that has")
        return self.timezone

    def _rolled(self, state: State, now: int) -> State:
        """The state with the windows of ``now``; what they leave behind goes into the windows before."""
        spans = self._windows(now).spans
        if state[:_TAKEN] == spans:
            return state
        if not state:
            return (*spans, *(0,) * 8, now - 1)
        taken, carried, reshaped = list(state[_TAKEN:_CARRIED]), [0, 0, 0, 0], state[_RESHAPED]
        before: list[int] = []
        for unit in range(len(UNITS)):
            start = spans[2 * unit]
            past = _past(state, unit)
            end = state[2 * unit + 1]
            moved = state[2 * unit] != start or end != spans[2 * unit + 1]
            if moved:
                past = sorted([(end, taken[unit]), *past] if taken[unit] else past, reverse=True)
                taken[unit] = 0
            # Further back than the longest window no change of zone can reach.
            past = [(stop, count) for stop, count in past if stop > now - LONGEST[unit]]
            if len(past) > _KEPT:
                past[_KEPT - 1 :] = [(past[_KEPT - 1][0], sum(count for _, count in past[_KEPT - 1 :]))]
            carried[unit] = sum(count for stop, count in past if stop > start)
            if moved and start < end and carried[unit]:
                # Not the next window but another shape: whose charge an earlier mark names is no longer clear.
                reshaped = now
            before += [number for stop, count in past for number in (unit, stop, count)]
        return (*spans, *taken, *carried, reshaped, *before)

    def _free(self, rolled: State, unit: int, most: int) -> int:
        """The first beginning of a window in which no more than ``most`` of what was taken so far counts."""
        left, at = 0, 0
        for end, count in sorted([(rolled[2 * unit + 1], rolled[_TAKEN + unit]), *_past(rolled, unit)], reverse=True):
            left += count
            if left > most:
                at = end
                break
        return boundary(UNITS[unit], self._zone, at, self.anchor_day, self.anchor_hour)


def _past(state: State, unit: int) -> list[tuple[int, int]]:
    """The windows before of one unit: their ends and what was taken in them, the latest end first."""
    return [(state[i + 1], state[i + 2]) for i in range(_BEFORE, len(state), 3) if state[i] == unit]
