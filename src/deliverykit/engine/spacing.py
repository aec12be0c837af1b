"""The gap between two starts of one process. Slots keep it on paper; a stalled process finds several of them overdue."""

from collections.abc import Sequence

from deliverykit.words.locks import Guard

__all__ = ["Spacing"]


class Spacing:
    """When the next email under each pace may start in this process, in monotonic milliseconds. Safe for threads."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._guard = Guard()
        self.lead: int = 0
        """How many ms ahead a missed slot is moved, by how long the store took the last time."""

    def start(self, gaps: Sequence[tuple[str, int]], now: int, late: float = 0) -> int:
        """Start now, if every gap allows it: 0. Else how many ms to wait before asking again; nothing is reserved.

        Nothing is, because a stall while waiting would make several reservations overdue again. ``late`` is how many
        ms after its slot this start is: the next gap is counted from the slot, so small delays do not add up.
        """
        return self._guard(self._start, gaps, now, late)

    def _start(self, gaps: Sequence[tuple[str, int]], now: int, late: float) -> int:
        wait = max((self._next.get(name, now) - now for name, _ in gaps), default=0)
        if wait > 0:
            return wait
        self._next.update((name, now + gap - round(late)) for name, gap in gaps)
        return 0
