"""One batch in which a question raises, a task is cancelled and the storage fails once: the others get right answers."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from engine_kit import KEY, NOON, message

from deliverykit import AsyncMailer, CalendarQuota, Mailer, StorageError
from deliverykit.contracts.storage import View
from deliverykit.engine.together import Question, Waiting
from deliverykit.providers import SendGrid
from deliverykit.testing import ManualClock
from deliverykit.words.wire import HttpRequest, HttpResponse

QUOTA = 20
SENDS = 30


class Trouble(Exception):
    """What a host's own limit raises."""


def raising(_: View) -> Any:
    raise Trouble


class Esp:
    def __init__(self) -> None:
        self.count = 0

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.count += 1
        return HttpResponse(status=202, headers={"x-message-id": f"m{self.count}"})

    async def aclose(self) -> None: ...


class BlockingEsp:
    def __init__(self) -> None:
        self.count = 0

    def send(self, request: HttpRequest) -> HttpResponse:
        self.count += 1
        return HttpResponse(status=202, headers={"x-message-id": f"m{self.count}"})

    def close(self) -> None: ...


class Failing:
    """A storage's ``transact`` that waits the first time, and fails at the first batch after that, or at the one it is given."""

    def __init__(self, storage: Any) -> None:
        self.transact = storage.transact
        self.entered, self.go = threading.Event(), threading.Event()
        self.failed = 0
        storage.transact = self

    def __call__(self, account: str, keys: Any, decide: Any) -> Any:
        if not self.entered.is_set():
            self.entered.set()
            self.go.wait(60)
        elif not self.failed and type(decide).__name__ == "_Together":
            self.failed = len(decide.decides)
            raise StorageError("database is locked")
        return self.transact(account, keys, decide)


def prepared(url: str) -> None:
    """A server with a quota, and a route that queues."""
    with Mailer(url, secret_key=KEY, clock=ManualClock(NOON), timezone="UTC", transport=BlockingEsp()) as mailer:
        mailer.servers.add(
            id="a", name="A", provider=SendGrid(api_key="SG.any"), sender="a@example.com", quota=CalendarQuota(day=QUOTA + 1)
        )
        mailer.servers.send_test("a", to="me@example.org")
        mailer.servers.activate("a")
        mailer.routes.add("r", ["a"], when_exhausted="queue")


def check(url: str, statuses: list[str], sent: int) -> None:
    """The quota is exact, and every message either went once or waits."""
    with Mailer(url, secret_key=KEY, clock=ManualClock(NOON)) as mailer:
        (view,) = mailer.servers.quota("a")
        counts = {name: count for name, count in mailer.outbox.counts().items() if count}
    assert view.used - 1 == sent <= QUOTA
    assert sent - statuses.count("accepted") in (0, 1, 2), "what was cancelled may have gone"
    assert counts == {"ready": statuses.count("queued")}
    assert set(statuses) == {"accepted", "queued"}


def test_tasks_beside_faults_get_right_answers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mail.db'}"
    prepared(url)
    esp = Esp()

    async def main() -> list[Any]:
        mailer = AsyncMailer(url, secret_key=KEY, clock=ManualClock(NOON), transport=esp)
        await mailer.outbox.counts()
        ports, storage = mailer._ports, mailer._context.storage
        keys = (await ports.store(mailer._context.catalog.known, "default")).keys
        failing = Failing(storage)
        failing.go.set()
        tasks = [asyncio.create_task(mailer.send(message(number), route="r")) for number in range(SENDS)]
        tasks.insert(5, asyncio.create_task(ports.decide(Question(storage, "default", keys, raising))))
        while not failing.entered.is_set():  # noqa: ASYNC110  set by another thread
            await asyncio.sleep(0)
        tasks[9].cancel()
        while not failing.failed:  # noqa: ASYNC110  as above
            await asyncio.sleep(0)
        tasks[12].cancel()  # it is being asked
        found = await asyncio.gather(*tasks, return_exceptions=True)
        await mailer.aclose()
        assert failing.failed > 1
        return found

    found = asyncio.run(main())
    assert isinstance(found.pop(5), Trouble)
    gone = [one for one in found if isinstance(one, BaseException)]
    assert all(isinstance(one, asyncio.CancelledError) for one in gone), gone
    assert 1 <= len(gone) <= 2
    check(url, [str(one.status) for one in found if not isinstance(one, BaseException)], esp.count)


def test_threads_beside_faults_get_right_answers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mail.db'}"
    prepared(url)
    esp = BlockingEsp()
    with Mailer(url, secret_key=KEY, clock=ManualClock(NOON), transport=esp) as mailer:
        mailer.outbox.counts()
        queue, storage = mailer._ports._queue, mailer._context.storage
        keys = mailer._context.catalog.known("default").keys
        failing = Failing(storage)
        found: list[Any] = []

        def send(number: int) -> None:
            found.append(str(mailer.send(message(number), route="r").status))

        def ask() -> None:
            with pytest.raises(Trouble):
                queue.ask(Question(storage, "default", keys, raising))
            found.append("raised")

        threads = [threading.Thread(target=send, args=(number,)) for number in range(SENDS)]
        threads[0].start()
        assert failing.entered.wait(60)
        threads.insert(5, threading.Thread(target=ask))
        for thread in threads[1:]:
            thread.start()
        while len(queue._waiting) < SENDS:
            threading.Event().wait(0.001)
        withdrawn = Waiting(Question(storage, "default", keys, raising), withdrawn=True)
        queue._waiting.insert(7, withdrawn)  # as an interrupted thread leaves it
        failing.go.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    found.remove("raised")
    assert withdrawn.answer is None
    assert failing.failed > 10
    assert len(found) == SENDS
    check(url, found, esp.count)
