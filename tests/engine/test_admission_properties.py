"""Admission against an oracle that knows nothing but counters: one mail after the other, by the words of the route."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import ClassVar

import pytest
from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st

from deliverykit.contracts.limit import QuotaPolicy, State, Terms, Usage
from deliverykit.engine.admission.admit import MARGIN, Candidates, Refusal, admit
from deliverykit.engine.admission.gates import Gate
from deliverykit.limits import CalendarQuota, Pause
from deliverykit.records.route import WhenExhausted
from deliverykit.routers import Priority, RoundRobin, Weighted
from deliverykit.words.clock import NEVER, instant

NOON = instant(datetime(2026, 5, 4, 12, 30, tzinfo=UTC))
HOUR_END = instant(datetime(2026, 5, 4, 13, tzinfo=UTC))
DAY_END = instant(datetime(2026, 5, 5, tzinfo=UTC))


@frozen
class World:
    """Servers a, b, c … with an hourly and a daily quota, and one budget that some share."""

    hourly: tuple[int, ...]
    daily: tuple[int, ...]
    budget: int
    shares: tuple[bool, ...]
    costs: tuple[int, ...]
    word: WhenExhausted

    @property
    def servers(self) -> list[str]:
        return [chr(97 + place) for place in range(len(self.hourly))]

    def candidates(self, router: object = None) -> Candidates:
        gates = {}
        for place, server in enumerate(self.servers):
            own = CalendarQuota(hour=self.hourly[place], day=self.daily[place], timezone="UTC")
            shared = (Gate(0, "b:plan/calendar", CalendarQuota(day=self.budget, timezone="UTC"), "budget plan"),)
            gates[server] = (Gate(0, f"s:{server}/calendar", own, server), *(shared if self.shares[place] else ()))
        return Candidates(gates=gates, router=router or Priority(), when_exhausted=self.word, memory="r", edition=1)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    count = draw(st.integers(1, 4))

    def some(strategy: st.SearchStrategy) -> tuple:
        return tuple(draw(st.lists(strategy, min_size=count, max_size=count)))

    return World(
        hourly=some(st.integers(1, 12)),
        daily=some(st.integers(1, 20)),
        budget=draw(st.integers(1, 25)),
        shares=some(st.booleans()),
        costs=tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=20))),
        word=draw(st.sampled_from(WhenExhausted)),
    )


def expected(world: World) -> list[str]:
    """By hand: for each mail the first server whose hour, day and budget all have room; the first that has none ends it.

    A server whose limits are too small for a mail at any time is not in its order.
    """
    hour, day, plan = list(world.hourly), list(world.daily), world.budget
    picks: list[str] = []
    for cost in world.costs:
        for place, server in enumerate(world.servers):
            if hour[place] >= cost and day[place] >= cost and (not world.shares[place] or plan >= cost):
                hour[place] -= cost
                day[place] -= cost
                plan -= cost if world.shares[place] else 0
                picks.append(server)
                break
            never = cost > min(world.hourly[place], world.daily[place], *[world.budget] * world.shares[place])
            if world.word is WhenExhausted.QUEUE and not never:
                return picks
        else:
            return picks
    return picks


def used(record: dict, name: str, limit: CalendarQuota, now: int) -> int:
    return max(one.used for one in limit.usage(record.get(name, ()), now))


@given(worlds())
def test_admission_grants_what_the_oracle_grants(world: World) -> None:
    answer = admit(world.candidates(), world.costs, [{}], NOON)
    assert [grant.server for grant in answer.grants] == expected(world)


@given(worlds())
def test_every_gate_is_charged_with_exactly_what_was_granted(world: World) -> None:
    candidates = world.candidates()
    answer = admit(candidates, world.costs, [{}], NOON)
    if not answer.grants:
        assert answer.records == (None,), "a refusal writes nothing"
        return
    (record,) = answer.records
    assert record is not None
    for gates in candidates.gates.values():
        for gate in gates:
            charged = sum(grant.cost for grant in answer.grants if any(one.name == gate.name for one, _ in grant.charges))
            assert used(dict(record), gate.name, gate.limit, NOON) == charged
            assert charged <= min(one.limit for one in gate.limit.usage((), NOON))


@given(worlds())
def test_giving_every_charge_back_restores_every_count(world: World) -> None:
    answer = admit(world.candidates(), world.costs, [{}], NOON)
    states = dict(answer.records[0] or {})
    for grant in answer.grants:
        for gate, mark in grant.charges:
            states[gate.name] = gate.limit.give(states[gate.name], mark, gate.cost(grant.cost))
            assert all(one.used >= 0 for one in gate.limit.usage(states[gate.name], NOON))
    for gates in world.candidates().gates.values():
        for gate in gates:
            assert used(states, gate.name, gate.limit, NOON) == 0


@given(worlds())
def test_a_refusal_names_the_instant_at_which_it_ends_and_not_a_moment_later(world: World) -> None:
    candidates = world.candidates()
    answer = admit(candidates, world.costs, [{}], NOON)
    if len(answer.grants) == len(world.costs):
        assert answer.refusal is None
        return
    refusal = answer.refusal
    assert refusal is not None
    record = answer.records[0] or {}
    rest = world.costs[len(answer.grants) :]
    if refusal.at >= NEVER:
        for later in (HOUR_END, DAY_END, DAY_END * 2):
            assert not admit(candidates, rest[:1], [record], later).grants
        return
    assert refusal.at in (HOUR_END, DAY_END)
    assert admit(candidates, rest[:1], [record], refusal.at).grants
    assert not admit(candidates, rest[:1], [record], refusal.at - 1).grants


@example(World((9, 9), (9, 9), 9, (False, False), (1, 1, 1), WhenExhausted.FAILOVER), 1)
@given(worlds(), st.integers(1, 20))
def test_asking_in_two_parts_grants_what_asking_once_grants(world: World, cut: int) -> None:
    candidates = world.candidates(RoundRobin())
    whole = admit(candidates, world.costs, [{}], NOON)
    first = admit(candidates, world.costs[:cut], [{}], NOON)
    picks = [grant.server for grant in first.grants]
    if len(picks) == len(world.costs[:cut]) and world.costs[cut:]:
        second = admit(candidates, world.costs[cut:], [first.records[0] or {}], NOON)
        picks += [grant.server for grant in second.grants]
    assert picks == [grant.server for grant in whole.grants]


@given(worlds(), st.integers(1, 5_000))
def test_nothing_is_granted_that_could_not_start_inside_its_windows(world: World, before: int) -> None:
    now = HOUR_END - before
    answer = admit(world.candidates(), world.costs, [{}], now)
    for grant in answer.grants:
        assert grant.until <= HOUR_END
        assert grant.left(grant.start) > 0
    if before <= MARGIN:
        assert not answer.grants
        assert answer.records == (None,)
        assert answer.refusal is not None
        assert answer.refusal.at in (HOUR_END, NEVER)


@given(st.integers(1, 2_000), st.integers(1, 40), st.integers(0, 3_000))
def test_slots_keep_the_pause_whoever_asks(pause_ms: int, mails: int, step: int) -> None:
    from datetime import timedelta

    gate = Gate(0, "s:a/pause", Pause(timedelta(milliseconds=pause_ms)), "a")
    candidates = Candidates(gates={"a": (gate,)}, router=Priority(), when_exhausted=WhenExhausted.FAILOVER)
    record: dict = {}
    slots: list[int] = []
    now = NOON
    for _ in range(20):
        answer = admit(candidates, [1] * mails, [record], now)
        record = dict(answer.records[0] or record)
        slots += [grant.start for grant in answer.grants]
        assert answer.refusal is None or answer.refusal.paces
        now += step
    assert all(later - earlier >= pause_ms for earlier, later in pairwise(slots))
    assert slots[0] == NOON, "the first goes at once"


def test_a_pace_delays_and_nobody_goes_past_it() -> None:
    from datetime import timedelta

    paced = Gate(0, "s:a/pause", Pause(timedelta(seconds=10)), "a")
    candidates = Candidates(gates={"a": (paced,), "b": ()}, router=Priority(), when_exhausted=WhenExhausted.FAILOVER)
    answer = admit(candidates, [1, 1], [{}], NOON)
    assert [grant.server for grant in answer.grants] == ["a"]
    assert answer.refusal is not None
    assert answer.refusal.paces


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9), min_size=1), st.integers(1, 200))
def test_weighted_turns_give_each_its_share_and_order_is_a_permutation(weights: dict[str, int], mails: int) -> None:
    router = Weighted(weights)
    servers, state, got = sorted(weights), (), dict.fromkeys(weights, 0)
    for _ in range(mails):
        order = router.order(servers, state)
        assert sorted(order) == servers
        got[order[0]] += 1
        state = router.took(servers, state, order[0])
    total = sum(weights.values())
    for server, weight in weights.items():
        # Smooth weighted round robin stays within one turn of the exact share per competitor.
        assert abs(got[server] - mails * weight / total) < len(weights)
        if mails % total == 0:
            assert got[server] == mails * weight // total


@given(st.integers(1, 6), st.integers(1, 60))
def test_round_robin_is_exactly_in_turn(count: int, mails: int) -> None:
    servers = [f"s{place}" for place in range(count)]
    router, state, got = RoundRobin(), (), []
    for _ in range(mails):
        first = router.order(servers, state)[0]
        state = router.took(servers, state, first)
        got.append(first)
    assert got == [servers[place % count] for place in range(mails)]


def test_a_server_that_was_out_of_quota_does_not_take_all_the_mail_when_it_is_back() -> None:
    world = World((1, 100), (100, 100), 9, (False, False), (1,) * 20, WhenExhausted.FAILOVER)
    candidates = world.candidates(RoundRobin())
    first = admit(candidates, world.costs, [{}], NOON)
    assert [grant.server for grant in first.grants].count("a") == 1
    later = admit(candidates, [1], [first.records[0] or {}], HOUR_END).grants[0].server
    world = World((50, 100), (100, 100), 9, (False, False), (1,) * 6, WhenExhausted.FAILOVER)
    again = admit(world.candidates(RoundRobin()), world.costs, [first.records[0] or {}], HOUR_END)
    picks = [grant.server for grant in again.grants]
    assert picks[0] == later
    assert picks.count("a") == picks.count("b") == 3


def test_a_routers_memory_without_a_name_is_not_kept() -> None:
    quota = CalendarQuota(day=9, timezone="UTC")
    gates = {name: (Gate(0, f"s:{name}/calendar", quota, name),) for name in ("a", "b")}
    (record,) = admit(Candidates(gates=gates, router=RoundRobin(), when_exhausted=WhenExhausted.QUEUE), [1], [{}], NOON).records
    assert record is not None
    assert set(record) == {"s:a/calendar"}


@frozen
class OneByOne(QuotaPolicy):
    """A host's own limit: one email in each decision, however many decisions."""

    name: ClassVar[str] = "one by one"

    def room(self, state: State, now: int) -> int:
        return 1

    def when(self, state: State, now: int, n: int) -> int:
        return now if n == 1 else NEVER

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        return state, Terms(0)

    def give(self, state: State, mark: int, n: int) -> State:
        return state

    def usage(self, state: State, now: int) -> tuple[Usage, ...]:
        return ()


@pytest.mark.parametrize("word", WhenExhausted)
def test_a_limit_with_room_again_is_asked_again_at_once(word: WhenExhausted) -> None:
    gates = {server: (Gate(0, f"s:{server}/one", OneByOne(), server),) for server in "ab"}
    answer = admit(Candidates(gates=gates, router=Priority(), when_exhausted=word), [1] * 5, [{}], NOON)
    assert [grant.server for grant in answer.grants] == (["a"] if word is WhenExhausted.QUEUE else ["a", "b"])
    assert answer.refusal == Refusal(NOON, "", paces=True), "not out of quota"
