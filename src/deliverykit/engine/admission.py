"""Admission: which of the mails at a lane's head may go, each by which server, decided in one step.

All limits of a server, its budgets, its account and the host are taken together or not at all; a
refusal spends nothing. Mails are granted from the front and in order: the first that cannot go
stops the rest, so a big mail keeps its place.
"""

from collections.abc import Mapping, Sequence

from attrs import frozen

from deliverykit.contracts.limit import Record, State, Terms
from deliverykit.contracts.router import Router
from deliverykit.engine.gates import Gate
from deliverykit.records.route import WhenExhausted
from deliverykit.words.clock import NEVER

__all__ = ["MARGIN", "Admission", "Candidates", "Grant", "Refusal", "admit"]

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
    """The servers in the order that may carry this mail now, and the word of the route."""

    gates: Mapping[str, tuple[Gate, ...]]
    """By server id, in the route's order."""
    router: Router
    when_exhausted: WhenExhausted
    memory: str = ""
    """The name of the router's state in the account's record; ``""`` where it is not kept."""
    edition: int = 0
    """Moves with the route: another edition's memory is forgotten."""


class _Ledger:
    """The states while one decision is made: rooms shrink as mails are picked, and all is charged at the end."""

    def __init__(self, records: Sequence[Record], now: int) -> None:
        self.now = now
        self.states: list[dict[str, State]] = [dict(record) for record in records]
        self._rooms: dict[str, int] = {}
        self._picked: dict[str, tuple[Gate, list[int], list[int]]] = {}

    def state(self, gate: Gate) -> State:
        return self.states[gate.record].get(gate.name, ())

    def refusing(self, gates: Sequence[Gate], cost: int) -> list[Gate]:
        return [gate for gate in gates if self._room(gate) < gate.cost(cost)]

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

    def charge(self, count: int) -> list[tuple[int, int, list[tuple[Gate, int]]]]:
        """Take everything picked; start, until and charges of each of ``count`` mails."""
        starts, ends = [self.now] * count, [NEVER] * count
        charges: list[list[tuple[Gate, int]]] = [[] for _ in range(count)]
        for gate, places, costs in self._picked.values():
            new, terms = gate.limit.take(self.state(gate), self.now, sum(costs))
            self.states[gate.record][gate.name] = new
            for turn, place in enumerate(places):
                starts[place] = max(starts[place], _slot(terms, turn))
                ends[place] = min(ends[place], terms.until)
                charges[place].append((gate, terms.mark))
        return list(zip(starts, ends, charges, strict=True))

    def give_back(self, charges: Sequence[tuple[Gate, int]], cost: int) -> None:
        for gate, mark in charges:
            self.states[gate.record][gate.name] = gate.limit.give(self.state(gate), mark, gate.cost(cost))

    def when(self, gates: Sequence[Gate], cost: int) -> Refusal | None:
        """The latest instant of those gates that refuse now; ``None`` where none does."""
        refusals = [
            Refusal(
                gate.limit.when(self.state(gate), self.now, gate.cost(cost)),
                f"{gate.owner}: {gate.limit.name}",
                gate.limit.paces,
            )
            for gate in gates
            if gate.limit.room(self.state(gate), self.now) < gate.cost(cost)
        ]
        if not refusals:
            return None
        latest = max(refusals, key=lambda refusal: refusal.at)
        return Refusal(latest.at, latest.by, all(refusal.paces for refusal in refusals))


def _slot(terms: Terms, turn: int) -> int:
    return terms.slot + turn * terms.step


def admit(candidates: Candidates, costs: Sequence[int], records: Sequence[Record], now: int) -> Admission:
    """Grant as many of these mails as may go, from the front. Pure: the new records are in the answer."""
    ledger = _Ledger(records, now)
    picks: list[str] = []
    memory = _memory(candidates, records)
    servers = tuple(candidates.gates)
    for place, cost in enumerate(costs):
        order = candidates.router.order(servers, memory)
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
        Grant(server, cost, now, start, until, tuple(charges))
        for server, cost, (start, until, charges) in zip(picks[:fit], costs, charged, strict=False)
    )
    refusal = None
    if fit < len(picks):
        refusal = Refusal(charged[fit][1], "the window ends")
    elif len(picks) < len(costs):
        refusal = _refusal(candidates, ledger, candidates.router.order(servers, memory), costs[len(picks)])
    if not grants:
        return Admission((), refusal, (None,) * len(records))
    if candidates.memory and fit == len(picks):
        ledger.states[0][candidates.memory] = (candidates.edition, *memory)
    return Admission(grants, refusal, tuple(ledger.states))


def _memory(candidates: Candidates, records: Sequence[Record]) -> State:
    kept = records[0].get(candidates.memory, ()) if candidates.memory else ()
    return kept[1:] if kept and kept[0] == candidates.edition else ()


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


def _refusal(candidates: Candidates, ledger: _Ledger, order: Sequence[str], cost: int) -> Refusal:
    """When to ask again: the one server it waits for, or whichever has quota first."""
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
