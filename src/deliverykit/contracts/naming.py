"""What the text of an ESP's refusal names: this message's sender, one of its recipients, or neither."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from html import unescape

from deliverykit.contracts.outgoing import Outgoing
from deliverykit.words.addresses import Address, ascii_domain
from deliverykit.words.outcomes import About

__all__ = ["named_in", "plain_words"]

_LONGEST = 1000
"""How much of a text is searched. What an ESP names stands at its beginning."""

# Typographic quotes and spaces as their plain forms, so that "can’t" is "can't"; the dots of IDNA (RFC 3490, 3.1).
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\u00b4`\uff07", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\uff02", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u00a0\u202f\u2007\u2009\u200a\t\r\n\v\f", " "),
        **dict.fromkeys("\u3002\uff0e\uff61", "."),
        "\uff20": "@",
    }
)
# A domain, alone or after an @: a local part is followed by one.
_DOMAIN = re.compile(r"(?<![\w.-])[\w-]+(?:\.[\w-]+)+(?![\w@-]|\.[\w-])")


def plain_words(text: str) -> str:
    """Return the first 1,000 characters with plain quotes, hyphens and spaces, composed letters, one space at a time.

    Characters that HTML writes as references (``&#39;``) are read.
    """
    return " ".join(unicodedata.normalize("NFC", unescape(text[:_LONGEST]).translate(_PLAIN)).split())


def named_in(text: str, mail: Outgoing, *, domains: bool = True) -> About:
    """Return ``SENDER`` or ``RECIPIENT`` where the text names one of them, else ``UNKNOWN``.

    An address counts without case and in either spelling of an international domain, with a display name, quotes or
    brackets around it. A domain that stands alone counts for all addresses at it and below it. An address is more
    exact than a domain, so ``ann@example.com`` names a recipient though the sender is at ``example.com``. What names
    the sender and a recipient alike names the sender. Without ``domains`` only addresses count.
    """
    searched = plain_words(text).lower().replace("%40", "@")
    if not searched.isascii():
        searched = _DOMAIN.sub(_in_ascii, searched)
    if _names_address(searched, mail.sender) or (domains and _names_domain(searched, [mail.sender])):
        return About.SENDER
    recipients = mail.message.recipients
    if any(_names_address(searched, one) for one in recipients) or (domains and _names_domain(searched, recipients)):
        return About.RECIPIENT
    return About.UNKNOWN


def _in_ascii(found: re.Match[str]) -> str:
    """An international domain as it goes over the wire; anything else as it is."""
    if found.group().isascii():
        return found.group()
    try:
        return ascii_domain(found.group())
    except ValueError:
        return found.group()


def _names_address(text: str, one: Address) -> bool:
    local = one.key.rpartition("@")[0]
    spelled = {plain_words(name).lower() for name in (local, one.local)}
    return any(_stands_in(text, f"{name}@{one.domain}") for name in spelled)


def _names_domain(text: str, people: Iterable[Address]) -> bool:
    domains = {parent for one in people for parent in _with_parents(one.domain)}
    return any(_stands_in(text, domain, bare=True) for domain in domains)


def _with_parents(domain: str) -> Iterator[str]:
    """The domain and those above it that have a dot: an identity at the ESP may be any of these."""
    while "." in domain:
        yield domain
        domain = domain.partition(".")[2]


def _stands_in(text: str, name: str, *, bare: bool = False) -> bool:
    """Whether a name stands in the text on its own, not as a part of a longer address or domain.

    With ``bare``, ``@example.com`` with nothing before the ``@`` is the domain.
    """
    at = text.find(name)
    while at >= 0:
        before, after = text[:at], text[at + len(name) : at + len(name) + 2]
        if bare and before.endswith("@"):
            before = before[:-1].removesuffix("*")
        if not _continues(before[-1:]) and not _goes_on(after):
            return True
        at = text.find(name, at + 1)
    return False


def _continues(char: str) -> bool:
    """Whether a character before a name belongs to the same address or domain."""
    return char.isalnum() or (char != "" and char in "@._+-%&!#$^~?*")


def _goes_on(after: str) -> bool:
    """Whether the name is longer than it was taken for."""
    first, second = after[:1], after[1:]
    return first.isalnum() or first in ("-", "@", "_") or (first == "." and second.isalnum())
