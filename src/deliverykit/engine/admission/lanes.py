"""What decides who may carry a mail, and the lane key made of it."""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Self
from zlib import crc32

from attrs import asdict, evolve, field, frozen

from deliverykit.contracts.capabilities import Needs
from deliverykit.contracts.limit import State
from deliverykit.contracts.router import Router
from deliverykit.limits import Brake
from deliverykit.records.server import DeliveryServer
from deliverykit.words.addresses import Address
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.message import Message

__all__ = ["Ticket", "asked_again", "hashed", "lane_hash", "own_lane"]

_ANY = "*"
_PLAIN = Needs()
_NEEDS = frozenset(asdict(_PLAIN))
_OTHERS = frozenset({"sender", "unfit", "tried", "asked"})


@frozen(kw_only=True)
class Ticket:
    """All of a mail that decides *which* servers may carry it. Equal tickets share a lane.

    ``sender`` is in it only where a server of the route names its senders (``"*"`` otherwise), lest
    every author have a lane of their own. ``needs`` are held against what an ESP declares, also of a server that joins the
    route later. ``unfit`` are servers whose ESP cannot carry the mail for another reason, known at hand-over or
    since it was refused there; ``tried`` are those passed over for this round only. ``asked`` is what the router goes by.
    """

    needs: Needs = field(factory=Needs)
    sender: str = _ANY
    unfit: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    asked: str = ""
    foreign: str = ""
    """The lane key itself where this version cannot read it: a newer version wrote it. No server here carries such messages."""

    @classmethod
    def of(cls, message: Message, servers: Iterable[DeliveryServer], router: Router | None = None) -> Self:
        """The ticket of a message on a route of these servers, ordered by this router."""
        servers = tuple(servers)
        named = any(server.sender is None and server.allowed_senders is not None for server in servers)
        needs = _as_of_one(Needs.of(message), servers)
        asked = router.asks(message) if router is not None else ""
        if not isinstance(asked, str):
            raise ConfigurationError(f"{type(router).__name__}.asks() gave {type(asked).__name__}; it must give a short text")
        if message.sender is None:
            return cls(needs=needs, sender="", asked=asked)
        return cls(needs=needs, sender=message.sender.ascii if named else _ANY, asked=asked)

    def encode(self) -> str:
        """As a lane key; ``""`` for plain mail."""
        return self.foreign or _encoded(self)

    @classmethod
    def decode(cls, key: str) -> Self:
        """The ticket of a lane key, ``foreign`` where this version cannot read it. Never raises."""
        try:
            data = json.loads(key) if key else {}
            if not data.keys() <= _NEEDS | _OTHERS:
                return cls(foreign=key)
            sender = data.get("sender")
            return cls(
                needs=Needs(**{name: value for name, value in data.items() if name in _NEEDS}),
                sender=_ANY if sender is None else sender[1:-1],
                unfit=tuple(data.get("unfit", ())),
                tried=tuple(data.get("tried", ())),
                asked=data.get("asked", ""),
            )
        except (ValueError, TypeError, AttributeError, RecursionError):
            return cls(foreign=key)

    def without(self, servers: Iterable[DeliveryServer]) -> Self:
        """The ticket for mail that these servers cannot carry, as long as they are at the same ESP."""
        return evolve(self, unfit=tuple(sorted({*self.unfit, *map(_carrier, servers)})))

    @property
    def domain(self) -> str:
        """The From domain of the lane's messages; ``""`` where it holds several."""
        return "" if self.sender == _ANY else self.sender.rpartition("@")[2]

    def passing(self, server: str, *, for_good: bool) -> Self:
        """The ticket once ``server`` is passed over."""
        if for_good:
            return evolve(self, unfit=tuple({*self.unfit, server}))
        return evolve(self, tried=tuple({*self.tried, server}))

    def afresh(self) -> Self:
        """The ticket of another round: only what is for good still counts."""
        return evolve(self, tried=())

    def refuses(self, server: DeliveryServer) -> tuple[str, ...]:
        """Why this server can never carry such mail."""
        if self.foreign:
            return ("a newer version wrote these messages; upgrade this process",)
        if server.id in self.unfit:
            return ("refused mail like this before",)
        if server.provider is None:
            return (server.reason,)
        if _carrier(server) in self.unfit:
            return ("cannot carry mail like this",)
        reasons = server.provider.capabilities.lacks(self.needs)
        if self.sender == _ANY:
            return reasons
        return (*reasons, *filter(None, [server.may_send(Address(self.sender) if self.sender else None)]))

    def admits(self, server: DeliveryServer) -> bool:
        """Whether this server may carry it now, but for its quota."""
        return server.active and server.id not in self.tried and not self.refuses(server)


@lru_cache(1024)
def hashed(text: str) -> int:
    """A whole number for a text, other than 0, for the states of limits; 0 for an empty text."""
    return (crc32(text.encode(errors="replace")) or 1) if text else 0


@lru_cache(1024)
def lane_hash(route: str, stream: str, ticket: Ticket) -> int:
    """The number of a lane, whichever servers its messages were passed over by."""
    return hashed(json.dumps([route, stream, evolve(ticket, unfit=(), tried=()).encode()]))


def asked_again(ticket: Ticket, memo: State) -> Ticket:
    """The ticket of a message that was refused: those servers are asked again, those that cannot carry it are not."""
    refusers = Brake.refusers(memo)
    return evolve(ticket, unfit=tuple(one for one in ticket.unfit if hashed(one) not in refusers), tried=())


def own_lane(ticket: Ticket, domain: str) -> Ticket:
    """The ticket of messages of one From domain, which leave a lane that holds several."""
    return evolve(ticket, sender=f"*@{domain}") if ticket.sender == _ANY and domain else ticket


def _carrier(server: DeliveryServer) -> str:
    """A server and its provider. Given another provider, the server may carry what it could not."""
    return f"{server.id}@{server.provider.name if server.provider else ''}"


@lru_cache(1024)
def _encoded(ticket: Ticket) -> str:
    """Mail of one kind is many: its key is written once."""
    data = {
        **{name: value for name, value in asdict(ticket.needs, recurse=False).items() if value != getattr(_PLAIN, name)},
        "features": sorted(ticket.needs.features),
        "sender": "" if ticket.sender == _ANY else f"<{ticket.sender}>",
        "unfit": sorted(ticket.unfit),
        "tried": sorted(ticket.tried),
        "asked": ticket.asked,
    }
    used = {name: value for name, value in data.items() if value}
    return json.dumps(used, separators=(",", ":")) if used else ""


def _as_of_one(needs: Needs, servers: Iterable[DeliveryServer]) -> Needs:
    """Needs as if there were one recipient, where that changes nothing for any server of the route.

    Else mail to two would have a lane beside mail to one, and never its place before it in the queue.
    """
    if needs.recipients == 1:
        return needs
    alone = evolve(needs, recipients=1)
    declared = [one.provider.capabilities for one in servers if one.provider is not None]
    same = all(bool(one.lacks(needs)) == bool(one.lacks(alone)) for one in declared)
    return alone if same else needs
