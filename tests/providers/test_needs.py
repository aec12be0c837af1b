"""What a message needs of an ESP: each feature on both sides of its limit."""

from typing import Any

import pytest

from deliverykit import Attachment, Message
from deliverykit.contracts.capabilities import Feature, Needs


def file(**fields: Any) -> Attachment:
    return Attachment(**{"filename": "a.txt", "content": b"x", "content_type": "text/plain", **fields})


def needs(**fields: Any) -> frozenset[Feature]:
    return Needs.of(Message(**{"to": "ann@example.org", "subject": "s", "text": "t", **fields})).features


@pytest.mark.parametrize(
    ("feature", "uses", "does_not"),
    [
        (Feature.CC, {"cc": "bob@example.org"}, {}),
        (Feature.BCC, {"bcc": "bob@example.org"}, {}),
        (Feature.REPLY_TO, {"reply_to": "bob@example.org"}, {}),
        (Feature.HEADERS, {"headers": {"X-A": "b"}}, {}),
        (Feature.TAGS, {"tags": ["a"]}, {"metadata": {"a": "b"}}),
        (Feature.METADATA, {"metadata": {"a": "b"}}, {"tags": ["a"]}),
        (Feature.FREE_TAGS, {"tags": ["plain", "a b"]}, {"tags": ["plain", "a" * 250]}),
        (Feature.FREE_TAGS, {"tags": ["a" * 251]}, {"tags": []}),
        (Feature.LONG_HEADERS, {"headers": {"X-A": "b" * 898}}, {"headers": {"X-A": "b" * 897}}),
        (Feature.TRACK_OPENS, {"track_opens": False}, {"track_clicks": True}),
        (Feature.TRACK_CLICKS, {"track_clicks": False}, {"track_opens": True}),
        (Feature.EMPTY_SUBJECT, {"subject": ""}, {"subject": " s"}),
        (Feature.INTERNATIONAL, {"to": "jörg@example.org"}, {"to": "Jörg <j@example.org>"}),
        (Feature.INTERNATIONAL, {"reply_to": "jörg@example.org"}, {}),
        (Feature.INTERNATIONAL, {"sender": "jörg@example.org"}, {"sender": "j@example.org"}),
        (Feature.ATTACHMENTS, {"attachments": [file()]}, {"attachments": []}),
        (Feature.EMPTY_FILES, {"attachments": [file(), file(content=b"")]}, {"attachments": [file()]}),
        (Feature.LONG_FILE_FIELDS, {"attachments": [file(filename="a" * 256)]}, {"attachments": [file(filename="a" * 255)]}),
    ],
)
def test_feature_is_needed_where_it_is_used(feature: Feature, uses: dict[str, Any], does_not: dict[str, Any]) -> None:
    assert feature in needs(**uses)
    assert feature not in needs(**does_not)
