"""What a host's log should say of its servers: once for each change, and what it means for every route."""

from collections.abc import Callable
from datetime import UTC, datetime

from attrs import field, frozen

from deliverykit.contracts.limit import State
from deliverykit.engine.catalog import Config
from deliverykit.engine.gates import CIRCUIT, circuit
from deliverykit.records.account import DEFAULT_ACCOUNT
from deliverykit.records.route import DEFAULT_ROUTE, Route
from deliverykit.records.server import DeliveryServer

__all__ = ["Notices"]


@frozen
class Notices:
    """Collected while a batch is settled; put into words at its end, when it is known how all servers stand."""

    config: Config
    _lost: dict[str, str] = field(factory=dict, init=False)
    """By server, why it is out of the order now."""
    _back: dict[str, str] = field(factory=dict, init=False)
    _paused: set[str] = field(factory=set, init=False)

    def opened(self, server: DeliveryServer, faults: int, reason: str, probe_at: int) -> None:
        """A circuit opened."""
        at = datetime.fromtimestamp(probe_at // 1000, UTC).isoformat()
        self._lost[server.id] = f"server {server.name!r}: its circuit is open, after {faults} faults in a row ({reason});"
        self._lost[server.id] += f" one email tries it at {at}"

    def closed(self, server: DeliveryServer) -> None:
        """A circuit closed."""
        self._back[server.id] = f"server {server.name!r}: its circuit is closed, it accepts mail again"

    def paused(self, server: DeliveryServer, reason: str) -> None:
        """The engine PAUSED a server."""
        self._lost[server.id] = f"server {server.name!r}: PAUSED by the engine: {reason}"
        self._paused.add(server.id)

    def words(self, state: Callable[[str], State]) -> tuple[str, ...]:
        """The lines; ``state`` gives a limit's state by name as it is now."""
        lines: list[str] = []
        for id_, line in self._lost.items():
            lines += [line, *self._routes(id_, state, back=False)]
        for id_, line in self._back.items():
            if id_ not in self._lost:
                lines += [line, *self._routes(id_, state, back=True)]
        return tuple(lines)

    def _routes(self, id_: str, state: Callable[[str], State], *, back: bool) -> list[str]:
        routes = dict(self.config.routes)
        routes.setdefault(DEFAULT_ROUTE, self.config.route(DEFAULT_ROUTE))
        return [self._route(route, id_, state, back=back) for route in routes.values() if id_ in route.servers]

    def _route(self, route: Route, id_: str, state: Callable[[str], State], *, back: bool) -> str:
        account = self.config.account.id
        name = f"route {route.name!r}" + ("" if account == DEFAULT_ACCOUNT else f" of account {account!r}")
        server = self.config.servers[id_].name if id_ in self.config.servers else id_
        if back:
            return f"{name} has {server!r} again"
        left = [one for one in route.servers if one != id_ and self._in_order(one, state)]
        if not left:
            return f"{name} has no other server that can carry mail: its mail waits"
        names = ", ".join(repr(self.config.servers[one].name) for one in left)
        first = route.servers.index(id_) < route.servers.index(left[0])
        return f"{name} runs on its fallback: {names}" if first else f"{name} runs without {server!r}, on {names}"

    def _in_order(self, id_: str, state: Callable[[str], State]) -> bool:
        server = self.config.servers.get(id_)
        if server is None or not server.active or id_ in self._paused:
            return False
        return not CIRCUIT.is_open(state(circuit(server).name))
