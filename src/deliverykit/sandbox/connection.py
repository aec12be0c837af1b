"""One HTTP/1.1 connection of the sandbox: requests in, replies out, and the ways to misbehave."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

from deliverykit.sandbox.wire import Reply, Request
from deliverykit.words.errors import ConfigurationError

try:
    import h11
except ImportError:
    raise ConfigurationError("the sandbox needs h11; install deliverykit[sandbox]") from None

__all__ = ["BadRequest", "Connection", "TooLarge"]

_CHUNK = 1 << 18
_REASONS = {one.value: one.phrase for one in HTTPStatus}


class BadRequest(Exception):
    """What came is not HTTP."""


class TooLarge(Exception):
    """The body is larger than is read."""

    def __init__(self, request: Request) -> None:
        super().__init__(request.target)
        self.request = request


class Connection:
    """Reads one request after the other. ``seen`` is told every byte, ``clock`` the time."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        seen: Callable[[bytes], None],
        clock: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._seen = seen
        self._clock = clock
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=256 * 1024)
        self._head = False
        self.at: int = 0
        """When the present request's first byte came."""

    async def head(self) -> Request | None:
        """The next request, its body not yet read; ``None`` where the client is done. Raises :class:`BadRequest`."""
        self.at = self._clock() if self._http.trailing_data[0] else 0
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        headers: dict[str, str] = {}
        for raw, value in head.headers:
            name, text = raw.decode("latin-1"), value.decode("latin-1")
            headers[name] = f"{headers[name]},{text}" if name in headers else text
        self._head = head.method == b"HEAD"
        return Request(method=head.method.decode("latin-1"), target=head.target.decode("latin-1"), headers=headers)

    async def body(self, request: Request, limit: int) -> bool:
        """Read the request's body; False where the client left in the middle.

        Raises :class:`BadRequest`, and :class:`TooLarge` for a body beyond ``limit`` bytes.
        """
        if int(request.header("content-length") or 0) > limit:
            raise TooLarge(request)
        pieces: list[bytes] = []
        size = 0
        while isinstance(data := await self._event(), h11.Data):
            size += len(data.data)
            if size > limit:
                raise TooLarge(request)
            pieces.append(bytes(data.data))
        request.body = b"".join(pieces)
        return isinstance(data, h11.EndOfMessage)

    async def request(self, limit: int) -> Request | None:
        """The next request with its whole body; ``None`` where the client is done or left. Raises as :meth:`body`."""
        request = await self.head()
        return request if request is not None and await self.body(request, limit) else None

    async def _event(self) -> "h11.Event | type[h11.NEED_DATA | h11.PAUSED]":
        while (event := self._next()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")))
            data = await self._reader.read(_CHUNK)
            self.at = self.at or self._clock()
            self._seen(data)
            self._http.receive_data(data)
        return event

    def _next(self) -> "h11.Event | type[h11.NEED_DATA | h11.PAUSED]":
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise BadRequest(str(error)) from None

    def _write(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)

    def _encoded(self, reply: Reply) -> bytes:
        headers = [("Content-Length", str(len(reply.body))), ("Date", formatdate(usegmt=True)), *reply.headers]
        if reply.content_type and reply.body:
            headers.append(("Content-Type", reply.content_type))
        response = h11.Response(
            status_code=reply.status,
            headers=[(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers],
            reason=_REASONS.get(reply.status, "").encode(),
        )
        head = self._http.send(response) or b""
        body = b"" if self._head else (self._http.send(h11.Data(data=reply.body)) or b"") if reply.body else b""
        return head + body + (self._http.send(h11.EndOfMessage()) or b"")

    async def reply(self, reply: Reply) -> bool:
        """Answer; whether another request may follow on this connection."""
        self._writer.write(self._encoded(reply))
        await self._writer.drain()
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def drip(self, reply: Reply, seconds: float) -> None:
        """Answer in up to a hundred pieces spread over so many seconds."""
        data = self._encoded(reply)
        step = -(-len(data) // 100)
        pieces = [data[start : start + step] for start in range(0, len(data), step)]
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(seconds / len(pieces))

    async def cut(self, reply: Reply) -> None:
        """Answer by half, and end the connection in order."""
        data = self._encoded(reply)
        self._writer.write(data[: len(data) // 2])
        await self._writer.drain()

    async def flood(self, status: int, size: int) -> None:
        """Answer with so many bytes."""
        head = h11.Response(status_code=status, headers=[("Content-Length", str(size)), ("Content-Type", "application/json")])
        self._write(self._http.send(head))
        for start in range(0, size, _CHUNK):
            self._writer.write(b" " * min(_CHUNK, size - start))
            await self._writer.drain()

    async def wait_for_end(self, seconds: float | None = None) -> None:
        """Answer nothing until the client hangs up, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while data := await self._reader.read(_CHUNK):
                    self._seen(data)

    async def finish(self) -> None:
        """End our side and read on a little, so that an early answer is not lost to a reset."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()
        await self.wait_for_end(5.0)

    def reset(self) -> None:
        """End the connection by a TCP reset."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        """Close what is left."""
        self._writer.close()
