"""One mail that asks to leave now: a ``send()`` that has it, and one whose server surely did not send it."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from attrs import evolve, field, frozen

from deliverykit.contracts.books import Change, Gone, LaneKey, LogLine, MailState, NewMail
from deliverykit.contracts.limit import Record
from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.admit import Grant, Refusal
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.decisions import asked, back
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.records.route import Route
from deliverykit.words.clock import NEVER

__all__ = ["Asking", "Place", "Placed", "Readmit", "waits_for"]

R = TypeVar("R")


@frozen(kw_only=True)
class Placed:
    """What became of a mail that asked to leave now."""

    grant: Grant | None = None
    refusal: Refusal | None = None
    state: MailState | None = None
    """Where its row stands; ``None`` where nothing was written."""
    now: int = 0


class Asking(ABC, Generic[R]):
    """One mail's question for leave. Several of one :attr:`kind` in a row are one admission, as each by itself would be."""

    __slots__ = ()

    config: Config
    route: Route
    ticket: Ticket
    patience: int
    """How many ms the caller waits for a pace; a longer wait is the outbox's."""

    @property
    @abstractmethod
    def stream(self) -> str:
        """The mail's."""

    @property
    @abstractmethod
    def cost(self) -> int:
        """The mail's."""

    @abstractmethod
    def granted(self, grant: Grant, now: int, records: Sequence[Record | None]) -> Step[R]:
        """What is to become true with this grant, the ``records`` it leaves among it."""

    @abstractmethod
    def refused(self, refusal: Refusal, now: int) -> Step[R]:
        """What is to become true without."""

    @property
    def kind(self) -> Hashable:
        """Those of one kind are before the same limits."""
        return (type(self), id(self.config), id(self.route), self.ticket, self.stream)

    def __call__(self, view: View) -> Step[R]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        self.config.current(view)
        admission = asked(self, (self.cost,), view)
        if admission.grants:
            return self.granted(admission.grants[0], view.now, admission.records)
        return self.refused(admission.refusal or Refusal(view.now, ""), view.now)

    @staticmethod
    def in_a_row(asking: "Sequence[Asking[R]]", view: View) -> list[Step[R]]:
        """The steps of questions of one kind, each after those before it."""
        asking[0].config.current(view)
        steps: list[Step[R]] = []
        while left := asking[len(steps) :]:
            admission = asked(left[0], [one.cost for one in left], view)
            records = admission.records
            for one, grant in zip(left, admission.grants, strict=False):
                steps.append(one.granted(grant, view.now, records))
                records = ()  # the first has what all of them leave
            if admission.grants:
                view = View(view.now, view.version, _after(view.records, admission.records))
            if len(steps) < len(asking):
                refusal = admission.refusal or Refusal(view.now, "")
                steps.append(asking[len(steps)].refused(refusal, view.now))
        return steps


def _after(records: Sequence[Record], changed: Sequence[Record | None]) -> tuple[Record, ...]:
    return tuple([was if now is None else now for was, now in zip(records, changed, strict=True)])


@frozen(kw_only=True)
class _OfSend(Asking[Placed]):
    """What both questions of a ``send()`` have."""

    config: Config
    route: Route
    ticket: Ticket
    patience: int
    lease: int
    """In ms: each attempt has a whole one, however long those before it took."""
    keep: bool = True
    """Whether a refused mail is queued; a test and a ``reject`` route's mail are not."""
    decided: list[Placed] = field(factory=list, eq=False, init=False)
    """Filled for the engine: what was decided last, which its caller may be kept from learning."""

    def _awaited(self, refusal: Refusal, now: int) -> bool:
        """Whether the caller waits for what refuses it."""
        return refusal.paces and refusal.at - now <= self.patience

    def _decided(self, placed: Placed) -> Placed:
        self.decided[:] = [placed]
        return placed


@frozen(kw_only=True)
class Place(_OfSend):
    """``send()``: admit one new mail and write it down as ``sending`` in the same step, or as the route says."""

    mail: NewMail

    @property
    def stream(self) -> str:
        """The mail's."""
        return self.mail.lane.stream

    @property
    def cost(self) -> int:
        """The mail's."""
        return self.mail.cost

    def granted(self, grant: Grant, now: int, records: Sequence[Record | None]) -> Step[Placed]:
        """Its row, as ``sending``."""
        row = evolve(self.mail, state=MailState.SENDING, server=grant.server, lease_until=now + self.lease)
        placed = self._decided(Placed(grant=grant, state=MailState.SENDING, now=now))
        return Step(result=placed, records=tuple(records), inserts=(row,))

    def refused(self, refusal: Refusal, now: int) -> Step[Placed]:
        """Its row, as ready, where it is kept and not waited for."""
        if self._awaited(refusal, now) or not self.keep:
            return Step(result=Placed(refusal=refusal, now=now))
        row = evolve(self.mail, state=MailState.READY, token="")
        return Step(result=self._decided(Placed(refusal=refusal, state=MailState.READY, now=now)), inserts=(row,))


@frozen(kw_only=True)
class Readmit(_OfSend):
    """``send()``, after a server surely did not send it: the next one, at once, for the row it holds."""

    lane: LaneKey
    uid: str
    token: str
    cost: int
    wait: float
    """Seconds of back-off, where only servers without quota are left in this round."""

    @property
    def stream(self) -> str:
        """The mail's."""
        return self.lane.stream

    def granted(self, grant: Grant, now: int, records: Sequence[Record | None]) -> Step[Placed]:
        """Its row, as ``sending``."""
        change = Change(uid=self.uid, token=self.token, state=MailState.SENDING, server=grant.server, lease=self.lease)
        placed = self._decided(Placed(grant=grant, state=MailState.SENDING, now=now))
        return Step(result=placed, records=tuple(records), changes=(change,))

    def refused(self, refusal: Refusal, now: int) -> Step[Placed]:
        """Its row, waiting, or gone where it is not kept; untouched where it is waited for."""
        if self._awaited(refusal, now):
            return Step(result=Placed(refusal=refusal, now=now))
        if not self.keep:  # a row that goes tells why; one that waits is there to be asked
            end = LogLine(uid=self.uid, account=self.lane.account, server="", outcome="refused", detail=refusal.words)
            gone = Gone(uid=self.uid, token=self.token)
            return Step(result=self._decided(Placed(refusal=refusal, now=now)), changes=(gone,), log=(end,))
        change = Change(uid=self.uid, token=self.token, state=MailState.READY, lane=self.lane, reason=refusal.words)
        if self.ticket.tried and not refusal.braked:
            refusal = evolve(refusal, at=back(now, self.wait, refusal), paces=False)
            lane = evolve(self.lane, key=self.ticket.afresh().encode())
            change = evolve(change, state=MailState.SCHEDULED, lane=lane, due=refusal.at)
        return Step(result=self._decided(Placed(refusal=refusal, state=change.state, now=now)), changes=(change,))


def waits_for(placed: Placed) -> int:
    """The instant a refused mail could go; NEVER where nothing but a change will help."""
    return placed.refusal.at if placed.refusal else NEVER
