"""What goes to SendGrid: held against Twilio's own description, its official client, and the message."""

import base64
import json
from typing import Any

import pytest
from attrs import frozen
from hypothesis import assume, given
from jsonschema import FormatChecker
from openapi_schema_validator import OAS31Validator
from provider_cases import FORCED, ID, NOW, SENDER, body, full, messages, outgoing, plain
from sendgrid_body import BODY

from deliverykit.contracts.capabilities import Feature, Needs
from deliverykit.contracts.provider import Outgoing, option, secret
from deliverykit.providers.sendgrid import SendGrid
from deliverykit.words.addresses import Address
from deliverykit.words.credentials import Credential, Env, Named, Secret
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.message import Message
from deliverykit.words.outcomes import Scope
from shared_files import shared

sendgrid = SendGrid(api_key="SG.very-secret")


@pytest.fixture(scope="module")
def described() -> OAS31Validator:
    """The body of ``POST /v3/mail/send`` by our own table of it."""
    return OAS31Validator(BODY, format_checker=FormatChecker())


@pytest.fixture(scope="module")
def theirs() -> OAS31Validator:
    """The same by Twilio's own description, its references resolved within the document."""
    document = json.loads(shared("esp/specs/sendgrid/tsg_mail_v3.json").read_text(encoding="utf-8"))
    schema = document["components"]["requestBodies"]["PostMailSend"]["content"]["application/json"]["schema"]
    return OAS31Validator({**schema, "components": document["components"]}, format_checker=FormatChecker())


def hold_against_description(described: OAS31Validator, mail: Outgoing) -> dict[str, Any]:
    request = sendgrid.request(mail, NOW)
    assert (request.method, request.url) == ("POST", "https://api.sendgrid.com/v3/mail/send")
    assert request.headers == {"Authorization": "Bearer SG.very-secret", "Content-Type": "application/json"}
    sent = body(request)
    assert [error.message for error in described.iter_errors(sent)] == []
    known = described.schema["properties"]
    assert set(sent) <= set(known)
    assert set(sent["personalizations"][0]) <= set(known["personalizations"]["items"]["properties"])
    assert all(set(one) <= set(known["attachments"]["items"]["properties"]) for one in sent.get("attachments", []))
    assert len(json.dumps(sent["personalizations"][0]["custom_args"])) < 10_000
    return sent


def resolved(schema: Any, components: dict[str, Any]) -> Any:
    """The table's own words of a schema: types, names and limits, without descriptions."""
    if "$ref" in schema:
        schema = components["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    kept: dict[str, Any] = {name: schema[name] for name in WORDS if name in schema}
    if kept.get("type") == "object" and "properties" not in schema:
        kept.pop("required", None)
    if "properties" in schema:
        kept["properties"] = {name: resolved(one, components) for name, one in schema["properties"].items()}
    if "items" in schema:
        kept["items"] = resolved(schema["items"], components)
    return kept


WORDS = ("type", "format", "enum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "required")


def test_the_table_says_what_twilio_says(theirs: OAS31Validator) -> None:
    schema = dict(theirs.schema)
    assert resolved(BODY, {}) == resolved(schema, schema["components"])


def mailbox(one: Address) -> dict[str, str]:
    return {"email": one.ascii} | ({"name": one.name} if one.name else {})


def read(header: str) -> str:
    from email.header import decode_header, make_header

    return str(make_header(decode_header(header)))


def hold_against_message(sent: dict[str, Any], mail: Outgoing) -> None:
    message = mail.message
    assert sent["from"] == mailbox(mail.sender)
    assert sent["from"]["email"].isascii()
    [person] = sent["personalizations"]
    assert [person.get(kind, []) for kind in ("to", "cc", "bcc")] == [
        [mailbox(one) for one in found] for found in (message.to, message.cc, message.bcc)
    ]
    assert sent.get("reply_to_list", []) == [mailbox(one) for one in mail.reply_to]
    assert sent["subject"] == message.subject
    assert [(one["type"], one["value"]) for one in sent["content"]] == [
        (kind, text) for kind, text in (("text/plain", message.text), ("text/html", message.html)) if text
    ]
    headers = sent.get("headers", {})
    assert {name: read(value).strip() for name, value in headers.items()} == {
        name: value.replace("\t", " ").strip() for name, value in mail.headers.items()
    }
    assert all(value.isascii() for value in headers.values())
    files = sent.get("attachments", [])
    assert [base64.b64decode(one["content"]) for one in files] == [one.content for one in message.attachments]
    assert [(one["filename"], one["type"], one.get("content_id", ""), one["disposition"]) for one in files] == [
        (one.filename, one.content_type, one.content_id, "inline" if one.inline else "attachment")
        for one in message.attachments
    ]
    assert sent.get("categories", []) == list(message.tags)
    args = dict(person["custom_args"])
    assert args.pop("deliverykit_id") == ID
    assert {name.removeprefix("deliverykit_"): value for name, value in args.items()} == message.metadata
    tracking = sent.get("tracking_settings", {})
    assert tracking.get("open_tracking", {}).get("enable") == message.track_opens
    assert tracking.get("click_tracking", {}).get("enable") == message.track_clicks


@given(messages())
def test_any_message_is_as_described_and_what_the_host_wrote(described: OAS31Validator, message: Message) -> None:
    assume(not sendgrid.unsupported(message))
    mail = outgoing(message)
    hold_against_message(hold_against_description(described, mail), mail)


def test_a_message_of_every_feature(described: OAS31Validator) -> None:
    mail = outgoing(full())
    elsewhere = {Feature.RAW, Feature.FREE_TAGS, Feature.LONG_HEADERS, Feature.LONG_FILE_FIELDS}
    assert Needs.of(mail.message).features >= sendgrid.capabilities.features - elsewhere
    assert sendgrid.unsupported(mail.message) == ()
    sent = hold_against_description(described, mail)
    hold_against_message(sent, mail)
    assert sent["from"] == {"email": "news@xn--bcher-kva.example", "name": "Ørsted Nyheder"}
    assert sent["personalizations"][0]["custom_args"]["deliverykit_event"] == "launch"


def test_the_description_refuses_what_it_should(described: OAS31Validator) -> None:
    sent = body(sendgrid.request(plain(), NOW))
    for broken in (
        {"from": {}},
        {"subject": ""},
        {"content": [{"type": "text/plain", "value": ""}]},
        {"categories": ["a"] * 2},
        {"personalizations": [{}]},
    ):
        assert list(described.iter_errors({**sent, **broken}))


def test_the_official_client_builds_the_same() -> None:
    from sendgrid.helpers.mail import Attachment as File
    from sendgrid.helpers.mail import Category, CustomArg, Disposition, FileContent, FileName, FileType, Mail, ReplyTo

    message = plain(
        sender=SENDER, to="Ann <ann@example.org>", html="<p>Hi</p>", tags=["spring"], metadata={"user": "42"},
        reply_to="help@example.com", attachments=[Attachment(filename="a.pdf", content=b"%PDF")],
    ).message  # fmt: skip
    theirs = Mail(("news@example.com", "Example News"), ("ann@example.org", "Ann"), "Hello", "Hi", "<p>Hi</p>")
    theirs.reply_to_list = [ReplyTo("help@example.com")]
    theirs.category = Category("spring")
    theirs.personalizations[0].add_custom_arg(CustomArg("user", "42"))
    theirs.personalizations[0].add_custom_arg(CustomArg("deliverykit_id", ID))
    content = base64.b64encode(b"%PDF").decode()
    theirs.attachment = File(FileContent(content), FileName("a.pdf"), FileType("application/pdf"), Disposition("attachment"))
    assert body(sendgrid.request(outgoing(message), NOW)) == theirs.get()


@pytest.mark.parametrize("name", ["event", "email", "Type", "sg_message_id", "category"])
def test_metadata_cannot_be_taken_for_a_field_of_an_event(name: str) -> None:
    args = body(sendgrid.request(plain(metadata={name: "bounce", "mine": "x"}), NOW))["personalizations"][0]["custom_args"]
    assert args == {f"deliverykit_{name}": "bounce", "mine": "x", "deliverykit_id": ID}


def test_a_comma_in_a_name_travels_as_it_is() -> None:
    mail = plain(to='"Doe, Jane" <jane@example.org>', sender=Address("us@example.org", "Example; Inc."))
    assert sendgrid.unsupported(mail.message) == ()
    sent = body(sendgrid.request(mail, NOW))
    assert sent["personalizations"][0]["to"] == [{"email": "jane@example.org", "name": "Doe, Jane"}]
    assert sent["from"] == {"email": "us@example.org", "name": "Example; Inc."}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"subject": ""}, "without a subject"),
        ({"attachments": [Attachment(filename="empty.txt", content=b"")]}, "empty attachment"),
        ({"sender": "jörg@example.org"}, "international"),
        ({"to": "jörg@example.org"}, "international"),
        ({"tags": [str(n) for n in range(11)]}, "10 tags"),
        ({"tags": ["t" * 256]}, "255 characters in a tag"),
        ({"metadata": {"a": "v" * 9_000}}, "9000 bytes of metadata"),
        ({"to": [f"a{n}@example.org" for n in range(1001)]}, "1000 recipients"),
        ({"text": "x" * 30_000_001}, "30000000 bytes"),
    ],
)
def test_what_it_cannot_carry_is_declared(fields: dict[str, Any], says: str) -> None:
    assert says in "; ".join(sendgrid.unsupported(plain(**fields).message))


def test_raw_mail_is_declared_too() -> None:
    assert sendgrid.unsupported(Message(to="ann@example.org", raw=b"Subject: x\r\n\r\ny")) == ("cannot carry raw",)


@pytest.mark.parametrize(
    "fields",
    [
        {"tags": ["two words", "grün", "t" * 255]},
        {"tags": [str(n) for n in range(10)]},
        {"metadata": {"a": "v" * 8_900}},
        {"metadata": {f"key_{n}": "ü" * 100 for n in range(14)}},
        {"attachments": [Attachment(filename="n" * 256, content=b"x", content_id="c" * 79)]},
        {"to": [f"a{n}@example.org" for n in range(1000)]},
    ],
)
def test_the_edges_of_what_it_carries(described: OAS31Validator, fields: dict[str, Any]) -> None:
    mail = plain(**fields)
    assert sendgrid.unsupported(mail.message) == ()
    hold_against_description(described, mail)


def test_a_forced_sender_it_cannot_carry_is_named() -> None:
    with pytest.raises(ConfigurationError, match="sender .*SendGrid takes only"):
        sendgrid.request(outgoing(plain().message, Address("jörg@example.org"), forced=True), NOW)


# -- configuration -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"api_key": ""}, "api_key: empty; give the API key"),
        ({"api_key": None}, "api_key: expected text"),
        ({"api_key": "SG.very-secret\n"}, "api_key: holds a line break"),
        ({"api_key": "SG.very-secret", "base_url": "api.eu.sendgrid.com"}, "base_url: not a web address"),
        ({"api_key": "SG.x", "base_url": "https://me:SG.very-secret@host"}, "base_url: not a web address"),
        ({"api_key": "SG.very-secret", "base_url": ""}, "base_url: empty"),
    ],
)
def test_what_cannot_work_is_refused_by_the_fields_name(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"SendGrid {says}") as caught:
        SendGrid(**fields)
    assert "SG.very" not in str(caught.value) + repr(caught.value)


def test_the_eu_address() -> None:
    request = SendGrid(api_key="SG.x", base_url="https://api.eu.sendgrid.com/").request(plain(), NOW)
    assert request.url == "https://api.eu.sendgrid.com/v3/mail/send"


def test_no_secret_in_any_text() -> None:
    request = sendgrid.request(plain(), NOW)
    assert not any(
        "very-secret" in text for text in (repr(sendgrid), str(sendgrid), repr(request), str(request), repr(sendgrid.plain()))
    )


def test_references_are_resolved_and_never_sent() -> None:
    stored = SendGrid(api_key=Env("SENDGRID_KEY"))
    with pytest.raises(ConfigurationError, match="resolved"):
        stored.request(plain(), NOW)
    with pytest.raises(ConfigurationError, match=r"SendGrid api_key: there is no Env\(name='SENDGRID_KEY'\)"):
        stored.with_credentials({}.__getitem__)
    for value in ("SG.x", Secret("SG.x"), lambda: "SG.x"):
        assert stored.with_credentials({Env("SENDGRID_KEY"): value}.__getitem__) == SendGrid(api_key="SG.x")
    with pytest.raises(ConfigurationError, match="api_key: holds a line break") as caught:
        stored.with_credentials(lambda _: "SG.very-secret\n")
    assert "SG.very" not in str(caught.value)


def test_servers_of_one_key_are_throttled_together() -> None:
    key = sendgrid.scope_key(Scope.ACCOUNT)
    assert len(key) == 16
    assert key == SendGrid(api_key="SG.very-secret", base_url="https://api.eu.sendgrid.com").scope_key(Scope.ACCOUNT)
    others = [SendGrid(api_key=other).scope_key(Scope.ACCOUNT) for other in ("SG.other", Env("A"), Named("A"), Named("B"))]
    assert len({key, *others}) == 5
    assert sendgrid.scope_key(Scope.SERVER) == sendgrid.scope_key(Scope.DOMAIN) == ""


def test_a_subclass_with_a_field_of_its_own() -> None:
    @frozen(kw_only=True)
    class Pooled(SendGrid):
        name = "pooled"
        pool: str = option(label="IP pool", default="bulk")

        def payload(self, mail: Outgoing) -> dict[str, Any]:
            return super().payload(mail) | {"ip_pool_name": self.pool}

    pooled = Pooled(api_key=Env("KEY"), pool="gold").with_credentials(lambda _: "SG.x")
    assert body(pooled.request(outgoing(plain().message, FORCED), NOW))["ip_pool_name"] == "gold"
    assert pooled.plain() == {"base_url": "https://api.sendgrid.com", "pool": "gold"}


def test_credential_in_a_private_field_is_looked_up() -> None:
    @frozen(kw_only=True)
    class Signed(SendGrid):
        name = "signed"
        _signature: Credential = secret(label="Signature")

    signed = Signed(api_key="SG.x", signature=Env("SIGNATURE")).with_credentials(lambda _: "a-signature-key")
    assert signed._signature.reveal() == "a-signature-key"  # type: ignore[union-attr]
