"""MIME: taking an ``EmailMessage`` apart, and editing the header block of raw bytes without touching the body."""

import re
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any

from deliverykit.words.addresses import Address
from deliverykit.words.errors import MessageError
from deliverykit.words.message import RESERVED_HEADERS, Attachment

__all__ = ["fields_of", "header_values", "rewritten"]

_OWN_FIELDS = {"from": "sender", "to": "to", "cc": "cc", "bcc": "bcc", "reply-to": "reply_to"}


def fields_of(email: EmailMessage) -> dict[str, Any]:
    """The keyword arguments of a ``Message`` equal to the standard library's message."""
    fields: dict[str, Any] = {"headers": {}}
    for name, value in email.items():
        lowered = name.lower()
        if lowered in _OWN_FIELDS:
            found = [Address(f"{one.username}@{one.domain}", one.display_name) for one in value.addresses]
            fields[_OWN_FIELDS[lowered]] = found[0] if lowered == "from" and found else found
        elif lowered == "subject":
            fields["subject"] = str(value)
        elif lowered not in RESERVED_HEADERS:
            fields["headers"][name] = re.sub(r"[\r\n]+\s*", " ", str(value))
    fields["attachments"] = []
    _take_part(email, fields)
    return fields


def _take_part(part: EmailMessage, fields: dict[str, Any]) -> None:
    kind = part.get_content_type()
    attached = part.get_content_disposition() == "attachment" or part.get_filename() is not None
    if part.is_multipart() and kind != "message/rfc822":
        for child in part.iter_parts():
            if isinstance(child, EmailMessage):
                _take_part(child, fields)
    elif kind in {"text/plain", "text/html"} and not attached:
        which = "text" if kind == "text/plain" else "html"
        if which in fields:
            raise MessageError(f"the email has more than one {kind} body; send it as raw=")
        fields[which] = part.get_content()
    elif kind.startswith("message/"):
        raise MessageError(f"the email carries a {kind} part; send it as raw=")
    else:
        content = part.get_content()
        fields["attachments"].append(
            Attachment(
                filename=part.get_filename() or f"part{len(fields['attachments']) + 1}",
                content=content.encode(part.get_content_charset("utf-8")) if isinstance(content, str) else content,
                content_type=kind,
                content_id=part.get("Content-ID", "") if part.get_content_disposition() != "attachment" else "",
            )
        )


_HEAD_END = re.compile(rb"\r?\n\r?\n")


def _head(raw: bytes) -> tuple[list[bytes], bytes]:
    """The header fields, each with its folded lines, and all the rest from the blank line on."""
    raw = raw.lstrip(b"\r\n")
    end = _HEAD_END.search(raw)
    head, rest = (raw[: end.start()], raw[end.end() :]) if end else (raw.rstrip(b"\r\n"), b"")
    fields: list[bytes] = []
    for line in head.replace(b"\r\n", b"\n").split(b"\n"):
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += b"\r\n" + line
        else:
            fields.append(line)
    return fields, rest


def _name(field: bytes) -> str:
    return field.partition(b":")[0].strip().decode("ascii", "replace").lower()


def header_values(raw: bytes, name: str) -> list[str]:
    """The unfolded values of a header in raw MIME."""
    return [
        re.sub(rb"\r\n[ \t]+", b" ", field.partition(b":")[2]).strip().decode("utf-8", "replace")
        for field in _head(raw)[0]
        if _name(field) == name.lower()
    ]


def rewritten(raw: bytes, remove: frozenset[str], headers: Mapping[str, str]) -> bytes:
    """Raw MIME with header fields removed and others put first; the body keeps every byte.

    Not re-serialised: a parse and print would change signed or odd bodies. Raises
    :class:`~deliverykit.MessageError` for a bare CR among the headers: some readers end a line there,
    and a second From could hide behind it.
    """
    fields, rest = _head(raw)
    if any(b"\r" in field.replace(b"\r\n", b"") for field in fields):
        raise MessageError("raw: a CR without LF stands among the headers; end lines with CR LF")
    gone = {name.lower() for name in remove} | {name.lower() for name in headers}
    kept = [field for field in fields if field.strip() and _name(field) not in gone]
    added = [f"{name}: {value}".encode() for name, value in headers.items()]
    return b"\r\n".join([*added, *kept, b"", b""]) + rest
