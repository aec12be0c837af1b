"""The time limit of the call that is being served, for whoever waits on its behalf."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from deliverykit.words.clock import Clock

__all__ = ["limited", "out_of_time", "patience", "storage_patience", "time_left", "timed"]

_TO_STORE = 1.0
"""Seconds that a call has for the storage after its time limit has ended: to store what it knows by then."""

_LEFT: ContextVar[Callable[[], float] | None] = ContextVar("deliverykit_time_left", default=None)
patience: ContextVar[Callable[[], float]] = ContextVar("deliverykit_patience")
"""Set while a caller has a time limit: the seconds for which it still waits for another program that holds the storage.

A storage asks again while it waits, since the limit may come meanwhile. Where it is not set, the storage decides.
"""


@contextmanager
def limited(clock: Clock, seconds: float | None) -> Iterator[None]:
    """Give what is called inside so many seconds; ``None``: no limit."""
    if seconds is None:
        yield
        return
    ends = clock.monotonic() + seconds
    left = _LEFT.set(lambda: ends - clock.monotonic())
    stored = patience.set(lambda: ends + _TO_STORE - clock.monotonic())
    try:
        yield
    finally:
        with suppress(ValueError):  # a coroutine whose loop has gone is closed in another context
            _LEFT.reset(left)
            patience.reset(stored)


def timed() -> bool:
    """Return whether the caller gave a time limit."""
    return _LEFT.get() is not None


def time_left(most: float = math.inf) -> float:
    """Return how many seconds to wait at most: ``most``, or what the caller's time limit leaves; never below zero."""
    left = _LEFT.get()
    return most if left is None else max(0.0, min(most, left()))


def storage_patience(most: float) -> float:
    """Return how many seconds to wait for a storage that is in use: ``most``, or what :data:`patience` says."""
    left = patience.get(None)
    return most if left is None else max(0.0, min(most, left()))


def out_of_time() -> bool:
    """Return whether the caller's time limit has ended."""
    return time_left() <= 0
