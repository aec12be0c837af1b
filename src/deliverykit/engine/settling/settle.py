"""Settling: what came back, made true in one step for a batch. Rows moved, units given back, servers closed or PAUSED."""

from attrs import evolve, frozen

from deliverykit.contracts.books import Change, Document, Gone, LogLine, MailState
from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.gates import CIRCUIT, Gate, circuit, closings
from deliverykit.engine.admission.lanes import asked_again, own_lane
from deliverykit.engine.settling.batch import Batch, Landing
from deliverykit.engine.settling.notices import Notices
from deliverykit.engine.settling.refusals import accepted, passed_on, refused
from deliverykit.engine.settling.verdicts import Next, Verdict
from deliverykit.limits import Closed, Slowed
from deliverykit.limits.brake import Ruling
from deliverykit.records.documents import Archive
from deliverykit.records.server import Status
from deliverykit.words.facts import Fact
from deliverykit.words.outcomes import Accepted, Unknown
from deliverykit.words.untrusted import scrubbed

__all__ = ["Settle", "Settled", "ended"]


@frozen
class Settled:
    """What a batch came to: what is told of it once it is true."""

    landed: tuple[tuple[Landing, Change | Gone], ...]
    """Each landing, and what became of its mail, unless that change came too late."""
    servers: tuple[Fact, ...]
    now: int = 0
    """The store's clock."""


@frozen
class Settle:
    """What came back: rows moved, units given back, servers closed or PAUSED, the log written. One step for a batch."""

    config: Config
    landings: tuple[Landing, ...]
    archive: Archive

    def __call__(self, view: View) -> Step[Settled]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        books = Batch(view, Notices(self.config))
        for landing in self.landings:
            self._land(landing, books)
        if books.paused or books.held:
            self.config.current(view)
        documents = (*self._paused(books), *(self.archive.hold(hold) for hold in books.held.values()))
        return Step(
            result=Settled(tuple(zip(self.landings, books.changes, strict=False)), books.notices.facts(books.own), view.now),
            records=books.records(),
            changes=tuple(books.changes),
            log=tuple(books.log),
            documents=documents,
            wake=books.wake,
        )

    def _land(self, landing: Landing, books: Batch) -> None:
        verdict = landing.verdict
        if verdict.refund:
            for gate, mark in landing.grant.charges:
                if gate.limit.paces and verdict.started:
                    continue  # a pause runs from start to start: what the ESP refused has used its slot as well
                if books.sealed(gate):
                    continue
                books.put(gate, gate.limit.give(books.get(gate), mark, gate.cost(landing.grant.cost)))
            books.wake = True
        if verdict.close:
            scope, until = verdict.close
            gate = closings(landing.server)[scope]
            if not books.get(gate) or books.get(gate)[0] <= books.now:
                books.notices.throttled(landing.server, scope, gate, landing.told)
            books.put(gate, _closed(gate).close(books.get(gate), books.now, until))
            if verdict.slow:
                _slow(landing, books, opens=books.get(gate)[0])
        took = isinstance(verdict.outcome, Accepted) and not books.calm(landing)
        if verdict.fault or took:
            self._health(landing, books)
        if took:
            accepted(landing, books)
        if verdict.pause:
            books.pause(landing.server, verdict.pause)
        ruling = refused(landing, books) if verdict.about is not None and verdict.next is not Next.AGAIN else None
        books.changes.append(_change(landing, books.now, ruling))
        if verdict.started:
            books.log.append(_line(landing))

    def _health(self, landing: Landing, books: Batch) -> None:
        """What this answer says of the server."""
        if isinstance(landing.verdict.outcome, Accepted):
            self._reopen(landing, books)
        self._circuit(landing, books)

    def _reopen(self, landing: Landing, books: Batch) -> None:
        """An accepted mail ends a closing that named no time."""
        for gate, _ in landing.grant.charges:
            if isinstance(gate.limit, Closed) and books.get(gate):
                opened = gate.limit.opened(books.get(gate), books.now)
                if opened != books.get(gate):
                    books.put(gate, opened)
                    books.wake = True

    def _circuit(self, landing: Landing, books: Batch) -> None:
        """A fault of the server, or an accepted mail; every other answer says nothing about its health."""
        server, verdict, granted = landing.server, landing.verdict, landing.grant.now
        gate = circuit(server)
        was = books.get(gate)
        if verdict.fault:
            now = CIRCUIT.failed(was, books.now, granted)
        elif was and isinstance(verdict.outcome, Accepted):
            now = CIRCUIT.accepted(was, granted)
        else:
            return
        books.put(gate, now)
        if CIRCUIT.is_open(was) == CIRCUIT.is_open(now):
            return
        # Either way another server may be the first in the order now.
        books.wake = True
        if CIRCUIT.is_open(now):
            books.notices.opened(server, now[0], landing.told, CIRCUIT.probe_at(now))
        else:
            books.notices.closed(server)

    def _paused(self, books: Batch) -> list[Document]:
        documents = []
        for id_, (version, reason) in books.paused.items():
            server = self.config.servers.get(id_)
            if server is None or server.version != version or server.provider is None:
                continue  # changed since the request was built: the verdict was about an older key
            status = evolve(server, status=Status.PAUSED, reason=reason, paused_by="engine", version=server.version + 1)
            documents.append(self.archive.server(status))
            books.notices.paused(server, scrubbed(reason))
        return documents


def _closed(gate: Gate) -> Closed:
    assert isinstance(gate.limit, Closed)  # noqa: S101  closings() makes nothing else
    return gate.limit


def _slow(landing: Landing, books: Batch, opens: int) -> None:
    """The server's pace is halved, until some time after the door opens again."""
    for gate, _ in landing.grant.charges:
        if isinstance(gate.limit, Slowed):
            books.put(gate, gate.limit.slower(books.get(gate), books.now, landing.grant.now, opens))


_STATES: dict[Next, MailState] = {
    Next.AGAIN: MailState.READY,
    Next.LATER: MailState.SCHEDULED,
    Next.BACK: MailState.SCHEDULED,
    Next.DEAD: MailState.DEAD,
    Next.IN_DOUBT: MailState.IN_DOUBT,
}


def _change(landing: Landing, now: int, ruling: Ruling | None) -> Change | Gone:
    if landing.undone:
        return Gone(uid=landing.uid, token=landing.token, unbind=True)
    verdict = landing.verdict
    if verdict.next is Next.BACK:
        verdict = evolve(verdict, next=Next.DEAD) if ruling is None or not ruling.delay else verdict
    back = ruling is not None and verdict.next is Next.BACK
    uid = "" if landing.row else landing.uid
    if verdict.next is Next.DONE:
        return Gone(landing.row, uid, landing.token)
    state = _STATES[verdict.next]
    if landing.held and state is MailState.READY:
        state = MailState.LEASED
    doubtful = isinstance(verdict.outcome, Unknown)
    reason = "in_doubt" if doubtful and state is MailState.DEAD else verdict.reason
    if state is MailState.DEAD and not landing.keep:
        return Gone(landing.row, uid, landing.token, reason=reason)
    lane = None
    if verdict.pass_over is not None:
        lane = evolve(landing.lane, key=landing.ticket.passing(landing.server.id, for_good=verdict.pass_over).encode())
    elif verdict.domain:
        lane = evolve(landing.lane, key=own_lane(landing.ticket, verdict.domain).encode())
    elif back:  # every server of the route is asked again
        lane = evolve(landing.lane, key=asked_again(landing.ticket, landing.memo).encode())
    elif state is MailState.SCHEDULED:
        lane = evolve(landing.lane, key=landing.ticket.afresh().encode())
    delay = ruling.delay if ruling is not None and back else round(verdict.delay * 1000)
    return Change(
        id=landing.row,
        uid=uid,
        token=landing.token,
        state=state,
        lane=lane,
        due=now + delay if state is MailState.SCHEDULED else 0,
        server="" if state in (MailState.READY, MailState.SCHEDULED) and not (doubtful or back) else landing.server.id,
        reason=reason,
        spend=verdict.spend,
        memo=ruling.memo if ruling is not None and back else passed_on(landing),
        resends=landing.resends + (state is MailState.SCHEDULED) if doubtful else None,
    )


def ended(verdict: Verdict, change: Change | Gone) -> Next:
    """What became of a message: as its verdict says, or as the brake ruled on it."""
    if verdict.next is Next.BACK and change.state is not MailState.SCHEDULED:
        return Next.DEAD
    return verdict.next


def _line(landing: Landing) -> LogLine:
    outcome = landing.verdict.outcome
    return LogLine(
        uid=landing.uid,
        account=landing.lane.account,
        server=landing.server.id,
        outcome=type(outcome).__name__.lower(),
        detail=landing.verdict.reason,
        provider_message_id=outcome.provider_message_id if isinstance(outcome, Accepted) else "",
    )
