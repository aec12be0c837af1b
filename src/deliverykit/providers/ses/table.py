"""What the errors of SES mean.

Source: botocore's description of SESv2 (the errors of SendEmail), AWS's pages on SES errors, quotas and
common errors, read 2026-11-23; texts that users met, from public threads read 2026-11-30. The text judged is
``Code: message``.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from html import unescape
from typing import Any

from deliverykit.contracts.answers import Answer, Row, by_subject, denied, fault, key_refused, rejected, throttled, unfit
from deliverykit.contracts.naming import named_in
from deliverykit.words.addresses import Address
from deliverykit.words.outcomes import About, NotSent, Outcome, Scope
from deliverykit.words.wire import HttpResponse

__all__ = ["CLOCK", "DENIED", "TABLE", "error_text"]


def error_text(response: HttpResponse) -> str | None:
    """Return ``Code: message`` of an AWS error, or ``None`` where something else answered.

    AWS writes the code in ``x-amzn-ErrorType`` or in the body, as ``__type``, ``code`` or ``Code``, perhaps with a name
    space before it or an address after it; the older API answers in XML.
    """
    fields, header = _error_fields(response), response.header("x-amzn-errortype")
    code = next((one for one in (header, *(fields.get(name) for name in ("__type", "code"))) if one), "")
    text = fields.get("message")
    text = text if isinstance(text, str) else ""
    if not isinstance(code, str) or not (code or (text and response.header("x-amzn-requestid"))):
        return None
    code = code.partition(":")[0].rpartition("#")[2].strip()
    return f"{code}: {text}" if code and text else code or text


def _error_fields(response: HttpResponse) -> Mapping[str, Any]:
    """The fields of the error by their names in lower case."""
    body = response.json()
    if not isinstance(body, Mapping):
        return _xml_fields(response.text(4000))
    fields = {str(name).lower(): value for name, value in body.items()}
    inner = fields.get("error")
    return {**fields, **{str(name).lower(): value for name, value in inner.items()}} if isinstance(inner, Mapping) else fields


def _xml_fields(text: str) -> Mapping[str, str]:
    if "<ErrorResponse" not in text[:500]:
        return {}
    found = {}
    for name in ("Code", "Message"):
        inner, end, _ = text.partition(f"<{name}>")[2].partition(f"</{name}>")
        found[name.lower()] = unescape(inner).strip() if end else ""
    return found


def _clock(answer: Answer, about: About) -> Outcome:
    """The clock of this machine is wrong, which is no fault of the server; the engine knows the prefix."""
    return NotSent(f"clock: {answer.reason}")


def _unverified(answer: Answer) -> About:
    """SES lists the identities that failed: the From, or a recipient while the account is in the sandbox."""
    return named_in(_after(answer.words, "failed the check") or answer.words, answer.mail)


def _denied(answer: Answer) -> About:
    """AWS names the principal and, in most texts, the resource it was refused: that decides.

    The principal (an IAM or STS ARN) says nothing: a role's session may be called by somebody's address. An identity
    that is neither the sender's nor a recipient's is one that only this message's ``extra`` can have asked for.
    """
    found = {_resource(arn, answer) for arn in _arns(answer.words) if not arn.startswith(("iam:", "sts:"))}
    if not found:
        rest = _after(answer.words, "on resource") or _after(answer.words, "identity")
        found = {named_in(rest, answer.mail)} - {About.UNKNOWN}
    if not found or About.ACCOUNT in found or (About.SENDER in found and answer.mail.forced):
        return About.ACCOUNT
    return next(one for one in (About.SENDER, About.RECIPIENT, About.UNKNOWN) if one in found)


def _after(text: str, words: str) -> str:
    return text[at + len(words) :] if (at := text.lower().find(words)) >= 0 else ""


def _arns(text: str) -> Iterator[str]:
    """The ARNs of a text from the service on, as in ``ses:eu-west-1:111122223333:identity/example.com``."""
    for word in text.split():
        _, arn, rest = word.partition("arn:")
        if arn:
            yield rest.partition(":")[2].rstrip("'\".,;)]>")


def _resource(arn: str, answer: Answer) -> About:
    kind, _, name = arn.rpartition(":")[2].partition("/")
    if kind == "identity" and name.strip("*"):
        return _by_pattern(name, answer) if "*" in name else named_in(name, answer.mail)
    # A configuration set is the server's own. Contact list, tenant and the like may be this message's wish.
    return About.UNKNOWN if name and name in _wishes(answer.mail.message.extra.get("ses")) else About.ACCOUNT


def _by_pattern(name: str, answer: Answer) -> About:
    def fits(one: Address) -> bool:
        return fnmatchcase(one.key, name.lower()) or fnmatchcase(one.domain, name.lower())

    if fits(answer.mail.sender):
        return About.SENDER
    return About.RECIPIENT if any(map(fits, answer.mail.message.recipients)) else About.UNKNOWN


def _wishes(extra: object) -> Iterator[str]:
    """The texts in a message's ``extra``."""
    if isinstance(extra, str):
        yield extra
    elif isinstance(extra, list | tuple):
        for one in extra:
            yield from _wishes(one)
    elif hasattr(extra, "values"):
        yield from _wishes(list(extra.values()))


CLOCK = "RequestExpired|RequestTimeTooSkewed|Signature expired|Signature not yet current|RequestInTheFuture"
DENIED = r"^AccessDenied|^NotAuthorized|^Unauthorized|\bnot authorized to perform\b|\bexplicit deny\b|^\W*forbidden\W*$"
_KEYS = (
    "^UnrecognizedClient|^InvalidClientTokenId|^SignatureDoesNotMatch|^InvalidSignature|^IncompleteSignature|^ExpiredToken|"
    "^MissingAuthenticationToken|^InvalidAccessKeyId|^AuthFailure|^InvalidToken|^InvalidSecurity|^TokenRefreshRequired|"
    r"\bsecurity token\b.{0,60}\b(invalid|expired)\b|\bsignature we calculated does not match\b|"
    r"\bmissing authentication token\b|\btoken (has|is) expired\b"
)
_CLOSED = (
    "^OptInRequired|^SubscriptionRequired|^AccountSuspended|^AccountDisabled|^SendingPaused|^AccountSendingPaused|"
    "^ConfigurationSetSendingPaused|^TenantSendingPaused|"
    r"\bsending\b.{0,80}\b(paused|suspended|disabled|shut ?down|blocked)\b|"
    r"\baccount\b.{0,60}\b(paused|suspended|disabled|shut ?down|blocked|closed|terminated)\b"
)
_CONFIGURATION = (
    "^ConfigurationSetDoesNotExist|^ConfigurationSetNotFound|^InvalidSendingPool|"
    r"\bconfiguration ?set\b.{0,80}\b(not exist|doesn't exist|not found|not associated|isn't associated|invalid)\b|"
    r"\b(sending|ip) pool\b.{0,80}\b(not exist|doesn't exist|not found|invalid)\b"
)
_ABSENT = r"^NotFound|^TemplateDoesNotExist|\b(not exist|doesn't exist|not found|not associated)\b|\btenant\b"
_SUPPRESSED = r"\b(?<!ip )address (is )?(blacklisted|blocklisted|suppressed)|\bsuppression list\b"
# What another ESP may carry: SES refuses some file types, and long lines and doubled headers in a MIME message.
_ELSEWHERE = (
    r"\b(illegal|invalid|unsupported|blocked|disallowed|prohibited)\b.{0,20}\b(attachment|file ?name|file|extension)|"
    r"\bduplicate header\b|\bline (is )?too long\b|\blines? (longer|exceed)"
)
_MESSAGE = (
    r"\bmissing (required|domain|final|local|recipient|subject|body)|\billegal (e-?mail|address|domain|local|header)|"
    r"\bempty (required )?(header|subject|body|content|address)|\btransaction failed\b|"
    r"\bvalue\b.{0,60}\bat '(content|destination|replyto|emailtags)|"
    r"\binvalid (domain|local|recipient|email|to|cc|bcc|reply|subject|header|charset)\b|"
    r"\b(local address|local part|domain|address|header|subject)\b.{0,60}\bcontains\b|"
    r"\bmore than \d+ (characters|bytes)\b|"
    r"\bvirus\b|\bbad content\b|\b(message|content|attachments?)\b.{0,40}\b(too (large|long|big)|length|size|exceed)|"
    r"\btoo many (recipients|headers|attachments)\b|\brecipient count exceeds\b|\bnon-ascii\b|\bmalformed\b"
)


def _absent(answer: Answer) -> About:
    """An identity that does not exist is judged as one that is not verified."""
    named = named_in(answer.words, answer.mail)
    return _missing(answer) if named is About.UNKNOWN else named


def _missing(answer: Answer) -> About:
    """A template, a contact list or a tenant is this message's wish where its ``extra`` asks for one."""
    wished = answer.mail.message.extra.get("ses")
    named = any(one and one.lower() in answer.words.lower() for one in _wishes(wished))
    return About.UNKNOWN if named else About.ACCOUNT


TABLE: tuple[Row, ...] = (
    # First, because some of them come as InvalidSignatureException or SignatureDoesNotMatch: "Signature expired: …".
    Row((400, 401, 403), CLOCK, About.ACCOUNT, _clock),
    # One exception, two messages: the daily quota frees itself little by little over 24 hours, SES names no time.
    Row(
        (400, 403, 429),
        r"\bdaily\b.{0,30}\bquota|\bquota\b.{0,30}\bexceeded|^LimitExceeded|^AccountDailyQuota",
        About.ACCOUNT,
        throttled(Scope.ACCOUNT),
    ),
    # The rate is the account's in this region, and a second is the unit it is counted in.
    Row(
        (400, 403, 429),
        r"\bmaximum sending rate|^TooManyRequests|^Throttl|^Throttled|^SlowDown|^RequestLimit|^AccountThrottled|"
        r"\brate exceeded|\btoo many requests",
        About.ACCOUNT,
        throttled(Scope.ACCOUNT, after=1, too_fast=True),
    ),
    Row(429, "", About.ACCOUNT, throttled(Scope.ACCOUNT, after=1, too_fast=True)),
    Row((400, 403), r"address (is )?not verified|identit(y|ies) failed the check", _unverified, by_subject),
    Row((400, 401, 403), DENIED, _denied, by_subject),
    Row((400, 403), _CLOSED, _missing, by_subject),
    Row((400, 403), "^MailFromDomainNotVerified", About.SENDER, by_subject),
    Row((400, 401, 403), _KEYS, About.ACCOUNT, key_refused),
    Row((400, 404), _CONFIGURATION, About.ACCOUNT, fault),
    Row((400, 403, 404), _ABSENT, _absent, by_subject),
    Row(400, _SUPPRESSED, About.RECIPIENT, unfit),
    Row(400, _ELSEWHERE, About.MESSAGE, unfit),
    Row(400, _MESSAGE, About.MESSAGE, rejected),
    Row(413, "", About.MESSAGE, rejected),
    Row(403, ".", lambda answer: named_in(answer.words, answer.mail), denied),
    # 500 InternalFailure may hide an accepted mail and 503 is a refusal to process: what judged() says by itself.
)
