"""The configuration of each account as this process knows it, and the check that it still is so."""

from collections.abc import Mapping

from attrs import evolve, field, frozen

from deliverykit.contracts.books import Document, Snapshot
from deliverykit.contracts.limit import Limit
from deliverykit.contracts.storage import Step, Storage, View
from deliverykit.engine.admission.admit import Candidates
from deliverykit.engine.admission.gates import Gate, gates_of
from deliverykit.engine.admission.lanes import Ticket, hashed, lane_hash
from deliverykit.records.account import DEFAULT_ACCOUNT, Account
from deliverykit.records.documents import KINDS, Archive
from deliverykit.records.hold import Hold
from deliverykit.records.route import DEFAULT_ROUTE, Route, WhenExhausted
from deliverykit.records.server import Budget, DeliveryServer, Status
from deliverykit.routers import Priority
from deliverykit.words.errors import ConfigurationError, NotFound

__all__ = ["HOST_KEY", "Catalog", "Config", "Stale", "state_key"]

HOST_KEY = "host"
UTC = "UTC"
_REMEMBERED = 500
"""Of so many kinds of mail a configuration remembers who may carry them."""


def state_key(account: str) -> str:
    """The key of an account's limit states."""
    return f"account:{account}"


class Stale(Exception):
    """The configuration moved since it was read; read it again and decide again."""


@frozen(kw_only=True)
class Config:
    """One account's configuration at one version."""

    version: int
    account: Account
    servers: Mapping[str, DeliveryServer]
    routes: Mapping[str, Route]
    budgets: Mapping[str, Budget]
    holds: tuple[Hold, ...] = ()
    """What waits until a person releases it."""
    removed: tuple[str, ...] = ()
    """The ids of servers that are no longer there; late events may tell of their mail."""
    foreign: tuple[tuple[str, str], ...] = ()
    """Kind and id of the documents whose kind this version does not know. They are left as they are."""
    host: tuple[Limit, ...] = ()
    _gates: dict[str, tuple[Gate, ...]] = field(factory=dict, eq=False, repr=False)
    _streamed: dict[tuple[str, str], tuple[Gate, ...]] = field(factory=dict, init=False, eq=False, repr=False)
    _asked: dict[tuple[object, ...], Candidates] = field(factory=dict, init=False, eq=False, repr=False)
    _made_up: dict[str, Route] = field(factory=dict, init=False, eq=False, repr=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """The state keys that one admission needs."""
        return (state_key(self.account.id), HOST_KEY) if self.host else (state_key(self.account.id),)

    def current(self, view: View) -> None:
        """Raise :class:`Stale` where the store has moved on: a paused server must admit nothing more."""
        if view.version != self.version:
            raise Stale

    def gates(self, server: DeliveryServer, stream: str | None = None) -> tuple[Gate, ...]:
        """All limits that stand before a server; before mail of a stream less what they keep for others."""
        if stream is not None:
            question = (server.id, stream)
            if question not in self._streamed:
                if len(self._streamed) >= _REMEMBERED:
                    self._streamed.clear()
                self._streamed[question] = tuple(gate.for_stream(stream) for gate in self.gates(server))
            return self._streamed[question]
        if server.id not in self._gates:
            budgets = [self.budgets[name] for name in server.budgets if name in self.budgets]
            self._gates[server.id] = gates_of(server, self.account, budgets, self.host)
        return self._gates[server.id]

    def server(self, id_: str) -> DeliveryServer:
        """A server by id. Raises :class:`~deliverykit.NotFound`."""
        if id_ not in self.servers:
            raise NotFound(
                f"no delivery server {id_!r} in account {self.account.id!r}; there are: {', '.join(self.servers) or 'none'}"
            )
        return self.servers[id_]

    def route(self, name: str) -> Route:
        """A route by name; ``default`` is made up of the ACTIVE servers until the host replaces it."""
        if name in self.routes:
            return self.routes[name]
        if name == DEFAULT_ROUTE:
            if name not in self._made_up:
                active = tuple(server.id for server in self.servers.values() if server.active)
                self._made_up[name] = Route(
                    account=self.account.id, name=name, servers=active, strategy=Priority(),
                    when_exhausted=WhenExhausted.FAILOVER,
                )  # fmt: skip
            return self._made_up[name]
        raise NotFound(
            f"no route {name!r} in account {self.account.id!r}; there are: {', '.join([DEFAULT_ROUTE, *self.routes])}"
        )

    def usable(self, name: str) -> Route:
        """A route that new mail may be given to. Raises ``ConfigurationError`` where this process cannot read its router."""
        route = self.route(name)
        if route.broken:
            raise ConfigurationError(f"route {name!r} is BROKEN: {route.broken}")
        return route

    def legible(self, route: Route) -> bool:
        """Whether this process can read the route and all its servers; else another may carry what this one cannot.

        A record that nobody can read is as a PAUSED one: what waits for it waits as for any other.
        """
        members = self.members(route.name) if route.name else ()
        return not route.broken and all(server.status is not Status.BROKEN or server.damaged for server in members)

    def members(self, name: str) -> tuple[DeliveryServer, ...]:
        """A route's servers, whatever their status; of the made-up ``default``, all there are."""
        if name == DEFAULT_ROUTE and name not in self.routes:
            return tuple(self.servers.values())
        return tuple(self.servers[id_] for id_ in self.route(name).servers if id_ in self.servers)

    def held(self, route: str, stream: str, ticket: Ticket, server: str = "") -> Hold | None:
        """Why the messages of a lane wait for a person: at every server, or at this one too."""
        if not self.holds:
            return None
        lane, domain = lane_hash(route, stream, ticket), ticket.domain
        found = (
            hold for hold in self.holds
            if hold.server in ("", server) and (hold.lane == lane if hold.lane else hold.domain == domain)
        )  # fmt: skip
        return next(found, None)

    def domain_held(self, domain: str, server: str) -> Hold | None:
        """Why messages of a From domain wait at a server for a person."""
        return next((hold for hold in self.holds if domain and (hold.domain, hold.server) == (domain, server)), None)

    def candidates(self, route: Route, ticket: Ticket, stream: str) -> Candidates:
        """Who may carry such mail now, as :func:`~deliverykit.engine.admission.admit` wants it."""
        question = (route.name, route.version, route.servers, ticket, stream)
        known = self._asked.get(question)
        if known is None:
            if len(self._asked) >= _REMEMBERED:
                self._asked.clear()
            known = self._asked[question] = self._candidates(route, ticket, stream)
        return known

    def _candidates(self, route: Route, ticket: Ticket, stream: str) -> Candidates:
        members = (self.servers[id_] for id_ in route.servers if id_ in self.servers)
        lane, domain = lane_hash(route.name, stream, ticket), hashed(ticket.domain)
        return Candidates(
            gates={
                server.id: tuple(gate.for_lane(lane, domain) for gate in self.gates(server, stream))
                for server in members
                if ticket.admits(server) and not self.held(route.name, stream, ticket, server.id)
            },
            router=route.strategy,
            when_exhausted=route.when_exhausted,
            memory=f"r:{route.name}/{route.strategy.name}",
            edition=route.version,
            asked=ticket.asked,
        )


class Catalog:
    """Configurations by account, read when the store's version has moved."""

    def __init__(self, storage: Storage, archive: Archive, timezone: str | None, host: tuple[Limit, ...]) -> None:
        self._storage = storage
        self._archive = archive
        self._timezone = timezone
        self._host = tuple(limit.bound(timezone or UTC) for limit in host)
        self._known: dict[str, Config] = {}
        """No lock: each use is one step of a dictionary."""

    @property
    def timezone(self) -> str | None:
        """The default account's zone as the host's code names it; it outdoes what is stored."""
        return self._timezone

    def fresh(self, account: str) -> Config:
        """The configuration as the store has it now. One small read where nothing has changed."""
        known = self._known.get(account)
        if known is not None and known.version == self._storage.version(account):
            return known
        config = self._read(account, self._storage.snapshot(account))
        if account == DEFAULT_ACCOUNT and self._timezone is not None and not self._zoned(config) and not config.account.broken:
            # The host's code names the default account's zone; the store must know, since mail may wait by another.
            zoned = evolve(config.account, timezone=self._timezone)
            self._storage.transact(account, (), lambda view: Step(result=None, documents=(self._archive.account(zoned),)))
            config = self._read(account, self._storage.snapshot(account))
        self._known[account] = config
        return config

    def known(self, account: str) -> Config:
        """The configuration as last read; every step checks it against the store."""
        config = self._known.get(account)
        return config if config is not None else self.fresh(account)

    def _zoned(self, config: Config) -> bool:
        return config.version > 0 and config.account.timezone == self._timezone

    def _read(self, account: str, snapshot: Snapshot) -> Config:
        by_kind: dict[str, list[Document]] = {kind: [] for kind in KINDS}
        foreign: list[tuple[str, str]] = []
        for document in snapshot.documents:
            if document.kind in by_kind:
                by_kind[document.kind].append(document)
            else:
                foreign.append((document.kind, document.id))
        accounts = [self._archive.read_account(document) for document in by_kind["account"]]
        servers = [self._archive.read_server(account, document) for document in by_kind["server"]]
        routes = [self._archive.read_route(account, document) for document in by_kind["route"]]
        budgets = {document.id: self._archive.read_budget(document) for document in by_kind["budget"]}
        owner = accounts[0] if accounts else Account(id=account, timezone=self._timezone or UTC)
        owner = evolve(owner, paused="".join(self._archive.read_brake(document) for document in by_kind["brake"]))
        return Config(
            version=snapshot.version,
            account=owner,
            servers={server.id: _under(server, owner, budgets) for server in servers},
            routes={route.name: route for route in routes},
            budgets=budgets,
            holds=tuple(hold for document in by_kind["hold"] if (hold := self._archive.read_hold(document)) is not None),
            removed=tuple(document.id for document in by_kind["removed"]),
            foreign=tuple(foreign),
            host=self._host,
        )


def _under(server: DeliveryServer, account: Account, budgets: Mapping[str, Budget]) -> DeliveryServer:
    """The server; BROKEN where limits it shares cannot be read here, since they cannot be kept then."""
    shared = [(f"budget {name}", budgets[name].broken) for name in server.budgets if name in budgets]
    broken = [f"{owner}: {words}" for owner, words in (("account", account.broken), *shared) if words]
    if not broken:
        return server
    return evolve(server, provider=None, status=Status.BROKEN, reason="; ".join(filter(None, [*broken, server.reason])))
