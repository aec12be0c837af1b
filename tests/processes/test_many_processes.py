"""Several processes on one file against the real wire: never over the quota, every gap kept, every mail once."""

import signal
import time
from datetime import timedelta
from itertools import count

from process_kit import Stage, gaps, messages

from deliverykit import CalendarQuota

PAUSE = 100
TOLERANCE = 10 + 2
"""How many ms after its slot a submission may start, and what rounding to ms adds."""


def test_eight_workers_admit_exactly_the_quota(stage: Stage) -> None:
    stage.before_the_hour(1800)
    stage.server(quota=CalendarQuota(hour=137))
    stage.mailer.enqueue(messages(400), route="bulk")
    workers = [stage.start(gate=True, concurrency=10) for _ in range(8)]
    stage.release(len(workers))
    reports = stage.finished(*workers)
    assert sum(report["accepted"] for report in reports) == 137
    assert len(stage.received()) == stage.sandbox.count("sendgrid") == 137
    assert stage.used() == [137]
    assert stage.states() == {"READY": 400 - 137}


def test_a_mail_with_many_recipients_is_charged_for_each_by_whichever_worker(stage: Stage) -> None:
    stage.before_the_hour(1800)
    stage.server(quota=CalendarQuota(hour=100))
    three = [f"{who}@example.org" for who in "abc"]
    stage.mailer.enqueue(messages(60, cc=three[:2], bcc=three[2]), route="bulk")
    stage.finished(*[stage.start(concurrency=7) for _ in range(3)])
    assert sum(len(mail.recipients) for mail in stage.received()) == 100
    assert stage.used() == [100]
    assert stage.states() == {"READY": 35}


def starts(stage: Stage) -> list[int]:
    return [int(line) for line in (stage.folder / "starts").read_text().split()]


def test_three_workers_and_a_sender_keep_every_gap(stage: Stage) -> None:
    """As the processes recorded their starts: what arrives may have been delayed by anything."""
    stage.server(pause=timedelta(milliseconds=PAUSE))
    stage.mailer.enqueue(messages(40), route="bulk")
    workers = [stage.start("run", gate=True, concurrency=10, record=True) for _ in range(3)]
    sender = stage.start("send", gate=True, start=1000, count=6, record=True)
    stage.release(len(workers) + 1)
    (sent,) = stage.finished(sender)
    assert set(sent) <= {"accepted", "queued"}
    stage.finished(stage.start("drain", record=True))
    for worker in workers:
        worker.terminate()
    stage.finished(*workers)
    assert len(stage.received()) == len(starts(stage)) == 46
    assert min(gaps(starts(stage))) >= PAUSE - TOLERANCE


def test_stopped_processes_keep_every_gap(stage: Stage) -> None:
    stage.server(pause=timedelta(milliseconds=PAUSE))
    stage.mailer.enqueue(messages(40), route="bulk")
    workers = [stage.start("run", gate=True, concurrency=10, record=True) for _ in range(2)]
    stage.release(len(workers))
    for turn in count():
        if not stage.states() or turn > 100:
            break
        stopped = workers[turn % 2]
        stopped.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        stopped.send_signal(signal.SIGCONT)
        time.sleep(0.05)
    for worker in workers:
        worker.terminate()
    stage.finished(*workers)
    assert len(stage.received()) == len(starts(stage)) == 40
    assert min(gaps(starts(stage))) >= PAUSE - TOLERANCE


def test_every_mail_arrives_once_by_four_workers(stage: Stage) -> None:
    stage.server()
    stage.mailer.enqueue(messages(2_000), route="bulk")
    reports = stage.finished(*[stage.start(concurrency=50) for _ in range(4)])
    assert sum(report["accepted"] for report in reports) == 2_000
    assert {mail.to[0] for mail in stage.received()} == {f"u{number}@example.org" for number in range(2_000)}
    assert stage.states() == {}


def test_eight_processes_open_a_file_that_is_not_there_yet(stage: Stage) -> None:
    workers = [stage.start("enqueue", gate="early", start=number, count=1) for number in range(8)]
    stage.release(8)
    assert [len(ids) for ids in stage.finished(*workers)] == [1] * 8
    assert stage.states() == {"READY": 8}
