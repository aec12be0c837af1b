"""Which of Mailgun's answers means what.

Source: Mailgun's OpenAPI description (mailgun-mcp-server, 2026), the "sending" page of its 2024
documentation, mailgun-go, and issues mailgun-java#50, Ghost#15725 and Ghost#24494 for the texts
that no document lists; read 2026-11-23, not tried against the live API.
"""

import re

from deliverykit.contracts.answers import Answer, Row, fault, http_date, rejected, throttled, unfit
from deliverykit.words.outcomes import Outcome, Rejected, Scope, ServerFault

__all__ = ["TABLE", "until"]

_DATE = r"\w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d(?: [A-Z]+| [+-]\d{4})?"
_AGAIN = re.compile(rf"try again after\s+(?:(\d{{1,9}}(?:\.\d{{1,6}})?)\s*seconds?|({_DATE}))", re.IGNORECASE)


def until(answer: Answer) -> int | None:
    """When Mailgun wants to be asked again: in the text a date or a number of seconds, else ``X-RateLimit-Reset``."""
    found = _AGAIN.search(answer.text)
    if found and found[1]:
        return answer.now + round(float(found[1]) * 1000)
    if found and (at := http_date(found[2])) is not None:
        return answer.on_our_clock(at)
    reset = answer.response.header("x-ratelimit-reset").strip()
    return answer.on_our_clock(round(float(reset) * 1000)) if re.fullmatch(r"\d{1,11}(\.\d{1,9})?", reset) else None


def _elsewhere(answer: Answer) -> Outcome:
    """A domain lives in one region only, and the other says it does not exist."""
    return ServerFault(f"{answer.reason}; is the domain in Mailgun's other region (region=)?")


def _ip_refused(answer: Answer) -> Outcome:
    """An IP that this account may not use: the message's own wish, or the server's set-up."""
    wished = any(str(name).lower().startswith("o:sending-ip") for name in answer.mail.message.extra.get("mailgun", {}))
    return Rejected(answer.reason) if wished else ServerFault(answer.reason)


TABLE: tuple[Row, ...] = (
    # 420 is Mailgun's own number for what 429 says too; the limit is the account's or the domain's by its text.
    Row((400, 403, 420, 429), r"account-requests-per-sec", throttled(Scope.ACCOUNT, until=until, too_fast=True)),
    # Of requests per second: a rate, where it frees itself soon. Recipients and bytes are quotas of an hour or a day.
    Row((400, 403, 420, 429), r"request limit exceeded,? try again after", throttled(Scope.DOMAIN, until=until, too_fast=True)),
    Row((400, 403, 420, 429), r"limit exceeded,? try again after", throttled(Scope.DOMAIN, until=until)),
    Row((420, 429), r"request limit exceeded", throttled(Scope.DOMAIN, until=until, too_fast=True)),
    Row((420, 429), r"is not allowed to send|limit exceeded", throttled(Scope.DOMAIN, until=until)),
    Row((420, 429), r"", throttled(Scope.ACCOUNT, until=until, too_fast=True)),
    Row(401, r"", fault),
    Row(402, r"", fault),
    # A new account: at most so many recipients in one call, whoever sends it.
    Row((400, 403), r"large batches", unfit),
    # A sandbox domain sends to the addresses its owner named: this recipient is the matter, not the server.
    Row((400, 403), r"authorized recipients", unfit),
    Row((400, 403), r"rejected: ip .*can'?t be used", _ip_refused),
    Row((400, 403), r"is not allowed to send|domain is unverified|sandbox subdomains|free accounts|activate your", fault),
    Row(403, r"^\W*forbidden", fault),
    Row(404, r"domain not found", _elsewhere),
    Row((400, 403, 404, 413), r"", rejected),
)
