"""What an SES refusal names decides: this sender, this recipient, the account, or something else."""

from typing import Any

import pytest

from deliverykit.words.outcomes import About, ServerFault, Unfit
from esp_answers import SHAPES, check, letter, said

ACCOUNT, SENDER, RECIPIENT, UNKNOWN = About.ACCOUNT, About.SENDER, About.RECIPIENT, About.UNKNOWN

USER = "arn:aws:iam::111122223333:user/mailer"
ROLE = "arn:aws:sts::111122223333:assumed-role/mailer/news@example.com"
SES_ARN = "arn:aws:ses:eu-west-1:111122223333:"


def denied(resource: str, principal: str = USER) -> str:
    return f"User `{principal}' is not authorized to perform `ses:SendEmail' on resource `{resource}'"


def denied_new(resource: str, principal: str = ROLE) -> str:
    """As IAM says it since 2021."""
    return (
        f"User: {principal} is not authorized to perform: ses:SendEmail on resource: {resource} "
        "because no identity-based policy allows the ses:SendEmail action"
    )


FAILED = "Email address is not verified. The following identities failed the check in region EU-WEST-1: "

# A refusal at SES that names something: the text, then the fate where the server forces the From and where it does not.
FAULT, UNFIT_SENDER, UNFIT_RECIPIENT = (ServerFault, ACCOUNT), (Unfit, SENDER), (Unfit, RECIPIENT)
FORCED_FAULT = (ServerFault, SENDER)
UNFIT_UNKNOWN = (Unfit, UNKNOWN)
NAMED: list[tuple[int, tuple[str, ...], str, tuple[Any, ...], tuple[Any, ...]]] = [
    # codes, text, forced, not forced
    *(
        (403, ("AccessDenied", "AccessDeniedException", "NotAuthorizedException"), make(f"{arn}identity/{name}"), *fates)
        for make in (denied, denied_new)
        for arn in (SES_ARN, "arn:aws-us-gov:ses:us-gov-west-1:111122223333:", "arn:aws:ses:*:111122223333:")
        for name, *fates in [
            ("news@example.com", FAULT, UNFIT_SENDER),
            ("NEWS@Example.COM", FAULT, UNFIT_SENDER),
            ("example.com", FAULT, UNFIT_SENDER),
            ("*@example.com", FAULT, UNFIT_SENDER),
            ("*.com", FAULT, UNFIT_SENDER),
            ("ann@example.org", UNFIT_RECIPIENT, UNFIT_RECIPIENT),
            ("example.org", UNFIT_RECIPIENT, UNFIT_RECIPIENT),
            ("*@example.org", UNFIT_RECIPIENT, UNFIT_RECIPIENT),
            ("*", FAULT, FAULT),
            ("else.example", UNFIT_UNKNOWN, UNFIT_UNKNOWN),
            ("othernews@example.com", UNFIT_UNKNOWN, UNFIT_UNKNOWN),
            ("notexample.com", UNFIT_UNKNOWN, UNFIT_UNKNOWN),
            ("sub.example.com", UNFIT_UNKNOWN, UNFIT_UNKNOWN),
            ("example.com.evil.example", UNFIT_UNKNOWN, UNFIT_UNKNOWN),
        ]
    ),
    *(
        (403, ("AccessDenied", "AccessDeniedException"), make(resource), FAULT, FAULT)
        for make in (denied, denied_new)
        for resource in [
            f"{SES_ARN}configuration-set/news",
            f"{SES_ARN}configuration-set/example.com",
            f"{SES_ARN}template/welcome",
            f"{SES_ARN}contact-list/readers",
            f"{SES_ARN}tenant/acme/tn-1",
            f"{SES_ARN}dedicated-ip-pool/pool",
            f"{SES_ARN}multi-region-endpoint/m",
            f"{SES_ARN}*",
            "*",
            "arn:aws:ses:*:*:*",
        ]
    ),
    (403, ("AccessDenied",), f"User: {USER} is not authorized to perform: ses:SendEmail", FAULT, FAULT),
    (403, ("AccessDeniedException",), f"User: {ROLE} is not authorized to perform: ses:SendEmail", FAULT, FAULT),
    (403, ("AccessDeniedException",), "", FAULT, FAULT),
    (400, ("AccessDeniedException",), denied(f"{SES_ARN}identity/ann@example.org"), UNFIT_RECIPIENT, UNFIT_RECIPIENT),
    (
        403,
        ("AccessDenied",),
        denied_new(f"{SES_ARN}identity/ann@example.org", USER).partition(" because")[0] + " with an explicit deny in a policy",
        UNFIT_RECIPIENT,
        UNFIT_RECIPIENT,
    ),
    # Several identities in one text: the forced sender decides, then a fault of the account, then the sender.
    (
        403,
        ("AccessDenied",),
        denied(f"{SES_ARN}identity/ann@example.org") + f" and `{SES_ARN}identity/news@example.com'",
        FAULT,
        UNFIT_SENDER,
    ),
    (
        403,
        ("AccessDenied",),
        denied(f"{SES_ARN}identity/ann@example.org") + f", `{SES_ARN}configuration-set/news'",
        FAULT,
        FAULT,
    ),
    *(
        (400, codes, FAILED + named, *fates)
        for codes in [("MessageRejected", "MessageRejectedException"), ("BadRequestException", "InvalidParameterValue")]
        for named, *fates in [
            ("news@example.com", FORCED_FAULT, UNFIT_SENDER),
            ("NEWS@EXAMPLE.COM", FORCED_FAULT, UNFIT_SENDER),
            ("example.com", FORCED_FAULT, UNFIT_SENDER),
            ('"Example, News" <news@example.com>', FORCED_FAULT, UNFIT_SENDER),
            ("=?utf-8?q?=C3=98rsted?= <news@example.com>", FORCED_FAULT, UNFIT_SENDER),
            ("‘news@example.com’", FORCED_FAULT, UNFIT_SENDER),
            ("“news@example.com”.", FORCED_FAULT, UNFIT_SENDER),
            ("`news@example.com'", FORCED_FAULT, UNFIT_SENDER),
            ("@example.com", FORCED_FAULT, UNFIT_SENDER),
            (f"{SES_ARN}identity/example.com", FORCED_FAULT, UNFIT_SENDER),
            ("ann@example.org, news@example.com", FORCED_FAULT, UNFIT_SENDER),
            ("ann@example.org, else@example.net", UNFIT_RECIPIENT, UNFIT_RECIPIENT),
            ("Ann <ANN@example.org>", UNFIT_RECIPIENT, UNFIT_RECIPIENT),
            ("example.org", UNFIT_RECIPIENT, UNFIT_RECIPIENT),
            ("else@example.com", UNFIT_UNKNOWN, UNFIT_UNKNOWN),
            ("johann@example.org", UNFIT_UNKNOWN, UNFIT_UNKNOWN),
            ("", UNFIT_UNKNOWN, UNFIT_UNKNOWN),
        ]
    ),
    (400, ("MessageRejected",), "Email address not verified: news@example.com", FORCED_FAULT, UNFIT_SENDER),
    (
        400,
        ("MailFromDomainNotVerified", "MailFromDomainNotVerifiedException"),
        "Mail from domain bounce.example.com is not verified",
        FORCED_FAULT,
        UNFIT_SENDER,
    ),
]


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize("shape", SHAPES["ses"])
def test_ses_refusal_is_judged_by_what_it_names(shape: str, forced: bool) -> None:
    for status, codes, text, *fates in NAMED:
        for code in codes:
            kind, subject = fates[0 if forced else 1]
            check("ses", said("ses", status, text, code, shape), letter(forced), kind, subject)


INTERNATIONAL = [
    ("news@bücher.example", "news@xn--bcher-kva.example"),
    ("news@bücher.example", "News <NEWS@XN--BCHER-KVA.EXAMPLE>"),
    ("news@xn--bcher-kva.example", "news@bücher.example"),
    ("news@xn--bcher-kva.example", "Bücher.example"),
    ("news@bücher.example", "xn--bcher-kva.example"),
    ("news@bücher.example", "mail from bücher.example."),
    ("news@bücher.example", "News <news@bücher。example>"),
    ("news@bücher.example", "‘news@bücher．example’"),
    ("news@mail.example.com", "example.com"),
    ("news@a.b.example.com", "mail from b.example.com."),
    ("o'hara@example.com", "'o'hara@example.com'"),
    ("a+b@example.com", "a+b@example.com"),
    ('"b c"@example.com', '"b c"@example.com'),
]


@pytest.mark.parametrize(("address", "named"), INTERNATIONAL)
def test_address_is_known_in_every_spelling(address: str, named: str) -> None:
    refusal = said("ses", 400, FAILED + named, "MessageRejected")
    check("ses", refusal, letter(True, address), ServerFault, SENDER)
    check("ses", refusal, letter(False, address), Unfit, SENDER)
    check("ses", refusal, letter(True, "me@elsewhere.net", address), Unfit, RECIPIENT)
    check("ses", refusal, letter(True, "me@elsewhere.net", "you@elsewhere.org"), Unfit, UNKNOWN)


def test_any_of_many_recipients_is_known() -> None:
    everybody = [f"a{number}@d{number}.example.org" for number in range(50)]
    for one in (everybody[0], everybody[-1], "d49.example.org"):
        check("ses", said("ses", 400, FAILED + one, "MessageRejected"), letter(True, to=everybody), Unfit, RECIPIENT)
    check("ses", said("ses", 400, FAILED + "a5@d6.example.org", "MessageRejected"), letter(True, to=everybody), Unfit, UNKNOWN)


def test_recipient_at_the_senders_domain_is_a_recipient() -> None:
    mail = letter(True, to="ann@example.com")
    check("ses", said("ses", 403, denied(SES_ARN + "identity/ann@example.com"), "AccessDenied"), mail, Unfit, RECIPIENT)
    check("ses", said("ses", 403, denied(SES_ARN + "identity/example.com"), "AccessDenied"), mail, ServerFault, ACCOUNT)


def test_what_only_extra_asked_for_stops_no_server() -> None:
    wishes = {"ListManagementOptions": {"ContactListName": "readers"}, "TenantName": "acme"}
    mail = letter(True, extra={"ses": wishes})
    check("ses", said("ses", 403, denied(SES_ARN + "contact-list/readers"), "AccessDenied"), mail, Unfit, UNKNOWN)
    check("ses", said("ses", 404, "List with name: readers doesn't exist.", "NotFoundException"), mail, Unfit, UNKNOWN)
    check("ses", said("ses", 403, denied(SES_ARN + "configuration-set/news"), "AccessDenied"), mail, ServerFault, ACCOUNT)
