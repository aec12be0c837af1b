"""The gap between two starts of one process. Slots keep it on paper; a stalled process finds several of them overdue."""

import threading
from collections.abc import Sequence

__all__ = ["Spacing"]


class Spacing:
    """When the next email under each pace may start in this process, in monotonic milliseconds. Safe for threads."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._lock = threading.Lock()

    def start(self, gaps: Sequence[tuple[str, int]], now: int) -> int:
        """Start now, if every gap allows it: 0. Else how many ms to wait before asking again; nothing is reserved.

        Nothing is, because a stall while waiting would make several reservations overdue again.
        """
        with self._lock:
            wait = max((self._next.get(name, now) - now for name, _ in gaps), default=0)
            if wait > 0:
                return wait
            self._next.update((name, now + gap) for name, gap in gaps)
            return 0
