"""The time limits of one HTTP call."""

from datetime import timedelta
from typing import Any

from attrs import field, frozen

from deliverykit.words.arguments import duration
from deliverykit.words.wire import HttpRequest

__all__ = ["CallTimes", "Timeouts"]


def _connect(value: timedelta | float) -> float:
    return _seconds(value, "connect")


def _read(value: timedelta | float) -> float:
    return _seconds(value, "read")


def _total(value: timedelta | float) -> float:
    return _seconds(value, "total")


def _seconds(value: object, name: str) -> float:
    return duration(value, name, most=timedelta(days=1), seconds=True).total_seconds()


@frozen(kw_only=True)
class Timeouts:
    """The time limits of one call to an ESP, each a ``timedelta`` or seconds; all have defaults.

    ``connect`` (5 s) limits each of the steps before the request: waiting for a free connection, resolving
    the name and opening the TCP connection, a proxy's answer, and the TLS handshake. ``read`` (30 s) limits the wait
    for each piece of the response, and for the server to accept each piece of the request. ``total``
    (60 s) limits the call from beginning to end; a large body gets more, see :class:`HttpTransport`.

    A limit that ends before the first byte of the request means *surely not sent*: the message is
    tried again or goes to the next server. One that ends later means that the outcome is unknown: the
    message is in doubt.

    Raises :class:`~deliverykit.ConfigurationError` for a limit that is not above zero.
    """

    connect: float = field(default=5.0, converter=_connect)
    read: float = field(default=30.0, converter=_read)
    total: float = field(default=60.0, converter=_total)


@frozen
class CallTimes:
    """The time limits of a transport, applied to one request."""

    given: Timeouts
    bytes_per_second: int

    def _more(self, request: HttpRequest) -> float:
        return len(request.body) / self.bytes_per_second

    def total(self, request: HttpRequest) -> float:
        """Return how many seconds the whole call may take."""
        total = self.given.total + self._more(request)
        return total if request.within is None else min(total, request.within)

    def connect(self, request: HttpRequest) -> float:
        """Return how many seconds each step before the request may take: none goes on after the time to start."""
        return max(0.001, min(self.given.connect, self.total(request), request.start_left()))

    def steps(self, request: HttpRequest, host: Any = None) -> dict[str, float]:
        """Return the limits by step, as httpcore2 takes them; ``host`` is the ``Timeout`` of a client of the host's."""
        total, connect = self.total(request), self.connect(request)
        if host is not None:
            known = {name: value for name, value in host.as_dict().items() if value is not None}
            most = {"connect": connect, "pool": connect, "read": total, "write": total}
            return {name: min(known.get(name, limit), limit) for name, limit in most.items()}
        return {
            "connect": connect,
            "read": min(self.given.read, total),
            "write": min(self.given.read + self._more(request), total),  # the asynchronous client times a body as one write
            "pool": connect,
        }
