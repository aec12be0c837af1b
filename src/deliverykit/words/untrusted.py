"""Text from outside: bounded, made printable, and rid of secrets. Every such text enters through this module.

Whatever an ESP, a proxy, a transport or a header says is bounded first and only then read by a pattern, a column, a log
line or a terminal. All functions are linear in the length of the text.
"""

import base64
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from attrs import frozen

from deliverykit.words.addresses import Address
from deliverykit.words.escapes import BASE64, FOLDS, QUOTED_PRINTABLE, STANDARD, Places, decoded, escapes, unescaped, without

__all__ = ["ANSWER_LIMIT", "CUT", "ID_LIMIT", "TEXT_LIMIT", "WINDOW", "Mask", "clean", "named", "printable", "scrubbed"]

ANSWER_LIMIT: Final = 256 * 1024
"""The most bytes of an answer's body that are kept."""
WINDOW: Final = 4_000
"""The most characters of one text that are searched for secrets; longer than what is kept, so that no secret is cut in half."""
TEXT_LIMIT: Final = 1_000
"""The most characters of a text that are kept."""
ID_LIMIT: Final = 255
"""The most characters of an ESP's message id that are kept."""
CUT: Final = "…"
"""Stands where a text was cut."""

_HIDDEN: Final = "***"
_UNPRINTABLE: Final = "\ufffd"
# Letters and marks by their category, and yet nothing to see: combining grapheme joiner, Hangul and Khmer fillers.
_INVISIBLE = str.maketrans(dict.fromkeys("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0", _UNPRINTABLE))


# -- printable --------------------------------------------------------------------------------------------


def clean(value: object, limit: int = WINDOW) -> str:
    """Return a value from outside as one line of at most ``limit`` printable characters; ``None`` is ``""``.

    Control, format and bidirectional characters, lone surrogates, private and unassigned characters become U+FFFD;
    line and paragraph separators and other blanks become a space. Bytes are read as UTF-8.
    """
    if isinstance(value, bytes | bytearray):
        value = bytes(value[: limit * 4 + 4]).decode("utf-8", "replace")
    elif not isinstance(value, str):
        value = _text_of(value)
    return printable(value if len(value) <= limit else value[: limit - 1] + CUT).strip()


def printable(text: str) -> str:
    """Return the text with the same number of characters, all of them printable; see :func:`clean`."""
    if not text.isprintable():
        text = "".join([one if one.isprintable() else " " if one.isspace() else _UNPRINTABLE for one in text])
    return text if text.isascii() else text.translate(_INVISIBLE)


def _text_of(value: object) -> str:
    if value is None:
        return ""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a foreign object, or a number too long to be written out
        return type(value).__name__


# -- what must not be repeated ------------------------------------------------------------------------------

_LEVELS: Final = 3
"""How often one escaping may be put into another: a quoted URL in JSON in HTML."""
_READINGS: Final = 12
"""So many readings of one text are searched."""
_WHOLE_WORD: Final = 8
"""A shorter secret is found as a whole word only: within words it would be found by chance."""
_BEGINNING: Final = 4
"""So many characters of a secret at a place where the text was cut count as the secret."""
_CORE: Final = 6
"""A shorter piece of base64 would be found by chance."""
_SEED: Final = 8
_PIECE_OF_A_SECRET: Final = 10
"""So many characters in a row that stand in a secret are hidden, whatever became of the rest of it."""
_DENSE: Final = 200
_LONGEST: Final = 4_000
"""No more characters of one secret are searched for in pieces."""
_WIDE = {code + 0xFEE0: code for code in range(0x21, 0x7F)}
_CUTS = re.compile(r"…|\.\.+|\*\*+")
_FEW: Final = 20
_SIGNATURE = re.compile(r"signature=([0-9a-f]{64})(?![0-9a-f])")

Span = tuple[int, int]


@frozen
class _Reading:
    """A text in which the secrets are searched, and where each of its characters begins in the text that was given."""

    text: str
    places: Places
    level: int = 0
    unfolded: bool = False
    """Whether blanks were taken out, so that no word ends where it did."""


class Mask:
    """Finds given texts in another, however they are written there, and replaces them.

    Case does not count. They are found as they are, and within percent escapes, JSON, HTML and Python escapes and
    quoted-printable, also in one another. A text of fewer than 8 characters is found as a whole word only. Where a text
    was cut, so is the beginning of one that was cut in half.

    With ``encoded`` they are secrets: base64 and hexadecimal digits that hold them are found too, whatever stands around
    them (``user:key``), secrets that are folded over lines, any 10 to 15 characters of one in a row, and AWS signatures.
    """

    __slots__ = ("_cores", "_kinds", "_put", "_seeds", "_words")

    def __init__(self, hidden: Iterable[str], *, put: str = _HIDDEN, encoded: bool = True) -> None:
        given = {one for one in hidden if one.strip()}
        self._put = put
        self._words = sorted({_folded(form) for one in given for form in (one, one.replace(" ", "+"))}, key=len, reverse=True)
        # All kinds of escapes are read at once; one at a time as well where a secret itself looks like an escape.
        alike = any(sign in one for one in given for sign in "%\\&")
        self._kinds = (*escapes(alike=alike), QUOTED_PRINTABLE) if encoded else escapes(alike=alike)
        self._cores = sorted({core for one in given for core in _cores(one)}) if encoded else None
        self._seeds = _seeds(given) if encoded else {}

    def __repr__(self) -> str:
        return f"Mask({len(self._words)} texts)"

    def apply(self, text: object, limit: int = TEXT_LIMIT) -> str:
        """Return the text cleaned, masked, and only then cut to ``limit`` characters."""
        window = clean(text)
        spans = sorted(self._spans(window))
        if spans:
            window = _replaced(window, spans, self._put)
        return window if len(window) <= limit else window[: limit - 1] + CUT

    def _spans(self, text: str) -> Iterator[Span]:
        """Where something is to be hidden: searched in the text as it is, then in what its escapes mean."""
        window = text
        seen = {text}
        waiting = deque([_Reading(text, range(len(text) + 1))])
        while waiting:
            reading = waiting.popleft()
            for start, end in self._found(reading):
                yield _trimmed(window, reading.places[start], reading.places[end])
            if reading.level == _LEVELS:
                continue
            for one in self._readings(reading):
                if one.text not in seen and len(seen) < _READINGS:
                    seen.add(one.text)
                    waiting.append(one)

    def _readings(self, reading: _Reading) -> Iterator[_Reading]:
        """What a text says when one more of its encodings is undone."""
        text, places, level = reading.text, reading.places, reading.level + 1
        for kind in self._kinds:
            yield _Reading(*unescaped(text, places, kind), level, reading.unfolded)
        if self._cores is not None and not reading.unfolded:
            for folds in FOLDS:
                yield _Reading(*without(text, places, folds), level, unfolded=True)
            yield _Reading(*decoded(text, places), level)

    def _found(self, reading: _Reading) -> Iterator[Span]:
        text = reading.text
        folded = _folded(text)
        for word in self._words:
            if not reading.unfolded or len(word) >= _WHOLE_WORD:
                yield from _occurrences(folded, word)
        stops = _stops(text)
        for word in self._words:
            yield from _begun(folded, word, stops)
        if self._cores is None:
            return
        standard = text.translate(STANDARD)
        for core in self._cores:
            yield from _exactly(standard, core) if reading.unfolded else _runs(standard, core)
            yield from _begun(standard, core, stops)
        yield from _pieces(folded.translate(STANDARD), self._seeds)
        for found in _SIGNATURE.finditer(folded):
            yield found.span(1)


def _trimmed(text: str, start: int, end: int) -> Span:
    """The same place without blanks around it."""
    while start < end - 1 and text[end - 1] == " ":
        end -= 1
    while start < end - 1 and text[start] == " ":
        start += 1
    return start, end


def _folded(text: str) -> str:
    """In lower case and in ordinary width, letter by letter: no place moves."""
    if not text.isascii():
        text = text.translate(_WIDE)
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join([one if len(one.lower()) != 1 else one.lower() for one in text])


def _cores(secret: str) -> Iterator[str]:
    """The base64 that any text has which holds this one: where it begins in a group of three bytes, it reads differently.

    The first and last character of such a piece depend on what stands beside it and are left out.
    """
    data = secret.encode("utf-8", "replace")
    for offset in range(3):
        written = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        core = written[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
        if len(core) >= _CORE:
            yield core
    if len(data) * 8 // 6 < _CORE:
        yield base64.b64encode(data).decode().rstrip("=")


def _occurrences(text: str, word: str) -> Iterator[Span]:
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if len(word) >= _WHOLE_WORD or not (_joined(text, at) or _joined(text, end)):
            yield at, end
            at = text.find(word, end)
        else:
            at = text.find(word, at + 1)


def _joined(text: str, at: int) -> bool:
    """Whether the characters before and at this place are of one word."""
    return 0 < at < len(text) and all(one.isalnum() or one == "_" for one in text[at - 1 : at + 1])


def _runs(text: str, core: str) -> Iterator[Span]:
    """Each whole run of base64 that holds the core, with its padding."""
    done, at = 0, text.find(core)
    while at >= 0:
        end = at + len(core)
        while at > done and text[at - 1] in BASE64:
            at -= 1
        while end < len(text) and text[end] in BASE64:
            end += 1
        if len(core) >= _CORE or end - at == len(core):
            while text[end : end + 1] == "=":
                end += 1
            yield at, end
        done, at = end, text.find(core, end)


def _exactly(text: str, core: str) -> Iterator[Span]:
    """Each place of a core that cannot be there by chance, and nothing around it."""
    at = text.find(core) if len(core) > _CORE else -1
    while at >= 0:
        yield at, at + len(core)
        at = text.find(core, at + len(core))


def _seeds(secrets: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Short pieces of each secret, of its base64 and of its hexadecimal digits: in which text, and where they stand there."""
    found: dict[str, tuple[str, int]] = {}
    for secret in secrets:
        one = secret[:_LONGEST]
        if len(one) < _WHOLE_WORD:
            continue
        for whole in (one, *_cores(one), one.encode("utf-8", "replace").hex()):
            text = _folded(whole).translate(STANDARD)
            step = _SEED // 2 if len(text) <= _DENSE else _SEED
            for at in range(0, len(text) - _SEED + 1, step):
                found.setdefault(text[at : at + _SEED], (text, at))
    return found


def _pieces(text: str, seeds: Mapping[str, tuple[str, int]]) -> Iterator[Span]:
    """The longest pieces that the text shares with a secret. Each place is looked at once for each piece that is there."""
    done = bytearray(len(text))
    for seed, (whole, place) in seeds.items():
        at = text.find(seed)
        while at >= 0:
            if done[at]:
                at = text.find(seed, at + 1)
                continue
            start, end, left, right = at, at + len(seed), place, place + len(seed)
            while start and left and text[start - 1] == whole[left - 1]:
                start, left = start - 1, left - 1
            while end < len(text) and right < len(whole) and text[end] == whole[right]:
                end, right = end + 1, right + 1
            if end - start >= min(_PIECE_OF_A_SECRET, len(whole)):
                yield start, end
            done[start:end] = b"\1" * (end - start)
            at = text.find(seed, end)


def _stops(text: str) -> list[int]:
    """Where the text ends, or was cut by whoever quoted it; the first few such places are enough."""
    ends = [len(text) - 1, len(text)] if text.endswith(CUT) else [len(text)]
    return sorted({*(found.start() for found in islice(_CUTS.finditer(text), _FEW)), *ends})


def _begun(text: str, word: str, stops: list[int]) -> Iterator[Span]:
    """The beginnings of a word that end where the text was cut."""
    if len(word) < _WHOLE_WORD:
        return
    start = word[:_BEGINNING]
    if start not in text:
        return
    previous = 0
    for stop in stops:
        at = text.find(start, max(previous, stop - len(word)), stop)
        while at >= 0 and not word.startswith(text[at:stop]):
            at = text.find(start, at + 1, stop)
        if at >= 0:
            yield at, stop
        previous = stop


def _replaced(text: str, spans: list[Span], put: str) -> str:
    pieces, done = [], -1
    kept = 0
    for start, end in spans:
        if start > done or done < 0:
            pieces += [text[kept:start], put]
            kept = end
        kept = max(kept, end)
        done = max(done, end)
    pieces.append(text[kept:])
    return "".join(pieces)


# -- people -------------------------------------------------------------------------------------------------

# The sign itself, and as URLs, JSON, HTML and full-width keyboards write it.
_AT = re.compile(r"@|%40|\\u0040|&#0{0,8}64;?|&#x0{0,8}40;?|&commat;|＠|﹫", re.IGNORECASE)
# A quoted local part up to its sign; else a run of characters that may stand in an address, which only counts with a sign.
_PIECE = re.compile(
    r"""(?:\\?"(?:\\.|[^"\\]){0,200}+\\{0,4}"|\\"[^"]{0,200}")(?=@|%40|\\u0040|&|＠|﹫)[^\s<>()\[\],;"]*+(?:\[[^\]\s]{0,64}\])?"""
    r"""|[^\s<>()\[\],;:"]++(?:;[^\s<>()\[\],;:"]++)?(?:\[[^\]\s]{0,64}\])?"""
)


def scrubbed(text: object, people: Iterable[str] = ()) -> str:
    """Return a text for the log and the hooks: cleaned, and with ``<address>`` for every email address.

    Each of ``people`` (see :func:`named`) is replaced however it is written.
    """
    window = clean(text)
    words = tuple(people)
    if words:
        window = Mask(words, put="<address>", encoded=False).apply(window, WINDOW)
    if _AT.search(window):
        window = _PIECE.sub(lambda found: "<address>" if _AT.search(found[0]) else found[0], window)
    return window if len(window) <= TEXT_LIMIT else window[: TEXT_LIMIT - 1] + CUT


def named(addresses: Iterable[Address]) -> tuple[str, ...]:
    """Return the words by which a text may name these people: address and name."""
    return tuple(dict.fromkeys(word for one in addresses for word in (one.email, one.ascii, one.name) if len(word) > 1))
