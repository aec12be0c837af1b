"""Hypothesis strategies for deliverykit's words: what a host or a plug-in author tests against.

::

    from hypothesis import given
    from deliverykit.testing.strategies import messages


    @given(messages())
    def test_my_provider_builds_a_request(message): ...

Needs the extra ``deliverykit[testing]``.
"""

import json
from typing import Any

from deliverykit.words.addresses import Address
from deliverykit.words.enclosures import Attachment, Unsubscribe
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.lines import RESERVED_HEADERS
from deliverykit.words.message import Message
from deliverykit.words.wire import HttpResponse

try:
    from hypothesis import strategies as st
except ModuleNotFoundError:
    raise ConfigurationError("deliverykit.testing.strategies needs Hypothesis; pip install 'deliverykit[testing]'") from None

__all__ = ["addresses", "attachments", "headers", "http_responses", "lines", "messages"]

_ATOM = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789!#$%&'*+/=?^_`{|}~-"
_INTERNATIONAL = "äéñøßœжλ東京邮هש"
_DOMAINS = [
    "example.org",
    "example.com",
    "mail.example.co.uk",
    "EXAMPLE.net",
    "münchen.example",
    "faß.example",
    "xn--mnchen-3ya.example",
    "例え.example",
]
_NOT_IN_A_LINE = "\x7f\u2028\u2029"


def lines(max_size: int = 60) -> st.SearchStrategy[str]:
    """One line of Unicode text: what a subject, a name, a tag or a header's value may be."""
    return st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters=_NOT_IN_A_LINE), max_size=max_size)


def addresses(*, international: bool = False, names: bool = True) -> st.SearchStrategy[Address]:
    """Mailboxes: plus signs, quoted local parts, IDN domains; names of any Unicode.

    ``international=True`` adds local parts outside ASCII (RFC 6531), which most ESPs cannot carry.
    """
    letters = _ATOM + _INTERNATIONAL if international else _ATOM
    atoms = st.lists(st.text(letters, min_size=1, max_size=8), min_size=1, max_size=3).map(".".join)
    quoted = st.text("abc @.,;()[]", min_size=1, max_size=8).map(lambda text: f'"{text}"')
    local = st.one_of(atoms, atoms, atoms, quoted)
    email = st.builds("{}@{}".format, local, st.sampled_from(_DOMAINS))
    return st.builds(Address, email, lines(40) if names else st.just(""))


def attachments() -> st.SearchStrategy[Attachment]:
    """Files and inline images, with names of any Unicode and any bytes."""
    names = lines(30).filter(lambda name: bool(name.strip()))
    kinds = st.sampled_from(["", "image/png", "application/pdf", "text/plain", "text/csv"])
    content_ids = st.one_of(st.just(""), st.from_regex(r"[a-z0-9]{1,10}(@[a-z]{1,8})?", fullmatch=True))
    return st.builds(Attachment, filename=names, content=st.binary(max_size=200), content_type=kinds, content_id=content_ids)


def headers(max_size: int = 4) -> st.SearchStrategy[dict[str, str]]:
    """Headers a message may set: ``X-…`` and ordinary ones, values of any Unicode."""
    taken = {*RESERVED_HEADERS, "list-unsubscribe", "list-unsubscribe-post"}
    ordinary = st.sampled_from(["References", "In-Reply-To", "List-Id", "Precedence", "Auto-Submitted"])
    own = st.from_regex(r"X-[A-Za-z0-9]{1,12}(-[A-Za-z0-9]{1,8})?", fullmatch=True).filter(
        lambda name: name.lower() not in taken
    )
    names = st.lists(st.one_of(ordinary, own), max_size=max_size, unique_by=str.lower)
    return names.flatmap(lambda found: st.fixed_dictionaries({name: lines() for name in found}))


def http_responses() -> st.SearchStrategy[HttpResponse]:
    """Answers of any status with JSON, text or garbage for a body: what a provider's ``outcome`` must survive."""
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=10), below, max_size=3),
        max_leaves=8,
    )
    bodies = st.one_of(
        value.map(lambda found: json.dumps(found).encode()), st.text(max_size=50).map(str.encode), st.binary(max_size=50)
    )
    statuses = st.one_of(st.integers(200, 599), st.sampled_from([200, 202, 400, 401, 403, 413, 420, 429, 500, 502, 503, 504]))
    named = st.dictionaries(
        st.sampled_from(["Content-Type", "Retry-After", "X-Message-Id", "X-RateLimit-Reset"]), st.text(max_size=20), max_size=3
    )
    return st.builds(HttpResponse, status=statuses, headers=named, body=bodies)


@st.composite
def messages(draw: st.DrawFn, *, raw: bool = False, international: bool = False, sender: bool = True) -> Message:
    """Messages that use any features: copies, headers, attachments, inline images, tags, metadata, tracking, unsubscribe.

    ``raw=True`` mixes in messages given as MIME, ``international=True`` local parts outside ASCII;
    ``sender=False`` leaves the From to the server.
    """
    people = st.lists(addresses(international=international), max_size=3)
    to = draw(st.lists(addresses(international=international), min_size=1, max_size=3))
    common: dict[str, Any] = {
        "sender": draw(addresses()) if sender else None,
        "to": to,
        "tags": draw(st.lists(lines(20).filter(bool), max_size=3)),
        "metadata": draw(
            st.dictionaries(st.from_regex(r"[a-z_]{1,10}", fullmatch=True).filter(_not_ours), lines(20), max_size=3)
        ),
        "track_opens": draw(st.none() | st.booleans()),
        "track_clicks": draw(st.none() | st.booleans()),
        "stream": draw(st.sampled_from(["", "newsletter", "receipts"])),
        "priority": draw(st.integers(-1000, 1000)),
    }
    if raw and draw(st.booleans()):
        body = draw(st.binary(max_size=100))
        return Message(raw=b"From: someone@example.org\r\nSubject: raw\r\n\r\n" + body, **common)
    bodies = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=200)
    text, html = draw(st.one_of(st.tuples(bodies, st.none()), st.tuples(st.none(), bodies), st.tuples(bodies, bodies)))
    return Message(
        cc=draw(people),
        bcc=draw(people),
        reply_to=draw(st.lists(addresses(international=international), max_size=2)),
        subject=draw(lines()),
        text=text,
        html=html,
        headers=draw(headers()),
        attachments=draw(st.lists(attachments(), max_size=3)),
        unsubscribe=draw(
            st.sampled_from([None, Unsubscribe(url="https://example.org/u"), Unsubscribe(mailto="mailto:u@example.org")])
        ),
        **common,
    )


def _not_ours(key: str) -> bool:
    return not key.startswith("deliverykit")
