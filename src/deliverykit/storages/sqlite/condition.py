"""How an SQLite file stands: whether it can be written, how durable it is, how large, and how much room is left."""

import shutil
from pathlib import Path

from deliverykit.contracts.books import Condition
from deliverykit.storages.sqlite.connection import Connection
from deliverykit.storages.sqlite.modes import exposures
from deliverykit.words.errors import StorageError

__all__ = ["condition"]

_DURABILITY = {0: "off", 1: "normal", 2: "full", 3: "full"}


def condition(db: Connection) -> Condition:
    """How it stands. It takes the write lock and writes nothing; a file that may only be read raises ``StorageError``."""
    with db.writing() as writing:
        (synchronous,) = writing.row("pragma synchronous") or (0,)
        (seen,) = writing.row("select coalesce(max(seen), 0) from dk_state") or (0,)
        # A write that is taken back: only a write finds out that the file, its folder or the disk lets none through.
        writing.run("insert into dk_meta (key, value) values ('doctor', '') on conflict (key) do nothing")
        writing.run("delete from dk_meta where key='doctor'")
    if db.path is None:
        return Condition(place="memory", durability="none", seen=seen)
    path = Path(db.path)
    log = Path(f"{db.path}-wal")
    try:
        return Condition(
            place=str(path),
            durability=_DURABILITY.get(synchronous, "off"),
            seen=seen,
            size=path.stat().st_size,
            log_size=log.stat().st_size if log.exists() else 0,
            free=shutil.disk_usage(path.resolve().parent).free,
            exposed=exposures(db.path, db.mode),
        )
    except OSError as error:
        raise StorageError(f"SQLite {db.path}: {error.strerror or error}") from error
