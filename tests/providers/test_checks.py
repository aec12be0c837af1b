"""Checking credentials: what each ESP's answers come to, request by request, without a wire."""

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from deliverykit import CheckReport, CheckStatus
from deliverykit.contracts.provider import Provider
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.wire import HttpRequest, HttpResponse

NOW = 1_795_435_200_000
SERVERS: dict[str, Provider] = {
    "ses": SES(region="eu-west-1", access_key_id="AKIAEXAMPLE", secret_access_key="very-secret"),
    "sendgrid": SendGrid(api_key="SG.very-secret"),
    "mailgun": Mailgun(api_key="very-secret", domain="mg.example.com"),
    "elasticemail": ElasticEmail(api_key="very-secret"),
}


def checked(esp: str, *answers: HttpResponse | TransportError) -> tuple[CheckReport, list[HttpRequest]]:
    """The report that these answers lead to, all of them asked for, and the requests."""
    flow = SERVERS[esp].check(NOW)
    requests = [next(flow)]
    for place, one in enumerate(answers, 1):
        try:
            requests.append(flow.throw(one) if isinstance(one, TransportError) else flow.send(one))
        except StopIteration as done:
            assert place == len(answers), f"only {place} of {len(answers)} answers were asked for"
            report: CheckReport = done.value
            return report, requests
    raise AssertionError("the check asks on")


def answer(status: int, text: str = "", **headers: str) -> HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status=status, headers=named, body=text.encode())


def told(status: int, body: Any, **headers: str) -> HttpResponse:
    return answer(status, json.dumps(body), **headers)


def account(**changes: Any) -> dict[str, Any]:
    quota = {"Max24HourSend": 50_000.0, "MaxSendRate": 14.0, "SentLast24Hours": 1_234.0}
    healthy = {"EnforcementStatus": "HEALTHY", "ProductionAccessEnabled": True, "SendingEnabled": True, "SendQuota": quota}
    return {**healthy, **changes}


def test_ses_tells_the_account() -> None:
    report, [request] = checked("ses", told(200, account()))
    assert (request.method, request.url, request.body) == ("GET", "https://email.eu-west-1.amazonaws.com/v2/email/account", b"")
    assert "/eu-west-1/ses/aws4_request" in request.headers["Authorization"]
    assert report.ok
    assert report.facts == {
        "Region": "eu-west-1",
        "Access": "production",
        "Sending": "enabled",
        "Standing": "healthy",
        "In 24 hours": "50,000 emails, 1,234 used",
        "Rate": "14 a second",
    }
    assert report.problems == ()


@pytest.mark.parametrize(
    ("changes", "ok", "words"),
    [
        ({"SendingEnabled": False}, False, "sending is paused"),
        ({"EnforcementStatus": "SHUTDOWN"}, False, "shut down"),
        ({"EnforcementStatus": "PROBATION"}, True, "probation"),
        ({"ProductionAccessEnabled": False}, True, "verified addresses only"),
    ],
)
def test_ses_account_that_cannot_send_or_not_much(changes: dict[str, Any], ok: bool, words: str) -> None:
    report, _ = checked("ses", told(200, account(**changes)))
    [problem] = report.problems
    assert words in problem.what
    assert problem.mend
    assert (report.ok, problem.blocks) == (ok, not ok)


@pytest.mark.parametrize(("most", "words"), [(-1, "unlimited"), (0, "0 emails"), (200, "200 emails")])
def test_ses_limit_in_words(most: int, words: str) -> None:
    report, _ = checked("ses", told(200, account(SendQuota={"Max24HourSend": most, "MaxSendRate": 0.5})))
    assert (report.facts["In 24 hours"], report.facts["Rate"]) == (words, "0.5 a second")


SES_REFUSALS = [
    (403, "UnrecognizedClientException", "refused", "refuses the key"),
    (403, "InvalidSignatureException: does not match", "refused", "refuses the key"),
    (403, "ExpiredTokenException", "refused", "refuses the key"),
    (403, "AccessDeniedException", "unknown", "may not ask"),
    (403, "InvalidSignatureException: Signature expired: 20260101", "refused", "clock"),
    (429, "TooManyRequestsException", "unknown", "asks to wait"),
    (400, "ThrottlingException: Rate exceeded", "unknown", "asks to wait"),
    (400, "SendingPausedException: paused", "refused", "would not send"),
    (403, "OptInRequired: needs a subscription", "refused", "would not send"),
    (403, "InvalidSignatureException: SIGNATURE EXPIRED: 20260101", "refused", "clock"),
    (500, "InternalFailure", "unknown", "failed to answer"),
    (404, "UnknownOperationException", "unknown", "not how Amazon SES answers"),
]


@pytest.mark.parametrize(("status", "said", "verdict", "words"), SES_REFUSALS)
def test_ses_refusals(status: int, said: str, verdict: str, words: str) -> None:
    code, _, text = said.partition(": ")
    report, _ = checked("ses", told(status, {"message": text}, x_amzn_errortype=code))
    assert (report.status, words in report.problems[0].what, report.facts) == (verdict, True, {})


SCOPES = ["mail.send", "user.webhooks.event.settings.read"]


def test_sendgrid_tells_the_scopes_and_which_are_missing() -> None:
    report, [request] = checked("sendgrid", told(200, {"scopes": SCOPES}))
    assert (request.method, request.url) == ("GET", "https://api.sendgrid.com/v3/scopes")
    assert request.headers["Authorization"] == "Bearer SG.very-secret"
    assert report.ok
    assert report.facts == {
        "Scopes": "2, mail.send among them",
        "Event webhooks": "lacks user.webhooks.event.settings.update",
    }
    report, _ = checked("sendgrid", told(200, {"scopes": ["alerts.read"]}))
    assert report.status is CheckStatus.REFUSED
    assert "mail.send" in report.problems[0].what
    assert "Mail Send" in report.problems[0].mend


def test_sendgrid_tells_the_credits_to_a_key_that_may_see_them() -> None:
    credit = {"remain": 0, "total": 40_000, "next_reset": "2026-12-01"}
    report, requests = checked("sendgrid", told(200, {"scopes": [*SCOPES, "user.credits.read"]}), told(200, credit))
    assert requests[1].url == "https://api.sendgrid.com/v3/user/credits"
    assert report.facts["Credits"] == "0 of 40,000 left, until 2026-12-01"
    assert (report.ok, "used up" in report.problems[0].what) == (True, True)


@pytest.mark.parametrize("second", [TransportError(Stage.READ, "timed out"), answer(403, "{}"), answer(200, "<html>")])
def test_what_sendgrid_told_first_is_kept(second: Any) -> None:
    report, _ = checked("sendgrid", told(200, {"scopes": [*SCOPES, "user.credits.read"]}), second)
    assert (report.ok, set(report.facts)) == (True, {"Scopes", "Event webhooks"})


@pytest.mark.parametrize(
    ("status", "verdict", "words"),
    [
        (401, "refused", "refuses the key"),
        (403, "unknown", "may not list"),
        (429, "unknown", "asks to wait"),
        (503, "unknown", "failed to answer"),
        (404, "unknown", "not how SendGrid answers"),
    ],
)
def test_sendgrid_refusals(status: int, verdict: str, words: str) -> None:
    report, _ = checked("sendgrid", told(status, {"errors": [{"message": "words", "field": None}]}))
    assert (report.status, words in report.problems[0].what) == (verdict, True)


@pytest.mark.parametrize(
    ("esp", "status", "body"),
    [
        ("sendgrid", 401, {"errors": [{"message": "Maximum credits exceeded", "field": None}]}),
        ("sendgrid", 403, {"errors": [{"message": "You have exceeded your messaging limits", "field": None}]}),
        ("mailgun", 420, {"message": "request limit exceeded, try again after 5 seconds"}),
        ("mailgun", 429, {"message": "Too many requests"}),
    ],
)
def test_a_used_up_quota_is_not_a_bad_key(esp: str, status: int, body: Any) -> None:
    report, _ = checked(esp, told(status, body))
    assert (report.status, "asks to wait" in report.problems[0].what) == ("unknown", True)


def domain(**fields: Any) -> HttpResponse:
    return told(200, {"domain": {"name": "mg.example.com", "state": "active", "type": "custom", **fields}})


def test_mailgun_tells_the_domain() -> None:
    report, [request] = checked("mailgun", domain())
    assert (request.method, request.url) == ("GET", "https://api.mailgun.net/v4/domains/mg.example.com")
    assert report.ok
    assert report.facts == {"Domain": "mg.example.com", "Region": "us", "State": "active", "Type": "custom"}


@pytest.mark.parametrize(
    ("fields", "ok", "words"),
    [
        ({"state": "unverified"}, False, "unverified"),
        ({"state": "disabled", "disabled": {"reason": "too many complaints"}}, False, "disabled (too many complaints)"),
        ({"is_disabled": True}, False, "disabled"),
        ({"type": "sandbox"}, True, "authorized recipients only"),
        ({"state": "something new"}, True, ""),
    ],
)
def test_mailgun_domain_that_cannot_send(fields: dict[str, Any], ok: bool, words: str) -> None:
    report, _ = checked("mailgun", domain(**fields))
    assert report.ok is ok
    assert [words in problem.what for problem in report.problems] == ([True] if words else [])


def test_mailgun_domain_of_the_other_region() -> None:
    report, _ = checked("mailgun", told(404, {"message": "Domain not found"}))
    assert report.status is CheckStatus.REFUSED
    assert "region='eu'" in report.problems[0].mend


FORBIDDEN = answer(401, "Forbidden")


def test_a_mailgun_key_that_may_only_send_is_told_from_one_that_is_wrong() -> None:
    report, requests = checked("mailgun", FORBIDDEN, told(400, {"message": "from parameter is missing"}))
    assert (report.ok, report.facts["Key"]) == (True, "may send for the domain, and look at nothing")
    probe = requests[1]
    assert (probe.method, probe.url) == ("POST", "https://api.mailgun.net/v3/mg.example.com/messages")
    assert parse_qs(probe.body.decode()) == {"o:testmode": ["yes"]}  # nobody's mail: no From, no recipients, no text
    report, _ = checked("mailgun", FORBIDDEN, FORBIDDEN)
    assert (report.status, "refuses the key" in report.problems[0].what) == ("refused", True)
    report, _ = checked(
        "mailgun", FORBIDDEN, told(400, {"message": "Domain mg.example.com is not allowed to send: unverified"})
    )
    assert (report.status, "would not send" in report.problems[0].what) == ("refused", True)
    report, _ = checked("mailgun", FORBIDDEN, answer(200, "Mailgun Magnificent API"))
    assert (report.status, "not how Mailgun answers" in report.problems[0].what) == ("unknown", True)


def test_elastic_email_tells_the_domains_and_the_account() -> None:
    names = [f"d{number}.example" for number in range(7)]
    domains = [{"Domain": one, "Spf": True, "Dkim": True} for one in names] + [
        {"Domain": "x.example", "Spf": True, "Dkim": False}
    ]
    data = {
        "StatusFormatted": "Active",
        "DailySendLimit": 5_000,
        "EmailCredits": 120,
        "Reputation": 98.5,
        "ApiKey": "very-secret",
    }
    report, requests = checked("elasticemail", told(200, domains), told(200, {"success": True, "data": data}))
    assert [(one.method, one.url) for one in requests] == [
        ("GET", "https://api.elasticemail.com/v4/domains"),
        ("POST", "https://api.elasticemail.com/v2/account/load"),
    ]
    assert (requests[0].headers["X-ElasticEmail-ApiKey"], requests[1].body) == ("very-secret", b"apikey=very-secret")
    assert report.ok
    assert report.facts == {
        "Verified domains": "d0.example, d1.example, d2.example, d3.example, d4.example and 2 more",
        "Account": "Active",
        "Daily limit": "5,000",
        "Credits": "120",
        "Reputation": "98.5",
    }


@pytest.mark.parametrize(
    "second", [TransportError(Stage.CONNECT, "no"), told(200, {"success": False, "error": "Access Denied"})]
)
def test_what_elastic_email_told_first_is_kept(second: Any) -> None:
    report, _ = checked("elasticemail", told(200, []), second)
    assert (report.ok, report.facts) == (True, {"Verified domains": "none"})
    assert "SPF and DKIM" in report.problems[0].what


@pytest.mark.parametrize(
    ("status", "text", "verdict", "words"),
    [
        (400, "APIKey Expired", "refused", "refuses the key"),
        (400, "Access Denied.", "unknown", "may not look"),
        (429, "Too many", "unknown", "asks to wait"),
        (400, "Your daily limit has been reached", "unknown", "asks to wait"),
        (500, "oops", "unknown", "failed to answer"),
        (404, "Not found", "unknown", "not how Elastic Email answers"),
    ],
)
def test_elastic_email_refusals(status: int, text: str, verdict: str, words: str) -> None:
    report, _ = checked("elasticemail", told(status, {"Error": text}))
    assert (report.status, words in report.problems[0].what) == (verdict, True)


@pytest.mark.parametrize("esp", SERVERS)
@pytest.mark.parametrize(
    "body", ["", "<html>", "[]", "{}", "[1]", "null", '{"domain": 7, "scopes": 7, "SendQuota": 7}', '{"scopes": [7]}']
)
def test_an_answer_of_another_shape_never_raises(esp: str, body: str) -> None:
    for status in (200, 302, 400, 401, 403, 404, 500):
        flow = SERVERS[esp].check(NOW)
        next(flow)
        with pytest.raises(StopIteration) as done:
            for _ in range(3):
                flow.send(answer(status, body))
        report = done.value.value
        assert isinstance(report, CheckReport)
        if status != 200:
            assert not report.ok


@pytest.mark.parametrize("esp", SERVERS)
def test_a_failure_of_the_first_request_is_let_through(esp: str) -> None:
    with pytest.raises(TransportError):
        checked(esp, TransportError(Stage.CONNECT, "refused"))


def test_a_report_in_words() -> None:
    report, _ = checked("ses", told(200, account(ProductionAccessEnabled=False, SendingEnabled=False)))
    assert str(report).splitlines()[:2] == ["refused", "  Region: eu-west-1"]
    assert [line[:3] for line in str(report).splitlines()[-2:]] == ["  !", "  !"]
    assert not report
