"""The pause from start to start over all processes, whatever stalls where: played through on a clock of the test's."""

import heapq
from collections.abc import Coroutine, Generator
from datetime import timedelta
from itertools import pairwise
from types import coroutine
from typing import Any

import pytest
from attrs import define, field, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.admit import Grant
from deliverykit.engine.admission.gates import Gate
from deliverykit.engine.admission.slots import MoveSlot, Slot
from deliverykit.engine.delivery.starting import Issued, in_its_slot, until
from deliverykit.engine.spacing import Spacing
from deliverykit.limits import Pause, Rate
from deliverykit.storages.sqlite import SQLiteStorage
from deliverykit.testing import ManualClock
from deliverykit.words.clock import NEVER

LATE = 10
KEY = "account:default"


@frozen
class Claim:
    """Slots for up to ``n`` messages, as a claim takes them: all that are near, in one step."""

    gate: Gate
    n: int

    def __call__(self, view: View) -> Step[tuple[Grant, ...] | int]:
        state = view.records[0].get(self.gate.name, ())
        n = min(self.n, self.gate.limit.room(state, view.now))
        if n < 1:
            return Step(result=self.gate.limit.when(state, view.now, 1))
        state, terms = self.gate.limit.take(state, view.now, n)
        charges, gaps = ((self.gate, terms.mark),), ((self.gate, terms.gap),) if terms.gap else ()
        grants = [
            Grant("s", 1, view.now, max(view.now, terms.slot + turn * terms.step), NEVER, charges, gaps) for turn in range(n)
        ]
        return Step(result=tuple(grants), records=({**view.records[0], self.gate.name: state},))


@define(slots=False)
class World:
    """Processes on one store, one clock; each stop may last longer than was asked for."""

    gate: Gate
    stalls: list[int]
    clock: ManualClock = field(factory=ManualClock)
    starts: list[int] = field(factory=list)
    given_up: int = 0

    def __attrs_post_init__(self) -> None:
        self.storage = SQLiteStorage(None, self.clock)
        self.queue: list[tuple[int, int, Coroutine[Any, Any, None]]] = []
        self.turn = 0

    def ms(self) -> int:
        return round(self.clock.monotonic() * 1000)

    def add(self, process: Coroutine[Any, Any, None], at: int) -> None:
        self.turn += 1
        heapq.heappush(self.queue, (at, self.turn, process))

    def run(self) -> None:
        while self.queue:
            at, _, process = heapq.heappop(self.queue)
            self.clock.advance(max(0, at - self.ms()) / 1000)
            try:
                wait = process.send(None)
            except StopIteration:
                continue
            self.add(process, self.ms() + wait + (self.stalls.pop() if self.stalls else 0))


@coroutine
def stop(ms: int) -> Generator[int, None, None]:
    yield ms


@define
class Ports:
    """One process's: it may stall before and after each question to the store, and in each sleep."""

    world: World
    commit: int

    async def sleep(self, seconds: float) -> None:
        await stop(round(seconds * 1000))

    async def decide(self, question: Any) -> Any:
        await stop(0)
        answer = self.world.storage.transact("default", question.keys, question.decide)
        await stop(self.commit)
        return answer


@define
class Process:
    """What the engine's context is, as far as starting goes, with a worker that claims and starts."""

    world: World
    commit: int
    storage: Any = None
    spacing: Spacing = field(factory=Spacing)

    @property
    def clock(self) -> ManualClock:
        return self.world.clock

    @property
    def keys(self) -> tuple[str, ...]:
        return (KEY,)

    @property
    def decide(self) -> Any:
        return None

    async def work(self, count: int, batch: int) -> None:
        ports = Ports(self.world, self.commit)
        while count:
            question = _Question(Claim(self.world.gate, min(batch, count)))
            found, _ = await ports.decide(question)
            if isinstance(found, int):
                await ports.sleep(max(1, found - self.clock.now()) / 1000)
                continue
            count -= len(found)
            for grant in found:
                self.world.add(self.start(ports, grant), self.world.ms())

    async def start(self, ports: Ports, grant: Grant) -> None:
        issued = Issued(Slot.of(grant), self.clock.monotonic())
        await until(self, ports, issued, 250)  # type: ignore[arg-type]
        await stop(self.commit)  # it is marked
        if await in_its_slot(self, ports, "default", self, grant, issued):  # type: ignore[arg-type]
            self.world.starts.append(self.clock.now())
        else:
            self.world.given_up += 1
            assert self.world.given_up <= 1000, "no slot is ever met"
            self.world.add(self.work(1, 1), self.world.ms())  # it asks for admission again


@frozen
class _Question:
    decide: Any
    keys: tuple[str, ...] = (KEY,)


def played(limit: Any, stalls: list[int], processes: int, batch: int, commit: int, count: int = 6) -> World:
    world = World(Gate(0, "s:s/pace", limit, "s"), stalls)
    for number in range(processes):
        world.add(Process(world, commit).work(count, batch), number * 7)
    world.run()
    return world


STALLS = st.lists(st.sampled_from([0, 0, 0, 0, 1, 3, 8, 12, 40, 150, 300, 500, 700, 2000]), max_size=120)


@settings(max_examples=150, deadline=None)
@given(
    length=st.sampled_from([50, 60, 100, 200, 1000, 2000]), stalls=STALLS, processes=st.integers(1, 4), batch=st.integers(1, 8),
    commit=st.sampled_from([0, 2, 15, 300]),
)  # fmt: skip
@example(length=200, stalls=[0, 0, 0, 500, 0, 0, 0, 0, 500] * 6, processes=2, batch=3, commit=2)
def test_starts_of_all_processes_keep_the_pause(
    length: int, stalls: list[int], processes: int, batch: int, commit: int
) -> None:
    world = played(Pause(timedelta(milliseconds=length)), stalls, processes, batch, commit)
    gaps = [after - before for before, after in pairwise(sorted(world.starts))]
    assert all(gap >= length - min(LATE, length // 10) for gap in gaps), gaps
    assert len(world.starts) == processes * 6


@pytest.mark.parametrize("commit", [0, 5, 30, 300, 1200])
@pytest.mark.parametrize("length", [50, 200, 2000])
def test_a_slow_store_delays_but_stops_nothing(commit: int, length: int) -> None:
    """Every slot is past when a store takes longer than slots are issued ahead: it is moved as far as is needed."""
    world = played(Pause(timedelta(milliseconds=length)), [], processes=2, batch=1, commit=commit, count=4)
    assert len(world.starts) == 8
    assert world.given_up <= 8


def test_clock_set_back_does_not_lengthen_the_wait_for_a_slot() -> None:
    clock = ManualClock()
    issued = Issued(Slot(at=clock.now() + 1000, now=clock.now(), marks={}), clock.monotonic())
    clock.advance(0.4)
    clock.set(clock.now() - 600_000)
    assert issued.left(clock) == 600


def test_clock_set_forward_ends_the_wait_for_a_slot() -> None:
    clock = ManualClock()
    issued = Issued(Slot(at=clock.now() + 1000, now=clock.now(), marks={}), clock.monotonic())
    clock.set(clock.now() + 1500)
    assert issued.left(clock) == -500


def test_without_stalls_no_slot_is_lost() -> None:
    world = played(Pause(timedelta(milliseconds=200)), [], processes=3, batch=2, commit=1, count=10)
    assert world.given_up == 0
    assert max(world.starts) - min(world.starts) <= 29 * 200 + LATE


def test_a_fast_rate_is_not_slowed_by_moves() -> None:
    world = played(Rate(500), [3] * 40, processes=2, batch=50, commit=1, count=100)
    assert world.given_up == 0
    assert max(world.starts) - min(world.starts) <= 1000


def test_a_missed_slot_that_was_issued_last_is_issued_again() -> None:
    gate = Gate(0, "p", Pause(timedelta(milliseconds=200)), "s")
    storage = SQLiteStorage(None, clock := ManualClock())
    (grant,), _ = storage.transact("default", (KEY,), Claim(gate, 1))
    clock.advance(0.5)
    moved, _ = storage.transact("default", (KEY,), MoveSlot(grant, Slot.of(grant), 20))
    assert moved.at == clock.now() + 20
    again, _ = storage.transact("default", (KEY,), MoveSlot(grant, moved, 30))
    assert again.at == clock.now() + 30, "not 200 ms behind the one it did not use"
    (behind,), _ = storage.transact("default", (KEY,), Claim(gate, 1))
    assert behind.start == again.at + 200


def test_no_slot_is_moved_before_those_of_others() -> None:
    gate = Gate(0, "p", Pause(timedelta(milliseconds=100)), "s")
    storage = SQLiteStorage(None, clock := ManualClock())
    (mine, *others), _ = storage.transact("default", (KEY,), Claim(gate, 3))
    clock.advance(0.05)
    moved, _ = storage.transact("default", (KEY,), MoveSlot(mine, Slot.of(mine), 20))
    assert moved.at == others[-1].start + 100
    for other in others:
        storage.transact("default", (KEY,), MoveSlot(other, Slot.of(other), 20))
    assert storage.transact("default", (KEY,), MoveSlot(others[0], Slot.of(others[0]), 20))[0] is None, "none is near"
