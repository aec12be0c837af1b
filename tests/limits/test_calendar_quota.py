"""Calendar quotas: never over, never a refusal too many, and one budget whatever is changed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count
from typing import ClassVar

import pytest
from attrs import evolve
from clock_faces import ms
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deliverykit.contracts.limit import QuotaPolicy, State
from deliverykit.limits import CalendarQuota, check_new
from deliverykit.limits.windows import LONGEST, UNITS, Unit, window
from deliverykit.limits.zones import names
from deliverykit.testing import QuotaPolicyMachine
from deliverykit.words.clock import NEVER
from deliverykit.words.errors import ConfigurationError

HOUR = 3_600_000
DAY = 24 * HOUR
NOON = ms(2026, 11, 23, 12, 10)


def limits_of(quota: CalendarQuota) -> dict[Unit, int]:
    found = {"hour": quota.hour, "day": quota.day, "week": quota.week, "month": quota.month}
    return {unit: limit for unit, limit in found.items() if limit is not None}


def window_of(quota: CalendarQuota, unit: Unit, at: int) -> tuple[int, int]:
    return window(unit, quota.timezone, at, quota.anchor_day, quota.anchor_hour)


class CalendarMachine(QuotaPolicyMachine):
    """With a model of its own: what counts in a window is what was taken in it and not given back in it, no more and no less."""

    quota: ClassVar[CalendarQuota]

    def make_policy(self) -> QuotaPolicy:
        self.model: Counter[int] = Counter()
        self.exact = True
        return self.quota

    def limit_of(self, instants: Sequence[int]) -> Iterable[tuple[str, int, int]]:
        for unit, limit in limits_of(self.quota).items():
            for (start, _), used in Counter(window_of(self.quota, unit, at) for at in instants).items():
                yield f"{unit} from {start}", used, limit

    def taken(self, mark: int, n: int) -> None:
        self.model[mark] += n

    def given(self, mark: int, n: int) -> None:
        self.model[mark] -= n

    def clock_set_back(self) -> None:
        self.exact = False

    @invariant()
    def room_is_exactly_what_is_left(self) -> None:
        if not self.exact:
            return
        left = []
        for unit, limit in limits_of(self.quota).items():
            start, end = window_of(self.quota, unit, self.now)
            left.append(limit - sum(n for at, n in self.model.items() if start <= at < end))
        assert self.policy.room(self.state, self.now) == min(left)


class KolkataMachine(CalendarMachine):
    quota = CalendarQuota(hour=15, day=40, month=150, timezone="Asia/Kolkata")
    begin = ms(2026, 1, 30, 15, 30)


class BerlinInAutumnMachine(CalendarMachine):
    quota = CalendarQuota(hour=20, day=45, week=70, timezone="Europe/Berlin", anchor_hour=1)
    begin = ms(2024, 10, 26, 19)
    strides = (1, 60_000, HOUR)


class LordHoweMachine(CalendarMachine):
    quota = CalendarQuota(hour=20, day=60, timezone="Australia/Lord_Howe")
    begin = ms(2024, 4, 6, 10)
    strides = (1, 60_000, HOUR)


TestKolkata = KolkataMachine.TestCase
TestBerlinInAutumn = BerlinInAutumnMachine.TestCase
TestLordHowe = LordHoweMachine.TestCase

ANY_ZONE = st.sampled_from(sorted(names())) | st.sampled_from(
    ["Asia/Tokyo", "America/Los_Angeles", "Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"]
)
ANY_LIMIT = st.integers(10, 60)
ANY_QUOTA = st.builds(
    CalendarQuota,
    hour=st.none() | ANY_LIMIT,
    day=st.none() | ANY_LIMIT,
    week=st.none() | ANY_LIMIT,
    month=ANY_LIMIT,
    timezone=ANY_ZONE,
    anchor_day=st.sampled_from([1, 1, 2, 15, 31]),
    anchor_hour=st.sampled_from([0, 0, 7, 23]),
)


class ChangingMachine(RuleBasedStateMachine):
    """Everything about the quota changes at any time. The oracle is the exact log of when each unit was used."""

    @initialize(quota=ANY_QUOTA, at=st.integers(ms(2024, 1, 1), ms(2027, 1, 1)))
    def begin(self, quota: CalendarQuota, at: int) -> None:
        self.quota, self.now, self.state, self.changes = quota, at, (), 0
        self.log: dict[int, list[int]] = {}  # a grant: when each of its units was used, or will be
        self.marks: dict[int, tuple[int, int]] = {}
        self.charged: list[tuple[int, int]] = []
        self.numbers = count()

    @rule(quota=ANY_QUOTA)
    def change_all(self, quota: CalendarQuota) -> None:
        self.quota, self.changes = quota, self.changes + 1

    @rule(zone=ANY_ZONE)
    def change_zone(self, zone: str) -> None:
        self.quota, self.changes = evolve(self.quota, timezone=zone), self.changes + 1

    @rule(limit=ANY_LIMIT, unit=st.sampled_from(UNITS))
    def change_limit(self, limit: int, unit: Unit) -> None:
        self.quota = evolve(self.quota, **{unit: limit})

    @rule(by=st.sampled_from([1, 1, 60_000, HOUR, HOUR, DAY, 27 * DAY]), times=st.integers(1, 9))
    def wait(self, by: int, times: int) -> None:
        self.now += by * times

    @rule(unit=st.sampled_from(UNITS), beside=st.integers(-1, 1))
    def wait_for_end(self, unit: Unit, beside: int) -> None:
        self.now = max(self.now, window_of(self.quota, unit, self.now)[1] + beside)

    @rule(n=st.integers(1, 60), part=st.sampled_from([0.0, 0.5, 1.0, 1.0]))
    def take(self, n: int, part: float) -> None:
        n = min(n, self.quota.room(self.state, self.now))
        if n <= 0:
            return
        self.state, terms = self.quota.take(self.state, self.now, n)
        # What is under way while an hour's limit is added counts in the hour it was taken, so it is used in it here.
        last = min(terms.until, window_of(self.quota, "hour", self.now)[1]) - 1
        number = next(self.numbers)
        self.log[number] = [self.now + int((last - self.now) * part)] * n
        self.marks[number] = (terms.mark, n)
        self.charged.append((self.now, n))
        for unit, limit in limits_of(self.quota).items():
            start, end = window_of(self.quota, unit, self.now)
            used = sum(start <= at < end for uses in self.log.values() for at in uses)
            assert used <= limit, f"{used} used in this {unit}, the limit is {limit}"

    @precondition(lambda self: self.marks)
    @rule(which=st.integers(0, 9))
    def give(self, which: int) -> None:
        number = list(self.marks)[which % len(self.marks)]
        mark, n = self.marks.pop(number)
        self.state = self.quota.give(self.state, mark, n)
        del self.log[number]

    @rule(n=st.integers(1, 60))
    def when_is_tight(self, n: int) -> None:
        at = self.quota.when(self.state, self.now, n)
        if at >= NEVER:
            assert n > min(limits_of(self.quota).values())
        else:
            assert self.quota.room(self.state, at) >= n
            assert at == self.now or self.quota.room(self.state, at - 1) < n

    @invariant()
    def it_refuses_no_more_than_a_window_before_can_explain(self) -> None:
        if self.changes > 3:  # more shapes than are remembered apart
            return
        for unit, limit in limits_of(self.quota).items():
            since = window_of(self.quota, unit, self.now)[0] - LONGEST[UNITS.index(unit)]
            use = next(use for use in self.quota.usage(self.state, self.now) if use.window == unit)
            assert 0 <= use.used <= sum(n for at, n in self.charged if at > since)
            assert use.limit == limit

    @invariant()
    def in_the_end_all_is_free_again(self) -> None:
        assert self.quota.room(self.state, self.now + 66 * DAY) == min(limits_of(self.quota).values())
        assert len(self.state) <= 17 + 3 * 4 * 5


ChangingMachine.TestCase.settings = settings(ChangingMachine.TestCase.settings, max_examples=250, stateful_step_count=30)
TestChanging = ChangingMachine.TestCase


def took(quota: CalendarQuota, *takes: tuple[int, int], state: State = ()) -> State:
    for at, n in takes:
        assert quota.room(state, at) >= n
        state, _ = quota.take(state, at, n)
    return state


def test_the_first_and_the_last_millisecond_of_a_window() -> None:
    quota = CalendarQuota(hour=10, timezone="UTC")
    start = ms(2026, 11, 23, 12)
    state = took(quota, (start, 4), (start + HOUR - 1, 6))
    assert quota.room(state, start + HOUR - 1) == 0
    assert quota.when(state, start, 1) == start + HOUR
    assert quota.room(state, start + HOUR) == 10
    assert quota.take(state, start + HOUR - 1, 0)[1].until == start + HOUR


def test_a_limit_raised_or_lowered_at_noon_keeps_the_morning() -> None:
    quota = CalendarQuota(day=100, timezone="Asia/Kolkata")
    state = took(quota, (NOON, 90))
    assert evolve(quota, day=150).room(state, NOON) == 60
    lowered = evolve(quota, day=50)
    assert lowered.room(state, NOON) <= 0
    assert lowered.usage(state, NOON)[0].left == 0
    assert lowered.room(state, lowered.when(state, NOON, 1)) == 50


def test_a_unit_added_at_noon_knows_the_morning() -> None:
    state = took(CalendarQuota(hour=1000, timezone="UTC"), (NOON - 5 * HOUR, 300), (NOON, 20))
    more = CalendarQuota(hour=1000, day=350, week=400, timezone="UTC")
    assert more.room(state, NOON) == 30
    without = CalendarQuota(month=1000, timezone="UTC")
    assert more.room(took(without, (NOON, 30), state=state), NOON) == 0


def test_a_change_of_zone_is_no_second_budget() -> None:
    tokyo = CalendarQuota(day=100, timezone="Asia/Tokyo")
    midnight = ms(2026, 11, 23, 15)
    state = took(tokyo, (midnight - HOUR, 100), (midnight, 30))
    # In Los Angeles it is 7 o'clock of a day that holds both of Tokyo's: 130 were sent in it.
    angeles = evolve(tokyo, timezone="America/Los_Angeles")
    assert angeles.usage(state, midnight)[0].used == 130
    assert angeles.room(state, midnight) <= 0
    assert angeles.when(state, midnight, 100) > angeles.usage(state, midnight)[0].resets_at - 1


def test_every_earlier_window_that_overlaps_the_new_one_counts() -> None:
    """Three changes of zone at the same instant: the day of the last one overlaps all three that were left."""
    state: State = ()
    quota = CalendarQuota(day=100, timezone="UTC")
    for zone in ("Asia/Tokyo", "Asia/Kolkata", "Europe/Athens", "UTC"):
        state = took(evolve(quota, timezone=zone), (NOON, 10), state=state)
    assert quota.usage(state, NOON)[0].used == 40


def test_what_was_taken_before_a_change_of_zone_is_not_given_back_to_the_new_window() -> None:
    tokyo = CalendarQuota(day=100, timezone="Asia/Tokyo")
    angeles = evolve(tokyo, timezone="America/Los_Angeles")
    before, change, after = ms(2026, 11, 23, 14), ms(2026, 11, 23, 14, 30), ms(2026, 11, 23, 15, 30)
    state = took(tokyo, (before, 50))
    state = took(angeles, (change, 50), state=state)  # good until midnight in Los Angeles
    state = angeles.give(state, before, 50)
    # A new day in Tokyo: the second 50 may be used in it, the first 50 were its yesterday's.
    assert tokyo.room(state, after) == 50


def test_the_old_window_is_left_alone_where_nothing_overlaps() -> None:
    quota = CalendarQuota(hour=10, timezone="Europe/Berlin")
    state = took(quota, (NOON, 10))
    assert evolve(quota, timezone="Europe/London").room(state, NOON) == 0
    assert evolve(quota, timezone="Europe/London").room(state, NOON + HOUR) == 10


def test_what_is_given_back_goes_to_the_windows_that_still_run() -> None:
    quota = CalendarQuota(hour=10, day=30, timezone="UTC")
    state = took(quota, (NOON, 10), (NOON + HOUR, 5))
    back = quota.give(state, NOON, 10)
    assert [(use.window, use.used) for use in quota.usage(back, NOON + HOUR)] == [("hour", 5), ("day", 5)]
    assert quota.give((), NOON, 3) == ()


def test_when_the_clock_lies_behind_the_counts_stay() -> None:
    quota = CalendarQuota(hour=10, timezone="UTC")
    year = 365 * DAY
    state = took(quota, (NOON + year, 10))
    assert quota.room(state, NOON) == 0  # a window ahead: nobody has said that the clock is right
    rewound = quota.rewound(state, NOON)
    assert quota.room(rewound, NOON) == 0
    assert quota.when(rewound, NOON, 10) == ms(2026, 11, 23, 13)
    assert quota.rewound((), NOON) == ()


@given(st.lists(st.tuples(st.integers(0, 40 * DAY), st.integers(1, 9)), max_size=8), st.integers(-40 * DAY, 0))
def test_after_a_clock_set_back_every_count_is_kept_and_none_for_long(takes: list[tuple[int, int]], back: int) -> None:
    quota = CalendarQuota(hour=100, day=100, month=100, timezone="UTC")
    state: State = ()
    for after, n in sorted(takes):
        if quota.room(state, NOON + after) >= n:
            state, _ = quota.take(state, NOON + after, n)
    last = NOON + max([after for after, _ in takes], default=0)
    rewound = quota.rewound(state, last + back)
    for old, new in zip(quota.usage(state, last), quota.usage(rewound, last + back), strict=True):
        assert new.used >= old.used
        assert quota.room(rewound, max(use.resets_at for use in quota.usage(rewound, last + back))) == 100


def test_zero_lets_nothing_leave_and_is_refused_where_new() -> None:
    quota = CalendarQuota(day=0, timezone="UTC")
    assert quota.room((), NOON) == 0
    assert quota.when((), NOON, 1) == NEVER
    with pytest.raises(ConfigurationError, match="leave day out for no limit"):
        check_new(quota)
    check_new(CalendarQuota(day=1))


def test_it_is_bound_to_a_zone_once() -> None:
    quota = CalendarQuota(day=5)
    with pytest.raises(ConfigurationError, match="has no timezone"):
        quota.room((), NOON)
    assert quota.bound("Asia/Tokyo").timezone == "Asia/Tokyo"
    assert quota.bound("Asia/Tokyo").bound("UTC").timezone == "Asia/Tokyo"


def test_its_key_knows_neither_numbers_nor_zones() -> None:
    assert CalendarQuota(hour=5).key == CalendarQuota(day=7, timezone="UTC", anchor_day=4).key == "calendar"
    assert CalendarQuota(hour=5, counts="emails").key == "calendar/emails"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "needs one of hour, day, week, month"),
        ({"hour": True}, "hour=True: expected a whole number"),
        ({"day": 10.0}, "day=10.0: expected a whole number"),
        ({"week": "10"}, "week='10': expected a whole number"),
        ({"month": -1}, "month=-1: out of range; give a whole number of at least 0"),
        ({"hour": 1, "timezone": "Asia/Calcuta"}, "did you mean 'Asia/Calcutta'"),
        ({"hour": 1, "timezone": 5}, "write its IANA name"),
        ({"hour": 1, "anchor_day": 0}, "anchor_day=0: out of range; give a whole number from 1 to 31"),
        ({"hour": 1, "anchor_hour": 24}, "from 0 to 23"),
        ({"hour": 1, "counts": "mails"}, "expected 'recipients' or 'emails'; did you mean 'emails'?"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CalendarQuota(**fields)
    assert text in str(caught.value)


def test_equal_quotas_hash_alike() -> None:
    """Streams and shares take no part in the hash, so a quota with shares can be a key."""
    one, other = CalendarQuota(day=5, keep={"news": 0.5}), CalendarQuota(day=5, keep={"news": 0.5})
    assert (one, hash(one)) == (other, hash(other))
    assert len({one, other, CalendarQuota(day=6)}) == 2


ZONES_IN_TURN = [
    "UTC",
    "Asia/Kolkata",
    "America/New_York",
    "Asia/Tokyo",
    "Europe/Berlin",
    "Pacific/Auckland",
    "Asia/Kathmandu",
    "UTC",
]


@pytest.mark.parametrize("changes", range(1, len(ZONES_IN_TURN) + 1))
def test_what_was_taken_in_earlier_zones_counts_once(changes: int) -> None:
    state: State = ()
    now = ms(2026, 11, 10, 12)
    for number, name in enumerate(ZONES_IN_TURN[:changes]):
        quota = CalendarQuota(month=1_000, timezone=name)
        state, _ = quota.take(state, now, 1 << number)
        now += 3_600_000
    (used,) = quota.usage(state, now)
    assert used.used == (1 << changes) - 1
    assert quota.room(state, now) == 1_000 - used.used
