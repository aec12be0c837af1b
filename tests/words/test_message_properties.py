"""Messages: no field can hold a line's end, recipients are kept once, and building one is cheap."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.testing.strategies import addresses, attachments, headers, http_responses, messages
from deliverykit.words.addresses import Address
from deliverykit.words.enclosures import Attachment, Unsubscribe
from deliverykit.words.errors import ConfigurationError, MessageError
from deliverykit.words.lines import RESERVED_HEADERS
from deliverykit.words.message import Message
from deliverykit.words.wire import HttpRequest, HttpResponse

CONTROLS = "".join(chr(n) for n in range(0x20) if n != 9) + "\x7f\x80\x85\x9f\u2028\u2029\ud800"


def message(**fields: Any) -> Message:
    return Message(**{"to": "ann@example.org", "text": "Hello", **fields})


FIELDS: dict[str, Callable[[str], object]] = {
    "subject": lambda text: message(subject=text),
    "header value": lambda text: message(headers={"X-A": text}),
    "header name": lambda text: message(headers={text: "a"}),
    "tag": lambda text: message(tags=[text]),
    "metadata value": lambda text: message(metadata={"a": text}),
    "metadata key": lambda text: message(metadata={text: "a"}),
    "stream": lambda text: message(stream=text),
    "sender": lambda text: message(sender=f"{text} <a@b.org>"),
    "sender's name": lambda text: message(sender=Address("a@b.org", text)),
    "to": lambda text: message(to=f"{text}@b.org"),
    "reply_to": lambda text: message(reply_to=[f"{text}@b.org"]),
    "cc": lambda text: message(cc=[f"{text} <a@b.org>"]),
    "bcc": lambda text: message(bcc=[f"{text}@b.org"]),
    "file name": lambda text: Attachment(filename=text, content=b""),
    "content type": lambda text: Attachment(filename="a", content=b"", content_type=f"text/plain; a={text}"),
    "content id": lambda text: Attachment(filename="a", content=b"", content_id=text),
    "unsubscribe": lambda text: message(unsubscribe=f"https://example.org/{text}"),
    "unsubscribe url": lambda text: Unsubscribe(url=f"https://example.org/{text}"),
    "unsubscribe mailto": lambda text: Unsubscribe(mailto=f"mailto:a@b.org?{text}"),
}


@pytest.mark.parametrize("field", FIELDS)
@given(bad=st.sampled_from(CONTROLS), before=st.text("ab", min_size=1, max_size=3), after=st.text("ab", max_size=3))
def test_no_field_takes_a_control_character(field: str, bad: str, before: str, after: str) -> None:
    with pytest.raises(MessageError):
        FIELDS[field](before + bad + after)


@pytest.mark.parametrize("bad", CONTROLS, ids=repr)
def test_every_control_character_is_refused(bad: str) -> None:
    with pytest.raises(MessageError, match="subject: contains"):
        message(subject=f"a{bad}b")


def test_a_body_may_hold_lines_but_no_nul() -> None:
    assert message(text="a\r\nb\x0b", html="<p>\n</p>").text == "a\r\nb\x0b"
    for bad in "\x00\ud800":
        with pytest.raises(MessageError, match="text: contains"):
            message(text=f"a{bad}")
        with pytest.raises(MessageError, match="html: contains"):
            message(html=f"a{bad}")


@given(st.lists(addresses(international=True), min_size=1, max_size=8), st.randoms())
def test_every_mailbox_is_kept_once_where_it_stands_first(people: list[Any], random: Any) -> None:
    again = [*people, *(f'"Other" <{one.email.swapcase()}>' for one in people if '"' not in one.email and one.email.isascii())]
    random.shuffle(again)
    made = message(to=[people[0]], cc=again, bcc=people)
    keys = [one.key for one in made.recipients]
    assert len(keys) == len(set(keys)) == len({one.key for one in people})
    assert made.to == (people[0],)


@given(messages(raw=True, international=True))
def test_a_message_is_equal_to_itself_made_again(made: Message) -> None:
    assert made.evolve() == made
    assert made.sender is not None
    assert made.evolve(priority=3).priority == 3


@given(attachments())
def test_an_attachment_has_a_kind_and_hides_its_content(one: Attachment) -> None:
    assert "/" in one.content_type
    assert one.inline is bool(one.content_id)
    assert "content=" not in repr(one)


@given(headers())
def test_headers_are_kept_as_given(given_headers: dict[str, str]) -> None:
    assert message(headers=given_headers).headers == given_headers


@pytest.mark.parametrize("name", sorted(RESERVED_HEADERS))
def test_reserved_headers_in_any_case(name: str) -> None:
    with pytest.raises(MessageError, match="cannot be set here"):
        message(headers={name.title(): "a"})


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": ["a"]}, {"metadata": 7}, {"extra": []}, {"extra": {"ses": 1}}, {"tags": 7}, {"attachments": 7}, {"attachments": ["a"]},
        {"headers": {"A": 1}}, {"headers": {"A": "1", "a": "2"}}, {"headers": {"A B": "1"}}, {"headers": {"A:": "1"}}, {"subject": 7},
        {"text": b"a"}, {"text": ""}, {"to": []}, {"to": 7}, {"raw": b"x"}, {"raw": "From: a@b.org", "text": None}, {"priority": 1001},
        {"priority": "1"}, {"send_at": datetime(2026, 1, 1)}, {"send_at": "now"}, {"unsubscribe": "http://a.org"}, {"unsubscribe": "https://"},  # noqa: DTZ001
        {"unsubscribe": "mailto:nobody"}, {"metadata": {"deliverykit_x": "1"}}, {"stream": "a" * 65}, {"tags": [""]},
        {"send_at": datetime(2026, 1, 2, tzinfo=UTC), "expires_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"unsubscribe": "https://a.org/", "headers": {"List-Unsubscribe": "<https://b.org/>"}},
    ],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_sent_is_a_message_error(fields: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        message(**fields)


@pytest.mark.parametrize("raw", [b"just some text", b"\r\n\r\n", b" From: folded\r\n\r\n", b"From a@b.org Mon\r\n\r\nx"])
def test_raw_without_a_head_is_refused(raw: bytes) -> None:
    with pytest.raises(MessageError, match="raw: "):
        Message(to="a@b.org", raw=raw)


def test_one_attachment_needs_no_list() -> None:
    one = Attachment(filename="a.png", content=b"x")
    assert message(attachments=one).attachments == (one,)
    assert one.content_type == "image/png"


def test_times_are_kept() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert message(send_at=at, expires_at=at + timedelta(seconds=1)).send_at == at


@given(http_responses())
def test_an_answer_is_read_without_raising(response: HttpResponse) -> None:
    response.json()
    assert len(response.text(10)) <= 10
    assert response.header("CONTENT-TYPE") == response.header("content-type")


@pytest.mark.parametrize("value", ["Bearer key\n", "a\rb", "a\x00", "schlüssel"])
def test_a_header_that_http_cannot_carry_is_refused_without_its_value(value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HttpRequest(url="https://example.org", headers={"Authorization": value})
    assert "authorization" in str(caught.value).lower()
    assert value.strip() not in str(caught.value)
    with pytest.raises(ConfigurationError):
        HttpRequest(url="https://example.org", headers={"A\nB": "c"})


@given(addresses())
def test_single_address_is_taken_as_one_recipient(one: Address) -> None:
    assert Message(to=one, subject="s", text="t").to == (one,)
