"""Raw MIME as an attacker writes it, and the standard library's messages taken apart."""

import io
from collections.abc import Callable
from email import policy
from email.headerregistry import Address as StdAddress
from email.message import EmailMessage
from email.parser import BytesHeaderParser, BytesParser

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from deliverykit.testing.strategies import lines
from deliverykit.words.errors import MessageError
from deliverykit.words.message import Message
from deliverykit.words.raw import header_values, rewritten

OURS = {"From": "Us <us@example.com>", "To": "ann@example.org"}
EVIL = b"evil@example.net"
GONE = frozenset({"sender", "bcc"})

_spelling = st.sampled_from([b"From", b"FROM", b"from", b"fRoM", b"Bcc", b"BCC", b"bcc", b"Resent-Bcc", b"To", b"Sender"])
_colon = st.sampled_from([b":", b" :", b"\t:", b"  \t :", b": ", b":\r\n ", b":\n\t", b":\r\n \r\n "])
_end = st.sampled_from([b"\r\n", b"\n", b"\r\n", b"\n", b"\r"])
_noise = st.sampled_from(
    [b"X-A: b", b"Subject: hi", b"X-Eight: caf\xc3\xa9 \xff\xfe", b"no colon here", b" a continuation", b"\tfrom: x", b" ,evil@example.net",
     b": nameless", b"From evil@example.net Mon Jan 1 10:00:00 2026", b">From: quoted", b"X:", b"", b" ", b"X-B: a\x0cFrom: evil@example.net",
     b"Fr\x00om: evil@example.net", b"From", b" : evil@example.net", b"X-C: a\x0bBcc: evil@example.net", b"\xef\xbb\xbfFrom: evil@example.net",
     b"From\xc2\xa0: evil@example.net", b"X-D: =?utf-8?q?a=0D=0ABcc:_evil?=", b"MIME-Version: 1.0"]
)  # fmt: skip
_forged = st.builds(
    lambda name, colon, text: name + colon + text,
    _spelling,
    _colon,
    st.sampled_from([EVIL, b"a <evil@example.net>,\r\n b@c.d"]),
)
_head = st.lists(st.tuples(st.one_of(_noise, _forged), _end), min_size=1, max_size=8).map(
    lambda parts: b"".join(a + b for a, b in parts)
)


def lenient(raw: bytes) -> list[bytes]:
    """The names of header fields as the most forgiving reader sees them: any line end, blanks about the name, until an empty line."""
    head = raw.partition(b"\r\n\r\n")[0]
    for end in (b"\r\n", b"\r", b"\x0b", b"\x0c", b"\x1c", b"\x85"):
        head = head.replace(end, b"\n")
    rows = head.split(b"\n")
    return [
        row.partition(b":")[0].replace(b"\x00", b"").strip().lower()
        for row in rows
        if b":" in row and row[:1] not in (b" ", b"\t")
    ]


@given(_head, st.sampled_from([b"", b"\r\n", b"\n"]), st.binary(max_size=60))
@example(b" ,evil@example.net\r\n", b"\r\n", b"x")
@example(b"X-A: b\rBcc: evil@example.net\r\n", b"\r\n", b"x")
@example(b"From\r\n : evil@example.net\r\n", b"\r\n", b"x")
@example(b"BCC :evil@example.net\n", b"\n", b"x")
def test_one_from_and_no_bcc_whatever_the_head(head: bytes, blank: bytes, body: bytes) -> None:
    try:
        made = rewritten(head + blank + body, GONE, OURS)
    except MessageError:
        return  # refused by name is as good
    names = lenient(made)
    assert names.count(b"from") == names.count(b"to") == 1
    assert not {b"bcc", b"resent-bcc", b"sender"} & set(names)
    parsed = BytesParser(policy=policy.default).parse(io.BytesIO(made))
    assert [str(value) for value in parsed.get_all("From") or []] == ["Us <us@example.com>"]
    assert [str(value) for value in parsed.get_all("To") or []] == ["ann@example.org"]
    assert parsed["Bcc"] is None
    assert rewritten(made, GONE, OURS) == made


@given(
    st.lists(
        st.tuples(st.sampled_from(["X-A", "Subject", "From", "bcc"]), st.text("ab <>@.", min_size=1, max_size=20)),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([b"\r\n", b"\n"]),
    st.binary(max_size=200),
)
@example([("X-A", "a")], b"\r\n", b" \r\n a body that begins with blanks")
def test_the_body_keeps_every_byte_and_the_other_fields_their_values(
    fields: list[tuple[str, str]], end: bytes, body: bytes
) -> None:
    raw = b"".join(f"{name}: {value}".encode() + end for name, value in fields) + end + body
    made = rewritten(raw, GONE, OURS)
    head, blank, rest = made.partition(b"\r\n\r\n")
    assert (blank, rest) == (b"\r\n\r\n", body)
    for name in ("X-A", "Subject"):
        assert header_values(made, name) == header_values(raw, name) == [value.strip() for key, value in fields if key == name]
    assert header_values(made, "from") == [OURS["From"]]
    assert b"\n" not in head.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"Subject: x\r\nhello\r\nBcc: a@b.org", b"hello\r\nBcc: a@b.org"),
        (b"Subject: x", b""),
        (b"\r\n\r\nSubject: x\r\n\r\nbody", b"body"),
        (b"From a@b.org Mon\nSubject: x\n\n\nbody", b"\nbody"),
    ],
)
def test_heads_without_their_empty_line(raw: bytes, body: bytes) -> None:
    assert rewritten(raw, GONE, {"From": "a@b.org"}) == b"From: a@b.org\r\nSubject: x\r\n\r\n" + body


@given(st.lists(st.text("abcdefgh@.<>,", min_size=1, max_size=60), min_size=1, max_size=60).map(" ".join))
def test_a_long_field_is_folded_and_reads_back(value: str) -> None:
    made = rewritten(b"X: y\r\n\r\n", frozenset(), {"To": value})
    assert all(len(line) <= 78 or b" " not in line.strip().removeprefix(b"To: ") for line in made.split(b"\r\n"))
    assert header_values(made, "to") == [value]


def test_our_own_headers_cannot_carry_a_line_end() -> None:
    with pytest.raises(MessageError, match="header From: contains"):
        rewritten(b"X: y\r\n\r\n", frozenset(), {"From": "a\r\nBcc: b"})


# -- the standard library's messages -------------------------------------------------------------------

_names = st.text(st.characters(categories=("L", "N"), exclude_characters="\u2028"), max_size=10)
_texts = st.lists(lines(40), max_size=6).map(lambda rows: "\n".join(rows) + "\n")


@given(
    _names, lines(40).map(lambda text: text.replace("=?", "")), _texts, st.none() | _texts,
    st.lists(st.tuples(_names.filter(bool), st.binary(max_size=100)), max_size=2), st.booleans(), st.sampled_from([policy.SMTP, policy.default]),
)  # fmt: skip
def test_a_message_of_the_standard_library_comes_back_the_same(
    name: str,
    subject: str,
    text: str,
    html: str | None,
    files: list[tuple[str, bytes]],
    inline: bool,
    written: policy.EmailPolicy,
) -> None:
    email = EmailMessage(policy=policy.default)
    email["From"] = StdAddress(name, "us", "example.com")
    email["To"] = [StdAddress(name, "ann", "example.org"), StdAddress("", "bob", "example.org")]
    email["Reply-To"] = "answers@example.com"
    email["Subject"] = subject
    email["X-Campaign"] = "spring"
    email["Message-ID"] = "<1@example.com>"
    email.set_content(text)
    if html is not None:
        email.add_alternative(html, subtype="html")
        if inline:
            part = email.get_payload()[1]  # type: ignore[index]
            part.add_related(b"PNG", "image", "png", cid="<logo@x>", filename="logo.png", disposition="inline")  # type: ignore[union-attr]
    for filename, content in files:
        email.add_attachment(content, maintype="application", subtype="pdf", filename=filename)
    parsed = BytesParser(policy=policy.default).parsebytes(email.as_bytes(policy=written))
    assume(not parsed["To"].defects)  # the library encodes the comma after some long names, and cannot read that
    made = Message.from_email(parsed, tags=["a"])
    assert made.sender is not None
    assert (made.sender.name, made.sender.email) == (name, "us@example.com")
    assert [one.email for one in made.to] == ["ann@example.org", "bob@example.org"]
    assert [one.email for one in made.reply_to] == ["answers@example.com"]
    assert made.subject.split() == subject.split()
    assert (made.text, made.html) == (text, html)
    assert dict(made.headers) == {"X-Campaign": "spring"}
    assert made.tags == ("a",)
    expected = [("logo.png", b"PNG", "logo@x")] if html is not None and inline else []
    assert [(one.filename, one.content, one.content_id) for one in made.attachments] == expected + [
        (a, b, "") for a, b in files
    ]


def test_a_text_file_keeps_its_bytes() -> None:
    email = EmailMessage()
    email["To"] = "a@b.org"
    email.set_content("hi")
    email.add_attachment(
        "é;1\r\n".encode("latin-1"), maintype="text", subtype="csv", filename="a.csv", params={"charset": "latin-1"}
    )
    one = Message.from_email(email).attachments[0]
    assert (one.content, one.content_type) == (b"\xe9;1\r\n", "text/csv")


def _twice(email: EmailMessage) -> None:
    email["Comments"] = "a"
    email["Comments"] = "b"


def _signed(email: EmailMessage) -> None:
    email.replace_header("Content-Type", 'multipart/signed; boundary="x"')


def _forwarded(email: EmailMessage) -> None:
    other = EmailMessage()
    other.set_content("x")
    email.add_attachment(other)


def _unknown_charset(email: EmailMessage) -> None:
    email.replace_header("Content-Type", 'text/plain; charset="no-such"')


@pytest.mark.parametrize("change", [_twice, _signed, _forwarded, _unknown_charset], ids=lambda one: one.__name__)
def test_what_cannot_be_taken_apart_is_named(change: Callable[[EmailMessage], None]) -> None:
    email = EmailMessage()
    email["To"] = "a@b.org"
    email.set_content("hi")
    change(email)
    with pytest.raises(MessageError, match="raw="):
        Message.from_email(email)


def test_an_email_of_the_old_policy_is_named() -> None:
    old = BytesHeaderParser(policy=policy.compat32).parsebytes(b"To: a@b.org\r\n\r\nx")
    with pytest.raises(MessageError, match="compat32"):
        Message.from_email(old)  # type: ignore[arg-type]
