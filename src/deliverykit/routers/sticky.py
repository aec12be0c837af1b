"""The same server for the same thing: rendezvous hashing over a small number of shares.

Every server draws a number for every share, and the largest comes first. So each share has an order of
its own over all servers; one that goes leaves the order of the others as it was, and only its own shares
move, each to its next; one that comes takes only what becomes its own. David Thaler and Chinya
Ravishankar, "Using name-based mappings to increase hit rates", 1998; weights by Christian Schindelhauer
and Gunnar Schomaker, "Weighted distributed hash tables", 2005.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import log
from typing import ClassVar

import attrs

from deliverykit.contracts.limit import State
from deliverykit.contracts.router import Router, Standing
from deliverykit.routers.rotating import checked_weights
from deliverykit.words.arguments import choice
from deliverykit.words.message import Message

__all__ = ["By"]

SHARES = 64
"""Into so many shares all mail is divided. Each is a lane where mail waits, so they must be few."""

FIELDS = ("recipient", "domain", "tag", "sender")


def _field(value: str) -> str:
    return choice(value, "By field", FIELDS)


def _weights(value: Mapping[str, int]) -> dict[str, int]:
    return checked_weights("By", value)


@attrs.frozen
class By(Router):
    """The same server first for the same ``"recipient"``, recipient ``"domain"``, ``"tag"`` or ``"sender"``.

    The first recipient counts, and the first tag. All mail is divided into 64 shares by it, and a
    server of weight 2 gets about twice as many of them as one of weight 1 (the default, by server id
    as in ``By("domain", {"ses": 3})``): about, since which share goes where is drawn by lot. When a server leaves
    the order, only its own shares move. Mail without a tag or sender, and mail that waited
    before the route had this router, goes in the route's order.
    """

    name: ClassVar[str] = "by"
    steady: ClassVar[bool] = True

    field: str = attrs.field(converter=_field)
    weights: Mapping[str, int] = attrs.field(factory=dict, converter=_weights)

    def asks(self, message: Message) -> str:
        """The share this mail falls into; ``""`` where it has no such field."""
        value = self._value(message)
        return str(int.from_bytes(_digest(value)) % SHARES) if value else ""

    def order(self, servers: Sequence[str], state: State) -> Sequence[str]:
        """As they are listed, where the mail is not known."""
        return servers

    def ranked(self, servers: Sequence[str], state: State, standing: Standing) -> Sequence[str]:
        """The order of the mail's share."""
        share = standing.asked
        return sorted(servers, key=lambda server: -self._score(server, share)) if share else servers

    def _value(self, message: Message) -> str:
        match self.field:
            case "recipient":
                return message.recipients[0].key
            case "domain":
                return message.recipients[0].domain
            case "tag":
                return message.tags[0] if message.tags else ""
            case _:
                return message.sender.key if message.sender else ""

    def _score(self, server: str, share: str) -> float:
        drawn = ((int.from_bytes(_digest(f"{share} {server}")) >> 12) + 0.5) / 2**52  # exact, and never 0 or 1
        return -self.weights.get(server, 1) / log(drawn)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
