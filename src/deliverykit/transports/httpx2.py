"""The default transports, on httpx2; a host's own httpx or httpx2 client does as well."""

import asyncio
import os
import sys
import time
import zlib
from collections.abc import AsyncIterable, Awaitable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from deliverykit.transports.lines import AsyncLines, Lines
from deliverykit.transports.origins import Address, address
from deliverykit.transports.stages import Watch, failure, leave
from deliverykit.transports.timeouts import CallTimes, Timeouts
from deliverykit.words.arguments import called, instance, optional
from deliverykit.words.arguments import whole as count
from deliverykit.words.errors import ConfigurationError, Stage, TransportError
from deliverykit.words.untrusted import ANSWER_LIMIT
from deliverykit.words.wire import HttpRequest, HttpResponse

if TYPE_CHECKING:
    import ssl

    import httpcore2
    import httpx2

__all__ = ["AsyncHttpTransport", "HttpTransport"]

C = TypeVar("C")

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods that say how long their body is even where there is none."""


def _check_client(client: object) -> None:
    if client is not None:
        called(client, "client", ("send", "build_request"), "give an httpx or httpx2 client")


def _check_tls(tls: object) -> None:
    if tls is not None:
        called(tls, "tls", ("wrap_bio", "wrap_socket"), "give an ssl.SSLContext")


class _Settings(Generic[C]):
    """What both colours share."""

    def __init__(
        self,
        client: C | None = None,
        *,
        timeouts: Timeouts | None = None,
        bytes_per_second: int = 100_000,
        max_response: int = ANSWER_LIMIT,
        connections: int = 200,
        tls: "ssl.SSLContext | None" = None,
    ) -> None:
        optional(instance, timeouts, "timeouts", kind=Timeouts, write="write Timeouts(total=20)")
        count(bytes_per_second, "bytes_per_second", least=1)
        count(max_response, "max_response", least=1)
        count(connections, "connections", least=1, most=100_000)
        _check_client(client)
        _check_tls(tls)
        self._host = client
        self._times = CallTimes(timeouts or Timeouts(), bytes_per_second)
        self._max_response = min(max_response, ANSWER_LIMIT)
        self._connections = connections
        self._tls = tls
        self._begin()

    def _begin(self) -> None:
        """Make what the colour keeps of its own."""

    def _hosts(self, client: Any, request: HttpRequest, trace: object) -> "httpx2.Request":
        """The host's client's own request object, made without the client's headers, cookies and parameters.

        The adapter signed exactly this. The client keeps the time limits the host gave it, as far as the request allows them.
        """
        module = _module(client)
        chosen = client.timeout != module.Timeout(5.0)  # that is the libraries' own default: nobody chose it
        steps = self._times.steps(request, client.timeout if chosen else None)
        extensions: dict[str, Any] = {"trace": trace, "timeout": steps}
        with _sendable():
            return module.Request(  # type: ignore[no-any-return]
                request.method,
                _parsed(module, request.url),
                headers=_headers(request),
                content=request.body,
                extensions=extensions,
            )

    def _ours(self, request: HttpRequest) -> tuple[Address, "httpcore2.Request"]:
        """Where it goes, and the request as our own connections take it: exactly the bytes that go over the wire."""
        import httpcore2

        with _sendable():
            to = address(request.url)
            headers = [(b"Host", to.host), *[(name.encode(), value.encode()) for name, value in _headers(request).items()]]
            if request.body or request.method in _WITH_BODY:
                headers.append((b"Content-Length", b"%d" % len(request.body)))
            extensions = {"timeout": self._times.steps(request)}
            return to, httpcore2.Request(request.method, to.url, headers=headers, content=request.body, extensions=extensions)

    def _answer(self, status: int, raw: Iterable[tuple[bytes, bytes]], read: "_Read") -> HttpResponse:
        """The answer that one of our own connections read."""
        headers: dict[str, str] = {}
        for name, value in raw:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        coding = headers.get("content-encoding", "").strip().lower()
        body = read.body
        if coding in ("", "identity"):
            return HttpResponse(status=status, headers=headers, body=body, complete=read.complete)
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise TransportError(Stage.READ, f"the answer came as {coding[:40]!r}, which was not asked for")
        decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        plain = decoder.decompress(body, self._max_response + 1)
        complete = read.complete and len(plain) <= self._max_response
        if complete and not decoder.eof:
            raise TransportError(Stage.READ, f"the answer is not whole {coding}")
        return HttpResponse(status=status, headers=headers, body=plain[: self._max_response], complete=complete)


class _Read:
    """What was read of a body, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self.complete = True

    def add(self, piece: bytes) -> bool:
        """Add the next piece; ``False`` once there is more than the limit, and nothing is to be read any more."""
        self._pieces.append(piece)
        self._size += len(piece)
        self.complete = self._size <= self._limit
        return self.complete

    @property
    def body(self) -> bytes:
        """The bytes, at most as many as the limit."""
        return b"".join(self._pieces)[: self._limit]


class HttpTransport(_Settings["httpx2.Client"]):
    """Blocking HTTP by httpx2. Implements :class:`~deliverykit.contracts.transport.Transport`; shared by threads.

    Every :meth:`send` is **one** submission: nothing is repeated, no redirect is followed, no
    authentication flow answers a challenge. TLS is verified by the system's trust store; ``tls`` is an
    ``ssl.SSLContext`` of the host's instead (a private authority). Proxies are taken from the
    environment (``HTTPS_PROXY``, ``NO_PROXY``).

    ``timeouts`` are the limits of one call, see :class:`Timeouts`; writing and the total get one second
    more for every ``bytes_per_second`` bytes of body (100,000: 0.8 Mbit/s). A request's own ``within``
    shortens them, and its ``time_to_start`` limits every step before its first byte.
    At most ``max_response`` bytes of an answer are read (256 KB, and no more than that): a longer success is an unknown
    outcome, a longer refusal is judged by its beginning. ``connections`` are open at most.

    ``client`` is a host's own ``httpx.Client`` or ``httpx2.Client``, taken as it is: its proxies,
    certificates, event hooks and limits hold, its time limits too (unless they are the library's default of
    5 s everywhere; then ours hold), and so do retries of its transport: whoever puts them there may send mail twice.
    Only redirects and its ``auth`` are switched off for our calls, and its default headers, cookies and
    parameters left out. It is never closed here. With it ``total`` is looked at between the steps of a call, and the
    time to start where its transport tells its steps (httpx's and httpx2's own do); else only before the call.
    """

    def _begin(self) -> None:
        self._own: dict[int, Lines] = {}

    def send(self, request: HttpRequest) -> HttpResponse:
        """One submission, one answer, read whole; raises ``TransportError`` with the stage of a failure."""
        _in_time_to_start(request)
        ends = time.monotonic() + self._times.total(request)
        if self._host is not None:
            return self._by_host(self._host, request, ends)
        to, built = self._ours(request)
        lines = self._lines()
        line = None
        try:
            connect = self._times.connect(request)
            line = lines.take(to, connect)
            line.call(request, ends, connect)
            response = line.connection.handle_request(built)
            try:
                read = self._read(response.iter_stream(), ends)
            finally:
                leave(response.stream)
                response.close()
            return self._answer(response.status, response.headers, read)
        except Exception as error:
            if line is None:
                raise
            raise failure(error, line.stage) from None
        finally:
            if line is not None:
                lines.give(to, line)

    def _by_host(self, client: "httpx2.Client", request: HttpRequest, ends: float) -> HttpResponse:
        watch = Watch(request)
        built = self._hosts(client, request, watch)
        try:
            response = client.send(built, stream=True, auth=None, follow_redirects=False)
            watch.answered(getattr(response, "stream", None))
            try:
                read = self._read(response.iter_bytes(), ends)
            finally:
                response.close()
        except _module(client).HTTPStatusError as error:
            return _despite(error)
        except Exception as error:  # noqa: BLE001  whatever it is, it is told with its stage
            raise failure(error, watch.stage) from None
        return HttpResponse(status=response.status_code, headers=response.headers, body=read.body, complete=read.complete)

    def _read(self, stream: Iterable[bytes], ends: float) -> _Read:
        read = _Read(self._max_response)
        for piece in stream:
            if not read.add(piece):
                break
            if time.monotonic() > ends:
                raise TransportError(Stage.READ, "the answer did not end in time")
        return read

    def open(self) -> None:
        """Load and make what the first ``send`` needs, ahead of it; connects to nobody."""
        if self._host is None:
            self._lines()

    def _lines(self) -> Lines:
        """Our connections: made at first use, and anew after a fork (the parent's sockets are the parent's)."""
        pid = os.getpid()
        # No lock: a fork may have copied it held. The parent's lines stay here unused and unclosed.
        return self._own.get(pid) or self._own.setdefault(pid, Lines(self._connections, self._tls))

    def close(self) -> None:
        """Close our own connections; the host's client is left alone. A later ``send`` opens new ones."""
        lines = self._own.pop(os.getpid(), None)
        if lines is not None:
            lines.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self._host is None else type(self._host).__module__ + ' client'})"


class AsyncHttpTransport(_Settings["httpx2.AsyncClient"]):
    """The same as :class:`HttpTransport`, awaited, on httpx2's ``AsyncClient`` or the host's; asyncio only.

    Here ``total`` is kept at every step, with a host's client too. Cancelling a call cancels it; mail whose request had
    begun may have gone. Connections belong to the loop that opened them; each loop gets its own.
    """

    def _begin(self) -> None:
        self._own: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncLines] = WeakKeyDictionary()

    async def send(self, request: HttpRequest) -> HttpResponse:
        """One submission, one answer, read whole; raises ``TransportError`` with the stage of a failure."""
        _in_time_to_start(request)
        whole = self._times.total(request)
        if self._host is not None:
            watch = Watch(request)
            return await self._timed(self._by_host(self._host, request, watch), watch, whole)
        ends = time.monotonic() + whole
        to, built = self._ours(request)
        lines = self._lines()
        connect = self._times.connect(request)
        line = await lines.take(to, connect)
        line.call(request, ends, connect)
        try:
            response = await line.connection.handle_async_request(built)
            try:
                read = await self._read(response.aiter_stream())
            finally:
                leave(response.stream)
                await response.aclose()
            return self._answer(response.status, response.headers, read)
        except Exception as error:  # noqa: BLE001  whatever it is, it is told with its stage
            raise failure(error, line.stage) from None
        finally:
            await lines.give(to, line)

    async def _by_host(self, client: "httpx2.AsyncClient", request: HttpRequest, watch: Watch) -> HttpResponse:
        built = self._hosts(client, request, watch.awaited)
        try:
            response = await client.send(built, stream=True, auth=None, follow_redirects=False)
        except _module(client).HTTPStatusError as error:
            return _despite(error)
        watch.answered(getattr(response, "stream", None))
        try:
            read = await self._read(response.aiter_bytes())
        finally:
            await response.aclose()
        return HttpResponse(status=response.status_code, headers=response.headers, body=read.body, complete=read.complete)

    async def _timed(self, call: Awaitable[HttpResponse], watch: Watch, whole: float) -> HttpResponse:
        timer = asyncio.timeout(whole)
        try:
            async with timer:
                return await call
        except Exception as error:  # noqa: BLE001  whatever it is, it is told with its stage
            if isinstance(error, TimeoutError) and timer.expired():
                raise TransportError(watch.stage or Stage.READ, f"not done within {whole:g} s") from None
            raise failure(error, watch.stage) from None

    async def _read(self, stream: AsyncIterable[bytes]) -> _Read:
        read = _Read(self._max_response)
        async for piece in stream:
            if not read.add(piece):
                break
        return read

    def open(self) -> None:
        """Load and make what the first ``send`` in the running loop needs, ahead of it; connects to nobody."""
        if self._host is not None:
            return
        self._lines()
        with suppress(ImportError):
            import anyio  # httpcore2 is built on it, and it loads its half for asyncio at first use: 40 ms

            anyio.Event()

    def _lines(self) -> AsyncLines:
        loop = asyncio.get_running_loop()
        lines = self._own.get(loop)
        if lines is None:
            lines = self._own[loop] = AsyncLines(self._connections, self._tls)
        return lines

    async def aclose(self) -> None:
        """Close the connections of the running loop; the host's client is left alone. A later ``send`` opens new ones."""
        lines = self._own.pop(asyncio.get_running_loop(), None)
        if lines is not None:
            await lines.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self._host is None else type(self._host).__module__ + ' client'})"


def _in_time_to_start(request: HttpRequest) -> None:
    if request.start_left() <= 0:
        raise TransportError(Stage.POOL, "the time to start the request is over")


@contextmanager
def _sendable() -> Iterator[None]:
    """Nothing has been dialled. The words of what is wrong stay out: they may hold a header's value."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  a client may raise anything at a header or an address
        raise TransportError(Stage.POOL, f"{type(error).__name__}: not a request this client can send") from None


def _module(client: object) -> Any:
    """The module, httpx or httpx2, that the client is of."""
    for base in type(client).__mro__:
        root = base.__module__.partition(".")[0]
        if root in {"httpx", "httpx2"}:
            return sys.modules[root]
    raise ConfigurationError(f"transport: {type(client).__name__} is no client of httpx or httpx2")


@lru_cache(64)
def _parsed(module: Any, url: str) -> Any:
    """An ESP's address is the same for every mail; reading it is a tenth of a submission."""
    return module.URL(url)


@cache
def _own_headers() -> Mapping[str, str]:
    try:
        ours = version("deliverykit")
    except PackageNotFoundError:  # a program frozen into one file leaves our metadata behind: no reason not to send
        ours = "0"
    return {"User-Agent": f"deliverykit/{ours}", "Accept": "*/*", "Accept-Encoding": "identity"}


def _headers(request: HttpRequest) -> Mapping[str, str]:
    """The request's headers; who we are, and no compression, where it does not say (an answer is small, and then bounded)."""
    given = {name.lower() for name in request.headers}
    return {**{name: value for name, value in _own_headers().items() if name.lower() not in given}, **request.headers}


def _despite(error: Any) -> HttpResponse:
    """The answer inside a ``raise_for_status()`` of a host's event hook, where that hook has read it."""
    response = error.response
    try:
        body = response.content
    except Exception:  # noqa: BLE001  each client has its own word for a body that was not read
        raise TransportError(Stage.READ, "an event hook of the host's client raised before the answer was read") from None
    return HttpResponse(status=response.status_code, headers=response.headers, body=body)
