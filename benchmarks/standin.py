"""An ESP that answers and does nothing else, in a process of its own, so that what is measured is the sender.

It speaks as much HTTP/1.1 as clients need: 202 with an ``X-Message-Id`` as SendGrid does, or Amazon SES's JSON where the
path is SES's, after a latency that the caller chooses by the port.
"""

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

__all__ = ["running"]

_SES = b'{"MessageId":"0100018f-aaaa-bbbb-cccc-000000000000"}'
_ANSWERS = {
    True: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_SES) + _SES,
    False: b"HTTP/1.1 202 Accepted\r\nX-Message-Id: abcdefghijklmnopqrstuv\r\nContent-Length: 0\r\n\r\n",
}


class _Answering(asyncio.Protocol):
    """One connection: whole requests in, one answer each, in order."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._waiting = b""
        self._transport: asyncio.Transport | None = None
        self._continued = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._waiting += data
        while (end := self._waiting.find(b"\r\n\r\n")) >= 0:
            head = self._waiting[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._waiting) < end + 4 + length:
                if b"100-continue" in head and not self._continued:  # botocore waits for it
                    self._continued = True
                    self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            self._continued = False
            self._waiting = self._waiting[end + 4 + length :]
            answer = _ANSWERS[b"outbound-emails" in head.split(b"\r\n", 1)[0]]
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._write, answer)
            else:
                self._write(answer)

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def _serve(tell: Connection, latency: float) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Answering(latency), "127.0.0.1", 0, backlog=1024)
        tell.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def running(latency: float = 0.0) -> Iterator[str]:
    """The address of an ESP that answers after ``latency`` seconds."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, latency), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()
