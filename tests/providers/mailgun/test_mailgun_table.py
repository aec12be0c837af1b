"""Every answer of Mailgun's that is known, and every one that is not."""

import pytest
from hypothesis import given, settings

from deliverykit.providers.mailgun import Mailgun
from deliverykit.words.outcomes import Accepted, NotSent, Outcome, Rejected, Scope, ServerFault, Throttled, Unfit, Unknown
from deliverykit.words.wire import HttpResponse
from outgoing_mail import NOW, answers, json_answer, outgoing

MAILGUN = Mailgun(api_key="key-1", domain="mg.example.com")

# The answers that name 07:00:31 were given an hour before, by their own Date.
THAT_MORNING = NOW + 3_600_000
AN_HOUR_BEFORE = "Mon, 25 Aug 2025 06:00:31 GMT"


def said(status: int, text: str, **headers: str) -> HttpResponse:
    return json_answer(status, {"message": text}, **headers)


NOT_ALLOWED = "Domain mg.example.com is not allowed to send: "
TRY_DATE = "limit exceeded, try again after Mon, 25 Aug 2025 07:00:31 UTC"

ROWS = {
    # A wrong key: the bare word, or the JSON string of the OpenAPI description.
    "401 bare": (HttpResponse(status=401, body=b"Forbidden"), ServerFault),
    "401 bare line": (HttpResponse(status=401, body=b"Forbidden\n"), ServerFault),
    "401 JSON string": (json_answer(401, "Forbidden"), ServerFault),
    "401 message": (said(401, "Invalid private key"), ServerFault),
    "401 of a proxy": (HttpResponse(status=401, body=b"<html>proxy login</html>"), NotSent),
    "403 bare": (HttpResponse(status=403, body=b"Forbidden"), ServerFault),
    "403 of a proxy": (HttpResponse(status=403, body=b"<html>Forbidden</html>"), NotSent),
    "403 forbidden": (said(403, "Forbidden"), ServerFault),
    "402": (said(402, "Request failed: payment required"), ServerFault),
    "400 unverified": (said(400, NOT_ALLOWED + "The domain is unverified and requires DNS configuration."), ServerFault),
    "403 unverified": (said(403, NOT_ALLOWED + "The domain is unverified and requires DNS configuration."), ServerFault),
    "400 sandbox": (said(400, NOT_ALLOWED + "Sandbox subdomains are for test purposes only."), ServerFault),
    "400 sandbox recipient": (
        said(400, NOT_ALLOWED + "Sandbox subdomains are for test purposes only. Add it to authorized recipients."), Unfit),
    "400 free": (said(400, "Free accounts are for test purposes only. Please upgrade."), ServerFault),
    "403 free": (said(403, "Free accounts are for test purposes only. Please upgrade."), ServerFault),
    "400 activate": (said(400, "Please activate your Mailgun account. Check your inbox."), ServerFault),
    "403 activate": (said(403, "Please activate your Mailgun account. Check your inbox."), ServerFault),
    "403 batch": (said(403, "Domain mg.example.com is not allowed to send large batches yet"), Unfit),
    "403 ip": (said(403, "Rejected: IP 192.0.2.1 can't be used to send the message"), ServerFault),
    "403 else": (said(403, "something nobody wrote down"), Rejected),
    "404 domain": (said(404, "Domain not found: mg.example.com"), ServerFault),
    "404 else": (said(404, "template not found"), Rejected),
    "404 of a server": (HttpResponse(status=404, body=b"404 page not found"), NotSent),
    "413": (said(413, "Request Entity Too Large"), Rejected),
    "400 forced from": (said(400, "from parameter is not a valid address. please check documentation"), ServerFault),
    "400 to": (said(400, "to parameter is not a valid address. please check documentation"), Rejected),
    "400 recipients": (said(400, "Too many recipients, max is 1000"), Rejected),
    "400 multipart": (said(400, "Expecting 'multipart/form-data'"), Rejected),
    "400 options": (said(400, "Send options (parameters starting with o:, h:, or v:) are limited to 16KB total"), Rejected),
    "500": (said(500, "Internal Server Error"), Unknown),
    "502": (HttpResponse(status=502, body=b"<html>bad gateway"), Unknown),
    "503": (HttpResponse(status=503, body=b"unavailable", headers={"Retry-After": "7"}), NotSent),
    "504": (HttpResponse(status=504), Unknown),
    "301": (HttpResponse(status=301, headers={"Location": "https://elsewhere.example"}), NotSent),
    "200 wrong path": (HttpResponse(status=200, body=b"Mailgun Magnificent API"), Unknown),
    "200 without id": (json_answer(200, {"message": "Queued. Thank you."}), Unknown),
    "200 empty id": (json_answer(200, {"id": "<>", "message": "Queued. Thank you."}), Unknown),
    "200 id of no text": (json_answer(200, {"id": 5}), Unknown),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_every_known_answer_of_mailgun(row: str) -> None:
    response, expected = ROWS[row]
    outcome = MAILGUN.outcome(response, outgoing(), NOW)
    assert type(outcome) is expected
    if not isinstance(outcome, Accepted | Throttled):
        assert str(response.status) in outcome.reason


AGAIN = "limit exceeded, try again after "
RATE = NOT_ALLOWED + "account-requests-per-sec " + AGAIN

THROTTLES = {
    "420 recipients": (said(420, NOT_ALLOWED + "recipient " + TRY_DATE, date=AN_HOUR_BEFORE), THAT_MORNING, Scope.DOMAIN),
    "420 bare": (said(420, "recipient " + TRY_DATE, date=AN_HOUR_BEFORE), THAT_MORNING, Scope.DOMAIN),
    "429 recipients": (said(429, NOT_ALLOWED + "recipient " + TRY_DATE, date=AN_HOUR_BEFORE), THAT_MORNING, Scope.DOMAIN),
    "429 bytes": (said(429, NOT_ALLOWED + "bytes " + TRY_DATE, date=AN_HOUR_BEFORE), THAT_MORNING, Scope.DOMAIN),
    "429 request": (said(429, NOT_ALLOWED + "request " + TRY_DATE, date=AN_HOUR_BEFORE), THAT_MORNING, Scope.DOMAIN),
    "429 and more text": (said(429, NOT_ALLOWED + "request " + TRY_DATE + ". Contact support.", date=AN_HOUR_BEFORE), THAT_MORNING, Scope.DOMAIN),
    "403 as of old": (said(403, NOT_ALLOWED + "recipient " + TRY_DATE, date=AN_HOUR_BEFORE), THAT_MORNING, Scope.DOMAIN),
    "429 account, seconds": (
        said(429, RATE + "120 seconds"), NOW + 120_000, Scope.ACCOUNT),
    "420 account, one second": (
        said(420, RATE + "1 second"), NOW + 1_000, Scope.ACCOUNT),
    "429 domain, seconds": (said(429, NOT_ALLOWED + "bytes " + AGAIN + "30 seconds"), NOW + 30_000, Scope.DOMAIN),
    "429 no date": (said(429, NOT_ALLOWED + "the domain is resting"), None, Scope.DOMAIN),
    "429 unreadable date": (said(429, "limit exceeded, try again after Xyz, 99 Foo 2025 99:99:99 UTC"), None, Scope.DOMAIN),
    "429 bare": (said(429, "Too many requests"), None, Scope.ACCOUNT),
    "429 reset": (said(429, "Too many requests", x_ratelimit_reset="1795860005.25"), 1_795_860_005_250, Scope.ACCOUNT),
    "429 text before reset": (
        said(429, "request " + AGAIN + "3 seconds", x_ratelimit_reset="1795869999"), NOW + 3_000, Scope.DOMAIN),
    "429 reset before Retry-After": (
        said(429, "x", x_ratelimit_reset="1795860005.5", retry_after="99"), 1_795_860_005_500, Scope.ACCOUNT),
    # The header is on every answer and speaks of a rate, so it does not say when a quota ends.
    "403 reset": (said(403, NOT_ALLOWED + "recipient limit exceeded", x_ratelimit_reset="1795860005"), None, Scope.DOMAIN),
    "420 reset": (said(420, NOT_ALLOWED + "recipient limit exceeded", x_ratelimit_reset="1795860005"), None, Scope.DOMAIN),
    "403 account": (
        said(403, NOT_ALLOWED + "You've reached the message limit you set on account", x_ratelimit_reset="1795860005"),
        None, Scope.ACCOUNT),
    "429 Retry-After": (said(429, "Too many requests", retry_after="9"), NOW + 9_000, Scope.ACCOUNT),
}  # fmt: skip


@pytest.mark.parametrize("row", THROTTLES)
def test_when_and_whom_mailgun_throttles(row: str) -> None:
    response, until, scope = THROTTLES[row]
    outcome = MAILGUN.outcome(response, outgoing(), NOW)
    assert isinstance(outcome, Throttled)
    assert (outcome.until, outcome.scope) == (until, scope)


def test_accepted_is_the_id_as_events_give_it() -> None:
    response = json_answer(200, {"id": "<20111114174239.25659.5817@samples.mailgun.org>", "message": "Queued. Thank you."})
    assert MAILGUN.outcome(response, outgoing(), NOW) == Accepted("20111114174239.25659.5817@samples.mailgun.org")


def test_a_missing_domain_hints_at_the_other_region() -> None:
    outcome = MAILGUN.outcome(said(404, "Domain not found: mg.example.com"), outgoing(), NOW)
    assert isinstance(outcome, ServerFault)
    assert "region" in outcome.reason


def test_an_ip_the_message_asked_for_is_the_message_s_fault() -> None:
    refusal = said(403, "Rejected: IP 192.0.2.1 can't be used to send the message")
    assert isinstance(MAILGUN.outcome(refusal, outgoing(extra={"mailgun": {"o:sending-ip": "192.0.2.1"}}), NOW), Rejected)


PHRASES = [
    *(str(response.json()) for response, *_ in (*ROWS.values(), *THROTTLES.values())),
    "Forbidden",
    NOT_ALLOWED,
    TRY_DATE,
]


# More than the usual hundred: they cost a second, and what matters is a rare value under one key.
@settings(max_examples=1000)
@given(responses=answers(PHRASES, ["message", "id", "Reason"]))
def test_every_answer_to_mailgun_is_exactly_one_outcome(responses: list[HttpResponse]) -> None:
    for response in responses:
        outcome = MAILGUN.outcome(response, outgoing(), NOW)
        assert isinstance(outcome, Outcome)
        if 200 <= response.status < 300:
            assert isinstance(outcome, Accepted | Unknown)
        elif response.status in (500, 502, 504):
            assert isinstance(outcome, Unknown)
        else:
            assert not isinstance(outcome, Accepted)
        if isinstance(outcome, Throttled):
            assert response.status in (400, 401, 402, 403, 420, 429)
            assert outcome.until is None or isinstance(outcome.until, int)
        if isinstance(outcome, Accepted):
            assert outcome.provider_message_id
