"""Our own two HTTP words, so that no adapter ever imports a client."""

import json
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

__all__ = ["HttpRequest", "HttpResponse"]


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@frozen(kw_only=True)
class HttpRequest:
    """One request, complete: what is in here is what goes over the wire.

    ``headers`` and ``body`` carry credentials and people's mail, so neither is in the repr.
    """

    method: str = "POST"
    url: str
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


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
