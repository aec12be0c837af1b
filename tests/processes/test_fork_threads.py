"""A Mailer that was used before ``os.fork()``, and one that many threads share."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import chain
from typing import Any

import pytest
from mail_process import RecordedStarts
from process_kit import Stage, eventually, gaps, message, messages, open_mailer

from deliverykit import CalendarQuota, Mailer, StorageError

TOLERANCE = 10 + 2
"""How many ms after its slot a submission may start, and what rounding to ms adds."""
pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()"),
    # 3.12 and later warn of a fork beside threads; that is what is tested here.
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]


def in_child(stage: Stage, work: Callable[[], Any]) -> Callable[[], Any]:
    """Fork; the child does the work. What is returned waits for it and answers with its result."""
    told = stage.folder / f"told-{time.monotonic_ns()}"
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # a child that hangs ends itself
        try:
            told.write_text(json.dumps(work()))
        except BaseException as error:
            told.write_text(json.dumps(repr(error)))
        finally:
            os._exit(0)

    def answer() -> Any:
        end = time.monotonic() + 30
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                pytest.fail("the child hangs")
            time.sleep(0.01)
        return json.loads(told.read_text())

    return answer


def recording(stage: Stage) -> Mailer:
    """A Mailer of its own, which writes down when it starts each submission."""
    mailer = open_mailer(stage.folder, stage.clock)
    object.__setattr__(mailer._context, "spacing", RecordedStarts(stage.folder / "starts"))
    return mailer


def ended(stage: Stage) -> bool:
    """Whether a child has told how it ended."""
    return any(stage.folder.glob("told-*"))


def sent(mailer: Mailer, start: int, count: int) -> list[str]:
    return [str(mailer.send(message(start + number), route="bulk").status) for number in range(count)]


def test_parent_and_children_share_what_the_parent_opened(stage: Stage) -> None:
    stage.before_the_hour(1_800)
    stage.server(quota=CalendarQuota(hour=35))
    assert sent(stage.mailer, 0, 2) == ["accepted"] * 2
    answers = [in_child(stage, lambda start=start: sent(stage.mailer, start, 20)) for start in (100, 200)]
    here = sent(stage.mailer, 300, 20)
    everybody = here + [status for answer in answers for status in answer()]
    assert everybody.count("accepted") == 33
    assert everybody.count("queued") == 27
    assert len(stage.received()) == 35
    assert stage.states() == {"READY": 27}


def test_what_a_child_has_acknowledged_outlives_the_parents_close(stage: Stage) -> None:
    """SQLite's locks are the process's own: a child that believed in its parent's would write into a file that is gone."""
    stage.server()
    stage.mailer.outbox.counts()
    opened, closed = stage.folder / "opened", stage.folder / "closed"

    def child() -> int:
        stage.mailer.enqueue(messages(1), route="bulk")
        opened.touch()
        while not closed.exists():
            time.sleep(0.005)
        return len(stage.mailer.enqueue(messages(5, start=10), route="bulk"))

    answer = in_child(stage, child)
    assert eventually(lambda: opened.exists() or ended(stage))
    assert opened.exists(), answer()
    stage.mailer.close()
    closed.touch()
    assert answer() == 5
    assert stage.states() == {"READY": 6}


def test_a_fork_in_the_middle_of_another_threads_transactions(stage: Stage) -> None:
    stage.server()
    stop = threading.Event()

    def busy() -> int:
        rounds = 0
        while not stop.is_set():
            stage.mailer.enqueue(messages(20, start=rounds * 20), route="bulk")
            rounds += 1
        return rounds

    with ThreadPoolExecutor(2) as pool:
        rounds = [pool.submit(busy) for _ in range(2)]
        time.sleep(0.1)
        answers = [in_child(stage, lambda: len(stage.mailer.enqueue(messages(3), route="bulk"))) for _ in range(5)]
        told = [answer() for answer in answers]
        stop.set()
        written = sum(one.result() for one in rounds) * 20
    assert told == [3] * 5
    assert stage.states() == {"READY": written + 15}


def test_memory_is_the_process_that_made_it(stage: Stage) -> None:
    mailer = Mailer("memory://")
    mailer.outbox.counts()

    def child() -> str:
        try:
            mailer.outbox.counts()
        except StorageError as error:
            return str(error)
        return "it works"

    assert "sqlite:///" in in_child(stage, child)()
    assert not any(mailer.outbox.counts().values())
    mailer.close()


def test_a_worker_in_a_child_of_a_process_that_has_used_the_mailer(stage: Stage) -> None:
    stage.server()
    assert stage.mailer.send(message(0), route="bulk")
    stage.mailer.enqueue(messages(100, start=10), route="bulk")
    answer = in_child(stage, lambda: stage.mailer.worker().drain(timedelta(seconds=20)).accepted)
    mine = stage.mailer.worker().drain(timedelta(seconds=20)).accepted
    assert mine + answer() == 100
    assert len(stage.received()) == 101


def test_twenty_threads_send_exactly_the_quota(stage: Stage) -> None:
    stage.before_the_hour(1_800)
    stage.server(quota=CalendarQuota(hour=45))
    with ThreadPoolExecutor(20) as pool:
        found = [status for one in pool.map(lambda start: sent(stage.mailer, start, 4), range(0, 200, 10)) for status in one]
    assert found.count("accepted") == 45
    assert found.count("queued") == 35
    assert len(stage.received()) == 45
    assert stage.used() == [45]


def test_threads_of_two_mailers_keep_one_pause(stage: Stage) -> None:
    """As the two recorded their starts: what arrives may have been delayed by anything."""
    stage.server(pause=timedelta(milliseconds=50))
    mailers = [recording(stage), recording(stage)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda start: sent(mailers[start % 2], start * 100, 4), range(8)))
    assert set(chain(*found)) <= {"accepted", "queued"}, "a thread may wait too long for its turn"
    mailers[0].worker().drain(timedelta(seconds=60))
    for mailer in mailers:
        mailer.close()
    assert len(stage.received()) == 32
    starts = [int(line) for line in (stage.folder / "starts").read_text().split()]
    assert len(starts) == 32
    assert min(gaps(starts)) >= 50 - TOLERANCE
