"""Looking into the outbox and the delivery log, and settling what is in doubt."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from attrs import frozen

from deliverykit.contracts.storage import Doubted, MailRow, MailState
from deliverykit.engine.rooms.room import Room
from deliverykit.records.route import Route
from deliverykit.records.server import DeliveryServer
from deliverykit.words.clock import NEVER, instant, moment
from deliverykit.words.errors import ConfigurationError, NotFound

__all__ = ["Doubt", "LogEntry", "Mail", "Outbox"]


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
class Doubt:
    """A mail in doubt: what is known of it."""

    id: str
    server: str
    """The id of the server whose attempt is of unknown fate."""
    route: str
    since: datetime | None
    reason: str
    attempts: int
    """Attempts that were answered, or not in time; one whose worker was lost is not among them."""
    expires_at: datetime | None
    """Once this has passed it is not sent again, whatever is said."""


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

    async def in_doubt(
        self,
        *,
        server: str | DeliveryServer | None = None,
        route: str | Route | None = None,
        older_than: timedelta | None = None,
    ) -> tuple[Doubt, ...]:
        """The mail in doubt, oldest first: of one server, of one route, in doubt for longer than ``older_than``.

        Mail that is sent again by itself (``in_doubt="resend"``) is not among it until it expires.
        """
        before = NEVER
        if older_than is not None:
            if not isinstance(older_than, timedelta):
                raise ConfigurationError(f"older_than: {older_than!r}; give a timedelta such as timedelta(hours=1)")
            before = self.context.clock.now() - older_than // timedelta(milliseconds=1)
        which = Doubted(server=_id(server), route=_name(route), before=before)
        return tuple(_doubt(row) for row in await self.ports.store(self.context.storage.in_doubt, self.account, which))

    async def resolve(
        self,
        *,
        ids: str | Iterable[str] | None = None,
        server: str | DeliveryServer | None = None,
        route: str | Route | None = None,
        before: datetime | None = None,
        as_sent: bool = False,
        resend: bool = False,
    ) -> int:
        """Say what the mail in doubt was; how many mails it was said of.

        ``as_sent=True`` is done with it: it has left the outbox, as if it was accepted. ``resend=True`` lets it ask for
        leave again, as new mail does; what has expired is not counted and stays in doubt. One of the two must be
        given, and at least one of the others, which narrow the choice together: ``before`` is when it came into doubt.
        Raises :class:`~deliverykit.ConfigurationError`.
        """
        if bool(as_sent) == bool(resend):
            raise ConfigurationError("resolve: give as_sent=True or resend=True, one of the two")
        if ids is None and server is None and route is None and before is None:
            raise ConfigurationError("resolve: say which mail is meant by ids=, server=, route= or before=")
        uids = None if ids is None else (ids,) if isinstance(ids, str) else tuple(ids)
        which = Doubted(uids=uids, server=_id(server), route=_name(route), before=NEVER if before is None else _instant(before))
        return await self.ports.store(self.context.storage.resolve, self.account, which, sent=bool(as_sent))

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


def _id(server: str | DeliveryServer | None) -> str | None:
    return server.id if isinstance(server, DeliveryServer) else server


def _name(route: str | Route | None) -> str | None:
    return route.name if isinstance(route, Route) else route


def _instant(before: datetime) -> int:
    try:
        return instant(before)
    except (AttributeError, ValueError):
        raise ConfigurationError(f"before: {before!r}; give a datetime with a time zone") from None


def _doubt(row: MailRow) -> Doubt:
    return Doubt(
        id=row.uid,
        server=row.server,
        route=row.route,
        since=moment(row.doubt_at),
        reason=row.reason,
        attempts=row.attempts,
        expires_at=moment(row.expires),
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
