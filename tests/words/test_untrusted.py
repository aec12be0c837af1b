"""Text from outside is bounded, printable and without secrets, whatever somebody writes."""

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from deliverykit import ConfigurationError
from deliverykit.words.untrusted import ANSWER_LIMIT, CUT, TEXT_LIMIT, WINDOW, Mask, clean
from deliverykit.words.wire import HttpResponse

anything = st.text(st.characters(codec=None))
keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60).filter(
    lambda key: len(set(key)) > 4  # a key of one letter is found by chance
)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "quoted": quote,
    "quoted whole": lambda key: quote(key, safe=""),
    "quoted plus": quote_plus,
    "quoted in lower case": lambda key: quote(key, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d"),
    "every character quoted": lambda key: "".join(f"%{ord(one):02x}" for one in key),
    "quoted twice": lambda key: quote(quote(key, safe=""), safe=""),
    "json": lambda key: json.dumps(key)[1:-1],
    "json with escaped slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "json of escapes only": lambda key: "".join(f"\\u{ord(one):04X}" for one in key),
    "html": html.escape,
    "html numbers": lambda key: "".join(f"&#{ord(one)};" for one in key),
    "html hexadecimal numbers": lambda key: "".join(f"&#x{ord(one):X};" for one in key),
    "repr": lambda key: repr(key)[1:-1],
    "url in json in html": lambda key: html.escape(json.dumps(quote(key, safe=""))),
    "base64": b64,
    "base64 without padding": lambda key: b64(key).rstrip("="),
    "base64 of user:key": lambda key: b64(f"user:{key}"),
    "base64 of api:key": lambda key: b64(f"api:{key}"),
    "base64 of key:": lambda key: b64(f"{key}:"),
    "base64 of json": lambda key: b64(json.dumps({"key": key, "x": 1})) if '"' not in key and "\\" not in key else b64(key),
    "urlsafe base64": lambda key: base64.urlsafe_b64encode(f"u:{key}".encode()).decode().rstrip("="),
    "quoted base64": lambda key: quote(b64(f"us:{key}"), safe=""),
    "base64 of base64": lambda key: b64(b64(f"api:{key}")),
    "hexadecimal": lambda key: key.encode().hex(),
    "hexadecimal bytes": lambda key: key.encode().hex(" ").upper(),
    "octal": lambda key: "".join(f"\\{ord(one):03o}" for one in key),
    "braces": lambda key: "".join(f"\\u{{{ord(one):x}}}" for one in key),
    "long escapes": lambda key: "".join(f"\\U{ord(one):08x}" for one in key),
    "old javascript": lambda key: "".join(f"%u{ord(one):04x}" for one in key),
    "quoted-printable": lambda key: "".join(f"={ord(one):02X}" for one in key),
    "full width": lambda key: "".join(chr(ord(one) + 0xFEE0) for one in key),
    "spaced": " ".join,
}
ENCODED_TWICE = {"base64 of base64", "hexadecimal", "hexadecimal bytes"}
"""Their first characters say little of the key."""
FOLDS = ["\n", "\r\n ", "\t", "\x00", "\u200b", "\xad", "=\r\n", "\\n", "\\r\\n", "%0A", "&#10;", "<br>", "<wbr/>", "&shy;"]
SEEN = 12
"""No form shows so many characters in a row."""


@given(keys, st.sampled_from(sorted(FORMS)), st.sampled_from(["{}", "the key {} is wrong", '{{"error": "{}"}}', "a={}&b=1"]))
def test_no_form_of_a_secret_is_repeated(key: str, form: str, text: str) -> None:
    written = FORMS[form](key)
    masked = Mask([key]).apply(text.format(written))
    # What is left over of base64 at either side depends on what stands beside the key.
    assert written not in masked
    assert written[2:-2] not in masked
    assert "***" in masked


@given(keys, st.sampled_from(sorted(FORMS.keys() - ENCODED_TWICE)), st.integers(0, 80), st.sampled_from(["", "…", "..."]))
def test_the_length_limit_leaks_no_beginning(key: str, form: str, before: int, mark: str) -> None:
    written = FORMS[form](key)
    for limit in (TEXT_LIMIT, WINDOW):
        text = "." * (limit - before) + " " + written + " tail" * 30
        assert written[:8] not in Mask([key]).apply(text)
    halved = written[: len(written) * 2 // 3]
    if form == "raw" and len(halved) >= 4:
        assert key[:6] not in Mask([key]).apply(f"the key {halved}{mark}")


@pytest.mark.parametrize("end", ["…", "...", "***", ""])
def test_short_beginning_at_a_cut_is_hidden(end: str) -> None:
    """Shorter than any piece that is hidden elsewhere."""
    assert Mask(["SG.Qw3rTy-4711-xyz"]).apply(f"the key SG.Qw3{end}") == f"the key ***{end}"
    assert Mask(["SG.Qw3rTy-4711-xyz"]).apply("the key SG.Qw3 is wrong") == "the key SG.Qw3 is wrong"


def leaked(key: str, told: str) -> list[str]:
    """Which long pieces of a key stand in a text."""
    return [key[at : at + SEEN] for at in range(len(key) - SEEN + 1) if key[at : at + SEEN].lower() in told.lower()]


@given(keys, st.sampled_from(FOLDS), st.floats(0.2, 0.8), st.sampled_from(["raw", "base64 of api:key", "hexadecimal"]))
def test_a_folded_secret_is_not_repeated(key: str, fold: str, where: float, form: str) -> None:
    assume(fold.isspace() or not any(sign in key for sign in "\\%&<="))  # a key that looks like an escape itself
    written = FORMS[form](key)
    at = round(len(written) * where)
    told = Mask([key]).apply(f"the key {written[:at]}{fold}{written[at:]} is wrong")
    assert "***" in told
    assert not leaked(written, told)


@given(keys.filter(lambda key: len(key) > 2 * SEEN), st.sampled_from(["…{}", "...{}", "{}***", "{}[truncated]", "{} (cut)", "x{}x"]),
       st.integers(0, 40), st.integers(0, 40))  # fmt: skip
def test_no_long_piece_of_a_secret_is_repeated(key: str, around: str, start: int, end: int) -> None:
    for form in ("raw", "base64 of api:key", "lower case of base64"):
        written = b64(f"api:{key}").lower() if form == "lower case of base64" else FORMS[form](key)
        told = Mask([key]).apply(f"the key {around.format(written[start : len(written) - end])} is wrong")
        assert not leaked(written[7:-3] if "base64" in form else written, told)


@pytest.mark.parametrize("before", ["", "u", "us", "user", "user:"])
def test_base64_in_lower_case_is_hidden_wherever_the_secret_begins(before: str) -> None:
    """Changed case cannot be decoded, so the characters themselves are searched for, at each offset in a group of three."""
    key = "SG.Qw3rTy-4711-xyz"
    told = Mask([key]).apply(f"Basic {b64(before + key).lower()} is wrong")
    assert not leaked(b64(before + key).lower(), told)


@given(keys)
def test_a_text_of_secrets_alone_leaks_none(key: str) -> None:
    told = Mask([key]).apply((key + " ") * 1000)
    assert key[:6] not in told.replace("***", "")


def test_a_short_secret_is_a_whole_word() -> None:
    mask = Mask(["key"])
    assert mask.apply("the key of keys: monkey key, KEY a2V5") == "the *** of keys: monkey ***, *** ***"
    assert Mask([""]).apply("nothing is hidden") == "nothing is hidden"


def test_a_signature_of_aws_is_hidden() -> None:
    signature = "0f" * 32
    told = Mask([]).apply(f"Authorization=AWS4-HMAC-SHA256 Credential=AK, SignedHeaders=host, Signature={signature}")
    assert signature not in told
    assert "SignedHeaders=host" in told


@given(anything, st.integers(10, 2000))
def test_clean_text_is_printable_and_bounded(text: str, limit: int) -> None:
    told = clean(text, limit)
    assert told.isprintable()
    assert len(told) <= limit
    told.encode()


@given(
    st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="\u115f\u1160\u3164\uffa0"), max_size=TEXT_LIMIT)
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text
    assert Mask(["a-secret-of-17-ch"]).apply(text) == text


@pytest.mark.parametrize(
    "bad",
    [
        "\x00",
        "\x1b",
        "\x07",
        "\x9b",
        "\x7f",
        "\ud83d",
        "\u202e",
        "\u2066",
        "\u200b",
        "\u200f",
        "\ufeff",
        "\U000e0041",
        "\u3164",
    ],
)
def test_bad_characters_become_the_replacement_character(bad: str) -> None:
    assert clean(f"a{bad}b") == "a\ufffdb"


@pytest.mark.parametrize("blank", ["\n", "\r", "\t", "\x0b", "\x85", "\u2028", "\u2029", "\xa0"])
def test_line_ends_become_a_space(blank: str) -> None:
    assert clean(f"a{blank}b") == "a b"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (5, "5"), (b"a\xffb\x1b", "a\ufffdb\ufffd"), (10**5000, "int"), (Unprintable(), "Unprintable"), ([1], "[1]")],
    ids=["none", "number", "bytes", "long number", "unprintable", "list"],
)
def test_values_that_are_no_text_become_text(value: object, text: str) -> None:
    assert clean(value) == text


# -- an answer ----------------------------------------------------------------------------------------------


def test_a_longer_body_is_cut_and_known_to_be() -> None:
    assert HttpResponse(status=200, body=b"x" * ANSWER_LIMIT).complete
    cut = HttpResponse(status=200, body=b"x" * (ANSWER_LIMIT + 1))
    assert not cut.complete
    assert len(cut.body) == ANSWER_LIMIT


@pytest.mark.parametrize("wrong", [{"status": "200"}, {"status": None}, {"status": 200, "body": "text"}])
def test_wrong_types_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="HttpResponse"):
        HttpResponse(**wrong)  # type: ignore[arg-type]


def test_headers_are_clean() -> None:
    response = HttpResponse(status=200, headers={"X-ID": "a\x9b\x85b\xff" + "x" * 10_000, "Y": b"\xff"})  # type: ignore[dict-item]
    assert response.header("x-id").startswith("a\ufffd bÿ")
    assert len(response.header("x-id")) == WINDOW
    assert response.header("y") == "\ufffd"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": "\\ud83d"}', {"a": "\ufffd"}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"a": "x\ny"}', {"a": "x y"}),
        (b'{"a\\u001b": 1}', {"a\ufffd": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": NaN, "b": Infinity, "c": 1e999}', {"a": None, "b": None, "c": None}),
        (b'{"a": ' + b"9" * 10_000 + b"}", {"a": None}),
        (b'{"a": ' + b"9" * 30 + b"}", {"a": 1e30}),
        (b'["a\\u0000", ["b\\u202e", {"c": "\\u2028d"}]]', ["a\ufffd", ["b\ufffd", {"c": "d"}]]),
        (b"\xef\xbb\xbf{}", {}),
        (b"[" * 100_000, None),
        (b"[" * 500 + b"]" * 500, ...),
        (b"{", None),
        (b"", None),
    ],
)
def test_json_from_outside(body: bytes, value: object) -> None:
    found = HttpResponse(status=200, body=body).json()
    assert value is ... or found == value


texts = st.text(max_size=8)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
)


@given(st.dictionaries(texts, trees, max_size=4), st.booleans(), st.data())
def test_the_beginning_of_json_is_read(tree: dict[str, object], ascii: bool, data: st.DataObject) -> None:
    body = json.dumps({"message": "no", **tree, "end": 1}, ensure_ascii=ascii).encode()
    at = data.draw(st.integers(15, len(body)))
    found = HttpResponse(status=403, body=body[:at], complete=False).json()
    assert isinstance(found, dict)
    assert "message" in found


def test_a_cut_text_says_so() -> None:
    assert clean("x" * 20, 10) == "x" * 9 + CUT
