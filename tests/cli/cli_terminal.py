"""A real terminal for a command: what is typed, and all that stands on the screen."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from contextlib import suppress
from fcntl import ioctl
from struct import pack

from cli_kit import COMMAND

# The terminal has to be the process's own, as in life: /dev/tty is where a hidden prompt is.
_OWN = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


class Terminal:
    """One command in a terminal of 100 columns."""

    def __init__(self, *words: str, **environment: str) -> None:
        self._screen, child = pty.openpty()
        ioctl(child, termios.TIOCSWINSZ, pack("HHHH", 40, 100, 0, 0))
        plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR", "TERM"}}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _OWN, *COMMAND[1:], *words], stdin=child, stdout=child, stderr=child, close_fds=True,
            start_new_session=True, env={**plain, "TERM": "xterm-256color", **environment},
        )  # fmt: skip
        os.close(child)
        self.raw = ""
        self._read = 0

    @property
    def text(self) -> str:
        """All that was shown, without colours and moves."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)

    def until(self, words: str, seconds: float = 40, unless: str = "\0") -> None:
        """Wait until they are shown, after what was waited for before; ``unless`` is what may not be shown instead."""
        end = time.monotonic() + seconds
        while (at := self.text.find(words, self._read)) < 0:
            if unless in self.text[self._read :] or not self._more(end - time.monotonic()):
                raise AssertionError(f"{words!r} is not shown; the screen:\n{self.text}")
        self._read = at + len(words)

    def type(self, line: str) -> None:
        """Type it, and Enter."""
        os.write(self._screen, f"{line}\n".encode())

    def answer(self, question: str, line: str = "") -> None:
        """Wait for a question, and answer it."""
        self.until(question)
        self.until(": ")
        self.type(line)

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.write(self._screen, b"\x03")

    def interrupted(self, seconds: float = 40) -> int:
        """Ctrl-C until it ends; how it ended.

        Python sees a signal that comes just before it begins to wait for a line only after that line.
        """
        limit = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < limit:
            self.interrupt()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        return self.end()

    def end(self, seconds: float = 40) -> int:
        """Wait for its end; how it ended."""
        limit = time.monotonic() + seconds
        while self._more(limit - time.monotonic()):
            pass
        return self._process.wait(max(1.0, limit - time.monotonic()))

    def close(self) -> None:
        """End it in any case."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._screen)

    def _more(self, seconds: float) -> bool:
        screen = select.poll()  # select() takes no descriptor beyond 1,023, and a whole run's tests have opened many before
        screen.register(self._screen, select.POLLIN)
        if not screen.poll(max(0.0, seconds) * 1000):
            return False
        try:
            found = os.read(self._screen, 65536)
        except OSError:  # its other end is closed
            return False
        self.raw += found.decode("utf-8", "replace")
        return bool(found)
