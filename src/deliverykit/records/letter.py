"""A message as bytes in the outbox: JSON, the attachments' contents apart, each under its hash.

The JSON carries a format version; see :mod:`deliverykit.records.stored`. A field that this version does not know may say how
the message is to be sent, so only the writer can say that it may be ignored: by writing a newer version with a lower reader.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import fields

from deliverykit.records.stored import FORMAT, UPGRADE, fields_of, with_format
from deliverykit.words.addresses import Address
from deliverykit.words.enclosures import Attachment, Unsubscribe
from deliverykit.words.message import Message

__all__ = ["Unreadable", "enclosures", "fingerprint", "hashed", "pack", "unpack"]

_PEOPLE = ("to", "cc", "bcc", "reply_to")
_DEFAULTS = {one.name: one.default for one in fields(Message)}
_READERS: dict[str, int] = {}
"""Fields added after format 1: the lowest format whose readers may send a message that has one."""
_LONGEST = 200
_written = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Unreadable(ValueError):
    """This version cannot read a stored message; another may. The message waits."""


def hashed(content: bytes) -> str:
    """What a file is known by."""
    return hashlib.sha256(content).hexdigest()


def pack(message: Message, hashed: Callable[[bytes], str] = hashed) -> tuple[bytes, dict[str, bytes]]:
    """The letter, and its files by content hash; ``hashed`` may remember that of raw mail from one message to the next."""
    files: dict[str, bytes] = {}

    def filed(digest: str, content: bytes) -> str:
        files[digest] = content
        return digest

    data: dict[str, Any] = {}
    for name in _DEFAULTS:
        value = getattr(message, name)
        if name == "idempotency_key":
            continue  # for the way in alone, and it may name a person
        if not value and not isinstance(value, int):
            continue  # a 0 and a False say something
        if name in _PEOPLE:
            data[name] = [_mailbox(one) for one in value]
        elif name == "sender":
            data[name] = _mailbox(value)
        elif name == "attachments":
            data[name] = [[one.filename, filed(one.digest, one.content), one.content_type, one.content_id] for one in value]
        elif name == "raw":
            data[name] = filed(hashed(value), value)
        elif name == "unsubscribe":
            data[name] = [value.url, value.mailto]
        elif name == "in_doubt":
            data[name] = str(value)
        elif isinstance(value, datetime):
            data[name] = value.isoformat()
        else:
            data[name] = value
    reader = max([_READERS[name] for name in data if name in _READERS], default=1)
    return _written(with_format(data, reader=reader)).encode(), files


def fingerprint(letter: bytes) -> str:
    """Return the same digest for payloads with the same fields, whatever their order and the format they are stored in."""
    data, _ = fields_of(letter, _DEFAULTS)
    canonical = json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def enclosures(letter: bytes) -> tuple[str, ...]:
    """The hashes of the files a letter needs; none where this version cannot read it."""
    if b'"attachments":' not in letter and b'"raw":' not in letter:  # in a text its quotes would be written otherwise
        return ()
    try:
        data = json.loads(letter)
        hashes = (*(one[1] for one in data.get("attachments", ())), *((data["raw"],) if "raw" in data else ()))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return ()
    return hashes if all(isinstance(one, str) for one in hashes) else ()


def unpack(letter: bytes, files: Mapping[str, bytes]) -> Message:
    """The message again. Raises :class:`Unreadable` where this version cannot read it, or must not send it."""
    try:
        data, stored = fields_of(letter, _DEFAULTS)
    except ValueError as error:
        raise Unreadable(f"its payload is damaged: {error}") from None
    if stored.newer:
        raise Unreadable(stored.hint)
    if stored.unknown and stored.version <= FORMAT:
        names = ", ".join(sorted(stored.unknown))[:_LONGEST]
        raise Unreadable(f"this version does not know its fields {names}; {UPGRADE}")
    known = {name: value for name, value in data.items() if name not in stored.unknown}
    try:
        return _message(known, files)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise Unreadable(f"a field of its payload cannot be read ({type(error).__name__}); {UPGRADE}") from error


def _message(data: dict[str, Any], files: Mapping[str, bytes]) -> Message:
    for name in _PEOPLE:
        if name in data:
            data[name] = [Address(*one) for one in data[name]]
    if "sender" in data:
        data["sender"] = Address(*data["sender"])
    data["attachments"] = [
        Attachment(filename=filename, content=files[digest], content_type=kind, content_id=cid)
        for filename, digest, kind, cid in data.get("attachments", ())
    ]
    if "raw" in data:
        data["raw"] = files[data["raw"]]
    if "unsubscribe" in data:
        url, mailto = data["unsubscribe"]
        data["unsubscribe"] = Unsubscribe(url=url, mailto=mailto)
    for name in ("send_at", "expires_at"):
        if name in data:
            data[name] = datetime.fromisoformat(data[name])
    return Message(**data)


def _mailbox(one: Address) -> list[str]:
    return [one.email, one.name] if one.name else [one.email]
