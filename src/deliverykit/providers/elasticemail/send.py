"""Sending by Elastic Email's REST API v4: ``POST /v4/emails/transactional``, and ``/v4/emails`` for mail with ``unsubscribe=``.

Source: Elastic Email's OpenAPI description (elasticemail-csharp, 2026), its examples and the README of
its Python SDK 4.4.0; read 2026-11-23, not tried against the live API.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
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
from deliverykit.providers.elasticemail.control import checked
from deliverykit.providers.elasticemail.table import REPLAYED, TABLE
from deliverykit.words.addresses import Address
from deliverykit.words.checks import CheckReport
from deliverykit.words.credentials import Credential, revealed
from deliverykit.words.enclosures import Attachment
from deliverykit.words.message import Message
from deliverykit.words.outcomes import Scope
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["ElasticEmail"]

SEALED_HEADERS = (
    "from", "sender", "to", "cc", "bcc", "return-path",
    "resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc",
    "postback", "x-elasticemail-postback",
)  # fmt: skip
"""Headers that would stand beside our From and recipients, or name another postback than our id."""

_HIDDEN = "cannot carry {} together with unsubscribe: only its bulk call takes that, and hides recipients from each other"


@frozen(kw_only=True)
class ElasticEmail(Provider):
    """Elastic Email. The key needs the access level ``SendHttp``.

    ``base_url`` is the host without ``/v4``, as ``https://api.elasticemail.com``.

    - Our id is the *postback*, the one string that comes back in every event; so there is no room
      for ``metadata=``. One tag is carried, as the channel.
    - ``unsubscribe=`` is kept on the bulk call only, so such mail goes there; its recipients do not
      see each other, so it must have exactly one. The bulk call takes that recipient's bare address.
    - An inline image is found by its name: the attachment is named by its ``content_id``, and no
      other attachment may have that name.
    - Elastic Email fills in ``{name}`` in subject and bodies where it knows a field of that name (a
      contact's, or ``extra={"elasticemail": {"Content": {"Merge": {…}}}}``), and leaves the others
      as they are. No way to switch that off or to escape a brace is documented.
    """

    name: ClassVar[str] = "elasticemail"
    esp: ClassVar[str] = "elasticemail"
    label: ClassVar[str] = "Elastic Email"
    # 50 recipients of a transactional call by its own 413; 20 MB with attachments by its skills page.
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=set(Feature) - {Feature.RAW, Feature.INTERNATIONAL, Feature.METADATA},
        max_recipients=50,
        max_bytes=20_000_000,
        max_reply_to=1,
        max_tags=1,
    )
    hosts: ClassVar[Sequence[str]] = ("api.elasticemail.com",)
    table: ClassVar[Sequence[Row]] = TABLE

    api_key: Credential = secret(
        label="API key", where="Elastic Email: Settings, Manage API Keys; the access level SendHttp is enough"
    )
    base_url: str = web_address(label="API address, without /v4", default="https://api.elasticemail.com")

    def unsupported(self, message: Message, sender: Address | None = None) -> tuple[str, ...]:
        """See :meth:`Provider.unsupported`; with Elastic Email's own rules."""
        reasons = super().unsupported(message, sender)
        if message.unsubscribe and len(message.recipients) > 1:
            reasons += tuple(_HIDDEN.format(what) for what in _beside_unsubscribe(message))
        if message.headers:
            reasons += tuple(_header_problems(message))
        if len(message.attachments) > 1:
            reasons += tuple(_name_problems(message))
        return reasons

    def payload(self, mail: Outgoing) -> dict[str, Any]:
        """The JSON body of either call."""
        options = _options(mail)
        return {"Recipients": _recipients(mail), "Content": _content(mail), **({"Options": options} if options else {})}

    def sealed(self, mail: Outgoing) -> Mapping[Path, Any]:
        """From, recipients and our id."""
        return {
            ("Recipients",): _recipients(mail),
            ("Content", "From"): mail.sender.display,
            ("Content", "EnvelopeFrom"): ABSENT,
            ("Content", "Postback"): mail.id,
            **{("Content", "Headers", name): ABSENT for name in SEALED_HEADERS},
            ("Content", "Headers"): are_headers,
            ("Content", "Subject"): is_line,
        }

    def encode(self, mail: Outgoing, payload: Mapping[str, Any], now: int) -> HttpRequest:
        """A JSON POST with the key in its own header.

        The same mail in the same bytes has the same ``Idempotency-Key``: sent again within 24 hours, it is answered as
        the first time and not sent twice. Other bytes are another key, for Elastic Email refuses those (422), and so
        is a retry after what surely did not go: nobody says whether a refusal is kept for the 24 hours as well.
        """
        path = "/v4/emails" if mail.message.unsubscribe else "/v4/emails/transactional"
        body = json_body(payload, self.esp)
        return HttpRequest(
            url=self.base_url.rstrip("/") + path,
            headers={
                "X-ElasticEmail-ApiKey": revealed(self.api_key),
                "Content-Type": "application/json",
                "Idempotency-Key": f"{mail.id}-{hashlib.sha256(body).hexdigest()[:32]}-{mail.retries}",
            },
            body=body,
        )

    def accepted(self, response: HttpResponse) -> str | None:
        """``{"TransactionID", "MessageID"}``; the transaction is the call's, the message only one recipient's of several."""
        body = response.json()
        found = body.get("TransactionID") if isinstance(body, Mapping) else None
        return found if isinstance(found, str) and found else None

    def error(self, response: HttpResponse) -> str | None:
        """``{"Error": "…"}``; one that is only repeated for the idempotency key says so in a header."""
        body = response.json()
        text = body.get("Error") if isinstance(body, Mapping) else None
        if not isinstance(text, str):
            return None
        return f"{REPLAYED if response.header('idempotency-replayed').lower() == 'true' else ''}{text}"

    def check(self, now: int) -> Generator[HttpRequest, HttpResponse, CheckReport]:
        """Whether the key is known, which domains may send, and what the account may send in a day."""
        return checked(self)

    def scope_key(self, scope: Scope) -> str:
        """The key's fingerprint for the account; nothing is throttled by domain here."""
        return fingerprint(self.api_key) if scope is Scope.ACCOUNT else ""


def _beside_unsubscribe(message: Message) -> list[str]:
    """What the bulk call, which alone takes ``unsubscribe=``, cannot carry (Elastic Email's API description, 2026-05)."""
    hidden = [name for name in ("cc", "bcc") if getattr(message, name)]
    return hidden or [f"{len(message.recipients)} recipients"]


def _header_problems(message: Message) -> Iterator[str]:
    for name in message.headers:
        if name.lower() in SEALED_HEADERS:
            yield f"headers: {name} cannot be set at Elastic Email; it would change the sender, the recipients or our id"
        if name.lower() in {"list-unsubscribe", "list-unsubscribe-post"}:
            yield f"headers: Elastic Email keeps no {name} given there; give unsubscribe="


def _name_problems(message: Message) -> Iterator[str]:
    names = Counter(map(_name, message.attachments))
    for name in dict.fromkeys(_name(one) for one in message.attachments if one.inline):
        if names[name] > 1:
            yield f"attachments: two are named {name!r}; Elastic Email finds an inline image by its name only"


def _recipients(mail: Outgoing) -> Any:
    if mail.message.unsubscribe:
        return [{"Email": one.ascii} for one in mail.message.recipients]
    people = {"To": mail.to, "CC": mail.cc, "BCC": mail.bcc}
    return {name: [one.display for one in found] for name, found in people.items() if found}


def _content(mail: Outgoing) -> dict[str, Any]:
    message = mail.message
    bodies = (("HTML", message.html), ("PlainText", message.text))
    content: dict[str, Any] = {
        "From": mail.sender.display,
        "Subject": message.subject,
        "Body": [{"ContentType": kind, "Content": text, "Charset": "utf-8"} for kind, text in bodies if text],
        "Postback": mail.id,
    }
    if mail.reply_to:
        content["ReplyTo"] = mail.reply_to[0].display
    if mail.headers:
        content["Headers"] = mail.headers
    if message.attachments:
        content["Attachments"] = [_file(one) for one in message.attachments]
    return content


def _name(one: Attachment) -> str:
    """What Elastic Email matches ``cid:`` against, letter by letter."""
    return one.content_id or one.filename


def _file(one: Attachment) -> dict[str, Any]:
    return {
        "BinaryContent": base64.b64encode(one.content).decode(),
        "Name": _name(one),
        "ContentType": one.content_type,
        "Size": len(one.content),
    }


def _options(mail: Outgoing) -> dict[str, Any]:
    message = mail.message
    wishes = {"TrackOpens": message.track_opens, "TrackClicks": message.track_clicks}
    options: dict[str, Any] = {name: wish for name, wish in wishes.items() if wish is not None}
    return options | ({"ChannelName": message.tags[0]} if message.tags else {})
