"""How far a call came: followed while it goes, and read from what it raised."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final

from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.wire import HttpRequest

__all__ = ["Watch", "failure", "leave"]

_ORDER: Final = (Stage.POOL, Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.WRITE, Stage.READ)

# httpcore names its steps "<part>.<step>.started|complete|failed" (httpcore docs, Extensions, "trace").
_STEPS: Final = {
    "connect_tcp": Stage.CONNECT,
    "connect_unix_socket": Stage.CONNECT,
    "setup_socks5_connection": Stage.CONNECT,
    "start_tls": Stage.TLS,
    "send_request_headers": Stage.WRITE,
    "send_request_body": Stage.WRITE,
    "receive_response_headers": Stage.READ,
    "receive_response_body": Stage.READ,
}

# The exceptions of httpx, httpx2 and httpcore2 by name, so that none need be imported to judge another's.
_RAISED: Final = {
    "PoolTimeout": Stage.POOL,
    "ConnectionNotAvailable": Stage.POOL,
    "UnsupportedProtocol": Stage.POOL,
    "InvalidURL": Stage.POOL,
    "ConnectTimeout": Stage.CONNECT,
    "ConnectError": Stage.CONNECT,
    "ProxyError": Stage.CONNECT,
    "WriteTimeout": Stage.WRITE,
    "WriteError": Stage.WRITE,
}

_CLIENTS: Final = frozenset({"httpx", "httpx2", "httpcore2"})
_DECLARED: Final = frozenset({"RequestError", "TimeoutException", "NetworkError", "ProtocolError", "ProxyError"})


class Watch:
    """Follows one call of a host's client by httpcore's ``trace`` extension."""

    __slots__ = ("_answer", "_request", "stage")

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.stage: Stage | None = None
        """The furthest it came; ``None`` where nobody told."""
        self._answer: object = None

    def answered(self, stream: object) -> None:
        """The head of the answer is there. What still follows its end belongs to no request: see :func:`leave`."""
        self._answer = stream

    def __call__(self, event: str, info: Mapping[str, object]) -> None:
        """One step began or ended. A step back is not followed: what was written stays written."""
        if not event.endswith(".started"):
            return
        step = event.split(".")[-2]
        if step == "response_closed":
            leave(self._answer)
        stage = _STEPS.get(step)
        if stage is None:
            return
        if stage in (Stage.WRITE, Stage.READ) and getattr(info.get("request"), "method", b"") == b"CONNECT":
            stage = Stage.CONNECT  # the tunnel through a proxy is asked for; our request has not begun
        begun = self.stage in (Stage.WRITE, Stage.READ)
        if stage is Stage.WRITE and not begun and self._request.start_left() <= 0:
            raise TransportError(self.stage or Stage.POOL, "the time to start the request is over")
        if self.stage is None or _later(stage, self.stage):
            self.stage = stage

    async def awaited(self, event: str, info: Mapping[str, object]) -> None:
        """The same, for the clients that await it."""
        self(event, info)


def leave(stream: object) -> None:
    """Let a connection that has read beyond the end of its answer be closed, not used again.

    What lies there would be taken for the answer to the next request: another mail would be called accepted. httpcore
    does not look (httpcore 1.0, httpcore2 2.16, 2026-11-23), so h11 is told that it cannot go on. Where the stream looks
    different, it is left as it is.
    """
    line: Any = stream
    for wrapper in ("_stream", "_httpcore_stream", "_stream"):  # a client's and its pool's, where there are any
        line = getattr(line, wrapper, line)
    line = getattr(getattr(line, "_connection", None), "_h11_state", None)
    if line is not None and getattr(line, "trailing_data", (b"",))[0]:
        line.send_failed()


def failure(error: Exception, seen: Stage | None) -> TransportError:
    """What a client raised, as a :class:`~deliverykit.words.errors.TransportError`; what is one already stays as it is.

    The stage is the later one of what the exception says and what was ``seen``; an exception that no
    client declares counts as the last stage, because nobody knows what went before it. The reason
    holds the exception's own words only where those cannot hold a header's value (h11 prints an
    illegal one, and that may be the API key).
    """
    if isinstance(error, TransportError):
        return error
    family = _family(error)
    name = next((base for base in family if base in _RAISED), "")
    if name:
        stage = _RAISED[name]
        if seen is not None and _later(seen, stage):
            stage = seen
    elif seen is not None and (isinstance(error, OSError) or _declared(family)):
        # Below httpx's own mapping: a reset in the middle of an asynchronous handshake comes as an OSError.
        stage = seen
    else:
        stage = Stage.READ
    if stage in (Stage.CONNECT, Stage.TLS):
        stage = _refined(error, stage)
    plain = isinstance(error, OSError) or _declared(family)
    text = str(error).strip() if plain and type(error).__name__ != "LocalProtocolError" else ""
    return TransportError(stage, f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__)


def _later(one: Stage, other: Stage) -> bool:
    return _ORDER.index(one) > _ORDER.index(other)


def _family(error: Exception) -> list[str]:
    """The names of its classes that are httpx's, httpx2's or httpcore2's."""
    return [base.__name__ for base in type(error).__mro__ if base.__module__.partition(".")[0] in _CLIENTS]


def _declared(family: list[str]) -> bool:
    """Whether it is one that a client says it raises where a request fails."""
    return not _DECLARED.isdisjoint(family)


def _refined(error: BaseException, stage: Stage) -> Stage:
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return Stage.RESOLVE
        if isinstance(cause, ssl.SSLError):
            return Stage.TLS
    return stage


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came from; httpcore's pool cuts ``__cause__``, so arguments and context are asked too."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < 50:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [other for other in (*one.args, one.__cause__, one.__context__) if isinstance(other, BaseException)]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
