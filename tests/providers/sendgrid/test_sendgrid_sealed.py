"""From, recipients and our id cannot be changed by headers, extra or a subclass."""

from typing import Any

import pytest
from hypothesis import example, given
from provider_cases import FORCED, ID, NOW, body, full, outgoing, plain, trees

from deliverykit.contracts.provider import Outgoing, merged
from deliverykit.providers.sendgrid import SendGrid
from deliverykit.words.errors import ConfigurationError, MessageError

sendgrid = SendGrid(api_key="SG.secret")
EVIL = {"email": "evil@example.net"}
PERSON: dict[str, Any] = {"to": [{"email": "ann@example.org"}], "custom_args": {"deliverykit_id": ID}}

HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("from", {"from": EVIL}),
    ("from", {"from": {"name": "Somebody else"}}),
    ("from", {"From": EVIL}),
    ("from", {"from": None}),
    ("personalizations.0.to", {"personalizations": []}),
    ("personalizations.1", {"personalizations": [PERSON, {"to": [EVIL]}]}),
    ("personalizations.0.to", {"personalizations": [{**PERSON, "to": [EVIL]}]}),
    ("personalizations", {"personalizations": {"0": PERSON}}),
    ("personalizations", {"personalizations": [PERSON], "PERSONALIZATIONS": []}),
    ("personalizations.0.cc", {"personalizations": [{**PERSON, "cc": [EVIL]}]}),
    ("personalizations.0.bcc", {"personalizations": [{**PERSON, "bcc": [EVIL]}]}),
    ("personalizations.0.bcc", {"personalizations": [{**PERSON, "BCC": [EVIL]}]}),
    ("personalizations.0.from", {"personalizations": [{**PERSON, "from": EVIL}]}),
    ("personalizations.0.from", {"personalizations": [{**PERSON, "From": EVIL}]}),
    ("personalizations.0.to", {"Personalizations": [{**PERSON, "to": [EVIL]}]}),
    ("personalizations.0.to", {"Personalizations": [PERSON]}),
    ("personalizations.0.custom_args.deliverykit_id", {"personalizations": [{"to": PERSON["to"]}]}),
    (
        "personalizations.0.custom_args.deliverykit_id",
        {"personalizations": [{**PERSON, "custom_args": {"deliverykit_id": "forged"}}]},
    ),
    (
        "personalizations.0.custom_args.deliverykit_id",
        {"personalizations": [{**PERSON, "Custom_Args": {"deliverykit_id": "forged"}}]},
    ),
    ("custom_args.deliverykit_id", {"custom_args": {"deliverykit_id": "forged"}}),
    ("custom_args.deliverykit_id", {"custom_args": {"Deliverykit_ID": "forged"}}),
    ("headers.from", {"headers": {"From": "evil@example.net"}}),
    ("headers.sender", {"headers": {"Sender": "evil@example.net"}}),
    ("headers.to", {"headers": {"to": "evil@example.net"}}),
    ("headers.cc", {"headers": {"CC": "evil@example.net"}}),
    ("headers.bcc", {"Headers": {"Bcc": "evil@example.net"}}),
    ("headers.return-path", {"headers": {"Return-Path": "evil@example.net"}}),
    ("headers.x-smtpapi", {"headers": {"X-SMTPAPI": '{"to": ["evil@example.net"]}'}}),
    ("personalizations.0.headers.from", {"personalizations": [{**PERSON, "headers": {"FROM": "evil@example.net"}}]}),
    ("personalizations.0.headers.x-smtpapi", {"personalizations": [{**PERSON, "headers": {"x-smtpapi": "{}"}}]}),
    ("mail_settings.bcc", {"mail_settings": {"bcc": {"enable": True, "email": "evil@example.net"}}}),
]


@pytest.mark.parametrize(("named", "extra"), HOSTILE)
def test_extra_that_touches_what_is_promised_is_refused_by_name(named: str, extra: dict[str, Any]) -> None:
    with pytest.raises(MessageError, match=rf"extra\['sendgrid'\]: ({named} cannot be changed|.*differ only in case)"):
        sendgrid.request(outgoing(plain(extra={"sendgrid": extra}).message, FORCED, forced=True), NOW)


@pytest.mark.parametrize(("named", "change"), HOSTILE)
def test_a_subclass_that_touches_what_is_promised_is_refused_by_name(named: str, change: dict[str, Any]) -> None:
    class Hostile(SendGrid):
        name = "hostile"

        def payload(self, mail: Outgoing) -> dict[str, Any]:
            return merged(super().payload(mail), change)

    with pytest.raises(ConfigurationError, match=rf"Hostile\.payload\(\) changed {named},"):
        Hostile(api_key="SG.x").request(outgoing(plain().message, FORCED, forced=True), NOW)


@pytest.mark.parametrize("gone", ["from", "personalizations"])
def test_a_subclass_that_leaves_out_what_is_promised_is_refused(gone: str) -> None:
    class Forgetful(SendGrid):
        name = "forgetful"

        def payload(self, mail: Outgoing) -> dict[str, Any]:
            return {name: value for name, value in super().payload(mail).items() if name != gone}

    with pytest.raises(ConfigurationError, match=gone):
        Forgetful(api_key="SG.x").request(plain(), NOW)


@pytest.mark.parametrize("name", ["From", "SENDER", "to", "Cc", "Bcc", "Return-Path", "X-SMTPAPI", "x-sg-id", "x-sg-eid", "Received",
                                  "DKIM-Signature", "Content-Type", "Content-Transfer-Encoding", "Subject", "Reply-To"])  # fmt: skip
def test_headers_that_sendgrid_forbids_are_refused_when_the_message_is_made(name: str) -> None:
    with pytest.raises(MessageError, match=name):
        plain(headers={name: "evil@example.net"})


_NAMES = ["from", "personalizations", "to", "cc", "bcc", "custom_args", "deliverykit_id", "headers", "x-smtpapi", "sender", "email",
          "mail_settings", "subject", "ip_pool_name"]  # fmt: skip
_LEAVES: list[Any] = [EVIL, "evil@example.net", ID, None, 0, PERSON, [PERSON]]


_WATCHED = {
    "headers": {"from", "to", "cc", "bcc", "sender", "x-smtpapi"},
    "custom_args": {"deliverykit_id"},
    "mail_settings": {"bcc"},
}


def watched(key: str, value: Any) -> list[tuple[str, str, Any]]:
    pairs = value.items() if isinstance(value, dict) else ()
    return [(key, name, one) for name, one in pairs if name.lower() in _WATCHED[key]]


def seen_by_sendgrid(sent: dict[str, Any]) -> list[Any]:
    """What decides about From, recipients and our id, read without case as a lenient server might."""
    found: list[Any] = []
    for key, value in sent.items():
        if key.lower() == "from":
            found.append(value)
        elif key.lower() in _WATCHED:
            found += watched(key.lower(), value)
        elif key.lower() == "personalizations":
            assert isinstance(value, list)
            for person in value:
                found.append({name: one for name, one in person.items() if name.lower() in {"from", "to", "cc", "bcc"}})
                found += [
                    pair for name, one in person.items() if name.lower() in _WATCHED for pair in watched(name.lower(), one)
                ]
    return found


@given(trees(_NAMES, _LEAVES))
@example({"from": EVIL})
@example({"personalizations": [PERSON], "Personalizations": [{"to": [EVIL]}]})
def test_extra_never_changes_what_is_promised(extra: dict[str, Any]) -> None:
    before = seen_by_sendgrid(body(sendgrid.request(outgoing(full(), FORCED, forced=True), NOW)))
    try:
        sent = body(sendgrid.request(outgoing(full(extra={"sendgrid": extra}), FORCED, forced=True), NOW))
    except MessageError:
        return
    assert seen_by_sendgrid(sent) == before


def test_what_is_not_promised_may_be_added() -> None:
    extra = {
        "ip_pool_name": "bulk",
        "asm": {"group_id": 5},
        "mail_settings": {"sandbox_mode": {"enable": True}},
        "custom_args": {"campaign": "x"},
        "headers": {"X-Direction": "from"},
    }
    sent = body(sendgrid.request(plain(headers={"X-A": "b"}, extra={"sendgrid": extra, "ses": {"from": "ignored"}}), NOW))
    assert sent | {**extra, "headers": {"X-A": "b", "X-Direction": "from"}} == sent
    assert sent["from"] == {"email": "news@example.com", "name": "Example News"}


@pytest.mark.parametrize("odd", [object(), {1, 2}, b"bytes", float("inf"), "\ud800"])
def test_extra_that_is_no_json_is_refused_by_name(odd: object) -> None:
    with pytest.raises(MessageError, match=r"extra\['sendgrid'\]"):
        sendgrid.request(plain(extra={"sendgrid": {"template_id": odd}}), NOW)


def test_a_subclass_in_ten_lines() -> None:
    class CompanySendGrid(SendGrid):
        name = "company-sendgrid"

        def payload(self, mail: Outgoing) -> dict[str, Any]:
            return super().payload(mail) | {"ip_pool_name": "transactional"}

    sent = body(CompanySendGrid(api_key="SG.x").request(plain(extra={"sendgrid": {"batch_id": "b"}}), NOW))
    assert (sent["ip_pool_name"], sent["batch_id"]) == ("transactional", "b")


@pytest.mark.parametrize("method", ["request", "sealed", "encode"])
def test_what_keeps_the_promise_cannot_be_overridden(method: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{method}\(\) cannot be overridden"):
        type("Rebel", (SendGrid,), {"name": "rebel", method: lambda self, *args: None})
