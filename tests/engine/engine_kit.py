"""What the engine's tests share: a world of real parts, both faces of a Mailer behind one, and a host's own plug-ins."""

import asyncio
import base64
import inspect
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, ClassVar

from attrs import define, field, frozen

from deliverykit import AsyncMailer, CalendarQuota, Mailer, Message
from deliverykit.async_mailer import AsyncAccountMailer, AsyncWorker
from deliverykit.contracts.limit import QuotaPolicy, RateLimiter, State, Terms, Usage
from deliverykit.contracts.router import Router
from deliverykit.contracts.storage import Claim, Step
from deliverykit.engine.rooms.room import Room
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.sandbox import Sandbox
from deliverykit.testing import ManualClock
from deliverykit.transports import HttpTransport, Timeouts
from deliverykit.words.clock import instant
from deliverykit.words.wire import HttpRequest, HttpResponse

KEY = base64.urlsafe_b64encode(b"a key for tests".ljust(32)).decode()
OTHER_KEY = base64.urlsafe_b64encode(b"another key for tests".ljust(32)).decode()
NOON = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
ESPS = ("ses", "sendgrid", "mailgun", "elasticemail")
AWS = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
DAY = timedelta(days=1)


class InLoop:
    """An AsyncMailer, its rooms or its worker as if they blocked: each awaited call runs on a loop of the test's."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if inspect.iscoroutinefunction(value):
            return lambda *given, **named: self._wrapped(self._loop.run_until_complete(value(*given, **named)))
        if inspect.ismethod(value):
            return lambda *given, **named: self._wrapped(value(*given, **named))
        return self._wrapped(value)

    def _wrapped(self, value: Any) -> Any:
        return InLoop(value, self._loop) if isinstance(value, Room | AsyncAccountMailer | AsyncWorker) else value


def provider_of(sandbox: Sandbox, esp: str, key: str = "SG.any", **fields: Any) -> Any:
    url = fields.pop("base_url", None) or sandbox.url(esp)
    match esp:
        case "ses":
            pair = {} if "credentials" in fields else {"access_key_id": AWS[0], "secret_access_key": AWS[1]}
            return SES(**{"region": "us-east-1", **pair, "base_url": url, **fields})
        case "sendgrid":
            return SendGrid(**{"api_key": key, "base_url": url, **fields})
        case "mailgun":
            return Mailgun(**{"api_key": key, "domain": "example.com", "base_url": url, **fields})
        case _:
            return ElasticEmail(**{"api_key": key, "base_url": url, **fields})


@define
class World:
    """One SQLite file, one clock, the sandbox, and Mailers over them."""

    sandbox: Sandbox
    path: Path
    kind: str = "blocking"
    clock: ManualClock | None = None
    loop: asyncio.AbstractEventLoop | None = None
    opened: list[Any] = field(factory=list)
    transports: list[HttpTransport] = field(factory=list)

    def mailer(self, *, url: str | None = None, **options: Any) -> Any:
        """A Mailer of this test's colour on this test's file."""
        given: dict[str, Any] = {"secret_key": KEY, "durability": "normal", **options}
        given.setdefault("base_urls", [self.sandbox.url(esp) for esp in ESPS])  # for accounts other than the default one
        if self.clock is not None:
            given.setdefault("clock", self.clock)
        url = url or f"sqlite:///{self.path}"
        if self.kind == "blocking":
            mailer: Any = Mailer(url, **given)
        else:
            if self.loop is None:
                self.loop = asyncio.new_event_loop()
            mailer = InLoop(AsyncMailer(url, **given), self.loop)
        self.opened.append(mailer)
        return mailer

    def hasty(self, total: float = 60.0) -> HttpTransport:
        """A blocking transport, with a time limit that a loaded machine keeps: a server that hangs hangs up soon."""
        self.transports.append(HttpTransport(timeouts=Timeouts(total=total)))
        return self.transports[-1]

    def close(self) -> None:
        for transport in self.transports:
            transport.close()
        for mailer in self.opened:
            mailer.close() if isinstance(mailer, Mailer) else mailer.aclose()
        self.opened.clear()
        if self.loop is not None:
            self.loop.close()
        self.counters_are_counts()

    def counters_are_counts(self) -> None:
        """Whatever a test did: the counters of each lane say what counting says."""
        if not self.path.exists():
            return
        books = sqlite3.connect(self.path)
        kept = books.execute("select id, ready, in_doubt, scheduled, dead from dk_lane").fetchall()
        counted = books.execute(
            "select l.id, count(m.state=0 or null), count(m.state=3 or null), count(m.state=4 or null), count(m.state=5 or null)"
            " from dk_lane l left join dk_mail m on m.lane=l.id group by 1 order by 1"
        ).fetchall()
        books.close()
        assert kept == counted

    def provider(self, esp: str = "sendgrid", key: str = "SG.any", **fields: Any) -> Any:
        return provider_of(self.sandbox, esp, key, **fields)

    def server(
        self, mailer: Any, id: str, esp: str = "sendgrid", *, key: str | None = None, fields: Any = None, **values: Any
    ) -> Any:
        """An ACTIVE server; its limits come after its test, so that nothing of them is used."""
        limits = {name: values.pop(name) for name in ("quota", "pause", "budgets") if name in values}
        options = {
            "provider": self.provider(esp, key or f"SG.{id}", **(fields or {})),
            "sender": f"News <{id}@example.com>",
            **values,
        }
        mailer.servers.add(id=id, name=f"the server {id}", **options)
        before = self.sandbox.count()
        result = mailer.servers.send_test(
            id, to="me@example.org", **({} if options["sender"] else {"sender": "me@example.com"})
        )
        assert result.proof, result
        assert self.sandbox.count() == before + 1
        self.sandbox.clear()
        server = mailer.servers.activate(id)
        return mailer.servers.update(id, **limits) if limits else server

    def carriers(self, esp: str | None = "sendgrid") -> list[str]:
        """By which server each mail came, in order: the local part of its forced sender."""
        return [mail.sender.partition("@")[0] for mail in self.sandbox.received(esp)]

    def got(self) -> list[str]:
        """The first recipient of each mail that was accepted, in order."""
        return [mail.to[0] for mail in self.sandbox.received()]


def message(number: int | str = 0, **fields: Any) -> Message:
    given = {"to": f"u{number}@example.org", "sender": "ann@example.com", "subject": f"s{number}", "text": "Hello"}
    return Message(**{**given, **fields})


def messages(count: int, **fields: Any) -> list[Message]:
    return [message(number, **fields) for number in range(count)]


class Held:
    """A transport that keeps the first request until it is released; all others pass."""

    def __init__(self, inner: HttpTransport) -> None:
        self._inner = inner
        self._first = Lock()
        self.arrived = Event()
        self._released = Event()

    def send(self, request: HttpRequest) -> HttpResponse:
        if self._first.acquire(blocking=False):
            response = self._inner.send(request)
            self.arrived.set()
            self._released.wait(100)
            return response
        return self._inner.send(request)

    def release(self) -> None:
        self._released.set()

    def close(self) -> None:
        self._inner.close()


@contextmanager
def running(mailer: Mailer, **options: Any) -> Iterator[Any]:
    """A worker of this Mailer in a thread of its own, stopped at the end."""
    worker = mailer.worker(**{"poll": timedelta(milliseconds=100), **options})
    failures: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as error:
            failures.append(error)

    thread = Thread(target=run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(120)
        assert not thread.is_alive(), "the worker does not stop"
    assert not failures, failures


def eventually(what: Callable[[], object], seconds: float = 90.0) -> bool:
    """Whether it becomes true within so many seconds of real time."""
    import time

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return bool(what())


def used(mailer: Any, server: str) -> dict[str, int]:
    """What is used of each window a server is under, by owner."""
    return {view.owner: view.used for view in mailer.servers.quota(server)}


def at(moment: datetime) -> int:
    return instant(moment)


# -- a worker that dies -----------------------------------------------------------------------

LEASE = 60_000


class Take:
    """A worker's claim of everything, by server a; then that worker dies."""

    def __call__(self, view):
        self.heads = [head.uid for head in view.heads]
        return Step(result=Claim(leases={head.id: "a" for head in view.heads}))


def claimed(mailer, token="gone", want=50):
    """Lease what is there, as a worker does that dies with it; the ids."""
    storage = (getattr(mailer, "_context", None) or mailer._inner._context).storage
    storage.recover()
    (lane,) = storage.open_lanes().lanes
    decide = Take()
    return storage, storage.claim(lane, want, ("account:default",), decide, token=token, lease=LEASE)


# -- a host's own parts ------------------------------------------------------------------------------


@frozen(kw_only=True)
class CompanySendGrid(SendGrid):
    """SendGrid with the company's IP pool."""

    name: ClassVar[str] = "company-sendgrid"

    def payload(self, mail: Any) -> dict[str, Any]:
        return super().payload(mail) | {"ip_pool_name": "company"}


@frozen(kw_only=True)
class Ever(QuotaPolicy):
    """So many, and never again."""

    name: ClassVar[str] = "ever"
    most: int

    def room(self, state: State, now: int) -> int:
        return self.most - (state[0] if state else 0)

    def when(self, state: State, now: int, n: int) -> int:
        return now if self.room(state, now) >= n else 1 << 62

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        return ((state[0] if state else 0) + n,), Terms(1)

    def give(self, state: State, mark: int, n: int) -> State:
        return (max(0, state[0] - n),) if state else state

    def usage(self, state: State, now: int) -> tuple[Usage, ...]:
        return (Usage("ever", state[0] if state else 0, self.most, now + 1),)


@frozen(kw_only=True)
class Breather(RateLimiter):
    """One email, then a breath."""

    name: ClassVar[str] = "breather"
    length: timedelta

    def room(self, state: State, now: int) -> int:
        return 1 if not state or now >= state[0] else 0

    def when(self, state: State, now: int, n: int) -> int:
        return max(now, state[0]) if state else now

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        return (now + self.length // timedelta(milliseconds=1),), Terms(0)

    def give(self, state: State, mark: int, n: int) -> State:
        return state


@frozen
class Backwards(Router):
    """The last server first."""

    name: ClassVar[str] = "backwards"

    def order(self, servers: Any, state: State) -> Any:
        return servers[::-1]


OWN_PARTS = [CompanySendGrid, Ever, Breather, Backwards]

THREE_A_DAY = CalendarQuota(day=3)
