"""Closed for a while, because the ESP said that it takes no more just now."""

from typing import ClassVar, Final

from attrs import frozen

from deliverykit.contracts.limit import Counts, Limit, State, Terms
from deliverykit.words.clock import NEVER

__all__ = ["Closed"]

_SHORTEST: Final = 1000
_LONGEST: Final = 86_400_000
_STEPS: Final = (60_000, 300_000, 900_000, 3_600_000)
_PROBE: Final = 60_000
_FREE: Final = Terms(0)


@frozen
class Closed(Limit):
    """The limit that a ``Throttled`` answer sets: closed until an instant.

    Where the ESP names the instant, it opens fully then. Where it does not, it opens after 1 minute
    by one email in 60 seconds, until one of them is accepted; if that email meets a closed door
    again, it stays closed for 5, then 15, then 60 minutes. A state of ``()`` is open.
    """

    name: ClassVar[str] = "closed"
    idle: ClassVar[bool] = True

    # The state: closed until; which step of probing, 0 where the ESP named the instant; when the
    # next probe may go.

    @property
    def counts(self) -> Counts:
        """A probe is one email, whoever it goes to."""
        return "emails"

    def readable(self, state: State) -> bool:
        """Whether it has the form of the state above."""
        return super().readable(state) and (not state or len(state) == 3)

    def room(self, state: State, now: int) -> int:
        """Nothing while closed, one while probing, else any number."""
        if not state:
            return NEVER
        if now < state[0]:
            return 0
        if not state[1]:
            return NEVER
        return 1 if now >= state[2] else 0

    def when(self, state: State, now: int, n: int) -> int:
        """When it opens, or the next probe may go; never for more than one while it probes."""
        if not state:
            return now
        if state[1] and n > 1:
            return NEVER
        return max(now, state[0], state[2])

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        """Where it probes, this is the probe: it must start within 60 seconds, after which the next may go."""
        if not state or not state[1]:
            return state, _FREE
        return (*state[:2], now + _PROBE), Terms(now + _PROBE, now + _PROBE)

    def give(self, state: State, mark: int, n: int) -> State:
        """The probe did not go: the next may go at once."""
        return (*state[:2], 0) if state and mark and state[2] == mark else state

    def close(self, state: State, now: int, until: int | None = None) -> State:
        """The state after the ESP said, at ``now``, that it takes nothing until then, or for a time it did not name.

        ``until`` is held to 1 second to 24 hours from now. While it is closed already, an answer can
        only make it longer: the answers to emails that were under way together are one event, not
        several steps.
        """
        closed = bool(state) and now < state[0]
        if until is not None:
            until = min(max(until, now + _SHORTEST), now + _LONGEST)
            return state if closed and until <= state[0] else (until, 0, 0)
        if closed:
            return state
        step = min(state[1] + 1 if state else 1, len(_STEPS))
        return (now + _STEPS[step - 1], step, 0)

    def opened(self, state: State, now: int | None = None) -> State:
        """The state after an email was accepted: open.

        With ``now`` it stays closed until its time has come: the email may have left before the
        door was closed.
        """
        return state if now is not None and state and now < state[0] else ()

    def rewound(self, state: State, now: int) -> State:
        """After the clock was set back: closed for 24 hours at most."""
        return (min(state[0], now + _LONGEST), state[1], min(state[2], now + _PROBE)) if state else state
