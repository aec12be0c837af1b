"""A message as one server will send it: the forced sender put in, what it cannot carry left out."""

from typing import Any, Literal

from attrs import evolve

from deliverykit.contracts.capabilities import DROPPABLE, Feature, Needs
from deliverykit.contracts.provider import Outgoing
from deliverykit.records.server import DeliveryServer
from deliverykit.words.addresses import Address
from deliverykit.words.errors import MessageError
from deliverykit.words.message import Message
from deliverykit.words.raw import header_values

__all__ = ["OnUnsupported", "addressed", "stripped"]

OnUnsupported = Literal["error", "warn", "drop"]


def addressed(message: Message, server: DeliveryServer, travel_id: str, retries: int = 0) -> Outgoing:
    """The mail of this message through this server.

    A forced sender replaces the From; the original becomes Reply-To unless the message has one, it
    equals the forced address, or no answer could reach it.
    """
    sender = server.sender or message.sender
    if sender is None:
        raise MessageError("sender: the message has none and the server forces none; give sender= or set the server's")
    reply_to: tuple[Address, ...] = message.reply_to
    original = message.sender
    answered = reply_to or (message.raw is not None and header_values(message.raw, "reply-to"))
    if server.sender is not None and not answered and original is not None and original.routable and original.key != sender.key:
        reply_to = (original,)
    forced = server.sender is not None
    return Outgoing(id=travel_id, message=message, sender=sender, reply_to=reply_to, forced=forced, retries=retries)


def stripped(message: Message, features: frozenset[Feature]) -> Message:
    """The message without features that no reader sees, where the host chose to do without them."""
    gone = features & DROPPABLE & Needs.of(message).features
    if not gone:
        return message
    empty: dict[str, Any] = {"tags": (), "metadata": {}, "track_opens": None, "track_clicks": None}
    return evolve(message, **{name: value for name, value in empty.items() if Feature(name) in gone})
