"""An ESP repeats what a message says of itself: its author must not choose what happens to the server."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliverykit import Attachment
from deliverykit.words.extras import MAX_DEPTH
from deliverykit.words.outcomes import About, Rejected, Unfit
from esp_answers import PROVIDERS, letter, said
from outgoing_mail import NOW

# What the tables look for where an account is at fault, or a quota is spent.
TRIGGERS = [
    "Your account has been suspended", "sending paused", "daily quota exceeded", "credits exhausted", "payment overdue",
    "billing", "invoice", "limit exceeded", "try again after 24 hours", "too many requests", "configuration set not found",
    "access denied", "api key expired", "domain unverified", "permission denied", "not authorized to perform",
    "scopes", "account-suspended", "Too many bad requests", "free accounts", "upgrade your plan",
]  # fmt: skip
# How each ESP may write about one message, as (status, code, text with the message's own words in it).
TEXTS: dict[str, list[tuple[int, str, str]]] = {
    "ses": [
        (400, "InvalidParameterValue", "Illegal filename '{}'"),
        (400, "BadRequestException", 'Invalid header "{}".'),
        (400, "BadRequestException", "Value '{}' at 'emailTags.1.member.value' failed to satisfy constraint"),
        (400, "MessageRejected", "Something is wrong with [{}]"),
    ],
    "sendgrid": [
        (400, "", "The subject “{}” is not valid. (subject)"),
        (403, "", "We cannot process the message '{}'"),
        (400, "", "Category ({}) is wrong"),
        (401, "", "Nobody knows template {}"),
    ],
    "mailgun": [
        (400, "", "template '{}' not found"),
        (400, "", "'o:tag' parameter is not valid: {}"),
        (403, "", "message '{}' was refused"),
        (400, "", 'attachment "{}" is empty'),
    ],
    "elasticemail": [
        (400, "", "Invalid attachment '{}'"),
        (400, "", "Template {} was not found"),
        (403, "", "Subject \"{}\" was refused"),
        (400, "", "Header {} is invalid"),
    ],
}  # fmt: skip


def deep(own: str) -> Any:
    """A text as far down as ``extra`` may have one."""
    value: Any = own
    for level in range(MAX_DEPTH - 4):
        value = [value] if level % 2 else {"a": value}
    return value


FIELDS: list[Any] = [
    lambda own: {"subject": own},
    lambda own: {"tags": [own]},
    lambda own: {"metadata": {"about": own}},
    lambda own: {"headers": {"X-About": own}},
    lambda own: {"attachments": [Attachment(filename=own, content=b"x", content_type="text/plain")]},
    lambda own: {"to": f'"{own}" <ann@example.org>'},
    lambda own: {"extra": {"other": {"data": [1, None, True, {"deep": deep(own)}]}}},
    lambda own: {"extra": {"other": {"data": {own: 1.5}}}},
]
CASES = [(esp, *text) for esp, texts in TEXTS.items() for text in texts]


@pytest.mark.parametrize(("esp", "status", "code", "text"), CASES)
@given(own=st.sampled_from(TRIGGERS), fields=st.sampled_from(FIELDS), forced=st.booleans())
def test_echoed_words_never_stop_a_server(
    esp: str, status: int, code: str, text: str, own: str, fields: Any, forced: bool
) -> None:
    mail = letter(forced, **{"subject": "Hello", **fields(own)})
    outcome = PROVIDERS[esp].outcome(said(esp, status, text.format(own), code), mail, NOW)
    assert isinstance(outcome, Rejected | Unfit), outcome


@pytest.mark.parametrize("local", ["billing", "credits", "quota", "payment", "api.key", "access", "permission", "scopes"])
@pytest.mark.parametrize("domain", ["example.org", "credit.example", "limit.example", "billing.payment.example"])
@pytest.mark.parametrize("esp", PROVIDERS)
def test_an_address_in_a_text_is_no_word(esp: str, local: str, domain: str) -> None:
    to = f"{local}@{domain}"
    for text in (f"Email address {to} is not valid", f"'to' parameter is not a valid address: {to}", f"Cannot read <{to}>"):
        for forced in (True, False):
            outcome = PROVIDERS[esp].outcome(said(esp, 400, text, "InvalidParameterValue"), letter(forced, to=to), NOW)
            assert isinstance(outcome, Rejected | Unfit), (text, outcome)


@pytest.mark.parametrize("word", ["account", "suspended", "credits", "quota", "limit", "domain", "sending", "paused"])
def test_a_tag_does_not_hide_what_the_esp_says(word: str) -> None:
    said_of_account = [
        ("ses", 400, "MessageRejected", "Sending paused for this account."),
        ("sendgrid", 401, "", "Maximum credits exceeded"),
        ("mailgun", 403, "", "Domain mg.example.com is not allowed to send: recipient limit exceeded"),
        ("elasticemail", 400, "", "Your account has been suspended"),
    ]
    for esp, status, code, text in said_of_account:
        mail = letter(tags=[word], metadata={"a": word})
        outcome = PROVIDERS[esp].outcome(said(esp, status, text, code), mail, NOW)
        assert not isinstance(outcome, Rejected | Unfit), (text, outcome)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("Your account is limited to sending to your own address only", About.RECIPIENT),
        ("You can only send to your own verified email addresses during the trial", About.RECIPIENT),
        ("Cannot send to unconfirmed recipients while in sandbox", About.RECIPIENT),
        ("This account type is not permitted to send from a free email domain", About.SENDER),
        ("You are not allowed to send emails from this domain", About.SENDER),
    ],
)
def test_whom_an_account_may_mail_closes_no_account(text: str, about: About) -> None:
    outcome = PROVIDERS["elasticemail"].outcome(said("elasticemail", 400, text), letter(), NOW)
    assert isinstance(outcome, Unfit)
    assert outcome.about is about
