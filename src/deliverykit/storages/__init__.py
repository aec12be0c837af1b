"""Where the books are kept. ``sqlite:///mail.db`` (or an absolute path: four slashes) and ``memory://`` are built in."""

from os import PathLike
from typing import Literal
from urllib.parse import unquote

from deliverykit.contracts.storage import Storage
from deliverykit.words.arguments import called, choice, path, refused, short, text
from deliverykit.words.clock import Clock

__all__ = ["Durability", "open_storage"]

_URLS = "'sqlite:///relative.db', 'sqlite:////absolute.db' or 'memory://'"

Durability = Literal["full", "normal"]


def open_storage(url: str | PathLike[str], clock: Clock, durability: Durability = "full") -> Storage:
    """Return the storage of a URL, or of the path of an SQLite file. Nothing is opened before its first use.

    Raises :class:`~deliverykit.ConfigurationError` naming the argument.
    """
    from deliverykit.storages.sqlite import SQLiteStorage

    called(clock, "clock", ("now", "monotonic", "sleep", "asleep"), "give SystemClock() or ManualClock()")
    choice(durability, "durability", ("full", "normal"))
    if isinstance(url, PathLike):
        return SQLiteStorage(path(url, "storage"), clock, durability)
    text(url, "storage", least=1, most=4_096, write=f"write {_URLS}, or Path('mail.db')")
    scheme, separator, rest = url.partition("://")
    if scheme == "memory" and separator and not rest:
        return SQLiteStorage(None, clock)
    if scheme == "sqlite" and separator and rest.startswith("/") and len(rest) > 1:
        return SQLiteStorage(path(unquote(rest[1:]), "storage"), clock, durability)
    path_too = "" if separator else f", or Path({short(url)!r})"
    return refused("storage", url, "not a storage", f"write {_URLS}{path_too}")
