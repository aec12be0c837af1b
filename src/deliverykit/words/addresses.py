"""Email addresses: parsed once, checked at the edge, written the way each header needs them."""

import base64
import re
import unicodedata
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.headerregistry import AddressHeader, HeaderRegistry
from functools import lru_cache
from typing import Final

import idna
from attrs import field, frozen

from deliverykit.words.arguments import items, refused, short, shown
from deliverykit.words.errors import MessageError

__all__ = ["Address", "address", "addresses", "ascii_domain", "encoded_words", "header_text"]

_PLAIN_DOMAIN = re.compile(r"\A(?!.*--)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_LOCAL = re.compile(r"[^\s\x00-\x1f\x7f()<>@,;:\\\".\[\]]+(\.[^\s\x00-\x1f\x7f()<>@,;:\\\".\[\]]+)*")
# Quoted local parts without < and >: the standard library, and who knows which ESP, reads those as the end of a name.
_QUOTED = re.compile(r'\A"([ !#-;=?-\[\]-~]|\\[ -;=?-~])+"')
# C0, DEL, C1, the two Unicode line ends (Python's email package takes \x85, U+2028 and U+2029 for line breaks), surrogates.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+( [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
# The two ordinary forms, Name <address> and "Name" <address>; all others are left to the standard library. A name without
# quotes may hold a comma or a dot, as people write it (Smith, Ann <a@example.org>): with one @ it is one address.
_NAMED = re.compile(
    r"""\A(?:"(?P<quoted>(?:[^"\\]|\\.)*)"\s*|(?P<plain>[^"<>@\\]*))<\s*(?P<email>(?:"(?:[^"\\]|\\.)*"@)?[^"(),:;<>\s]+)\s*>"""
)
_LONGEST: Final = 2000
"""No address as text is longer; the standard library's parser takes time by the square of the length."""
_NO_REPLY = re.compile(r"(no|do-?not|don-?t)[-_.]?reply([-_.+].*)?", re.IGNORECASE)


@lru_cache(maxsize=8192)
def ascii_domain(domain: str) -> str:
    """The domain as it goes over the wire: lower case, IDNA 2008. Raises ``ValueError``."""
    if len(domain) > 253:
        raise ValueError("longer than 253 characters")
    lowered = domain.lower()
    if _PLAIN_DOMAIN.fullmatch(lowered):
        return lowered
    if domain.endswith((".", "。", "．", "｡")):
        raise ValueError("ends with a dot")
    try:
        return idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError as error:
        raise ValueError(str(error)) from None


def _same(local: str) -> str:
    """A local part as all its spellings have it."""
    if local[0] == '"':
        bare = re.sub(r"\\(.)", r"\1", local[1:-1])
        local = bare if _LOCAL.fullmatch(bare) else local
    return (local if local.isascii() else unicodedata.normalize("NFC", local)).lower()


@frozen
class Address:
    """One mailbox: ``email`` as given, ``name`` for people (spaces around it are left out).

    Raises :class:`~deliverykit.MessageError` for what is no address, and for control characters.
    """

    email: str = field()
    name: str = ""
    domain: str = field(init=False, repr=False, eq=False)
    """The domain in ASCII (IDNA 2008)."""
    key: str = field(init=False, repr=False, eq=False)
    """What two spellings of one mailbox share; used to keep an address once.

    Case, composed or decomposed letters and needless quotes do not count. ``ß`` and ``ss`` are two mailboxes.
    """

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.email, str) or not isinstance(self.name, str):
            wrong = "email" if not isinstance(self.email, str) else "name"
            refused(wrong, getattr(self, wrong), "expected text", "write Address('ann@example.org', 'Ann')", MessageError)
        if bad := _CONTROL.search(self.email) or _CONTROL.search(self.name):
            raise MessageError(f"address {shown(self.email)}: a control character ({bad.group()!r}) cannot stand in an address")
        if self.name[:1].isspace() or self.name[-1:].isspace():
            object.__setattr__(self, "name", self.name.strip())
        local, at, domain = self.email.rpartition("@")
        if not at or not local or not domain:
            raise MessageError(f"address {shown(self.email)}: not of the form local@domain")
        if not (_LOCAL.fullmatch(local) or _QUOTED.fullmatch(local)):
            raise MessageError(f"address {shown(self.email)}: {shown(local)} is not a local part (the text before the @)")
        try:
            encoded = ascii_domain(domain)
        except ValueError as error:
            raise MessageError(
                f"address {shown(self.email)}: {shown(domain)} is not a domain name ({short(str(error))})"
            ) from None
        length = len(local) if local.isascii() else len(local.encode())
        if length > 64 or length + len(encoded) > 253:
            raise MessageError(f"address {shown(self.email)}: longer than an address may be (64 before the @, 254 in all)")
        object.__setattr__(self, "domain", encoded)
        object.__setattr__(self, "key", f"{_same(local)}@{encoded}")

    @property
    def local(self) -> str:
        """What stands before the ``@``."""
        return self.email.rpartition("@")[0]

    @property
    def ascii(self) -> str:
        """``local@domain`` with the domain in ASCII: what every ESP is given."""
        return f"{self.local}@{self.domain}"

    @property
    def international(self) -> bool:
        """Whether the local part is not ASCII (RFC 6531), which needs the ESP's support."""
        return not self.email.isascii() and not self.local.isascii()

    @property
    def routable(self) -> bool:
        """Whether an answer to it can arrive: no localhost, no name without a dot, no no-reply@…"""
        return "." in self.domain and self.domain != "localhost.localdomain" and not _NO_REPLY.fullmatch(self.local)

    @property
    def display(self) -> str:
        """``Name <address>`` in Unicode, for JSON APIs that encode it themselves."""
        return _beside(self.name, self.ascii)

    @property
    def header(self) -> str:
        """``Name <address>`` in ASCII, the name as RFC 2047 encoded words where it needs them."""
        if self.name.isascii() and "=?" not in self.name:  # readers would decode what looks like an encoded word
            return self.display
        return f"{encoded_words(self.name)} <{self.ascii}>"

    def __str__(self) -> str:
        return self.display if self.name else self.email


def _beside(name: str, email: str) -> str:
    """A name, quoted unless it is plain words, and the address; ``formataddr`` refuses an address outside ASCII."""
    if not name:
        return email
    if _PHRASE.fullmatch(name):
        return f"{name} <{email}>"
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{email}>'


def encoded_words(text: str) -> str:
    """Text as RFC 2047 encoded words (UTF-8, base64), none longer than 75 characters, on one line with spaces between.

    No character is cut in two: each word can be decoded by itself, as the RFC demands.
    """
    words: list[bytes] = []
    for character in text:
        encoded = character.encode()
        if words and len(words[-1]) + len(encoded) <= 45:  # 60 characters of base64, 72 with =?utf-8?b?…?=
            words[-1] += encoded
        else:
            words.append(encoded)
    return " ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in words)


def header_text(value: str) -> str:
    """A header's value as it travels: printable ASCII on one line, encoded words where it is not ASCII."""
    return value.replace("\t", " ") if value.isascii() else encoded_words(value)


def address(value: "str | Address", what: str = "address") -> Address:
    """One address from ``"ann@example.org"`` or ``"Ann <ann@example.org>"``; ``what`` names the field in errors."""
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        refused(what, value, "expected text or an Address", "write 'ann@example.org' or 'Ann <ann@example.org>'", MessageError)
    text = value.strip()
    if not text:
        raise MessageError(f"{what}: empty; give an address such as 'ann@example.org'")
    try:
        if not text.endswith(">"):
            return Address(text)
        name, email = _parsed(text)
        return Address(email, name)
    except MessageError as error:
        hint = "; one address each: give a list for several" if "," in text or ";" in text else ""
        raise MessageError(f"{what}: {error}{hint}") from None


def _parsed(text: str) -> tuple[str, str]:
    if _CONTROL.search(text):
        raise MessageError(f"address {shown(text)}: a control character cannot stand in an address")
    if len(text) > _LONGEST:
        raise MessageError(f"address {shown(text)}: longer than {_LONGEST:,} characters")
    if plain := _NAMED.fullmatch(text):
        return _decoded(plain["plain"] or re.sub(r"\\(.)", r"\1", plain["quoted"] or "")), plain["email"]
    name, _, rest = text.partition("<")
    if rest == f"{name.strip()}>":  # ann@example.org <ann@example.org>, as address books export it
        return "", name.strip()
    try:
        header = _headers()("to", text)
    except Exception as error:  # noqa: BLE001 - it fails in many ways on text that is no header (IndexError, ValueError, …)
        raise MessageError(f"address {shown(text)}: not one address ({short(str(error))})") from None
    # One address, in no group, and nothing skipped: the library reads `a@x.org <b@x.org>` as a@x.org and drops the rest.
    dropped = any("invalid address" in str(defect) for defect in header.defects)
    if not isinstance(header, AddressHeader) or len(header.addresses) != 1 or dropped:
        raise MessageError(f"address {shown(text)}: not one address")
    if header.groups[0].display_name is not None:
        raise MessageError(f"address {shown(text)}: a group; give its members as a list")
    return header.addresses[0].display_name, header.addresses[0].addr_spec


def _decoded(name: str) -> str:
    """A name with its encoded words read. Not by the header registry: before Python 3.11.10 it puts spaces between them."""
    if "=?" not in name:
        return name
    try:
        return str(make_header(decode_header(name)))
    except (LookupError, ValueError, HeaderParseError):
        return name


@lru_cache(maxsize=1)
def _headers() -> HeaderRegistry:
    return HeaderRegistry()


def _is_pair(name: object, email: object) -> bool:
    """Whether these are the name and the address of one person, in the order of ``email.utils.parseaddr``."""
    plain = isinstance(name, str) and isinstance(email, str) and max(len(name), len(email)) <= 64
    return plain and "@" not in str(name) and "@" in str(email)


def addresses(value: object, what: str) -> tuple[Address, ...]:
    """Addresses from one or from an iterable of them, each kept once."""
    if value is None:
        return ()
    if isinstance(value, str) or isinstance(value, Address):  # noqa: SIM101  a union is made anew at each call
        return (address(value, what),)
    given = items(value, what, "give an address, or a list of addresses", alone=(), error=MessageError)
    if isinstance(value, tuple | list) and len(value) == 2 and _is_pair(*value):
        refused(
            what, value[0], "not an address", f"write Address({value[1]!r}, {value[0]!r}), or a list of addresses", MessageError
        )
    seen: dict[str, Address] = {}
    for item in given:
        one = address(item, what)
        seen.setdefault(one.key, one)
    return tuple(seen.values())
