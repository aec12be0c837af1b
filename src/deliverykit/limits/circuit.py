"""A circuit: a server that fails again and again is left alone for a while, then tried by one email."""

from typing import ClassVar, Final

from attrs import field, frozen

from deliverykit.contracts.limit import Counts, Limit, State, Terms
from deliverykit.words.clock import NEVER

__all__ = ["Circuit"]

_STEPS: Final = (30_000, 60_000, 120_000, 300_000, 600_000)
_PROBE: Final = 60_000
_FREE: Final = Terms(0)


@frozen
class Circuit(Limit):
    """The limit that a server's own faults set: ``after`` of them in a row, none accepted between, open it.

    Open, it lets nothing through for 30 seconds, then one email in 60 seconds, the probe. If that is
    accepted the circuit is closed, and all is as before; if it fails as well, the circuit stays open for 1,
    2, 5, then every 10 minutes. Only what was admitted since it opened says anything about it: late answers
    to mail that was under way neither close it nor make it longer. A state of ``()`` is a healthy server.
    """

    name: ClassVar[str] = "circuit"
    idle: ClassVar[bool] = True

    after: int = field(default=5)

    # The state: faults in a row; when it opened last; which step of waiting, 0 where it is closed; when the
    # next probe may go.

    @property
    def counts(self) -> Counts:
        """A probe is one email, whoever it goes to."""
        return "emails"

    def readable(self, state: State) -> bool:
        """Whether it has the form of the state above."""
        return super().readable(state) and (not state or len(state) == 4)

    def room(self, state: State, now: int) -> int:
        """Nothing while open, one where a probe may go, else any number."""
        if not self.is_open(state):
            return NEVER
        return 1 if now >= self.probe_at(state) else 0

    def when(self, state: State, now: int, n: int) -> int:
        """When the next probe may go; never for more than one while it is open."""
        if not self.is_open(state):
            return now
        return NEVER if n > 1 else max(now, self.probe_at(state))

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        """Where it is open, this is the probe: it must start within 60 seconds, after which the next may go."""
        if not self.is_open(state):
            return state, _FREE
        return (*state[:3], now + _PROBE), Terms(now + _PROBE, now + _PROBE)

    def give(self, state: State, mark: int, n: int) -> State:
        """The probe did not go, or its answer said nothing about the server: the next may go at once."""
        return (*state[:3], 0) if mark and self.is_open(state) and state[3] == mark else state

    def is_open(self, state: State) -> bool:
        """Whether it is open, the time of its probes included."""
        return bool(state) and state[2] > 0

    def probe_at(self, state: State) -> int:
        """When the next probe may go, of an open one."""
        return max(state[1] + _STEPS[state[2] - 1], state[3])

    def failed(self, state: State, now: int, granted: int) -> State:
        """The state after a fault of the server, of a mail that was admitted at ``granted``."""
        faults, opened, step, _ = state or (0, 0, 0, 0)
        if not step:
            return (faults + 1, 0, 0, 0) if faults + 1 < self.after else (faults + 1, now, 1, 0)
        if granted <= opened:
            return state
        return (faults + 1, now, min(step + 1, len(_STEPS)), 0)

    def accepted(self, state: State, granted: int) -> State:
        """The state after the server accepted a mail that was admitted at ``granted``."""
        return state if self.is_open(state) and granted < state[1] else ()

    def rewound(self, state: State, now: int) -> State:
        """After the clock was set back: it waits no longer than its step says from now."""
        return (state[0], min(state[1], now), state[2], min(state[3], now + _PROBE)) if state else state
