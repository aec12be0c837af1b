"""Batching: while one decision is in flight, others queue, and the next transaction asks for all of them.

Nothing is held between two transactions. Whoever asks depends on nobody else's progress: an exception that hits one
caller, wherever it hits, ends that call only.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from deliverykit.contracts.storage import Late
from deliverykit.engine.together import MOST, Answer, Question, Waiting, answer_all
from deliverykit.words.locks import Guard, renew_in_child

__all__ = ["AwaitingQueue", "BlockingQueue"]

R = TypeVar("R")
Batch = Sequence[Waiting[Any]]


class BlockingQueue:
    """For threads. Whoever is next asks for all that wait; without contention it costs a lock.

    The queue only says who may share a transaction. Each thread waits for its turn at the lock and asks for itself where
    nobody has done so before, so no thread needs another to wake it.

    ``run`` calls the storage and, after an exception from outside, has it release what the call still holds. That happens
    within the turn: the next thread's call would wait for the storage, and the interrupted thread for its next turn.
    """

    def __init__(self, run: Callable[[Callable[[Batch], None], Batch], None]) -> None:
        self._run = run
        self._turn = Guard()
        self._waiting: deque[Waiting[Any]] = deque()
        renew_in_child(self)

    def renew(self) -> None:
        """Forget the questions of threads that a forked child does not have."""
        self._waiting.clear()

    def ask(self, question: Question[R]) -> tuple[R, Late]:
        """Return the answer, or raise it.

        Interrupted before it was asked, it is not asked any more; after that, it waits for the end of what it began.
        """
        me = Waiting(question)
        try:
            self._waiting.append(me)
            self._turn(self._take_turn, me)
        except BaseException:
            me.withdrawn = True
            self._turn(int)  # whoever asks for it now has finished then
            raise
        assert me.answer is not None  # noqa: S101  given in the turn at the latest
        return me.answer.opened()

    def _take_turn(self, me: Waiting[Any]) -> None:
        if me.answer is None:  # nobody has asked for it before
            self._run(answer_all, _batch(self._waiting, me, alone=_may_be_interrupted()))


def _may_be_interrupted() -> bool:
    """Whether signal handlers run in this thread. An exception of theirs must not be taken for another's answer."""
    return threading.current_thread() is threading.main_thread()


class AwaitingQueue:
    """For the tasks of one loop. ``run`` carries a call to the storage's thread."""

    def __init__(self, run: Callable[[Callable[[Batch], None], Batch], Awaitable[None]]) -> None:
        self._run = run
        self._waiting: deque[Waiting[Any]] = deque()
        self._ready: dict[Waiting[Any], asyncio.Future[None]] = {}
        """What each task waits for: done when its question has its answer, or has to be given up."""
        self._asking: asyncio.Task[None] | None = None
        self._batch: Batch = ()
        """The questions that are being asked."""

    async def ask(self, question: Question[R]) -> tuple[R, Late]:
        """Return the answer, or raise it.

        Cancelled before it was asked, it is not asked any more; after that, it waits for the end of what it began.
        """
        me = Waiting(question)
        try:
            ready = self._ready[me] = asyncio.get_running_loop().create_future()
            self._waiting.append(me)
            self._start()
            await ready
        except GeneratorExit:  # the loop has gone
            me.withdrawn = True
            raise
        except BaseException:
            me.withdrawn = True
            while me in self._batch and self._asking is not None and not self._asking.done():
                await _waited(self._asking)
            raise
        finally:
            self._ready.pop(me, None)
        assert me.answer is not None  # noqa: S101  given before it is ready
        return me.answer.opened()

    def _start(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask_all())
            self._asking.add_done_callback(self._ended)

    async def _ask_all(self) -> None:
        while self._waiting:
            self._batch = _batch(self._waiting, self._waiting[0])
            if self._batch:
                await self._run(answer_all, self._batch)
                self._wake(self._batch)
        self._batch = ()

    def _wake(self, batch: Iterable[Waiting[Any]]) -> None:
        for one in batch:
            ready = self._ready.get(one)
            if ready is not None and not ready.done() and one.answer is not None:
                ready.set_result(None)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Go on after an exception: what has its answer gets it, what has not is asked again.

        The exception itself is the answer of one question, so that it is not lost and the queue gets on.
        """
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            return
        asked, self._batch = self._batch, ()
        left = [one for one in self._ready if one.answer is None and not one.withdrawn]
        mine = next((one for one in left if one in asked), None)
        if error is not None and mine is not None:
            mine.answer = Answer(None, error=error)
        self._waiting = deque(one for one in left if one.answer is None)
        self._wake(self._ready)
        if self._waiting:
            self._start()


async def _waited(task: "asyncio.Task[None]") -> None:
    """Wait for a task, however often the caller is cancelled; its cancellation is raised already."""
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        return


def _batch(waiting: deque[Waiting[Any]], me: Waiting[Any], *, alone: bool = False) -> list[Waiting[Any]]:
    """``me`` and all that may be asked with it, in order; they leave the queue. What nobody waits for leaves it too."""
    batch, group = [] if me.withdrawn else [me], me.question.group
    others: list[Waiting[Any]] = []
    while waiting and len(batch) < MOST:
        try:
            one = waiting.popleft()
        except IndexError:  # a thread that was interrupted here has emptied it
            break
        if one is me or one.withdrawn or one.answer is not None:
            continue
        (others if alone or one.question.group != group else batch).append(one)
    waiting.extendleft(reversed(others))
    return batch
