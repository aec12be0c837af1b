"""The message a host hands in: one frozen object, checked when it is made."""

import mimetypes
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.message import EmailMessage
from typing import Any

from attrs import evolve, field, frozen

from deliverykit.words.addresses import Address, address, addresses
from deliverykit.words.clock import instant
from deliverykit.words.errors import MessageError

__all__ = ["Attachment", "Message", "Unsubscribe"]

# C0 but TAB, DEL, C1, and the two Unicode line ends: Python's email package ends a line at \x85, U+2028 and U+2029.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
Mailboxes = str | Address | Iterable[str | Address] | None

_HEADER_NAME = re.compile(r"[!-9;-~]{1,126}")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(\s*;\s*[^\x00-\x1f\x7f]+)*")

RESERVED_HEADERS = frozenset(
    {
        "from", "sender", "to", "cc", "bcc", "reply-to", "subject", "return-path", "message-id", "date", "received",
        "mime-version", "dkim-signature", "content-type", "content-transfer-encoding", "content-disposition",
        "content-id", "x-deliverykit-id", "x-sg-id", "x-sg-eid", "x-ses-configuration-set", "x-ses-message-tags",
        "x-ses-source-arn", "x-ses-from-arn", "x-ses-return-path-arn", "x-ses-tenant",
        "x-mailgun-variables", "x-smtpapi",
    }
)  # fmt: skip
"""Header names a message may not set: a field of its own says it, or it is ours or the ESP's."""


def _clean(value: object, what: str) -> str:
    """One line of text: no CR, LF, NUL or other control character, so that no field can start a header."""
    if not isinstance(value, str):
        raise MessageError(f"{what}: expected text, got {type(value).__name__}")
    if bad := _CONTROL.search(value):
        raise MessageError(f"{what}: contains {bad.group()!r}, which cannot stand in a header; remove it")
    if not value.isascii() and _SURROGATE.search(value):
        raise MessageError(f"{what}: contains a lone surrogate, which cannot be encoded; remove it")
    return value


def _body(value: object, what: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise MessageError(f"{what}: expected text, got {type(value).__name__}")
    if "\x00" in value:
        raise MessageError(f"{what}: contains NUL, which no mail can carry; remove it")
    if not value.isascii() and _SURROGATE.search(value):
        raise MessageError(f"{what}: contains a lone surrogate, which cannot be encoded; remove it")
    return value


@frozen(kw_only=True)
class Attachment:
    """A file. ``content_id`` makes it an inline image, shown by ``<img src="cid:…">``.

    ``content_type`` is guessed from the file name where it is not given.
    """

    filename: str = field()
    content: bytes = field(repr=False)
    content_type: str = ""
    content_id: str = ""

    def __attrs_post_init__(self) -> None:
        if not _clean(self.filename, "attachment filename").strip():
            raise MessageError("attachment filename: empty; ESPs drop nameless files without a word")
        if not isinstance(self.content, bytes):
            raise MessageError(f"attachment {self.filename!r}: content is {type(self.content).__name__}; give bytes")
        guessed = self.content_type or mimetypes.guess_type(self.filename)[0] or "application/octet-stream"
        if not _MEDIA_TYPE.fullmatch(_clean(guessed, f"attachment {self.filename!r} content_type")):
            raise MessageError(f"attachment {self.filename!r}: {guessed!r} is not a media type such as 'image/png'")
        object.__setattr__(self, "content_type", guessed)
        content_id = _clean(self.content_id, f"attachment {self.filename!r} content_id").strip()
        content_id = content_id.removeprefix("<").removesuffix(">")
        if re.search(r"[\s<>\"]", content_id) or not content_id.isascii():
            raise MessageError(
                f"attachment {self.filename!r}: content_id {content_id!r} must be ASCII without spaces, quotes or <>"
            )
        object.__setattr__(self, "content_id", content_id)

    @property
    def inline(self) -> bool:
        """Whether it is shown inside the HTML rather than listed."""
        return bool(self.content_id)


@frozen(kw_only=True)
class Unsubscribe:
    """Where a reader unsubscribes (RFC 2369); an ``https`` URL is offered as one-click (RFC 8058).

    ``url`` must answer a POST of ``List-Unsubscribe=One-Click`` without asking again.
    """

    url: str = ""
    mailto: str = ""

    def __attrs_post_init__(self) -> None:
        for what, value, scheme in (("url", self.url, "https://"), ("mailto", self.mailto, "mailto:")):
            if not isinstance(value, str) or (value and not _is_target(value, scheme)):
                raise MessageError(
                    f"unsubscribe {what}: {value!r} must be an ASCII {scheme}… address without spaces, commas or <>"
                )
        if not self.url and not self.mailto:
            raise MessageError("unsubscribe: give a url, a mailto, or both")

    @property
    def headers(self) -> dict[str, str]:
        """``List-Unsubscribe``, and ``List-Unsubscribe-Post`` where there is a URL."""
        listed = ", ".join(f"<{target}>" for target in (self.mailto, self.url) if target)
        post = {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"} if self.url else {}
        return {"List-Unsubscribe": listed, **post}


def _is_target(value: str, scheme: str) -> bool:
    rest = value[len(scheme) :]
    whole = "@" in rest if scheme == "mailto:" else rest[:1].isalnum() or rest[:1] == "["
    return value.lower().startswith(scheme) and whole and value.isascii() and not re.search(r"[\s<>,\x00-\x1f\x7f]", value)


def _unsubscribe(value: "str | Unsubscribe | None") -> Unsubscribe | None:
    if value is None or isinstance(value, Unsubscribe):
        return value
    text = _clean(value, "unsubscribe")
    return Unsubscribe(mailto=text) if text.lower().startswith("mailto:") else Unsubscribe(url=text)


def _mapping(value: object, what: str) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MessageError(f"{what}: expected a mapping of names to values, got {type(value).__name__}")
    return value


def _items(value: object, what: str) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str | Attachment):
        return [value]
    try:
        return list(value)  # type: ignore[call-overload, no-any-return]
    except TypeError:
        raise MessageError(f"{what}: expected a list, got {type(value).__name__}") from None


def _headers(value: Mapping[str, str] | None) -> dict[str, str]:
    clean: dict[str, str] = {}
    for name, text in _mapping(value, "headers").items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise MessageError(f"headers: {name!r} is not a header name (printable ASCII, no colon, at most 126)")
        if name.lower() in RESERVED_HEADERS:
            raise MessageError(f"headers: {name} cannot be set here; it has a field of its own or belongs to the ESP")
        if name.lower() in {seen.lower() for seen in clean}:
            raise MessageError(f"headers: {name} is given twice (header names do not know case)")
        clean[name] = _clean(text, f"headers[{name}]")
    return clean


def _tags(value: str | Iterable[str] | None) -> tuple[str, ...]:
    tags = tuple(dict.fromkeys(_clean(tag, "tags") for tag in _items(value, "tags")))
    if "" in tags:
        raise MessageError("tags: a tag is empty")
    return tags


def _metadata(value: Mapping[str, str] | None) -> dict[str, str]:
    clean: dict[str, str] = {}
    for key, text in _mapping(value, "metadata").items():
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) or key.lower().startswith("deliverykit"):
            raise MessageError(f"metadata: key {key!r} must be 1 to 64 of A-Z a-z 0-9 _ - and not begin with deliverykit")
        clean[key] = _clean(text, f"metadata[{key}]")
    return clean


def _extra(value: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    clean: dict[str, dict[str, Any]] = {}
    for esp, fields in _mapping(value, "extra").items():
        if not isinstance(fields, Mapping):
            raise MessageError(f"extra[{esp!r}]: expected a mapping of that ESP's fields, as in extra={{'sendgrid': {{…}}}}")
        clean[esp] = dict(fields)
    return clean


def _instant(value: datetime | None, what: str) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise MessageError(f"{what}: expected a datetime, got {type(value).__name__}")
    try:
        instant(value)
    except ValueError as error:
        raise MessageError(f"{what}: {error}") from None
    return value


# One named function a field: type checkers read the converters of attrs classes no other way.


def _sender(value: str | Address | None) -> Address | None:
    return None if value is None else address(value, "sender")


def _to(value: Mailboxes) -> tuple[Address, ...]:
    return addresses(value, "to")


def _cc(value: Mailboxes) -> tuple[Address, ...]:
    return addresses(value, "cc")


def _bcc(value: Mailboxes) -> tuple[Address, ...]:
    return addresses(value, "bcc")


def _reply_to(value: Mailboxes) -> tuple[Address, ...]:
    return addresses(value, "reply_to")


def _subject(value: str) -> str:
    return _clean(value, "subject")


def _text(value: str | None) -> str | None:
    return _body(value, "text")


def _html(value: str | None) -> str | None:
    return _body(value, "html")


def _attachments(value: Attachment | Iterable[Attachment] | None) -> tuple[Attachment, ...]:
    return tuple(_items(value, "attachments"))


def _stream(value: str) -> str:
    return _clean(value, "stream")


def _send_at(value: datetime | None) -> datetime | None:
    return _instant(value, "send_at")


def _expires_at(value: datetime | None) -> datetime | None:
    return _instant(value, "expires_at")


def _only_sender(written: list[str]) -> Address | None:
    """The From of raw mail where it is exactly one address; anything else is no sender, and only a forced one helps."""
    try:
        return address(written[0], "raw: From") if len(written) == 1 else None
    except MessageError:
        return None


@frozen(kw_only=True)
class Message:
    """One email, to one or several recipients, independent of any ESP.

    Addresses are given as text (``"Ann <ann@example.org>"``) or :class:`Address`. ``sender`` is the
    From; a server's forced sender replaces it. An address given twice over ``to``, ``cc`` and ``bcc``
    is kept once, where it stands first. ``raw`` is a complete MIME message instead of ``subject``,
    ``text``, ``html``, ``headers`` and ``attachments``, for ESPs that take one; its From is the sender
    where none is given. ``extra`` holds an
    ESP's own fields by its name (``{"sendgrid": {"ip_pool_name": "bulk"}}``) and is merged last; it
    cannot touch what the library promises (From, recipients, our id). ``stream`` names a class of
    mail that queues on its own; ``priority`` (higher first) orders within it. ``send_at`` is waited
    for in the outbox; a message not on its way by ``expires_at`` is never sent.

    Raises :class:`~deliverykit.MessageError` naming the field, what is wrong with it and the mend.
    """

    sender: Address | None = field(default=None, converter=_sender)
    to: tuple[Address, ...] = field(default=(), converter=_to)
    cc: tuple[Address, ...] = field(default=(), converter=_cc)
    bcc: tuple[Address, ...] = field(default=(), converter=_bcc)
    reply_to: tuple[Address, ...] = field(default=(), converter=_reply_to)
    subject: str = field(default="", converter=_subject)
    text: str | None = field(default=None, converter=_text, repr=False)
    html: str | None = field(default=None, converter=_html, repr=False)
    headers: Mapping[str, str] = field(factory=dict, converter=_headers)
    attachments: tuple[Attachment, ...] = field(default=(), converter=_attachments)
    tags: tuple[str, ...] = field(default=(), converter=_tags)
    metadata: Mapping[str, str] = field(factory=dict, converter=_metadata)
    unsubscribe: Unsubscribe | None = field(default=None, converter=_unsubscribe)
    track_opens: bool | None = None
    track_clicks: bool | None = None
    raw: bytes | None = field(default=None, repr=False)
    stream: str = field(default="", converter=_stream)
    priority: int = 0
    send_at: datetime | None = field(default=None, converter=_send_at)
    expires_at: datetime | None = field(default=None, converter=_expires_at)
    extra: Mapping[str, Mapping[str, Any]] = field(factory=dict, converter=_extra, repr=False)

    def __attrs_post_init__(self) -> None:
        self._keep_recipients_once()
        if not self.recipients:
            raise MessageError("to: a message needs at least one recipient in to, cc or bcc")
        if not self.to:
            raise MessageError("to: empty; every ESP wants at least one address in to beside cc and bcc")
        if len(self.stream) > 64:
            raise MessageError(f"stream: {len(self.stream)} characters; at most 64")
        if not isinstance(self.priority, int) or not -1000 <= self.priority <= 1000:
            raise MessageError(f"priority: {self.priority!r}; give a whole number from -1000 to 1000, higher goes first")
        if self.send_at is not None and self.expires_at is not None and self.expires_at <= self.send_at:
            raise MessageError("expires_at: not after send_at; the message would never be sent")
        if self.raw is None:
            self._check_composed()
        else:
            self._check_raw()

    def _keep_recipients_once(self) -> None:
        seen: set[str] = set()
        for name in ("to", "cc", "bcc"):
            kept = tuple(one for one in getattr(self, name) if one.key not in seen)
            seen.update(one.key for one in kept)
            object.__setattr__(self, name, kept)

    def _check_composed(self) -> None:
        if self.text is None and self.html is None:
            raise MessageError("text: a message needs text, html or both (or raw)")
        if not self.text and not self.html:
            raise MessageError("text: empty, and no html; ESPs refuse a message without content")
        for one in self.attachments:
            if not isinstance(one, Attachment):
                raise MessageError(f"attachments: expected Attachment objects, got {type(one).__name__}")
        if self.unsubscribe and {name.lower() for name in self.headers} & {"list-unsubscribe", "list-unsubscribe-post"}:
            raise MessageError("headers: List-Unsubscribe is given there and as unsubscribe=; give one of them")

    def _check_raw(self) -> None:
        if not isinstance(self.raw, bytes) or not self.raw.strip():
            raise MessageError("raw: expected the bytes of a MIME message")
        given = [name for name in ("subject", "text", "html", "headers", "attachments", "unsubscribe", "cc", "bcc", "reply_to")
                 if getattr(self, name)]  # fmt: skip
        if given:
            raise MessageError(
                f"raw: {given[0]}= cannot stand beside raw=; write it into the MIME message, recipients into to="
            )
        from deliverykit.words.mime import begins_with_fields, header_values

        if not begins_with_fields(self.raw):
            raise MessageError("raw: does not begin with header fields; give a whole MIME message, head and body")
        if self.sender is None:
            object.__setattr__(self, "sender", _only_sender(header_values(self.raw, "from")))

    @property
    def recipients(self) -> tuple[Address, ...]:
        """Everybody the mail goes to: to, cc and bcc. Their number is what it costs of a quota."""
        return (*self.to, *self.cc, *self.bcc)

    @classmethod
    def from_email(cls, email: EmailMessage, **fields: Any) -> "Message":
        """A message from the standard library's, taken apart; ``fields`` add to it or override.

        Text, HTML, attachments and inline images are taken over, and every header that has no field
        of its own. Raises :class:`~deliverykit.MessageError` for a body that is not made of those;
        send such a message as ``raw=``.
        """
        from deliverykit.words.mime import fields_of

        return cls(**{**fields_of(email), **fields})

    def evolve(self, **changes: Any) -> "Message":
        """A copy with some fields changed, checked again."""
        return evolve(self, **changes)
