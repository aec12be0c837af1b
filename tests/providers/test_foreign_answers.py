"""Answers that are not in the ESP's shape, and texts that no row knows: what HTTP itself says, and nothing more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.contracts.provider import Provider
from deliverykit.words.outcomes import About, NotSent, Rejected, ServerFault, Throttled, Unknown
from deliverykit.words.wire import HttpResponse
from esp_answers import PROVIDERS, check, letter, said
from outgoing_mail import NOW

PAGES = [
    b"",
    b"<html><head><title>Error</title></head><body>nginx</body></html>",
    b"<!doctype html><title>Access denied | mail.example.com used Cloudflare to restrict access</title>",
    b"<html>limit exceeded, quota, credits, api key, not authorized, Daily message quota exceeded</html>",
    b"blocked by your proxy",
    b"[]",
    b"[1]",
    b"null",
    b"{}",
    b'{"errors": []}',
    b'{"detail": "Not found"}',
    b'{"Error": null, "message": null}',
    b"\xff\xfe\x00",
    b"[" * 10_000,
]


def page(status: int, body: bytes, **headers: str) -> HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status=status, headers=named, body=body)


@pytest.mark.parametrize("esp", PROVIDERS)
@pytest.mark.parametrize("body", PAGES)
def test_foreign_page_means_what_http_says(esp: str, body: bytes) -> None:
    for status in (300, 301, 302, 307, 308, 400, 401, 402, 403, 404, 405, 407, 408, 410, 418, 425, 431):
        check(esp, page(status, body), letter(forced=True), NotSent, None)
        assert check(esp, page(status, body, retry_after="120"), letter(), NotSent, None).retry_after == 120
    throttled = check(esp, page(429, body, retry_after="3600"), letter(), Throttled, None)
    assert (throttled.until, throttled.too_fast) == (NOW + 3_600_000, False)
    assert check(esp, page(429, body, retry_after="5"), letter(), Throttled, None).too_fast
    check(esp, page(429, body), letter(), Throttled, None)
    check(esp, page(413, body, retry_after="5"), letter(), Rejected, About.MESSAGE)
    assert check(esp, page(503, body, retry_after="7"), letter(), NotSent, None).retry_after == 7
    for status in (100, 500, 501, 502, 504, 505, 520, 599):
        check(esp, page(status, body), letter(), Unknown, None)
    for status in (200, 201, 204, 206):
        check(esp, page(status, body), letter(), Unknown, None)


def test_420_is_mailguns_429_in_any_shape() -> None:
    for body in PAGES:
        check("mailgun", page(420, body, retry_after="30"), letter(), Throttled, None)
    bare = check("mailgun", page(420, b"recipient limit exceeded, try again after 20 seconds"), letter(), Throttled, None)
    assert bare.until == NOW + 20_000
    check("sendgrid", page(420, b"<html>"), letter(), NotSent, None)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, b"Forbidden", ServerFault),
        (401, b"Forbidden\n", ServerFault),
        (401, b'"Forbidden"', ServerFault),
        (403, b"Forbidden", ServerFault),
        (403, b"<html>Forbidden</html>", NotSent),
        (403, b"Forbidden by the policy of your company", NotSent),
        (403, b"Domain mg.example.com is not allowed to send: You've reached the message limit you set on account", Throttled),
        (429, b"Domain mg.example.com is not allowed to send: recipient limit exceeded", Throttled),
        (404, b"Domain not found: mg.example.com", ServerFault),
        (400, b"'to' parameter is not a valid address. please check documentation", Rejected),
    ],
)
def test_mailgun_writes_some_errors_without_json(status: int, body: bytes, expected: type) -> None:
    check("mailgun", page(status, body), letter(), expected, None)


# 412 and 451 are a plan's limit and a region's law at the ESPs whose tables list them; 409 and 422 are Elastic Email's keys.
ALONE = {412, 413, 420, 429, 451, 409, 422}
_GIBBERISH = st.text("bdghkqvwxz ", min_size=0, max_size=30)


@pytest.mark.parametrize("esp", PROVIDERS)
@given(text=_GIBBERISH, status=st.integers(400, 499).filter(lambda one: one not in ALONE | {408, 425}), forced=st.booleans())
def test_text_that_no_row_knows_is_unknown(esp: str, text: str, status: int, forced: bool) -> None:
    code = f"X{text.title().replace(' ', '')}Exception" if esp == "ses" else ""
    check(esp, said(esp, status, text, code), letter(forced), Rejected, About.UNKNOWN)


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_row_for_any_text_is_about_unknown(provider: Provider) -> None:
    for row in provider.table:
        statuses = {row.status} if isinstance(row.status, int) else set(row.status)
        assert isinstance(row.about, About) or callable(row.about)
        assert row.text.search("") is None or row.about is About.UNKNOWN or statuses <= ALONE, row
