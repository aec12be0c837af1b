"""The embedded storage: one SQLite file, shared by threads and processes; or memory."""

from deliverykit.storages.sqlite.store import SQLiteStorage

__all__ = ["SQLiteStorage"]
