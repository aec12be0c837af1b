"""``AsyncMailer``: what an asyncio host calls. ``Mailer`` is the same, blocking."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from os import PathLike
from typing import Any, Self, Unpack
from weakref import WeakSet

from deliverykit.colours import AwaitingPorts
from deliverykit.contracts.storage import Storage
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.explain import explain
from deliverykit.engine.delivery.intake import enqueue
from deliverykit.engine.delivery.landing import settle_last
from deliverykit.engine.delivery.send import send
from deliverykit.engine.delivery.worker import Stream
from deliverykit.engine.ports import Ports
from deliverykit.engine.rooms.accounts import Accounts, Brake, Budgets
from deliverykit.engine.rooms.log import Log
from deliverykit.engine.rooms.outbox import Outbox
from deliverykit.engine.rooms.room import named
from deliverykit.engine.rooms.routes import Routes
from deliverykit.engine.rooms.servers import Servers
from deliverykit.engine.upkeep.clocking import accept_clock
from deliverykit.engine.upkeep.doctor import Finding
from deliverykit.engine.upkeep.erasing import Erased, erase
from deliverykit.engine.upkeep.examination import examined
from deliverykit.furnishing import Options, conceal, environment, furnished
from deliverykit.records.account import DEFAULT_ACCOUNT, Account
from deliverykit.records.route import DEFAULT_ROUTE, Route
from deliverykit.records.server import DeliveryServer
from deliverykit.words.addresses import Address
from deliverykit.words.arguments import duration, whole
from deliverykit.words.message import Message
from deliverykit.words.results import ClockAccepted, DrainReport, Explanation, SendResult
from deliverykit.words.time_limit import limited

__all__ = ["CLOSING", "AsyncAccountMailer", "AsyncMailer", "AsyncWorker", "stopped_by"]

CLOSING = 30.0
"""How long, in seconds, closing a Mailer waits for what is under way."""


class AsyncAccountMailer:
    """The face of one account: its servers, routes and outbox, and the sending."""

    def __init__(self, context: Context, ports: Ports, account: str, workers: "WeakSet[Any]") -> None:
        self._context = context
        self._ports = ports
        self._account = account
        self._workers = workers
        self.servers: Servers = Servers(context, ports, account)
        self.routes: Routes = Routes(context, ports, account)
        self.budgets: Budgets = Budgets(context, ports, account)
        self.outbox: Outbox = Outbox(context, ports, account)
        self.log: Log = Log(context, ports, account)

    async def send(
        self,
        message: Message,
        *,
        route: str | Route = DEFAULT_ROUTE,
        server: str | DeliveryServer | None = None,
        timeout: timedelta | float | None = None,
    ) -> SendResult:
        """Try to send now; the result tells of every attempt.

        It waits for a pace up to ``max_wait``, never for quota: mail that cannot go now is queued
        (or refused, on a route that rejects). With ``server=`` it goes through exactly this one, which must be
        ACTIVE: its quota, pace and forced sender hold, and mail that cannot go now is refused, never
        queued. Handed in again with the ``idempotency_key`` of the last 24 hours nothing is done, and the
        result tells how the first mail stands (``repeated``, and no attempts).

        ``timeout``, a ``timedelta`` or seconds, bounds the whole call: waiting for a pace, the storage, name resolution,
        connecting and the response. If it ends before the first byte of the request, nothing was sent: the message is
        queued (or refused, as above) without an attempt. If it ends later, the result is in doubt and has the
        message's id. Storing the outcome may take a second more. Without it the limits of the transport hold:
        60 seconds in all by default.

        Raises :class:`~deliverykit.MessageError`,
        :class:`~deliverykit.ConfigurationError` or :class:`~deliverykit.NotFound` for what the caller
        can mend and :class:`~deliverykit.StorageError`; what an ESP or a limit says is in the result.
        """
        only = None if server is None else named(server, "server", DeliveryServer)
        way = named(route, "route", Route)
        limit = None if timeout is None else duration(timeout, "timeout", seconds=True).total_seconds()
        with limited(self._context.clock, limit):
            return await send(self._context, self._ports, self._account, message, way, only)

    async def enqueue(
        self, messages: Iterable[Message], *, route: str | Route = DEFAULT_ROUTE, chunk: int | None = None
    ) -> list[str]:
        """Write messages down for a worker; durable on return. Their ids, in order.

        All or none; with ``chunk=`` it commits by so many, so that an endless source needs no memory,
        and :class:`~deliverykit.EnqueueInterrupted` says how far it came. A message that no server of
        the route can ever carry is refused by name. One whose ``idempotency_key`` was handed in within the
        last 24 hours is not written down again; its id is that of the first.
        """
        ids = await enqueue(self._context, self._ports, self._account, messages, named(route, "route", Route), chunk)
        for worker in list(self._workers):
            worker.nudge()
        return ids

    async def pause_all(self, reason: str) -> None:
        """Stop the whole account. Nothing more is admitted once this has returned, in any process; tests neither.

        What is on its way finishes, mail is still taken in, and servers keep the status they have. It lasts,
        through restarts too, until :meth:`resume_all`; ``explain`` and ``send`` say the reason.
        """
        await Brake(self._context, self._ports, self._account).pull(reason)

    async def resume_all(self) -> None:
        """End what :meth:`pause_all` began; what waits looks again at once. Repeatable."""
        await Brake(self._context, self._ports, self._account).release()

    async def erase(self, address: str | Address) -> Erased:
        """Remove a person from mail that waits, is dead or in doubt, and from the delivery log, which then no longer
        tells what this person got.

        Mail to this person alone is gone, mail to others as well goes to those only; where only blind copies
        are left, each of them gets a mail of their own (dead mail and mail in doubt is dropped then). It does not stop new
        mail: that is for the host. What may be on the wire is named, not touched. A line of the log
        (``erased``) tells of each mail, and names nobody.
        """
        return await erase(self._context, self._ports, self._account, address)

    async def explain(self, message: Message, *, route: str | Route = DEFAULT_ROUTE) -> Explanation:
        """Which server would take it now, when it could go, and why not the others. Spends and writes nothing."""
        return await explain(self._context, self._ports, self._account, message, named(route, "route", Route))

    async def doctor(self) -> tuple[Finding, ...]:
        """What a person would look at to see whether mail leaves.

        Storage, clock, keys, servers, routes, queue, mail in doubt and dead mail: at least one finding for every
        check; those of severity ``warning`` and ``problem`` say what to do. It sends nothing, and what fails is a
        finding, never an exception.
        """
        return await examined(self._context, self._ports, self._account)


def _face(context: Context, ports: Ports, workers: "WeakSet[Any]", account: str) -> AsyncAccountMailer:
    """Not a method: a Mailer that holds itself would not go with its last user."""
    return AsyncAccountMailer(context, ports, account, workers)


class AsyncMailer(AsyncAccountMailer):
    """The library's face for asyncio. It belongs to one loop; building it does no I/O.

    ``storage`` is ``sqlite:///mail.db``, ``memory://`` or a storage object; what else there is to say
    stands in :class:`Options`. Raises :class:`~deliverykit.ConfigurationError` naming the argument.
    """

    def __init__(self, storage: str | PathLike[str] | Storage, **options: Unpack[Options]) -> None:
        context = furnished(storage, options)
        self._owns_storage = isinstance(storage, str | PathLike)
        self._closed = False
        self._awaiting = AwaitingPorts(context.clock, options.get("transport"), context.storage)
        super().__init__(context, self._awaiting, DEFAULT_ACCOUNT, WeakSet())
        face = partial(_face, context, self._ports, self._workers)
        self.accounts: Accounts[AsyncAccountMailer] = Accounts(context, self._ports, DEFAULT_ACCOUNT, face)

    def __repr__(self) -> str:
        return "AsyncMailer(…)"

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        """Built from ``DELIVERYKIT_STORAGE``, ``DELIVERYKIT_SECRET_KEY`` (several: by comma) and ``DELIVERYKIT_TIMEZONE``."""
        conceal(options)
        storage, found = environment()
        found.update(options)
        return cls(storage, **found)

    async def account(self, id: str | Account) -> AsyncAccountMailer:
        """The same face, bound to one account. Raises :class:`~deliverykit.NotFound`."""
        return self.accounts.face((await self.accounts.get(id)).id)

    async def accept_clock(self) -> ClockAccepted:
        """Take the machine's clock as it is now, after a :class:`~deliverykit.ClockError` said that it lies behind.

        For a clock that was ahead, and has been set right; over all accounts, in one step, and while workers run. Every
        count is kept: what was sent by the later clock counts in the windows of this one. Blocks, leases and retries
        move back with the clock; a ``send_at`` is your own time and stays. What had expired or was sent meanwhile is not
        undone. Nothing happens where nothing later was seen.
        """
        return await accept_clock(self._context, self._ports)

    def worker(self, *, concurrency: int = 50, poll: timedelta | float = timedelta(seconds=1)) -> "AsyncWorker":
        """A worker over all accounts; start as many as you like, in as many processes as you like."""
        worker = AsyncWorker(self._context, self._ports, concurrency, poll)
        self._workers.add(worker)
        return worker

    async def aclose(self) -> None:
        """Stop its workers, wait up to 30 seconds for what they and ``send`` have under way, close what this Mailer opened.

        After that every call raises :class:`~deliverykit.ConfigurationError`. Closing again does nothing.
        """
        if self._closed:
            return
        self._closed = True
        for worker in list(self._workers):
            worker.stop()
        await self._awaiting.close(CLOSING, partial(settle_last, self._context, self._ports, time.monotonic))
        if self._owns_storage:
            self._context.storage.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@contextmanager
def stopped_by(worker: "AsyncWorker", *signals: signal.Signals, politely: bool = False) -> Iterator[None]:
    """While the block runs, these signals stop a worker of the running loop; after it they are handled as before.

    Only the main thread gets signals. ``politely``: a signal that somebody handles already is left alone.
    """
    loop = asyncio.get_running_loop()
    ours: dict[signal.Signals, tuple[Any, Any]] = {}
    if threading.current_thread() is threading.main_thread():
        for one in signals:
            before = signal.getsignal(one)
            if not politely or before is signal.SIG_DFL:
                with suppress(NotImplementedError, RuntimeError):  # a loop without signals, as on Windows
                    loop.add_signal_handler(one, worker.stop)
                    ours[one] = (before, signal.getsignal(one))
    try:
        yield
    finally:
        for one, (before, handler) in ours.items():
            now = signal.getsignal(one)
            loop.remove_signal_handler(one)
            # Whoever has installed a handler since keeps it.
            signal.signal(one, before if now is handler and before is not None else now)


class AsyncWorker:
    """Claims from the outbox, sends, settles. ``concurrency`` is how many mails are in flight at once."""

    def __init__(self, context: Context, ports: Ports, concurrency: int, poll: timedelta | float) -> None:
        whole(concurrency, "concurrency", least=1, most=10_000)
        every = duration(poll, "poll", most=timedelta(days=1), seconds=True)
        self._stream = Stream(context, ports, concurrency, every.total_seconds())
        self._ports = ports
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> DrainReport:
        """Work until stopped: by :meth:`stop`, by cancelling, or by SIGTERM where nobody else handles that signal.

        SIGTERM ends a process at once unless somebody handles it. So this does, in the main thread, where neither the
        program nor its web server does: it stops the worker, and ``run`` returns. Then the signal is as it was before.
        """
        with stopped_by(self, signal.SIGTERM, politely=True):
            return await self._running(drain=False, timeout=None)

    async def drain(self, timeout: timedelta | float | None = None) -> DrainReport:
        """Work until all that is left waits for a quota window, a retry or its time; pauses are waited out."""
        within = None if timeout is None else duration(timeout, "timeout", least=timedelta(), seconds=True)
        return await self._running(drain=True, timeout=None if within is None else within.total_seconds())

    async def _running(self, *, drain: bool, timeout: float | None) -> DrainReport:
        self._loop = asyncio.get_running_loop()
        running = partial(self._stream.run, drain=drain, timeout=timeout)
        try:
            if isinstance(self._ports, AwaitingPorts):
                return await self._ports.finish(running)  # closing the Mailer waits for it
            return await running()
        finally:
            self._loop = None

    @property
    def report(self) -> DrainReport:
        """What it did so far; it may be read from any thread while it works."""
        return self._stream.report

    def stop(self) -> None:
        """Claim nothing more, finish what is on the wire, return. From any thread, or a signal handler."""
        self._call(self._stream.stop)

    def nudge(self) -> None:
        """Look into the outbox now rather than at the next poll. From any thread."""
        self._call(self._stream.nudge)

    def _call(self, what: Any) -> None:
        loop = self._loop
        if loop is None:
            what()
            return
        with suppress(RuntimeError):  # the loop has just ended
            loop.call_soon_threadsafe(what)
