"""Looking into the outbox and the delivery log."""

from collections.abc import Mapping
from datetime import datetime

from attrs import frozen

from deliverykit.contracts.storage import MailRow, MailState
from deliverykit.engine.rooms.room import Room
from deliverykit.words.clock import moment
from deliverykit.words.errors import ConfigurationError, NotFound

__all__ = ["LogEntry", "Mail", "Outbox"]


@frozen(kw_only=True)
class Mail:
    """A mail of the outbox as it stands."""

    id: str
    route: str
    stream: str
    state: str
    """``ready`` (also what waits for quota), ``leased``, ``sending``, ``in_doubt``, ``scheduled`` or ``dead``."""
    server: str
    reason: str
    attempts: int
    goes_at: datetime | None
    """When it can go by itself; ``None`` now, or never without a change."""
    expires_at: datetime | None


@frozen(kw_only=True)
class LogEntry:
    """One thing that happened to a mail."""

    at: datetime | None
    server: str
    outcome: str
    detail: str
    provider_message_id: str


class Outbox(Room):
    """``mailer.outbox``: the mail of one account that is not settled yet."""

    async def get(self, id: str) -> Mail:
        """One mail. Raises :class:`~deliverykit.NotFound` for one that is accepted and gone; see :meth:`history`."""
        row = await self.ports.store(self.context.storage.mail, id)
        if row is None or row.account != self.account:
            raise NotFound(f"no mail {id!r} in the outbox; what was accepted has left it, history({id!r}) tells")
        return _mail(row)

    async def list(self, *, state: str | None = None, limit: int = 100) -> tuple[Mail, ...]:
        """Mails, oldest first; of one state where given."""
        wanted = None if state is None else _state(state)
        return tuple(_mail(row) for row in await self.ports.store(self.context.storage.mails, self.account, wanted, limit))

    async def counts(self, *, route: str | None = None) -> Mapping[str, int]:
        """How many mails are in each state; every state is named."""
        found = await self.ports.store(self.context.storage.counts, self.account)
        counts = {state.name.lower(): 0 for state in MailState}
        for (name, state), count in found.items():
            if route is None or name == route:
                counts[state.name.lower()] += count
        return counts

    async def history(self, id: str) -> tuple[LogEntry, ...]:
        """What happened to a mail, oldest first; empty where nothing has yet."""
        lines = await self.ports.store(self.context.storage.log, id)
        return tuple(
            LogEntry(
                at=moment(at),
                server=line.server,
                outcome=line.outcome,
                detail=line.detail,
                provider_message_id=line.provider_message_id,
            )
            for at, line in lines
            if line.account == self.account
        )


def _state(name: str) -> MailState:
    try:
        return MailState[name.upper()]
    except KeyError:
        raise ConfigurationError(f"state: {name!r} is none of {', '.join(state.name.lower() for state in MailState)}") from None


def _mail(row: MailRow) -> Mail:
    at = row.due if row.state is MailState.SCHEDULED else row.blocked_until if row.state is MailState.READY else 0
    blocked = row.state is MailState.READY and row.blocked_until > 0
    return Mail(
        id=row.uid,
        route=row.route,
        stream=row.stream,
        state=row.state.name.lower(),
        server=row.server,
        reason=row.reason or (row.blocked_by if blocked else ""),
        attempts=row.attempts,
        goes_at=moment(at) if at else None,
        expires_at=moment(row.expires),
    )
