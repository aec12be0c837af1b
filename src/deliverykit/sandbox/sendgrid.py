"""Twilio SendGrid, Web API v3: mail/send, scopes, user/credits and user/account.

Shapes and limits: Twilio's OpenAPI ``tsg_mail_v3`` (January 2026) and its limits and errors pages.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from deliverykit.sandbox.account import DAY, Account
from deliverykit.sandbox.faults import Fault
from deliverykit.sandbox.parsing import is_address, unpacked
from deliverykit.sandbox.service import Route, Service
from deliverykit.sandbox.wire import File, Mail, Malformed, Refused, Reply, Request, Verdict

__all__ = ["SendGrid"]

ID_ARG = "deliverykit_id"
MAX_BYTES = 30_000_000
RATE = 10_000
_BEARER = re.compile(r"Bearer ([!-~]+)")
_FORBIDDEN = frozenset(
    {
        "x-sg-id",
        "x-sg-eid",
        "received",
        "dkim-signature",
        "content-type",
        "content-transfer-encoding",
        "to",
        "from",
        "subject",
        "reply-to",
        "cc",
        "bcc",
    }
)

Fields = Mapping[str, Any]


def error(status: int, text: str, field: str | None = None) -> Reply:
    """An error in SendGrid's shape."""
    return Reply.of(status, {"errors": [{"message": text, "field": field, "help": None}]})


def bad(text: str, field: str | None) -> NoReturn:
    """Refuse the request's fields."""
    raise Refused(error(400, text, field))


class SendGrid(Service):
    """Twilio SendGrid."""

    name: ClassVar[str] = "sendgrid"
    tells: ClassVar[frozenset[str]] = frozenset({"scopes"})

    @property
    def routes(self) -> Sequence[Route]:
        """Sending and what tells about the account."""
        return _ROUTES

    def authenticate(self, request: Request, account: Account) -> None:
        """A bearer token."""
        if not request.header("authorization"):
            raise Refused(error(401, "authorization required"))
        key = self.credential(request)
        if not key or not account.knows(key):
            raise Refused(error(401, "The provided authorization grant is invalid, expired, or revoked"))

    def credential(self, request: Request) -> str:
        """The API key."""
        match = _BEARER.fullmatch(request.header("authorization"))
        return match[1] if match else ""

    def correlation(self, request: Request) -> str:
        """The custom argument ``deliverykit_id`` of the first personalization."""
        body = request.json()
        return str((body["personalizations"][0].get("custom_args") or body.get("custom_args") or {}).get(ID_ARG, ""))

    def unmatched(self, request: Request, known_path: bool) -> Reply:
        """404, or 405 for a known path."""
        return error(405, "method not allowed") if known_path else error(404, "not found")

    def unverified(self, mail: Mail, request: Request) -> Reply:
        """403 on the field ``from``."""
        return error(
            403,
            "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved. "
            "Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ "
            "to see the Sender Identity requirements",
            "from",
        )

    def recipient_refused(self, mail: Mail, refused: str) -> Reply:
        """As an address it takes for none."""
        return error(400, "Does not contain a valid address.", "personalizations.0.to.0.email")

    def too_large(self) -> Reply:
        """413."""
        return error(413, "content too large")

    def malformed(self, problem: Malformed) -> Reply:
        """A body that is not JSON."""
        return error(400, "Bad Request")

    def told(self, fault: Fault, request: Request, account: Account) -> Reply:
        """The faults in SendGrid's words."""
        match fault.kind:
            case "throttle":
                reset = -(-account.now // 1000) + round(fault.retry_after or 1)
                return error(fault.status or 429, fault.text or "too many requests").plus(*_rate(0, reset))
            case "quota":
                return error(fault.status or 401, fault.text or "Maximum credits exceeded")
            case "bad_key":
                text = "The provided authorization grant is invalid, expired, or revoked"
                return error(fault.status or 401, fault.text or text)
            case "rejected":
                return error(fault.status or 400, fault.text or "Does not contain a valid address.", fault.code)
            case _:
                return error(fault.status or 500, fault.text or "internal server error")

    def decorated(self, reply: Reply, request: Request, account: Account) -> Reply:
        """The rate headers are on every answer; a throttled one has its own."""
        if any(name == "X-RateLimit-Limit" for name, _ in reply.headers):
            return reply
        return reply.plus(*_rate(max(0, RATE - account.second.read(account.now)), account.now // 1000 + 1))


def _rate(remaining: int, reset: int) -> tuple[tuple[str, str], ...]:
    return (("X-RateLimit-Limit", str(RATE)), ("X-RateLimit-Remaining", str(remaining)), ("X-RateLimit-Reset", str(reset)))


def _send(request: Request, account: Account, _: object) -> Verdict:
    if request.header("content-type").partition(";")[0].strip().lower() != "application/json":
        raise Refused(error(415, "Content-Type should be application/json."))
    if len(request.body) > MAX_BYTES * 4 // 3:
        raise Refused(error(413, "content too large"))
    body = _object(request.json(), None)
    names: dict[str, str] = {}
    people, arguments = _personalizations(body, names)
    sender = _sender(body.get("from"), names)
    text, html = _content(body)
    headers = {
        **_headers(body.get("headers"), "headers"),
        **_headers(body["personalizations"][0].get("headers"), "personalizations.0.headers"),
    }
    sandbox = _sandbox_mode(body)
    mail = Mail(
        sender=sender,
        names=names,
        to=people["to"],
        cc=people["cc"],
        bcc=people["bcc"],
        reply_to=_reply_to(body, names),
        subject=_subject(body),
        text=text,
        html=html,
        headers=headers,
        attachments=tuple(_file(one, index) for index, one in enumerate(_array(body.get("attachments"), "attachments"))),
        tags=_categories(body),
        metadata=arguments,
        id=arguments.pop(ID_ARG, ""),
        delivered=not sandbox,
    )
    _scheduled(body, account)
    if sum(len(one.content) for one in mail.attachments) + len(text or "") + len(html or "") > MAX_BYTES:
        raise Refused(error(413, "content too large"))
    mail.provider_message_id = base64.urlsafe_b64encode(bytes.fromhex(account.token)).decode()[:22]
    if sandbox:
        return Verdict(reply=Reply(200), mail=mail)
    return Verdict(reply=Reply(202, headers=(("X-Message-Id", mail.provider_message_id),), content_type=""), mail=mail)


def _object(value: object, field: str | None) -> Fields:
    if not isinstance(value, Mapping):
        bad(f"Invalid type. Expected: object, given: {_kind(value)}.", field)
    return value


def _array(value: object, field: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list):
        bad(f"Invalid type. Expected: array, given: {_kind(value)}.", field)
    return value


def _string(value: object, field: str) -> str:
    if not isinstance(value, str):
        bad(f"Invalid type. Expected: string, given: {_kind(value)}.", field)
    return value


def _kind(value: object) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return kinds.get(type(value), "null")


def _mailbox(value: object, field: str, names: dict[str, str]) -> str:
    one = _object(value, field)
    email = one.get("email")
    if not is_address(email):
        bad("Does not contain a valid address.", f"{field}.email")
    if one.get("name") is not None:
        names.setdefault(str(email), _string(one["name"], f"{field}.name"))
    return str(email)


def _sender(value: object, names: dict[str, str]) -> str:
    if not isinstance(value, Mapping) or not value.get("email"):
        bad(
            "The from object must be provided for every email send. It is an object that requires the email parameter, "
            "but may also contain a name parameter.",
            "from.email",
        )
    return _mailbox(value, "from", names)


def _personalizations(body: Fields, names: dict[str, str]) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    listed = _array(body.get("personalizations"), "personalizations")
    if not listed:
        bad("The personalizations field is required and must have at least one personalization.", "personalizations")
    people: dict[str, list[str]] = {"to": [], "cc": [], "bcc": []}
    arguments = _arguments(body.get("custom_args"), "custom_args")
    for index, value in enumerate(listed):
        field = f"personalizations.{index}"
        one = _object(value, field)
        if not one.get("to"):
            bad(
                "The to array is required for all personalization objects, and must have at least one email object with a "
                "valid email address.",
                f"{field}.to",
            )
        for name, found in people.items():
            for place, person in enumerate(_array(one.get(name), f"{field}.{name}")):
                email = _mailbox(person, f"{field}.{name}.{place}", names)
                if email.lower() in {seen.lower() for group in people.values() for seen in group}:
                    bad(
                        "Each email address in the personalization block should be unique between to, cc, and bcc. We found "
                        f"the first duplicate instance of [{email}] in the {field}.{name} field.",
                        "personalizations",
                    )
                found.append(email)
        arguments.update(_arguments(one.get("custom_args"), f"{field}.custom_args"))
    if sum(map(len, people.values())) > 1000:
        bad("The total number of recipients must not exceed 1000.", "personalizations")
    return {name: tuple(found) for name, found in people.items()}, arguments


def _arguments(value: object, field: str) -> dict[str, str]:
    if value is None:
        return {}
    arguments = {name: _string(text, f"{field}.{name}") for name, text in _object(value, field).items()}
    if sum(len(name.encode()) + len(text.encode()) for name, text in arguments.items()) >= 10_000:
        bad("The custom_args may not be larger than 10000 bytes.", field)
    return arguments


def _subject(body: Fields) -> str:
    own = [one.get("subject") for one in body["personalizations"]]
    subject = body.get("subject") or (own[0] if all(own) else None)
    if not subject and not body.get("template_id"):
        bad(
            "The subject is required. You can get around this requirement if you use a template with a subject defined or if "
            "every personalization has a subject defined.",
            "subject",
        )
    return _string(subject or "", "subject")


def _content(body: Fields) -> tuple[str | None, str | None]:
    listed = _array(body.get("content"), "content")
    if not listed and not body.get("template_id"):
        bad(
            "Unless a valid template_id is provided, the content parameter is required. There must be at least one defined "
            "content block. We typically suggest both text/plain and text/html blocks are included, but only "
            "one block is required.",
            "content",
        )
    found: dict[str, str] = {}
    for index, value in enumerate(listed):
        one = _object(value, f"content.{index}")
        kind = _string(one.get("type"), f"content.{index}.type").partition(";")[0].strip().lower()
        if not _string(one.get("value"), f"content.{index}.value"):
            bad("The content value must be a string at least one character in length.", f"content.{index}.value")
        if not kind:
            bad("The content type must be a string at least one character in length.", f"content.{index}.type")
        if kind in found:
            bad("If present, text/plain and text/html may only be provided once.", "content")
        if kind == "text/plain" and index:
            bad("The content parameter must be in the order text/plain, text/x-amp-html, text/html.", "content")
        found[kind] = one["value"]
    return found.get("text/plain"), found.get("text/html")


def _headers(value: object, field: str) -> dict[str, str]:
    headers = {}
    for name, text in _object(value if value is not None else {}, field).items():
        if name.lower() in _FORBIDDEN:
            bad(f"The following header is reserved and cannot be used: {name}", field)
        headers[name] = _string(text, f"{field}.{name}")
    return headers


def _reply_to(body: Fields, names: dict[str, str]) -> tuple[str, ...]:
    single, several = body.get("reply_to"), _array(body.get("reply_to_list"), "reply_to_list")
    if single is not None and several:
        bad("The reply_to and reply_to_list fields are mutually exclusive.", "reply_to_list")
    if single is not None:
        return (_mailbox(single, "reply_to", names),)
    found = tuple(_mailbox(one, f"reply_to_list.{index}", names) for index, one in enumerate(several))
    if len(found) > 1000 or len(set(found)) != len(found):
        bad("The reply_to_list may hold at most 1000 unique addresses.", "reply_to_list")
    return found


def _categories(body: Fields) -> tuple[str, ...]:
    found = tuple(_string(one, "categories") for one in _array(body.get("categories"), "categories"))
    if len(found) > 10:
        bad("There cannot be more than 10 categories.", "categories")
    if len(set(found)) != len(found):
        bad("The categories must be unique.", "categories")
    if any(len(one) > 255 for one in found):
        bad("A category cannot be longer than 255 characters.", "categories")
    return found


def _file(value: object, index: int) -> File:
    field = f"attachments.{index}"
    one = _object(value, field)
    if not one.get("content"):
        bad("The attachment content is required.", f"{field}.content")
    if not one.get("filename"):
        bad("The attachment filename is required.", f"{field}.filename")
    if one.get("disposition", "attachment") not in ("attachment", "inline"):
        bad("The attachment disposition must be inline or attachment.", f"{field}.disposition")
    kind = _string(one.get("type", "application/octet-stream"), f"{field}.type")
    if not kind or re.search(r"[;\r\n]", kind):
        bad("The attachment type cannot contain ';', or CRLF characters.", f"{field}.type")
    try:
        content = unpacked(one["content"], "content")
    except Malformed:
        bad("The attachment content must be base64 encoded.", f"{field}.content")
    return File(
        _string(one["filename"], f"{field}.filename"), content, kind, _string(one.get("content_id", ""), f"{field}.content_id")
    )


def _sandbox_mode(body: Fields) -> bool:
    settings = _object(body.get("mail_settings") or {}, "mail_settings")
    enable = _object(settings.get("sandbox_mode") or {}, "mail_settings.sandbox_mode").get("enable", False)
    if not isinstance(enable, bool):
        bad(f"Invalid type. Expected: boolean, given: {_kind(enable)}.", "mail_settings.sandbox_mode.enable")
    return enable


def _scheduled(body: Fields, account: Account) -> None:
    for one in (body, *body["personalizations"]):
        at = one.get("send_at")
        if at is not None and (isinstance(at, bool) or not isinstance(at, int)):
            bad(f"Invalid type. Expected: integer, given: {_kind(at)}.", "send_at")
        if at is not None and at * 1000 > account.now + 3 * DAY:
            bad("Scheduling more than 72 hours in advance is forbidden.", "send_at")


def _scopes(request: Request, account: Account, _: object) -> Verdict:
    names = [
        "mail.send",
        "mail.batch.create",
        "user.account.read",
        "user.credits.read",
        "user.webhooks.event.settings.read",
        "user.webhooks.event.settings.update",
    ]
    return Verdict(reply=Reply.of(200, {"scopes": account.told.get("scopes", names)}))


def _credits(request: Request, account: Account, _: object) -> Verdict:
    used = account.day.read(account.now)
    total = 40_000 if account.per_day is None else account.per_day
    left = max(0, total - used)
    dates = {"last_reset": "2026-11-01", "next_reset": "2026-12-01", "reset_frequency": "monthly"}
    return Verdict(reply=Reply.of(200, {"remain": left, "total": total, "overage": 0, "used": used, **dates}))


def _account(request: Request, account: Account, _: object) -> Verdict:
    return Verdict(reply=Reply.of(200, {"type": "paid", "reputation": 99.7}))


_ROUTES = (
    Route("POST", "/v3/mail/send", _send, submits=True),
    Route("GET", "/v3/scopes", _scopes),
    Route("GET", "/v3/user/credits", _credits),
    Route("GET", "/v3/user/account", _account),
)
