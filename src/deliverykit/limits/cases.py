"""What the brake remembers: of a server, one case for each reason; of a message, who refused it and why."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Final, Self

from attrs import evolve, fields, frozen

from deliverykit.contracts.limit import State

__all__ = ["LANE", "OPEN", "RECIPIENT", "SENDER", "UNKNOWN", "WATCHED", "Case", "Memory", "memo_of", "read", "remembered"]

_CASES: Final = 8
"""The number of reasons remembered for each server."""
_KNOWN: Final = 6
"""The number of servers whose last refusal a message remembers."""

WATCHED, OPEN, LANE = range(3)
"""The phases of a case: nothing is stopped; its scope gets probes only; the run's lane gets probes only."""
SENDER, RECIPIENT, UNKNOWN = 1, 2, 3
"""What a text is about, as a number."""


@frozen(kw_only=True)
class Case:
    """What is known about one reason. Whole numbers, in the order in which they are stored."""

    about: int
    domain: int
    """The hash of the From domain, for a sender text; else 0."""
    reason: int
    touched: int
    put_back: int = 0
    """The sequence number of the latest message put back."""
    accepted: int = 0
    """A message of the scope that was admitted after this sequence number was accepted."""
    lane: int = 0
    """The lane of the run; 0 where it has messages of several."""
    first: int = 0
    second: int = 0
    """The messages of the run."""
    phase: int = WATCHED
    opened: int = 0
    """The sequence number at which this phase began: only what was admitted since is a probe."""
    opened_at: int = 0
    refused: int = 0
    """The number of refused probes that count."""
    next_at: int = 0
    """When the next probe may go."""
    probe: int = 0
    """The mark of the probe that is on its way."""
    probe_until: int = 0

    @property
    def run(self) -> tuple[int, ...]:
        """The messages put back, nothing of the scope accepted between."""
        return tuple(one for one in (self.first, self.second) if one)

    @property
    def local(self) -> bool:
        """Whether it stops a From domain only."""
        return self.about == SENDER

    def watched(self) -> Self:
        """The case once its scope is open again."""
        return evolve(
            self, phase=WATCHED, lane=0, first=0, second=0, refused=0, opened=0, opened_at=0, next_at=0, probe=0, probe_until=0
        )

    def stopped(self, phase: int, seq: int, now: int) -> Self:
        """The case in a phase in which only probes go."""
        return evolve(
            self, phase=phase, opened=seq, opened_at=now, refused=0, next_at=now, first=0, second=0, probe=0, probe_until=0
        )


_NAMES: Final = tuple(one.name for one in fields(Case))
_WIDTH: Final = len(_NAMES)
_values: Final = attrgetter(*_NAMES)


@frozen
class Memory:
    """A state, read."""

    epoch: int = 0
    """The number of times a person has activated the server since its first refusal."""
    seq: int = 0
    """A logical clock: it moves with each message put back and each probe."""
    cases: tuple[Case, ...] = ()

    def stored(self) -> State:
        """As a flat tuple; ``()`` where nothing ever happened."""
        if not (self.seq or self.epoch):
            return ()
        return (self.epoch, self.seq, *(value for case in self.cases for value in _values(case)))

    def each(self, change: "Callable[[Case], Case]") -> "Memory":
        """With every case changed."""
        return evolve(self, cases=tuple(change(case) for case in self.cases))

    def find(self, about: int, domain: int, reason: int) -> Case | None:
        """The case of a reason in its scope."""
        wanted = (about, domain, reason)
        return next((case for case in self.cases if (case.about, case.domain, case.reason) == wanted), None)

    def put(self, case: Case) -> "Memory":
        """With this case in place of the one it comes from, or of the one that was quiet for longest."""
        key = (case.about, case.domain, case.reason)
        rest = [one for one in self.cases if (one.about, one.domain, one.reason) != key]
        if len(rest) >= _CASES:
            quiet = [one for one in rest if one.phase == WATCHED]
            if not quiet:
                return self  # all others stop something: this reason is not counted for now
            rest.remove(min(quiet, key=lambda one: one.touched))
        return evolve(self, cases=(*rest, case))


@lru_cache(512)
def read(state: State) -> Memory:
    """Read a state; one of another form is as if nothing had happened."""
    if len(state) < 2 or (len(state) - 2) % _WIDTH:
        return Memory()
    rows = (state[at : at + _WIDTH] for at in range(2, len(state), _WIDTH))
    return Memory(state[0], state[1], tuple(Case(**dict(zip(_NAMES, row, strict=True))) for row in rows))


def remembered(memo: State) -> tuple[int, dict[int, tuple[int, int, int]]]:
    """How often the message was put back; by server, the reason, epoch and sequence number of the last time."""
    if not memo:
        return 0, {}
    rows: Sequence[State] = [memo[at : at + 4] for at in range(1, len(memo), 4)]
    return memo[0], {row[0]: (row[1], row[2], row[3]) for row in rows if len(row) == 4}


def memo_of(times: int, known: Mapping[int, tuple[int, int, int]]) -> State:
    """What a message remembers, as it is stored."""
    kept = list(known.items())[-_KNOWN:]
    return (times, *(number for server, rest in kept for number in (server, *rest)))
