"""Removing a person: from mail that waits, from letters, from the log. Mail to others as well keeps those."""

import json
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from deliverykit.contracts.books import Change, Gone, LaneKey, LogLine, MailRow, MailState, NewMail
from deliverykit.contracts.storage import Overtaken, Step, View
from deliverykit.engine.context import Context
from deliverykit.engine.ports import Ports
from deliverykit.records.letter import enclosures
from deliverykit.words.addresses import Address, address
from deliverykit.words.facts import PersonErased

__all__ = ["Erased", "erase"]

_PAGE = 100
_STRETCH = 5_000
_RECIPIENTS = ("to", "cc", "bcc")
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


@frozen
class _Person:
    """Whom to look for."""

    address: Address

    @property
    def words(self) -> tuple[str, ...]:
        """How the address may be written in a text."""
        return tuple(dict.fromkeys((self.address.email, self.address.ascii, self.address.key)))

    def named(self, text: str) -> bool:
        """Whether a text, or a letter, holds the address."""
        lowered = text.lower()
        written = {form.lower() for word in self.words for form in (word, json.dumps(word, ensure_ascii=False)[1:-1])}
        return any(word in lowered for word in written)

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

    @property
    def flies(self) -> bool:
        """Whether it may be on the wire."""
        return self.row.state is MailState.SENDING


async def erase(context: Context, ports: Ports, account: str, who: str | Address) -> Erased:
    """Remove a person. See ``Mailer.erase``."""
    person = _Person(address(who, "erase"))
    plans: list[_Plan] = []
    after = 0
    while page := await ports.store(context.storage.letters, account, _PAGE, after):
        found = [plan for row, letter in page if (plan := _planned(person, row, letter)) is not None]
        acts = [plan for plan in found if plan.concerned and not plan.flies]
        try:
            if acts:
                await _done(context, ports, account, person, acts)
        except Overtaken:
            continue  # one of them has moved since it was read: look at this page again
        plans += found
        after = page[-1][0].id
    await ports.store(context.storage.forget, context.archive.vault.marks(account, person.address.key))
    removed = [plan.row.uid for plan in plans if not plan.letters and not plan.flies]
    lines = at = 0
    while True:
        count, at = await ports.store(context.storage.scrub, account, person.words, removed, _STRETCH, at)
        lines += count
        if not at:
            break
    erased = Erased(
        removed=tuple(removed),
        changed=tuple(plan.row.uid for plan in plans if plan.letters and plan.concerned and not plan.flies),
        in_flight=tuple(plan.row.uid for plan in plans if plan.concerned and plan.flies),
        mentioned=tuple(plan.row.uid for plan in plans if plan.letters and plan.mentions),
        log=lines,
    )
    fact = PersonErased(account=account, removed=len(erased.removed), changed=len(erased.changed), lines=lines)
    context.teller.tell([fact])
    return erased


def _planned(person: _Person, row: MailRow, letter: bytes) -> _Plan | None:
    """What is to be done with a mail; ``None`` where it has nothing to do with this person."""
    try:
        data: Letter = json.loads(letter)
    except ValueError:  # a row that cannot be read names nobody; its worker parks it
        return None
    left: Letter = dict(data)
    for name in (*_RECIPIENTS, "reply_to"):
        if name in data:
            left[name] = [one for one in data[name] if not person.owns(one)]
    concerned = left != data
    letters = _addressed({name: value for name, value in left.items() if value != []}, waits=row.state in _WAITS)
    mentions = any(person.named(json.dumps(one, ensure_ascii=False)) for one in letters) or (concerned and "raw" in data)
    concerned = concerned or person.named(row.reason)
    return _Plan(row, letters, concerned, mentions) if concerned or mentions else None


def _addressed(letter: Letter, *, waits: bool) -> tuple[Letter, ...]:
    """A letter that has somebody in its To again. Blind copies must not see each other: each becomes a mail of its own."""
    if letter.get("to"):
        return (letter,)
    if letter.get("cc"):
        return ({**{name: value for name, value in letter.items() if name != "cc"}, "to": letter["cc"]},)
    hidden = letter.pop("bcc", [])
    return tuple({**letter, "to": [one]} for one in hidden) if waits or len(hidden) == 1 else ()


async def _done(context: Context, ports: Ports, account: str, person: _Person, plans: Sequence[_Plan]) -> None:
    """Make the plans for one page true, all or none."""
    copies = [(plan.row, letter) for plan in plans for letter in plan.letters[1:]]
    inserts = [await _beside(context, ports, row, letter) for row, letter in copies]
    changes = tuple(_change(person, plan) for plan in plans)
    log = [LogLine(uid=plan.row.uid, account=account, server=plan.row.server, outcome="erased") for plan in plans]
    log += [LogLine(uid=one.uid, account=account, server="", outcome="erased", detail="for a blind copy") for one in inserts]
    step: Step[None] = Step(result=None, changes=changes, inserts=tuple(inserts), log=tuple(log), wake=True, strict=True)
    await context.decided(ports, account, lambda _: _Erase(step))


@frozen
class _Erase:
    step: Step[None]

    def __call__(self, view: View) -> Step[None]:
        return self.step


def _change(person: _Person, plan: _Plan) -> Change | Gone:
    row = plan.row
    if not plan.letters:
        return Gone(id=row.id, was=row.state)
    # A worker that has it in its hands holds the old letter: its lease is taken away, and it does not send.
    held = row.state is MailState.LEASED
    return Change(
        id=row.id,
        was=row.state,
        state=MailState.READY if held else row.state,
        due=row.due,
        server="" if held else row.server,
        reason="erased" if person.named(row.reason) else row.reason,
        letter=_bytes(plan.letters[0]),
        cost=_cost(plan.letters[0]),
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
