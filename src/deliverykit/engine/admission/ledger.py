"""The limits while one decision is made: rooms shrink as mails are picked, and all is charged at the end."""

from collections.abc import Mapping, Sequence

from attrs import frozen

from deliverykit.contracts.limit import QuotaPolicy, Record, State, Terms
from deliverykit.engine.admission.gates import Gate
from deliverykit.limits import Brake
from deliverykit.words.clock import NEVER

__all__ = ["Leave", "Ledger"]


@frozen
class Leave:
    """What a server's limits attach to the mails it was granted."""

    until: int
    charges: tuple[tuple[Gate, int], ...]
    """Every gate that was charged, with the mark to give it back by."""
    gaps: tuple[tuple[Gate, int], ...]
    """The paces among them, with the least time between two starts."""
    stopped: frozenset[int] = frozenset()
    """The From domains, hashed, of which the server takes only probes."""


class _Tally:
    """One gate, with what is picked from it. Plain and slotted: some are made for every mail of ``send()``."""

    __slots__ = ("emails", "gate", "picked", "room", "state", "terms", "turn", "windows")

    def __init__(self, gate: Gate, state: State, now: int) -> None:
        limit = gate.limit
        self.gate = gate
        self.state = state
        """As it was before anything was picked."""
        self.room = limit.room(state, now)
        self.emails = gate.emails
        self.picked = 0
        self.turn = 0
        """How many of the picked have their slot."""
        self.terms: Terms | None = None
        self.windows: list[list[int]] | None = None
        """Used and limit of each window of a quota, as they stand with what is picked."""

    def pick(self, cost: int, times: int) -> None:
        number = times if self.emails else cost * times
        self.room -= number
        self.picked += number
        for window in self.windows or ():
            window[0] += number

    def slot(self, terms: Terms) -> int:
        """When the next of those picked may start."""
        turn, self.turn = self.turn, self.turn + 1
        return terms.slot + turn * terms.step


class Ledger:
    """All states that one decision is made on, for servers with these gates. The records handed in stay as they are."""

    def __init__(self, gates: Mapping[str, Sequence[Gate]], records: Sequence[Record], now: int) -> None:
        self.now = now
        self._gates = gates
        self._records = list(records)
        self._written: dict[int, dict[str, State]] = {}
        self._tallies: dict[str, _Tally] = {}
        self._servers: dict[str, list[_Tally]] = {}
        self._circuits: dict[str, list[_Tally]] = {}
        self._fitting: dict[tuple[str, int], bool] = {}

    @property
    def records(self) -> tuple[Record, ...]:
        """The states as they stand."""
        return tuple(self._records)

    def put(self, record: int, name: str, state: State) -> None:
        """Change a state."""
        if record not in self._written:
            self._records[record] = self._written[record] = dict(self._records[record])
        self._written[record][name] = state

    def state(self, gate: Gate) -> State:
        """The state of a gate, as far as it is charged."""
        return gate.known(self._records[gate.record])

    def sealed(self, gate: Gate) -> bool:
        """Whether this version cannot read what the gate counts, so that it grants nothing."""
        return gate.sealed(self._records[gate.record])

    def _tally(self, gate: Gate, state: State) -> _Tally:
        tally = self._tallies.get(gate.name)
        if tally is None:
            tally = self._tallies[gate.name] = _Tally(gate, state, self.now)
            if self.sealed(gate):
                tally.room, tally.windows = 0, []
        return tally

    def _of(self, server: str) -> list[_Tally]:
        """Of its gates those that have a say."""
        tallies = self._servers.get(server)
        if tallies is None:
            tallies = self._servers[server] = []
            for gate in self._gates[server]:
                state = self.state(gate)
                if state or gate.firm or self.sealed(gate):
                    tallies.append(self._tally(gate, state))
        return tallies

    # -- looking ----------------------------------------------------------------------------------

    def in_order(self, cost: int) -> list[str]:
        """The servers whose limits could ever grant so many at once, and whose circuit is closed or open to one mail now."""
        return [server for server in self._gates if self._healthy(server) and (cost == 1 or self.fits(server, cost))]

    def _healthy(self, server: str) -> bool:
        circuits = self._circuits.get(server)
        if circuits is None:
            circuits = self._circuits[server] = []
            for gate in self._gates[server]:
                if gate.circuit and (state := self.state(gate)):
                    circuits.append(self._tally(gate, state))
        return not circuits or all(tally.room >= 1 for tally in circuits)

    def fits(self, server: str, cost: int) -> bool:
        """Whether its limits could ever grant so many at once."""
        fitting = self._fitting.get((server, cost))
        if fitting is None:
            fitting = self._fitting[server, cost] = not any(gate.too_small(cost) for gate in self._gates[server])
        return fitting

    def refusing(self, server: str, cost: int) -> list[Gate]:
        """Its gates without room for such mail."""
        return [tally.gate for tally in self._of(server) if tally.room < (1 if tally.emails else cost)]

    def left(self, server: str) -> float:
        """The share of the server's own quota that is left, what is picked counted as used."""
        own = [self._tally(gate, self.state(gate)) for gate in self._gates[server] if _own(server, gate)]
        return min((_share(*window) for tally in own for window in self._windows(tally)), default=1.0)

    def _windows(self, tally: _Tally) -> list[list[int]]:
        if tally.windows is None:
            limit = tally.gate.limit
            assert isinstance(limit, QuotaPolicy)  # noqa: S101  see _own()
            usage = limit.usage(self.state(tally.gate), self.now)
            tally.windows = [[one.used + tally.picked, one.limit] for one in usage]
        return tally.windows

    def waits(self, server: str, cost: int) -> list[tuple[int, Gate]]:
        """Those of its gates that refuse as things stand, each with the first instant at which it has room."""
        return [
            (NEVER if self.sealed(gate) else gate.limit.when(self.state(gate), self.now, gate.cost(cost)), gate)
            for gate in self._gates[server]
            if self.sealed(gate) or gate.limit.room(self.state(gate), self.now) < gate.cost(cost)
        ]

    # -- taking -----------------------------------------------------------------------------------

    def most(self, server: str, cost: int) -> int:
        """How many such mails it has room for."""
        return min([tally.room if tally.emails else tally.room // cost for tally in self._of(server)], default=NEVER)

    def pick(self, server: str, cost: int, times: int = 1) -> None:
        """More mails for this server, which has room for them."""
        for tally in self._of(server):
            tally.pick(cost, times)

    def charge(self, picks: Sequence[str]) -> list[tuple[int, Leave]]:
        """Take everything picked; of each mail, by its server, the start and what is attached to it."""
        for tally in self._tallies.values():
            if tally.picked:
                gate = tally.gate
                state, tally.terms = gate.limit.take(tally.state, self.now, tally.picked)
                if state is not tally.state:
                    self.put(gate.record, gate.name, state)
        leaves: dict[str, Leave] = {}
        found: list[tuple[int, Leave]] = []
        for server in picks:
            leave = leaves.get(server)
            if leave is None:
                leave = leaves[server] = _leave(self._servers[server])
            found.append((self._start(server), leave))
        return found

    def _start(self, server: str) -> int:
        """When the next of its mails may start: the latest of the slots that its limits hand out."""
        start = self.now
        for tally in self._servers[server]:
            if tally.terms is not None and tally.terms.slot:
                start = max(start, tally.slot(tally.terms))
        return start

    def give_back(self, leave: Leave, cost: int) -> None:
        """Undo what was charged for one mail."""
        for gate, mark in leave.charges:  # none of them is sealed: it was charged
            self.put(gate.record, gate.name, gate.limit.give(self.state(gate), mark, gate.cost(cost)))


def _leave(tallies: Sequence[_Tally]) -> Leave:
    until, charges, gaps = NEVER, [], []
    stopped: frozenset[int] = frozenset()
    for tally in tallies:
        if (terms := tally.terms) is not None:
            until = min(until, terms.until)
            charges.append((tally.gate, terms.mark))
            if terms.gap:
                gaps.append((tally.gate, terms.gap))
            if isinstance(tally.gate.limit, Brake):
                stopped = tally.gate.limit.domains(tally.state)
    return Leave(until, tuple(charges), tuple(gaps), stopped)


def _own(server: str, gate: Gate) -> bool:
    return isinstance(gate.limit, QuotaPolicy) and gate.name.startswith(f"s:{server}/")


def _share(used: int, limit: int) -> float:
    return max(0.0, (limit - used) / limit) if limit > 0 else 0.0
