"""Elastic Email, API v4: emails, emails/transactional, domains; of v2 account/load, which tells the quota.

Shapes and limits: Elastic Email's OpenAPI (May 2026), the SDK ``elasticemail`` 4.4.0 and the official examples.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn
from urllib.parse import parse_qs, unquote

from deliverykit.sandbox.account import DAY, Account
from deliverykit.sandbox.faults import Fault
from deliverykit.sandbox.parsing import mailboxes, unpacked
from deliverykit.sandbox.service import Route, Service
from deliverykit.sandbox.wire import File, Mail, Malformed, Refused, Reply, Request, Verdict

__all__ = ["ElasticEmail"]

MAX_BYTES = 20 * 1024 * 1024
_BODIES = frozenset({"HTML", "PlainText", "AMP", "CSS"})

Fields = Mapping[str, Any]


def error(status: int, text: str) -> Reply:
    """An error in Elastic Email's shape."""
    return Reply.of(status, {"Error": text})


def bad(text: str) -> NoReturn:
    """Nearly everything is a 400."""
    raise Refused(error(400, text))


class ElasticEmail(Service):
    """Elastic Email."""

    name: ClassVar[str] = "elasticemail"
    tells: ClassVar[frozenset[str]] = frozenset({"StatusFormatted", "EmailCredits", "Reputation"})

    @property
    def routes(self) -> Sequence[Route]:
        """Sending, domains, and the account."""
        return _ROUTES

    def authenticate(self, request: Request, account: Account) -> None:
        """A key in a header; a missing, a wrong and an expired one read the same, and v2 answers 200."""
        key = self.credential(request)
        if key and account.knows(key):
            return
        if request.path.startswith("/v2/"):
            raise Refused(Reply.of(200, {"success": False, "error": "Incorrect apikey"}))
        bad("APIKey Expired")

    def credential(self, request: Request) -> str:
        """The API key; v2 takes it in the query, or in a form."""
        if request.path.startswith("/v2/"):
            fields = parse_qs(request.query or request.body.decode("ascii", "replace"))
            return fields.get("apikey", [""])[0]
        return request.header("x-elasticemail-apikey").strip()

    def correlation(self, request: Request) -> str:
        """The Postback."""
        return str(request.json()["Content"].get("Postback") or "")

    def unmatched(self, request: Request, known_path: bool) -> Reply:
        """404, or 405 for a known path."""
        return error(405, "Method not allowed") if known_path else error(404, "Not found")

    def unverified(self, mail: Mail, request: Request) -> Reply:
        """One more 400."""
        return error(400, f"The From email address {mail.sender} is not valid: its domain is not verified on this account.")

    def recipient_refused(self, mail: Mail, refused: str) -> Reply:
        """One more 400."""
        return error(400, f"Invalid recipient email address: {refused}")

    def too_large(self) -> Reply:
        """Beyond what is read at all."""
        return error(413, "Request is too large")

    def malformed(self, problem: Malformed) -> Reply:
        """A body that is not JSON, or a field of another type."""
        return error(400, f"Invalid request: {problem}")

    def told(self, fault: Fault, request: Request, account: Account) -> Reply:
        """The faults in Elastic Email's words. Its text for a spent quota is undocumented: pass ``text=`` to try others."""
        match fault.kind:
            case "throttle":
                reply = error(fault.status or 429, fault.text or "Too many connections. Please try again later.")
                return reply if fault.retry_after is None else reply.plus(("Retry-After", str(round(fault.retry_after))))
            case "quota":
                return error(fault.status or 412, fault.text or "Daily sending limit exceeded.")
            case "bad_key":
                return error(fault.status or 400, fault.text or "APIKey Expired")
            case "rejected":
                return error(fault.status or 400, fault.text or "Invalid recipient email address")
            case _:
                return error(fault.status or 500, fault.text or "Internal server error")


def _replayed(request: Request, account: Account, path: str) -> tuple[Reply | None, tuple[str, str] | None]:
    """The stored answer of an Idempotency-Key, else what to store under it."""
    if "idempotency-key" not in request.headers:
        return None, None
    key = request.header("idempotency-key")
    if not 1 <= len(key) <= 255:
        bad("Idempotency-Key must be 1 to 255 characters")
    name = f"{request.header('x-elasticemail-apikey')} {path} {key}"
    digest = hashlib.sha256(request.body).hexdigest()
    stored = account.replies.get(name)
    if stored is None or stored[1] <= account.now - DAY:
        return None, (name, digest)
    if stored[0] != digest:
        raise Refused(error(422, "Idempotency-Key was already used with a different request body"))
    return stored[2].plus(("Idempotency-Replayed", "true")), None


def _transactional(request: Request, account: Account, _: object) -> Verdict:
    return _send(request, account, "transactional")


def _bulk(request: Request, account: Account, _: object) -> Verdict:
    return _send(request, account, "bulk")


def _send(request: Request, account: Account, kind: str) -> Verdict:
    reply, remember = _replayed(request, account, kind)
    if reply is not None:
        return Verdict(reply=reply)
    body = _object(request.json(), "request")
    names: dict[str, str] = {}
    people = _people(body, names) if kind == "transactional" else {}
    envelope = () if people else _bulk_people(body, names)
    content = _object(body.get("Content"), "Content")
    text, html = _bodies(content)
    options = _object(body.get("Options") or {}, "Options")
    _check_options(options)
    reply_to = content.get("ReplyTo")
    mail = Mail(
        sender=_mailbox(content.get("From"), "From", names),
        names=names,
        to=people.get("to", ()),
        cc=people.get("cc", ()),
        bcc=people.get("bcc", ()),
        envelope=envelope,
        reply_to=(_mailbox(reply_to, "ReplyTo", names),) if reply_to else (),
        subject=_string(content.get("Subject") or "", "Subject"),
        text=text,
        html=html,
        headers={name: _string(value, name) for name, value in _object(content.get("Headers") or {}, "Headers").items()},
        attachments=tuple(_file(one) for one in _array(content.get("Attachments"), "Attachments")),
        tags=(_string(options["ChannelName"], "ChannelName"),) if options.get("ChannelName") else (),
        id=_string(content.get("Postback") or "", "Postback"),
    )
    if sum(len(one.content) for one in mail.attachments) + len(text or "") + len(html or "") > MAX_BYTES:
        bad("Email size exceeds the limit of 20 MB")
    guid = account.token
    mail.provider_message_id = f"{guid[:8]}-{guid[8:12]}-{guid[12:16]}-{guid[16:20]}-{guid[20:]}"
    short = base64.urlsafe_b64encode(bytes.fromhex(guid)).decode()[:22]
    answer = Reply.of(200, {"TransactionID": mail.provider_message_id, "MessageID": short})
    return Verdict(reply=answer, mail=mail, remember=remember)


def _object(value: object, what: str) -> Fields:
    if value is None:
        bad(f"{what} is required")
    if not isinstance(value, Mapping):
        raise Malformed(f"{what} must be an object")
    return value


def _array(value: object, what: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Malformed(f"{what} must be an array")
    return value


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Malformed(f"{what} must be a string")
    return value


def _mailbox(value: object, what: str, names: dict[str, str]) -> str:
    if not value:
        bad(f"{what} is required")
    found = mailboxes(_string(value, what))
    if found is None or len(found) != 1:
        bad(f"Invalid {what} email address: {value}")
    name, email = found[0]
    names.setdefault(email, name)
    return email


def _people(body: Fields, names: dict[str, str]) -> dict[str, tuple[str, ...]]:
    recipients = _object(body.get("Recipients"), "Recipients")
    people = {
        name.lower(): tuple(_mailbox(one, name, names) for one in _array(recipients.get(name), name))
        for name in ("To", "CC", "BCC")
    }
    if not people["to"]:
        bad("Recipients.To is required")
    if sum(map(len, people.values())) > 50:
        raise Refused(error(413, "You cannot provide more than 50 transactional recipients"))
    return people


def _bulk_people(body: Fields, names: dict[str, str]) -> tuple[str, ...]:
    found = [
        _mailbox(_object(one, "Recipients").get("Email"), "Email", names)
        for one in _array(body.get("Recipients"), "Recipients")
    ]
    if not found:
        bad("Recipients is required")
    if len(found) > 1000:
        raise Refused(error(413, "You cannot provide more than 1000 recipients"))
    return tuple(dict.fromkeys(found))


def _bodies(content: Fields) -> tuple[str | None, str | None]:
    found: dict[str, str] = {}
    for value in _array(content.get("Body"), "Body"):
        one = _object(value, "Body")
        kind = _string(one.get("ContentType"), "ContentType")
        if kind not in _BODIES:
            raise Malformed(f"Error converting value {json.dumps(kind)} to type 'BodyContentType'")
        if kind in found:
            bad(f"Only one body part of type {kind} is allowed")
        found[kind] = _string(one.get("Content") or "", "Content")
    if not any(found.values()) and not content.get("TemplateName"):
        bad("Email body is required")
    return found.get("PlainText"), found.get("HTML")


def _check_options(options: Fields) -> None:
    offset = options.get("TimeOffset")
    if offset is not None and (not isinstance(offset, int) or not 0 <= offset <= 50_400):
        bad("TimeOffset must be between 0 and 50400")
    for name in ("TrackOpens", "TrackClicks"):
        if options.get(name) is not None and not isinstance(options[name], bool):
            raise Malformed(f"{name} must be a boolean")


def _file(value: object) -> File:
    one = _object(value, "Attachments")
    name = one.get("Name")
    if not name:
        bad("Attachment name is required")
    content = unpacked(one.get("BinaryContent"), "BinaryContent")
    return File(_string(name, "Name"), content, _string(one.get("ContentType") or "application/octet-stream", "ContentType"))


def _domain_detail(name: str, account: Account) -> dict[str, object]:
    fine = account.may_send(name)
    return {
        "Domain": name,
        "DefaultDomain": False,
        "Spf": fine,
        "Dkim": fine,
        "MX": fine,
        "DMARC": fine,
        "IsRewriteDomainValid": fine,
        "Verify": fine,
        "Type": "None",
        "TrackingStatus": "Validated",
    }


def _domains(request: Request, account: Account, _: object) -> Verdict:
    return Verdict(reply=Reply.of(200, [_domain_detail(name, account) for name in sorted(account.verified or ())]))


def _domain(request: Request, account: Account, _: object) -> Verdict:
    name = unquote(request.path.rpartition("/")[2])
    if account.verified is not None and name.lower() not in account.verified:
        raise Refused(error(404, "Domain not found"))
    return Verdict(reply=Reply.of(200, _domain_detail(name, account)))


def _account(request: Request, account: Account, _: object) -> Verdict:
    limit = 10_000 if account.per_day is None else account.per_day
    data = {
        "DailySendLimit": limit,
        "EmailCredits": max(0, limit - account.day.read(account.now)),
        "Reputation": 100.0,
        "StatusFormatted": "Active",
        "EnableContactFeatures": False,
        **account.told,
    }
    return Verdict(reply=Reply.of(200, {"success": True, "data": data}))


_ROUTES = (
    Route("POST", "/v4/emails/transactional", _transactional, submits=True),
    Route("POST", "/v4/emails", _bulk, submits=True),
    Route("GET", "/v4/domains", _domains),
    Route("GET", "/v4/domains/[^/]+", _domain),
    Route("GET", "/v2/account/load", _account),
    Route("POST", "/v2/account/load", _account),
)
