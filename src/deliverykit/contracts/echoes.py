"""A message's own texts in an ESP's refusal: whoever writes a message must not choose how its refusal is judged."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Final

from attrs import frozen

from deliverykit.contracts.naming import plain_words
from deliverykit.words.addresses import Address
from deliverykit.words.message import Message

__all__ = ["Echoes"]

_GAP: Final = "…"
"""Stands where a text of the message stood."""
_SHORTEST: Final = 4
_MOST: Final = 5_000
"""So many texts of one message are looked for."""
_ADDRESS = re.compile(r"[^\s<>\"'()\[\],;:@]{1,100}@[^\s<>\"'()\[\],;@]{0,300}")
_WORD = re.compile(r"[^\W\d_]+")
_QUOTED = r"""(?<=["'<\[({:=])WORD(?=["'>\])}]|$)|(?<=[:=] )WORD(?=[.,;!]?$)"""
_NAMED = (
    r"\b(template|tags?|category|header|field|key|variable|argument|pool|group|file|filename|attachment|subject|channel)"
    r"( name)?( is|:)? WORD(?!\w)"
)


@frozen
class Echoes:
    """The texts of one message that an ESP may repeat in a refusal: subject, names, files, tags, headers, ``extra``."""

    message: Message
    sender: Address | None = None

    def removed(self, text: str) -> str:
        """Return a text without what it repeats of the message, to be searched for what the ESP itself says.

        Every address goes, and every text of the message with more than one word or with a sign in it. A single word
        goes only where it stands in quotes or brackets, after a colon, or is named as a template, a tag or the like:
        an ESP also says "limit" of itself where that is a tag of the message.
        """
        lowered = text.lower()
        for own in self._texts:
            if len(own) <= len(text) and own in lowered:
                text = _without(text, own)
                lowered = text.lower()
        return _ADDRESS.sub(_GAP, text)

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        """The longest first: a subject may hold a name."""
        found = {
            (one if one.isalnum() and one.isascii() else plain_words(one)).lower() for one in set(islice(self._all(), _MOST))
        }
        return tuple(sorted((one for one in found if len(one) >= _SHORTEST), key=lambda one: (-len(one), one)))

    def _all(self) -> Iterator[str]:
        message = self.message
        yield message.subject
        yield from message.tags
        for pairs in (message.metadata, message.headers):
            for name, value in pairs.items():
                yield from (name, value)
        for file in message.attachments:
            yield from (file.filename, file.content_id, file.content_type)
        people = (*message.recipients, *message.reply_to, *filter(None, (message.sender, self.sender)))
        for one in people:
            yield from (one.name, one.domain)
            if '"' in one.email:  # any other address is found by its form
                yield one.email
        for own in message.extra.values():
            yield from _strings(own)


def _strings(value: object) -> Iterator[str]:
    """The texts in a value of ``extra``, which was checked at hand-over: plain data of few levels."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def _without(text: str, own: str) -> str:
    word = re.escape(own)
    if not _WORD.fullmatch(own):
        return re.sub(rf"(?<!\w){word}(?!\w)", _GAP, text, flags=re.IGNORECASE)
    text = re.sub(_QUOTED.replace("WORD", word), _GAP, text, flags=re.IGNORECASE)
    return re.sub(_NAMED.replace("WORD", word), rf"\1 {_GAP}", text, flags=re.IGNORECASE)
