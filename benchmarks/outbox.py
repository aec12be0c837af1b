"""The outbox: claim and settle, what is blocked in another lane, idleness, and a backlog of any size."""

import multiprocessing
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve

from benchmarks.measuring import Contender, Row, compared, folder, timed
from benchmarks.pump import pump
from benchmarks.stage import CLOCK, LANE, LEASE, LETTER, Puller, fill
from deliverykit.clocks import SystemClock
from deliverykit.contracts.storage import Claim, Step, Storage, View
from deliverykit.storages import open_storage
from deliverykit.words.clock import NEVER

BATCH = 100


class Bare:
    """The floor: a table, a claim of a hundred with a lease by one statement, a settle of a hundred fenced by its owner."""

    def __init__(self, path: Path, durability: str) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("pragma journal_mode=wal")
        self.db.execute(f"pragma synchronous={durability}")
        self.db.executescript(
            "create table outbox (id integer primary key, lane text not null default 'r', priority int not null default 0,"
            " state int not null default 0, due int not null default 0, attempts int not null default 0,"
            " lease_until int, lease_by text, body blob);"
            "create index ready on outbox (lane, priority desc, due, id) where state=0;"
            "create index leased on outbox (lease_until) where state=1;"
        )

    def fill(self, number: int) -> None:
        self.db.execute("begin immediate")
        self.db.executemany("insert into outbox (body) values (?)", [(LETTER,)] * number)
        self.db.execute("commit")

    def claim(self) -> list[Any]:
        now = time.time_ns()
        return self.db.execute(
            "update outbox set state=1, lease_until=?, lease_by='me', attempts=attempts+1 where id in"
            " (select id from outbox where state=0 and lane='r' and due<=? order by priority desc, due, id limit ?)"
            " returning id, body",
            (now + LEASE, now, BATCH),
        ).fetchall()

    def settle(self, claimed: Sequence[Any]) -> None:
        self.db.execute("begin immediate")
        self.db.executemany(
            "update outbox set state=2, lease_until=null, lease_by=null where id=? and lease_by='me'",
            [(id_,) for id_, _ in claimed],
        )
        self.db.execute("commit")


def claim_and_settle(short: bool) -> list[Row]:
    """Claimed, handled by doing nothing, settled: both sides through one pump, then the transactions alone, turn by turn.

    The floor does not admit what it claims and keeps no log. The peers take one task after the other.
    """
    found: list[Row] = []
    turns, rounds = (3, 3) if short else (20, 7)
    for durability in ("full", "normal"):
        with folder() as path:
            bare = Bare(path / "floor.db", durability)
            storage = open_storage(f"sqlite:///{path}/mail.db", CLOCK, durability)
            puller, filled = Puller(storage, BATCH), iter(range(1_000))

            def floor(way: _Way, bare: Bare = bare) -> float:
                bare.fill(turns * BATCH)
                return way(bare, turns)

            def ours(way: _Way, storage: Storage = storage, puller: Puller = puller, filled: Any = filled) -> float:
                fill(storage, f"r{next(filled)}-", turns * BATCH)
                return way(puller, turns)

            claim = f"claim and settle of one mail, SQLite, durability {durability}"
            for told, way, goals in (("50 tasks", _pumped, {"deliverykit": "≥ 0.5"}), ("transactions alone", _in_turns, {})):
                contenders: dict[str, Contender] = {
                    "floor: raw SQL, nothing admitted, no log": partial(floor, way),
                    "deliverykit": partial(ours, way),
                }
                if durability == "full" and way is _in_turns:
                    contenders |= _peers(path, 20 if short else 300)
                found += compared(f"{claim}, {told}", contenders, rounds, goals)
            bare.db.close()
            storage.close()
    return found


_Way = Callable[["Bare | Puller", int], float]
"""Claims and settles so many hundreds; answers with the seconds that one mail took."""


def _pumped(side: Bare | Puller, turns: int) -> float:
    began = time.perf_counter()
    number = pump(side.claim, side.settle, BATCH)
    seconds = time.perf_counter() - began
    if number != turns * BATCH:
        raise AssertionError(f"{number} of {turns * BATCH} mails were handled")
    return seconds / number


def _in_turns(side: Bare | Puller, turns: int) -> float:
    return timed(lambda: side.settle(side.claim()), turns) / BATCH


def _peers(path: Path, number: int) -> dict[str, Any]:
    peers: dict[str, Any] = {}
    try:
        from huey import SqliteHuey
    except ImportError:
        pass
    else:
        queue = SqliteHuey("bench", filename=str(path / "huey.db"), fsync=True, results=False)
        task = queue.task()(_nothing)

        def huey() -> float:
            for _ in range(number):
                task(LETTER)
            return timed(lambda: queue.execute(queue.dequeue()), number)

        peers["huey (a task is gone once it is taken)"] = huey
    try:
        from litequeue import LiteQueue
    except ImportError:
        pass
    else:
        lite = LiteQueue(str(path / "lite.db"))

        def litequeue() -> float:
            for _ in range(number):
                lite.put("x" * len(LETTER))
            return timed(lambda: lite.done(lite.pop().message_id), number)

        peers["litequeue (durability normal)"] = litequeue
    return peers


def _nothing(_letter: bytes) -> None:
    """What a task of a peer does."""


def _pull(path: str, answers: Any) -> None:
    storage = open_storage(f"sqlite:///{path}", SystemClock(), "normal")
    puller, uids = Puller(storage, BATCH), []
    while claimed := puller.claim():
        uids += [one.head.uid for one, _, _ in claimed]
        puller.settle(claimed)
    answers.put(uids)


def two_processes(short: bool) -> list[Row]:
    """Two processes on one lane: each mail exactly once."""
    number = 500 if short else 20_000
    context = multiprocessing.get_context("spawn")
    with folder() as path:
        storage = open_storage(f"sqlite:///{path}/mail.db", SystemClock(), "normal")
        fill(storage, "m", number)
        answers = context.Queue()
        workers = [context.Process(target=_pull, args=(str(path / "mail.db"), answers)) for _ in range(2)]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        shares = [answers.get(timeout=300) for _ in workers]
        seconds = time.perf_counter() - began
        for worker in workers:
            worker.join()
        times = Counter(uid for share in shares for uid in share)
        storage.close()
        if len(times) != number or set(times.values()) != {1}:
            raise AssertionError(f"{len(times)} of {number} mails were claimed, some {max(times.values())} times")
        shared = " + ".join(str(len(share)) for share in shares)
        return [Row(claim="two processes on one lane, SQLite, durability normal", what=f"{shared} mails, each once",
                    us=seconds / number * 1e6, note="with the start of two interpreters")]  # fmt: skip


BLOCKED = evolve(LANE, key="blocked")


def _blocked(storage: Storage, number: int) -> None:
    fill(storage, "b", number, BLOCKED)
    lane = next(lane for lane in storage.open_lanes().lanes if lane.key == BLOCKED)
    storage.claim(lane, 1, (), _Block(), token="t", lease=1)


class _Block:
    def __call__(self, view: View) -> Step[Claim]:
        return Step(result=Claim(blocked_until=NEVER, blocked_by="no quota"))


def beside_a_blocked_lane(short: bool) -> list[Row]:
    """A claim of a hundred, with 200,000 blocked in another lane."""
    number, turns = (1_000, 3) if short else (200_000, 40)
    with folder() as path:
        storage = open_storage(f"sqlite:///{path}/mail.db", CLOCK, "normal")
        _blocked(storage, number)
        puller, times = Puller(storage, BATCH), []
        for turn in range(turns):
            fill(storage, f"t{turn}-", BATCH)
            began = time.perf_counter()
            claimed = puller.claim()
            times.append(time.perf_counter() - began)
            if len(claimed) != BATCH:
                raise AssertionError(f"{len(claimed)} were claimed")
            puller.settle(claimed)
        storage.close()
    median = sorted(times)[len(times) // 2]
    return [Row(claim=f"a claim of {BATCH}, {number:,} blocked in another lane", what="deliverykit, open lanes included",
                us=median * 1e6, goal="≤ 2,000")]  # fmt: skip


def idle(short: bool) -> list[Row]:
    """What a wake-up costs over a backlog without quota, and that it writes nothing."""
    number, turns = (1_000, 20) if short else (100_000, 500)
    with folder() as path:
        storage = open_storage(f"sqlite:///{path}/mail.db", SystemClock(), "normal")
        _blocked(storage, number)
        raw: sqlite3.Connection = storage._db._opened()  # type: ignore[attr-defined]
        raw.execute("pragma wal_checkpoint(truncate)").fetchall()

        def look() -> None:
            storage.recover()
            storage.open_lanes()

        look()
        before = (raw.total_changes, (path / "mail.db-wal").stat().st_size)
        seconds = sorted(timed(look, turns // 5) for _ in range(5))[2]
        after = (raw.total_changes, (path / "mail.db-wal").stat().st_size)
        storage.close()
    if before != after:
        raise AssertionError(f"it wrote: changes and log size were {before}, are {after}")
    return [
        Row(claim=f"a wake-up with {number:,} mails without quota", what="deliverykit: two reads, no write", us=seconds * 1e6)
    ]


def any_backlog(short: bool) -> list[Row]:
    """Claim and settle of one mail, however many wait: a thousand a round, and as many come in their place."""
    sizes = (200, 400) if short else (1_000, 30_000, 300_000)
    turns = 1 if short else 10
    found: list[Row] = []
    with folder() as path, ExitStack() as closing:
        storages: dict[int, tuple[Storage, Puller, Iterator[int]]] = {}
        for number in sizes:
            storage = open_storage(f"sqlite:///{path}/{number}.db", CLOCK, "normal")
            closing.callback(storage.close)
            fill(storage, "m", number)
            storages[number] = (storage, Puller(storage, BATCH), iter(range(1_000)))
        for told, clock in (("wall", time.perf_counter), ("CPU", time.process_time)):
            contenders = {f"{number:,} waiting": partial(_turns, *of, turns, clock) for number, of in storages.items()}
            goals = dict.fromkeys(list(contenders)[1:], "≥ 0.83 (1.2×)")
            claim = f"claim and settle of one mail, by what waits, {told} time; the fewest are the floor"
            found += compared(claim, contenders, 3 if short else 11, goals)
    return found


def _turns(storage: Storage, puller: Puller, filled: Iterator[int], turns: int, clock: Callable[[], float]) -> float:
    seconds = timed(lambda: puller.settle(puller.claim()), turns, clock) / BATCH
    fill(storage, f"r{next(filled)}-", turns * BATCH)
    return seconds


CLAIMS = (claim_and_settle, two_processes, beside_a_blocked_lane, idle, any_backlog)
