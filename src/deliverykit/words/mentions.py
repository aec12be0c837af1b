"""Whether a text names a person, however the address or the name is written in it."""

import base64
import binascii
import html
import quopri
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from urllib.parse import unquote

from attrs import field, frozen

from deliverykit.words.addresses import Address

__all__ = ["Mentions"]

_DEPTH = 3
"""So many encodings inside one another are undone."""
_MOST = 40
"""Of so many readings of one text the rest is not looked at."""
_SHORTEST = 3
"""A shorter name is found in too many innocent words."""

_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,40})\?([bBqQ])\?([^?\s]*)\?=")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}")
_FOLDED = re.compile(r"=?\r?\n")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(=\?)")
_PUNYCODE = re.compile(r"xn--[a-z0-9-]+")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")


def _frozen(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@frozen
class Mentions:
    """One person: an address, and the display names under which it was met."""

    address: Address
    names: frozenset[str] = field(default=frozenset(), converter=_frozen)

    @cached_property
    def _words(self) -> tuple[str, ...]:
        """The address as it may be written plainly: with the domain in either form."""
        found = (self.address.email, self.address.ascii, self.address.key, _unicode_domain(self.address.email))
        quoted = [one.replace('"', "") for one in found]
        return tuple(dict.fromkeys(_folded(one) for one in (*found, *quoted)))

    @cached_property
    def _names(self) -> re.Pattern[str] | None:
        wanted: list[str] = []
        for name in (self.address.name, *self.names):
            folded = _folded(name)
            if len(folded) < _SHORTEST:
                continue
            first, _, last = folded.partition(" ")
            wanted += [folded, *([f"{last}, {first}", f"{last} {first}"] if last else [])]
        if not wanted:
            return None
        # Not within an address: an Ann is not everybody's ann@.
        return re.compile(rf"(?<![\w@.+-])(?:{'|'.join(map(re.escape, dict.fromkeys(wanted)))})(?![\w@+-]|\.\w)")

    def plainly(self, text: str) -> bool:
        """Whether a text holds the address or a name as it is."""
        folded = _folded(text)
        return any(word in folded for word in self._words) or bool(self._names and self._names.search(folded))

    def named(self, text: str) -> bool:
        """Whether a text names the person, also percent-encoded, as HTML, JSON, MIME or base64 says it, and in any case.

        Some encodings inside one another are undone; a text that is encoded more often, split or abbreviated is not found.
        """
        return any(map(self.plainly, _readings(text)))


def _readings(text: str) -> Iterator[str]:
    """The text, and what it says when its encodings are undone."""
    seen = {text}
    level = [text]
    for _ in range(_DEPTH):
        yield from level
        found = (decoded for one in level for decode in _DECODERS for decoded in decode(one))
        level = []
        for one in found:
            if one not in seen and len(seen) < _MOST:
                seen.add(one)
                level.append(one)
    yield from level


def _folded(text: str) -> str:
    """Without case, compatibility forms, invisible characters, and differences in blanks."""
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold().split())


def _unicode_domain(email: str) -> str:
    return _PUNYCODE.sub(_label, email.lower())


def _label(found: re.Match[str]) -> str:
    try:
        return found[0][4:].encode().decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return found[0]


def _percent(text: str) -> Iterator[str]:
    if "%" in text:
        yield unquote(text)


def _html(text: str) -> Iterator[str]:
    if "&" in text:
        yield html.unescape(text)


def _escaped(text: str) -> Iterator[str]:
    if "\\" in text:
        yield _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text).replace("\\/", "/").replace('\\"', '"')


def _quoted_printable(text: str) -> Iterator[str]:
    if "=" in text:
        unfolded = re.sub(r"=\r?\n", "", text)
        yield quopri.decodestring(unfolded.encode("utf-8", "replace")).decode("utf-8", "replace")


def _words(text: str) -> Iterator[str]:
    if "=?" in text:
        yield _ENCODED_WORD.sub(_word, _BETWEEN_WORDS.sub(r"\1\2", text))


def _word(found: re.Match[str]) -> str:
    charset, kind, body = found.groups()
    try:
        if kind in "qQ":
            raw = quopri.decodestring(body.replace("_", " ").encode(), header=False)
        else:
            raw = base64.b64decode(body + "=" * (-len(body) % 4))
        return raw.decode(charset.partition("*")[0], "replace")
    except (LookupError, ValueError, binascii.Error):
        return found[0]


def _base64(text: str) -> Iterator[str]:
    whole = _FOLDED.sub("", text)
    for found in {*_BASE64.findall(text), *_BASE64.findall(whole)}:
        raw = found.translate(str.maketrans("-_", "+/"))
        try:
            said = base64.b64decode(raw[: len(raw) // 4 * 4] if len(raw) % 4 == 1 else raw + "=" * (-len(raw) % 4))
        except (ValueError, binascii.Error):
            continue
        if b"@" in said or b"%" in said or b"&" in said or b" " in said:
            yield said.decode("utf-8", "replace")


def _punycode(text: str) -> Iterator[str]:
    if "xn--" in text.lower():
        yield _unicode_domain(text)


_DECODERS: tuple[Callable[[str], Iterable[str]], ...] = (
    _percent, _html, _escaped, _quoted_printable, _words, _punycode, _base64,
)  # fmt: skip
