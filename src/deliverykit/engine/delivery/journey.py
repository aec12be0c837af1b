"""The journey of one attempt: wait for the slot, submit exactly once, judge. ``send()`` and the worker share it."""

import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Self

from attrs import define, evolve, field, frozen

from deliverykit.contracts.books import LaneKey
from deliverykit.contracts.echoes import Echoes
from deliverykit.contracts.outgoing import Outgoing
from deliverykit.contracts.provider import Provider
from deliverykit.engine.admission.admit import Grant
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.lanes import Ticket, hashed
from deliverykit.engine.admission.slots import Slot
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.starting import HORIZON, Issued, TimeToStart, in_its_slot, until
from deliverykit.engine.outgoing import AdapterFailed, addressed, pure
from deliverykit.engine.ports import Ports
from deliverykit.engine.settling.batch import Landing
from deliverykit.engine.settling.verdicts import Next, Situation, Verdict, judge, unequipped
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import DeliveryServer
from deliverykit.words.clock import NEVER, Clock, instant
from deliverykit.words.errors import ConfigurationError, MessageError, Stage, TransportError
from deliverykit.words.message import Message
from deliverykit.words.outcomes import About, NotSent, Outcome, Rejected, ServerFault, Unfit, Unknown
from deliverykit.words.untrusted import named, scrubbed
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["HORIZON", "UNREADABLE", "Flight", "Wire", "cut_short", "fly", "grounded"]

_REST = 60.0
"""Seconds until mail is tried again that was kept on the ground: a file cannot be read, a host's part raised."""

UNREADABLE = "this process cannot read the message"
"""How the reason of a message begins that waits for a process that can read it."""

_STEP_BACK = 3_600_000
"""A clock that went back by more than so many ms is another clock, as a storage sees it."""


@define
class Wire:
    """How far an attempt has come. An exception may end it anywhere, so whoever cleans up after it looks here."""

    begun: "_Begun | None" = None
    """When its request may have left; ``None`` before that."""
    verdict: Verdict | None = None
    settled: bool = False
    """Whether its verdict is stored."""


@frozen(kw_only=True)
class Flight:
    """One admitted mail and the server that is to send it."""

    uid: str
    row: int
    token: str
    lane: LaneKey
    ticket: Ticket
    route: Route
    config: Config
    server: DeliveryServer
    message: Message
    grant: Grant
    issued: float
    """The monotonic time before the grant was asked for."""
    attempts: int = 0
    resend: int = 0
    """How many ms it first rests before it is sent again, where its fate is unknown; 0: it is held then."""
    resends: int = 0
    ends: float = math.inf
    """The monotonic time at which its caller's time limit ends."""
    carriers: Mapping[str, DeliveryServer] = field(factory=dict, eq=False, repr=False)
    """The servers that were asked in this call and carry the message as it is."""
    memo: tuple[int, ...] = ()
    """What the brake keeps with the message."""
    wire: Wire = field(factory=Wire, eq=False, repr=False)

    @property
    def from_domain(self) -> str:
        """The domain of its From; ``""`` where the server forces another, or the message cannot be read."""
        message: Message | None = self.message
        sender = message.sender if message is not None and self.server.sender is None else None
        return sender.domain if sender is not None else ""

    def landed(self, verdict: Verdict, *, held: bool = False, keep: bool = True) -> Landing:
        """This flight with its verdict, as the books want it."""
        message: Message | None = self.message  # none where its row cannot be read
        people = named(message.recipients) if verdict.reason and message is not None else ()
        alike = ""
        if verdict.about is not None and message is not None:
            alike = Echoes(message, self.server.sender).removed(verdict.reason)
        return Landing(
            uid=self.uid, row=self.row, token=self.token, lane=self.lane, ticket=self.ticket,
            server=self.server, grant=self.grant, verdict=verdict, held=held, keep=keep, resends=self.resends,
            attempt=self.attempts + 1, domain=self.from_domain, memo=self.memo, told=scrubbed(verdict.reason, people),
            alike=alike,
        )  # fmt: skip


async def fly(
    context: Context, ports: Ports, flight: Flight, mark_sending: Callable[[], Awaitable[bool]] | None = None
) -> Verdict | None:
    """One attempt, from its grant to its verdict; ``None`` where the mail is no longer ours to send.

    Nothing is submitted before the slot. No request begins once the first window of the grant has ended; the
    transport checks that directly before the first byte. Such mail hands its unit back and asks again, and no attempt is
    spent. Whatever may take long (a host's vault, a big attachment) is done before.
    """
    try:
        ready = await _readied(context, ports, flight, mark_sending)
    except Exception as error:  # noqa: BLE001  a host's clock, or a bug
        doing = "a flight failed on the ground"
        context.teller.failed(doing, error, account=flight.lane.account, mail=flight.uid)
        return grounded(f"{doing}: {type(error).__name__}")
    if not isinstance(ready, _Ready):
        return ready
    wire = flight.wire
    wire.begun = _Begun.now(context.clock)
    outcome = await _submitted(context, ports, ready)
    if isinstance(outcome, Verdict):  # no byte of it left
        wire.verdict = outcome
        return outcome
    verdict = _judged(context, flight, outcome, wire.begun)
    again = context.renewals.tries_again(flight.server, outcome, ready.read)
    wire.verdict = evolve(verdict, pause="") if again else verdict
    return wire.verdict


def cut_short(context: Context, flight: Flight) -> Verdict | None:
    """The verdict on an attempt that an exception has ended; ``None`` where nothing of it needs one.

    Its own where it was judged before the exception. Without an answer its fate is unknown once it was on the wire.
    """
    wire = flight.wire
    if wire.settled or wire.begun is None:
        return None
    if wire.verdict is not None:
        return wire.verdict
    verdict = _judged(context, flight, Unknown("it was cancelled while it was on the wire"), wire.begun)
    return evolve(verdict, fault=False)  # a caller that goes says nothing about the server


async def _readied(
    context: Context, ports: Ports, flight: Flight, mark_sending: Callable[[], Awaitable[bool]] | None
) -> "_Ready | Verdict | None":
    """The request, once it may leave at once; else the verdict, or ``None`` where the mail is no longer ours."""
    if (stopped := _domain_stopped(flight)) is not None:
        return stopped
    marked = begun = _Begun.now(context.clock)
    issued = Issued(Slot.of(flight.grant), begun.steady)
    await until(context, ports, issued, HORIZON)
    if mark_sending is not None:
        marked = _Begun.now(context.clock)
        if not await mark_sending():
            return None
    ready = _built(context, flight)
    if isinstance(ready, Verdict):
        return ready
    if not await in_its_slot(context, ports, flight.lane.account, flight.config, flight.grant, issued):
        return _missed("its slot was long past")
    if context.clock.now() < flight.grant.now - _STEP_BACK:
        return _missed("the clock was set back")  # it counts in a window of the other clock
    now = context.latest_now(flight.grant, flight.issued)
    # A lease is renewed each third: so much is left of it at the least when the mail is marked.
    if marked.ago(context.clock) > context.lease * 2 // 3:
        return _missed("its lease was over before it could start")
    expires = flight.message.expires_at
    if expires is not None and instant(expires) <= now:
        if flight.resends:  # it may have gone: not dead, but in doubt still, which the books see to
            return Verdict(next=Next.AGAIN, outcome=NotSent("expired"), reason="expired", refund=True)
        return Verdict(next=Next.DEAD, outcome=NotSent("expired"), reason="expired", refund=True)
    start = TimeToStart(context.clock, flight.grant, flight.issued, flight.ends)
    if missed := start.missed():
        return _missed(missed)
    return evolve(ready, request=start.limit(ready.request), start=start)


def _domain_stopped(flight: Flight) -> Verdict | None:
    """The verdict on a message whose From domain this server takes none of, found in a lane of several From domains."""
    domain = flight.from_domain
    if not domain or flight.ticket.domain or not flight.route.name:
        return None  # a test and send(server=…) find out themselves
    hold = flight.config.domain_held(domain, flight.server.id)
    if hold is None and hashed(domain) not in flight.grant.stopped:
        return None
    reason = hold.reason if hold is not None else f"{flight.server.name} refuses messages from {domain} for now"
    return Verdict(next=Next.AGAIN, outcome=NotSent(reason), reason=reason, refund=True, started=False, domain=domain)


@frozen
class _Begun:
    """When something began: by the clock, and by the steady one."""

    at: int
    steady: float

    @classmethod
    def now(cls, clock: Clock) -> Self:
        """This instant."""
        return cls(clock.now(), clock.monotonic())

    def ago(self, clock: Clock) -> int:
        """How many ms ago, by whichever of them says more: one of them may have been set back, or stood still."""
        return max(clock.now() - self.at, round((clock.monotonic() - self.steady) * 1000))


def _judged(context: Context, flight: Flight, outcome: Outcome, begun: _Begun) -> Verdict:
    took = context.clock.monotonic() - begun.steady
    expires = flight.message.expires_at
    life = NEVER if expires is None else instant(expires) - context.clock.now()
    verdict = judge(outcome, _situation(flight, life), context.back_off)
    return evolve(verdict, left_at=begun.at, took=took)


def grounded(reason: str) -> Verdict:
    """Kept on the ground by what a person must mend. Nobody has died, so it does not wait for its lease to end."""
    return Verdict(next=Next.LATER, outcome=NotSent(reason), reason=reason, refund=True, delay=_REST, started=False)


def _missed(reason: str) -> Verdict:
    """Not started in time: the unit goes back and the mail asks again; no attempt is spent."""
    return Verdict(next=Next.AGAIN, outcome=NotSent(reason), reason=reason, refund=True, started=False)


@frozen
class _Ready:
    """A request that only waits for its instant."""

    provider: Provider
    mail: Outgoing
    request: HttpRequest
    read: int
    """The number of the read of its credentials; see :class:`~deliverykit.engine.renewal.Renewals`."""
    start: TimeToStart | None = None


def _built(context: Context, flight: Flight) -> _Ready | Verdict:
    """The request, or the verdict where there is none. Whatever goes wrong becomes an outcome."""
    read = context.renewals.number()
    try:
        provider = context.provider(flight.server)
    except ConfigurationError as error:
        return unequipped(f"the credentials cannot be had: {error}", _situation(flight))
    except Exception as error:  # noqa: BLE001  whatever a host's callable raises
        # A host's callable: a vault that is sealed, a network that is down. Its words may hold a secret.
        doing = f"the credentials of {flight.server.id} cannot be had"
        context.teller.failed(doing, error, account=flight.lane.account, mail=flight.uid, trace=False)
        return unequipped(f"the credentials cannot be had: {type(error).__name__}", _situation(flight))
    ready = _request(context, flight, provider, read)
    if not isinstance(ready, _Ready):
        return judge(ready, _situation(flight), context.back_off)
    try:  # of the request itself: an adapter may put its address together from any of its options
        context.permissions.check_address(flight.server.account, provider, ready.request.url, "request")
    except ConfigurationError as error:
        return unequipped(str(error), _situation(flight))
    return ready


def _request(context: Context, flight: Flight, provider: Provider, read: int) -> _Ready | Outcome:
    server = flight.server
    try:
        message = flight.message
        asked = flight.carriers.get(server.id)
        if asked is None or asked.provider is not server.provider or asked.sender is not server.sender:
            message, reasons = context.fitted(message, server, provider)
            if reasons := (*reasons, *filter(None, [server.may_send(message.sender)])):
                return Unfit("; ".join(reasons), About.MESSAGE)
        stamp = context.archive.vault.stamp(flight.uid, server.account, server.id)
        mail = addressed(message, server, stamp, flight.attempts - flight.resends)
        now = context.latest_now(flight.grant, flight.issued)
        return _Ready(provider, mail, pure(partial(provider.request, mail, now, checked=True)), read)
    except MessageError as error:
        return Unfit(str(error), About.MESSAGE)
    except ConfigurationError as error:
        return ServerFault(str(error))
    except AdapterFailed as failure:
        doing = f"the adapter {provider.name} failed to build a request"
        context.teller.failed(doing, failure.error, account=flight.lane.account, mail=flight.uid)
        return Rejected(f"the adapter {provider.name} failed to build it: {type(failure.error).__name__}")


async def _submitted(context: Context, ports: Ports, ready: _Ready) -> Outcome | Verdict:
    """Transmit once, read the answer. Whatever goes wrong becomes an outcome; a request that began too late, a verdict."""
    provider, mail = ready.provider, ready.mail
    try:
        response = await ports.transmit(ready.request)
    except TransportError as error:
        surely_not_sent = _surely_not_sent(error)
        if surely_not_sent and ready.start is not None and (missed := ready.start.missed()):
            return _missed(missed)
        words = provider.safe_text(error)
        return NotSent(words) if surely_not_sent else Unknown(words)
    except Exception as error:  # noqa: BLE001  a host's transport; it is told of
        context.teller.failed("the transport failed", error)
        return Unknown(f"the transport failed: {type(error).__name__}")
    if not isinstance(response, HttpResponse):
        return Unknown(f"the transport returned {type(response).__name__}, not an HttpResponse")
    try:
        return pure(partial(provider.outcome, response, mail, context.clock.now()), again=True)
    except Exception as failure:  # noqa: BLE001  it is told of
        raised = failure.error if isinstance(failure, AdapterFailed) else failure
        context.teller.failed(f"the adapter {provider.name} failed to read an answer", raised)
        return Unknown(f"{response.status}; the adapter {provider.name} failed to read it: {type(raised).__name__}")


def _surely_not_sent(error: TransportError) -> bool:
    """Whether the transport says so by one of our stages; what it says otherwise proves nothing."""
    return isinstance(error.stage, Stage) and error.stage.surely_not_sent


def _held(flight: Flight, server: DeliveryServer) -> bool:
    lane = flight.lane
    held = flight.config.held(lane.route, lane.stream, flight.ticket, server.id)
    return held is not None or flight.config.domain_held(flight.from_domain, server.id) is not None


def _situation(flight: Flight, life: int = NEVER) -> Situation:
    """Judged on the configuration the flight was admitted under."""
    ticket, me = flight.ticket, flight.server.id
    members = flight.config.members(flight.route.name) if flight.route.name else ()
    now = [server for server in members if server.id != me and ticket.admits(server) and not _held(flight, server)]
    ever = [server for server in members if server.id != me and not ticket.refuses(server)]
    spills = flight.route.when_exhausted is not WhenExhausted.QUEUE
    return Situation(
        attempts=flight.attempts, others=spills and bool(now), alternatives=bool(ever), able=bool(now),
        resend=flight.resend, resends=flight.resends, life=life,
    )  # fmt: skip
