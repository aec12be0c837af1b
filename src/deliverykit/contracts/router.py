"""What orders a route's servers: pure, with a memory of its own where it rotates."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from attrs import frozen

from deliverykit.contracts.limit import State
from deliverykit.words.message import Message

__all__ = ["Router", "Standing"]


def _all(server: str) -> float:
    return 1.0


@frozen
class Standing:
    """What else a router may look at, at the moment of the next mail."""

    asked: str = ""
    """What :meth:`Router.asks` made of this mail when it was taken in."""
    left: Callable[[str], float] = _all
    """By server id, the share of its own quota that is left, 0 to 1: of its fullest window, 1 where it has no quota."""


class Router(ABC):
    """Orders a route's servers for the next mail.

    A router is a frozen attrs class with plain fields. ``servers`` are the ids of those that could
    carry the mail now, in the route's order: paused servers and open circuits are not among them.
    ``state`` is its memory, flat whole numbers kept under the same lock as the quotas, ``()`` at first
    and again whenever the route changes.

    Most routers define :meth:`order` alone. One that looks at the mail defines :meth:`asks` too, one
    that looks at quotas or at what was asked overrides :meth:`ranked`.
    """

    name: ClassVar[str]
    """The registered name; a store keeps it."""
    steady: ClassVar[bool] = False
    """Whether the order moves neither with the memory nor with what is left: then mail alike is ordered once.

    It is not inherited. A subclass that keeps to it says so itself.
    """

    def __init_subclass__(cls) -> None:
        """What a subclass orders by is for it to say."""
        super().__init_subclass__()
        cls.steady = cls.__dict__.get("steady", False)

    @abstractmethod
    def order(self, servers: Sequence[str], state: State) -> Sequence[str]:
        """The same servers, the one to try first at the front."""

    def ranked(self, servers: Sequence[str], state: State, standing: Standing) -> Sequence[str]:
        """The same servers in order, by what else can be known; this is what the engine calls."""
        return self.order(servers, state)

    def asks(self, message: Message) -> str:
        """What of a mail this router goes by, as a short text; ``""`` where all mail is alike to it.

        It is worked out once, when the mail is taken in, and kept. Mail of another text queues in a lane
        of its own, so there should be few different ones: a country, not an address.
        """
        return ""

    def took(self, servers: Sequence[str], state: State, server: str) -> State:
        """The memory after ``server`` got a mail; ``servers`` are those that had room for it, ``server`` among them."""
        return state
