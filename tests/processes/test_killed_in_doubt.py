"""``kill -9`` of a worker on the wire: each mail goes the way its own word says, whoever recovers it."""

from datetime import timedelta
from typing import Any

import pytest
from process_kit import Stage, eventually, messages

from deliverykit import CalendarQuota
from deliverykit.providers import ElasticEmail


@pytest.mark.parametrize("esp", ["sendgrid", "elasticemail"])
def test_kill_9_on_the_wire_obeys_the_word(stage: Stage, esp: str) -> None:
    """All twelve were taken. Six are held; six are sent again: Elastic Email knows them by their key, SendGrid does not."""
    stage.before_the_hour(1_800)
    provider: Any = ElasticEmail(api_key="k", base_url=stage.sandbox.url("elasticemail")) if esp == "elasticemail" else None
    stage.server(esp=provider, quota=CalendarQuota(hour=500))
    stage.sandbox.fault(esp, "latency", times=None, seconds=30)
    again = stage.mailer.enqueue(messages(6, in_doubt="resend"), route="bulk")
    held = stage.mailer.enqueue(messages(6, start=6), route="bulk")
    worker = stage.start("run", concurrency=20)
    assert eventually(lambda: len(stage.sandbox.requests(esp)) == 12)
    worker.kill()
    worker.communicate()
    stage.running.remove(worker)
    stage.sandbox.clear_faults()
    assert stage.states() == {"SENDING": 12}

    stage.move(timedelta(seconds=61))
    stage.finished(stage.start("drain"))
    assert stage.states() == {"SCHEDULED": 6, "IN_DOUBT": 6}
    assert len(stage.sandbox.requests(esp)) == 12

    stage.move(timedelta(seconds=61))
    (report,) = stage.finished(stage.start("drain"))
    assert report["accepted"] == 6
    assert stage.states() == {"IN_DOUBT": 6}
    assert {mail.id for mail in stage.mailer.outbox.in_doubt(server="sg", route="bulk")} == set(held)
    assert len(stage.sandbox.requests(esp)) == 18
    assert stage.used() == [18]
    taken = [mail.to[0] for mail in stage.sandbox.received(esp)]
    twice = {f"u{number}@example.org" for number in range(6)} if esp == "sendgrid" else set()
    assert {to for to in taken if taken.count(to) == 2} == twice
    assert len(taken) == 12 + len(twice)
    assert all(stage.mailer.log.get(one).lines[-1].outcome == "accepted" for one in again)
