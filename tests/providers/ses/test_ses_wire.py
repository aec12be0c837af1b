"""What goes to SES: held against botocore's own description, serialiser and signer, and against the message."""

import base64
import json
import re
import sys
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from typing import Any

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from provider_cases import FORCED, ID, NOW, body, full, messages, outgoing, plain

from deliverykit.contracts.capabilities import Feature, Needs
from deliverykit.contracts.provider import Outgoing
from deliverykit.providers.ses import SES
from deliverykit.providers.ses.signing import Keys, signed
from deliverykit.words.addresses import Address
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import ConfigurationError, MessageError
from deliverykit.words.message import Message
from deliverykit.words.wire import HttpRequest

SERVICE = ServiceModel(Loader().load_service_model("sesv2", "service-2"), "sesv2")
SEND = SERVICE.operation_model("SendEmail")

ses = SES(region="ap-south-1", access_key_id="AKIDEXAMPLE", secret_access_key="wJalr-secret", configuration_set="events")


def with_bytes(value: Any, shape: Shape) -> Any:
    """The wire's base64 as the bytes botocore is handed, checking the limits that its own validator passes over."""
    if shape.type_name == "structure":
        return {name: with_bytes(one, shape.members[name]) for name, one in value.items()}
    if shape.type_name == "list":
        assert len(value) <= shape.metadata.get("max", 1 << 30), shape.name
        return [with_bytes(one, shape.member) for one in value]
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    assert isinstance(value, str)
    assert shape.metadata.get("min", 0) <= len(value) <= shape.metadata.get("max", 1 << 30), (shape.name, value)
    assert re.fullmatch(shape.metadata.get("pattern", ".*"), value, re.DOTALL), (shape.name, value)
    assert not getattr(shape, "enum", None) or value in shape.enum, (shape.name, value)
    return value


def hold_against_botocore(mail: Outgoing, provider: SES = ses) -> dict[str, Any]:
    """The wire's JSON, after botocore's validator found no fault and its serialiser made the same of the same fields."""
    request = provider.request(mail, NOW)
    sent = body(request)
    params = with_bytes(sent, SEND.input_shape)
    report = ParamValidator().validate(params, SEND.input_shape)
    assert not report.has_errors(), report.generate_report()
    theirs = create_serializer("rest-json").serialize_to_request(params, SEND)
    assert (theirs["method"], theirs["url_path"]) == (request.method, "/v2/email/outbound-emails")
    assert json.loads(theirs["body"]) == sent
    return sent


def read(header: str) -> str:
    return str(make_header(decode_header(header)))


def hold_against_message(sent: dict[str, Any], mail: Outgoing) -> None:
    message = mail.message
    assert sent["FromEmailAddress"] == mail.sender.header
    assert sent["FromEmailAddress"].isascii()
    people = [one for kind in ("ToAddresses", "CcAddresses", "BccAddresses") for one in sent["Destination"].get(kind, [])]
    assert people == [one.header for one in message.recipients]
    assert all(one.ascii in wire and wire.isascii() for one, wire in zip(message.recipients, people, strict=True))
    assert sent.get("ReplyToAddresses", []) == [one.header for one in mail.reply_to]
    simple = sent["Content"]["Simple"]
    assert simple["Subject"] == {"Data": message.subject, "Charset": "UTF-8"}
    assert {name: part["Data"] for name, part in simple["Body"].items()} == {
        name: text for name, text in (("Text", message.text), ("Html", message.html)) if text
    }
    headers = {one["Name"]: one["Value"] for one in simple["Headers"]}
    assert headers["X-Deliverykit-Id"] == ID
    assert json.loads(headers.get("X-Deliverykit-Metadata", "{}")) == message.metadata
    for name, value in mail.headers.items():
        assert read(headers[name]).strip() == value.replace("\t", " ").strip()
    assert len(simple["Headers"]) == len(headers) == len(mail.headers) + 1 + bool(message.metadata)
    files = simple.get("Attachments", [])
    assert [base64.b64decode(one["RawContent"]) for one in files] == [one.content for one in message.attachments]
    assert [(one["FileName"], one["ContentType"], one.get("ContentId", "")) for one in files] == [
        (one.filename, one.content_type, one.content_id) for one in message.attachments
    ]
    assert [one["ContentDisposition"] == "INLINE" for one in files] == [one.inline for one in message.attachments]
    tags = {one["Name"]: one["Value"] for one in sent["EmailTags"]}
    assert tags.pop("deliverykit_id") == ID
    assert list(tags.values()) == list(message.tags)
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,256}", text) for pair in tags.items() for text in pair)
    overrides = sent.get("ConfigurationOverrides", {}).get("Tracking", {})
    words = {None: None, True: "ENABLED", False: "DISABLED"}
    assert overrides.get("OpenTrackingEnabled") == words[message.track_opens]
    assert overrides.get("ClickTrackingEnabled") == words[message.track_clicks]
    assert sent["ConfigurationSetName"] == "events"


@given(messages())
def test_any_message_is_what_botocore_would_send_and_what_the_host_wrote(message: Message) -> None:
    mail = outgoing(message)
    assume(not ses.unsupported(message))
    hold_against_message(hold_against_botocore(mail), mail)


def test_a_message_of_every_feature() -> None:
    mail = outgoing(full())
    elsewhere = {Feature.RAW, Feature.EMPTY_SUBJECT, Feature.EMPTY_FILES}
    assert Needs.of(mail.message).features >= ses.capabilities.features - elsewhere
    assert ses.unsupported(mail.message) == ()
    sent = hold_against_botocore(mail)
    hold_against_message(sent, mail)
    assert sent["FromEmailAddress"] == "=?utf-8?b?w5hyc3RlZCBOeWhlZGVy?= <news@xn--bcher-kva.example>"
    assert sent["Destination"]["ToAddresses"] == [
        "Ann O'Hara <ann@example.org>",
        "=?utf-8?b?YsO2Yg==?= <bob@xn--mller-kva.example>",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": ""},
        {"attachments": [Attachment(filename="empty.txt", content=b"")]},
        {"headers": {"X-Empty": ""}},
        {"headers": {f"X-{n}": "v" for n in range(13)}, "metadata": {"a": "b"}},
        {"headers": {"X-Long": "v" * 894}},
        {"metadata": {"a": "v" * 780}},
        {"tags": ["t" * 250]},
        {"attachments": [Attachment(filename="n" * 255, content=b"x", content_type="a/" + "b" * 76, content_id="c" * 78)]},
        {"to": '"Doe, Jane; \\"Q\\"" <jane@example.org>'},
    ],
)
def test_the_edges_of_what_it_carries(fields: dict[str, Any]) -> None:
    mail = plain(**fields)
    assert ses.unsupported(mail.message) == ()
    hold_against_botocore(mail)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"to": "jörg@example.org"}, "international"),
        ({"sender": "jörg@example.org"}, "international"),
        ({"reply_to": "jörg@example.org"}, "international"),
        ({"headers": {f"X-{n}": "v" for n in range(14)}}, "13 headers"),
        ({"headers": {f"X-{n}": "v" for n in range(12)}, "unsubscribe": "https://example.com"}, "13 headers"),
        ({"headers": {"X-Long": "v" * 895}}, "a header of more than 900"),
        ({"headers": {"X-Long": "ü" * 500}}, "a header of more than 900"),
        ({"metadata": {"a": "v" * 800}}, "800 bytes of metadata"),
        ({"metadata": {"a": "ü" * 140}}, "800 bytes of metadata"),
        ({"tags": ["two words"]}, "tags of more than letters"),
        ({"tags": ["grün"]}, "tags of more than letters"),
        ({"tags": ["t" * 251]}, "tags of more than letters"),
        ({"attachments": [Attachment(filename="n" * 256, content=b"x")]}, "a file name over 255"),
        ({"attachments": [Attachment(filename="n", content=b"x", content_type="a/" + "b" * 77)]}, "a file name over 255"),
        ({"attachments": [Attachment(filename="n", content=b"x", content_id="c" * 79)]}, "a file name over 255"),
        ({"text": "x" * 40_000_001}, "40000000 bytes"),
    ],
)
def test_what_it_cannot_carry_is_declared(fields: dict[str, Any], says: str) -> None:
    assert says in "; ".join(ses.unsupported(plain(**fields).message))


def test_a_forced_sender_it_cannot_carry_is_named() -> None:
    with pytest.raises(ConfigurationError, match="sender 'jörg@example.org'"):
        ses.request(outgoing(plain().message, Address("jörg@example.org"), forced=True), NOW)


# -- raw ---------------------------------------------------------------------------------------------

RAW = (
    b"From: Evil <evil@example.net>\r\nBcc: hidden@example.net\r\nSender: s@example.net\r\nReturn-Path: <r@example.net>\r\n"
    b"To: everybody\r\nSubject: Raw\r\nX-Deliverykit-Id: forged\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nBcc: not a header\r\nGr\xc3\xbc\xc3\x9fe \xff\r\n"
)


def raw_mail(raw: bytes, reply_to: tuple[Address, ...] = (), **fields: Any) -> Outgoing:
    return outgoing(
        Message(sender="host@example.com", to=["ann@example.org", "Böb <bob@example.org>"], raw=raw, **fields),
        FORCED,
        forced=True,
        reply_to=reply_to,
    )


def parsed(mail: Outgoing) -> Any:
    sent = hold_against_botocore(mail)
    return message_from_bytes(base64.b64decode(sent["Content"]["Raw"]["Data"]), policy=policy.default)


def test_raw_mail_has_our_from_and_envelope_and_keeps_its_body() -> None:
    mail = raw_mail(RAW, tags=["a"], metadata={"k": "ü"}, track_opens=False)
    sent = hold_against_botocore(mail)
    assert sent["Destination"] == {"ToAddresses": ["ann@example.org", "=?utf-8?b?QsO2Yg==?= <bob@example.org>"]}
    assert sent["FromEmailAddress"] == "forced@example.net"
    assert sent["EmailTags"] == [{"Name": "deliverykit_id", "Value": ID}, {"Name": "tag_1", "Value": "a"}]
    data = base64.b64decode(sent["Content"]["Raw"]["Data"])
    assert data.endswith(RAW[RAW.index(b"\r\n\r\n") :])
    mime = message_from_bytes(data, policy=policy.default)
    assert mime.get_all("From") == ["forced@example.net"]
    assert mime.get_all("X-Deliverykit-Id") == [ID]
    assert json.loads(mime["X-Deliverykit-Metadata"]) == {"k": "ü"}
    assert mime["To"] == "everybody"
    assert {"bcc", "sender", "return-path", "reply-to"} & {name.lower() for name in mime} == set()


def test_raw_mail_takes_the_reply_to_of_a_forced_sender_and_else_keeps_its_own() -> None:
    raw = b"Reply-To: own@example.org\r\nSubject: x\r\n\r\nbody"
    assert parsed(raw_mail(raw)).get_all("Reply-To") == ["own@example.org"]
    assert parsed(raw_mail(raw, (Address("orig@example.org"),))).get_all("Reply-To") == ["orig@example.org"]


@pytest.mark.parametrize("name", ["From", "FROM", "from ", "From\t", "Bcc", "bCC", "Sender", "X-Deliverykit-ID"])
@pytest.mark.parametrize("value", ["evil@example.net", "a@b.de,\r\n\tevil@example.net", "\r\n evil@example.net"])
@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_no_spelling_in_raw_mail_gets_through(name: str, value: str, newline: str) -> None:
    raw = f"Subject: x\r\n{name}: {value}\r\nFrom: second@example.net\r\nX-Last: 1\r\n\r\nbody".replace("\r\n", newline)
    mime = parsed(raw_mail(raw.encode()))
    assert mime.get_all("From") == ["forced@example.net"]
    assert mime.get_all("X-Deliverykit-Id") == [ID]
    assert b"evil" not in mime.as_bytes()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"X-SES-CONFIGURATION-SET: other\r\n\r\nx", "X-SES-CONFIGURATION-SET"),
        (b"Subject: a\nx-ses-message-tags : deliverykit_id=1\n\nx", "x-ses-message-tags"),
        (b"Subject: a\r\nX-SES-SOURCE-ARN: arn\r\n\r\nx", "X-SES-SOURCE-ARN"),
        (b"Subject: a\rFrom: evil@example.net\r\n\r\nx", "CR"),
        (b"Subject: a\x00\r\n\r\nx", "x00"),
    ],
)
def test_raw_mail_that_commands_ses_or_is_read_in_two_ways_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(MessageError, match=says):
        ses.request(raw_mail(raw), NOW)


def test_a_first_line_cannot_fold_into_our_last_header() -> None:
    mime = parsed(raw_mail(b"\r\n folded\r\nSubject: a\r\n\r\nx"))
    assert mime["X-Deliverykit-Id"] == ID
    assert "folded" not in str(mime)


def test_what_looks_like_a_command_in_the_body_is_text() -> None:
    assert "x-ses-tenant: b" in parsed(raw_mail(b"Subject: a\r\n\r\nx-ses-tenant: b\r\n\r\nx")).get_content()


def test_a_folded_line_that_looks_like_a_command_is_text() -> None:
    assert parsed(raw_mail(b"Subject: a\r\n x-ses-tenant: b\r\n\r\nx"))["Subject"] == "a x-ses-tenant: b"


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"From: evil@example.net\r\n", b"Subject: x\r\nBcc: evil@example.net\r\n"])
)
def test_any_raw_bytes_leave_with_our_from_or_are_refused(tail: bytes, head: bytes) -> None:
    assume((head + tail).strip())
    try:
        sent = hold_against_botocore(raw_mail(head + tail))
    except MessageError:
        return
    data = base64.b64decode(sent["Content"]["Raw"]["Data"])
    assert data.startswith(b"From: forced@example.net\r\nX-Deliverykit-Id: " + ID.encode() + b"\r\n")
    assert sent["Destination"]["ToAddresses"][0] == "ann@example.org"
    assert b"evil" not in data or b"evil" in tail


# -- signature ---------------------------------------------------------------------------------------


class Frozen:
    """botocore's clock, stopped."""

    def __init__(self, now: int) -> None:
        self.at = datetime.fromtimestamp(now // 1000, UTC)

    def __call__(self, remove_tzinfo: bool = True) -> datetime:
        return self.at.replace(tzinfo=None) if remove_tzinfo else self.at


@settings(max_examples=30)
@given(
    now=st.integers(0, 4_102_444_799_999),
    token=st.sampled_from(["", "FwoGZXIvYXdzE//token=="]),
    base_url=st.sampled_from(["", "http://127.0.0.1:8080", "https://proxy.example:8443/aws/ses/", "https://proxy.example:443"]),
    subject=st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20),
)
def test_the_signature_is_botocores_to_the_byte(now: int, token: str, base_url: str, subject: str) -> None:
    provider = SES(
        region="eu-west-1", access_key_id="AKID", secret_access_key="k/+=", session_token=token or None, base_url=base_url
    )
    request = provider.request(plain(subject=subject), now)
    theirs = AWSRequest("POST", request.url, headers={"Content-Type": "application/json"}, data=request.body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", Frozen(now))
        SigV4Auth(Credentials("AKID", "k/+=", token or None), "ses", "eu-west-1").add_auth(theirs)
    assert dict(request.headers) == dict(theirs.headers.items())


def test_a_request_is_the_same_for_the_same_instant_and_another_for_another() -> None:
    assert ses.request(plain(), NOW) == ses.request(plain(), NOW)
    assert ses.request(plain(), NOW).headers["Authorization"] != ses.request(plain(), NOW + 1000).headers["Authorization"]
    assert ses.request(plain(), NOW).headers["X-Amz-Date"] == "20261123T100000Z"


def test_botocore_logs_no_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    SES(region="eu-west-1", access_key_id="AKIDX", secret_access_key="s3cr3t", session_token="t0ken").request(plain(), NOW)
    assert not any(secret in caplog.text for secret in ("t0ken", "s3cr3t", "AKIDX"))


printed = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="%"), max_size=12)
queried = st.text("abcXYZ-_.~019%2F", max_size=6).filter(lambda text: "%" not in text)


@settings(max_examples=100)
@given(
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    place=st.sampled_from(
        ["https://h.example", "http://[::1]:8080/v2", "https://H.example:443/a~b/c d/é", "http://h.example:80/"]
    ),
    query=st.lists(st.tuples(queried, queried), max_size=4),
    headers=st.dictionaries(st.sampled_from(["Content-Type", "X-One", "x-two", "A"]), printed),
    content=st.binary(max_size=20),
    now=st.integers(0, 4_102_444_799_999),
)
def test_any_request_is_signed_as_botocore_signs_it(
    method: str, place: str, query: list[tuple[str, str]], headers: dict[str, str], content: bytes, now: int
) -> None:
    pairs = "&".join(f"{name}={value}" for name, value in query)
    request = HttpRequest(method=method, url=f"{place}?{pairs}" if pairs else place, headers=headers, body=content)
    ours = signed(request, Keys(access="AKID", secret="k/+="), service="ses", region="eu-west-1", now=now)
    theirs = AWSRequest(method, request.url, headers=dict(headers), data=content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", Frozen(now))
        SigV4Auth(Credentials("AKID", "k/+="), "ses", "eu-west-1").add_auth(theirs)
    assert ours.headers["Authorization"] == theirs.headers["Authorization"]


def test_it_is_signed_where_botocore_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("boto3", "botocore", "botocore.auth"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "Signature=" in ses.request(plain(), NOW).headers["Authorization"]
