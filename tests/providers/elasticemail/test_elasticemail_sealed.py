"""From, recipients and our id at Elastic Email: nothing on the way can change them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.contracts.provider import Outgoing
from deliverykit.providers.elasticemail import ElasticEmail
from deliverykit.words.errors import ConfigurationError, MessageError
from outgoing_mail import NOW, OUR_ID, outgoing

ELASTIC = ElasticEmail(api_key="key-1")
EVIL = "evil@evil.example"

TOUCHES: list[dict[str, Any]] = [
    {"Recipients": {"To": [EVIL]}},
    {"Recipients": {"BCC": [EVIL]}},
    {"Recipients": {"to": [EVIL]}},
    {"recipients": {"To": [EVIL]}},
    {"RECIPIENTS": [{"Email": EVIL}]},
    {"Recipients": None},
    {"Content": {"From": EVIL}},
    {"Content": {"from": EVIL}},
    {"Content": {"FROM": EVIL}},
    {"content": {"From": EVIL}},
    {"CONTENT": {"from": EVIL}},
    {"Content": None},
    {"Content": "x"},
    {"Content": {"EnvelopeFrom": EVIL}},
    {"content": {"envelopefrom": EVIL}},
    {"Content": {"Postback": "mine"}},
    {"content": {"postback": "mine"}},
    {"Content": {"Headers": {"From": EVIL}}},
    {"Content": {"headers": {"sender": EVIL}}},
    {"content": {"headers": {"BCC": EVIL}}},
    {"Content": {"Headers": {"Return-Path": EVIL}}},
    {"Content": {"Headers": {"PostBack": "mine"}}},
    {"Content": {"Headers": {"X-ElasticEmail-Postback": "mine"}}},
]


@pytest.mark.parametrize("extra", TOUCHES, ids=json.dumps)
@pytest.mark.parametrize("unsubscribe", [None, "https://example.org/u"])
def test_extra_cannot_touch_what_elastic_email_promises(extra: dict[str, Any], unsubscribe: str | None) -> None:
    with pytest.raises(MessageError, match="cannot be changed this way"):
        ELASTIC.request(outgoing(unsubscribe=unsubscribe, headers={"X-A": "b"}, extra={"elasticemail": extra}), NOW)


@pytest.mark.parametrize("extra", TOUCHES, ids=json.dumps)
def test_a_subclass_cannot_touch_what_elastic_email_promises(extra: dict[str, Any]) -> None:
    class Greedy(ElasticEmail):
        def payload(self, mail: Outgoing) -> dict[str, Any]:
            return {**super().payload(mail), **extra}

    with pytest.raises(ConfigurationError, match="library promises"):
        Greedy(api_key="k").request(outgoing(), NOW)


def _spelt(word: str) -> st.SearchStrategy[str]:
    return st.tuples(*(st.sampled_from([letter.lower(), letter.upper()]) for letter in word)).map("".join)


def _insensitive(tree: Any, *path: str) -> Any:
    """What a reader without case finds that lets the last of two spellings win."""
    for step in path:
        tree = [value for key, value in tree.items() if key.lower() == step.lower()][-1]
    return tree


@given(top=_spelt("content"), below=_spelt("from") | _spelt("postback") | _spelt("subject"))
def test_no_spelling_gets_past_a_reader_without_case(top: str, below: str) -> None:
    try:
        request = ELASTIC.request(outgoing(extra={"elasticemail": {top: {below: EVIL}}}), NOW)
    except MessageError:
        return
    # What was let through is a subject, and where it is another `content`, that one is no mail at Elastic Email: it has no From.
    found = [value for key, value in json.loads(request.body).items() if key.lower() == "content"]
    assert below.lower() == "subject"
    assert found[0]["From"] == "News <news@example.com>"
    assert found[0]["Postback"] == OUR_ID
    assert EVIL not in json.dumps([[key for key in one if key.lower() in ("from", "postback")] for one in found[1:]])
    assert _insensitive(found[0], "Subject") in ("", EVIL)


@pytest.mark.parametrize("name", ["Resent-To", "postback", "X-ElasticEmail-PostBack"])
def test_a_header_cannot_touch_what_elastic_email_promises(name: str) -> None:
    with pytest.raises(MessageError, match="headers"):
        ELASTIC.request(outgoing(headers={name: EVIL}), NOW)


def test_extra_named_like_the_idempotency_key_does_not_change_it() -> None:
    """It is a header of the request, made of what is sent; nothing of a message or a subclass's payload becomes one."""
    extra = {"elasticemail": {"Idempotency-Key": "mine", "Content": {"Headers": {"Idempotency-Key": "mine"}}}}
    request = ELASTIC.request(outgoing(extra=extra), NOW)
    assert request.headers["Idempotency-Key"].startswith(f"{OUR_ID}-")
    assert request.headers["Idempotency-Key"] != ELASTIC.request(outgoing(), NOW).headers["Idempotency-Key"]


class PooledElasticEmail(ElasticEmail):
    """What a host writes to change one thing."""

    name = "pooled-elasticemail"

    def payload(self, mail: Outgoing) -> dict[str, Any]:
        fields = super().payload(mail)
        return fields | {"Options": fields.get("Options", {}) | {"PoolName": "transactional"}}


def test_a_subclass_of_elastic_email_in_ten_lines() -> None:
    body = json.loads(PooledElasticEmail(api_key="k").request(outgoing(tags=["t"]), NOW).body)
    assert body["Options"] == {"ChannelName": "t", "PoolName": "transactional"}


@pytest.mark.parametrize("method", ["request", "sealed", "encode"])
def test_the_seal_of_elastic_email_cannot_be_overridden(method: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be overridden"):
        type("Opened", (ElasticEmail,), {method: lambda *_: None})
