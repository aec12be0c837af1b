"""Connections in both colours: one for each submission in flight, so that none is looked at but the one that is used."""

import asyncio
import threading
from typing import TYPE_CHECKING

from deliverykit.transports.line import C, Line
from deliverykit.transports.origins import Address, Idle, Opening
from deliverykit.words.errors import Stage, TransportError

if TYPE_CHECKING:
    import ssl

    import httpcore2

__all__ = ["AsyncLines", "Lines"]

_KEPT = 15.0
"""How long an idle connection is kept, in seconds: less than servers keep theirs (nginx 75, AWS load balancers 60).

A request on a connection the other side is just closing ends in an unknown outcome.
"""


def _none_free(wait: float) -> TransportError:
    return TransportError(Stage.POOL, f"no connection was free within {wait:g} s")


def _taken(idle: Idle[C], places: threading.Semaphore | asyncio.Semaphore, to: Address) -> tuple[Line[C], list[Line[C]]]:
    """A connection, and those to be closed. Where none can be made its place is free again; nothing has been dialled."""
    try:
        return idle.take(to)
    except Exception as error:  # noqa: BLE001  its words may hold a proxy's password
        places.release()
        words = f"no connection can be made ({type(error).__name__}); look at the environment's proxies"
        raise TransportError(Stage.POOL, words) from None


class Lines:
    """Blocking; at most ``connections`` at a time, shared by threads."""

    def __init__(self, connections: int, tls: "ssl.SSLContext | None") -> None:
        import httpcore2

        from deliverykit.transports.streams import BlockingBackend

        self._opening = Opening(httpcore2.ConnectionPool, BlockingBackend, _KEPT, tls)
        self._idle: Idle[httpcore2.ConnectionInterface] = Idle(self._opening.line, _KEPT)
        self._places = threading.Semaphore(connections)

    def take(self, to: Address, wait: float) -> "Line[httpcore2.ConnectionInterface]":
        """A connection that nobody else uses until it is given back, open to ``to`` if there is one."""
        if not self._places.acquire(timeout=wait):
            raise _none_free(wait)
        line, old = _taken(self._idle, self._places, to)
        try:
            _close(old)
        except BaseException:
            self.give(to, line)
            raise
        return line

    def give(self, to: Address, line: "Line[httpcore2.ConnectionInterface]") -> None:
        """It is used no more."""
        try:
            _close(self._idle.give(to, line))
        finally:
            self._places.release()

    def close(self) -> None:
        """Close what is idle."""
        _close(self._idle.clear())


def _close(lines: "list[Line[httpcore2.ConnectionInterface]]") -> None:
    for line in lines:
        line.connection.close()


class AsyncLines:
    """Awaited; at most ``connections`` at a time. They belong to one loop."""

    def __init__(self, connections: int, tls: "ssl.SSLContext | None") -> None:
        import httpcore2

        from deliverykit.transports.streams import AwaitingBackend

        self._opening = Opening(httpcore2.AsyncConnectionPool, AwaitingBackend, _KEPT, tls)
        self._idle: Idle[httpcore2.AsyncConnectionInterface] = Idle(self._opening.line, _KEPT)
        self._places = asyncio.Semaphore(connections)

    async def take(self, to: Address, wait: float) -> "Line[httpcore2.AsyncConnectionInterface]":
        """A connection that nobody else uses until it is given back, open to ``to`` if there is one."""
        if self._places.locked():
            await self._place(wait)
        else:
            await self._places.acquire()
        line, old = _taken(self._idle, self._places, to)
        try:
            await _aclose(old)
        except BaseException:
            await self.give(to, line)
            raise
        return line

    async def give(self, to: Address, line: "Line[httpcore2.AsyncConnectionInterface]") -> None:
        """It is used no more."""
        try:
            await _aclose(self._idle.give(to, line))
        finally:
            self._places.release()

    async def _place(self, wait: float) -> None:
        try:
            async with asyncio.timeout(wait):
                await self._places.acquire()
        except TimeoutError:
            raise _none_free(wait) from None

    async def aclose(self) -> None:
        """Close what is idle."""
        await _aclose(self._idle.clear())


async def _aclose(lines: "list[Line[httpcore2.AsyncConnectionInterface]]") -> None:
    for line in lines:
        await line.connection.aclose()
