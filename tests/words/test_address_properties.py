"""Addresses: what is refused, what is kept, and what a mail reader sees in the end."""

import unicodedata
from email import policy
from email.header import decode_header, make_header
from email.parser import BytesParser
from email.utils import formataddr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deliverykit.testing.strategies import addresses, lines
from deliverykit.words.addresses import Address, address, ascii_domain, encoded_words
from deliverykit.words.addresses import addresses as several
from deliverykit.words.errors import MessageError

CONTROLS = [*(chr(n) for n in range(0x20)), "\x7f", "\x80", "\x85", "\x9f", "\u2028", "\u2029", "\ud800"]


@pytest.mark.parametrize("bad", CONTROLS, ids=repr)
def test_no_control_in_an_address_or_a_name(bad: str) -> None:
    for place in ("{}ann@example.org", "an{}n@example.org", "ann@exa{}mple.org", '"a{}b"@example.org'):
        with pytest.raises(MessageError):
            Address(place.format(bad))
    for name in (f"A{bad}B", f"{bad}", f"A{bad}"):
        with pytest.raises(MessageError, match="control character"):
            Address("ann@example.org", name)
    with pytest.raises(MessageError):
        address(f"A{bad}B <ann@example.org>")


@given(addresses(international=False))
@example(Address("a@b.org", "=?utf-8?q?Somebody_else?="))
@example(Address("a@b.org", 'A "quoted" \\ name,  with (all) <of> it'))
@example(Address("a@b.org", "Ä" * 60))
@example(Address("a@b.org", "\u00a0 x"))
def test_a_header_reads_back_as_the_same_name_and_mailbox(one: Address) -> None:
    header = one.header
    assert header.isascii()
    assert all(len(word) <= 75 for word in header.split(" ") if word.startswith("=?"))
    parsed = BytesParser(policy=policy.default).parsebytes(b"To: " + header.encode() + b"\r\n\r\n")["To"].addresses
    assert len(parsed) == 1
    assert (f'"{parsed[0].username}"' if one.local.startswith('"') else parsed[0].username) == one.local
    assert parsed[0].domain == one.domain
    # Python before 3.11.10 puts a space between two encoded words of a display name; its older reader does not.
    name = str(make_header(decode_header(header.rpartition(" <")[0]))) if header.startswith("=?") else parsed[0].display_name
    assert name == one.name
    assert address(header).name == one.name


@given(lines())
def test_encoded_words_are_short_and_decode_one_by_one(text: str) -> None:
    words = encoded_words(text).split()
    assert all(len(word) <= 75 for word in words)
    decoded = [
        part.decode(charset or "ascii") for word in words for part, charset in decode_header(word) if isinstance(part, bytes)
    ]
    assert "".join(decoded) == text


@given(addresses(international=True))
@example(Address("a@b.org", "Smith, Ann"))
def test_what_is_printed_is_read_again(one: Address) -> None:
    again = address(one.display if "=?" not in one.name else one.header)
    assert (again.key, again.name) == (one.key, one.name)
    assert one.international is (not one.local.isascii())


@given(
    st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), max_size=20).filter(
        lambda name: "=?" not in name
    )
)
def test_what_the_standard_library_writes_is_read(name: str) -> None:
    one = address(formataddr((name, "ann@example.org")))
    assert (one.email, one.name) == ("ann@example.org", name.strip())


@pytest.mark.parametrize(
    ("text", "name", "email"),
    [
        ("ann@example.org", "", "ann@example.org"),
        (" <ann@example.org> ", "", "ann@example.org"),
        ("Ann B. Smith <ann@example.org>", "Ann B. Smith", "ann@example.org"),
        ("Smith, Ann <ann@example.org>", "Smith, Ann", "ann@example.org"),
        ('"Smith, \\"A\\"" <ann@example.org>', 'Smith, "A"', "ann@example.org"),
        ("=?utf-8?q?J=C3=BCrgen?= <j@example.org>", "Jürgen", "j@example.org"),
        ('Ann <"a b"@example.org>', "Ann", '"a b"@example.org'),
        ("ann@example.org <ann@example.org>", "", "ann@example.org"),
        ("O'Neil <o'neil+x@example.org>", "O'Neil", "o'neil+x@example.org"),
    ],
)
def test_ordinary_forms(text: str, name: str, email: str) -> None:
    one = address(text)
    assert (one.name, one.email) == (name, email)


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.org <eve@example.net>", "Ann <ann@example.org> <eve@example.net>", "Ann <ann@example.org> junk", "ann@example.org <",
        "a@b.org, c@d.org", "a@b.org; c@d.org", "friends: a@b.org;", "ann", "@example.org", "ann@", "ann@example..org", "ann@example.org.",
        "ann@-a.org", "ann@a_b.org", "an n@example.org", ".ann@example.org", "ann.@example.org", "a..n@example.org", "ann@[127.0.0.1]",
        "a@b@example.org", "=?utf-8?q?a=0D=0ABcc:_x?= <a@b.org>", "a" * 65 + "@example.org", "a@" + "b" * 64 + ".org", "a" * 5000 + "<",
        "Ann <a@\u200dx.org>", "a@ex＠ample.org",
    ],
)  # fmt: skip
def test_what_is_not_one_address(text: str) -> None:
    with pytest.raises(MessageError):
        address(text)


@given(st.text(max_size=60) | st.text('a@.<>"(),:;\\ =?b[]', max_size=40))
def test_any_text_is_an_address_or_a_message_error(text: str) -> None:
    try:
        one = address(text)
    except MessageError:
        return
    assert one.email.rpartition("@")[0] in text.replace("\\", "") or '"' in text or "\\" in text
    assert one.ascii.rpartition("@")[2].isascii()


@pytest.mark.parametrize(
    ("domain", "ascii"),
    [
        ("faß.de", "xn--fa-hia.de"), ("FASS.de", "fass.de"), ("münchen.de", "xn--mnchen-3ya.de"), ("mu\u0308nchen.de", "xn--mnchen-3ya.de"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"), ("नी\u200cकम.com", None), ("क्\u200dष.com", "xn--11b2ezcw70k.com"), ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
    ],
)  # fmt: skip
def test_idna_2008(domain: str, ascii: str | None) -> None:
    if ascii is None:
        with pytest.raises(ValueError, match="Joiner"):
            ascii_domain(domain)
    else:
        assert ascii_domain(domain) == ascii == ascii_domain(ascii)


def test_one_mailbox_has_one_key() -> None:
    assert Address("Ann@EXAMPLE.org").key == Address('"ann"@example.org', "Other").key == "ann@example.org"
    assert Address("josé@example.org").key == Address(unicodedata.normalize("NFD", "josé") + "@example.org").key
    assert Address("straße@example.org").key != Address("strasse@example.org").key
    assert Address("a@münchen.de").key == Address("a@xn--mnchen-3ya.de").key
    assert [one.name for one in several(["A <a@b.org>", "B <A@B.org>", "c@d.org"], "to")] == ["A", ""]


@pytest.mark.parametrize("value", [7, None, b"a@b.org", ["a@b.org"]])
def test_what_is_no_text_is_named(value: object) -> None:
    with pytest.raises(MessageError, match="expected text"):
        address(value, "sender")  # type: ignore[arg-type]
    with pytest.raises(MessageError, match="expected text"):
        Address("a@b.org", value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("local", "domain", "fits"),
    [
        ("l" * 64, "d" * 63 + ".example", True),
        ("l" * 65, "d" * 63 + ".example", False),
        ("l" * 64, ".".join(["d" * 46] * 4) + ".e", True),  # 64 + 1 + 189 = 254
        ("l" * 64, ".".join(["d" * 46] * 4) + ".ee", False),  # 255
        ("l", ".".join(["d" * 62] * 4), True),  # 1 + 1 + 251 = 253
        ("l" * 2, ".".join(["d" * 62] * 4), True),  # 254
        ("l" * 3, ".".join(["d" * 62] * 4), False),  # 255
    ],
)
def test_longest_address_is_254_characters(local: str, domain: str, fits: bool) -> None:
    text = f"{local}@{domain}"
    if fits:
        assert Address(text).email == text
    else:
        with pytest.raises(MessageError, match="254 in all"):
            Address(text)
