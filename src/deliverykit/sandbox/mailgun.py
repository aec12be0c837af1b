"""Mailgun: messages (form and MIME), the domain, its sending queues, the custom limit.

Shapes and limits: Mailgun's OpenAPI (mailgun-mcp-server, 2026) and its archived documentation.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, ClassVar, NoReturn
from urllib.parse import unquote

from deliverykit.sandbox.account import Account
from deliverykit.sandbox.faults import Fault
from deliverykit.sandbox.parsing import Part, form, header_block, mailboxes, words
from deliverykit.sandbox.service import Route, Service
from deliverykit.sandbox.wire import File, Mail, Malformed, Refused, Reply, Request, Verdict

__all__ = ["Mailgun"]

ID_VARIABLE = "deliverykit_id"
MAX_MESSAGE = 25 * 1024 * 1024
MAX_PARAMETERS = 16 * 1024
MAX_TAGS = 10  # since 2026; the documentation of 2024 said 3
RATE = 10_000
_YES = frozenset({"yes", "no", "true", "false"})
_SWITCHES = {
    "o:testmode": _YES,
    "o:dkim": _YES,
    "o:tracking": _YES | {"htmlonly"},
    "o:tracking-clicks": _YES | {"htmlonly"},
    "o:tracking-opens": _YES,
    "o:require-tls": _YES,
    "o:skip-verification": _YES,
}


def error(status: int, text: str) -> Reply:
    """An error in Mailgun's shape."""
    return Reply.of(status, {"message": text})


def bad(text: str) -> NoReturn:
    """Refuse the request's parameters."""
    raise Refused(error(400, text))


def _forbidden(text: str = "Forbidden", status: int = 401) -> Reply:
    return Reply(status, text.encode(), content_type="text/plain; charset=utf-8")


class Mailgun(Service):
    """Mailgun in one region; any domain exists unless the control names those that do."""

    name: ClassVar[str] = "mailgun"
    tells: ClassVar[frozenset[str]] = frozenset({"state", "type", "is_disabled", "disabled"})
    max_request: ClassVar[int] = int(52.4 * 1024 * 1024)
    bills_tests: ClassVar[bool] = True

    @property
    def routes(self) -> Sequence[Route]:
        """Sending and what tells about the domain."""
        return _ROUTES

    def authenticate(self, request: Request, account: Account) -> None:
        """Basic, the user is ``api``; the refusal is one bare word."""
        key = self.credential(request)
        if not key or not account.knows(key):
            raise Refused(_forbidden())

    def credential(self, request: Request) -> str:
        """The API key."""
        scheme, _, value = request.header("authorization").partition(" ")
        try:
            user, colon, key = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return ""
        return key if scheme.lower() == "basic" and colon and user == "api" else ""

    def correlation(self, request: Request) -> str:
        """The variable ``v:deliverykit_id``."""
        return next((part.text for part in _form(request) if part.name == f"v:{ID_VARIABLE}"), "")

    def unmatched(self, request: Request, known_path: bool) -> Reply:
        """A wrong path is answered with 200 and a friendly text."""
        if known_path:
            return error(405, "Method not allowed")
        return Reply(200, b"Mailgun Magnificent API", content_type="text/plain; charset=utf-8")

    def unverified(self, mail: Mail, request: Request) -> Reply:
        """The domain of the path has no verified DNS."""
        return error(
            400,
            f"Domain {_domain_of(request)} is not allowed to send: The domain is unverified and requires DNS configuration. "
            "Log in to your control panel to view required DNS records.",
        )

    def sends_for(self, mail: Mail, request: Request) -> str:
        """Mailgun takes any From; the domain in the path must be verified."""
        return _domain_of(request)

    def recipient_refused(self, mail: Mail, refused: str) -> Reply:
        """As an address it takes for none."""
        return error(400, "'to' parameter is not a valid address. please check documentation")

    def too_large(self) -> Reply:
        """413."""
        return error(413, "Request Entity Too Large")

    def malformed(self, problem: Malformed) -> Reply:
        """A form that does not parse."""
        return error(400, str(problem))

    def told(self, fault: Fault, request: Request, account: Account) -> Reply:
        """The faults in Mailgun's words."""
        domain = _domain_of(request)
        wait = fault.retry_after
        match fault.kind:
            case "throttle":
                seconds = round(1 if wait is None else wait)
                text = f"Domain {domain} is not allowed to send: request limit exceeded, try again after {seconds} seconds"
                return error(fault.status or 429, fault.text or text).plus(*_rate(0, account.now // 1000 + seconds))
            case "quota":
                again = datetime.fromtimestamp(account.now // 1000 + round(3600 if wait is None else wait), UTC)
                until = format_datetime(again, usegmt=True).replace("GMT", "UTC")
                text = f"Domain {domain} is not allowed to send: recipient limit exceeded, try again after {until}"
                return error(fault.status or 420, fault.text or text)
            case "bad_key":
                return _forbidden(fault.text or "Forbidden", fault.status or 401)
            case "rejected":
                return error(
                    fault.status or 400, fault.text or "to parameter is not a valid address. please check documentation"
                )
            case _:
                return error(fault.status or 500, fault.text or "Internal Server Error")

    def decorated(self, reply: Reply, request: Request, account: Account) -> Reply:
        """Rate headers; a throttled answer has its own."""
        if any(name == "X-RateLimit-Limit" for name, _ in reply.headers):
            return reply
        return reply.plus(*_rate(max(0, RATE - account.second.read(account.now)), account.now // 1000 + 1))


def _rate(remaining: int, reset: int) -> tuple[tuple[str, str], ...]:
    return (("X-RateLimit-Limit", str(RATE)), ("X-RateLimit-Remaining", str(remaining)), ("X-RateLimit-Reset", str(reset)))


def _domain_of(request: Request) -> str:
    match = re.fullmatch(r"/v\d/(?:domains/)?([^/]+)(?:/.*)?", request.path)
    return unquote(match[1]) if match else ""


def _form(request: Request) -> list[Part]:
    return form(request.header("content-type"), request.body)


def _exists(request: Request, account: Account) -> str:
    domain = _domain_of(request)
    if account.domains is not None and domain.lower() not in account.domains:
        raise Refused(error(404, f"Domain not found: {domain}"))
    return domain


def _values(parts: Iterable[Part], name: str) -> list[str]:
    return [part.text for part in parts if part.name == name]


def _send(request: Request, account: Account, _: object) -> Verdict:
    domain = _exists(request, account)
    parts = _form(request)
    names: dict[str, str] = {}
    sender = _people(parts, "from", names)
    if len(sender) != 1:
        bad(
            "from parameter is missing" if not sender else "'from' parameter is not a valid address. please check documentation"
        )
    people = {name: _people(parts, name, names) for name in ("to", "cc", "bcc")}
    if not people["to"]:
        bad("to parameter is missing")
    headers = _prefixed(parts, "h:")
    reply_to = mailboxes(headers.pop("reply-to")[1]) if "reply-to" in headers else []
    if reply_to is None:
        bad("'h:Reply-To' parameter is not a valid address. please check documentation")
    names.update({email: name for name, email in reply_to if email not in names})
    text, html = (next(iter(_values(parts, name)), None) for name in ("text", "html"))
    if not text and not html and not _values(parts, "template") and not _values(parts, "amp-html"):
        bad("Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified")
    message_id = headers.pop("message-id", ("", ""))[1]
    mail = Mail(
        sender=sender[0],
        names=names,
        to=people["to"],
        cc=people["cc"],
        bcc=people["bcc"],
        reply_to=tuple(email for _, email in reply_to),
        subject=next(iter(_values(parts, "subject")), ""),
        text=text or None,
        html=html or None,
        headers=dict(headers.values()),
        attachments=tuple(_files(parts)),
    )
    return _queued(mail, parts, message_id or _new_id(domain, account), account)


def _send_mime(request: Request, account: Account, _: object) -> Verdict:
    domain = _exists(request, account)
    if not request.header("content-type").lower().startswith("multipart/form-data"):
        bad("Expecting 'multipart/form-data'")
    parts = _form(request)
    names: dict[str, str] = {}
    envelope = _people(parts, "to", names)
    if not envelope:
        bad("to parameter is missing")
    mime = next((part.content for part in parts if part.name == "message"), None)
    if not mime:
        bad("message parameter is missing")
    head = header_block(mime)
    listed = {
        name: _people((Part(name, one.encode()) for one in head.get(name, ())), name, names)
        for name in ("from", "to", "cc", "bcc", "reply-to")
    }
    if len(listed["from"]) != 1:
        bad("'from' parameter is not a valid address. please check documentation")
    bcc = tuple(email for email in envelope if email not in {*listed["to"], *listed["cc"]}) or listed["bcc"]
    mail = Mail(
        sender=listed["from"][0],
        names=names,
        to=listed["to"],
        cc=listed["cc"],
        bcc=bcc,
        envelope=envelope,
        reply_to=listed["reply-to"],
        subject=words(next(iter(head.get("subject", ())), "")),
        mime=mime,
    )
    return _queued(mail, parts, next(iter(head.get("message-id", ())), "") or _new_id(domain, account), account)


def _queued(mail: Mail, parts: list[Part], message_id: str, account: Account) -> Verdict:
    if len(mail.recipients) > 1000:
        bad("Too many recipients, max is 1000")
    _check_options(parts, account)
    if sum(len(part.content) for part in parts) > MAX_MESSAGE:
        raise Refused(error(413, "Message is larger than 25MB"))
    tags = dict.fromkeys(_values(parts, "o:tag"))
    if len(tags) > MAX_TAGS or any(not tag or len(tag) > 128 or not tag.isascii() for tag in tags):
        bad(f"o:tag: at most {MAX_TAGS} tags of 1 to 128 ASCII characters")
    mail.tags = tuple(tags)
    mail.metadata = dict(_prefixed(parts, "v:", fold=False).values())
    mail.id = mail.metadata.pop(ID_VARIABLE, "")
    mail.delivered = not any(value in {"yes", "true"} for value in _values(parts, "o:testmode"))
    mail.provider_message_id = message_id.strip("<>")
    return Verdict(reply=Reply.of(200, {"id": message_id, "message": "Queued. Thank you."}), mail=mail)


def _new_id(domain: str, account: Account) -> str:
    stamp = datetime.fromtimestamp(account.now / 1000, UTC).strftime("%Y%m%d%H%M%S")
    return f"<{stamp}.{account.token[:16]}@{domain}>"


def _people(parts: Iterable[Part], name: str, names: dict[str, str]) -> tuple[str, ...]:
    emails: list[str] = []
    for text in _values(parts, name):
        found = mailboxes(text) if text.strip() else []
        if found is None:
            bad(f"'{name}' parameter is not a valid address. please check documentation")
        for shown, email in found:
            names.setdefault(email, shown)
            emails.append(email)
    return tuple({email.lower(): email for email in reversed(emails)}.values())[::-1]


def _prefixed(parts: Iterable[Part], prefix: str, *, fold: bool = True) -> dict[str, tuple[str, str]]:
    """Name and value of the parameters that begin so, by name (header names without case)."""
    found = {}
    for part in parts:
        if part.name.startswith(prefix):
            name = part.name.removeprefix(prefix)
            found[name.lower() if fold else name] = (name, part.text)
    return found


def _files(parts: Iterable[Part]) -> Iterable[File]:
    """Attachments and inline files; a nameless one is dropped without a word."""
    for part in parts:
        if part.name in {"attachment", "inline"} and part.filename:
            yield File(part.filename, part.content, part.content_type, part.filename if part.name == "inline" else "")


def _check_options(parts: list[Part], account: Account) -> None:
    extra = [part for part in parts if part.name[:2] in {"o:", "h:", "v:", "t:"}]
    if sum(len(part.name.encode()) + len(part.content) for part in extra) > MAX_PARAMETERS:
        bad("The total size of o:, h:, v: and t: parameters exceeds 16KB")
    for part in extra:
        if part.name in _SWITCHES and part.text not in _SWITCHES[part.name]:
            bad(f"'{part.name}' parameter must be one of {', '.join(sorted(_SWITCHES[part.name]))}")
        if part.name == "o:deliverytime":
            _check_time(part.text, account)
    for text in _values(parts, "recipient-variables"):
        variables = _json(text)
        if not isinstance(variables, Mapping) or len(variables) > 1000:
            bad("'recipient-variables' parameter is not a valid JSON")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _check_time(text: str, account: Account) -> None:
    try:
        at = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        bad("'o:deliverytime' parameter is not a valid RFC 2822 date")
    if at * 1000 > account.now + 7 * 86_400_000:
        bad("'o:deliverytime' parameter is too far in the future")


def _domain(request: Request, account: Account, _: object) -> Verdict:
    name = _exists(request, account)
    state = "active" if account.may_send(name) else "unverified"
    domain = {
        "id": "0123456789abcdef01234567",
        "name": name,
        "state": state,
        "type": "custom",
        "smtp_login": f"postmaster@{name}",
        "spam_action": "disabled",
        "require_tls": False,
        "web_prefix": "email",
        "web_scheme": "https",
        "created_at": "Thu, 13 Oct 2011 18:02:00 GMT",
        **account.told,
    }
    return Verdict(reply=Reply.of(200, {"domain": domain, "receiving_dns_records": [], "sending_dns_records": []}))


def _queues(request: Request, account: Account, _: object) -> Verdict:
    _exists(request, account)
    idle = {"is_disabled": False, "disabled": {"until": "", "reason": ""}}
    return Verdict(reply=Reply.of(200, {"regular": idle, "scheduled": idle}))


def _limit(request: Request, account: Account, _: object) -> Verdict:
    if account.per_day is None:
        raise Refused(error(404, "No threshold for account"))
    return Verdict(reply=Reply.of(200, {"limit": account.per_day, "current": account.day.read(account.now), "period": "1d"}))


_ROUTES = (
    Route("POST", "/v3/[^/]+/messages", _send, submits=True),
    Route("POST", r"/v3/[^/]+/messages\.mime", _send_mime, submits=True),
    Route("GET", "/v[34]/domains/[^/]+", _domain),  # its own client still asks v3
    Route("GET", "/v3/domains/[^/]+/sending_queues", _queues),
    Route("GET", "/v5/accounts/limit/custom/monthly", _limit),
)
