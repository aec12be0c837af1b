"""Paces: when the next email may start. They delay, by reserving slots; they never count as exhausted."""

from abc import abstractmethod
from datetime import timedelta
from functools import cached_property
from typing import ClassVar, Final

from attrs import Attribute, field, frozen

from deliverykit.contracts.limit import Limit, RateLimiter, State, Terms
from deliverykit.limits.checks import brief, check_length, check_whole, milliseconds
from deliverykit.words.arguments import whole
from deliverykit.words.clock import NEVER

__all__ = ["HORIZON", "Pause", "Rate", "in_blocks", "pace"]

HORIZON: Final = 250
"""Slots up to so many milliseconds ahead may be taken, several at once; a worker that dies wastes no more."""


class _Slots(RateLimiter):
    """Reservation of slots (the generic cell rate algorithm).

    The state is the slot that was issued last, reckoned as if all were evenly spaced; the interval
    it was issued with; and how many were issued with it. The next is due an interval later; a burst
    lets it go earlier by so many intervals. The interval is not part of what is due, so a pace that
    is changed holds from the next slot on.
    """

    @property
    def interval(self) -> int:
        """See :attr:`~deliverykit.contracts.limit.RateLimiter.interval`."""
        return self._interval

    @property
    @abstractmethod
    def _interval(self) -> int:
        """Milliseconds from one slot to the next."""

    @property
    @abstractmethod
    def _burst(self) -> int:
        """How many may go at once after a rest."""

    def readable(self, state: State) -> bool:
        """Whether it is the last slot, the interval and a number."""
        return super().readable(state) and (not state or len(state) == 3)

    def room(self, state: State, now: int) -> int:
        """How many slots lie within the next 250 milliseconds, or may go at once."""
        due, first = self._due(state, now)
        if first > now + HORIZON:
            return 0
        return max((now + HORIZON - first) // self._interval + 1, self._at_once(due, now))

    def when(self, state: State, now: int, n: int) -> int:
        """The first instant at which ``n`` slots may be taken in one step."""
        due, _ = self._due(state, now)
        last = due + (n - self._burst) * self._interval
        if (n - 1) * self._interval <= HORIZON:
            return max(now, last - HORIZON)
        return max(now, last) if n <= self._burst else NEVER

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        """Reserve ``n`` slots: all for now where the burst allows it, else an interval apart."""
        due, first = self._due(state, now)
        last = max(now, due) + (n - 1) * self._interval
        step = 0 if n <= self._at_once(due, now) else self._interval
        gap = self._interval if self._burst == 1 else 0
        return (last, self._interval, n), Terms(last, slot=first, step=step, gap=gap)

    def give(self, state: State, mark: int, n: int) -> State:
        """Issue the slots of a grant again, if they are the last that were issued and all of them come back.

        Others are lost: an email that got a later one may already be under way to it.
        """
        if not state or state[0] != mark or state[2] != n:
            return state
        return (state[0] - n * state[1], state[1], 0)

    def rewound(self, state: State, now: int) -> State:
        """After the clock was set back: as if the last slot were now."""
        return (min(state[0], now), state[1], 0) if state else state

    def _due(self, state: State, now: int) -> tuple[int, int]:
        """When the next slot is due, and when it may go."""
        interval = self._interval
        due = state[0] + interval if state else now
        return due, max(now, due - (self._burst - 1) * interval)

    def _at_once(self, due: int, now: int) -> int:
        """How many the burst lets go this very instant; none or less where it is spent."""
        return (now - max(now, due)) // self._interval + self._burst


def _pause(_: object, __: "Attribute[timedelta]", value: object) -> None:
    check_length("pause", value, unit="milliseconds")


def _per(_: object, attribute: "Attribute[timedelta]", value: object) -> None:
    check_length(attribute.name, value)


def _number(_: object, attribute: "Attribute[int]", value: object) -> None:
    check_whole(attribute.name, value, 1)


@frozen
class Pause(_Slots):
    """At least ``length`` from the start of one email to the start of the next; the first goes at once.

    It guarantees that slots are issued in order and never closer than ``length``, rounded up to a
    whole millisecond.
    """

    name: ClassVar[str] = "pause"

    length: timedelta = field(validator=_pause)

    @cached_property
    def _interval(self) -> int:
        return milliseconds(self.length)

    @property
    def _burst(self) -> int:
        return 1


@frozen
class Rate(_Slots):
    """``n`` emails in each ``per``, evenly spaced, ``burst`` of them at once after a rest.

    It guarantees that of the slots it issues at most ``burst`` + T / interval, rounded up, lie in
    any time T. The interval is ``per`` / ``n``, rounded up to a whole millisecond: ``Rate(14)`` is one each
    72 ms, ``Rate(300)`` one each 4 ms; beyond 1,000 per second there is nothing to wait for.
    """

    name: ClassVar[str] = "rate"

    n: int = field(validator=_number)
    per: timedelta = field(default=timedelta(seconds=1), validator=_per)
    burst: int = field(default=1, validator=_number)

    @property
    def key(self) -> str:
        """One state per owner and period, whatever the number is."""
        return f"{self.name}/{brief(milliseconds(self.per))}"

    @cached_property
    def _interval(self) -> int:
        return -(-milliseconds(self.per) // self.n)

    @property
    def _burst(self) -> int:
        return self.burst


class _Blocks(_Slots):
    """A pace of which many slots are taken at once, as far ahead as they lie; the next when those have passed."""

    __slots__ = ()
    size: int

    def room(self, state: State, now: int) -> int:
        """A whole block, once its first slot is near."""
        room = super().room(state, now)
        return max(room, self.size) if room > 0 else 0

    def when(self, state: State, now: int, n: int) -> int:
        """When the first slot is near."""
        return super().when(state, now, 1)

    def give(self, state: State, mark: int, n: int) -> State:
        """The last of them are free again: nobody else has slots behind them."""
        return (state[0] - n * state[1], state[1], state[2] - n)


@frozen
class _PauseBlocks(_Blocks, Pause):
    size: int = 1


@frozen
class _RateBlocks(_Blocks, Rate):
    size: int = 1


def in_blocks(limit: Limit, size: int) -> Limit:
    """A pause or rate for foretelling: as it is, but that ``size`` slots are taken in one step. Any other limit as it is."""
    whole(size, "size", least=1)
    if isinstance(limit, Pause):
        return _PauseBlocks(limit.length, size)
    if isinstance(limit, Rate):
        return _RateBlocks(limit.n, limit.per, limit.burst, size)
    return limit


def pace(value: object) -> RateLimiter | None:
    """What the ``pause=`` of a server means: a ``timedelta`` is a :class:`Pause`, a pace is itself, ``None`` is none.

    Raises ``ConfigurationError`` for anything else; for a bare number with the ``timedelta`` to write.
    """
    if value is None or isinstance(value, RateLimiter):
        return value
    check_length("pause", value, unit="milliseconds")
    return Pause(value)  # type: ignore[arg-type]
