"""What carries one HTTP request: exactly one submission per call, and the stage of a failure."""

from typing import Protocol

from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["AsyncTransport", "Transport"]


class Transport(Protocol):
    """Blocks until the answer is read.

    It submits **once** (no retries, no redirects), verifies TLS, reads at most 256 KB of the answer
    (``HttpResponse(complete=False)`` says that there was more), and
    raises :class:`~deliverykit.words.errors.TransportError` with the stage at which a call failed:
    that stage decides *surely not sent* from *unknown*, so a transport that cannot tell says the later one.

    It writes no byte of the request once ``request.time_to_start()`` returns zero or less. Where that is
    not ``None``, it is asked before a connection is taken, limits each wait before the request (pool, DNS,
    TCP, proxy, TLS), and is asked last directly before the first byte; what is over then raises
    ``TransportError`` with a stage before ``WRITE``, and the engine hands the unit back and asks for another
    grant: no attempt is spent. A request that has begun is finished. ``request.within`` limits the
    whole call.

    A transport that ignores ``time_to_start`` can exceed a quota at the edge of a window, by the requests
    that were still connecting then: the engine checks the time directly before it calls :meth:`send`, and stops
    one second before the window ends, so only a connection that takes longer than that second does so. A
    message that such a transport reports as surely not sent after that time also asks again without an attempt.
    """

    def send(self, request: HttpRequest) -> HttpResponse:
        """One submission, one answer."""
        ...

    def close(self) -> None:
        """Close what this transport opened, and nothing the host opened."""
        ...


class AsyncTransport(Protocol):
    """The same, awaited."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """One submission, one answer."""
        ...

    async def aclose(self) -> None:
        """Close what this transport opened, and nothing the host opened."""
        ...
