"""One connection per process: opened at first use, closed over a fork, one transaction at a time."""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any
from weakref import WeakSet

from deliverykit.words.errors import DeliveryError, StorageError

__all__ = ["Connection", "Rows"]

SCHEMA = 1
Rows = list[tuple[Any, ...]]
_CONNECTIONS: "WeakSet[Connection]" = WeakSet()


class Connection:
    """SQLite in WAL mode. ``path=None`` keeps everything in memory."""

    def __init__(self, path: str | None, synchronous: str) -> None:
        self.path = path
        self._synchronous = synchronous
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0
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
            self._db, self._pid = self._open(), os.getpid()
        elif self._pid != os.getpid():
            raise StorageError("memory:// belongs to the process that made it; processes share a file: sqlite:///mail.db")
        return self._db

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

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path or ":memory:", timeout=10, isolation_level=None, check_same_thread=False)
        try:
            db.execute("pragma journal_mode=wal").fetchall()
            db.execute(f"pragma synchronous={self._synchronous}")
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

    @contextmanager
    def reading(self) -> Iterator["Connection"]:
        """Statements that only look, all at the same state of the books; no write lock."""
        with self._lock, self._translated():
            db = self._opened()
            db.execute("begin")
            try:
                yield self
            finally:
                if db.in_transaction:
                    db.execute("commit")

    @contextmanager
    def writing(self) -> Iterator["Connection"]:
        """One write transaction: committed at the end, rolled back on any exception."""
        with self._lock, self._translated():
            db = self._opened()
            db.execute("begin immediate")
            try:
                yield self
                db.execute("commit")
            except BaseException:
                if db.in_transaction:
                    db.execute("rollback")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DeliveryError:
            raise
        except sqlite3.Error as error:
            raise StorageError(f"SQLite {self.path or 'memory'}: {error}") from error

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """All rows of a statement (read whole: a ``RETURNING`` left half read would not be written)."""
        return self._opened().execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row, or ``None``."""
        found: Rows = self.rows(sql, parameters)
        return found[0] if found else None

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """How many rows a statement changed."""
        return self._opened().execute(sql, parameters).rowcount

    def run_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """One statement over many rows."""
        self._opened().executemany(sql, parameters)


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


_FORK = _Fork()
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_FORK.before, after_in_parent=_FORK.after, after_in_child=_FORK.after)
