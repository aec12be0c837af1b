"""What a limit is: pure arithmetic over its own small state. Instants are UTC milliseconds."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from attrs import frozen

from deliverykit.words.clock import NEVER

__all__ = ["Counts", "ForeignState", "Limit", "QuotaPolicy", "RateLimiter", "Record", "State", "Terms", "Usage"]

State = tuple[int, ...]
"""A limit's memory: flat whole numbers; ``()`` means never used."""


class ForeignState(tuple[int, ...]):  # noqa: SLOT001  it has a field
    """A stored state that is no flat row of whole numbers: a newer version wrote it, or it is damaged. It is kept as it is."""

    raw: object

    @classmethod
    def of(cls, raw: object) -> "ForeignState":
        """The state for what was read."""
        state = cls()
        state.raw = raw
        return state


Record = Mapping[str, State]
"""All states that are decided on together, by ``owner/limit`` name."""

Counts = Literal["recipients", "emails"]


@frozen
class Terms:
    """What a limit attaches to what it granted."""

    mark: int
    """Names the window that was charged; :meth:`Limit.give` wants it back."""
    until: int = NEVER
    """Nothing of this grant may start at or after this instant."""
    slot: int = 0
    """The first email may start at ``slot``, the i-th at ``slot + i * step``."""
    step: int = 0
    gap: int = 0
    """The least time between the starts of two emails, in ms; 0 where a burst is allowed. Slots keep it among all
    processes; a process that stalls and finds several slots overdue keeps it among its own starts."""


@frozen
class Usage:
    """One window of a quota, as people want to read it."""

    window: str
    used: int
    limit: int
    resets_at: int

    @property
    def left(self) -> int:
        """How much is left, never below zero."""
        return max(0, self.limit - self.used)


class Limit(ABC):
    """One rule over mail. Subclass :class:`QuotaPolicy` or :class:`RateLimiter`.

    A limit is a frozen attrs class with plain fields; its memory is a :data:`State` that is handed
    in and returned, so it needs no storage and no lock and is property-tested without either. The
    four methods must be pure. A refusal changes nothing: ``admit`` never calls ``take`` then.
    """

    name: ClassVar[str]
    """The registered name; a store keeps it."""
    paces: ClassVar[bool] = False
    """Whether it only delays (a pace): a mail it holds back is not out of quota."""
    idle: ClassVar[bool] = False
    """Whether a state of ``()`` lets everything through and taking does not change it: then it is not asked."""

    @property
    def counts(self) -> Counts:
        """Whether it counts envelope recipients or emails."""
        return "recipients"

    @property
    def key(self) -> str:
        """Names its state beside the other limits of one owner; never contains the limit's numbers."""
        return self.name

    def for_stream(self, stream: str) -> Self:
        """The same limit as mail of a stream meets it: less what is kept for others. State and windows are the same."""
        return self

    def bound(self, timezone: str) -> Self:
        """The same limit where a zone matters and none is set: in this one."""
        return self

    def readable(self, state: State) -> bool:
        """Return whether this version can read a stored state. Another version may have written it in another form.

        A quota or pace that cannot read its state grants nothing, and the state is kept as it is. Override it where only
        some lengths are possible.
        """
        return not isinstance(state, ForeignState)

    @abstractmethod
    def room(self, state: State, now: int) -> int:
        """How much could be taken now; zero or less is none."""

    @abstractmethod
    def when(self, state: State, now: int, n: int) -> int:
        """The first instant with room for ``n`` if nothing else is taken; ``NEVER`` if none comes."""

    @abstractmethod
    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        """Charge ``n``, which is at most ``room``: the new state, and the terms of use."""

    @abstractmethod
    def give(self, state: State, mark: int, n: int) -> State:
        """Undo a charge of ``n`` that surely was not used; nothing, once the window that ``mark`` names has gone."""

    def rewound(self, state: State, now: int) -> State:
        """The state after the clock was set back to ``now`` on purpose: every count kept, nothing left in the future.

        Override it where the state holds instants. As it stands the state is kept.
        """
        return state


class QuotaPolicy(Limit):
    """A budget of mail per window. It refuses, and says when it will grant again."""

    @abstractmethod
    def usage(self, state: State, now: int) -> tuple[Usage, ...]:
        """What is used and left of each window, and when it resets."""


class RateLimiter(Limit):
    """Pacing: when the next submission may start. It delays; it never counts as exhausted."""

    paces: ClassVar[bool] = True

    @property
    def counts(self) -> Counts:
        """A pace counts emails, whoever they go to."""
        return "emails"

    @property
    def interval(self) -> int:
        """The gap between two emails over the long run, in ms; 0 where that cannot be said.

        When an ESP says that it was asked too fast, a server keeps twice this gap for a while, or twice the gap that
        was seen, whichever is longer.
        """
        return 0
