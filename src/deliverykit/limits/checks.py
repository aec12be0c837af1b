"""What the fields of limits are held against, with errors that say what to write instead."""

from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from deliverykit.contracts.limit import Limit, QuotaPolicy
from deliverykit.words.durations import bounded
from deliverykit.words.errors import ConfigurationError

if TYPE_CHECKING:
    from attrs import Attribute

    from deliverykit.contracts.limit import Counts

__all__ = ["brief", "check_counts", "check_length", "check_new", "check_whole", "kept_from", "milliseconds", "shares"]

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
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{name}={value!r} is not a whole number; write it as one, as {name}=10")
    if value < least or (most is not None and value > most):
        asked = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigurationError(f"{name}={value} is not possible; give a whole number {asked}")


def check_counts(_: object, attribute: "Attribute[Counts]", value: object) -> None:
    """Raise ``ConfigurationError`` unless ``value`` says what to count."""
    if value not in {"recipients", "emails"}:
        raise ConfigurationError(f"{attribute.name}={value!r} is not possible; give 'recipients' or 'emails'")


def check_length(name: str, value: object, *, unit: str = "seconds") -> None:
    """Raise ``ConfigurationError`` unless ``value`` is a ``timedelta`` of a millisecond or more.

    The error shows the ``timedelta`` to write; a bare number is taken to count ``unit``.
    """
    if isinstance(value, timedelta):
        if value < timedelta(milliseconds=1):
            raise ConfigurationError(f"{name}={value!r} is too short; give a millisecond or more, or leave {name} out")
        bounded(name, value)
        return
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else "…"
    raise ConfigurationError(f"{name}={value!r} is no timedelta and leaves its unit open; write timedelta({unit}={number})")


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
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"keep={value!r} is no mapping; give shares by stream, as keep={{'transactional': 0.1}}")
    for stream, share in value.items():
        if not isinstance(stream, str):
            raise ConfigurationError(f"keep: {stream!r} is not the name of a stream; Message(stream=…) names it")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise ConfigurationError(f"keep: {share!r} for {stream!r} is no share; give a number above 0 and up to 1, as 0.1")
    if sum(Fraction(str(share)) for share in value.values()) > 1:
        raise ConfigurationError(f"keep={dict(value)!r} is more than the whole quota; the shares may add up to 1")
    return dict(value)


def kept_from(stream: str, keep: Mapping[str, float], limit: int) -> int:
    """How much of a limit is kept from a stream, for others: each share rounded up."""
    kept = sum(ceil(limit * Fraction(str(share))) for other, share in keep.items() if other != stream)
    return min(kept, limit)
