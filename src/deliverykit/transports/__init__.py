"""What carries HTTP requests: ours on httpx2, a host's own client, or a host's own transport."""

import asyncio
import contextvars
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NoReturn, cast

from deliverykit.contracts.transport import AsyncTransport, Transport
from deliverykit.transports.httpx2 import AsyncHttpTransport, HttpTransport
from deliverykit.transports.timeouts import Timeouts
from deliverykit.words.arguments import short
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["AsyncHttpTransport", "HttpTransport", "Timeouts", "async_transport_of", "transport_of"]

_WANTED = "give an httpx or httpx2 client, or an object with send(HttpRequest) -> HttpResponse"

_Kind = Literal["client", "async client", "transport", "async transport"]


def transport_of(client: object = None) -> Transport:
    """The blocking transport for what a host handed in.

    ``None`` is a new :class:`HttpTransport`; an ``httpx.Client`` or ``httpx2.Client`` is used as it
    is and never closed (its retries, if its transport has any, are the host's affair and may send mail
    twice); an object with ``send(HttpRequest) -> HttpResponse`` is a transport itself.

    Raises :class:`~deliverykit.ConfigurationError` for an asynchronous one and for anything else.
    """
    if client is None:
        return HttpTransport()
    kind = _kind(client)
    if kind == "client":
        return HttpTransport(client)  # type: ignore[arg-type]
    if kind == "transport":
        return cast("Transport", client)
    return _refuse_async(client)


def async_transport_of(client: object = None) -> AsyncTransport:
    """The awaited transport for what a host handed in.

    As :func:`transport_of`, with ``httpx.AsyncClient`` and ``httpx2.AsyncClient``. A blocking client or
    transport is accepted and runs in threads, at most 200 at once; a cancelled call goes on in its thread.
    """
    if client is None:
        return AsyncHttpTransport()
    kind = _kind(client)
    if kind == "async client":
        return AsyncHttpTransport(client)  # type: ignore[arg-type]
    if kind == "async transport":
        return cast("AsyncTransport", client)
    return _InThreads(transport_of(client))


def _refuse_async(client: object) -> NoReturn:
    raise ConfigurationError(
        f"transport: {short(type(client).__name__)} is asynchronous and this side blocks; "
        "give an httpx2.Client or a blocking transport, or use AsyncMailer"
    )


def _kind(client: object) -> _Kind:
    if isinstance(client, type):
        raise ConfigurationError(f"transport: {short(client.__name__)} is a class; give an object of it")
    for base in type(client).__mro__:
        root = base.__module__.partition(".")[0]
        if root in {"httpx", "httpx2"} and base.__name__ in {"Client", "AsyncClient"}:
            return "client" if base.__name__ == "Client" else "async client"
        if root in {"requests", "niquests", "aiohttp", "urllib3"}:
            raise ConfigurationError(f"transport: a {root} {short(type(client).__name__)} is not one; {_WANTED}")
    send = getattr(client, "send", None)
    if not callable(send):
        raise ConfigurationError(f"transport: {short(type(client).__name__)} is not one; {_WANTED}")
    awaited = inspect.iscoroutinefunction(send) or (hasattr(client, "aclose") and not hasattr(client, "close"))
    return "async transport" if awaited else "transport"


class _InThreads:
    """A blocking transport, awaited. Its threads are its own, so the host's default executor stays free."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._threads: ThreadPoolExecutor | None = None

    async def send(self, request: HttpRequest) -> HttpResponse:
        """One submission, in a thread."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(200, thread_name_prefix="deliverykit-http")
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: context.run(self._transport.send, request))

    async def aclose(self) -> None:
        """End the threads once they are done; the transport is the host's, and stays open."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
