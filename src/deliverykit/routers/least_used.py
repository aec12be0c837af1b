"""By what is left: the server whose own quota is least used goes first."""

from collections.abc import Sequence
from typing import ClassVar

from attrs import frozen

from deliverykit.contracts.limit import State
from deliverykit.contracts.router import Router, Standing

__all__ = ["LeastUsed"]


@frozen
class LeastUsed(Router):
    """The server with the largest share of its own quota left first; among equals, the route's order.

    The share is that of its fullest window: 10 of 100 left this hour is a tenth, whatever the day holds.
    Budgets, account and host do not count, for they are shared. A server without a quota is never used
    at all in this sense, and so always first.
    """

    name: ClassVar[str] = "least_used"

    def order(self, servers: Sequence[str], state: State) -> Sequence[str]:
        """As they are listed, where nothing is known of their quotas."""
        return servers

    def ranked(self, servers: Sequence[str], state: State, standing: Standing) -> Sequence[str]:
        """The largest share left first."""
        return sorted(servers, key=lambda server: -standing.left(server))
