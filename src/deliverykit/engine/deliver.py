"""``send()`` and ``enqueue()``: checking a message against its route, and taking it in."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from attrs import evolve

from deliverykit.contracts.storage import MailState, NewMail
from deliverykit.engine.catalog import Config
from deliverykit.engine.context import Context, lane_of
from deliverykit.engine.decisions import Peek, Place, Placed, Readmit, Settle, keeps, waits_for
from deliverykit.engine.gates import Gate
from deliverykit.engine.journey import Flight, fly
from deliverykit.engine.lanes import Ticket
from deliverykit.engine.ports import Ports
from deliverykit.engine.verdicts import Next, Verdict
from deliverykit.records.letter import pack
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import DeliveryServer
from deliverykit.words.clock import NEVER, instant, moment
from deliverykit.words.errors import ConfigurationError, EnqueueInterrupted, MessageError, Unsupported
from deliverykit.words.message import Message
from deliverykit.words.outcomes import Accepted
from deliverykit.words.results import Attempt, Explanation, SendResult, SendStatus, ServerView

__all__ = ["enqueue", "explain", "send", "take_off"]

_ROUNDS = 20


def checked(context: Context, config: Config, message: object, route: str) -> tuple[Message, Ticket]:
    """The message and its ticket, or the error that says what to mend: at the earliest moment."""
    if not isinstance(message, Message):
        raise MessageError(f"expected a Message, got {type(message).__name__}; Message.from_email() takes the standard library's")
    visible = len(message.to) + len(message.cc)
    if visible > context.max_visible_recipients:
        raise MessageError(
            f"to: {visible} people would see each other's addresses (max_visible_recipients is {context.max_visible_recipients}); "
            "enqueue one message each"
        )
    config.route(route)
    members = config.members(route)
    if not members:
        raise ConfigurationError(f"route {route!r} has no delivery server; add one with mailer.servers.add(…)")
    ticket = context.ticket(message, config, route)
    refusals = {server.name: _never(config, server, message, ticket) for server in members}
    if all(refusals.values()):
        reasons = {name: "; ".join(why) for name, why in refusals.items()}
        listed = ". ".join(f"{name}: {why}" for name, why in reasons.items())
        if message.sender is None and all(server.sender is None for server in members):
            raise Unsupported(f"sender: the message has none and no server of route {route!r} forces one; give sender=", reasons)
        raise Unsupported(f"no server of route {route!r} can ever carry this message. {listed}", reasons)
    return message, ticket


def _never(config: Config, server: DeliveryServer, message: Message, ticket: Ticket) -> tuple[str, ...]:
    """Why a server can never carry it: what the ESP lacks, whom it may not send for, a limit it exceeds alone."""
    if server.provider is None:
        return ()  # BROKEN here; it may be mended, and another process may read it
    cost = len(message.recipients)
    capacity = [f"costs {cost} recipients, more than {gate.owner}'s {gate.limit.name} ever grants" for gate in _too_small(config, server, cost)]
    return (*server.provider.lacks(ticket.needs), *filter(None, [server.may_send(message.sender)]), *capacity)


def _too_small(config: Config, server: DeliveryServer, cost: int) -> Iterator[Gate]:
    """Limits that grant one mail but never so many at once; one that grants nothing at all is closed, not too small."""
    for gate in config.gates(server):
        if gate.limit.when((), 0, gate.cost(cost)) >= NEVER > gate.limit.when((), 0, 1):
            yield gate


def new_mail(context: Context, message: Message, account: str, route: str, ticket: Ticket) -> NewMail:
    """A message as it is written down."""
    letter, files = pack(message)
    due = instant(message.send_at) if message.send_at else 0
    return NewMail(
        uid=context.new_id(),
        lane=lane_of(account, route, message, ticket),
        cost=len(message.recipients),
        priority=message.priority,
        state=MailState.SCHEDULED if due > context.clock.now() else MailState.READY,
        due=due,
        expires=instant(message.expires_at) if message.expires_at else NEVER,
        letter=letter,
        files=files,
    )


async def enqueue(
    context: Context, ports: Ports, account: str, messages: Iterable[Message], route: str, chunk: int | None
) -> list[str]:
    """Durable on return: all or none, or by chunks. See ``Mailer.enqueue``."""
    config = await ports.store(context.catalog.fresh, account)
    if config.route(route).when_exhausted is WhenExhausted.REJECT:
        raise ConfigurationError(f"route {route!r} rejects what has no quota, so nothing can wait on it; use send(), or another route")
    if isinstance(messages, Message):
        raise MessageError("enqueue: expected a list of messages; give [message]")
    ids: list[str] = []
    for batch in _batches(messages, chunk):
        try:
            taken = batch()
            if taken is None:
                break
            rows = [new_mail(context, *_with(context, config, one, route, account)) for one in taken]
            await ports.store(context.storage.enqueue, rows)
        except Exception as error:
            if chunk is None:
                raise
            raise EnqueueInterrupted(f"enqueue stopped after {len(ids)} messages: {error}", ids) from error
        ids += [row.uid for row in rows]
    return ids


def _with(context: Context, config: Config, message: Message, route: str, account: str) -> tuple[Message, str, str, Ticket]:
    message, ticket = checked(context, config, message, route)
    return message, account, route, ticket


def _batches(messages: Iterable[Message], chunk: int | None):  # type: ignore[no-untyped-def]
    """One callable per chunk, so that a source that raises in the middle does it inside the caller's guard."""
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise ConfigurationError(f"chunk: {chunk!r}; give a whole number from 1")
    source = iter(messages)
    if chunk is None:
        yield lambda: list(source)
        return
    while True:
        yield lambda: list(islice(source, chunk)) or None


async def send(context: Context, ports: Ports, account: str, message: Message, route_name: str) -> SendResult:
    """Try now. See ``Mailer.send``."""
    config = await ports.store(context.catalog.fresh, account)
    message, ticket = checked(context, config, message, route_name)
    mail = new_mail(context, message, account, route_name, ticket)
    route = config.route(route_name)
    if mail.expires <= context.clock.now():
        raise MessageError("expires_at: lies in the past; the message would never be sent")
    if mail.state is MailState.SCHEDULED:
        if not keeps(route):
            raise MessageError(f"send_at: route {route_name!r} rejects what cannot go now; leave send_at out, or use another route")
        await ports.store(context.storage.enqueue, [mail])
        return SendResult(status=SendStatus.QUEUED, id=mail.uid, reason="waits for its send_at", goes_at=message.send_at)
    return await take_off(context, ports, account, route, message, mail, ticket)


async def take_off(
    context: Context, ports: Ports, account: str, route: Route, message: Message, mail: NewMail, ticket: Ticket,
    *, test: DeliveryServer | None = None,
) -> SendResult:  # fmt: skip
    """Admit one new mail and fly it: server after server, until one takes it, it may have gone, or it must wait."""
    keep = test is None and keeps(route)
    mail = evolve(mail, token=context.new_id())
    attempts: list[Attempt] = []
    patience = context.max_wait

    async def placed(first: bool) -> tuple[Placed, float, Config]:  # noqa: FBT001
        nonlocal patience
        while True:
            issued = context.clock.monotonic()
            used: list[Config] = []

            def make(config: Config) -> Place | Readmit:
                used[:] = [config]
                return _asked(config, first=first)

            answer = await context.decided(ports, account, make)
            pausing = answer.grant is None and answer.state is None and answer.refusal is not None and answer.refusal.paces
            wait = waits_for(answer) - answer.now
            if not pausing or wait > patience:
                return answer, issued, used[0]
            patience -= max(wait, 1)
            await ports.sleep(max(wait, 1) / 1000)

    def _asked(config: Config, *, first: bool) -> Place | Readmit:
        now_route = route if test is not None else config.route(route.name)
        if test is not None:
            config = testing(config, test)
        if first:
            return Place(config=config, route=now_route, ticket=ticket, mail=mail, patience=patience, lease=context.lease, keep=keep)
        lane = evolve(mail.lane, key=ticket.encode())
        return Readmit(
            config=config, route=now_route, ticket=ticket, lane=lane, uid=mail.uid, token=mail.token, cost=mail.cost,
            patience=patience, keep=keep,
        )  # fmt: skip

    for turn in range(_ROUNDS):
        answer, issued, config = await placed(turn == 0)
        if answer.grant is None:
            return _waiting(mail, attempts, answer, keep=keep)
        server = config.server(answer.grant.server)
        flight = Flight(
            uid=mail.uid, row=0, token=mail.token, lane=mail.lane, ticket=ticket, route=route, config=config,
            server=test or server, message=message, grant=answer.grant, issued=issued, attempts=len(attempts),
        )  # fmt: skip
        verdict = await fly(context, ports, flight)
        assert verdict is not None  # noqa: S101  nobody else can hold a row that was born under our token
        attempts.append(Attempt(server=server.id, outcome=verdict.outcome, reason=verdict.reason))
        landing = flight.landed(_final(verdict, keep=keep, test=test is not None), held=True, keep=False)
        await context.decided(ports, account, lambda config, landing=landing: Settle(config, (landing,), context.archive))  # type: ignore[misc]
        if verdict.next is not Next.AGAIN or test is not None:
            return await _landed(context, ports, mail, attempts, verdict, keep=keep)
        if verdict.pass_over is not None:
            ticket = ticket.passing(server.id, for_good=verdict.pass_over)
    return await _landed(context, ports, mail, attempts, verdict, keep=keep)


def _final(verdict: Verdict, *, keep: bool, test: bool) -> Verdict:
    """The verdict for the books where the mail must not wait: a test's row always goes, a ``reject`` route's is not scheduled."""
    if (test and verdict.next is not Next.DONE) or (not keep and verdict.next is Next.LATER):
        return evolve(verdict, next=Next.DEAD, brake=False)
    return verdict


def testing(config: Config, server: DeliveryServer) -> Config:
    """The configuration in which a server that is not ACTIVE may carry its test."""
    from deliverykit.records.server import Status

    trial = evolve(server, status=Status.ACTIVE)
    return evolve(config, servers={**config.servers, server.id: trial}, gates={})


def _waiting(mail: NewMail, attempts: Sequence[Attempt], answer: Placed, *, keep: bool) -> SendResult:
    return SendResult(
        status=SendStatus.QUEUED if keep else SendStatus.REJECTED,
        id=mail.uid,
        attempts=tuple(attempts),
        reason=f"no quota: {answer.refusal.by}" if answer.refusal else "",
        goes_at=moment(waits_for(answer)),
    )


async def _landed(
    context: Context, ports: Ports, mail: NewMail, attempts: Sequence[Attempt], verdict: Verdict, *, keep: bool
) -> SendResult:
    accepted = verdict.outcome.provider_message_id if isinstance(verdict.outcome, Accepted) else ""
    status = {
        Next.DONE: SendStatus.ACCEPTED,
        Next.DEAD: SendStatus.REJECTED,
        Next.IN_DOUBT: SendStatus.IN_DOUBT,
    }.get(verdict.next, SendStatus.QUEUED if keep else SendStatus.REJECTED)
    goes_at = moment(context.clock.now() + round(verdict.delay * 1000)) if verdict.next is Next.LATER else None
    if verdict.next is Next.AGAIN and keep:  # held, and we stop here: let the row go
        await ports.store(context.storage.release, [mail.token])
    return SendResult(
        status=status, id=mail.uid, attempts=tuple(attempts), provider_message_id=accepted, reason=verdict.reason, goes_at=goes_at
    )


async def explain(context: Context, ports: Ports, account: str, message: Message, route_name: str) -> Explanation:
    """Which server would take it now, and why not the others; spends and writes nothing."""
    config = await ports.store(context.catalog.fresh, account)
    ticket = context.ticket(message, config, route_name)
    cost = len(message.recipients)
    answer = await context.decided(
        ports, account, lambda config: Peek(config=config, route=config.route(route_name), ticket=ticket, cost=cost)
    )
    taker = answer.grant.server if answer.grant else None
    views: list[ServerView] = []
    for server in config.members(route_name):
        views.append(await _view(context, ports, account, config, server, message, ticket, cost, taker))
    at = None if taker else moment(waits_for(answer))
    return Explanation(route=route_name, server=taker, goes_at=at, servers=tuple(views))


async def _view(
    context: Context, ports: Ports, account: str, config: Config, server: DeliveryServer, message: Message, ticket: Ticket,
    cost: int, taker: str | None,
) -> ServerView:  # fmt: skip
    never = _never(config, server, message, ticket)
    if never:
        return ServerView(server=server.id, name=server.name, verdict="never", reason="; ".join(never))
    if not server.active:
        words = f"is {server.status.value.upper()}" + (f": {server.reason}" if server.reason else "")
        return ServerView(server=server.id, name=server.name, verdict="is passed over", reason=words)
    if server.id == taker:
        return ServerView(server=server.id, name=server.name, verdict="takes it now")
    alone = Route(
        account=account, name="", servers=(server.id,), strategy=config.route("default").strategy, when_exhausted=WhenExhausted.QUEUE
    )
    answer = await context.decided(ports, account, lambda config: Peek(config=config, route=alone, ticket=ticket, cost=cost))
    if answer.grant:
        return ServerView(server=server.id, name=server.name, verdict="is passed over", reason="another comes first in the order")
    by = answer.refusal.by if answer.refusal else ""
    return ServerView(server=server.id, name=server.name, verdict="waits", reason=by, at=moment(waits_for(answer)))
