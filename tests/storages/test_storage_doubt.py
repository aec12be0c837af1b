"""Mail of unknown fate in a storage: where it goes, who may still settle it, and how it is listed and resolved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_kit import LEASE, NEVER, claimed, doubtful, key, line, mail, resolve, settled, state, step

from deliverykit.contracts.books import RESENDS, Change, Gone, MailState, Wanted, rest_of
from deliverykit.contracts.storage import Storage
from deliverykit.testing import ManualClock

IN_DOUBT, SCHEDULED, READY, DEAD = MailState.IN_DOUBT, MailState.SCHEDULED, MailState.READY, MailState.DEAD
REST = 1_000
ALL = Wanted()


@given(resend=st.integers(1, 10**7), life=st.just(NEVER) | st.integers(-(10**6), 10**8))
def test_mail_is_sent_again_twice_at_most_each_rest_twice_the_last_and_never_after_it_expires(resend: int, life: int) -> None:
    rests, left = [], life
    for resends in range(10):
        found, rest = rest_of(resend, resends, left)
        if found is not SCHEDULED:
            assert rest == 0
            break
        rests.append(rest)
        left -= rest
        assert left > 0
    assert rests == [resend, 2 * resend][: len(rests)]
    assert (found is DEAD) == (len(rests) == RESENDS)
    if found is IN_DOUBT:  # the next rest would have been too long
        assert left <= (resend << len(rests))
    assert rest_of(0, len(rests), life) == (IN_DOUBT, 0)
    # What has expired stays listed, however often it was sent again.
    assert rest_of(resend, len(rests), min(life, 0)) == (IN_DOUBT, 0)


def lost(storage: Storage, clock: ManualClock, uid: str = "m", token: str = "t", **fields: object) -> int:
    """A mail whose worker dies while it sends it; its row."""
    storage.enqueue([mail(uid, **fields)])
    (one,) = claimed(storage, token=token)
    assert storage.start({one.head.id: token}) == {one.head.id}
    clock.advance(LEASE / 1000)
    storage.recover()
    return one.head.id


def test_recovery_obeys_the_word(storage: Storage, clock: ManualClock) -> None:
    lost(storage, clock, "held")
    lost(storage, clock, "again", resend=REST)
    assert (state(storage, "held"), state(storage, "again")) == (IN_DOUBT, SCHEDULED)
    row = storage.mail("again")
    assert row is not None
    assert (row.due, row.since) == (clock.now() + REST, clock.now())
    clock.advance(REST / 1000)
    storage.recover()
    (one,) = claimed(storage)
    assert (one.head.uid, one.head.resend, one.head.resends) == ("again", REST, 1)


def test_a_verdict_of_unknown_fate_is_noted_with_its_server(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("m", resend=REST, expires=clock.now() + 5_000)])
    (one,) = claimed(storage)
    assert settled(storage, one, state=SCHEDULED, server="s9", due=clock.now() + REST, resends=1)
    clock.advance(REST / 1000)
    storage.recover()
    assert state(storage, "m") is READY
    (one,) = claimed(storage, token="u")  # by server s; it never gets away
    assert one.head.resends == 1
    storage.release(["u"])
    clock.advance(4)
    storage.recover()
    (row,) = doubtful(storage, ALL)
    assert (row.uid, row.state, row.server) == ("m", IN_DOUBT, "s9")
    assert [one.outcome for _, one in storage.log("m")] == ["in_doubt"]
    assert resolve(storage, ALL, sent=False) == 0


def test_an_answer_after_all_settles_what_was_in_doubt(storage: Storage) -> None:
    storage.enqueue([mail("m")])
    (one,) = claimed(storage)
    assert settled(storage, one, state=IN_DOUBT, server="s", resends=0)
    assert settled(storage, one, state=None)
    assert state(storage, "m") is None


def test_a_claim_that_finds_it_expired_leaves_it_in_doubt(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("plain"), mail("may have gone")])
    first, second = claimed(storage)
    assert settled(storage, second, state=READY, server="s9", resends=1)
    storage.release(["t"])
    claimed(storage, only=[], expired=(first.head.id, second.head.id))
    assert (state(storage, "plain"), state(storage, "may have gone")) == (DEAD, IN_DOUBT)
    assert [row.server for row in doubtful(storage, ALL)] == ["s9"]


def test_a_late_answer_settles_it_while_it_rests_and_is_ready(storage: Storage, clock: ManualClock) -> None:
    for uid, ready, taken in (("resting", False, False), ("ready", True, False), ("taken", True, True)):
        row = lost(storage, clock, uid, resend=REST)
        if ready:
            clock.advance(REST / 1000)
            storage.recover()
        if taken:
            assert len(claimed(storage, token="other")) == 1
        assert step(storage, changes=(Gone(id=row, token="t"),)) == ({row} if taken else frozenset())
        assert (state(storage, uid) is not None) == taken


@pytest.fixture
def doubts(storage: Storage, clock: ManualClock) -> Storage:
    """Three in doubt, a second apart, at two servers and of two routes; and one that is not."""
    for uid, server, route in (("m1", "a", "x"), ("m2", "b", "x"), ("m3", "a", "y")):
        storage.enqueue([mail(uid, lane=key(route=route), files={uid: b"file"})])
        (one,) = claimed(storage, next(iter(storage.open_lanes().lanes)))
        assert settled(storage, one, state=IN_DOUBT, server=server, resends=0)
        clock.advance(1)
    storage.enqueue([mail("waits", lane=key(route="x"))])
    return storage


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (ALL, ["m1", "m2", "m3"]),
        (Wanted(server="a"), ["m1", "m3"]),
        (Wanted(route="x"), ["m1", "m2"]),
        (Wanted(server="a", route="x"), ["m1"]),
        (Wanted(uids=("m2", "m3", "waits", "nobody")), ["m2", "m3"]),
        (Wanted(uids=()), []),
        (Wanted(uids=tuple(f"m{number}" for number in range(50_000))), ["m1", "m2", "m3"]),
    ],
    ids=["all", "server", "route", "both", "ids", "no ids", "many ids"],
)
@pytest.mark.parametrize("sent", [True, False])
def test_doubts_are_found_and_resolved(doubts: Storage, which: Wanted, expected: list[str], sent: bool) -> None:
    assert [row.uid for row in doubtful(doubts, which)] == expected
    assert doubtful(doubts, which, "another") == []
    assert resolve(doubts, which, "another", sent=sent) == 0
    assert resolve(doubts, which, sent=sent) == len(expected)
    for uid in ("m1", "m2", "m3"):
        wanted = (None if sent else READY) if uid in expected else IN_DOUBT
        assert state(doubts, uid) is wanted
        assert [one.outcome for _, one in doubts.log(uid)] == ["resolved"] * (uid in expected)
        assert (uid in doubts.files([uid])) == (wanted is not None)
    assert state(doubts, "waits") is READY


def test_doubts_before_an_instant(doubts: Storage, clock: ManualClock) -> None:
    assert [row.uid for row in doubtful(doubts, Wanted(before=clock.now() - 1_000))] == ["m1", "m2"]


def test_what_is_sent_again_reopens_its_lane_and_keeps_its_place(doubts: Storage, clock: ManualClock) -> None:
    claimed(doubts, next(iter(doubts.open_lanes().lanes)), only=[], blocked_until=clock.now() + 99_000)
    assert doubts.open_lanes().lanes == ()
    assert resolve(doubts, Wanted(uids=("m2",)), sent=False) == 1
    leased = claimed(doubts, next(iter(doubts.open_lanes().lanes)))
    assert [one.head.uid for one in leased] == ["m2", "waits"]
    assert leased[0].letter == b"letter of m2"


def test_a_late_answer_does_not_undo_the_hosts_word(storage: Storage, clock: ManualClock) -> None:
    row = lost(storage, clock)
    assert resolve(storage, ALL, sent=False) == 1
    assert step(storage, changes=(Change(id=row, token="t", state=IN_DOUBT),), log=(line("m"),)) == {row}
    assert state(storage, "m") is READY


def test_an_attempt_that_recovery_has_counted_is_not_counted_again(storage: Storage, clock: ManualClock) -> None:
    """Else a late answer of unknown fate would change the number by which an ESP knows the mail that is sent again."""
    storage.enqueue([mail("a", resend=LEASE)])
    (one,) = claimed(storage)
    storage.start({one.head.id: "t"})
    clock.advance(61)
    storage.recover()
    row = storage.mail("a")
    assert row is not None
    assert (row.state, row.attempts) == (MailState.SCHEDULED, 1)
    assert settled(storage, one, state=MailState.SCHEDULED, due=clock.now() + 5, reason="late", spend=True, resends=1)
    row = storage.mail("a")
    assert row is not None
    assert row.attempts == 1
    clock.advance(1)
    storage.recover()
    (again,) = claimed(storage, token="u")
    assert (again.head.attempts, again.head.resends) == (1, 1)


def test_a_late_answer_that_holds_what_is_ready_again_leaves_no_mail_in_the_count(storage: Storage, clock: ManualClock) -> None:
    """``send()`` whose answer outlasts its lease and the rest after it, and which would go on with another server."""
    lost = mail("a", state=MailState.SENDING, token="t", lease_until=clock.now() + LEASE, resend=LEASE)
    step(storage, inserts=(lost,))
    for seconds in (61, 60):
        clock.advance(seconds)
        storage.recover()
    assert state(storage, "a") is READY
    assert not step(storage, changes=(Change(uid="a", token="t", state=MailState.LEASED),))
    storage.recover()  # its lease is over all the same
    assert [lane.ready for lane in storage.open_lanes().lanes] == [1]
    (one,) = claimed(storage, token="u")
    assert settled(storage, one, token="u")
    assert storage.open_lanes().lanes == ()
