"""Delivery routes: added, changed, removed without losing what waits on them."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial

from attrs import evolve

from deliverykit.contracts.books import Document, Wanted
from deliverykit.contracts.router import Router
from deliverykit.contracts.storage import Occupied
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.rooms.acts import recorded
from deliverykit.engine.rooms.outbox import cancelled
from deliverykit.engine.rooms.room import UNSET, Amendment, Room, Unset, amend, chosen, named, names
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import DeliveryServer
from deliverykit.routers import LeastUsed, Priority, RoundRobin
from deliverykit.words.arguments import choice, duration, flag, instance, items, line, member, refused
from deliverykit.words.errors import AlreadyExists, ConfigurationError
from deliverykit.words.outcomes import InDoubt, OnDoubt, first_rest, on_doubt

__all__ = ["Routes"]

Strategy = Router | str
_FIELDS = ("servers", "strategy", "when_exhausted", "in_doubt", "max_lateness", "first")
_CANCELS = 10
"""So often what was enqueued meanwhile is cancelled before a route that is in use is said to be so."""
_STRATEGIES: dict[str, Router] = {"priority": Priority(), "round_robin": RoundRobin(), "least_used": LeastUsed()}


class Routes(Room):
    """``mailer.routes``: the delivery routes of one account."""

    async def add(
        self,
        name: str,
        servers: Iterable[str | DeliveryServer],
        strategy: Strategy = "priority",
        when_exhausted: str | WhenExhausted = WhenExhausted.FAILOVER,
        in_doubt: str | OnDoubt = InDoubt.HOLD,
        max_lateness: timedelta | None = None,
        first: str | Iterable[str] = (),
    ) -> Route:
        """Add a route over servers in this order.

        ``strategy`` is ``"priority"``, ``"round_robin"``, ``"least_used"``, ``Weighted({…})``, ``By("domain")``
        or your own router; ``when_exhausted`` is ``"queue"``, ``"failover"`` or ``"reject"``. ``in_doubt`` is
        ``"hold"``, ``"resend"`` (not beside ``"reject"``) or :class:`~deliverykit.Reconcile`: what becomes of mail of
        unknown fate whose message does not say. With ``max_lateness`` mail that comes due (its ``send_at``, a retry)
        more than so long after its time, because nobody worked then, is dead with the reason ``late``; waiting for
        quota is not lateness. ``first`` names streams whose mail workers take before the account's other mail, three in
        four while both wait. A route of the name ``default`` replaces the one made up of all ACTIVE servers. Repeating
        the call with the same values returns the record; others raise :class:`~deliverykit.AlreadyExists` naming the
        fields.
        """
        given = _ids(servers)
        wanted = Route(
            account=self.account,
            name=_name(name),
            servers=given,
            strategy=self._strategy(strategy),
            when_exhausted=member(when_exhausted, "when_exhausted", WhenExhausted),
            in_doubt=on_doubt(in_doubt),
            max_lateness=_lateness(max_lateness),
            first=_first(first),
        )
        _agree(wanted)

        def make(config: Config) -> Amendment:
            route = evolve(wanted, servers=_members(config, given))
            known = config.routes.get(name)
            if known is None:
                told = recorded(self.account, "added", route)
                return Amendment(config=config, result=route, documents=(self.context.archive.route(route),), facts=told)
            differing = [one for one in _FIELDS if getattr(known, one) != getattr(route, one)]
            if differing:
                raise AlreadyExists(
                    f"route {name!r} exists with other values in {', '.join(differing)}; use routes.update()", differing
                )
            return Amendment(config=config, result=known)

        added: Route = await amend(self, make)
        return added

    async def get(self, name: str) -> Route:
        """A route. Raises :class:`~deliverykit.NotFound`."""
        return (await self.config()).route(named(name, "name", Route))

    async def list(self) -> tuple[Route, ...]:
        """The routes that were added, in order of adding."""
        return tuple((await self.config()).routes.values())

    async def update(
        self,
        name: str,
        *,
        servers: Iterable[str | DeliveryServer] | Unset = UNSET,
        strategy: Strategy | Unset = UNSET,
        when_exhausted: str | WhenExhausted | Unset = UNSET,
        in_doubt: str | OnDoubt | Unset = UNSET,
        max_lateness: timedelta | Unset | None = UNSET,
        first: str | Iterable[str] | Unset = UNSET,
    ) -> Route:
        """Change what is given and keep the rest; mail that waits looks again at once.

        ``in_doubt`` is for mail that is handed in from then on; what waits keeps the word it came under.
        """
        name = named(name, "name", Route)
        given = servers if isinstance(servers, Unset) else _ids(servers)
        orders = strategy if isinstance(strategy, Unset) else self._strategy(strategy)
        exhausted = UNSET if isinstance(when_exhausted, Unset) else member(when_exhausted, "when_exhausted", WhenExhausted)
        doubt = in_doubt if isinstance(in_doubt, Unset) else on_doubt(in_doubt)
        lateness = max_lateness if isinstance(max_lateness, Unset) else _lateness(max_lateness)
        streams = first if isinstance(first, Unset) else _first(first)

        def make(config: Config) -> Amendment:
            old = config.routes.get(name) or config.route(name)
            new = evolve(
                old,
                servers=old.servers if isinstance(given, Unset) else _members(config, given),
                strategy=chosen(orders, old.strategy),
                when_exhausted=chosen(exhausted, old.when_exhausted),
                in_doubt=chosen(doubt, old.in_doubt),
                max_lateness=chosen(lateness, old.max_lateness),
                first=chosen(streams, old.first),
                version=old.version + 1,
                broken=old.broken if isinstance(strategy, Unset) else "",
            )
            _agree(new)
            told = recorded(self.account, "updated", new, old)
            return Amendment(config=config, result=new, documents=(self.context.archive.route(new),), facts=told)

        changed: Route = await amend(self, make)
        return changed

    async def remove(self, name: str, *, move_to: str | None = None, cancel: bool = False) -> None:
        """Remove a route. What waits on it goes to the route ``move_to``, or is cancelled; else this is refused.

        All of it is one step, so a message that another process enqueues meanwhile is moved too, or keeps the route.
        While a message of the route is in flight or in doubt, the route stays and this is refused; what waits has been
        moved or cancelled then, so call it again once that message is settled.

        Raises :class:`~deliverykit.NotFound` and :class:`~deliverykit.ConfigurationError`.
        """
        name = named(name, "name", Route)
        target = None if move_to is None else named(move_to, "move_to", Route)
        flag(cancel, "cancel")

        def move(config: Config, *, last: bool) -> Amendment:
            route = _removable(config, name)
            if target is not None and config.route(target).name == name:
                raise ConfigurationError(f"move_to: {name!r} is the route that is being removed")
            moves = () if target is None else ((name, target),)
            if not last:
                return Amendment(config=config, result=None, moves=moves)
            gone, told = Document(kind="route", id=route.name, data=None), recorded(self.account, "removed", route)
            return Amendment(config=config, result=None, documents=(gone,), facts=told, moves=moves, vacant=(name,))

        _removable(await self.config(), name)
        for _ in range(_CANCELS if cancel and move_to is None else 1):
            if cancel and move_to is None:
                await cancelled(self, Wanted(route=name))
            with suppress(Occupied):
                await amend(self, partial(move, last=True))
                return
        if move_to is not None:
            await amend(self, partial(move, last=False))
        raise ConfigurationError(
            f"mail waits on route {name!r} or is in flight; give move_to= or cancel=True, and wait for what flies"
        )

    def _strategy(self, strategy: Strategy) -> Router:
        if isinstance(strategy, str):
            return _STRATEGIES[choice(strategy, "strategy", _STRATEGIES)]
        write = f"write {', '.join(map(repr, _STRATEGIES))}, or a router such as Weighted({{'ses': 3}})"
        instance(strategy, "strategy", Router, write)
        self.context.archive.parts.knows(strategy)
        return strategy


def _removable(config: Config, name: str) -> Route:
    config.route(name)
    if name not in config.routes:
        raise ConfigurationError(
            f"route {name!r} is made up of the ACTIVE servers and cannot be removed; add one of that name instead"
        )
    return config.routes[name]


def _name(name: object) -> str:
    return line(name, "name", least=1, most=64, write="give the route a name of 1 to 64 characters")


def _ids(servers: Iterable[str | DeliveryServer]) -> tuple[str, ...]:
    given = items(servers, "servers", "give the ids of servers, such as ['ses', 'sendgrid']", alone=(str, DeliveryServer))
    if not given:
        raise ConfigurationError("servers: empty; a route needs at least one delivery server")
    return tuple(dict.fromkeys(named(one, "servers", DeliveryServer) for one in given))


def _members(config: Config, ids: tuple[str, ...]) -> tuple[str, ...]:
    return names(ids, "servers", config.servers)


def _first(value: object) -> tuple[str, ...]:
    write = "give the names of streams, each once, such as ['transactional']"
    names = [line(one, "first", most=64, write=write) for one in items(value, "first", write)]
    if len(set(names)) < len(names):
        refused("first", value, "names a stream twice", write)
    return tuple(names)


def _lateness(value: timedelta | None) -> timedelta | None:
    return None if value is None else duration(value, "max_lateness", unit="hours")


def _agree(route: Route) -> None:
    if first_rest(route.in_doubt, usual=1) and route.when_exhausted is WhenExhausted.REJECT:
        raise ConfigurationError(
            f"in_doubt: '{route.in_doubt}' cannot stand beside when_exhausted='reject': "
            "nothing waits on such a route to be sent again"
        )
