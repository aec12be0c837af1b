"""Time zones by their IANA name, from the standard library's ``zoneinfo``."""

import re
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from deliverykit.words.arguments import shown, zone_name
from deliverykit.words.errors import ConfigurationError

__all__ = ["known_zone", "names", "zone"]

# What they mean differs from machine to machine, or nothing.
_NOT_PLACES = {"localtime", "Factory", "posixrules"}


_OFFSET = re.compile(r"\A(?:GMT|UTC|Z)?\s*(?P<sign>[+-])\s*(?P<hours>\d{1,2})(?::?(?P<minutes>[0-5]\d))?", re.IGNORECASE)
_WINTER = datetime(2026, 1, 15, 12, tzinfo=UTC)
_ABBREVIATIONS = {
    "IST": "Asia/Kolkata", "BST": "Europe/London", "JST": "Asia/Tokyo", "SGT": "Asia/Singapore", "AEST": "Australia/Sydney",
    "AEDT": "Australia/Sydney", "CEST": "Europe/Berlin", "EEST": "Europe/Helsinki", "EDT": "America/New_York",
    "CST": "America/Chicago", "CDT": "America/Chicago", "MDT": "America/Denver", "PST": "America/Los_Angeles",
    "PDT": "America/Los_Angeles", "BRT": "America/Sao_Paulo", "WIB": "Asia/Jakarta", "PKT": "Asia/Karachi",
}  # fmt: skip
_PLACES = (
    "Asia/Kolkata", "Europe/London", "Europe/Berlin", "Europe/Athens", "Europe/Istanbul", "Asia/Dubai", "Asia/Karachi",
    "Asia/Dhaka", "Asia/Bangkok", "Asia/Shanghai", "Asia/Singapore", "Asia/Tokyo", "Australia/Brisbane", "Pacific/Auckland",
    "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Sao_Paulo", "Asia/Kathmandu",
    "Asia/Tehran", "Africa/Lagos", "Africa/Nairobi", "America/Halifax", "America/Anchorage", "Pacific/Honolulu",
)  # fmt: skip
"""Large places, suggested before others of the same offset."""


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """The names of all zones that the system or the ``tzdata`` package knows."""
    return frozenset(available_timezones() - _NOT_PLACES)


def known_zone(value: object, what: str = "timezone") -> str:
    """The name of a zone that exists: from its IANA name, a ``ZoneInfo`` or ``datetime.UTC``.

    Raises :class:`~deliverykit.ConfigurationError` naming the argument ``what``.
    """
    name = zone_name(value, what)
    zone(name)
    return name


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The zone of this exact name, as ``Asia/Kolkata``.

    Raises :class:`~deliverykit.words.errors.ConfigurationError` with the nearest names if there is
    none. The case matters: a file system that ignores it must not let a name through that another
    machine does not know.
    """
    if name in names():
        return ZoneInfo(name)
    raise ConfigurationError(f"timezone={shown(name)}: not the name of an IANA time zone; {_hint(name)}")


def _hint(name: str) -> str:
    if offset := _OFFSET.fullmatch(name.strip()):
        return _with_offset(offset)
    if meant := _ABBREVIATIONS.get(name.strip().upper()):
        return f"an abbreviation is ambiguous; write the name of a place, such as {meant!r}"
    wanted = name.strip().casefold().replace(" ", "_")
    by_word: dict[str, list[str]] = {}
    for known in sorted(names()):
        for word in {known.casefold(), known.rpartition("/")[2].casefold()}:
            by_word.setdefault(word, []).append(known)
    words = [wanted] if wanted in by_word else get_close_matches(wanted, by_word, n=3, cutoff=0.7)
    if near := list(dict.fromkeys(known for word in words for known in by_word[word]))[:3]:
        return f"did you mean {' or '.join(repr(known) for known in near)}?"
    return "write one such as 'Europe/Berlin' or 'Asia/Kolkata'"


def _with_offset(offset: re.Match[str]) -> str:
    """Zones of an offset as people write it, east of Greenwich with a plus; ``Etc/GMT+5`` has the sign the other way round."""
    minutes = int(offset["hours"]) * 60 + int(offset["minutes"] or 0)
    wanted = timedelta(minutes=-minutes if offset["sign"] == "-" else minutes)
    there = [name for name in _PLACES if name in names() and _WINTER.astimezone(ZoneInfo(name)).utcoffset() == wanted]
    if wanted == timedelta():
        there.insert(0, "UTC")
    if not there:
        there = [
            name for name in sorted(names())
            if "/" in name and not name.startswith("Etc/") and _WINTER.astimezone(ZoneInfo(name)).utcoffset() == wanted
        ]  # fmt: skip
    if not there:
        return "no place has this offset; write the name of a place, such as 'Asia/Kolkata'"
    return f"an offset is not a time zone; did you mean {' or '.join(map(repr, there[:3]))}?"
