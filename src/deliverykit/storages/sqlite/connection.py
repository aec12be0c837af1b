"""One connection per process: opened at first use, reopened after a fork, one transaction at a time."""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from deliverykit.words.errors import DeliveryError, StorageError

__all__ = ["Connection", "Rows"]

SCHEMA = 1
Rows = list[tuple[Any, ...]]


class Connection:
    """SQLite in WAL mode. ``path=None`` keeps everything in memory."""

    def __init__(self, path: str | None, synchronous: str) -> None:
        self.path = path
        self._synchronous = synchronous
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0

    def close(self) -> None:
        """Close; the next use opens again."""
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None

    def _opened(self) -> sqlite3.Connection:
        if self._db is None or self._pid != os.getpid():
            # After a fork the parent's handle must not be used, nor closed: closing would drop the parent's locks.
            self._db, self._pid = self._open(), os.getpid()
        return self._db

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
        """Statements that only look; no transaction, no write lock."""
        with self._lock, self._translated():
            yield self

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
