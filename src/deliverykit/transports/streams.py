"""Connections of the asynchronous transport on asyncio itself.

httpcore2 brings its own on anyio, whose locks, scopes and extra turns of the loop cost as much as the rest of a submission
(httpcore2 2.16, anyio 4.14, 2026-11-23).
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

    from httpcore2 import AsyncNetworkBackend, AsyncNetworkStream
    from httpcore2._types import SOCKET_OPTION

__all__ = ["backend"]

_MUCH = 64 * 1024


class _Side(asyncio.Protocol):
    """One side of a connection: what has come and was not read yet, and whether there is room to write."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.came: deque[bytes] = deque()
        self.over = False
        self.error: Exception | None = None
        self._full = self._paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  TCP is
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep it until it is taken; what is more than much waits at the other side."""
        self.came.append(data)
        if self.transport is not None and sum(map(len, self.came)) > _MUCH:
            self.transport.pause_reading()
            self._paused = True
        _wake(self._reader)

    def taken(self, most: int) -> bytes:
        """The next that came, or nothing."""
        data = self.came.popleft() if self.came else b""
        if len(data) > most:
            self.came.appendleft(data[most:])
        if self._paused and not self.came and self.transport is not None:
            self.transport.resume_reading()
            self._paused = False
        return data[:most]

    def eof_received(self) -> None:
        """The other side has said all it will."""
        self.over = True
        _wake(self._reader)

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing more comes or goes."""
        self.over, self.error = True, error
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        """The other side reads slowly."""
        self._full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._full = False
        _wake(self._writer)

    async def something(self, timeout: float | None) -> None:
        """Return when there is something to read, or the end; ``TimeoutError``."""
        if not self.came and not self.over:
            self._reader = asyncio.get_running_loop().create_future()
            await _within(self._reader, timeout)

    async def room(self, timeout: float | None) -> None:
        """Return when there is room to write, or the end; ``TimeoutError``."""
        if self._full and not self.over:
            self._writer = asyncio.get_running_loop().create_future()
            await _within(self._writer, timeout)


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _late(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


async def _within(waiter: "asyncio.Future[None]", timeout: float | None) -> None:
    timer = None if timeout is None else waiter.get_loop().call_later(timeout, _late, waiter)
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()


@contextmanager
def _as(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    """What asyncio raises, as httpcore2 calls it."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise broken(str(error)) from error


def backend() -> "AsyncNetworkBackend":  # noqa: C901  two small classes, made late
    """A network backend for httpcore2's asynchronous connections."""
    import httpcore2

    class Stream(httpcore2.AsyncNetworkStream):
        """One connection. The head of a request waits for its body, or for the reading of its answer: they leave together."""

        def __init__(self, side: _Side) -> None:
            self._side = side
            self._held = b""

        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            side = self._side
            if self._held:
                self._flush()
            try:
                await side.something(timeout)
            except TimeoutError as error:
                raise httpcore2.ReadTimeout("") from error
            if side.error is not None and not side.came:
                raise httpcore2.ReadError(str(side.error)) from side.error
            return side.taken(max_bytes)

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._held += buffer
            if len(self._held) > _MUCH:
                self._flush()
                try:
                    await self._side.room(timeout)
                except TimeoutError as error:
                    raise httpcore2.WriteTimeout("") from error

        def _flush(self) -> None:
            held, self._held = self._held, b""
            transport = self._side.transport
            if transport is not None and not transport.is_closing():  # else the reading tells
                transport.write(held)

        async def aclose(self) -> None:
            transport = self._side.transport
            if transport is not None and not transport.is_closing():
                transport.close()
                await asyncio.sleep(0)
                transport.abort()

        async def start_tls(
            self, ssl_context: "ssl.SSLContext", server_hostname: str | None = None, timeout: float | None = None
        ) -> "AsyncNetworkStream":
            side = self._side
            assert side.transport is not None  # noqa: S101  it is connected
            if side.came:  # said in the open, it must not be taken for what is said under TLS
                raise httpcore2.ConnectError("the other side spoke before the handshake")
            with _as(httpcore2.ConnectTimeout, httpcore2.ConnectError):
                try:
                    async with asyncio.timeout(timeout):
                        inner = await asyncio.get_running_loop().start_tls(
                            side.transport, side, ssl_context, server_hostname=server_hostname
                        )
                except BaseException:
                    side.transport.abort()
                    raise
            if inner is None:  # the other side left in the handshake (Python 3.11)
                raise httpcore2.ConnectError("the connection was lost in the handshake")
            side.transport = inner
            return Stream(side)

        def get_extra_info(self, info: str) -> Any:
            """``is_readable`` of a connection that nobody uses: the other side has left, or speaks out of turn."""
            if info == "is_readable":
                return bool(self._side.came) or self._side.over
            return None if self._side.transport is None else self._side.transport.get_extra_info(info)

    class Backend(httpcore2.AsyncNetworkBackend):
        """Opens such streams."""

        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: "Iterable[SOCKET_OPTION] | None" = None,
        ) -> "AsyncNetworkStream":
            loop = asyncio.get_running_loop()
            # Another loop than asyncio's own may not know how to try addresses side by side.
            eager: dict[str, Any] = {"happy_eyeballs_delay": 0.25} if isinstance(loop, asyncio.BaseEventLoop) else {}
            with _as(httpcore2.ConnectTimeout, httpcore2.ConnectError):
                async with asyncio.timeout(timeout):
                    _, side = await loop.create_connection(_Side, host, port, **eager)
            return Stream(side)

    return Backend()
