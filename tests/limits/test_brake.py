"""The brake as a limit: what its numbers promise in any state that events can bring about, and one event at a time."""

import pytest
from attrs import evolve
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deliverykit.limits import cases
from deliverykit.limits.brake import Brake, Effect, Refused, Ruling
from deliverykit.words.clock import NEVER
from deliverykit.words.outcomes import About

NOON = 1_800_000_000_000
SECOND = 1_000
MINUTE = 60 * SECOND
DAY = 86_400_000
SERVER = 99
LANES, DOMAINS, REASONS = (1, 2, 3), (11, 12), (21, 22)


def refusal(mark: int = 0, *, lane: int = 1, message: int = 31, **changes) -> Refused:
    given = {"server": SERVER, "about": About.UNKNOWN, "reason": 21, "domain": 11, **changes}
    return Refused(lane=lane, message=message, mark=mark, **given)


def stopped(lane: int = 1, now: int = NOON) -> tuple[int, ...]:
    """A server that three messages of one lane have stopped."""
    state: tuple[int, ...] = ()
    for message in (31, 32, 33):
        state, terms = Brake().bound_to(lane, 11).take(state, now, 1)
        ruling = Brake.refused(state, now, refusal(terms.mark, lane=lane, message=message))
        state = ruling.state
    assert ruling.effect is Effect.OPENED
    return state


def probed(state: tuple[int, ...], now: int, *, lane: int, **changes) -> Ruling:
    """What comes of a probe of this lane that is refused; what is refused gives back what it took."""
    state, terms = Brake().bound_to(lane, 11).take(state, now, 1)
    ruling = Brake.refused(state, now, refusal(terms.mark, lane=lane, **changes))
    return evolve(ruling, state=Brake().give(ruling.state, terms.mark, 1))


def test_a_probe_may_go_at_the_very_instant_and_only_one() -> None:
    state, brake = stopped(), Brake().bound_to(2, 11)
    assert brake.when(state, NOON, 1) == NOON
    assert brake.room(state, NOON) == 1
    assert brake.when(state, NOON, 2) == NEVER
    assert brake.when((), NOON, 2) == NOON
    state, terms = brake.take(state, NOON, 1)
    assert terms.until == NOON + MINUTE
    assert (brake.room(state, NOON + MINUTE - 1), brake.room(state, NOON + MINUTE)) == (0, 1)


def test_the_lane_of_the_run_gives_others_five_seconds() -> None:
    state = stopped(lane=1)
    assert Brake().bound_to(1, 11).when(state, NOON, 1) == NOON + 5 * SECOND
    assert Brake().bound_to(2, 11).when(state, NOON, 1) == NOON


def test_each_refused_probe_waits_longer() -> None:
    state, now, waits = stopped(), NOON, []
    brake = Brake().bound_to(1, 11)
    for number in range(5):
        now = brake.when(state, now, 1)
        ruling = probed(state, now, lane=1, message=40 + number)
        state = ruling.state
        waits.append(brake.when(state, now, 1) - now - 5 * SECOND)
    assert waits == [30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE]
    assert ruling.effect is Effect.PAUSE


@pytest.mark.parametrize("counts", [True, False])
def test_a_probe_that_tells_nothing_new_waits_as_well(counts: bool) -> None:
    """Put back for that reason before, or refused by another ESP account too."""
    state, brake = stopped(), Brake().bound_to(1, 11)
    at = brake.when(state, NOON, 1)
    ruling = probed(state, at, lane=1, message=31, memo=(1, SERVER, 21, 0, 1) if counts else (), counts=counts)
    assert ruling.effect is Effect.NONE
    assert brake.refused_probes(ruling.state) == 0
    assert brake.when(ruling.state, at, 1) == at + 30 * SECOND + 5 * SECOND


def test_what_was_under_way_when_a_lane_was_stopped_does_not_open_it() -> None:
    state = stopped(lane=1)
    state, early = Brake().bound_to(1, 11).take(state, NOON + 5 * SECOND, 1)
    state, other = Brake().bound_to(2, 11).take(state, NOON + 2 * MINUTE, 1)
    state, effect = Brake.accepted(state, NOON + 2 * MINUTE, lane=2, domain=11, mark=other.mark)
    assert effect is Effect.LANE_STOPPED
    lane = Brake().bound_to(1, 11)
    for mark in (early.mark, other.mark):
        after, effect = Brake.accepted(state, NOON + 2 * MINUTE, lane=1, domain=11, mark=mark)
        assert effect is Effect.NONE
        assert lane.is_open(after)
    state, probe = lane.take(state, NOON + 2 * MINUTE, 1)
    state, effect = Brake.accepted(state, NOON + 2 * MINUTE, lane=1, domain=11, mark=probe.mark)
    assert (effect, lane.is_open(state)) == (Effect.CLOSED, False)


class Events(RuleBasedStateMachine):
    """Any events in any order: messages of three lanes and two From domains at one server, refused for two reasons."""

    def __init__(self) -> None:
        super().__init__()
        self.state: tuple[int, ...] = ()
        self.now = NOON
        self.flying: list[tuple[int, int, int, int]] = []
        """Lane, From domain, message and mark."""
        self.memos: dict[int, tuple[int, ...]] = {}

    @rule(lane=st.sampled_from(LANES), domain=st.sampled_from(DOMAINS), message=st.integers(31, 45))
    def admit(self, lane: int, domain: int, message: int) -> None:
        brake = Brake().bound_to(lane, domain)
        if brake.room(self.state, self.now) < 1:
            return
        self.state, terms = brake.take(self.state, self.now, 1)
        self.flying.append((lane, domain, message, terms.mark))
        assert not brake.is_open(self.state) or brake.room(self.state, self.now) == 0  # one probe at a time

    @precondition(lambda self: self.flying)
    @rule(
        data=st.data(), reason=st.sampled_from(REASONS), counts=st.booleans(),
        about=st.sampled_from([About.UNKNOWN, About.SENDER, About.RECIPIENT]),
    )  # fmt: skip
    def refuse(self, data: st.DataObject, reason: int, counts: bool, about: About) -> None:
        lane, domain, message, mark = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        brake = Brake().bound_to(lane, domain)
        ruling = Brake.refused(
            self.state, self.now,
            Refused(
                server=SERVER, about=about, reason=reason, lane=lane, domain=domain, message=message, mark=mark, counts=counts,
                memo=self.memos.get(message, ()),
            ),
        )  # fmt: skip
        if ruling.effect is not Effect.NONE:
            assert counts
        assert (ruling.delay > 0) == (ruling.memo != ())
        code = {About.SENDER: cases.SENDER, About.RECIPIENT: cases.RECIPIENT}.get(about, cases.UNKNOWN)
        case = cases.read(self.state).find(code, domain if about is About.SENDER else 0, reason)
        was_probe = case is not None and case.phase == cases.OPEN and mark >= case.opened
        self.state = brake.give(ruling.state, mark, 1)
        if was_probe and ruling.delay and brake.is_open(self.state):
            assert brake.when(self.state, self.now, 1) >= self.now + 30 * SECOND
        self.memos[message] = ruling.memo

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        lane, domain, message, mark = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        before = {one: Brake().bound_to(one, domain).is_open(self.state) for one in LANES}
        begun = min((one.opened for one in cases.read(self.state).cases if one.phase), default=0)
        self.state, effect = Brake.accepted(self.state, self.now, lane=lane, domain=domain, mark=mark)
        if mark < begun:  # it was under way before anything was stopped
            assert effect is Effect.NONE
            assert before == {one: Brake().bound_to(one, domain).is_open(self.state) for one in LANES}
        self.memos.pop(message, None)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        lane, domain, _, mark = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        self.state = Brake().bound_to(lane, domain).give(self.state, mark, 1)

    @rule(anew=st.booleans())
    def activate(self, anew: bool) -> None:
        self.state = Brake.activated(self.state, anew=anew)
        assert not any(Brake().bound_to(lane, domain).is_open(self.state) for lane in LANES for domain in DOMAINS)

    @rule(ms=st.sampled_from([1, 4_999, 5_000, 30_000, 59_999, 60_000, 600_000, DAY]))
    def wait(self, ms: int) -> None:
        self.now += ms

    @rule(ms=st.sampled_from([MINUTE, DAY]))
    def set_clock_back(self, ms: int) -> None:
        self.now -= ms
        self.state = Brake().rewound(self.state, self.now)
        for lane in LANES:
            when = Brake().bound_to(lane, 11).when(self.state, self.now, 1)
            assert when <= self.now + 10 * MINUTE + 5 * SECOND

    @invariant()
    def room_is_there_from_when_on(self) -> None:
        for lane in LANES:
            for domain in DOMAINS:
                brake = Brake().bound_to(lane, domain)
                room, when = brake.room(self.state, self.now), brake.when(self.state, self.now, 1)
                assert (room > 0) == (when == self.now)
                assert brake.room(self.state, when) > 0
                if when > self.now:
                    assert brake.room(self.state, when - 1) == 0
                assert (room, when) == (NEVER, self.now) or brake.is_open(self.state)
                assert (brake.when(self.state, self.now, 2) == NEVER) == brake.is_open(self.state)
                assert brake.is_open(self.state) == (brake.opened_at(self.state) > 0)

    @invariant()
    def its_clock_never_stands_behind_a_mark(self) -> None:
        assert all(mark <= cases.read(self.state).seq for *_, mark in self.flying)


TestEvents = Events.TestCase
