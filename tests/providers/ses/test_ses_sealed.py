"""From, envelope, our id and the configuration set cannot be changed by headers, extra, raw MIME or a subclass."""

from typing import Any

import pytest
from hypothesis import example, given
from provider_cases import FORCED, ID, NOW, body, full, outgoing, plain, trees

from deliverykit.contracts.provider import Outgoing
from deliverykit.providers.ses import SES
from deliverykit.words.errors import ConfigurationError, MessageError
from deliverykit.words.message import Message

KEYS: dict[str, Any] = {"region": "ap-south-1", "access_key_id": "AKID", "secret_access_key": "secret"}
ses = SES(**KEYS, configuration_set="events")
OURS = {"Name": "deliverykit_id", "Value": ID}
ID_HEADER = {"Name": "X-Deliverykit-Id", "Value": ID}


def headers(*items: Any) -> dict[str, Any]:
    return {"Content": {"Simple": {"Headers": list(items)}}}


HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("FromEmailAddress", {"FromEmailAddress": "evil@example.net"}),
    ("FromEmailAddress", {"fromemailaddress": "evil@example.net"}),
    ("FromEmailAddress", {"FromEmailAddress": None}),
    ("Destination", {"Destination": {"BccAddresses": ["evil@example.net"]}}),
    ("Destination", {"Destination": {"bccaddresses": ["evil@example.net"]}}),
    ("Destination", {"Destination": {"ToAddresses": []}}),
    ("Destination", {"DESTINATION": {"ToAddresses": ["evil@example.net"]}}),
    ("EmailTags", {"EmailTags": []}),
    ("EmailTags", {"EmailTags": [{"Name": "other", "Value": "x"}]}),
    ("EmailTags", {"EmailTags": [OURS, OURS]}),
    ("EmailTags", {"EmailTags": [OURS, {"Name": "deliverykit_id", "Value": "forged"}]}),
    ("EmailTags", {"EmailTags": [{"Name": "Deliverykit_ID", "Value": "forged"}, OURS]}),
    ("EmailTags", {"EmailTags": [OURS, {"Name": "x", "name": "deliverykit_id", "Value": "forged"}]}),
    ("EmailTags", {"EmailTags": {"0": OURS}}),
    ("EmailTags", {"emailtags": [OURS]}),
    ("ConfigurationSetName", {"ConfigurationSetName": "other"}),
    ("ConfigurationSetName", {"configurationSetName": "other"}),
    ("Content.Raw", {"Content": {"Raw": {"Data": "RnJvbTogZXZpbA=="}}}),
    ("Content.Raw", {"content": {"raw": {"Data": "RnJvbTogZXZpbA=="}}}),
    ("Content.Template", {"Content": {"Template": {"TemplateName": "t"}}}),
    ("Content.Simple.Headers", headers()),
    ("Content.Simple.Headers", headers({"Name": "X-Deliverykit-Id", "Value": "forged"})),
    ("Content.Simple.Headers", headers(ID_HEADER, {"Name": "x-deliverykit-id", "Value": "forged"})),
    ("Content.Simple.Headers", headers(ID_HEADER, {"Name": "From", "Value": "evil@example.net"})),
    ("Content.Simple.Headers", headers(ID_HEADER, {"Name": "from ", "Value": "evil@example.net"})),
    ("Content.Simple.Headers", headers(ID_HEADER, {"name": "From", "Value": "evil@example.net"})),
    ("Content.Simple.Headers", headers(ID_HEADER, {"Name": "Sender", "Value": "evil@example.net"})),
    ("Content.Simple.Headers", headers(ID_HEADER, {"Name": "Bcc", "Value": "evil@example.net"})),
    ("Content.Simple.Headers", headers(ID_HEADER, {"Name": "Return-Path", "Value": "evil@example.net"})),
    ("Content.Simple.Headers", headers(ID_HEADER, {"Name": "X-SES-Message-Tags", "Value": "deliverykit_id=1"})),
    ("Content.Simple.Headers", {"content": {"Simple": {"Headers": []}}}),
]


@pytest.mark.parametrize(("named", "extra"), HOSTILE)
def test_extra_that_touches_what_is_promised_is_refused_by_name(named: str, extra: dict[str, Any]) -> None:
    with pytest.raises(MessageError, match=rf"extra\['ses'\]: ({named} cannot be changed|.*differ only in case)"):
        ses.request(outgoing(plain(extra={"ses": extra}).message, FORCED, forced=True), NOW)


@pytest.mark.parametrize(("named", "change"), HOSTILE)
def test_a_subclass_that_touches_what_is_promised_is_refused_by_name(named: str, change: dict[str, Any]) -> None:
    from deliverykit.contracts.provider import merged

    class Hostile(SES):
        name = "hostile"

        def payload(self, mail: Outgoing) -> dict[str, Any]:
            return merged(super().payload(mail), change)

    with pytest.raises(ConfigurationError, match=rf"Hostile\.payload\(\) changed {named},"):
        Hostile(**KEYS, configuration_set="events").request(outgoing(plain().message, FORCED, forced=True), NOW)


@pytest.mark.parametrize("gone", ["FromEmailAddress", "Destination", "EmailTags", "ConfigurationSetName", "Content"])
def test_a_subclass_that_leaves_out_what_is_promised_is_refused(gone: str) -> None:
    class Forgetful(SES):
        name = "forgetful"

        def payload(self, mail: Outgoing) -> dict[str, Any]:
            return {name: value for name, value in super().payload(mail).items() if name != gone}

    with pytest.raises(ConfigurationError, match=gone):
        Forgetful(**KEYS, configuration_set="events").request(plain(), NOW)


def test_a_configuration_set_cannot_be_named_where_the_server_has_none() -> None:
    with pytest.raises(MessageError, match="ConfigurationSetName"):
        SES(**KEYS).request(plain(extra={"ses": {"ConfigurationSetName": "x"}}), NOW)


def test_raw_mail_is_sealed_whole() -> None:
    for extra in ({"Content": {"Raw": {"Data": "eA=="}}}, {"Content": {"Simple": {"Subject": {"Data": "x"}}}}):
        message = Message(to="ann@example.org", raw=b"Subject: x\r\n\r\ny", extra={"ses": extra})
        with pytest.raises(MessageError, match=r"Content\.(Raw|Simple)"):
            ses.request(outgoing(message), NOW)


@pytest.mark.parametrize(
    "name", ["From", "SENDER", "to", "Cc", "Bcc", "Reply-To", "Return-Path", "X-Deliverykit-Id", "X-SES-CONFIGURATION-SET"]
)
def test_headers_that_have_a_field_of_their_own_are_refused_when_the_message_is_made(name: str) -> None:
    with pytest.raises(MessageError, match=name):
        plain(headers={name: "evil@example.net"})


_NAMES = ["FromEmailAddress", "Destination", "ToAddresses", "BccAddresses", "Content", "Simple", "Raw", "Data", "Headers", "Name",
          "Value", "EmailTags", "ConfigurationSetName", "Template", "TenantName"]  # fmt: skip
_LEAVES: list[Any] = [
    "evil@example.net",
    ID,
    "From",
    "Bcc",
    "deliverykit_id",
    "X-Deliverykit-Id",
    None,
    0,
    ID_HEADER,
    OURS,
    [OURS],
]


def seen_by_ses(sent: dict[str, Any]) -> dict[str, Any]:
    """What decides about From, envelope, id and configuration set, read without case as a lenient server might."""
    found: dict[str, Any] = {}
    for key, value in sent.items():
        if key.lower() in {"fromemailaddress", "destination", "configurationsetname"}:
            found.setdefault(key.lower(), []).append(value)
        if key.lower() == "emailtags":
            found.setdefault("ids", []).extend(one for one in value if one["Name"].lower() == "deliverykit_id")
        if key.lower() == "content":
            for kind, content in value.items():
                if kind.lower() not in {"simple", "raw", "template"} or not isinstance(content, dict):
                    continue
                listed = [one for name, items in content.items() if name.lower() == "headers" for one in items]
                chosen = [one for one in listed if one["Name"].lower() in {"from", "bcc", "x-deliverykit-id"}]
                found.setdefault("content", []).append((kind.lower(), chosen))
    return found


@given(trees(_NAMES, _LEAVES))
@example({"Destination": {"BccAddresses": ["evil@example.net"]}})
@example({"FromEmailAddress": "evil@example.net"})
@example({"EmailTags": [OURS, {"Name": "campaign", "Value": "x"}]})
@example({"Content": {"Simple": {"Headers": [ID_HEADER, {"Name": "X-Direction", "Value": "from"}]}}})
@example({"Content": {"FromEmailAddress": "evil@example.net", "simple": {"Name": "X-Deliverykit-Id", "Value": "x"}}})
@example({"Content": {"Simple": {"body": {"Html": {"Data": "x"}}}}})
def test_extra_never_changes_what_is_promised(extra: dict[str, Any]) -> None:
    before = seen_by_ses(body(ses.request(outgoing(full(), FORCED, forced=True), NOW)))
    try:
        sent = body(ses.request(outgoing(full(extra={"ses": extra}), FORCED, forced=True), NOW))
    except MessageError:
        return
    assert seen_by_ses(sent) == before


def test_what_is_not_promised_may_be_added() -> None:
    extra = {
        "TenantName": "acme",
        "FromEmailAddressIdentityArn": "arn:aws:ses:eu-west-1:1:identity/example.com",
        "FeedbackForwardingEmailAddress": "bounces@example.com",
        "Content": {"Simple": {"Subject": {"Charset": "utf-8"}}},
    }
    sent = body(ses.request(plain(extra={"ses": extra, "sendgrid": {"from": "ignored"}}), NOW))
    assert sent | extra | {"Content": sent["Content"]} == sent
    assert sent["Content"]["Simple"]["Subject"] == {"Data": "Hello", "Charset": "utf-8"}


@pytest.mark.parametrize("odd", [object(), {1, 2}, b"bytes", float("nan"), "\ud800"])
def test_extra_that_is_no_json_is_refused_by_name(odd: object) -> None:
    with pytest.raises(MessageError, match=r"extra\['ses'\]"):
        ses.request(plain(extra={"ses": {"TenantName": odd}}), NOW)


def test_a_subclass_in_ten_lines() -> None:
    class CompanySES(SES):
        name = "company-ses"

        def payload(self, mail: Outgoing) -> dict[str, Any]:
            return super().payload(mail) | {"TenantName": "acme"}

    sent = body(CompanySES(**KEYS).request(plain(extra={"ses": {"EndpointId": "e"}}), NOW))
    assert (sent["TenantName"], sent["EndpointId"]) == ("acme", "e")


@pytest.mark.parametrize("method", ["request", "sealed", "encode"])
def test_what_keeps_the_promise_cannot_be_overridden(method: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{method}\(\) cannot be overridden"):
        type("Rebel", (SES,), {"name": "rebel", method: lambda self, *args: None})
