"""What a text says when its escapes, base64 or folds are undone, and where each character of that began in the text."""

import base64
import re
from html import unescape
from typing import Final

__all__ = ["BASE64", "FOLDS", "QUOTED_PRINTABLE", "STANDARD", "Places", "decoded", "escapes", "unescaped", "without"]

Places = list[int] | range
"""Where each character of a reading, and its end, begins in the text that was given first."""

_HEX: Final = "[0-9A-Fa-f]"
_PERCENT: Final = (
    rf"%u{_HEX}{{4}}|%[0-7]{_HEX}"
    rf"|%[C-Dc-d]{_HEX}%[89ABab]{_HEX}|%[Ee]{_HEX}(?:%[89ABab]{_HEX}){{2}}|%[Ff][0-7](?:%[89ABab]{_HEX}){{3}}"
)
_BACKSLASH: Final = (
    rf"\\u[dD][89ABab]{_HEX}{{2}}\\u[dD][C-Fc-f]{_HEX}{{2}}|\\u{_HEX}{{4}}|\\x{_HEX}{{2}}|\\U0000{_HEX}{{4}}"
    rf"|\\u\{{{_HEX}{{1,4}}\}}|\\[0-3][0-7]{{2}}|\\[^uxU]"
)
_AMPERSAND: Final = rf"&#[0-9]{{1,7}};?|&#[xX]{_HEX}{{1,6}};?|&[a-zA-Z]{{2,31}};"
_ANY_ESCAPE = re.compile(f"{_PERCENT}|{_BACKSLASH}|{_AMPERSAND}")
_ESCAPES_OF_A_KIND = tuple(re.compile(one) for one in (_PERCENT, _BACKSLASH, _AMPERSAND))
QUOTED_PRINTABLE = re.compile(rf"=[0-7]{_HEX}")
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{16,}")
"""What may be base64 that holds a secret in another form."""
# Where a text was folded: blanks, what could not be printed, and line ends as Python, URLs and HTML write them. In
# quoted-printable a sign stands before them, which may also be the last one of a secret.
_BLANK: Final = "[\\s\ufffd\xad\u200b]"
_FOLD: Final = rf"{_BLANK}|\\[rnt]|%0[9AaDd]|&#(?:9|1[03]|[xX][9AaDd]);|&shy;|<(?:wbr|br) {{0,3}}/?>"
FOLDS = tuple(re.compile(f"(?:{fold})+") for fold in (_BLANK, _FOLD, f"=?(?:{_FOLD})"))
"""From the narrowest: a secret may hold what looks like a fold."""
_BLANKS: Final = "nrtfv0"
BASE64: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
STANDARD = str.maketrans("-_", "+/")


def escapes(*, alike: bool) -> tuple[re.Pattern[str], ...]:
    """Return the patterns by which a text is read: all kinds of escapes at once, and ``alike`` one kind at a time too.

    That is for who looks for a text that itself looks like an escape.
    """
    return (_ANY_ESCAPE, *_ESCAPES_OF_A_KIND) if alike else (_ANY_ESCAPE,)


def unescaped(text: str, places: Places, kind: re.Pattern[str]) -> tuple[str, Places]:
    """Return what the escapes of a text mean."""
    if not any(sign in text for sign in "%\\&="):
        return text, places
    pieces: list[str] = []
    moved: list[int] = []
    done = 0
    for found in kind.finditer(text):
        start, end = found.span()
        meant = _meaning(found.group())
        if meant == found.group():
            continue
        pieces += [text[done:start], meant]
        moved += places[done:start]
        moved += [places[start]] * len(meant)
        done = end
    pieces.append(text[done:])
    moved += places[done:]
    return "".join(pieces), moved


def without(text: str, places: Places, removed: re.Pattern[str]) -> tuple[str, Places]:
    """Return a text without some of its characters."""
    pieces: list[str] = []
    moved: list[int] = []
    done = 0
    for found in removed.finditer(text):
        pieces.append(text[done : found.start()])
        moved += places[done : found.start()]
        done = found.end()
    pieces.append(text[done:])
    moved += places[done:]
    return "".join(pieces), moved


def decoded(text: str, places: Places) -> tuple[str, Places]:
    """Return what the base64 in a text says, a line for each run of it."""
    pieces: list[str] = []
    moved: list[int] = []
    for found in _ENCODED.finditer(text):
        run = found[0].translate(STANDARD)
        said = base64.b64decode(run[: len(run) // 4 * 4]) + b"\n"
        pieces.append(said.decode("latin-1"))
        moved += [places[found.start() + -(-place * 4 // 3)] for place in range(len(said) - 1)]
        moved.append(places[found.end()])
    return "".join(pieces), [*moved, places[len(text)]]


def _meaning(escape: str) -> str:
    if escape[0] == "=":
        return chr(int(escape[1:], 16))
    if escape[0] == "%" and escape[1] == "u":
        return chr(int(escape[-4:], 16))
    if escape[0] == "%":
        return bytes.fromhex(escape.replace("%", "")).decode("utf-8", "replace")
    if escape[0] == "&":
        return unescape(escape)
    if escape[1] in _BLANKS and len(escape) == 2:
        return " "
    if escape[1].isdigit() and len(escape) == 4:
        return chr(int(escape[1:], 8))
    if escape[1] not in "uxU":
        return escape[1]
    codes = [int(one.strip("{}"), 16) for one in re.split(r"\\[uxU]", escape) if one]
    if len(codes) == 2:
        return chr(0x10000 + ((codes[0] - 0xD800) << 10) + (codes[1] - 0xDC00))
    return chr(codes[0])
