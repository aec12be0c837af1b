"""Filters over mail: what a host gives, checked value by value."""

from collections.abc import Iterable

from deliverykit.contracts.books import MailState, Wanted
from deliverykit.engine.rooms.room import named
from deliverykit.records.route import Route
from deliverykit.records.server import DeliveryServer
from deliverykit.words.arguments import choice, items, line, optional, text, timestamp
from deliverykit.words.errors import ConfigurationError

__all__ = ["Ids", "filter_of", "some_of", "state_named"]

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
        uids=optional(_ids, ids, "ids"),
        route=optional(named, route, "route", kind=Route),
        stream=optional(line, stream, "stream", write="give the name of a stream; '' is the one without a name"),
        server=optional(named, server, "server", kind=DeliveryServer),
        reason=optional(text, reason, "reason", write="give a part of the reason"),
        since=optional(timestamp, since, "since"),
        before=optional(timestamp, before, "before"),
    )


def state_named(name: str) -> MailState:
    """A state by its name."""
    return MailState[choice(name, "state", [state.name.lower() for state in MailState]).upper()]


def _ids(value: object, what: str) -> tuple[str, ...]:
    write = "give the ids of messages, as enqueue() returned them"
    return tuple(line(one, what, write=write) for one in items(value, what, write))
