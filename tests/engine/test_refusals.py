"""How reasons are compared, and how the refusals of a lane are counted: pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.engine.settling.refusals import fewer, more, reason_hash

WORDS = st.lists(st.sampled_from(["mailbox", "is", "full", "not", "verified", "account", "closed"]), min_size=1, max_size=8)
NOISE = st.sampled_from(
    ["ann@example.org", "<bob@example.org>", "example.com", "550", "5.7.1", "id=3f2a", "arn:aws:ses:eu-west-1:1:identity/x",
     "0102018f-aaaa-bbbb", "<address>", "'Your code'", '"Hello Ann"', "“Hello”", "[a b]", "Mon,", "Nov", "GMT", "fadedcab", "(12)", "2026-11-30", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
)  # fmt: skip


@given(WORDS, st.lists(st.tuples(st.integers(0, 8), NOISE), max_size=5))
def test_ids_numbers_and_addresses_do_not_count(words: list[str], noise: list[tuple[int, str]]) -> None:
    told = list(words)
    for at, one in noise:
        told.insert(at, one)
    assert reason_hash(" ".join(told)) == reason_hash(" ".join(words))


@given(WORDS, WORDS)
def test_other_words_are_another_reason(one: list[str], other: list[str]) -> None:
    assert (reason_hash(" ".join(one)) == reason_hash(" ".join(other))) == (one == other)


@pytest.mark.parametrize("quoted", ['"mailbox full"', "'mailbox full'"])
def test_a_text_that_is_all_quoted_still_counts(quoted: str) -> None:
    assert reason_hash(quoted) == reason_hash("mailbox full") != reason_hash('"account closed"')


@pytest.mark.parametrize("text", ["", "403", "403: ", "💥", "\ud800", "1 2 3"])
def test_any_text_has_a_hash_other_than_zero(text: str) -> None:
    assert reason_hash(text)


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=200))
def test_runs_of_lanes_are_counted_apart(events: list[tuple[int, bool]]) -> None:
    state: tuple[int, ...] = ()
    counts: dict[int, int] = {}
    for lane, refused in events:
        counts[lane] = counts.get(lane, 0) + 1 if refused else 0
        if refused:
            state, count = more(state, lane)
            assert count <= counts[lane]
            if len({one for one, _ in events}) <= 32:
                assert count == counts[lane]
        else:
            state = fewer(state, lane)
        assert len(state) <= 64
