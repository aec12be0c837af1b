"""The decide objects: what the engine asks the storage to make true, each in one atomic step."""

from collections.abc import Callable, Sequence
from zlib import crc32

from attrs import evolve, field, frozen

from deliverykit.contracts.limit import Record, State
from deliverykit.contracts.storage import Change, Claim, Document, Head, LaneKey, LogLine, MailState, NewMail, Step, View
from deliverykit.engine.admission import Grant, Refusal, admit
from deliverykit.engine.catalog import Config
from deliverykit.engine.gates import ACCOUNT, Gate, closings
from deliverykit.engine.lanes import Ticket
from deliverykit.engine.verdicts import Next, Verdict
from deliverykit.limits import Closed
from deliverykit.records.documents import Archive
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import DeliveryServer, Status
from deliverykit.words.clock import NEVER
from deliverykit.words.outcomes import Accepted

__all__ = ["BRAKE", "ClaimHeads", "Illegible", "Landing", "Peek", "Place", "Placed", "Readmit", "Settle", "brake_name"]

BRAKE = 10
"""So many different messages, rejected in a row with the same reason and none accepted between, PAUSE a server."""


def brake_name(server: str) -> str:
    """Where a server's run of rejections is remembered: (reason's checksum, mail, mail, …)."""
    return f"s:{server}/brake"


@frozen(kw_only=True)
class Placed:
    """What became of a mail that asked to leave now."""

    grant: Grant | None = None
    refusal: Refusal | None = None
    state: MailState | None = None
    """Where its row stands; ``None`` where nothing was written."""
    now: int = 0


class Illegible(Exception):
    """What could carry the lane's mail cannot be read in this process: it is left, untouched, to one that can."""


@frozen
class ClaimHeads:
    """A lane's claim: whose turn it is, which heads may go, how long the lane waits for the rest."""

    config: Config
    route: Route
    ticket: Ticket
    lane: LaneKey
    wait: Callable[[int], float]
    """Seconds of back-off after so many attempts."""
    grants: dict[int, Grant] = field(factory=dict, eq=False)
    """Filled for the engine: the grant of each leased mail. A re-run starts it afresh."""

    def __call__(self, view: View) -> Step[Claim]:
        """See :class:`~deliverykit.contracts.storage.DecideClaim`."""
        self.config.current(view)
        self.grants.clear()
        expired = tuple(head.id for head in view.heads if head.expires <= view.now)
        heads = [head for head in view.heads if head.expires > view.now]
        if not heads:
            return Step(result=Claim(expired=expired))
        candidates = self.config.candidates(self.route, self.ticket)
        admission = admit(candidates, [head.cost for head in heads], view.records, view.now)
        self.grants.update({head.id: grant for head, grant in zip(heads, admission.grants, strict=False)})
        refusal = admission.refusal
        if refusal is not None and not refusal.paces and self.ticket.tried and not admission.grants:
            return Step(result=Claim(expired=expired), changes=tuple(self._afresh(head, refusal, view.now) for head in heads))
        if refusal is not None and not refusal.paces and not self.config.legible(self.route):
            if not admission.grants:
                raise Illegible
            refusal = None
        return Step(
            result=Claim(
                leases={id_: grant.server for id_, grant in self.grants.items()},
                expired=expired,
                blocked_until=refusal.at if refusal else 0,
                blocked_by=refusal.by if refusal else "",
                pacing=refusal.paces if refusal else False,
            ),
            records=admission.records,
        )

    def _afresh(self, head: Head, refusal: Refusal, now: int) -> Change:
        """Those not passed over in this round have no quota: another round after a back-off, not after their window."""
        lane = evolve(self.lane, key=self.ticket.afresh().encode())
        return Change(id=head.id, was=MailState.READY, state=MailState.SCHEDULED, lane=lane,
                      due=_back(now, self.wait(head.attempts), refusal), reason=refusal.by)  # fmt: skip


def _back(now: int, wait: float, refusal: Refusal) -> int:
    """The sooner of a back-off's end and the instant at which the others have room."""
    return min(now + round(wait * 1000), max(refusal.at, now))


@frozen(kw_only=True)
class Place:
    """``send()``: admit one new mail and write it down as ``sending`` in the same step, or as the route says."""

    config: Config
    route: Route
    ticket: Ticket
    mail: NewMail
    patience: int
    """How many ms the caller waits for a pace; a longer wait is the outbox's."""
    lease: int
    keep: bool = True
    """Whether a refused mail is queued; a test and a ``reject`` route's mail are not."""

    def __call__(self, view: View) -> Step[Placed]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        self.config.current(view)
        admission = admit(self.config.candidates(self.route, self.ticket), [self.mail.cost], view.records, view.now)
        if admission.grants:
            grant = admission.grants[0]
            row = evolve(self.mail, state=MailState.SENDING, server=grant.server, lease_until=view.now + self.lease)
            placed = Placed(grant=grant, state=MailState.SENDING, now=view.now)
            return Step(result=placed, records=admission.records, inserts=(row,))
        refusal = admission.refusal or Refusal(view.now, "")
        if refusal.paces and refusal.at - view.now <= self.patience:
            return Step(result=Placed(refusal=refusal, now=view.now))
        if not self.keep:
            return Step(result=Placed(refusal=refusal, now=view.now))
        row = evolve(self.mail, state=MailState.READY, token="")
        return Step(result=Placed(refusal=refusal, state=MailState.READY, now=view.now), inserts=(row,))


@frozen(kw_only=True)
class Readmit:
    """``send()``, after a server surely did not send it: the next one, at once, for the row it holds."""

    config: Config
    route: Route
    ticket: Ticket
    lane: LaneKey
    uid: str
    token: str
    cost: int
    patience: int
    wait: float
    """Seconds of back-off, where only servers without quota are left in this round."""
    keep: bool = True

    def __call__(self, view: View) -> Step[Placed]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        self.config.current(view)
        admission = admit(self.config.candidates(self.route, self.ticket), [self.cost], view.records, view.now)
        if admission.grants:
            grant = admission.grants[0]
            change = Change(uid=self.uid, token=self.token, state=MailState.SENDING, server=grant.server)
            placed = Placed(grant=grant, state=MailState.SENDING, now=view.now)
            return Step(result=placed, records=admission.records, changes=(change,))
        refusal = admission.refusal or Refusal(view.now, "")
        if refusal.paces and refusal.at - view.now <= self.patience:
            return Step(result=Placed(refusal=refusal, now=view.now))
        state = MailState.READY if self.keep else None
        change = Change(uid=self.uid, token=self.token, state=state, lane=self.lane, reason=refusal.by)
        if self.keep and self.ticket.tried:
            refusal = Refusal(_back(view.now, self.wait, refusal), refusal.by)
            lane = evolve(self.lane, key=self.ticket.afresh().encode())
            change = evolve(change, state=MailState.SCHEDULED, lane=lane, due=refusal.at)
        return Step(result=Placed(refusal=refusal, state=state, now=view.now), changes=(change,))


@frozen(kw_only=True)
class Peek:
    """A dry run: the same question, and nothing is written."""

    config: Config
    route: Route
    ticket: Ticket
    cost: int

    def __call__(self, view: View) -> Step[Placed]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        self.config.current(view)
        admission = admit(self.config.candidates(self.route, self.ticket), [self.cost], view.records, view.now)
        return Step(result=Placed(grant=next(iter(admission.grants), None), refusal=admission.refusal, now=view.now))


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


@frozen
class Settle:
    """What came back: rows moved, units given back, servers closed or PAUSED, the log written. One step for a batch."""

    config: Config
    landings: tuple[Landing, ...]
    archive: Archive

    def __call__(self, view: View) -> Step[None]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        books = _Books(view)
        for landing in self.landings:
            self._land(landing, books)
        if books.paused:
            self.config.current(view)
        return Step(
            result=None,
            records=books.records(),
            changes=tuple(books.changes),
            log=tuple(books.log),
            documents=tuple(self._paused(books)),
            wake=books.wake,
        )

    def _land(self, landing: Landing, books: "_Books") -> None:
        verdict = landing.verdict
        if verdict.refund:
            for gate, mark in landing.grant.charges:
                books.put(gate, gate.limit.give(books.get(gate), mark, gate.cost(landing.grant.cost)))
            books.wake = True
        if verdict.close:
            scope, until = verdict.close
            gate = closings(landing.server)[scope]
            books.put(gate, _closed(gate).close(books.get(gate), books.now, until))
        if isinstance(verdict.outcome, Accepted):
            self._reopen(landing, books)
        if verdict.pause:
            books.paused.setdefault(landing.server.id, (landing.server.version, verdict.pause))
        braked = verdict.brake and self._brake(landing, books)
        # What send() was told is rejected stays so: its caller may have acted on it.
        books.changes.append(_change(landing, books.now, braked=braked and landing.keep))
        books.log.append(_line(landing))

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

    def _brake(self, landing: Landing, books: "_Books") -> bool:
        """Whether the brake holds this server: then its rejections fall on nobody."""
        name = brake_name(landing.server.id)
        reason = crc32(landing.verdict.reason.encode())
        run = books.own(name)
        if not run or run[0] != reason:
            run = (reason,)
        if len(run) > BRAKE:
            return True
        run = (*run, landing.row or -crc32(landing.uid.encode()))
        books.put_own(name, run)
        if len(run) <= BRAKE:
            return False
        words = f"{BRAKE} messages in a row were rejected with the same reason: {landing.verdict.reason}"
        books.paused.setdefault(landing.server.id, (landing.server.version, words))
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
        return documents


class _Books:
    """The states and lists that a batch of landings adds up in."""

    def __init__(self, view: View) -> None:
        self.now = view.now
        self._states: list[dict[str, State]] = [dict(record) for record in view.records]
        self._touched: set[int] = set()
        self.changes: list[Change] = []
        self.log: list[LogLine] = []
        self.paused: dict[str, tuple[int, str]] = {}
        self.wake = False

    def get(self, gate: Gate) -> State:
        return self._states[gate.record].get(gate.name, ())

    def put(self, gate: Gate, state: State) -> None:
        if state != self.get(gate):
            self._states[gate.record][gate.name] = state
            self._touched.add(gate.record)

    def own(self, name: str) -> State:
        return self._states[ACCOUNT].get(name, ())

    def put_own(self, name: str, state: State) -> None:
        self._states[ACCOUNT][name] = state
        self._touched.add(ACCOUNT)

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


_STATES = {
    Next.DONE: None,
    Next.AGAIN: MailState.READY,
    Next.LATER: MailState.SCHEDULED,
    Next.DEAD: MailState.DEAD,
    Next.IN_DOUBT: MailState.IN_DOUBT,
}


def _change(landing: Landing, now: int, *, braked: bool) -> Change:
    verdict = landing.verdict
    state = MailState.READY if braked else _STATES[verdict.next]
    if landing.held and state is MailState.READY:
        state = MailState.LEASED
    if state is MailState.DEAD and not landing.keep:
        state = None
    lane = None
    if verdict.pass_over is not None:
        lane = evolve(landing.lane, key=landing.ticket.passing(landing.server.id, for_good=verdict.pass_over).encode())
    elif state is MailState.SCHEDULED:
        lane = evolve(landing.lane, key=landing.ticket.afresh().encode())
    return Change(
        id=landing.row,
        uid="" if landing.row else landing.uid,
        token=landing.token,
        state=state,
        lane=lane,
        due=now + round(verdict.delay * 1000) if state is MailState.SCHEDULED else 0,
        server="" if state in (MailState.READY, MailState.SCHEDULED) else landing.server.id,
        reason=verdict.reason,
        spend=verdict.spend,
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


def waits_for(placed: Placed) -> int:
    """The instant a refused mail could go; NEVER where nothing but a change will help."""
    return placed.refusal.at if placed.refusal else NEVER


def keeps(route: Route) -> bool:
    """Whether a mail without quota is queued on this route."""
    return route.when_exhausted is not WhenExhausted.REJECT
