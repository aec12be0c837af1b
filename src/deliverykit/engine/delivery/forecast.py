"""When what waits will have left: the outbox played through on copies of all counts. Nothing is read or written here."""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from attrs import define, evolve, field, frozen

from deliverykit.contracts.books import Lane, LaneKey, Row
from deliverykit.contracts.limit import Record
from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.admit import Admission, Candidates, Grant, Refusal, admit
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.decisions import braked, held, no_server
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.admission.reasons import pace_of
from deliverykit.engine.delivery.turns import Turns
from deliverykit.limits import Brake, Circuit, Closed, Pause, Rate, in_blocks
from deliverykit.limits.pace import HORIZON
from deliverykit.records.route import Route
from deliverykit.words.clock import LATEST, NEVER
from deliverykit.words.errors import NotFound

__all__ = ["Forecast", "Outlook", "Standing"]

_QUESTIONS = 2_000
"""After so many questions for leave it is given up …"""
_MAILS = 200_000
"""… and after so many mails."""
_PLACES = 75
"""What a worker claims at a time, if it is alone and as it comes."""
_BLOCKS = 400
"""All that waits is taken in about so many blocks of slots, each a single mail where there is less."""
_DUES = 400
"""So many instants at which mail comes due are told apart; what lies between waits for the next of them."""
OWN_TIME = "its own time"


@frozen
class Standing:
    """Reads the limits' states and the instant; writes nothing."""

    config: Config

    def __call__(self, view: View) -> Step[tuple[Config, tuple[Record, ...], int]]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        self.config.current(view)
        return Step(result=(self.config, view.records, view.now))


@frozen
class Outlook:
    """How it came out."""

    at: int
    """When the last leaves; NEVER where that is not known."""
    by: str
    later_than: int = 0
    """Where it was given up: how far it came."""


@frozen
class _Lane:
    """What a decision about a lane names; see :class:`~deliverykit.engine.admission.decisions.Question`."""

    config: Config
    route: Route
    ticket: Ticket
    stream: str


@define(eq=False)
class _Queue:
    """A lane's mail: what is ready, in rows of like cost, and what comes due."""

    id: int
    key: LaneKey
    candidates: Candidates
    first: bool
    ours: bool
    held: Refusal | None
    """Why none of it leaves until a person releases the lane."""
    nobody: Refusal
    """The refusal where no server can carry it."""
    rows: deque[Row] = field(factory=deque)
    later: deque[Row] = field(factory=deque)
    ready: int = 0
    served: int = 0
    blocked_until: int = 0
    by: str = ""

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.ready += row.count

    def costs(self, most: int) -> list[int]:
        """Of the first mails."""
        costs: list[int] = []
        for row in self.rows:
            costs += [row.cost] * min(row.count, most - len(costs))
            if len(costs) == most:
                break
        return costs

    def drop(self, count: int) -> None:
        """The first mails are gone."""
        self.ready -= count
        while count:
            row = self.rows.popleft()
            gone = min(row.count, count)
            if gone < row.count:
                self.rows.appendleft(evolve(row, count=row.count - gone))
            count -= gone

    def wakes(self) -> int:
        """When something of it may go, or comes due."""
        return min(self.blocked_until if self.ready else NEVER, self.later[0].due if self.later else NEVER)


class Forecast:
    """An account's outbox as a worker would empty it, if it ran all the time, every email were accepted, and nothing came."""

    def __init__(self, config: Config, records: Sequence[Record], now: int, rows: Sequence[Row], ours: Collection[LaneKey]):
        self._records: tuple[Record, ...] = tuple(records)
        self._now = now
        self._last = now
        """When the last of ours leaves, of those that have their leave."""
        self._paced = ""
        """The pace that gave it its slot, where it waits for one."""
        self._refusal = braked(config)
        self._turns = Turns()
        self._waits: Counter[str] = Counter()
        """How long ours wait for what, in ms."""
        self._questions = self._mails = 0
        keys = list(dict.fromkeys(row.lane for row in sorted(rows, key=lambda row: row.turn)))
        waiting = sum(row.count for row in rows)
        self._block = max(1, waiting * len(keys) // _BLOCKS)
        self._places = max(_PLACES, waiting // _BLOCKS)
        self._queues = [_queue(config, id_, key, key in ours, self._block) for id_, key in enumerate(keys)]
        by_key = {queue.key: queue for queue in self._queues}
        for row in rows:
            if not row.due:
                by_key[row.lane].add(row)
        for row in _sliced([row for row in rows if row.due]):
            by_key[row.lane].later.append(row)

    def run(self) -> Outlook:
        """Until all of ours has left, or never will, or it takes too long."""
        while ours := [queue for queue in self._queues if queue.ours and (queue.ready or queue.later)]:
            if self._refusal is not None:
                return Outlook(NEVER, self._refusal.by)
            if all(queue.wakes() > LATEST for queue in ours):
                return Outlook(NEVER, next(queue.by for queue in ours))
            if self._questions >= _QUESTIONS or self._mails >= _MAILS:
                return Outlook(NEVER, self._by(), self._now)
            self._look(ours)
        if self._last > self._now:
            self._waits[self._paced] += self._last - self._now
        return Outlook(self._last, self._by())

    def _look(self, ours: Sequence[_Queue]) -> None:
        """As a worker does: claim from the open lanes, or wait for the next instant at which anything may change."""
        for queue in self._queues:
            while queue.later and queue.later[0].due <= self._now:
                queue.add(queue.later.popleft())
        lanes = [
            Lane(queue.id, queue.key, queue.ready, queue.served)
            for queue in sorted(self._queues, key=lambda queue: queue.served)
            if queue.ready and queue.blocked_until <= self._now
        ]
        firsts = frozenset(lane.id for lane in lanes if self._queues[lane.id].first)
        for lane, share in self._turns.shares(lanes, firsts, self._places, {}):
            self._turns.took(lane, self._claim(self._queues[lane.id], share), first=lane.id in firsts)
        if lanes:
            return
        wake = min(queue.wakes() for queue in self._queues)
        for queue in ours:
            self._waits[queue.by if queue.ready else OWN_TIME] += wake - self._now
        self._now = wake

    def _claim(self, queue: _Queue, share: int) -> int:
        """Let the first of a lane go, or block it; how many went."""
        costs = queue.costs(share)
        admission = self._admitted(queue, costs)
        queue.blocked_until = queue.blocked_until if admission.refusal is None else admission.refusal.at
        queue.by = queue.by if admission.refusal is None else admission.refusal.by
        grants = admission.grants
        if (ahead := _overtaken(grants)) is not None:
            # The second server has no turn before the first has sent its last: its own slots lie ahead, its quota is gone then.
            admission = self._admitted(queue, costs[:ahead])
            grants = admission.grants
            queue.blocked_until, queue.by = max(self._now, grants[-1].start - HORIZON), _pace(queue, grants[-1])
        if not grants:
            return 0
        self._records = tuple(new or old for new, old in zip(admission.records, self._records, strict=True))
        self._opened(queue, grants)
        queue.drop(len(grants))
        queue.served = self._now
        self._mails += len(grants)
        latest = max(grants, key=lambda grant: grant.start)
        if queue.ours and latest.start > self._last:
            self._last, self._paced = latest.start, _pace(queue, latest)
        return len(grants)

    def _admitted(self, queue: _Queue, costs: Sequence[int]) -> Admission:
        self._questions += 1
        if queue.held is not None:
            return Admission((), queue.held, (None,) * len(self._records))
        admission = admit(queue.candidates, costs, self._records, self._now)
        refusal = admission.refusal
        return evolve(admission, refusal=queue.nobody) if refusal is not None and refusal.nobody else admission

    def _opened(self, queue: _Queue, grants: Iterable[Grant]) -> None:
        """What was closed, but for a probe, is open again, for that was accepted; and whoever waited for it looks again."""
        used = {grant.server for grant in grants}
        probed = {
            gate.name
            for server in used
            for gate in queue.candidates.gates[server]
            if isinstance(gate.limit, Brake | Circuit | Closed) and gate.known(self._records[gate.record])
        }
        if probed:
            self._records = tuple({name: state for name, state in one.items() if name not in probed} for one in self._records)
            for other in self._queues:
                other.blocked_until = 0

    def _by(self) -> str:
        return max(self._waits, key=lambda by: self._waits[by], default="")


def _queue(config: Config, id_: int, key: LaneKey, ours: bool, block: int) -> _Queue:
    ticket = Ticket.decode(key.key).afresh()  # those passed over for this round are asked again in the next
    try:
        route = config.route(key.route)
    except NotFound:  # removed by force under its mail
        route = evolve(config.route("default"), servers=(), first=())
    candidates = config.candidates(route, ticket, key.stream)
    gates = {
        server: tuple(evolve(gate, limit=in_blocks(gate.limit, block)) for gate in gates)
        for server, gates in candidates.gates.items()
    }
    lane = _Lane(config, route, ticket, key.stream)
    in_slots = evolve(candidates, gates=gates)
    return _Queue(id_, key, in_slots, key.stream in route.first, ours, held(lane), no_server(lane, candidates))


def _sliced(rows: Sequence[Row]) -> Iterable[Row]:
    """What comes due, in so many slices at most; all of a slice is due when the last of it is, never before its time."""
    if not rows:
        return
    begin = rows[0].due
    width = max(1, -(-(rows[-1].due - begin + 1) // _DUES))
    for _, group in groupby(rows, lambda row: (row.due - begin) // width):
        found: Counter[tuple[LaneKey, int]] = Counter()
        due = 0
        for row in group:
            found[row.lane, row.cost] += row.count
            due = row.due
        for (lane, cost), count in found.items():
            yield Row(lane, due, cost, count)


def _overtaken(grants: Sequence[Grant]) -> int | None:
    """How many go by the first server, where its quota ends within a block of its slots and the rest go at once by another."""
    for place in range(1, len(grants)):
        before, server = grants[place - 1], grants[place].server
        if server != before.server:
            gone = all(grant.server != before.server for grant in grants[place:])
            return place if gone and before.start - HORIZON > grants[place].now else None
    return None


def _pace(queue: _Queue, grant: Grant) -> str:
    """Which pace gave it its slot: the slowest."""
    paces = [
        (gate.limit.interval, gate) for gate in queue.candidates.gates[grant.server] if isinstance(gate.limit, Pause | Rate)
    ]
    slowest = max(paces, key=lambda one: one[0], default=None)
    gate = slowest[1] if slowest else next((gate for gate, _ in grant.gaps), None)
    return pace_of(gate) if gate else ""
