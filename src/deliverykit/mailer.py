"""``Mailer``: what a blocking host calls. Every method is the blocking twin of ``AsyncMailer``'s, over the same engine."""

import asyncio
import contextlib
import signal
import time
from datetime import timedelta
from functools import partial
from os import PathLike
from typing import Self, Unpack
from weakref import WeakSet

from deliverykit.async_mailer import CLOSING, AsyncAccountMailer, AsyncMailer, AsyncWorker, stopped_by
from deliverykit.calls import Calls
from deliverykit.colours import AwaitingPorts, BlockingPorts, Face, twin
from deliverykit.contracts.storage import Storage
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.landing import settle_last
from deliverykit.engine.ports import blocking
from deliverykit.engine.rooms.accounts import Accounts, Budgets
from deliverykit.engine.rooms.log import Log
from deliverykit.engine.rooms.outbox import Outbox
from deliverykit.engine.rooms.routes import Routes
from deliverykit.engine.rooms.servers import Servers
from deliverykit.engine.upkeep.clocking import accept_clock
from deliverykit.furnishing import Options, conceal, environment, furnished
from deliverykit.records.account import DEFAULT_ACCOUNT, Account
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.results import ClockAccepted, DrainReport

__all__ = ["AccountMailer", "Mailer", "Worker"]


class ServersFace(Face[Servers]):
    """``mailer.servers``: the delivery servers of one account."""

    @twin(Servers.add)
    def add(self) -> None: ...

    @twin(Servers.get)
    def get(self) -> None: ...

    @twin(Servers.list)
    def list(self) -> None: ...

    @twin(Servers.providers)
    def providers(self) -> None: ...

    @twin(Servers.update)
    def update(self) -> None: ...

    @twin(Servers.pause)
    def pause(self) -> None: ...

    @twin(Servers.activate)
    def activate(self) -> None: ...

    @twin(Servers.check)
    def check(self) -> None: ...

    @twin(Servers.send_test)
    def send_test(self) -> None: ...

    @twin(Servers.remove)
    def remove(self) -> None: ...

    @twin(Servers.quota)
    def quota(self) -> None: ...

    @twin(Servers.health)
    def health(self) -> None: ...


class RoutesFace(Face[Routes]):
    """``mailer.routes``: the delivery routes of one account."""

    @twin(Routes.add)
    def add(self) -> None: ...

    @twin(Routes.get)
    def get(self) -> None: ...

    @twin(Routes.list)
    def list(self) -> None: ...

    @twin(Routes.update)
    def update(self) -> None: ...

    @twin(Routes.remove)
    def remove(self) -> None: ...


class BudgetsFace(Face[Budgets]):
    """``mailer.budgets``: limits with a name that several servers share."""

    @twin(Budgets.get)
    def get(self) -> None: ...

    @twin(Budgets.list)
    def list(self) -> None: ...

    @twin(Budgets.update)
    def update(self) -> None: ...


class OutboxFace(Face[Outbox]):
    """``mailer.outbox``: the mail that is not settled yet."""

    @twin(Outbox.get)
    def get(self) -> None: ...

    @twin(Outbox.list)
    def list(self) -> None: ...

    @twin(Outbox.lanes)
    def lanes(self) -> None: ...

    @twin(Outbox.eta)
    def eta(self) -> None: ...

    @twin(Outbox.cancel)
    def cancel(self) -> None: ...

    @twin(Outbox.requeue)
    def requeue(self) -> None: ...

    @twin(Outbox.release)
    def release(self) -> None: ...

    @twin(Outbox.prune)
    def prune(self) -> None: ...

    @twin(Outbox.counts)
    def counts(self) -> None: ...

    @twin(Outbox.in_doubt)
    def in_doubt(self) -> None: ...

    @twin(Outbox.resolve)
    def resolve(self) -> None: ...

    @twin(Outbox.heard)
    def heard(self) -> None: ...


class LogFace(Face[Log]):
    """``mailer.log``: what happened to each mail, and who got what by which server."""

    @twin(Log.get)
    def get(self) -> None: ...

    @twin(Log.list)
    def list(self) -> None: ...


class AccountMailer(Face[AsyncAccountMailer]):
    """The face of one account: its servers, routes and outbox, and the sending."""

    def __init__(self, core: AsyncAccountMailer, calls: Calls | None = None) -> None:
        super().__init__(core, calls)
        self.servers: ServersFace = ServersFace(core.servers, self._calls)
        self.routes: RoutesFace = RoutesFace(core.routes, self._calls)
        self.budgets: BudgetsFace = BudgetsFace(core.budgets, self._calls)
        self.outbox: OutboxFace = OutboxFace(core.outbox, self._calls)
        self.log: LogFace = LogFace(core.log, self._calls)

    @twin(AsyncAccountMailer.send)
    def send(self) -> None: ...

    @twin(AsyncAccountMailer.enqueue)
    def enqueue(self) -> None: ...

    @twin(AsyncAccountMailer.pause_all)
    def pause_all(self) -> None: ...

    @twin(AsyncAccountMailer.resume_all)
    def resume_all(self) -> None: ...

    @twin(AsyncAccountMailer.erase)
    def erase(self) -> None: ...

    @twin(AsyncAccountMailer.explain)
    def explain(self) -> None: ...

    @twin(AsyncAccountMailer.doctor)
    def doctor(self) -> None: ...


def _face(context: Context, ports: BlockingPorts, workers: "WeakSet[Worker]", account: str) -> AccountMailer:
    return AccountMailer(AsyncAccountMailer(context, ports, account, workers), ports.calls)


class AccountsFace(Face[Accounts[AccountMailer]]):
    """``mailer.accounts``: many tenants, none seeing another's servers."""

    @twin(Accounts[AccountMailer].add)
    def add(self) -> None: ...

    @twin(Accounts[AccountMailer].get)
    def get(self) -> None: ...

    @twin(Accounts[AccountMailer].list)
    def list(self) -> None: ...

    @twin(Accounts[AccountMailer].update)
    def update(self) -> None: ...


class Mailer(AccountMailer):
    """The library's face for blocking programs. Threads share one; building it does no I/O.

    The arguments are those of :class:`~deliverykit.AsyncMailer`. It opens at first use, reopens after a
    fork, and closes by ``with`` or :meth:`close`.
    """

    def __init__(self, storage: str | PathLike[str] | Storage, **options: Unpack[Options]) -> None:
        context = furnished(storage, options, blocking=True)
        self._owns_storage = isinstance(storage, str | PathLike)
        self._transport = options.get("transport")
        self._context = context
        self._ports = BlockingPorts(context.clock, self._transport, context.storage)
        self._workers: WeakSet[Worker] = WeakSet()
        super().__init__(AsyncAccountMailer(context, self._ports, DEFAULT_ACCOUNT, self._workers), self._ports.calls)
        self._face = partial(_face, context, self._ports, self._workers)
        self.accounts: AccountsFace = AccountsFace(Accounts(context, self._ports, DEFAULT_ACCOUNT, self._face), self._calls)

    def __repr__(self) -> str:
        return "Mailer(…)"

    @classmethod
    def from_env(cls, **options: Unpack[Options]) -> Self:
        """Built from ``DELIVERYKIT_STORAGE``, ``DELIVERYKIT_SECRET_KEY`` (several: by comma) and ``DELIVERYKIT_TIMEZONE``."""
        conceal(options)
        storage, found = environment()
        found.update(options)
        return cls(storage, **found)

    def account(self, id: str | Account) -> AccountMailer:
        """The same face, bound to one account. Raises :class:`~deliverykit.NotFound`."""
        return self._face(self.accounts.get(id).id)

    def accept_clock(self) -> ClockAccepted:
        call = self._calls.begin()
        try:
            return blocking(accept_clock, self._context, self._ports)
        finally:
            del call

    accept_clock.__doc__ = AsyncMailer.accept_clock.__doc__

    def worker(self, *, concurrency: int = 50, poll: timedelta | float = timedelta(seconds=1)) -> "Worker":
        """A worker over all accounts; start as many as you like, in as many threads and processes as you like."""
        self._calls.check()
        worker = Worker(self._context, self._transport, concurrency, poll, self._calls)
        self._workers.add(worker)
        return worker

    def close(self) -> None:
        """Stop its workers, wait up to 30 seconds for the calls of other threads, close what this Mailer opened.

        After that every call raises :class:`~deliverykit.ConfigurationError`. Closing again does nothing.
        """
        if not self._calls.close():
            return
        for worker in list(self._workers):
            worker.stop()
        self._calls.wait(CLOSING)
        blocking(settle_last, self._context, self._ports, time.monotonic)
        self._ports.close()
        if self._owns_storage:
            self._context.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Worker:
    """Claims from the outbox, sends, settles; asynchronous inside, on a loop of its own."""

    def __init__(
        self, context: Context, transport: object, concurrency: int, poll: timedelta | float, calls: Calls | None = None
    ) -> None:
        self._context = context
        self._calls = calls or Calls()
        self._given = transport
        self._arguments = (concurrency, poll)
        self._inner: AsyncWorker | None = None
        self._done = DrainReport()
        self._stopped = False
        AsyncWorker(
            context, AwaitingPorts(context.clock, transport, context.storage), *self._arguments
        )  # refuses bad arguments now

    def run(self) -> DrainReport:
        """Work until stopped; in the main thread SIGTERM and SIGINT stop it."""
        return self._running(drain=False, timeout=None)

    def drain(self, timeout: timedelta | float | None = None) -> DrainReport:
        """Work until all that is left waits for a quota window, a retry or its time; pauses are waited out."""
        return self._running(drain=True, timeout=timeout)

    def _running(self, *, drain: bool, timeout: timedelta | float | None) -> DrainReport:
        async def main() -> DrainReport:
            ports = AwaitingPorts(self._context.clock, self._given, self._context.storage)
            self._inner = AsyncWorker(self._context, ports, *self._arguments)
            if self._stopped:
                self._inner.stop()
            try:
                with contextlib.nullcontext() if drain else stopped_by(self._inner, signal.SIGTERM, signal.SIGINT):
                    return await (self._inner.drain(timeout) if drain else self._inner.run())
            finally:
                self._done, self._inner = self._inner.report, None
                await ports.aclose()

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            call = self._calls.begin()
            try:
                return asyncio.run(main())
            finally:
                del call
        raise ConfigurationError("a blocking worker cannot run inside a running event loop; use AsyncMailer().worker()")

    @property
    def report(self) -> DrainReport:
        """What it did so far; it may be read from any thread while it works."""
        inner = self._inner
        return self._done if inner is None else inner.report

    def stop(self) -> None:
        """Claim nothing more, finish what is on the wire, return. From any thread, or a signal handler."""
        self._stopped = True
        if self._inner is not None:
            self._inner.stop()

    def nudge(self) -> None:
        """Look into the outbox now rather than at the next poll. From any thread."""
        if self._inner is not None:
            self._inner.nudge()
