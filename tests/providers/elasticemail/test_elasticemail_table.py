"""Every answer of Elastic Email's that is known, and every one that is not."""

import pytest
from hypothesis import given, settings

from deliverykit.providers.elasticemail import ElasticEmail
from deliverykit.words.outcomes import Accepted, NotSent, Outcome, Rejected, Scope, ServerFault, Throttled, Unfit, Unknown
from deliverykit.words.wire import HttpResponse
from outgoing_mail import NOW, answers, json_answer, outgoing

ELASTIC = ElasticEmail(api_key="key-1")


def said(status: int, text: str, **headers: str) -> HttpResponse:
    return json_answer(status, {"Error": text}, **headers)


ROWS = {
    "400 key": (said(400, "APIKey Expired"), ServerFault),
    "400 access": (said(400, "Access Denied."), ServerFault),
    "400 quota": (said(400, "Your daily sending limit has been reached."), Throttled),
    "400 credits": (said(400, "Not enough credits to send"), Throttled),
    "400 Quota": (said(400, "QUOTA EXCEEDED"), Throttled),
    "400 invalid": (said(400, "Invalid parameter: Subject"), Rejected),
    "400 exists": (said(400, "The channel already exists"), Rejected),
    "400 size": (said(400, "Attachment size limit exceeded"), Rejected),
    "400 size, other way": (said(400, "The limit of 20 MB was exceeded"), Rejected),
    "400 with data": (json_answer(400, {"Error": "APIKey Expired", "ErrorData": {"x": 1}}), ServerFault),
    "400 not its shape": (HttpResponse(status=400, body=b"<html>Bad Request"), NotSent),
    "400 other shape": (json_answer(400, {"error": "x"}), NotSent),
    "400 no text": (json_answer(400, {"Error": None}), NotSent),
    "401": (said(401, "Unauthorized"), ServerFault),
    "404": (said(404, "Template not found"), Rejected),
    "409": (said(409, "A request with this Idempotency-Key is still running"), Unknown),
    "412": (said(412, "Your plan does not allow this"), Throttled),
    "413": (said(413, "You cannot provide more than 50 transactional recipients"), Rejected),
    "422": (said(422, "This Idempotency-Key was used with another body"), Unknown),
    "429": (said(429, "Too many connections", retry_after="4"), Throttled),
    "500": (said(500, "Internal error"), Unknown),
    "502": (HttpResponse(status=502, body=b"<html>"), Unknown),
    "503": (said(503, "Idempotency-Key not checked", retry_after="30"), NotSent),
    "503 of a proxy": (HttpResponse(status=503, body=b"<html>"), NotSent),
    "504": (HttpResponse(status=504), Unknown),
    "302": (HttpResponse(status=302, headers={"Location": "https://elsewhere.example"}), NotSent),
    "200 no shape": (HttpResponse(status=200, body=b"OK"), Unknown),
    "200 as v2": (json_answer(200, {"success": False, "error": "x"}), Unknown),
    "200 empty id": (json_answer(200, {"TransactionID": "", "MessageID": "m"}), Unknown),
}


@pytest.mark.parametrize("row", ROWS)
def test_every_known_answer_of_elastic_email(row: str) -> None:
    response, expected = ROWS[row]
    outcome = ELASTIC.outcome(response, outgoing(), NOW)
    assert type(outcome) is expected
    if isinstance(outcome, Throttled):
        assert outcome.scope is Scope.ACCOUNT
    if not isinstance(outcome, Accepted):
        assert str(response.status) in outcome.reason


@pytest.mark.parametrize(
    "text",
    [
        "The From domain example.com is not verified",
        "From address must belong to a domain that is not yet verified by you: not verified",
        "Unverified sender domain",
        "Please verify your domain before sending",
        "Domain example.com isn't validated; daily limit 50",
    ],
)
def test_an_unverified_from_is_the_server_s_fault_only_where_it_is_forced(text: str) -> None:
    assert isinstance(ELASTIC.outcome(said(400, text), outgoing(forced=True), NOW), ServerFault)
    assert isinstance(ELASTIC.outcome(said(400, text), outgoing(forced=False), NOW), Unfit)


def test_accepted_is_the_transaction_that_events_name() -> None:
    response = json_answer(200, {"TransactionID": "9c1f-guid", "MessageID": "-HHGPM_9RPhSMiaJq_ab4g3"})
    assert ELASTIC.outcome(response, outgoing(), NOW) == Accepted("9c1f-guid")


def test_how_long_elastic_email_wants_to_be_left_alone() -> None:
    throttled = ELASTIC.outcome(said(429, "Too many connections", retry_after="4"), outgoing(), NOW)
    assert isinstance(throttled, Throttled)
    assert throttled.until == NOW + 4_000
    unnamed = ELASTIC.outcome(said(412, "plan"), outgoing(), NOW)
    assert isinstance(unnamed, Throttled)
    assert unnamed.until is None
    waiting = ELASTIC.outcome(said(503, "busy", retry_after="30"), outgoing(), NOW)
    assert isinstance(waiting, NotSent)
    assert waiting.retry_after == 30


PHRASES = [response.text() for response, _ in ROWS.values()]


# More than the usual hundred: they cost a second, and what matters is a rare value under one key.
@settings(max_examples=1000)
@given(responses=answers(PHRASES, ["Error", "TransactionID", "MessageID"]))
def test_every_answer_to_elastic_email_is_exactly_one_outcome(responses: list[HttpResponse]) -> None:
    for response in responses:
        outcome = ELASTIC.outcome(response, outgoing(), NOW)
        assert isinstance(outcome, Outcome)
        if 200 <= response.status < 300:
            assert isinstance(outcome, Accepted | Unknown)
        elif response.status in (500, 502, 504):
            assert isinstance(outcome, Unknown)
        else:
            assert not isinstance(outcome, Accepted)
        if isinstance(outcome, Throttled):
            assert response.status in (400, 402, 403, 412, 429)
            assert outcome.until is None or isinstance(outcome.until, int)
        if isinstance(outcome, Accepted):
            assert outcome.provider_message_id


@pytest.mark.parametrize("status", [400, 412, 413, 429])
def test_an_old_refusal_that_is_only_repeated_closes_nothing(status: int) -> None:
    """Were refusals kept under their idempotency key, one 412 would otherwise close the account for 24 hours."""
    answer = HttpResponse(status=status, headers={"Idempotency-Replayed": "true"}, body=b'{"Error": "Daily limit reached"}')
    outcome = ElasticEmail(api_key="k").outcome(answer, outgoing(), NOW)
    assert isinstance(outcome, NotSent)
    fresh = HttpResponse(status=status, body=b'{"Error": "Daily limit reached"}')
    assert not isinstance(ElasticEmail(api_key="k").outcome(fresh, outgoing(), NOW), NotSent)
