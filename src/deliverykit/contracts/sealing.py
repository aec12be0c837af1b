"""What ``extra`` and a subclass's ``payload()`` must leave as it is: declared paths, compared without case.

Several ESPs read field names without case and take the last of two spellings. So a path is looked for in every
spelling, and a second spelling of a name that leads to a promised value is refused as well.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["ABSENT", "Path", "are_headers", "is_line", "mentioned", "merged", "misspelled", "touched", "twins"]

_HEADER_NAME = re.compile(r"[!-9;-~]+")
_NO_LINE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

Path = tuple[str | int, ...]


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()
"""In :meth:`Provider.sealed`: nothing may stand at this path."""


def is_line(value: Any) -> bool:
    """For :meth:`Provider.sealed`: whether nothing stands there, or one line, in which no other header can hide."""
    return not isinstance(value, str) or _NO_LINE.search(value) is None


def are_headers(value: Any) -> bool:
    """For :meth:`Provider.sealed`: whether nothing stands there, or a mapping of header names to one line each."""
    if value is ABSENT or value is None:
        return True
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _HEADER_NAME.fullmatch(name) and is_line(text) for name, text in value.items()
    )


def merged(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """``extra`` over ``base``, mappings merged all the way down, everything else replaced."""
    out = dict(base)
    for key, value in extra.items():
        below = out.get(key)
        out[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return out


class _Spellings:
    """What stands in a tree under which name, without case; each mapping is read once, however many paths lead through it."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, list[tuple[str | int, Any]]]] = {}

    def at(self, tree: Any, path: Path) -> list[tuple[str | int, Any]]:
        """What stands at a path: every spelling of every name on the way."""
        found: list[tuple[str | int, Any]] = [("", tree)]
        for step in path:
            found = [deeper for _, value in found for deeper in self.below(value, step)]
        return found

    def below(self, tree: Any, step: str | int) -> list[tuple[str | int, Any]]:
        """What stands one step below, in every spelling of the step."""
        if isinstance(tree, Mapping):
            names = self._known.get(id(tree))
            if names is None:
                names = self._known[id(tree)] = {}
                for key, value in tree.items():
                    names.setdefault(str(key).casefold(), []).append((key, value))
            return names.get(str(step).casefold(), [])
        if isinstance(tree, Sequence) and isinstance(step, int) and step < len(tree):
            return [(step, tree[step])]
        return []


def touched(payload: Mapping[str, Any], sealed: Mapping[Path, Any]) -> str:
    """Return the first sealed path, dotted, at which something else stands than it should; else ``""``."""
    spellings = _Spellings()
    for path, expected in sealed.items():
        found = spellings.at(payload, path)
        if callable(expected):
            names = [name for name, _ in found]
            if names in ([], [path[-1]]) and expected(found[0][1] if found else ABSENT):
                continue
            return _dotted(path)
        wanted = [] if expected is ABSENT else [(path[-1], expected)]
        if found != wanted:
            return _dotted(path)
    return ""


def misspelled(payload: Mapping[str, Any], sealed: Mapping[Path, Any]) -> tuple[str, str]:
    """Return another spelling of a name on the way to a sealed path, dotted, and the name it should have; else two ``""``."""
    spellings = _Spellings()
    for path in sealed:
        tree: Any = payload
        for depth, step in enumerate(path):
            found = dict(spellings.below(tree, step))
            if other := next((name for name in found if name != step), None):
                return _dotted((*path[:depth], other)), str(step)
            if step not in found:
                break
            tree = found[step]
    return "", ""


def mentioned(extra: Mapping[str, Any], sealed: Mapping[Path, Any]) -> str:
    """Return the first sealed path, dotted, whose value ``extra`` sets, even to what it is already; else ``""``."""
    spellings = _Spellings()
    return next(
        (_dotted(path) for path, expected in sealed.items() if not callable(expected) and spellings.at(extra, path)), ""
    )


def twins(payload: Mapping[str, Any], extra: Mapping[str, Any]) -> tuple[str, str]:
    """Return a name in ``extra``, dotted, that differs only in case from one in ``payload``, and that one; else two ``""``."""
    known = {str(name).casefold(): name for name in payload}
    for key, value in extra.items():
        name = known.get(key.casefold(), key)
        if name != key:
            return key, str(name)
        below = payload.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            deeper, wanted = twins(below, value)
            if deeper:
                return f"{key}.{deeper}", wanted
    return "", ""


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
