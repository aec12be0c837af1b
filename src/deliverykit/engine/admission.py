"""Admission: which of the mails at a lane's head may go, each by which server, decided in one step.

All limits of a server, its budgets, its account and the host are taken together or not at all; a
refusal spends nothing. Mails are granted from the front and in order: the first that cannot go
stops the rest, so a big mail keeps its place. A server whose circuit is open is not in the order, so the
next one is the first; one of which a probe may go is in it, for that one mail.
"""

from collections.abc import Mapping, Sequence

from attrs import frozen

from deliverykit.contracts.limit import QuotaPolicy, Record, State, Terms
from deliverykit.contracts.router import Router, Standing
from deliverykit.engine.gates import Gate
from deliverykit.limits import Circuit
from deliverykit.records.route import WhenExhausted
from deliverykit.words.clock import NEVER

__all__ = ["MARGIN", "Admission", "Candidates", "Grant", "Refusal", "Standings", "admit"]

MARGIN = 1_000
"""A grant is good until its first window ends, less this many ms for what is on its way."""


@frozen
class Grant:
    """The leave to send one mail by one server, from ``start`` on and before ``until`` (store's clock)."""

    server: str
    cost: int
    now: int
    start: int
    until: int
    charges: tuple[tuple[Gate, int], ...]
    """Every gate that was charged, with the mark to give it back by."""
    gaps: tuple[tuple[Gate, int], ...] = ()
    """The paces among them, with the least time between two starts."""

    def in_time(self, now: int) -> bool:
        """Whether a submission that starts at ``now`` stays inside every window it was charged to."""
        return now < self.until - MARGIN if self.until < NEVER else True


@frozen
class Refusal:
    """Not now: ask again at ``at``. ``paces`` tells that only a pace holds it back, which is not being out of quota."""

    at: int
    by: str
    paces: bool = False
    braked: bool = False
    """Whether the whole account is paused, whatever its quotas."""


@frozen
class Admission:
    """The grants of the first mails, and why the next did not get one."""

    grants: tuple[Grant, ...]
    refusal: Refusal | None
    records: tuple[Record | None, ...]


@frozen(kw_only=True)
class Candidates:
    """The servers that may carry this mail now, but for their limits and circuits, and the word of the route."""

    gates: Mapping[str, tuple[Gate, ...]]
    """By server id, in the route's order."""
    router: Router
    when_exhausted: WhenExhausted
    memory: str = ""
    """The name of the router's state in the account's record; ``""`` where it is not kept."""
    edition: int = 0
    """Moves with the route: another edition's memory is forgotten."""
    asked: str = ""
    """What the router asked of the mail, see :meth:`~deliverykit.contracts.router.Router.asks`."""


class _Ledger:
    """The states while one decision is made: rooms shrink as mails are picked, and all is charged at the end."""

    def __init__(self, records: Sequence[Record], now: int) -> None:
        self.now = now
        self.states: list[dict[str, State]] = [dict(record) for record in records]
        self._rooms: dict[str, int] = {}
        self._picked: dict[str, tuple[Gate, list[int], list[int]]] = {}
        self._quotas: dict[str, list[list[int]]] = {}
        self._too_small: dict[tuple[str, int], bool] = {}

    def state(self, gate: Gate) -> State:
        return self.states[gate.record].get(gate.name, ())

    def refusing(self, gates: Sequence[Gate], cost: int) -> list[Gate]:
        return [gate for gate in gates if self._room(gate) < gate.cost(cost)]

    def in_order(self, gates: Sequence[Gate], cost: int) -> bool:
        """Whether its limits could ever grant so many at once, and its circuit is closed or one mail may try it now."""
        return self.fits(gates, cost) and all(self._room(gate) >= 1 for gate in gates if isinstance(gate.limit, Circuit))

    def fits(self, gates: Sequence[Gate], cost: int) -> bool:
        """Whether its limits could ever grant so many at once."""
        for gate in gates:
            if (gate.name, cost) not in self._too_small:
                self._too_small[gate.name, cost] = gate.too_small(cost)
        return not any(self._too_small[gate.name, cost] for gate in gates)

    def left(self, server: str, gates: Sequence[Gate]) -> float:
        """The share of the server's own quota that is left, what is picked counted as used."""
        return min((_share(*window) for gate in gates if _own(server, gate) for window in self._quota(gate)), default=1.0)

    def _quota(self, gate: Gate) -> list[list[int]]:
        """Used and limit of each window of a quota, as they stand with what is picked."""
        if gate.name not in self._quotas:
            assert isinstance(gate.limit, QuotaPolicy)  # noqa: S101  see _own()
            picked = sum(self._picked[gate.name][2]) if gate.name in self._picked else 0
            usage = gate.limit.usage(self.state(gate), self.now)
            self._quotas[gate.name] = [[one.used + picked, one.limit] for one in usage]
        return self._quotas[gate.name]

    def _room(self, gate: Gate) -> int:
        if gate.name not in self._rooms:
            self._rooms[gate.name] = gate.limit.room(self.state(gate), self.now)
        return self._rooms[gate.name]

    def pick(self, gates: Sequence[Gate], cost: int, place: int) -> None:
        for gate in gates:
            self._rooms[gate.name] -= gate.cost(cost)
            _, places, costs = self._picked.setdefault(gate.name, (gate, [], []))
            places.append(place)
            costs.append(gate.cost(cost))
            for window in self._quotas.get(gate.name, ()):
                window[0] += gate.cost(cost)

    def charge(self, count: int) -> list[tuple[int, int, list[tuple[Gate, Terms]]]]:
        """Take everything picked; start, until and charges of each of ``count`` mails."""
        starts, ends = [self.now] * count, [NEVER] * count
        charges: list[list[tuple[Gate, Terms]]] = [[] for _ in range(count)]
        for gate, places, costs in self._picked.values():
            new, terms = gate.limit.take(self.state(gate), self.now, sum(costs))
            self.states[gate.record][gate.name] = new
            for turn, place in enumerate(places):
                starts[place] = max(starts[place], _slot(terms, turn))
                ends[place] = min(ends[place], terms.until)
                charges[place].append((gate, terms))
        return list(zip(starts, ends, charges, strict=True))

    def give_back(self, charges: Sequence[tuple[Gate, Terms]], cost: int) -> None:
        for gate, terms in charges:
            self.states[gate.record][gate.name] = gate.limit.give(self.state(gate), terms.mark, gate.cost(cost))

    def refusals(self, gates: Sequence[Gate], cost: int) -> list[Refusal]:
        """Each of those gates that refuse now, with its own instant."""
        return [
            Refusal(
                gate.limit.when(self.state(gate), self.now, gate.cost(cost)),
                f"{gate.owner}: {gate.limit.name}",
                gate.limit.paces,
            )
            for gate in gates
            if gate.limit.room(self.state(gate), self.now) < gate.cost(cost)
        ]

    def when(self, gates: Sequence[Gate], cost: int) -> Refusal | None:
        """The latest instant of those gates that refuse now; ``None`` where none does."""
        refusals = self.refusals(gates, cost)
        if not refusals:
            return None
        latest = max(refusals, key=lambda refusal: refusal.at)
        return Refusal(latest.at, latest.by, all(refusal.paces for refusal in refusals))


def _own(server: str, gate: Gate) -> bool:
    return isinstance(gate.limit, QuotaPolicy) and gate.name.startswith(f"s:{server}/")


def _share(used: int, limit: int) -> float:
    return max(0.0, (limit - used) / limit) if limit > 0 else 0.0


def _slot(terms: Terms, turn: int) -> int:
    return terms.slot + turn * terms.step


def admit(candidates: Candidates, costs: Sequence[int], records: Sequence[Record], now: int) -> Admission:
    """Grant as many of these mails as may go, from the front. Pure: the new records are in the answer."""
    ledger = _Ledger(records, now)
    picks: list[str] = []
    memory = _memory(candidates, records)
    for place, cost in enumerate(costs):
        servers, order = _order(candidates, ledger, memory, cost)
        server = _first_with_room(candidates, ledger, order, cost)
        if server is None:
            break
        ledger.pick(candidates.gates[server], cost, place)
        # Those passed over for want of quota earn no turn by it, lest one take all the mail when its quota is back.
        passed = set(order[: order.index(server)])
        memory = candidates.router.took([one for one in servers if one not in passed], memory, server)
        picks.append(server)
    charged = ledger.charge(len(picks))
    fit = next(
        (place for place, (start, until, _) in enumerate(charged) if until < NEVER and start >= until - MARGIN), len(picks)
    )
    for place in range(len(picks) - 1, fit - 1, -1):
        ledger.give_back(charged[place][2], costs[place])
    grants = tuple(
        Grant(
            server,
            cost,
            now,
            start,
            until,
            charges=tuple((gate, terms.mark) for gate, terms in charges),
            gaps=tuple((gate, terms.gap) for gate, terms in charges if terms.gap),
        )
        for server, cost, (start, until, charges) in zip(picks[:fit], costs, charged, strict=False)
    )
    refusal = None
    if fit < len(picks):
        refusal = Refusal(charged[fit][1], "the window ends")
    elif len(picks) < len(costs):
        refusal = _refusal(candidates, ledger, memory, costs[len(picks)])
    if not grants:
        return Admission((), refusal, (None,) * len(records))
    if candidates.memory and fit == len(picks):
        ledger.states[0][candidates.memory] = (candidates.edition, *memory)
    return Admission(grants, refusal, tuple(ledger.states))


def _memory(candidates: Candidates, records: Sequence[Record]) -> State:
    kept = records[0].get(candidates.memory, ()) if candidates.memory else ()
    return kept[1:] if kept and kept[0] == candidates.edition else ()


def _order(candidates: Candidates, ledger: _Ledger, memory: State, cost: int) -> tuple[tuple[str, ...], Sequence[str]]:
    """The servers that are in the order at this mail, and the order."""
    servers = tuple(server for server, gates in candidates.gates.items() if ledger.in_order(gates, cost))
    standing = Standing(candidates.asked, lambda server: ledger.left(server, candidates.gates[server]))
    return servers, candidates.router.ranked(servers, memory, standing)


def _first_with_room(candidates: Candidates, ledger: _Ledger, order: Sequence[str], cost: int) -> str | None:
    """The first in the order with room. A pace only delays, so nobody goes past a server that is merely paced."""
    for server in order:
        refusing = ledger.refusing(candidates.gates[server], cost)
        if not refusing:
            return server
        exhausted = any(not gate.limit.paces for gate in refusing)
        if not exhausted or candidates.when_exhausted is WhenExhausted.QUEUE:
            return None
    return None


def _refusal(candidates: Candidates, ledger: _Ledger, memory: State, cost: int) -> Refusal:
    """When to ask again: as :func:`_awaited` says, or before, when a server that is not in the order may be back in it."""
    servers, order = _order(candidates, ledger, memory, cost)
    waits = _awaited(candidates, ledger, order, cost)
    out = [
        ledger.when(gates, cost)
        for server, gates in candidates.gates.items()
        if server not in servers and ledger.fits(gates, cost)
    ]
    back = min((refusal for refusal in out if refusal is not None), key=lambda one: one.at, default=None)
    return Refusal(back.at, back.by, waits.paces) if back is not None and back.at < waits.at else waits


def _awaited(candidates: Candidates, ledger: _Ledger, order: Sequence[str], cost: int) -> Refusal:
    """The one server it waits for, or whichever has quota first."""
    found: list[Refusal] = []
    for server in order:
        refusal = ledger.when(candidates.gates[server], cost)
        if refusal is None:  # picked meanwhile: the next question will be answered at once
            return Refusal(ledger.now, "", paces=True)
        if refusal.paces:
            return refusal if not found else min([*found, refusal], key=lambda one: one.at)
        found.append(refusal)
        if candidates.when_exhausted is WhenExhausted.QUEUE:
            break
    return min(found, key=lambda one: one.at, default=Refusal(NEVER, "no active server can carry it"))


@frozen
class Standings:
    """How things stand before a decision, for those who explain it: nothing is taken."""

    candidates: Candidates
    records: tuple[Record, ...]
    now: int

    def order(self, cost: int) -> tuple[str, ...]:
        """The servers in the order for such mail, the first at the front; open circuits are not among them."""
        ledger = _Ledger(self.records, self.now)
        return tuple(_order(self.candidates, ledger, _memory(self.candidates, self.records), cost)[1])

    def refusals(self, server: str, cost: int) -> tuple[Refusal, ...]:
        """Every limit that refuses such mail by this server now, the one that does so longest at the front."""
        return tuple(sorted(_Ledger(self.records, self.now).refusals(self.candidates.gates[server], cost), key=_latest))


def _latest(refusal: Refusal) -> int:
    return -refusal.at
