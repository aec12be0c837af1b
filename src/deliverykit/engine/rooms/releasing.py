"""Releasing what the engine holds, and bringing back what was put back, once a person has fixed the cause."""

from collections.abc import Iterable

from attrs import frozen

from deliverykit.contracts.books import Change, Document, MailState, Wanted
from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.rooms.room import Room
from deliverykit.records.hold import Hold

__all__ = ["due_now", "released", "released_at"]

_PAGE = 500


def released(holds: Iterable[Hold]) -> tuple[Document, ...]:
    """The documents that end these holds."""
    return tuple(Document(kind="hold", id=hold.id, data=None) for hold in holds)


def released_at(config: Config, server: str) -> tuple[Document, ...]:
    """The documents that end every hold at one server."""
    return released(hold for hold in config.holds if hold.server == server)


async def due_now(room: Room, server: str) -> int:
    """Let the messages that a server refused, and that were put back, be due at once; how many."""
    wanted = Wanted(states=(MailState.SCHEDULED,), server=server)
    done = after = 0
    while rows := await room.ports.store(room.context.storage.mails, room.account, wanted, _PAGE, after):
        changes = tuple(
            Change(id=row.id, was=MailState.SCHEDULED, state=MailState.READY, reason=row.reason) for row in rows if row.put_back
        )
        if changes:
            await room.context.decided(room.ports, room.account, lambda _: _Due(changes))  # noqa: B023  decided at once
        done, after = done + len(changes), rows[-1].id
    return done


@frozen
class _Due:
    """Rows that are ready, as far as they still wait; and all lanes look again."""

    changes: tuple[Change, ...]

    def __call__(self, view: View) -> Step[None]:
        return Step(result=None, changes=self.changes, wake=True)
