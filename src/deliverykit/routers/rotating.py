"""Turns: smooth weighted round robin, its cursor kept under the same lock as the quotas.

Each server carries a credit. At every mail each gains its weight, the one with the most goes first,
and whoever gets the mail pays the sum of all weights. Over any run of mails each gets its share, and
never a burst of its own (a: 3, b: 1 gives a a b a, not a a a b).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar
from zlib import crc32

from attrs import field, frozen

from deliverykit.contracts.limit import State
from deliverykit.contracts.router import Router
from deliverykit.words.arguments import mapping, shown, whole
from deliverykit.words.errors import ConfigurationError

__all__ = ["RoundRobin", "Weighted", "checked_weights"]


class _Turns(Router):
    """State: (server's checksum, credit) pairs. By checksum, so that a server that comes or goes moves nobody's credit."""

    def weight(self, server: str) -> int:
        """How many turns it gets in proportion."""
        raise NotImplementedError

    def order(self, servers: Sequence[str], state: State) -> Sequence[str]:
        """The one with the most credit first; among equals, the route's order."""
        credit = _credits(state)
        return sorted(servers, key=lambda server: -(credit.get(_checksum(server), 0) + self.weight(server)))

    def took(self, servers: Sequence[str], state: State, server: str) -> State:
        """Everybody's credit after a mail went to ``server``."""
        credit = _credits(state)
        for one in servers:
            credit[_checksum(one)] = credit.get(_checksum(one), 0) + self.weight(one)
        credit[_checksum(server)] -= sum(self.weight(one) for one in servers)
        present = {_checksum(one) for one in servers}
        return tuple(number for pair in credit.items() if pair[0] in present for number in pair)


@frozen
class RoundRobin(_Turns):
    """Each server in turn."""

    name: ClassVar[str] = "round_robin"

    def weight(self, server: str) -> int:
        """The same for all."""
        return 1


def checked_weights(router: str, value: Mapping[str, int]) -> dict[str, int]:
    """Weights by server id, each a whole number from 1. Raises ``ConfigurationError`` naming the server."""
    weights = mapping(value, f"{router} weights", "give weights by server id, such as {'ses': 3, 'sendgrid': 1}")
    for server, weight in weights.items():
        whole(weight, f"{router} weights[{shown(server)}]", least=1, most=1_000_000)
    return weights


def _weights(value: Mapping[str, int]) -> dict[str, int]:
    weights = checked_weights("Weighted", value)
    if not weights:
        raise ConfigurationError("Weighted: no weights; give one by server id, as in Weighted({'ses': 3, 'sendgrid': 1})")
    return weights


@frozen
class Weighted(_Turns):
    """Each server its share: ``Weighted({"ses": 3, "sendgrid": 1})``, by server id; one not named weighs 1."""

    name: ClassVar[str] = "weighted"

    weights: Mapping[str, int] = field(converter=_weights)

    def weight(self, server: str) -> int:
        """Its weight, 1 where none is given."""
        return self.weights.get(server, 1)


def _checksum(server: str) -> int:
    return crc32(server.encode())


def _credits(state: State) -> dict[int, int]:
    return dict(zip(state[::2], state[1::2], strict=True))
