"""What SIGTERM and ``kill -9`` leave behind: nothing lost, nothing twice, doubt only where there is some."""

import signal
import time
from datetime import timedelta

from process_kit import Stage, eventually, messages

from deliverykit import CalendarQuota


def on_the_wire(stage: Stage) -> int:
    return len(stage.sandbox.requests("sendgrid"))


def test_sigterm_finishes_what_flies_and_gives_back_the_rest(stage: Stage) -> None:
    stage.before_the_hour(1_800)
    stage.server(quota=CalendarQuota(hour=500), pause=timedelta(milliseconds=20))
    stage.sandbox.fault("sendgrid", "latency", times=None, seconds=0.5)
    stage.mailer.enqueue(messages(200), route="bulk")
    worker = stage.start("run", concurrency=20)
    assert eventually(lambda: stage.sandbox.count("sendgrid") >= 30)
    worker.send_signal(signal.SIGTERM)
    (report,) = stage.finished(worker)
    received = len(stage.received())
    assert report["accepted"] == received < 200
    assert report["in_doubt"] == 0
    assert stage.states() == {"READY": 200 - received}
    assert stage.used()[0] == received
    stage.sandbox.clear_faults()
    stage.finished(stage.start("drain"))
    assert len(stage.received()) == 200


def test_sigterm_while_nothing_is_to_be_done_ends_at_once(stage: Stage) -> None:
    stage.server()
    worker = stage.start("run", gate=True, poll=300_000)
    stage.release(1)
    time.sleep(0.7)
    worker.terminate()
    # Its next look would be in five minutes.
    assert stage.finished(worker) == [{"accepted": 0, "dead": 0, "in_doubt": 0, "returned": 0}]


def test_kill_9_in_mid_send(stage: Stage) -> None:
    """Some of it is on the wire, some claimed and not started: the one is in doubt, the other goes, and nothing twice."""
    stage.before_the_hour(1_800)
    stage.server(quota=CalendarQuota(hour=500), pause=timedelta(milliseconds=40))
    stage.sandbox.fault("sendgrid", "latency", times=None, seconds=30)
    stage.mailer.enqueue(messages(60), route="bulk")
    worker = stage.start("run", concurrency=20)
    assert eventually(lambda: on_the_wire(stage) >= 8)
    worker.kill()
    worker.communicate()
    stage.running.remove(worker)
    time.sleep(0.3)
    stage.sandbox.clear_faults()
    left = stage.states()
    assert left.get("SENDING", 0) >= 8
    assert sum(left.values()) == 60

    # Within the lease nobody touches it; the rest goes.
    stage.finished(stage.start("drain", timeout=4))
    assert stage.states()["SENDING"] == left["SENDING"]

    stage.move(timedelta(seconds=61))
    stage.finished(stage.start("drain"))
    assert stage.states() == {"IN_DOUBT": left["SENDING"]}
    doubtful = stage.mailer.outbox.list(limit=100)
    assert all("lost while it was sending" in row.reason for row in doubtful)
    taken = len(stage.received())  # none of them twice
    assert taken <= 60 <= taken + len(doubtful)


def test_kill_9_again_and_again_loses_nothing_and_sends_nothing_twice(stage: Stage) -> None:
    stage.before_the_hour(2_500)
    stage.server(quota=CalendarQuota(hour=5_000))
    stage.sandbox.fault("sendgrid", "latency", times=None, seconds=0.05)
    stage.mailer.enqueue(messages(600), route="bulk")
    for _ in range(4):
        before = stage.sandbox.count("sendgrid")
        worker = stage.start("run", concurrency=15)
        assert eventually(lambda before=before: stage.sandbox.count("sendgrid") >= before + 40)
        worker.kill()
        worker.communicate()
        stage.running.remove(worker)
        stage.move(timedelta(seconds=61))
    stage.finished(stage.start("drain"))
    received = len(stage.received())
    doubtful = stage.states().get("IN_DOUBT", 0)
    assert stage.states() == ({"IN_DOUBT": doubtful} if doubtful else {})
    assert doubtful <= 4 * 15
    assert received <= 600 <= received + doubtful
    assert stage.used()[0] <= 600 + 4 * 15, "beyond the mails, at most what a killed worker held unstarted stays spent"


def test_kill_9_during_enqueue_leaves_all_or_nothing_and_a_sound_file(stage: Stage) -> None:
    stage.server()
    log = stage.folder / "mail.db-wal"
    for turn in range(3):
        before = log.stat().st_size
        process = stage.start("enqueue", start=turn * 40_000, count=40_000)
        assert eventually(lambda before=before, turn=turn: log.stat().st_size > before + 1_000_000 * turn), (
            "it has begun to write"
        )
        process.kill()
        process.communicate()
        stage.running.remove(process)
        assert stage.states().get("READY", 0) % 40_000 == 0
    (verdict,) = stage.mailer._context.storage._db.row("pragma integrity_check")  # type: ignore[attr-defined]
    assert verdict == "ok"


def test_a_worker_that_is_suspended_past_its_lease_submits_nothing_another_has_taken(stage: Stage) -> None:
    """SIGSTOP with mail on the wire and more of it claimed; another sends what is not in doubt; then SIGCONT."""
    stage.before_the_hour(1_800)
    stage.server(quota=CalendarQuota(hour=500), pause=timedelta(milliseconds=30))
    stage.sandbox.fault("sendgrid", "latency", times=None, seconds=0.5)
    ids = stage.mailer.enqueue(messages(60), route="bulk")
    sleeper = stage.start("run", concurrency=20)
    assert eventually(lambda: on_the_wire(stage) >= 8)
    sleeper.send_signal(signal.SIGSTOP)
    time.sleep(0.8)  # what was on the wire is answered, and nobody is there to hear it
    seen = on_the_wire(stage)
    stage.sandbox.clear_faults()
    stage.move(timedelta(seconds=61))
    stage.finished(stage.start("drain"))
    doubtful = stage.states().get("IN_DOUBT", 0)
    assert doubtful >= 1
    assert stage.states() == {"IN_DOUBT": doubtful}
    assert len(stage.received()) >= 40
    sleeper.send_signal(signal.SIGCONT)
    # What it had marked and not begun goes back, and is sent by whoever claims it; late answers settle their own attempts.
    assert eventually(lambda: on_the_wire(stage) >= 60)
    time.sleep(0.5)
    sleeper.terminate()
    stage.finished(sleeper)
    assert on_the_wire(stage) == 60, "each was submitted once, whoever did it"
    received = {mail.to[0] for mail in stage.received()}
    left = {mail.id for mail in stage.mailer.outbox.in_doubt()}
    assert len(left) <= seen
    for number, id_ in enumerate(ids):
        assert f"u{number}@example.org" in received or id_ in left, number
    assert stage.used()[0] <= 60 + 20
