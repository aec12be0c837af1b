"""The storage contract: one atomic primitive and its sibling, leases that fence, an outbox in order."""

import itertools
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from storage_kit import (
    ACCOUNT,
    DURABLE,
    KEY,
    LEASE,
    NEVER,
    OPENERS,
    claimed,
    document,
    key,
    lane_of,
    line,
    looked,
    mail,
    settled,
    state,
    step,
    uids,
)  # fmt: skip

from deliverykit.contracts.books import Change, Document, Gone, MailState, Told, Wanted
from deliverykit.contracts.storage import Claim, Occupied, Overtaken, Step, StepFailed, Storage, View
from deliverykit.testing import ManualClock
from deliverykit.words.errors import ClockError

READY, LEASED, SENDING, IN_DOUBT, SCHEDULED, DEAD = MailState


class Trouble(Exception):
    pass


# -- the primitive --------------------------------------------------------------------------------------


def test_a_decision_that_raises_writes_nothing_and_passes_on_what_it_raised(storage: Storage) -> None:
    def decide(_view: View) -> Step[None]:
        raise Trouble

    storage.enqueue([mail("a")])
    before = (looked(storage), storage.mail("a"))
    with pytest.raises(Trouble):
        storage.transact(ACCOUNT, (KEY,), decide)
    with pytest.raises(Trouble):
        storage.claim(lane_of(storage), 1, (KEY,), decide, token="t", lease=LEASE)
    assert (looked(storage), storage.mail("a")) == before


def test_a_step_is_true_as_a_whole(storage: Storage) -> None:
    storage.enqueue([mail("old")])
    step(
        storage,
        records=({"a/day": (1, 2)},),
        inserts=(mail("new", files={"h": b"file"}),),
        changes=(Change(uid="old", state=DEAD, reason="why"),),
        log=(line("old"),),
        documents=(document("one"),),
    )
    assert looked(storage).records == ({"a/day": (1, 2)},)
    assert (state(storage, "new"), state(storage, "old")) == (READY, DEAD)
    assert [one for _, one in storage.log("old")] == [line("old")]
    assert storage.snapshot(ACCOUNT).documents == (document("one"),)
    assert storage.files(["h"]) == {"h": b"file"}


def test_a_step_that_fails_in_its_last_part_leaves_nothing(storage: Storage) -> None:
    storage.enqueue([mail("old")])
    before = (looked(storage), storage.snapshot(ACCOUNT))
    with pytest.raises(StepFailed):
        step(
            storage,
            records=({"a/day": (1, 2)},),
            documents=(document("one"),),
            changes=(Change(uid="old", state=DEAD),),
            log=(line("old"),),
            inserts=(mail("new"), mail("old")),  # that uid is taken
        )
    assert (looked(storage), storage.snapshot(ACCOUNT)) == before
    assert (state(storage, "new"), state(storage, "old")) == (None, READY)
    assert storage.log("old") == ()


def test_a_change_that_keeps_a_mail_held_may_lengthen_its_lease(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("long", state=MailState.SENDING, token="t", lease_until=clock.now() + LEASE)])
    storage.enqueue([mail("short", state=MailState.SENDING, token="t", lease_until=clock.now() + LEASE)])
    clock.advance(50)
    step(storage, changes=(Change(uid="long", token="t", state=MailState.SENDING, lease=LEASE),))
    step(storage, changes=(Change(uid="short", token="t", state=MailState.SENDING),))
    clock.advance(50)
    storage.recover()
    assert (state(storage, "long"), state(storage, "short")) == (MailState.SENDING, MailState.IN_DOUBT)


def test_enqueue_is_all_or_none(storage: Storage) -> None:
    storage.enqueue([mail("a")])
    with pytest.raises(Exception, match="a"):
        storage.enqueue([mail("b"), mail("a")])
    assert state(storage, "b") is None


def test_the_version_moves_with_documents_only_and_documents_keep_their_order(storage: Storage) -> None:
    assert storage.version(ACCOUNT) == looked(storage).version == storage.snapshot(ACCOUNT).version
    step(storage, documents=(document("b"), document("a")))
    first = storage.version(ACCOUNT)
    step(storage, records=({"n": (1,)},), log=(line("x"),))
    assert storage.version(ACCOUNT) == first
    step(storage, documents=(document("b", '{"n": 1}'), document("c")))
    assert looked(storage).version == storage.snapshot(ACCOUNT).version == storage.version(ACCOUNT) != first
    assert [one.id for one in storage.snapshot(ACCOUNT).documents] == ["b", "a", "c"]
    step(storage, documents=(document("b", None),))
    assert [one.id for one in storage.snapshot(ACCOUNT).documents] == ["a", "c"]


def test_accounts_are_apart(storage: Storage) -> None:
    step(storage, documents=(document("one"),))
    step(storage, account="acme", keys=("account:acme",), documents=(document("two"),), records=({"n": (7,)},))
    storage.enqueue([mail("a"), mail("b", lane=key(account="acme"))])
    assert storage.accounts() == (ACCOUNT, "acme")
    assert [one.id for one in storage.snapshot("acme").documents] == ["two"]
    assert looked(storage).records == ({},)
    assert [row.uid for row in storage.mails("acme", Wanted(), 10)] == ["b"]
    assert storage.counts(ACCOUNT) == {("news", READY): 1}
    storage.cancel("acme", Wanted(route="news"), 99)
    assert state(storage, "a") is READY


def test_several_keys_are_seen_and_written_together(storage: Storage) -> None:
    step(storage, keys=(KEY, "host"), records=({"a": (1,)}, {"h": (2,)}))
    step(storage, keys=(KEY, "host"), records=(None, {"h": (3,)}))
    assert looked(storage, keys=("host", KEY, "none")).records == ({"h": (3,)}, {"a": (1,)}, {})


# -- the clock --------------------------------------------------------------------------------------------


def test_now_never_goes_back_and_a_clock_slightly_behind_is_held(storage: Storage, clock: ManualClock) -> None:
    step(storage, records=({"n": (1,)},))
    seen = looked(storage).now
    assert seen == clock.now() == storage.now()
    clock.set(seen - 600_000)
    assert looked(storage).now == seen == storage.now()
    clock.set(seen + 5)
    assert looked(storage).now == seen + 5


def test_a_clock_more_than_an_hour_behind_is_refused(storage: Storage, clock: ManualClock) -> None:
    step(storage, records=({"n": (1,)},))
    storage.enqueue([mail("a")])
    lane = lane_of(storage)
    seen = clock.now()
    clock.set(seen - 3_600_001)
    with pytest.raises(ClockError, match="accept_clock"):
        looked(storage)
    with pytest.raises(ClockError):
        claimed(storage, lane)
    clock.set(seen - 3_600_000)
    assert looked(storage).now == seen
    assert uids(claimed(storage, lane)) == ["a"]


@pytest.mark.parametrize("kind", DURABLE)
def test_what_another_process_has_seen_counts(kind: str, tmp_path: Path) -> None:
    one, two = ManualClock(), ManualClock()
    ahead, behind = OPENERS[kind](tmp_path, one), OPENERS[kind](tmp_path, two)
    one.advance(1_000)
    step(ahead, records=({"n": (1,)},))
    assert looked(behind).now == one.now() > two.now()
    one.advance(3_600)
    step(ahead, records=({"n": (2,)},))
    with pytest.raises(ClockError):
        looked(behind)
    ahead.close()
    behind.close()


# -- claiming -----------------------------------------------------------------------------------------------


def test_a_claim_leases_exactly_what_was_decided_with_its_letters(storage: Storage) -> None:
    storage.enqueue([mail(uid) for uid in "abcd"])
    leased = claimed(storage, want=3, only="ac")
    assert [(one.head.uid, one.server, one.letter) for one in leased] == [
        ("a", "s", b"letter of a"),
        ("c", "s", b"letter of c"),
    ]
    assert [state(storage, uid) for uid in "abcd"] == [LEASED, READY, LEASED, READY]
    assert looked(storage).records == ({"n": (2,)},)
    assert uids(claimed(storage, token="u")) == ["b", "d"]


def test_order_is_by_priority_then_by_age(storage: Storage) -> None:
    storage.enqueue([mail("a"), mail("b", priority=5), mail("c", priority=-1), mail("d", priority=5), mail("e")])
    assert uids(claimed(storage)) == ["b", "d", "a", "e", "c"]


def test_a_mail_that_comes_back_keeps_its_place(storage: Storage) -> None:
    storage.enqueue([mail("a"), mail("b")])
    (first,) = claimed(storage, want=1)
    assert settled(storage, first, state=READY)
    assert uids(claimed(storage)) == ["a", "b"]


def test_a_blocked_lane_is_not_claimed_is_asked_nothing_and_opens_by_itself(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a"), mail("b")])
    lane, until = lane_of(storage), clock.now() + 5_000
    claimed(storage, lane, only="a", blocked_until=until, blocked_by="day")
    look = storage.open_lanes()
    assert (look.lanes, look.wake_at, look.pacing, look.busy) == ((), until, False, True)
    asked: list[View] = []

    def decide(view: View) -> Step[Any]:
        asked.append(view)
        raise Trouble

    assert storage.claim(lane, 10, (KEY,), decide, token="u", lease=LEASE) == ()
    assert asked == []
    row = storage.mail("b")
    assert row is not None
    assert (row.blocked_until, row.blocked_by) == (until, "day")
    clock.advance(5)
    assert uids(claimed(storage, lane_of(storage), token="u")) == ["b"]


def test_a_lane_that_waits_for_a_pace_says_so(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a")])
    claimed(storage, only="", blocked_until=clock.now() + 100, pacing=True)
    assert storage.open_lanes().pacing
    assert not storage.open_lanes().busy


def test_mail_of_a_higher_priority_is_a_new_question(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a", cost=50)])
    lane, until = lane_of(storage), clock.now() + 5_000
    claimed(storage, lane, only="", blocked_until=until)
    storage.enqueue([mail("b")])
    assert storage.open_lanes().lanes == ()
    storage.enqueue([mail("c", priority=1)])
    assert storage.open_lanes().lanes == (lane,)
    claimed(storage, lane, only="c", blocked_until=until)
    storage.enqueue([mail("d", priority=1, state=SCHEDULED, due=clock.now() + 1_000)])
    assert storage.open_lanes().lanes == (), "it cannot be sent before it is due"
    clock.advance(1)
    storage.recover()
    assert storage.open_lanes().lanes == (lane,)


def test_a_lane_opens_when_what_blocked_it_is_gone(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("big", cost=50, expires=clock.now() + 1_000), mail("small")])
    claimed(storage, only="", blocked_until=clock.now() + 86_400_000)
    clock.advance(1)
    storage.recover()
    assert state(storage, "big") is DEAD
    assert uids(claimed(storage)) == ["small"]


def test_what_may_bring_quota_back_opens_the_lanes_of_its_account(storage: Storage, clock: ManualClock) -> None:
    until = clock.now() + 5_000
    for wish in ({"wake": True}, {"documents": (document("one"),)}):
        storage.enqueue([mail(f"a{wish}"), mail(f"b{wish}", lane=key(account="acme"))])
        for lane in storage.open_lanes().lanes:
            claimed(storage, lane, only="", blocked_until=until)
        assert storage.open_lanes().lanes == ()
        step(storage, **wish)  # type: ignore[arg-type]
        assert {lane.key.account for lane in storage.open_lanes().lanes} == {ACCOUNT}


def test_lanes_take_turns(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail(f"{name}{turn}", lane=key(name)) for name in "xyz" for turn in range(3)])
    for expected in ("x", "y", "z", "x"):
        clock.advance(1)
        lane = storage.open_lanes().lanes[0]
        assert lane.key.key == expected
        claimed(storage, lane, want=1)


def test_an_expired_head_is_buried_by_the_claim(storage: Storage) -> None:
    def decide(view: View) -> Step[Claim]:
        return Step(result=Claim(expired=(view.heads[0].id,), leases={view.heads[1].id: "s"}))

    storage.enqueue([mail("a"), mail("b"), mail("c")])
    assert uids(storage.claim(lane_of(storage), 9, (KEY,), decide, token="t", lease=LEASE)) == ["b"]
    row = storage.mail("a")
    assert row is not None
    assert (row.state, row.reason) == (DEAD, "expired")
    assert state(storage, "c") is READY


# -- leases and fences ----------------------------------------------------------------------------------------


def test_a_verdict_in_time_settles_and_the_row_goes(storage: Storage) -> None:
    storage.enqueue([mail("a"), mail("b"), mail("c")])
    one, two, three = claimed(storage)
    ids = {each.head.id: "t" for each in (one, two, three)}
    assert storage.start(ids) == frozenset(ids)
    assert settled(storage, one)
    assert settled(storage, two, state=SCHEDULED, due=99, spend=True, reason="later", lane=key("other"))
    assert settled(storage, three, state=DEAD, reason="no")
    assert storage.mail("a") is None
    row = storage.mail("b")
    assert row is not None
    assert (row.state, row.attempts, row.due, row.reason) == (SCHEDULED, 1, 99, "later")
    assert state(storage, "c") is DEAD
    assert not storage.open_lanes().busy


def test_a_lost_lease_goes_back_and_its_old_holder_changes_nothing(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a")])
    (one,) = claimed(storage, token="old")
    clock.advance(LEASE // 1000)
    storage.recover()
    assert state(storage, "a") is READY
    assert not settled(storage, one, "old", DEAD)
    (again,) = claimed(storage, token="new")
    assert again.head.attempts == 0
    assert storage.start({one.head.id: "old"}) == frozenset()
    late = step(storage, changes=(Change(id=one.head.id, token="old", was=LEASED, state=SENDING, server="s"),))
    assert late == {one.head.id}
    for wish in (None, DEAD, READY, SCHEDULED, IN_DOUBT):
        assert not settled(storage, one, "old", wish)
    storage.release(["old"])
    storage.renew(["old"], 10 * LEASE)
    assert state(storage, "a") is LEASED
    assert storage.start({again.head.id: "new"}) == {again.head.id}
    assert settled(storage, again, "new")


def test_a_lost_send_is_in_doubt_and_its_own_late_answer_settles_it(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a"), mail("b")])
    one, two = claimed(storage)
    storage.start({one.head.id: "t", two.head.id: "t"})
    clock.advance(LEASE // 1000)
    storage.recover()
    row = storage.mail("a")
    assert row is not None
    assert (row.state, row.server) == (IN_DOUBT, "s")
    assert storage.open_lanes().lanes == ()
    assert not settled(storage, one, "another")
    assert settled(storage, one)
    assert settled(storage, two, state=READY)
    assert storage.mail("a") is None
    assert uids(claimed(storage, token="u")) == ["b"]
    assert [one.outcome for _, one in storage.log("a")] == ["in_doubt"]


def test_change_that_ends_a_lease_ends_its_token(storage: Storage) -> None:
    """A former holder changes nothing any more, whether the message waits, is scheduled or is dead."""
    for uid, state_after in (("a", READY), ("b", SCHEDULED), ("c", DEAD)):
        storage.enqueue([mail(uid)])
        (held,) = claimed(storage)
        step(storage, changes=(Change(id=held.head.id, token="t", state=state_after, due=NEVER if uid == "b" else 0),))
        assert step(storage, changes=(Gone(held.head.id, token="t"),)) == {held.head.id}
        assert state(storage, uid) == state_after
        step(storage, changes=(Gone(uid=uid),))


def test_was_is_a_fence_of_its_own(storage: Storage) -> None:
    storage.enqueue([mail("a")])
    (one,) = claimed(storage)
    assert step(storage, changes=(Change(id=one.head.id, was=DEAD, state=READY),)) == {one.head.id}
    assert state(storage, "a") is LEASED
    assert storage.start({one.head.id: "t"}) == {one.head.id}
    assert storage.start({one.head.id: "t"}) == frozenset(), "only what is leased can start"


def test_a_row_that_is_gone_cannot_be_settled_again(storage: Storage) -> None:
    storage.enqueue([mail("a")])
    (one,) = claimed(storage)
    assert settled(storage, one)
    assert not settled(storage, one)
    assert not settled(storage, one, state=READY)
    assert storage.mail("a") is None


def test_renewed_leases_live_and_others_end(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a"), mail("b")])
    (one,) = claimed(storage, want=1, token="kept")
    claimed(storage, want=1, token="left")
    storage.start({one.head.id: "kept"})
    clock.advance(50)
    storage.renew(["kept"], LEASE)
    assert storage.open_lanes().wake_at == clock.now() + 10_000
    clock.advance(10)
    storage.recover()
    assert (state(storage, "a"), state(storage, "b")) == (SENDING, READY)


def test_release_gives_back_what_was_not_started(storage: Storage) -> None:
    storage.enqueue([mail("a"), mail("b")])
    one, _ = claimed(storage)
    storage.start({one.head.id: "t"})
    storage.release(["t"])
    assert (state(storage, "a"), state(storage, "b")) == (SENDING, READY)


def test_what_kills_its_workers_is_claimed_alone_and_then_buried(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("bad"), mail("good")])
    for _ in range(2):
        assert uids(claimed(storage)) == ["bad", "good"]
        clock.advance(LEASE // 1000)
        storage.recover()
    assert uids(claimed(storage)) == ["bad"]
    assert uids(claimed(storage, token="u")) == ["good"]
    storage.release(["u"])
    clock.advance(LEASE // 1000)
    storage.recover()
    row = storage.mail("bad")
    assert row is not None
    assert (row.state, row.reason, row.attempts) == (DEAD, "poison", 0)
    assert uids(claimed(storage)) == ["good"]


def test_what_is_lost_while_sending_is_never_taken_for_poison(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a")])
    for turn in range(3):
        (one,) = claimed(storage)
        if turn == 2:
            storage.start({one.head.id: "t"})
        clock.advance(LEASE // 1000)
        storage.recover()
    assert state(storage, "a") is IN_DOUBT
    assert [one.outcome for _, one in storage.log("a")] == ["in_doubt"]


def test_what_stands_before_a_suspect_goes_first_and_without_it(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("good", priority=1), mail("bad"), mail("after")])
    for _ in range(2):
        claimed(storage, only=["bad"])
        clock.advance(LEASE // 1000)
        storage.recover()
    assert uids(claimed(storage)) == ["good"]
    assert uids(claimed(storage)) == ["bad"]
    assert uids(claimed(storage)) == ["after"]


def test_a_verdict_may_change_the_lane(storage: Storage) -> None:
    storage.enqueue([mail("a")])
    (one,) = claimed(storage)
    assert settled(storage, one, state=READY, lane=key("other"))
    assert [lane.key for lane in storage.open_lanes().lanes] == [key("other")]


# -- time alone -----------------------------------------------------------------------------------------------


def test_due_mail_is_promoted_and_not_before(storage: Storage, clock: ManualClock) -> None:
    due = clock.now() + 5_000
    storage.enqueue([mail("a", state=SCHEDULED, due=due)])
    assert (storage.open_lanes().lanes, storage.open_lanes().wake_at) == ((), due)
    clock.set(due - 1)
    storage.recover()
    assert state(storage, "a") is SCHEDULED
    clock.set(due)
    storage.recover()
    assert uids(claimed(storage)) == ["a"]


def test_expired_mail_is_buried_wherever_it_waits(storage: Storage, clock: ManualClock) -> None:
    ends = clock.now() + 5_000
    storage.enqueue([mail("a", expires=ends), mail("b", expires=ends, state=SCHEDULED, due=ends + 9), mail("c", expires=ends)])
    claimed(storage, only="c")
    clock.set(ends)
    storage.recover()
    assert [state(storage, uid) for uid in "abc"] == [DEAD, DEAD, LEASED]
    assert [(one.outcome, one.detail) for _, one in storage.log("a")] == [("dead", "expired")]


def test_nothing_to_wait_for_is_never(storage: Storage) -> None:
    assert storage.open_lanes().wake_at == NEVER
    storage.recover()
    assert storage.open_lanes() == type(storage.open_lanes())((), NEVER, pacing=False, busy=False)


# -- files, routes, counts --------------------------------------------------------------------------------------


def test_a_file_is_kept_once_and_goes_with_its_last_mail(storage: Storage) -> None:
    storage.enqueue([mail("a", files={"h": b"x", "i": b"y"}), mail("b", files={"h": b"x"})])
    one, two = claimed(storage)
    assert settled(storage, one)
    assert storage.files(["h", "i"]) == {"h": b"x"}
    assert settled(storage, two)
    assert storage.files(["h"]) == {}


def occupied(storage: Storage, account: str = ACCOUNT, **wanted: Any) -> bool:
    """Whether a step that needs this to be empty is refused; then its documents are not written."""
    before = storage.version(account)
    try:
        step(storage, account, documents=(Document(kind="route", id="x", data="{}"),), **wanted)
    except Occupied:
        assert storage.version(account) == before
        return True
    return False


def test_enqueue_is_refused_for_another_version(storage: Storage) -> None:
    step(storage, documents=(Document(kind="route", id="x", data="{}"),))
    version = storage.version(ACCOUNT)
    with pytest.raises(Overtaken):
        storage.enqueue([mail("a")], version + 1)
    assert storage.counts(ACCOUNT) == {}
    storage.enqueue([mail("a")], version)
    storage.enqueue([mail("b", lane=key(account="new"))], 0)
    assert storage.counts(ACCOUNT) == {("news", READY): 1}


def test_a_route_is_moved_or_cancelled_but_for_what_flies(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail(uid, lane=key(uid)) for uid in "abc"] + [mail("d", state=SCHEDULED, due=NEVER - 1)])
    claimed(storage, lane_of(storage, "a"))
    assert occupied(storage, vacant=("news",))
    assert not occupied(storage, vacant=("other",))
    assert occupied(storage, moves=(("news", "other"),), vacant=("news",)), "one is in flight"
    assert storage.counts(ACCOUNT) == {("news", LEASED): 1, ("news", READY): 2, ("news", SCHEDULED): 1}, "nothing was moved"
    step(storage, moves=(("news", "other"),))
    assert {row.uid: row.route for row in storage.mails(ACCOUNT, Wanted(), 9)} == {
        "a": "news",
        "b": "other",
        "c": "other",
        "d": "other",
    }
    assert storage.counts(ACCOUNT) == {("news", LEASED): 1, ("other", READY): 2, ("other", SCHEDULED): 1}
    storage.cancel(ACCOUNT, Wanted(route="other"), 99)
    assert {(row.uid, row.state, row.reason) for row in storage.mails(ACCOUNT, Wanted(states=(DEAD,)), 9)} == {
        (u, DEAD, "cancelled") for u in "bcd"
    }
    assert occupied(storage, vacant=("news",))
    assert not occupied(storage, vacant=("other",))
    assert not occupied(storage, "acme", vacant=("news",))
    assert occupied(storage, idle=("s",))
    assert not occupied(storage, idle=("t",))
    assert not occupied(storage, "acme", idle=("s",))
    assert [row.uid for row in storage.mails(ACCOUNT, Wanted(), 2)] == ["a", "b"]


# -- restart ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DURABLE)
def test_everything_outlives_a_restart(kind: str, tmp_path: Path, clock: ManualClock) -> None:
    first = OPENERS[kind](tmp_path, clock)
    assert first.outlives
    first.enqueue([mail("a", files={"h": b"x"}), mail("b"), mail("c", state=SCHEDULED, due=clock.now() + 9)])
    step(first, documents=(document("one"),), log=(line("b"),))
    claimed(first, want=1)
    before = (first.mails(ACCOUNT, Wanted(), 9), looked(first), first.snapshot(ACCOUNT), first.log("b"), first.open_lanes())
    first.close()
    second = OPENERS[kind](tmp_path, clock)
    assert (
        second.mails(ACCOUNT, Wanted(), 9),
        looked(second),
        second.snapshot(ACCOUNT),
        second.log("b"),
        second.open_lanes(),
    ) == before
    assert second.files(["h"]) == {"h": b"x"}
    clock.advance(timedelta(milliseconds=LEASE))
    second.recover()
    assert uids(claimed(second)) == ["a", "b", "c"]
    second.close()


# -- many changes at once -----------------------------------------------------------------------------------


def test_of_two_changes_of_one_mail_the_second_finds_what_the_first_has_left(storage: Storage) -> None:
    storage.enqueue([mail("a"), mail("b")])
    first, second = claimed(storage)
    changes = [Gone(id=first.head.id, token="t"), Change(id=second.head.id, token="t", state=SCHEDULED, due=5)]
    late = step(storage, changes=(*changes, changes[0]))
    assert late == {first.head.id}
    assert (state(storage, "a"), state(storage, "b")) == (None, SCHEDULED)


@pytest.mark.parametrize("lost", ["", "b"])
@pytest.mark.parametrize("unbind", [False, True], ids=["bound", "unbound"])
def test_of_a_batch_that_is_done_with_what_is_no_longer_ours_stays(storage: Storage, unbind: bool, lost: str) -> None:
    storage.enqueue([mail(uid, files={uid: b"x"}) for uid in "abc"])
    rows = {one.head.uid: one.head.id for one in claimed(storage)}
    step(storage, changes=tuple(Change(id=rows[uid], token="t", state=READY) for uid in lost))
    late = step(storage, changes=tuple(Gone(id=row, token="t", unbind=unbind) for row in rows.values()))
    assert late == {rows[uid] for uid in lost}
    assert {uid for uid in "abc" if state(storage, uid) is not None} == set(lost)
    assert set(storage.files(list("abc"))) == set(lost)


def test_what_is_gone_went_from_where_it_was_said_to_be_by_the_name_it_was_given(storage: Storage) -> None:
    storage.enqueue([mail(uid) for uid in "abcd"])
    rows = {one.head.uid: one.head.id for one in claimed(storage)}
    gone = (
        Gone(rows["a"], token="t", was=SENDING), Gone(rows["b"], token="t"), Gone(0, "c", "t", LEASED), Gone(0, "d", "other")
    )  # fmt: skip
    assert step(storage, changes=gone) == {rows["a"], "d"}
    assert [state(storage, uid) for uid in "abcd"] == [LEASED, None, None, LEASED]


def test_every_line_of_a_batch_is_in_the_log_in_its_order(storage: Storage) -> None:
    lines = tuple(line(f"m{number % 9}", f"outcome {number}") for number in range(47))
    step(storage, log=lines)
    told = [one for _, one in reversed(storage.told(ACCOUNT, Told(), 100))]
    assert tuple(told) == lines


def test_each_of_a_batch_of_changes_is_fenced_by_its_own_token_and_does_its_own(storage: Storage) -> None:
    storage.enqueue([mail(uid, files={uid: b"x", "shared": b"y"}) for uid in "abcdefg"])
    rows = {one.head.uid: one.head.id for one in claimed(storage, want=7)}

    def gone(uid: str, token: str = "t") -> Gone:
        return Gone(rows[uid], token=token)

    def change(uid: str, token: str = "t", **fields: Any) -> Change:
        return Change(id=rows[uid], token=token, **fields)

    late = step(storage, changes=(
        gone("a"), gone("b", "other"), gone("c"), change("d", state=READY), change("e", state=DEAD, reason="x"),
        change("f", state=READY, was=SENDING), change("g", "other", state=READY),
    ))  # fmt: skip
    assert late == {rows["b"], rows["f"], rows["g"]}
    assert [state(storage, uid) for uid in "abcdefg"] == [None, LEASED, None, READY, DEAD, LEASED, LEASED]
    assert sorted(storage.files(["a", "b", "c", "d", "e", "shared"])) == ["b", "d", "e", "shared"]


def test_every_way_of_a_mail_is_counted(storage: Storage) -> None:
    """From each state to each other one, in its lane and into another: the counters say what is there."""
    for number, (was, to) in enumerate(itertools.product(MailState, repeat=2)):
        for lane in (None, key("other")):
            uid = f"{number} {lane is None}"
            storage.enqueue([mail(uid, state=was)])
            step(storage, changes=(Change(uid=uid, state=to, lane=lane),))
            rows = storage.mails(ACCOUNT, Wanted(), 1_000)
            assert storage.counts(ACCOUNT) == Counter((row.route, row.state) for row in rows)
            lanes = {one.key.key: one.counts for one in storage.lanes(ACCOUNT)}
            assert lanes == {name: Counter(row.state for row in rows if row.key == name) for name in {row.key for row in rows}}
    for row in storage.mails(ACCOUNT, Wanted(), 1_000):
        step(storage, changes=(Gone(id=row.id),))
    assert storage.counts(ACCOUNT) == {}
