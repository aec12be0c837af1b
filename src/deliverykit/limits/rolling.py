"""Quotas over any period: so many in the last 24 hours, whenever one looks."""

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import ClassVar, Final, Self

from attrs import Attribute, evolve, field, frozen

from deliverykit.contracts.limit import Counts, QuotaPolicy, State, Terms, Usage
from deliverykit.limits.checks import brief, check_counts, check_length, check_whole, kept_from, milliseconds, shares
from deliverykit.words.arguments import refused
from deliverykit.words.clock import NEVER

__all__ = ["RollingQuota"]

_BUCKETS: Final = 1440

_VALID: Final = 5000
"""A grant is good for at least so many milliseconds: long enough to build the request and to wait for a slot."""


def _limit(_: object, attribute: "Attribute[int]", value: object) -> None:
    check_whole(attribute.name, value, 0)


def _per(_: object, attribute: "Attribute[timedelta]", value: object) -> None:
    check_length(attribute.name, value)
    if isinstance(value, timedelta) and value < timedelta(seconds=10):
        refused(attribute.name, value, "too short for a quota", "give timedelta(seconds=10) or more, or use Rate(…)")


@frozen
class RollingQuota(QuotaPolicy):
    """At most ``limit`` in any ``per``: in the last 24 hours, whenever one looks.

    It guarantees that what was taken, and was used before its ``Terms.until``, never exceeds
    ``limit`` in any interval ``[t, t + per)``. A unit is charged at the end of its grant's validity, for
    it may be used that late. That end is the end of a bucket: there are at most 1,440, so one is a
    minute for a day. The unit counts until that end plus ``per``, so it is free again no earlier than
    any use allows, and later than after a use at once by at most 5 seconds and one bucket. It
    refuses only while ``limit`` units count.

    ``keep`` are shares of the limit that only one stream may use, as in :class:`CalendarQuota`.
    """

    name: ClassVar[str] = "rolling"

    limit: int = field(validator=_limit)
    per: timedelta = field(validator=_per)
    # An attribute where the contract has a property: both are read the same way.
    counts: Counts = field(  # pyright: ignore[reportIncompatibleMethodOverride]
        default="recipients", kw_only=True, validator=check_counts
    )

    keep: Mapping[str, float] = field(factory=dict, converter=shares, hash=False, kw_only=True)

    @property
    def key(self) -> str:
        """One state per owner and period, whatever the limit is."""
        key = f"{self.name}/{brief(self._per)}"
        return key if self.counts == "recipients" else f"{key}/{self.counts}"

    def for_stream(self, stream: str) -> Self:
        """With a limit that is smaller by what is kept for other streams."""
        if not any(other != stream for other in self.keep):
            return self
        return evolve(self, limit=self.limit - kept_from(stream, self.keep, self.limit), keep={})

    # The state: all that is in the buckets, then bucket, taken, bucket, taken …, the oldest first.

    def readable(self, state: State) -> bool:
        """Whether it has the form of the state above."""
        return super().readable(state) and (not state or len(state) % 2 == 1)

    def room(self, state: State, now: int) -> int:
        """What is left of ``limit``."""
        return self.limit - self._used(state, now)[0]

    def when(self, state: State, now: int, n: int) -> int:
        """The first instant at which enough buckets are free again."""
        if n > self.limit:
            return NEVER
        used, dead = self._used(state, now)
        at = now
        for i in range(dead, len(state), 2):
            if self.limit - used >= n:
                break
            used, at = used - state[i + 1], self._free(state[i])
        return at

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        """Charge ``n`` to the bucket in which its validity ends."""
        used, dead = self._used(state, now)
        own = (now + _VALID) // self._grain
        bucket = own
        alive = state[dead:]
        if alive and alive[-2] >= own:
            # The same bucket; or the clock was set back: a later bucket than its own counts it longer.
            bucket = alive[-2]
            alive = (*alive[:-1], alive[-1] + n)
        else:
            alive = (*alive, bucket, n)
        return (used + n, *alive), Terms(bucket, (own + 1) * self._grain)

    def give(self, state: State, mark: int, n: int) -> State:
        """Take ``n`` off the bucket ``mark``, as long as it counts."""
        for i in range(len(state) - 2, 0, -2):
            if state[i] == mark:
                back = min(n, state[i + 1])
                kept = (mark, state[i + 1] - back) if back < state[i + 1] else ()
                return (state[0] - back, *state[1:i], *kept, *state[i + 2 :])
        return state

    def rewound(self, state: State, now: int) -> State:
        """After the clock was set back: what lies ahead counts as taken now."""
        last = (now + _VALID) // self._grain
        used, dead = self._used(state, now)
        alive = [(state[i], state[i + 1]) for i in range(dead, len(state), 2)]
        ahead = sum(taken for bucket, taken in alive if bucket >= last)
        kept = [number for bucket, taken in alive if bucket < last for number in (bucket, taken)]
        return (used, *kept, *((last, ahead) if ahead else ())) if used else ()

    def usage(self, state: State, now: int) -> tuple[Usage, ...]:
        """One window, by its period; it resets when the last unit is free again."""
        used, _ = self._used(state, now)
        return (Usage(brief(self._per), used, self.limit, self._free(state[-2]) if used else now),)

    @cached_property
    def _per(self) -> int:
        return milliseconds(self.per)

    @cached_property
    def _grain(self) -> int:
        """The length of a bucket: those that count at one time reach over the period and a validity, and two are cut."""
        return -(-(self._per + _VALID) // (_BUCKETS - 2))

    def _free(self, bucket: int) -> int:
        return min((bucket + 1) * self._grain + self._per, NEVER)

    def _used(self, state: State, now: int) -> tuple[int, int]:
        """What counts at this instant, and where in the state the first bucket that does is."""
        used, dead = (state[0] if state else 0), 1
        while dead < len(state) and self._free(state[dead]) <= now:
            used -= state[dead + 1]
            dead += 2
        return used, dead
