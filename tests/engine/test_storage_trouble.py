"""A store in trouble: an error that names the file and the mend, nothing lost, and everything goes on once it is mended."""

import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from engine_kit import KEY, OTHER_KEY, World, eventually, message, messages, running, used

from deliverykit import CalendarQuota, ConfigurationError, SendStatus, Status, StorageError


def raw(world: World, sql: str, *values: Any) -> None:
    db = sqlite3.connect(world.path)
    with db:
        assert db.execute(sql, values).rowcount
    db.close()


def refused(mailer: Any, *words: str) -> None:
    """Both ways in say it, and neither acknowledges."""
    for call in (lambda: mailer.send(message("x")), lambda: mailer.enqueue([message("y")])):
        with pytest.raises(StorageError) as caught:
            call()
        assert all(word in str(caught.value) for word in words), caught.value


def filled(mailer: Any, room: int) -> Callable[[], None]:
    """A disk with so many pages left; what is returned makes room."""
    db = mailer._context.storage._db
    (pages,) = db.row("pragma page_count")
    db.row(f"pragma max_page_count={pages + room}")
    return lambda: db.row("pragma max_page_count=1000000")


def locked(world: World, mailer: Any, patience: int = 50) -> Callable[[], None]:
    """Somebody else holds the file; what is returned lets go of it."""
    mailer.outbox.counts()
    mailer._context.storage._db.row(f"pragma busy_timeout={patience}")
    other = sqlite3.connect(world.path, isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")

    def free() -> None:
        other.execute("rollback")
        other.close()

    return free


# -- what a call says -------------------------------------------------------------------------------------


def test_a_full_disk(plain: World) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=50))
    (kept,) = mailer.enqueue(messages(1))
    make_room = filled(mailer, 0)
    with pytest.raises(StorageError, match=rf"{plain.path}.*full; make room on the disk"):
        for number in range(200):
            mailer.enqueue([message(number, text="x" * 50_000)])
    before = mailer.outbox.counts()["ready"]
    with pytest.raises(StorageError, match="full"):
        mailer.enqueue([message("big", text="x" * 500_000)])
    assert mailer.outbox.counts()["ready"] == before
    make_room()
    mailer.enqueue([message("after")])
    mailer.worker().drain()
    assert "uafter@example.org" in plain.got()
    assert mailer.log.get(kept).lines[-1].outcome == "accepted"


def test_a_locked_file(plain: World) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=50))
    free = locked(plain, mailer)
    refused(mailer, str(plain.path), "locked", "another program holds it")
    assert plain.sandbox.count() == 0
    free()
    assert mailer.send(message("z")).status is SendStatus.ACCEPTED
    assert used(mailer, "a") == {"the server a": 1}


def test_a_file_that_is_deleted_under_the_process(plain: World) -> None:
    """It does not go on writing into a file without a name; put back, it is used again."""
    mailer = plain.mailer()
    plain.server(mailer, "a")
    (kept,) = mailer.enqueue(messages(1))
    mailer._context.storage._db.row("pragma wal_checkpoint(truncate)")
    backup = plain.path.with_name("backup.db")
    shutil.copyfile(plain.path, backup)
    plain.path.unlink()
    for _ in range(2):
        refused(mailer, str(plain.path), "deleted or replaced while it was in use", "put it back")
    assert not plain.path.exists(), "no empty file in its place, in which nothing is known"
    for end in ("-wal", "-shm"):
        plain.path.with_name(plain.path.name + end).unlink(missing_ok=True)
    shutil.copyfile(backup, plain.path)
    mailer.worker().drain()
    assert mailer.log.get(kept).lines[-1].outcome == "accepted"


def test_a_file_that_is_replaced_under_the_process(plain: World) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a")
    mailer._context.storage._db.row("pragma wal_checkpoint(truncate)")
    backup = plain.path.with_name("backup.db")
    shutil.copyfile(plain.path, backup)
    for end in ("-wal", "-shm"):
        plain.path.with_name(plain.path.name + end).unlink(missing_ok=True)
    backup.replace(plain.path)
    with pytest.raises(StorageError, match="replaced"):
        mailer.enqueue(messages(1))
    mailer.enqueue(messages(2))
    mailer.worker().drain()
    assert plain.sandbox.count() == 2


def copied(from_: Path, to: Path) -> None:
    """SQLite's own backup, as its shell's ``.backup`` and ``.restore`` make it."""
    one, other = sqlite3.connect(from_), sqlite3.connect(to)
    one.backup(other)
    one.close()
    other.close()


@pytest.mark.parametrize("how", ["restored", "exchanged"])
def test_a_backup_that_went_another_way_is_not_taken_for_the_file_as_it_was(plain: World, how: str) -> None:
    """The process knows its servers by the version of the books. A backup, changed as often, is another story."""
    mailer = plain.mailer()
    plain.server(mailer, "a")
    backup = plain.path.with_name("backup.db")
    copied(plain.path, backup)
    mailer.servers.update("a", quota=CalendarQuota(day=5))
    mailer.send(message("before"))
    if how == "restored":
        copied(backup, plain.path)
    else:
        for end in ("-wal", "-shm"):
            plain.path.with_name(plain.path.name + end).unlink(missing_ok=True)
        backup.replace(plain.path)
        with pytest.raises(StorageError, match="replaced"):
            mailer.servers.list()
    plain.mailer().servers.pause("a", reason="by another process")
    assert mailer.servers.get("a").status is Status.PAUSED
    assert mailer.send(message("after")).status is SendStatus.QUEUED
    assert plain.got() == ["ubefore@example.org"]


def test_a_damaged_page(plain: World) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a")
    mailer.enqueue(messages(200, text="x" * 2_000))
    mailer.close()
    good = plain.path.read_bytes()
    bad = bytearray(good)
    for page in range(2, len(bad) // 4096):
        bad[page * 4096 : page * 4096 + 100] = b"\xff" * 100
    plain.path.write_bytes(bytes(bad))
    with pytest.raises(StorageError, match=rf"{plain.path}.*(malformed|corrupt).*put a backup in its place"):
        plain.mailer().worker().drain()
    plain.path.write_bytes(good)
    plain.mailer().worker().drain()
    assert plain.sandbox.count() == 200


def test_limit_states_that_cannot_be_read(plain: World) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=5))
    mailer.enqueue(messages(1))
    raw(plain, "update dk_state set record='{' where key='account:default'")
    with pytest.raises(StorageError, match=r"limit states of 'account:default'.*cannot be read; put a backup"):
        mailer.worker().drain()
    assert plain.sandbox.count() == 0
    raw(plain, "delete from dk_state where key='account:default'")
    mailer.worker().drain()
    assert plain.sandbox.count() == 1


def damaged(world: World, id: str, text: str) -> None:
    raw(world, "update dk_document set data=? where kind='server' and id=?", text, id)
    raw(world, "update dk_account set version=version+1")


DAMAGES = ["{", "", "[]", "null", "{}", '{"name": "a"}', '{"name": "a", "provider": 7, "sender": "x"}']


@pytest.mark.parametrize("text", DAMAGES)
def test_a_server_whose_record_cannot_be_read_stops_alone(plain: World, text: str) -> None:
    """It is as one that is PAUSED: routes go round it, what only it may carry waits, and it is listed with the mend."""
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=5))
    plain.server(mailer, "b")
    mailer.routes.add("first", servers=["a", "b"], when_exhausted="queue")
    mailer.routes.add("only", servers=["a"], when_exhausted="queue")
    mailer.enqueue([message("waits")], route="only")
    damaged(plain, "a", text)
    server, other = mailer.servers.list()
    assert (server.id, server.name, server.status, other.status) == ("a", "a", Status.BROKEN, Status.ACTIVE)
    assert "cannot be read; give all its values anew with servers.update(), remove it, or put a backup" in server.reason
    assert any("a (a) is BROKEN: its record" in finding.what for finding in mailer.doctor())
    assert mailer.send(message("one"), route="first").status is SendStatus.ACCEPTED
    assert mailer.send(message("two")).status is SendStatus.ACCEPTED
    assert mailer.send(message("three"), route="only").status is SendStatus.QUEUED
    mailer.enqueue([message("four")], route="first")
    mailer.worker().drain()
    assert plain.carriers() == ["b", "b", "b"]
    assert mailer.outbox.counts(route="only")["ready"] == 2
    (lane,) = [one for one in mailer.outbox.lanes() if one.route == "only"]
    assert lane.blocked
    assert lane.blocked_by.startswith("no server of route 'only' can send: 'a' is BROKEN: ")
    trying = lambda server: mailer.servers.send_test(server, to="me@example.org")  # noqa: E731
    for call in (mailer.servers.activate, mailer.servers.pause, trying):
        with pytest.raises(ConfigurationError, match="BROKEN"):
            call("a")


def test_a_damaged_record_is_mended_by_giving_all_anew(plain: World) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=5))
    mailer.send(message("before"))
    mailer.routes.add("only", servers=["a"], when_exhausted="queue")
    mailer.enqueue([message("waits")], route="only")
    damaged(plain, "a", "{")
    values: dict[str, Any] = {
        "name": "the server a",
        "provider": plain.provider(key="SG.a"),
        "sender": "a@example.com",
        "senders": None,
        "quota": CalendarQuota(day=5),
        "pause": None,
        "budgets": [],
    }
    for left in values:  # nothing of it falls back to none in silence
        with pytest.raises(ConfigurationError, match=rf"is BROKEN.*or give {left}= anew"):
            mailer.servers.update("a", **{name: value for name, value in values.items() if name != left})
    server = mailer.servers.update("a", **values)
    assert (server.status, server.proven, server.unread) == (Status.PAUSED, False, ())
    assert mailer.servers.send_test("a", to="me@example.org").proof
    mailer.servers.activate("a")
    assert used(mailer, "a") == {"the server a": 2}, "what was used before stays used"
    mailer.worker().drain()
    assert plain.got()[-1] == "uwaits@example.org"


def test_a_damaged_record_is_removed(plain: World) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a")
    plain.server(mailer, "b")
    mailer.routes.add("both", servers=["a", "b"], when_exhausted="failover")
    damaged(plain, "a", "{")
    with pytest.raises(ConfigurationError, match="named by route both"):
        mailer.servers.remove("a")
    mailer.servers.remove("a", force=True)
    assert [server.id for server in mailer.servers.list()] == ["b"]
    assert mailer.routes.get("both").servers == ("b",)


def test_unreadable_route_stops_only_itself(plain: World) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a")
    mailer.routes.add("r", servers=["a"])
    mailer.accounts.add("acme", timezone="UTC")
    acme = mailer.account("acme")
    plain.server(acme, "b")
    mailer.enqueue(messages(1))
    (text,) = mailer._context.storage._db.row("select data from dk_document where id='r'")
    raw(plain, "update dk_document set data='{' where id='r'")
    raw(plain, "update dk_account set version=version+1")
    with pytest.raises(ConfigurationError, match="stored route 'r'.*cannot be read; a newer version.*put a backup"):
        mailer.send(message("x"), route="r")
    assert any("stored route 'r'" in finding.what for finding in mailer.doctor())
    assert acme.send(message("y")).status is SendStatus.ACCEPTED
    raw(plain, "update dk_document set data=? where id='r'", text)
    raw(plain, "update dk_account set version=version+1")
    mailer.worker().drain()
    assert plain.got() == ["uy@example.org", "u0@example.org"]


@pytest.mark.parametrize("keys", [OTHER_KEY, None], ids=["another", "none"])
def test_a_lost_secret_key(world: World, restarted: Any, keys: str | None) -> None:
    """The servers are BROKEN and say why; the queue is as it was, and with the key everything goes on."""
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=5))
    mailer.enqueue(messages(3))
    mailer = restarted(secret_key=keys)
    (server,) = mailer.servers.list()
    assert (server.status, "secret_key" in server.reason) == (Status.BROKEN, True)
    mailer.worker().drain(timedelta(seconds=1))
    assert mailer.outbox.counts()["ready"] == 3
    with pytest.raises(ConfigurationError, match="BROKEN"):
        mailer.servers.activate("a")
    mailer = restarted(secret_key=[OTHER_KEY, KEY])
    mailer.worker().drain()
    assert world.sandbox.count() == 3
    assert mailer.servers.get("a").status is Status.ACTIVE


# -- while a worker runs ----------------------------------------------------------------------------------


def test_a_worker_keeps_what_came_back_while_the_file_is_locked(live: World) -> None:
    """It claims nothing more, submits nothing twice, and writes the verdicts down once it can."""
    mailer = live.mailer()
    live.server(mailer, "a", quota=CalendarQuota(month=500))
    live.sandbox.fault("sendgrid", "latency", times=None, seconds=0.4)
    ids = mailer.enqueue(messages(6))
    with running(mailer, concurrency=6):
        assert eventually(lambda: len(live.sandbox.requests("sendgrid")) == 6)
        free = locked(live, mailer)
        live.sandbox.clear_faults()
        assert eventually(lambda: live.sandbox.count() == 6)
        time.sleep(1.2)  # it tries in vain
        assert mailer.outbox.counts()["sending"] == 6
        free()
        assert eventually(lambda: not any(mailer.outbox.counts().values()))
        assert mailer.enqueue(messages(2))
        assert eventually(lambda: live.sandbox.count() == 8)
    assert len(live.sandbox.requests("sendgrid")) == 8
    assert all(mailer.log.get(id_).lines[-1].outcome == "accepted" for id_ in ids)
    assert used(mailer, "a") == {"the server a": 8}


def test_a_worker_waits_for_room_on_the_disk(live: World) -> None:
    mailer = live.mailer()
    live.server(mailer, "a", quota=CalendarQuota(month=500))
    mailer.enqueue(messages(30))
    make_room = filled(mailer, 0)
    db = mailer._context.storage._db
    with pytest.raises(StorageError, match="full"):
        for number in range(300):
            mailer.enqueue([message(f"fill{number}", text="x" * 3_000)])
    waiting = sum(mailer.outbox.counts().values())
    with running(mailer):
        time.sleep(1.0)  # deleting makes pages free, so it may get on; it must not stumble
        make_room()
        assert eventually(lambda: not any(mailer.outbox.counts().values()))
    assert live.sandbox.count() == waiting
    assert db.row("pragma integrity_check") == ("ok",)


def test_a_worker_goes_on_when_its_file_is_back(live: World, tmp_path: Path) -> None:
    mailer = live.mailer()
    live.server(mailer, "a")
    with running(mailer):
        mailer.enqueue(messages(1))
        assert eventually(lambda: live.sandbox.count() == 1)
        assert eventually(lambda: not any(mailer.outbox.counts().values()))
        mailer._context.storage._db.row("pragma wal_checkpoint(truncate)")
        backup = tmp_path / "backup.db"
        shutil.copyfile(live.path, backup)
        live.path.unlink()
        with pytest.raises(StorageError, match="deleted"):
            mailer.enqueue(messages(1))
        for end in ("-wal", "-shm"):
            live.path.with_name(live.path.name + end).unlink(missing_ok=True)
        shutil.copyfile(backup, live.path)
        mailer.enqueue(messages(2))
        assert eventually(lambda: live.sandbox.count() == 3)
