"""Event loops and closing: who may use a Mailer, from where, and for how long."""

import ast
import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from engine_kit import KEY, World, eventually, message, messages

import deliverykit
from deliverykit import AsyncMailer, BlockingCallWarning, ConfigurationError, DeliveryError, Mailer, SendStatus
from deliverykit.words.wire import HttpRequest, HttpResponse


class Slow:
    """An ESP that answers when it is told to."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.count = 0
        self.asked = threading.Event()
        self.go = threading.Event()
        if at_once:
            self.go.set()

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.count += 1
        self.asked.set()
        while not self.go.is_set():  # noqa: ASYNC110  it is set by another thread
            await asyncio.sleep(0.005)
        return HttpResponse(status=202, headers={"x-message-id": "m"})

    async def aclose(self) -> None: ...


@pytest.fixture
def ready(plain: World) -> World:
    mailer = plain.mailer()
    plain.server(mailer, "a")
    return plain


def opened(world: World, transport: Any = None) -> AsyncMailer:
    given = {} if transport is None else {"transport": transport}
    return AsyncMailer(f"sqlite:///{world.path}", secret_key=KEY, clock=world.clock, durability="normal", **given)


def states(world: World) -> dict[str, int]:
    return {name: count for name, count in world.mailer().outbox.counts().items() if count}


# -- loops ----------------------------------------------------------------------------------------------


def test_second_live_loop_is_refused_at_once(ready: World) -> None:
    slow = Slow()
    mailer = opened(ready, slow)

    async def first() -> Any:
        return await mailer.send(message("first"))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asyncio.run, first())
        assert slow.asked.wait(10)
        for call in (lambda: mailer.send(message("second")), lambda: mailer.enqueue([message("third")]), mailer.servers.list):
            with pytest.raises(ConfigurationError, match=r"another running event loop.*make an AsyncMailer in each loop"):
                asyncio.run(call())
        slow.go.set()
        assert running.result(20).status is SendStatus.ACCEPTED
    assert states(ready) == {}
    asyncio.run(mailer.aclose())


def test_many_loops_at_once_are_answered_or_refused(ready: World) -> None:
    """As async views under a threaded server: each request in a thread with a loop of its own."""
    esp = Slow(at_once=True)
    mailer = opened(ready, esp)

    def view(number: int) -> str:
        try:
            return str(asyncio.run(mailer.send(message(number))).status)
        except ConfigurationError:
            return "refused"

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(view, range(36)))
    assert set(found) <= {"accepted", "refused"}
    assert found.count("accepted") == esp.count > 0
    assert states(ready) == {}
    asyncio.run(mailer.aclose())


def test_loop_that_ended_lets_the_next_take_over(ready: World) -> None:
    esp = Slow(at_once=True)
    mailer = opened(ready, esp)
    for number in range(3):
        assert asyncio.run(mailer.send(message(number))).status is SendStatus.ACCEPTED
    kept = asyncio.new_event_loop()  # one that only stands still, as between two cells of a notebook
    assert kept.run_until_complete(mailer.send(message("kept"))).status is SendStatus.ACCEPTED
    assert asyncio.run(mailer.send(message("next"))).status is SendStatus.ACCEPTED
    assert kept.run_until_complete(mailer.send(message("again"))).status is SendStatus.ACCEPTED
    kept.run_until_complete(mailer.aclose())
    kept.close()
    assert esp.count == 6


def test_blocking_mailer_warns_once_in_a_loop(ready: World) -> None:
    mailer = ready.mailer()

    async def view() -> Any:
        return mailer.send(message("x"))

    with pytest.warns(BlockingCallWarning, match="asyncio.to_thread") as caught:
        assert asyncio.run(view()).status is SendStatus.ACCEPTED
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asyncio.run(view()).status is SendStatus.ACCEPTED


def test_threads_of_a_loop_share_a_blocking_mailer(ready: World) -> None:
    mailer = ready.mailer()

    async def views() -> list[Any]:
        return await asyncio.gather(*(asyncio.to_thread(mailer.send, message(number)) for number in range(12)))

    assert {result.status for result in asyncio.run(views())} == {SendStatus.ACCEPTED}


# -- closing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}"])
def test_closed_mailer_refuses_every_call(url: str, tmp_path: Path) -> None:
    mailer = Mailer(url.format(tmp_path / "mail.db"), secret_key=KEY)
    mailer.accounts.add("acme", timezone="UTC")
    acme = mailer.account("acme")
    worker = mailer.worker()
    mailer.close()
    mailer.close()
    calls = [
        lambda: mailer.send(message()), lambda: mailer.enqueue(messages(1)), lambda: mailer.outbox.counts(), mailer.servers.list,
        lambda: mailer.account("acme"), mailer.accounts.list, mailer.doctor, mailer.accept_clock, mailer.worker, worker.drain,
        lambda: acme.send(message()), acme.routes.list, lambda: mailer.log.list(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(DeliveryError, match="closed"):
            call()


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}"])
def test_closed_async_mailer_refuses_every_call(url: str, tmp_path: Path) -> None:
    async def main() -> None:
        mailer = AsyncMailer(url.format(tmp_path / "mail.db"), secret_key=KEY)
        await mailer.outbox.counts()
        worker = mailer.worker()
        await mailer.aclose()
        await mailer.aclose()
        for call in (
            lambda: mailer.send(message()), lambda: mailer.enqueue(messages(1)), mailer.outbox.counts, mailer.servers.list,
            mailer.accounts.list, worker.drain, worker.run,
        ):  # fmt: skip
            with pytest.raises(DeliveryError, match="closed"):
                await call()

    asyncio.run(main())


def test_mailer_without_close_leaves_no_socket_open(live: World) -> None:
    mailer: Any = live.mailer()
    live.server(mailer, "a")
    live.opened.clear()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del mailer
        gc.collect()
    assert not [one for one in told if issubclass(one.category, ResourceWarning)], [str(one.message) for one in told]


class HungAfterArrival:
    """An ESP that never answers."""

    def __init__(self) -> None:
        self.arrived = 0

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.arrived += 1
        await asyncio.Event().wait()
        raise AssertionError

    async def aclose(self) -> None:
        pass


def test_cancelled_calls_are_no_faults_of_the_server(live: World) -> None:
    live.server(live.mailer(), "a")
    hung = HungAfterArrival()
    mailer = AsyncMailer(f"sqlite:///{live.path}", secret_key=KEY, transport=hung)

    async def main() -> None:
        for number in range(6):
            task = asyncio.create_task(mailer.send(message(number)))
            while hung.arrived <= number and not task.done():  # noqa: ASYNC110  it is set by a transport
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        health = await mailer.servers.health("a")
        assert (hung.arrived, health.circuit, health.faults) == (6, "closed", 0)
        assert (await mailer.outbox.counts())["in_doubt"] == 6
        await mailer.aclose()

    asyncio.run(main())


def test_closing_leaves_no_descriptor_open(live: World) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system has no /proc")
    mailer = live.mailer()
    live.server(mailer, "a")
    mailer.close()
    live.opened.clear()
    before = len(os.listdir("/proc/self/fd"))
    with Mailer(f"sqlite:///{live.path}", secret_key=KEY) as again:
        assert again.send(message()).status is SendStatus.ACCEPTED
        assert len(os.listdir("/proc/self/fd")) > before
    assert len(os.listdir("/proc/self/fd")) == before


def test_closing_waits_for_calls_under_way(live: World) -> None:
    mailer = live.mailer()
    live.server(mailer, "a")
    live.sandbox.fault("sendgrid", "latency", times=None, seconds=0.3)
    found: list[Any] = []

    def sends() -> None:
        try:
            while True:
                found.append(mailer.send(message(len(found))))
        except ConfigurationError as error:
            found.append(str(error))

    threads = [threading.Thread(target=sends) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: len(live.sandbox.requests("sendgrid")) >= 3)
    mailer.close()
    for thread in threads:
        thread.join(20)
    live.opened.clear()
    live.sandbox.clear_faults()
    refused = [one for one in found if isinstance(one, str)]
    assert len(refused) == 3
    assert all("closed" in one for one in refused)
    assert {one.status for one in found if not isinstance(one, str)} == {SendStatus.ACCEPTED}
    assert live.sandbox.count() == len(found) - 3
    assert states(live) == {}


def test_closing_does_not_wait_for_kept_exceptions(ready: World) -> None:
    """Its traceback keeps the frames of a call that has ended in another thread."""
    mailer = Mailer(f"sqlite:///{ready.path}", secret_key=KEY, clock=ready.clock)
    with ThreadPoolExecutor(1) as pool:
        kept = [
            pool.submit(mailer.send, message(), route="nowhere").exception(),
            pool.submit(mailer.outbox.get, "nothing").exception(),
            pool.submit(mailer.account, "nobody").exception(),
        ]
    assert all(isinstance(one, DeliveryError) for one in kept)
    assert not mailer._calls._under_way
    mailer.close()


def test_closing_async_mailer_lets_its_worker_finish(live: World) -> None:
    mailer = live.mailer()
    live.server(mailer, "a")
    mailer.enqueue(messages(6))

    async def main() -> None:
        slow = Slow()
        closing = opened(live, slow) if live.clock else AsyncMailer(f"sqlite:///{live.path}", secret_key=KEY, transport=slow)
        working = asyncio.create_task(closing.worker(concurrency=3).run())
        while not slow.asked.is_set():  # noqa: ASYNC110  as above
            await asyncio.sleep(0.005)
        asyncio.get_running_loop().call_later(0.05, slow.go.set)
        await closing.aclose()
        assert working.done()
        assert (await working).accepted >= 3

    asyncio.run(main())
    assert set(states(live)) <= {"ready"}


# -- signals --------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, signal, sys
from deliverykit import AsyncMailer
from deliverykit.words.wire import HttpResponse

class Slow:
    async def send(self, request):
        print("asked", flush=True)
        await asyncio.sleep(0.3)
        return HttpResponse(status=202, headers={"x-message-id": "m"})
    async def aclose(self): ...

async def main():
    if HOST:
        signal.signal(signal.SIGTERM, lambda *_: print("host", flush=True))
    before = signal.getsignal(signal.SIGTERM)
    async with AsyncMailer(sys.argv[1], secret_key=sys.argv[2], transport=Slow()) as mailer:
        worker = mailer.worker(concurrency=4)
        if HOST:
            asyncio.get_running_loop().call_later(1.5, worker.stop)
        await worker.run()
    assert signal.getsignal(signal.SIGTERM) is before
    print("ended", flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of this system are others")
@pytest.mark.parametrize("host", [False, True])
def test_async_worker_handles_sigterm_where_nobody_does(live: World, host: bool) -> None:
    mailer = live.mailer()
    live.server(mailer, "a")
    mailer.enqueue(messages(40))
    program = textwrap.dedent(PROGRAM).replace("HOST", str(host))
    process = subprocess.Popen(
        [sys.executable, "-c", program, f"sqlite:///{live.path}", KEY], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(4):
        assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.endswith("ended\n")
    assert ("host\n" in said) is host
    counts = mailer.outbox.counts()
    assert (counts["sending"], counts["leased"], counts["in_doubt"]) == (0, 0, 0)
    if not host:
        assert counts["ready"] >= 30


def test_nothing_uses_wait_for() -> None:
    """On Python 3.11 it can swallow a cancellation; ``asyncio.timeout`` does not."""
    found = []
    for path in Path(deliverykit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if "wait_for" in (getattr(node, "attr", ""), getattr(node, "name", "")):
                found.append(f"{path.name}:{node.lineno}")  # type: ignore[attr-defined]
    assert found == []
