"""What is told of servers and routes: once for each change, and what it means for every route."""

from collections.abc import Callable

from attrs import field, frozen

from deliverykit.contracts.limit import State
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.gates import BRAKE, CIRCUIT, Gate, brake_name, circuit
from deliverykit.records.hold import Hold
from deliverykit.records.route import DEFAULT_ROUTE, Route
from deliverykit.records.server import DeliveryServer
from deliverykit.words.clock import moment
from deliverykit.words.facts import (
    CircuitClosed,
    CircuitOpened,
    Fact,
    LaneHeld,
    RouteDegraded,
    RouteRestored,
    ServerPaused,
    ServerThrottled,
)
from deliverykit.words.outcomes import Scope

__all__ = ["Notices"]


@frozen
class Notices:
    """Collected while a batch is settled; facts are made of it at its end, when it is known how all servers stand."""

    config: Config
    _lost: dict[str, Fact] = field(factory=dict, init=False)
    """By server, why it is out of the order now."""
    _back: dict[str, Fact] = field(factory=dict, init=False)
    _paused: set[str] = field(factory=set, init=False)
    _throttled: dict[str, tuple[DeliveryServer, Scope, str]] = field(factory=dict, init=False)
    """By the name of the gate that closed."""
    _held: list[Fact] = field(factory=list, init=False)

    def opened(self, server: DeliveryServer, faults: int, reason: str, probe_at: int, *, refusals: int = 0) -> None:
        """A circuit opened: after faults, or after messages refused for the same reason."""
        self._lost[server.id] = CircuitOpened(
            account=server.account, server=server.id, server_name=server.name,
            faults=faults, refusals=refusals, reason=reason, probe_at=moment(probe_at),
        )  # fmt: skip

    def closed(self, server: DeliveryServer) -> None:
        """A circuit closed."""
        self._back[server.id] = CircuitClosed(account=server.account, server=server.id, server_name=server.name)

    def paused(self, server: DeliveryServer, reason: str) -> None:
        """The engine PAUSED a server."""
        self._lost[server.id] = ServerPaused(account=server.account, server=server.id, server_name=server.name, reason=reason)
        self._paused.add(server.id)

    def held(self, hold: Hold) -> None:
        """A lane or a From domain is held."""
        name = self.config.servers[hold.server].name if hold.server in self.config.servers else ""
        self._held.append(LaneHeld(
            account=self.config.account.id, route=hold.route, stream=hold.stream, server=hold.server, server_name=name,
            domain=hold.domain, reason=hold.reason,
        ))  # fmt: skip

    def throttled(self, server: DeliveryServer, scope: Scope, gate: Gate, reason: str) -> None:
        """An ESP closed a door that was open."""
        self._throttled.setdefault(gate.name, (server, scope, reason))

    def restored(self, server: DeliveryServer) -> tuple[Fact, ...]:
        """The routes that have a server again."""
        return tuple(self._routes(server.id, lambda _: (), back=True))

    def facts(self, state: Callable[[str], State]) -> tuple[Fact, ...]:
        """What is to be told; ``state`` gives a limit's state by name as it is now."""
        facts: list[Fact] = list(self._held)
        for id_, fact in self._lost.items():
            facts += [fact, *self._routes(id_, state, back=False)]
        for id_, fact in self._back.items():
            if id_ not in self._lost:
                facts += [fact, *self._routes(id_, state, back=True)]
        for name, (server, scope, reason) in self._throttled.items():
            if closed := state(name):
                facts.append(ServerThrottled(
                    account=server.account, server=server.id, server_name=server.name,
                    scope=scope.value, until=moment(closed[0]), reason=reason,
                ))  # fmt: skip
        return tuple(facts)

    def _routes(self, id_: str, state: Callable[[str], State], *, back: bool) -> list[Fact]:
        routes = dict(self.config.routes)
        routes.setdefault(DEFAULT_ROUTE, self.config.route(DEFAULT_ROUTE))
        return [self._route(route, id_, state, back=back) for route in routes.values() if id_ in route.servers]

    def _route(self, route: Route, id_: str, state: Callable[[str], State], *, back: bool) -> Fact:
        account = self.config.account.id
        name = self.config.servers[id_].name if id_ in self.config.servers else id_
        if back:
            return RouteRestored(account=account, route=route.name, server=id_, server_name=name)
        left = [one for one in route.servers if one != id_ and self._in_order(one, state)]
        return RouteDegraded(
            account=account, route=route.name, server=id_, server_name=name, left=tuple(left),
            left_names=tuple(self.config.servers[one].name for one in left),
            fallback=bool(left) and route.servers.index(id_) < route.servers.index(left[0]),
        )  # fmt: skip

    def _in_order(self, id_: str, state: Callable[[str], State]) -> bool:
        server = self.config.servers.get(id_)
        if server is None or not server.active or id_ in self._paused:
            return False
        return not (CIRCUIT.is_open(state(circuit(server).name)) or BRAKE.is_open(state(brake_name(server.id))))
