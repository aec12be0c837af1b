"""Verdicts written into the books: of a whole batch of a worker's, or of the one mail of a ``send()``."""

import math
from collections.abc import Callable, Sequence
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
from deliverykit.engine.settling.verdicts import Next
from deliverykit.words.time_limit import patience, storage_patience

__all__ = ["landed_in", "last_word", "settle_last", "settle_late", "settle_left"]

_AT_CLOSE = 2.0


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


async def last_word(context: Context, ports: Ports, landing: Landing, *, quiet: bool = False) -> Settled | None:
    """Settle what was being settled when it was cut short, and tell of it; nothing where that became true all the same.

    To be said once all that was cut has ended. Returns what it came to, where this has settled it.
    """

    def make(config: Config) -> _LastWord:
        return _LastWord(Settle(config, (landing,), context.archive))

    with suppress(Overtaken):
        done, late = await context.decided_both(ports, landing.lane.account, make)
        if not quiet:
            settled(context, done, late)
        return done
    return None


async def settle_late(context: Context, ports: Ports, landing: Landing) -> Settled | None:
    """Store an outcome that could not be stored before, where it is not yet.

    The lease may have ended meanwhile, and the message is in doubt. Then only that it was accepted still counts.
    """
    done = await last_word(context, ports, landing)
    if done is None and landing.verdict.next is Next.DONE and await ports.store(context.storage.mail, landing.uid) is not None:
        done, late = await landed_in(context, ports, landing.lane.account, [landing])
        settled(context, done, late)
    return done


async def settle_left(context: Context, ports: Ports) -> None:
    """Store what earlier calls of this process could not store. What fails again is kept for the next time.

    A caller whose time for the storage has ended leaves the rest to the next.
    """
    for _ in range(len(context.unsettled)):
        if storage_patience(math.inf) <= 0:
            return
        try:
            landing = context.unsettled.popleft()
        except IndexError:  # another thread was quicker
            return
        try:
            await settle_late(context, ports, landing)
        except Exception:  # noqa: BLE001  it was reported when it failed first
            context.unsettled.append(landing)


async def settle_last(context: Context, ports: Ports, steady: Callable[[], float]) -> None:
    """Try once more, before a Mailer closes, to store what could not be stored; for two seconds of ``steady`` at most."""
    if not context.unsettled:
        return
    ends = steady() + _AT_CLOSE
    token = patience.set(lambda: ends - steady())
    try:
        await settle_left(context, ports)
    finally:
        patience.reset(token)
