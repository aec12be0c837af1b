"""Looking into the outbox and the delivery log, putting the outbox in order, and settling what is in doubt."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

from attrs import evolve, frozen

from deliverykit.contracts.storage import (
    Change,
    Doubted,
    LaneKey,
    LaneRow,
    LogLine,
    MailRow,
    MailState,
    Overtaken,
    Step,
    View,
    Wanted,
)
from deliverykit.engine.catalog import Config
from deliverykit.engine.lanes import Ticket
from deliverykit.engine.rooms.room import Room
from deliverykit.records.route import Route
from deliverykit.records.server import DeliveryServer
from deliverykit.words.clock import NEVER, instant, moment
from deliverykit.words.errors import ConfigurationError, NotFound

__all__ = ["Doubt", "LaneView", "LogEntry", "Mail", "Outbox", "Pruned", "cancelled"]

R = TypeVar("R")
_PAGE = 500
"""So many mails at a time: whoever sends meanwhile hardly waits."""


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
    since: datetime | None
    """Since when it waits (handed in, or scheduled anew), is in doubt, or dead."""


@frozen(kw_only=True)
class LaneView:
    """Mail of one route and stream that the same servers may carry: how much, and what it waits for.

    As the last look of a worker left it: mail that no worker has looked at yet is not blocked.
    """

    route: str
    stream: str
    key: str
    """What decides who may carry it, beside its route; ``""`` for plain mail."""
    counts: Mapping[str, int]
    """How many are in each state; every state is named."""
    blocked: bool
    """Whether what is ready must wait."""
    blocked_by: str
    """The limit it waits for, or what else keeps it; ``""`` where it is not blocked."""
    blocked_since: datetime | None
    """Since when nothing of it could go."""
    goes_at: datetime | None
    """When the next of it can go by itself, or comes due; ``None`` now, or never without a change (then ``blocked``)."""

    @property
    def waiting(self) -> int:
        """How many wait: ready or scheduled."""
        return self.counts["ready"] + self.counts["scheduled"]


@frozen(kw_only=True)
class Pruned:
    """What ``outbox.prune`` dropped."""

    dead: int
    """Dead mails."""
    log: int
    """Lines of the delivery log."""


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
    """Attempts so far, the one of unknown fate among them."""
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

    async def list(
        self,
        *,
        state: str | None = None,
        ids: Iterable[str] | None = None,
        route: str | None = None,
        stream: str | None = None,
        server: str | DeliveryServer | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int = 100,
    ) -> tuple[Mail, ...]:
        """Mails, oldest first; of what is given, those that fit all of it.

        ``reason`` is contained in theirs. ``since`` and ``before`` are about :attr:`Mail.since`.
        """
        wanted = _wanted(ids, route, stream, server, reason, since, before)
        if state is not None:
            wanted = evolve(wanted, states=(_state(state),))
        return tuple(_mail(row) for row in await self.ports.store(self.context.storage.mails, self.account, wanted, limit))

    async def lanes(self, *, route: str | None = None) -> tuple[LaneView, ...]:
        """What waits where, by route, stream and who may carry it: how many, blocked since when, by what, until when."""
        rows = await self.ports.store(self.context.storage.lanes, self.account)
        now = await self.ports.store(self.context.storage.now)
        return tuple(_lane(row, now) for row in rows if route is None or row.key.route == route)

    async def cancel(
        self,
        *,
        ids: Iterable[str] | None = None,
        route: str | None = None,
        stream: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
    ) -> int:
        """Cancel what waits (ready or scheduled) and fits all that is given; how many.

        They are dead with the reason ``cancelled``, which their history tells, and can be requeued. What a
        worker has in its hands is not touched. Raises ``ConfigurationError`` where nothing is given.
        """
        wanted = _some(ids=ids, route=route, stream=stream, since=since, before=before)
        return await cancelled(self, wanted)

    async def requeue(
        self,
        *,
        ids: Iterable[str] | None = None,
        route: str | None = None,
        stream: str | None = None,
        server: str | DeliveryServer | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
    ) -> int:
        """Put dead mail that fits all that is given back into the queue, as if it were new; how many.

        Its attempts count from nought, and every server of its route is asked again. Mail whose
        ``expires_at`` has passed stays dead. Raises ``ConfigurationError`` where nothing is given, or where
        the route of such a mail is no longer there; nothing is requeued then.
        """
        given = _some(ids=ids, route=route, stream=stream, server=server, reason=reason, since=since, before=before)
        wanted = evolve(given, states=(MailState.DEAD,))
        config = await self.config()
        for way in {row.key.route for row in await self.ports.store(self.context.storage.lanes, self.account)}:
            if wanted.route in (None, way) and not _exists(config, way):
                lost = await self.ports.store(self.context.storage.mails, self.account, evolve(wanted, route=way), 1)
                if lost:
                    raise ConfigurationError(f"requeue: route {way!r} of mail {lost[0].uid} is not there; add it first")
        done = after = 0
        while rows := await self.ports.store(self.context.storage.mails, self.account, wanted, _PAGE, after):
            now = await self.ports.store(self.context.storage.now)
            dead = [row for row in rows if row.expires > now]
            with suppress(Overtaken):  # one of them is no longer dead: read this page again
                await self._revived(dead)
                done, after = done + len(dead), rows[-1].id
        return done

    async def _revived(self, rows: Sequence[MailRow]) -> None:
        """Back in the queue, all or none; the servers they were kept from are asked again."""
        changes = tuple(
            Change(
                id=row.id, was=MailState.DEAD, state=MailState.READY, afresh=True,
                lane=LaneKey(row.account, row.route, row.stream, evolve(Ticket.decode(row.key), unfit=(), tried=()).encode()),
            )
            for row in rows
        )  # fmt: skip
        log = tuple(
            LogLine(uid=row.uid, account=row.account, server=row.server, outcome="requeued", detail=row.reason) for row in rows
        )
        await self.context.decided(self.ports, self.account, lambda _: _Requeue(changes, log))

    async def prune(self, *, older_than: timedelta) -> Pruned:
        """Drop dead mail that has been dead for longer, with its letter, and older lines of the delivery log.

        A line of the log tells of each mail dropped. The history of mail that is still in the outbox
        stays, and that of mail whose ``idempotency_key`` is still known.
        """
        if not isinstance(older_than, timedelta) or older_than <= timedelta():
            raise ConfigurationError(f"older_than: {older_than!r}; give a timedelta such as timedelta(days=30)")
        store, storage = self.ports.store, self.context.storage
        before = await store(storage.now) - older_than // timedelta(milliseconds=1)
        dead = log = after = 0
        while count := await store(storage.prune, self.account, before, _PAGE):
            dead += count
        while True:
            count, after = await store(storage.prune_log, self.account, before, 10 * _PAGE, after)
            log += count
            if not after:
                return Pruned(dead=dead, log=log)

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
        which = Doubted(uids=uids, server=_id(server), route=_name(route), before=_before(before))
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


async def cancelled(room: Room, wanted: Wanted) -> int:
    """Cancel what waits and is wanted, page by page; how many."""
    done = after = 0
    while ids := await room.ports.store(room.context.storage.cancel, room.account, wanted, _PAGE, after):
        done, after = done + len(ids), ids[-1]
    return done


@frozen
class _Requeue:
    """Rows moved and lines written, all or none; what waits looks again."""

    changes: tuple[Change, ...]
    log: tuple[LogLine, ...]

    def __call__(self, view: View) -> Step[None]:
        return Step(result=None, changes=self.changes, log=self.log, wake=True, strict=True)


def _exists(config: Config, route: str) -> bool:
    try:
        config.route(route)
    except NotFound:
        return False
    return True


def _some(**given: object) -> Wanted:
    """A filter of which something is given: what acts on all mail must say so."""
    if all(value is None for value in given.values()):
        raise ConfigurationError(f"a filter is needed: give {', '.join(f'{name}=' for name in given)}")
    fields = ("ids", "route", "stream", "server", "reason", "since", "before")
    return _wanted(*(given.get(name) for name in fields))


def _wanted(
    ids: object, route: object, stream: object, server: object, reason: object, since: object, before: object
) -> Wanted:
    """A filter, each value of exactly its type: what filters by something else than was meant must not act."""
    return Wanted(
        uids=_given("ids", ids, _ids, "the ids of mails, such as ['…']"),
        route=_given("route", route, _text, "the name of a route"),
        stream=_given("stream", stream, _text, "the name of a stream"),
        server=_given("server", server.id if isinstance(server, DeliveryServer) else server, _text, "a server, or its id"),
        reason=_given("reason", reason, _text, "a part of the reason"),
        since=_given("since", since, _instant, "an aware datetime"),
        before=_given("before", before, _instant, "an aware datetime"),
    )


def _given(name: str, value: object, read: Callable[[object], R | None], hint: str) -> R | None:
    if value is None:
        return None
    if (known := read(value)) is None:
        raise ConfigurationError(f"{name}: {value!r}; give {hint}")
    return known


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _ids(value: object) -> tuple[str, ...] | None:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return None
    ids = tuple(value)
    return ids if all(isinstance(one, str) for one in ids) else None


def _instant(value: object) -> int | None:
    return instant(value) if isinstance(value, datetime) and value.tzinfo is not None else None


def _id(server: str | DeliveryServer | None) -> str | None:
    return server.id if isinstance(server, DeliveryServer) else server


def _name(route: str | Route | None) -> str | None:
    return route.name if isinstance(route, Route) else route


def _before(before: datetime | None) -> int:
    if before is None:
        return NEVER
    if (at := _instant(before)) is None:
        raise ConfigurationError(f"before: {before!r}; give a datetime with a time zone")
    return at


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
        since=moment(row.since),
    )


def _lane(row: LaneRow, now: int) -> LaneView:
    ready = row.counts.get(MailState.READY, 0)
    blocked = ready > 0 and row.blocked_until > now
    goes_at = NEVER if ready and not blocked else min(row.blocked_until if blocked else NEVER, row.due)
    return LaneView(
        route=row.key.route,
        stream=row.key.stream,
        key=row.key.key,
        counts={state.name.lower(): row.counts.get(state, 0) for state in MailState},
        blocked=blocked,
        blocked_by=row.blocked_by if blocked else "",
        blocked_since=moment(row.blocked_since) if blocked else None,
        goes_at=moment(goes_at),
    )
