"""Raw MIME: reading and editing the header block of bytes without touching the body."""

import re
from collections.abc import Mapping

from deliverykit.words.errors import MessageError

__all__ = ["begins_with_fields", "has_long_line", "head_alone", "header_names", "header_values", "rewritten"]

_LINE_END = re.compile(rb"\r\n|\n|\r")
# RFC 5322, 3.6.8; the blank before the colon is its obsolete syntax (4.5), which mail servers still read.
_FIELD = re.compile(rb"\A([!-9;-~]+)[ \t]*:")
_WORD = re.compile(r"(?<!\s)\s*+\S++")
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
# Whoever these name gets no mail by them: recipients are given to the ESP. Left in, readers would see the hidden ones.
_HIDDEN = frozenset({"bcc", "resent-bcc"})


def _head(raw: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    """The header fields by lower-case name, each as its lines with CR LF between; and the body.

    The head ends where any reader may let it end, so that nobody finds another field further down: at an empty line,
    and at the first line that is neither a field nor the continuation of one. What stands before the first
    field (empty lines, a mailbox's ``From `` line, a continuation of nothing) is left out.
    """
    fields: list[tuple[str, list[bytes]]] = []
    at = 0
    while at < len(raw):
        end = _LINE_END.search(raw, at)
        stop, following = (end.start(), end.end()) if end else (len(raw), len(raw))
        line = raw[at:stop]
        if end and end.group() == b"\r":
            raise MessageError("raw: a CR without LF stands among the headers; end lines with CR LF")
        found = _FIELD.match(line)
        if found:
            fields.append((found[1].decode("ascii").lower(), [line]))
        elif not fields and (not line or line[:1] in b" \t" or line.startswith(b"From ")):
            pass
        elif line[:1] in (b" ", b"\t"):
            fields[-1][1].append(line)
        else:
            return _joined(fields), raw[at:] if line else raw[following:]
        at = following
    return _joined(fields), b""


def _joined(fields: list[tuple[str, list[bytes]]]) -> list[tuple[str, bytes]]:
    return [(name, b"\r\n".join(lines)) for name, lines in fields]


def begins_with_fields(raw: bytes) -> bool:
    """Whether there is a header block at all, rather than text somebody took for a message."""
    return bool(_head(raw)[0])


def header_names(raw: bytes) -> list[str]:
    """The names of the header fields in raw MIME, as they are written, in order."""
    return [text.partition(b":")[0].rstrip().decode("ascii") for _, text in _head(raw)[0]]


def head_alone(raw: bytes) -> bytes:
    """The header fields of raw MIME, ended by an empty line, without the body."""
    return b"\r\n".join([*(text for _, text in _head(raw)[0]), b"", b""])


def has_long_line(raw: bytes, limit: int = 998) -> bool:
    """Whether a line is longer than ``limit`` bytes without its line end (RFC 5321, 4.5.3.1.6: 1,000 with CR LF)."""
    at = 0
    while len(raw) - at > limit:
        # The last line end within reach: whatever lines lie before it are short enough.
        end = raw.rfind(b"\n", at, at + limit + 1)
        if end < 0 and raw[at + limit : at + limit + 2] == b"\r\n":
            end = at + limit + 1
        if end < 0:
            return True
        at = end + 1
    return False


def header_values(raw: bytes, name: str) -> list[str]:
    """The unfolded values of a header in raw MIME."""
    return [
        re.sub(rb"\r\n[ \t]+", b" ", text.partition(b":")[2]).strip().decode("utf-8", "replace")
        for found, text in _head(raw)[0]
        if found == name.lower()
    ]


def rewritten(raw: bytes, remove: frozenset[str], headers: Mapping[str, str]) -> bytes:
    """Raw MIME with header fields removed and others put first; the body keeps every byte.

    Of the fields in ``headers`` only these are left, whatever case, folding or number the others had;
    ``Bcc`` is removed in any case. The head is written with CR LF and ended by an empty line, so all
    readers see the same fields. Not re-serialised: a parse and print would change signed or odd bodies.

    Raises :class:`~deliverykit.MessageError` for a bare CR or another control character among the
    headers that stay: some readers end a line there, and a second From could hide behind it.
    """
    fields, body = _head(raw)
    gone = {name.lower() for name in remove} | {name.lower() for name in headers} | _HIDDEN
    kept = [text for name, text in fields if name not in gone]
    for text in kept:
        if bad := _CONTROL.search(text.replace(b"\r\n", b"")):
            name = text.partition(b":")[0].decode("ascii", "replace")
            raise MessageError(f"raw: header {name} contains {bad.group()!r}, where readers may end the line; remove it")
    added = [_folded(name, value) for name, value in headers.items()]
    return b"\r\n".join([*added, *kept, b"", b""]) + body


def _folded(name: str, value: str) -> bytes:
    """One field, broken at its own spaces where it is longer than 78 (a line of more than 998 is refused by servers)."""
    if bad := re.search(r"[\x00-\x08\x0a-\x1f\x7f]", name + value):
        raise MessageError(f"header {name}: contains {bad.group()!r}, which cannot stand in a header")
    lines, line = [], f"{name}:"
    for word in _WORD.findall(f" {value.rstrip()}"):
        if len(line) + len(word) > 78 and line != f"{name}:":
            lines.append(line)
            line = ""
        line += word
    return "\r\n".join([*lines, line]).encode()
