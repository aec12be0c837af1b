"""What the outbox's own verbs ask of a storage: keys for a day, filters, strict steps, lanes, pruning."""

import pytest
from attrs import evolve
from storage_kit import ACCOUNT, KEY, NEVER, claimed, key, line, mail, state, step

from deliverykit.contracts.books import Change, Gone, LogLine, MailState, Once, Told, Wanted
from deliverykit.contracts.storage import Overtaken, Step, Storage, Taken
from deliverykit.testing import ManualClock

READY, LEASED, SENDING, IN_DOUBT, SCHEDULED, DEAD = MailState
DAY = 24 * 3_600


def keyed(uid: str, name: str = "k", text: str = "p", **fields: object) -> object:
    return mail(uid, once=Once(name, text), **fields)


def test_a_key_is_taken_for_a_day(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([keyed("a"), mail("b")])
    assert storage.taken(ACCOUNT, ["k", "none"]) == {"k": ("a", "p")}
    assert storage.taken("acme", ["k"]) == {}
    clock.advance(DAY - 0.001)
    with pytest.raises(Taken):
        storage.enqueue([mail("c"), keyed("d")])
    assert storage.mail("c") is None
    assert storage.taken(ACCOUNT, ["k"])
    clock.advance(0.001)
    assert storage.taken(ACCOUNT, ["k"]) == {}
    storage.enqueue([keyed("d", text="q"), keyed("e", lane=key(account="acme"))])
    assert storage.taken(ACCOUNT, ["k"]) == {"k": ("d", "q")}


def test_a_step_whose_key_is_taken_writes_nothing(storage: Storage) -> None:
    storage.enqueue([keyed("a"), mail("b")])
    (one,) = claimed(storage, only=["b"])
    with pytest.raises(Taken):
        step(storage, inserts=(keyed("c"),), changes=(Gone(id=one.head.id),), records=({"n": (7,)},))
    assert (state(storage, "c"), state(storage, "b")) == (None, LEASED)
    assert storage.transact(ACCOUNT, (KEY,), lambda view: Step(result=view))[0].records == ({"n": (1,)},)


def test_a_key_is_kept_when_its_mail_has_gone(storage: Storage) -> None:
    storage.enqueue([keyed("a")])
    (one,) = claimed(storage)
    step(storage, changes=(Gone(id=one.head.id),))
    with pytest.raises(Taken):
        storage.enqueue([keyed("b")])


def test_a_strict_step_is_all_or_nothing(storage: Storage) -> None:
    storage.enqueue([mail("a"), mail("b")])
    a, b = storage.mails(ACCOUNT, Wanted(), 9)
    late = (Change(id=a.id, was=READY, state=DEAD), Change(id=b.id, was=SENDING, state=DEAD))
    with pytest.raises(Overtaken):
        step(storage, changes=late, inserts=(mail("c"),), log=(line("a"),), strict=True)
    assert [row.state for row in storage.mails(ACCOUNT, Wanted(), 9)] == [READY, READY]
    assert storage.log("a") == ()
    assert step(storage, changes=late) == {b.id}


def test_filters_narrow(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a", lane=key(stream="s")), mail("b", lane=key(route="other"))])
    clock.advance(1)
    storage.enqueue([mail("c", state=SCHEDULED, due=clock.now() + 9_000), mail("d", lane=key(account="acme"))])
    storage.cancel(ACCOUNT, Wanted(uids=("a",)), 9)
    now = clock.now()

    def found(**fields: object) -> list[str]:
        return [row.uid for row in storage.mails(ACCOUNT, Wanted(**fields), 9)]  # type: ignore[arg-type]

    assert found() == ["a", "b", "c"]
    assert found(uids=("c", "a", "d")) == ["a", "c"]
    assert found(uids=()) == []
    assert found(states=(DEAD, SCHEDULED)) == ["a", "c"]
    assert found(route="other") == found(states=(READY,)) == found(before=now) == ["b"]
    assert found(stream="s") == found(reason="CANCEL") == ["a"]
    assert found(reason="%") == found(server="x") == []
    assert found(since=now) == ["a", "c"]
    rows = storage.mails(ACCOUNT, Wanted(), 2)
    assert uids_of(rows) == ["a", "b"]
    assert uids_of(storage.mails(ACCOUNT, Wanted(), 2, rows[-1].id)) == ["c"]


def uids_of(rows: object) -> list[str]:
    return [row.uid for row in rows]  # type: ignore[attr-defined]


def test_cancel_leaves_what_a_worker_has(storage: Storage) -> None:
    storage.enqueue([mail("a"), mail("b"), mail("c", state=SCHEDULED, due=NEVER - 1), mail("d")])
    claimed(storage, only=["b"])
    first = storage.cancel(ACCOUNT, Wanted(route="news"), 2)
    assert len(first) == 2
    assert len(storage.cancel(ACCOUNT, Wanted(route="news"), 2, first[-1])) == 1
    assert storage.cancel(ACCOUNT, Wanted(route="news"), 2) == ()
    assert {row.uid: row.state for row in storage.mails(ACCOUNT, Wanted(), 9)} == {"a": DEAD, "b": LEASED, "c": DEAD, "d": DEAD}
    assert [one.outcome for _, one in storage.log("c")] == ["dead"]


def test_how_late_a_head_came_due(storage: Storage, clock: ManualClock) -> None:
    due = clock.now() + 1_000
    storage.enqueue([mail("a", state=SCHEDULED, due=due), mail("b")])
    clock.advance(4)
    storage.recover()
    clock.advance(60)
    assert {one.head.uid: one.head.late for one in claimed(storage)} == {"a": 3_000, "b": 0}


def test_what_is_put_back_afresh_counts_from_nought(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a")])
    for _ in range(2):
        (one,) = claimed(storage)
        step(storage, changes=(Change(id=one.head.id, state=READY, spend=True),))
    (one,) = claimed(storage)
    clock.advance(61)
    storage.recover()
    clock.advance(1)
    step(storage, changes=(Change(id=one.head.id, state=READY, afresh=True),))
    row = storage.mail("a")
    assert row is not None
    assert (row.attempts, row.since) == (0, clock.now())


def test_another_letter(storage: Storage) -> None:
    storage.enqueue([mail("a", cost=3)])
    ((row, letter),) = storage.letters(ACCOUNT, 9)
    assert letter == b"letter of a"
    step(storage, changes=(Change(id=row.id, state=READY, letter=b"new", cost=2),))
    (one,) = claimed(storage)
    assert (one.letter, one.head.cost) == (b"new", 2)


def test_lanes_are_counted(storage: Storage, clock: ManualClock) -> None:
    begun = clock.now()
    storage.enqueue([mail("a"), mail("b"), mail("c", lane=key("x"), state=SCHEDULED, due=begun + 5), mail("d", lane=key("x"))])
    claimed(storage, only=["a"], blocked_until=begun + 9_000, blocked_by="q")
    first, second = storage.lanes(ACCOUNT)
    assert (first.counts, first.blocked_by, first.blocked_until, first.blocked_since, first.due) == (
        {READY: 1, LEASED: 1}, "q", begun + 9_000, begun, NEVER,
    )  # fmt: skip
    assert (second.key, second.counts, second.blocked_until, second.due) == (key("x"), {READY: 1, SCHEDULED: 1}, 0, begun + 5)
    assert storage.lanes("acme") == ()


def test_pruning(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("a", files={"h": b"x"}), mail("b")])
    storage.cancel(ACCOUNT, Wanted(uids=("a",)), 9)
    step(storage, log=(line("gone"), line("b")))
    clock.advance(10)
    step(storage, log=(line("gone"),))
    now = clock.now()
    assert storage.prune(ACCOUNT, now - 10_000, 9) == 0
    assert storage.prune("acme", now, 9) == 0
    assert storage.prune(ACCOUNT, now - 9_999, 9) == 1
    assert storage.mail("a") is None
    assert storage.files(["h"]) == {}
    assert [one.outcome for _, one in storage.log("a")] == ["dead", "pruned"]
    assert pruned_log(storage, now - 9_999) == 1
    assert [one.outcome for _, one in storage.log("a")] == ["pruned"]
    assert (len(storage.log("b")), len(storage.log("gone"))) == (1, 2)  # that it went is known for longer


def pruned_log(storage: Storage, before: int) -> int:
    """Page by page, two lines each; how many lines it was."""
    after, gone = 0, 0
    while True:
        count, after = storage.prune_log(ACCOUNT, before, 2, after)
        gone += count
        if not after:
            return gone


def test_for_90_days_the_log_ties_mail_server_and_recipients(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue([mail("sent", who=(b"ann", b"bob")), mail("waits", who=(b"ann",))])
    first, _ = claimed(storage)
    clock.advance(DAY)
    tried = [evolve(line("sent", outcome), detail="said ann") for outcome in ("notsent", "unknown", "accepted", "unfit")]
    step(storage, log=tuple(tried), changes=(Gone(id=first.head.id),))
    clock.advance(90 * DAY)
    assert pruned_log(storage, clock.now()) == 4
    kept = [(one.outcome, one.detail, one.server) for _, one in storage.log("sent")]
    assert kept == [("unknown", "", "s"), ("accepted", "", "s"), ("unfit", "", "s")]
    assert pruned_log(storage, clock.now()) == 0
    assert swept(storage) == 3
    assert of(storage, b"ann") == of(storage, b"bob") == ["unfit", "accepted", "unknown"]
    clock.advance(0.001)
    step(storage, log=(line("waits", "notsent"),))
    assert pruned_log(storage, clock.now()) == 3
    assert storage.log("sent") == ()
    swept(storage)
    storage.forget([b"none"])
    step(storage, log=(line("sent"),))
    assert of(storage, b"bob") == []
    assert of(storage, b"ann") == ["notsent"]  # of the mail that is still here


def of(storage: Storage, who: bytes, **fields: object) -> list[str]:
    return [one.outcome for _, one in storage.told(ACCOUNT, Told(who=(who,), **fields), 9)]  # type: ignore[arg-type]


def swept(storage: Storage) -> int:
    """Page by page, one hash each; how many pages there were more."""
    pages = after = 0
    while after := storage.sweep(1, after):
        pages += 1
    return pages


def test_what_is_told_is_narrowed(storage: Storage, clock: ManualClock) -> None:
    storage.enqueue(
        [mail("a", who=(b"ann", b"bob")), mail("b", who=(b"bob",)), mail("x", lane=key(account="acme"), who=(b"bob",))]
    )
    step(storage, log=(line("a", "notsent"), line("x")))
    step(storage, account="acme", log=(LogLine(uid="x", account="acme", server="s", outcome="accepted"),))
    clock.advance(1)
    step(storage, log=(line("b"), LogLine(uid="a", account=ACCOUNT, server="t", outcome="accepted")))
    now = clock.now()

    def told(limit: int = 9, **fields: object) -> list[str]:
        rows = storage.told(ACCOUNT, Told(**fields), limit)  # type: ignore[arg-type]
        return [f"{one.uid} {one.outcome}" for _, one in rows]

    assert told() == ["a accepted", "b accepted", "x accepted", "a notsent"]
    assert told(2) == told(since=now) == ["a accepted", "b accepted"]
    assert told(before=now, who=(b"ann",)) == told(outcome="notsent") == ["a notsent"]
    assert told(server="t") == told(who=(b"none", b"ann"), server="t") == ["a accepted"]
    assert told(who=(b"bob",)) == told()
    assert told(who=()) == told(who=(b"none",)) == []
    storage.forget([b"bob"])
    assert told(who=(b"bob",)) == []
    assert len(told(who=(b"ann",))) == 2


def test_scrubbing(storage: Storage) -> None:
    said = LogLine(
        uid="b", account=ACCOUNT, server="s", outcome="rejected", detail="Ann@x: no such box", provider_message_id="p"
    )
    step(storage, log=(line("a"), said, line("c")))

    def named(text: str) -> bool:
        return "ann@x" in text.lower()

    assert storage.scrub("acme", named, ["a"], 9) == (0, 0)
    count, after = storage.scrub(ACCOUNT, named, ["a"], 2)
    assert (count, storage.scrub(ACCOUNT, named, ["a"], 2, after)) == (2, (0, 0))
    (((_, one),), ((_, other),), ((_, kept),)) = (storage.log(uid) for uid in "abc")
    assert (one.detail, one.outcome, other.detail, other.provider_message_id) == ("erased", "accepted", "erased", "")
    assert kept.detail == ""
