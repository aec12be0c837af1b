"""Asking for leave: the decide objects that admit mail, each in one atomic step."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from attrs import evolve, field, frozen

from deliverykit.contracts.books import Change, Head, LaneKey, MailState
from deliverykit.contracts.storage import Claim, Step, View
from deliverykit.engine.admission.admit import Admission, Grant, Refusal, admit
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.words.clock import NEVER

__all__ = ["ClaimHeads", "Illegible", "asked", "back", "braked", "keeps"]


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
        if self.ticket.foreign:
            raise Illegible
        self.grants.clear()
        expired = tuple([head.id for head in view.heads if head.expires <= view.now])
        late = tuple([head.id for head in view.heads if head.expires > view.now and self._late(head)])
        gone = Claim(expired=expired, late=late)
        heads = [head for head in view.heads if head.id not in expired and head.id not in late]
        if not heads:
            return Step(result=gone)
        admission = asked(self, [head.cost for head in heads], view)
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
                      due=back(now, self.wait(head.attempts), refusal), reason=refusal.by)  # fmt: skip


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


def asked(question: _Question, costs: Sequence[int], view: View) -> Admission:
    """Who may go; nobody while the account is paused as a whole."""
    config = question.config
    if (refusal := braked(config)) is not None:
        return Admission((), refusal, (None,) * len(view.records))
    return admit(config.candidates(question.route, question.ticket, question.stream), costs, view.records, view.now)


def back(now: int, wait: float, refusal: Refusal) -> int:
    """The sooner of a back-off's end and the instant at which the others have room."""
    return min(now + round(wait * 1000), max(refusal.at, now))


def keeps(route: Route) -> bool:
    """Whether a mail without quota is queued on this route."""
    return route.when_exhausted is not WhenExhausted.REJECT
