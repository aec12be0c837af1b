"""The ESPs' official SDKs against the sandbox, unchanged but for the base URL."""

import base64
import json
import logging
from email.message import EmailMessage
from typing import Any

import boto3
import ElasticEmail
import mailgun.client
import pytest
import sendgrid
from botocore.config import Config
from botocore.exceptions import ClientError
from sendgrid.helpers import mail as sg

from deliverykit.sandbox import Sandbox

PNG = bytes(range(256))


def ses(sandbox: Sandbox, secret: str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", key: str = "AKIAIOSFODNN7EXAMPLE") -> Any:
    return boto3.client(
        "sesv2",
        region_name="eu-west-1",
        endpoint_url=sandbox.url("ses"),
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


def simple(**fields: Any) -> dict[str, Any]:
    return {
        "FromEmailAddress": "Example News <news@example.com>",
        "Destination": {
            "ToAddresses": ["Ann <ann@example.org>"],
            "CcAddresses": ["cc@example.org"],
            "BccAddresses": ["b@example.net"],
        },
        "Content": {
            "Simple": {
                "Subject": {"Data": "Grüße", "Charset": "UTF-8"},
                "Body": {"Text": {"Data": "Hällo", "Charset": "UTF-8"}},
            }
        },
        **fields,
    }


def test_ses_simple_by_boto3(sandbox: Sandbox) -> None:
    content = simple()["Content"]
    content["Simple"]["Headers"] = [{"Name": "X-Batch", "Value": "7"}]
    content["Simple"]["Attachments"] = [
        {"RawContent": PNG, "FileName": "a.png", "ContentType": "image/png", "ContentId": "logo"}
    ]
    tags = [{"Name": "campaign", "Value": "spring"}, {"Name": "deliverykit_id", "Value": "id-1"}]
    tags += [{"Name": f"tag_{n}", "Value": f"v{n}"} for n in (10, 1, 2)]
    answer = ses(sandbox).send_email(**simple(Content=content, EmailTags=tags, ReplyToAddresses=["r@example.com"]))
    [mail] = sandbox.received("ses")
    assert answer["MessageId"] == mail.provider_message_id
    assert answer["MessageId"].endswith("-000000")
    assert (mail.sender, mail.sender_name, mail.subject, mail.text, mail.html) == (
        "news@example.com", "Example News", "Grüße", "Hällo", None)  # fmt: skip
    assert mail.recipients == ("ann@example.org", "cc@example.org", "b@example.net")
    assert (mail.to, mail.cc, mail.bcc) == (("ann@example.org",), ("cc@example.org",), ("b@example.net",))
    assert mail.names["ann@example.org"] == "Ann"
    assert (mail.id, mail.metadata, mail.headers, mail.reply_to) == (
        "id-1",
        {"campaign": "spring"},
        {"X-Batch": "7"},
        ("r@example.com",),
    )
    [file] = mail.attachments
    assert (file.filename, file.content, file.content_type, file.content_id) == ("a.png", PNG, "image/png", "logo")
    assert (mail.tags, mail.credential) == (("v1", "v2", "v10"), "AKIAIOSFODNN7EXAMPLE")


def test_ses_raw_by_boto3_takes_the_envelope_from_destination(sandbox: Sandbox) -> None:
    email = EmailMessage()
    email["From"], email["To"], email["Subject"], email["X-Own"] = "Ärger <a@example.com>", "x@example.org", "Grüße", "1"
    email.set_content("text\n")
    email.add_alternative("<p>html</p>", subtype="html")
    email.add_attachment(PNG, maintype="image", subtype="png", filename="ä.png")
    ses(sandbox).send_email(
        Content={"Raw": {"Data": email.as_bytes()}}, Destination={"ToAddresses": ["x@example.org", "hidden@example.org"]}
    )
    [mail] = sandbox.received("ses")
    assert mail.recipients == ("x@example.org", "hidden@example.org")
    assert mail.bcc == ("hidden@example.org",)
    assert (mail.sender, mail.sender_name, mail.subject) == ("a@example.com", "Ärger", "Grüße")
    assert (mail.text, mail.html, mail.header("x-own")) == ("text\n", "<p>html</p>\n", "1")
    assert [(one.filename, one.content) for one in mail.attachments] == [("ä.png", PNG)]


def test_ses_account_by_boto3(sandbox: Sandbox) -> None:
    sandbox.limit("ses", per_day=5)
    client = ses(sandbox)
    client.send_email(**simple())
    quota = client.get_account()["SendQuota"]
    assert (quota["Max24HourSend"], quota["SentLast24Hours"]) == (5.0, 3.0)
    with pytest.raises(client.exceptions.TooManyRequestsException, match="Daily message quota exceeded"):
        client.send_email(**simple())


@pytest.mark.parametrize(
    ("secret", "key", "code"),
    [
        ("wrong", "AKIAIOSFODNN7EXAMPLE", "InvalidSignatureException"),
        ("any", "AKIAUNKNOWN", None),
    ],
)
def test_ses_signature_by_boto3(sandbox: Sandbox, secret: str, key: str, code: str | None) -> None:
    client = ses(sandbox, secret, key)
    if code is None:
        assert client.send_email(**simple())["MessageId"]
        sandbox.keys("ses", ["AKIAOTHER"])
        code = "UnrecognizedClientException"
    with pytest.raises(ClientError) as caught:
        client.send_email(**simple())
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_ses_clock_by_boto3(sandbox: Sandbox) -> None:
    from datetime import timedelta

    client = ses(sandbox)
    sandbox.move_clock(timedelta(minutes=6))
    with pytest.raises(ClientError, match="Signature expired: .* is now earlier than"):
        client.send_email(**simple())
    sandbox.move_clock(timedelta(minutes=-12))
    with pytest.raises(ClientError, match="Signature not yet current"):
        client.send_email(**simple())
    sandbox.check_clock(False)
    assert client.send_email(**simple())["MessageId"]


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [
        ("throttle", {}, "TooManyRequestsException"),
        ("quota", {}, "TooManyRequestsException"),
        ("bad_key", {}, "UnrecognizedClientException"),
        ("server_error", {"status": 503}, "ServiceUnavailableException"),
        ("rejected", {"text": "Account is paused", "code": "SendingPausedException"}, "SendingPausedException"),
    ],
)
def test_ses_faults_as_boto3_shows_them(sandbox: Sandbox, kind: str, options: dict[str, Any], code: str) -> None:
    sandbox.fault("ses", kind, **options)
    with pytest.raises(ClientError) as caught:
        ses(sandbox).send_email(**simple())
    assert caught.value.response["Error"]["Code"] == code
    assert ses(sandbox).send_email(**simple())["MessageId"]
    assert [one.accepted for one in sandbox.requests("ses")] == [False, True]


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"EmailTags": [{"Name": "a b", "Value": "x"}]}, "BadRequestException", "only alphanumeric"),
        ({"Destination": {"ToAddresses": [f"a{n}@example.org" for n in range(51)]}}, "BadRequestException", "exceeds 50"),
        ({"Destination": {"ToAddresses": ["Ärger <a@example.org>"]}}, "BadRequestException", "Illegal address"),
        ({"Destination": {"ToAddresses": ["nobody"]}}, "BadRequestException", "final '@domain'"),
        ({"Destination": {}}, "BadRequestException", "'To'"),
        ({"Content": {"Template": {"TemplateName": "t"}}}, "NotFoundException", "does not exist"),
    ],
)
def test_ses_refusals(sandbox: Sandbox, fields: dict[str, Any], code: str, text: str) -> None:
    with pytest.raises(ClientError, match=text) as caught:
        ses(sandbox).send_email(**simple(**fields))
    assert caught.value.response["Error"]["Code"] == code
    assert sandbox.count() == 0


def test_ses_unverified_sender(sandbox: Sandbox) -> None:
    sandbox.verify_only("ses", ["example.net", "news@Example.com"])
    assert ses(sandbox).send_email(**simple())["MessageId"]
    with pytest.raises(ClientError, match=r"Email address is not verified\..*region EU-WEST-1: other@example.com"):
        ses(sandbox).send_email(**simple(FromEmailAddress="other@example.com"))


def test_text_without_a_charset_loses_what_is_not_ascii(sandbox: Sandbox) -> None:
    content = {"Simple": {"Subject": {"Data": "Grüße"}, "Body": {"Html": {"Data": "ä"}}}}
    ses(sandbox).send_email(**simple(Content=content))
    [mail] = sandbox.received("ses")
    assert (mail.subject, mail.html) == ("Gr??e", "?")


# -- SendGrid ---------------------------------------------------------------------------------


def sendgrid_client(sandbox: Sandbox, key: str = "SG.any") -> sendgrid.SendGridAPIClient:
    return sendgrid.SendGridAPIClient(key, host=sandbox.url("sendgrid"))


def sendgrid_mail() -> sg.Mail:
    mail = sg.Mail(
        from_email=("news@example.com", "Example Nöws"), to_emails=[("ann@example.org", "Ann")], subject="Grüße",
        plain_text_content="Hällo", html_content="<p>Hällo</p>",
    )  # fmt: skip
    mail.add_cc("cc@example.org")
    mail.add_bcc("b@example.net")
    mail.reply_to = "r@example.com"
    mail.add_category(sg.Category("spring"))
    mail.add_custom_arg(sg.CustomArg("deliverykit_id", "id-2"))
    mail.add_custom_arg(sg.CustomArg("order", "7"))
    mail.add_header(sg.Header("X-Batch", "7"))
    mail.add_attachment(sg.Attachment(base64.b64encode(PNG).decode(), "a.png", "image/png", "inline", "logo"))
    return mail


def test_sendgrid_by_its_sdk(sandbox: Sandbox) -> None:
    answer = sendgrid_client(sandbox).send(sendgrid_mail())
    [mail] = sandbox.received("sendgrid")
    assert (answer.status_code, answer.body, answer.headers["X-Message-Id"]) == (202, b"", mail.provider_message_id)
    assert int(answer.headers["X-RateLimit-Reset"]) * 1000 >= mail.at
    assert len(mail.provider_message_id) == 22
    assert (mail.sender, mail.sender_name, mail.subject) == ("news@example.com", "Example Nöws", "Grüße")
    assert (mail.text, mail.html) == ("Hällo", "<p>Hällo</p>")
    assert (mail.to, mail.cc, mail.bcc) == (("ann@example.org",), ("cc@example.org",), ("b@example.net",))
    assert (mail.reply_to, mail.tags, mail.metadata, mail.id) == (("r@example.com",), ("spring",), {"order": "7"}, "id-2")
    assert (mail.headers, mail.credential) == ({"X-Batch": "7"}, "SG.any")
    assert [(one.filename, one.content, one.content_id) for one in mail.attachments] == [("a.png", PNG, "logo")]


def test_sendgrid_sandbox_mode_delivers_nothing(sandbox: Sandbox) -> None:
    mail = sendgrid_mail()
    mail.mail_settings = sg.MailSettings(sandbox_mode=sg.SandBoxMode(True))
    assert sendgrid_client(sandbox).send(mail).status_code == 200
    assert sandbox.count() == 0


def test_sendgrid_account(sandbox: Sandbox) -> None:
    client = sendgrid_client(sandbox)
    sandbox.limit("sendgrid", per_day=4)
    client.send(sendgrid_mail())
    assert json.loads(client.client.user.credits.get().body)["remain"] == 1
    assert "mail.send" in json.loads(client.client.scopes.get().body)["scopes"]
    assert json.loads(client.client.user.account.get().body)["type"] == "paid"
    with pytest.raises(Exception, match="401") as caught:
        client.send(sendgrid_mail())
    assert caught.value.to_dict["errors"][0]["message"] == "Maximum credits exceeded"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("throttle", 429, "too many requests"),
        ("quota", 401, "Maximum credits exceeded"),
        ("bad_key", 401, "invalid, expired, or revoked"),
        ("server_error", 500, "internal server error"),
    ],
)
def test_sendgrid_faults_as_its_sdk_shows_them(sandbox: Sandbox, kind: str, status: int, text: str) -> None:
    sandbox.fault("sendgrid", kind)
    with pytest.raises(Exception, match=str(status)) as caught:
        sendgrid_client(sandbox).send(sendgrid_mail())
    assert text in caught.value.to_dict["errors"][0]["message"]  # type: ignore[attr-defined]
    assert sandbox.requests("sendgrid")[0].id == "id-2"


def test_sendgrid_keys(sandbox: Sandbox) -> None:
    sandbox.keys("sendgrid", ["SG.good"])
    assert sendgrid_client(sandbox, "SG.good").send(sendgrid_mail()).status_code == 202
    with pytest.raises(Exception, match="401"):
        sendgrid_client(sandbox, "SG.revoked").send(sendgrid_mail())


def _sendgrid_body(**changes: Any) -> dict[str, Any]:
    return {**sendgrid_mail().get(), **changes}


_DOUBLE = [{"to": [{"email": "a@example.org"}], "cc": [{"email": "A@example.org"}]}]
_CROWD = [{"to": [{"email": f"a{n}@example.org"} for n in range(1001)]}]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"personalizations": _DOUBLE}, "personalizations"),
        ({"personalizations": _CROWD}, "personalizations"),
        ({"personalizations": [{"to": [{"email": "x"}]}]}, "personalizations.0.to.0.email"),
        ({"personalizations": []}, "personalizations"),
        ({"from": {"email": "ä@example.com"}}, "from.email"),
        ({"subject": ""}, "subject"),
        ({"subject": 7}, "subject"),
        ({"content": [{"type": "text/html", "value": "x"}, {"type": "text/plain", "value": "x"}]}, "content"),
        ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
        ({"categories": [str(n) for n in range(11)]}, "categories"),
        ({"categories": ["a", "a"]}, "categories"),
        ({"headers": {"Reply-To": "x@example.org"}}, "headers"),
        ({"custom_args": {"a": "x" * 10_000}}, "custom_args"),
        ({"custom_args": {"a": 7}}, "custom_args.a"),
        ({"attachments": [{"content": "!", "filename": "a"}]}, "attachments.0.content"),
        ({"mail_settings": {"sandbox_mode": {"enable": "true"}}}, "mail_settings.sandbox_mode.enable"),
        ({"send_at": 99_999_999_999}, "send_at"),
        ({"reply_to_list": [{"email": "x@example.org"}]}, "reply_to_list"),
    ],
)
def test_sendgrid_refusals(sandbox: Sandbox, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Exception, match="400") as caught:
        sendgrid_client(sandbox).send(_sendgrid_body(**changes))
    assert caught.value.to_dict["errors"][0]["field"] == field  # type: ignore[attr-defined]
    assert sandbox.count() == 0


def test_sendgrid_unverified_and_refused(sandbox: Sandbox) -> None:
    sandbox.recipients_refused("sendgrid", ["b@example.net"])
    with pytest.raises(Exception, match="400"):
        sendgrid_client(sandbox).send(sendgrid_mail())
    sandbox.verify_only("sendgrid", ["example.org"])
    with pytest.raises(Exception, match="403") as caught:
        sendgrid_client(sandbox).send(sendgrid_mail())
    assert "verified Sender Identity" in caught.value.to_dict["errors"][0]["message"]  # type: ignore[attr-defined]


# -- Mailgun ----------------------------------------------------------------------------------


def mailgun_data(**fields: Any) -> dict[str, Any]:
    return {
        "from": "Example Nöws <news@example.com>", "to": ["Ann <ann@example.org>", "ben@example.org"], "cc": "cc@example.org",
        "bcc": "b@example.net", "subject": "Grüße", "text": "Hällo\r\n", "html": "<p>Hällo</p>", "h:Reply-To": "r@example.com",
        "h:X-Batch": "7", "o:tag": ["spring", "sale"], "v:deliverykit_id": "id-3", "v:order": "7", **fields,
    }  # fmt: skip


@pytest.fixture
def client(sandbox: Sandbox) -> Any:
    logging.getLogger("mailgun").setLevel(logging.CRITICAL)
    with mailgun.client.Client(auth=("api", "key-any"), api_url=sandbox.url("mailgun")) as found:
        found.config.retry_policy = mailgun.config.RetryPolicy(max_retries=0)
        yield found


def test_mailgun_by_its_sdk(sandbox: Sandbox, client: Any) -> None:
    files = [("attachment", ("ä b.png", PNG)), ("inline", ("logo.png", PNG, "image/png")), ("attachment", (None, b"nameless"))]
    answer = client.messages.create(data=mailgun_data(), files=files, domain="mg.example.com")
    [mail] = sandbox.received("mailgun")
    assert answer.json() == {"id": f"<{mail.provider_message_id}>", "message": "Queued. Thank you."}
    assert mail.provider_message_id.endswith("@mg.example.com")
    assert "x-ratelimit-limit" in answer.headers
    assert (mail.sender, mail.sender_name, mail.subject) == ("news@example.com", "Example Nöws", "Grüße")
    assert (mail.text, mail.html) == ("Hällo\r\n", "<p>Hällo</p>")
    assert mail.to == ("ann@example.org", "ben@example.org")
    assert mail.recipients == ("ann@example.org", "ben@example.org", "cc@example.org", "b@example.net")
    assert (mail.reply_to, mail.headers, mail.tags) == (("r@example.com",), {"X-Batch": "7"}, ("spring", "sale"))
    assert (mail.id, mail.metadata, mail.credential) == ("id-3", {"order": "7"}, "key-any")
    found = [(one.filename, one.content, one.content_type, one.content_id) for one in mail.attachments]
    assert found == [("ä b.png", PNG, "", ""), ("logo.png", PNG, "image/png", "logo.png")]


def test_mailgun_mime_by_its_sdk(sandbox: Sandbox, client: Any) -> None:
    email = EmailMessage()
    email["From"], email["To"], email["Subject"] = "a@example.com", "x@example.org", "Grüße"
    email.set_content("text\n")
    data = {"to": ["x@example.org", "hidden@example.org"], "v:deliverykit_id": "id-4"}
    answer = client.mimemessage.create(data=data, files={"message": email.as_bytes()}, domain="mg.example.com")
    assert answer.status_code == 200
    [mail] = sandbox.received("mailgun")
    assert (mail.recipients, mail.bcc) == (("x@example.org", "hidden@example.org"), ("hidden@example.org",))
    assert (mail.subject, mail.text, mail.id) == ("Grüße", "text\n", "id-4")


def test_mailgun_keys_domains_and_account(sandbox: Sandbox, client: Any) -> None:
    def send(domain: str = "mg.example.com") -> Any:
        return client.messages.create(data=mailgun_data(), domain=domain)

    sandbox.domains(["mg.example.com"])
    assert send().status_code == 200
    assert (send("other.example").status_code, send("other.example").json()["message"]) == (
        404,
        "Domain not found: other.example",
    )
    sandbox.verify_only("mailgun", [])
    assert (send().status_code, "The domain is unverified" in send().json()["message"]) == (400, True)
    sandbox.keys("mailgun", ["key-good"])
    assert (send().status_code, send().text) == (401, "Forbidden")
    assert sandbox.count() == 1


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("throttle", 429, "request limit exceeded, try again after 1 seconds"),
        (
            "quota",
            420,
            r"Domain mg.example.com is not allowed to send: recipient limit exceeded, try again after \w{3}, .* UTC",
        ),
        ("bad_key", 401, "Forbidden"),
        ("server_error", 500, "Internal Server Error"),
    ],
)
def test_mailgun_faults_as_its_sdk_shows_them(sandbox: Sandbox, client: Any, kind: str, status: int, text: str) -> None:
    import re

    sandbox.fault("mailgun", kind)
    answer = client.messages.create(data=mailgun_data(), domain="mg.example.com")
    assert answer.status_code == status
    assert re.search(text, answer.text)
    assert sandbox.requests("mailgun")[0].id == "id-3"


@pytest.mark.parametrize(
    "fields",
    [
        {"from": ""},
        {"to": ""},
        {"to": "nobody"},
        {"text": "", "html": ""},
        {"to": [f"a{n}@example.org" for n in range(1001)]},
        {"v:big": "x" * 16_384},
        {"o:tag": [f"tag{n}" for n in range(11)]},
        {"o:testmode": "maybe"},
        {"o:deliverytime": "soon"},
        {"recipient-variables": "{"},
    ],
)
def test_mailgun_refusals(sandbox: Sandbox, client: Any, fields: dict[str, Any]) -> None:
    answer = client.messages.create(data=mailgun_data(**fields), domain="mg.example.com")
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"]
    assert sandbox.count() == 0


def test_mailgun_takes_ten_tags(sandbox: Sandbox, client: Any) -> None:
    tags = tuple(f"tag{n}" for n in range(10))
    answer = client.messages.create(data=mailgun_data(**{"o:tag": list(tags)}), domain="mg.example.com")
    assert answer.status_code == 200, answer.text
    assert sandbox.received("mailgun")[0].tags == tags


def test_mailgun_test_mode_is_billed_and_not_delivered(sandbox: Sandbox, client: Any) -> None:
    sandbox.limit("mailgun", per_day=10)
    assert client.messages.create(data=mailgun_data(**{"o:testmode": "yes"}), domain="mg.example.com").status_code == 200
    assert sandbox.count("mailgun") == 0
    answer = client.messages.create(data=mailgun_data(to=[f"a{n}@example.org" for n in range(5)]), domain="mg.example.com")
    assert answer.status_code == 420


# -- Elastic Email ----------------------------------------------------------------------------


def elastic(sandbox: Sandbox, key: str = "EE-any") -> Any:
    configuration = ElasticEmail.Configuration(host=f"{sandbox.url('elasticemail')}/v4", api_key={"apikey": key})
    return ElasticEmail.EmailsApi(ElasticEmail.ApiClient(configuration))


def elastic_mail(to: list[str] | None = None, **content: Any) -> Any:
    return ElasticEmail.EmailTransactionalMessageData(
        Recipients=ElasticEmail.TransactionalRecipient(
            To=to or ["Ann <ann@example.org>"], CC=["cc@example.org"], BCC=["b@example.net"]
        ),
        Content=ElasticEmail.EmailContent(
            **{
                "From": "Example Nöws <news@example.com>",
                "ReplyTo": "r@example.com",
                "Subject": "Grüße",
                "Body": [
                    ElasticEmail.BodyPart(ContentType="PlainText", Content="Hällo", Charset="utf-8"),
                    ElasticEmail.BodyPart(ContentType="HTML", Content="<p>Hällo</p>"),
                ],
                "Headers": {"X-Batch": "7"},
                "Attachments": [
                    ElasticEmail.MessageAttachment(
                        BinaryContent=base64.b64encode(PNG).decode(), Name="a.png", ContentType="image/png"
                    )
                ],
                "Postback": "id-5",
                **content,
            }
        ),
        Options=ElasticEmail.Options(ChannelName="spring", TrackOpens=False),
    )


def test_elastic_email_by_its_sdk(sandbox: Sandbox) -> None:
    answer = elastic(sandbox).emails_transactional_post(elastic_mail())
    [mail] = sandbox.received("elasticemail")
    assert answer.transaction_id == mail.provider_message_id
    assert len(answer.message_id) == 22
    assert (mail.sender, mail.sender_name, mail.subject) == ("news@example.com", "Example Nöws", "Grüße")
    assert (mail.text, mail.html, mail.headers) == ("Hällo", "<p>Hällo</p>", {"X-Batch": "7"})
    assert mail.recipients == ("ann@example.org", "cc@example.org", "b@example.net")
    assert (mail.reply_to, mail.tags, mail.id, mail.credential) == (("r@example.com",), ("spring",), "id-5", "EE-any")
    assert [(one.filename, one.content, one.content_type) for one in mail.attachments] == [("a.png", PNG, "image/png")]


def test_elastic_email_bulk_by_its_sdk(sandbox: Sandbox) -> None:
    bulk = ElasticEmail.EmailMessageData(
        Recipients=[ElasticEmail.EmailRecipient(Email=f"a{n}@example.org") for n in range(60)], Content=elastic_mail().content
    )
    elastic(sandbox).emails_post(bulk)
    [mail] = sandbox.received("elasticemail")
    assert (len(mail.recipients), mail.to) == (60, ())


def test_elastic_email_idempotency_key(sandbox: Sandbox) -> None:
    api = elastic(sandbox)
    sandbox.fault("elasticemail", "server_error", status=502, accepted=True)
    with pytest.raises(ElasticEmail.ApiException):
        api.emails_transactional_post(elastic_mail(), idempotency_key="k1")
    again = api.emails_transactional_post_with_http_info(elastic_mail(), idempotency_key="k1")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert [one.provider_message_id for one in sandbox.received("elasticemail")] == [again.data.transaction_id]
    with pytest.raises(ElasticEmail.ApiException) as caught:
        api.emails_transactional_post(elastic_mail(Subject="other"), idempotency_key="k1")
    assert caught.value.status == 422
    from datetime import timedelta

    sandbox.move_clock(timedelta(hours=25))
    assert api.emails_transactional_post(elastic_mail(), idempotency_key="k1").transaction_id != again.data.transaction_id


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("throttle", 429, "Too many connections"),
        ("quota", 412, "limit exceeded"),
        ("bad_key", 400, "APIKey Expired"),
        ("server_error", 500, "Internal"),
    ],
)
def test_elastic_email_faults_as_its_sdk_shows_them(sandbox: Sandbox, kind: str, status: int, text: str) -> None:
    sandbox.fault("elasticemail", kind)
    with pytest.raises(ElasticEmail.ApiException) as caught:
        elastic(sandbox).emails_transactional_post(elastic_mail())
    assert caught.value.status == status
    assert text in json.loads(caught.value.body)["Error"]


@pytest.mark.parametrize(
    ("mail", "status"),
    [
        (elastic_mail(to=[f"a{n}@example.org" for n in range(50)]), 413),
        (elastic_mail(to=["nobody"]), 400),
        (elastic_mail(Body=[]), 400),
        (elastic_mail(From="nobody"), 400),
    ],
)
def test_elastic_email_refusals(sandbox: Sandbox, mail: Any, status: int) -> None:
    with pytest.raises(ElasticEmail.ApiException) as caught:
        elastic(sandbox).emails_transactional_post(mail)
    assert caught.value.status == status
    assert json.loads(caught.value.body)["Error"]
    assert sandbox.count() == 0


def test_elastic_email_keys_and_domains(sandbox: Sandbox) -> None:
    sandbox.keys("elasticemail", ["EE-good"])
    with pytest.raises(ElasticEmail.ApiException, match="APIKey Expired"):
        elastic(sandbox).emails_transactional_post(elastic_mail())
    sandbox.verify_only("elasticemail", ["example.org"])
    with pytest.raises(ElasticEmail.ApiException, match="not verified"):
        elastic(sandbox, "EE-good").emails_transactional_post(elastic_mail())
    api = ElasticEmail.DomainsApi(elastic(sandbox, "EE-good").api_client)
    assert [one.domain for one in api.domains_get()] == ["example.org"]


def test_what_is_told_about_the_account_by_the_sdks(sandbox: Sandbox, client: Any) -> None:
    sandbox.account("ses", ProductionAccessEnabled=False, EnforcementStatus="PROBATION")
    told = ses(sandbox).get_account()
    assert (told["ProductionAccessEnabled"], told["SendingEnabled"], told["EnforcementStatus"]) == (False, True, "PROBATION")
    sandbox.account("sendgrid", scopes=["alerts.read"])
    assert json.loads(sendgrid_client(sandbox).client.scopes.get().body) == {"scopes": ["alerts.read"]}
    sandbox.account("mailgun", state="disabled", is_disabled=True)
    domain = client.domains.get(domain_name="mg.example.com").json()["domain"]
    assert (domain["state"], domain["is_disabled"]) == ("disabled", True)
    sandbox.account("mailgun")
    assert client.domains.get(domain_name="mg.example.com").json()["domain"]["state"] == "active"


def test_the_older_account_call_of_elastic_email_takes_its_key_in_a_form(sandbox: Sandbox) -> None:
    import httpx2

    url = f"{sandbox.url('elasticemail')}/v2/account/load"
    sandbox.keys("elasticemail", ["EE-good"])
    assert httpx2.post(url, data={"apikey": "EE-good"}).json()["data"]["StatusFormatted"] == "Active"
    assert httpx2.get(url, params={"apikey": "EE-good"}).json()["success"] is True
    assert httpx2.post(url, data={"apikey": "EE-bad"}).json() == {"success": False, "error": "Incorrect apikey"}
