"""The machine that we ship holds a policy of a host's own to its promises."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import ClassVar

import pytest
from warmup import DAY, WarmUp

from deliverykit.contracts.limit import QuotaPolicy, State
from deliverykit.testing import QuotaPolicyMachine


class WarmUpMachine(QuotaPolicyMachine):
    strides: ClassVar[Sequence[int]] = (1, 3_600_000, DAY)
    max_examples: ClassVar[int] = 50

    def make_policy(self) -> QuotaPolicy:
        return WarmUp(first_day=date(2026, 1, 2), start=20)

    def limit_of(self, instants: Sequence[int]) -> Iterable[tuple[str, int, int]]:
        for day, used in Counter(at // DAY for at in instants).items():
            yield f"day {day}", used, WarmUp(date(2026, 1, 2), 20).limit(day)


TestWarmUp = WarmUpMachine.TestCase


def test_it_finds_a_policy_that_forgets_what_was_taken() -> None:
    class Forgets(WarmUp):
        def room(self, state: State, now: int) -> int:
            return self.limit(now // DAY)

    class ForgetsMachine(WarmUpMachine):
        def make_policy(self) -> QuotaPolicy:
            return Forgets(first_day=date(2026, 1, 1), start=20)

    with pytest.raises(AssertionError, match="were taken; room went from"):
        ForgetsMachine.TestCase("runTest").debug()


def test_it_finds_a_policy_whose_terms_outlast_its_window() -> None:
    class Late(WarmUp):
        def take(self, state, now, n):
            new, terms = super().take(state, now, n)
            return new, type(terms)(terms.mark, terms.until + 1)

    class LateMachine(WarmUpMachine):
        def make_policy(self) -> QuotaPolicy:
            return Late(first_day=date(2026, 1, 1), start=20)

    with pytest.raises(AssertionError, match="used, the limit is"):
        LateMachine.TestCase("runTest").debug()
