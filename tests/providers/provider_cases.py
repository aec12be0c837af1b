"""Messages for the tests of adapters: one with every feature, a strategy for any, and what they become on the wire."""

import json
import string
from typing import Any

from hypothesis import strategies as st

from deliverykit.contracts.provider import Outgoing
from deliverykit.words.addresses import Address
from deliverykit.words.enclosures import Attachment
from deliverykit.words.message import Message
from deliverykit.words.wire import HttpRequest, HttpResponse

NOW = 1_795_428_000_123
ID = "dk_4f-Zq81"
SENDER = Address("news@example.com", "Example News")
FORCED = Address("forced@example.net")


def outgoing(
    message: Message, sender: Address | None = None, *, forced: bool = False, reply_to: tuple[Address, ...] = ()
) -> Outgoing:
    """A message as the engine hands it over."""
    chosen = sender or message.sender or SENDER
    return Outgoing(id=ID, message=message, sender=chosen, reply_to=reply_to or message.reply_to, forced=forced)


def plain(**fields: Any) -> Outgoing:
    """The smallest mail."""
    return outgoing(Message(**{"to": "ann@example.org", "subject": "Hello", "text": "Hi", **fields}))


def full(**fields: Any) -> Message:
    """Every feature that both SES and SendGrid carry."""
    everything: dict[str, Any] = {
        "sender": "Ørsted Nyheder <news@bücher.example>",
        "to": ["Ann O'Hara <ann@example.org>", "böb <bob@müller.example>"],
        "cc": ["carl@example.org"],
        "bcc": ["dora@example.org"],
        "reply_to": ["Hilfe <hilfe@example.com>", "help@example.com"],
        "subject": "Grüße, 世界 ✉ \U0001f600",
        "text": "Zeile eins\r\n.\r\nFrom me\n",
        "html": "<p>Grüße <img src='cid:logo@x'></p>",
        "headers": {"X-Campaign": "spring", "X-Note": "Grüße aus Köln", "X-Tab": "a\tb"},
        "attachments": [
            Attachment(filename="Rechnung Nº 5.pdf", content=bytes(range(256))),
            Attachment(filename="logo.png", content=b"\x89PNG", content_id="logo@x"),
        ],
        "tags": ["spring", "a-b_c"],
        "metadata": {"user_id": "42", "note": "Grüße", "event": "launch"},
        "unsubscribe": "https://example.com/u/1",
        "track_opens": True,
        "track_clicks": False,
    }
    return Message(**{**everything, **fields})


def body(request: HttpRequest) -> dict[str, Any]:
    """The JSON that goes over the wire."""
    parsed: dict[str, Any] = json.loads(request.body)
    return parsed


def answer(status: int, text: str | bytes = b"", **headers: str) -> HttpResponse:
    """An ESP's answer; ``x_amzn_errortype=`` becomes the header ``x-amzn-errortype``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status=status, headers=named, body=text.encode() if isinstance(text, str) else text)


_letters = string.ascii_lowercase + string.digits
_words = st.text(st.sampled_from(string.ascii_letters + " äß世\U0001f600'-."), max_size=20)
_lines = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=60)
_texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=200)
_locals = st.text(_letters + "+_-", min_size=1, max_size=20)
_domains = st.sampled_from(["example.org", "bücher.example", "xn--bcher-kva.example", "sub.example.com", "例え.example"])


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    """One mailbox, perhaps with a name, perhaps at an international domain."""
    return Address(f"{draw(_locals)}@{draw(_domains)}", draw(_words))


_names = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=20).map(lambda name: f"X-T{name}")
_headers = st.dictionaries(_names, _lines, max_size=4).filter(lambda found: len({name.lower() for name in found}) == len(found))
_tags = st.lists(st.text(_letters + "-_", min_size=1, max_size=30), max_size=4)
_metadata = st.dictionaries(
    st.text(_letters + "_", min_size=1, max_size=12).filter(lambda key: not key.startswith("deliverykit")), _words, max_size=4
)


@st.composite
def files(draw: st.DrawFn) -> Attachment:
    """A file, perhaps an inline one."""
    return Attachment(
        filename=draw(_lines.filter(str.strip)),
        content=draw(st.binary(min_size=1, max_size=300)),
        content_type=draw(st.sampled_from(["", "application/pdf", "text/plain; charset=utf-8", "image/png"])),
        content_id=draw(st.sampled_from(["", "", "logo", "a.b@c"])),
    )


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Any message that both ESPs carry."""
    people = draw(st.lists(addresses(), min_size=1, max_size=6, unique_by=lambda one: one.key))
    first = draw(st.integers(1, len(people)))
    second = draw(st.integers(first, len(people)))
    text = draw(st.none() | _texts)
    return Message(
        sender=draw(addresses()),
        to=people[:first],
        cc=people[first:second],
        bcc=people[second:],
        reply_to=draw(st.lists(addresses(), max_size=2)),
        subject=draw(_lines.filter(bool)),
        text=text,
        html=draw(_texts if text is None else st.none() | _texts),
        headers=draw(_headers),
        attachments=draw(st.lists(files(), max_size=2)),
        tags=draw(_tags),
        metadata=draw(_metadata),
        unsubscribe=draw(st.sampled_from([None, "https://example.com/u?id=1", "mailto:u@example.com"])),
        track_opens=draw(st.sampled_from([None, True, False])),
        track_clicks=draw(st.sampled_from([None, True, False])),
    )


def trees(names: list[str], leaves: list[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """JSON made of an ESP's own field names and of hostile values: what ``extra`` or ``payload()`` might hold."""
    spelled = st.sampled_from([variant for name in names for variant in (name, name, name.lower(), name.upper())])
    leaf = st.sampled_from(leaves)
    inner: st.SearchStrategy[Any] = st.recursive(
        leaf, lambda below: st.dictionaries(spelled, below, max_size=3) | st.lists(below, max_size=3), max_leaves=8
    )
    return st.dictionaries(spelled, inner, min_size=1, max_size=3)
