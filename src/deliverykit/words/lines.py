"""What a line of a header, and a body, may hold: no field can start another."""

import re

from deliverykit.words.arguments import refused
from deliverykit.words.errors import MessageError

__all__ = ["RESERVED_HEADERS", "body_text", "one_line"]

# C0 but TAB, DEL, C1, and the two Unicode line ends: Python's email package ends a line at \x85, U+2028 and U+2029.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

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


def one_line(value: object, what: str) -> str:
    """One line of text: no CR, LF, NUL or other control character, so that no field can start a header."""
    if not isinstance(value, str):
        refused(what, value, "expected text", "give a str", MessageError)
    if bad := _CONTROL.search(value):
        raise MessageError(f"{what}: contains {bad.group()!r}, which cannot stand in a header; remove it")
    if not value.isascii() and _SURROGATE.search(value):
        raise MessageError(f"{what}: contains a lone surrogate, which cannot be encoded; remove it")
    return value


def body_text(value: object, what: str) -> str | None:
    """A body: any text but NUL and lone surrogates."""
    if value is None:
        return None
    if not isinstance(value, str):
        refused(what, value, "expected text", "give a str", MessageError)
    if "\x00" in value:
        raise MessageError(f"{what}: contains NUL, which no mail can carry; remove it")
    if not value.isascii() and _SURROGATE.search(value):
        raise MessageError(f"{what}: contains a lone surrogate, which cannot be encoded; remove it")
    return value
