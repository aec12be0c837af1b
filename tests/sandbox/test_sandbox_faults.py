"""Every fault, as a client on a real socket sees it, for every ESP where they differ."""

import json
import time
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from deliverykit.sandbox import ESPS, Sandbox
from deliverykit.words.errors import ConfigurationError


def request(sandbox: Sandbox, esp: str, ident: str = "id-1", key: str = "key") -> dict[str, Any]:
    """A plain submission of each ESP, as keyword arguments of an HTTP client."""
    if esp == "sendgrid":
        body: dict[str, Any] = {
            "personalizations": [{"to": [{"email": "a@example.org"}], "custom_args": {"deliverykit_id": ident}}],
            "from": {"email": "n@example.com"}, "subject": "s", "content": [{"type": "text/plain", "value": "t"}],
        }  # fmt: skip
        return {"url": f"{sandbox.url(esp)}/v3/mail/send", "headers": {"Authorization": f"Bearer {key}"}, "json": body}
    if esp == "mailgun":
        data = {"from": "n@example.com", "to": "a@example.org", "text": "t", "v:deliverykit_id": ident}
        return {"url": f"{sandbox.url(esp)}/v3/mg.example.com/messages", "auth": ("api", key), "data": data}
    if esp == "elasticemail":
        body = {
            "Recipients": {"To": ["a@example.org"]},
            "Content": {"From": "n@example.com", "Body": [{"ContentType": "PlainText", "Content": "t"}], "Postback": ident},
        }
        return {"url": f"{sandbox.url(esp)}/v4/emails/transactional", "headers": {"X-ElasticEmail-ApiKey": key}, "json": body}
    return signed(sandbox, ident, key)


def signed(sandbox: Sandbox, ident: str, key: str) -> dict[str, Any]:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    body = {
        "FromEmailAddress": "n@example.com", "Destination": {"ToAddresses": ["a@example.org"]},
        "Content": {"Simple": {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}}},
        "EmailTags": [{"Name": "deliverykit_id", "Value": ident}],
    }  # fmt: skip
    url = f"{sandbox.url('ses')}/v2/email/outbound-emails"
    aws = AWSRequest("POST", url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    SigV4Auth(Credentials(key, "secret"), "ses", "us-east-1").add_auth(aws)
    return {"url": url, "headers": dict(aws.headers.items()), "content": aws.data}


def post(sandbox: Sandbox, esp: str, ident: str = "id-1", key: str = "AKIAKEY", timeout: float = 5.0) -> httpx2.Response:
    with httpx2.Client(timeout=timeout) as client:
        return client.post(**request(sandbox, esp, ident, key))


@pytest.mark.parametrize("esp", ESPS)
def test_a_hang_reads_everything_and_answers_nothing(sandbox: Sandbox, esp: str) -> None:
    sandbox.fault(esp, "hang", times=1)
    sandbox.fault(esp, "hang", times=1, accepted=False)
    for ident in ("id-1", "id-2"):
        with pytest.raises(httpx2.ReadTimeout):
            post(sandbox, esp, ident, timeout=0.2)
    assert post(sandbox, esp, "id-3").is_success
    assert [mail.id for mail in sandbox.received(esp)] == ["id-1", "id-3"]
    assert [(one.id, one.status, one.accepted, one.fault) for one in sandbox.requests(esp)] == [
        ("id-1", 0, True, "hang"), ("id-2", 0, False, "hang"), ("id-3", post_status(esp), True, "")]  # fmt: skip


def post_status(esp: str) -> int:
    return 202 if esp == "sendgrid" else 200


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reset(sandbox: Sandbox, when: str) -> None:
    sandbox.fault("mailgun", "reset", when=when)
    # A client whose write met the reset may find a bare end of file where it reads: httpx calls that a protocol error.
    with pytest.raises((httpx2.NetworkError, httpx2.RemoteProtocolError)):
        post(sandbox, "mailgun")
    assert sandbox.count("mailgun") == (when == "after")
    assert len(sandbox.requests("mailgun")) == 1


@pytest.mark.parametrize("esp", ESPS)
@pytest.mark.parametrize("kind", ["throttle", "quota", "bad_key", "rejected", "server_error"])
def test_refusals_are_in_the_esps_own_shape_and_take_nothing(sandbox: Sandbox, esp: str, kind: str) -> None:
    sandbox.fault(esp, kind, text="these words")
    answer = post(sandbox, esp)
    assert answer.status_code >= 400
    body = answer.text if kind == "bad_key" and esp == "mailgun" else answer.json()
    shaped: dict[str, Any] = {
        "ses": {"message": "these words"}, "mailgun": {"message": "these words"}, "elasticemail": {"Error": "these words"},
        "sendgrid": {"errors": [{"message": "these words", "field": None, "help": None}]},
    }  # fmt: skip
    assert body == ("these words" if isinstance(body, str) else shaped[esp])
    assert sandbox.count() == 0
    assert post(sandbox, esp).is_success


def test_a_server_error_may_hide_an_accepted_mail(sandbox: Sandbox) -> None:
    sandbox.fault("ses", "server_error", times=2, status=503, retry_after=7, accepted=True)
    answer = post(sandbox, "ses")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert sandbox.count("ses") == 1


def test_throttle_names_its_time(sandbox: Sandbox) -> None:
    sandbox.fault("sendgrid", "throttle", retry_after=60)
    answer = post(sandbox, "sendgrid")
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    assert 59 <= int(answer.headers["X-RateLimit-Reset"]) - sandbox.now() // 1000 <= 61
    sandbox.fault("elasticemail", "throttle", retry_after=9)
    assert post(sandbox, "elasticemail").headers["Retry-After"] == "9"


def test_garbage_and_redirect(sandbox: Sandbox) -> None:
    sandbox.fault("sendgrid", "garbage")
    answer = post(sandbox, "sendgrid")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    assert answer.text.startswith("<!DOCTYPE html>")
    sandbox.fault("sendgrid", "redirect")
    assert post(sandbox, "sendgrid").headers["Location"] == "/v3/mail/send"
    assert sandbox.count() == 0


def test_latency_adds_to_other_faults_and_takes_the_mail_at_once(sandbox: Sandbox) -> None:
    sandbox.fault("mailgun", "latency", times=None, seconds=0.3)
    sandbox.fault("mailgun", "throttle")
    begin = time.monotonic()
    assert post(sandbox, "mailgun").status_code == 429
    assert time.monotonic() - begin >= 0.3
    with pytest.raises(httpx2.ReadTimeout):
        post(sandbox, "mailgun", timeout=httpx2.Timeout(60, read=0.1))
    deadline = time.monotonic() + 60  # the mail is taken at once; nobody waited for the answer
    while not sandbox.count("mailgun") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sandbox.count("mailgun") == 1
    sandbox.clear_faults("mailgun")
    assert post(sandbox, "mailgun").is_success


def test_drip_truncate_and_huge(sandbox: Sandbox) -> None:
    sandbox.fault("ses", "drip", seconds=0.3)
    begin = time.monotonic()
    assert post(sandbox, "ses").json()["MessageId"]
    assert time.monotonic() - begin >= 0.25
    sandbox.fault("ses", "truncate")
    with pytest.raises(httpx2.RemoteProtocolError):
        post(sandbox, "ses")
    sandbox.fault("ses", "huge", size=3_000_000)
    assert len(post(sandbox, "ses").content) == 3_000_000
    assert sandbox.count("ses") == 3


def test_faults_strike_in_order_and_as_often_as_asked(sandbox: Sandbox) -> None:
    sandbox.fault("sendgrid", "throttle", times=2)
    sandbox.fault("sendgrid", "server_error", status=504)
    sandbox.fault("elasticemail", "bad_key", times=None)
    assert [post(sandbox, "sendgrid").status_code for _ in range(4)] == [429, 429, 504, 202]
    assert [post(sandbox, "elasticemail").status_code for _ in range(3)] == [400, 400, 400]
    sandbox.clear_faults()
    assert post(sandbox, "elasticemail").status_code == 200


def test_faults_for_one_key_and_for_every_third(sandbox: Sandbox) -> None:
    sandbox.fault("sendgrid", "throttle", times=None, credential="SG.a")
    sandbox.fault("ses", "throttle", times=None, every=3)
    assert [post(sandbox, "sendgrid", key=key).status_code for key in ("SG.a", "SG.b", "SG.a")] == [429, 202, 429]
    assert [post(sandbox, "ses").status_code for _ in range(6)] == [200, 200, 429, 200, 200, 429]


def test_faults_of_other_calls(sandbox: Sandbox) -> None:
    sandbox.fault("sendgrid", "server_error", on="other")
    assert post(sandbox, "sendgrid").status_code == 202
    scopes = {"url": f"{sandbox.url('sendgrid')}/v3/scopes", "headers": {"Authorization": "Bearer SG.x"}}
    assert [httpx2.get(**scopes).status_code for _ in range(2)] == [500, 200]
    assert len(sandbox.requests("sendgrid")) == 1


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (("sendgrid", "explode"), {}, "none of latency, throttle"),
        (("sendgrid", "throttle"), {"seconds": 3}, "takes no 'seconds'"),
        (("postmark", "hang"), {}, "expected 'ses', 'sendgrid'"),
        (("ses", "hang", 0), {}, "times=0"),
        (("ses", "reset"), {"when": "later"}, "neither 'before' nor 'after'"),
        (("ses", "reset"), {"on": "some"}, "none of send, other, all"),
        (("ses", "reset"), {"every": 0}, "1 or more"),
    ],
)
def test_faults_that_do_not_exist(sandbox: Sandbox, arguments: tuple[Any, ...], options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        sandbox.fault(*arguments, **options)


def test_limits_of_the_esp_free_themselves_with_the_clock(sandbox: Sandbox) -> None:
    for esp, spent in (("ses", 429), ("sendgrid", 401), ("mailgun", 420), ("elasticemail", 412)):
        sandbox.limit(esp, per_day=1)
        assert post(sandbox, esp).is_success
        assert post(sandbox, esp).status_code == spent
    sandbox.check_clock(False)
    sandbox.move_clock(timedelta(hours=24, seconds=1))
    for esp in ESPS:
        assert post(sandbox, esp).is_success
    sandbox.reset()
    sandbox.limit("ses", per_second=1)
    assert sorted(post(sandbox, "ses").status_code for _ in range(2)) == [200, 429]
