"""Whatever an ESP quotes of a recipient, and however it writes it, is not in what is told."""

import html
import json
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from deliverykit import Address
from deliverykit.testing.strategies import addresses
from deliverykit.words.untrusted import TEXT_LIMIT, clean, named, scrubbed

WAYS = {
    "plain": lambda text: text,
    "json": lambda text: json.dumps(text),
    "json in its own letters": lambda text: json.dumps(text, ensure_ascii=False),
    "query": lambda text: f"https://esp.example/v3?email={quote(text, safe='')}&x=1",
    "path": lambda text: f"https://esp.example/v3/{quote(text)}/x",
    "brackets": lambda text: f"<{text}>",
    "repr": repr,
}
texts = st.sampled_from(
    [
        "{} is not a valid address",
        "550 5.1.1 {}: no such user (42)",
        '{{"message":"Invalid recipient {}","code":3}}',
        "a,{},b",
        "{}",
    ]
)


@given(addresses(international=True), texts, st.sampled_from(sorted(WAYS)))
def test_what_looks_like_an_address_is_replaced_without_knowing_it(one: Address, text: str, way: str) -> None:
    assume('"' not in one.local)
    told = scrubbed(text.format(WAYS[way](one.email)))
    assert "<address>" in told
    for word in (one.email, one.ascii, quote(one.email), quote(one.email, safe="")):
        assert word.lower() not in told.lower()


@given(
    addresses(international=True), texts, st.sampled_from(sorted(WAYS)), st.sampled_from(["email", "ascii", "display", "upper"])
)
def test_a_known_recipient_is_replaced_however_odd(one: Address, text: str, way: str, form: str) -> None:
    said = {"email": one.email, "ascii": one.ascii, "display": one.display, "upper": one.email.upper()}[form]
    told = scrubbed(text.format(WAYS[way](said)), named([one])).lower()
    for word in (one.email, one.ascii):
        for written in (word, json.dumps(word)[1:-1], quote(word), quote(word, safe="")):
            assert written.lower() not in told
    if len(one.name) > 3 and one.name.lower() not in text.lower() and one.name.lower() not in "<address>":
        assert one.name.lower() not in told


@given(st.text(st.characters(blacklist_characters="@&%\\＠﹫")))
def test_a_text_without_an_address_is_only_cleaned(text: str) -> None:
    assert scrubbed(text) == clean(text)


@pytest.mark.parametrize("sign", ["@", "%40", "&#64;", "&#x40;", "\\u0040", "&commat;", "＠"])
def test_however_the_sign_is_written(sign: str) -> None:
    assert scrubbed(f"to ann.lee+tag{sign}example.org, please") == "to <address>, please"


def test_the_rest_of_the_text_stays() -> None:
    said = 'The address "john doe"@example.org, and bob@[10.0.0.1], and <c@d>: refused (code 5.1.1)'
    assert scrubbed(said) == "The address <address>, and <address>, and <<address>>: refused (code 5.1.1)"
    assert scrubbed(html.escape("a&b@example.org is unknown")) == "<address> is unknown"


def test_a_long_answer_leaves_no_half_of_an_address() -> None:
    for long in ("a" * 200_000, '"' * 20_000, '\\"' * 20_000, "%4" * 100_000, "&#00" * 50_000, "a@" * 50_000, '"a' * 50_000):
        assert len(scrubbed(long + "ann@example.org")) <= TEXT_LIMIT
    assert "ann" not in scrubbed("x" * 990 + " ann.example@example.org")
