"""Slowed for a while, because the ESP said that it was asked too fast."""

from collections.abc import Iterator
from typing import ClassVar, Final

from attrs import field, frozen

from deliverykit.contracts.limit import RateLimiter, State, Terms
from deliverykit.limits.pace import HORIZON
from deliverykit.words.clock import NEVER

__all__ = ["Slowed"]

_SECOND: Final = 1000
_RECOVERY: Final = 60_000
"""After so long without another such answer the pace doubles, until it is what it was."""
_SLOWED: Final = 7
"""How long the state of a slowed server is."""
_LONGEST: Final = 60_000
"""No gap grows beyond this, unless the host's own is longer."""


@frozen
class Slowed(RateLimiter):
    """The pace that a "too fast" halves: each such answer doubles the gap between two emails of this server.

    ``interval`` is the longest gap in ms that the server's own paces keep, 0 where it has none. What is halved is
    the pace at which it went, never more than that: the state counts the emails of this second and the last one. A
    single one tells of no pace; then it is the server's own, or one a second.

    The gap holds once the closed door opens again; then it is halved after every minute without such an answer, until
    nothing is left of it and only the server's own paces hold. So nothing ever goes faster than what was set, and a
    server without answers of that kind is not delayed at all. The gap never grows beyond a minute.
    """

    name: ClassVar[str] = "slowed"

    interval: int = field(default=0)

    # The state of a server that is not slowed: a second, how many emails were admitted in it, and how many in the one
    # before. Of a slowed one: the last slot; the gap it was issued with; how many were issued with it; the gap at
    # the time of the first answer; how often it is doubled; when it was doubled last; since when it recovers.

    def readable(self, state: State) -> bool:
        """Whether it has the form of the state above."""
        return super().readable(state) and (not state or len(state) in (3, _SLOWED))

    def room(self, state: State, now: int) -> int:
        """Any number where it is not slowed, else how many slots lie within the next 250 milliseconds."""
        if len(state) < _SLOWED or not (gap := self.gap(state, now)):
            return NEVER
        first = max(now, state[0] + gap)
        return (now + HORIZON - first) // gap + 1 if first <= now + HORIZON else 0

    def when(self, state: State, now: int, n: int) -> int:
        """The first instant at which ``n`` slots may be taken in one step; no later than it is over."""
        for begin, end, gap in self._stages(state, now):
            at = max(begin, state[0] + n * gap - HORIZON)
            if (n - 1) * gap <= HORIZON and at < end:
                return at
        return max(now, self.over(state))

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        """Reserve ``n`` slots; where it is not slowed, count them."""
        if len(state) < _SLOWED or not (gap := self.gap(state, now)):
            second = now - now % _SECOND
            return (second, *_counted(state, second, n)), Terms(second)
        first = max(now, state[0] + gap)
        last = first + (n - 1) * gap
        return (last, gap, n, *state[3:]), Terms(last, slot=first, step=gap, gap=gap)

    def give(self, state: State, mark: int, n: int) -> State:
        """Issue the slots of a grant again, if they are the last that were issued and all of them come back."""
        if not state or state[0] != mark:
            return state
        if not _is_slowed(state):
            return (state[0], max(0, state[1] - n), state[2])
        return (state[0] - n * state[1], state[1], 0, *state[3:]) if state[2] == n else state

    def slower(self, state: State, now: int, granted: int, opens: int) -> State:
        """The state after an answer of ``now`` that the mail admitted at ``granted`` came too fast.

        It recovers from ``opens`` on, when the door that this answer closed opens again. Answers to mail that was
        admitted before the pace was halved last are the same event, and no news.
        """
        if not _is_slowed(state):
            _, count, before = state or (0, 0, 0)
            seen = max(count, before, 1)
            gap = self.interval if self.interval and seen == 1 else -(-_SECOND // seen)
            return (now, 0, 0, gap, 1, now, max(now, opens))
        last, issued, n, gap, _, halved, _ = state
        if granted <= halved:
            return state
        level = self._level(state, now)
        more = level + 1 if self._gap(gap, level) < _LONGEST or not level else level
        return (max(last, now), issued, n if last >= now else 0, gap, more, now, max(now, opens))

    def gap(self, state: State, now: int) -> int:
        """The gap it keeps now, in ms; 0 where it is not slowed."""
        level = self._level(state, now)
        return self._gap(state[3], level) if level else 0

    def over(self, state: State) -> int:
        """The instant from which nothing is left of it, if no such answer comes; 0 where it is not slowed."""
        return state[6] + state[4] * _RECOVERY if _is_slowed(state) else 0

    def rewound(self, state: State, now: int) -> State:
        """After the clock was set back: the last slot and the last answer are now, and it recovers as it would have."""
        if not _is_slowed(state):
            return ()
        back = max(0, state[5] - now)
        return (min(state[0], now), state[1], 0, *state[3:5], state[5] - back, state[6] - back)

    def _level(self, state: State, now: int) -> int:
        """How often the gap is doubled now."""
        if not _is_slowed(state):
            return 0
        return max(0, state[4] - max(0, now - state[6]) // _RECOVERY)

    def _gap(self, gap: int, level: int) -> int:
        base = max(gap, self.interval)
        return min(base << level, max(base, _LONGEST))

    def _stages(self, state: State, now: int) -> Iterator[tuple[int, int, int]]:
        """From when, until when, which gap."""
        for level in range(self._level(state, now), 0, -1):
            end = state[6] + (state[4] - level + 1) * _RECOVERY
            yield max(now, end - _RECOVERY if level < state[4] else now), end, self._gap(state[3], level)


def _is_slowed(state: State) -> bool:
    return len(state) == _SLOWED


def _counted(state: State, second: int, n: int) -> tuple[int, int]:
    """``n`` more in this second, and how many there were in the one before."""
    if len(state) == _SLOWED or not state:
        return n, 0
    if state[0] == second:
        return state[1] + n, state[2]
    return n, state[1] if state[0] == second - _SECOND else 0
