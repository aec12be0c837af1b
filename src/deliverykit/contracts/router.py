"""What orders a route's servers: pure, with a memory of its own where it rotates."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from deliverykit.contracts.limit import State

__all__ = ["Router"]


class Router(ABC):
    """Orders a route's servers for the next mail.

    A router is a frozen attrs class with plain fields. ``servers`` are the ids of those that could
    carry the mail now, in the route's order; ``state`` is its memory, flat whole numbers kept under
    the same lock as the quotas, ``()`` at first and again whenever the route changes.
    """

    name: ClassVar[str]
    """The registered name; a store keeps it."""

    @abstractmethod
    def order(self, servers: Sequence[str], state: State) -> Sequence[str]:
        """The same servers, the one to try first at the front."""

    def took(self, servers: Sequence[str], state: State, server: str) -> State:
        """The memory after ``server`` got a mail; ``servers`` are those that had room for it, ``server`` among them."""
        return state
