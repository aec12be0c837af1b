"""One admission under hour, day, month and pause: against one bare upsert, alone and by a hundred tasks; in memory too."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.measuring import Row, compared, folder, timed
from benchmarks.stage import ACCOUNT, CLOCK, CONFIG, LETTER, SERVER, Admit, TickingClock, place
from deliverykit.coalescing import AwaitingQueue
from deliverykit.contracts.limit import State
from deliverykit.contracts.storage import Storage
from deliverykit.engine.together import Question
from deliverykit.storages import open_storage

_UPSERT = "insert into counts values (?, 1, 1, 1) on conflict (key) do update set hour=hour+1, day=day+1, month=month+1"
TASKS = 100


class Bare:
    """The floor: one upsert of three counters in its own transaction, through Python's own sqlite3."""

    def __init__(self, path: Path, durability: str) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("pragma journal_mode=wal")
        self.db.execute(f"pragma synchronous={durability}")
        self.db.execute("create table counts (key text primary key, hour int, day int, month int) without rowid")
        self.db.execute(
            "create table mail (id integer primary key, uid text unique, lane int, state int, token text, until int)"
        )
        self.db.execute("create table letter (mail integer primary key, body blob)")
        self._number = count()

    def upsert(self) -> None:
        self.db.execute(_UPSERT, ("default",))

    def upsert_and_insert(self) -> None:
        uid = str(next(self._number))
        self.db.execute("begin immediate")
        self.upsert()
        row = self.db.execute("insert into mail (uid, lane, state, token, until) values (?, 1, 2, ?, 0)", (uid, uid)).lastrowid
        self.db.execute("insert into letter values (?, ?)", (row, LETTER))
        self.db.execute("commit")


def single(short: bool) -> list[Row]:
    """One after another."""
    found: list[Row] = []
    rounds = 3 if short else 9
    for durability in ("normal", "full"):
        # A commit that waits for the disk takes as long as the disk likes.
        times = 100 if short else 2_000 if durability == "normal" else 200
        with folder() as path:
            bare = Bare(path / "floor.db", durability)
            storage = open_storage(f"sqlite:///{path}/mail.db", CLOCK, durability)
            decide, uids = Admit(), count()

            def admit(storage: Storage = storage, decide: Admit = decide) -> None:
                storage.transact(ACCOUNT, CONFIG.keys, decide)

            def send(storage: Storage = storage, uids: "count[int]" = uids) -> None:
                storage.transact(ACCOUNT, CONFIG.keys, place(f"m{next(uids)}"))

            found += compared(
                f"one admission, SQLite, durability {durability}",
                {
                    "floor: one bare upsert": lambda bare=bare, times=times: timed(bare.upsert, times),
                    "deliverykit": lambda admit=admit, times=times: timed(admit, times),
                },
                rounds,
                {"deliverykit": "≥ 0.6"},
            )
            found += compared(
                f"one admission with its mail written down, SQLite, durability {durability}",
                {
                    "floor: bare upsert and two inserts": lambda bare=bare, times=times: timed(bare.upsert_and_insert, times),
                    "deliverykit: what send() does first": lambda send=send, times=times: timed(send, times),
                },
                rounds,
            )
            bare.db.close()
            storage.close()
    return found


def _by_tasks(work: Callable[[], Awaitable[object]], each: int) -> Callable[[], Any]:
    async def task() -> None:
        for _ in range(each):
            await work()

    async def all_tasks() -> None:
        await asyncio.gather(*(task() for _ in range(TASKS)))

    return all_tasks


class _Tasks:
    """A hundred tasks on a loop of their own, each asking in turn."""

    def __init__(self, each: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.each = each
        self.thread = ThreadPoolExecutor(1)

    def round(self, work: Callable[[], Awaitable[object]]) -> float:
        run = _by_tasks(work, self.each)
        return timed(lambda: self.loop.run_until_complete(run()), 1) / (TASKS * self.each)

    def asking(self, storage: Storage) -> Callable[[], Awaitable[object]]:
        """Through the queue of the awaiting ports."""
        decide = Admit()

        async def run(call: Callable[..., Any], questions: Any) -> Any:
            return await self.loop.run_in_executor(self.thread, call, questions)

        queue = AwaitingQueue(run)
        return lambda: queue.ask(Question(storage, ACCOUNT, CONFIG.keys, decide))

    def close(self) -> None:
        self.thread.shutdown()
        self.loop.close()


def by_tasks(short: bool) -> list[Row]:
    """A hundred tasks at once."""
    found: list[Row] = []
    rounds = 3 if short else 7
    for durability in ("normal", "full"):
        each = 2 if short else 50 if durability == "normal" else 5
        with folder() as path:
            tasks = _Tasks(each)
            bare = Bare(path / "floor.db", durability)
            storage = open_storage(f"sqlite:///{path}/mail.db", TickingClock(TASKS), durability)
            ask = tasks.asking(storage)

            async def direct(bare: Bare = bare) -> None:
                bare.upsert()
                await asyncio.sleep(0)

            async def threaded(bare: Bare = bare, tasks: _Tasks = tasks) -> None:
                await tasks.loop.run_in_executor(tasks.thread, bare.upsert)

            found += compared(
                f"{TASKS} asyncio tasks, SQLite, durability {durability}",
                {
                    "floor: one bare upsert a call, blocking the loop": lambda tasks=tasks, direct=direct: tasks.round(direct),
                    "floor: one bare upsert a call, in a thread": lambda tasks=tasks, threaded=threaded: tasks.round(threaded),
                    "deliverykit: shared transactions": lambda tasks=tasks, ask=ask: tasks.round(ask),
                },
                rounds,
                {"deliverykit: shared transactions": "≥ 3"},
            )
            tasks.close()
            bare.db.close()
            storage.close()
    return found


class Dict:
    """The floor in memory: three counters in a dictionary under a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = {"hour": 0, "day": 0, "month": 0}

    def count(self) -> bool:
        with self._lock:
            counts = self._counts
            if counts["hour"] >= 1 << 60 or counts["day"] >= 1 << 60 or counts["month"] >= 1 << 60:
                return False
            counts["hour"] += 1
            counts["day"] += 1
            counts["month"] += 1
            return True


class Limits:
    """The server's limits by themselves, in a dictionary under a lock: no circuit, no route, nothing that is written down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, State] = {limit.key: () for limit in SERVER.limits}

    def take(self) -> bool:
        with self._lock:
            now = CLOCK.now()
            if any(limit.room(self._states[limit.key], now) < 1 for limit in SERVER.limits):
                return False
            for limit in SERVER.limits:
                self._states[limit.key], _ = limit.take(self._states[limit.key], now, 1)
            return True


def memory(short: bool) -> list[Row]:
    """The same where nothing outlives the process."""
    times, rounds = (200, 3) if short else (2_000, 9)
    floor, limits, decide = Dict(), Limits(), Admit()
    storage = open_storage("memory://", CLOCK)
    contenders: dict[str, Callable[[], float]] = {
        "floor: dict and lock": lambda: timed(floor.count, times),
        "deliverykit": lambda: timed(lambda: storage.transact(ACCOUNT, CONFIG.keys, decide), times),
        "deliverykit's limits alone": lambda: timed(limits.take, times),
    }
    try:
        from pyrate_limiter import Duration, InMemoryBucket, Limiter, Rate
    except ImportError:
        pass
    else:
        rates = [Rate(1 << 40, Duration.HOUR), Rate(1 << 41, Duration.DAY), Rate(1 << 42, Duration.DAY * 30)]
        limiter = Limiter(InMemoryBucket(rates))
        contenders["pyrate-limiter, three rates, no pause"] = lambda: timed(lambda: limiter.try_acquire("x"), times)
    found = compared("one admission, memory", contenders, rounds, {"deliverykit": "≥ 0.15"})

    tasks = _Tasks(5 if short else 50)
    shared = open_storage("memory://", TickingClock(TASKS))

    async def direct() -> None:
        floor.count()
        await asyncio.sleep(0)

    ask = tasks.asking(shared)
    found += compared(
        f"{TASKS} asyncio tasks, memory",
        {
            "floor: dict and lock": lambda: tasks.round(direct),
            "deliverykit: shared transactions": lambda: tasks.round(ask),
        },
        rounds,
        {"deliverykit: shared transactions": "≥ 0.5"},
    )
    tasks.close()
    return found


CLAIMS = (single, by_tasks, memory)
