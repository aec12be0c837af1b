"""Email addresses: parsed once, checked at the edge, written the way each header needs them."""

import re
from email.headerregistry import HeaderRegistry
from email.utils import parseaddr
from functools import lru_cache

import idna
from attrs import field, frozen

from deliverykit.words.errors import MessageError

__all__ = ["Address", "address", "addresses", "ascii_domain", "encoded_words", "header_text"]

_PLAIN_DOMAIN = re.compile(r"(?!.*--)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_LOCAL = re.compile(r"[^\s\x00-\x1f\x7f()<>@,;:\\\".\[\]]+(\.[^\s\x00-\x1f\x7f()<>@,;:\\\".\[\]]+)*")
_QUOTED = re.compile(r'"([\x20-\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])+"')
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_SPECIAL = re.compile(r'[][\\()<>@,:;".]')
_NO_REPLY = re.compile(r"(no|do-?not|don-?t)[-_.]?reply([-_.+].*)?", re.IGNORECASE)


@lru_cache(maxsize=8192)
def ascii_domain(domain: str) -> str:
    """The domain as it goes over the wire: lower case, IDNA 2008. Raises ``ValueError``."""
    lowered = domain.lower()
    if len(lowered) <= 253 and _PLAIN_DOMAIN.fullmatch(lowered):
        return lowered
    try:
        return idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(str(error)) from None


@frozen
class Address:
    """One mailbox: ``email`` as given, ``name`` for people.

    Raises :class:`~deliverykit.MessageError` for what is no address, and for control characters.
    """

    email: str = field()
    name: str = ""
    domain: str = field(init=False, repr=False, eq=False)
    """The domain in ASCII (IDNA 2008)."""

    def __attrs_post_init__(self) -> None:
        if bad := _CONTROL.search(self.email + self.name):
            raise MessageError(f"address {self.email!r}: a control character ({bad.group()!r}) cannot stand in an address")
        local, at, domain = self.email.rpartition("@")
        if not at or not local or not domain:
            raise MessageError(f"address {self.email!r}: not of the form local@domain")
        if not (_LOCAL.fullmatch(local) or _QUOTED.fullmatch(local)):
            raise MessageError(f"address {self.email!r}: {local!r} is not a local part (the text before the @)")
        try:
            encoded = ascii_domain(domain)
        except ValueError as error:
            raise MessageError(f"address {self.email!r}: {domain!r} is not a domain name ({error})") from None
        if len(local.encode()) > 64 or len(local.encode()) + len(encoded) > 253:
            raise MessageError(f"address {self.email!r}: longer than an address may be (64 before the @, 254 in all)")
        object.__setattr__(self, "domain", encoded)

    @property
    def local(self) -> str:
        """What stands before the ``@``."""
        return self.email.rpartition("@")[0]

    @property
    def ascii(self) -> str:
        """``local@domain`` with the domain in ASCII: what every ESP is given."""
        return f"{self.local}@{self.domain}"

    @property
    def key(self) -> str:
        """What two spellings of one mailbox share; used to keep an address once."""
        return self.ascii.casefold()

    @property
    def international(self) -> bool:
        """Whether the local part is not ASCII (RFC 6531), which needs the ESP's support."""
        return not self.local.isascii()

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
        return _beside(self.name, self.ascii) if self.name.isascii() else f"{encoded_words(self.name)} <{self.ascii}>"

    def __str__(self) -> str:
        return self.display if self.name else self.email


def _beside(name: str, email: str) -> str:
    """As the standard library's ``formataddr``, which refuses an address that is not ASCII."""
    if not name:
        return email
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{email}>' if not name.isascii() or _SPECIAL.search(name) else f"{escaped} <{email}>"


def encoded_words(text: str) -> str:
    """Text as RFC 2047 encoded words, none longer than 75 characters, on one line."""
    from email.header import Header

    return Header(text, "utf-8", maxlinelen=75).encode(linesep="", splitchars="")


def header_text(value: str) -> str:
    """A header's value as it travels: printable ASCII on one line, encoded words where it is not ASCII."""
    return value.replace("\t", " ") if value.isascii() else encoded_words(value)


def address(value: "str | Address", what: str = "address") -> Address:
    """One address from ``"ann@example.org"`` or ``"Ann <ann@example.org>"``; ``what`` names the field in errors."""
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise MessageError(f"{what}: expected text or an Address, got {type(value).__name__}")
    text = value.strip()
    if not text:
        raise MessageError(f"{what}: empty; give an address such as 'ann@example.org'")
    try:
        if "<" not in text and '"' not in text:
            return Address(text)
        name, email = _parsed(text)
        return Address(email, name)
    except MessageError as error:
        hint = "; one address each: give a list for several" if "," in text or ";" in text else ""
        raise MessageError(f"{what}: {error}{hint}") from None


def _parsed(text: str) -> tuple[str, str]:
    if _CONTROL.search(text):
        raise MessageError(f"address {text!r}: a control character cannot stand in an address")
    parsed = HeaderRegistry()("to", text).addresses  # type: ignore[attr-defined]
    if len(parsed) == 1 and parsed[0].domain:
        return parsed[0].display_name, f"{parsed[0].username}@{parsed[0].domain}"
    name, email = parseaddr(text)
    if len(parsed) > 1 or not email:
        raise MessageError(f"address {text!r}: not one address")
    return name, email


def addresses(value: object, what: str) -> tuple[Address, ...]:
    """Addresses from one or from an iterable of them, each kept once."""
    if value is None:
        return ()
    if isinstance(value, str | Address):
        return (address(value, what),)
    try:
        items = list(value)  # type: ignore[call-overload]
    except TypeError:
        raise MessageError(f"{what}: expected an address or a list of them, got {type(value).__name__}") from None
    seen: dict[str, Address] = {}
    for item in items:
        one = address(item, what)
        seen.setdefault(one.key, one)
    return tuple(seen.values())
