"""Sending by Amazon SES's API v2, ``POST /v2/email/outbound-emails``.

Source: botocore's description of SESv2 (1.44.5) and AWS's SES developer guide, read 2026-11-23.
"""

import base64
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, ClassVar, Self

from attrs import evolve, frozen

from deliverykit.contracts.answers import Row
from deliverykit.contracts.capabilities import Capabilities, Feature
from deliverykit.contracts.provider import (
    ABSENT,
    Outgoing,
    Path,
    Provider,
    fingerprint,
    is_line,
    json_body,
    option,
    secret,
    web_address,
)
from deliverykit.providers.ses.control import checked
from deliverykit.providers.ses.regions import region_problem
from deliverykit.providers.ses.rules import (
    ID_HEADER,
    METADATA_HEADER,
    THEIR_HEADERS,
    commands_ses,
    our_headers,
    problems,
    raw_message,
)
from deliverykit.providers.ses.signing import Keys, keys_of, signed
from deliverykit.providers.ses.table import TABLE, error_text
from deliverykit.words.addresses import Address, header_text
from deliverykit.words.checks import CheckReport
from deliverykit.words.credentials import Credential, Env, Named, Secret, revealed
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.message import Message
from deliverykit.words.outcomes import Scope
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["ID_HEADER", "ID_TAG", "METADATA_HEADER", "SES"]

ID_TAG = "deliverykit_id"
"""The message tag that carries our id; it comes back in ``mail.tags`` of every published event."""


@frozen(kw_only=True)
class SES(Provider):
    """Amazon SES, API v2, in one region. The key needs ``ses:SendEmail`` and, for ``raw=``, ``ses:SendRawEmail``.

    Give the key pair, or ``credentials=Named(…)``: the host's boto3 session, or a callable that returns
    one or a mapping of the keys, asked whenever a request is signed. ``configuration_set`` is named by
    every call; without one SES publishes no events.

    Tags travel as the message tags ``tag_1``, ``tag_2`` … in their order, since a name may stand only once;
    metadata travels in a header, and the reader of the mail can see it there.
    """

    name: ClassVar[str] = "ses"
    esp: ClassVar[str] = "ses"
    label: ClassVar[str] = "Amazon SES"
    # 50 recipients and 40 MB after base64: the guide's page on quotas. 15 headers by the API's description,
    # less our id and the metadata. No local parts outside ASCII.
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=set(Feature) - {Feature.INTERNATIONAL, Feature.FREE_TAGS, Feature.LONG_HEADERS, Feature.LONG_FILE_FIELDS},
        max_recipients=50,
        max_bytes=40_000_000,
        max_headers=13,
        max_metadata=800,
    )
    hosts: ClassVar[Sequence[str]] = ("email.{region}.amazonaws.com", "email-fips.{region}.amazonaws.com")
    table: ClassVar[Sequence[Row]] = TABLE

    region: str = option(
        label="Region", where="AWS console, upper right; identities and quotas belong to one region", destination=True
    )
    access_key_id: Credential | None = secret(label="Access key id", where="AWS IAM: Users, Security credentials", default=None)
    secret_access_key: Credential | None = secret(label="Secret access key", where="shown once, with the key id", default=None)
    session_token: Credential | None = secret(label="Session token", where="only with temporary keys", default=None)
    credentials: Named | None = secret(
        label="Name of AWS credentials", where="Mailer(credentials={…})", default=None, named=True
    )
    configuration_set: str = option(label="Configuration set", where="SES: Configuration sets", default="")
    base_url: str = web_address(label="API address")

    def __attrs_post_init__(self) -> None:
        if problem := region_problem(self.region):
            raise ConfigurationError(f"SES region: {problem}")
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,64}", self.configuration_set):
            raise ConfigurationError(f"SES configuration_set: {self.configuration_set!r} must be at most 64 of A-Z a-z 0-9 _ -")
        pair = {"access_key_id": self.access_key_id, "secret_access_key": self.secret_access_key}
        given = [name for name, value in {**pair, "session_token": self.session_token}.items() if value is not None]
        missing = [name for name, value in pair.items() if value is None]
        if self.credentials is None and missing:
            raise ConfigurationError(f"SES {missing[0]}: missing; give the key id and the secret key, or credentials=Named(…)")
        if self.credentials is not None and not isinstance(self.credentials, Named):
            raise ConfigurationError("SES credentials: give Named(…), and what it names to Mailer(credentials={…})")
        if self.credentials is not None and given:
            raise ConfigurationError(f"SES {given[0]}: given beside credentials=; give one of the two")

    def with_credentials(self, lookup: Callable[[Env | Named], object]) -> Self:
        """As :meth:`Provider.with_credentials`; ``credentials=`` becomes the keys it gives at this moment."""
        if self.credentials is None:
            return super().with_credentials(lookup)
        keys = keys_of(self._looked_up("credentials", self.credentials, lookup))
        if keys is None:
            raise ConfigurationError(
                f"SES credentials: {self.credentials!r} gives no keys; it must be a boto3 session that has some, or a callable "
                "that returns one or a mapping of access_key_id and secret_access_key"
            )
        return evolve(
            self,
            credentials=None,
            access_key_id=Secret(keys.access),
            secret_access_key=Secret(keys.secret),
            session_token=Secret(keys.token) if keys.token else None,
        )

    def unsupported(self, message: Message, sender: Address | None = None) -> tuple[str, ...]:
        """See :meth:`Provider.unsupported`; with SES's own rules about headers, file names and raw MIME."""
        reasons = super().unsupported(message, sender)
        if message.headers or message.attachments or message.unsubscribe or message.raw is not None:
            reasons = (*reasons, *problems(self._probe(message, sender)))
        return reasons

    def payload(self, mail: Outgoing) -> dict[str, Any]:
        """The JSON body of ``SendEmail``."""
        if mail.sender.international:  # of the message it is checked before; this is the server's own sender
            raise ConfigurationError(f"sender {mail.sender.email!r}: Amazon SES takes only ASCII before the @; give another")
        raw, tracking = mail.message.raw, _tracking(mail)
        fields: dict[str, Any] = {
            "FromEmailAddress": mail.sender.header,
            "Destination": _destination(mail),
            "Content": {"Simple": _simple(mail)} if raw is None else {"Raw": _raw(mail, raw)},
            "EmailTags": _tags(mail),
        }
        if mail.reply_to and raw is None:
            fields["ReplyToAddresses"] = [one.header for one in mail.reply_to]
        if self.configuration_set:
            fields["ConfigurationSetName"] = self.configuration_set
        if tracking:
            fields["ConfigurationOverrides"] = {"Tracking": tracking}
        return fields

    def sealed(self, mail: Outgoing) -> Mapping[Path, Any]:
        """From, envelope, our id and the configuration set.

        Left open, because they change neither From nor envelope: ``FromEmailAddressIdentityArn`` (whose
        permission is used), ``FeedbackForwardingEmailAddress`` (who is told of bounces), ``ReplyToAddresses``,
        ``TenantName``, ``ListManagementOptions`` (an unsubscribe link; it takes recipients away, never adds).
        Templates are closed: what they put into the mail nobody here has seen.
        """
        raw = mail.message.raw
        content: Mapping[Path, Any] = (
            {
                ("Content", "Raw"): ABSENT,
                ("Content", "Simple", "Headers"): lambda headers: _headers_kept(headers, mail.id),
                ("Content", "Simple", "Subject", "Data"): is_line,
            }
            if raw is None
            else {("Content", "Raw"): _raw(mail, raw), ("Content", "Simple"): ABSENT}
        )
        return {
            ("FromEmailAddress",): mail.sender.header,
            ("Destination",): _destination(mail),
            ("EmailTags",): lambda tags: _tags_kept(tags, mail.id),
            ("ConfigurationSetName",): self.configuration_set or ABSENT,
            ("Content", "Template"): ABSENT,
            **content,
            ("Content",): lambda content: isinstance(content, Mapping),  # once, under its own name
        }

    def encode(self, mail: Outgoing, payload: Mapping[str, Any], now: int) -> HttpRequest:
        """A JSON POST, signed at ``now``."""
        request = HttpRequest(
            url=f"{self.address}/v2/email/outbound-emails",
            headers={"Content-Type": "application/json"},
            body=json_body(payload, self.esp),
        )
        return self.authenticated(request, now)

    @property
    def address(self) -> str:
        """Where the API is, without a path."""
        return self.base_url.rstrip("/") or f"https://email.{self.region}.amazonaws.com"

    def authenticated(self, request: HttpRequest, now: int) -> HttpRequest:
        """The request, signed by this server's keys at ``now``."""
        if self.access_key_id is None or self.secret_access_key is None:
            raise ConfigurationError(f"SES credentials: {self.credentials!r} has to be resolved before a request is built")
        keys = Keys(
            access=revealed(self.access_key_id),
            secret=revealed(self.secret_access_key),
            token=revealed(self.session_token) if self.session_token is not None else "",
        )
        return signed(request, keys, service="ses", region=self.region, now=now)

    def check(self, now: int) -> Generator[HttpRequest, HttpResponse, CheckReport]:
        """Whether the key is good, and whether and how much the account may send in this region."""
        return checked(self, now)

    def accepted(self, response: HttpResponse) -> str | None:
        """``{"MessageId": "…"}``, the same id as in events."""
        body = response.json()
        found = body.get("MessageId") if isinstance(body, Mapping) else None
        return found if isinstance(found, str) and found else None

    def error(self, response: HttpResponse) -> str | None:
        """Code and text as in ``Throttling: Rate exceeded``; see :func:`~.table.error_text`."""
        return error_text(response)

    def scope_key(self, scope: Scope) -> str:
        """An access key in a region stands for the account there."""
        known_by = self.credentials or self.access_key_id
        return fingerprint("ses", self.region, known_by) if scope is Scope.ACCOUNT else ""

    def simulates(self, recipient: Address) -> bool:
        """SES's mailbox simulator accepts from everybody and proves nothing."""
        return recipient.domain == "simulator.amazonses.com"


def _destination(mail: Outgoing) -> dict[str, list[str]]:
    people = {"ToAddresses": mail.to, "CcAddresses": mail.cc, "BccAddresses": mail.bcc}
    return {name: [one.header for one in found] for name, found in people.items() if found}


def _tags(mail: Outgoing) -> list[dict[str, str]]:
    numbered = {f"tag_{number}": tag for number, tag in enumerate(mail.message.tags, 1)}
    return [{"Name": name, "Value": value} for name, value in {ID_TAG: mail.id, **numbered}.items()]


def _tracking(mail: Outgoing) -> dict[str, str]:
    asked = {"OpenTrackingEnabled": mail.message.track_opens, "ClickTrackingEnabled": mail.message.track_clicks}
    return {name: "ENABLED" if on else "DISABLED" for name, on in asked.items() if on is not None}


def _simple(mail: Outgoing) -> dict[str, Any]:
    message, ours = mail.message, our_headers(mail)
    taken = {name.lower() for name in ours}
    theirs = {name: value for name, value in mail.headers.items() if name.lower() not in taken}
    bodies = {"Text": message.text, "Html": message.html}
    simple: dict[str, Any] = {
        "Subject": _utf8(message.subject),
        "Body": {name: _utf8(text) for name, text in bodies.items() if text},
        # A value may not be empty, and a space is the same to every reader.
        "Headers": [{"Name": name, "Value": header_text(value) or " "} for name, value in {**ours, **theirs}.items()],
    }
    return {**simple, "Attachments": [_file(one) for one in message.attachments]} if message.attachments else simple


def _utf8(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}


def _file(one: Attachment) -> dict[str, str]:
    fields = {
        "RawContent": base64.b64encode(one.content).decode(),
        "FileName": one.filename,
        "ContentType": one.content_type,
        "ContentTransferEncoding": "BASE64",
        "ContentDisposition": "INLINE" if one.inline else "ATTACHMENT",
    }
    return {**fields, "ContentId": one.content_id} if one.inline else fields


def _raw(mail: Outgoing, raw: bytes) -> dict[str, str]:
    return {"Data": base64.b64encode(raw_message(mail, raw)).decode()}


def _pairs(items: Any) -> list[tuple[str, str]] | None:
    """A list of ``{"Name", "Value"}``, as SES writes headers and tags, names in lower case; ``None`` for anything else."""
    if not isinstance(items, list | tuple):
        return None
    if any(not isinstance(one, Mapping) or set(one) != {"Name", "Value"} for one in items):
        return None
    return [(str(one["Name"]).strip().lower(), one["Value"]) for one in items]


def _tags_kept(tags: Any, mail_id: str) -> bool:
    """Whether our id is there, once."""
    return [value for name, value in _pairs(tags) or () if name == ID_TAG] == [mail_id]


def _headers_kept(headers: Any, mail_id: str) -> bool:
    """Whether our id is there, once, and nothing names another sender or recipient or commands SES."""
    pairs = _pairs(headers) or []
    names = {name for name, _ in pairs}
    ours = [value for name, value in pairs if name == ID_HEADER.lower()] == [mail_id]
    return ours and not names & THEIR_HEADERS and not any(map(commands_ses, names))
