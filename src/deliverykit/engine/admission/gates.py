"""All limits that stand before a server, by the name of their state."""

from collections.abc import Iterable

from attrs import evolve, field, frozen

from deliverykit.contracts.limit import Counts, Limit, RateLimiter, Record, State
from deliverykit.limits import Brake, Circuit, Closed, Slowed
from deliverykit.records.account import Account
from deliverykit.records.server import Budget, DeliveryServer
from deliverykit.words.clock import NEVER
from deliverykit.words.outcomes import Scope

__all__ = ["BRAKE", "CIRCUIT", "EMAILS", "Gate", "brake", "brake_name", "circuit", "closings", "gates_of", "slowed"]

EMAILS: Counts = "emails"
ACCOUNT, HOST = 0, 1
"""Which record a gate's state is in: the account's, or the one all accounts share."""


@frozen
class Gate:
    """One limit, where its state is kept, and what to call it."""

    record: int
    name: str
    limit: Limit
    owner: str
    """For people: the server's name, ``budget x``, ``account``, ``host``."""
    # What each decision wants to know of a gate, worked out once.
    emails: bool = field(init=False, eq=False, repr=False)
    """Whether it counts emails, whoever they go to."""
    firm: bool = field(init=False, eq=False, repr=False)
    """Whether it has a say without a state too."""
    circuit: bool = field(init=False, eq=False, repr=False)
    """Whether it takes its server out of the order while it is open: a circuit, or the brake."""

    @emails.default
    def _emails(self) -> bool:
        return self.limit.counts == EMAILS

    @firm.default
    def _firm(self) -> bool:
        return not self.limit.idle

    @circuit.default
    def _circuit(self) -> bool:
        return isinstance(self.limit, Brake | Circuit)

    def reads(self, state: State) -> bool:
        """Whether this version can read the limit's state; else nothing is granted, and the state is left as it is.

        What the limits of a server's health remember does not stop it: in another form it is as if they had seen nothing.
        """
        return self.limit.readable(state)

    def known(self, record: Record) -> State:
        """The state in a record; ``()`` where this version cannot read it."""
        state = record.get(self.name, ())
        return state if not state or self.reads(state) else ()

    def sealed(self, record: Record) -> bool:
        """Whether nothing is granted, since this version cannot read the counts or slots in this record."""
        state = record.get(self.name)
        return state is not None and not isinstance(self.limit, _HEALTH) and not self.reads(state)

    def within(self, account: str) -> str:
        """The name among all accounts."""
        return self.name if self.record == HOST else f"{account}/{self.name}"

    def for_stream(self, stream: str) -> "Gate":
        """As mail of this stream meets it."""
        limit = self.limit.for_stream(stream)
        return self if limit is self.limit else evolve(self, limit=limit)

    def for_lane(self, lane: int, domain: int) -> "Gate":
        """As messages of this lane and From domain meet it."""
        return evolve(self, limit=self.limit.bound_to(lane, domain)) if isinstance(self.limit, Brake) else self

    def cost(self, recipients: int, emails: int = 1) -> int:
        """What such mail costs here."""
        return emails if self.emails else recipients

    def too_small(self, recipients: int) -> bool:
        """Whether it grants one mail but never so many at once; one that grants nothing at all is closed, not too small."""
        return recipients > 1 and self.limit.when((), 0, self.cost(recipients)) >= NEVER > self.limit.when((), 0, 1)


_HEALTH = (Brake, Circuit, Closed, Slowed)

CIRCUIT = Circuit()
"""One for all servers: five faults in a row."""


BRAKE = Brake()
"""The one brake, before it is bound to a lane."""


def brake_name(server: str) -> str:
    """The name of the state of a server's brake, in the account's record."""
    return f"s:{server}/{BRAKE.key}"


def brake(server: DeliveryServer) -> Gate:
    """The gate that the refusals of a server close."""
    return Gate(ACCOUNT, brake_name(server.id), BRAKE, server.name)


def circuit(server: DeliveryServer) -> Gate:
    """The gate that a server's own faults close."""
    return Gate(ACCOUNT, f"s:{server.id}/{CIRCUIT.key}", CIRCUIT, server.name)


def closings(server: DeliveryServer) -> dict[Scope, Gate]:
    """The gates that an ESP's "not now" closes, by scope. Servers of one ESP account share theirs."""
    own = Gate(ACCOUNT, f"s:{server.id}/closed", Closed(), server.name)
    gates = {Scope.SERVER: own}
    for scope in (Scope.ACCOUNT, Scope.DOMAIN):
        shared = server.provider.scope_key(scope) if server.provider else ""
        gates[scope] = Gate(ACCOUNT, f"e:{scope.value}:{shared}/closed", Closed(), server.name) if shared else own
    return gates


def slowed(server: DeliveryServer, interval: int = 0) -> Gate:
    """The gate that an ESP's "too fast" sets; ``interval`` is the longest gap in ms that the server's paces keep."""
    return Gate(ACCOUNT, f"s:{server.id}/{Slowed.name}", Slowed(interval), server.name)


def gates_of(server: DeliveryServer, account: Account, budgets: Iterable[Budget], host: Iterable[Limit]) -> tuple[Gate, ...]:
    """Everything that may refuse a mail of this server: its circuit, closings, limits, budgets, account, host, slowness."""
    gates = {gate.name: gate for gate in (circuit(server), brake(server), *closings(server).values())}
    owned: list[tuple[int, str, str, Iterable[Limit]]] = [
        (ACCOUNT, f"s:{server.id}", server.name, server.limits),
        *((ACCOUNT, f"b:{budget.name}", f"budget {budget.name}", budget.limits) for budget in budgets),
        (ACCOUNT, "a", "account", account.limits),
        (HOST, "h", "host", host),
    ]
    for record, prefix, owner, limits in owned:
        for limit in limits:
            bound = limit.bound(account.timezone)
            gates[f"{prefix}/{bound.key}"] = Gate(record, f"{prefix}/{bound.key}", bound, owner)
    paces = [gate.limit.interval for gate in gates.values() if isinstance(gate.limit, RateLimiter)]
    slow = slowed(server, max(paces, default=0))
    return (*gates.values(), slow)
