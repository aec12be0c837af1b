"""``send(timeout=)`` bounds the whole call. No verdict here hangs on how fast the machine is: what hangs, hangs for longer."""

import asyncio
import socket
import sqlite3
import threading
import time
from datetime import timedelta

import pytest
from engine_kit import World, message, used

from deliverykit import CalendarQuota, ConfigurationError, SendStatus, StorageError
from deliverykit.storages.sqlite import connection
from deliverykit.testing import ManualClock
from deliverykit.words.wire import HttpRequest, HttpResponse

LONG = 100.0
"""How long, in seconds, what hangs would go on."""
BOUND = 60.0
"""Less than that, and far more than any time limit here."""


@pytest.fixture(params=["blocking", "awaited"])
def real(request, sandbox, tmp_path):
    """Both faces on the system's clock."""
    world = World(sandbox, tmp_path / "mail.db", request.param)
    yield world
    world.close()


@pytest.fixture
def bounded():
    began = time.monotonic()
    yield
    assert time.monotonic() - began < BOUND, "the time limit did not hold"


@pytest.fixture
def hung_resolver(monkeypatch):
    """Called, names resolve no more, until the test ends."""
    ends = threading.Event()
    yield lambda: monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ends.wait(LONG) and [])
    ends.set()


def test_a_hung_esp_is_in_doubt_after_the_time_limit(real, bounded):
    mailer = real.mailer()
    real.server(mailer, "a", quota=CalendarQuota(day=9))
    real.sandbox.fault("sendgrid", "hang", seconds=LONG)
    result = mailer.send(message(), timeout=1.5)
    assert result.status is SendStatus.IN_DOUBT
    assert mailer.outbox.get(result.id).state == "in_doubt"
    assert used(mailer, "a") == {"the server a": 1}


def test_time_limits_of_callers_are_no_faults_of_the_server(real, bounded):
    mailer = real.mailer()
    real.server(mailer, "a")
    real.sandbox.fault("sendgrid", "hang", times=None, seconds=LONG)
    for number in range(5):
        assert mailer.send(message(number), timeout=timedelta(seconds=1)).status in (SendStatus.IN_DOUBT, SendStatus.QUEUED)
    health = mailer.servers.health("a")
    assert (health.faults, health.circuit) == (0, "closed")


@pytest.mark.parametrize("exhausted", ["queue", "failover", "reject"])
def test_a_hung_resolver_sends_nothing_and_spends_nothing(real, bounded, hung_resolver, exhausted):
    first = real.mailer()
    url = real.sandbox.url("sendgrid").replace("127.0.0.1", "localhost")
    for name in ("a", "b"):
        real.server(first, name, fields={"base_url": url}, quota=CalendarQuota(day=9))
    first.routes.add("r", ["a", "b"], when_exhausted=exhausted)
    mailer = real.mailer()
    mailer.servers.list()
    hung_resolver()
    result = mailer.send(message(), route="r", timeout=0.5)
    assert result.reason == "the time limit of the call ended before it could start"
    if exhausted == "reject":
        assert result.status is SendStatus.REJECTED
        assert mailer.outbox.list() == ()
    else:
        assert result.status is SendStatus.QUEUED
        (waiting,) = mailer.outbox.list()
        assert (waiting.id, waiting.state, waiting.attempts) == (result.id, "ready", 0)
    assert used(mailer, "a") == {"the server a": 0}
    assert mailer.servers.health("a").faults == 0


def test_a_pace_is_waited_for_no_longer_than_the_time_limit(world):
    mailer = world.mailer(max_wait=timedelta(seconds=30))
    world.server(mailer, "a", pause=timedelta(seconds=4))
    assert mailer.send(message(1), timeout=10).status is SendStatus.ACCEPTED
    began = world.clock.monotonic()
    assert mailer.send(message(2), timeout=3).status is SendStatus.QUEUED
    assert world.clock.monotonic() == began, "it did not wait in vain"
    assert mailer.send(message(3), timeout=30).status is not SendStatus.REJECTED


def test_a_locked_storage_is_waited_for_no_longer(real, bounded, monkeypatch):
    monkeypatch.setattr(connection, "_PATIENCE", LONG)
    mailer = real.mailer()
    real.server(mailer, "a")
    mailer.servers.list()
    other = sqlite3.connect(real.path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(StorageError):
        mailer.send(message(), timeout=0.5)
    other.execute("rollback")
    other.close()
    assert mailer.outbox.list() == ()
    assert real.sandbox.count() == 0
    assert mailer.send(message(), timeout=30).status is SendStatus.ACCEPTED


def test_another_call_that_holds_the_storage_is_waited_for_no_longer(live, bounded):
    """A thread waits for the locked file, and has this process's connection; the timed call does not wait behind it."""
    mailer = live.mailer()
    live.server(mailer, "a")
    storage = mailer._context.storage
    held, ends = threading.Event(), threading.Event()

    def hold(_view):
        held.set()
        ends.wait(LONG)
        raise RuntimeError

    def holder():
        with pytest.raises(RuntimeError):
            storage.transact("default", (), hold)

    thread = threading.Thread(target=holder)
    thread.start()
    held.wait(BOUND)
    with pytest.raises(StorageError, match="time limit of the call"):
        mailer.send(message(), timeout=0.3)
    ends.set()
    thread.join()


def test_a_busy_storage_thread_is_waited_for_no_longer(sandbox, tmp_path, bounded):
    world = World(sandbox, tmp_path / "mail.db", "awaited")
    mailer = world.mailer()
    world.server(mailer, "a")
    inner, ends = mailer._inner, threading.Event()

    async def both():
        busy = asyncio.create_task(inner._ports.store(ends.wait, LONG))
        await asyncio.sleep(0)
        with pytest.raises(StorageError, match="time limit of the call"):
            await inner.send(message(), timeout=0.3)
        ends.set()
        await busy

    world.loop.run_until_complete(both())
    world.close()


class Endless:
    """A host's own transport, which knows no time limit."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(LONG)
        return HttpResponse(status=500)

    async def aclose(self) -> None: ...


def test_a_hosts_transport_without_time_limits_is_ended(sandbox, tmp_path, bounded):
    world = World(sandbox, tmp_path / "mail.db", "awaited")
    world.server(world.mailer(), "a")
    assert world.mailer(transport=Endless()).send(message(), timeout=0.5).status is SendStatus.IN_DOUBT
    world.close()


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), timedelta(), "5", True, [1]])
def test_a_time_limit_that_is_none_is_refused(plain, wrong):
    mailer = plain.mailer()
    plain.server(mailer, "a")
    with pytest.raises(ConfigurationError, match="timeout"):
        mailer.send(message(), timeout=wrong)


def test_without_a_time_limit_nothing_is_limited(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    assert isinstance(world.clock, ManualClock)
    assert mailer.send(message()).status is SendStatus.ACCEPTED
    assert mailer.send(message(2), timeout=timedelta(hours=1)).status is SendStatus.ACCEPTED
