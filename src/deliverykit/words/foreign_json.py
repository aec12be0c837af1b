"""JSON from outside: read without raising, every text in it cleaned, and the beginning of what was cut off."""

import json
import math
import re
from typing import Any, Final

from deliverykit.words.untrusted import clean

__all__ = ["parsed"]

_DIGITS: Final = 300
_BEGINNING: Final = 32 * 1024
"""No more bytes of a body are read, so that none holds the loop for long: what matters stands at the beginning."""
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[{}\[\],:]', re.DOTALL)
_CLOSING: Final = {"{": "}", "[": "]"}


def parsed(body: bytes, *, complete: bool = True) -> Any:
    """Return a body as plain data, or ``None`` where it is not JSON, or nested too deep.

    Texts and names are cleaned, bytes that are not of the encoding become U+FFFD, of a name given twice the last counts.
    """
    try:
        if complete and len(body) <= _BEGINNING:
            text = body.decode(json.detect_encoding(body), "replace")
        else:
            body = body[:_BEGINNING]
            text = _completed(body.decode(json.detect_encoding(body), "replace"))
        return _cleaned(_DECODER.decode(text))
    except (ValueError, RecursionError):
        return None


def _number(text: str) -> int | float | None:
    if len(text) > _DIGITS:
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _whole_number(text: str) -> int | float | None:
    return int(text) if len(text) < 20 else _number(text)


_DECODER = json.JSONDecoder(parse_float=_number, parse_int=_whole_number, parse_constant=lambda _: None, strict=False)


def _cleaned(value: Any) -> Any:
    """Clean every text of a tree in place; by a list of what is left to do, because a tree may be deeper than the stack."""
    if isinstance(value, str):
        return clean(value)
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            for place, item in enumerate(one):
                if isinstance(item, str):
                    one[place] = clean(item)
                elif isinstance(item, list | dict):
                    waiting.append(item)
        elif isinstance(one, dict):
            items = list(one.items())
            one.clear()
            for name, item in items:
                one[clean(name)] = clean(item) if isinstance(item, str) else item
                if isinstance(item, list | dict):
                    waiting.append(item)
    return value


def _completed(text: str) -> str:
    """The beginning of a JSON text with what is open closed, so that it can be read."""
    open_: list[str] = []
    last, before, end, unfinished = "", "", 0, False
    for found in _TOKEN.finditer(text):
        first = found.group()[0]
        if first in _CLOSING:
            open_.append(first)
        elif first in "}]" and open_:
            open_.pop()
        unfinished = first == '"' and not found[1]
        before, last, end = (last if first == '"' else before), first, found.end()
    if unfinished:
        text = f'{_without_half_an_escape(text)}"'
    elif last == ",":
        text = text[: end - 1]
    elif last == ":":
        text = f"{text[:end]}null"
    else:
        text = text[:end]
    if last == '"' and open_ and open_[-1] == "{" and before in "{,":
        text += ":null"
    return text + "".join(_CLOSING[one] for one in reversed(open_))


def _without_half_an_escape(text: str) -> str:
    at = text.rfind("\\", len(text) - 6)
    if at < 0:
        return text
    text = text[:at]
    backslashes = len(text) - len(text.rstrip("\\"))
    return text[:-1] if backslashes % 2 else text
