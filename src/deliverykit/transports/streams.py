"""The streams of our own connections: httpcore2's, which tell their line what they do and let a request leave whole."""

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpcore2

from deliverykit.transports.dialing import dialled
from deliverykit.transports.line import Line
from deliverykit.words.errors import Stage

if TYPE_CHECKING:
    import ssl

    from httpcore2._types import SOCKET_OPTION

__all__ = ["AwaitingBackend", "BlockingBackend"]

_PIECE = 64 * 1024


def _in_time(line: Line[Any]) -> None:
    if line.late:
        raise httpcore2.TimeoutException("out of time")  # how far it came, the line says


def _before_writing(line: Line[Any], data: bytes) -> None:
    """Check the last moment before bytes leave: whether the call's time is over, or the time to start its request."""
    _in_time(line)
    if line.too_late_for(data):
        raise httpcore2.TimeoutException("the time to start the request is over")
    line.writes(data)


class _Blocking(httpcore2.NetworkStream):
    """The head of a request waits for its body, or for the reading of its answer; reads and writes end with the call."""

    def __init__(self, stream: httpcore2.NetworkStream, line: Line[Any]) -> None:
        self._stream = stream
        self._line = line
        self._held = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            with suppress(httpcore2.WriteError):  # the other side may have answered before it went
                self._flush(timeout)
        _in_time(self._line)
        self._line.reads()
        return self._stream.read(max_bytes, self._line.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if len(buffer) <= _PIECE:
            self._held += buffer
            return
        self._flush(timeout)
        self._hand_over(buffer, timeout)  # not copied: it may be many megabytes

    def _flush(self, timeout: float | None) -> None:
        held, self._held = self._held, b""
        self._hand_over(held, timeout)

    def _hand_over(self, data: bytes, timeout: float | None) -> None:
        whole = memoryview(data)
        for start in range(0, len(data), _PIECE):
            if start:
                _in_time(self._line)
            else:
                _before_writing(self._line, data)
            self._stream.write(whole[start : start + _PIECE], self._line.left(timeout))  # type: ignore[arg-type]

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: "ssl.SSLContext", server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        self._line.stage = Stage.TLS
        return _Blocking(self._stream.start_tls(ssl_context, server_hostname, self._line.left(timeout)), self._line)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class BlockingBackend(httpcore2.NetworkBackend):
    """Opens the blocking streams of one line."""

    def __init__(self, line: Line[httpcore2.ConnectionInterface]) -> None:
        self._line = line

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: "Iterable[SOCKET_OPTION] | None" = None,
    ) -> httpcore2.NetworkStream:
        """Connect."""
        self._line.stage = Stage.CONNECT
        left = self._line.left(timeout)

        def connect() -> httpcore2.NetworkStream:
            return httpcore2.SyncBackend().connect_tcp(host, port, left, local_address, socket_options)

        return _Blocking(dialled(connect, left), self._line)


class _Awaited(httpcore2.AsyncNetworkStream):
    """The same, awaited. A large body is timed as one write."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream, line: Line[Any]) -> None:
        self._stream = stream
        self._line = line
        self._held = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            with suppress(httpcore2.WriteError):  # as above
                await self._flush(timeout)
        _in_time(self._line)
        self._line.reads()
        return await self._stream.read(max_bytes, self._line.left(timeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if len(buffer) <= _PIECE:
            self._held += buffer
            return
        await self._flush(timeout)
        await self._hand_over(buffer, timeout)

    async def _flush(self, timeout: float | None) -> None:
        held, self._held = self._held, b""
        await self._hand_over(held, timeout)

    async def _hand_over(self, data: bytes, timeout: float | None) -> None:
        _before_writing(self._line, data)
        await self._stream.write(data, self._line.left(timeout))

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: "ssl.SSLContext", server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        self._line.stage = Stage.TLS
        return _Awaited(await self._stream.start_tls(ssl_context, server_hostname, self._line.left(timeout)), self._line)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class AwaitingBackend(httpcore2.AsyncNetworkBackend):
    """Opens the awaited streams of one line."""

    def __init__(self, line: Line[httpcore2.AsyncConnectionInterface]) -> None:
        self._line = line

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: "Iterable[SOCKET_OPTION] | None" = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect."""
        self._line.stage = Stage.CONNECT
        backend = httpcore2.AnyIOBackend()
        stream = await backend.connect_tcp(host, port, self._line.left(timeout), local_address, socket_options)
        return _Awaited(stream, self._line)
