"""When a submission may start: in its slot, before its windows end, within its caller's time limit."""

import math
from collections.abc import Sequence

from attrs import evolve, frozen

from deliverykit.engine.admission.admit import Grant
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.slots import MoveSlot, Slot
from deliverykit.engine.context import Context
from deliverykit.engine.ports import Ports
from deliverykit.engine.together import Question
from deliverykit.words.clock import NEVER, Clock
from deliverykit.words.wire import HttpRequest

__all__ = ["HORIZON", "Issued", "TimeToStart", "in_its_slot", "until"]

HORIZON = 250
"""A message is marked ``sending`` no earlier than so many ms before its slot."""

_LATE = 10
"""So many ms after its slot a submission may still start; later, it could come too near to one of another process."""

_STRICT = 50
"""Shorter gaps, in ms, are kept on average: starts are not that exact, and each move of a slot costs one slot."""

_LEAD = 20
"""A slot is moved at least so many ms ahead: about what the step in the store takes."""

_MOVES = 6
"""So often a slot is moved before the message asks for admission again; each time it is moved further."""


@frozen
class TimeToStart:
    """Returns how many seconds are left to write the first byte of a request. See ``HttpRequest.time_to_start``.

    It takes the later of the wall clock and the time that has passed since the grant was asked for, so a clock that
    is set back does not lengthen a window, and one that is set forward ends it.
    """

    clock: Clock
    grant: Grant
    issued: float
    """The monotonic time before the grant was asked for."""
    ends: float = math.inf
    """The monotonic time at which the caller's time limit ends."""

    def __call__(self) -> float:
        """The smaller of what is left of the grant and of the caller's time."""
        steady = self.clock.monotonic()
        left = self.ends - steady
        if self.grant.until < NEVER:
            now = max(self.clock.now(), self.grant.now + round((steady - self.issued) * 1000))
            left = min(left, self.grant.left(now) / 1000)
        return left

    def missed(self) -> str:
        """Return why the request can no longer start; empty while it can."""
        if self() > 0:
            return ""
        if self.ends <= self.clock.monotonic():
            return "the time limit of the call ended before it could start"
        return "its window ended before it could start"

    def limit(self, request: HttpRequest) -> HttpRequest:
        """Return the request with these limits."""
        if self.ends == math.inf:
            return evolve(request, time_to_start=self) if self.grant.until < NEVER else request
        left = max(0.001, self.ends - self.clock.monotonic())
        return evolve(request, time_to_start=self, within=left if request.within is None else min(left, request.within))


@frozen
class Issued:
    """A slot, and the monotonic time after it was issued."""

    slot: Slot
    had: float

    def left(self, clock: Clock) -> int:
        """Return how many ms are left until the slot, by whichever clock says less: one that was set back holds nobody up."""
        elapsed = int((clock.monotonic() - self.had) * 1000)
        return min(self.slot.at - clock.now(), self.slot.at - self.slot.now - elapsed)


async def until(context: Context, ports: Ports, issued: Issued, before: int) -> None:
    """Wait until ``before`` ms before the slot."""
    while (wait := issued.left(context.clock) - before) > 0:
        await ports.sleep(wait / 1000)


async def in_its_slot(context: Context, ports: Ports, account: str, config: Config, grant: Grant, issued: Issued) -> bool:
    """Wait for the slot and start in it; ``False`` where it was missed and no other is near.

    A process that stalls finds its slot past, and another process may just have started in the next one.
    So a submission starts no more than 10 ms after its slot (less for short gaps); later, its slot is
    moved. Within this process the same gap is kept among all starts.
    """
    gaps = [(gate.within(account), gap) for gate, gap in grant.gaps]
    tolerance = _tolerance([gap for _, gap in gaps])
    lead = max(_LEAD, context.spacing.lead)
    for _ in range(_MOVES):
        await until(context, ports, issued, 0)
        started = await _started(context, ports, gaps, issued, tolerance)
        if started is not None:
            return started
        asked = context.clock.monotonic()
        decide = MoveSlot(grant, issued.slot, lead)
        moved, _late = await ports.decide(Question(context.storage, account, config.keys, decide))
        if moved is None:
            return False
        issued = Issued(moved, context.clock.monotonic())
        # The next time far enough ahead for a store as slow as this one.
        context.spacing.lead = lead = max(_LEAD, 2 * round((issued.had - asked) * 1000))
    return False


async def _started(
    context: Context, ports: Ports, gaps: Sequence[tuple[str, int]], issued: Issued, tolerance: float
) -> bool | None:
    """Keep the gap to this process's last start; ``None`` where the slot was missed, ``False`` where it takes too long."""
    begun = context.clock.monotonic()
    while (late := max(0, -issued.left(context.clock))) <= tolerance:
        now = context.clock.monotonic()
        wait = context.spacing.start(gaps, round(now * 1000), late if tolerance < math.inf else 0)
        if not wait:
            return True
        if (now - begun) * 1000 + wait > HORIZON:
            return False
        await ports.sleep(wait / 1000)
    return None


def _tolerance(gaps: Sequence[int]) -> float:
    """Return how many ms late a submission under these gaps may start."""
    return min((min(_LATE, gap // 10) for gap in gaps if gap >= _STRICT), default=math.inf)
