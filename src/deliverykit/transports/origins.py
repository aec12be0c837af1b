"""Where a request goes: its address as HTTP/1.1 wants it, and what opens connections to there."""

import time
import urllib.parse
import urllib.request
from collections import defaultdict, deque
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic

from attrs import frozen

from deliverykit.transports.line import C, Line

if TYPE_CHECKING:
    import ssl

    import httpcore2

__all__ = ["Address", "Idle", "Opening", "address"]


@frozen
class Address:
    """An address, read: the same for every mail to an ESP, and reading it is a tenth of a submission."""

    url: "httpcore2.URL"
    host: bytes
    """The ``Host`` header."""
    origin: tuple[bytes, bytes, int]


@lru_cache(64)
def address(url: str) -> Address:
    """Read an address. Raises whatever httpx2 does for one that is none."""
    import httpcore2
    import httpx2

    parsed = httpx2.URL(url)
    core = httpcore2.URL(scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path)
    if core.scheme not in (b"http", b"https") or not core.host:
        raise httpx2.UnsupportedProtocol("not an http:// or https:// address")
    origin = core.origin
    return Address(core, parsed.netloc, (origin.scheme, origin.host, origin.port))


class Opening(Generic[C]):
    """Makes the connections of one transport, each to its origin or through the environment's proxy for that."""

    def __init__(self, pool: "type[httpcore2.ConnectionPool | httpcore2.AsyncConnectionPool]",
                 backend: Callable[[Line[C]], Any], kept: float, tls: "ssl.SSLContext | None") -> None:  # fmt: skip
        import httpcore2

        self._pool = pool
        self._backend = backend
        self._tls = tls or httpcore2.default_ssl_context()  # reading the system's authorities takes 20 ms: once for all
        self._settings: dict[str, Any] = {
            "ssl_context": self._tls, "keepalive_expiry": kept, "http2": False, "retries": 0,
        }  # fmt: skip
        self._proxies: dict[tuple[bytes, bytes, int], httpcore2.Proxy | None] = {}

    def line(self, to: Address) -> Line[C]:
        """A new one; it connects at its first request. Of httpcore2's pools only this is used, never their keeping."""
        if to.origin not in self._proxies:
            self._proxies[to.origin] = _proxy(to, self._tls)
        line: Line[C] = Line()
        pool: Any = self._pool(**self._settings, proxy=self._proxies[to.origin], network_backend=self._backend(line))
        line.connection = pool.create_connection(to.url.origin)
        return line


def _proxy(to: Address, tls: "ssl.SSLContext") -> "httpcore2.Proxy | None":
    """What ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, or the system's settings, say."""
    import httpcore2

    scheme, host, port = to.origin
    given = urllib.request.getproxies()
    found = given.get(scheme.decode()) or given.get("all")
    if not found or urllib.request.proxy_bypass(f"{host.decode()}:{port}") or urllib.request.proxy_bypass(host.decode()):
        return None
    parts = urllib.parse.urlsplit(found if "://" in found else f"http://{found}")
    default = {"https": 443, "http": 80}.get(parts.scheme, 1080)
    url = httpcore2.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port or default, target="/")
    named = (urllib.parse.unquote(parts.username).encode(), urllib.parse.unquote(parts.password or "").encode()) \
        if parts.username else None  # fmt: skip
    return httpcore2.Proxy(url, auth=named, ssl_context=tls if parts.scheme == "https" else None)


class Idle(Generic[C]):
    """Connections that nobody uses, by origin; the one used last at the right, so that what is not needed gets old at the left.

    httpcore2's own pool looks at every idle connection for each request, and asks the system of each whether it is still
    open: with 100 of them that is several times what the submission costs (2.16, 2026-11-23). Here only the one that is used
    is looked at.
    """

    def __init__(self, make: Callable[[Address], Line[C]], kept: float) -> None:
        self._make = make
        self._kept = kept
        self._by_origin: defaultdict[tuple[bytes, bytes, int], deque[tuple[float, Line[C]]]] = defaultdict(deque)

    def take(self, to: Address) -> tuple[Line[C], list[Line[C]]]:
        """An open one, else a new one; and those that are to be closed, for the other side did, or for their age."""
        lines = self._by_origin[to.origin]
        old: list[Line[C]] = []
        while lines:
            try:
                _, line = lines.pop()
            except IndexError:  # another thread was quicker
                break
            if line.connection.is_available() and not line.connection.has_expired():
                return line, old
            old.append(line)
        return self._make(to), old

    def give(self, to: Address, line: Line[C]) -> list[Line[C]]:
        """Take one back after its use; those that are to be closed."""
        if not line.connection.is_available():
            return [line]
        self._by_origin[to.origin].append((time.monotonic(), line))
        before = time.monotonic() - self._kept
        old = []
        for lines in list(self._by_origin.values()):
            while lines and lines[0][0] < before:
                old.append(lines.popleft()[1])
        return old

    def clear(self) -> list[Line[C]]:
        """All of them, to be closed."""
        kept, self._by_origin = self._by_origin, defaultdict(deque)
        return [line for lines in kept.values() for _, line in lines]
