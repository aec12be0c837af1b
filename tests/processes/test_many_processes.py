"""Several processes on one file against the real wire: never over the quota, every gap kept, every mail once."""

from datetime import timedelta

from process_kit import Stage, gaps, messages

from deliverykit import CalendarQuota

PAUSE = 60


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


def test_three_workers_and_a_sender_keep_every_gap_and_the_pace(stage: Stage) -> None:
    stage.server(pause=timedelta(milliseconds=PAUSE))
    stage.mailer.enqueue(messages(75), route="bulk")
    workers = [stage.start("run", gate=True, concurrency=10) for _ in range(3)]
    sender = stage.start("send", gate=True, start=1000, count=10)
    stage.release(len(workers) + 1)
    (sent,) = stage.finished(sender)
    assert set(sent) <= {"accepted", "queued"}
    stage.finished(stage.start("drain"))
    for worker in workers:
        worker.terminate()
    stage.finished(*workers)
    arrived = [mail.at for mail in stage.received()]
    assert len(arrived) == 85
    # What the wire and a busy machine add to a start they may take from the next gap, but never from the sum.
    assert (max(arrived) - min(arrived)) >= 84 * PAUSE - 100
    assert (max(arrived) - min(arrived)) <= 84 * PAUSE * 1.3, "under-admitted"
    assert sum(gap < PAUSE - 10 for gap in gaps(arrived)) <= 12


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
