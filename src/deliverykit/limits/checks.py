"""What the fields of limits are held against, with errors that say what to write instead."""

from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from deliverykit.contracts.limit import Limit, QuotaPolicy
from deliverykit.words.arguments import choice, duration, mapping, number, shown, whole
from deliverykit.words.errors import ConfigurationError

if TYPE_CHECKING:
    from attrs import Attribute

    from deliverykit.contracts.limit import Counts

__all__ = ["brief", "check_counts", "check_length", "check_new", "check_whole", "kept_from", "milliseconds", "shares"]

_MOST = 10**12
_NUMBERS = ("hour", "day", "week", "month", "limit")

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def check_new(limit: Limit) -> None:
    """Refuse a quota of 0 where a server or budget is new: there it is a slip for "no limit".

    In an update 0 stands: nothing leaves.
    """
    if isinstance(limit, QuotaPolicy):
        for name in _NUMBERS:
            number = getattr(limit, name, None)
            if number == 0:
                raise ConfigurationError(
                    f"{type(limit).__name__}({name}=0) would let nothing leave; leave {name} out for no limit, "
                    "or add the server first and update its quota to 0 to stop it"
                )


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise ``ConfigurationError`` unless ``value`` is a whole number, no bool, of this range."""
    whole(value, name, least=least, most=_MOST if most is None else most)


def check_counts(_: object, attribute: "Attribute[Counts]", value: object) -> None:
    """Raise ``ConfigurationError`` unless ``value`` says what to count."""
    choice(value, attribute.name, ("recipients", "emails"))


def check_length(name: str, value: object, *, unit: str = "seconds") -> None:
    """Raise ``ConfigurationError`` unless ``value`` is a ``timedelta`` from a millisecond to ten years.

    The error about a number shows the ``timedelta`` to write: of seconds, and of ``unit`` where that is another.
    """
    duration(value, name, most=timedelta(days=3_660), unit=unit)


def milliseconds(value: timedelta) -> int:
    """The whole milliseconds of a length of time, rounded up."""
    return -(-value // timedelta(milliseconds=1))


def brief(length: int) -> str:
    """So many milliseconds for people: a day is ``1d``, 90 minutes are ``1h30m``."""
    words: list[str] = []
    for name, size in _UNITS:
        number, length = divmod(length, size)
        if number:
            words.append(f"{number}{name}")
    return "".join(words)


def shares(value: object) -> dict[str, float]:
    """What ``keep=`` means: shares of a quota by stream. Raises ``ConfigurationError`` for what cannot be kept."""
    known = mapping(value, "keep", "give shares by stream, such as keep={'transactional': 0.1}")
    for stream, share in known.items():
        number(share, f"keep[{shown(stream)}]", above=True, most=1)
    if sum(Fraction(str(share)) for share in known.values()) > 1:
        raise ConfigurationError("keep: the shares add up to more than the whole quota; make their sum 1 or less")
    return known


def kept_from(stream: str, keep: Mapping[str, float], limit: int) -> int:
    """How much of a limit is kept from a stream, for others: each share rounded up."""
    kept = sum(ceil(limit * Fraction(str(share))) for other, share in keep.items() if other != stream)
    return min(kept, limit)
