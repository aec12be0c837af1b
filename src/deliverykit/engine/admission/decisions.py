"""Asking for leave: the decide objects that admit mail, each in one atomic step."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol
from zlib import crc32

from attrs import evolve, field, frozen

from deliverykit.contracts.books import Change, Head, LaneKey, MailState
from deliverykit.contracts.storage import Claim, Step, View
from deliverykit.engine.admission.admit import Admission, Candidates, Grant, Refusal, admit
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.lanes import Ticket, asked_again
from deliverykit.engine.admission.reasons import nobody
from deliverykit.limits import Brake
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.words.clock import NEVER

__all__ = [
    "PROBE_HEADS",
    "ClaimHeads",
    "Illegible",
    "MoreHeads",
    "Question",
    "asked",
    "back",
    "braked",
    "held",
    "keeps",
    "no_server",
]


PROBE_HEADS = 200
"""A probe is chosen among this many messages of its lane: a run of bad recipients is shorter."""


class MoreHeads(Exception):
    """A probe is to be chosen among more messages than were asked for: ask again for :data:`PROBE_HEADS`."""


def _probe_first(heads: Sequence[Head], now: int) -> list[Head]:
    """A message chosen by chance, but the same for the same instant, before the others. One never put back, if there is one."""
    chosen = min(heads, key=lambda head: (bool(head.memo), crc32(f"{now} {head.uid}".encode())))
    return [chosen, *(head for head in heads if head is not chosen)]


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
    most: int = NEVER
    """How many may be leased."""
    wide: bool = False
    """Whether the lane was looked at beyond that, since a probe is a random message of it."""
    grants: dict[int, Grant] = field(factory=dict, eq=False)
    """Filled for the engine: the grant of each leased mail. A re-run starts it afresh."""
    claims: list[tuple[Claim, tuple[str, ...]]] = field(factory=list, eq=False)
    """Filled for the engine: what was decided, and which mails were found expired or late."""

    def __call__(self, view: View) -> Step[Claim]:
        """See :class:`~deliverykit.contracts.storage.DecideClaim`."""
        step = self._decided(view)
        gone = {*step.result.expired, *step.result.late}
        self.claims[:] = [(step.result, tuple(head.uid for head in view.heads if head.id in gone))]
        return step

    def _decided(self, view: View) -> Step[Claim]:
        self.config.current(view)
        if self.ticket.foreign:
            raise Illegible
        self.grants.clear()
        expired = tuple([head.id for head in view.heads if head.expires <= view.now])
        late = tuple([head.id for head in view.heads if head.expires > view.now and self._late(head)])
        gone = Claim(expired=expired, late=late)
        heads = [head for head in view.heads if head.id not in expired and head.id not in late]
        if not heads:
            return Step(result=gone)
        if _probing(self, view):
            if not self.wide and len(view.heads) < PROBE_HEADS:
                raise MoreHeads
            heads = _probe_first(heads, view.now)
        heads = heads[: self.most]
        admission = asked(self, [head.cost for head in heads], view)
        self.grants.update({head.id: grant for head, grant in zip(heads, admission.grants, strict=False)})
        refusal = admission.refusal
        if refusal is not None and refusal.braked:
            return Step(result=evolve(gone, blocked_until=refusal.at, blocked_by=refusal.words))
        if refusal is not None and not refusal.paces and self.ticket.tried and not admission.grants:
            return Step(result=gone, changes=tuple(self._afresh(head, refusal, view.now) for head in heads))
        if refusal is not None and not (refusal.paces and refusal.at < NEVER) and not self._legible(view):
            if not admission.grants:
                raise Illegible
            refusal = None
        if refusal is not None and refusal.at >= NEVER and not admission.grants:
            changes = tuple(self._to_refusers(head) for head in heads if asked_again(self.ticket, head.memo) != self.ticket)
            if changes:
                return Step(result=gone, changes=changes)
        return Step(
            result=evolve(
                gone,
                leases={id_: grant.server for id_, grant in self.grants.items()},
                blocked_until=refusal.at if refusal else 0,
                blocked_by=refusal.words if refusal else "",
                pacing=refusal.paces if refusal else False,
            ),
            records=admission.records,
        )

    @property
    def stream(self) -> str:
        """The lane's."""
        return self.lane.stream

    def _legible(self, view: View) -> bool:
        """Whether this process can read all that decides on the lane; else it must not block it for those that can."""
        gates = self.config.candidates(self.route, self.ticket, self.stream).gates.values()
        sealed = any(gate.sealed(view.records[gate.record]) for some in gates for gate in some)
        return not sealed and self.config.legible(self.route)

    def _late(self, head: Head) -> bool:
        """Whether it came due after all that its route waits for mail whose time has passed."""
        most = self.route.max_lateness
        if head.resends:
            return False  # it may have gone already: it is in doubt, or resent as it was told, and never just dead
        return most is not None and head.late > most // timedelta(milliseconds=1)

    def _to_refusers(self, head: Head) -> Change:
        """No other server can carry it any more, so those that refused it are asked again: now, or when it was put back."""
        lane = evolve(self.lane, key=asked_again(self.ticket, head.memo).encode())
        return Change(id=head.id, was=MailState.READY, state=MailState.READY, lane=lane)

    def _afresh(self, head: Head, refusal: Refusal, now: int) -> Change:
        """Those not passed over in this round have no quota: another round after a back-off, not after their window."""
        lane = evolve(self.lane, key=self.ticket.afresh().encode())
        return Change(id=head.id, was=MailState.READY, state=MailState.SCHEDULED, lane=lane,
                      due=back(now, self.wait(head.attempts), refusal), reason=refusal.words)  # fmt: skip


class Question(Protocol):
    """What every question for leave names."""

    @property
    def config(self) -> Config:
        """The account's configuration."""

    @property
    def route(self) -> Route:
        """The lane's route."""

    @property
    def ticket(self) -> Ticket:
        """Which servers the lane may use."""

    @property
    def stream(self) -> str:
        """The lane's stream."""


def braked(config: Config) -> Refusal | None:
    """Why nobody may go while the account is paused as a whole."""
    return Refusal(NEVER, f"the account is paused: {config.account.paused}", braked=True) if config.account.paused else None


def asked(question: Question, costs: Sequence[int], view: View) -> Admission:
    """Who may go; nobody while the account is paused as a whole, or the lane is held."""
    config = question.config
    if (refusal := braked(config) or held(question)) is not None:
        return Admission((), refusal, (None,) * len(view.records))
    candidates = config.candidates(question.route, question.ticket, question.stream)
    admission = admit(candidates, costs, view.records, view.now)
    if admission.refusal is not None and admission.refusal.nobody:
        return evolve(admission, refusal=no_server(question, candidates))
    return admission


def no_server(question: Question, candidates: Candidates) -> Refusal:
    """Return the refusal of a lane that no server of its route can carry now, with every server and its status."""
    config = question.config
    if not candidates.gates and config.holds:
        why = (config.held(question.route.name, question.stream, question.ticket, one) for one in question.route.servers)
        if (hold := next(filter(None, why), None)) is not None:
            return Refusal(NEVER, hold.reason, braked=True)
    return Refusal(NEVER, without(config, question.route), nobody=True)


def without(config: Config, route: Route) -> str:
    """Why no server of a route can send now."""
    if route.broken:
        return f"route {route.name!r} is BROKEN: {route.broken}"
    if route.name:
        return nobody(route.name, config.members(route.name))
    return nobody("", [config.servers[id_] for id_ in route.servers if id_ in config.servers])


def held(question: Question) -> Refusal | None:
    """Why nothing of a lane may go until a person releases it."""
    hold = question.config.held(question.route.name, question.stream, question.ticket)
    return Refusal(NEVER, hold.reason, braked=True) if hold is not None else None


def _probing(question: Question, view: View) -> bool:
    """Whether a message of the lane may try a server now that the brake has stopped."""
    gates = question.config.candidates(question.route, question.ticket, question.stream).gates.values()
    brakes = ((gate, gate.limit) for some in gates for gate in some if isinstance(gate.limit, Brake))
    states = ((brake, gate.known(view.records[gate.record])) for gate, brake in brakes)
    return any(brake.is_open(state) and brake.room(state, view.now) > 0 for brake, state in states)


def back(now: int, wait: float, refusal: Refusal) -> int:
    """The sooner of a back-off's end and the instant at which the others have room."""
    return min(now + round(wait * 1000), max(refusal.at, now))


def keeps(route: Route) -> bool:
    """Whether a mail without quota is queued on this route."""
    return route.when_exhausted is not WhenExhausted.REJECT
