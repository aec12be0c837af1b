"""Several decisions in one transaction: each sees what those before it wanted, each has an answer of its own."""

from collections import deque
from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import Any, Generic, TypeVar

from attrs import frozen

from deliverykit.contracts.limit import Record
from deliverykit.contracts.storage import Decide, Late, Occupied, Overtaken, Step, Storage, Taken, View
from deliverykit.engine.admission.asking import Asking
from deliverykit.words.errors import StorageError

__all__ = ["MOST", "Answer", "Question", "together"]

R = TypeVar("R")

MOST = 200
"""So many share a transaction: decided in a few ms, since ``now`` must not be old when it commits."""


@frozen(eq=False)
class Question(Generic[R]):
    """A decide object and what it asks about."""

    storage: Storage
    account: str
    keys: tuple[str, ...]
    decide: Decide[R]

    @property
    def group(self) -> Hashable:
        """Questions of one group may be asked together."""
        return (id(self.storage), self.account, self.keys)


@frozen
class Answer(Generic[R]):
    """What came of a question: its result and the changes that came too late, or what it raised."""

    result: R
    late: Late = frozenset()
    error: Exception | None = None

    def opened(self) -> tuple[R, Late]:
        """The result and what came too late; raises what the question raised."""
        if self.error is not None:
            raise self.error
        return self.result, self.late


class _Alone(Exception):
    """One of these steps cannot share a transaction."""


@frozen
class _Together:
    """Pure, as each of them is. What one raises is its own answer, and leaves nothing."""

    decides: tuple[Decide[Any], ...]

    def __call__(self, view: View) -> Step[tuple[tuple[Step[Any] | None, Exception | None], ...]]:
        records: list[Record] = list(view.records)
        touched: set[int] = set()
        named: set[int | str] = set()
        steps: list[tuple[Step[Any] | None, Exception | None]] = []
        rows = deque(tuple(alike) for _, alike in groupby(self.decides, _kind))
        while rows:
            row = rows.popleft()
            try:
                made = _in_a_row(row, View(view.now, view.version, tuple(records)))
            except Exception as error:  # noqa: BLE001  whatever it is, it is the answer of the one that asked
                if len(row) == 1:
                    steps.append((None, error))
                else:
                    rows.extendleft((one,) for one in reversed(row))
                continue
            for step in made:
                names = {change.name for change in step.changes}
                if step.strict or step.documents or not names.isdisjoint(named):
                    raise _Alone
                named |= names
                for place, record in enumerate(step.records):
                    if record is not None:
                        records[place] = record
                        touched.add(place)
                steps.append((step, None))
        true = [step for step, _ in steps if step is not None]
        return Step(
            result=tuple(steps),
            records=tuple(record if place in touched else None for place, record in enumerate(records)),
            inserts=tuple([mail for step in true for mail in step.inserts]),
            changes=tuple([change for step in true for change in step.changes]),
            log=tuple([line for step in true for line in step.log]),
            wake=any(step.wake for step in true),
        )


def _kind(decide: Decide[Any]) -> Hashable:
    return decide.kind if isinstance(decide, Asking) else id(decide)


def _in_a_row(decides: Sequence[Decide[Any]], view: View) -> list[Step[Any]]:
    if len(decides) == 1:
        return [decides[0](view)]
    return Asking.in_a_row([decide for decide in decides if isinstance(decide, Asking)], view)


def together(questions: Sequence[Question[Any]]) -> list[Answer[Any]]:
    """Ask questions of one group in one transaction, and the answer of each.

    Where one of them undoes the transaction, nothing has become true for any, so each is asked by itself.
    """
    if len(questions) > 1:
        first = questions[0]
        try:
            steps, late = first.storage.transact(
                first.account, first.keys, _Together(tuple([question.decide for question in questions]))
            )
        except (_Alone, Taken, Overtaken, Occupied, StorageError):
            return _one_by_one(questions)
        return [_answer(step, error, late) for step, error in steps]
    return _one_by_one(questions)


def _answer(step: Step[Any] | None, error: Exception | None, late: Late) -> Answer[Any]:
    if step is None:
        return Answer(None, error=error)
    return Answer(step.result, late and late.intersection([change.name for change in step.changes]))


def _one_by_one(questions: Sequence[Question[Any]]) -> list[Answer[Any]]:
    answers: list[Answer[Any]] = []
    for question in questions:
        try:
            result, late = question.storage.transact(question.account, question.keys, question.decide)
            answers.append(Answer(result, late))
        except Exception as error:  # noqa: BLE001  raised where it was asked
            answers.append(Answer(None, error=error))
    return answers
