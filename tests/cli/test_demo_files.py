"""What the demo reads: CSV files as people have them, and newsletters as mail programs save them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkout import ROOT
from deliverykit import Address, ConfigurationError, Message
from deliverykit.cli.demo.files import Recipients, example, greeting, newsletter, personal, recipients


def told(found: Recipients) -> list[str]:
    return [*map(str, found.bad), *map(str, found.duplicates)]


def emails(found: Recipients) -> list[str]:
    return [one.address.email for one in found.good]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_ways_a_table_is_saved(delimiter: str, mark: str, end: str) -> None:
    rows = [["Name", "E-Mail", "city"], ["Müller, Jürgen; the tall", "j@bücher.example", "Köln"], ["", "b@example.org", ""]]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(rows)
    found = recipients((mark + text.getvalue()).encode())
    assert not told(found)
    assert [one.address for one in found.good] == [
        Address("j@bücher.example", "Müller, Jürgen; the tall"),
        Address("b@example.org"),
    ]
    assert [one.line for one in found.good] == [2, 3]


def test_bad_rows_by_line_and_reason() -> None:
    text = (
        "email,name\n"
        "ann@example.org,Ann\n"
        "nobody,No At\n"
        "\n"
        ",Nameless\n"
        "ANN@example.org,Ann again\n"
        "b@example.org,Smith, Bob\n"
        "jörg@example.org,Jörg\n"
        "z@example.org,Zoë\n"
    )
    found = recipients(text.encode())
    assert emails(found) == ["ann@example.org", "z@example.org"]
    assert told(found) == [
        "line 3: address 'nobody': not of the form local@domain",
        "line 5: has no email",
        "line 7: has 3 fields where the first line has 2; put fields with a comma in quotes",
        "line 8: address 'jörg@example.org': letters before the @ beyond ASCII, which Amazon SES cannot carry",
        "line 6: ANN@example.org again, as on line 2; it gets one mail",
    ]


def test_a_byte_that_is_no_utf8_spoils_its_own_row() -> None:
    found = recipients(b"email,name\na@example.org,J\xfcrgen\nb@example.org,B\n")
    assert (emails(found), told(found)) == (["b@example.org"], ["line 2: is not UTF-8; save the file as CSV in UTF-8"])


@pytest.mark.parametrize("last", ["e@example.org,E\n", 'e@example.org,"E"\n', ""])
def test_a_quote_that_is_never_closed_swallows_no_other_row(last: str) -> None:
    text = f'email,name\na@example.org,A\nb@example.org,"B\nc@example.org,C\n{last}'
    found = recipients(text.encode())
    assert emails(found) == ["a@example.org", "c@example.org", *(["e@example.org"] if last else [])]
    assert [row.line for row in found.bad] == [3]
    assert "quote" in told(found)[0]


BAD = ["x", '"', 'a@b@c,"', ',"x"y', "é@x.org,é", "u@x y,z", "a@example.org,b,c"]


@given(st.lists(st.none() | st.sampled_from(BAD), min_size=1, max_size=12))
def test_every_row_is_either_read_or_told(rows: list[str | None]) -> None:
    """Whatever stands in the bad lines, the good ones are all read, and each bad line is named."""
    lines = [f'u{number}@example.org,"U, {number}"' if bad is None else bad for number, bad in enumerate(rows)]
    found = recipients("\n".join(["email,name", *lines]).encode())
    assert emails(found) == [f"u{number}@example.org" for number, bad in enumerate(rows) if bad is None]
    assert [row.line for row in found.bad] == [number + 2 for number, bad in enumerate(rows) if bad is not None]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"name,mail\nAnn,ann@example.org\n", "one of them email; it has 'name', 'mail'"),
        ("email\na@example.org".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_that_cannot_be_read_at_all(content: bytes, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        recipients(content, "list.csv")
    assert str(caught.value).startswith("list.csv: ")


def test_the_examples_are_those_of_the_checkout() -> None:
    for name in ("newsletter.eml", "recipients.csv"):
        assert example(name) == (ROOT / "examples" / name).read_bytes()
    with pytest.raises(ConfigurationError, match=r"absent\.eml"):
        example("absent.eml")
    found = recipients(example("recipients.csv"))
    assert (len(found.good), told(found)) == (2_000, [])


def test_the_newsletter_greets_its_reader() -> None:
    message = newsletter(example("newsletter.eml"))
    assert message.unsubscribe is not None
    assert message.unsubscribe.url.startswith("https://")
    assert message.unsubscribe.mailto.startswith("mailto:")
    assert "list-unsubscribe" not in {name.lower() for name in message.headers}
    reader = Address("z@example.org", "Zoë <script>")
    mail = personal(message, reader)
    assert mail.to == (reader,)
    assert (mail.text or "").startswith("Hello Zoë <script>,\n\nLiebe Leser")
    assert "<body style=" in (mail.html or "")
    assert 'max-width: 36em"><p>Hello Zoë &lt;script&gt;,</p>' in (mail.html or "")
    assert mail.attachments == message.attachments
    assert greeting(Address("a@example.org")) == "Hello,"


def test_mail_saved_from_a_mailbox() -> None:
    head = (
        "Received: from a by b\nReceived: from b by c\nX-Received: by 1\nX-Received: by 2\nARC-Seal: i=1\nARC-Seal: i=2\n"
        "Delivered-To: me@example.org\nTo: undisclosed-recipients:;\nFrom: A <a@example.org>\nSubject: Hi\n"
        "List-Unsubscribe: <http://example.org/u>, <mailto:u@example.org>\nList-Id: <l.example.org>\n"
    )
    message = newsletter(f"{head}Content-Type: text/plain\n\nWords.\n".encode())
    assert (message.subject, message.text) == ("Hi", "Words.\n")
    assert message.headers == {"List-Id": "<l.example.org>"}
    assert message.unsubscribe is not None
    assert (message.unsubscribe.url, message.unsubscribe.mailto) == ("", "mailto:u@example.org")


@pytest.mark.parametrize(
    "content", [b"", b"Subject: x\n\n", b"Content-Type: multipart/signed; boundary=x\n\n--x\n\nhi\n--x--\n"]
)
def test_a_newsletter_that_is_none(content: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"^n\.eml: "):
        newsletter(content, "n.eml")


def test_without_html_and_without_text() -> None:
    only_text = personal(Message(to="x@example.org", text="words"), Address("a@example.org", "A"))
    assert (only_text.text, only_text.html) == ("Hello A,\n\nwords", None)
    only_html = personal(Message(to="x@example.org", html="<b>words</b>"), Address("a@example.org", "A"))
    assert (only_html.text, only_html.html) == (None, "<p>Hello A,</p><b>words</b>")
