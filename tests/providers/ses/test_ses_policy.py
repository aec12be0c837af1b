"""The IAM policy of the documentation allows every call that the adapter makes, and no other."""

import base64
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve
from botocore.loaders import Loader
from provider_cases import NOW, body, outgoing, plain

from checkout import ROOT
from deliverykit.providers.ses import SES
from deliverykit.words.addresses import Address
from deliverykit.words.message import Message
from deliverykit.words.wire import HttpRequest, HttpResponse

ARN = "arn:aws:ses:ap-south-1:111122223333:"
FROM = Address("news@example.com", "Example News")
OPERATIONS: dict[tuple[str, str], str] = {
    (one["http"]["method"], one["http"]["requestUri"]): name
    for name, one in Loader().load_service_model("sesv2", "service-2")["operations"].items()
}
ses = SES(region="ap-south-1", access_key_id="AKIDEXAMPLE", secret_access_key="wJalr-secret")


def requests() -> Iterator[HttpRequest]:
    """Every kind of request: each message with and without a configuration set, and the check with every answer."""
    raw = b"From: x@example.com\r\nTo: ann@example.org\r\nSubject: s\r\n\r\nHi\r\n"
    letters = [
        plain().message,
        Message(to="ann@example.org", cc="bob@example.net", bcc="eve@example.com", subject="s", text="t", tags=["a"]),
        Message(to="ann@example.org", raw=raw),
        Message(to="ann@example.org", subject="s", text="t", track_opens=True, extra={"ses": {"TenantName": "acme"}}),
    ]
    for server in (ses, evolve(ses, configuration_set="events")):
        for message in letters:
            yield server.request(outgoing(message, FROM, forced=True), NOW)
        for status, answer in ((200, {"SendQuota": {}}), (403, {"message": "x"}), (404, {}), (429, {}), (500, {})):
            yield from checked(server, HttpResponse(status=status, body=json.dumps(answer).encode()))


def checked(server: SES, answer: HttpResponse) -> Iterator[HttpRequest]:
    flow = server.check(NOW)
    try:
        request = next(flow)
        while True:
            yield request
            request = flow.send(answer)
    except StopIteration:
        return


def needed(request: HttpRequest) -> Iterator[tuple[str, str, str]]:
    """What AWS asks of the policy for a request: action, resource, and the From that a condition may look at.

    In the SES sandbox the identities of the recipients are asked for as well (aws-sdk-js-v3#2061).
    """
    operation = OPERATIONS[request.method, urlsplit(request.url).path]
    if operation != "SendEmail":
        yield f"ses:{operation}", "*", ""
        return
    fields = body(request)
    sender = fields["FromEmailAddress"].partition("<")[2].strip(">")
    everybody = [one for people in fields["Destination"].values() for one in people]
    names = [f"identity/{one}" for email in (sender, *everybody) for one in (email, email.partition("@")[2])]
    if "ConfigurationSetName" in fields:
        names.append(f"configuration-set/{fields['ConfigurationSetName']}")
    actions = ["ses:SendEmail"]
    if "Raw" in fields["Content"]:
        assert base64.b64decode(fields["Content"]["Raw"]["Data"])
        actions.append("ses:SendRawEmail")
    yield from ((action, ARN + name, sender) for action in actions for name in names)


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def allows(statement: dict[str, Any], action: str, resource: str, sender: str) -> bool:
    condition = statement.get("Condition", {})
    assert set(condition) <= {"StringLike"}
    patterns = condition.get("StringLike", {})
    assert set(patterns) <= {"ses:FromAddress"}
    return (
        statement["Effect"] == "Allow"
        and action in listed(statement["Action"])
        and any(fnmatchcase(resource, one) for one in listed(statement["Resource"]))
        and all(fnmatchcase(sender, one) for one in patterns.values())
    )


def policy() -> list[dict[str, Any]]:
    text = (ROOT / "docs" / "esp" / "ses.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    statements: list[dict[str, Any]] = json.loads(found)["Statement"]
    return statements


def test_policy_allows_every_call() -> None:
    statements = policy()
    asked = {one for request in requests() for one in needed(request)}
    assert {f"{ARN}configuration-set/events", "*"} <= {resource for _, resource, _ in asked}
    assert [one for one in sorted(asked) if not any(allows(statement, *one) for statement in statements)] == []


def test_policy_allows_nothing_else() -> None:
    statements = policy()
    asked = {action for request in requests() for action, _, _ in needed(request)}
    assert {action for statement in statements for action in listed(statement["Action"])} == asked
    for action, resource, sender in [
        ("ses:SendEmail", f"{ARN}identity/example.com", "news@elsewhere.net"),
        ("ses:SendEmail", f"{ARN}identity/example.com", "news@example.com.evil.net"),
        ("ses:SendEmail", f"{ARN}configuration-set/other", "news@example.com"),
        ("ses:SendEmail", "arn:aws:ses:eu-west-1:111122223333:identity/example.com", "news@example.com"),
    ]:
        assert not any(allows(statement, action, resource, sender) for statement in statements)
