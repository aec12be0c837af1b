"""A clock that was ahead and has been set back on purpose, on every storage: what is moved, and what is kept."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from storage_kit import DURABLE, NEVER, OPENERS, claimed, key, lane_of, line, looked, mail, settled, state, step, uids

from deliverykit.contracts.books import Gone, MailState, Once
from deliverykit.contracts.limit import State
from deliverykit.contracts.storage import Storage, Taken
from deliverykit.testing import ManualClock
from deliverykit.words.errors import ClockError

HOUR = 3_600_000
YEAR = 365 * 24 * HOUR


def kept(key: str, record: Mapping[str, State], now: int) -> Mapping[str, State]:
    """A rewind that only says that it was there."""
    return {**record, "rewound": (now,)}


def ahead_and_back(storage: Storage, clock: ManualClock, by: int = YEAR) -> int:
    """Something is written by a clock that is ahead; then the clock is set right. Its instant before."""
    now = clock.now()
    clock.advance(by / 1000)
    step(storage, records=({"n": (1,)},))
    clock.set(now)
    return now


def test_it_is_refused_by_name_until_it_is_accepted(storage: Storage, clock: ManualClock) -> None:
    now = ahead_and_back(storage, clock)
    with pytest.raises(ClockError, match=r"says 2026-01-01T00:00:00Z.*seen 2027-01-01T00:00:00Z.*accept_clock\(\)"):
        looked(storage)
    moved = storage.accept_clock(kept)
    assert (moved.now, moved.seen, moved.records) == (now, now + YEAR, 1)
    view = looked(storage)
    assert view.now == storage.now() == now
    assert view.records == ({"n": (1,), "rewound": (now,)},)
    step(storage, records=({"n": (2,)},))
    clock.set(now - HOUR - 1)  # and the guard is up again
    with pytest.raises(ClockError):
        looked(storage)


def test_a_small_step_back_needs_nothing_and_may_be_accepted(storage: Storage, clock: ManualClock) -> None:
    now = ahead_and_back(storage, clock, HOUR)
    assert looked(storage).now == now + HOUR
    assert storage.accept_clock(kept).seen == now + HOUR
    assert looked(storage).now == now


def test_where_nothing_later_was_seen_nothing_is_written(storage: Storage, clock: ManualClock) -> None:
    step(storage, records=({"n": (1,)},))
    storage.enqueue([mail("a")])
    claimed(storage, only="", blocked_until=NEVER)
    moved = storage.accept_clock(kept)
    assert (moved.records, moved.lanes, moved.mails) == (0, 0, 0)
    assert looked(storage).records == ({"n": (0,)},)
    assert storage.open_lanes().lanes == ()


def test_records_that_saw_nothing_later_are_left_alone(storage: Storage, clock: ManualClock) -> None:
    step(storage, account="b", keys=("account:b",), records=({"n": (7,)},))
    ahead_and_back(storage, clock)
    assert storage.accept_clock(kept).records == 1
    assert looked(storage, "b", ("account:b",)).records == ({"n": (7,)},)


def test_blocks_are_open_again(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a")])
    now = clock.now()
    clock.advance(YEAR / 1000)
    claimed(storage, only="", blocked_until=clock.now() + 5_000, blocked_by="x")
    clock.set(now)
    assert storage.accept_clock(kept).lanes == 1
    assert uids(claimed(storage)) == ["a"]
    (row,) = storage.lanes("default")
    assert row.blocked_since <= now


def test_leases_and_retries_move_with_the_clock(storage: Storage, clock: ManualClock) -> None:
    now = clock.now()
    clock.advance(YEAR / 1000)
    storage.enqueue([mail("held", lane=key("h")), mail("later", lane=key("l")), mail("old", lane=key("o"))])
    old = claimed(storage, lane_of(storage, "o"), token="o")
    clock.advance(HOUR * 2 / 1000)  # that worker is gone for long
    claimed(storage, lane_of(storage, "h"), token="h")
    (later,) = claimed(storage, lane_of(storage, "l"), token="l")
    assert settled(storage, later, "l", MailState.SCHEDULED, due=clock.now() + 90_000, reason="503")
    clock.set(now)
    assert storage.accept_clock(kept).mails == 3
    storage.recover()
    assert (state(storage, "held"), state(storage, "old")) == (MailState.LEASED, MailState.READY)
    found = storage.mail("later")
    assert found is not None
    assert found.due == now + 90_000
    assert len(old) == 1
    clock.advance(59)
    storage.recover()
    assert (state(storage, "held"), state(storage, "later")) == (MailState.LEASED, MailState.SCHEDULED)
    clock.advance(31)
    storage.recover()
    assert (state(storage, "held"), state(storage, "later")) == (MailState.READY, MailState.READY)


def test_what_this_clock_scheduled_before_stays_as_it_is(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a"), mail("b", lane=key("b"))])
    (one,) = claimed(storage, lane_of(storage, ""))
    claimed(storage, lane_of(storage, "b"), token="b")
    due = clock.now() + 120_000
    assert settled(storage, one, state=MailState.SCHEDULED, due=due, reason="503")
    ahead_and_back(storage, clock)
    storage.accept_clock(kept)
    found = storage.mail("a")
    assert found is not None
    assert found.due == due
    storage.recover()
    assert state(storage, "b") is MailState.LEASED


def test_a_mails_own_time_stays_and_is_waited_for_again(storage: Storage, clock: ManualClock) -> None:
    now = clock.now()
    week = now + 7 * 24 * HOUR
    storage.enqueue(
        [mail("early", state=MailState.SCHEDULED, due=week), mail("far", state=MailState.SCHEDULED, due=now + 2 * YEAR)]
    )
    clock.advance(YEAR / 1000)
    storage.recover()
    step(storage, records=({"n": (1,)},))
    assert state(storage, "early") is MailState.READY
    clock.set(now)
    storage.accept_clock(kept)
    rows = {uid: storage.mail(uid) for uid in ("early", "far")}
    assert {uid: row and (row.state, row.due) for uid, row in rows.items()} == {
        "early": (MailState.SCHEDULED, week),
        "far": (MailState.SCHEDULED, now + 2 * YEAR),
    }
    clock.set(week)
    storage.recover()
    (head,) = claimed(storage)
    assert (head.head.uid, head.head.late) == ("early", 0)


def test_once_keys_are_known_for_a_day_from_now(storage: Storage, clock: ManualClock) -> None:
    now = clock.now()
    clock.advance(YEAR / 1000)
    storage.enqueue([mail("a", once=Once("k", "p"))])
    step(storage, records=({"n": (1,)},))
    clock.set(now)
    storage.accept_clock(kept)
    clock.advance(23 * 3_600)
    with pytest.raises(Taken):
        storage.enqueue([mail("b", once=Once("k", "p"))])
    clock.advance(3_601)
    storage.enqueue([mail("b", once=Once("k", "p"))])


def test_the_log_and_the_counts_stay(storage: Storage, clock: ManualClock) -> None:
    now = clock.now()
    clock.advance(YEAR / 1000)
    storage.enqueue([mail("a")])
    (one,) = claimed(storage)
    step(storage, changes=(Gone(id=one.head.id, token="t"),), log=(line("a"),))
    clock.set(now)
    storage.accept_clock(kept)
    assert [at for at, _ in storage.log("a")] == [now + YEAR]


@pytest.mark.parametrize("kind", DURABLE)
def test_another_process_learns_of_it_once(kind: str, tmp_path: Path) -> None:
    """It remembers a later instant of its own; accepted by one, the clock is accepted by all, and no other step back is."""
    clock = ManualClock()
    one, two, idle, late = (OPENERS[kind](tmp_path, clock) for _ in range(4))
    now = clock.now()
    clock.advance(YEAR / 1000)
    step(one, records=({"n": (1,)},))
    two.recover()
    idle.recover()  # and does nothing more until the clock is accepted
    clock.set(now)
    for storage in (one, two):
        with pytest.raises(ClockError):
            storage.enqueue([mail("x")])
    one.accept_clock(kept)
    two.enqueue([mail("a")])
    assert uids(claimed(two)) == ["a"]
    idle.enqueue([mail("b")])
    late.recover()  # opened after it: this process has seen nothing later yet
    clock.set(now - 2 * HOUR)
    for storage in (one, two, idle, late):
        with pytest.raises(ClockError):
            storage.enqueue([mail("y")])
        storage.close()
