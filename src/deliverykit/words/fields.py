"""The converters of a message's fields: one named function each, for type checkers read them no other way."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from deliverykit.words.addresses import Address, address, addresses
from deliverykit.words.arguments import flag, items, refused, shown, whole
from deliverykit.words.clock import instant
from deliverykit.words.enclosures import Attachment, Unsubscribe
from deliverykit.words.errors import ConfigurationError, MessageError
from deliverykit.words.extras import plain_extra
from deliverykit.words.lines import RESERVED_HEADERS, body_text, one_line
from deliverykit.words.outcomes import OnDoubt, on_doubt

Mailboxes = str | Address | Iterable[str | Address] | None

_MAPPINGS = (dict, Mapping)
"""An ordinary dictionary is known without asking the abstract class."""
_HEADER_NAME = re.compile(r"[!-9;-~]{1,126}")


def unsubscribe(value: "str | Unsubscribe | None") -> Unsubscribe | None:
    """``Message.unsubscribe``, checked."""
    if value is None or isinstance(value, Unsubscribe):
        return value
    text = one_line(value, "unsubscribe")
    return Unsubscribe(mailto=text) if text.lower().startswith("mailto:") else Unsubscribe(url=text)


def _mapping(value: object, what: str) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, _MAPPINGS):
        refused(what, value, "expected a mapping of names to values", "give a dict", MessageError)
    return value


def _items(value: object, what: str) -> list[Any]:
    if value is None:
        return []
    return items(value, what, "give a list", alone=(str, Attachment), error=MessageError)


def headers(value: Mapping[str, str] | None) -> dict[str, str]:
    """``Message.headers``, checked."""
    clean: dict[str, str] = {}
    seen: set[str] = set()
    for name, text in _mapping(value, "headers").items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise MessageError(
                f"headers: {shown(name)} is not a header name; write printable ASCII without a colon, at most 126 characters"
            )
        if name.lower() in RESERVED_HEADERS:
            raise MessageError(f"headers: {name} cannot be set here; it has a field of its own or belongs to the ESP")
        if name.lower() in seen:
            raise MessageError(f"headers: {name} is given twice (header names do not know case)")
        seen.add(name.lower())
        clean[name] = one_line(text, f"headers[{name}]")
    return clean


def tags(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """``Message.tags``, checked."""
    tags = tuple(dict.fromkeys(one_line(tag, "tags") for tag in _items(value, "tags")))
    if "" in tags:
        raise MessageError("tags: a tag is empty")
    return tags


def metadata(value: Mapping[str, str] | None) -> dict[str, str]:
    """``Message.metadata``, checked."""
    clean: dict[str, str] = {}
    for key, text in _mapping(value, "metadata").items():
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) or key.lower().startswith("deliverykit"):
            raise MessageError(f"metadata: key {shown(key)} must be 1 to 64 of A-Z a-z 0-9 _ - and not begin with deliverykit")
        clean[key] = one_line(text, f"metadata[{key}]")
    return clean


def extra(value: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    """``Message.extra``, checked and copied."""
    return plain_extra(value)


def _instant(value: datetime | None, what: str) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        refused(what, value, "expected a datetime", "write datetime(…, tzinfo=UTC)", MessageError)
    try:
        instant(value)
    except ValueError as error:
        raise MessageError(f"{what}: {error}") from None
    return value


def sender(value: str | Address | None) -> Address | None:
    """``Message.sender``, checked."""
    return None if value is None else address(value, "sender")


def to(value: Mailboxes) -> tuple[Address, ...]:
    """``Message.to``, checked."""
    return addresses(value, "to")


def cc(value: Mailboxes) -> tuple[Address, ...]:
    """``Message.cc``, checked."""
    return addresses(value, "cc")


def bcc(value: Mailboxes) -> tuple[Address, ...]:
    """``Message.bcc``, checked."""
    return addresses(value, "bcc")


def reply_to(value: Mailboxes) -> tuple[Address, ...]:
    """``Message.reply_to``, checked."""
    return addresses(value, "reply_to")


def subject(value: str | None) -> str:
    """``Message.subject``, checked; ``None`` is no subject."""
    return "" if value is None else one_line(value, "subject")


def text(value: str | None) -> str | None:
    """``Message.text``, checked."""
    return body_text(value, "text")


def html(value: str | None) -> str | None:
    """``Message.html``, checked."""
    return body_text(value, "html")


def attachments(value: Attachment | Iterable[Attachment] | None) -> tuple[Attachment, ...]:
    """``Message.attachments``, checked."""
    return tuple(_items(value, "attachments"))


def stream(value: str | None) -> str:
    """``Message.stream``, checked; ``None`` is the stream without a name."""
    return "" if value is None else one_line(value, "stream")


def priority(value: int | None) -> int:
    """``Message.priority``, checked; ``None`` is 0."""
    return 0 if value is None else whole(value, "priority", least=-1000, most=1000, error=MessageError)


def track_opens(value: bool | None) -> bool | None:
    """``Message.track_opens``, checked; ``None`` is the ESP's own setting."""
    return None if value is None else flag(value, "track_opens", error=MessageError)


def track_clicks(value: bool | None) -> bool | None:
    """``Message.track_clicks``, checked; ``None`` is the ESP's own setting."""
    return None if value is None else flag(value, "track_clicks", error=MessageError)


def in_doubt(value: str | OnDoubt | None) -> OnDoubt | None:
    """``Message.in_doubt``, checked."""
    try:
        return None if value is None else on_doubt(value)
    except ConfigurationError as error:
        raise MessageError(f"{error}, or leave it out to use the route's") from None


def idempotency_key(value: str | None) -> str:
    """``Message.idempotency_key``, checked; ``None`` is no key."""
    if value is None:
        return ""
    if len(key := one_line(value, "idempotency_key")) > 255:
        refused("idempotency_key", key, "too long", "give at most 255", MessageError)
    return key


def send_at(value: datetime | None) -> datetime | None:
    """``Message.send_at``, checked."""
    return _instant(value, "send_at")


def expires_at(value: datetime | None) -> datetime | None:
    """``Message.expires_at``, checked."""
    return _instant(value, "expires_at")
