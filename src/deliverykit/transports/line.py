"""One connection of ours: how far the call that uses it has come, and when that must have ended."""

import math
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from deliverykit.words.errors import Stage
from deliverykit.words.wire import HttpRequest

if TYPE_CHECKING:
    import httpcore2

__all__ = ["C", "Line"]

C = TypeVar("C", bound="httpcore2.ConnectionInterface | httpcore2.AsyncConnectionInterface")


class Line(Generic[C]):
    """A connection that one call at a time uses. Its own streams tell it what they do.

    A connection's times are per read and per write, and a server that drips one byte every 20 s would hold a place for hours.
    So a stream asks before each of them how much of the call's time is left.
    """

    __slots__ = ("_begins", "_connect", "_request", "connection", "ends", "stage")

    connection: C

    def __init__(self) -> None:
        self.stage: Stage = Stage.POOL
        """How far the call came: once the first byte of its request is handed to the system, it is ``WRITE`` or later."""
        self.ends: float = 0.0
        """When the call must have ended, on ``time.monotonic()``."""
        self._begins = b""
        self._connect = math.inf
        self._request: HttpRequest | None = None

    def call(self, request: HttpRequest, ends: float, connect: float = math.inf) -> None:
        """This request is next; each step before it takes no longer than ``connect``, a proxy's answer among them."""
        self.stage, self.ends, self._begins = Stage.POOL, ends, f"{request.method} ".encode()
        self._request, self._connect = request, connect

    def too_late_for(self, data: bytes) -> bool:
        """Return whether these bytes begin the request although its time to start is over."""
        return not self._begun and data.startswith(self._begins) and self._start_left() <= 0

    @property
    def _begun(self) -> bool:
        return self.stage in (Stage.WRITE, Stage.READ)

    def _start_left(self) -> float:
        return math.inf if self._request is None else self._request.start_left()

    def writes(self, data: bytes) -> None:
        """These bytes are handed over now. What only opens the way through a proxy begins otherwise than the request."""
        if data.startswith(self._begins):
            self.stage = Stage.WRITE

    def reads(self) -> None:
        """More is read now; before the request that is a proxy's word."""
        if self.stage is Stage.WRITE:
            self.stage = Stage.READ

    def left(self, timeout: float | None) -> float | None:
        """Return the smaller of a step's time and what is left of the call's; a millisecond where nothing is.

        Before the request has begun, no step goes on after its time to start, or takes longer than ``connect``.
        """
        left = self.ends - time.monotonic()
        left = max(0.001, left if self._begun else min(left, self._start_left(), self._connect))
        return left if timeout is None else min(timeout, left)

    @property
    def late(self) -> bool:
        """Whether the call is out of time."""
        return time.monotonic() >= self.ends
