"""Which of SendGrid's answers means what.

Source: Twilio's pages on the errors and limits of ``mail/send``, read 2026-11-23, and texts that users met, from public
threads and Twilio's support articles, read 2026-11-30. The text judged is each ``message``, with its ``field`` in brackets.
"""

from deliverykit.contracts.answers import Answer, Row, by_subject, denied, fault, key_refused, rejected, throttled
from deliverykit.contracts.naming import named_in
from deliverykit.words.outcomes import About, Scope

__all__ = ["TABLE"]


def _reset(answer: Answer) -> int | None:
    """``X-RateLimit-Reset`` is on every answer, in Unix seconds; there is no Retry-After."""
    value = answer.response.header("x-ratelimit-reset")
    return answer.on_our_clock(int(value) * 1000) if value.isascii() and value.isdigit() and len(value) < 13 else None


def _malformed_from(answer: Answer) -> About:
    """A From that SendGrid cannot read is the message's own, unless the server forces it."""
    return About.SENDER if answer.mail.forced else About.MESSAGE


def _whom(answer: Answer) -> About:
    """A refusal is the account's unless it names this message's sender or a recipient."""
    named = named_in(answer.words, answer.mail)
    return About.ACCOUNT if named is About.UNKNOWN else named


_SPENT = (
    r"\bcredits?\b.{0,40}\b(exceeded|exhausted|used up|insufficient)|"
    r"\b(maximum|insufficient|not enough|no|out of)\b.{0,20}\bcredits?\b|"
    r"\bmessaging limit|"
    r"\b(exceeded|reached)\b.{0,40}\b(limits?|quota|allowance)\b|\b(limit|quota)\b.{0,20}\b(exceeded|reached)\b"
)
_BLOCKED = r"\btoo many bad requests|\btemporar(y|ily) (block|suspen|disabl|limit)"
_SENDER = (
    r"\bsender identit|\bverified sender|\bsend (mail |email )?(from|as) (that|this|the|your)\b|"
    r"\bauthori[sz]ed to send (from|as)\b|\bfrom (email |e-mail )?address\b.{0,60}\b(not|isn't)\b|"
    r"\b(unverified|unauthenticated) (sender|domain|from)|\b(sender|domain)\b.{0,40}\bnot (verified|authenticated)\b"
)
_RECIPIENT = (
    r"\b(send|mail|deliver)( email| mail)? to (that|this|the)\b|"
    r"\brecipients?\b.{0,60}\bnot (allowed|permitted|authori[sz]ed|verified)"
)
_KEYS = (
    r"\bauthori[sz]ation grant|\bapi ?key\b|\bcredentials?\b|\bauthori[sz]ation required|\bauthentication\b|"
    r"\binvalid (token|login|username|password)|\bunauthori[sz]ed\b|\bbearer\b"
)
_CLOSED = (
    r"\baccess forbidden|^\W*forbidden\W*$|"
    r"\bpermission denied|\baccess denied|\bscopes?\b|\bnot (authori[sz]ed|permitted|allowed)\b|"
    r"\bauthori[sz]ation to\b|"
    r"\bip address\b.{0,60}\b(whitelist|allow|access)|\bunauthori[sz]ed\b|"
    r"\b(account|user|subuser)\b.{0,60}\b"
    r"(suspended|banned|disabled|deactivated|frozen|inactive|closed|under review|locked|warned)|"
    r"\b(trial|plan|subscription)\b.{0,40}\b(expired|ended|cancell?ed)|\bpayment\b|\bbilling\b"
)
_ADDRESS = r"not found|method not allowed|does not exist|resource"
# The fields of the message that an entry names, as in "Does not contain a valid address. (personalizations.0.to.0.email)".
_FIELDS = (
    r"\((personalizations?|content|attachments?|subject|headers?|custom_args|categories|reply_to(_list)?|send_at|"
    r"substitutions|sections)\b[^()]{0,60}\)"
)
_MESSAGE = (
    r"\b(in)?valid\b.{0,30}\baddress\b|\brecipients?\b|\bpersonalizations?\b|\bcontent\b|\battachments?\b|\bsubject\b|\bheaders?\b|"
    r"\bcustom.args\b|\bcategor(y|ies)\b|\bduplicate\b|\btoo (large|long|big)\b"
)

TABLE: tuple[Row, ...] = (
    # 429 always means not now, whatever its text; Reset is in the headers.
    Row(429, "", About.ACCOUNT, throttled(Scope.ACCOUNT, until=_reset, too_fast=True), foreign=True),
    # 401 and 403 are several things: the key, or the plan's emails used up (sendgrid-python#242, sendgrid-php#931).
    # When they come back is the plan's day, which no answer names.
    Row((401, 402, 403), _SPENT, About.ACCOUNT, throttled(Scope.ACCOUNT)),
    Row(400, r"\bmaximum credits|\bmessaging limits?\b", About.ACCOUNT, throttled(Scope.ACCOUNT)),
    Row((400, 401, 403), _BLOCKED, About.ACCOUNT, throttled(Scope.ACCOUNT)),
    Row((400, 401, 403), _SENDER, About.SENDER, by_subject),
    Row(403, r"\(from(\.email)?\)", About.SENDER, by_subject),
    Row(401, _KEYS, About.ACCOUNT, key_refused),
    Row((401, 402, 403), _RECIPIENT, About.RECIPIENT, by_subject),
    Row((401, 402, 403), _CLOSED, _whom, by_subject),
    Row(403, _KEYS, About.ACCOUNT, key_refused),
    Row(400, r"\((from)(\.\w+)?\)|\bfrom (object|email|address)\b", _malformed_from, by_subject),
    Row(400, _FIELDS, About.MESSAGE, rejected),
    Row(400, _MESSAGE, About.MESSAGE, rejected),
    # The account's data may not leave its region: base_url must be that region's.
    Row(451, "", About.ACCOUNT, fault),
    # SendGrid's own words for an address that is not one of its API's: base_url is wrong.
    Row((404, 405), _ADDRESS, About.ACCOUNT, fault),
    Row(413, "", About.MESSAGE, rejected, foreign=True),
    Row(403, ".", lambda answer: named_in(answer.words, answer.mail), denied),
    # 500, 502 and 504 may hide an accepted mail, 503 is a refusal to process: what judged() says by itself.
)
