"""What a message, an attachment or a credential refuses when it is made, naming the field and the mend."""

import pickle
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from deliverykit import Attachment, Env, Message, MessageError, Unsubscribe
from deliverykit.words.credentials import Secret, revealed
from deliverykit.words.errors import ConfigurationError

AT = datetime(2026, 11, 24, tzinfo=UTC)
PLAIN = {"to": "ann@example.org", "subject": "s", "text": "t"}


@pytest.mark.parametrize(
    ("make", "because"),
    [
        (lambda: Attachment(filename=" ", content=b""), "attachment filename: empty"),
        (lambda: Attachment(filename="a.txt", content="text"), "content='text': expected bytes; write"),
        (lambda: Attachment(filename="a.txt", content=b"", content_type="text"), "'text' is not a media type"),
        (lambda: Attachment(filename="a.png", content=b"", content_id="my logo"), "must be ASCII without spaces"),
        (lambda: Unsubscribe(), "unsubscribe: give a url, a mailto, or both"),
        (lambda: Unsubscribe(url="http://example.org"), "unsubscribe url: 'http://example.org' must be an ASCII https://"),
        (lambda: Unsubscribe(mailto="mailto:nobody"), "unsubscribe mailto: 'mailto:nobody' must be"),
        (lambda: Message(subject="s", text="t"), "to: a message needs at least one recipient"),
        (lambda: Message(cc="ann@example.org", subject="s", text="t"), "to: empty; every ESP wants"),
        (lambda: Message(to="ann@example.org", subject="s"), "text: a message needs text, html or both"),
        (lambda: Message(to="ann@example.org", subject="s", text=""), "text: empty, and no html"),
        (lambda: Message(**PLAIN, stream="x" * 65), "(65 characters): too long; give at most 64"),
        (lambda: Message(**PLAIN, priority=1001), "priority=1001: out of range; give a whole number"),
        (lambda: Message(**PLAIN, send_at=AT, expires_at=AT), "expires_at: not after send_at"),
        (lambda: Message(**PLAIN, attachments=[b"film"]), "attachments=b'film': expected an Attachment"),
        (lambda: Message(to="ann@example.org", raw="text"), "raw: expected the bytes of a MIME message"),
        (lambda: Message(to="ann@example.org", raw=b"no head\n\nbody"), "raw: does not begin with header fields"),
        (lambda: Message(**PLAIN, raw=b"A: b\n\nc"), "raw: subject= cannot stand beside raw="),
    ],
)
def test_it_is_refused_by_name(make: Callable[[], object], because: str) -> None:
    with pytest.raises(MessageError) as caught:
        make()
    assert because in str(caught.value)


def test_a_content_id_stands_without_its_brackets() -> None:
    one = Attachment(filename="a.png", content=b"", content_id=" <logo@x> ")
    assert (one.content_id, one.inline, one.content_type) == ("logo@x", True, "image/png")


def test_a_digest_is_no_part_of_what_an_attachment_is() -> None:
    one, other = (Attachment(filename="a", content=b"x") for _ in range(2))
    assert len(one.digest) == 64
    assert one == other
    assert one.digest not in repr(one)
    assert other.digest == one.digest


def test_a_secret_is_shown_nowhere_and_goes_nowhere() -> None:
    one = Secret("a-secret")
    assert "a-secret" not in f"{one} {one!r} {[one]}"
    assert one == Secret("a-secret") != Secret("other")
    assert len({one, Secret("a-secret")}) == 1
    assert (bool(one), bool(Secret(""))) == (True, False)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(one)
    assert (revealed(one), revealed("plain")) == ("a-secret", "plain")
    with pytest.raises(ConfigurationError, match="is a reference"):
        revealed(Env("KEY"))
