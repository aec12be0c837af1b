"""Crashes at every step: a journey is abandoned before and after each thing it does to the world, then resumed and judged.

Everything the engine does to the world goes through its ports (a call of the store, a submission, a wait), so a
process can end between any two of them and nowhere else that matters. What a real ``kill -9`` does to the file
itself is for tests with real processes.
"""

import asyncio
import base64
import inspect
import re
import shutil
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast
from weakref import WeakSet

from attrs import Attribute, define, field, frozen

from deliverykit.async_mailer import AsyncAccountMailer, AsyncWorker
from deliverykit.colours import AwaitingPorts, BlockingPorts
from deliverykit.contracts.books import RESENDS
from deliverykit.contracts.storage import Storage
from deliverykit.engine.context import Context
from deliverykit.engine.ports import Ports
from deliverykit.furnishing import Options, furnished
from deliverykit.mailer import AccountMailer, Mailer
from deliverykit.records.account import DEFAULT_ACCOUNT
from deliverykit.storages import open_storage
from deliverykit.testing.clock import ManualClock
from deliverykit.testing.crashing import Crash, CrashingPorts, Cut, When
from deliverykit.words.arguments import aware, flag, items, mapping, member, near, path, refused
from deliverykit.words.errors import NotFound, TransportError
from deliverykit.words.results import SendResult, SendStatus
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["CrashTest", "Life", "Submission"]

P = ParamSpec("P")
R = TypeVar("R")
Answer = Callable[[HttpRequest], HttpResponse]

_KEY: Final = base64.urlsafe_b64encode(b"a key that keeps no secret".ljust(32))
_STAMP: Final = re.compile(rb"([0-9a-f]{24})-[0-9a-f]{16}")
_ROUNDS: Final = 12
_MANY: Final = 500


@frozen
class Submission:
    """One request that arrived at the ESP."""

    at: int
    id: str
    """Of the mail, as the library counts it; ``""`` where the request carries no id of ours."""
    request: HttpRequest = field(repr=False)
    status: int
    """What was answered; 0 where the connection broke."""
    surely_not: bool
    """Whether that says that it was not taken."""


class _Wire:
    """The ESP: remembers what arrived, then answers."""

    def __init__(self, answer: Answer, clock: ManualClock) -> None:
        self._answer = answer
        self._clock = clock
        self.submissions: list[Submission] = []

    def take(self, request: HttpRequest) -> HttpResponse:
        found = _STAMP.search(request.body) or _STAMP.search(repr(dict(request.headers)).encode())
        id_ = found[1].decode() if found else ""
        try:
            response = self._answer(request)
        except TransportError as error:
            self._note(id_, request, 0, error.stage.surely_not_sent)
            raise
        self._note(id_, request, response.status, response.status == 503 or 300 <= response.status < 500)
        return response

    def _note(self, id_: str, request: HttpRequest, status: int, surely_not: bool) -> None:
        self.submissions.append(Submission(self._clock.now(), id_, request, status, surely_not))


@frozen
class _Blocking:
    wire: _Wire

    def send(self, request: HttpRequest) -> HttpResponse:
        return self.wire.take(request)

    def close(self) -> None: ...


@frozen
class _Awaited:
    wire: _Wire

    async def send(self, request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)  # on the wire: here a cancelled call ends
        return self.wire.take(request)

    async def aclose(self) -> None: ...


def _accepts(_: HttpRequest) -> HttpResponse:
    return HttpResponse(status=202, headers={"X-Message-Id": "taken"})


Told = list[tuple[str, SendStatus | None]]


class _Frail(AccountMailer):
    """A blocking mailer on its way to a crash, which notes what it told its caller."""

    def __init__(self, core: AsyncAccountMailer, told: Told) -> None:
        super().__init__(core)
        self._told = told

    def send(self, *args: Any, **named: Any) -> SendResult:
        result: SendResult = super().send(*args, **named)
        self._told.append((result.id, result.status))
        return result

    def enqueue(self, *args: Any, **named: Any) -> list[str]:
        ids: list[str] = super().enqueue(*args, **named)
        self._told += [(id_, None) for id_ in ids]
        return ids


class _AsyncFrail(AsyncAccountMailer):
    """The same, awaited; its worker crashes with it."""

    def __init__(self, context: Context, ports: Ports, told: Told) -> None:
        super().__init__(context, ports, DEFAULT_ACCOUNT, WeakSet())
        self._told = told

    async def send(self, *args: Any, **named: Any) -> SendResult:
        result = await super().send(*args, **named)
        self._told.append((result.id, result.status))
        return result

    async def enqueue(self, *args: Any, **named: Any) -> list[str]:
        ids = await super().enqueue(*args, **named)
        self._told += [(id_, None) for id_ in ids]
        return ids

    def worker(self, *, concurrency: int = 50, poll: timedelta = timedelta(seconds=1)) -> AsyncWorker:
        return AsyncWorker(self._context, self._ports, concurrency, poll)


@define(kw_only=True)
class Life:
    """One journey that was cut, and what became of its mail once another process had taken over."""

    cut: Cut
    steps: list[str]
    """What the journey did to the world, as far as it came."""
    ended: bool
    """Whether it came as far as the cut. The last life of a test did not: it ran through."""
    told: Told
    """What its caller learned before: the mails' ids, with the status where ``send()`` said one."""
    submissions: list[Submission]
    mailer: Mailer
    """A mailer that works, over the same store."""
    clock: ManualClock
    resend: bool
    windows: dict[tuple[str, str, str], datetime | None]
    """When each quota window resets, as it stood before the journey."""

    def __str__(self) -> str:
        return f"cut {self.cut.when} step {self.cut.step} of {', '.join(self.steps)}"

    def resume(self) -> None:
        """Another worker, until nothing of it is on its way: lost leases end, retries come due."""
        for _ in range(_ROUNDS):
            self.mailer.worker().drain()
            counts = self.mailer.outbox.counts()
            if counts["scheduled"]:
                soonest = min(mail.goes_at for mail in self.mailer.outbox.list(state="scheduled", limit=_MANY) if mail.goes_at)
                self.clock.advance(max(timedelta(), soonest - self._now) + timedelta(seconds=1))
            elif not counts["leased"] and not counts["sending"]:
                return
            else:
                self.clock.advance(61)

    def check(self) -> None:
        """Raise ``AssertionError`` where something that was told is lost, a quota exceeded, or a mail twice on the wire."""
        counts = self.mailer.outbox.counts()
        assert not counts["leased"], f"{self}: a lease never ended"
        assert not counts["sending"], f"{self}: mail is sending for ever"
        self._check_told()
        self._check_copies()
        self._check_quotas()

    @property
    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now() / 1000, tz=UTC)

    def arrived(self, id: str) -> list[Submission]:
        """How often this mail may have been taken by the ESP."""
        return [one for one in self.submissions if one.id == id and not one.surely_not]

    def _rows(self) -> dict[str, str]:
        return {mail.id: mail.state for mail in self.mailer.outbox.list(limit=_MANY)}

    def _check_told(self) -> None:
        rows = self._rows()
        for id_, status in self.told:
            if status is SendStatus.ACCEPTED:
                assert any(one.status < 300 for one in self.arrived(id_)), f"{self}: {id_} was said to be accepted"
            elif status is not SendStatus.REJECTED:
                assert id_ in rows or self.arrived(id_) or self._has_line(id_), f"{self}: {id_} is lost"

    def _has_line(self, id_: str) -> bool:
        """Whether the log tells of it."""
        try:
            return bool(self.mailer.log.get(id_).lines)
        except NotFound:
            return False

    def _check_copies(self) -> None:
        most = 1 + RESENDS if self.resend else 1
        for id_ in {one.id for one in self.submissions if one.id}:
            assert len(self.arrived(id_)) <= most, f"{self}: {id_} was submitted {len(self.arrived(id_))} times"

    def _check_quotas(self) -> None:
        context = self.mailer._context  # noqa: SLF001  the kit and the mailer are one house
        for server in self.mailer.servers.list():
            taken = sum(
                context.archive.vault.stamp(one.id, DEFAULT_ACCOUNT, server.id).encode() in one.request.body
                for one in self.submissions
                if one.id and not one.surely_not
            )
            for view in self.mailer.servers.quota(server.id):
                assert view.used <= view.limit, f"{self}: {view.owner} used {view.used} of {view.limit} per {view.window}"
                same = view.resets_at is not None and self.windows.get(_window(server.id, view)) == view.resets_at
                assert not same or taken <= view.used, f"{self}: {taken} went by {server.id}, {view.used} are counted"


def _window(server: str, view: Any) -> tuple[str, str, str]:
    return (server, view.owner, view.window)


def _callable(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if not callable(value):
        refused(attribute.name, value, "cannot be called", "give a function")


def _bool(_: object, attribute: "Attribute[bool]", value: object) -> None:
    flag(value, attribute.name)


def _options(_: object, __: "Attribute[Options]", value: object) -> None:
    known = mapping(value, "options", "give keyword arguments of Mailer, such as {'register': [MyPolicy]}")
    for name in known.keys() - Options.__annotations__.keys():
        refused("options key", name, "not an argument of Mailer", near(name, Options.__annotations__))


def _folder(value: Path | str | None) -> Path | None:
    return None if value is None else Path(path(value, "folder"))


def _start(value: datetime | None) -> datetime | None:
    return None if value is None else aware(value, "start")


def _ways(value: Iterable[When]) -> tuple[When, ...]:
    return tuple(member(one, "ways", When) for one in items(value, "ways", "give a list such as [When.BEFORE]"))


@define(kw_only=True)
class CrashTest:
    """Runs a journey once for each of its steps and each way to cut it, each time on books of its own.

    ``prepare`` gets a :class:`~deliverykit.Mailer` and sets up what is there before: servers, routes, mail that waits.
    ``journey`` does what is cut, with the mailer it gets, the face of the default account: a plain function blocks;
    an ``async`` one is awaited, and its mailer has ``worker()`` too. ``answer`` makes the ESP of one life: from a request its
    response, or a :class:`~deliverykit.words.errors.TransportError`; as it stands it takes everything, in SendGrid's
    words. ``resend`` says that the mail may be sent again (``in_doubt="resend"``), so that two copies more are no fault.
    ``options`` are those of the mailer (``register=``, ``quota=`` …). Without a ``folder`` the books are in memory,
    else in files there::

        def prepare(mailer):
            mailer.servers.add(id="a", name="A", provider=SendGrid(api_key="SG.x"), sender="news@example.com")
            ...


        CrashTest(prepare=prepare, journey=lambda mailer: mailer.send(message), register=[...]).run()

    :meth:`run` does it all; :meth:`lives` lets you look at each life yourself.
    """

    prepare: Callable[[Mailer], object] = field(validator=_callable)
    journey: Callable[[Any], object] = field(validator=_callable)
    answer: Callable[[], Answer] = field(default=lambda: _accepts, validator=_callable)
    """Makes the ESP of one life, so that it may count."""
    resend: bool = field(default=False, validator=_bool)
    folder: Path | None = field(default=None, converter=_folder)
    start: datetime | None = field(default=None, converter=_start)
    ways: tuple[When, ...] = field(default=(When.BEFORE, When.AFTER), converter=_ways)
    options: Options = field(factory=lambda: cast(Options, {}), validator=_options)

    def run(self) -> int:
        """Every life, resumed and checked; how many there were."""
        lives = 0
        for life in self.lives():
            life.resume()
            life.check()
            lives += 1
        return lives

    def lives(self) -> Iterator[Life]:
        """Each life, as its end left it."""
        template = self._template() if self.folder is not None else None
        for way in self.ways:
            for step in count(1):
                life = self._lived(Cut(step, way), template)
                try:
                    yield life
                finally:
                    life.mailer.close()
                if not life.ended:
                    break

    # -- one life -------------------------------------------------------------------------------------

    def _clock(self) -> ManualClock:
        return ManualClock(self.start) if self.start is not None else ManualClock()

    def _options(self, clock: ManualClock, transport: object) -> Options:
        given: Any = {"secret_key": _KEY, "clock": clock, "transport": transport, **self.options}
        return cast(Options, given)

    def _template(self) -> tuple[Path, int]:
        assert self.folder is not None
        path = self.folder / "before.db"
        clock = self._clock()
        with Mailer(f"sqlite:///{path}", **self._options(clock, _Blocking(_Wire(_accepts, clock)))) as mailer:
            self.prepare(mailer)
        return path, clock.now()

    def _lived(self, cut: Cut, template: tuple[Path, int] | None) -> Life:
        clock = self._clock()
        wire = _Wire(self.answer(), clock)
        if template is None:
            storage: Storage = open_storage("memory://", clock)
            with Mailer(storage, **self._options(clock, _Blocking(_Wire(_accepts, clock)))) as mailer:
                self.prepare(mailer)
            books: list[Storage] = [storage, storage]
        else:
            path, now = template
            clock.set(now)
            mine = path.with_name("life.db")
            for end in ("", "-wal", "-shm"):
                mine.with_name(mine.name + end).unlink(missing_ok=True)
            shutil.copyfile(path, mine)
            books = [open_storage(f"sqlite:///{mine}", clock, "normal") for _ in range(2)]
        fresh = Mailer(books[1], **self._options(clock, _Blocking(wire)))
        windows = {
            _window(server.id, view): view.resets_at
            for server in fresh.servers.list()
            for view in fresh.servers.quota(server.id)
        }
        life = Life(
            cut=cut, steps=[], ended=False, told=[], submissions=wire.submissions, mailer=fresh, clock=clock,
            resend=self.resend, windows=windows,
        )  # fmt: skip
        frail = furnished(books[0], self._options(clock, None))
        if inspect.iscoroutinefunction(self.journey):
            asyncio.run(self._awaited(life, frail, wire))
        else:
            self._blocked(life, frail, wire)
        if template is not None:
            books[0].close()
        return life

    def _blocked(self, life: Life, context: Context, wire: _Wire) -> None:
        ports = CrashingPorts(BlockingPorts(context.clock, _Blocking(wire)), life.cut)
        mailer = _Frail(AsyncAccountMailer(context, ports, DEFAULT_ACCOUNT, WeakSet()), life.told)
        life.steps = ports.steps
        with suppress(Crash):
            self.journey(mailer)
        life.ended = ports.reached

    async def _awaited(self, life: Life, context: Context, wire: _Wire) -> None:
        inner = AwaitingPorts(context.clock, _Awaited(wire))
        ports = CrashingPorts(inner, life.cut)
        life.steps = ports.steps
        journey = cast("Callable[[Any], Coroutine[Any, Any, object]]", self.journey)
        task = ports.caller = asyncio.create_task(journey(_AsyncFrail(context, ports, life.told)))
        asyncio.get_running_loop().set_exception_handler(_but_crashes)
        over = asyncio.Event()
        ports.ended = over.set
        task.add_done_callback(lambda _: over.set())
        await over.wait()
        if ports.fell:
            await _swept()
        await asyncio.wait([task])
        if not task.cancelled() and (end := task.exception()) is not None and not isinstance(end, Crash):
            raise end
        life.ended = ports.reached
        await inner.aclose()


def _but_crashes(loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    """A task that ended in the crash, and whom nobody asks any more, is no news."""
    if not isinstance(told.get("exception"), Crash):
        loop.default_exception_handler(told)


async def _swept() -> None:
    """The process is gone: every task of it ends where it stands. Its ports do nothing more, so no last word is heard."""
    mine = asyncio.current_task()
    while others := [task for task in asyncio.all_tasks() if task is not mine]:
        for task in others:
            task.cancel()
        done, _ = await asyncio.wait(others, timeout=0.05)
        for task in done:
            if not task.cancelled():
                task.exception()  # seen: it is the crash
