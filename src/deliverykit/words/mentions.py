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
_ESCAPE = re.compile(
    r"(?:\\u|%u)([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|\\U000([0-9a-fA-F]{5})|\\u\{([0-9a-fA-F]{1,5})\}|\\([nrt])|\\([^\w\s])"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}")
_HEXADECIMAL = re.compile(r"(?:[0-9a-fA-F]{2}){6,}")
_FOLDED = re.compile(r"=?\r?\n")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(=\?)")
_PUNYCODE = re.compile(r"xn--[a-z0-9-]+")
_ENDS = r"(?![^\W_]|[.-]\w)"
"""Not within a longer domain."""
_STANDARD = str.maketrans("-_", "+/")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffd]")
"""And what stands for it in a text that was cleaned."""
_ALIKE = str.maketrans({"\u3002": ".", "\uff61": ".", "\u2019": "'", "\u2018": "'", "\u02bc": "'"})


def _frozen(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@frozen
class Mentions:
    """One person: an address, and the display names under which it was met."""

    address: Address
    names: frozenset[str] = field(default=frozenset(), converter=_frozen)

    @cached_property
    def _addresses(self) -> re.Pattern[str]:
        """The address as it may be written plainly: with the domain in either form, folded, or for a bounce."""
        found = (self.address.email, self.address.ascii, self.address.key, _unicode_domain(self.address.email))
        parts = {_folded(one).rpartition("@")[::2] for one in found}
        parts |= {(local.replace('"', ""), domain) for local, domain in parts}
        ways = "|".join(way for local, domain in sorted(parts) for way in _ways(local, domain))
        # Not within another address: an ann@ is no joann@, nor is anybody at example.org one at example.org.au.
        return re.compile(rf"(?<!\w)(?<!\w[.+-])(?:{ways}){_ENDS}|{'|'.join(_bounces(parts))}")

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
        wanted = [re.escape(one).replace("\\ ", "[ +_]") for one in dict.fromkeys(wanted)]
        # Not within an address: an Ann is not everybody's ann@.
        return re.compile(rf"(?<![\w@.+-])(?:{'|'.join(wanted)})(?![\w@+-]|\.\w)")

    def plainly(self, text: str) -> bool:
        """Whether a text holds the address or a name as it is."""
        folded = _folded(text)
        return bool(self._addresses.search(folded) or (self._names and self._names.search(folded)))

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


def _ways(local: str, domain: str) -> Iterator[str]:
    """Patterns for an address in a text, also with its local part in quotes, and folded behind it."""
    host = " ?".join(map(re.escape, domain))
    person = re.escape(local)
    if '"' not in local:
        person = f'(?:{person}|"{person}")'
    yield rf"{person} ?(?:@|[\[({{<] ?at ?[\])}}>]) ?{host}"
    yield rf"{person} at {re.escape(domain)}"


def _bounces(parts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Patterns for an address inside that of a bounce (VERP, SRS), or sent through a relay."""
    for local, domain in sorted(parts):
        person, host = re.escape(local), re.escape(domain)
        yield rf"(?<![\w.]){person}[=%]{host}{_ENDS}"
        yield rf"(?<![\w.-]){host}={person}@"


def _folded(text: str) -> str:
    """Without case, compatibility forms, invisible characters, and differences in blanks, dots and apostrophes."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text.translate(_ALIKE)))
    return " ".join(plain.casefold().split())


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
    if "\\" in text or "%u" in text:
        yield _ESCAPE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    *digits, blank, sign = found.groups()
    return sign or (blank and "\n") or chr(int(next(filter(None, digits)), 16))


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
    """All runs of base64, read from each of the four places where it may begin behind other text."""
    whole = _FOLDED.sub("", text)
    runs = [found.translate(_STANDARD) for found in {*_BASE64.findall(text), *_BASE64.findall(whole)}]
    for offset in range(4):
        said = (base64.b64decode((cut := one[offset:])[: len(cut) // 4 * 4] + _rest(cut)) for one in runs)
        found = b"\n".join(one for one in said if b"@" in one or b"%" in one or b"&" in one or b" " in one or b"=" in one)
        if found:
            yield found.decode("utf-8", "replace")


def _rest(run: str) -> str:
    """The last two or three characters of a run of base64, padded."""
    rest = run[len(run) // 4 * 4 :]
    return rest + "=" * (4 - len(rest)) if len(rest) > 1 else ""


def _hexadecimal(text: str) -> Iterator[str]:
    if found := _HEXADECIMAL.findall(text):
        yield "\n".join(bytes.fromhex(one).decode("utf-8", "replace") for one in found)


def _punycode(text: str) -> Iterator[str]:
    if "xn--" in text.lower():
        yield _unicode_domain(text)


_DECODERS: tuple[Callable[[str], Iterable[str]], ...] = (
    _percent, _html, _escaped, _quoted_printable, _words, _punycode, _base64, _hexadecimal,
)  # fmt: skip
