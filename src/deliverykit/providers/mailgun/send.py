"""Sending by Mailgun's HTTP API: ``POST /v3/{domain}/messages``, and ``/messages.mime`` for raw mail.

Source: Mailgun's OpenAPI description (mailgun/mailgun-mcp-server, 2026), its documentation of 2024 and
django-anymail's notes on what the API really does; read 2026-11-23, not tried against the live API.
"""

import base64
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from attrs import frozen

from deliverykit.contracts.answers import Row
from deliverykit.contracts.capabilities import Capabilities, Feature
from deliverykit.contracts.provider import (
    ABSENT,
    Outgoing,
    Path,
    Provider,
    fingerprint,
    is_line,
    merged,
    option,
    secret,
    web_address,
)
from deliverykit.providers.mailgun.control import checked
from deliverykit.providers.mailgun.form import MAX_VARIABLES, is_field, parts
from deliverykit.providers.mailgun.multipart import File, encoded
from deliverykit.providers.mailgun.table import BARE, TABLE
from deliverykit.words.addresses import Address, ascii_domain, header_text
from deliverykit.words.arguments import line, refused, short
from deliverykit.words.checks import CheckReport
from deliverykit.words.credentials import Credential, revealed
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import ConfigurationError, MessageError
from deliverykit.words.message import Message
from deliverykit.words.outcomes import Scope
from deliverykit.words.raw import head_alone, header_names, rewritten
from deliverykit.words.untrusted import TEXT_LIMIT
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["Mailgun"]

ID_VARIABLE = "v:deliverykit_id"
"""The variable that carries our id and comes back among ``user-variables`` in every event."""
ID_HEADER = "X-Deliverykit-Id"
HOSTS = {"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}
MAX_TAG = 128

ENVELOPE_HEADERS = (
    "from", "sender", "to", "cc", "bcc", "return-path",
    "resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc",
)  # fmt: skip
"""Headers that name who sends and who receives; in ``h:`` fields they would stand beside ours."""
ESP_HEADERS = ("x-mailgun-variables", "x-mailgun-recipient-variables")
"""Headers Mailgun reads as options: the first would replace the variables (our id), the second splits the recipients."""
FIELDS = ("from", "to", "cc", "bcc", "recipient-variables", "message")

_NOT_IN_RAW = frozenset(ENVELOPE_HEADERS) - {"to", "cc"}
"""Taken out of the host's MIME. Its To and Cc are text to read; the envelope is the form's ``to``."""

# The second level of country domains under which anybody registers: never a domain of one's own.
_SHARED = frozenset({"asso", "firm", "gouv", "info", "name"})


@frozen(kw_only=True)
class Mailgun(Provider):
    """Mailgun. ``api_key`` is the account's or the domain's sending key, ``domain`` the sending domain.

    A domain lives in one ``region``; ``base_url`` replaces the region's address (a sandbox, a proxy).
    Without ``senders=`` a server may send for its domain, its subdomains and its parent, see :meth:`senders`.

    Raw MIME keeps its body byte for byte. Its From, ``Return-Path`` and (where the mail has one)
    Reply-To are replaced, Sender, Bcc and Resent-* removed; the envelope is the message's ``to``.
    """

    name: ClassVar[str] = "mailgun"
    esp: ClassVar[str] = "mailgun"
    label: ClassVar[str] = "Mailgun"
    # 1,000 recipients and 25 MB by the documentation. Up to 10 tags (2026-11-30; its documentation of 2024 said 3).
    # Local parts that are not ASCII break in its From (django-anymail).
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=set(Feature) - {Feature.INTERNATIONAL},
        max_recipients=1000,
        max_bytes=25_000_000,
        max_tags=10,
    )
    hosts: ClassVar[Sequence[str]] = ("api.mailgun.net", "api.eu.mailgun.net")
    table: ClassVar[Sequence[Row]] = TABLE

    api_key: Credential = secret(
        label="API key", where="Mailgun: Settings, API Keys; or the domain's sending key, which sends but registers no webhooks"
    )
    domain: str = option(label="Sending domain", where="Mailgun: Sending, Domains, as in mg.example.com", destination=True)
    region: str = option(
        label="Region", where="Mailgun: the flag beside the domain", choices=("us", "eu"), default="us", destination=True
    )
    base_url: str = web_address(label="API address, where it is not the region's own")

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "domain", _domain(self.domain))

    def unsupported(self, message: Message, sender: Address | None = None) -> tuple[str, ...]:
        """See :meth:`Provider.unsupported`; with Mailgun's own rules about tags, headers, raw MIME and the form's size."""
        reasons = super().unsupported(message, sender)
        refused = any(one.startswith("extra[") for one in reasons)  # then its fields need no second reason
        extra = {} if refused else message.extra.get(self.esp, {})
        used = message.tags or message.headers or message.metadata or message.unsubscribe or message.reply_to or extra
        # A forced sender's Reply-To is the original sender, whose name may be of any length.
        if used or message.raw is not None or (message.sender is not None and len(message.sender.name) > 500):
            reasons = (*reasons, *_problems(self._probe(message, sender), extra))
        return reasons

    def payload(self, mail: Outgoing) -> dict[str, Any]:
        """The form's fields by name; lists are repeated fields, files are :class:`File`."""
        return _options(mail) | (_composed(mail) if mail.message.raw is None else _raw(mail))

    def sealed(self, mail: Outgoing) -> Mapping[Path, Any]:
        """From, recipients, raw message and our id; and what would split or add recipients."""
        ours = (_composed(mail) if mail.message.raw is None else _raw(mail)) | _options(mail)
        fields = (*FIELDS, ID_VARIABLE, f"h:{ID_HEADER}")
        # A stored template has a From of its own, which a raw message could not outdo: there is no `from` field beside it.
        template: dict[Path, Any] = {("template",): ABSENT} if mail.message.raw is not None else {}
        return {
            **{(name,): ours.get(name, ABSENT) for name in fields},
            **{(f"h:{name}",): ABSENT for name in (*ENVELOPE_HEADERS, *ESP_HEADERS)},
            ("subject",): is_line,
            **template,
        }

    def encode(self, mail: Outgoing, payload: Mapping[str, Any], now: int) -> HttpRequest:
        """A multipart form with the key as Basic password.

        Without files a urlencoded form would do as well; one way for both is one thing to get right,
        and the only one Mailgun's description names.
        """
        body, content_type = encoded(parts(payload), mail.id)
        kind = "messages" if mail.message.raw is None else "messages.mime"
        return HttpRequest(
            url=f"{self.address}/v3/{self.domain}/{kind}",
            headers={"Authorization": self.authorization, "Content-Type": content_type},
            body=body,
        )

    @property
    def address(self) -> str:
        """Where the API is, without a path."""
        return (self.base_url or HOSTS[self.region]).rstrip("/")

    @property
    def authorization(self) -> str:
        """The key as HTTP wants it. It is as secret as the key."""
        return f"Basic {base64.b64encode(f'api:{revealed(self.api_key)}'.encode()).decode()}"

    def check(self, now: int) -> Generator[HttpRequest, HttpResponse, CheckReport]:
        """Whether the domain is there, in this region, and may send."""
        return checked(self)

    def accepted(self, response: HttpResponse) -> str | None:
        """``{"id": "<…>", "message"}``; the id without its brackets, as events give it."""
        body = response.json()
        found = body.get("id") if isinstance(body, Mapping) else None
        return found.removeprefix("<").removesuffix(">").strip() or None if isinstance(found, str) else None

    def error(self, response: HttpResponse) -> str | None:
        """``{"message": "…"}``; a few texts come bare or as a JSON string, see :data:`~.table.BARE`."""
        body = response.json()
        if isinstance(body, Mapping):
            text = body.get("message")
            return text if isinstance(text, str) else None
        bare = body if isinstance(body, str) else response.text(TEXT_LIMIT)
        return bare if not bare.startswith("<") and BARE.search(bare[:TEXT_LIMIT]) else None

    def senders(self) -> tuple[str, ...] | None:
        """Return the domain, all below it, and its parent: ``mg.example.com`` sends for ``example.com`` too.

        The parent must have two labels at least, and must not look like a suffix under which anybody
        registers: two labels of which the last is a country's and the first at most three letters
        (``co.uk``, ``com.au``) or a known longer one, and ``mailgun.org`` of the sandbox domains. No
        suffix list is consulted: name ``senders=`` where this guesses wrong.
        """
        _, _, parent = self.domain.partition(".")
        own = (self.domain, f"*.{self.domain}")
        return own if _shared(parent) else (*own, parent)

    def derived_secrets(self) -> Iterable[str]:
        """What is encoded for HTTP, and the key without the prefix that older ones have."""
        key = revealed(self.api_key)
        return (f"api:{key}", key.removeprefix("key-"))

    def scope_key(self, scope: Scope) -> str:
        """The key's fingerprint for the account, the domain for the domain."""
        if scope is Scope.DOMAIN:
            return self.domain
        return fingerprint(self.api_key) if scope is Scope.ACCOUNT else ""


def _domain(domain: str) -> str:
    """The domain in ASCII. It goes into the request's path, so nothing but a domain name may pass."""
    write = "write one such as 'mg.example.com'"
    try:
        found = ascii_domain(line(domain, "Mailgun domain", least=1, write=write))
    except ConfigurationError:
        raise
    except ValueError as error:
        refused("Mailgun domain", domain, f"not a domain name ({short(str(error))})", write)
    if not re.fullmatch(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", found):
        refused("Mailgun domain", domain, "not a domain name", write)
    return found


def _shared(domain: str) -> bool:
    labels = domain.split(".")
    if len(labels) != 2 or domain == "mailgun.org":
        return len(labels) < 2 or domain == "mailgun.org"
    return len(labels[1]) == 2 and (len(labels[0]) <= 3 or labels[0] in _SHARED)


def _problems(mail: Outgoing, extra: Mapping[str, Any]) -> Iterator[str]:
    """What Mailgun would refuse, or take and then do otherwise."""
    for tag in mail.message.tags:  # its documentation on tagging, 2024
        if not tag.isascii() or len(tag) > MAX_TAG:
            yield f"tags: {tag[:MAX_TAG]!r}: Mailgun takes ASCII of at most {MAX_TAG} characters"
    named_well = True
    for name in mail.message.headers:
        if name.lower() in {*ENVELOPE_HEADERS, *ESP_HEADERS}:
            yield f"headers: {name} cannot be set at Mailgun; it would change the sender, the recipients or our id"
        if not is_field(f"h:{name}"):
            named_well = False
            yield f"headers: {name!r} cannot be a field of Mailgun's form; use letters, digits and -"
    if mail.message.raw is not None:
        yield from _raw_problems(mail, mail.message.raw)
    if named_well and (extra or _may_be_large(mail)):
        try:
            parts(merged(_texts(mail), extra))
        except MessageError as error:
            yield str(error)


def _may_be_large(mail: Outgoing) -> bool:
    """Whether the fields whose size is limited could come near a limit; a look at their lengths is enough for most mail."""
    message = mail.message
    texts = [*mail.headers.values(), *message.metadata.values(), *message.tags, *(one.name for one in mail.reply_to)]
    # A character is at most 4 bytes, 16 as an encoded word; names and addresses are at most 340 bytes for each text.
    return 16 * sum(map(len, texts)) + 340 * (len(texts) + 2) > MAX_VARIABLES


def _raw_problems(mail: Outgoing, raw: bytes) -> Iterator[str]:
    try:
        rewritten(head_alone(raw), _NOT_IN_RAW, _raw_headers(mail))
    except MessageError as error:
        yield str(error)
        return
    names = [name.lower() for name in header_names(raw)]
    for name in ESP_HEADERS:
        if name in names:
            yield f"raw: {name} cannot stand in it; Mailgun reads it as an option. Use metadata=, one message each"


def _options(mail: Outgoing) -> dict[str, Any]:
    """What both ways share: our id first, metadata, tags, tracking."""
    message = mail.message
    fields: dict[str, Any] = {ID_VARIABLE: mail.id, **{f"v:{key}": value for key, value in message.metadata.items()}}
    if message.tags:
        fields["o:tag"] = list(message.tags)
    for name, wish in (("o:tracking-opens", message.track_opens), ("o:tracking-clicks", message.track_clicks)):
        if wish is not None:
            fields[name] = "yes" if wish else "no"
    return fields


def _composed(mail: Outgoing) -> dict[str, Any]:
    # Addresses as RFC 2047 writes them: in plain UTF-8, Mailgun garbles names with punctuation (django-anymail#270).
    message = mail.message
    fields: dict[str, Any] = {"from": mail.sender.header}
    fields |= {name: [one.header for one in getattr(mail, name)] for name in ("to", "cc", "bcc") if getattr(mail, name)}
    fields["subject"] = message.subject
    fields |= {name: body for name, body in (("text", message.text), ("html", message.html)) if body}
    fields |= _headers(mail)
    files = [_file(one, one.filename) for one in message.attachments if not one.inline]
    # The part's file name becomes the Content-ID.
    inline = [_file(one, one.content_id) for one in message.attachments if one.inline]
    return fields | {name: found for name, found in (("attachment", files), ("inline", inline)) if found}


def _headers(mail: Outgoing) -> dict[str, str]:
    reply_to = {"h:Reply-To": ", ".join(one.header for one in mail.reply_to)} if mail.reply_to else {}
    theirs = {f"h:{name}": header_text(value) for name, value in mail.headers.items()}
    return {**reply_to, **theirs, f"h:{ID_HEADER}": mail.id}


def _texts(mail: Outgoing) -> dict[str, Any]:
    """The fields whose size together is limited."""
    return _options(mail) | (_headers(mail) if mail.message.raw is None else {})


def _file(one: Attachment, filename: str) -> File:
    return File(filename=filename, content=one.content, content_type=one.content_type)


def _raw_headers(mail: Outgoing) -> dict[str, str]:
    reply_to = {"Reply-To": ", ".join(one.header for one in mail.reply_to)} if mail.reply_to else {}
    return {"From": mail.sender.header, ID_HEADER: mail.id, **reply_to}


def _raw(mail: Outgoing) -> dict[str, Any]:
    mime = rewritten(mail.message.raw or b"", _NOT_IN_RAW, _raw_headers(mail))
    return {
        "to": [one.ascii for one in mail.to],
        "message": File(filename="message.mime", content=mime, content_type="message/rfc822"),
    }
