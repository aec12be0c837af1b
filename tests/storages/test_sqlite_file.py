"""What is SQLite's own: errors that name the file, a newer schema, plans that use the partial indexes."""

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from storage_kit import KEY, claimed, key, lane_of, mail, step, uids

from deliverykit.contracts.books import Wanted
from deliverykit.contracts.storage import Claim, Step, Storage
from deliverykit.storages import open_storage, sqlite
from deliverykit.storages.sqlite import SQLiteStorage, recovery
from deliverykit.storages.sqlite.connection import Connection
from deliverykit.testing import ManualClock
from deliverykit.words.errors import StorageError


def opened(path: Path) -> SQLiteStorage:
    storage = open_storage(f"sqlite:///{path}", ManualClock(), "normal")
    assert isinstance(storage, SQLiteStorage)
    return storage


# -- files that cannot be used ---------------------------------------------------------------------------


def refused(storage: Storage, path: Path, because: str) -> None:
    with pytest.raises(StorageError, match=because) as caught:
        storage.enqueue([mail("a")])
    assert str(path) in str(caught.value)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none" / "mail.db"
    storage = opened(path)
    refused(storage, path, "unable to open")
    path.parent.mkdir()
    storage.enqueue([mail("a")])  # mended: the same object goes on
    storage.close()


def test_it_stays_the_same_file_whatever_folder_the_program_goes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon goes to another folder; what it writes there in a file of its own would be counted from nought."""
    monkeypatch.chdir(tmp_path)
    storage = open_storage("sqlite:///mail.db", ManualClock(), "normal")
    storage.enqueue([mail("a")])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    storage.enqueue([mail("b")])
    storage.close()  # as a fork does
    assert [one.uid for one in storage.mails("default", Wanted(), 9)] == ["a", "b"]
    assert list(Path().iterdir()) == []
    storage.close()


def test_whoever_only_looks_notices_that_the_file_was_exchanged(tmp_path: Path) -> None:
    """An idle worker writes nothing: it would look into a file without a name for ever."""
    path = tmp_path / "mail.db"
    idle, other = opened(path), opened(tmp_path / "other.db")
    assert idle.open_lanes().lanes == ()
    other.enqueue([mail("a")])
    other.close()
    (tmp_path / "other.db").replace(path)
    without_log(path)
    with pytest.raises(StorageError, match="deleted or replaced"):
        idle.open_lanes()
    assert len(idle.open_lanes().lanes) == 1
    idle.close()


def without_log(path: Path) -> None:
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink()


def test_the_log_of_the_file_before_is_not_taken_for_the_new_ones(tmp_path: Path) -> None:
    """SQLite would lay it over the backup: a mixture of the two, that no one notices until it is too late."""
    path, backup = tmp_path / "mail.db", tmp_path / "backup.db"
    other, storage = opened(backup), opened(path)
    other.enqueue([mail("of the backup")])
    other.close()
    storage.enqueue([mail("of the file")])
    path.rename(tmp_path / "away.db")
    with pytest.raises(StorageError, match="deleted or replaced"):
        storage.enqueue([mail("x")])
    (tmp_path / "away.db").rename(path)
    storage.enqueue([mail("put back")])  # its own log, and it goes on
    backup.replace(path)
    with pytest.raises(StorageError, match="deleted or replaced"):
        storage.enqueue([mail("x")])
    for _ in range(2):
        with pytest.raises(
            StorageError, match=r"the log of the one before; delete .*mail\.db-wal and .*mail\.db-shm, and it goes on"
        ):
            storage.enqueue([mail("x")])
    without_log(path)
    storage.enqueue([mail("after")])
    assert [one.uid for one in storage.mails("default", Wanted(), 9)] == ["of the backup", "after"]
    storage.close()


def test_a_file_that_was_taken_away_is_missed_after_a_fork_too(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    storage = opened(path)
    storage.enqueue([mail("a")])
    path.rename(tmp_path / "away.db")
    for _ in range(2):
        for _ in range(2):
            with pytest.raises(StorageError, match="deleted or replaced"):
                storage.enqueue([mail("x")])
        storage.close()  # as a fork does
    assert not path.exists(), "no empty file in its place, in which nothing is known"


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    path.write_bytes(b"dear diary, " * 1_000)
    refused(opened(path), path, "not a database")
    assert path.read_bytes() == b"dear diary, " * 1_000


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    refused(opened(tmp_path), tmp_path, "unable to open")


def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    storage = opened(path)
    storage.enqueue([mail("a")])
    storage.close()
    db = sqlite3.connect(path)
    db.execute("pragma user_version=99")
    db.close()
    refused(opened(path), path, "newer deliverykit .schema 99")
    db = sqlite3.connect(path)
    assert db.execute("select uid from dk_mail").fetchall() == [("a",)]
    assert db.execute("pragma user_version").fetchone() == (99,)
    db.close()


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs file modes")
def test_a_file_that_may_only_be_read() -> None:
    # Root may write everything, so somebody else tries; pytest's own folder would be closed to them.
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "mail.db"
        storage = opened(path)
        storage.enqueue([mail("a")])
        storage.close()
        path.chmod(0o444)
        Path(name).chmod(0o555)
        me = os.geteuid()
        try:
            if me == 0:
                os.seteuid(65534)
            refused(storage, path, "readonly|read-only|unable to open")
        finally:
            os.seteuid(me)
            Path(name).chmod(0o755)
            path.chmod(0o644)
        storage.enqueue([mail("b")])  # mended: the same object goes on
        assert uids(claimed(storage)) == ["a", "b"]
        storage.close()


def test_a_full_disk_loses_nothing_and_acknowledges_nothing(tmp_path: Path) -> None:
    storage = opened(tmp_path / "mail.db")
    storage.enqueue([mail("a")])
    pages = storage._db.row("pragma page_count")
    storage._db.run(f"pragma max_page_count={pages[0] + 4}")  # type: ignore[index]
    with pytest.raises(StorageError, match="full"):
        storage.enqueue([mail("b"), mail("c", letter=bytes(1_000_000))])
    assert [row.uid for row in storage.mails("default", Wanted(), 9)] == ["a"]
    storage._db.run("pragma max_page_count=1000000")
    storage.enqueue([mail("b")])
    storage.close()


def test_failed_commit_undoes_everything_and_releases_the_lock(tmp_path: Path) -> None:
    """A deferred foreign key is checked at the commit, which fails as on a disk that is full only then."""
    storage = opened(tmp_path / "mail.db")
    for statement in (
        "pragma foreign_keys=on",
        "create table parent (id integer primary key)",
        "create table child (parent references parent deferrable initially deferred)",
        "create temp trigger orphan after insert on dk_mail begin insert into child values (1); end",
    ):
        storage._db.run(statement)
    for _ in range(2):
        with pytest.raises(StorageError, match="FOREIGN KEY"):
            storage.enqueue([mail("a")])
    assert storage.mail("a") is None
    storage._db.run("drop trigger orphan")
    other = Thread(target=storage.enqueue, args=([mail("b")],), daemon=True)
    other.start()
    other.join(60)
    assert not other.is_alive(), "the lock is still held"
    assert storage.mail("b") is not None
    storage.close()


def test_a_file_locked_by_somebody_else_is_a_storage_error(tmp_path: Path) -> None:
    storage = opened(tmp_path / "mail.db")
    storage.enqueue([mail("a")])
    storage._db.run("pragma busy_timeout=50")
    other = sqlite3.connect(tmp_path / "mail.db", isolation_level=None)
    other.execute("begin immediate")
    refused(storage, tmp_path / "mail.db", "locked")
    assert storage.mail("a") is not None, "who only looks need not wait"
    other.execute("rollback")
    other.close()
    storage.enqueue([mail("b")])
    storage.close()


@pytest.mark.parametrize("path", sorted(Path(sqlite.__file__).parent.iterdir()), ids=lambda path: path.name)
def test_no_statement_has_numbered_parameters(path: Path) -> None:
    """Python 3.12.0 to 3.12.3 warn of ``?1`` beside a sequence, and a host may have made warnings errors."""
    if path.suffix in {".py", ".sql"}:
        assert re.findall(r"\?[0-9]", path.read_text("utf-8").replace("``?1``", "")) == []


# -- plans -------------------------------------------------------------------------------------------------


def plans(storage: SQLiteStorage, work: Callable[[], object]) -> dict[str, str]:
    """The query plan of every statement that ``work`` runs over dk_mail."""
    db: Connection = storage._db
    raw = db._opened()
    seen: list[str] = []
    raw.set_trace_callback(seen.append)
    work()
    raw.set_trace_callback(None)
    asked = [sql for sql in seen if "dk_mail" in sql and not sql.startswith("--")]
    return {sql: "; ".join(row[3] for row in raw.execute(f"explain query plan {sql}")) for sql in asked}


@pytest.fixture
def busy(tmp_path: Path) -> SQLiteStorage:
    storage = opened(tmp_path / "mail.db")
    storage.enqueue([mail(f"x{number}", lane=key("x")) for number in range(200)])
    return storage


def test_the_hot_questions_use_the_partial_indexes(busy: SQLiteStorage) -> None:
    lane = lane_of(busy, "x")

    def work() -> None:
        busy.open_lanes()
        leased = claimed(busy, lane, want=5)
        busy.recover()
        busy.renew(["t"], 5)
        busy.release(["t"])
        step(busy, idle=("s",), vacant=("none",))
        recovery.needed(busy._db, 0)
        busy.claim(lane, 5, (KEY,), lambda _view: Step(result=Claim()), token="u", lease=1)
        assert len(leased) == 5

    found = plans(busy, work)
    assert len(found) >= 8
    for sql, plan in found.items():
        assert "SCAN dk_mail" not in plan, (sql, plan)
        assert "TEMP B-TREE" not in plan or "dk_lane" in sql, (sql, plan)
    for index in ("dk_mail_ready", "dk_mail_leased", "dk_mail_scheduled", "dk_mail_expiring"):
        assert any(index in plan for plan in found.values()), index
    busy.close()


def test_recovery_finds_its_mail_by_index(busy: SQLiteStorage) -> None:
    claimed(busy, lane_of(busy, "x"), want=5)
    found = plans(busy, lambda: busy._db.rows("select 1") and _recovered(busy))
    assert found
    for sql, plan in found.items():
        assert "SCAN dk_mail" not in plan, (sql, plan)
    busy.close()


def _recovered(storage: SQLiteStorage) -> None:
    with storage._db.writing() as db:
        recovery.recover(db, 1 << 50)


def test_waiting_writes_nothing(busy: SQLiteStorage) -> None:
    """A blocked lane: looking, claiming and recovering leave the file as it is, whatever waits in it."""
    lane = lane_of(busy, "x")
    claimed(busy, lane, only="", blocked_until=1 << 50)
    step(busy)
    before = busy._db.row("select total_changes()")
    for _ in range(20):
        busy.recover()
        assert busy.open_lanes().lanes == ()
        assert busy.claim(lane, 50, (KEY,), lambda _view: Step(result=Claim()), token="t", lease=1) == ()
    assert busy._db.row("select total_changes()") == before
    busy.close()


def test_sqlite_is_handed_a_content_once(tmp_path: Path) -> None:
    """It copies what it is handed: 10,000 times 25 MB are minutes, whether or not they are stored then."""
    storage = opened(tmp_path / "mail.db")
    storage.enqueue([mail("a", files={"h": b"a film"})])
    seen: list[str] = []
    storage._db._opened().set_trace_callback(seen.append)
    storage.enqueue([mail("b", files={"h": b"a film", "i": b"another"}), mail("c", files={"h": b"a film", "i": b"another"})])
    storage._db._opened().set_trace_callback(None)
    assert [b"a film".hex() in one.lower() for one in seen].count(True) == 0
    assert [b"another".hex() in one.lower() for one in seen].count(True) == 1
    storage.close()
