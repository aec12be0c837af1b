"""One connection per process: opened at first use, closed over a fork, one transaction at a time."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any
from weakref import WeakSet

from deliverykit.contracts.limit import Record
from deliverykit.storages.sqlite.known import Known
from deliverykit.storages.sqlite.modes import PRIVATE, create
from deliverykit.storages.sqlite.trouble import explained, left_behind, moved
from deliverykit.words.errors import StorageError
from deliverykit.words.time_limit import patience, storage_patience

__all__ = ["Connection", "Rows"]

SCHEMA = 1
Rows = list[tuple[Any, ...]]
Values = Sequence[Any] | Mapping[str, Any]
"""For ``?``, or for ``:name`` where one is used twice. Not for ``?1``, of which some versions of Python warn."""
_KEEP = (
    "insert into dk_state (key, seen, record) values (?, ?, ?)"
    " on conflict (key) do update set seen=excluded.seen, record=excluded.record"
)
_CONNECTIONS: "WeakSet[Connection]" = WeakSet()
_LEFT_OPEN: list[sqlite3.Connection] = []


_PATIENCE = 10.0
"""How long, in seconds, whoever else has the file is waited for."""
_TURN = 0.05
_LOOK = 0.25
"""How often, in seconds, a caller that waits for other calls looks at its time limit."""


def _in_wal_mode(db: sqlite3.Connection) -> None:
    """Switch to the log. Of several processes that make a new file one is first; SQLite refuses the others at once.

    It does so whatever its timeout is, so they ask again. A file that is locked is waited for no longer than otherwise.
    """
    db.execute(f"pragma busy_timeout={round(_TURN * 1000)}")
    for left in range(round(storage_patience(_PATIENCE) / _TURN / 2), -1, -1):  # each turn waits in SQLite, and then here
        try:
            db.execute("pragma journal_mode=wal").fetchall()
            break
        except sqlite3.OperationalError as error:
            if not left or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            threading.Event().wait(_TURN)
    db.execute(f"pragma busy_timeout={round(_PATIENCE * 1000)}")


class Connection:
    """SQLite in WAL mode. ``path=None`` keeps everything in memory."""

    def __init__(self, path: str | None, synchronous: str, mode: int = PRIVATE) -> None:
        # Here and now, whatever folder the program is in when it opens the file, or opens it anew after a fork.
        self.path: str | None = None if path is None else str(Path(path).absolute())
        self._synchronous = synchronous
        self.mode: int = mode
        """Of a file that is created here."""
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        self._file: tuple[int, int] | None = None
        """Which file it is, whatever its name. Certain while it is open: nothing else is given its number."""
        self._log: tuple[int, int] | None = None
        """The same of the log beside it."""
        self._taken_away = False
        self._due = False
        """Whether a transaction in memory is yet to begin: it does with its first statement, if it has one."""
        self.known: Known = Known()
        """What the last deciding transaction left true; only to be used within another."""
        _CONNECTIONS.add(self)

    def close(self) -> None:
        """Close; the next use opens again."""
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None

    def __del__(self) -> None:
        # A host that let go of its Mailer without close() leaks nothing, and is not warned of our handle (Python 3.13 does).
        if self._db is not None and self._pid == os.getpid():
            self._db.close()

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self.known.forget()
            if self._taken_away and self._named() is None:
                assert self.path is not None  # noqa: S101  memory is never taken away
                raise moved(self.path)
            self._db, self._pid = self._open(), os.getpid()
            self._file, self._log, self._taken_away = self._named(), self._named("-wal"), False
        elif self._pid != os.getpid():
            raise StorageError("memory:// belongs to the process that made it; processes share a file: sqlite:///mail.db")
        return self._db

    def _named(self, end: str = "", least: int = 0) -> tuple[int, int] | None:
        """Which file bears the name now, if it has so many bytes."""
        if self.path is None:
            return None
        try:
            found = os.stat(self.path + end)  # noqa: PTH116  a Path would cost as much again
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if found.st_size >= least else None

    def _still_there(self) -> None:
        """Raise where the file lost its name: SQLite would go on writing into what nobody can open again.

        It is told once; then what has the name now is opened. Not where the old file's log still lies beside it: SQLite
        would take that for the new one's, and mix the two.
        """
        now = self._named()
        if self.path is None or self._file == now:
            self._taken_away = False
            return
        self.known.forget()
        told, self._taken_away = self._taken_away, True
        if not told or now is None:
            raise moved(self.path)
        if self._log is not None and self._log == self._named("-wal", least=1):
            raise left_behind(self.path)
        self.close()
        self._opened()

    def before_fork(self) -> None:
        """Wait for the transaction that runs, and close the file; what is in memory stays.

        SQLite believes that a process still holds the locks it held before a fork. A child of an open
        connection would go on writing into a log that its parent, the last one with true locks, has
        removed, and lose it all; or wait for ever for another thread that it does not have.
        """
        self._lock.acquire()
        if self._db is not None and self.path is not None and not self._db.in_transaction:
            self._db.close()
            self._db = None

    def after_fork(self) -> None:
        """Parent and child go on; each opens a connection of its own."""
        self._lock.release()

    def renew(self) -> None:
        """In a child: start again, where another thread of the parent made this connection while it forked.

        Its handle stays open and unused: only its own thread could have closed it.
        """
        self._lock = threading.RLock()
        if self._db is not None:
            _LEFT_OPEN.append(self._db)
            self._db = None
        self.known.forget()
        self._due = False

    def _open(self) -> sqlite3.Connection:
        if self.path is not None:
            create(self.path, self.mode)
        db = sqlite3.connect(self.path or ":memory:", timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            _in_wal_mode(db)
            db.execute(f"pragma synchronous={self._synchronous}")
            db.execute("pragma secure_delete=on")  # what is deleted is overwritten: erase() must leave nothing in free pages
            (version,) = db.execute("pragma user_version").fetchone()
            if version > SCHEMA:
                raise StorageError(
                    f"{self.path} was written by a newer deliverykit (schema {version}, this one knows {SCHEMA}); upgrade"
                )
            if version < SCHEMA:
                schema = files("deliverykit.storages.sqlite").joinpath("schema.sql").read_text()
                db.executescript(f"begin immediate; {schema} pragma user_version={SCHEMA}; commit;")
        except BaseException:
            db.close()
            raise
        return db

    def reading(self) -> "_Transaction":
        """Statements that only look, all at the same state of the books; no write lock."""
        return _Transaction(self, "begin")

    def writing(self) -> "_Transaction":
        """One write transaction: committed at the end, rolled back on any exception. Nothing is :attr:`known` after it."""
        return _Transaction(self, "begin immediate", forgets=True)

    def deciding(self) -> "_Transaction":
        """The same, for those that tell :attr:`known` what they write: it holds on after the commit."""
        return _Transaction(self, "begin immediate", knows=True)

    def glance(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of one statement that only looks: by itself it sees one state of the books, so nothing is begun."""
        self._take_lock()
        try:
            self._opened()
            self._still_there()
            return self.asked(sql, parameters)
        finally:
            self._lock.release()

    def empty_log(self) -> bool:
        """Copy the whole log into the file and cut it to nothing; ``False`` where another connection reads an older state.

        It waits for nobody: who reads for long would hold up everybody here.
        """
        with self._lock:
            db = self._opened()
            try:
                db.execute(f"pragma busy_timeout={round(_TURN * 1000)}")
                busy, left, _ = db.execute("pragma wal_checkpoint(truncate)").fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    return False
                raise explained(self.path, error) from error
            else:
                return not busy and left <= 0
            finally:
                db.execute(f"pragma busy_timeout={round(_PATIENCE * 1000)}")

    def asked(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a statement that only looks, inside whatever transaction this thread has begun."""
        with self._lock:
            try:
                return self.row(sql, parameters)
            except sqlite3.Error as error:
                raise explained(self.path, error) from error

    def begin(self, how: str, *, knows: bool) -> None:
        """Take the lock and begin; both wait no longer than the caller's time limit."""
        self._take_lock()
        if self._db is not None and (self._due or self._db.in_transaction):
            self._lock.release()
            raise StorageError(
                "a transaction of this thread is still open: the storage was called from inside another call of it"
            )
        try:
            self._opened()
            self._still_there()  # whoever only looks, as an idle worker does, would look into it for ever
            db = self._opened()
            self._due = self.path is None and knows
            if self._due:
                return
            self._execute(db, how)
            if self.path is None:
                self._write_out(db)
            elif knows:
                # It moves when another connection has committed; asked for inside a write transaction, that is final.
                self.known.at(db.execute("pragma data_version").fetchone()[0])
        except BaseException as error:
            self.roll_back(error)
            raise

    def _take_lock(self) -> None:
        """Wait for other calls of this process. A caller with a time limit waits in short turns: it may come meanwhile."""
        limit = patience.get(None)
        if limit is None:
            self._lock.acquire()
            return
        while not self._lock.acquire(timeout=max(0.0, min(_LOOK, limit()))):
            if limit() <= 0:
                raise StorageError("the time limit of the call ended while other calls were using the storage")

    def _execute(self, db: sqlite3.Connection, how: str) -> None:
        """Begin. A caller with a time limit waits in short turns for whoever else has the file."""
        limit = patience.get(None)
        if limit is None or how != "begin immediate":
            db.execute(how)
            return
        db.execute(f"pragma busy_timeout={round(_TURN * 1000)}")
        try:
            for left in range(round(_PATIENCE / _TURN), -1, -1):
                try:
                    db.execute(how)
                    break
                except sqlite3.OperationalError as error:
                    if not left or limit() <= 0 or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                        raise
        finally:
            db.execute(f"pragma busy_timeout={round(_PATIENCE * 1000)}")

    def commit(self, transaction: "_Transaction") -> None:
        """Make it true and let go of the lock."""
        try:
            if self._due:
                self._due = False
            else:
                self._opened().execute("commit")
                self.known.written()
            if transaction.forgets:
                self.known.forget()
            transaction.committed = True
        except BaseException as error:
            # An exception from outside may come after the commit. SQLite's own errors at the commit have undone it.
            ours = isinstance(error, sqlite3.Error | StorageError) or self._db is None or self._db.in_transaction
            transaction.committed = not ours
            self.roll_back(error)
            raise
        self._lock.release()

    def let_go(self) -> None:
        """Roll back and release what this thread left behind when an exception from outside hit it."""
        if not self._lock.acquire(blocking=False):
            return  # another thread has it, so this one has not
        try:
            self._due = False
            self.known.forget()
            if self._db is not None and self._db.in_transaction:
                self._db.execute("rollback")
        finally:
            with suppress(RuntimeError):  # it is released as often as it was acquired
                while True:
                    self._lock.release()

    def roll_back(self, error: BaseException) -> None:
        """Undo it and let go of the lock. SQLite's own errors are told as ``StorageError``."""
        try:
            self._due = False
            self.known.forget()
            if self._db is not None and self._db.in_transaction:
                self._db.execute("rollback")
        except sqlite3.Error as failure:
            error = failure
        finally:
            self._lock.release()
        if isinstance(error, sqlite3.Error):
            raise explained(self.path, error) from error

    def keep(self, states: Iterable[tuple[str, Record]], seen: int, *, alone: bool) -> None:
        """The limit states that were decided on at ``seen``; ``alone`` where nothing else can fail after it."""
        for key, record in states:
            if alone and self._due:
                self.known.defer(key, seen, record)
            else:
                self.run(_KEEP, (key, seen, self.known.text(key, record)))
                self.known.put(key, seen, record)

    def rows(self, sql: str, parameters: Values = ()) -> Rows:
        """All rows of a statement (read whole: a ``RETURNING`` left half read would not be written)."""
        return self._begun().execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Values = ()) -> tuple[Any, ...] | None:
        """The first row, or ``None``."""
        found: Rows = self.rows(sql, parameters)
        return found[0] if found else None

    def run(self, sql: str, parameters: Values = ()) -> int:
        """How many rows a statement changed."""
        return self._begun().execute(sql, parameters).rowcount

    def insert(self, sql: str, parameters: Sequence[Any]) -> int:
        """The id of the row that a statement made."""
        row = self._begun().execute(sql, parameters).lastrowid
        assert row is not None  # noqa: S101  an INSERT that does nothing raises
        return row

    def run_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """One statement over many rows."""
        self._begun().executemany(sql, parameters)

    def _begun(self) -> sqlite3.Connection:
        db = self._opened()
        if self._due:
            self._due = False
            db.execute("begin immediate")
            self._write_out(db)
        return db

    def _write_out(self, db: sqlite3.Connection) -> None:
        for state in self.known.unwritten():
            db.execute(_KEEP, state)


class _Transaction:
    """One transaction of a connection, under its lock. A class, for a generator would cost more than a statement does."""

    __slots__ = ("_connection", "_how", "_knows", "committed", "forgets")

    def __init__(self, connection: Connection, how: str, *, knows: bool = False, forgets: bool = False) -> None:
        self._connection = connection
        self._how = how
        self._knows = knows
        self.forgets: bool = forgets
        self.committed: bool = False
        """Whether it has become true, also where an exception came after that."""

    def __enter__(self) -> Connection:
        self._connection.begin(self._how, knows=self._knows)
        return self._connection

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._connection.commit(self)
        else:
            self._connection.roll_back(error)


class _Fork:
    """All connections of the process, held over a fork."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._held: list[Connection] = []

    def before(self) -> None:
        self._one.acquire()
        self._held = list(_CONNECTIONS)
        for connection in self._held:
            connection.before_fork()

    def after(self) -> None:
        for connection in self._held:
            connection.after_fork()
        self._held = []
        self._one.release()

    def after_in_child(self) -> None:
        late = [one for one in _CONNECTIONS if one not in self._held]
        self.after()
        for connection in late:
            connection.renew()


_FORK = _Fork()
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_FORK.before, after_in_parent=_FORK.after, after_in_child=_FORK.after_in_child)
