"""Sending by SendGrid's Web API v3 ``POST /v3/mail/send``.

Source: Twilio's OpenAPI description ``tsg_mail_v3`` (twilio/sendgrid-oai, January 2026) and its
limits and errors pages, read 2026-11-23.
"""

import base64
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from attrs import frozen

from deliverykit.contracts.answers import Row
from deliverykit.contracts.capabilities import Capabilities, Feature
from deliverykit.contracts.provider import (
    ABSENT,
    Outgoing,
    Path,
    Provider,
    are_headers,
    fingerprint,
    is_line,
    json_body,
    secret,
    web_address,
)
from deliverykit.providers.sendgrid.control import checked
from deliverykit.providers.sendgrid.table import TABLE
from deliverykit.words.addresses import Address, header_text
from deliverykit.words.checks import CheckReport
from deliverykit.words.credentials import Credential, revealed
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.message import Message
from deliverykit.words.outcomes import Scope
from deliverykit.words.untrusted import clean
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["ID_ARG", "ID_PREFIX", "SendGrid"]

ID_PREFIX = "deliverykit_"
ID_ARG = f"{ID_PREFIX}id"
"""The custom argument that carries our id and comes back at the top level of every event."""

_EVENT_FIELDS = frozenset(
    {
        "email", "timestamp", "event", "sg_event_id", "sg_message_id", "smtp-id", "category", "ip", "useragent", "url",
        "url_offset", "tls", "attempt", "response", "reason", "status", "type", "asm_group_id", "pool", "sg_machine_open",
        "sg_content_type", "bounce_classification", "send_at", "sg_user_id", "cert_err", "newsletter", "sg_template_id",
        "sg_template_name", "marketing_campaign_id", "marketing_campaign_name", "ip_pool",
    }
)  # fmt: skip
"""Custom arguments stand beside these in an event: metadata of such a name travels with our prefix before it."""

_THEIR_HEADERS = (
    "from", "sender", "to", "cc", "bcc", "return-path", "x-smtpapi",
    "subject", "reply-to", "received", "dkim-signature", "content-type", "content-transfer-encoding", "x-sg-id", "x-sg-eid",
)  # fmt: skip
"""What would name another sender or recipient (X-SMTPAPI is the older API's way to do so), and what the API's
description forbids in ``headers`` (2026-01). A message cannot set them; this is about ``extra``."""

_ERRORS = 20
"""So many errors of one answer are read."""
_PREFIX = 3
"""A part of a key that is no longer than this is only a prefix, as ``SG``."""


@frozen(kw_only=True)
class SendGrid(Provider):
    """Twilio SendGrid. The key needs the scope ``mail.send``.

    ``base_url`` is ``https://api.eu.sendgrid.com`` for EU regional subusers.
    """

    name: ClassVar[str] = "sendgrid"
    esp: ClassVar[str] = "sendgrid"
    label: ClassVar[str] = "SendGrid"
    # 30 MB and 1,000 recipients are the documented limits of one call; 10 categories by the schema.
    # Custom arguments stay under 10,000 bytes with our own among them. Subject and files may not be empty (schema);
    # From holds no Unicode. The limitations page also forbids commas and semicolons in names; django-anymail, which once
    # worked round that, found it mended in 2025 and sends them as they are, and so do we (2026-11-23, not tried live).
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=set(Feature) - {Feature.RAW, Feature.INTERNATIONAL, Feature.EMPTY_SUBJECT, Feature.EMPTY_FILES},
        max_recipients=1000,
        max_bytes=30_000_000,
        max_reply_to=1000,
        max_tags=10,
        max_tag_length=255,
        max_metadata=9_000,
    )
    hosts: ClassVar[Sequence[str]] = ("api.sendgrid.com", "api.eu.sendgrid.com")
    table: ClassVar[Sequence[Row]] = TABLE

    api_key: Credential = secret(label="API key", where="SendGrid: Settings, API Keys; the scope mail.send is enough")
    base_url: str = web_address(label="API address", default="https://api.sendgrid.com")

    def unsupported(self, message: Message, sender: Address | None = None) -> tuple[str, ...]:
        """See :meth:`Provider.unsupported`; with SendGrid's own rules about attachments."""
        reasons = super().unsupported(message, sender)
        for one in message.attachments:
            # "The attachment type cannot contain ';', or CRLF characters", and the same of content_id: SendGrid's page of
            # errors (2026-11-30; django-anymail#492, sendgrid-csharp#386). Cut off, a charset or method would be lost.
            for what, value in (("content_type", one.content_type), ("content_id", one.content_id)):
                if ";" in value:
                    reasons += (f"attachments: {what} {value[:80]!r} holds a ';', which SendGrid refuses; leave it out",)
        return reasons

    def payload(self, mail: Outgoing) -> dict[str, Any]:
        """The JSON body of ``/v3/mail/send``."""
        message, sender = mail.message, mail.sender
        if sender.international:  # of the message it is checked before; this is the server's own sender
            raise ConfigurationError(f"sender {sender}: SendGrid takes only ASCII before the @; give another")
        fields: dict[str, Any] = {
            "personalizations": [_personalization(mail)],
            "from": _mailbox(sender),
            "subject": message.subject,
            "content": _content(mail),
        }
        if mail.reply_to:
            fields["reply_to_list"] = [_mailbox(one) for one in mail.reply_to]
        if mail.headers:
            # The schema leaves encoding to the caller.
            fields["headers"] = {name: header_text(value) for name, value in mail.headers.items()}
        if message.tags:
            fields["categories"] = list(message.tags)
        if message.attachments:
            fields["attachments"] = [_file(one) for one in message.attachments]
        if tracking := _tracking(mail):
            fields["tracking_settings"] = tracking
        return fields

    def sealed(self, mail: Outgoing) -> Mapping[Path, Any]:
        """From, recipients and our id."""
        person = ("personalizations", 0)
        ours = _personalization(mail)
        return {
            ("from",): _mailbox(mail.sender),
            ("personalizations", 1): ABSENT,
            **{(*person, name): ours.get(name, ABSENT) for name in ("from", "to", "cc", "bcc")},
            (*person, "custom_args", ID_ARG): mail.id,
            ("custom_args", ID_ARG): ABSENT,
            # A setting of older days that sends a copy to an address of its own.
            ("mail_settings", "bcc"): ABSENT,
            ("personalizations",): lambda found: isinstance(found, list | tuple),  # once, under its own name
            **{(*at, name): ABSENT for at in (("headers",), (*person, "headers")) for name in _THEIR_HEADERS},
            ("headers",): are_headers,
            ("subject",): is_line,
        }

    def encode(self, mail: Outgoing, payload: Mapping[str, Any], now: int) -> HttpRequest:
        """A JSON POST with the key as bearer."""
        return HttpRequest(
            url=f"{self.base_url.rstrip('/')}/v3/mail/send",
            headers={"Authorization": f"Bearer {revealed(self.api_key)}", "Content-Type": "application/json"},
            body=json_body(payload, self.esp),
        )

    def accepted(self, response: HttpResponse) -> str | None:
        """202 with an empty body; the id is in a header. 200 is the answer of ``sandbox_mode``, or of whatever is between."""
        taken = response.status == 202 or (response.status == 200 and response.header("x-message-id"))
        return response.header("x-message-id") if taken and response.empty else None

    def error(self, response: HttpResponse) -> str | None:
        """``{"errors": [{"message", "field"}]}``."""
        body = response.json()
        errors = body.get("errors") if isinstance(body, Mapping) else None
        if not isinstance(errors, list) or not errors or not all(isinstance(one, Mapping) for one in errors):
            return None
        return "; ".join(
            f"{clean(one.get('message'))} ({clean(one['field'])})" if one.get("field") else clean(one.get("message"))
            for one in errors[:_ERRORS]
        )

    def check(self, now: int) -> Generator[HttpRequest, HttpResponse, CheckReport]:
        """Which scopes the key has, and what is left of the credits where it may see them."""
        return checked(self)

    def derived_secrets(self) -> Iterable[str]:
        """The id and the secret that a key is made of: ``SG.id.secret``."""
        return [part for part in revealed(self.api_key).split(".") if len(part) > _PREFIX]

    def scope_key(self, scope: Scope) -> str:
        """A key stands for its account."""
        return fingerprint("sendgrid", self.api_key) if scope is Scope.ACCOUNT else ""


def _mailbox(one: Address) -> dict[str, str]:
    return {"email": one.ascii, "name": one.name} if one.name else {"email": one.ascii}


def _personalization(mail: Outgoing) -> dict[str, Any]:
    """One personalization. Custom arguments go in here: at the top the specification types them as text."""
    people = {name: [_mailbox(one) for one in getattr(mail, name)] for name in ("to", "cc", "bcc")}
    metadata = {ID_PREFIX + key if key.lower() in _EVENT_FIELDS else key: text for key, text in mail.message.metadata.items()}
    return {**{name: found for name, found in people.items() if found}, "custom_args": {**metadata, ID_ARG: mail.id}}


def _content(mail: Outgoing) -> list[dict[str, str]]:
    """Plain text before HTML: SendGrid demands that order, and refuses empty values."""
    parts = (("text/plain", mail.message.text), ("text/html", mail.message.html))
    return [{"type": kind, "value": text} for kind, text in parts if text]


def _file(one: Attachment) -> dict[str, str]:
    fields = {
        "content": base64.b64encode(one.content).decode(),
        "filename": one.filename,
        "type": one.content_type,
        "disposition": "inline" if one.inline else "attachment",
    }
    return {**fields, "content_id": one.content_id} if one.inline else fields


def _tracking(mail: Outgoing) -> dict[str, Any]:
    opens, clicks = mail.message.track_opens, mail.message.track_clicks
    settings: dict[str, Any] = {} if opens is None else {"open_tracking": {"enable": opens}}
    return settings if clicks is None else {**settings, "click_tracking": {"enable": clicks, "enable_text": False}}
