"""Checks of arguments: each returns the value in one form, or raises an error that says what to write instead.

Every error has one shape: ``name=value: what is wrong; what to write``. The value is shortened, and no method of an
unknown object is called to show it: a message for 10,000 people does not make an error of 400 kB, and an object whose
``repr()`` raises is reported like any other.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from enum import Enum, EnumType, StrEnum
from math import isfinite
from typing import Any, Final, NoReturn, TypeVar
from zoneinfo import ZoneInfo

from deliverykit.words.clock import instant
from deliverykit.words.errors import ConfigurationError, DeliveryError

__all__ = [
    "ERA",
    "Choice",
    "aware",
    "called",
    "choice",
    "duration",
    "flag",
    "instance",
    "items",
    "line",
    "mapping",
    "member",
    "near",
    "number",
    "optional",
    "path",
    "refused",
    "short",
    "shown",
    "text",
    "timestamp",
    "whole",
    "zone_name",
]

R = TypeVar("R")
E = TypeVar("E", bound=Enum)
Refusal = type[DeliveryError]

ERA: Final = timedelta(days=36_500)
"""The longest duration that any argument takes: a hundred years."""
_LARGEST: Final = (1 << 63) - 1
"""The largest whole number that a store keeps."""
_MANY: Final = 10**12
"""No error names a bound above this: nobody comes near it."""
_SHOWN: Final = 60
"""An error shows so many characters of a value."""
_COMPARED: Final = 64
"""Longer text is not compared with what there is: the comparison takes time by the square of the length."""
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
# C0, DEL, C1, the two Unicode line ends, and the characters that change the direction of text.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class _ChoiceType(EnumType):
    def __call__(cls, value: object) -> Any:  # type: ignore[override]
        """The member of this value; the error about any other value shows near matches."""
        if isinstance(value, cls):
            return value
        found = cls._value2member_map_.get(value) if isinstance(value, str) else None
        if found is None:
            choice(value, cls.__name__, [str(one.value) for one in cls])  # type: ignore[var-annotated]
        return found


class Choice(StrEnum, metaclass=_ChoiceType):
    """A closed set of texts. Calling it with any other value raises a :class:`~deliverykit.ConfigurationError`."""


# -- showing a value ------------------------------------------------------------------------------


def short(value: str, most: int = _SHOWN) -> str:
    """Text, cut where it is longer than ``most`` characters."""
    return value if len(value) <= most else f"{value[:most]}…"


def shown(value: object) -> str:
    """A value as an error shows it: short, on one line, and without calling any method of an unknown object."""
    try:
        return _shown(value)
    except Exception:  # noqa: BLE001  an error about a value must not fail because of that value
        return "an object that cannot be shown"


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, str):
        return _piece(str.__repr__(str.__getitem__(value, slice(_SHOWN))), str.__len__(value), "characters")
    if isinstance(value, bytes):
        return _piece(bytes.__repr__(bytes.__getitem__(value, slice(_SHOWN))), bytes.__len__(value), "bytes")
    if isinstance(value, int):
        return int.__repr__(value) if value.bit_length() <= 128 else f"a number of {value.bit_length()} bits"
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, type):
        return f"the class {short(value.__name__)}"
    if isinstance(value, datetime):
        return datetime.isoformat(value) if value.tzinfo is None or isinstance(value.tzinfo, ZoneInfo) else short(repr(value))
    if isinstance(value, timedelta):
        return timedelta.__repr__(value).removeprefix("datetime.")
    if isinstance(value, list | tuple | set | frozenset | dict):
        return f"a {type(value).__name__} of {len(value)}"
    kind = type(value)
    return f"an object of type {short(kind.__name__)}"


def _piece(text: str, length: int, unit: str) -> str:
    return text if length <= _SHOWN else f"{text}… ({length:,} {unit})"


def refused(what: str, value: object, wrong: str, write: str, error: Refusal = ConfigurationError) -> NoReturn:
    """Raise the error about an argument: its name and value, what is wrong with it, and what to write instead."""
    raise error(f"{what}={shown(value)}: {wrong}; {write}") from None


def near(value: object, known: Iterable[str], most: int = 10) -> str:
    """The end of an error about an unknown name: near matches, else what there is (the first ``most``)."""
    there = [str(one) for one in known]
    if isinstance(value, str) and len(value) <= _COMPARED:
        folded = {one.casefold(): one for one in there}
        wanted = value.strip().casefold().replace("-", "_")
        if found := get_close_matches(wanted, folded, n=3, cutoff=0.6):
            return f"did you mean {' or '.join(repr(short(folded[one])) for one in found)}?"
    more = f" and {len(there) - most} more" if len(there) > most else ""
    return f"there are: {', '.join(repr(short(one)) for one in there[:most])}{more}" if there else "there are none"


# -- one value ------------------------------------------------------------------------------------


def optional(check: Callable[..., R], value: object, what: str, **rules: Any) -> R | None:
    """``None`` as it is; anything else as ``check`` returns it."""
    return None if value is None else check(value, what, **rules)


def text(
    value: object,
    what: str,
    *,
    least: int = 0,
    most: int = 10_000,
    write: str = "give text",
    error: Refusal = ConfigurationError,
) -> str:
    """Text of ``least`` to ``most`` characters, without NUL and lone surrogates."""
    if not isinstance(value, str):
        refused(what, value, "expected text", write, error)
    if len(value) < least or (least and not value.strip()):
        refused(what, value, "empty", write, error)
    if len(value) > most:
        refused(what, value, "too long", f"give at most {most:,} characters", error)
    if "\x00" in value or (not value.isascii() and _SURROGATE.search(value)):
        refused(what, value, "contains NUL or a lone surrogate", "remove it", error)
    return value


def line(
    value: object, what: str, *, least: int = 0, most: int = 255, write: str = "give text", error: Refusal = ConfigurationError
) -> str:
    """Text on one line: no control character, nothing that changes the direction of text."""
    known = text(value, what, least=least, most=most, write=write, error=error)
    if found := _CONTROL.search(known):
        refused(what, value, f"contains the control character {found.group()!r}", "remove it", error)
    return known


def flag(value: object, what: str, *, error: Refusal = ConfigurationError) -> bool:
    """``True`` or ``False``."""
    if not isinstance(value, bool):
        refused(what, value, "expected a bool", "write True or False", error)
    return value


def whole(value: object, what: str, *, least: int | None = 0, most: int = _LARGEST, error: Refusal = ConfigurationError) -> int:
    """A whole number from ``least`` to ``most``; a bool is none."""
    asked = f"give a whole number {_span(least, most)}"
    if isinstance(value, bool) or not isinstance(value, int):
        refused(what, value, "expected a whole number", asked, error)
    if (least is not None and value < least) or value > most:
        refused(what, value, "out of range", asked, error)
    return int(value)


def number(
    value: object,
    what: str,
    *,
    least: float = 0.0,
    above: bool = False,
    most: float = 1e9,
    error: Refusal = ConfigurationError,
) -> float:
    """A finite number from ``least`` (or ``above`` it) to ``most``; a bool is none."""
    asked = f"give a number {'above' if above else 'from'} {least:g} up to {most:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        refused(what, value, "expected a number", asked, error)
    if isinstance(value, float) and not isfinite(value):
        refused(what, value, "not a finite number", asked, error)
    if value < least or (above and value == least) or value > most:
        refused(what, value, "out of range", asked, error)
    return float(value)


def _span(least: int | None, most: int) -> str:
    if least is None:
        return f"up to {most:,}"
    return f"of at least {least:,}" if most >= _MANY else f"from {least:,} to {most:,}"


def duration(
    value: object,
    what: str,
    *,
    least: timedelta = timedelta(milliseconds=1),
    most: timedelta = ERA,
    seconds: bool = False,
    unit: str = "seconds",
    error: Refusal = ConfigurationError,
) -> timedelta:
    """A ``timedelta`` from ``least`` to ``most``; with ``seconds`` also a number of seconds.

    ``unit`` is the one that a number most likely counts; the error about it shows what to write.
    """
    if seconds and isinstance(value, int | float) and not isinstance(value, bool):
        value = timedelta(seconds=number(value, what, most=ERA.total_seconds(), error=error))
    if not isinstance(value, timedelta):
        wanted = "expected a timedelta or a number of seconds" if seconds else "expected a timedelta"
        refused(what, value, wanted, _written(value, unit), error)
    if value < least:
        refused(what, value, "too short", f"give {_words(least)} or more", error)
    if value > most:
        refused(what, value, "too long", f"give {_words(most)} or less", error)
    return value


def _written(value: object, unit: str) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e9 or value < 0:
        return f"write timedelta({unit}=…)"
    both = ["seconds", "milliseconds"] if unit == "milliseconds" else [unit]
    return f"write {' or '.join(f'timedelta({one}={value!r})' for one in both)}"


def _words(length: timedelta) -> str:
    for name, size in (
        ("days", timedelta(days=1)),
        ("seconds", timedelta(seconds=1)),
        ("milliseconds", timedelta.resolution * 1000),
    ):
        if length >= size and not length % size:
            return f"timedelta({name}={length // size})"
    return timedelta.__repr__(length).removeprefix("datetime.")


def aware(value: object, what: str, *, error: Refusal = ConfigurationError) -> datetime:
    """A ``datetime`` with a time zone."""
    write = "write datetime(…, tzinfo=UTC) or datetime.now(UTC)"
    if not isinstance(value, datetime):
        refused(what, value, "expected a datetime", write, error)
    try:
        offset = value.utcoffset()
    except Exception:  # noqa: BLE001  a tzinfo is a class of the host's, and may raise anything
        offset = None
    if offset is None:
        refused(what, value, "has no time zone", write, error)
    return value


def timestamp(value: object, what: str, *, error: Refusal = ConfigurationError) -> int:
    """Return the UTC milliseconds of a ``datetime`` with a time zone, from 1970 to 9998."""
    given = aware(value, what, error=error)
    try:
        return instant(given)
    except ValueError:
        refused(what, value, "out of range", "give a time from 1970 to 9998", error)


def choice(value: object, what: str, known: Iterable[str], *, error: Refusal = ConfigurationError) -> str:
    """One of the texts in ``known``; the error shows near matches."""
    there = tuple(known)
    if not isinstance(value, str) or value not in there:
        listed = " or ".join(repr(one) for one in there) if len(there) <= 3 else ", ".join(map(repr, there))
        hint = near(value, there) if isinstance(value, str) else ""
        refused(what, value, f"expected {listed}", hint if hint.startswith("did") else "write one of them", error)
    return value


def member(value: object, what: str, kind: type[E], *, error: Refusal = ConfigurationError) -> E:
    """The member of an enumeration of texts, by itself or by its value."""
    if isinstance(value, kind):
        return value
    return kind(choice(value, what, [str(one.value) for one in kind], error=error))


def instance(
    value: object, what: str, kind: type[R] | tuple[type[R], ...], write: str, *, error: Refusal = ConfigurationError
) -> R:
    """An object of a class; the error about the class itself says to make an object of it."""
    if not isinstance(value, kind):
        if isinstance(value, type):
            refused(what, value, "expected an object", f"write {short(value.__name__)}(…)", error)
        refused(what, value, "not of the expected type", write, error)
    return value


def called(value: object, what: str, methods: Iterable[str], write: str, *, error: Refusal = ConfigurationError) -> None:
    """Refuse what lacks one of these methods, and a class where an object of it is meant."""
    if isinstance(value, type):
        refused(what, value, "expected an object", f"write {short(value.__name__)}(…)", error)
    missing = [name for name in methods if not callable(getattr(value, name, None))]
    if missing:
        refused(what, value, f"has no method {', '.join(missing)}", write, error)


# -- several values -------------------------------------------------------------------------------


def items(
    value: object, what: str, write: str, *, alone: tuple[type, ...] = (str,), error: Refusal = ConfigurationError
) -> list[Any]:
    """The items of an iterable; one object of a class in ``alone`` stands for a list of itself.

    A mapping and bytes are refused: iterating over them is never what was meant.
    """
    if isinstance(value, alone):
        return [value]
    if value is None or isinstance(value, str | bytes | bytearray | Mapping | type) or not isinstance(value, Iterable):
        refused(what, value, "expected a list", write, error)
    return list(value)


def mapping(value: object, what: str, write: str, *, error: Refusal = ConfigurationError) -> dict[str, Any]:
    """A dictionary with text as its keys."""
    if not isinstance(value, Mapping):
        refused(what, value, "expected a mapping", write, error)
    known = dict(value)
    for key in known:
        if not isinstance(key, str):
            refused(f"{what} key", key, "expected text", write, error)
        line(key, f"{what} key", most=1_000, error=error)
    return known


def path(value: object, what: str, *, error: Refusal = ConfigurationError) -> str:
    """The path of a file: text or a ``Path``."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bytes):
        refused(what, value, "expected text or a Path", "decode it with os.fsdecode()", error)
    return text(value, what, least=1, most=4_096, write="give the path of a file", error=error)


# -- time zones -----------------------------------------------------------------------------------


def zone_name(value: object, what: str, *, error: Refusal = ConfigurationError) -> str:
    """The name of a time zone: its IANA name, a ``ZoneInfo``, or ``datetime.UTC``. Does not check that it exists."""
    write = "write its IANA name, such as 'Asia/Kolkata', or ZoneInfo('Asia/Kolkata')"
    if isinstance(value, ZoneInfo):
        if value.key is None:
            refused(what, value, "has no name", write, error)
        return value.key
    if isinstance(value, tzinfo):
        if value is UTC:
            return "UTC"
        refused(what, value, "a fixed offset has no name and no daylight saving time", write, error)
    return line(value, what, least=1, most=64, write=write, error=error)
