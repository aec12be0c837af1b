"""What the errors of SES mean.

Source: botocore's description of SESv2 (the errors of SendEmail), AWS's pages on SES errors, quotas and
common errors, read 2026-11-23. The text judged is ``Code: message``.
"""

import re

from deliverykit.contracts.answers import Answer, Row, fault, rejected, sender_refused, throttled, unfit
from deliverykit.words.outcomes import NotSent, Outcome, Scope

__all__ = ["TABLE"]


def _clock(answer: Answer) -> Outcome:
    """The clock of this machine is wrong, which is no fault of the server; the engine knows the prefix."""
    return NotSent(f"clock: {answer.reason}")


def _not_verified(answer: Answer) -> Outcome:
    """SES names the identities that failed: the From, or a recipient while the account is in the sandbox.

    Only an answer that names the From speaks of the sender; any other is this message's, here.
    """
    named = {word.strip(".'\"").casefold() for word in re.split(r"[\s<>,;:/()\[\]]+", answer.text)}
    sender = answer.mail.sender
    ours = {sender.key, sender.email.casefold(), sender.domain}
    return sender_refused(answer) if named & ours else unfit(answer)


_AUTH = (
    "UnrecognizedClient|InvalidClientTokenId|SignatureDoesNotMatch|InvalidSignature|IncompleteSignature|AccessDenied|"
    "ExpiredToken|MissingAuthenticationToken|InvalidAccessKeyId|OptInRequired|NotAuthorized|^AuthFailure"
)

TABLE: tuple[Row, ...] = (
    # First, because some of them come as InvalidSignatureException or SignatureDoesNotMatch: "Signature expired: …".
    Row((400, 401, 403), "RequestExpired|RequestTimeTooSkewed|Signature expired|Signature not yet current", _clock),
    # One exception, two messages: the daily quota frees itself little by little over 24 hours, SES names no time.
    Row((400, 429), "daily message quota exceeded|^LimitExceeded", throttled(Scope.ACCOUNT)),
    # The rate is the account's in this region, and a second is the unit it is counted in.
    Row((400, 429), "maximum sending rate|^TooManyRequests|^Throttling", throttled(Scope.ACCOUNT, after=1, too_fast=True)),
    Row(429, "", throttled(Scope.ACCOUNT, after=1, too_fast=True)),
    Row(400, "^SendingPaused|^AccountSuspended|^AccountSendingPaused|^ConfigurationSetSendingPaused", fault),
    Row(400, "^MailFromDomainNotVerified", fault),
    Row(400, r"address (is )?not verified|identities failed the check", _not_verified),
    Row(400, _AUTH, fault),
    Row(400, "", rejected),
    # The configuration set is gone, or the address of the API is not SES's.
    Row(404, "", fault),
    Row((401, 403), "", fault),
    Row(413, "", rejected),
    # 500 InternalFailure may hide an accepted mail and 503 is a refusal to process: what judged() says by itself.
)
