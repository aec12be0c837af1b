"""What SQLite's errors mean to people: the file, what is wrong with it, and the mend."""

import sqlite3
from typing import Final

from deliverykit.contracts.storage import StepFailed
from deliverykit.words.errors import StorageError

__all__ = ["explained", "left_behind", "moved"]

_MENDS: Final = {
    sqlite3.SQLITE_FULL: "make room on the disk; what was acknowledged before is safe",
    sqlite3.SQLITE_BUSY: "another program holds it; end that (a backup, a shell with a transaction open)",
    sqlite3.SQLITE_LOCKED: "another program holds it; end that (a backup, a shell with a transaction open)",
    sqlite3.SQLITE_READONLY: "let this program's user write the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "see that its folder is there, and that this program's user may write in it",
    sqlite3.SQLITE_NOTADB: "give another path, or put a backup in its place",
    sqlite3.SQLITE_CORRUPT: (
        "stop all programs that use it, keep a copy, and put a backup in its place or let 'sqlite3 … .recover' save what it can"
    ),
    sqlite3.SQLITE_IOERR: "look at the disk, and whether the file is still there",
}


def explained(path: str | None, error: sqlite3.Error) -> StorageError:
    """SQLite's words, with the file before them and the mend behind."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    mend = _MENDS.get(code)
    kind = StepFailed if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError) else StorageError
    return kind(f"SQLite {path or 'memory'}: {error}{f'; {mend}' if mend else ''}")


def moved(path: str) -> StorageError:
    """The file was taken away under the process: what it wrote now would be in no file that has a name."""
    return StorageError(
        f"SQLite {path}: the file was deleted or replaced while it was in use; put it back, or a backup of it, and it goes on; "
        "for an empty one start the program anew"
    )


def left_behind(path: str) -> StorageError:
    """Another file has its name, and the log is still that of the one before."""
    return StorageError(
        f"SQLite {path}: the file was replaced while it was in use, and beside it lies the log of the one before; "
        f"delete {path}-wal and {path}-shm, and it goes on; "
        "if another program has opened it since, end that and put the backup there anew"
    )
