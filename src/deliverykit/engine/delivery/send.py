"""``send()``: one mail now, server after server, by the same journey as the worker's."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from attrs import define, evolve, field, frozen

from deliverykit.contracts.books import Change, Gone, MailState, NewMail
from deliverykit.contracts.storage import Late, Step, Taken, View
from deliverykit.engine.admission.asking import Place, Placed, Readmit, waits_for
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.decisions import keeps
from deliverykit.engine.admission.gates import brake, circuit, closings, gates_of
from deliverykit.engine.admission.lanes import Ticket, own_lane
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.intake import checked, new_mail, schedule
from deliverykit.engine.delivery.journey import Flight, cut_short, fly
from deliverykit.engine.delivery.landing import landed_in, last_word, settle_late, settle_left
from deliverykit.engine.delivery.once import once
from deliverykit.engine.delivery.reports import queued, settled, waits
from deliverykit.engine.ports import Ports
from deliverykit.engine.settling.batch import Landing
from deliverykit.engine.settling.settle import Settled
from deliverykit.engine.settling.verdicts import Next, Verdict
from deliverykit.records.route import DEFAULT_ROUTE, Route, WhenExhausted
from deliverykit.records.server import Budget, DeliveryServer, Status
from deliverykit.routers import Priority
from deliverykit.words.clock import NEVER, moment
from deliverykit.words.errors import ConfigurationError, DeliveryError, MessageError, StorageError
from deliverykit.words.facts import StorageFailed
from deliverykit.words.message import Message
from deliverykit.words.outcomes import Accepted, NotSent, Scope, Unknown
from deliverykit.words.results import Attempt, SendResult, SendStatus
from deliverykit.words.time_limit import out_of_time, storage_patience, time_left
from deliverykit.words.untrusted import scrubbed

__all__ = ["Sending", "send"]

_LOST = "its lease was lost; a worker sends it"
_CANCELLED = "the call was cancelled"
_SETTLING = 5.0
"""How long, in seconds, an outcome that the storage does not take is offered to it again."""
_ROUNDS = 20
"""Each round closes, pauses or passes over a server, so this many are never needed; it only ends what a bug would spin."""


async def send(
    context: Context, ports: Ports, account: str, message: Message, route_name: str, only: str | None = None
) -> SendResult:
    """Try now. See ``Mailer.send``."""
    config = await ports.store(context.catalog.fresh, account)
    server = None if only is None else _chosen(config, only, route_name)
    found = checked(context, config, message, route_name, server)
    message, ticket = found.message, found.ticket
    route = config.route(route_name) if server is None else _through(server)
    mail = new_mail(context, message, account, route, ticket)
    if mail.resend and not keeps(route):
        raise MessageError(
            f"in_doubt: {_named(route_name, server)} what cannot go now, so nothing waits on it to be sent again; "
            "give in_doubt='hold', or use another route"
        )

    async def first() -> SendResult:
        if mail.expires <= context.clock.now():
            raise MessageError("expires_at: lies in the past; the message would never be sent")
        if mail.state is MailState.SCHEDULED:
            if not keeps(route):
                words = _named(route_name, server)
                raise MessageError(f"send_at: {words} what cannot go now; leave send_at out, or use another route")
            try:
                await schedule(context, ports, config, message, mail, route_name)
            except (DeliveryError, Taken):
                raise
            except BaseException as error:
                clean = ports.at_once() if isinstance(error, GeneratorExit) else ports
                await clean.to_the_end(partial(_not_waiting, context, clean, mail, MailState.SCHEDULED))
                raise
            queued(context, [mail])
            return SendResult(status=SendStatus.QUEUED, id=mail.uid, reason="waits for its send_at", goes_at=message.send_at)
        sending = Sending(context, ports, account, message, mail, ticket, route=route, carriers=found.carriers)
        return await sending.run()

    return await once(context, ports, account, message, mail, first)


def _named(route: str, server: DeliveryServer | None) -> str:
    return f"route {route!r} rejects" if server is None else "send(server=…) refuses"


def _chosen(config: Config, id_: str, route: str) -> DeliveryServer:
    """The one server that ``send(server=…)`` names."""
    if route != DEFAULT_ROUTE:
        raise ConfigurationError(f"server: give server={id_!r} or route={route!r}, not both")
    server = config.server(id_)
    if not server.active:
        why = f": {server.reason}" if server.reason else ""
        raise ConfigurationError(f"server {server.name!r} is {server.status.value.upper()}{why}; only an ACTIVE one sends")
    return server


def _through(server: DeliveryServer) -> Route:
    """A route of this server alone, on which nothing is kept to wait. It has no name: no lane of it has a worker."""
    return Route(
        account=server.account, name="", servers=(server.id,), strategy=Priority(), when_exhausted=WhenExhausted.REJECT
    )


@define
class Sending:
    """One mail on its way. With ``test`` it is that server's test email: no other takes it, and it never waits."""

    context: Context
    ports: Ports
    account: str
    message: Message
    mail: NewMail
    ticket: Ticket
    route: Route = field(kw_only=True)
    test: DeliveryServer | None = field(default=None, kw_only=True)
    stored: bool = field(default=True, kw_only=True)
    """Whether the server under test is the record itself. What is only to become it must harm nothing of what is."""
    budgets: Sequence[Budget] = field(default=(), kw_only=True)
    """Those that are new with a server under test."""
    carriers: Mapping[str, DeliveryServer] = field(factory=dict, kw_only=True)
    """See :class:`~deliverykit.engine.delivery.intake.Judged`."""
    attempts: list[Attempt] = field(factory=list, init=False)
    patience: int = field(init=False)
    """How many ms are left to wait for a pace."""

    lost: bool = field(default=False, init=False)
    """Whether the row is no longer ours: it took longer than its lease, and a worker has it."""
    ours: Flight | None = field(default=None, init=False)
    """The last flight, while its row is held; ``charged`` until its unit has come back, or is spent for good."""
    landing: Landing | None = field(default=None, init=False)
    """A verdict on its way into the books."""
    asked: list[Place | Readmit] = field(factory=list, init=False)
    """The question for leave whose answer is not known yet."""
    charged: bool = field(default=False, init=False)
    trouble: Exception | None = field(default=None, init=False)
    """What kept a verdict from being stored."""
    memo: tuple[int, ...] = field(default=(), init=False)
    """What the brake keeps with the message."""
    waits: MailState | None = field(default=None, init=False)
    """Where its row waits for a worker."""

    def __attrs_post_init__(self) -> None:
        self.mail = evolve(self.mail, token=self.context.new_id())
        self.patience = self.context.max_wait

    @property
    def single(self) -> bool:
        """Whether one server alone may send it: then there is one attempt."""
        return not self.route.name

    @property
    def keep(self) -> bool:
        """Whether the outbox takes it over when it cannot go now."""
        return self.test is None and keeps(self.route)

    async def run(self) -> SendResult:
        """Until a server takes it, it may have gone, it is refused, or it must wait.

        Cancelled or interrupted by any other exception, it leaves no doubt behind that need not be: what was on the wire
        is in doubt at once, and all else is as if it never was.
        """
        storage, lease = self.context.storage, self.context.lease
        try:
            return await self.ports.during(self._run, partial(storage.renew, [self.mail.token], lease), lease / 3000)
        except BaseException as error:
            if self._may_be_stored(error):
                await self._clean_up(error)
            raise

    def _may_be_stored(self, error: BaseException) -> bool:
        """Whether anything of this call may be in the storage after an exception."""
        if self.ours is not None or self.landing is not None or self.waits is not None:
            return True
        return bool(self.asked) and not isinstance(error, StorageError | Taken)  # nothing came true after these

    async def _clean_up(self, error: BaseException) -> None:
        if isinstance(error, GeneratorExit):  # nothing may be awaited any more: the loop has gone
            self.ports = self.ports.at_once()
        try:
            await self.ports.to_the_end(self._undone)
        except Exception as failure:  # noqa: BLE001  the caller gets the exception that came first
            doing = f"the interrupted send of message {self.mail.uid} cannot be stored; its lease will end"
            self.context.teller.failed(doing, failure, account=self.account, mail=self.mail.uid)
            if self.landing is not None:
                self.context.unsettled.append(self.landing)

    async def _run(self) -> SendResult:
        verdict: Verdict | None = None
        await self.ports.prepare()
        for _ in range(_ROUNDS):
            try:
                placed = await self._placed(first=verdict is None)
            except StorageError as error:
                if verdict is None:
                    raise
                return self._not_readmitted(verdict, error)
            if placed.grant is None:
                return self._waits(placed)
            flight = self.ours
            assert flight is not None  # noqa: S101  it has leave
            if self.lost:
                await self._land(flight, Verdict(next=Next.AGAIN, outcome=NotSent(_LOST), reason=_LOST, refund=True))
                return SendResult(status=SendStatus.QUEUED, id=self.mail.uid, attempts=self.attempts, reason=_LOST)
            verdict = await fly(self.context, self.ports, flight)
            assert verdict is not None  # noqa: S101  nobody else can hold a row that was born under our token
            verdict = await self._land(flight, verdict)
            if self.trouble is not None:
                return self._unstored(verdict, self.trouble)
            if verdict.next is not Next.AGAIN or self.single or out_of_time():
                break
            if verdict.pass_over is not None:
                self.ticket = self.ticket.passing(flight.server.id, for_good=verdict.pass_over)
            self.ticket = own_lane(self.ticket, verdict.domain)
        assert verdict is not None  # noqa: S101  the loop has run
        return await self._landed(verdict)

    # -- admission ------------------------------------------------------------------------------------

    async def _placed(self, *, first: bool) -> Placed:
        """Ask for leave; wait for a pace as long as patience lasts, never for quota."""
        while True:
            self.patience = min(self.patience, int(time_left(self.patience / 1000) * 1000))
            issued = self.context.clock.monotonic()
            asked = self.asked = []

            def make(config: Config) -> Place | Readmit:
                asked[:] = [self._question(config, first=first)]  # noqa: B023  asked is this round's
                return asked[0]  # noqa: B023

            async def ask() -> Placed:
                found, late = await self.context.decided_both(self.ports, self.account, make)
                granted = found.grant is not None
                ours = self._flight(found, issued, asked[0].config) if granted else None  # noqa: B023
                waits = None if granted else found.state
                # On one line: no exception from outside comes between.
                self.lost, self.ours, self.charged, self.waits, self.asked = bool(late), ours, granted, waits, []
                return found

            placed = await self.ports.to_the_end(ask)
            wait = waits_for(placed) - placed.now
            pacing = placed.grant is None and placed.state is None and placed.refusal is not None and placed.refusal.paces
            if not pacing or wait > self.patience:
                return placed
            self.patience -= max(wait, 1)
            await self.ports.sleep(max(wait, 1) / 1000)

    def _question(self, config: Config, *, first: bool) -> Place | Readmit:
        route = self.route
        if self.test is not None:
            config = _on_trial(config, self.test, self.budgets)
        elif not self.single:
            route = config.route(self.route.name)
        if first:
            return Place(
                config=config, route=route, ticket=self.ticket, mail=self.mail,
                patience=self.patience, lease=self.context.lease, keep=self.keep,
            )  # fmt: skip
        return Readmit(
            config=config, route=route, ticket=self.ticket, lane=evolve(self.mail.lane, key=self.ticket.encode()),
            uid=self.mail.uid, token=self.mail.token, cost=self.mail.cost, patience=self.patience, lease=self.context.lease,
            wait=self.context.again_after(len(self.attempts)), keep=self.keep,
        )  # fmt: skip

    # -- the attempt ----------------------------------------------------------------------------------

    def _flight(self, placed: Placed, issued: float, config: Config) -> Flight:
        assert placed.grant is not None  # noqa: S101  asked for by run() alone
        return Flight(
            uid=self.mail.uid, row=0, token=self.mail.token, lane=self.mail.lane, ticket=self.ticket, route=self.route,
            config=config, server=config.server(placed.grant.server), message=self.message, grant=placed.grant, issued=issued,
            attempts=len(self.attempts), resend=self.mail.resend, memo=self.memo, carriers=self.carriers,
            ends=self.context.clock.monotonic() + time_left(),
        )  # fmt: skip

    async def _land(self, flight: Flight, verdict: Verdict) -> Verdict:
        """Store a verdict; the verdict as it was ruled on. What an ESP has answered is not lost by a storage that fails."""
        if not verdict.domain:  # else it only changed its lane
            self.attempts.append(Attempt(server=flight.server.id, outcome=verdict.outcome, reason=verdict.reason))
        landing = flight.landed(self._for_the_books(flight, verdict), held=True, keep=False)
        self.landing = landing
        try:
            verdict = await self.ports.to_the_end(partial(self._store, flight, landing, verdict))
        except Exception as error:  # noqa: BLE001  a storage that cannot be written, or a host's own limit
            doing = f"the outcome of message {self.mail.uid} cannot be stored yet"
            self.context.teller.tell([StorageFailed(doing=doing, reason=_trouble(error))])
            self.context.unsettled.append(landing)
            self.landing, self.ours, self.charged, self.trouble = None, None, False, error
            return verdict
        if self.context.unsettled:
            await self.ports.to_the_end(partial(settle_left, self.context, self.ports))
        return verdict

    async def _store(self, flight: Flight, landing: Landing, verdict: Verdict) -> Verdict:
        """Settle; for some seconds again and again where the storage cannot be written."""
        clock = self.context.clock
        ends, pause = clock.monotonic() + storage_patience(_SETTLING), 0.05
        late_done: Settled | None = None
        try:
            done, late = await self._settle(landing)
            settled(self.context, done, late)
        except StorageError as error:
            while True:
                if clock.monotonic() + pause > ends:
                    raise error from None
                await self.ports.sleep(pause)
                pause *= 2
                try:
                    late_done = await settle_late(self.context, self.ports, landing)
                    break
                except StorageError as again:
                    error = again
            if late_done is None:
                self._down(flight, landing.verdict)
                return verdict
            done = late_done
        self._down(flight, landing.verdict)
        ((_, change),) = done.landed
        if isinstance(change, Change) and change.memo is not None:
            self.memo = change.memo
        return self._ruled(verdict, change, done.now)

    def _ruled(self, verdict: Verdict, change: Change | Gone, now: int) -> Verdict:
        """The verdict with what the brake made of it."""
        if verdict.next is not Next.BACK:
            return verdict
        if change.state is MailState.SCHEDULED:
            return evolve(verdict, delay=(change.due - now) / 1000)
        return evolve(verdict, next=Next.DEAD)

    def _down(self, flight: Flight | None, written: Verdict) -> None:
        """It is in the books: what of it is still ours."""
        ours = self.ours if written.next is Next.AGAIN else None
        later = written.next in (Next.LATER, Next.BACK) and not isinstance(written.outcome, Unknown)
        waits = MailState.SCHEDULED if later else self.waits
        if flight is not None:
            flight.wire.settled = written.next is Next.AGAIN
        self.landing, self.charged, self.ours, self.waits = None, False, ours, waits

    async def _settle(self, landing: Landing) -> tuple[Settled, Late]:
        return await landed_in(self.context, self.ports, self.account, [landing])

    async def _undone(self) -> None:
        """The caller is gone. What an answer said of its mail stays true; nothing of it having gone, the row goes, its unit
        comes back, its key is free.
        """
        flight = self.ours
        if self.landing is None and flight is not None and (verdict := cut_short(self.context, flight)) is not None:
            self.landing = flight.landed(self._for_the_books(flight, verdict), held=True, keep=False)
        if self.landing is not None:
            await last_word(self.context, self.ports, self.landing)
            self._down(flight, self.landing.verdict)
        nothing = Verdict(next=Next.DEAD, outcome=NotSent(_CANCELLED), refund=True, started=False)
        for question in self.asked:
            for placed in question.decided:  # and that may have become true
                self.waits = placed.state if placed.grant is None else None
                if placed.grant is not None:
                    left = self._flight(placed, 0.0, question.config).landed(nothing, held=True)
                    await last_word(self.context, self.ports, evolve(left, undone=True), quiet=True)
        if self.ours is not None:
            await self._settle(evolve(self.ours.landed(evolve(nothing, refund=self.charged)), undone=True))
        if self.waits is not None:
            await _not_waiting(self.context, self.ports, self.mail, self.waits)

    def _for_the_books(self, flight: Flight, verdict: Verdict) -> Verdict:
        """A test's row always goes; a mail whose route rejects is not scheduled."""
        if not self.stored:
            own = closings(flight.server)[Scope.SERVER]
            close = verdict.close if verdict.close and closings(flight.server)[verdict.close[0]] != own else None
            verdict = evolve(verdict, pause="", fault=False, slow=False, close=close)
        if out_of_time():
            if isinstance(verdict.outcome, Unknown):  # who did not wait cannot tell that the server failed
                verdict = evolve(verdict, fault=False)
            elif verdict.next is Next.AGAIN and not self.keep:  # no other server is asked any more
                return evolve(verdict, next=Next.DEAD)
        if self.test is not None and verdict.next is not Next.DONE:
            return evolve(verdict, next=Next.DEAD, about=None)
        if not self.keep and (verdict.next in (Next.LATER, Next.BACK) or (self.single and verdict.next is Next.AGAIN)):
            return evolve(verdict, next=Next.DEAD)
        return verdict

    # -- the answer -----------------------------------------------------------------------------------

    def _waits(self, placed: Placed) -> SendResult:
        waits(self.context, self.mail, placed, _words(placed), lost=self.lost)
        return SendResult(
            status=SendStatus.QUEUED if self.keep else SendStatus.REJECTED,
            id=self.mail.uid,
            attempts=self.attempts,
            reason=_words(placed),
            goes_at=moment(waits_for(placed)),
            stalled=self.keep and waits_for(placed) >= NEVER,
        )

    def _unstored(self, verdict: Verdict, error: Exception) -> SendResult:
        """What is known after the wire, when it could not be stored. The message is in doubt there once its lease has ended."""
        accepted = verdict.outcome.provider_message_id if isinstance(verdict.outcome, Accepted) else ""
        words = f"{verdict.reason or 'accepted'}; this outcome could not be stored: {_trouble(error)}"
        status = SendStatus.ACCEPTED if verdict.next is Next.DONE else SendStatus.IN_DOUBT
        return SendResult(status=status, id=self.mail.uid, attempts=self.attempts, provider_message_id=accepted, reason=words)

    def _not_readmitted(self, verdict: Verdict, error: StorageError) -> SendResult:
        """A server surely did not send it, and the storage cannot be asked for the next. Its row waits for its lease to end."""
        if not self.keep and self.ours is not None:
            nothing = Verdict(next=Next.DEAD, outcome=NotSent(_CANCELLED), refund=False, started=False)
            self.context.unsettled.append(evolve(self.ours.landed(nothing), undone=True))
        self.ours, self.asked = None, []
        words = f"{verdict.reason}; no other server could be asked for: {_trouble(error)}"
        status = SendStatus.QUEUED if self.keep else SendStatus.IN_DOUBT
        return SendResult(status=status, id=self.mail.uid, attempts=self.attempts, reason=words)

    async def _landed(self, verdict: Verdict) -> SendResult:
        waiting = SendStatus.QUEUED if self.keep else SendStatus.REJECTED
        ends = {Next.DONE: SendStatus.ACCEPTED, Next.DEAD: SendStatus.REJECTED, Next.IN_DOUBT: SendStatus.IN_DOUBT}
        if verdict.next is Next.AGAIN and self.keep:  # held, and we stop here: let the row go
            with suppress(StorageError):  # then its lease ends
                await self.ports.store(self.context.storage.release, [self.mail.token])
            queued(self.context, [self.mail], scrubbed(verdict.reason))
        later = verdict.next in (Next.LATER, Next.BACK) and self.keep
        doubtful = isinstance(verdict.outcome, Unknown)
        return SendResult(
            status=ends.get(verdict.next, waiting),
            id=self.mail.uid,
            attempts=self.attempts,
            provider_message_id=verdict.outcome.provider_message_id if isinstance(verdict.outcome, Accepted) else "",
            reason=f"it may have gone, and is sent again: {verdict.reason}" if later and doubtful else verdict.reason,
            goes_at=moment(self.context.clock.now() + round(verdict.delay * 1000)) if later else None,
        )


@frozen
class _NotWaiting:
    """One mail less."""

    gone: Gone

    def __call__(self, view: View) -> Step[None]:
        return Step(result=None, changes=(self.gone,))


async def _not_waiting(context: Context, ports: Ports, mail: NewMail, state: MailState) -> None:
    """Remove a message that waits in this state, and free its key."""
    gone = Gone(uid=mail.uid, token="", was=state, unbind=True)
    await ports.store(context.storage.transact, mail.lane.account, (), _NotWaiting(gone))


def _trouble(error: Exception) -> str:
    """What is wrong with the storage, for people. The words of other exceptions may hold a secret."""
    return scrubbed(str(error)) if isinstance(error, StorageError) else type(error).__name__


def _words(placed: Placed) -> str:
    """Why a mail did not get leave."""
    refusal = placed.refusal
    return "" if refusal is None else refusal.words


def _on_trial(config: Config, server: DeliveryServer, budgets: Sequence[Budget]) -> Config:
    """The configuration in which a server that is not ACTIVE may carry its test, as it was when it was asked for."""
    trial = evolve(server, status=Status.ACTIVE)
    # A circuit keeps mail from a server that fails; a test finds out whether it still does, so it does not wait for it.
    known = {**config.budgets, **{budget.name: budget for budget in budgets}}
    shared = [known[name] for name in trial.budgets if name in known]
    stops = (circuit(trial), brake(trial))
    gates = tuple(gate for gate in gates_of(trial, config.account, shared, config.host) if gate not in stops)
    return evolve(config, servers={**config.servers, server.id: trial}, gates={server.id: gates})
