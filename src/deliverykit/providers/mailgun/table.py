"""Which of Mailgun's answers means what.

Source: Mailgun's OpenAPI description (mailgun-mcp-server, 2026), the "sending" page of its 2024
documentation, mailgun-go, and issues mailgun-java#50, Ghost#15725, Ghost#24494, glot#59, pivorak#711 and others for
the texts that no document lists; read 2026-11-23 and 2026-11-30, not tried against the live API.
"""

import re

from deliverykit.contracts.answers import (
    Answer,
    Row,
    by_subject,
    denied,
    fault,
    http_date,
    key_refused,
    rejected,
    throttled,
    unfit,
    within_a_day,
)
from deliverykit.contracts.naming import named_in
from deliverykit.words.outcomes import About, Outcome, Scope, ServerFault

__all__ = ["BARE", "TABLE", "named_time", "until"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DATE = r"\w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d(?: [A-Z]+| [+-]\d{4})?"
_AGAIN = re.compile(
    r"\b(?:try again|retry|enabled|available|lifted|resume|resumed) (?:after|in|at|on) (?:about |approximately )?"
    rf"(?:(\d{{1,9}}(?:\.\d{{1,6}})?) ?(s|m|h|d)(?:ec|in|r|our|ay|econd|inute)?s?\b|({_DATE}))",
    re.IGNORECASE,
)


def named_time(answer: Answer) -> int | None:
    """Return when Mailgun wants to be asked again by its text: after a date or a time."""
    found = _AGAIN.search(answer.said)
    if found and found[1]:
        return within_a_day(answer.now + float(found[1]) * _UNITS[found[2].lower()] * 1000, answer.now)
    at = http_date(found[3]) if found else None
    return None if at is None else answer.on_our_clock(at)


def until(answer: Answer) -> int | None:
    """Return the same, or ``X-RateLimit-Reset`` where the text names no time.

    That header is on every answer and is the end of a second, so it says nothing about a quota.
    """
    if (at := named_time(answer)) is not None:
        return at
    reset = answer.response.header("x-ratelimit-reset").strip()
    return answer.on_our_clock(round(float(reset) * 1000)) if re.fullmatch(r"\d{1,11}(\.\d{1,9})?", reset) else None


def _elsewhere(answer: Answer, about: About) -> Outcome:
    """A domain lives in one region only, and the other says it does not exist."""
    return ServerFault(f"{answer.reason}; is the domain in Mailgun's other region (region=)?")


def _ip(answer: Answer) -> About:
    """An IP address that this account may not use: this message's own wish, or the server's set-up."""
    wished = any(str(name).lower().startswith("o:sending-ip") for name in answer.mail.message.extra.get("mailgun", {}))
    return About.MESSAGE if wished else About.ACCOUNT


def _malformed_from(answer: Answer) -> About:
    """A From that Mailgun cannot read is the message's own, unless the server forces it."""
    return About.SENDER if answer.mail.forced else About.MESSAGE


def _whom(answer: Answer) -> About:
    """A refusal is the account's unless it names the address of this message's sender or of a recipient.

    The sending domain stands in most texts ("Domain mg.example.com is not allowed to send: …"), so domains do not count.
    """
    named = named_in(answer.words, answer.mail, domains=False)
    return About.ACCOUNT if named is About.UNKNOWN else named


BARE = re.compile(r"^\W*forbidden\W*$|is not allowed to send|limit exceeded|\bparameter\b|^domain not found", re.IGNORECASE)
"""Texts that are Mailgun's though they come without JSON; a wrong key is answered by the bare word ``Forbidden``."""

_REFUSED = (400, 401, 402, 403)
_NOW = (*_REFUSED, 420, 429)
_SIZE = (
    r"\b(message|attachment|request|content|total|body)s? (size|length)\b|\btoo (large|long|big)\b|"
    r"\bsize limit\b|\b\d+ ?[km]i?b\b"
)
_SPENT = (
    r"\blimit exceeded|\b(exceeded|reached|hit|over)\b.{0,60}\b(limits?|quota|allowance)\b|\bquota\b|"
    r"\b(hourly|daily|monthly|message|sending|custom)\b.{0,20}\blimits?\b|\blimited to \d+ (messages|emails|recipients)"
)
_ACCOUNT_SPENT = r"\bon probation\b|\bmessage limit you set\b|\blimit\b.{0,20}\b(on|of|for) (the |your )?(account|plan)\b"
_TO_WHOM = r"\bauthori[sz]ed recipient|\brecipients?\b.{0,40}\bnot (allowed|authori[sz]ed|permitted)"
_KEYS = (
    r"^\W*forbidden|\b(api|private|sending) ?key\b|\bunauthori[sz]ed\b|\bcredentials?\b|\bauthenticat|\baccess denied\b|"
    r"\binvalid key\b|\bpermission"
)
_CLOSED = (
    r"\bis not allowed to send\b|\bdomain\b.{0,80}\b(unverified|disabled|suspended|not verified|inactive|blocked)\b|"
    r"\bsandbox subdomains\b|\bfree accounts\b|\bactivate your\b|\bbusiness verification\b|"
    r"\baccount\b.{0,60}\b(suspended|disabled|closed|inactive|blocked|locked|under review|not active|not activated)\b|"
    r"\bpayment\b|\bbilling\b|\binvoice\b|\bcredit card\b|\b(subscription|plan|trial)\b.{0,40}\b(expired|ended|cancell?ed)\b|"
    r"\bupgrade (your|the) (plan|account)\b|\bip address\b.{0,60}\b(allow|whitelist)"
)
_FROM = r"\bfrom'?\"? (parameter|address|field|header)\b|\b(sender|from) (address )?is (not|missing|invalid)"
_MESSAGE = (
    r"\bparameters?\b|\bvalid (email )?address\b|\btoo many\b|\bsend options\b|\bexpecting\b|"
    r"\b(to|cc|bcc|subject|text|html|body|attachment|mime|recipient)s?\b.{0,30}\b(missing|invalid|required|malformed|empty)\b|"
    r"\b(need|missing|invalid|malformed|unparseable)\b.{0,40}\b(to|cc|bcc|subject|text|html|body|attachment|mime|recipient)s?\b"
)

TABLE: tuple[Row, ...] = (
    Row(_NOW, r"\baccount-requests-per-sec", About.ACCOUNT, throttled(Scope.ACCOUNT, until=until, too_fast=True)),
    # Of requests: a rate, where it frees itself soon. Recipients and bytes are quotas of an hour or a day.
    Row(_NOW, r"\brequest limit exceeded", About.ACCOUNT, throttled(Scope.DOMAIN, until=until, too_fast=True)),
    Row(_NOW, _ACCOUNT_SPENT, About.ACCOUNT, throttled(Scope.ACCOUNT, until=named_time)),
    # 420 is Mailgun's own number for what 429 says too; the limit is the account's or the domain's by its text.
    Row((420, 429), r"is not allowed to send|limit exceeded", About.ACCOUNT, throttled(Scope.DOMAIN, until=named_time)),
    Row((420, 429), "", About.ACCOUNT, throttled(Scope.ACCOUNT, until=until, too_fast=True), foreign=True),
    Row(_REFUSED, r"limit exceeded,? try again after", About.ACCOUNT, throttled(Scope.DOMAIN, until=named_time)),
    Row(400, _SIZE, About.MESSAGE, rejected),
    Row(_REFUSED, _SPENT, About.ACCOUNT, throttled(Scope.DOMAIN, until=named_time)),
    # A new account: at most so many recipients in one call, whoever sends it.
    Row((400, 403), r"large batches", About.MESSAGE, unfit),
    # A sandbox domain sends to the addresses its owner named: this recipient is the matter, not the server.
    Row((400, 403), _TO_WHOM, About.RECIPIENT, unfit),
    Row((400, 403), r"rejected: ip\b.{0,80}\b(can't|cannot|can not) be used", _ip, by_subject),
    Row(_REFUSED, _CLOSED, _whom, by_subject),
    Row((401, 403), _KEYS, About.ACCOUNT, key_refused),
    Row(404, r"\bdomain\b.{0,260}\bnot found|\bdomain not found|\bno such domain", About.ACCOUNT, _elsewhere),
    Row((400, 403), _FROM, _malformed_from, by_subject),
    Row(400, _MESSAGE, About.MESSAGE, rejected),
    Row(451, "", About.ACCOUNT, fault),
    Row(413, "", About.MESSAGE, rejected, foreign=True),
    Row(403, ".", lambda answer: named_in(answer.words, answer.mail, domains=False), denied),
)
