"""Decisions that share a transaction: as if each had been asked by itself, in the order they came."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from engine_kit import KEY as SECRET
from engine_kit import NOON
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deliverykit import AsyncMailer, CalendarQuota, Mailer, Message
from deliverykit.coalescing import AwaitingQueue, BlockingQueue
from deliverykit.colours import BlockingPorts
from deliverykit.contracts.books import Change, Document, Gone, LaneKey, LogLine, MailState, NewMail, Once
from deliverykit.contracts.storage import Step, Storage, View
from deliverykit.engine.admission.asking import Place
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.ports import blocking
from deliverykit.engine.together import Answer, Question, together
from deliverykit.limits import Pause
from deliverykit.providers import SendGrid
from deliverykit.records.account import Account
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import DeliveryServer, Status
from deliverykit.routers import RoundRobin
from deliverykit.sandbox import Sandbox
from deliverykit.storages import open_storage
from deliverykit.testing import ManualClock
from deliverykit.words.errors import StorageError

KEYS = ("account:a", "host")
LANE = LaneKey("a", "r", "", "")


def at_once(call: Any, batch: Any) -> None:
    """What a queue calls the storage with, where nothing has to be cleaned up."""
    call(batch)


class Locked:
    """A storage that another program holds: each question takes it all its patience."""

    asked = 0

    def transact(self, *_: object) -> Any:
        self.asked += 1
        raise StorageError("locked")


def test_locked_storage_is_not_asked_for_each_of_a_batch() -> None:
    storage: Any = Locked()
    answers = together([Question(storage, "a", KEYS, Ask(str(number))) for number in range(50)])
    assert len(answers) == 50
    assert all(isinstance(one.error, StorageError) for one in answers)
    assert storage.asked <= 3


class Trouble(Exception):
    pass


@frozen
class Ask:
    """Counts one up, tells what it counted to, and wants something more."""

    uid: str
    host: bool = False
    ending: str = ""

    def __call__(self, view: View) -> Step[Any]:
        if self.ending == "raises":
            raise Trouble(self.uid)
        count = sum(view.records[0].get("n", ())) + 1
        mail = NewMail(
            uid=self.uid, lane=LANE, cost=1, token=self.uid, state=MailState.SENDING, letter=b"", lease_until=1 << 60
        )
        line = LogLine(uid=self.uid, account="a", server="s", outcome="x")
        more: dict[str, Any] = {
            "inserts": {"inserts": (mail,)},
            "once": {"inserts": (NewMail(uid=self.uid, lane=LANE, cost=1, letter=b"", once=Once("k", "p")),)},
            "settles": {"changes": (Change(uid="old", token="old", state=MailState.DEAD, spend=True),), "log": (line,)},
            "is late": {"changes": (Gone(uid="older", token="other"),)},
            "strict": {"changes": (Gone(uid="older", token="other"),), "strict": True},
            "documents": {"documents": (Document(kind="server", id=self.uid, data="{}"),)},
            "wakes": {"wake": True},
            "no mail": {"inserts": (mail, mail)},
        }.get(self.ending, {})
        if self.ending == "refuses":
            return Step(result=("no", view.now, bool(view.version)))
        host = {"h": (len(view.records[1]),)} if self.host else None
        return Step(result=(count, view.now, bool(view.version)), records=({"n": (count,)}, host), **more)


ENDINGS = ["", "", "inserts", "settles", "is late", "raises", "refuses", "wakes", "once", "strict", "documents", "no mail"]


def books(storage: Storage) -> Any:
    with storage._db.reading() as db:  # type: ignore[attr-defined]
        tables = ("dk_state", "dk_mail", "dk_lane", "dk_log", "dk_document", "dk_account", "dk_once", "dk_letter")
        found = {table: db.rows(f"select * from {table}") for table in tables}
        return {**found, "dk_account": [id_ for id_, _ in found["dk_account"]]}  # versions are drawn


@contextmanager
def storages() -> Iterator[tuple[Storage, Storage]]:
    clock = ManualClock()
    pair = (open_storage("memory://", clock), open_storage("memory://", clock))
    for storage in pair:
        for uid in ("old", "older"):
            storage.transact("a", KEYS, Ask(uid, ending="inserts"))
    yield pair
    for storage in pair:
        storage._db.close()  # type: ignore[attr-defined]


def told(answer: Answer[Any]) -> Any:
    return repr(answer.error) if answer.error is not None else (answer.result, answer.late)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(ENDINGS)), min_size=2, max_size=8))
@example([(False, "no mail"), (False, "no mail"), (False, "inserts")])
def test_asked_together_is_asked_one_after_the_other(wanted: list[tuple[bool, str]]) -> None:
    asks = [Ask(f"m{number}", host, ending) for number, (host, ending) in enumerate(wanted)]
    with storages() as (one, other):
        answers = together([Question(one, "a", KEYS, ask) for ask in asks])
        singly = [together([Question(other, "a", KEYS, ask)])[0] for ask in asks]
        assert [told(answer) for answer in answers] == [told(answer) for answer in singly]
        assert books(one) == books(other)


def test_those_without_trouble_take_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    with storages() as (one, _):
        calls = counted(one, monkeypatch)
        asks = [Ask(f"m{number}", ending=ending) for number, ending in enumerate(["inserts", "raises", "settles", "is late"])]
        answers = together([Question(one, "a", KEYS, ask) for ask in asks])
        assert len(calls) == 1
        assert isinstance(answers[1].error, Trouble)
        assert [answer.late for answer in answers] == [frozenset(), frozenset(), frozenset(), {"older"}]


def counted(storage: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    transact = storage.transact

    def counting(*given: Any) -> Any:
        calls.append(1)
        return transact(*given)

    monkeypatch.setattr(storage, "transact", counting)
    return calls


# -- the queues ----------------------------------------------------------------------------------------------


def test_threads_share_transactions_and_each_has_its_own_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with storages() as (one, _):
        queue, gate = BlockingQueue(at_once), threading.Event()
        found: dict[int, Any] = {}

        class Slow(Ask):
            def __call__(self, view: View) -> Step[Any]:
                gate.wait(10)
                return super().__call__(view)

        calls = counted(one, monkeypatch)
        asks = [Slow("m0"), *(Ask(f"m{number}", ending="raises" if number == 5 else "inserts") for number in range(1, 9))]

        def work(number: int) -> None:
            try:
                found[number] = queue.ask(Question(one, "a", KEYS, asks[number]))
            except Trouble as error:
                found[number] = str(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(9)]
        threads[0].start()
        while not calls:
            pass
        for thread in threads[1:]:
            thread.start()
        while len(queue._waiting) < 8:
            pass
        gate.set()
        for thread in threads:
            thread.join(20)
        assert found.pop(5) == "m5"
        assert sorted(result[0] for result, _ in found.values()) == list(range(3, 11))
        assert len(calls) == 2
        assert not queue._waiting


def test_a_question_of_another_account_is_asked_apart() -> None:
    with storages() as (one, _):
        queue = BlockingQueue(at_once)
        assert queue.ask(Question(one, "a", KEYS, Ask("x")))[0][0] == 3
        assert queue.ask(Question(one, "b", ("account:b", "host"), Ask("y")))[0][0] == 1


def test_an_interrupted_thread_leaves_the_queue_to_the_others() -> None:
    with storages() as (one, _):
        queue = BlockingQueue(at_once)

        class Interrupted(Ask):
            def __call__(self, view: View) -> Step[Any]:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            queue.ask(Question(one, "a", KEYS, Interrupted("x")))
        assert not queue._waiting
        assert queue.ask(Question(one, "a", KEYS, Ask("y")))[0][0] == 3


class LeftLocked:
    """A storage whose first call is interrupted while it holds the lock; ``interrupted()`` releases it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.calls = 0
        self.second = threading.Event()

    def transact(self, account: str, keys: tuple[str, ...], decide: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            self.lock.acquire()
            raise KeyboardInterrupt
        self.second.set()
        assert self.lock.acquire(timeout=20), "the interrupted call still holds the storage"
        self.lock.release()
        return 3, frozenset()

    def interrupted(self) -> None:
        self.lock.release()


def test_storage_is_free_before_the_turn_of_an_interrupted_thread_ends() -> None:
    """However late that thread goes on: the next one may be in the storage before it."""
    storage: Any = LeftLocked()
    ports = BlockingPorts(ManualClock(), None, storage)
    queue = ports._queue
    turn = queue._turn
    others: list[threading.Thread] = []

    def slowly(call: Any, *given: Any) -> Any:
        try:
            return turn(call, *given)
        except KeyboardInterrupt:
            others[0].start()
            assert storage.second.wait(60)
            raise

    queue._turn = slowly  # type: ignore[assignment]
    others.append(threading.Thread(target=lambda: queue.ask(Question(storage, "a", KEYS, Ask("other")))))
    with pytest.raises(KeyboardInterrupt):
        blocking(ports.decide, Question(storage, "a", KEYS, Ask("mine")))
    others[0].join(60)
    assert storage.calls == 2
    assert storage.lock.acquire(blocking=False)


def test_interrupted_thread_waits_for_its_answer() -> None:
    """While another thread asks for it: what has become true is known when the exception goes on."""
    with storages() as (one, _):
        queue = BlockingQueue(at_once)
        turn, asked, go = queue._turn, threading.Event(), threading.Event()

        class Slow(Ask):
            def __call__(self, view: View) -> Step[Any]:
                asked.set()
                go.wait(60)
                return super().__call__(view)

        mine = Question(one, "a", KEYS, Slow("mine"))
        interrupted: list[Any] = []

        def by_another(call: Any, *given: Any) -> Any:
            """The first time: another thread asks for this question, and a signal handler raises meanwhile."""
            if threading.current_thread() is not me or interrupted:
                return turn(call, *given)
            interrupted.append(given[0])
            other.start()
            asked.wait(60)
            threading.Timer(0.2, go.set).start()
            raise KeyboardInterrupt

        me = threading.current_thread()
        other = threading.Thread(target=lambda: queue.ask(Question(one, "a", KEYS, Ask("other"))))
        queue._turn = by_another  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt):
            queue.ask(mine)
        assert interrupted[0].answer is not None
        other.join(60)


def test_a_cancelled_task_is_not_asked_for_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with storages() as (one, _):
        calls = counted(one, monkeypatch)

        async def main() -> list[Any]:
            asked, go = asyncio.Event(), asyncio.Event()

            async def run(call: Any, questions: Any) -> Any:
                asked.set()
                await go.wait()
                return call(questions)

            queue = AwaitingQueue(run)
            tasks = [asyncio.create_task(queue.ask(Question(one, "a", KEYS, Ask(f"m{number}")))) for number in range(3)]
            await asked.wait()  # they are on their way, together
            tasks += [asyncio.create_task(queue.ask(Question(one, "a", KEYS, Ask(f"m{number}")))) for number in range(3, 6)]
            await asyncio.sleep(0)
            tasks[1].cancel()  # asked already: it is done, and then cancelled
            tasks[4].cancel()  # not asked yet
            await asyncio.sleep(0)
            go.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

        found = asyncio.run(main())
        assert [type(one) for one in found] == [tuple, asyncio.CancelledError, tuple, tuple, asyncio.CancelledError, tuple]
        assert [one[0][0] for one in found if isinstance(one, tuple)] == [3, 5, 6, 7]
        assert len(calls) == 2


# -- through the doors ---------------------------------------------------------------------------------------


def server(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "id": "s", "name": "S", "provider": SendGrid(api_key="SG.any", base_url=sandbox.url("sendgrid")),
        "sender": "a@example.com", "quota": CalendarQuota(hour=30),
    }  # fmt: skip


def message(number: int) -> Message:
    return Message(to=f"a{number}@example.org", subject="Hello", text="…")


def test_tasks_that_send_at_once_share_transactions_and_never_exceed_the_quota(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> list[Any]:
        async with AsyncMailer(
            f"sqlite:///{tmp_path}/t.db", secret_key=SECRET, timezone="UTC", clock=ManualClock(NOON)
        ) as mailer:
            one = await mailer.servers.add(**server(sandbox))
            await mailer.servers.send_test(one, to="me@example.com")
            await mailer.servers.activate(one)
            calls = counted(mailer._context.storage, monkeypatch)
            results = await asyncio.gather(*(mailer.send(message(number)) for number in range(50)))
            assert len(calls) < 60, "100 transactions were asked for"
            return list(results)

    results = asyncio.run(main())
    assert sorted(result.status.value for result in results) == ["accepted"] * 29 + ["queued"] * 21
    assert len(sandbox.received("sendgrid")) == 30


def test_threads_that_send_at_once_never_exceed_the_quota(sandbox: Sandbox, tmp_path: Path) -> None:
    with Mailer(f"sqlite:///{tmp_path}/t.db", secret_key=SECRET, timezone="UTC", clock=ManualClock(NOON)) as mailer:
        one = mailer.servers.add(**server(sandbox))
        mailer.servers.send_test(one, to="me@example.com")
        mailer.servers.activate(one)
        results: list[Any] = []

        def work(first: int) -> None:
            results.extend(mailer.send(message(number)) for number in range(first, first + 6))

        threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 48, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(result.status.value for result in results) == ["accepted"] * 29 + ["queued"] * 19
    assert len(sandbox.received("sendgrid")) == 30


# -- mail that asks in a row -----------------------------------------------------------------------------------


def asking(uid: str, cost: int, stream: str, *, keep: bool) -> Place:
    mail = NewMail(uid=uid, lane=LaneKey("a", "r", stream, ""), cost=cost, token=uid, letter=b"x")
    return Place(config=FEW, route=FEW.routes["r"], ticket=Ticket(), mail=mail, patience=0, lease=60_000, keep=keep)


def _server(name: str, quota: CalendarQuota, *more: Any) -> DeliveryServer:
    return DeliveryServer(
        id=name, account="a", name=name, provider=SendGrid(api_key="SG.none"), status=Status.ACTIVE, limits=(quota, *more)
    )


FEW = Config(
    version=0,
    account=Account(id="a", timezone="UTC"),
    servers={
        "s1": _server("s1", CalendarQuota(hour=5, day=100, timezone="UTC", keep={"login": 0.4})),
        "s2": _server("s2", CalendarQuota(day=4, timezone="UTC"), Pause(timedelta(milliseconds=100))),
    },
    routes={
        "r": Route(account="a", name="r", servers=("s1", "s2"), strategy=RoundRobin(), when_exhausted=WhenExhausted.FAILOVER)
    },
    budgets={},
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["", "", "", "login"]), st.booleans()), min_size=1, max_size=12),
    st.lists(st.integers(1, 5), min_size=1, max_size=12),
)
def test_mail_that_asks_in_a_row_is_granted_as_one_after_the_other(
    wanted: list[tuple[int, str, bool]], batches: list[int]
) -> None:
    """Whoever shares a transaction with whom: who goes by which server, and why not, is what it would be alone."""
    keys = FEW.keys
    mails = [asking(f"m{number}", cost, stream, keep=keep) for number, (cost, stream, keep) in enumerate(wanted)]
    with storages() as (one, other):
        shared: list[Any] = []
        left = list(mails)
        for size in [*batches, len(mails)]:
            batch, left = left[:size], left[size:]
            shared += [answer.opened()[0] for answer in together([Question(one, "a", keys, ask) for ask in batch])]
        alone = [other.transact("a", keys, ask)[0] for ask in mails]
        for ours, theirs in zip(shared, alone, strict=True):
            assert (ours.state, ours.refusal) == (theirs.state, theirs.refusal)
            assert (ours.grant and (ours.grant.server, ours.grant.start)) == (
                theirs.grant and (theirs.grant.server, theirs.grant.start)
            )
        assert one.counts("a") == other.counts("a")
        seen = [storage.transact("a", keys, lambda view: Step(result=view.records))[0][0] for storage in (one, other)]
        for name in ("s:s1/calendar", "s:s2/calendar"):
            assert seen[0].get(name) == seen[1].get(name)
