"""Looking into the outbox, putting it in order, and settling what is in doubt."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from attrs import evolve, frozen

from deliverykit.contracts.books import Change, LaneKey, LogLine, MailRow, MailState, Wanted
from deliverykit.contracts.storage import Overtaken, Step, View
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.delivery.forecast import Forecast, Standing
from deliverykit.engine.rooms.releasing import released
from deliverykit.engine.rooms.room import Amendment, Room, amend
from deliverykit.engine.rooms.views import Doubt, Eta, LaneView, Mail, Pruned, doubt_of, lane_of, mail_of
from deliverykit.engine.rooms.wanted import Ids, filter_of, some_of, state_named
from deliverykit.records.route import Route
from deliverykit.records.server import DeliveryServer
from deliverykit.words.arguments import duration, flag, line, refused, shown, whole
from deliverykit.words.clock import moment
from deliverykit.words.errors import ConfigurationError, NotFound
from deliverykit.words.facts import MailResolved, MailsCancelled, MailsPruned, MailsRequeued, MailsResolved, RecordChanged
from deliverykit.words.untrusted import scrubbed

__all__ = ["Outbox", "cancelled"]

_PAGE = 500
"""So many mails at a time: whoever sends meanwhile hardly waits."""


class Outbox(Room):
    """``mailer.outbox``: the mail of one account that is not settled yet."""

    async def get(self, id: str) -> Mail:
        """One mail. Raises :class:`~deliverykit.NotFound` for one that is accepted and gone: the log tells of it."""
        line(id, "id", least=1, write="give the id of a message, as send() returned it")
        row = await self.ports.store(self.context.storage.mail, id)
        if row is None or row.account != self.account:
            raise NotFound(f"id={shown(id)}: no such message in the outbox; for one that was accepted call log.get()")
        return mail_of(row)

    async def list(
        self,
        *,
        state: str | None = None,
        ids: Ids | None = None,
        route: str | Route | None = None,
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
        whole(limit, "limit", least=1)
        wanted = filter_of(ids=ids, route=route, stream=stream, server=server, reason=reason, since=since, before=before)
        if state is not None:
            wanted = evolve(wanted, states=(state_named(state),))
        return tuple(mail_of(row) for row in await self.ports.store(self.context.storage.mails, self.account, wanted, limit))

    async def lanes(self, *, route: str | Route | None = None) -> tuple[LaneView, ...]:
        """What waits where, by route, stream and who may carry it: how many, blocked since when, by what, until when."""
        one = filter_of(route=route).route
        rows = await self.ports.store(self.context.storage.lanes, self.account)
        now = await self.ports.store(self.context.storage.now)
        return tuple(lane_of(row, now) for row in rows if one is None or row.key.route == one)

    async def eta(self, *, route: str | Route, stream: str | None = None) -> Eta:
        """By when what waits on this route (of one stream) will have left by quota and pace alone. Writes and spends nothing.

        It is played through on copies of all counts, with all that waits in the account, by the word of each route and in
        the turns that a worker takes. So it holds if nothing else comes in, a worker runs all the time, and every email is
        accepted at once: an estimate, and no promise. Mail that expires meanwhile is reckoned as if it left; the mail of
        other accounts, with which it may share host-wide limits, is not reckoned.

        Raises :class:`~deliverykit.NotFound` for a route that is not there and has no mail.
        """
        if route is None:
            refused("route", route, "missing", "give a route, or its name")
        wanted = filter_of(route=route, stream=stream)
        rows = await self.ports.store(self.context.storage.rows, self.account)
        config, records, now = await self.context.decided(self.ports, self.account, Standing)
        if not any(row.lane.route == wanted.route for row in rows):
            config.route(str(wanted.route))
        ours = {row.lane for row in rows if row.lane.route == wanted.route and wanted.stream in (None, row.lane.stream)}
        forecast = Forecast(config, records, now, rows, ours)
        end = await self.ports.store(forecast.run)
        return Eta(
            waiting=sum(row.count for row in rows if row.lane in ours),
            at=moment(end.at),
            limited_by=end.by,
            later_than=moment(end.later_than) if end.later_than else None,
        )

    async def cancel(
        self,
        *,
        ids: Ids | None = None,
        route: str | Route | None = None,
        stream: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
    ) -> int:
        """Cancel what waits (ready or scheduled) and fits all that is given; how many.

        They are dead with the reason ``cancelled``, which the log tells, and can be requeued. What a
        worker has in its hands is not touched. Raises ``ConfigurationError`` where nothing is given.
        """
        wanted = some_of(ids=ids, route=route, stream=stream, since=since, before=before)
        return await cancelled(self, wanted)

    async def requeue(
        self,
        *,
        ids: Ids | None = None,
        route: str | Route | None = None,
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
        given = some_of(ids=ids, route=route, stream=stream, server=server, reason=reason, since=since, before=before)
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
        if done:
            self.context.teller.tell([MailsRequeued(account=self.account, count=done)])
        return done

    async def _revived(self, rows: Sequence[MailRow]) -> None:
        """Back in the queue, all or none; the servers they were kept from are asked again."""
        changes = tuple(
            Change(
                id=row.id, was=MailState.DEAD, state=MailState.READY, afresh=True, memo=(),
                lane=LaneKey(row.account, row.route, row.stream, evolve(Ticket.decode(row.key), unfit=(), tried=()).encode()),
            )
            for row in rows
        )  # fmt: skip
        log = tuple(
            LogLine(uid=row.uid, account=row.account, server=row.server, outcome="requeued", detail=row.reason) for row in rows
        )
        routes = {row.route for row in rows}

        def make(config: Config) -> _Requeue:
            if lost := sorted(way for way in routes if not _exists(config, way)):
                raise ConfigurationError(f"requeue: route {lost[0]!r} was removed meanwhile; add it first")
            return _Requeue(config, changes, log)

        await self.context.decided(self.ports, self.account, make)

    async def release(self, *, route: str | Route | None = None, stream: str | None = None) -> int:
        """Release lanes that the engine holds, so that their messages go on; return the number of holds released.

        The engine holds a lane after 50 messages in a row were refused for what they are, or at one server that takes
        every other lane. ``lanes()`` and ``doctor()`` show the reason. Without arguments every lane of the account is
        released. ``servers.activate()`` releases what one server holds, From domains included.
        """
        wanted = filter_of(route=route, stream=stream)
        count = 0

        def make(config: Config) -> Amendment:
            nonlocal count
            chosen = [
                hold for hold in config.holds
                if hold.lane and wanted.route in (None, hold.route) and wanted.stream in (None, hold.stream)
            ]  # fmt: skip
            count = len(chosen)
            facts = tuple(
                RecordChanged(account=self.account, kind="hold", name=name, act="removed")
                for name in dict.fromkeys(hold.route for hold in chosen)
            )
            return Amendment(config=config, result=None, documents=released(chosen), facts=facts)

        await amend(self, make)
        return count

    async def prune(self, *, older_than: timedelta) -> Pruned:
        """Drop dead mail that has been dead for longer, with its letter, and what the delivery log says of longer ago.

        A line of the log tells of each mail dropped. The log of mail that is still in the outbox
        stays, and that of mail whose ``idempotency_key`` is still known. For 90 days it can be told which mail went to whom,
        by which server, and how it ended: until then only the details go.
        """
        duration(older_than, "older_than", unit="days")
        store, storage = self.ports.store, self.context.storage
        before = await store(storage.now) - older_than // timedelta(milliseconds=1)
        dead = log = after = 0
        while count := await store(storage.prune, self.account, before, _PAGE):
            dead += count
        while True:
            count, after = await store(storage.prune_log, self.account, before, 10 * _PAGE, after)
            log += count
            if not after:
                break
        while after := await store(storage.sweep, 10 * _PAGE, after):
            pass
        if dead or log:
            self.context.teller.tell([MailsPruned(account=self.account, count=dead, lines=log)])
        return Pruned(dead=dead, log=log)

    async def counts(self, *, route: str | Route | None = None) -> Mapping[str, int]:
        """How many mails are in each state; every state is named."""
        one = filter_of(route=route).route
        found = await self.ports.store(self.context.storage.counts, self.account)
        counts = {state.name.lower(): 0 for state in MailState}
        for (name, state), count in found.items():
            if one is None or name == one:
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
        before = None
        if older_than is not None:
            duration(older_than, "older_than", least=timedelta(), unit="hours")
            before = moment(await self.ports.store(self.context.storage.now) - older_than // timedelta(milliseconds=1))
        which = evolve(filter_of(server=server, route=route, before=before), states=(MailState.IN_DOUBT,))
        found: list[MailRow] = []
        while rows := await self.ports.store(
            self.context.storage.mails, self.account, which, _PAGE, found[-1].id if found else 0
        ):
            found += rows
        return tuple(map(doubt_of, found))

    async def resolve(
        self,
        *,
        ids: Ids | None = None,
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
        if flag(as_sent, "as_sent") == flag(resend, "resend"):
            raise ConfigurationError("resolve: give as_sent=True or resend=True, one of the two")
        which = some_of(ids=ids, server=server, route=route, before=before)
        done = await _page_by_page(self, partial(self.context.storage.resolve, sent=bool(as_sent)), which)
        if done:
            word = "as_sent" if as_sent else "resend"
            self.context.teller.tell([MailsResolved(account=self.account, count=done, word=word)])
        return done

    async def heard(self, our_id: str, event: str = "delivered") -> bool:
        """Tell of an event of an ESP (accepted, delivered, bounced, opened …): it proves that the ESP had the mail.

        ``our_id`` is what travelled with the mail and comes back in its events: the tag ``deliverykit_id``
        at SES, ``custom_args`` at SendGrid, ``user-variables`` at Mailgun, ``postback`` at Elastic Email. Mail in doubt,
        or about to be sent again, is done with then; the log says ``resolved``. Whether it was such mail. An
        id that we did not make changes nothing: with a ``secret_key`` it carries a proof.
        """
        line(our_id, "our_id", most=1_000, write="give the id that came back in the event")
        line(event, "event", write="give the kind of event, such as 'delivered'")
        config = await self.config()
        known = self.context.archive.vault.stamped(our_id, self.account, [*config.servers, *config.removed])
        if known is None:
            return False
        row = await self.ports.store(self.context.storage.mail, known[0]) if self.context.teller.wants(MailResolved) else None
        if not await self.ports.store(self.context.storage.heard, self.account, *known, event):
            return False
        uid, server = known
        route, stream = (row.route, row.stream) if row is not None else ("", "")
        fact = MailResolved(account=self.account, mail=uid, route=route, stream=stream, server=server, heard=scrubbed(event))
        self.context.teller.tell([fact])
        return True


async def cancelled(room: Room, wanted: Wanted) -> int:
    """Cancel what waits and is wanted; how many."""
    done = await _page_by_page(room, room.context.storage.cancel, wanted)
    if done:
        room.context.teller.tell([MailsCancelled(account=room.account, count=done)])
    return done


async def _page_by_page(room: Room, act: Callable[[str, Wanted, int, int], Sequence[int]], wanted: Wanted) -> int:
    """Let the storage act on what is wanted, a page at a time; on how many it did."""
    done = after = 0
    while ids := await room.ports.store(act, room.account, wanted, _PAGE, after):
        done, after = done + len(ids), ids[-1]
    return done


@frozen
class _Requeue:
    """Rows moved and lines written, all or none; what waits looks again."""

    config: Config
    changes: tuple[Change, ...]
    log: tuple[LogLine, ...]

    def __call__(self, view: View) -> Step[None]:
        self.config.current(view)
        return Step(result=None, changes=self.changes, log=self.log, wake=True, strict=True)


def _exists(config: Config, route: str) -> bool:
    try:
        config.route(route)
    except NotFound:
        return False
    return True
