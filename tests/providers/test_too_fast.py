"""Which "not now" means that we were too fast, and which that a quota is spent. Texts: see each ESP's table."""

from typing import Any

import pytest

from deliverykit.contracts.provider import Provider
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.words.outcomes import Throttled
from deliverykit.words.wire import HttpResponse
from outgoing_mail import NOW, json_answer, outgoing

PROVIDERS: dict[str, Provider] = {
    "ses": SES(region="us-east-1", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="wJalr"),
    "sendgrid": SendGrid(api_key="SG.x"),
    "mailgun": Mailgun(api_key="key-1", domain="mg.example.com"),
    "elasticemail": ElasticEmail(api_key="x"),
}


def at(seconds: int) -> str:
    """A Unix time so many seconds from now."""
    return str(NOW // 1000 + seconds)


def said(esp: str, status: int, text: str, code: str = "", **headers: str) -> HttpResponse:
    shapes: dict[str, Any] = {
        "ses": {"message": text},
        "sendgrid": {"errors": [{"message": text, "field": None}]},
        "mailgun": {"message": text},
        "elasticemail": {"Error": text},
    }
    return json_answer(status, shapes[esp], **({"x_amzn_errortype": code} if code else {}), **headers)


NOT_ALLOWED = "Domain mg.example.com is not allowed to send: "
TOMORROW = "try again after Sun, 31 Dec 2034 07:00:31 UTC"

TOO_FAST = [
    ("ses", 429, "Maximum sending rate exceeded.", "TooManyRequestsException", {}),
    ("ses", 400, "Maximum sending rate exceeded.", "Throttling", {}),
    ("ses", 429, "Rate exceeded", "ThrottlingException", {}),
    ("ses", 429, "anything", "SlowDown", {}),
    ("sendgrid", 429, "too many requests", "", {}),
    ("sendgrid", 429, "too many requests", "", {"x_ratelimit_reset": at(30)}),
    ("sendgrid", 429, "too many requests", "", {"retry_after": "5"}),
    ("mailgun", 429, NOT_ALLOWED + "account-requests-per-sec limit exceeded, try again after 1 seconds", "", {}),
    ("mailgun", 420, NOT_ALLOWED + "account-requests-per-sec limit exceeded", "", {}),
    ("mailgun", 429, NOT_ALLOWED + "request limit exceeded, try again after 2 seconds", "", {}),
    ("mailgun", 429, NOT_ALLOWED + "request limit exceeded", "", {}),
    ("mailgun", 429, "Too many requests", "", {"x_ratelimit_reset": at(2)}),
    ("elasticemail", 429, "Too many connections", "", {}),
    ("elasticemail", 429, "Too many connections", "", {"retry_after": "4"}),
]
SPENT = [
    ("ses", 429, "Daily message quota exceeded.", "TooManyRequestsException", {}),
    ("ses", 400, "Daily message quota exceeded.", "Throttling", {}),
    ("ses", 400, "There are too many instances of the specified resource type.", "LimitExceededException", {}),
    ("sendgrid", 401, "Maximum credits exceeded", "", {}),
    ("sendgrid", 429, "too many requests", "", {"x_ratelimit_reset": at(90)}),
    ("mailgun", 420, NOT_ALLOWED + "recipient limit exceeded, " + TOMORROW, "", {}),
    ("mailgun", 429, NOT_ALLOWED + "recipient limit exceeded, try again after 30 seconds", "", {}),
    ("mailgun", 429, NOT_ALLOWED + "bytes limit exceeded, try again after 30 seconds", "", {}),
    ("mailgun", 429, NOT_ALLOWED + "request limit exceeded, " + TOMORROW, "", {}),
    ("mailgun", 429, NOT_ALLOWED + "account-requests-per-sec limit exceeded, try again after 3600 seconds", "", {}),
    ("elasticemail", 412, "Daily sending limit exceeded.", "", {}),
    ("elasticemail", 400, "Not enough credits to send", "", {}),
    ("elasticemail", 429, "Too many connections", "", {"retry_after": "3600"}),
]


@pytest.mark.parametrize(
    ("esp", "status", "text", "code", "headers", "too_fast"),
    [(*row, fast) for rows, fast in ((TOO_FAST, True), (SPENT, False)) for row in rows],
)
def test_too_fast_is_told_from_a_spent_quota(
    esp: str, status: int, text: str, code: str, headers: dict[str, str], too_fast: bool
) -> None:
    outcome = PROVIDERS[esp].outcome(said(esp, status, text, code, **headers), outgoing(), NOW)
    assert isinstance(outcome, Throttled), outcome
    assert outcome.too_fast is too_fast
