"""Mail and answers to try adapters with: made by hand and by Hypothesis."""

import json
from typing import Any

from hypothesis import strategies as st

from deliverykit.contracts.provider import Outgoing
from deliverykit.words.addresses import Address, address
from deliverykit.words.enclosures import Attachment
from deliverykit.words.message import Message
from deliverykit.words.wire import HttpResponse

__all__ = ["NOW", "OUR_ID", "answers", "json_answer", "mails", "outgoing", "texts"]

NOW = 1_795_860_000_000
"""2026-11-28 in UTC milliseconds; nothing depends on which instant it is."""
OUR_ID = "dk_5f3a-9Z"

_LINE = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
_DOMAINS = st.sampled_from(["example.org", "mail.example.com", "bücher.example", "例え.example", "xn--bcher-kva.example"])
_LOCALS = st.from_regex(r"[a-z0-9+_-]{1,12}(\.[a-z0-9]{1,5})?", fullmatch=True)


def texts(min_size: int = 0, max_size: int = 40) -> st.SearchStrategy[str]:
    """One line without control characters."""
    return st.text(_LINE, min_size=min_size, max_size=max_size)


def bodies() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=80)


def people(max_size: int, min_size: int = 0) -> st.SearchStrategy[list[Address]]:
    names = st.one_of(
        st.just(""), texts(max_size=20), st.sampled_from(['O"Hara, Ann', "Zoë (Büro), 会社", "a\\b", "Müller; Söhne"])
    )
    one = st.builds(lambda local, domain, name: Address(f"{local}@{domain}", name), _LOCALS, _DOMAINS, names)
    return st.lists(one, min_size=min_size, max_size=max_size, unique_by=lambda found: found.key)


def attachments() -> st.SearchStrategy[list[Attachment]]:
    names = st.one_of(
        texts(1, 30).filter(lambda name: bool(name.strip())),
        st.sampled_from(['rés"umé.pdf', "a\\b.txt", "表 1.xlsx", "x; y=z.txt", "%22.txt"]),
    )
    cids = st.one_of(st.just(""), st.from_regex(r"[A-Za-z0-9._@-]{1,20}", fullmatch=True))
    one = st.builds(
        lambda name, content, cid: Attachment(filename=name, content=content, content_id=cid),
        names,
        st.binary(max_size=64),
        cids,
    )
    return st.lists(one, max_size=3, unique_by=lambda found: found.content_id or found.filename)


_HEADERS = st.dictionaries(st.from_regex(r"X-[A-Z][a-z]{1,8}", fullmatch=True), texts(max_size=60), max_size=3)


@st.composite
def mails(draw: st.DrawFn, *, max_tags: int, metadata: bool, max_reply_to: int, unsubscribe_alone: bool = False) -> Outgoing:
    """Any mail an ESP of these abilities can carry."""
    unsubscribe = draw(st.sampled_from([None, "https://example.org/u?x=1", "mailto:u@example.org"]))
    alone = unsubscribe_alone and unsubscribe is not None
    text, html = draw(st.tuples(st.none() | bodies(), st.none() | bodies()).filter(any))
    message = Message(
        to=draw(people(1 if alone else 3, min_size=1)),
        cc=[] if alone else draw(people(2)),
        bcc=[] if alone else draw(people(2)),
        subject=draw(texts()),
        text=text,
        html=html,
        headers=draw(_HEADERS),
        attachments=tuple(draw(attachments())),
        tags=draw(st.lists(st.from_regex(r"[a-zA-Z0-9 _.-]{1,20}", fullmatch=True), max_size=max_tags, unique=True)),
        metadata=draw(st.dictionaries(st.from_regex(r"[a-c][A-Za-z0-9_-]{0,8}", fullmatch=True), texts(), max_size=3))
        if metadata
        else {},
        unsubscribe=unsubscribe,
        track_opens=draw(st.none() | st.booleans()),
        track_clicks=draw(st.none() | st.booleans()),
    )
    sender = draw(people(1, min_size=1))[0]
    return Outgoing(
        id=OUR_ID, message=message, sender=sender, reply_to=tuple(draw(people(max_reply_to))), forced=draw(st.booleans())
    )


def outgoing(forced: bool = True, reply_to: tuple[str, ...] = (), **fields: Any) -> Outgoing:
    """A mail by hand, from ``News <news@example.com>``."""
    content: dict[str, Any] = {} if "raw" in fields or "html" in fields else {"text": "Hello"}
    message = Message(**{"to": "ann@example.org", **content, **fields})
    people = tuple(address(one) for one in reply_to)
    return Outgoing(id=OUR_ID, message=message, sender=address("News <news@example.com>"), reply_to=people, forced=forced)


def json_answer(status: int, body: object, **headers: str) -> HttpResponse:
    """An answer with a JSON body; ``x_ratelimit_reset="1"`` is the header ``X-RateLimit-Reset``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status=status, headers=named, body=json.dumps(body).encode())


STATUSES = (
    100,
    200,
    202,
    204,
    299,
    301,
    304,
    400,
    401,
    402,
    403,
    404,
    405,
    409,
    412,
    413,
    418,
    420,
    422,
    429,
    499,
    500,
    501,
    502,
    503,
    504,
)


def answers(phrases: list[str], keys: list[str]) -> st.SearchStrategy[list[HttpResponse]]:
    """One body and its headers under every status: what this ESP says under its JSON ``keys``, its ``phrases``, and garbage."""
    text = st.one_of(st.sampled_from(phrases), st.sampled_from(["", "<>", "< >"]), st.text(max_size=60))
    value = st.one_of(text, st.none() | st.integers() | st.booleans() | st.floats() | st.lists(text, max_size=2))
    shaped = st.builds(
        lambda key, found, more: {**more, key: found}, st.sampled_from(keys), value, st.dictionaries(st.text(max_size=8), value)
    )
    body = st.one_of(shaped.map(_dumped), shaped.map(_dumped), value.map(_dumped), st.binary(max_size=60), st.just(b"[" * 5000))
    times = st.one_of(
        st.text(max_size=30), st.integers().map(str), st.floats().map(str), st.just("Mon, 25 Aug 2025 07:00:31 UTC")
    )
    headers = st.dictionaries(st.sampled_from(["Retry-After", "X-RateLimit-Reset", "Location"]), times, max_size=3)
    statuses = st.integers(100, 999).map(lambda status: (status, *STATUSES))
    return st.builds(
        lambda found, headers, body: [HttpResponse(status=one, headers=headers, body=body) for one in found],
        statuses,
        headers,
        body,
    )


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()
