"""A whole-call deadline for the blocking client, whose own times are only per read and per write.

A server that drips one byte every 20 s would hold a thread for hours. So the blocking transport's
sockets ask, before every read and write, how much of the call's time is left.
"""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

    from httpcore2 import NetworkBackend, NetworkStream
    from httpcore2._types import SOCKET_OPTION

__all__ = ["Deadline", "backend"]

_PIECE = 64 * 1024


class Deadline(threading.local):
    """When the call that this thread makes must have ended, on ``time.monotonic()``; ``None`` between calls."""

    at: float | None = None

    def cut(self, timeout: float | None) -> float | None:
        """The smaller of a step's time and what is left; a millisecond where nothing is."""
        if self.at is None:
            return timeout
        left = max(0.001, self.at - time.monotonic())
        return left if timeout is None else min(timeout, left)

    @property
    def passed(self) -> bool:
        """Whether this thread's call is out of time."""
        return self.at is not None and time.monotonic() >= self.at


def backend(deadline: Deadline) -> "NetworkBackend":  # noqa: C901  two small classes, made late
    """A network backend for httpcore2's blocking connections whose sockets keep to ``deadline``."""
    import httpcore2

    inner = httpcore2.SyncBackend()

    class Stream(httpcore2.NetworkStream):
        """Reads and writes end with the call. The head of a request waits for its body, or for the reading of its answer."""

        def __init__(self, stream: "NetworkStream") -> None:
            self._stream = stream
            self._held = b""

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            if self._held:
                with suppress(httpcore2.WriteError):  # the other side may have answered before it went
                    self._flush(timeout)
            if deadline.passed:
                raise httpcore2.ReadTimeout("out of time")
            return self._stream.read(max_bytes, deadline.cut(timeout))

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._held += buffer
            if len(self._held) > _PIECE:
                self._flush(timeout)

        def _flush(self, timeout: float | None) -> None:
            held, self._held = memoryview(self._held), b""
            for start in range(0, len(held), _PIECE):
                if deadline.passed:
                    raise httpcore2.WriteTimeout("out of time")
                self._stream.write(held[start : start + _PIECE], deadline.cut(timeout))  # type: ignore[arg-type]

        def close(self) -> None:
            self._stream.close()

        def start_tls(
            self, ssl_context: "ssl.SSLContext", server_hostname: str | None = None, timeout: float | None = None
        ) -> "NetworkStream":
            return Stream(self._stream.start_tls(ssl_context, server_hostname, deadline.cut(timeout)))

        def get_extra_info(self, info: str) -> Any:
            return self._stream.get_extra_info(info)

    class Backend(httpcore2.NetworkBackend):
        """Hands out such streams."""

        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: "Iterable[SOCKET_OPTION] | None" = None,
        ) -> "NetworkStream":
            return Stream(inner.connect_tcp(host, port, deadline.cut(timeout), local_address, socket_options))

    return Backend()
