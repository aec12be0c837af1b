"""Every answer of SendGrid that we know of, and every other: each is exactly one outcome."""

import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from provider_cases import FORCED, NOW, answer, outgoing, plain

from deliverykit.contracts.provider import Outgoing
from deliverykit.providers.sendgrid import SendGrid
from deliverykit.words.outcomes import (
    About,
    Accepted,
    NotSent,
    Outcome,
    Rejected,
    Scope,
    ServerFault,
    Throttled,
    Unfit,
    Unknown,
)
from deliverykit.words.wire import HttpResponse

sendgrid = SendGrid(api_key="SG.secret")

IDENTITY = (
    "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved. "
    "Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the Sender Identity requirements"
)


def errors(*listed: tuple[str, str | None]) -> str:
    return json.dumps({"errors": [{"message": message, "field": field, "help": None} for message, field in listed]})


def throttled(until: int | None) -> Any:
    return lambda outcome: isinstance(outcome, Throttled) and outcome.until == until and outcome.scope is Scope.ACCOUNT


RESET = str((NOW + 61_000) // 1000)
HOUR_AHEAD = formatdate(NOW / 1000 + 3600, usegmt=True)

# status, message, field, headers, what it is
ROWS = [
    (400, "The from object must be provided for every email send.", "from", {}, Rejected),
    (400, "Does not contain a valid address.", "personalizations.0.to.0.email", {}, Rejected),
    (400, "The content value must be a string at least one character in length.", "content.0.value", {}, Rejected),
    (400, "There is a limit of 1000 total recipients", "personalizations", {}, Rejected),
    (
        400,
        "Each unique email address in the personalizations array should only be included once.",
        "personalizations",
        {},
        Rejected,
    ),
    (400, "never seen", None, {}, Rejected),
    (401, "The provided authorization grant is invalid, expired, or revoked", None, {}, ServerFault),
    (401, "Permission denied, wrong credentials", None, {}, ServerFault),
    (401, "Maximum credits exceeded", None, {}, throttled(None)),
    (401, "maximum CREDITS exceeded.", None, {}, throttled(None)),
    (403, IDENTITY, "from", {}, Unfit),
    (403, "access forbidden", None, {}, ServerFault),
    (403, "never seen", None, {}, Rejected),
    (404, "not found", None, {}, ServerFault),
    (405, "method not allowed", None, {}, ServerFault),
    (413, "The JSON payload you have included in your request is too large.", None, {}, Rejected),
    (415, "never seen", None, {}, Rejected),
    (429, "too many requests", None, {"x_ratelimit_reset": RESET}, throttled(int(RESET) * 1000)),
    (429, "too many requests", None, {}, throttled(None)),
    (429, "too many requests", None, {"retry_after": "9"}, throttled(NOW + 9000)),
    # Their clock is an hour ahead of ours, as the answer's own Date says: it is a minute all the same.
    (
        429,
        "too many requests",
        None,
        {"x_ratelimit_reset": str(int(RESET) + 3600), "date": HOUR_AHEAD},
        throttled(NOW + 61_000),
    ),
    (429, "too many requests", None, {"retry_after": HOUR_AHEAD, "date": HOUR_AHEAD}, throttled(NOW + 1000)),
    (429, "too many requests", None, {"x_ratelimit_reset": RESET, "date": "yesterday"}, throttled(int(RESET) * 1000)),
    (429, "too many requests", None, {"x_ratelimit_reset": "soon"}, throttled(None)),
    (429, "too many requests", None, {"x_ratelimit_reset": "9" * 40}, throttled(None)),
    (500, "An error occurred on a SendGrid server.", None, {}, Unknown),
    (502, "bad gateway", None, {}, Unknown),
    (503, "The SendGrid v3 Web API is not available.", None, {}, NotSent),
    (504, "gateway timeout", None, {}, Unknown),
]


@pytest.mark.parametrize(("status", "message", "field", "headers", "expected"), ROWS)
def test_every_known_answer_is_its_outcome(
    status: int, message: str, field: str | None, headers: dict[str, str], expected: Any
) -> None:
    outcome = sendgrid.outcome(answer(status, errors((message, field)), **headers), plain(), NOW)
    assert isinstance(outcome, expected) if isinstance(expected, type) else expected(outcome), outcome
    assert not isinstance(outcome, Accepted)
    assert message in outcome.reason
    assert f"({field})" in outcome.reason if field else "()" not in outcome.reason


def test_an_unverified_from_is_the_servers_fault_only_where_the_server_forces_it() -> None:
    refusal = answer(403, errors((IDENTITY, "from")))
    assert isinstance(sendgrid.outcome(refusal, outgoing(plain().message, FORCED), NOW), Unfit)
    assert isinstance(sendgrid.outcome(refusal, outgoing(plain().message, FORCED, forced=True), NOW), ServerFault)


def test_all_errors_of_an_answer_are_in_the_reason() -> None:
    outcome = sendgrid.outcome(answer(400, errors(("one", "from"), ("two", None))), plain(), NOW)
    assert outcome == Rejected("400: one (from); two", About.MESSAGE)


def test_an_accepted_mail_has_its_id() -> None:
    assert sendgrid.outcome(answer(202, x_message_id="abc-DEF_22"), plain(), NOW) == Accepted("abc-DEF_22")
    assert sendgrid.outcome(answer(202), plain(), NOW) == Accepted("")
    assert sendgrid.outcome(answer(200, "\r\n", x_message_id="sandbox"), plain(), NOW) == Accepted("sandbox")


@pytest.mark.parametrize(
    "reply",
    [answer(200, "<html>"), answer(202, "{}"), answer(202, "Queued"), answer(200), answer(204), answer(201, x_message_id="x")],
)
def test_a_success_without_their_shape_is_unknown(reply: HttpResponse) -> None:
    assert isinstance(sendgrid.outcome(reply, plain(), NOW), Unknown)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 407])
@pytest.mark.parametrize(
    "odd",
    [
        "",
        "<html>blocked by your proxy</html>",
        "[]",
        '{"errors": []}',
        '{"errors": ["x"]}',
        '{"errors": {"message": 1}}',
        "\ufeff{",
    ],
)
def test_what_is_not_theirs_never_pauses_a_server(status: int, odd: str) -> None:
    assert isinstance(sendgrid.outcome(answer(status, odd), plain(), NOW), NotSent)


_texts = st.sampled_from([message for _, message, _, _, _ in ROWS]) | st.text(max_size=60)
_values = st.none() | st.booleans() | st.integers() | st.floats() | _texts
_one = (
    st.dictionaries(st.sampled_from(["message", "field", "help", "error_id"]), _values | st.lists(_values, max_size=2))
    | _values
)
_bodies = (
    st.binary(max_size=60)
    | st.just(b"")
    | st.dictionaries(st.sampled_from(["errors", "message"]), st.lists(_one, max_size=3) | _values).map(
        lambda found: json.dumps(found).encode()
    )
)
_headers = st.dictionaries(
    st.sampled_from(["x-ratelimit-reset", "X-Message-Id", "retry-after"]), st.text(max_size=20) | st.integers().map(str)
)


@given(status=st.integers(100, 599), body=_bodies, headers=_headers, forced=st.booleans())
@example(status=400, body=b"[" * 100_000, headers={}, forced=True)
@example(status=429, body=errors(("x", None)).encode(), headers={"x-ratelimit-reset": "²"}, forced=True)
@example(status=429, body=errors(("x", None)).encode(), headers={"retry-after": "Sun, 06 Nov 9999 08:49:37 -2359"}, forced=True)
def test_every_answer_is_one_outcome(status: int, body: bytes, headers: dict[str, str], forced: bool) -> None:
    mail: Outgoing = outgoing(plain().message, FORCED, forced=forced)
    outcome = sendgrid.outcome(HttpResponse(status=status, headers=headers, body=body), mail, NOW)
    assert isinstance(outcome, Outcome)
    if 200 <= status < 300:
        assert isinstance(outcome, Accepted | Unknown)
    else:
        assert not isinstance(outcome, Accepted)
    if status >= 500 and status != 503:
        assert isinstance(outcome, Unknown)
    if isinstance(outcome, NotSent):
        assert outcome.retry_after >= 0
