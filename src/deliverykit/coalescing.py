"""While one decision is in flight, others queue, and the next transaction asks for all of them. Nothing is held between."""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakSet

from deliverykit.contracts.storage import Late
from deliverykit.engine.together import MOST, Answer, Question, together
from deliverykit.words.errors import StorageError

__all__ = ["AwaitingQueue", "BlockingQueue"]

R = TypeVar("R")
Ask = Callable[[Sequence[Question[Any]]], list[Answer[Any]]]
_QUEUES: "WeakSet[BlockingQueue]" = WeakSet()


class AwaitingQueue:
    """For the tasks of one loop. ``run`` carries a call to the storage's thread."""

    def __init__(self, run: Callable[[Ask, Sequence[Question[Any]]], Awaitable[list[Answer[Any]]]]) -> None:
        self._run = run
        self._waiting: deque[tuple[Question[Any], asyncio.Future[Answer[Any]]]] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._landed: asyncio.Future[None] | None = None
        """Done when those that are being asked for have their answers."""

    async def ask(self, question: Question[R]) -> tuple[R, Late]:
        """Its answer. Cancelled before it was asked, it is not asked; after that, it waits for what it began."""
        answer: asyncio.Future[Answer[R]] = asyncio.get_running_loop().create_future()
        me = (question, answer)
        self._waiting.append(me)
        if self._asking is None or self._asking.done():  # done: cancelled before its first step
            self._asking = asyncio.create_task(self._ask_all())
        try:
            return (await answer).opened()
        except asyncio.CancelledError:
            if me in self._waiting:
                self._waiting.remove(me)
            elif answer.cancelled() and self._landed is not None:
                await asyncio.wait([self._landed])
            raise

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                batch = _batch(self._waiting, lambda waiting: waiting[0])
                answers: list[Answer[Any]] = []
                self._landed = asyncio.get_running_loop().create_future()
                try:
                    answers = await self._run(together, [question for question, _ in batch])
                except BaseException as error:
                    answers = [_broken(error)] * len(batch)
                    raise
                finally:
                    for (_, answer), found in zip(batch, answers, strict=True):
                        if not answer.cancelled():
                            answer.set_result(found)
                    self._landed.set_result(None)
        finally:
            self._asking = asyncio.create_task(self._ask_all()) if self._waiting else None


class _Waiting:
    """A thread that has queued: woken when it has its answer, or when it is its turn to ask for all that wait."""

    __slots__ = ("answer", "question", "turn", "woken")

    def __init__(self, question: Question[Any]) -> None:
        self.question = question
        self.answer: Answer[Any] | None = None
        self.turn = False
        """Whether it is to ask for all."""
        self.woken = threading.Lock()
        self.woken.acquire()


class BlockingQueue:
    """For threads. One of those that wait asks for all; uncontended it costs a lock."""

    def __init__(self) -> None:
        self.renew()
        _QUEUES.add(self)

    def renew(self) -> None:
        """As new: after a fork, for the child has none of the threads that waited or asked."""
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._busy = False

    def ask(self, question: Question[R]) -> tuple[R, Late]:
        """Its answer."""
        me = _Waiting(question)
        with self._lock:
            self._waiting.append(me)
            me.turn, self._busy = not self._busy, True
        try:
            if not me.turn:
                me.woken.acquire()
        except BaseException:  # interrupted: whoever comes next is not to wait for this thread
            with self._lock:
                if me in self._waiting:
                    self._waiting.remove(me)
                if me.turn:
                    self._pass_on()
            raise
        if me.turn:
            self._ask_all(me)
        assert me.answer is not None  # noqa: S101  woken with it, or asked just now
        return me.answer.opened()

    def _ask_all(self, me: _Waiting) -> None:
        with self._lock:
            self._waiting.remove(me)
            self._waiting.appendleft(me)
            batch = _batch(self._waiting, lambda waiting: waiting.question)
        try:
            answers = together([waiting.question for waiting in batch])
        except BaseException as error:
            answers = [_broken(error)] * len(batch)
            raise
        finally:
            for waiting, answer in zip(batch, answers, strict=True):
                waiting.answer = answer
                if waiting is not me:
                    waiting.woken.release()
            with self._lock:
                self._pass_on()

    def _pass_on(self) -> None:
        """It is the turn of the first that waits. Under the lock."""
        self._busy = bool(self._waiting)
        if self._waiting:
            self._waiting[0].turn = True
            self._waiting[0].woken.release()


Entry = TypeVar("Entry")


def _batch(waiting: deque[Entry], question: Callable[[Entry], Question[Any]]) -> list[Entry]:
    """The first and all that may be asked with it, in order; they leave the queue."""
    group = question(waiting[0]).group
    batch: list[Entry] = []
    others: list[Entry] = []
    while waiting and len(batch) < MOST:
        one = waiting.popleft()
        (batch if question(one).group == group else others).append(one)
    waiting.extendleft(reversed(others))
    return batch


def _broken(error: BaseException) -> Answer[Any]:
    """For those whose question was asked by another that was interrupted: whether it became true is not known."""
    return Answer(None, error=StorageError(f"the transaction was interrupted by {type(error).__name__}"))


def _renew() -> None:
    for queue in list(_QUEUES):
        queue.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew)
