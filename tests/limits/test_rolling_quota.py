"""Rolling quotas: never over in any period, whenever within its terms a grant is used."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import ClassVar

import pytest
from clock_faces import ms
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.contracts.limit import QuotaPolicy, State
from deliverykit.limits import RollingQuota, check_new
from deliverykit.testing import QuotaPolicyMachine
from deliverykit.words.clock import NEVER
from deliverykit.words.errors import ConfigurationError

NOW = ms(2026, 11, 23, 12)


class RollingMachine(QuotaPolicyMachine):
    quota: ClassVar[RollingQuota]

    def make_policy(self) -> QuotaPolicy:
        return self.quota

    def limit_of(self, instants: Sequence[int]) -> Iterable[tuple[str, int, int]]:
        per, first = self.quota.per // timedelta(milliseconds=1), 0
        for last, at in enumerate(instants):
            while instants[first] <= at - per:
                first += 1
            yield f"the period that ends with {at}", last - first + 1, self.quota.limit


class HourMachine(RollingMachine):
    quota = RollingQuota(25, timedelta(hours=1))
    strides = (1, 1000, 60_000, 1_800_000)


class ShortMachine(RollingMachine):
    quota = RollingQuota(25, timedelta(seconds=10))
    strides = (1, 7, 500, 1000, 3000)


TestHour = HourMachine.TestCase
TestShort = ShortMachine.TestCase

PERIODS = st.timedeltas(timedelta(seconds=10), timedelta(days=40))


@given(PERIODS, st.integers(0, 10**10), st.integers(1, 9))
def test_it_is_late_by_five_seconds_and_one_bucket_at_most(per: timedelta, after: int, n: int) -> None:
    quota, now = RollingQuota(9, per), NOW + after
    state, terms = quota.take((), now, n)
    length = -(-per // timedelta(milliseconds=1))
    bucket = -(-(length + 5000) // 1438)
    assert now + 5000 <= terms.until <= now + 5000 + bucket
    assert quota.when(state, now, 9) == quota.usage(state, now)[0].resets_at == terms.until + length


@pytest.mark.parametrize("seconds", [10, 60, 3599, 86_400, 30 * 86_400])
@pytest.mark.parametrize("parts", [1400, 1439, 1500, 5000])
def test_it_keeps_1440_buckets_at_most(seconds: int, parts: int) -> None:
    quota = RollingQuota(10**9, timedelta(seconds=seconds))
    state: State = ()
    for now in range(NOW, NOW + 2200 * seconds * 1000 // parts, seconds * 1000 // parts):
        state, _ = quota.take(state, now, 1)
        assert (len(state) - 1) // 2 <= 1440


def test_a_limit_raised_or_lowered_keeps_what_was_taken() -> None:
    state, _ = RollingQuota(10, timedelta(days=1)).take((), NOW, 8)
    assert RollingQuota(12, timedelta(days=1)).room(state, NOW) == 4
    assert RollingQuota(5, timedelta(days=1)).room(state, NOW) <= 0
    assert RollingQuota(0, timedelta(days=1)).when(state, NOW, 1) == NEVER


def test_a_clock_that_lies_behind_keeps_the_buckets_in_order() -> None:
    quota = RollingQuota(10, timedelta(hours=1))
    state, _ = quota.take((), NOW + 100_000, 4)
    state, terms = quota.take(state, NOW, 3)
    assert terms.until < NOW + 100_000
    assert quota.room(state, NOW) == 3
    assert quota.room(quota.give(state, terms.mark, 3), NOW) == 6
    rewound = quota.rewound(state, NOW)
    assert quota.room(rewound, NOW) == 3
    assert quota.when(rewound, NOW, 10) < NOW + 3_600_000 + 5000 + 3000
    assert quota.rewound((), NOW) == ()


def test_two_periods_on_one_server_have_two_states() -> None:
    keys = {
        RollingQuota(1, timedelta(hours=24)).key,
        RollingQuota(2, timedelta(days=1)).key,
        RollingQuota(1, timedelta(hours=1)).key,
        RollingQuota(1, timedelta(hours=1), counts="emails").key,
    }
    assert keys == {"rolling/1d", "rolling/1h", "rolling/1h/emails"}


@pytest.mark.parametrize(
    ("limit", "per", "text"),
    [
        (5, 86_400, "write timedelta(seconds=86400)"),
        (5, 0.5, "write timedelta(seconds=0.5)"),
        (5, "1d", "write timedelta(seconds=…)"),
        (5, timedelta(seconds=1), "use Rate"),
        (True, timedelta(days=1), "limit=True: expected a whole number"),
        (-1, timedelta(days=1), "of at least 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(limit: object, per: object, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RollingQuota(limit, per)
    assert text in str(caught.value)


def test_zero_is_refused_where_new() -> None:
    with pytest.raises(ConfigurationError, match="leave limit out"):
        check_new(RollingQuota(0, timedelta(days=1)))
