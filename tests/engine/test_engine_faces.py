"""Both faces are one: every public method of the awaited side has a blocking twin of the same signature."""

import asyncio
import inspect
import logging
import os
import signal
from datetime import timedelta

import pytest
from engine_kit import World, messages

from deliverykit import AsyncMailer, CalendarQuota, ConfigurationError, Mailer, StorageError
from deliverykit.async_mailer import AsyncAccountMailer, AsyncWorker
from deliverykit.engine.rooms.accounts import Accounts, Budgets
from deliverykit.engine.rooms.log import Log
from deliverykit.engine.rooms.outbox import Outbox
from deliverykit.engine.rooms.room import Room
from deliverykit.engine.rooms.routes import Routes
from deliverykit.engine.rooms.servers import Servers
from deliverykit.mailer import AccountMailer, AccountsFace, BudgetsFace, LogFace, OutboxFace, RoutesFace, ServersFace, Worker
from deliverykit.transports.httpx2 import AsyncHttpTransport, HttpTransport

TWINS = [
    (AsyncAccountMailer, AccountMailer),
    (AsyncMailer, Mailer),
    (AsyncWorker, Worker),
    (Servers, ServersFace),
    (Routes, RoutesFace),
    (Accounts, AccountsFace),
    (Budgets, BudgetsFace),
    (Outbox, OutboxFace),
    (Log, LogFace),
]
OTHER_NAMES = {"aclose": "close"}
OF_ROOMS = {"config"}
"""What rooms share among themselves."""


def methods(one: type) -> dict[str, object]:
    return {
        OTHER_NAMES.get(name, name): value
        for name, value in inspect.getmembers(one)
        if not name.startswith("_") and callable(value) and not (name in OF_ROOMS and issubclass(one, Room))
    }


@pytest.mark.parametrize(("awaited", "blocking"), TWINS, ids=lambda one: one.__name__)
def test_every_method_has_its_twin(awaited, blocking):
    one, other = methods(awaited), methods(blocking)
    assert set(one) == set(other)
    for name in one:
        theirs = inspect.signature(one[name]).parameters
        ours = inspect.signature(other[name]).parameters
        assert list(ours) == list(theirs), name
        for parameter in list(theirs.values())[1:]:
            assert ours[parameter.name].default == parameter.default, (name, parameter)
            assert ours[parameter.name].kind == parameter.kind, (name, parameter)
        assert not inspect.iscoroutinefunction(other[name]), name
        assert inspect.getdoc(other[name]), name


def test_the_rooms_of_both_faces():
    with Mailer("memory://") as mailer:
        other = AsyncMailer("memory://")
        rooms = {name for name in vars(other) if not name.startswith("_")}
        assert rooms == {name for name in vars(mailer) if not name.startswith("_")}
        assert rooms >= {"servers", "routes", "accounts", "budgets", "outbox"}


def test_building_does_no_io(tmp_path):
    path = tmp_path / "not" / "there" / "mail.db"
    mailer = Mailer(f"sqlite:///{path}")
    assert not path.parent.exists()
    with pytest.raises(StorageError):
        mailer.servers.list()
    mailer.close()
    with pytest.raises(ConfigurationError, match="storage"):
        Mailer("mysql://x")
    with pytest.raises(TypeError, match="no argument secretkey"):
        Mailer("memory://", secretkey="x")  # type: ignore[call-arg]


@pytest.mark.parametrize("by", ["send", "worker"])
def test_the_transport_is_open_before_leave_is_asked_for(world, monkeypatch, by):
    """It loads modules when it opens, which must not take time from a slot."""
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=0))
    opened = []
    for kind in (HttpTransport, AsyncHttpTransport):
        monkeypatch.setattr(kind, "open", lambda transport, real=kind.open: opened.append(real(transport)))
    mailer.send(messages(1)[0]) if by == "send" else mailer.worker().drain()
    assert len(opened) == 1
    assert world.sandbox.count() == 0


def test_both_faces_on_one_file(world, sandbox):
    """What one wrote, the other reads and sends."""
    blocking = World(sandbox, world.path, "blocking", world.clock)
    awaited = World(sandbox, world.path, "awaited", world.clock)
    one, other = blocking.mailer(), awaited.mailer()
    world.server(one, "a")
    assert other.servers.get("a") == one.servers.get("a")
    other.enqueue(messages(2))
    one.worker().drain()
    one.enqueue(messages(2))
    other.worker().drain()
    assert sandbox.count() == 4
    blocking.close()
    awaited.close()


def test_a_blocking_worker_in_a_running_loop_says_what_to_use(plain):
    import asyncio

    mailer = plain.mailer()

    async def main():
        mailer.worker().drain()

    with pytest.raises(ConfigurationError, match="AsyncMailer"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0),
        *[("poll", value) for value in (0, -1, True, "1", float("nan"), 86_401, timedelta(0), timedelta(days=2))],
    ],
)
def test_a_workers_options(world, name, value):
    with pytest.raises(ConfigurationError, match=name):
        world.mailer().worker(**{name: value})


def test_a_workers_poll_may_be_seconds(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.enqueue(messages(1))
    assert mailer.worker(poll=1).drain().accepted == 1


def test_from_env(monkeypatch, tmp_path, plain):
    from engine_kit import KEY, OTHER_KEY

    with pytest.raises(ConfigurationError, match="DELIVERYKIT_STORAGE"):
        Mailer.from_env()
    monkeypatch.setenv("DELIVERYKIT_STORAGE", f"sqlite:///{tmp_path / 'env.db'}")
    monkeypatch.setenv("DELIVERYKIT_SECRET_KEY", f"{OTHER_KEY}, {KEY}")
    monkeypatch.setenv("DELIVERYKIT_TIMEZONE", "Asia/Kolkata")
    with Mailer.from_env() as mailer:
        assert mailer.accounts.get("default").timezone == "Asia/Kolkata"
        mailer.servers.add(id="s", name="S", provider=plain.provider())
        assert mailer.servers.get("s").provider.api_key.reveal() == "SG.any"


def test_nothing_is_logged_when_all_is_well(world, caplog):
    caplog.set_level(logging.INFO, "deliverykit")
    mailer = world.mailer()
    world.server(mailer, "a")
    caplog.clear()  # what the host did is told
    mailer.enqueue(messages(3))
    mailer.worker().drain()
    assert [record for record in caplog.records if record.name.startswith("deliverykit")] == []


def test_a_worker_in_a_hosts_loop_leaves_signals_to_the_host():
    async def main():
        heard = []
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, heard.append, "host")
        async with AsyncMailer("memory://") as mailer:
            worker = mailer.worker()
            running = asyncio.create_task(worker.run())
            await asyncio.sleep(0.1)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.1)
            assert heard == ["host"]
            assert not running.done()
            worker.stop()
            await running
        loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(main())


def test_a_worker_is_drained_again_until_it_is_stopped(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    worker = mailer.worker()
    for turn in (1, 2):
        mailer.enqueue(messages(turn))
        assert worker.drain().accepted == turn
    worker.stop()
    mailer.enqueue(messages(1))
    assert worker.drain().accepted == 0
    assert mailer.worker().drain().accepted == 1
