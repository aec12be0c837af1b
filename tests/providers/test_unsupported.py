"""What a provider accepts at hand-over it also builds; what it refuses, it refuses with a reason."""

import base64
import json
import re
from typing import Any

import pytest
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deliverykit.contracts.provider import Outgoing, Provider
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.words.addresses import Address
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import ConfigurationError, MessageError, Unsupported
from deliverykit.words.message import Message
from odd_messages import odd_extras, odd_messages

NOW = 1_795_428_000_123
ID = "0123456789abcdef01234567-0123456789abcdef"
SENDER = Address("news@example.com")
PROVIDERS: dict[str, Provider] = {
    "ses": SES(region="eu-west-1", access_key_id="AKIDEXAMPLE", secret_access_key="secret"),
    "sendgrid": SendGrid(api_key="SG.key"),
    "mailgun": Mailgun(api_key="key", domain="mg.example.com"),
    "elasticemail": ElasticEmail(api_key="key"),
}
FORCED = st.sampled_from(
    [None, None, Address("forced@example.net", "News"), Address("jörg@example.net"), Address("f@example.net", "N" * 1500)]
)


def handed_over(provider: Provider, message: Message, forced: Address | None) -> Outgoing:
    return Outgoing.of(message, ID, forced or message.sender or SENDER, forced=forced is not None)


def message(**fields: Any) -> Message:
    return Message(**{"to": "ann@example.org", "sender": "news@example.com", "subject": "s", "text": "t", **fields})


def raw(content: bytes, **fields: Any) -> Message:
    return Message(to="ann@example.org", sender="news@example.com", raw=content, **fields)


@pytest.mark.parametrize("esp", PROVIDERS)
@settings(max_examples=300)
@given(message=odd_messages(), forced=FORCED)
@example(message=message(tags=["größe"]), forced=None)
@example(message=message(metadata={"k": "v" * 5000}), forced=None)
@example(message=message(headers={"Resent-To": "x@example.org"}), forced=None)
@example(message=message(headers={"List-Unsubscribe": "<https://example.org/u>"}), forced=None)
@example(message=message(attachments=[Attachment(filename=n, content=b"x", content_id="logo") for n in "ab"]), forced=None)
@example(message=raw(b"X-SES-CONFIGURATION-SET: x\r\n\r\ny"), forced=None)
@example(message=message(extra={"sendgrid": {"from": {"email": "news@example.com"}}}), forced=Address("f@example.net"))
@example(message=Message(to="a@example.org", sender=Address("a@example.org", "N" * 17_000), text="t"), forced=SENDER)
def test_what_is_accepted_at_hand_over_is_built(esp: str, message: Message, forced: Address | None) -> None:
    provider = PROVIDERS[esp]
    reasons = provider.unsupported(message, forced)
    assert reasons == provider.unsupported(message, forced)
    assert all(isinstance(one, str) and 3 < len(one) < 2000 for one in reasons)
    mail = handed_over(provider, message, forced)
    if not reasons:
        assert provider.request(mail, NOW, checked=True) == provider.request(mail, NOW)
        return
    with pytest.raises((MessageError, ConfigurationError)):
        provider.request(mail, NOW)


@settings(max_examples=300)
@given(extra=odd_extras(), forced=FORCED)
def test_any_extra_is_refused_by_name_or_built(extra: dict[str, Any], forced: Address | None) -> None:
    said = ""
    try:
        mail = message(extra=extra, headers={"X-A": "b"}, tags=["t"])
    except MessageError as refused:
        said = str(refused)
    if said:
        assert re.match(r"extra\['\w+'\]: ", said)
        return
    for provider in PROVIDERS.values():
        if not provider.unsupported(mail, forced):
            provider.request(handed_over(provider, mail, forced), NOW, checked=True)


UNSUPPORTED: list[tuple[str, Message, str]] = [
    ("ses", message(attachments=[Attachment(filename="Setup.EXE", content=b"x")]), r"SES refuses files that end in \.exe"),
    ("ses", message(attachments=[Attachment(filename="a.vbs. ", content=b"x")]), r"\.vbs"),
    ("ses", message(headers={"Resent-Cc": "x@example.org"}), "headers: Resent-Cc"),
    ("ses", message(headers={"X-SES-Foo": "x"}), "headers: X-SES-Foo is a command"),
    ("ses", message(headers={"X-Deliverykit-Metadata": "x"}), "use metadata="),
    ("ses", message(unsubscribe="https://example.org/" + "u" * 980), "unsubscribe: List-Unsubscribe is longer"),
    ("ses", raw(b"Subject: a\r\nSUBJECT: b\r\n\r\nx"), "2 Subject headers"),
    ("ses", raw(b"Date: a\nDate : b\n\nx"), "2 Date headers"),
    ("ses", raw(b"Subject: a\r\n\r\n" + b"y" * 999), "longer than 998 bytes"),
    ("ses", raw(b"Subject: a\n\n" + b"y" * 999 + b"\nz"), "longer than 998 bytes"),
    ("ses", raw(b"Subject: a\r\nX: " + b"y" * 996 + b"\r\n\r\nx"), "longer than 998 bytes"),
    ("ses", raw(b"Subject: a\x07\r\n\r\nx"), "contains b'.x07'"),
    ("ses", raw(b"Subject: a\r\nX-Ses-Tenant: b\r\n\r\nx"), "X-Ses-Tenant is a command"),
    ("ses", raw(b'Content-Type: a/b;\r\n\tname="a b.exe"\r\n\r\nx'), r"\.exe"),
    ("ses", raw(b"Subject: a\n\n--b\nContent-Disposition: attachment; filename*=utf-8''a.js\n\nx"), r"\.js"),
    (
        "sendgrid",
        message(attachments=[Attachment(filename="a", content=b"x", content_type="text/plain; charset=utf-8")]),
        "';'",
    ),
    ("sendgrid", message(attachments=[Attachment(filename="a", content=b"x", content_id="a;b")]), "content_id 'a;b'"),
    ("sendgrid", message(subject=""), "without a subject"),
    ("sendgrid", message(extra={"sendgrid": {"headers": {"Subject": "x"}}}), "headers.subject cannot be changed"),
    ("sendgrid", message(extra={"sendgrid": {"headers": {"X": "a\r\nBcc: b@c.de"}}}), "headers cannot be changed"),
    ("sendgrid", message(extra={"sendgrid": {"headers": {"From ": "b@c.de"}}}), "headers cannot be changed"),
    (
        "sendgrid",
        message(headers={"X-A": "b"}, extra={"sendgrid": {"headers": {"x-a": "c"}}}),
        "headers.x-a differs only in case",
    ),
    ("sendgrid", message(extra={"sendgrid": {"from": {"email": "news@example.com"}}}), "from cannot be changed"),
    ("mailgun", message(tags=["größe"]), "tags: 'größe'"),
    ("mailgun", message(tags=["x" * 129]), "at most 128 characters"),
    ("mailgun", message(metadata={"k": "v" * 5000}), "metadata: .* takes at most 4096"),
    ("mailgun", message(headers={"X": "v" * 16_400}), "takes at most 16384"),
    ("mailgun", message(headers={"X(y)": "v"}), "cannot be a field"),
    ("mailgun", raw(b"x-mailgun-recipient-variables: {}\r\n\r\nx"), "Mailgun reads it as an option"),
    ("mailgun", message(tags=["a"], extra={"mailgun": {"O:tag": "b"}}), "O:tag differs only in case from 'o:tag'"),
    ("mailgun", message(extra={"mailgun": {"O:testmode": "yes"}}), "write 'o:testmode'"),
    ("mailgun", message(headers={"X-A": "b"}, extra={"mailgun": {"h:x-a": "c"}}), "h:x-a differs only in case"),
    ("mailgun", message(extra={"mailgun": {"h:X": "a\r\nBcc: b@c.de"}}), "another header could begin"),
    ("mailgun", message(extra={"mailgun": {"subject": "a\r\nBcc: b@c.de"}}), "subject cannot be changed"),
    ("elasticemail", message(headers={"List-Unsubscribe-Post": "x"}), "give unsubscribe="),
    ("elasticemail", message(extra={"elasticemail": {"content": {"Merge": {}}}}), "write 'Content'"),
    ("elasticemail", message(extra={"elasticemail": {"Content": {"Headers": {"X": "a\nBcc: b@c.de"}}}}), "Headers cannot be"),
    ("ses", message(extra={"ses": {"Content": {"simple": {"Name": "X-Deliverykit-Id", "Value": "x"}}}}), "write 'Simple'"),
    ("ses", message(extra={"ses": {"Content": {"Simple": {"body": {}}}}}), "Content.Simple.body differs only in case"),
    ("ses", message(extra={"ses": {"ConfigurationSetName": "x"}}), "ConfigurationSetName cannot be changed"),
]


@pytest.mark.parametrize(("esp", "unfit", "says"), UNSUPPORTED)
def test_a_documented_rule_is_known_before_sending(esp: str, unfit: Message, says: str) -> None:
    [reason] = PROVIDERS[esp].unsupported(unfit)
    assert re.search(says, reason), reason
    with pytest.raises((Unsupported, MessageError), match=says):
        PROVIDERS[esp].request(handed_over(PROVIDERS[esp], unfit, None), NOW)


SUPPORTED: list[tuple[str, Message]] = [
    ("ses", message(attachments=[Attachment(filename="exe", content=b"x"), Attachment(filename="a.exe.txt", content=b"")])),
    ("ses", raw(b"Subject: a\r\n\r\n" + b"y" * 998 + b"\r\n" + b"z" * 998)),
    ("ses", raw(b"Subject: a\n\nthe name=a.exe of a file\nContent-Type: nothing\n\nfilename=b.exe")),
    ("ses", raw(b"Reply-To: a@b.de\r\nResent-To: a@b.de\r\nResent-To: c@d.de\r\nSubject: a\r\n\r\nX-SES-A: b")),
    ("mailgun", message(tags=[f"tag {number}" for number in range(10)])),
    ("mailgun", message(extra={"mailgun": {"o:testmode": True, "h:X-Own": "x", "v:Own": {"a": [1]}, "t:variables": {"A": 1}}})),
    ("sendgrid", message(extra={"sendgrid": {"headers": {"X-Own": "x"}, "asm": {"group_id": 5}}})),
    ("elasticemail", message(extra={"elasticemail": {"Content": {"Merge": {"name": "x"}}, "Options": {"PoolName": "p"}}})),
]


@pytest.mark.parametrize(("esp", "fine"), SUPPORTED)
def test_what_an_esp_takes_has_no_reason_against(esp: str, fine: Message) -> None:
    assert PROVIDERS[esp].unsupported(fine) == ()
    PROVIDERS[esp].request(handed_over(PROVIDERS[esp], fine, None), NOW)


def test_a_forced_sender_is_judged_with_the_message() -> None:
    forced = Address("jörg@example.net")
    for esp in ("ses", "sendgrid", "mailgun", "elasticemail"):
        [reason] = PROVIDERS[esp].unsupported(message(), forced)
        assert reason.startswith("sender: 'jörg@example.net' is not ASCII")
        assert PROVIDERS[esp].unsupported(message(sender=None), SENDER) == ()


def test_a_forced_sender_adds_the_original_as_reply_to() -> None:
    long = message(sender=Address("a@example.org", "N" * 16_400))
    assert PROVIDERS["mailgun"].unsupported(long) == ()
    [reason] = PROVIDERS["mailgun"].unsupported(long, SENDER)
    assert "takes at most 16384" in reason


def test_a_plug_in_that_refuses_while_it_builds_gives_the_reason() -> None:
    class Picky(SendGrid):
        name = "picky"

        def payload(self, mail: Outgoing) -> dict[str, Any]:
            if "spam" in mail.message.subject:
                raise MessageError("subject: no spam here")
            return super().payload(mail)

    picky = Picky(api_key="SG.key")
    assert picky.unsupported(message(subject="spam", extra={"sendgrid": {"batch_id": "b"}})) == ("subject: no spam here",)
    assert picky.unsupported(message(extra={"sendgrid": {"batch_id": "b"}})) == ()


def test_a_subclass_adds_a_rule() -> None:
    class NoHtml(SendGrid):
        name = "no-html"

        def unsupported(self, message: Message, sender: Address | None = None) -> tuple[str, ...]:
            html = ("html: plain text only",) if message.html else ()
            return (*super().unsupported(message, sender), *html)

    strict = NoHtml(api_key="SG.key")
    assert strict.unsupported(message(html="<p>", subject="")) == (
        "cannot carry a message without a subject",
        "html: plain text only",
    )
    with pytest.raises(Unsupported, match="SendGrid cannot carry this message: html: plain text only"):
        strict.request(handed_over(strict, message(html="<p>"), None), NOW)


def test_a_subclass_cannot_put_a_second_spelling_on_the_way_to_our_id() -> None:
    class Twin(SendGrid):
        name = "twin"

        def payload(self, mail: Outgoing) -> dict[str, Any]:
            fields = super().payload(mail)
            return {**fields, "personalizations": [{**fields["personalizations"][0], "Custom_Args": {"a": "b"}}]}

    with pytest.raises(ConfigurationError, match="Custom_Args"):
        Twin(api_key="SG.key").request(handed_over(PROVIDERS["sendgrid"], message(), None), NOW)


def test_judging_extra_does_not_encode_the_files() -> None:
    """The content decides nothing about ``extra``, and its base64 takes a second for 100 MB."""
    seen: list[int] = []

    class Counting(SES):
        name = "counting"

        def payload(self, mail: Outgoing) -> dict[str, Any]:
            seen.extend(len(one.content) for one in mail.message.attachments)
            seen.append(len(mail.message.raw or b""))
            return super().payload(mail)

    counting = Counting(region="eu-west-1", access_key_id="AKIDEXAMPLE", secret_access_key="secret")
    files = [Attachment(filename="a.bin", content=b"y" * 100_000)]
    assert counting.unsupported(message(attachments=files, extra={"ses": {"TenantName": "t"}})) == ()
    assert counting.unsupported(raw(b"Subject: a\r\n\r\n" + b"y\n" * 100_000, extra={"ses": {"TenantName": "t"}})) == ()
    assert max(seen) < 100


def test_the_built_raw_message_is_within_ses_rules() -> None:
    name = " ".join(["Name"] * 300)
    mail = evolve(raw(b"Subject: a\r\n\r\nx", metadata={"k": "v " * 200}), sender=Address("a@example.org", name))
    assert PROVIDERS["ses"].unsupported(mail) == ()
    sent = json.loads(PROVIDERS["ses"].request(handed_over(PROVIDERS["ses"], mail, None), NOW).body)
    assert max(map(len, base64.b64decode(sent["Content"]["Raw"]["Data"]).split(b"\r\n"))) <= 998
