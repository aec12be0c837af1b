"""What goes to Elastic Email: read back, and held against its own description."""

import base64
import functools
import json
import re
from email.utils import parseaddr
from typing import Any

import pytest
import yaml
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from deliverykit.contracts.provider import Outgoing
from deliverykit.providers.elasticemail import ElasticEmail
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import ConfigurationError, MessageError
from deliverykit.words.outcomes import Scope
from outgoing_mail import NOW, OUR_ID, mails, outgoing
from shared_files import shared

ELASTIC = ElasticEmail(api_key="key-1")


def sent(mail: Outgoing, elastic: ElasticEmail = ELASTIC) -> Any:
    return json.loads(elastic.request(mail, NOW).body)


@functools.cache
def schema(path: str) -> Draft202012Validator:
    """The request body's schema, closed: a field the description does not know is a fault of ours."""
    spec = yaml.safe_load(shared("esp/specs/elasticemail/openapi-derived-4.4.yaml").read_text(encoding="utf-8"))
    for one in spec["components"]["schemas"].values():
        if "properties" in one:
            one["additionalProperties"] = False
    body = spec["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return Draft202012Validator({**body, "components": spec["components"]})


def checked(mail: Outgoing) -> Any:
    body = sent(mail)
    schema("/emails" if mail.message.unsubscribe else "/emails/transactional").validate(body)
    return body


FULL = outgoing(
    to=["Ann <ann@example.org>", '"Büro, Zoë" <zoe@bücher.example>'],
    cc=["cc@example.org"],
    bcc=["bcc@example.org"],
    subject="Grüße {nobody}",
    text="Hällo {firstname}",
    html='<img src="cid:logo@x"> ünd',
    headers={"X-Campaign": "Früh"},
    attachments=[
        Attachment(filename='rés"umé\\.pdf', content=b"%PDF\x00\xff", content_type="application/pdf"),
        Attachment(filename="logo.png", content=b"\x89PNG", content_id="logo@x"),
    ],
    tags=["autumn"],
    track_opens=True,
    track_clicks=False,
    reply_to=("Zoë <r@example.com>",),
)


def test_a_mail_with_everything_is_elastic_email_s_body_field_by_field() -> None:
    assert checked(FULL) == {
        "Recipients": {
            "To": ["Ann <ann@example.org>", '"Büro, Zoë" <zoe@xn--bcher-kva.example>'],
            "CC": ["cc@example.org"],
            "BCC": ["bcc@example.org"],
        },
        "Content": {
            "From": "News <news@example.com>",
            "ReplyTo": '"Zoë" <r@example.com>',
            "Subject": "Grüße {nobody}",
            "Body": [
                {"ContentType": "HTML", "Content": '<img src="cid:logo@x"> ünd', "Charset": "utf-8"},
                {"ContentType": "PlainText", "Content": "Hällo {firstname}", "Charset": "utf-8"},
            ],
            "Headers": {"X-Campaign": "Früh"},
            "Attachments": [
                {"Name": 'rés"umé\\.pdf', "BinaryContent": "JVBERgD/", "ContentType": "application/pdf", "Size": 6},
                {"Name": "logo@x", "BinaryContent": "iVBORw==", "ContentType": "image/png", "Size": 4},
            ],
            "Postback": OUR_ID,
        },
        "Options": {"ChannelName": "autumn", "TrackOpens": True, "TrackClicks": False},
    }


def test_the_request_carries_the_key_in_its_own_header() -> None:
    request = ELASTIC.request(FULL, NOW)
    assert (request.method, request.url) == ("POST", "https://api.elasticemail.com/v4/emails/transactional")
    assert request.headers == {
        "X-ElasticEmail-ApiKey": "key-1",
        "Content-Type": "application/json",
        "Idempotency-Key": request.headers["Idempotency-Key"],
    }
    local = ElasticEmail(api_key="k", base_url="http://127.0.0.1:9000/").request(outgoing(), NOW)
    assert local.url == "http://127.0.0.1:9000/v4/emails/transactional"


@given(
    first=mails(max_tags=1, metadata=False, max_reply_to=1, unsubscribe_alone=True),
    second=mails(max_tags=1, metadata=False, max_reply_to=1, unsubscribe_alone=True),
    later=st.integers(0, 10**10),
)
def test_the_same_key_for_the_same_bytes_only(first: Outgoing, second: Outgoing, later: int) -> None:
    """Whatever the time: a resend has the key of the first attempt, another body never has it (that would be a 422)."""
    requests = [ELASTIC.request(mail, now) for mail, now in ((first, NOW), (first, NOW + later), (second, NOW))]
    keys = [request.headers["Idempotency-Key"] for request in requests]
    assert keys[0] == keys[1]
    assert (keys[0] == keys[2]) == (requests[0].body == requests[2].body)
    assert all(key.startswith(f"{OUR_ID}-") and 1 <= len(key) <= 255 and key.isascii() for key in keys)
    other = evolve(first, id="dk_other")
    assert ELASTIC.request(other, NOW).headers["Idempotency-Key"] != keys[0]


def test_the_smallest_mail_says_nothing_it_was_not_told() -> None:
    body = checked(outgoing())
    assert sorted(body) == ["Content", "Recipients"]
    assert sorted(body["Content"]) == ["Body", "From", "Postback", "Subject"]
    assert body["Recipients"] == {"To": ["ann@example.org"]}


@given(mail=mails(max_tags=1, metadata=False, max_reply_to=1, unsubscribe_alone=True))
def test_any_mail_elastic_email_can_carry_survives(mail: Outgoing) -> None:
    assert ELASTIC.unsupported(mail.message) == ()
    body, message = checked(mail), mail.message
    if message.unsubscribe:
        assert body["Recipients"] == [{"Email": message.to[0].ascii}]
    else:
        for name, people in (("To", message.to), ("CC", message.cc), ("BCC", message.bcc)):
            assert [parseaddr(one)[1] for one in body["Recipients"].get(name, [])] == [one.ascii for one in people]
    content = body["Content"]
    assert parseaddr(content["From"])[1] == mail.sender.ascii
    assert (content["Postback"], content["Subject"]) == (OUR_ID, message.subject)
    assert {part["ContentType"]: part["Content"] for part in content["Body"]} == {
        kind: text for kind, text in (("HTML", message.html), ("PlainText", message.text)) if text
    }
    assert content.get("Headers", {}) == mail.headers
    assert [(one["Name"], base64.b64decode(one["BinaryContent"])) for one in content.get("Attachments", [])] == [
        (one.content_id or one.filename, one.content) for one in message.attachments
    ]
    assert body.get("Options", {}).get("TrackOpens") is message.track_opens
    assert body.get("Options", {}).get("ChannelName") == (message.tags[0] if message.tags else None)


# -- unsubscribe ----------------------------------------------------------------------------------


def test_mail_with_unsubscribe_goes_to_the_bulk_call() -> None:
    mail = outgoing(unsubscribe="https://example.org/u", tags=["t"])
    assert ELASTIC.request(mail, NOW).url == "https://api.elasticemail.com/v4/emails"
    body = checked(mail)
    assert body["Recipients"] == [{"Email": "ann@example.org"}]
    assert body["Content"]["Headers"] == {
        "List-Unsubscribe": "<https://example.org/u>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }  # fmt: skip
    assert body["Content"]["Postback"] == OUR_ID


@pytest.mark.parametrize(
    ("people", "what"),
    [
        ({"cc": "c@example.org"}, "cc"),
        ({"bcc": "b@example.org"}, "bcc"),
        ({"to": ["a@example.org", "b@example.org"]}, "2 recipients"),
    ],
)
def test_unsubscribe_with_others_is_refused_by_name(people: dict[str, Any], what: str) -> None:
    mail = outgoing(**{"unsubscribe": "https://example.org/u", **people})
    [reason] = ELASTIC.unsupported(mail.message)
    assert reason.startswith(f"cannot carry {what} together with unsubscribe")
    with pytest.raises(MessageError, match="unsubscribe"):
        ELASTIC.request(mail, NOW)
    assert ELASTIC.unsupported(mail.message.evolve(unsubscribe=None)) == ()


@given(to=st.integers(1, 4), cc=st.integers(0, 2), bcc=st.integers(0, 2))
def test_only_a_single_recipient_is_carried_with_unsubscribe(to: int, cc: int, bcc: int) -> None:
    people = {name: [f"{name}{n}@example.org" for n in range(count)] for name, count in (("to", to), ("cc", cc), ("bcc", bcc))}
    mail = outgoing(**people, unsubscribe="mailto:u@example.org")
    assert (ELASTIC.unsupported(mail.message) == ()) is (to + cc + bcc == 1)


def test_an_unsubscribe_header_that_would_be_lost_is_refused() -> None:
    with pytest.raises(MessageError, match="give unsubscribe="):
        ELASTIC.request(outgoing(headers={"list-unsubscribe": "<https://example.org/u>"}), NOW)


# -- what it cannot do ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"metadata": {"k": "v"}}, "metadata"),
        ({"tags": ["a", "b"]}, "at most 1 tags"),
        ({"reply_to": ("a@example.com", "b@example.com")}, "at most 1 reply_to"),
        ({"raw": b"Subject: x\r\n\r\nbody"}, "raw"),
        ({"to": "zoë@example.org"}, "international"),
        ({"to": [f"a{n}@example.org" for n in range(51)]}, "at most 50 recipients"),
        ({"attachments": [Attachment(filename="x", content=b"x" * 15_300_000)]}, "bytes"),
    ],
)
def test_what_elastic_email_lacks_is_declared(fields: dict[str, Any], word: str) -> None:
    reply_to = fields.get("reply_to", ())
    message = outgoing(**{name: value for name, value in fields.items() if name != "reply_to"}).message
    message = message.evolve(reply_to=reply_to) if reply_to else message
    assert any(word in reason for reason in ELASTIC.unsupported(message))


def test_an_inline_image_is_named_as_the_html_calls_it() -> None:
    logo = Attachment(filename="logo.png", content=b"x", content_id="part1.logo@example")
    content = checked(outgoing(html='<img src="cid:part1.logo@example">', attachments=[logo]))["Content"]
    [called] = re.findall(r'cid:([^"]+)', content["Body"][0]["Content"])
    assert [one["Name"] for one in content["Attachments"]] == [called]


@pytest.mark.parametrize(
    "other", [Attachment(filename="logo.png", content=b"y"), Attachment(filename="o", content=b"", content_id="logo.png")]
)
def test_two_files_under_one_inline_name_are_refused(other: Attachment) -> None:
    logo = Attachment(filename="l.png", content=b"x", content_id="logo.png")
    with pytest.raises(MessageError, match=r"logo\.png"):
        ELASTIC.request(outgoing(html="<p>", attachments=[other, logo]), NOW)
    twice = [Attachment(filename="same.txt", content=b"1"), Attachment(filename="same.txt", content=b"2")]
    assert len(checked(outgoing(attachments=twice))["Content"]["Attachments"]) == 2


def test_what_is_no_json_in_extra_is_a_message_error() -> None:
    with pytest.raises(MessageError, match="extra"):
        ELASTIC.request(outgoing(extra={"elasticemail": {"Options": {"PoolName": object()}}}), NOW)


def test_placeholders_stay_as_they_are_written() -> None:
    """Elastic Email fills in those it knows; that is documented on the class, not hidden by rewriting the mail."""
    body = checked(
        outgoing(text="{a}", extra={"elasticemail": {"Content": {"Merge": {"a": "b"}}, "Options": {"TimeOffset": 5}}})
    )
    assert body["Content"]["Body"][0]["Content"] == "{a}"
    assert (body["Content"]["Merge"], body["Options"]) == ({"a": "b"}, {"TimeOffset": 5})


# -- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["https://api.elasticemail.com/v4", "https://api.elasticemail.com/v4/"])
def test_v4_in_the_address_is_refused_with_the_mend(url: str) -> None:
    with pytest.raises(ConfigurationError, match="leave it out"):
        ElasticEmail(api_key="k", base_url=url)


def test_what_is_throttled_together_at_elastic_email() -> None:
    same, other = ElasticEmail(api_key="key-1", base_url="http://127.0.0.1:1"), ElasticEmail(api_key="key-2")
    assert ELASTIC.scope_key(Scope.ACCOUNT) == same.scope_key(Scope.ACCOUNT) != other.scope_key(Scope.ACCOUNT)
    assert (ELASTIC.scope_key(Scope.DOMAIN), ELASTIC.scope_key(Scope.SERVER)) == ("", "")


def test_elastic_email_s_key_is_in_no_repr_and_no_error() -> None:
    elastic = ElasticEmail(api_key="key-very-secret")
    with pytest.raises(MessageError) as caught:
        elastic.request(outgoing(extra={"elasticemail": {"Recipients": None}}), NOW)
    shown = f"{elastic!r} {elastic} {elastic.request(FULL, NOW)!r} {elastic.plain()} {caught.value!r}"
    assert "very-secret" not in shown
