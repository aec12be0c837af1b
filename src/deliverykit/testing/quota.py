"""A property test for quota policies, ours and yours."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from attrs import define

from deliverykit.contracts.limit import QuotaPolicy, State, Terms
from deliverykit.words.clock import NEVER
from deliverykit.words.errors import ConfigurationError

try:
    from hypothesis import settings
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
except ModuleNotFoundError:
    raise ConfigurationError("QuotaPolicyMachine needs Hypothesis; pip install 'deliverykit[testing]'") from None

__all__ = ["QuotaPolicyMachine"]


@define
class _Grant:
    terms: Terms
    left: int


def _reset(machine: "QuotaPolicyMachine") -> st.SearchStrategy[int]:
    return st.sampled_from(sorted({use.resets_at for use in machine.policy.usage(machine.state, machine.now)}) or [machine.now])


class QuotaPolicyMachine(RuleBasedStateMachine):
    """Takes, uses, gives back and waits at random, and holds a policy to what a quota guarantees.

    Subclass it in your tests, say how your policy is made, and let the test runner find its
    ``TestCase``::

        class WarmUpMachine(QuotaPolicyMachine):
            def make_policy(self):
                return WarmUp(first_day=date(2026, 1, 1), start=50)


        TestWarmUp = WarmUpMachine.TestCase

    That alone holds it to these:

    * the four methods are pure, and the state is a flat tuple of whole numbers;
    * ``take`` of ``n`` makes ``room`` smaller by ``n``, in one step as in several; its terms last
      longer than an instant; a refusal costs nothing;
    * ``give`` is the inverse of ``take`` as long as its window lasts, and never makes more room than
      there would be if nothing had been taken;
    * ``when`` is now exactly if there is room now, else the first instant at which there is (or
      never), and not earlier for more;
    * ``usage`` is never negative, resets in the future, and has no less left than there is room;
    * ``rewound`` keeps every count when the clock is set back, and leaves none of them in the future: each window resets
      no later than if it had been used at the earlier instant.

    With :meth:`limit_of` it also holds it to the promise itself: never over, whenever each unit is
    used between its grant and the end of that grant's terms.
    """

    max_examples: ClassVar[int] = 100
    """How many histories are tried."""
    stateful_step_count: ClassVar[int] = 40
    """How many steps a history has at most."""
    begin: ClassVar[int] = 1_767_225_600_000
    """The instant at which every history begins, in UTC milliseconds: 2026-01-01T00:00Z."""
    strides: ClassVar[Sequence[int]] = (1, 1000, 60_000, 3_600_000, 86_400_000)
    """Time moves by 1 to 30 times one of these, in milliseconds; take some that fit your windows."""
    largest: ClassVar[int] = 12
    """The most that is taken in one step; your limit should be some times as much."""

    policy: QuotaPolicy
    state: State
    now: int

    def make_policy(self) -> QuotaPolicy:
        """The policy to be tested. Where it names no time zone it is bound to UTC."""
        raise NotImplementedError

    def limit_of(self, instants: Sequence[int]) -> Iterable[tuple[str, int, int]]:
        """Of all instants at which a unit was used, oldest first: each window's name, what was used in it, its limit.

        Leave it out where only the other guarantees are of interest.
        """
        return ()

    def __init_subclass__(cls) -> None:
        """Give the test case its settings."""
        super().__init_subclass__()
        case = cls.TestCase
        case.settings = settings(case.settings, max_examples=cls.max_examples, stateful_step_count=cls.stateful_step_count)

    def __init__(self) -> None:
        super().__init__()
        self.policy = self.make_policy().bound("UTC")
        self.state = ()
        self.now = self.begin
        self.used: list[int] = []
        self.grants: list[_Grant] = []

    # ------------------------------------------------------------ time

    @rule(stride=st.runner().flatmap(lambda machine: st.sampled_from(machine.strides)), times=st.integers(1, 30))
    def wait(self, stride: int, times: int) -> None:
        """Time passes."""
        self.now += stride * times

    @rule(at=st.runner().flatmap(_reset), beside=st.integers(-1, 1))
    def wait_for_reset(self, at: int, beside: int) -> None:
        """To the end of a window, and a millisecond before and after it."""
        self.now = max(self.now, at + beside)

    @precondition(lambda self: self.grants)
    @rule(which=st.integers(0, 9), beside=st.integers(-1, 0))
    def wait_for_end_of_terms(self, which: int, beside: int) -> None:
        """To the last instant at which a grant may be used, or the first at which it may not."""
        until = self.grants[which % len(self.grants)].terms.until
        if until < NEVER:
            self.now = max(self.now, until + beside)

    @rule(n=st.integers(1, 40), part=st.floats(0, 1))
    def wait_until_when(self, n: int, part: float) -> None:
        """To the instant at which there is room, if that is to come; there is none before it."""
        at = self.policy.when(self.state, self.now, n)
        if at >= NEVER:
            for stride in self.strides:
                self._no_room(n, self.now + stride)
        elif at > self.now:
            self._no_room(n, self.now + int((at - 1 - self.now) * part))
            self._no_room(n, at - 1)
            self.now = at
            assert self.policy.room(self.state, at) >= n, f"when() promised room for {n} at {at}; there is none"

    @rule(stride=st.runner().flatmap(lambda machine: st.sampled_from(machine.strides)), times=st.integers(1, 30))
    def set_clock_back(self, stride: int, times: int) -> None:
        """The clock is set back on purpose; what was granted before and not used yet stays spent."""
        policy, back = self.policy, self.now - stride * times
        used = policy.room((), self.now) - policy.room(self.state, self.now)
        new = policy.rewound(self.state, back)
        assert new == policy.rewound(self.state, back), "rewound() is not pure"
        kept = policy.room((), back) - policy.room(new, back)
        assert kept >= used, f"rewound() lost {used - kept} of {used} that were used"
        assert policy.rewound(new, back) == new, "rewound() twice is not the same as once"
        if policy.room((), back) >= 1:
            fresh = {use.window: use.resets_at for use in policy.usage(policy.take((), back, 1)[0], back)}
            for use in policy.usage(new, back):
                assert use.resets_at <= fresh.get(use.window, NEVER), f"{use.window} resets later than if it were used now"
        self.now, self.state = back, new
        self.used.clear()
        self.grants.clear()
        self.clock_set_back()

    # ------------------------------------------------------------ mail

    @rule(
        n=st.runner().flatmap(lambda machine: st.integers(1, machine.largest)),
        use=st.sampled_from(["now", "last", "open", "open"]),
    )
    def take(self, n: int, use: str) -> None:
        """Ask for ``n``; what is granted is used at once, at the last moment, or later."""
        room = self.policy.room(self.state, self.now)
        if room >= n:
            self._charge(n, use)

    @precondition(lambda self: 0 < self.policy.room(self.state, self.now) <= 1000)
    @rule(use=st.sampled_from(["now", "last", "open"]))
    def take_all(self, use: str) -> None:
        """Ask for all there is."""
        self._charge(self.policy.room(self.state, self.now), use)
        assert self.policy.room(self.state, self.now) == 0, "all was taken and there is room"

    @precondition(lambda self: self.grants)
    @rule(which=st.integers(0, 9), n=st.integers(1, 12))
    def use(self, which: int, n: int) -> None:
        """An email of an earlier grant leaves, if its terms still allow it."""
        grant = self.grants[which % len(self.grants)]
        if self.now < grant.terms.until:
            n = min(n, grant.left)
            grant.left -= n
            self._use([self.now] * n)
        self.grants = [one for one in self.grants if one.left and self.now < one.terms.until]

    @precondition(lambda self: self.grants)
    @rule(which=st.integers(0, 9), n=st.integers(1, 12))
    def give(self, which: int, n: int) -> None:
        """An email of an earlier grant surely did not leave."""
        grant = self.grants[which % len(self.grants)]
        n = min(n, grant.left)
        grant.left -= n
        before = self.policy.room(self.state, self.now)
        self.state = self.policy.give(self.state, grant.terms.mark, n)
        self.given(grant.terms.mark, n)
        assert before <= self.policy.room(self.state, self.now) <= before + n, "give() made less room, or more than was given"
        self.grants = [one for one in self.grants if one.left]

    # ------------------------------------------------------------ for subclasses that keep a model of their own

    def taken(self, mark: int, n: int) -> None:
        """Called after ``n`` were taken under ``mark``."""

    def given(self, mark: int, n: int) -> None:
        """Called after ``n`` of ``mark`` were given back."""

    def clock_set_back(self) -> None:
        """Called after the clock was set back. From here on counts may be higher than a model that knows only windows says."""

    # ------------------------------------------------------------ what holds

    @invariant()
    def state_is_flat(self) -> None:
        """A state is a tuple of whole numbers, and nothing else."""
        assert type(self.state) is tuple and all(type(number) is int for number in self.state), f"no flat state: {self.state!r}"

    @invariant()
    def room_and_when_agree(self) -> None:
        """There is room now exactly if ``when`` says now; more never comes earlier."""
        room = self.policy.room(self.state, self.now)
        assert room == self.policy.room(self.state, self.now), "room() is not pure"
        assert room <= self.policy.room((), self.now), "more room than if nothing had been taken"
        last = self.now
        for n in range(1, self.largest + 1):
            at = self.policy.when(self.state, self.now, n)
            assert (at == self.now) == (n <= room), f"room() is {room}, when() of {n} is {at} at {self.now}"
            assert at >= last, f"{n} would come earlier than {n - 1}"
            last = at

    @invariant()
    def usage_is_readable(self) -> None:
        """What people read is not at odds with what is granted."""
        room = self.policy.room(self.state, self.now)
        for use in self.policy.usage(self.state, self.now):
            assert use.used >= 0, f"{use.window}: used {use.used}"
            assert use.resets_at >= self.now, f"{use.window} reset in the past"
            assert room <= use.left, f"{use.window} has {use.left} left, and there is room for {room}"

    def _no_room(self, n: int, at: int) -> None:
        assert self.policy.room(self.state, at) < n, f"there is room for {n} at {at}, before when() says so"

    def _charge(self, n: int, use: str) -> None:
        policy, old, now = self.policy, self.state, self.now
        room = policy.room(old, now)
        new, terms = policy.take(old, now, n)
        assert (new, terms) == policy.take(old, now, n), "take() is not pure"
        assert terms.until > now, "what was granted can never be used"
        assert policy.room(new, now) == room - n, f"{n} were taken; room went from {room} to {policy.room(new, now)}"
        for back in (n, 1):
            left = policy.room(policy.give(new, terms.mark, back), now)
            assert left == room - n + back, "give() is not the inverse of take()"
        assert policy.usage(policy.give(new, terms.mark, n), now) == policy.usage(old, now), "give() left a trace in usage()"
        if n > 1:
            part, _ = policy.take(old, now, 1)
            part, _ = policy.take(part, now, n - 1)
            assert policy.room(part, now) == room - n, "taken in two steps it is not the same"
        self.state = new
        self.taken(terms.mark, n)
        if use == "open":
            self.grants.append(_Grant(terms, n))
        else:
            self._use([now if use == "now" or terms.until >= NEVER else terms.until - 1] * n)

    def _use(self, instants: list[int]) -> None:
        self.used = sorted([*self.used, *instants])
        for name, used, limit in self.limit_of(self.used):
            assert used <= limit, f"{name}: {used} used, the limit is {limit}"
