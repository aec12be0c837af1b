"""An exception from outside, at any line: it costs the call that it hits, and nobody else anything.

A signal handler may raise between any two steps of a program: Celery's soft time limit, ``SystemExit``, Control-C. Here one
is raised at each line that a call runs in the files below, one call for each line, whatever thread or task runs it.

By default each test looks at the part that is its own, and at each line of it once: about a minute of CPU time in all. With
``DELIVERYKIT_EVERY_LINE=1`` each test looks at all of them, every time that a line runs; that takes hours.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from engine_kit import KEY, NOON, message

import deliverykit
from deliverykit import AsyncMailer, CalendarQuota, Mailer
from deliverykit.providers import SendGrid
from deliverykit.testing import ManualClock
from deliverykit.words.wire import HttpRequest, HttpResponse

HERE = Path(deliverykit.__file__).parent
FILES = frozenset(
    str(HERE / name)
    for name in (
        "beating.py", "coalescing.py", "colours.py", "engine/together.py", "engine/spacing.py", "engine/admission/admit.py",
        "engine/delivery/send.py", "engine/delivery/journey.py", "engine/delivery/landing.py", "engine/delivery/flusher.py",
        "engine/delivery/worker.py", "engine/delivery/once.py", "storages/sqlite/connection.py", "storages/sqlite/steps.py",
        "storages/sqlite/store.py", "words/locks.py",
    )
)  # fmt: skip
EVERY = bool(os.environ.get("DELIVERYKIT_EVERY_LINE"))
"""Whether each test looks at all of the files, and at every time that a line runs."""
BATCHING = ("coalescing.py", "colours.py", "beating.py", "together.py", "locks.py")
STORAGE = ("connection.py", "steps.py", "store.py")
SENDING = ("send.py", "journey.py", "landing.py", "once.py", "spacing.py", "admit.py")
WORKER = ("worker.py", "flusher.py", "landing.py", "journey.py")


def files(*names: str) -> frozenset[str]:
    """Those files of these names; all of them where every line is wanted."""
    return FILES if EVERY else frozenset(one for one in FILES if Path(one).name in names)


class Hit(BaseException):
    """What a signal handler raises."""


class Lines:
    """Counts the lines that are run, and raises at one of them."""

    def __init__(self, at: int = 0, error: type[BaseException] = Hit, files: frozenset[str] = FILES) -> None:
        self.at = at
        self.files = files
        self.error = error
        self.run: list[tuple[str, int]] = []
        self.watches = False
        self.raised = False

    def __call__(self, frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in self.files:
            return None
        if event == "line" and self.watches:
            self.run.append((frame.f_code.co_filename, frame.f_lineno))
            if len(self.run) == self.at:
                self.raised = True
                raise self.error
        return self

    @contextmanager
    def watching(self, *, threads: bool = False) -> Iterator[None]:
        """In this thread; with ``threads`` in those that begin meanwhile as well."""
        before, self.watches = sys.gettrace(), True
        if threads:
            threading.settrace(self)
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(before)
            threading.settrace(None)  # type: ignore[arg-type]
            self.watches = False

    def where(self) -> str:
        """The line at which it raised."""
        if not self.at or len(self.run) < self.at:
            return "nowhere"
        name, line = self.run[self.at - 1]
        return f"{Path(name).relative_to(HERE)}:{line}"


def chosen(run: list[tuple[str, int]]) -> list[int]:
    """At which of the lines that were run to raise, counted from 1: the first time of each, or every time."""
    seen: set[tuple[str, int]] = set()
    places = []
    for number, line in enumerate(run, 1):
        if line not in seen or EVERY:
            places.append(number)
        seen.add(line)
    return places


class Esp:
    """Accepts everything, and remembers it."""

    def __init__(self) -> None:
        self.got: list[str] = []

    def take(self, request: HttpRequest) -> HttpResponse:
        self.got.append(request.body.decode())
        return HttpResponse(status=202, headers={"x-message-id": f"m{len(self.got)}"})


class Blocking(Esp):
    def send(self, request: HttpRequest) -> HttpResponse:
        return self.take(request)

    def close(self) -> None: ...


class Awaited(Esp):
    async def send(self, request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        return self.take(request)

    async def aclose(self) -> None: ...


@contextmanager
def mailers(url: str) -> Iterator[tuple[Mailer, Blocking]]:
    esp = Blocking()
    with Mailer(url, secret_key=KEY, timezone="UTC", clock=ManualClock(NOON), transport=esp, durability="normal") as mailer:
        mailer.servers.add(
            id="a", name="A", provider=SendGrid(api_key="SG.any"), sender="a@example.com", quota=CalendarQuota(day=1_000_000)
        )
        mailer.servers.send_test("a", to="me@example.org")
        mailer.servers.activate("a")
        yield mailer, esp


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'mail.db'}"


class Books:
    """What the storage and the ESP say, against each other."""

    def __init__(self, mailer: Mailer, got: list[str]) -> None:
        self.mailer = mailer
        self.got = got

    def check(self, where: str) -> None:
        """Nothing is left on its way, nothing was sent that the storage does not know, and the quota is exact."""
        counts = self.mailer.outbox.counts()
        assert not counts["sending"], where
        assert not counts["leased"], where
        assert not self.mailer._context.storage._db._db.in_transaction, where  # type: ignore[attr-defined]
        accepted = sum(1 for line in self.mailer.log.list(limit=100_000) if line.outcome == "accepted")
        used = sum(view.used for server in self.mailer.servers.list() for view in self.mailer.servers.quota(server))
        assert used == accepted + counts["in_doubt"], where
        assert accepted <= len(self.got) <= accepted + counts["in_doubt"], where
        assert len(set(self.got)) == len(self.got), f"sent twice: {where}"


def elsewhere(call: Callable[[], Any], where: str) -> Any:
    """What a call comes to in another thread, which must not wait for anything that this one has left behind."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(20)
    assert found, f"another thread waits or fails after {where}"
    return found[0]


def hit_everywhere(books: Books, call: Callable[[str], Any], files: frozenset[str], error: type[BaseException] = Hit) -> None:
    """Raise at every line of a call; after each, another thread sends."""
    call("warm")
    lines = Lines(files=files)
    with lines.watching():
        call("counted")
    for number in chosen(lines.run):
        hit = Lines(number, error, files)
        try:
            with hit.watching():
                call(f"hit{number}")
        except error:
            pass
        result = elsewhere(lambda number=number: books.mailer.send(message(f"after{number}")), hit.where())
        assert result.status == "accepted", hit.where()
        books.check(hit.where())


@pytest.mark.timeout(1_000)
def test_send_interrupted_at_every_line(url: str) -> None:
    looked = files(*BATCHING, *STORAGE, *(SENDING if url != "memory://" else ()))
    with mailers(url) as (mailer, esp):
        hit_everywhere(Books(mailer, esp.got), lambda key: mailer.send(message(key, idempotency_key=key)), looked)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
def test_send_interrupted_by_each_exception(error: type[BaseException]) -> None:
    with mailers("memory://") as (mailer, esp):
        hit_everywhere(Books(mailer, esp.got), lambda key: mailer.send(message(key)), files("send.py", "journey.py"), error)


def test_interrupted_send_of_a_refused_message_leaves_no_row() -> None:
    """Its caller was not told of it and keeps the message: nothing stays that somebody might requeue."""
    refused = HttpResponse(status=400, body=b'{"errors": [{"message": "The subject is required.", "field": "subject"}]}')
    with mailers("memory://") as (mailer, esp):
        esp.take = lambda request: refused  # type: ignore[method-assign]
        looked = files("send.py", "journey.py", "landing.py")
        lines = Lines(files=looked)
        with lines.watching():
            mailer.send(message("counted"))
        for number in chosen(lines.run):
            hit = Lines(number, files=looked)
            with suppress(Hit), hit.watching():
                mailer.send(message(f"hit{number}", stream=f"s{number}"))  # a lane of its own, for fifty refused hold theirs
            counts = mailer.outbox.counts()
            assert {counts[state] for state in ("dead", "ready", "leased", "sending")} == {0}, hit.where()


def test_send_that_waits_interrupted_at_every_line(tmp_path: Path) -> None:
    """On a route without quota: the message waits, or is as if it never was."""
    with mailers(f"sqlite:///{tmp_path / 'mail.db'}") as (mailer, esp):
        mailer.servers.add(
            id="b", name="B", provider=SendGrid(api_key="SG.b"), sender="b@example.com", quota=CalendarQuota(day=1)
        )
        mailer.servers.send_test("b", to="me@example.org")
        mailer.servers.activate("b")
        mailer.routes.add("full", servers=["b"], when_exhausted="queue")
        returned = []
        hit_everywhere(
            Books(mailer, esp.got), lambda key: returned.append(mailer.send(message(key), route="full").id), files(*SENDING)
        )
        waiting = {one.id for one in mailer.outbox.list(route="full", limit=1_000)}
        assert waiting >= set(returned)
        assert len(waiting) <= len(returned) + 10, "where it was hit after the last line of the engine"


@pytest.mark.timeout(1_000)
def test_enqueue_interrupted_at_every_line(url: str) -> None:
    """All of them wait, or none."""
    with mailers(url) as (mailer, esp):
        hit_everywhere(
            Books(mailer, esp.got), lambda key: mailer.enqueue([message(f"{key}-{n}") for n in range(3)]), files(*STORAGE)
        )
        assert mailer.outbox.counts()["ready"] % 3 == 0


@pytest.mark.timeout(1_000)
def test_threads_in_one_batch_with_an_interrupted_one(tmp_path: Path) -> None:
    """Two threads whose questions wait beside that of the interrupted one, which may be asking for all three."""
    with mailers(f"sqlite:///{tmp_path / 'mail.db'}") as (mailer, esp):
        books = Books(mailer, esp.got)
        queue = mailer._ports._queue
        looked = files(*BATCHING, *STORAGE)
        lines = Lines(files=looked)
        together(mailer, queue, lines, "counted")
        for number in chosen(lines.run):
            hit = Lines(number, files=looked)
            found = together(mailer, queue, hit, str(number))
            assert [one.status for one in found[1:]] == ["accepted"] * 2, hit.where()
            assert found[0] is None or found[0].status == "accepted", hit.where()
            books.check(hit.where())


def together(mailer: Mailer, queue: Any, lines: Lines, name: str) -> list[Any]:
    """Three threads send; the first of them is watched, and asks first where it can."""
    found: list[Any] = [None] * 3
    entered = threading.Event()

    def held() -> None:
        entered.set()
        release.wait(20)

    def send(place: int) -> None:
        try:
            if place == 0:
                with lines.watching():
                    found[0] = mailer.send(message(f"{name}-0"))
            else:
                found[place] = mailer.send(message(f"{name}-{place}"))
        except Hit:
            pass

    release = threading.Event()
    holder = threading.Thread(target=queue._turn, args=(held,))
    holder.start()
    assert entered.wait(10)
    threads = [threading.Thread(target=send, args=(place,), daemon=True) for place in range(3)]
    for thread in threads:
        before = len(queue._waiting)
        thread.start()
        while len(queue._waiting) == before and thread.is_alive() and not lines.raised:
            threading.Event().wait(0.0005)
    release.set()
    for thread in [*threads, holder]:
        thread.join(20)
        assert not thread.is_alive(), f"a thread hangs after {lines.where()}"
    return found


# -- tasks and workers --------------------------------------------------------------------------------------------


async def three_tasks(mailer: AsyncMailer, name: str) -> list[Any]:
    async with asyncio.timeout(20):
        tasks = [mailer.send(message(f"{name}-{place}")) for place in range(3)]
        return await asyncio.gather(*tasks, return_exceptions=True)


def in_a_loop(url: str, esp: Awaited, lines: Lines, name: str) -> list[Any]:
    """Three tasks of one loop send under watch, then one more."""

    async def main() -> list[Any]:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # of a callback that was hit
        mailer = AsyncMailer(url, secret_key=KEY, clock=ManualClock(NOON), transport=esp, durability="normal")
        try:
            await mailer.outbox.counts()
            with lines.watching(threads=True):
                mailer._ports._thread = None  # another storage thread, which is watched as well
                found = await three_tasks(mailer, name)
            async with asyncio.timeout(20):
                return [*found, await mailer.send(message(f"{name}-after"))]
        finally:
            await mailer.aclose()

    return asyncio.run(main())


@pytest.mark.timeout(1_000)
def test_tasks_with_an_interrupted_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mail.db'}"
    with mailers(url) as (mailer, blocking):
        esp = Awaited()
        books = Books(mailer, blocking.got)
        esp.got = blocking.got
        looked = files(*BATCHING)
        lines = Lines(files=looked)
        in_a_loop(url, esp, lines, "counted")
        for number in chosen(lines.run):
            hit = Lines(number, files=looked)
            found = in_a_loop(url, esp, hit, str(number))
            interrupted = [one for one in found if isinstance(one, BaseException)]
            assert all(isinstance(one, Hit) for one in interrupted), (hit.where(), found)
            assert len(interrupted) <= 1, (hit.where(), found)
            assert found[3].status == "accepted", hit.where()
            books.check(hit.where())


@pytest.mark.timeout(1_000)
def test_worker_interrupted_at_every_line(tmp_path: Path) -> None:
    """It raises, or ends as usual. Another then sends the rest."""
    with mailers(f"sqlite:///{tmp_path / 'mail.db'}") as (mailer, blocking):
        esp = Awaited()
        esp.got = blocking.got
        books = Books(mailer, esp.got)
        looked = files(*WORKER)
        lines = Lines(files=looked)
        drained(mailer, esp, lines, "counted")
        for number in chosen(lines.run):
            hit = Lines(number, files=looked)
            drained(mailer, esp, hit, str(number))
            counts = mailer.outbox.counts()
            assert not counts["sending"], hit.where()
            assert not counts["leased"], hit.where()
            drained(mailer, esp, Lines(), f"{number}-after", watched=False)
            assert not mailer.outbox.counts()["ready"], hit.where()
            books.check(hit.where())


def drained(mailer: Mailer, esp: Awaited, lines: Lines, name: str, *, watched: bool = True) -> None:
    mailer.enqueue([message(f"{name}-{number}") for number in range(3)])
    mailer._transport = esp
    worker = mailer.worker()

    def work() -> None:
        try:
            if watched:
                with lines.watching(threads=True):
                    worker.drain()
            else:
                worker.drain()
        except Hit:
            pass

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), f"the worker hangs after {lines.where()}"
