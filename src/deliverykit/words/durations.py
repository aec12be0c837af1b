"""Durations that callers give: a timedelta, or plain seconds."""

import math
from datetime import timedelta
from typing import Final

from deliverykit.words.errors import ConfigurationError

__all__ = ["LONGEST", "bounded", "seconds"]

LONGEST: Final = timedelta(days=36_500)
"""No duration that a caller gives is longer: it is added to instants, and handed to the system's timers."""


def seconds(name: str, value: object) -> float:
    """Return the seconds of a time limit given as a ``timedelta`` or as a number of seconds.

    Raises :class:`~deliverykit.ConfigurationError`, naming the argument, for anything that is not a
    finite length above zero.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ConfigurationError(f"{name}={value!r}: expected a timedelta or a number of seconds; write timedelta(seconds=10)")
    if not (math.isfinite(number) and number > 0):
        raise ConfigurationError(f"{name}={value!r}: a time limit must be above zero and finite; write timedelta(seconds=10)")
    if number > LONGEST.total_seconds():
        raise ConfigurationError(f"{name}={value!r}: a time limit may be 36,500 days at most; write timedelta(seconds=10)")
    return float(number)


def bounded(name: str, value: timedelta) -> timedelta:
    """Return the duration; raises :class:`~deliverykit.ConfigurationError`, naming the argument, above 36,500 days."""
    if value > LONGEST:
        raise ConfigurationError(f"{name}={value!r}: longer than 36,500 days; give a shorter timedelta")
    return value
