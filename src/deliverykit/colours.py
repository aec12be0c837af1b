"""The two port sets, and the way from an awaited method to a blocking one."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from deliverykit.beating import AwaitingBeat, BlockingBeat
from deliverykit.calls import CLOSED, Calls
from deliverykit.coalescing import AwaitingQueue, BlockingQueue
from deliverykit.contracts.storage import Committed, Interruptible, Late
from deliverykit.contracts.transport import AsyncTransport, Transport
from deliverykit.engine.ports import blocking
from deliverykit.engine.together import Question, together
from deliverykit.words.clock import Clock
from deliverykit.words.errors import ConfigurationError, DeliveryError, Stage, StorageError, TransportError
from deliverykit.words.locks import Guard, renew_in_child
from deliverykit.words.time_limit import patience, storage_patience, timed
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["AwaitingPorts", "BlockingPorts", "Face", "twin"]

_GRACE = 1.0
"""Seconds that a transport has to end a call by itself, at the end of its time."""
P = ParamSpec("P")
R = TypeVar("R")
Core = TypeVar("Core")
_inside: ContextVar[bool] = ContextVar("deliverykit_inside", default=False)
"""Whether a task is under way in a flow that closing waits for."""
_LAST_CALLS = 10.0
"""How long, in seconds, calls that a loop has left behind are waited for."""


class BlockingPorts:
    """Ports that block and never suspend: what ``Mailer`` gives the engine. ``storage`` is cleaned up after exceptions."""

    def __init__(self, clock: Clock, transport: object, storage: object = None) -> None:
        self._clock = clock
        self._given = transport
        self._transport: Transport | None = None
        self._cleanly = _Cleanly(storage)
        self.calls: Calls = Calls()
        """The calls of the Mailer that has these ports."""
        self._queue = BlockingQueue(self._cleanly)
        self._beat = BlockingBeat()

    async def store(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it here and now."""
        return self._cleanly(call, *args, **kwargs)

    async def decide(self, question: Question[R]) -> tuple[R, Late]:
        """Ask here and now, or with other threads. A call with a time limit asks alone: nobody else's wait is its own."""
        if timed():
            return self._cleanly(together, [question])[0].opened()
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

    async def to_the_end(self, flow: Callable[[], Coroutine[Any, Any, R]], /) -> R:
        """Nobody cancels what blocks."""
        return await flow()

    async def during(self, flow: Callable[[], Coroutine[Any, Any, R]], renew: Callable[[], object], every: float) -> R:
        """With a thread beside it."""
        return await self._beat.during(flow, partial(self._cleanly, renew), every)

    def at_once(self) -> "BlockingPorts":
        """These ports never suspend."""
        return self

    def close(self) -> None:
        """Close what was opened here."""
        transport, self._transport = self._transport, None
        if transport is not None and transport is not self._given:
            transport.close()

    def __del__(self) -> None:
        # A host that let go of its Mailer without close() leaks no connection, and is not warned of ours.
        with suppress(Exception):
            self.close()


class AwaitingPorts:
    """Ports that await: what ``AsyncMailer`` and every worker give the engine. They belong to one running loop at a time.

    The storage blocks, so its calls run on one thread of their own; they carry batches, so the hop is cheap.
    """

    def __init__(self, clock: Clock, transport: object, storage: object = None) -> None:
        self._clock = clock
        self._given = transport
        self._storage = storage
        self._transport: AsyncTransport | None = None
        self._cleanly = _Cleanly(storage)
        self._guard = Guard()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._flows: set[asyncio.Task[Any]] = set()
        """Tasks whose flow is under way: closing waits for them."""
        self._thread: ThreadPoolExecutor | None = None
        self._queue = AwaitingQueue(self.store)
        self._beat = AwaitingBeat(self.store)
        renew_in_child(self)

    def renew(self) -> None:
        """A forked child has neither the storage's thread nor a loop that runs in another thread."""
        self._loop = self._thread = None
        self._flows = set()

    async def store(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it on the storage's thread. After any exception it still waits for what it began, never to be begun twice."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop or self._thread is None or self._closed:
            self._guard(self._taken_over, loop)
        work = partial(self._cleanly, call, *args, **kwargs)
        if timed():
            assert self._thread is not None  # noqa: S101  taken over just now
            return await _limited(self._thread, work)
        if patience.get(None) is not None:
            work = partial(copy_context().run, work)
        running = None
        try:
            running = loop.run_in_executor(self._thread, work)
            return await asyncio.shield(running)
        except GeneratorExit:  # nothing may be awaited any more
            raise
        except BaseException:
            if running is not None:
                await _ended(running)
            raise

    def _taken_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to work for this loop. Raises ``ConfigurationError`` while another one uses these ports."""
        if self._closed and not _inside.get():
            raise ConfigurationError(CLOSED)
        before = self._loop
        if before is not None and before is not loop and not before.is_closed() and before.is_running():
            raise ConfigurationError(
                "this AsyncMailer is in use by another running event loop, and belongs to one at a time; make an AsyncMailer "
                "in each loop, or share one Mailer between threads (in async code: await asyncio.to_thread(mailer.send, …))"
            )
        if before is not loop or self._thread is None:
            thread, self._thread = self._thread, ThreadPoolExecutor(1, thread_name_prefix="deliverykit-storage")
            if thread is not None:
                thread.shutdown(wait=False)
            self._queue = AwaitingQueue(self.store)
            self._loop = loop

    async def decide(self, question: Question[R]) -> tuple[R, Late]:
        """Ask on the storage's thread, with other tasks. A call with a time limit asks alone, as above."""
        if timed():
            answers = await self.store(together, [question])
            return answers[0].opened()
        loop = asyncio.get_running_loop()
        if loop is not self._loop or self._closed:
            self._guard(self._taken_over, loop)
        return await self._queue.ask(question)

    async def prepare(self) -> None:
        """Load and open our own transport; a host's is ready."""
        _open(self._ready())

    async def transmit(self, request: HttpRequest) -> HttpResponse:
        """One submission, awaited. A host's transport that goes on beyond ``request.within`` is cancelled."""
        if request.within is None:
            return await self._ready().send(request)
        timer = asyncio.timeout(request.within + _GRACE)
        try:
            async with timer:
                return await self._ready().send(request)
        except TimeoutError:
            if timer.expired():
                raise TransportError(Stage.READ, f"not done within {request.within:g} s") from None
            raise

    def _ready(self) -> AsyncTransport:
        if self._transport is None:
            from deliverykit.transports import async_transport_of

            self._transport = async_transport_of(self._given)
        return self._transport

    async def sleep(self, seconds: float) -> None:
        """Await the clock."""
        await self._clock.asleep(seconds)

    async def to_the_end(self, flow: Callable[[], Coroutine[Any, Any, R]], /) -> R:
        """In a task of its own, which is waited for however often the caller is cancelled."""
        task = None
        try:
            task = asyncio.ensure_future(flow())
            cancelled = await _ended(task)
        except GeneratorExit:  # nothing may be awaited any more
            raise
        except BaseException:
            if task is not None:
                await _ended(task)
            raise
        if cancelled is not None:
            if not task.cancelled():
                task.exception()  # seen: the cancelling is what the caller is told of
            raise cancelled
        return task.result()

    async def during(self, flow: Callable[[], Coroutine[Any, Any, R]], renew: Callable[[], object], every: float) -> R:
        """With the loop's timer beside it."""
        return await self.finish(partial(self._beat.during, flow, renew, every))

    async def finish(self, flow: Callable[[], Coroutine[Any, Any, R]], /) -> R:
        """Run a flow that closing waits for. Raises ``ConfigurationError`` after that."""
        if self._closed:
            raise ConfigurationError(CLOSED)
        task = asyncio.current_task()
        token = _inside.set(True)
        try:
            if task is not None:
                self._flows.add(task)
            return await flow()
        finally:
            self._flows.discard(task)
            with suppress(ValueError):  # closed with its loop gone, it ends in another context
                _inside.reset(token)

    def at_once(self) -> BlockingPorts:
        """Ports for a loop that has gone: they call the storage in the thread they are used in."""
        if self._thread is not None:
            wait([self._thread.submit(int)], _LAST_CALLS)  # what was begun there comes first
        return BlockingPorts(self._clock, None, self._storage)

    async def close(self, seconds: float, last: Callable[[], Awaitable[None]]) -> None:
        """Let nothing begin any more, wait so many seconds for what is under way in this loop, close what was opened.

        ``last`` runs before that, and may use these ports.
        """
        self._closed = True
        loop = asyncio.get_running_loop()
        others = {one for one in self._flows if one.get_loop() is loop} - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=seconds)
        token = _inside.set(True)
        try:
            await last()
        finally:
            _inside.reset(token)
            await self.aclose()

    async def aclose(self) -> None:
        """Close what was opened here. The next call opens it again."""
        transport, self._transport = self._transport, None
        if transport is not None and transport is not self._given:
            await transport.aclose()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)


async def _ended(future: "asyncio.Future[Any]") -> asyncio.CancelledError | None:
    """Wait for its end, however often the caller is cancelled; the last cancellation, if there was one."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


class _Cleanly:
    """Calls a storage. After an exception from outside, nothing of the call stays open and no lock stays held."""

    __slots__ = ("_clean_up",)

    def __init__(self, storage: object) -> None:
        self._clean_up = storage.interrupted if isinstance(storage, Interruptible) else None

    def __call__(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except DeliveryError:  # the storage's own: it has ended what it began
            raise
        except BaseException as error:
            if self._clean_up is not None:
                self._clean_up()
            if isinstance(error, Committed) and error.__cause__ is not None:
                raise error.__cause__ from None
            raise


def _open(transport: object) -> None:
    from deliverykit.transports.httpx2 import AsyncHttpTransport, HttpTransport

    if isinstance(transport, HttpTransport | AsyncHttpTransport):
        transport.open()


async def _limited(thread: ThreadPoolExecutor, call: Callable[[], R]) -> R:
    """Call it within the caller's time limit: given up while it waits for the thread; once it runs, it limits itself."""
    job = thread.submit(copy_context().run, call)
    running = asyncio.wrap_future(job)
    try:
        done, _ = await asyncio.wait([running], timeout=storage_patience(threading.TIMEOUT_MAX))
    except asyncio.CancelledError:
        await _ended(running)
        raise
    if not done and job.cancel():
        raise StorageError("the time limit of the call ended while other calls were using the storage; nothing was done")
    return await asyncio.shield(running)


class Face(Generic[Core]):
    """The blocking face of an awaited core over blocking ports."""

    def __init__(self, core: Core, calls: Calls | None = None) -> None:
        self._core = core
        self._calls = calls or Calls()


def twin(
    method: Callable[Concatenate[Core, P], Coroutine[Any, Any, R]],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Face[Core], P], R]]:
    """Make a method the blocking twin of an awaited one: its signature and words, run whole in one step.

    The decorated method only lends its name; type checkers and readers see the awaited one's signature.
    """

    @wraps(method)
    def blocked(face: Face[Core], /, *args: P.args, **kwargs: P.kwargs) -> R:
        call = face._calls.begin()  # noqa: SLF001  the face's own
        try:
            return blocking(method, face._core, *args, **kwargs)  # noqa: SLF001  the face's own core
        finally:
            del call  # the traceback of an exception keeps this frame alive

    return lambda _name: cast("Callable[Concatenate[Face[Core], P], R]", blocked)
