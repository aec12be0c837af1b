"""Where a web address leads: scheme, host and port, read strictly so that no HTTP client can read it otherwise."""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from attrs import frozen

__all__ = ["Origin", "origin_of"]

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}
_MOST = 2_000


@frozen
class Origin:
    """Scheme, host and port of a web address, in lower case. ``host`` is a name, or an IP address in its canonical form."""

    scheme: str
    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether it is this machine: ``localhost``, 127.0.0.0/8, ::1, or one of them mapped into IPv6."""
        if self.host == "localhost":
            return True
        try:
            address = IPv6Address(self.host) if ":" in self.host else IPv4Address(self.host)
        except AddressValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return (mapped or address).is_loopback

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


@lru_cache(256)
def origin_of(url: str, *, bare: bool = False) -> Origin:
    """Return where ``url`` leads. With ``bare`` nothing may follow the port, but a slash.

    Raises ``ValueError`` with the reason, without the address, which may hold a password: for another scheme, a user,
    a query or fragment, and for every host that clients read differently: characters outside ASCII, percent signs,
    backslashes, a trailing dot, IPv4 addresses in decimal, octal or short form, IPv6 zones.
    """
    if len(url) > _MOST:
        raise ValueError(f"longer than {_MOST:,} characters")
    if not url.isascii():
        raise ValueError("write an international host name in its xn-- form")
    if not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("holds a blank, a backslash or a control character")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _PORTS:
        raise ValueError("begins with neither https:// nor http://")
    if any(sign in rest for sign in "?#@"):
        raise ValueError("holds a user, a query or a fragment")
    place, slash, path = rest.partition("/")
    if bare and path:
        raise ValueError(f"holds a path {slash}…; leave it out")
    host, port = _split(place.lower())
    return Origin(scheme, _host(host), port or _PORTS[scheme])


def _split(place: str) -> tuple[str, int]:
    """Host and port; 0 where none is given."""
    found = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([1-9][0-9]{0,4}))?", place)
    if found is None:
        raise ValueError("host and port cannot be read")
    port = int(found[2] or 0)
    if port > 65_535:
        raise ValueError(f"there is no port {port}")
    return found[1], port


def _host(host: str) -> str:
    if host.startswith("["):
        try:
            if "%" in host:
                raise AddressValueError
            return str(IPv6Address(host[1:-1]))
        except AddressValueError:
            raise ValueError("not an IPv6 address in the brackets") from None
    if host.endswith("."):
        raise ValueError("ends in a dot; leave it out")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):  # URL readers take every such host for an IPv4 address
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise ValueError("not an IPv4 address; write it as four decimal numbers") from None
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise ValueError("not a host name")
    return host
