"""Connections of the asynchronous transport: a client for each, so that none is looked at but the one that is used.

httpx2's pool goes over all its connections for every request, twice, and asks the system of each idle one whether it is
still open: with 100 of them that is 2.7 ms a mail, several times what the submission itself costs (httpx2 2.16,
2026-11-23). Of a pool of one there is one to look at.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from deliverykit.words.errors import Stage, TransportError

if TYPE_CHECKING:
    import httpx2

__all__ = ["Lines"]


class Lines:
    """At most ``connections`` at a time, each kept for ``kept`` seconds after its last use. Belongs to one loop."""

    def __init__(self, options: dict[str, Any], connections: int, kept: float) -> None:
        self._options = options
        self._kept = kept
        self._places = asyncio.Semaphore(connections)
        self._idle: defaultdict[str, deque[tuple[float, httpx2.AsyncClient]]] = defaultdict(deque)
        """By origin; the one used last at the right, so that what is not needed gets old at the left."""

    @asynccontextmanager
    async def line(self, url: str, wait: float) -> AsyncIterator["httpx2.AsyncClient"]:
        """A client that nobody else uses meanwhile, with an open connection to where ``url`` is if there is one."""
        if self._places.locked():
            await self._place(wait)
        else:
            await self._places.acquire()
        idle = self._idle["/".join(url.split("/", 3)[:3])]
        try:
            client = idle.pop()[1] if idle else self._made()
            try:
                yield client
            finally:
                idle.append((time.monotonic(), client))
        finally:
            self._places.release()
        await self._swept()

    async def _place(self, wait: float) -> None:
        try:
            async with asyncio.timeout(wait):
                await self._places.acquire()
        except TimeoutError:
            raise TransportError(Stage.POOL, f"no connection was free within {wait:g} s") from None

    def open(self) -> None:
        """Load what the first line needs."""
        self._made()

    def _made(self) -> "httpx2.AsyncClient":
        import httpx2

        if self._options["verify"] is True:  # reading the system's authorities takes 20 ms: once for all
            self._options["verify"] = httpx2.create_ssl_context()
        return httpx2.AsyncClient(**self._options)

    async def _swept(self) -> None:
        """Close what has been idle for long."""
        before = time.monotonic() - self._kept
        for origin in [origin for origin, idle in self._idle.items() if idle and idle[0][0] < before]:
            while (idle := self._idle[origin]) and idle[0][0] < before:
                await idle.popleft()[1].aclose()

    async def aclose(self) -> None:
        """Close them all."""
        kept, self._idle = self._idle, defaultdict(deque)
        for idle in kept.values():
            for _, client in idle:
                await client.aclose()
