"""Our own two HTTP words, so that no adapter ever imports a client."""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen

from deliverykit.words.errors import ConfigurationError

__all__ = ["HttpRequest", "HttpResponse"]


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@frozen(kw_only=True)
class HttpRequest:
    """One request, complete: what is in here is what goes over the wire.

    ``headers`` and ``body`` carry credentials and people's mail, so neither is in the repr. Raises
    :class:`~deliverykit.ConfigurationError`, without the value, for a header that HTTP cannot carry:
    an HTTP client would print it in its error.
    """

    method: str = "POST"
    url: str
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    within: float | None = None
    """How many seconds the call may take at most, where that is less than what the transport grants it."""
    time_to_start: Callable[[], float] | None = field(default=None, eq=False, repr=False)
    """Returns how many seconds are left in which the first byte of the request may be written; ``None``: no limit.

    At zero or less the quota window that the request counts in has ended, or the caller's time limit has. Ask
    again after each wait, last of all between the TLS handshake and the first byte: a clock that is set meanwhile
    changes the result. See :class:`~deliverykit.contracts.transport.Transport`.
    """

    def start_left(self) -> float:
        """Return the seconds left to start; infinite where there is no limit."""
        return math.inf if self.time_to_start is None else self.time_to_start()

    def __attrs_post_init__(self) -> None:
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise ConfigurationError(
                    f"HTTP header {name!r}: holds a line break or something outside ASCII; was a key pasted with its line end?"
                )


@frozen(kw_only=True)
class HttpResponse:
    """One answer, read whole; ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str] = field(factory=dict, converter=_lowered, repr=False)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str:
        """The value of a header, or ``""``."""
        return self.headers.get(name.lower(), "")

    def json(self) -> Any:
        """The body as JSON, or ``None`` where it is not JSON: an adapter never raises on garbage."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def text(self, limit: int = 500) -> str:
        """The body's beginning as text, for a reason that people read."""
        return self.body[: limit * 4].decode("utf-8", "replace")[:limit].strip()
