"""A delivery route: its servers, who orders them, and what happens when the first has no quota left."""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from attrs import field, frozen

from deliverykit.contracts.limit import State
from deliverykit.contracts.router import Router
from deliverykit.records.stored import Stored
from deliverykit.words.arguments import Choice
from deliverykit.words.outcomes import InDoubt, OnDoubt

__all__ = ["DEFAULT_ROUTE", "NoRouter", "Route", "WhenExhausted"]

DEFAULT_ROUTE = "default"


class WhenExhausted(Choice):
    """What becomes of mail when the first server of the order has no quota left."""

    QUEUE = "queue"
    """It waits for that one; the others are not used for it."""
    FAILOVER = "failover"
    """The next that has quota; if none has, it waits for whichever has it first."""
    REJECT = "reject"
    """As failover, but where none has, it is refused with the instant. For ``send()`` only."""


@frozen(kw_only=True)
class Route:
    """The Delivery Route. ``servers`` are ids, in order."""

    account: str
    name: str
    servers: tuple[str, ...]
    strategy: Router
    when_exhausted: WhenExhausted
    in_doubt: OnDoubt = InDoubt.HOLD
    max_lateness: timedelta | None = None
    """Mail that comes due (its ``send_at``, a retry) later than this after its time is dead with the reason ``late``."""
    first: tuple[str, ...] = ()
    """Streams whose mail goes before that of others: three in four, while both wait."""
    version: int = 1
    broken: str = ""
    """What to do where this process cannot read the route; then it orders no server here. Another process may read it."""
    stored: Stored = field(factory=Stored, eq=False, repr=False)
    """The format it is stored in, and the fields that this version does not know."""


@frozen
class NoRouter(Router):
    """Stands for a router that cannot be read here: nobody is in its order."""

    name: ClassVar[str] = ""

    def order(self, servers: Sequence[str], state: State) -> Sequence[str]:
        """Nobody."""
        return ()
