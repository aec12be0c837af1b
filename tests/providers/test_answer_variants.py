"""Answers of the same kinds as the public ones in other words, cases, quotes and shapes, by what each must come to."""

from typing import Any

import pytest

from deliverykit.contracts.answers import Answer, row_for
from deliverykit.words.outcomes import About, NotSent, Rejected, ServerFault, Throttled, Unfit, Unknown
from esp_answers import PROVIDERS, SHAPES, check, letter, said
from outgoing_mail import NOW, STATUSES, json_answer

ACCOUNT, SENDER, RECIPIENT, MESSAGE, UNKNOWN = About.ACCOUNT, About.SENDER, About.RECIPIENT, About.MESSAGE, About.UNKNOWN

# By ESP: status, code, text, outcome, about, and what else is known of it.
NOT_ALLOWED = "Domain mg.example.com is not allowed to send: "
PROBATION = "Your account is on probation and domains are limited to 100 messages / hour. "
TEST_ONLY = "are for test purposes only. Please upgrade or add the address to"
SES_ROWS: list[tuple[Any, ...]] = [
    *(
        (status, code, text, ServerFault, ACCOUNT)
        for status, code, text in [
            (400, "MessageRejected", "Sending paused for this account. For more information, please check the inbox of …"),
            (400, "MessageRejected", "Sending suspended for this account. For more information, please check your inbox."),
            (400, "BadRequestException", "Email sending is currently paused for this account."),
            (400, "AccountSendingPausedException", "Email sending is disabled for your entire Amazon SES account"),
            (400, "SendingPausedException", ""),
            (403, "AccountSuspendedException", "Your account has been suspended."),
            (400, "AccountSuspended", "Account is suspended"),
            (400, "MessageRejected", "Your account's ability to send email is currently paused."),
            (400, "MessageRejected", "Your AWS account is blocked. Contact support."),
            (400, "ConfigurationSetSendingPausedException", "Email sending is disabled for configuration set news"),
            (400, "SendingPausedException", "Email sending for the configuration set news is paused."),
            (400, "ConfigurationSetDoesNotExist", "Configuration set <news> does not exist."),
            (400, "ConfigurationSetDoesNotExistException", "news"),
            (400, "BadRequestException", "Configuration set <news> does not exist."),
            (400, "BadRequestException", "Configuration set news doesn’t exist."),
            (400, "MessageRejected", "Configuration set `news' not found"),
            (400, "InvalidParameterValue", "CONFIGURATION SET DOES NOT EXIST: news"),
            (404, "NotFoundException", "Configuration set <news> does not exist."),
            (404, "NotFoundException", "The IP pool you specified doesn't exist"),
            (404, "NotFoundException", ""),
            (403, "OptInRequired", "The AWS Access Key Id needs a subscription for the service"),
            (403, "SubscriptionRequiredException", "…"),
        ]
    ),
    *(
        (status, code, text, ServerFault, ACCOUNT, "renewable")
        for status in (400, 403)
        for code, text in [
            ("UnrecognizedClientException", "The security token included in the request is invalid."),
            ("InvalidClientTokenId", "The security token included in the request is invalid"),
            ("InvalidClientTokenIdException", "x"),
            ("ExpiredToken", "The security token included in the request is expired"),
            ("ExpiredTokenException", "The security token included in the request is expired"),
            ("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."),
            ("InvalidSignatureException", "Credential should be scoped to a valid region."),
            ("IncompleteSignature", "Authorization header requires 'Credential' parameter."),
            ("MissingAuthenticationTokenException", "Missing Authentication Token"),
            ("AuthFailure", "AWS was not able to validate the provided access credentials"),
            ("InvalidToken", "The provided token is malformed or otherwise invalid."),
        ]
    ),
    *(
        (status, code, text, NotSent, None, "clock")
        for status in (400, 403)
        for code, text in [
            (
                "InvalidSignatureException",
                "Signature expired: 20240101T000000Z is now earlier than 20240101T000500Z (… - 5 min.)",
            ),
            ("SignatureDoesNotMatch", "Signature not yet current: 20240101T001000Z is still later than 20240101T000500Z"),
            ("RequestExpired", "Request has expired. Timestamp date is 2024-01-01T00:00:00Z"),
            ("RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
            ("InvalidSignatureException", "SIGNATURE EXPIRED: 20240101T000000Z"),
        ]
    ),
    *(
        (status, code, text, Throttled, ACCOUNT, "fast")
        for status, code, text in [
            (429, "TooManyRequestsException", "Maximum sending rate exceeded."),
            (429, "TooManyRequestsException", ""),
            (429, "SomethingNew", "You are doing that too often."),
            (400, "Throttling", "Maximum sending rate exceeded."),
            (400, "ThrottlingException", "Rate exceeded"),
            (400, "ThrottledException", "slow"),
            (400, "RequestLimitExceeded", "Request limit exceeded."),
            (403, "Throttling", "Rate exceeded"),
        ]
    ),
    *(
        (status, code, text, Throttled, ACCOUNT, "quota")
        for status, code, text in [
            (400, "Throttling", "Daily message quota exceeded."),
            (400, "ThrottlingException", "DAILY MESSAGE QUOTA EXCEEDED"),
            (429, "TooManyRequestsException", "Daily message quota exceeded"),
            (400, "LimitExceededException", "There are too many instances of the specified resource type."),
            (400, "MessageRejected", "Daily sending quota exceeded."),
        ]
    ),
    *(
        (400, code, text, Rejected, MESSAGE)
        for code in ("InvalidParameterValue", "BadRequestException", "MessageRejected", "ValidationException")
        for text in [
            "Missing domain",
            "Missing final '@domain'",
            "Missing final ’@domain’",
            "Missing local name",
            "Local address contains control or whitespace",
            "Domain contains control or whitespace",
            "Domain starts with dot; contains illegal character",
            "Illegal address",
            "Invalid domain name: 'example..org'.",
            "Domain contains dot-dot",
            "Message contains a virus.",
            "Bad content",
            "Message length is more than 41943040 bytes long: '50000000'.",
            "Recipient count exceeds 50.",
            "Address contains illegal characters in user name: 'ann@@example.org'",
        ]
    ),
    *(
        (400, "BadRequestException", text, Unfit, MESSAGE)
        for text in ["Illegal file name: a.exe", "Duplicate header 'Subject'."]
    ),
    (400, "BadRequestException", "Unsupported file type a.exe", Unfit, MESSAGE),
    (413, "RequestEntityTooLarge", "anything", Rejected, MESSAGE),
    (400, "ValidationException", "1 validation error: Value at 'content.simple.subject.data' is too long", Rejected, MESSAGE),
    (400, "MessageRejected", "Missing required header 'To'.", Rejected, MESSAGE),
    (400, "MessageRejected", "Transaction failed: Expected disposition, got null", Rejected, MESSAGE),
    (400, "BadRequestException", "Illegal email address", Rejected, MESSAGE),
    (400, "MessageRejected", "Address blacklisted.", Unfit, RECIPIENT),
    (400, "MessageRejected", "Your IP address is blacklisted", Rejected, UNKNOWN),
    (404, "NotFoundException", "Email identity <news@example.com> does not exist.", None, SENDER),
    (404, "NotFoundException", "Email identity ann@example.org does not exist.", Unfit, RECIPIENT),
    (400, "BadRequestException", "The configuration set news isn't associated with tenant acme", ServerFault, ACCOUNT),
    (403, "SomethingNew", "never seen of news@example.com", None, SENDER),
    (403, "SomethingNew", "never seen of ann@example.org", Unfit, RECIPIENT),
    (403, "SomethingNew", "User isn&#39;t not authorized to perform `ses:SendEmail&#39;", ServerFault, ACCOUNT),
    (400, "SomethingNew", "never seen", Rejected, UNKNOWN),
    (401, "SomethingNew", "never seen", Rejected, UNKNOWN),
    (403, "SomethingNew", "never seen", Rejected, UNKNOWN),
    (404, "SomethingNew", "never seen", Rejected, UNKNOWN),
    (409, "ConflictException", "never seen", Rejected, UNKNOWN),
    (408, "RequestTimeoutException", "not read in time", NotSent, None),
    (503, "ServiceUnavailable", "Service Unavailable", NotSent, None),
    (500, "InternalFailure", "An internal error occurred.", Unknown, None),
    (500, "Throttling", "Maximum sending rate exceeded.", Unknown, None),
    (502, "BadGateway", "x", Unknown, None),
    (504, "GatewayTimeout", "x", Unknown, None),
]
SES_ROWS += [
    *((status, "RequestExpired", "Signature expired", NotSent, None, "clock") for status in (401, 403)),
    *((status, "InvalidClientTokenId", "x", ServerFault, ACCOUNT, "renewable") for status in (401,)),
    *((status, "AccessDeniedException", "User is not authorized to perform `ses:SendEmail'", ServerFault, ACCOUNT)
      for status in (400, 401, 403)),
    *((status, "LimitExceededException", "Daily message quota exceeded", Throttled, ACCOUNT, "quota") for status in (400, 403)),
    *((status, "MessageRejected", "Email address is not verified: news@example.com", None, SENDER) for status in (400, 403)),
    *((status, "MailFromDomainNotVerifiedException", "x", None, SENDER) for status in (400, 403)),
    *((status, "ConfigurationSetDoesNotExist", "news", ServerFault, ACCOUNT) for status in (400, 404)),
    *((status, "NotFoundException", "Email identity <news@example.com> does not exist.", None, SENDER) for status in (400, 403)),
    *((status, "AccountSuspendedException", "x", ServerFault, ACCOUNT) for status in (400, 403)),
]  # fmt: skip
SENDGRID_ROWS: list[tuple[Any, ...]] = [
    *(
        (status, "", text, Throttled, ACCOUNT, "quota")
        for status, text in [
            (401, "Maximum credits exceeded"),
            (401, "MAXIMUM CREDITS EXCEEDED."),
            (403, "Maximum credits exceeded"),
            (401, "You have exceeded your credits: no credits left."),
            (403, "You have exceeded your messaging limits"),
            (403, "You’ve exceeded your messaging limits."),
            (401, "You have exceeded your messaging limits"),
            (403, "Account has reached its monthly email limit"),
            (403, "Daily quota exceeded"),
            (402, "Insufficient credits"),
            (403, "Too many bad requests. Temporary block"),
            (403, "Too many bad requests: temporarily blocked"),
            (403, "Your account is temporarily suspended from sending. Try again later."),
            (400, "Too many bad requests. Temporary block"),
        ]
    ),
    *(
        (429, "", text, Throttled, ACCOUNT, "fast")
        for text in ["too many requests", "", "maximum credits exceeded", "never seen"]
    ),
    *(
        (status, "", text, None, SENDER)
        for status, text in [
            (403, "The from address does not match a verified Sender Identity. Mail cannot be sent until this is resolved."),
            (403, "THE FROM ADDRESS DOES NOT MATCH A VERIFIED SENDER IDENTITY"),
            (403, "You are not authorized to send from that email address"),
            (403, "You are not authorised to send from this e-mail address."),
            (401, "You are not authorized to send from that email address"),
            (403, "The from address isn’t a verified sender."),
            (403, "Unverified sender: news@example.com"),
            (403, "The domain example.com is not authenticated"),
            (403, "news@example.com is not allowed here"),
        ]
    ),
    *((status, "", "You are not allowed to send to that recipient", Unfit, RECIPIENT) for status in (401, 402, 403)),
    *((status, "", "Your account is suspended", ServerFault, ACCOUNT) for status in (401, 402)),
    *((status, "", "Too many bad requests. Temporary block", Throttled, ACCOUNT, "quota") for status in (401, 403)),
    *((status, "", "Daily quota exceeded", Throttled, ACCOUNT, "quota") for status in (401, 402)),
    *((status, "", "Unverified sender: news@example.com", None, SENDER) for status in (400, 401)),
    (403, "", "Invalid API Key", ServerFault, ACCOUNT, "renewable"),
    (400, "", "You have exceeded your messaging limits", Throttled, ACCOUNT, "quota"),
    (403, "", "Not permitted (from.email)", None, SENDER),
    (400, "", "The from object must be provided for every email send. (content.0.value)", Rejected, MESSAGE),
    (400, "", "Wrong (personalizations.0.to.0.email)", Rejected, MESSAGE),
    (403, "", "never seen: ann@example.org", Unfit, RECIPIENT),
    (403, "", "Something about example.com", None, SENDER),
    (403, "", "Permission denied for ann@example.org", Unfit, RECIPIENT),
    *(
        (status, "", text, ServerFault, ACCOUNT)
        for status, text in [
            (403, "access forbidden"),
            (403, "Access Forbidden."),
            (403, "Forbidden"),
            (403, "You do not have the required scope mail.send"),
            (403, "Your account is suspended"),
            (401, "Your account has been deactivated"),
            (403, "The requestor's IP Address is not whitelisted"),
            (403, "The requestor’s IP Address is not whitelisted"),
            (403, "Your free trial has expired"),
            (403, "You do not have authorization to make this request"),
            (403, "Authenticated user is not authorized to send mail"),
            (451, "Unavailable due to data residency restrictions"),
            (451, "anything"),
            (404, "not found"),
            (405, "method not allowed"),
        ]
    ),
    *(
        (401, "", text, ServerFault, ACCOUNT, "renewable")
        for text in [
            "The provided authorization grant is invalid, expired, or revoked",
            "The provided authorisation grant is invalid",
            "Permission denied, wrong credentials",
            'API key does not start with "SG."',
            "Invalid API Key",
            "authorization required",
            "Unauthorized",
        ]
    ),
    *(
        (400, "", text, Rejected, MESSAGE)
        for text in [
            "The attachment type cannot contain ';', or CRLF characters.",
            "The attachment type cannot contain ‘;’, or CRLF characters.",
            "Does not contain a valid address.",
            "Each unique email address in the personalizations array should only be included once.",
            "The content value must be a string at least one character in length.",
            "There is a limit of 1000 total recipients",
            "The subject is required.",
            "Invalid replyTo email address",
            "Header names must be ASCII",
        ]
    ),
    (413, "", "anything", Rejected, MESSAGE),
    *((status, "", "never seen", Rejected, UNKNOWN) for status in (400, 401, 403, 404, 406, 415)),
    (503, "", "The SendGrid v3 Web API is not available.", NotSent, None),
    *((status, "", "Maximum credits exceeded", Unknown, None) for status in (500, 502, 504)),
]
MAILGUN_ROWS: list[tuple[Any, ...]] = [
    *(
        (status, "", text, Throttled, ACCOUNT, seconds)
        for status in (400, 401, 402, 403, 420, 429)
        for text, seconds in [
            ("account-requests-per-sec is reached", None),
            (NOT_ALLOWED + "request limit exceeded, try again in 2 hours", 7200),
            (NOT_ALLOWED + "You've reached the message limit you set on account", None),
            ("recipient limit exceeded, try again after 20 seconds", 20),
        ]
    ),
    *((status, "", "Daily quota of the plan is reached", Throttled, ACCOUNT, None) for status in (400, 401, 402, 403)),
    *((status, "", NOT_ALLOWED + "Account disabled", ServerFault, ACCOUNT) for status in (401, 402)),
    *((status, "", "Not for large batches", Unfit, MESSAGE) for status in (400, 403)),
    *((status, "", "from parameter is not a valid address", Rejected, MESSAGE) for status in (400, 403)),
    (451, "", "anything", ServerFault, ACCOUNT),
    *(
        (status, "", text, Throttled, ACCOUNT, seconds)
        for status, text, seconds in [
            (403, NOT_ALLOWED + "You've reached the message limit you set on account", None),
            (403, NOT_ALLOWED + "You&#39;ve reached the message limit you set on account", None),
            (403, NOT_ALLOWED + "You’ve reached the message limit you set on account", None),
            (400, NOT_ALLOWED + "You have reached the message limit you set on your account.", None),
            (401, NOT_ALLOWED + "You've reached the message limit you set on account", None),
            (403, PROBATION + "Account will be enabled in 341 seconds", 341),
            (400, PROBATION + "Account will be enabled in 5 minutes", 300),
            (403, PROBATION, None),
            (420, NOT_ALLOWED + "recipient limit exceeded, try again after 20 seconds", 20),
            (420, "recipient limit exceeded, try again after 20 seconds", 20),
            (429, NOT_ALLOWED + "bytes limit exceeded, try again after 1.5 seconds", 1.5),
            (403, NOT_ALLOWED + "request limit exceeded, try again in 2 hours", 7200),
            (400, NOT_ALLOWED + "hourly sending limit reached", None),
            (403, NOT_ALLOWED + "Daily quota of the plan exceeded", None),
            (403, "You have exceeded your plan’s monthly limit of 5000 messages", None),
            (420, "", None),
            (420, "never seen", None),
            (429, "never seen", None),
            (429, "Forbidden", None),
        ]
    ),
    *(
        (status, "", text, ServerFault, ACCOUNT)
        for status in (400, 403)
        for text in [
            NOT_ALLOWED + "Please activate your Mailgun account. Check your inbox or log in to your control panel.",
            NOT_ALLOWED + "The domain is unverified and requires DNS configuration. Log in to your control panel.",
            NOT_ALLOWED + "Account disabled",
            NOT_ALLOWED + "Your account is under review.",
            NOT_ALLOWED + "never seen",
            "domain mg.example.com is not allowed to send: The account is suspended",
            "Sandbox subdomains are for test purposes only. Please add your own domain.",
            "Free accounts are for test purposes only. Please upgrade.",
            "Rejected: IP 192.0.2.1 can't be used to send the message",
            "Rejected: IP 192.0.2.1 can’t be used to send the message",
            "REJECTED: IP 192.0.2.1 cannot be used to send the message",
            "Business verification required",
        ]
    ),
    *(
        (status, "", text, Unfit, RECIPIENT)
        for status in (400, 403)
        for text in [
            f"{NOT_ALLOWED}Free accounts {TEST_ONLY} authorized recipients in Account Settings.",
            f"Sandbox subdomains {TEST_ONLY} Authorised Recipients in Account Settings.",
            NOT_ALLOWED + "ann@example.org is not on the list",
        ]
    ),
    *((status, "", text, ServerFault, ACCOUNT, "renewable")
      for status, text in [(401, "Forbidden"), (403, "Forbidden"), (401, "Invalid private key"), (401, "Unauthorized")]),
    (402, "", "Request failed: payment required", ServerFault, ACCOUNT),
    (402, "", "Your subscription has expired", ServerFault, ACCOUNT),
    (404, "", "Domain not found: mg.example.com", ServerFault, ACCOUNT),
    (404, "", "domain mg.example.com not found", ServerFault, ACCOUNT),
    *(
        (400, "", text, Rejected, MESSAGE)
        for text in [
            "'to' parameter is not a valid address. please check documentation",
            "‘to’ parameter is not a valid address. please check documentation",
            "to parameter is not a valid address. please check documentation",
            "cc parameter is not a valid address",
            "Need at least one of 'text' or 'html' parameters specified",
            "Too many recipients, max is 1000",
            "Message size limit exceeded",
            "The message is too large: 26 MB",
            "Expecting 'multipart/form-data'",
            "Send options (parameters starting with o:, h:, or v:) are limited to 16KB total",
        ]
    ),
    (413, "", "anything", Rejected, MESSAGE),
    *((status, "", "never seen", Rejected, UNKNOWN) for status in (400, 401, 402, 403, 404, 406)),
    (503, "", "busy", NotSent, None),
    *((status, "", "recipient limit exceeded, try again after 20 seconds", Unknown, None) for status in (500, 502, 504)),
]  # fmt: skip
ELASTIC_ROWS: list[tuple[Any, ...]] = [
    *((status, "", "The From domain example.com is not verified", None, SENDER) for status in (401, 402, 403)),
    *((status, "", "You are only allowed to send from your own domain", None, SENDER) for status in (400, 401, 403)),
    *((status, "", "You can only send to your own email address", Unfit, RECIPIENT) for status in (400, 403)),
    (400, "", "Invalid From address", Rejected, MESSAGE),
    (403, "", "Recipient ann@example.org is suppressed", Unfit, RECIPIENT),
    *((status, "", "Account has been disabled.", ServerFault, ACCOUNT) for status in (401, 403)),
    *(
        (status, "", text, ServerFault, ACCOUNT, "renewable")
        for status in (400, 401, 403)
        for text in ["APIKey Expired", "ApiKey expired.", "Incorrect API key", "API-key is missing, apikey required"]
    ),
    *(
        (status, "", text, ServerFault, ACCOUNT)
        for status, text in [
            (400, "Access Denied."),
            (403, "Access denied"),
            (400, "Your account is blocked"),
            (400, "Account has been disabled."),
            (403, "You are not allowed to send."),
            (402, "Payment required"),
        ]
    ),
    *(
        (status, "", text, Throttled, ACCOUNT, "quota")
        for status, text in [
            (412, "Plan limit"),
            (412, "never seen"),
            (400, "Your daily sending limit has been reached."),
            (400, "You have reached your plan’s monthly quota"),
            (402, "Not enough credits"),
            (403, "Daily limit exceeded"),
        ]
    ),
    *((429, "", text, Throttled, ACCOUNT, "fast") for text in ["Too many connections", "", "Access Denied.", "never seen"]),
    *(
        (400, "", text, None, SENDER)
        for text in [
            "The From domain example.com is not verified",
            "Sender domain isn’t validated",
            "Unverified sender",
            "Please verify your domain first",
            "FROM ADDRESS IS NOT REGISTERED",
            "You can only send from verified domains",
        ]
    ),
    *(
        (400, "", text, Rejected, MESSAGE)
        for text in [
            "Attachment size limit exceeded",
            "The limit of 20 MB was exceeded",
            "Invalid email address: ann@@example.org",
            "Invalid parameter: Subject",
            "Recipient address is missing",
        ]
    ),
    (400, "", "Recipient ann@example.org is suppressed", Unfit, RECIPIENT),
    (400, "", "Your IP address is blocked", Rejected, UNKNOWN),
    (413, "", "You cannot provide more than 50 transactional recipients", Rejected, MESSAGE),
    (413, "", "anything", Rejected, MESSAGE),
    (400, "", "You cannot provide more than 50 transactional recipients", Rejected, MESSAGE),
    (409, "", "Request is processed", Unknown, None),
    (409, "", "anything", Unknown, None),
    (422, "", "This Idempotency-Key was used with another body", Unknown, None),
    *((status, "", "never seen", Rejected, UNKNOWN) for status in (400, 401, 402, 403, 404)),
    (503, "", "Key not checked", NotSent, None),
    *((status, "", "Plan limit", Unknown, None) for status in (500, 502, 504)),
]
BY_ESP = {"ses": SES_ROWS, "sendgrid": SENDGRID_ROWS, "mailgun": MAILGUN_ROWS, "elasticemail": ELASTIC_ROWS}


@pytest.mark.parametrize(
    ("esp", "row"),
    [pytest.param(esp, row, id=f"{esp} {row[0]} {row[1]} {row[2]}"[:90]) for esp, rows in BY_ESP.items() for row in rows],
)
def test_answer_in_other_words_is_of_the_same_kind(esp: str, row: tuple[Any, ...]) -> None:
    status, code, text, kind, subject, *more = row
    for shape in SHAPES[esp]:
        response = said(esp, status, text, code, shape)
        if kind is None:  # the sender: the server's fault where it forces its From, else this message's
            check(esp, response, letter(forced=True), ServerFault, subject)
        found = check(esp, response, letter(), kind or Unfit, subject)
        assert (found.reason.startswith("clock:")) is ("clock" in more)
        if isinstance(found, ServerFault):
            assert found.renewable is ("renewable" in more)
        if isinstance(found, Throttled):
            assert found.too_fast is ("fast" in more) or esp == "mailgun"
        if isinstance(found, Throttled) and esp == "mailgun":
            assert found.until == (None if more[0] is None else NOW + round(more[0] * 1000))


@pytest.mark.parametrize(
    ("field", "status", "forced", "kind", "subject"),
    [
        ("from", 403, False, Unfit, SENDER),
        ("from.email", 403, True, ServerFault, SENDER),
        ("from", 400, False, Rejected, MESSAGE),
        ("from.email", 400, True, ServerFault, SENDER),
        ("personalizations.0.to.0.email", 400, True, Rejected, MESSAGE),
        ("content.0.value", 400, True, Rejected, MESSAGE),
        ("attachments.0.type", 400, True, Rejected, MESSAGE),
        ("reply_to_list", 400, True, Rejected, MESSAGE),
        ("ip_pool_name", 400, True, Rejected, UNKNOWN),
        ("template_id", 400, True, Rejected, UNKNOWN),
        (None, 400, True, Rejected, UNKNOWN),
    ],
)
def test_sendgrid_field_says_what_an_error_is_about(
    field: str | None, status: int, forced: bool, kind: Any, subject: About
) -> None:
    listed = [{"message": "never seen", "field": field, "help": "http://sendgrid.com/docs/errors.html#message.from"}]
    body = {"errors": listed}
    check("sendgrid", json_answer(status, body), letter(forced), kind, subject)
    check("sendgrid", json_answer(status, {"errors": [*listed, *listed], "id": "x"}), letter(forced), kind, subject)


@pytest.mark.parametrize("esp", ["sendgrid", "mailgun", "elasticemail"])  # the texts of SES do not say which address
@pytest.mark.parametrize("forced", [True, False])
def test_from_that_cannot_be_read_is_the_messages_own(esp: str, forced: bool) -> None:
    texts = {
        "sendgrid": "The from email does not contain a valid address.",
        "mailgun": "'from' parameter is not a valid address. please check documentation",
        "elasticemail": "Invalid From address",
    }
    kind, subject = (ServerFault, SENDER) if forced else (Rejected, MESSAGE)
    check(esp, said(esp, 400, texts[esp]), letter(forced), kind, subject)


@pytest.mark.parametrize("esp", BY_ESP)
def test_every_text_at_every_status_has_its_one_outcome(esp: str) -> None:
    for _, code, text, *_ in BY_ESP[esp]:
        for status in STATUSES:
            response = said(esp, status, text, code, retry_after="7")
            found = PROVIDERS[esp].outcome(response, letter(), NOW)
            if 200 <= status < 300 or (status >= 500 and status != 503) or status < 200:
                assert isinstance(found, Unknown), (status, text, found)
            elif status == 503 or 300 <= status < 400:
                assert isinstance(found, NotSent), (status, text, found)
                assert found.retry_after == 7
            elif status == 413:
                assert isinstance(found, Rejected), (text, found)
                assert found.about is MESSAGE
            elif status == 429 or (status == 420 and esp == "mailgun"):
                assert isinstance(found, Throttled), (status, text, found)
            else:
                assert isinstance(found, Rejected | Unfit | ServerFault | Throttled | NotSent | Unknown), (status, text, found)


def test_a_repeated_answer_says_nothing_about_now() -> None:
    for status in (400, 412, 413, 429):
        response = said("elasticemail", status, "Daily limit", retry_after="3600", idempotency_replayed="true")
        assert check("elasticemail", response, letter(), NotSent, None).retry_after == 0


@pytest.mark.parametrize("esp", BY_ESP)
def test_every_row_decides_an_answer_here_at_each_of_its_statuses(esp: str) -> None:
    provider = PROVIDERS[esp]
    decided = set()
    for status, code, text, *_ in BY_ESP[esp]:
        response = said(esp, status, text, code)
        words = provider.error(response)
        answer = Answer(status=status, text=words or "", response=response, mail=letter(), now=NOW)
        if words is not None and (row := row_for(provider.table, answer)) is not None:
            decided.add((provider.table.index(row), status))
    listed = {
        (place, status): row.text.pattern
        for place, row in enumerate(provider.table)
        for status in (row.status if isinstance(row.status, tuple) else (row.status,) if isinstance(row.status, int) else ())
    }
    assert {f"{status}: {text}" for (place, status), text in listed.items() if (place, status) not in decided} == set()
