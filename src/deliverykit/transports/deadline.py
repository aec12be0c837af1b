"""A whole-call deadline for the blocking client, whose own times are only per read and per write.

A server that drips one byte every 20 s would hold a thread for hours. So the blocking transport's
sockets ask, before every read and write, how much of the call's time is left.
"""

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

    from httpcore2 import NetworkStream
    from httpcore2._types import SOCKET_OPTION

__all__ = ["Deadline", "guard"]

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


def guard(client: object, deadline: Deadline) -> bool:
    """Make the sockets of an httpx2 client, its proxies' too, keep to ``deadline``; whether that could be done.

    httpcore2 takes a network backend, but httpx2 has no argument for it (2.16), so it is put into the
    pool before first use. Where the pool looks different the client works as before, and the whole
    time is looked at between the steps only.
    """
    mounts = getattr(client, "_mounts", None) or {}
    done = False
    for transport in (getattr(client, "_transport", None), *mounts.values()):
        pool = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if backend is not None and hasattr(backend, "connect_tcp"):
            pool._network_backend = _backend(backend, deadline)  # type: ignore[union-attr]  # noqa: SLF001
            done = True
    return done


def _backend(inner: Any, deadline: Deadline) -> Any:  # noqa: C901 - two small classes, made late
    import httpcore2

    class Stream(httpcore2.NetworkStream):
        """A stream whose reads and writes end with the call."""

        def __init__(self, stream: "NetworkStream") -> None:
            self._stream = stream

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            if deadline.passed:
                raise httpcore2.ReadTimeout("out of time")
            return self._stream.read(max_bytes, deadline.cut(timeout))

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            view = memoryview(buffer)
            for start in range(0, len(view), _PIECE):
                if deadline.passed:
                    raise httpcore2.WriteTimeout("out of time")
                self._stream.write(view[start : start + _PIECE], deadline.cut(timeout))  # type: ignore[arg-type]

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

        def connect_unix_socket(
            self, path: str, timeout: float | None = None, socket_options: "Iterable[SOCKET_OPTION] | None" = None
        ) -> "NetworkStream":
            return Stream(inner.connect_unix_socket(path, deadline.cut(timeout), socket_options))

        def sleep(self, seconds: float) -> None:
            inner.sleep(seconds)

    return Backend()
