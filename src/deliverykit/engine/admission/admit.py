"""Admission: which of the mails at a lane's head may go, each by which server, decided in one step.

All limits of a server, its budgets, its account and the host are taken together or not at all; a
refusal spends nothing. Mails are granted from the front and in order: the first that cannot go
stops the rest, so a big mail keeps its place. A server whose circuit is open is not in the order, so the
next one is the first; one of which a probe may go is in it, for that one mail.
"""

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from deliverykit.contracts.limit import Record, State
from deliverykit.contracts.router import Router, Standing
from deliverykit.engine.admission.gates import Gate
from deliverykit.engine.admission.ledger import Ledger
from deliverykit.engine.admission.reasons import why
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
    stopped: frozenset[int] = frozenset()
    """The From domains, hashed, of which the server takes only probes."""

    def left(self, now: int) -> int:
        """Return how many ms after ``now`` a submission may still start and stay inside every window it was charged to."""
        return self.until - MARGIN - now if self.until < NEVER else NEVER


@frozen
class Refusal:
    """Not now: ask again at ``at``. ``paces`` tells that only a pace holds it back, which is not being out of quota."""

    at: int
    by: str
    """What refuses, as long as the same limit does: ``day quota of 'Mailgun EU'``."""
    paces: bool = False
    braked: bool = False
    """Whether the whole account is paused, whatever its quotas."""
    detail: str = ""
    """Its numbers, and when it ends."""
    nobody: bool = False
    """Whether no server is there that could carry the message."""

    @property
    def words(self) -> str:
        """The whole reason: ``day quota of 'Mailgun EU' used up: 1,500 of 1,500, resets 2026-12-01 18:30 UTC``."""
        return f"{self.by} {self.detail}" if self.detail else self.by


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


def admit(candidates: Candidates, costs: Sequence[int], records: Sequence[Record], now: int) -> Admission:
    """Grant as many of these mails as may go, from the front. Pure: the new records are in the answer."""
    ledger = Ledger(candidates.gates, records, now)
    before = _memory(candidates, records)
    picks, memory = _picked(candidates, ledger, before, costs)
    charged = ledger.charge(picks)
    grants: list[Grant] = []
    refusal = None
    for server, cost, (start, leave) in zip(picks, costs, charged, strict=False):
        if leave.until < NEVER and start >= leave.until - MARGIN:
            refusal = Refusal(leave.until, "the window of a quota ends in a moment")
            break
        grants.append(Grant(server, cost, now, start, leave.until, leave.charges, leave.gaps, leave.stopped))
    for place in range(len(picks) - 1, len(grants) - 1, -1):
        ledger.give_back(charged[place][1], costs[place])
    if refusal is None and len(picks) < len(costs):
        refusal = _refusal(candidates, ledger, memory, costs[len(picks)])
    if not grants:
        return Admission((), refusal, (None,) * len(records))
    if candidates.memory and memory != before and len(grants) == len(picks):
        ledger.put(0, candidates.memory, (candidates.edition, *memory))
    return Admission(tuple(grants), refusal, ledger.records)


def _picked(candidates: Candidates, ledger: Ledger, memory: State, costs: Sequence[int]) -> tuple[list[str], State]:
    """The servers of the first mails, as many as have room; and the router's memory after them."""
    router, standing = candidates.router, Standing(candidates.asked, ledger.left)
    picks: list[str] = []
    while len(picks) < len(costs):
        cost = costs[len(picks)]
        servers = ledger.in_order(cost)
        order = router.ranked(servers, memory, standing)
        server = _first_with_room(candidates, ledger, order, cost)
        if server is None:
            break
        # Where nothing moves the order, the first carries as many as it has room for.
        alike = _alike(costs, len(picks)) if router.steady else 1
        times = min(alike, ledger.most(server, cost)) if alike > 1 else 1
        ledger.pick(server, cost, times)
        # Those passed over for want of quota earn no turn by it, lest one take all the mail when its quota is back.
        passed = order[: order.index(server)]
        memory = router.took([one for one in servers if one not in passed] if passed else servers, memory, server)
        picks += [server] * times
    return picks, memory


def _alike(costs: Sequence[int], place: int) -> int:
    """How many in a row, from this place on, cost the same."""
    cost, end = costs[place], place + 1
    while end < len(costs) and costs[end] == cost:
        end += 1
    return end - place


def _memory(candidates: Candidates, records: Sequence[Record]) -> State:
    kept = records[0].get(candidates.memory, ()) if candidates.memory else ()
    return kept[1:] if kept and kept[0] == candidates.edition else ()


def _order(candidates: Candidates, ledger: Ledger, memory: State, cost: int) -> Sequence[str]:
    """The servers that are in the order at this mail, the first at the front."""
    return candidates.router.ranked(ledger.in_order(cost), memory, Standing(candidates.asked, ledger.left))


def _first_with_room(candidates: Candidates, ledger: Ledger, order: Sequence[str], cost: int) -> str | None:
    """The first in the order with room. A pace only delays, so nobody goes past a server that is merely paced."""
    for server in order:
        refusing = ledger.refusing(server, cost)
        if not refusing:
            return server
        exhausted = any(not gate.limit.paces for gate in refusing)
        if not exhausted or candidates.when_exhausted is WhenExhausted.QUEUE:
            return None
    return None


def _refusal(candidates: Candidates, ledger: Ledger, memory: State, cost: int) -> Refusal:
    """When to ask again: as :func:`_awaited` says, or before, when a server that is not in the order may be back in it."""
    order = _order(candidates, ledger, memory, cost)
    waits = _awaited(candidates, ledger, order, cost)
    out = [_when(ledger, server, cost) for server in candidates.gates if server not in order and ledger.fits(server, cost)]
    back = min((refusal for refusal in out if refusal is not None), key=lambda one: one.at, default=None)
    return evolve(back, paces=waits.paces) if back is not None and back.at < waits.at else waits


def _refusals(ledger: Ledger, server: str, cost: int) -> list[Refusal]:
    """Each of its gates that refuse now, with its own instant."""
    return [_because(ledger, at, gate, cost) for at, gate in ledger.waits(server, cost)]


def _because(ledger: Ledger, at: int, gate: Gate, cost: int) -> Refusal:
    by, detail = why(gate, ledger.state(gate), ledger.now, cost, at, sealed=ledger.sealed(gate))
    return Refusal(at, by, gate.limit.paces, detail=detail)


def _when(ledger: Ledger, server: str, cost: int) -> Refusal | None:
    """The latest instant of those gates that refuse now; ``None`` where none does."""
    waits = ledger.waits(server, cost)
    if not waits:
        return None
    at, gate = max(waits, key=lambda one: one[0])
    return evolve(_because(ledger, at, gate, cost), paces=all(one.limit.paces for _, one in waits))


def _awaited(candidates: Candidates, ledger: Ledger, order: Sequence[str], cost: int) -> Refusal:
    """The one server it waits for, or whichever has quota first."""
    found: list[Refusal] = []
    for server in order:
        refusal = _when(ledger, server, cost)
        if refusal is None:  # picked meanwhile: the next question will be answered at once
            return Refusal(ledger.now, "", paces=True)
        if refusal.paces:
            return refusal if not found else min([*found, refusal], key=lambda one: one.at)
        found.append(refusal)
        if candidates.when_exhausted is WhenExhausted.QUEUE:
            break
    return min(found, key=lambda one: one.at, default=Refusal(NEVER, "no active server can carry it", nobody=True))


@frozen
class Standings:
    """How things stand before a decision, for those who explain it: nothing is taken."""

    candidates: Candidates
    records: tuple[Record, ...]
    now: int

    def order(self, cost: int) -> tuple[str, ...]:
        """The servers in the order for such mail, the first at the front; open circuits are not among them."""
        ledger = Ledger(self.candidates.gates, self.records, self.now)
        return tuple(_order(self.candidates, ledger, _memory(self.candidates, self.records), cost))

    def refusals(self, server: str, cost: int) -> tuple[Refusal, ...]:
        """Every limit that refuses such mail by this server now, the one that does so longest at the front."""
        ledger = Ledger(self.candidates.gates, self.records, self.now)
        return tuple(sorted(_refusals(ledger, server, cost), key=_latest))


def _latest(refusal: Refusal) -> int:
    return -refusal.at
