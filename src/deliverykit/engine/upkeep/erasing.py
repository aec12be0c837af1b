"""Removing a person: from mail that waits, from letters, from the log. Mail to others as well keeps those."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from email import message_from_bytes
from functools import cache
from html import unescape
from typing import Any

from attrs import define, evolve, field, frozen

from deliverykit.contracts.books import Change, Document, Gone, LaneKey, LogLine, MailRow, MailState, NewMail
from deliverykit.contracts.storage import Overtaken, Step, View
from deliverykit.engine.admission.catalog import Stale
from deliverykit.engine.context import Context
from deliverykit.engine.ports import Ports
from deliverykit.engine.together import Question
from deliverykit.records.letter import enclosures
from deliverykit.records.stored import fields_of
from deliverykit.words.addresses import Address, address
from deliverykit.words.facts import PersonErased
from deliverykit.words.mentions import Mentions

__all__ = ["Erased", "erase"]

_PAGE = 100
_STRETCH = 5_000
_RECIPIENTS = ("to", "cc", "bcc")
_TEXTS = ("text", "html")
_NAMES = (*_RECIPIENTS, "reply_to")
_WAITS = (MailState.READY, MailState.SCHEDULED, MailState.LEASED)

Letter = dict[str, Any]


@frozen(kw_only=True)
class Erased:
    """What ``erase`` came to."""

    removed: tuple[str, ...]
    """The ids of mails that went to this person alone; they are gone."""
    changed: tuple[str, ...]
    """Those that go to the others only, from now on."""
    in_flight: tuple[str, ...]
    """Those that may be on the wire at this moment, and are as they were: call again once they are settled."""
    mentioned: tuple[str, ...]
    """Those that may hold the address where it cannot be taken out: a text, a ready MIME message, their From."""
    log: int
    """Lines of the delivery log that were blanked."""
    pending: bool = False
    """Whether another process (a backup, a long read) still holds an older state of the store, in which the removed data
    can be found. A worker removes it once that process has let go."""


@define
class _Person:
    """Whom to look for; ``names`` grows by the display names that are met beside the address."""

    address: Address
    names: frozenset[str] = frozenset()
    mentions: Mentions = field(init=False)
    """What finds the person in a text."""

    def __attrs_post_init__(self) -> None:
        self.mentions = Mentions(self.address, self.names)

    def met(self, names: Iterable[str]) -> None:
        """Look for these names too."""
        if more := self.names.union(filter(None, names)) - self.names:
            self.names |= more
            self.mentions = Mentions(self.address, self.names)

    def owns(self, mailbox: Sequence[str]) -> bool:
        """Whether a mailbox is this person's, however it is spelled."""
        email = mailbox[0]
        own = self.address.key
        plain = email.isascii() and email[0] != '"' and own.isascii()
        return email.lower() == own if plain else Address(email).key == own


@frozen
class _Plan:
    """What becomes of one mail. ``letters`` are those of the mails it is afterwards: none, one, or one for each blind copy."""

    row: MailRow
    letters: tuple[Letter, ...]
    concerned: bool
    """Whether the person is among its mailboxes, or in its reason."""
    mentions: bool
    reason: str
    """The row's, without the person."""
    unread: bool = False
    """Whether the letter is left as it is: this version cannot read it."""

    @property
    def flies(self) -> bool:
        """Whether it may be on the wire."""
        return self.row.state is MailState.SENDING


async def erase(context: Context, ports: Ports, account: str, who: str | Address) -> Erased:
    """Remove a person. See ``Mailer.erase``."""
    person = _Person(address(who, "erase"))
    plans: dict[str, _Plan] = {}
    known = -1
    while len(person.names) > known:  # once more where names were met: they may be in the reasons of mail that was looked at
        known = len(person.names)
        for plan in await _outbox(context, ports, account, person):
            before = plans.setdefault(plan.row.uid, plan)
            plans[plan.row.uid] = evolve(before, mentions=before.mentions or plan.mentions)
    await ports.store(context.storage.forget, context.archive.vault.marks(account, person.address.key))
    done = plans.values()
    removed = [plan.row.uid for plan in done if not plan.letters and not plan.flies]
    named = cache(person.mentions.named)
    lines = at = 0
    while True:
        count, at = await ports.store(context.storage.scrub, account, named, removed, _STRETCH, at)
        lines += count
        if not at:
            break
    await _records(context, ports, account, named)
    erased = Erased(
        removed=tuple(removed),
        changed=tuple(plan.row.uid for plan in done if plan.letters and plan.concerned and not plan.flies),
        in_flight=tuple(plan.row.uid for plan in done if plan.concerned and plan.flies),
        mentioned=tuple(plan.row.uid for plan in done if plan.letters and plan.mentions),
        log=lines,
        pending=not await ports.store(context.storage.cleanse),
    )
    fact = PersonErased(account=account, removed=len(erased.removed), changed=len(erased.changed), lines=lines)
    context.teller.tell([fact])
    return erased


async def _outbox(context: Context, ports: Ports, account: str, person: _Person) -> list[_Plan]:
    """Go once through all mail, and do what is to be done; what was done."""
    plans: list[_Plan] = []
    after = 0
    while page := await ports.store(context.storage.letters, account, _PAGE, after):
        raw = [one for _, letter in page if b'"raw":' in letter for one in enclosures(letter)]
        files = await ports.store(context.storage.files, raw) if raw else {}
        found = [plan for row, letter in page if (plan := _planned(person, row, letter, files)) is not None]
        acts = [plan for plan in found if plan.concerned and not plan.flies]
        try:
            if acts:
                await _done(context, ports, account, acts)
        except Overtaken:
            continue  # one of them has moved since it was read: look at this page again
        plans += found
        after = page[-1][0].id
    return plans


async def _records(context: Context, ports: Ports, account: str, named: Callable[[str], bool]) -> None:
    """The reasons in the account's records, such as an ESP's words in that of a PAUSED server; also of those not read here."""
    while True:
        seen = await ports.store(context.storage.snapshot, account)
        changed = tuple(filter(None, (_without_reasons(one, named) for one in seen.documents)))
        if not changed:
            return
        decide = _Erase(Step(result=None, documents=changed), seen.version)
        with suppress(Stale):
            await ports.decide(Question(context.storage, account, (), decide))


def _without_reasons(document: Document, named: Callable[[str], bool]) -> Document | None:
    """The document without reasons that name the person; ``None`` where it has none."""
    try:
        data = json.loads(document.data or "")
    except ValueError:
        return None
    if not isinstance(data, dict) or not isinstance(data.get("reason"), str) or not named(data["reason"]):
        return None
    return evolve(document, data=json.dumps({**data, "reason": "erased"}, ensure_ascii=False))


def _planned(person: _Person, row: MailRow, letter: bytes, files: Mapping[str, bytes]) -> _Plan | None:
    """What is to be done with a mail; ``None`` where it has nothing to do with this person."""
    mentions = person.mentions
    reason = "erased" if mentions.named(row.reason) else row.reason
    try:
        data, stored = fields_of(letter, _NAMES)
        unread = stored.newer
    except ValueError:
        data, unread = {}, True
    if unread:  # by this version; another may, so it is left, and named where it can be seen to hold the address
        found = mentions.plainly(letter.decode("utf-8", "replace"))
        changed = reason != row.reason
        return _Plan(row, ({},), changed, found, reason, unread=True) if found or changed else None
    data = json.loads(letter)  # whole: what this version does not know is kept
    left: Letter = dict(data)
    for name in (*_RECIPIENTS, "reply_to"):
        if name in data:
            left[name] = [one for one in data[name] if not person.owns(one)]
            person.met(one[1] for one in data[name] if person.owns(one) and len(one) > 1)
    concerned = left != data
    letters = _addressed({name: value for name, value in left.items() if value != []}, waits=row.state in _WAITS)
    hidden = any(_tells(mentions, one, files) for one in letters) or (concerned and "raw" in data)
    concerned = concerned or reason != row.reason
    return _Plan(row, letters, concerned, hidden, reason) if concerned or hidden else None


def _tells(mentions: Mentions, letter: Letter, files: Mapping[str, bytes]) -> bool:
    """Whether a letter names the person in what is left of it. Its long texts are not encoded, but for HTML's own way."""
    texts = [value for name in _TEXTS if isinstance(value := letter.get(name), str)]
    others = json.dumps({name: value for name, value in letter.items() if name not in _TEXTS}, ensure_ascii=False)
    if mentions.named(others) or any(mentions.plainly(text) or mentions.plainly(unescape(text)) for text in texts):
        return True
    raw = files.get(letter["raw"]) if isinstance(letter.get("raw"), str) else None
    return raw is not None and any(map(mentions.named, _texts_of(raw)))


def _texts_of(raw: bytes) -> Iterator[str]:
    """The headers and texts of a ready MIME message, decoded."""
    for part in message_from_bytes(raw).walk():
        yield "\n".join(f"{name}: {value}" for name, value in part.items())
        if part.get_content_maintype() == "text" and isinstance(content := part.get_payload(decode=True), bytes):
            yield content.decode("utf-8", "replace")


def _addressed(letter: Letter, *, waits: bool) -> tuple[Letter, ...]:
    """A letter that has somebody in its To again. Blind copies must not see each other: each becomes a mail of its own."""
    if letter.get("to"):
        return (letter,)
    if letter.get("cc"):
        return ({**{name: value for name, value in letter.items() if name != "cc"}, "to": letter["cc"]},)
    hidden = letter.pop("bcc", [])
    return tuple({**letter, "to": [one]} for one in hidden) if waits or len(hidden) == 1 else ()


async def _done(context: Context, ports: Ports, account: str, plans: Sequence[_Plan]) -> None:
    """Make the plans for one page true, all or none."""
    copies = [(plan.row, letter) for plan in plans for letter in plan.letters[1:]]
    inserts = [await _beside(context, ports, row, letter) for row, letter in copies]
    changes = tuple(map(_change, plans))
    log = [LogLine(uid=plan.row.uid, account=account, server=plan.row.server, outcome="erased") for plan in plans]
    log += [LogLine(uid=one.uid, account=account, server="", outcome="erased", detail="for a blind copy") for one in inserts]
    step: Step[None] = Step(result=None, changes=changes, inserts=tuple(inserts), log=tuple(log), wake=True, strict=True)
    await context.decided(ports, account, lambda _: _Erase(step))


@frozen
class _Erase:
    step: Step[None]
    version: int | None = None

    def __call__(self, view: View) -> Step[None]:
        if self.version not in (None, view.version):
            raise Stale
        return self.step


def _change(plan: _Plan) -> Change | Gone:
    row = plan.row
    if not plan.letters:
        return Gone(id=row.id, was=row.state, unbind=True)
    # A worker that has it in its hands holds the old letter: its lease is taken away, and it does not send.
    held = row.state is MailState.LEASED
    return Change(
        id=row.id,
        was=row.state,
        state=MailState.READY if held else row.state,
        due=row.due,
        server="" if held else row.server,
        reason=plan.reason,
        letter=None if plan.unread else _bytes(plan.letters[0]),
        cost=0 if plan.unread else _cost(plan.letters[0]),
    )


async def _beside(context: Context, ports: Ports, row: MailRow, letter: Letter) -> NewMail:
    """A mail of its own for a blind copy, beside the one it was part of."""
    packed = _bytes(letter)
    return NewMail(
        uid=context.new_id(),
        lane=LaneKey(row.account, row.route, row.stream, row.key),
        cost=_cost(letter),
        priority=letter.get("priority", 0),
        state=MailState.SCHEDULED if row.state is MailState.SCHEDULED else MailState.READY,
        due=row.due,
        expires=row.expires,
        letter=packed,
        who=tuple(context.archive.vault.mark(row.account, Address(*one).key) for one in letter["to"]),
        files=await ports.store(context.storage.files, enclosures(packed)),
    )


def _bytes(letter: Letter) -> bytes:
    return json.dumps(letter, ensure_ascii=False, separators=(",", ":")).encode()


def _cost(letter: Letter) -> int:
    return sum(len(letter.get(name, ())) for name in _RECIPIENTS)
