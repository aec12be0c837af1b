"""Properties of the sandbox's pure parts: no request upsets an ESP, signatures agree with botocore's, forms with real encoders."""

import base64
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.sandbox import sigv4
from deliverykit.sandbox.account import Account, Meter
from deliverykit.sandbox.elasticemail import ElasticEmail
from deliverykit.sandbox.faults import Armed, Fault, struck
from deliverykit.sandbox.mailgun import Mailgun
from deliverykit.sandbox.parsing import form, is_address, mailboxes
from deliverykit.sandbox.sendgrid import SendGrid
from deliverykit.sandbox.service import Service
from deliverykit.sandbox.ses import Ses
from deliverykit.sandbox.wire import Request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=6,
)
FILE = base64.b64encode(b"content").decode()
SIGNED = (
    "AWS4-HMAC-SHA256 Credential=AKIAKEY/20261123/us-east-1/ses/aws4_request, SignedHeaders=host;x-amz-date, Signature="
    + "0" * 64
)
CASES: Sequence[tuple[Service, str, dict[str, str], dict[str, Any]]] = (
    (
        SendGrid(),
        "/v3/mail/send",
        {"authorization": "Bearer x", "content-type": "application/json"},
        {
            "personalizations": [
                {
                    "to": [{"email": "a@example.org", "name": "A"}],
                    "cc": [],
                    "custom_args": {"deliverykit_id": "i"},
                    "headers": {"X": "1"},
                }
            ],
            "from": {"email": "n@example.com", "name": "N"},
            "reply_to_list": [{"email": "r@example.com"}],
            "subject": "s",
            "content": [{"type": "text/plain", "value": "t"}, {"type": "text/html", "value": "h"}],
            "attachments": [{"content": FILE, "filename": "a", "type": "text/csv", "disposition": "inline", "content_id": "c"}],
            "headers": {"X-A": "1"},
            "categories": ["a"],
            "custom_args": {"b": "c"},
            "send_at": 1,
            "mail_settings": {"sandbox_mode": {"enable": False}},
        },
    ),
    (
        Ses(),
        "/v2/email/outbound-emails",
        {"authorization": SIGNED, "host": "x", "x-amz-date": "20261123T000000Z"},
        {
            "FromEmailAddress": "n@example.com",
            "Destination": {"ToAddresses": ["a@example.org"], "CcAddresses": [], "BccAddresses": []},
            "ReplyToAddresses": ["r@example.com"],
            "Content": {
                "Simple": {
                    "Subject": {"Data": "s", "Charset": "UTF-8"},
                    "Body": {"Text": {"Data": "t"}, "Html": {"Data": "h"}},
                    "Headers": [{"Name": "X", "Value": "y"}],
                    "Attachments": [{"RawContent": FILE, "FileName": "a", "ContentType": "text/csv", "ContentId": "c"}],
                }
            },
            "EmailTags": [{"Name": "a", "Value": "b"}],
            "ConfigurationSetName": "set",
        },
    ),
    (
        Ses(),
        "/v2/email/outbound-emails",
        {"authorization": SIGNED, "host": "x", "x-amz-date": "20261123T000000Z"},
        {"Content": {"Raw": {"Data": base64.b64encode(b"From: n@example.com\r\nTo: a@example.org\r\n\r\nt").decode()}}},
    ),
    (
        ElasticEmail(),
        "/v4/emails/transactional",
        {"x-elasticemail-apikey": "k"},
        {
            "Recipients": {"To": ["a@example.org"], "CC": [], "BCC": []},
            "Content": {
                "From": "n@example.com",
                "ReplyTo": "r@example.com",
                "Subject": "s",
                "Body": [{"ContentType": "HTML", "Content": "h", "Charset": "utf-8"}],
                "Headers": {"X": "y"},
                "Attachments": [{"BinaryContent": FILE, "Name": "a", "ContentType": "text/csv"}],
                "Postback": "i",
            },
            "Options": {"TimeOffset": 1, "ChannelName": "c", "TrackOpens": True},
        },
    ),
)


def _paths(tree: Any, so_far: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [so_far, *(path for key, value in below for path in _paths(value, (*so_far, key)))]


def _with(tree: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    copy = tree.copy()
    copy[path[0]] = _with(tree[path[0]], path[1:], value)
    return copy


def _account() -> Account:
    return Account(check_clock=False, verified=frozenset({"example.com"}), refused=frozenset({"z@example.org"}))


@given(st.sampled_from(CASES), st.data())
def test_no_json_upsets_an_esp(case: tuple[Service, str, dict[str, str], dict[str, Any]], data: st.DataObject) -> None:
    service, path, headers, body = case
    whole = service.answer(Request(method="POST", target=path, headers=headers, body=json.dumps(body).encode()), _account())
    assert whole.mail is not None, whole.reply
    changed = _with(body, data.draw(st.sampled_from(_paths(body))), data.draw(JSON))
    verdict = service.answer(
        Request(method="POST", target=path, headers=headers, body=json.dumps(changed).encode()), _account()
    )
    assert verdict.reply.status < 500
    assert (verdict.mail is None) == (verdict.reply.status >= 300)
    if verdict.mail is not None:
        assert verdict.mail.recipients
        assert all(is_address(one) for one in (*verdict.mail.recipients, verdict.mail.sender))


@given(
    st.sampled_from(
        [*CASES, (Mailgun(), "/v3/d.example/messages", {}, {}), (Mailgun(), "/v3/d.example/messages.mime", {}, {})]
    ),
    st.data(),
)
def test_no_bytes_upset_an_esp(case: tuple[Service, str, dict[str, str], dict[str, Any]], data: st.DataObject) -> None:
    service, path, headers, _ = case
    kinds = st.sampled_from(
        ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]
    )
    mailgun = {"authorization": "Basic " + base64.b64encode(b"api:k").decode(), "content-type": data.draw(kinds)}
    body = data.draw(st.binary() | st.binary().map(lambda some: b"--b\r\n" + some + b"\r\n\r\nx\r\n--b--\r\n"))
    verdict = service.answer(Request(method="POST", target=path, headers=headers or mailgun, body=body), _account())
    assert verdict.mail is None
    assert 400 <= verdict.reply.status < 500


PLAIN = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@given(
    st.sampled_from(["GET", "POST"]),
    st.lists(st.sampled_from(["v2", "email", "a b", "ä", "x+y", "~", "a%2Fb"]), max_size=3),
    st.dictionaries(PLAIN, st.text(max_size=8), max_size=3),
    st.dictionaries(
        st.sampled_from(["x-amz-meta", "x-own", "content-type"]), st.sampled_from(["a", "a  b", "a;b"]), max_size=3
    ),
    st.binary(max_size=40),
    st.text(min_size=1, max_size=20),
)
def test_signatures_agree_with_botocore(
    method: str, path: list[str], query: dict[str, str], headers: dict[str, str], body: bytes, secret: str
) -> None:
    asked = urlencode(query, quote_via=quote, safe="-_.~")
    target = requests.Request(method, "http://127.0.0.1:8080/" + "/".join(path) + (asked and f"?{asked}")).prepare().url
    assert target is not None
    aws = AWSRequest(method, target, data=body, headers=headers)
    SigV4Auth(Credentials("AKIAKEY", secret), "ses", "us-east-1").add_auth(aws)
    sent = {name.lower(): value for name, value in aws.headers.items()} | {"host": "127.0.0.1:8080"}
    after = target.removeprefix("http://127.0.0.1:8080")
    account = Account(check_clock=False, secrets={"AKIAKEY": secret})
    claim = sigv4.claim(sent["authorization"])
    assert claim is not None
    assert sigv4.check(claim, Request(method=method, target=after, headers=sent, body=body), account) is None
    for other in (
        Request(method=method, target=after, headers=sent, body=body + b"x"),
        Request(method=method + "X", target=after, headers=sent, body=body),
        Request(method=method, target="/more" + after, headers=sent, body=body),
        Request(method=method, target=after, headers=sent | {"host": "elsewhere"}, body=body),
    ):
        problem = sigv4.check(claim, other, account)
        assert problem is not None
        assert problem[0] == "InvalidSignatureException"
    account.secrets["AKIAKEY"] = secret + "x"
    assert sigv4.check(claim, Request(method=method, target=after, headers=sent, body=body), account) is not None


NAMES = st.text(st.characters(exclude_categories=["C"], exclude_characters='"\\%'), min_size=1, max_size=12).filter(
    lambda name: name == name.strip() and "''" not in name
)


@given(st.lists(st.tuples(NAMES, NAMES, st.binary(max_size=60)), min_size=1, max_size=4), st.booleans())
def test_forms_are_read_as_real_clients_write_them(parts: list[tuple[str, str, bytes]], by_requests: bool) -> None:
    files = [(name, (filename, content, "image/png")) for name, filename, content in parts]
    if by_requests:
        prepared = requests.Request("POST", "http://x/", files=files).prepare()
        kind, body = prepared.headers["Content-Type"], prepared.body
    else:
        built = httpx2.Request("POST", "http://x/", files=files)
        kind, body = built.headers["Content-Type"], built.read()
    assert isinstance(body, bytes)
    found = [(part.name, part.filename, part.content, part.content_type) for part in form(kind, body)]
    assert found == [(name, filename, content, "image/png") for name, filename, content in parts]


@given(st.lists(st.sampled_from(["", "Ann", "Ärger", "O'Hara, Ann", 'A "B" C', "a;b"]), min_size=1, max_size=4))
def test_address_lists_are_taken_apart(names: list[str]) -> None:
    escaped = [name.replace('"', '\\"') for name in names]
    text = ", ".join(f'"{name}" <a{n}@example.org>' if name else f"a{n}@example.org" for n, name in enumerate(escaped))
    assert mailboxes(text) == [(name, f"a{n}@example.org") for n, name in enumerate(names)]


@given(st.lists(st.tuples(st.sampled_from(["throttle", "latency", "hang"]), st.integers(1, 4), st.integers(1, 3)), max_size=5))
def test_every_fault_strikes_as_often_as_asked(given_: list[tuple[str, int, int]]) -> None:
    armed = [Armed(Fault.of(kind, {"every": every}), times) for kind, times, every in given_]
    met: list[str] = []
    for _ in range(200):
        faults = struck(armed, True, "key")
        assert sum(fault.kind != "latency" for fault in faults) <= 1
        met += [fault.kind for fault in faults]
    assert armed == []
    for kind in ("throttle", "latency", "hang"):
        assert met.count(kind) == sum(times for name, times, _ in given_ if name == kind)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5)), max_size=20), st.integers(1, 50))
def test_a_meter_counts_its_window(steps: list[tuple[int, int]], window: int) -> None:
    meter = Meter(window)
    now, seen = 0, []
    for wait, n in steps:
        now += wait
        meter.add(now, n)
        seen.append((now, n))
        assert meter.read(now) == sum(n for at, n in seen if at > now - window)
