"""The calls of a blocking Mailer that are under way: closing waits for them, and none begins after it."""

import asyncio
import threading
import time
import warnings
from weakref import ref

from deliverykit.words.errors import ConfigurationError
from deliverykit.words.locks import renew_in_child

__all__ = ["CLOSED", "BlockingCallWarning", "Call", "Calls"]

CLOSED = "this Mailer is closed; make a new one, or close it later"
_STEP = 0.005


class BlockingCallWarning(RuntimeWarning):
    """A blocking ``Mailer`` was called inside a running event loop, whose other tasks wait meanwhile. Given once."""


class Call:
    """One call. It is under way as long as its frame holds this object.

    The frame lets go of it in a ``finally``: a traceback that somebody keeps would keep the frame, and all that is in it.
    """

    __slots__ = ("__weakref__",)


class _UnderWay(ref[Call]):
    """Goes with its call, however that ended."""

    __slots__ = ("thread",)
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    thread: int


class Calls:
    """Counts what is under way. Safe for threads, and for exceptions from outside."""

    def __init__(self) -> None:
        self._closed = False
        self._warned = False
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """A forked child has none of the threads that were calling."""
        self._under_way: set[_UnderWay] = set()

    def begin(self) -> Call:
        """Begin a call; it ends with the last reference to the result. Raises ``ConfigurationError`` after :meth:`close`."""
        self.check()
        if not self._warned and asyncio._get_running_loop() is not None:  # noqa: SLF001  quick, and in its __all__
            self._warned = True
            warnings.warn(
                "a blocking Mailer is called inside a running event loop, which stands still meanwhile; "
                "use AsyncMailer there, or await asyncio.to_thread(mailer.send, …)",
                BlockingCallWarning,
                stacklevel=3,
            )
        call = Call()
        entry = _UnderWay(call, self._under_way.discard)
        entry.thread = threading.get_ident()
        self._under_way.add(entry)
        self.check()  # closed meanwhile: then it was not waited for
        return call

    def check(self) -> None:
        """Raise ``ConfigurationError`` after :meth:`close`."""
        if self._closed:
            raise ConfigurationError(CLOSED)

    def close(self) -> bool:
        """Let no call begin any more; whether it was open."""
        was, self._closed = self._closed, True
        return not was

    def wait(self, seconds: float) -> None:
        """Wait, for so long at most, until the calls of other threads have ended."""
        ends, me = time.monotonic() + seconds, threading.get_ident()
        while any(one.thread != me for one in list(self._under_way)) and time.monotonic() < ends:
            time.sleep(_STEP)
