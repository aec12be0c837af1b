"""Asking for leave: the decide objects that admit mail, each in one atomic step."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from attrs import evolve, field, frozen

from deliverykit.contracts.books import Change, Head, LaneKey, LogLine, MailState, NewMail
from deliverykit.contracts.storage import Claim, Step, View
from deliverykit.engine.admission.admit import Admission, Grant, Refusal, admit
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.words.clock import NEVER

__all__ = ["ClaimHeads", "Illegible", "Place", "Placed", "Readmit", "braked", "keeps", "waits_for"]


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
        self.grants.clear()
        expired = tuple(head.id for head in view.heads if head.expires <= view.now)
        late = tuple(head.id for head in view.heads if head.expires > view.now and self._late(head))
        gone = Claim(expired=expired, late=late)
        heads = [head for head in view.heads if head.id not in (*expired, *late)]
        if not heads:
            return Step(result=gone)
        admission = _asked(self, [head.cost for head in heads], view)
        self.grants.update({head.id: grant for head, grant in zip(heads, admission.grants, strict=False)})
        refusal = admission.refusal
        if refusal is not None and refusal.braked:
            return Step(result=evolve(gone, blocked_until=refusal.at, blocked_by=refusal.by))
        if refusal is not None and not refusal.paces and self.ticket.tried and not admission.grants:
            return Step(result=gone, changes=tuple(self._afresh(head, refusal, view.now) for head in heads))
        if refusal is not None and not refusal.paces and not self.config.legible(self.route):
            if not admission.grants:
                raise Illegible
            refusal = None
        return Step(
            result=evolve(
                gone,
                leases={id_: grant.server for id_, grant in self.grants.items()},
                blocked_until=refusal.at if refusal else 0,
                blocked_by=refusal.by if refusal else "",
                pacing=refusal.paces if refusal else False,
            ),
            records=admission.records,
        )

    @property
    def stream(self) -> str:
        """The lane's."""
        return self.lane.stream

    def _late(self, head: Head) -> bool:
        """Whether it came due after all that its route waits for mail whose time has passed."""
        most = self.route.max_lateness
        if head.resends:
            return False  # it may have gone already: it is in doubt, or resent as it was told, and never just dead
        return most is not None and head.late > most // timedelta(milliseconds=1)

    def _afresh(self, head: Head, refusal: Refusal, now: int) -> Change:
        """Those not passed over in this round have no quota: another round after a back-off, not after their window."""
        lane = evolve(self.lane, key=self.ticket.afresh().encode())
        return Change(id=head.id, was=MailState.READY, state=MailState.SCHEDULED, lane=lane,
                      due=_back(now, self.wait(head.attempts), refusal), reason=refusal.by)  # fmt: skip


class _Question(Protocol):
    """What every question for leave names."""

    @property
    def config(self) -> Config: ...

    @property
    def route(self) -> Route: ...

    @property
    def ticket(self) -> Ticket: ...

    @property
    def stream(self) -> str: ...


def braked(config: Config) -> Refusal | None:
    """Why nobody may go while the account is paused as a whole."""
    return Refusal(NEVER, f"the account is paused: {config.account.paused}", braked=True) if config.account.paused else None


def _asked(question: _Question, costs: Sequence[int], view: View) -> Admission:
    """Who may go; nobody while the account is paused as a whole."""
    config = question.config
    if (refusal := braked(config)) is not None:
        return Admission((), refusal, (None,) * len(view.records))
    return admit(config.candidates(question.route, question.ticket, question.stream), costs, view.records, view.now)


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

    @property
    def stream(self) -> str:
        """The mail's."""
        return self.mail.lane.stream

    def __call__(self, view: View) -> Step[Placed]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        self.config.current(view)
        admission = _asked(self, [self.mail.cost], view)
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

    @property
    def stream(self) -> str:
        """The mail's."""
        return self.lane.stream

    def __call__(self, view: View) -> Step[Placed]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        self.config.current(view)
        admission = _asked(self, [self.cost], view)
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
        if self.keep and self.ticket.tried and not refusal.braked:
            refusal = Refusal(_back(view.now, self.wait, refusal), refusal.by)
            lane = evolve(self.lane, key=self.ticket.afresh().encode())
            change = evolve(change, state=MailState.SCHEDULED, lane=lane, due=refusal.at)
        # A row that goes tells why; one that waits is there to be asked.
        end = LogLine(uid=self.uid, account=self.lane.account, server="", outcome="refused", detail=refusal.by)
        log = () if self.keep else (end,)
        return Step(result=Placed(refusal=refusal, state=state, now=view.now), changes=(change,), log=log)


def waits_for(placed: Placed) -> int:
    """The instant a refused mail could go; NEVER where nothing but a change will help."""
    return placed.refusal.at if placed.refusal else NEVER


def keeps(route: Route) -> bool:
    """Whether a mail without quota is queued on this route."""
    return route.when_exhausted is not WhenExhausted.REJECT
