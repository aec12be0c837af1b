"""From a payload (field names and plain values) to the parts of Mailgun's form, with Mailgun's own limits."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from deliverykit.providers.mailgun.multipart import File
from deliverykit.words.errors import MessageError

__all__ = ["MAX_OPTIONS", "MAX_VARIABLES", "is_field", "parts"]

MAX_OPTIONS = 16 * 1024
"""Bytes of all fields beginning with o: h: v: t:, names and values together (Mailgun's OpenAPI description, 2026)."""
MAX_VARIABLES = 4 * 1024
"""Bytes of all v: fields. Beyond 4 KB Mailgun cuts them off in its events (same source), and with them our id."""

# No brackets: `to[1]` and `to[]` are other spellings of `to` to servers that read PHP's forms (Mailgun's own PHP client
# sent them). A header's name after h: is an RFC 9110 token: a blank or a second colon could make `h:From ` another `From`.
_NAME = re.compile(r"[hH]:[A-Za-z0-9!#$%&'*+.^_`|~-]+|[A-Za-z0-9_-]+(:[A-Za-z0-9_.-]+)?")
_LINE_END = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def is_field(name: str) -> bool:
    """Whether this can be the name of a field in Mailgun's form."""
    return _NAME.fullmatch(name) is not None


def parts(payload: Mapping[str, Any]) -> list[tuple[str, str | File]]:
    """The form's parts in order; a list becomes a repeated field, a mapping JSON, a boolean yes or no.

    Raises :class:`~deliverykit.MessageError` for a name that is no field of Mailgun's, a value that
    fits in no form, and for options longer than Mailgun takes.
    """
    found: list[tuple[str, str | File]] = []
    for name, value in payload.items():
        if not isinstance(name, str) or not is_field(name):
            raise MessageError(
                f"Mailgun field {name!r}: not a field name such as 'o:tag' or 'h:X-Name'; check extra['mailgun']"
            )
        if (right := _lowered(name)) != name:
            raise MessageError(f"Mailgun field {name!r}: Mailgun's names are in lower case; write {right!r}")
        found += [(name, one) for one in _values(name, value)]
    _bounded(found, ("o:", "h:", "v:", "t:"), MAX_OPTIONS, "headers, tags, metadata and options")
    _bounded(found, ("v:",), MAX_VARIABLES, "metadata")
    return found


def _lowered(name: str) -> str:
    """A field's name as Mailgun writes it: in lower case, but for what the caller chooses after ``h:`` and ``v:``."""
    prefix, colon, rest = name.partition(":")
    return prefix.lower() + colon + (rest if prefix.lower() in {"h", "v"} else rest.lower())


def _values(name: str, value: Any) -> Iterator[str | File]:
    files = name.lower() in {"attachment", "inline", "message"}
    for one in value if isinstance(value, list | tuple) else (value,):
        if isinstance(one, File) != files:
            wanted = "a file (use the message's attachments)" if files else "text, not a file"
            raise MessageError(f"Mailgun field {name!r}: expected {wanted}, got {type(one).__name__}")
        if isinstance(one, str) and name.startswith("h:") and (bad := _LINE_END.search(one)):
            raise MessageError(f"Mailgun field {name!r}: contains {bad.group()!r}, where another header could begin; remove it")
        if isinstance(one, str | File):
            yield one
        elif isinstance(one, bool):
            yield "yes" if one else "no"
        elif isinstance(one, int | float):
            yield str(one)
        elif isinstance(one, Mapping):
            yield _json(name, one)
        else:
            raise MessageError(
                f"Mailgun field {name!r}: a {type(one).__name__} fits in no form; give text, a number or a mapping"
            )


def _json(name: str, value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageError(f"Mailgun field {name!r}: cannot be written as JSON ({error})") from None


def _bounded(found: list[tuple[str, str | File]], prefixes: tuple[str, ...], limit: int, what: str) -> None:
    size = sum(
        len(name.encode()) + len(value.encode())
        for name, value in found
        if isinstance(value, str) and name.lower().startswith(prefixes)
    )
    if size > limit:
        raise MessageError(
            f"{what}: {size} bytes, Mailgun takes at most {limit} in all its {' '.join(prefixes)} fields; shorten them"
        )
