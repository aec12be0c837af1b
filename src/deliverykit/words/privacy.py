"""What an ESP said, fit for a log: without the addresses it quotes."""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

from deliverykit.words.addresses import Address

__all__ = ["named", "scrubbed"]

_LONGEST = 2000
"""No more of a text is told; the delivery log in the store has the whole."""

# The sign itself, and as URLs, JSON, HTML and full-width keyboards write it.
_AT = re.compile(r"@|%40|\\u0040|&#0*64;?|&#x0*40;?|&commat;|＠|﹫", re.IGNORECASE)
# A quoted local part up to its sign; else a run of characters that may stand in an address, which only counts with a sign.
_PIECE = re.compile(
    r"""(?:\\?"(?:\\.|[^"\\]){0,200}+\\{0,4}"|\\"[^"]{0,200}")(?=@|%40|\\u0040|&|＠|﹫)[^\s<>()\[\],;"]*(?:\[[^\]\s]*\])?"""
    r"""|[^\s<>()\[\],;:"]++(?:;[^\s<>()\[\],;:"]++)?(?:\[[^\]\s]*\])?"""
)


def scrubbed(text: str, people: Iterable[str] = ()) -> str:
    """The text with ``<address>`` for all that looks like an email address, and for each of ``people``, however written."""
    for one in people:
        if one:
            text = re.sub(re.escape(one), "<address>", text, flags=re.IGNORECASE)
    if _AT.search(text):
        text = _PIECE.sub(lambda found: "<address>" if _AT.search(found[0]) else found[0], text)
    return text[:_LONGEST]


def named(addresses: Iterable[Address]) -> list[str]:
    """How a text may write these people, the longest first: address and name, as they are, in JSON and in a URL."""
    words = {word for one in addresses for word in (one.email, one.ascii, one.name)}
    forms = {form for word in words for form in (word, json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1])}
    forms |= {form for word in words for form in (quote(word), quote(word, safe=""))}
    return sorted((form for form in forms if len(form) > 1), key=len, reverse=True)
