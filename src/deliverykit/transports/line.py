"""One connection of ours: how far the call that uses it has come, and when that must have ended."""

import time
from typing import TYPE_CHECKING, Generic, TypeVar

from deliverykit.words.errors import Stage

if TYPE_CHECKING:
    import httpcore2

__all__ = ["C", "Line"]

C = TypeVar("C", bound="httpcore2.ConnectionInterface | httpcore2.AsyncConnectionInterface")


class Line(Generic[C]):
    """A connection that one call at a time uses. Its own streams tell it what they do.

    A connection's times are per read and per write, and a server that drips one byte every 20 s would hold a place for hours.
    So a stream asks before each of them how much of the call's time is left.
    """

    __slots__ = ("_begins", "connection", "ends", "stage")

    connection: C

    def __init__(self) -> None:
        self.stage: Stage = Stage.POOL
        """How far the call came: once the first byte of its request is handed to the system, it is ``WRITE`` or later."""
        self.ends: float = 0.0
        """When the call must have ended, on ``time.monotonic()``."""
        self._begins = b""

    def call(self, method: str, ends: float) -> None:
        """A request of this method is next."""
        self.stage, self.ends, self._begins = Stage.POOL, ends, f"{method} ".encode()

    def writes(self, data: bytes) -> None:
        """These bytes are handed over now. What only opens the way through a proxy begins otherwise than the request."""
        if data.startswith(self._begins):
            self.stage = Stage.WRITE

    def reads(self) -> None:
        """More is read now; before the request that is a proxy's word."""
        if self.stage is Stage.WRITE:
            self.stage = Stage.READ

    def left(self, timeout: float | None) -> float | None:
        """The smaller of a step's time and what is left of the call's; a millisecond where nothing is."""
        left = max(0.001, self.ends - time.monotonic())
        return left if timeout is None else min(timeout, left)

    @property
    def late(self) -> bool:
        """Whether the call is out of time."""
        return time.monotonic() >= self.ends
