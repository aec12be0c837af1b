"""Messages with odd tags, metadata, headers, attachments, addresses, raw MIME and ``extra``, for the tests of hand-over."""

import string
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from deliverykit.words.addresses import Address
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import MessageError
from deliverykit.words.message import Message

__all__ = ["odd_extras", "odd_messages"]

_LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12)
_PLAIN = st.text(string.ascii_letters + "-_", min_size=1, max_size=8)

_TAGS = st.one_of(
    _PLAIN, _LINE.filter(bool), st.sampled_from(["größe", "two words", "x" * 128, "x" * 129, "x" * 250, "x" * 251, "x" * 256])
)

_KEYS = st.one_of(_PLAIN, st.sampled_from(["event", "Event", "email", "k" * 64]))
_VALUES = st.one_of(_LINE, st.sampled_from(["", "é" * 2048, "v" * 780, "v" * 4096, "v" * 5000, "v" * 9000, "a b " * 300]))

_HEADER_NAMES = st.one_of(
    _PLAIN.map(lambda name: f"X-{name}"),
    st.sampled_from(
        [
            "Resent-To", "RESENT-from", "Resent-Sender", "Resent-Cc", "resent-bcc", "Sender", "List-Unsubscribe",
            "list-unsubscribe-post", "List-Id", "X-SES-Foo", "x-ses-list-management-options", "X-Mailgun-Recipient-Variables",
            "X-Mailgun-Tag", "X(odd)", "X,y", 'X"q', "X@home", "Postback", "X-ElasticEmail-Postback", "X-SMTPAPI", "Message-ID",
            "X-Deliverykit-Metadata", "X" * 126, "Precedence", "In-Reply-To", "References", "h:X",
        ]
    ),
)  # fmt: skip
_HEADER_VALUES = st.one_of(
    _LINE, st.sampled_from(["", " ", "\t", "a\tb", "x" * 870, "x" * 994, "x" * 996, "ü" * 300, "x" * 16_400, "a " * 600])
)

_KINDS = ["", "text/plain; charset=utf-8", "text/calendar; method=REQUEST", 'a/b; name="x;y"', "image/png", "a/" + "b" * 80]
_NAMES = [
    "a.txt", "setup.exe", "SETUP.EXE ", "a.tar.gz", "x.vbs.", "exe", ".exe", "name.with.dots.pdf", "ü.pdf", "n" * 256, "a;b.txt",
    'q"uote.txt', "logo", "a.js", "%22.txt",
]  # fmt: skip
_IDS = ["", "", "logo", "logo", "a@b", "a;b", "c" * 79, "A", "a.txt"]

_FILES = st.builds(
    Attachment,
    filename=st.sampled_from(_NAMES) | _LINE.filter(str.strip),
    content=st.sampled_from([b"x", b"x", b"", b"\x00\xff\r\n--"]),
    content_type=st.sampled_from(_KINDS),
    content_id=st.sampled_from(_IDS),
)

_LOCALS = st.sampled_from(["ann", "bob", "c+d", '"quo ted"', "zoë", "x" * 64, "a_b"]) | st.text(
    string.ascii_lowercase, min_size=1, max_size=8
)
_DOMAINS = st.sampled_from(["example.org", "example.com", "bücher.example", "mail.example.com"])
_SHOWN = st.one_of(
    st.just(""), _LINE, st.sampled_from(["Doe, Jane", "a;b", 'q"q', "Ü" * 200, "N" * 1500, "=?utf-8?q?x?=", "W" * 17_000])
)
_PEOPLE = st.builds(lambda local, domain, name: Address(f"{local}@{domain}", name), _LOCALS, _DOMAINS, _SHOWN)
_CROWD = st.sampled_from([2, 49, 50, 51]).map(lambda count: [f"p{number}@example.org" for number in range(count)])

_FIELDS = [
    b"From: evil@example.net", b"Subject: a", b"subject: b", b"Subject: \xff\xfe", b"To: everybody@example.net", b"to: <others@example.net>",
    b"Bcc: hidden@example.net", b"Sender: s@example.net", b"Reply-To: r@example.org", b"REPLY-TO: q@example.org",
    b"X-SES-CONFIGURATION-SET: other", b"x-ses-message-tags : a=b", b"X-Mailgun-Variables: {}", b"X-Mailgun-Tag: t",
    b"x-mailgun-recipient-variables: {}", b"Resent-To: e@example.net", b"Message-ID: <a@b>", b"Message-Id: <c@d>",
    b"X-Long: " + b"y" * 980, b"X-Longer: " + b"y" * 989, b"X-Longest: " + b"y" * 1100, b"X-Folded: a\r\n\tb",
    b"X-Control: a\x07b", b"MIME-Version: 1.0", b"mime-version: 1.0", b"Content-Type: text/plain; charset=utf-8",
    b'Content-Type: application/octet-stream;\r\n name="setup.exe"', b"X-Deliverykit-Id: forged", b"Date: today", b" folded",
]  # fmt: skip
_LINES = [
    b"hello", b"Gr\xc3\xbc\xc3\x9fe", b"y" * 997, b"y" * 998, b"y" * 999, b"y" * 1000, b"a\rb", b"", b".", b"X-SES-Foo: text",
    b"Content-Disposition: attachment; filename=a.exe", b"content-disposition: attachment;\r\n  filename*=utf-8''b.js",
    b"the name=a.exe of a file",
]  # fmt: skip


@st.composite
def _raw(draw: st.DrawFn) -> bytes:
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r"]))
    head = draw(st.lists(st.sampled_from(_FIELDS), min_size=1, max_size=5))
    body = draw(st.lists(st.sampled_from(_LINES), max_size=4))
    return end.join([*head, b"", *body])


# -- extra ----------------------------------------------------------------------------------------

_ESP_NAMES = {
    "ses": [
        "FromEmailAddress", "Destination", "ToAddresses", "Content", "Simple", "simple", "Raw", "Template", "Subject", "Data", "Body",
        "Html", "Headers", "Name", "Value", "EmailTags", "ConfigurationSetName", "TenantName", "ListManagementOptions", "content",
    ],
    "sendgrid": [
        "from", "From", "personalizations", "to", "headers", "Headers", "X-A", "x-a", "custom_args", "deliverykit_id", "subject",
        "mail_settings", "sandbox_mode", "bcc", "tracking_settings", "categories", "ip_pool_name", "content", "reply_to_list",
    ],
    "mailgun": [
        "from", "to", "To", "h:From", "H:From", "h:X-A", "h:x-a", "o:tag", "O:Tag", "o:testmode", "v:deliverykit_id", "v:k", "template",
        "t:variables", "recipient-variables", "attachment", "inline", "message", "text", "to[]", "", "h:Reply-To", "h:reply-to",
    ],
    "elasticemail": [
        "Recipients", "recipients", "To", "Content", "content", "From", "from", "Headers", "headers", "X-A", "x-a", "Postback", "Merge",
        "Options", "PoolName", "EnvelopeFrom", "Subject", "Body", "Attachments", "BCC",
    ],
}  # fmt: skip

_ODD_LEAVES: list[Any] = [
    None, True, 0, -1, 1.5, 10**30, "", "x", "evil@example.net", "a\r\nBcc: evil@example.net", "\ud800", float("nan"), float("inf"),
    b"bytes", {1, 2}, object(), {1: 2}, [], {}, "x" * 17_000,
]  # fmt: skip
_LEAVES = [
    one for one in _ODD_LEAVES if isinstance(one, int | str | list | dict | None) and one not in ("\ud800", {1: 2}, 10**30)
]


def _tree(names: list[str], leaves: list[Any]) -> st.SearchStrategy[dict[str, Any]]:
    key, leaf = st.sampled_from(names), st.sampled_from(leaves)
    inner: st.SearchStrategy[Any] = st.recursive(
        leaf, lambda below: st.dictionaries(key, below, max_size=3) | st.lists(below, max_size=3), max_leaves=6
    )
    return st.dictionaries(key, inner, max_size=3)


def odd_extras(*, only_json: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """``extra`` for one ESP or several, of their own field names in odd spellings; ``only_json``: what Message takes."""
    leaves = _LEAVES if only_json else _ODD_LEAVES
    one = st.sampled_from(sorted(_ESP_NAMES)).flatmap(lambda esp: st.fixed_dictionaries({esp: _tree(_ESP_NAMES[esp], leaves)}))
    return st.lists(one, max_size=2).map(lambda found: {esp: fields for each in found for esp, fields in each.items()})


# -- messages -------------------------------------------------------------------------------------


@st.composite
def odd_messages(draw: st.DrawFn, *, extras: bool = True) -> Message:
    """Any message that ``Message`` itself takes; each field is odd in about one of three."""

    def sometimes(strategy: st.SearchStrategy[Any], otherwise: Any) -> Any:
        return draw(strategy) if draw(st.sampled_from([True, False, False])) else otherwise

    fields: dict[str, Any] = {
        "to": sometimes(st.lists(_PEOPLE, min_size=1, max_size=3) | _CROWD, "ann@example.org"),
        "sender": draw(st.sampled_from([None, "news@example.com"]) | _PEOPLE),
        "tags": sometimes(st.lists(_TAGS, max_size=12), ()),
        "metadata": sometimes(st.dictionaries(_KEYS, _VALUES, max_size=3), {}),
        "track_opens": draw(st.sampled_from([None, True, False])),
        "extra": sometimes(odd_extras(only_json=True), {}) if extras else {},
    }
    if draw(st.sampled_from([True, False, False])):
        fields["raw"] = draw(_raw())
    else:
        fields |= {
            "cc": sometimes(st.lists(_PEOPLE, max_size=2), ()),
            "bcc": sometimes(st.lists(_PEOPLE, max_size=2) | _CROWD, ()),
            "reply_to": sometimes(st.lists(_PEOPLE, max_size=2), ()),
            "subject": draw(st.sampled_from(["Hello", "Hello", ""]) | _LINE),
            "text": "Hi",
            "headers": sometimes(st.dictionaries(_HEADER_NAMES, _HEADER_VALUES, max_size=16), {}),
            "attachments": sometimes(st.lists(_FILES, max_size=3), ()),
            "unsubscribe": sometimes(
                st.sampled_from(["https://example.com/u", "mailto:u@example.com", "https://example.com/" + "u" * 1000]), None
            ),
        }
    try:
        return Message(**fields)
    except MessageError:
        reject()
