"""The modes of the database file and its side files: private from the first moment, and what is too open.

SQLite gives ``-wal``, ``-shm`` and ``-journal`` the mode of the database file, so that one decides for all.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from deliverykit.words.errors import ConfigurationError
from deliverykit.words.locks import Guard

__all__ = ["PRIVATE", "create", "exposures", "mode_of"]

PRIVATE: Final = 0o600
_SIDES: Final = ("", "-wal", "-shm", "-journal")
_CREATING = Guard()
_OWNER, _GROUP, _OTHERS = 0o600, 0o060, 0o007


def mode_of(text: str) -> int:
    """Return the mode of ``?mode=0660``. Raises ``ConfigurationError`` for what is none, or opens the file to everybody."""
    digits = text.removeprefix("0o")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 4 or set(digits) & set("89"):
        raise ConfigurationError(f"storage: mode={text[:20]!r} is not an octal mode; write mode=0600, or mode=0660 for a group")
    mode = int(digits, 8)
    if mode & _OWNER != _OWNER or mode & ~(_OWNER | _GROUP):
        raise ConfigurationError(
            f"storage: mode={text!r} must let the owner read and write, may let the group, and nobody else; "
            "write mode=0600 or mode=0660"
        )
    return mode


def create(path: str, mode: int) -> None:
    """Create the file with exactly this mode, whatever the umask; leave one that exists as it is.

    It is never more open than ``mode``, not for a moment. What cannot be created is left to SQLite to report.
    """
    # Closing any descriptor of a file drops all locks of this process on it, those of SQLite too. So a file is closed here
    # before another thread can have seen it.
    _CREATING(_create, path, mode)


def _create(path: str, mode: int) -> None:
    with suppress(OSError):
        # Through a symbolic link that leads nowhere yet, SQLite would create the target, by the umask.
        descriptor = os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), PRIVATE)
        try:
            if hasattr(os, "fchmod"):  # not on Windows
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)


def exposures(path: str, mode: int) -> tuple[str, ...]:
    """Return what is wrong with the modes and the owner of the files, for people. Beyond what ``mode`` allows on purpose."""
    if not hasattr(os, "geteuid"):
        return ()
    return tuple(_exposures(path, mode))


def _exposures(path: str, mode: int) -> Iterator[str]:
    for side in _SIDES:
        try:
            found = Path(path + side).stat()
        except OSError:
            continue
        if open_to := found.st_mode & 0o777 & (_GROUP | _OTHERS) & ~mode:
            who = "everybody" if open_to & _OTHERS else "its group"
            yield f"{path}{side} (mode {found.st_mode & 0o777:04o}) is open to {who}"
        if found.st_uid != os.geteuid() and not mode & _GROUP:
            yield f"{path}{side} belongs to another user (uid {found.st_uid}; this process is uid {os.geteuid()})"
