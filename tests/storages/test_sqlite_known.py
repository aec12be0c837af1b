"""What a connection remembers of the limit states changes nothing but the time it takes: interleaved writers, rollbacks and all."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_kit import document, key, mail

from deliverykit.contracts.storage import Change, Claim, MailState, Overtaken, Step, View
from deliverykit.storages.sqlite import SQLiteStorage
from deliverykit.testing import ManualClock
from deliverykit.words.errors import StorageError

ACCOUNTS = ("a", "a", "b")


class Trouble(Exception):
    pass


@frozen
class Write:
    """Decide on what is seen: take one more of some states, leave the others the same objects."""

    keys: tuple[str, ...]
    names: tuple[str, ...]
    touched: tuple[bool, ...]
    ending: str
    seen: list[View] = field(factory=list, eq=False)

    def __call__(self, view: View) -> Step[Any]:
        self.seen.append(view)
        if self.ending == "raises":
            raise Trouble
        records = tuple(
            {**record, **{name: (*record.get(name, ())[-3:], len(record), view.now) for name in self.names}} if touch else None
            for record, touch in zip(view.records, self.touched, strict=True)
        )
        extra: dict[str, Any] = {
            "documents": {"documents": (document("one", str(view.now)),)},
            "undone": {"inserts": (mail("twice"), mail("twice"))},
            "overtaken": {"changes": (Change(uid="none", state=MailState.DEAD),), "strict": True},
            "wakes": {"wake": True},
        }.get(self.ending, {})
        result = Claim() if self.ending == "claims" else view.now
        return Step(result=result, records=records, **extra)


class Twins:
    """The same work by connections that remember, and by one that is made to forget before every step."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.remembering = [SQLiteStorage(str(folder / "one.db"), self.clock, "normal") for _ in range(3)]
        self.plain = SQLiteStorage(str(folder / "other.db"), self.clock, "normal")
        for storage in (self.remembering[0], self.plain):
            storage.enqueue([mail("m", lane=key(account="a"))])

    def both(self, which: int, work: Callable[[SQLiteStorage], object]) -> None:
        answers = []
        self.plain._db.known.forget()
        for storage in (self.remembering[which], self.plain):
            try:
                answers.append(repr(work(storage)))
            except (Trouble, StorageError) as error:
                answers.append(type(error).__name__)
            except Overtaken:
                answers.append("Overtaken")
        assert answers[0] == answers[1]

    def books(self) -> list[list[tuple[Any, ...]]]:
        found = []
        for storage in (self.remembering[0], self.plain):
            with storage._db.reading() as db:
                found.append([*db.rows("select key, seen, record from dk_state"), *db.rows("select id from dk_account")])
        return found


@contextmanager
def twins() -> Iterator[Twins]:
    folder = Path(tempfile.mkdtemp())
    made = Twins(folder)
    try:
        yield made
    finally:
        for storage in (*made.remembering, made.plain):
            storage.close()
        shutil.rmtree(folder)


SOME = st.sampled_from([("account:a",), ("account:a",), ("account:a", "host"), ("host", "account:b", "account:a")])
ENDINGS = ["kept", "kept", "kept", "documents", "undone", "undone", "overtaken", "raises", "wakes", "claims"]


@st.composite
def writes(draw: st.DrawFn) -> tuple[str, int, str, Write]:
    keys = draw(SOME)
    ending = draw(st.sampled_from(ENDINGS))
    names = tuple(draw(st.lists(st.sampled_from(["s:1/calendar", 's:2/"pause"', "ü"]), min_size=1, unique=True)))
    write = Write(keys, names, tuple(draw(st.integers(0, 4)) > 0 for _ in keys), ending)
    return ("decide", draw(st.sampled_from([0, 0, 0, 1, 2])), draw(st.sampled_from(ACCOUNTS)), write)


OTHERS = st.one_of(
    st.tuples(st.just("close"), st.integers(0, 2)),
    st.tuples(st.just("clock"), st.integers(-60_000, 90_000)),
    st.tuples(st.just("by hand"), st.integers(0, 2)),
    st.tuples(st.just("enqueue"), st.integers(0, 2)),
)


@settings(deadline=None)  # of SQLite's writes, one in many waits for the disk
@given(st.lists(st.one_of(writes(), writes(), writes(), OTHERS), min_size=8, max_size=40))
def test_what_is_remembered_is_what_would_be_read(work: list[tuple[Any, ...]]) -> None:
    with twins() as both:
        for number, (what, which, *rest) in enumerate(work):
            match what:
                case "decide":
                    account, write = rest
                    both.both(which, lambda storage, account=account, write=write: _decided(storage, account, write))
                    first, second = write.seen[-2:]
                    assert evolve(first, version=0) == evolve(second, version=0), (
                        "what is remembered differs from what is stored"
                    )
                case "close":
                    both.remembering[which].close()
                case "clock":
                    both.clock.set(both.clock.now() + which)
                case "by hand":  # what moves a clock back on purpose, say
                    both.both(which, _by_hand)
                case "enqueue":
                    both.both(which, lambda storage, number=number: storage.enqueue([mail(f"{number}")]))
            for storage in both.remembering:  # a machine's processes share its clock
                storage._seen = both.plain._seen = max(both.plain._seen, *(one._seen for one in both.remembering))
        one, other = both.books()
        assert one == other


def _decided(storage: SQLiteStorage, account: str, write: Write) -> object:
    claims = write.ending == "claims"
    version = storage.version("a" if claims else account)
    try:
        if claims:
            lane = next(lane for lane in storage.open_lanes().lanes if lane.key.account == "a")
            return storage.claim(lane, 1, write.keys, write, token="t", lease=1)
        return storage.transact(account, write.keys, write)
    finally:
        assert write.seen[-1].version == version, "the version that is remembered is not what is stored"


def _by_hand(storage: SQLiteStorage) -> None:
    with storage._db.writing() as db:
        db.run("update dk_state set seen=seen-1000, record='{\"s:1/calendar\":[7]}' where key='account:a'")


def test_own_states_are_not_read_again(tmp_path: Path) -> None:
    storage = SQLiteStorage(str(tmp_path / "mail.db"), ManualClock(), "normal")
    ran: list[str] = []

    def reads(**more: Any) -> int:
        ran.clear()
        storage.transact(
            "a", ("k",), lambda view: Step(result=None, records=({"n": (*view.records[0].get("n", ()), 1)},), **more)
        )
        return sum("from dk_state" in statement for statement in ran)

    storage._db._opened().set_trace_callback(ran.append)
    assert [reads() for _ in range(3)] == [1, 0, 0]
    storage.enqueue([mail("m")])  # a transaction that does not tell what it writes
    assert [reads(), reads()] == [1, 0]
    assert [reads(documents=(document("one"),)), reads()] == [0, 0]
    storage.close()


@pytest.mark.parametrize("error", [Trouble, StorageError])
def test_after_an_error_the_connection_is_free(tmp_path: Path, error: type[Exception]) -> None:
    storage = SQLiteStorage(str(tmp_path / "mail.db"), ManualClock(), "normal")

    def decide(_view: View) -> Step[None]:
        raise error("x")

    with pytest.raises(error):
        storage.transact("a", ("k",), decide)
    assert storage.transact("a", ("k",), lambda view: Step(result=view.records)) == (({},), frozenset())
    storage.close()
