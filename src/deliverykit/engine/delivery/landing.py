"""Verdicts written into the books: of a whole batch of a worker's, or of the one mail of a ``send()``."""

from collections.abc import Sequence

from attrs import evolve, frozen

from deliverykit.contracts.books import Change, MailState
from deliverykit.contracts.storage import Late, Step, View
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.journey import Flight
from deliverykit.engine.ports import Ports
from deliverykit.engine.settling.settle import Landing, Settle, Settled

__all__ = ["landed_in"]


@frozen
class _SettleAndStart:
    """One account's share of a flush; answers with what it came to; the ids that came too late come beside it."""

    settle: Settle
    starts: tuple[Flight, ...]

    def __call__(self, view: View) -> Step[Settled]:
        step = self.settle(view)
        marks = tuple(
            Change(id=flight.row, token=flight.token, was=MailState.LEASED, state=MailState.SENDING, server=flight.server.id)
            for flight in self.starts
        )
        return evolve(step, changes=(*step.changes, *marks))


async def landed_in(
    context: Context, ports: Ports, account: str, landings: Sequence[Landing], starts: Sequence[Flight] | None = None
) -> tuple[Settled, Late]:
    """Settle these, and mark what ``starts`` next, in one step; what it came to, and the ids that came too late."""

    def make(config: Config) -> Settle | _SettleAndStart:
        settle = Settle(config, tuple(landings), context.archive)
        return settle if starts is None else _SettleAndStart(settle, tuple(starts))

    return await context.decided_both(ports, account, make)
