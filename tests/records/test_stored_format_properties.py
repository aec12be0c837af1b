"""Stored records and payloads carry a format version, and what an older version does not know survives it."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliverykit import Message
from deliverykit.records import letter
from deliverykit.records.letter import Unreadable, enclosures, fingerprint, pack, unpack
from deliverykit.records.stored import FORMAT, NewerFormat, Stored, fields_of, with_format
from deliverykit.testing.strategies import messages

NAMES = st.text("abcdefghij_", min_size=2, max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6)
KNOWN = ("known", "other")


@given(OBJECTS, st.integers(1, 9), st.integers(1, FORMAT))
def test_unknown_fields_survive_a_write(extra: dict[str, Any], ahead: int, reader: int) -> None:
    extra = {name: value for name, value in extra.items() if name not in KNOWN}
    text = json.dumps({"v": [FORMAT + ahead, reader], "known": 1, **extra})
    data, stored = fields_of(text, KNOWN)
    assert (data["known"], dict(stored.unknown), stored.newer) == (1, extra, False)
    again = json.loads(json.dumps(with_format({"known": 2, "other": 3}, stored)))
    assert again == {"v": [FORMAT + ahead, reader], "known": 2, "other": 3, **extra}


@given(OBJECTS, st.integers(1, 9), st.integers(0, 9))
def test_newer_record_is_never_written(extra: dict[str, Any], ahead: int, more: int) -> None:
    text = json.dumps({**extra, "v": [FORMAT + ahead + more, FORMAT + ahead]})
    _, stored = fields_of(text, KNOWN)
    assert stored.newer
    with pytest.raises(NewerFormat, match="upgrade this process"):
        with_format({"known": 1}, stored)


@given(st.text(max_size=40) | OBJECTS.map(json.dumps) | VALUES.map(json.dumps) | VALUES.map(lambda v: json.dumps({"v": v})))
def test_damaged_text_raises_only_value_error(text: str) -> None:
    try:
        data, stored = fields_of(text, KNOWN)
    except ValueError:
        return
    assert "v" not in data
    assert 1 <= stored.reader <= stored.version


def test_deep_nesting_raises_value_error() -> None:
    with pytest.raises(ValueError, match="nested"):
        fields_of("[" * 200_000, KNOWN)


def test_record_without_version_has_format_one() -> None:
    assert fields_of('{"known": 1}', KNOWN) == ({"known": 1}, Stored(1, 1, {}))


# -- payloads ---------------------------------------------------------------------------------------------------


@given(messages())
def test_payload_reads_back_and_says_its_format(message: Message) -> None:
    packed, files = pack(message)
    assert json.loads(packed)["v"] == [FORMAT, 1]
    assert pack(unpack(packed, files)) == (packed, files)


@given(messages(), OBJECTS.filter(bool))
def test_payload_with_unknown_field_is_unreadable(message: Message, extra: dict[str, Any]) -> None:
    packed, files = pack(message)
    unknown = {f"new_{name}": value for name, value in extra.items()}
    changed = json.dumps({**json.loads(packed), **unknown}).encode()
    with pytest.raises(Unreadable, match="new_"):
        unpack(changed, files)
    assert set(enclosures(changed)) == set(files), "its files stay known"


@given(messages(), OBJECTS.filter(bool), st.integers(1, 9))
def test_newer_writer_may_let_readers_ignore(message: Message, extra: dict[str, Any], ahead: int) -> None:
    packed, files = pack(message)
    unknown = {f"new_{name}": value for name, value in extra.items()}
    data = {**json.loads(packed), **unknown}
    allowed = json.dumps({**data, "v": [FORMAT + ahead, FORMAT]}).encode()
    assert pack(unpack(allowed, files)) == (packed, files)
    refused = json.dumps({**data, "v": [FORMAT + ahead, FORMAT + 1]}).encode()
    with pytest.raises(Unreadable, match="upgrade"):
        unpack(refused, files)


@given(messages(), st.data())
def test_damaged_payload_raises_only_unreadable(message: Message, data: st.DataObject) -> None:
    packed, files = pack(message)
    fields = json.loads(packed)
    name = data.draw(st.sampled_from(sorted(fields)))
    changed = json.dumps({**fields, name: data.draw(VALUES)}).encode()
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]
    for damaged in (changed, cut):
        with contextlib.suppress(Unreadable):
            unpack(damaged, files)


@given(messages(), st.integers(2, 9))
def test_fingerprint_ignores_the_format(message: Message, version: int) -> None:
    packed, _ = pack(message)
    newer = json.dumps({**json.loads(packed), "v": [version, 1]}).encode()
    assert fingerprint(newer) == fingerprint(packed)


def test_new_field_names_its_lowest_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(letter._READERS, "stream", 2)
    plain, streamed = (Message(to="a@example.org", subject="s", text="t", stream=one) for one in ("", "news"))
    assert json.loads(pack(plain)[0])["v"] == [FORMAT, 1]
    assert json.loads(pack(streamed)[0])["v"] == [FORMAT, 2]
