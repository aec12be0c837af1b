"""What every kind of fact has, and those of one mail and of one server."""

from datetime import datetime
from typing import ClassVar

from attrs import fields, frozen

__all__ = ["Fact", "OfMail", "OfServer", "because", "until"]


Plain = str | int | float | bool | list[str] | None


@frozen(kw_only=True)
class Fact:
    """Something that became true. ``event`` is its name for ever, ``level`` the log's; ``str()`` says it in words."""

    event: ClassVar[str]
    level: ClassVar[int]

    account: str = ""
    """The account's id; ``""`` where it is about no account."""

    def fields(self) -> dict[str, Plain]:
        """All it says, flat and fit for JSON, ``event`` first: instants as ISO 8601, lists as lists."""
        return {"event": self.event, **{name: _plain(getattr(self, name)) for name in _names(type(self))}}


_NAMES: dict[type, tuple[str, ...]] = {}


def _names(kind: type) -> tuple[str, ...]:
    if kind not in _NAMES:
        _NAMES[kind] = tuple(one.name for one in fields(kind))
    return _NAMES[kind]


def _plain(value: object) -> Plain:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


@frozen(kw_only=True)
class OfMail(Fact):
    """A fact of one mail."""

    mail: str
    """Our id of the mail."""
    route: str = ""
    """``""`` for test emails, and for ``send(server=…)``."""
    stream: str = ""


@frozen(kw_only=True)
class OfServer(Fact):
    """A fact of one server."""

    server: str
    """The server's id."""
    server_name: str


def because(reason: str) -> str:
    """The end of a sentence that may have a reason."""
    return f": {reason}" if reason else ""


def until(at: datetime | None) -> str:
    """The end of one that may have an instant."""
    return f" until {at.isoformat(timespec='seconds')}" if at else ""
