"""While a flow runs, what it holds is renewed again and again: by a thread where it blocks, by the loop where it awaits."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar
from weakref import ref

from deliverykit.words.locks import Guard, renew_in_child

__all__ = ["AwaitingBeat", "BlockingBeat"]

R = TypeVar("R")
Renew = Callable[[], object]


class _Mark:
    """One flow."""

    __slots__ = ("__weakref__",)


class _Held(ref[_Mark]):
    """What a flow holds. It goes with the flow's mark, however the flow ended."""

    __slots__ = ("renew",)
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    renew: Renew


class BlockingBeat:
    """One thread for all flows of a Mailer. It wakes each beat anyway, so that to begin a flow costs it nothing.

    What is held is renewed within one beat of its beginning. The thread ends once nothing was held for two beats.
    """

    def __init__(self) -> None:
        self._guard = Guard()
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Start without flows and without a thread: a forked child has neither."""
        self._held: set[_Held] = set()
        self._thread: threading.Thread | None = None

    async def during(self, flow: Callable[[], Coroutine[Any, Any, R]], renew: Renew, every: float) -> R:
        """Run a flow that blocks; the seconds of its beat are the same for all."""
        mark, held = _Mark(), self._held
        its = _Held(mark, held.discard)
        its.renew = renew
        try:
            self._guard(self._begin, its, every)
            return await flow()
        finally:
            held.discard(its)

    def _begin(self, its: _Held, every: float) -> None:
        self._held.add(its)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=_beat, args=(ref(self), every), name="deliverykit-leases", daemon=True)
            with suppress(RuntimeError):  # no thread is to be had: the lease is as long as it is
                self._thread.start()

    def beat(self) -> bool:
        """Renew all that is held; whether there is anything."""
        held = list(self._held)
        for one in held:
            with suppress(Exception):  # the next beat tries again; a lease that is lost is found out before anything is sent
                one.renew()
        return bool(held)

    def end(self) -> bool:
        """Whether the thread may end: whoever comes now starts another."""
        return self._guard(self._end)

    def _end(self) -> bool:
        if not self._held:
            self._thread = None
        return not self._held


def _beat(beat: "ref[BlockingBeat]", every: float) -> None:
    idle = False
    pause = threading.Event()  # never set
    while not pause.wait(every):
        kept = beat()  # not held while it waits: a Mailer that its host let go of goes
        if kept is None:
            return
        before, idle = idle, not kept.beat()
        if before and idle and kept.end():
            return
        del kept


class AwaitingBeat:
    """The same for the tasks of a loop; ``run`` carries a call to the storage's thread."""

    def __init__(self, run: Callable[[Renew], Awaitable[object]]) -> None:
        self._run = run

    async def during(self, flow: Callable[[], Coroutine[Any, Any, R]], renew: Renew, every: float) -> R:
        """Run a flow that awaits."""
        beats: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()

        async def once() -> None:
            with suppress(Exception):  # as above
                await self._run(renew)

        def tick() -> None:
            timers[:] = [loop.call_later(every, tick)]
            if not beats:
                task = loop.create_task(once())
                beats.add(task)
                task.add_done_callback(beats.discard)

        timers = [loop.call_later(every, tick)]
        try:
            return await flow()
        finally:
            timers[0].cancel()
