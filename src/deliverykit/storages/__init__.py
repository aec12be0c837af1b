"""Where the books are kept. ``sqlite:///mail.db`` (or an absolute path: four slashes) and ``memory://`` are built in.

A new file and its side files are private (0600); ``sqlite:///mail.db?mode=0660`` opens them to a group.
"""

from os import PathLike
from typing import Literal
from urllib.parse import parse_qsl, unquote

from deliverykit.contracts.storage import Storage
from deliverykit.words.arguments import called, choice, path, refused, short, text
from deliverykit.words.clock import Clock
from deliverykit.words.errors import ConfigurationError

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
        name, _, query = rest[1:].partition("?")
        return SQLiteStorage(path(unquote(name), "storage"), clock, durability, _mode(query))
    path_too = "" if separator else f", or Path({short(url)!r})"
    return refused("storage", url, "not a storage", f"write {_URLS}{path_too}")


def _mode(query: str) -> int:
    """The mode that the query of a URL asks for."""
    from deliverykit.storages.sqlite.modes import PRIVATE, mode_of

    given = parse_qsl(query, keep_blank_values=True)
    for name, _ in given:
        if name != "mode":
            raise ConfigurationError(
                f"storage: {name!r} is no option of a sqlite:/// URL; there is mode (write %3F for a '?' in a path)"
            )
    if len(given) > 1:
        raise ConfigurationError(f"storage: mode is given {len(given)} times in the URL; give it once")
    return mode_of(given[0][1]) if given else PRIVATE
