"""Time zones by their IANA name, from the standard library's ``zoneinfo``."""

from difflib import get_close_matches
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from deliverykit.words.errors import ConfigurationError

__all__ = ["names", "zone"]

# What they mean differs from machine to machine, or nothing.
_NOT_PLACES = {"localtime", "Factory", "posixrules"}


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """The names of all zones that the system or the ``tzdata`` package knows."""
    return frozenset(available_timezones() - _NOT_PLACES)


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The zone of this exact name, as ``Asia/Kolkata``.

    Raises :class:`~deliverykit.words.errors.ConfigurationError` with the nearest names if there is
    none. The case matters: a file system that ignores it must not let a name through that another
    machine does not know.
    """
    if name in names():
        return ZoneInfo(name)
    raise ConfigurationError(f"timezone {name!r} is not the name of an IANA time zone{_hint(name)}")


def _hint(name: str) -> str:
    wanted = name.strip().casefold().replace(" ", "_")
    by_word: dict[str, list[str]] = {}
    for known in sorted(names()):
        for word in {known.casefold(), known.rpartition("/")[2].casefold()}:
            by_word.setdefault(word, []).append(known)
    words = [wanted] if wanted in by_word else get_close_matches(wanted, by_word, n=3, cutoff=0.7)
    if near := [known for word in words for known in by_word[word]][:3]:
        return f"; did you mean {' or '.join(repr(known) for known in near)}?"
    return ", as 'Europe/Berlin' or 'Asia/Kolkata'"
