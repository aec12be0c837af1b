"""Settling: what came back, made true in one step for a batch. Rows moved, units given back, servers closed or PAUSED."""

from collections.abc import Sequence
from zlib import crc32

from attrs import evolve, frozen

from deliverykit.contracts.books import Change, Document, Gone, LaneKey, LogLine, MailState
from deliverykit.contracts.limit import Record, State
from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.admit import Grant
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.gates import ACCOUNT, CIRCUIT, Gate, circuit, closings
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.settling.notices import Notices
from deliverykit.engine.settling.verdicts import Next, Verdict
from deliverykit.limits import Closed, Slowed
from deliverykit.records.documents import Archive
from deliverykit.records.server import DeliveryServer, Status
from deliverykit.words.facts import Fact
from deliverykit.words.outcomes import Accepted, Unknown
from deliverykit.words.untrusted import scrubbed

__all__ = ["BRAKE", "Landing", "Settle", "Settled", "brake_name"]

BRAKE = 10
"""So many different messages, rejected in a row with the same reason and none accepted between, PAUSE a server."""


def brake_name(server: str) -> str:
    """Where a server's run of rejections is remembered: (reason's checksum, mail, mail, …)."""
    return f"s:{server}/brake"


@frozen(kw_only=True)
class Landing:
    """An attempt that is over, and the verdict on it."""

    uid: str
    row: int
    """The row's id; 0 where only the uid is known (``send()``)."""
    token: str
    lane: LaneKey
    ticket: Ticket
    server: DeliveryServer
    grant: Grant
    verdict: Verdict
    held: bool = False
    """Whether the caller goes on with it (``send()``): AGAIN then keeps the row under its token."""
    keep: bool = True
    """Whether a dead mail is kept in the outbox; ``send()`` has told its caller."""
    resends: int = 0
    """How often it was sent again because its fate was unknown."""
    attempt: int = 1
    told: str = ""
    """The verdict's reason without the recipients it may quote: fit for other eyes than the delivery log's."""
    undone: bool = False
    """Whether the call that handed it in was cancelled before anything went: then it is as if it never was."""


@frozen
class Settled:
    """What a batch came to: what is told of it once it is true."""

    landed: tuple[tuple[Landing, Change | Gone], ...]
    """Each landing, and what became of its mail, unless that change came too late."""
    servers: tuple[Fact, ...]


@frozen
class Settle:
    """What came back: rows moved, units given back, servers closed or PAUSED, the log written. One step for a batch."""

    config: Config
    landings: tuple[Landing, ...]
    archive: Archive

    def __call__(self, view: View) -> Step[Settled]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        books = _Books(view, Notices(self.config))
        for landing in self.landings:
            self._land(landing, books)
        if books.paused:
            self.config.current(view)
        documents = tuple(self._paused(books))
        return Step(
            result=Settled(tuple(zip(self.landings, books.changes, strict=False)), books.notices.facts(books.own)),
            records=books.records(),
            changes=tuple(books.changes),
            log=tuple(books.log),
            documents=documents,
            wake=books.wake,
        )

    def _land(self, landing: Landing, books: "_Books") -> None:
        verdict = landing.verdict
        if verdict.refund:
            for gate, mark in landing.grant.charges:
                if gate.limit.paces and verdict.started:
                    continue  # a pause runs from start to start: what the ESP refused has used its slot as well
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
        if verdict.fault or (isinstance(verdict.outcome, Accepted) and not books.calm(landing)):
            self._health(landing, books)
        if verdict.pause:
            books.pause(landing.server, verdict.pause)
        braked = verdict.brake and self._brake(landing, books)
        # What send() was told is rejected stays so: its caller may have acted on it.
        books.changes.append(_change(landing, books.now, braked=braked and landing.keep))
        if verdict.started:
            books.log.append(_line(landing))

    def _health(self, landing: Landing, books: "_Books") -> None:
        """What this answer says of the server."""
        if isinstance(landing.verdict.outcome, Accepted):
            self._reopen(landing, books)
        self._circuit(landing, books)

    def _reopen(self, landing: Landing, books: "_Books") -> None:
        """An accepted mail ends a closing that named no time, and a run of rejections."""
        for gate, _ in landing.grant.charges:
            if isinstance(gate.limit, Closed) and books.get(gate):
                opened = gate.limit.opened(books.get(gate), books.now)
                if opened != books.get(gate):
                    books.put(gate, opened)
                    books.wake = True
        if books.own(brake_name(landing.server.id)):
            books.put_own(brake_name(landing.server.id), ())

    def _circuit(self, landing: Landing, books: "_Books") -> None:
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

    def _brake(self, landing: Landing, books: "_Books") -> bool:
        """Whether the brake holds this server: then its rejections fall on nobody."""
        name = brake_name(landing.server.id)
        reason = crc32(landing.verdict.reason.encode())
        run = books.own(name)
        if not run or run[0] != reason:
            run = (reason,)
        words = f"{BRAKE} messages in a row were rejected with the same reason: {landing.verdict.reason}"
        if len(run) > BRAKE:
            # Again, for those who told so before told it of the server as it was, if it has been edited since.
            books.pause(landing.server, words)
            return True
        run = (*run, landing.row or -crc32(landing.uid.encode()))
        books.put_own(name, run)
        if len(run) <= BRAKE:
            return False
        books.pause(landing.server, words)
        books.revive([row for row in run[1:-1] if row > 0])
        books.wake = True
        return True

    def _paused(self, books: "_Books") -> list[Document]:
        documents = []
        for id_, (version, reason) in books.paused.items():
            server = self.config.servers.get(id_)
            if server is None or server.version != version or server.provider is None:
                continue  # changed since the request was built: the verdict was about an older key
            status = evolve(server, status=Status.PAUSED, reason=reason, paused_by="engine", version=server.version + 1)
            documents.append(self.archive.server(status))
            books.notices.paused(server, scrubbed(reason))
        return documents


class _Books:
    """The states and lists that a batch of landings adds up in."""

    def __init__(self, view: View, notices: Notices) -> None:
        self.now = view.now
        self.notices = notices
        self._states: list[dict[str, State]] = [dict(record) for record in view.records]
        self._touched: set[int] = set()
        self._calm: dict[tuple[str, int], bool] = {}
        self.changes: list[Change | Gone] = []
        self.log: list[LogLine] = []
        self.paused: dict[str, tuple[int, str]] = {}
        self.wake = False

    def get(self, gate: Gate) -> State:
        return self._states[gate.record].get(gate.name, ())

    def put(self, gate: Gate, state: State) -> None:
        if state != self.get(gate):
            self._states[gate.record][gate.name] = state
            self._touched.add(gate.record)
            self._calm.clear()

    def own(self, name: str) -> State:
        return self._states[ACCOUNT].get(name, ())

    def put_own(self, name: str, state: State) -> None:
        self._states[ACCOUNT][name] = state
        self._touched.add(ACCOUNT)
        self._calm.clear()

    def calm(self, landing: Landing) -> bool:
        """Whether an accepted mail changes nothing of its server: no fault, no run of rejections, no closed door to open.

        It is asked for nearly every mail, and a batch's mails by one server have one answer: they share their charges.
        """
        server, charges = landing.server, landing.grant.charges
        its = (server.id, id(charges))
        if its not in self._calm:
            closed = any(isinstance(gate.limit, Closed) and self.get(gate) for gate, _ in charges)
            self._calm[its] = not (closed or self.get(circuit(server)) or self.own(brake_name(server.id)))
        return self._calm[its]

    def pause(self, server: DeliveryServer, reason: str) -> None:
        """Of several words on it the first on its latest version counts: what was said of an older one is out of date."""
        if server.id not in self.paused or self.paused[server.id][0] < server.version:
            self.paused[server.id] = (server.version, reason)

    def records(self) -> tuple[Record | None, ...]:
        return tuple(state if index in self._touched else None for index, state in enumerate(self._states))

    def revive(self, rows: Sequence[int]) -> None:
        """Messages of a braked run are nobody's fault of their own: back to the queue, this batch's as well."""
        self.changes = [
            evolve(change, state=MailState.READY, reason="") if change.id in rows and change.state is MailState.DEAD else change
            for change in self.changes
        ]
        here = {change.id for change in self.changes}
        self.changes += [Change(id=row, was=MailState.DEAD, state=MailState.READY) for row in rows if row not in here]


def _closed(gate: Gate) -> Closed:
    assert isinstance(gate.limit, Closed)  # noqa: S101  closings() makes nothing else
    return gate.limit


def _slow(landing: Landing, books: _Books, opens: int) -> None:
    """The server's pace is halved, until some time after the door opens again."""
    for gate, _ in landing.grant.charges:
        if isinstance(gate.limit, Slowed):
            books.put(gate, gate.limit.slower(books.get(gate), books.now, landing.grant.now, opens))


_STATES: dict[Next, MailState] = {
    Next.AGAIN: MailState.READY,
    Next.LATER: MailState.SCHEDULED,
    Next.DEAD: MailState.DEAD,
    Next.IN_DOUBT: MailState.IN_DOUBT,
}


def _change(landing: Landing, now: int, *, braked: bool) -> Change | Gone:
    if landing.undone:
        return Gone(uid=landing.uid, token=landing.token, unbind=True)
    verdict = landing.verdict
    uid = "" if landing.row else landing.uid
    if verdict.next is Next.DONE:
        return Gone(landing.row, uid, landing.token)
    state = MailState.READY if braked else _STATES[verdict.next]
    if landing.held and state is MailState.READY:
        state = MailState.LEASED
    doubtful = isinstance(verdict.outcome, Unknown)
    reason = "in_doubt" if doubtful and state is MailState.DEAD else verdict.reason
    if state is MailState.DEAD and not landing.keep:
        return Gone(landing.row, uid, landing.token, reason=reason)
    lane = None
    if verdict.pass_over is not None:
        lane = evolve(landing.lane, key=landing.ticket.passing(landing.server.id, for_good=verdict.pass_over).encode())
    elif state is MailState.SCHEDULED:
        lane = evolve(landing.lane, key=landing.ticket.afresh().encode())
    return Change(
        id=landing.row,
        uid=uid,
        token=landing.token,
        state=state,
        lane=lane,
        due=now + round(verdict.delay * 1000) if state is MailState.SCHEDULED else 0,
        server="" if state in (MailState.READY, MailState.SCHEDULED) and not doubtful else landing.server.id,
        reason=reason,
        spend=verdict.spend,
        resends=landing.resends + (state is MailState.SCHEDULED) if doubtful else None,
    )


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
