"""Which of Elastic Email's answers means what: nearly everything is a 400, told apart by its text.

Source: Elastic Email's OpenAPI description and ``error-handling.md`` of its examples, both 2026, read
2026-11-23, not tried against the live API. The texts of a used-up quota and of an unverified From
are documented nowhere; the patterns for them are guesses, and what they miss is ``Rejected`` about ``UNKNOWN``.
"""

from deliverykit.contracts.answers import (
    Answer,
    Row,
    by_subject,
    denied,
    fault,
    key_refused,
    rejected,
    throttled,
    unknown,
)
from deliverykit.contracts.naming import named_in
from deliverykit.words.outcomes import About, NotSent, Outcome, Scope

__all__ = ["REPLAYED", "TABLE"]


def _whom(answer: Answer) -> About:
    """A refusal is the account's unless it names this message's sender or a recipient."""
    named = named_in(answer.words, answer.mail)
    return About.ACCOUNT if named is About.UNKNOWN else named


def _malformed_from(answer: Answer) -> About:
    """A From that Elastic Email cannot read is the message's own, unless the server forces it."""
    return About.SENDER if answer.mail.forced else About.MESSAGE


_UNVERIFIED = (
    r"\b(from|sender|domain)\b.{0,120}\b(not|isn't|never)\b.{0,60}\b(verified|validated|registered|authenticated)\b"
    r"|\b(unverified|unvalidated)\b.{0,60}\b(from|sender|domain)\b"
    r"|\bonly\b.{0,30}\bverified (domain|sender)"
    r"|\b(verify|validate)\b.{0,40}\b(your|the)\b.{0,40}\b(domain|sender)\b"
)
# Whom an account may mail, or from where, is about this recipient or sender, though "limited" sounds like a quota.
_OWN_ADDRESSES = (
    r"\b(only|limited to|restricted to)\b.{0,30}\bsend(ing)?\b.{0,60}\b(own|confirmed|verified|authori[sz]ed)\b.{0,30}"
    r"\b(address|recipient|e-?mail|contact)(e?s)?\b|"
    r"\b(unconfirmed|unverified|unauthori[sz]ed) (recipient|contact)s?\b"
)
_SEND_FROM = (
    r"\b(not|never|only)\b.{0,30}\b(allowed|permitted|authori[sz]ed|able)\b.{0,30}\bsend(ing)? (e-?mails? )?(from|as)\b"
)
# "Attachment size limit" speaks of the message; holding the whole account for it would be wrong.
_SIZE = r"\b(size|length|long|large|characters?|bytes|[km]b|attachments?|headers?)\b"
_OWN_LIMIT = (
    rf"{_SIZE}.{{0,80}}\blimit|\blimit.{{0,80}}{_SIZE}|\bmore than \d+\b.{{0,40}}\brecipients\b|\btoo many recipients\b"
)
_CLOSED = (
    r"\baccess denied\b|"
    r"\b(account|sending)\b.{0,60}\b(suspended|blocked|disabled|paused|closed|inactive|locked|under review)\b|"
    r"\bpayment\b|\bbilling\b|\bforbidden\b|\bpermission|\bnot (allowed|permitted|authori[sz]ed) to send\b"
)
_SUPPRESSED = r"\b(recipient|contact|(?<!ip )address)\b.{0,80}\b(suppressed|unsubscribed|bounced|blacklisted|blocked)\b"
_KEYS = r"\bapi ?key\b|\bunauthori[sz]ed\b|\bauthenticat|\bcredentials?\b|\binvalid key\b"
_SPENT = r"\blimits?\b|\blimited to \d|\bcredits?\b|\bquota\b"
_FROM = (
    r"\b(invalid|malformed|missing|empty|incorrect)\b.{0,30}\b(from|sender)\b|"
    r"\b(from|sender)\b.{0,40}\b(invalid|malformed|missing|required|empty)\b"
)
_MESSAGE = (
    r"\binvalid (parameter|email|e-mail|address|recipient|content|subject|attachment|header|body|charset|encoding|json)|"
    r"\b(recipient|subject|body|content|attachment|header|address|email|e-mail)s?\b.{0,60}"
    r"\b(invalid|missing|required|malformed|empty|too large|too long|not valid|incorrect)\b|"
    r"\bmissing\b.{0,40}\b(recipient|subject|body|content|attachment|parameter)"
)


def _replayed(answer: Answer, about: About) -> Outcome:
    """Not sent then, and not now; a Retry-After of that time says nothing about this one."""
    return NotSent(answer.reason)


REPLAYED = "replayed: "
"""How the text of an old answer begins. It speaks of an earlier call, and closes nothing now."""

TABLE: tuple[Row, ...] = (
    # The message did not go then and does not now; its next try has another key.
    Row(range(400, 500), f"^{REPLAYED}", About.UNKNOWN, _replayed),
    # More than 20 connections at once, by its skill file; slower is what helps.
    Row(429, "", About.ACCOUNT, throttled(Scope.ACCOUNT, too_fast=True), foreign=True),
    # Wrong, missing and expired keys all read "APIKey Expired".
    Row((400, 401, 403), _KEYS, About.ACCOUNT, key_refused),
    Row((400, 401, 402, 403), _UNVERIFIED, About.SENDER, by_subject),
    Row((400, 401, 403), _SEND_FROM, About.SENDER, by_subject),
    Row((400, 403), _OWN_ADDRESSES, About.RECIPIENT, by_subject),
    Row((400, 403), _SUPPRESSED, About.RECIPIENT, by_subject),
    # The key lacks an access level, or the account is disabled.
    Row((400, 401, 403), _CLOSED, _whom, by_subject),
    Row(400, _OWN_LIMIT, About.MESSAGE, rejected),
    Row((400, 402, 403), _SPENT, About.ACCOUNT, throttled(Scope.ACCOUNT)),
    Row(402, _CLOSED, About.ACCOUNT, fault),
    Row(400, _FROM, _malformed_from, by_subject),
    Row(400, _MESSAGE, About.MESSAGE, rejected),
    # Both belong to the Idempotency-Key: the first call still runs, or had another body. It may have gone.
    Row((409, 422), "", About.UNKNOWN, unknown),
    # A limit of the plan or the account.
    Row(412, "", About.ACCOUNT, throttled(Scope.ACCOUNT)),
    # "You cannot provide more than 50 transactional recipients"
    Row(413, "", About.MESSAGE, rejected, foreign=True),
    Row(403, ".", lambda answer: named_in(answer.words, answer.mail), denied),
)
