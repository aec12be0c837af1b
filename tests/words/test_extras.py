"""``Message.extra``: plain JSON data, refused by the path of what is none."""

import json
from collections import UserDict
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliverykit import Message, MessageError
from deliverykit.words.extras import MAX_DEPTH, MAX_VALUES


def extra(fields: Any) -> Any:
    return Message(to="a@example.org", text="t", extra=fields).extra


def nested(depth: int) -> dict[str, Any]:
    inner: Any = "x"
    for _ in range(depth):
        inner = {"a": inner}
    return inner  # type: ignore[no-any-return]


CASES: list[tuple[Any, str]] = [
    (5, "extra: expected a mapping of ESP names"),
    ({5: {}}, "extra: int is not the name of an ESP"),
    ({"": {}}, "extra: '' is not the name of an ESP"),
    ({"\ud800": {}}, "is not the name of an ESP"),
    ({"ses": "text"}, r"extra\['ses'\]: expected a mapping of that ESP's fields"),
    ({"ses": {"a": object()}}, r"extra\['ses'\]: a: object cannot be written as JSON"),
    ({"ses": {"a": {"b": [1, b"x"]}}}, r"extra\['ses'\]: a\.b\[1\]: bytes cannot be written as JSON"),
    ({"ses": {"a": {1, 2}}}, r"extra\['ses'\]: a: set cannot be written as JSON"),
    ({"ses": {"a": float("nan")}}, r"extra\['ses'\]: a: nan cannot be written as JSON"),
    ({"ses": {"a": [float("-inf")]}}, r"extra\['ses'\]: a\[0\]: -inf cannot be written as JSON"),
    ({"ses": {"a": 1 << 64}}, r"extra\['ses'\]: a: an integer of more than 64 bits"),
    ({"ses": {"a": "\udc00"}}, r"extra\['ses'\]: a: holds a lone surrogate"),
    ({"ses": {"a": {"\udc00": 1}}}, r"extra\['ses'\]: a: the key .* holds a lone surrogate"),
    ({"ses": {"a": {1: 2}}}, r"extra\['ses'\]: a: the key int is not text"),
    ({"ses": {"a": {"Name": 1, "name": 2}}}, r"extra\['ses'\]: a: the keys 'Name' and 'name' differ only in case"),
    ({"ses": {"Content": {}, "content": {}}}, r"extra\['ses'\]: the keys 'Content' and 'content' differ only in case"),
    ({"ses": nested(MAX_DEPTH + 1)}, rf"more than {MAX_DEPTH} levels"),
    ({"ses": nested(5000)}, rf"more than {MAX_DEPTH} levels"),
    ({"ses": {"a": [0] * (MAX_VALUES + 1)}}, rf"extra\['ses'\]: more than {MAX_VALUES} values"),
]


@pytest.mark.parametrize(("fields", "says"), CASES)
def test_what_no_request_can_carry_is_refused_by_path(fields: Any, says: str) -> None:
    with pytest.raises(MessageError, match=says) as told:
        extra(fields)
    assert len(str(told.value)) < 400


def test_a_cycle_is_refused_by_name() -> None:
    loop: dict[str, Any] = {"a": []}
    loop["a"].append(loop)
    with pytest.raises(MessageError, match=r"extra\['ses'\]: a\[0\]: contains itself"):
        extra({"ses": loop})


def test_lists_shared_a_billion_times_are_refused() -> None:
    shared: Any = "x"
    for _ in range(MAX_DEPTH - 2):
        shared = [shared, shared]
    with pytest.raises(MessageError, match=f"more than {MAX_VALUES} values"):
        extra({"ses": {"a": shared}})


def test_one_list_may_stand_in_two_places() -> None:
    shared = ["x"]
    assert extra({"ses": {"a": shared, "b": shared}}) == {"ses": {"a": ["x"], "b": ["x"]}}


def test_the_caller_s_later_changes_have_no_effect() -> None:
    fields: dict[str, Any] = {"a": {"b": [1]}}
    message = Message(to="a@example.org", text="t", extra={"ses": fields})
    fields["a"]["b"].append(object())
    assert message.extra == {"ses": {"a": {"b": [1]}}}


class Word(StrEnum):
    A = "a"


class Number(IntEnum):
    ONE = 1


def test_subclasses_become_plain_values() -> None:
    found = extra({"ses": UserDict({"a": Word.A, "b": Number.ONE, "c": (True, None), "d": UserDict({"e": 1.5})})})
    assert found == {"ses": {"a": "a", "b": 1, "c": [True, None], "d": {"e": 1.5}}}
    assert [type(found["ses"][name]) for name in "abcd"] == [str, int, list, dict]
    assert extra(None) == extra({}) == {}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("abc", max_size=4), below, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), st.dictionaries(st.text("abc", max_size=4), _JSON, max_size=4)))
def test_any_json_survives(fields: dict[str, Any]) -> None:
    assert extra(fields) == fields == json.loads(json.dumps(extra(fields), allow_nan=False))
