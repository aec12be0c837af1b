"""A lock that no exception leaves held, and that a forked child gets new."""

import os
import threading
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar
from weakref import WeakSet

__all__ = ["Guard", "Renewable", "renew_in_child"]

P = ParamSpec("P")
R = TypeVar("R")


class Renewable(Protocol):
    """An object that starts again in a forked child."""

    def renew(self) -> None:
        """Forget what belongs to the threads of the parent. The child calls it before its own code runs."""


_RENEWED: "WeakSet[Renewable]" = WeakSet()


def renew_in_child(one: Renewable) -> None:
    """Have ``one.renew()`` called in every forked child, as long as the object lives."""
    _RENEWED.add(one)


class Guard:
    """Run functions one at a time.

    A signal handler may raise between any two steps of Python code, so a lock that is acquired by one statement and
    released by another can stay held. Here acquiring, the call and releasing are one ``with`` statement on one line.

    A child of ``os.fork()`` has none of the parent's other threads. A lock that one of them held would stay held in the
    child for ever, so each child gets a new lock.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self)

    def __call__(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what ``call`` returns. The same thread may come again: from a signal handler, for example."""
        # fmt: off
        with self._lock: return call(*args, **kwargs)  # noqa: E701  see above
        # fmt: on

    def renew(self) -> None:
        """Take a new lock."""
        self._lock = threading.RLock()


def _renew() -> None:
    for one in list(_RENEWED):
        one.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew)
