"""Leaving nothing of what was deleted: in the file it is overwritten at once, in the write-ahead log when that is emptied.

While another connection reads an older state, the log cannot be emptied. A mark in the file says so, until somebody can.
"""

from deliverykit.storages.sqlite.connection import Connection

__all__ = ["cleansed", "cleansing_due"]

_MARK = "cleanse"


def cleansed(db: Connection) -> bool:
    """Empty the write-ahead log, or leave a mark that it is still to be emptied. ``True`` where nothing is left."""
    if db.path is None:
        return True
    with db.writing() as writing:  # first: whoever dies now has left the mark
        writing.run("insert into dk_meta (key, value) values (?, '') on conflict (key) do nothing", (_MARK,))
    done = db.empty_log()
    if done:
        with db.writing() as writing:
            writing.run("delete from dk_meta where key=?", (_MARK,))
    return done


def cleansing_due(db: Connection) -> bool:
    """Whether somebody could not empty the log."""
    return db.path is not None and db.glance("select 1 from dk_meta where key=?", (_MARK,)) is not None
