"""Which of Elastic Email's answers means what: nearly everything is a 400, told apart by its text.

Source: Elastic Email's OpenAPI description and ``error-handling.md`` of its examples, both 2026, read
2026-11-23, not tried against the live API. The texts of a used-up quota and of an unverified From
are documented nowhere; the patterns for them are guesses, and what they miss is ``Rejected``.
"""

from deliverykit.contracts.answers import Row, fault, not_sent, rejected, sender_refused, throttled, unknown
from deliverykit.words.outcomes import Scope

__all__ = ["REPLAYED", "TABLE"]

_UNVERIFIED = (
    r"(from|sender|domain)\b.*\b(not|isn'?t|never)\b.*\b(verified|validated|registered)"
    r"|\b(unverified|unvalidated)\b.*\b(from|sender|domain)"
    r"|\b(verify|validate)\b.*\b(your|the)\b.*\b(domain|sender)"
)
# "Attachment size limit" speaks of the message; holding the whole account for it would be wrong.
_SIZE = r"\b(size|length|long|large|characters?|bytes|[km]b|attachments?|headers?)\b"
_OWN_LIMIT = rf"{_SIZE}.*\blimit|\blimit.*{_SIZE}"

REPLAYED = "replayed: "
"""How the text of an old answer begins. It speaks of an earlier call, and closes nothing now."""

TABLE: tuple[Row, ...] = (
    # The mail did not go then and does not now; its next try has another key.
    Row(range(400, 500), f"^{REPLAYED}", not_sent()),
    # Wrong, missing and expired keys all read so.
    Row(400, r"api\s?key", fault),
    # The key lacks an access level, or the account is disabled.
    Row(400, r"access denied", fault),
    Row(400, _UNVERIFIED, sender_refused),
    Row(400, _OWN_LIMIT, rejected),
    Row(400, r"limit|credit|quota", throttled(Scope.ACCOUNT)),
    Row(400, r"", rejected),
    # Not in today's description (a wrong key is a 400); nothing else could be meant.
    Row((401, 403), r"", fault),
    Row(404, r"", rejected),
    # Both belong to the Idempotency-Key: the first call still runs, or had another body. It may have gone.
    Row((409, 422), r"", unknown),
    # A limit of the plan or the account.
    Row(412, r"", throttled(Scope.ACCOUNT)),
    # "You cannot provide more than 50 transactional recipients"
    Row(413, r"", rejected),
    # More than 20 connections at once, by its skill file; slower is what helps.
    Row(429, r"", throttled(Scope.ACCOUNT, too_fast=True)),
    # "Key not checked, wait Retry-After": surely unprocessed.
    Row(503, r"", not_sent()),
)
