"""What a connection knows of the limit states without reading them: as it last saw or wrote them itself."""

import json
from collections.abc import Mapping
from functools import lru_cache

from deliverykit.contracts.limit import ForeignState, Record, State

__all__ = ["Known", "text_of"]

_MOST = 1_000
"""So many records are kept; a host with more accounts at work reads some of them again."""
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_quoted = lru_cache(maxsize=10_000)(_ENCODE)


class Known:
    """Records and versions that hold as long as no other connection commits and nothing is rolled back.

    It spares reading and parsing, and writing out anew what has not changed: of an admission's record the
    greater part. It never spares the lock; every use is inside a write transaction that has asked first.
    """

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        """Of accounts' documents."""
        self._records: dict[str, tuple[int, Record]] = {}
        self._texts: dict[str, dict[str, tuple[State, str]]] = {}
        self._unwritten: dict[str, tuple[int, Record]] = {}
        self._at = -1

    def forget(self) -> None:
        """Nothing is known any more but what is true and yet to be written."""
        self.versions.clear()
        self._records.clear()
        self._texts.clear()

    def at(self, others: int) -> None:
        """Forget, where another connection has committed since."""
        if others != self._at or len(self._records) > _MOST:
            self._at = others
            self.forget()

    def record(self, key: str) -> tuple[int, Record] | None:
        """The clock a record was decided on, and its states."""
        return self._records.get(key) or self._unwritten.get(key)

    def put(self, key: str, seen: int, record: Record) -> None:
        """It was read, or written, so."""
        self._records[key] = (seen, record)

    def defer(self, key: str, seen: int, record: Record) -> None:
        """It is true, and to be written before anybody reads it: for what is in memory, of which nobody else knows."""
        self._unwritten[key] = (seen, record)
        self._records.pop(key, None)

    def unwritten(self) -> list[tuple[str, int, str]]:
        """What was deferred, as it is stored."""
        return [(key, seen, self.text(key, record)) for key, (seen, record) in self._unwritten.items()]

    def written(self) -> None:
        """What was deferred is stored, and committed."""
        self._records = {**self._unwritten, **self._records}
        self._unwritten.clear()

    def text(self, key: str, record: Mapping[str, State]) -> str:
        """A record as it is stored. What is the same object as before is not written out again."""
        texts = self._texts.setdefault(key, {})
        for name, state in record.items():
            old = texts.get(name)
            if old is None or old[0] is not state:
                texts[name] = (state, f"{_quoted(name)}:{_list(state)}")
        return "{" + ",".join([texts[name][1] for name in record]) + "}"


def text_of(record: Record) -> str:
    """A record as it is stored."""
    return "{" + ",".join([f"{_quoted(name)}:{_list(state)}" for name, state in record.items()]) + "}"


def _list(state: State) -> str:
    """JSON of whole numbers, in a third of the time; of what else a host's own limit may keep, JSON's own."""
    if isinstance(state, ForeignState):
        return _ENCODE(state.raw)
    try:
        return f"[{','.join(map(int.__repr__, state))}]"
    except TypeError:
        return _ENCODE(state)
