"""Taking messages in: checked against their route at the earliest moment, written down durably."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import islice

from attrs import frozen

from deliverykit.contracts.books import MailState, NewMail
from deliverykit.contracts.router import Router
from deliverykit.contracts.storage import Overtaken
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.context import Context, lane_of
from deliverykit.engine.delivery.once import once_of, write_down
from deliverykit.engine.ports import Ports
from deliverykit.records.letter import hashed, pack
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import DeliveryServer
from deliverykit.words.arguments import optional, refused, whole
from deliverykit.words.clock import NEVER, instant
from deliverykit.words.errors import ConfigurationError, EnqueueInterrupted, MessageError, Unsupported
from deliverykit.words.message import Message
from deliverykit.words.outcomes import first_rest
from deliverykit.words.untrusted import clean

__all__ = ["Judged", "checked", "enqueue", "judged", "new_mail", "refusal", "schedule", "typed"]


@frozen
class Judged:
    """A message as the servers of its route see it at hand-over."""

    message: Message
    ticket: Ticket
    refusals: Mapping[str, tuple[str, ...]]
    """Why each server can never carry it, by the server's id; empty where it can."""
    carriers: Mapping[str, DeliveryServer]
    """The servers that carry the message as it is; each was asked as it is here."""


def checked(context: Context, config: Config, message: object, route: str, only: DeliveryServer | None = None) -> Judged:
    """Return the message as judged by the servers of its route, or raise what ``send`` and ``enqueue`` raise.

    ``only``: by this server alone.
    """
    message = typed(message)
    if problem := refusal(context, message):
        raise MessageError(problem)
    router = config.usable(route).strategy if only is None else None
    members = config.members(route) if only is None else (only,)
    if not members:
        raise ConfigurationError(f"route {route!r} has no delivery server; add one with mailer.servers.add(…)")
    found = judged(context, config, message, members, router)
    if all(found.refusals.values()):
        reasons = {server.name: "; ".join(found.refusals[server.id]) for server in members}
        listed = ". ".join(f"{name}: {why}" for name, why in reasons.items())
        if only is not None:
            raise Unsupported(f"server {only.name!r} can never carry this message: {reasons[only.name]}", reasons)
        if message.sender is None and all(server.sender is None for server in members):
            raise Unsupported(
                f"sender: the message has none and no server of route {route!r} forces one; give sender=", reasons
            )
        raise Unsupported(f"no server of route {route!r} can ever carry this message. {listed}", reasons)
    return found


def typed(message: object) -> Message:
    """The message; raises ``MessageError`` for anything else."""
    if isinstance(message, Message):
        return message
    write = "write Message(to=…, text=…), or Message.from_email(…) for the standard library's EmailMessage"
    return refused("message", message, "not a Message", write, MessageError)


def refusal(context: Context, message: Message) -> str:
    """Why no route takes this message, whatever its servers; ``""`` where nothing speaks against it."""
    visible = len(message.to) + len(message.cc)
    if visible > context.max_visible_recipients:
        return (
            f"to: {visible} people would see each other's addresses "
            f"(max_visible_recipients is {context.max_visible_recipients}); enqueue one message each"
        )
    return _unknown_esp(context, message.extra) if message.extra else ""


def _unknown_esp(context: Context, extra: Iterable[str]) -> str:
    providers = context.archive.parts.providers()
    known = {one.esp for one in providers}
    for esp in extra:
        if esp in known:
            continue
        by_name = {one.name: one.esp for one in providers}
        near = [by_name.get(esp, ""), *get_close_matches(esp.casefold()[:60], known, 1)]
        hint = next((f"did you mean {one!r}? " for one in near if one), "")
        return f"extra: no registered provider is of the ESP {esp[:60]!r}; {hint}known are {', '.join(sorted(known))}"
    return ""


def judged(
    context: Context, config: Config, message: Message, members: Sequence[DeliveryServer], router: Router | None
) -> Judged:
    """Ask each of these servers once whether it can ever carry the message."""
    ticket = context.ticket(message, members, router)
    refusals: dict[str, tuple[str, ...]] = {}
    unfit: list[DeliveryServer] = []
    carriers: dict[str, DeliveryServer] = {}
    for server in members:
        if server.provider is None:  # BROKEN here; it may be mended, and another process may read it
            refusals[server.id] = ()
            continue
        fitting, reasons = context.fitted(message, server, server.provider, tell=False)
        if reasons and not ticket.refuses(server):
            unfit.append(server)
        refusals[server.id] = (*reasons, *_never(config, server, message))
        if fitting is message and not refusals[server.id]:
            carriers[server.id] = server
    return Judged(message, ticket.without(unfit) if unfit else ticket, refusals, carriers)


def _never(config: Config, server: DeliveryServer, message: Message) -> Iterator[str]:
    """Why this server can never carry it, whatever its ESP can: whom it may not send for, a limit the message exceeds alone."""
    if refused := server.may_send(message.sender):
        yield refused
    cost = len(message.recipients)
    for gate in config.gates(server, message.stream):
        if gate.too_small(cost):
            yield f"costs {cost} recipients, more than {gate.owner}'s {gate.limit.name} ever grants"


def new_mail(
    context: Context, message: Message, account: str, route: Route, ticket: Ticket, hashed: Callable[[bytes], str] = hashed
) -> NewMail:
    """A message as it is written down, with the word on what becomes of it in doubt: its own, or its route's.

    ``hashed``: see :func:`~deliverykit.records.letter.pack`.
    """
    letter, files = pack(message, hashed)
    due = instant(message.send_at) if message.send_at else 0
    waits = due > context.clock.now()
    return NewMail(
        uid=context.new_id(),
        lane=lane_of(account, route.name, message, ticket),
        cost=len(message.recipients),
        priority=message.priority,
        state=MailState.SCHEDULED if waits else MailState.READY,
        due=due if waits else 0,
        expires=instant(message.expires_at) if message.expires_at else NEVER,
        resend=first_rest(message.in_doubt or route.in_doubt, context.lease),
        letter=letter,
        files=files,
        who=tuple({context.archive.vault.mark(account, one.key) for one in message.recipients}),
        once=once_of(context.archive.vault, account, message, letter),
    )


async def enqueue(
    context: Context, ports: Ports, account: str, messages: Iterable[Message], route: str, chunk: int | None
) -> list[str]:
    """Durable on return: all or none, or by chunks. See ``Mailer.enqueue``."""
    config = await _current(context, ports, account, route)
    if isinstance(messages, Message):
        raise MessageError("messages: one Message; give a list, such as [message]")
    ids: list[str] = []
    for batch in _batches(messages, chunk):
        try:
            taken = batch()
            if taken is None:
                break
            written = None
            while written is None:
                once = cache(hashed)  # raw mail is the same object for many, and Python hashes that for its dictionaries once
                rows = [new_mail(context, *_with(context, config, one, route, account), once) for one in taken]
                try:
                    written = await write_down(context, ports, config, taken, rows)
                except Overtaken:  # the configuration has changed: the route may be gone, or reject now
                    config = await _current(context, ports, account, route)
        except Exception as error:
            if chunk is None:
                raise
            raise EnqueueInterrupted(f"enqueue stopped after {len(ids)} messages: {clean(error)}", ids) from error
        ids += written
    return ids


async def schedule(context: Context, ports: Ports, config: Config, message: Message, mail: NewMail, route: str) -> None:
    """Write down one message that waits for its ``send_at``, while its route is there."""
    account = config.account.id
    while True:
        try:
            await ports.store(context.storage.enqueue, [mail], config.version)
        except Overtaken:  # the configuration has changed: the route may be gone, or reject now
            config = await _current(context, ports, account, route)
            checked(context, config, message, route)
        else:
            return


async def _current(context: Context, ports: Ports, account: str, route: str) -> Config:
    """The configuration as it stands; refused where nothing can wait on the route."""
    config = await ports.store(context.catalog.fresh, account)
    if config.usable(route).when_exhausted is WhenExhausted.REJECT:
        raise ConfigurationError(
            f"route {route!r} rejects what has no quota, so nothing can wait on it; use send(), or another route"
        )
    return config


def _with(context: Context, config: Config, message: Message, route: str, account: str) -> tuple[Message, str, Route, Ticket]:
    found = checked(context, config, message, route)
    return found.message, account, config.route(route), found.ticket


def _batches(messages: Iterable[Message], chunk: int | None) -> Iterator[Callable[[], list[Message] | None]]:
    """One callable per chunk, so that a source that raises in the middle does it inside the caller's guard."""
    optional(whole, chunk, "chunk", least=1)
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        refused("messages", messages, "not a list of messages", "give a list, such as [message]", MessageError)
    source = iter(messages)
    if chunk is None:
        yield lambda: list(source)
        return
    while True:
        yield lambda: list(islice(source, chunk)) or None
