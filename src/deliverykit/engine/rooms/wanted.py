"""Filters over mail: what a host gives, checked value by value."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

from deliverykit.contracts.books import MailState, Wanted
from deliverykit.records.route import Route
from deliverykit.records.server import DeliveryServer
from deliverykit.words.clock import instant
from deliverykit.words.errors import ConfigurationError

__all__ = ["Ids", "filter_of", "some_of", "state_named"]

R = TypeVar("R")

Ids = str | Iterable[str]
"""The id of a mail, or several."""


def some_of(**given: object) -> Wanted:
    """A filter of which something is given: what acts on all mail must say so."""
    if all(value is None for value in given.values()):
        raise ConfigurationError(f"a filter is needed: give {', '.join(f'{name}=' for name in given)}")
    return filter_of(**given)


def filter_of(
    *,
    ids: object = None,
    route: object = None,
    stream: object = None,
    server: object = None,
    reason: object = None,
    since: object = None,
    before: object = None,
) -> Wanted:
    """A filter, each value of exactly its type: what filters by something else than was meant must not act."""
    return Wanted(
        uids=_given("ids", ids, _ids, "the ids of mails, such as ['…']"),
        route=_given("route", route.name if isinstance(route, Route) else route, _text, "a route, or its name"),
        stream=_given("stream", stream, _text, "the name of a stream"),
        server=_given("server", server.id if isinstance(server, DeliveryServer) else server, _text, "a server, or its id"),
        reason=_given("reason", reason, _text, "a part of the reason"),
        since=_instant("since", since),
        before=_instant("before", before),
    )


def state_named(name: str) -> MailState:
    """A state by its name."""
    try:
        return MailState[name.upper()]
    except KeyError:
        raise ConfigurationError(f"state: {name!r} is none of {', '.join(state.name.lower() for state in MailState)}") from None


def _given(name: str, value: object, read: Callable[[object], R | None], hint: str) -> R | None:
    if value is None:
        return None
    if (known := read(value)) is None:
        raise ConfigurationError(f"{name}: {value!r}; give {hint}")
    return known


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _ids(value: object) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable):
        return None
    ids = tuple(value)
    return ids if all(isinstance(one, str) for one in ids) else None


def _instant(name: str, value: object) -> int | None:
    """The instant of a datetime. Raises for one without a time zone or out of range."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise ConfigurationError(f"{name}: {value!r}; give a datetime with a time zone")
    try:
        return instant(value)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None
