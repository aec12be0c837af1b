"""Where the books are kept. ``sqlite:///mail.db`` (or an absolute path: four slashes) and ``memory://`` are built in."""

from typing import Literal
from urllib.parse import unquote

from deliverykit.contracts.storage import Storage
from deliverykit.words.clock import Clock
from deliverykit.words.errors import ConfigurationError

__all__ = ["Durability", "open_storage"]

Durability = Literal["full", "normal"]


def open_storage(url: str, clock: Clock, durability: Durability = "full") -> Storage:
    """The storage of a URL; nothing is opened before its first use."""
    from deliverykit.storages.sqlite import SQLiteStorage

    scheme, separator, rest = url.partition("://")
    if durability not in ("full", "normal"):
        raise ConfigurationError(f"durability: {durability!r} is neither 'full' nor 'normal'")
    if scheme == "memory" and separator and not rest:
        return SQLiteStorage(None, clock)
    if scheme == "sqlite" and separator and rest.startswith("/") and len(rest) > 1:
        return SQLiteStorage(unquote(rest[1:]), clock, durability)
    raise ConfigurationError(f"storage: {url!r} is none of 'sqlite:///relative.db', 'sqlite:////absolute.db', 'memory://'")
