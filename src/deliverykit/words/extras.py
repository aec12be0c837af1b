"""Check ``Message.extra``: plain JSON data for each ESP, copied so that later changes by the caller have no effect."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from deliverykit.words.errors import MessageError

__all__ = ["MAX_DEPTH", "MAX_VALUES", "plain_extra"]

MAX_DEPTH = 32
"""Levels of mappings and lists below one ESP's name. No ESP's API is deeper than ten."""
MAX_VALUES = 100_000
"""Values in all: a small graph of shared lists can stand for billions of values once it is written as JSON."""
_MAX_INT = 1 << 64

_Path = tuple[str | int, ...]


def plain_extra(value: object) -> dict[str, dict[str, Any]]:
    """Return a copy of ``extra`` made of dicts, lists, text, numbers, booleans and ``None``.

    Raises :class:`~deliverykit.MessageError` with the path of the first value that no JSON request can carry: another
    type, NaN or infinity, an integer of more than 64 bits, a lone surrogate, a key that is not text, two keys that
    differ only in case (a server that ignores case reads the last one), a cycle, too many levels or too many values.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MessageError(f"extra: expected a mapping of ESP names to their fields, got {type(value).__name__}")
    copier = _Copier()
    clean: dict[str, dict[str, Any]] = {}
    for esp, fields in value.items():
        if not isinstance(esp, str) or not esp or _surrogate(esp):
            raise MessageError(f"extra: {_shown(esp)} is not the name of an ESP; write one such as 'sendgrid'")
        if not isinstance(fields, Mapping):
            raise MessageError(f"extra[{esp!r}]: expected a mapping of that ESP's fields, as in extra={{'sendgrid': {{…}}}}")
        clean[esp] = copier.mapping(fields, (esp,))
    return clean


class _Copier:
    """Copies one ``extra`` and counts its values."""

    def __init__(self) -> None:
        self._left = MAX_VALUES
        self._open: set[int] = set()
        """The containers around the one that is copied now; one of them inside itself is a cycle."""

    def mapping(self, value: Mapping[Any, Any], path: _Path) -> dict[str, Any]:
        return {key: self._value(one, (*path, key)) for key, one in self._entered(value, path, self._pairs(value, path))}

    def _pairs(self, value: Mapping[Any, Any], path: _Path) -> Iterator[tuple[str, Any]]:
        seen: dict[str, str] = {}
        for key, one in value.items():
            if not isinstance(key, str):
                raise MessageError(f"{_dotted(path)}: the key {_shown(key)} is not text; write it as text")
            if _surrogate(key):
                raise MessageError(f"{_dotted(path)}: the key {_shown(key)} holds a lone surrogate; remove it")
            twin = seen.setdefault(key.casefold(), key)
            if twin != key:
                raise MessageError(f"{_dotted(path)}: the keys {_shown(twin)} and {_shown(key)} differ only in case; keep one")
            yield key, one

    def _entered(self, value: object, path: _Path, items: Iterator[Any]) -> Iterator[Any]:
        """The items of a container, which must not be inside itself."""
        if id(value) in self._open:
            raise MessageError(f"{_dotted(path)}: contains itself; give plain data without cycles")
        if len(path) > MAX_DEPTH:
            raise MessageError(f"{_dotted(path[:4])}…: more than {MAX_DEPTH} levels; flatten it")
        self._open.add(id(value))
        yield from items
        self._open.discard(id(value))

    def _value(self, value: object, path: _Path) -> Any:
        self._left -= 1
        if self._left < 0:
            raise MessageError(f"{_dotted(path[:1])}: more than {MAX_VALUES} values; give less")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            if _surrogate(value):
                raise MessageError(f"{_dotted(path)}: holds a lone surrogate, which cannot be encoded; remove it")
            return str.__str__(value)
        if isinstance(value, int):
            if not -_MAX_INT < value < _MAX_INT:
                raise MessageError(f"{_dotted(path)}: an integer of more than 64 bits; write it as text")
            return int(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise MessageError(f"{_dotted(path)}: {value} cannot be written as JSON; give a finite number or None")
            return float(value)
        if isinstance(value, Mapping):
            return self.mapping(value, path)
        if isinstance(value, list | tuple):
            return [self._value(one, (*path, at)) for at, one in self._entered(value, path, iter(enumerate(value)))]
        raise MessageError(
            f"{_dotted(path)}: {type(value).__name__} cannot be written as JSON; give text, numbers, lists and mappings"
        )


def _surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text)


def _shown(key: object) -> str:
    """A key for an error text, short whatever it is."""
    return ascii(key[:60]) if isinstance(key, str) else type(key).__name__


def _dotted(path: _Path) -> str:
    """``extra['ses']: Content.Simple[0]``, as the caller would look for it."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:60]}" for step in path[1:])
    return f"extra[{path[0]!r}]" + (f": {ascii(steps.removeprefix('.'))[1:-1]}" if steps else "")
