"""The words between the sandbox's HTTP side and its four ESPs: request, reply, mail, verdict."""

import json
from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

__all__ = ["File", "Mail", "Malformed", "Refused", "Reply", "Request", "Verdict"]


class Malformed(ValueError):
    """A body that cannot be parsed as what it claims to be."""


@define(kw_only=True, eq=False)
class Request:
    """One request, read whole. ``headers`` have lower-case names; repeated ones are joined by commas."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    path: str = field(init=False, default="")
    query: str = field(init=False, default="")
    _parsed: Any = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.path, _, self.query = self.target.partition("?")

    def header(self, name: str) -> str:
        """A header's value, or ``""``."""
        return self.headers.get(name, "")

    def json(self) -> Any:
        """The body as JSON, parsed once; raises :class:`Malformed`."""
        if self._parsed is None:
            try:
                self._parsed = (json.loads(self.body),)
            except (ValueError, RecursionError) as error:
                raise Malformed(str(error)) from None
        return self._parsed[0]


@frozen
class Reply:
    """One answer. ``headers`` are sent as they stand."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"

    @classmethod
    def of(cls, status: int, value: object, *headers: tuple[str, str]) -> "Reply":
        """An answer whose body is JSON."""
        return cls(status, json.dumps(value, ensure_ascii=False).encode(), headers)

    def plus(self, *headers: tuple[str, str]) -> "Reply":
        """The same answer with more headers."""
        return Reply(self.status, self.body, (*self.headers, *headers), self.content_type)


class Refused(Exception):
    """Raised while a request is checked, with the ESP's own answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@frozen
class File:
    """One attachment of a mail that an ESP accepted."""

    filename: str
    content: bytes = field(repr=False)
    content_type: str
    content_id: str = ""


@define(kw_only=True)
class Mail:
    """A mail as an ESP understood it. Addresses are bare; ``names`` holds the display names by address.

    ``mime`` is set instead of text, html, headers and attachments where the request carried MIME;
    it is taken apart only when somebody looks.
    """

    sender: str
    names: dict[str, str]
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    envelope: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()
    subject: str = ""
    headers: dict[str, str] = field(factory=dict)
    text: str | None = None
    html: str | None = None
    attachments: tuple[File, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(factory=dict)
    id: str = ""
    provider_message_id: str = ""
    mime: bytes | None = None
    delivered: bool = True
    """False in an ESP's test mode, which validates and perhaps bills but delivers nothing."""

    @property
    def recipients(self) -> tuple[str, ...]:
        """The envelope, each address once."""
        return self.envelope or tuple(dict.fromkeys((*self.to, *self.cc, *self.bcc)))


@frozen(kw_only=True)
class Verdict:
    """What an ESP made of a request: its answer, and the mail where it took one."""

    reply: Reply
    mail: Mail | None = None
    remember: tuple[str, str] | None = None
    """An idempotency key and the digest of its body, to be answered alike for 24 hours."""
