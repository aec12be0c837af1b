"""A message as one server sends it: the forced sender put in, what it cannot carry left out."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from attrs import evolve

from deliverykit.contracts.capabilities import DROPPABLE, Feature, Needs
from deliverykit.contracts.provider import Outgoing, Provider
from deliverykit.records.server import DeliveryServer
from deliverykit.words.addresses import Address
from deliverykit.words.errors import DeliveryError, MessageError
from deliverykit.words.message import Message

__all__ = ["AdapterFailed", "OnUnsupported", "addressed", "fitted", "pure", "stripped"]

R = TypeVar("R")
OnUnsupported = Literal["error", "warn", "drop"]


class AdapterFailed(Exception):
    """An adapter raised what it must not raise, twice."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error: Exception = error


def pure(call: Callable[[], R], *, again: bool = False) -> R:
    """Call a method of an adapter. They are pure, so an exception that does not come again was not the adapter's.

    A signal handler may raise in the middle of it (a task queue's time limit, for example). That says nothing about the
    message: it is raised as it is, or with ``again`` the result of the second call is returned. Raises
    :class:`AdapterFailed` where the adapter raises anything but a ``DeliveryError``.
    """
    try:
        return call()
    except DeliveryError:
        raise
    except Exception:
        try:
            result = call()
        except DeliveryError:
            raise
        except Exception as error:
            raise AdapterFailed(error) from error
        if again:
            return result
        raise


def addressed(message: Message, server: DeliveryServer, travel_id: str, retries: int = 0) -> Outgoing:
    """The mail of this message through this server; see :meth:`Outgoing.of`."""
    sender = server.sender or message.sender
    if sender is None:
        raise MessageError("sender: the message has none and the server forces none; give sender= or set the server's")
    return Outgoing.of(message, travel_id, sender, forced=server.sender is not None, retries=retries)


def stripped(message: Message, features: frozenset[Feature]) -> Message:
    """The message without features that no reader sees, where the host chose to do without them."""
    gone = features & DROPPABLE & Needs.of(message).features
    if not gone:
        return message
    empty: dict[str, Any] = {"tags": (), "metadata": {}, "track_opens": None, "track_clicks": None}
    return evolve(message, **{name: value for name, value in empty.items() if Feature(name) in gone})


def fitted(
    message: Message, provider: Provider, sender: Address | None, choice: OnUnsupported
) -> tuple[Message, tuple[str, ...], frozenset[Feature]]:
    """Return the message as this ESP gets it, why it still cannot carry that, and what was left out.

    ``sender`` is the server's forced sender. Unless ``choice`` is ``"error"``, each feature that no reader sees is left
    out if that removes a reason against the message; the others stay.
    """
    reasons = provider.unsupported(message, sender)
    gone: set[Feature] = set()
    if reasons and choice != "error":
        for feature in sorted(DROPPABLE & Needs.of(message).features):
            without = stripped(message, frozenset({feature}))
            left = provider.unsupported(without, sender)
            if len(left) < len(reasons):
                message, reasons = without, left
                gone.add(feature)
    return message, reasons, frozenset(gone)
