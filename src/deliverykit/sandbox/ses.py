"""Amazon SES, API v2: SendEmail (Simple and Raw) and GetAccount.

Shapes and limits: botocore 1.44 ``sesv2/service-2.json`` and the SES developer guide's quotas page.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from deliverykit.sandbox import sigv4
from deliverykit.sandbox.account import Account
from deliverykit.sandbox.faults import Fault
from deliverykit.sandbox.parsing import decoded, header_block, mailboxes, unpacked, words
from deliverykit.sandbox.service import Route, Service
from deliverykit.sandbox.wire import File, Mail, Malformed, Refused, Reply, Request, Verdict

__all__ = ["EXAMPLE_KEYS", "Ses"]

EXAMPLE_KEYS = {"AKIAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
"""The key pair of AWS's own documentation; its secret is known, so its signatures are verified."""

ID_TAG = "deliverykit_id"
MAX_BYTES = 40 * 1024 * 1024
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_NUMBERED = re.compile(r"tag_[1-9]\d{0,3}")
_SET = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ONCE = ("from", "to", "cc", "bcc", "subject", "reply-to", "sender", "message-id", "date", "mime-version", "content-type")

Fields = Mapping[str, Any]


def error(status: int, code: str, text: str) -> Reply:
    """An error in rest-json: the code in a header, the text in the body."""
    return Reply.of(status, {"message": text}, ("x-amzn-ErrorType", code))


def bad(text: str) -> NoReturn:
    """Refuse the request's parameters."""
    raise Refused(error(400, "BadRequestException", text))


class Ses(Service):
    """Amazon SES in whatever region the signature names."""

    name: ClassVar[str] = "ses"
    tells: ClassVar[frozenset[str]] = frozenset({"ProductionAccessEnabled", "SendingEnabled", "EnforcementStatus"})

    @property
    def routes(self) -> Sequence[Route]:
        """SendEmail and GetAccount."""
        return _ROUTES

    def authenticate(self, request: Request, account: Account) -> None:
        """SigV4; a missing one, a malformed one and a wrong one are different errors."""
        header = request.header("authorization")
        if not header:
            raise Refused(error(403, "MissingAuthenticationTokenException", "Missing Authentication Token"))
        found = sigv4.claim(header)
        if found is None:
            raise Refused(
                error(403, "IncompleteSignatureException", "Authorization header is not a valid AWS4-HMAC-SHA256 signature.")
            )
        if problem := sigv4.check(found, request, account):
            raise Refused(error(403, *problem))

    def credential(self, request: Request) -> str:
        """The access key id."""
        found = sigv4.claim(request.header("authorization"))
        return found.key if found else ""

    def correlation(self, request: Request) -> str:
        """The EmailTag ``deliverykit_id``."""
        return next((str(tag["Value"]) for tag in request.json().get("EmailTags", ()) if tag["Name"] == ID_TAG), "")

    def unmatched(self, request: Request, known_path: bool) -> Reply:
        """An operation that does not exist."""
        return error(404, "UnknownOperationException", "")

    def unverified(self, mail: Mail, request: Request) -> Reply:
        """The identity check names the region in capitals."""
        found = sigv4.claim(request.header("authorization"))
        return _identity_refused(mail.sender, found.region if found else "us-east-1")

    def recipient_refused(self, mail: Mail, refused: str) -> Reply:
        """As in the SES sandbox: an unverified recipient reads like an unverified sender."""
        return _identity_refused(refused, "us-east-1")

    def too_large(self) -> Reply:
        """Beyond what is read at all."""
        return error(413, "RequestEntityTooLargeException", "Request is too large.")

    def malformed(self, problem: Malformed) -> Reply:
        """A body that is not the operation's JSON."""
        return error(400, "SerializationException", str(problem))

    def told(self, fault: Fault, request: Request, account: Account) -> Reply:
        """The faults in SES's words."""
        match fault.kind:
            case "throttle":
                return error(fault.status or 429, "TooManyRequestsException", fault.text or "Maximum sending rate exceeded.")
            case "quota":
                return error(fault.status or 429, "TooManyRequestsException", fault.text or "Daily message quota exceeded.")
            case "bad_key":
                return error(
                    fault.status or 403,
                    "UnrecognizedClientException",
                    fault.text or "The security token included in the request is invalid.",
                )
            case "rejected":
                return error(fault.status or 400, fault.code or "BadRequestException", fault.text or "Missing final '@domain'")
            case _:
                status = fault.status or 500
                code = "ServiceUnavailableException" if status == 503 else "InternalServiceErrorException"
                return error(status, code, fault.text or "The service is temporarily unable to process the request.")

    def decorated(self, reply: Reply, request: Request, account: Account) -> Reply:
        """Every answer has a request id."""
        return reply.plus(("x-amzn-RequestId", _uuid(account.token)))


def _uuid(token: str) -> str:
    return f"{token[:8]}-{token[8:12]}-{token[12:16]}-{token[16:20]}-{token[20:]}"


def _identity_refused(identity: str, region: str) -> Reply:
    return error(
        400,
        "MessageRejected",
        f"Email address is not verified. The following identities failed the check in region {region.upper()}: {identity}",
    )


def _send(request: Request, account: Account, _: object) -> Verdict:
    fields = _mapping(request.json(), "request")
    content = _mapping(fields.get("Content"), "Content")
    kinds = [kind for kind in ("Simple", "Raw", "Template") if content.get(kind) is not None]
    if len(kinds) != 1:
        bad("Content must hold exactly one of Simple, Raw and Template.")
    if kinds == ["Template"]:
        raise Refused(error(404, "NotFoundException", f"Template {content['Template'].get('TemplateName')} does not exist."))
    names: dict[str, str] = {}
    mail = _simple(fields, content["Simple"], names) if kinds == ["Simple"] else _raw(fields, content["Raw"], names)
    if not mail.recipients:
        bad("Missing required header 'To'.")
    if len(mail.recipients) > 50:
        bad("Recipient count exceeds 50.")
    mail.metadata = _tags(fields.get("EmailTags"))
    mail.id = mail.metadata.pop(ID_TAG, "")
    mail.tags = tuple(mail.metadata.pop(name) for name in sorted(filter(_NUMBERED.fullmatch, mail.metadata), key=_number))
    configuration = fields.get("ConfigurationSetName")
    if configuration is not None and not _SET.fullmatch(_text(configuration, "ConfigurationSetName")):
        bad(f"Invalid ConfigurationSetName <{configuration}>.")
    mail.provider_message_id = f"01000193{account.token[:8]}-{_uuid(account.token)}-000000"
    return Verdict(reply=Reply.of(200, {"MessageId": mail.provider_message_id}), mail=mail)


def _number(name: str) -> int:
    return int(name.removeprefix("tag_"))


def _mapping(value: object, what: str) -> Fields:
    if value is None:
        bad(f"1 validation error detected: Value at '{what}' failed to satisfy constraint: Member must not be null")
    if not isinstance(value, Mapping):
        raise Malformed("Start of structure or map found where not expected.")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Malformed(f"{what}: expected a string.")
    return value


def _list(value: object, what: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Malformed(f"{what}: expected a list.")
    return value


def _people(value: object, what: str, names: dict[str, str]) -> tuple[str, ...]:
    """One address each, as ``local@domain`` or with a display name, all in ASCII (RFC 2047 for other names)."""
    emails = []
    for one in _list(value, what):
        text = _text(one, what)
        found = mailboxes(text) if text.isascii() else None
        if found is None or len(found) != 1:
            bad("Missing final '@domain'" if "@" not in text else "Illegal address")
        name, email = found[0]
        names.setdefault(email, name)
        emails.append(email)
    return tuple(emails)


def _destination(fields: Fields, names: dict[str, str]) -> dict[str, tuple[str, ...]]:
    destination = _mapping(fields.get("Destination"), "Destination")
    return {name: _people(destination.get(f"{name.capitalize()}Addresses"), name, names) for name in ("to", "cc", "bcc")}


def _data(content: object, what: str) -> str:
    """Text; what its charset cannot say arrives as a question mark, and the charset is ASCII unless given."""
    part = _mapping(content, what)
    charset = _text(part.get("Charset", "ascii"), f"{what}.Charset")
    text = _text(part.get("Data"), f"{what}.Data")
    try:
        return decoded(text.encode(charset, "replace"), charset)
    except (LookupError, UnicodeError):
        bad(f"Unknown charset: {charset}")


def _simple(fields: Fields, content: Fields, names: dict[str, str]) -> Mail:
    message = _mapping(content, "Content.Simple")
    body = _mapping(message.get("Body"), "Content.Simple.Body")
    parts = {name: _data(body[name], f"Body.{name}") for name in ("Text", "Html") if body.get(name) is not None}
    if not parts:
        bad("Body must hold Text or Html.")
    people = _destination(fields, names)
    mail = Mail(
        sender=_people([_text(fields.get("FromEmailAddress"), "FromEmailAddress")], "FromEmailAddress", names)[0],
        names=names,
        to=people["to"],
        cc=people["cc"],
        bcc=people["bcc"],
        reply_to=_people(fields.get("ReplyToAddresses"), "ReplyToAddresses", names),
        subject=words(_data(message.get("Subject"), "Subject")),
        text=parts.get("Text"),
        html=parts.get("Html"),
        headers=_headers(message.get("Headers")),
        attachments=tuple(_file(one) for one in _list(message.get("Attachments"), "Attachments")),
    )
    size = sum(len(part.encode()) for part in parts.values()) + sum(-(-len(one.content) // 3) * 4 for one in mail.attachments)
    _bounded(size)
    return mail


def _bounded(size: int) -> None:
    if size > MAX_BYTES:
        bad(f"Message length is more than {MAX_BYTES} bytes long: '{size}'.")


def _headers(value: object) -> dict[str, str]:
    headers = {}
    listed = _list(value, "Headers")
    if len(listed) > 15:
        bad("Headers: at most 15 message headers may be given.")
    for one in listed:
        field = _mapping(one, "Headers.member")
        name, text = _text(field.get("Name"), "Name"), _text(field.get("Value"), "Value")
        if not re.fullmatch(r"[!-9;-~]{1,126}", name):
            bad(f"Invalid message header name <{name}>.")
        if not re.fullmatch(r"[ -~]{1,995}", text) or len(name) + len(text) > 996:
            bad(f"Invalid message header value of <{name}>.")
        if name.lower() in _ONCE:
            bad(f"Header <{name}> cannot be given as a message header.")
        headers[name] = text
    return headers


def _file(value: object) -> File:
    one = _mapping(value, "Attachments.member")
    name = _text(one.get("FileName"), "FileName")
    kind = _text(one.get("ContentType", "application/octet-stream"), "ContentType")
    content_id = _text(one.get("ContentId", ""), "ContentId")
    if not 1 <= len(name) <= 255 or not 1 <= len(kind) <= 78 or len(content_id) > 78:
        bad(f"Invalid attachment <{name}>: FileName 1 to 255, ContentType 1 to 78, ContentId at most 78 characters.")
    if one.get("ContentDisposition", "ATTACHMENT") not in ("ATTACHMENT", "INLINE"):
        bad("ContentDisposition must be ATTACHMENT or INLINE.")
    return File(name, unpacked(one.get("RawContent"), "RawContent"), kind, content_id.removeprefix("<").removesuffix(">"))


def _raw(fields: Fields, content: Fields, names: dict[str, str]) -> Mail:
    mime = unpacked(_mapping(content, "Content.Raw").get("Data"), "Raw.Data")
    _bounded(len(mime))
    head = header_block(mime)
    if twice := next((name for name in _ONCE if len(head.get(name, ())) > 1), None):
        raise Refused(error(400, "MessageRejected", f"Duplicate header '{twice.title()}'."))
    if max(map(len, mime.split(b"\n"))) > 999:
        bad("A line of the raw message is longer than 1000 characters.")
    given = fields.get("FromEmailAddress") or next(iter(head.get("from", ())), None)
    if given is None:
        bad("Missing required header 'From'.")
    listed = {name: _listed(head, name, names) for name in ("to", "cc", "bcc")}
    envelope: tuple[str, ...] = ()
    if fields.get("Destination") is not None:
        envelope = tuple(dict.fromkeys(email for group in _destination(fields, names).values() for email in group))
    bcc = tuple(email for email in envelope if email not in {*listed["to"], *listed["cc"]}) or listed["bcc"]
    subject = words(next(iter(head.get("subject", ())), ""))
    sender = _people([given], "FromEmailAddress", names)[0]
    reply_to = _people(fields.get("ReplyToAddresses"), "ReplyToAddresses", names) or _listed(head, "reply-to", names)
    return Mail(
        sender=sender,
        names=names,
        to=listed["to"],
        cc=listed["cc"],
        bcc=bcc,
        envelope=envelope,
        reply_to=reply_to,
        subject=subject,
        mime=mime,
    )


def _listed(head: Mapping[str, list[str]], name: str, names: dict[str, str]) -> tuple[str, ...]:
    found = mailboxes(head[name][0]) if head.get(name) else []
    if found is None:
        bad("Illegal address")
    for shown, email in found:
        names.setdefault(email, shown)
    return tuple(email for _, email in found)


def _tags(value: object) -> dict[str, str]:
    tags: dict[str, str] = {}
    for one in _list(value, "EmailTags"):
        tag = _mapping(one, "EmailTags.member")
        name, text = _text(tag.get("Name"), "Name"), _text(tag.get("Value"), "Value")
        for what, part in (("name", name), ("value", text)):
            if not _TAG.fullmatch(part):
                bad(f"Invalid tag {what} <{part}>: only alphanumeric ASCII characters, '_', and '-' are allowed.")
        if name in tags:
            bad(f"Duplicate tag name <{name}>.")
        tags[name] = text
    return tags


def _account(request: Request, account: Account, _: object) -> Verdict:
    return Verdict(
        reply=Reply.of(
            200,
            {
                "DedicatedIpAutoWarmupEnabled": False,
                "EnforcementStatus": "HEALTHY",
                "ProductionAccessEnabled": True,
                "SendingEnabled": True,
                "SendQuota": {
                    "Max24HourSend": float(50_000 if account.per_day is None else account.per_day),
                    "MaxSendRate": float(14 if account.per_second is None else account.per_second),
                    "SentLast24Hours": float(account.day.read(account.now)),
                },
                "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
                **account.told,
            },
        )
    )


_ROUTES = (
    Route("POST", "/v2/email/outbound-emails", _send, submits=True),
    Route("GET", "/v2/email/account", _account),
)
