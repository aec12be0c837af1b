"""``AsyncMailer``: what an asyncio host calls. ``Mailer`` is the same, blocking."""

import asyncio
import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Self
from weakref import WeakSet

from deliverykit.clocks import SystemClock
from deliverykit.colours import AwaitingPorts
from deliverykit.contracts.limit import Limit, RateLimiter
from deliverykit.contracts.storage import Storage
from deliverykit.engine import deliver
from deliverykit.engine.catalog import Catalog
from deliverykit.engine.context import Context
from deliverykit.engine.outgoing import OnUnsupported
from deliverykit.engine.ports import Ports
from deliverykit.engine.rooms.accounts import Accounts, Budgets
from deliverykit.engine.rooms.outbox import Outbox
from deliverykit.engine.rooms.room import limits_of
from deliverykit.engine.rooms.routes import Routes
from deliverykit.engine.rooms.servers import Servers
from deliverykit.engine.verdicts import BackOff, TenacityBackOff
from deliverykit.engine.worker import Stream
from deliverykit.limits import CalendarQuota, Pause, Rate, RollingQuota
from deliverykit.limits.zones import zone
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.records.account import DEFAULT_ACCOUNT
from deliverykit.records.documents import Archive
from deliverykit.records.parts import Parts
from deliverykit.records.route import DEFAULT_ROUTE
from deliverykit.records.vault import Vault
from deliverykit.routers import Priority, RoundRobin, Weighted
from deliverykit.storages import Durability, open_storage
from deliverykit.words.clock import Clock
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.message import Message
from deliverykit.words.results import DrainReport, Explanation, SendResult

__all__ = ["AsyncAccountMailer", "AsyncMailer", "AsyncWorker", "furnished"]

OURS: tuple[type, ...] = (
    SES, SendGrid, Mailgun, ElasticEmail, CalendarQuota, RollingQuota, Pause, Rate, Priority, RoundRobin, Weighted,
)  # fmt: skip
"""The parts that are registered from the start."""


def furnished(
    storage: str | Storage,
    *,
    secret_key: str | bytes | Sequence[str | bytes] | None,
    timezone: str | None,
    register: Iterable[type],
    credentials: Mapping[str, Any] | None,
    quota: Limit | Sequence[Limit] | None,
    pause: timedelta | RateLimiter | None,
    clock: Clock | None,
    on_unsupported: OnUnsupported,
    max_visible_recipients: int,
    max_wait: timedelta,
    back_off: BackOff | None,
    durability: Durability,
) -> Context:
    """The engine room of a Mailer. Does no I/O; refuses what cannot work, naming the argument."""
    if timezone is not None:
        zone(timezone)
    if on_unsupported not in ("error", "warn", "drop"):
        raise ConfigurationError(f"on_unsupported: {on_unsupported!r} is none of 'error', 'warn', 'drop'")
    if not isinstance(max_wait, timedelta):
        raise ConfigurationError(f"max_wait: {max_wait!r}; write timedelta(seconds={max_wait!r})")
    ticking = clock or SystemClock()
    books = open_storage(storage, ticking, durability) if isinstance(storage, str) else storage
    archive = Archive(Parts(OURS, register), Vault(secret_key, required=books.outlives))
    host = limits_of(quota, pause, new=True)
    return Context(
        storage=books,
        clock=ticking,
        catalog=Catalog(books, archive, timezone, host),
        archive=archive,
        back_off=back_off or TenacityBackOff(),
        new_id=lambda: secrets.token_hex(12),
        environment=os.environ,
        credentials=dict(credentials or {}),
        logger=logging.getLogger("deliverykit"),
        on_unsupported=on_unsupported,
        max_visible_recipients=max_visible_recipients,
        max_wait=round(max_wait.total_seconds() * 1000),
    )


class AsyncAccountMailer:
    """The face of one account: its servers, routes and outbox, and the sending."""

    def __init__(self, context: Context, ports: Ports, account: str, workers: "WeakSet[Any]") -> None:
        self._context = context
        self._ports = ports
        self._account = account
        self._workers = workers
        self.servers = Servers(context, ports, account)
        self.routes = Routes(context, ports, account)
        self.budgets = Budgets(context, ports, account)
        self.outbox = Outbox(context, ports, account)

    async def send(self, message: Message, *, route: str = DEFAULT_ROUTE) -> SendResult:
        """Try to send now; the result tells of every attempt.

        It waits for a pace up to ``max_wait``, never for quota: mail that cannot go now is queued
        (or refused, on a route that rejects). Raises :class:`~deliverykit.MessageError`,
        :class:`~deliverykit.ConfigurationError` or :class:`~deliverykit.NotFound` for what the caller
        can mend and :class:`~deliverykit.StorageError`; what an ESP or a limit says is in the result.
        """
        return await deliver.send(self._context, self._ports, self._account, message, route)

    async def enqueue(self, messages: Iterable[Message], *, route: str = DEFAULT_ROUTE, chunk: int | None = None) -> list[str]:
        """Write messages down for a worker; durable on return. Their ids, in order.

        All or none; with ``chunk=`` it commits by so many, so that an endless source needs no memory,
        and :class:`~deliverykit.EnqueueInterrupted` says how far it came. A message that no server of
        the route can ever carry is refused by name.
        """
        ids = await deliver.enqueue(self._context, self._ports, self._account, messages, route, chunk)
        for worker in list(self._workers):
            worker.nudge()
        return ids

    async def explain(self, message: Message, *, route: str = DEFAULT_ROUTE) -> Explanation:
        """Which server would take it now, when it could go, and why not the others. Spends and writes nothing."""
        return await deliver.explain(self._context, self._ports, self._account, message, route)


class AsyncMailer(AsyncAccountMailer):
    """The library's face for asyncio. It belongs to one loop; building it does no I/O.

    ``storage`` is ``sqlite:///mail.db``, ``memory://`` or a storage object. ``secret_key`` is a Fernet
    key, or several for rotation (the first encrypts). ``timezone`` is the default account's IANA zone.
    ``register`` holds your own providers, policies and routers, ``credentials`` what ``Named(…)`` refers
    to. ``quota`` and ``pause`` are the host's own, over all accounts. ``transport`` is an httpx or httpx2
    client or your own; it is never closed here. ``on_unsupported`` is what to do where an ESP cannot
    carry tags, metadata or tracking: ``error``, ``warn`` or ``drop``.
    """

    def __init__(
        self,
        storage: str | Storage,
        *,
        secret_key: str | bytes | Sequence[str | bytes] | None = None,
        timezone: str | None = None,
        register: Iterable[type] = (),
        credentials: Mapping[str, Any] | None = None,
        quota: Limit | Sequence[Limit] | None = None,
        pause: timedelta | RateLimiter | None = None,
        clock: Clock | None = None,
        transport: object = None,
        on_unsupported: OnUnsupported = "error",
        max_visible_recipients: int = 20,
        max_wait: timedelta = timedelta(seconds=5),
        back_off: BackOff | None = None,
        durability: Durability = "full",
    ) -> None:
        context = furnished(
            storage, secret_key=secret_key, timezone=timezone, register=register, credentials=credentials, quota=quota, pause=pause,
            clock=clock, on_unsupported=on_unsupported, max_visible_recipients=max_visible_recipients, max_wait=max_wait,
            back_off=back_off, durability=durability,
        )  # fmt: skip
        self._owns_storage = isinstance(storage, str)
        self._transport = transport
        self._awaiting = AwaitingPorts(context.clock, transport)
        super().__init__(context, self._awaiting, DEFAULT_ACCOUNT, WeakSet())
        self.accounts = Accounts(context, self._ports, DEFAULT_ACCOUNT)

    def __repr__(self) -> str:
        return "AsyncMailer(…)"

    @classmethod
    def from_env(cls, **arguments: Any) -> Self:
        """Built from ``DELIVERYKIT_STORAGE``, ``DELIVERYKIT_SECRET_KEY`` (several: comma-separated), ``DELIVERYKIT_TIMEZONE``."""
        return cls(**{**environment(), **arguments})

    async def account(self, id: str) -> AsyncAccountMailer:  # noqa: A002
        """The same face, bound to one account. Raises :class:`~deliverykit.NotFound`."""
        await self.accounts.get(id)
        return AsyncAccountMailer(self._context, self._ports, id, self._workers)

    def worker(self, *, concurrency: int = 50, poll: timedelta = timedelta(seconds=1)) -> "AsyncWorker":
        """A worker over all accounts; start as many as you like, in as many processes as you like."""
        worker = AsyncWorker(self._context, self._ports, concurrency, poll)
        self._workers.add(worker)
        return worker

    async def aclose(self) -> None:
        """Close what this Mailer opened."""
        await self._awaiting.aclose()
        if self._owns_storage:
            self._context.storage.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class AsyncWorker:
    """Claims from the outbox, sends, settles. ``concurrency`` is how many mails are in flight at once."""

    def __init__(self, context: Context, ports: Ports, concurrency: int, poll: timedelta) -> None:
        if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
            raise ConfigurationError(f"concurrency: {concurrency!r}; give a whole number from 1")
        if not isinstance(poll, timedelta) or poll <= timedelta():
            raise ConfigurationError(f"poll: {poll!r}; give a timedelta such as timedelta(seconds=1)")
        self._stream = Stream(context, ports, concurrency, poll.total_seconds())
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> DrainReport:
        """Work until stopped. In the main thread SIGTERM and SIGINT stop it; cancelling does as well."""
        return await self._running(drain=False, timeout=None)

    async def drain(self, timeout: timedelta | None = None) -> DrainReport:  # noqa: ASYNC109
        """Work until all that is left waits for a quota window, a retry or its time; pauses are waited out."""
        return await self._running(drain=True, timeout=None if timeout is None else timeout.total_seconds())

    async def _running(self, *, drain: bool, timeout: float | None) -> DrainReport:  # noqa: ASYNC109
        self._loop = asyncio.get_running_loop()
        signals = () if drain else (signal.SIGTERM, signal.SIGINT)
        if threading.current_thread() is not threading.main_thread():
            signals = ()
        handled = []
        for one in signals:
            with suppress(NotImplementedError, RuntimeError):  # a host's loop may not do signals; then its own stop() does
                self._loop.add_signal_handler(one, self._stream.stop)
                handled.append(one)
        try:
            return await self._stream.run(drain=drain, timeout=timeout)
        finally:
            for one in handled:
                self._loop.remove_signal_handler(one)
            self._loop = None

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


def environment() -> dict[str, Any]:
    """A Mailer's arguments from the environment."""
    storage = os.environ.get("DELIVERYKIT_STORAGE")
    if not storage:
        raise ConfigurationError("DELIVERYKIT_STORAGE is not set; give a storage such as sqlite:///mail.db")
    keys = [key.strip() for key in os.environ.get("DELIVERYKIT_SECRET_KEY", "").split(",") if key.strip()]
    return {"storage": storage, "secret_key": keys or None, "timezone": os.environ.get("DELIVERYKIT_TIMEZONE") or None}
