"""Every answer of SES that we know of, and every other: each is exactly one outcome."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from provider_cases import FORCED, NOW, SENDER, answer, outgoing, plain

from deliverykit.providers.ses import SES
from deliverykit.words.addresses import Address
from deliverykit.words.message import Message
from deliverykit.words.outcomes import Accepted, NotSent, Outcome, Rejected, Scope, ServerFault, Throttled, Unfit, Unknown
from deliverykit.words.wire import HttpResponse

ses = SES(region="ap-south-1", access_key_id="AKIDEXAMPLE", secret_access_key="wJalr-secret")

FAILED = "Email address is not verified. The following identities failed the check in region AP-SOUTH-1: "
EXPIRED = "Signature expired: 20261123T100000Z is now earlier than 20261123T101000Z (20261123T101500Z - 5 min.)"


def throttled(until: int | None) -> Any:
    return lambda outcome: isinstance(outcome, Throttled) and outcome.until == until and outcome.scope is Scope.ACCOUNT


def clock(outcome: Outcome) -> bool:
    return isinstance(outcome, NotSent) and outcome.reason.startswith("clock:")


# status, code, text, what it is
ROWS = [
    (429, "TooManyRequestsException", "Maximum sending rate exceeded.", throttled(NOW + 1000)),
    (429, "TooManyRequestsException", "Too Many Requests", throttled(NOW + 1000)),
    (429, "TooManyRequestsException", "Daily message quota exceeded.", throttled(None)),
    (429, "ThrottlingException", "Daily message quota exceeded", throttled(None)),
    (400, "ThrottlingException", "Maximum sending rate exceeded", throttled(NOW + 1000)),
    (400, "Throttling", "Daily message quota exceeded.", throttled(None)),
    (400, "Throttling", "Maximum sending rate exceeded.", throttled(NOW + 1000)),
    (400, "ThrottlingException", "Rate exceeded", throttled(NOW + 1000)),
    (400, "LimitExceededException", "There are too many instances of the specified resource type.", throttled(None)),
    (429, "SlowDown", "anything", throttled(NOW + 1000)),
    (400, "SendingPausedException", "Email sending is currently paused for this account.", ServerFault),
    (400, "SendingPausedException", "Sending is paused for configuration set x", ServerFault),
    (400, "AccountSuspendedException", "Your account is suspended", ServerFault),
    (400, "MailFromDomainNotVerifiedException", "The MAIL FROM domain is not verified", Unfit),
    (400, "MessageRejected", FAILED + "ann@example.org", Unfit),
    (400, "MessageRejected", FAILED + "someone <else@example.com>", Unfit),
    (400, "MessageRejected", "Email address is not verified.", Unfit),
    (400, "MessageRejected", "Message contains a virus.", Rejected),
    (400, "MessageRejected", "", Rejected),
    (404, "NotFoundException", "Configuration set <x> does not exist.", ServerFault),
    (404, "NotFoundException", "", ServerFault),
    (400, "BadRequestException", "Illegal address", Rejected),
    (400, "ValidationException", "1 validation error detected", Rejected),
    (400, "SomethingNew", "never seen", Rejected),
    (413, "RequestEntityTooLarge", "too large", Rejected),
    (403, "UnrecognizedClientException", "The security token included in the request is invalid.", ServerFault),
    (403, "InvalidClientTokenId", "The security token included in the request is invalid", ServerFault),
    (403, "SignatureDoesNotMatch", "The request signature we calculated does not match", ServerFault),
    (403, "InvalidSignatureException", "The request signature we calculated does not match", ServerFault),
    (403, "AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized to perform: ses:SendEmail", ServerFault),
    (403, "AccessDenied", "no", ServerFault),
    (403, "ExpiredTokenException", "The security token included in the request is expired", ServerFault),
    (403, "MissingAuthenticationTokenException", "Missing Authentication Token", ServerFault),
    (403, "SomethingNew", "never seen", Rejected),
    (401, "NotAuthorized", "no", ServerFault),
    (400, "UnrecognizedClientException", "The security token included in the request is invalid.", ServerFault),
    (400, "InvalidClientTokenId", "invalid", ServerFault),
    (400, "ExpiredToken", "expired", ServerFault),
    (400, "IncompleteSignature", "…", ServerFault),
    (400, "MissingAuthenticationToken", "…", ServerFault),
    (400, "AccessDeniedException", "…", ServerFault),
    (400, "RequestExpired", "Request has expired.", clock),
    (403, "RequestExpired", "Request has expired.", clock),
    (403, "RequestTimeTooSkewed", "The difference is too large", clock),
    (403, "InvalidSignatureException", EXPIRED, clock),
    (403, "SignatureDoesNotMatch", EXPIRED, clock),
    (400, "SignatureDoesNotMatch", "Signature not yet current: 20261123T100000Z is still later than …", clock),
    (408, "RequestTimeoutException", "the request was not read in time", NotSent),
    (503, "ServiceUnavailable", "try again", NotSent),
    (503, "ServiceUnavailableException", "", NotSent),
    (500, "InternalFailure", "…", Unknown),
    (500, "InternalServiceError", "…", Unknown),
    (500, "ConcurrentModificationException", "…", Unknown),
    (502, "BadGateway", "…", Unknown),
    (504, "GatewayTimeout", "…", Unknown),
]


def written(status: int, code: str, text: str, way: str) -> HttpResponse:
    """AWS writes an error's code in several places."""
    if way == "header":
        return answer(status, json.dumps({"message": text}), x_amzn_errortype=code)
    if way == "header with address":
        return answer(status, json.dumps({"Message": text}), x_amzn_errortype=f"{code}:http://internal.amazon.com/coral/")
    if way == "__type":
        return answer(status, json.dumps({"__type": f"com.amazonaws.ses#{code}", "message": text}))
    return answer(status, json.dumps({"code": code, "message": text}))


@pytest.mark.parametrize("way", ["header", "header with address", "__type", "code"])
@pytest.mark.parametrize(("status", "code", "text", "expected"), ROWS)
def test_every_known_answer_is_its_outcome(status: int, code: str, text: str, expected: Any, way: str) -> None:
    outcome = ses.outcome(written(status, code, text, way), plain(), NOW)
    assert isinstance(outcome, expected) if isinstance(expected, type) else expected(outcome), outcome
    if not isinstance(outcome, Accepted):
        assert code in outcome.reason
        assert text in outcome.reason


@pytest.mark.parametrize(
    "named",
    [
        "news@example.com",
        "NEWS@Example.COM",
        "Example News <news@example.com>",
        "example.com",
        "ann@example.org, news@example.com",
        "arn:aws:ses:ap-south-1:123456789012:identity/news@example.com",
        "news@example.com.",
    ],
)
def test_an_unverified_from_is_the_servers_fault_only_where_the_server_forces_it(named: str) -> None:
    refusal = written(400, "MessageRejected", FAILED + named, "header")
    message = Message(to="ann@example.org", subject="s", text="t")
    assert isinstance(ses.outcome(refusal, outgoing(message, SENDER), NOW), Unfit)
    assert isinstance(ses.outcome(refusal, outgoing(message, SENDER, forced=True), NOW), ServerFault)


@pytest.mark.parametrize("named", ["ann@example.org", "othernews@example.com", "sub.example.com", ""])
def test_an_unverified_recipient_never_pauses_a_server_that_forces_its_from(named: str) -> None:
    refusal = written(400, "MessageRejected", FAILED + named, "header")
    assert isinstance(ses.outcome(refusal, outgoing(plain().message, SENDER, forced=True), NOW), Unfit)


def test_the_from_is_known_by_its_wire_form_too() -> None:
    forced = Address("News@Bücher.example")
    refusal = written(400, "MessageRejected", FAILED + "News@xn--bcher-kva.example", "header")
    assert isinstance(ses.outcome(refusal, outgoing(plain().message, forced, forced=True), NOW), ServerFault)


def test_an_accepted_mail_has_its_id() -> None:
    assert ses.outcome(answer(200, '{"MessageId": "0100-7-000000"}'), plain(), NOW) == Accepted("0100-7-000000")


@pytest.mark.parametrize(
    "odd", ["", "{}", "[]", "null", '{"MessageId": ""}', '{"MessageId": 5}', "<html>", '{"messageid": "x"}']
)
def test_a_success_without_their_shape_is_unknown(odd: str) -> None:
    assert isinstance(ses.outcome(answer(200, odd), plain(), NOW), Unknown)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 407])
@pytest.mark.parametrize(
    "odd", ["", "<html>blocked by your proxy</html>", '{"message": "Forbidden"}', "[1]", "<UnknownOperationException/>"]
)
def test_what_is_not_theirs_never_pauses_a_server(status: int, odd: str) -> None:
    assert isinstance(ses.outcome(answer(status, odd), plain(), NOW), NotSent)


def test_their_request_id_makes_a_bare_message_theirs() -> None:
    refusal = answer(403, '{"message": "Forbidden"}', x_amzn_requestid="1-2-3")
    assert isinstance(ses.outcome(refusal, plain(), NOW), ServerFault)


def test_a_retry_after_is_obeyed() -> None:
    busy = answer(503, '{"message": "busy"}', x_amzn_errortype="ServiceUnavailable", retry_after="7")
    assert ses.outcome(busy, plain(), NOW) == NotSent("503: ServiceUnavailable: busy", 7.0)


_texts = st.sampled_from([text for _, _, text, _ in ROWS]) | st.text(max_size=80)
_values = st.none() | st.booleans() | st.integers() | _texts | st.lists(_texts, max_size=2)
_bodies = (
    st.binary(max_size=80)
    | st.dictionaries(st.sampled_from(["message", "Message", "__type", "code", "MessageId"]), _values).map(
        lambda found: json.dumps(found).encode()
    )
    | _values.map(lambda found: json.dumps(found).encode())
)
_codes = st.sampled_from([code for _, code, _, _ in ROWS]) | st.text(max_size=20)
_headers = st.dictionaries(st.sampled_from(["x-amzn-errortype", "x-amzn-requestid", "retry-after", "X-Other"]), _codes)


@given(status=st.integers(100, 599), body=_bodies, headers=_headers, forced=st.booleans())
@example(status=400, body=b"[" * 100_000, headers={}, forced=True)
@example(status=400, body=b'{"code": 5, "message": "x"}', headers={}, forced=True)
@example(status=200, body=b"\xff\xfe", headers={}, forced=False)
def test_every_answer_is_one_outcome(status: int, body: bytes, headers: dict[str, str], forced: bool) -> None:
    mail = outgoing(plain().message, FORCED, forced=forced)
    outcome = ses.outcome(HttpResponse(status=status, headers=headers, body=body), mail, NOW)
    assert isinstance(outcome, Outcome)
    if 200 <= status < 300:
        assert isinstance(outcome, Accepted | Unknown)
    else:
        assert not isinstance(outcome, Accepted)
    if status >= 500 and status != 503:
        assert isinstance(outcome, Unknown)
    if isinstance(outcome, Throttled):
        assert outcome.until is None or outcome.until >= NOW
    if isinstance(outcome, NotSent):
        assert outcome.retry_after >= 0


def test_the_simulator_proves_nothing() -> None:
    assert ses.simulates(Address("success@Simulator.AmazonSES.com"))
    assert not ses.simulates(Address("success@simulator.amazonses.com.example.org"))
    assert not ses.simulates(Address("simulator.amazonses.com@example.org"))


def test_fifty_one_recipients_are_refused_by_name() -> None:
    def many(n: int) -> Message:
        return Message(to=[f"a{i}@example.org" for i in range(n)], subject="s", text="t")

    assert ses.unsupported(many(50)) == ()
    assert "50 recipients" in ses.unsupported(many(51))[0]
