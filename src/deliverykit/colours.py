"""The two port sets, and the way from an awaited method to a blocking one."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from deliverykit.beating import AwaitingBeat, BlockingBeat
from deliverykit.coalescing import AwaitingQueue, BlockingQueue
from deliverykit.contracts.storage import Late
from deliverykit.contracts.transport import AsyncTransport, Transport
from deliverykit.engine.ports import blocking
from deliverykit.engine.together import Question
from deliverykit.words.clock import Clock
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["AwaitingPorts", "BlockingPorts", "Face", "twin"]

P = ParamSpec("P")
R = TypeVar("R")
Core = TypeVar("Core")


class BlockingPorts:
    """Ports that block and never suspend: what ``Mailer`` gives the engine."""

    def __init__(self, clock: Clock, transport: object) -> None:
        self._clock = clock
        self._given = transport
        self._transport: Transport | None = None
        self._queue = BlockingQueue()
        self._beat = BlockingBeat()

    async def store(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it here and now."""
        return call(*args, **kwargs)

    async def decide(self, question: Question[R]) -> tuple[R, Late]:
        """Ask here and now, or with other threads."""
        return self._queue.ask(question)

    async def prepare(self) -> None:
        """Load and open our own transport; a host's is ready."""
        _open(self._ready())

    async def transmit(self, request: HttpRequest) -> HttpResponse:
        """One submission, blocking."""
        return self._ready().send(request)

    def _ready(self) -> Transport:
        if self._transport is None:
            from deliverykit.transports import transport_of

            self._transport = transport_of(self._given)
        return self._transport

    async def sleep(self, seconds: float) -> None:
        """Block on the clock."""
        self._clock.sleep(seconds)

    async def to_the_end(self, flow: Coroutine[Any, Any, R], /) -> R:
        """Nobody cancels what blocks."""
        return await flow

    async def during(self, flow: Coroutine[Any, Any, R], renew: Callable[[], object], every: float) -> R:
        """With a thread beside it."""
        return await self._beat.during(flow, renew, every)

    def close(self) -> None:
        """Close what was opened here."""
        transport, self._transport = self._transport, None
        if transport is not None and transport is not self._given:
            transport.close()


class AwaitingPorts:
    """Ports that await: what ``AsyncMailer`` and every worker give the engine. They belong to one loop.

    The storage blocks, so its calls run on one thread of their own; they carry batches, so the hop is cheap.
    """

    def __init__(self, clock: Clock, transport: object) -> None:
        self._clock = clock
        self._given = transport
        self._transport: AsyncTransport | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._queue = AwaitingQueue(self.store)
        self._beat = AwaitingBeat(self.store)

    async def store(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it on the storage's thread. Cancelled, it still waits for what it began: the books are not left half read."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="deliverykit-storage")
        running = asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    async def decide(self, question: Question[R]) -> tuple[R, Late]:
        """Ask on the storage's thread, with other tasks."""
        return await self._queue.ask(question)

    async def prepare(self) -> None:
        """Load and open our own transport; a host's is ready."""
        _open(self._ready())

    async def transmit(self, request: HttpRequest) -> HttpResponse:
        """One submission, awaited."""
        return await self._ready().send(request)

    def _ready(self) -> AsyncTransport:
        if self._transport is None:
            from deliverykit.transports import async_transport_of

            self._transport = async_transport_of(self._given)
        return self._transport

    async def sleep(self, seconds: float) -> None:
        """Await the clock."""
        await self._clock.asleep(seconds)

    async def to_the_end(self, flow: Coroutine[Any, Any, R], /) -> R:
        """In a task of its own, which is waited for however often the caller is cancelled."""
        task = asyncio.ensure_future(flow)
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            if not task.cancelled():
                task.exception()  # seen: the cancelling is what the caller is told of
            raise cancelled
        return task.result()

    async def during(self, flow: Coroutine[Any, Any, R], renew: Callable[[], object], every: float) -> R:
        """With the loop's timer beside it."""
        return await self._beat.during(flow, renew, every)

    async def aclose(self) -> None:
        """Close what was opened here."""
        transport, self._transport = self._transport, None
        if transport is not None and transport is not self._given:
            await transport.aclose()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)


def _open(transport: object) -> None:
    from deliverykit.transports.httpx2 import AsyncHttpTransport, HttpTransport

    if isinstance(transport, HttpTransport | AsyncHttpTransport):
        transport.open()


class Face(Generic[Core]):
    """The blocking face of an awaited core over blocking ports."""

    def __init__(self, core: Core) -> None:
        self._core = core


def twin(
    method: Callable[Concatenate[Core, P], Coroutine[Any, Any, R]],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Face[Core], P], R]]:
    """Make a method the blocking twin of an awaited one: its signature and words, run whole in one step.

    The decorated method only lends its name; type checkers and readers see the awaited one's signature.
    """

    @wraps(method)
    def call(face: Face[Core], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return blocking(method(face._core, *args, **kwargs))  # noqa: SLF001  the face's own core

    return lambda _name: cast("Callable[Concatenate[Face[Core], P], R]", call)
