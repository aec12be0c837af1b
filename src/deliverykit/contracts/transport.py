"""What carries one HTTP request: exactly one submission per call, and the stage of a failure."""

from typing import Protocol

from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["AsyncTransport", "Transport"]


class Transport(Protocol):
    """Blocks until the answer is read whole.

    It submits **once** (no retries, no redirects), verifies TLS, bounds the answer's size, and
    raises :class:`~deliverykit.words.errors.TransportError` with the stage at which a call failed:
    that stage decides *surely not sent* from *unknown*, so a transport that cannot tell says the later one.
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
