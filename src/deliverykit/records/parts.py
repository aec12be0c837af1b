"""Stored is data, named is code: parts written as a registered name and plain fields, and read back.

Nothing is imported or unpickled from what a store says. An unknown name is an :class:`UnknownPart`,
which makes one server BROKEN and leaves the others working.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from attrs import fields, has

from deliverykit.contracts.answers import Row
from deliverykit.contracts.capabilities import Capabilities
from deliverykit.contracts.limit import Limit, QuotaPolicy, RateLimiter
from deliverykit.contracts.provider import Provider
from deliverykit.contracts.router import Router
from deliverykit.words.arguments import shown
from deliverykit.words.clock import length
from deliverykit.words.credentials import Env, Named, Secret
from deliverykit.words.errors import ConfigurationError

__all__ = ["Parts", "UnknownPart"]

Family = type[Provider] | type[Limit] | type[Router]
_FAMILIES: tuple[tuple[str, type], ...] = (("provider", Provider), ("limit", Limit), ("router", Router))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_table(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(row, Row) for row in value)


_DECLARED: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("name", _is_name, "ClassVar[str] = '…'"),
    ("esp", _is_name, "ClassVar[str] = '…'"),
    ("label", _is_name, "ClassVar[str] = '…'"),
    ("capabilities", lambda value: isinstance(value, Capabilities), "ClassVar[Capabilities] = Capabilities(…)"),
    ("table", _is_table, "ClassVar[Sequence[Row]] = (…)"),
)
"""What a provider's class must say of itself, how that is recognised, and what to write. Of other parts only the first."""


class UnknownPart(ConfigurationError):
    """The store names a part that this process has not registered."""


class Parts:
    """The registered classes, by family and name."""

    def __init__(self, ours: Iterable[type], hosts: Iterable[type] = ()) -> None:
        self._by_name: dict[tuple[str, str], type] = {}
        for part in (*ours, *hosts):
            self.register(part)

    def register(self, part: type) -> None:
        """Add a class; refused where it is no part, is abstract, lacks a class attribute, or takes another's name."""
        family = _family(part)
        if family is None or not has(part):
            raise ConfigurationError(
                f"register: {shown(part)} is not an attrs class that inherits Provider, QuotaPolicy, RateLimiter or Router"
            )
        if getattr(part, "__abstractmethods__", None):
            missing = ", ".join(sorted(getattr(part, "__abstractmethods__", ())))
            raise ConfigurationError(f"register: {part.__name__} does not define {missing}")
        for attribute, right, line in _DECLARED if family == "provider" else _DECLARED[:1]:
            if not right(getattr(part, attribute, None)):
                raise ConfigurationError(f"register: {part.__name__} has no {attribute}; add  {attribute}: {line}")
        name: str = getattr(part, "name", "")
        taken = self._by_name.setdefault((family, name), part)
        if taken is not part:
            raise ConfigurationError(
                f"register: {part.__name__} and {taken.__name__} are both named {name!r}; give one another name"
            )

    def providers(self) -> tuple[type[Provider], ...]:
        """The registered providers."""
        return tuple(part for (family, _), part in self._by_name.items() if family == "provider")

    def knows(self, part: object) -> None:
        """Refuse a part that could not be read back."""
        family = _family(type(part))
        name = getattr(part, "name", "")
        if family is None or self._by_name.get((family, name)) is not type(part):
            raise ConfigurationError(
                f"{type(part).__name__} is not registered; build the Mailer with register=[{type(part).__name__}]"
            )

    def dump(self, part: object) -> tuple[dict[str, Any], dict[str, Secret]]:
        """A part as plain data, and its secrets apart from it."""
        self.knows(part)
        plain: dict[str, Any] = {}
        secrets: dict[str, Secret] = {}
        for one in fields(type(part)):  # type: ignore[arg-type]
            if not one.init:
                continue
            value = getattr(part, one.name)
            if isinstance(value, Secret):
                secrets[one.alias or one.name] = value
            else:
                plain[one.alias or one.name] = _plain(value, f"{type(part).__name__} {one.name}")
        return {"part": getattr(part, "name", ""), "fields": plain}, secrets

    def load(self, family: str, data: Mapping[str, Any], secrets: Mapping[str, Secret] | None = None) -> Any:
        """The part again. Raises :class:`UnknownPart`, or ``ConfigurationError`` where its fields no longer fit."""
        part = self._by_name.get((family, data["part"]))
        if part is None:
            raise UnknownPart(
                f"the {family} {data['part']!r} is not registered here; build the Mailer with register=[its class]"
            )
        values = {name: _value(value) for name, value in data["fields"].items()}
        try:
            return part(**values, **(secrets or {}))
        except TypeError as error:
            raise ConfigurationError(f"the stored {family} {data['part']!r} does not fit its class: {error}") from None


def _family(part: type) -> str | None:
    if not isinstance(part, type) or part in (Provider, Limit, QuotaPolicy, RateLimiter, Router):
        return None
    return next((family for family, base in _FAMILIES if issubclass(part, base)), None)


def _plain(value: object, what: str) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, timedelta):
        return {"$ms": round(value.total_seconds() * 1000)}
    if isinstance(value, datetime):
        return {"$at": value.isoformat()}
    if isinstance(value, date):
        return {"$date": value.isoformat()}
    if isinstance(value, Env):
        return {"$env": value.name}
    if isinstance(value, Named):
        return {"$named": value.name}
    if isinstance(value, list | tuple):
        return [_plain(item, what) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: _plain(item, what) for key, item in value.items()}
    raise ConfigurationError(
        f"{what}: {type(value).__name__} cannot be stored; use text, numbers, timedelta, dates, lists or mappings"
    )


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(item) for item in value)
    if not isinstance(value, dict):
        return value
    match value:
        case {"$ms": ms}:
            return length(ms)
        case {"$at": text}:
            return datetime.fromisoformat(text).astimezone(UTC)
        case {"$date": text}:
            return date.fromisoformat(text)
        case {"$env": name}:
            return Env(name)
        case {"$named": name}:
            return Named(name)
    return {key: _value(item) for key, item in value.items()}
