"""Moving a slot: a process that is too late for the slot it was issued takes a later one instead."""

from collections.abc import Mapping

from attrs import frozen

from deliverykit.contracts.limit import Record, State
from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.admit import Grant

__all__ = ["MoveSlot", "Slot"]

_PATIENCE = 3_000
"""A moved slot is no further behind the earliest useful one than its gap, or so many ms.

One gap is enough for two processes on a slow store to take turns. More would keep a message waiting that
another server could send.
"""


@frozen
class Slot:
    """When a submission may start, on the store's clock."""

    at: int
    now: int
    """The store's clock when the slot was issued."""
    marks: Mapping[str, int]
    """The mark of each charged limit, by the name of its state."""

    @classmethod
    def of(cls, grant: Grant) -> "Slot":
        """The slot that came with a grant."""
        return cls(grant.start, grant.now, {gate.name: mark for gate, mark in grant.charges})


@frozen
class MoveSlot:
    """Give a slot back that was missed and take a later one of every pace, in one step.

    The new slot is at least ``lead`` ms ahead, so that it is not missed as well while the answer
    travels. The result is ``None``, and nothing is changed, where no slot is near, because other
    submissions hold them: the message has to ask for admission again then.
    """

    grant: Grant
    slot: Slot
    lead: int

    def __call__(self, view: View) -> Step[Slot | None]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        earliest = view.now + self.lead
        records: list[dict[str, State] | None] = [None] * len(view.records)
        at, marks = earliest, dict(self.slot.marks)
        for gate, gap in self.grant.gaps:
            if gate.sealed(view.records[gate.record]):
                return Step(result=None)
            state = gate.limit.give(gate.known(view.records[gate.record]), marks[gate.name], 1)
            first = gate.limit.when(state, earliest, 1)
            if first - earliest > min(gap, _PATIENCE):
                return Step(result=None)
            state, terms = gate.limit.take(state, max(earliest, first), 1)
            record = records[gate.record]
            if record is None:
                record = records[gate.record] = dict(view.records[gate.record])
            record[gate.name] = state
            at, marks[gate.name] = max(at, terms.slot), terms.mark
        moved: tuple[Record | None, ...] = tuple(records)
        return Step(result=Slot(at, view.now, marks), records=moved)
