"""What one process learns of a server all know at once, and whose turn it is too: processes that send one mail and end."""

from datetime import timedelta

import pytest
from process_kit import ROUTE, Stage, eventually, message

from deliverykit import Weighted
from deliverykit.contracts.router import Router
from deliverykit.providers import ElasticEmail, Mailgun, SendGrid

THREE = ("sendgrid", "mailgun", "elasticemail")
FAULTS = 5
"""So many in a row open a circuit."""


@pytest.fixture
def three(stage: Stage) -> Stage:
    """A server at each of three ESPs, on one route, in this order."""
    url = stage.sandbox.url
    for esp in (
        SendGrid(api_key="SG.any", base_url=url("sendgrid")),
        Mailgun(api_key="any", domain="example.com", base_url=url("mailgun")),
        ElasticEmail(api_key="any", base_url=url("elasticemail")),
    ):
        stage.server(esp.name, esp=esp, route=f"only {esp.name}")
    stage.mailer.routes.add(ROUTE, servers=THREE, when_exhausted="failover")
    return stage


def tries(stage: Stage) -> list[int]:
    """How many mails were submitted to each ESP so far."""
    return [len(stage.sandbox.requests(esp)) for esp in THREE]


def test_faults_of_one_process_each_open_a_circuit_that_all_heed_and_one_probe_closes(three: Stage) -> None:
    three.sandbox.fault("sendgrid", "server_error", times=None, status=503)
    workers = [three.start("send", gate=True, start=number, count=1) for number in range(FAULTS)]
    three.release(FAULTS)
    assert three.finished(*workers) == [["accepted"]] * FAULTS
    assert tries(three) == [FAULTS, FAULTS, 0]
    assert three.mailer.servers.health("sendgrid").circuit == "open"
    # Nobody tries it now, whoever asks.
    assert three.finished(three.start("send", start=10, count=1), three.start("send", start=11, count=1)) == [["accepted"]] * 2
    assert tries(three) == [FAULTS, FAULTS + 2, 0]
    # When its rest is over one of them does; as long as that is on the wire the others go elsewhere.
    three.sandbox.clear_faults()
    three.sandbox.clear()
    three.move(timedelta(seconds=31))
    probe = three.start("send", start=20, count=1, hold=True)
    assert eventually((three.folder / "held").exists)
    assert tries(three) == [1, 0, 0]
    assert three.mailer.servers.health("sendgrid").circuit == "half-open"
    assert three.mailer.send(message(21), route=ROUTE)
    assert tries(three) == [1, 1, 0]
    (three.folder / "release").touch()
    assert three.finished(probe) == [["accepted"]]
    assert three.mailer.servers.health("sendgrid").circuit == "closed"
    assert three.finished(three.start("send", start=22, count=1)) == [["accepted"]]
    assert tries(three) == [2, 1, 0]


def test_what_an_esp_told_one_process_holds_for_the_next(three: Stage) -> None:
    three.sandbox.fault("sendgrid", "quota", times=1)
    for number in range(3):
        assert three.finished(three.start("send", start=number, count=1)) == [["accepted"]]
    assert tries(three) == [1, 3, 0]
    assert three.mailer.servers.health("sendgrid").throttled_until


@pytest.mark.parametrize(
    ("strategy", "shares"),
    [("round_robin", [2, 2, 2]), (Weighted({"sendgrid": 3, "mailgun": 2}), [3, 2, 1])],
    ids=["equal", "weighted"],
)
def test_processes_that_send_one_mail_each_take_turns(three: Stage, strategy: str | Router, shares: list[int]) -> None:
    three.mailer.routes.update(ROUTE, strategy=strategy)
    senders = [three.start("send", gate=True, start=number, count=1) for number in range(6)]
    three.release(len(senders))
    assert three.finished(*senders) == [["accepted"]] * 6
    assert tries(three) == shares
