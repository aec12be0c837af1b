"""Opening a TCP connection with a time limit that holds for name resolution too."""

import threading
from collections.abc import Callable

import httpcore2

__all__ = ["dialled"]


class _Dial:
    """One connection being opened in a thread of its own: the system's resolver cannot be interrupted."""

    def __init__(self, connect: Callable[[], httpcore2.NetworkStream]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._abandoned = False
        self.done = threading.Event()
        self.stream: httpcore2.NetworkStream | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Connect; close the connection where nobody waits for it any more."""
        try:
            stream = self._connect()
            with self._lock:
                self.stream, abandoned = stream, self._abandoned
            if abandoned:
                stream.close()
        except BaseException as error:  # noqa: BLE001  raised again in the thread that waits
            self.error = error
        finally:
            self.done.set()

    def abandon(self) -> None:
        """Wait no longer. A connection that is there, or comes later, is closed."""
        with self._lock:
            self._abandoned, stream = True, self.stream
        if stream is not None:
            stream.close()


def dialled(connect: Callable[[], httpcore2.NetworkStream], limit: float | None) -> httpcore2.NetworkStream:
    """Return what ``connect`` opens; raise ``ConnectTimeout`` after ``limit`` seconds, even inside the resolver.

    The thread of a call that was given up ends with the resolver.
    """
    dial = _Dial(connect)
    try:
        threading.Thread(target=dial.run, name="deliverykit-connect", daemon=True).start()
    except RuntimeError:  # no thread can be started: connect without the limit on name resolution
        return connect()
    try:
        if not dial.done.wait(limit):
            raise httpcore2.ConnectTimeout("the connection was not open in time")
    except BaseException:
        dial.abandon()
        raise
    if dial.error is not None:
        raise dial.error
    assert dial.stream is not None  # noqa: S101  it is one or the other
    return dial.stream
