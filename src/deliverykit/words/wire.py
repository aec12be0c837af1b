"""Our own two HTTP words, so that no adapter ever imports a client."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen

from deliverykit.words.errors import ConfigurationError
from deliverykit.words.foreign_json import parsed
from deliverykit.words.untrusted import ANSWER_LIMIT, clean

__all__ = ["HttpRequest", "HttpResponse"]


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {clean(name, 200).lower(): value for name, value in headers.items()}


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
    """One answer of a server, bounded: at most 256 KB of its body are kept.

    ``headers`` have lower-case names. What is read by :meth:`header`, :meth:`json` and :meth:`text` is printable text of
    bounded length. Raises :class:`~deliverykit.ConfigurationError` for a status or a body of the wrong type.
    """

    status: int
    headers: Mapping[str, str] = field(factory=dict, converter=_lowered, repr=False)
    body: bytes = field(default=b"", repr=False)
    complete: bool = True
    """Whether ``body`` is all of it. A transport that stops reading says ``False``."""

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.status, int) or not isinstance(self.body, bytes | bytearray | memoryview):
            raise ConfigurationError(
                f"HttpResponse: status is {type(self.status).__name__} and body is {type(self.body).__name__}; "
                "give an int and bytes"
            )
        if len(self.body) > ANSWER_LIMIT:
            object.__setattr__(self, "complete", False)
            object.__setattr__(self, "body", self.body[:ANSWER_LIMIT])
        if not isinstance(self.body, bytes):
            object.__setattr__(self, "body", bytes(self.body))

    def beginning(self, limit: int = 16 * 1024) -> "HttpResponse":
        """Return the answer with at most ``limit`` bytes of its body: what says how it was judged stands at its beginning."""
        if len(self.body) <= limit:
            return self
        return HttpResponse(status=self.status, headers=self.headers, body=self.body[:limit], complete=False)

    def header(self, name: str) -> str:
        """Return the value of a header, or ``""``."""
        return clean(self.headers.get(name.lower(), ""))

    def json(self) -> Any:
        """Return the body as JSON, or ``None`` where it is not JSON: an adapter never raises on garbage.

        Every text and name in it is cleaned; a number that is not finite or has hundreds of digits is ``None``. Of a body
        of more than 32 KB, and of one that is not complete, this is the beginning.
        """
        return parsed(self.body, complete=self.complete)

    def text(self, limit: int = 500) -> str:
        """Return the beginning of the body as text, for a reason that people read."""
        return clean(self.body[: limit * 4 + 4], limit)

    @property
    def empty(self) -> bool:
        """Whether the body has nothing but blanks."""
        return not self.body.strip()
