"""SES as moto plays it, over real HTTP on loopback: our bytes are understood and its refusals are judged."""

from collections.abc import Iterator
from typing import Any

import boto3
import httpx2
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.server import ThreadedMotoServer
from moto.ses.models import ses_backends
from provider_cases import NOW, SENDER, full, outgoing, plain

from deliverykit.providers.ses import SES
from deliverykit.words.message import Message
from deliverykit.words.outcomes import Accepted, Outcome, ServerFault, Unfit
from deliverykit.words.wire import HttpRequest, HttpResponse

REGION = "eu-west-1"
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret"}


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    aws = boto3.client(
        "sesv2", region_name=REGION, endpoint_url=url, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret"
    )
    for identity in ("example.com", "xn--bcher-kva.example"):
        aws.create_email_identity(EmailIdentity=identity)
    aws.close()
    yield url
    server.stop()


def transmit(request: HttpRequest) -> HttpResponse:
    with httpx2.Client(trust_env=False) as client:
        answer = client.request(request.method, request.url, headers=dict(request.headers), content=request.body)
    return HttpResponse(status=answer.status_code, headers=dict(answer.headers), body=answer.content)


def send(base_url: str, mail: Any) -> Outcome:
    ses = SES(region=REGION, **KEYS, base_url=base_url)
    return ses.outcome(transmit(ses.request(mail, NOW)), mail, NOW)


def received(outcome: Outcome) -> Any:
    assert isinstance(outcome, Accepted), outcome
    sent = ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages
    return next(one for one in sent if one.id == outcome.provider_message_id)


def test_a_mail_of_every_feature_arrives(base_url: str) -> None:
    mail = outgoing(full())
    got = received(send(base_url, mail))
    assert got.subject == mail.message.subject
    assert got.body == mail.message.html
    assert got.source == mail.sender.header
    assert got.destinations["BccAddresses"] == ["dora@example.org"]


def test_a_raw_mail_arrives_with_our_from(base_url: str) -> None:
    raw = b"From: evil@example.net\r\nBcc: evil@example.net\r\nSubject: raw\r\n\r\nbody"
    got = received(send(base_url, outgoing(Message(to=["ann@example.org", "bob@example.org"], raw=raw), SENDER)))
    assert got.source == SENDER.header
    assert got.destinations == ["ann@example.org", "bob@example.org"]
    assert "evil" not in got.raw_data
    assert f"From: {SENDER.header}\r\n" in got.raw_data


@pytest.mark.parametrize(("forced", "outcome"), [(False, Unfit), (True, ServerFault)])
def test_an_unverified_from_is_refused(base_url: str, forced: bool, outcome: type) -> None:
    unverified = plain(sender="stranger@example.net").message
    assert isinstance(send(base_url, outgoing(unverified, forced=forced)), outcome)


def test_a_wrong_base_url_is_not_sent_and_pauses_nothing(base_url: str) -> None:
    ses = SES(region=REGION, **KEYS, base_url=f"{base_url}/nowhere")
    assert type(ses.outcome(transmit(ses.request(plain(), NOW)), plain(), NOW)).__name__ == "NotSent"
