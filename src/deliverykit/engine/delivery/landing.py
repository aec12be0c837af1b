"""Verdicts written into the books: of a whole batch of a worker's, or of the one mail of a ``send()``."""

from collections.abc import Sequence
from contextlib import suppress

from attrs import evolve, frozen

from deliverykit.contracts.books import Change, MailState
from deliverykit.contracts.storage import Late, Overtaken, Step, View
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.journey import Flight
from deliverykit.engine.delivery.reports import settled
from deliverykit.engine.ports import Ports
from deliverykit.engine.settling.batch import Landing
from deliverykit.engine.settling.settle import Settle, Settled

__all__ = ["landed_in", "last_word"]


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
    context: Context, ports: Ports, account: str, landings: Sequence[Landing], starts: Sequence[Flight] = ()
) -> tuple[Settled, Late]:
    """Settle these, and mark what ``starts`` next, in one step; what it came to, and the ids that came too late."""

    def make(config: Config) -> Settle | _SettleAndStart:
        settle = Settle(config, tuple(landings), context.archive)
        return _SettleAndStart(settle, tuple(starts)) if starts else settle

    return await context.decided_both(ports, account, make)


@frozen
class _LastWord:
    """One landing that may have been settled already: then nothing of this becomes true, nor is a unit given back twice."""

    settle: Settle

    def __call__(self, view: View) -> Step[Settled]:
        step = self.settle(view)
        (landing,) = self.settle.landings
        # A verdict that keeps the token (in doubt, or held) takes the mail from where it was on the wire; any other clears it.
        flew = landing.held or landing.verdict.left_at is not None
        changes = tuple(evolve(change, was=MailState.SENDING) if flew else change for change in step.changes)
        return evolve(step, changes=changes, strict=True)


async def last_word(context: Context, ports: Ports, landing: Landing, *, quiet: bool = False) -> None:
    """Settle what was being settled when it was cut short, and tell of it; nothing where that became true all the same.

    To be said once all that was cut has ended.
    """

    def make(config: Config) -> _LastWord:
        return _LastWord(Settle(config, (landing,), context.archive))

    with suppress(Overtaken):
        done, late = await context.decided_both(ports, landing.lane.account, make)
        if not quiet:
            settled(context, done, late)
