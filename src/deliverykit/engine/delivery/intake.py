"""Taking messages in: checked against their route at the earliest moment, written down durably."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice

from attrs import evolve

from deliverykit.contracts.books import MailState, NewMail
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.context import Context, lane_of
from deliverykit.engine.delivery.once import once_of, write_down
from deliverykit.engine.ports import Ports
from deliverykit.records.letter import hashed, pack
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import DeliveryServer
from deliverykit.words.clock import NEVER, instant
from deliverykit.words.errors import ConfigurationError, EnqueueInterrupted, MessageError, Unsupported
from deliverykit.words.message import Message
from deliverykit.words.outcomes import first_rest

__all__ = ["checked", "enqueue", "never", "new_mail"]


def checked(
    context: Context, config: Config, message: object, route: str, only: DeliveryServer | None = None
) -> tuple[Message, Ticket]:
    """The message and its ticket, or the error that says what to mend: at the earliest moment. ``only``: by this server."""
    if not isinstance(message, Message):
        raise MessageError(
            f"expected a Message, got {type(message).__name__}; Message.from_email() takes the standard library's"
        )
    visible = len(message.to) + len(message.cc)
    if visible > context.max_visible_recipients:
        raise MessageError(
            f"to: {visible} people would see each other's addresses "
            f"(max_visible_recipients is {context.max_visible_recipients}); enqueue one message each"
        )
    router = config.usable(route).strategy if only is None else None
    members = config.members(route) if only is None else (only,)
    if not members:
        raise ConfigurationError(f"route {route!r} has no delivery server; add one with mailer.servers.add(…)")
    ticket = context.ticket(message, members, router)
    refusals = {server.name: never(config, server, message, ticket) for server in members}
    if all(refusals.values()):
        reasons = {name: "; ".join(why) for name, why in refusals.items()}
        listed = ". ".join(f"{name}: {why}" for name, why in reasons.items())
        if only is not None:
            raise Unsupported(f"server {only.name!r} can never carry this message: {reasons[only.name]}", reasons)
        if message.sender is None and all(server.sender is None for server in members):
            raise Unsupported(
                f"sender: the message has none and no server of route {route!r} forces one; give sender=", reasons
            )
        raise Unsupported(f"no server of route {route!r} can ever carry this message. {listed}", reasons)
    return message, ticket


def never(config: Config, server: DeliveryServer, message: Message, ticket: Ticket) -> tuple[str, ...]:
    """Why a server can never carry it: what the ESP lacks, whom it may not send for, a limit it exceeds alone."""
    if server.provider is None:
        return ()  # BROKEN here; it may be mended, and another process may read it
    cost = len(message.recipients)
    capacity = [
        f"costs {cost} recipients, more than {gate.owner}'s {gate.limit.name} ever grants"
        for gate in config.gates(server, message.stream)
        if gate.too_small(cost)
    ]
    needs = ticket.needs if cost == ticket.needs.recipients else evolve(ticket.needs, recipients=cost)
    return (*server.provider.lacks(needs), *filter(None, [server.may_send(message.sender)]), *capacity)


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
        once=once_of(message, letter),
    )


async def enqueue(
    context: Context, ports: Ports, account: str, messages: Iterable[Message], route: str, chunk: int | None
) -> list[str]:
    """Durable on return: all or none, or by chunks. See ``Mailer.enqueue``."""
    config = await ports.store(context.catalog.fresh, account)
    if config.usable(route).when_exhausted is WhenExhausted.REJECT:
        raise ConfigurationError(
            f"route {route!r} rejects what has no quota, so nothing can wait on it; use send(), or another route"
        )
    if isinstance(messages, Message):
        raise MessageError("enqueue: expected a list of messages; give [message]")
    ids: list[str] = []
    for batch in _batches(messages, chunk):
        try:
            taken = batch()
            if taken is None:
                break
            once = cache(hashed)  # raw mail is the same object for many, and Python hashes that for its dictionaries once
            rows = [new_mail(context, *_with(context, config, one, route, account), once) for one in taken]
            written = await write_down(context, ports, account, taken, rows)
        except Exception as error:
            if chunk is None:
                raise
            raise EnqueueInterrupted(f"enqueue stopped after {len(ids)} messages: {error}", ids) from error
        ids += written
    return ids


def _with(context: Context, config: Config, message: Message, route: str, account: str) -> tuple[Message, str, Route, Ticket]:
    message, ticket = checked(context, config, message, route)
    return message, account, config.route(route), ticket


def _batches(messages: Iterable[Message], chunk: int | None) -> Iterator[Callable[[], list[Message] | None]]:
    """One callable per chunk, so that a source that raises in the middle does it inside the caller's guard."""
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise ConfigurationError(f"chunk: {chunk!r}; give a whole number from 1")
    source = iter(messages)
    if chunk is None:
        yield lambda: list(source)
        return
    while True:
        yield lambda: list(islice(source, chunk)) or None
