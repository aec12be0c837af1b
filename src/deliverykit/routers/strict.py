"""The route's own order."""

from collections.abc import Sequence
from typing import ClassVar

from attrs import frozen

from deliverykit.contracts.limit import State
from deliverykit.contracts.router import Router

__all__ = ["Priority"]


@frozen
class Priority(Router):
    """The servers in the order the route lists them: the first as long as it can."""

    name: ClassVar[str] = "priority"
    steady: ClassVar[bool] = True

    def order(self, servers: Sequence[str], state: State) -> Sequence[str]:
        """As they are listed."""
        return servers
