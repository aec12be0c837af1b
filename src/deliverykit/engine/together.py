"""Several decisions in one transaction: each sees what those before it wanted, each has an answer of its own."""

from collections import deque
from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import Any, Generic, TypeVar

from attrs import define, frozen

from deliverykit.contracts.limit import Record
from deliverykit.contracts.storage import (
    Committed,
    DamagedStates,
    Decide,
    Late,
    Occupied,
    Overtaken,
    Step,
    StepFailed,
    Storage,
    Taken,
    View,
)
from deliverykit.engine.admission.asking import Asking
from deliverykit.words.errors import StorageError

__all__ = ["MOST", "Answer", "Question", "Waiting", "answer_all", "together"]

R = TypeVar("R")

MOST = 200
"""So many share a transaction: decided in a few ms, since ``now`` must not be old when it commits."""

_FAILURES = 2
"""After so many failures of the storage in a row the rest of a batch is not asked."""


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
    error: BaseException | None = None

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


@define(eq=False)
class Waiting(Generic[R]):
    """A question, and its answer once there is one. Without an answer nothing of it has become true."""

    question: Question[R]
    answer: Answer[R] | None = None
    withdrawn: bool = False
    """Whether nobody waits for it any more. It is not asked then."""


def answer_all(waiting: Sequence[Waiting[Any]]) -> None:
    """Ask questions of one group in one transaction and give each its answer.

    Where one of them undoes the transaction, nothing has become true for any, so each is asked by itself.

    An exception from outside (a signal handler raised, say) is raised again. Then those that have an answer have been
    asked, the others have not: they may be asked again.
    """
    if len(waiting) == 1:
        _answer_alone(waiting[0])
        return
    if not waiting:
        return
    first = waiting[0].question
    made = None
    try:
        made = first.storage.transact(first.account, first.keys, _Together(tuple([one.question.decide for one in waiting])))
        _give(waiting, *made)
    except (_Alone, Taken, Overtaken, Occupied, StorageError):
        _each_alone(waiting)
    except Committed as interrupted:
        _give(waiting, interrupted.result, interrupted.late)
        raise interrupted.__cause__ or interrupted from None
    except BaseException:
        if made is not None:
            _give(waiting, *made)
        raise


def _each_alone(waiting: Sequence[Waiting[Any]]) -> None:
    """Ask them one by one. A storage that fails twice in a row is not asked again: each time it may take many seconds."""
    failures, error = 0, None
    for one in waiting:
        if failures < _FAILURES:
            _answer_alone(one)
            error = one.answer.error if one.answer is not None else None
            failures = failures + 1 if _unusable(error) else 0
        else:
            one.answer = Answer(None, error=error)


def _unusable(error: BaseException | None) -> bool:
    """Whether the storage itself failed, and not what one question asked of it."""
    return isinstance(error, StorageError) and not isinstance(error, DamagedStates | StepFailed)


def _give(waiting: Sequence[Waiting[Any]], steps: Any, late: Late) -> None:
    for one, (step, error) in zip(waiting, steps, strict=True):
        if step is None:
            one.answer = Answer(None, error=error)
        else:
            one.answer = Answer(step.result, late and late.intersection([change.name for change in step.changes]))


def _answer_alone(one: Waiting[Any]) -> None:
    question, made = one.question, None
    try:
        made = question.storage.transact(question.account, question.keys, question.decide)
        one.answer = Answer(*made)
    except Committed as interrupted:
        one.answer = Answer(interrupted.result, interrupted.late)
        raise interrupted.__cause__ or interrupted from None
    except Exception as error:  # noqa: BLE001  raised where it was asked
        one.answer = Answer(None, error=error) if made is None else Answer(*made)
    except BaseException:
        if made is not None:
            one.answer = Answer(*made)
        raise


def together(questions: Sequence[Question[Any]]) -> list[Answer[Any]]:
    """Ask questions of one group together; the answer of each."""
    waiting = [Waiting(question) for question in questions]
    answer_all(waiting)
    return [one.answer for one in waiting if one.answer is not None]
