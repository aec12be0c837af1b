"""The worker: a stream. It claims, flies many mails at once, settles in groups; no mail waits for another's answer."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from attrs import evolve

from deliverykit.contracts.books import Head, Lane, Leased, MailState, OpenLanes
from deliverykit.contracts.storage import DamagedStates, Step, Storage
from deliverykit.engine.admission.admit import Refusal
from deliverykit.engine.admission.catalog import HOST_KEY, Config, Stale, state_key
from deliverykit.engine.admission.decisions import PROBE_HEADS, ClaimHeads, Illegible, MoreHeads
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.flusher import Flusher
from deliverykit.engine.delivery.journey import UNREADABLE, Flight, cut_short, fly, grounded
from deliverykit.engine.delivery.landing import last_word, settle_left
from deliverykit.engine.delivery.reports import blocked, buried, recovered
from deliverykit.engine.delivery.turns import Turns
from deliverykit.engine.ports import Ports
from deliverykit.engine.settling.batch import Landing
from deliverykit.engine.settling.settle import ended
from deliverykit.engine.settling.verdicts import Next, Verdict
from deliverykit.records.account import DEFAULT_ACCOUNT
from deliverykit.records.letter import Unreadable, enclosures, unpack
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.routers import Priority
from deliverykit.words.clock import NEVER
from deliverykit.words.errors import ClockError, NotFound, StorageError
from deliverykit.words.facts import MailDead, MailInDoubt, StorageFailed
from deliverykit.words.outcomes import NotSent
from deliverykit.words.results import DrainReport
from deliverykit.words.time_limit import patience
from deliverykit.words.untrusted import clean, scrubbed

__all__ = ["Stream"]

_FIRST_LOOK = 0.05
_REPORTED = 10_000
_GRACE = 2.0
"""How long, in seconds, a worker that ends offers outcomes to a storage that does not take them."""
_NOTHING = Verdict(next=Next.AGAIN, outcome=NotSent("cancelled"), refund=True, started=False)
"""On mail that was not started."""


class Stream:
    """One worker's loop. ``poll`` is the longest it goes without looking, in seconds."""

    def __init__(self, context: Context, ports: Ports, concurrency: int, poll: float) -> None:
        self._context = context
        self._ports = ports
        self._concurrency = concurrency
        self._poll = poll
        self._begin()
        self._helpers: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        """What ended one of the helpers."""
        self._ends = math.inf
        """When, by the loop's clock, no outcome is offered to the storage any more."""
        self._deadline = math.inf
        """When, by the Mailer's monotonic clock, nothing more is claimed."""
        self._time: Callable[[], float] = lambda: 0.0
        """The loop's clock, for any thread."""
        self._flying: dict[asyncio.Task[None], Flight] = {}
        """All that is claimed and not settled: half as many again as may be on the wire, so that no place there waits."""
        self._turns = Turns()
        self._shut: dict[tuple[str, str], int] = {}
        """Servers, by account, that closed or were PAUSED here, and the last claim before: its grants are used no more."""
        self._claims = 0
        self._stopped = self._stopping = False
        self._clock_error: ClockError | None = None
        self._tally: Counter[str] = Counter()
        self._held = ""
        """The token of what is leased and not launched yet."""
        self._reported: set[int] = set()
        """Messages that this process cannot read, once reported."""
        self._skipped: dict[int, Exception] = {}
        """Lanes that could not be claimed from in this run, with the last reason."""
        self._illegible: set[int] = set()
        """Lanes that this process cannot serve, by the last look."""

    def _begin(self) -> None:
        """What belongs to one run, and to its loop."""
        self._flusher = Flusher(self._context, self._ports, self._enough)
        self._places = asyncio.Semaphore(self._concurrency)
        self._nudge = asyncio.Event()

    def stop(self) -> None:
        """Claim nothing more, finish what flies, return. From another thread: ``loop.call_soon_threadsafe``."""
        self._stopped = True
        self._end()

    def _end(self) -> None:
        """Claim nothing more."""
        if not self._stopping:
            self._ends = self._time() + _GRACE
        self._stopping = True
        self._nudge.set()

    def _left(self) -> float:
        """How many seconds the storage is still waited for."""
        late = self._deadline - self._context.clock.monotonic() + _GRACE
        return min(self._ends - self._time(), late)

    def _enough(self) -> bool:
        return self._left() <= 0

    def nudge(self) -> None:
        """Look now rather than at the next poll."""
        self._nudge.set()

    @property
    def report(self) -> DrainReport:
        """What was done so far."""
        return DrainReport(
            accepted=self._tally[Next.DONE],
            dead=self._tally[Next.DEAD],
            in_doubt=self._tally[Next.IN_DOUBT],
            returned=self._tally[Next.AGAIN] + self._tally[Next.LATER] + self._tally[Next.BACK],
        )

    async def run(self, *, drain: bool, timeout: float | None = None) -> DrainReport:
        """Work until stopped; with ``drain`` until all that is left waits for quota, a retry or its time."""
        self._begin()
        self._time = asyncio.get_running_loop().time
        self._ends = self._time() + _GRACE if self._stopping else math.inf
        self._deadline = math.inf if timeout is None else self._context.clock.monotonic() + timeout
        patience.set(self._left)
        pause = _FIRST_LOOK
        self._tally.clear()
        self._skipped.clear()
        try:
            self._help(self._flusher.run)
            self._help(self._beat)
            await self._ports.prepare()
            with suppress(DamagedStates):  # those of the default account, which is told where it is claimed from
                await self._ports.store(_look_anew, self._context.storage)
            while not self._stopping and self._context.clock.monotonic() < self._deadline:
                self._missed()
                look, claimed = await self._looked(drain=drain)
                if claimed:
                    pause = _FIRST_LOOK
                    await self._settled(0.01)
                    continue
                if drain and not self._flying and look is not None and not (look.lanes or look.pacing or look.busy):
                    break
                await self._wait(look, pause, drain=drain)
                pause = min(pause * 2, self._poll)
        finally:
            self._end()
            while self._flying:
                ended, _ = await asyncio.wait(self._flying)
                for task in ended:
                    self._flying.pop(task, None)
            for helper in self._helpers:
                helper.cancel()
            await asyncio.gather(*self._helpers, return_exceptions=True)
            self._stopping = self._stopped  # who has not been stopped may be drained again
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._clock_error is not None:
            raise self._clock_error
        if drain and self._skipped:
            raise next(iter(self._skipped.values()))  # all else was served before
        return self.report

    def _help(self, flow: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.create_task(flow())
        self._helpers.add(task)
        task.add_done_callback(partial(self._helped, flow))

    def _helped(self, flow: Callable[[], Coroutine[Any, Any, None]], task: "asyncio.Task[None]") -> None:
        """An exception from outside has ended a helper: another takes its place, so that what flies ends in order."""
        self._helpers.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._failure = error
        self._end()
        self._flusher.recover()
        self._help(flow)

    async def _looked(self, *, drain: bool) -> tuple[OpenLanes | None, int]:
        """Refill. A storage that does not answer is asked again at the next look, unless somebody waits for the end."""
        try:
            return await self._refill()
        except StorageError as error:  # a clock that lies behind is one: it may be set right, or accepted, meanwhile
            if drain:
                raise
            doing = "the outbox cannot be read, the worker looks again"
            self._context.teller.tell([StorageFailed(doing=doing, reason=scrubbed(str(error)))])
            return None, 0

    # -- claiming -----------------------------------------------------------------------------------

    async def _refill(self) -> tuple[OpenLanes | None, int]:
        """Claim ahead of the free places, as :class:`Turns` shares them; a quarter at least, so that batches stay batches."""
        free = self._concurrency + self._concurrency // 2 - len(self._flying)
        if free * 4 < self._concurrency:
            return None, 0
        fates = await self._ports.store(self._context.storage.recover)
        for fate in fates:
            self._count(fate.state)
        recovered(self._context, fates)
        if self._context.unsettled:
            await settle_left(self._context, self._ports)
        look, firsts = await self._ports.store(self._open_lanes)
        claimed = 0
        self._illegible.clear()
        aloft = Counter(flight.lane.account for flight in self._flying.values())
        for lane, share in self._turns.shares(look.lanes, firsts, free, aloft):
            if not self._stopping:
                got = await self._claim_or_skip(lane, share)
                self._turns.took(lane, got, first=lane.id in firsts)
                claimed += got
        return evolve(look, lanes=tuple(lane for lane in look.lanes if lane.id not in self._illegible)), claimed

    def _open_lanes(self) -> tuple[OpenLanes, frozenset[int]]:
        """The lanes to claim from, and which of them go first. On the storage's thread."""
        look = self._context.storage.open_lanes()
        return look, self._preceding(look.lanes)

    def _preceding(self, lanes: Iterable[Lane]) -> frozenset[int]:
        """Those whose routes let their streams go before others."""
        known = self._context.catalog.known
        configs = {account: known(account) for account in {lane.key.account for lane in lanes}}
        routes = ((lane, configs[lane.key.account].routes.get(lane.key.route)) for lane in lanes)
        return frozenset(lane.id for lane, route in routes if route is not None and lane.key.stream in route.first)

    async def _claim_or_skip(self, lane: Lane, want: int) -> int:
        """Claim; a lane whose claim fails twice in a row for reasons of its own is skipped, and stops no other.

        A damaged row or state, or a host's own limit, may be at fault: that comes again. An exception from outside does
        not, and ends the worker in order.
        """
        try:
            return await self._claim(lane, want)
        except Exception as error:
            if isinstance(error, StorageError) and not isinstance(error, DamagedStates):
                raise
            try:
                await self._claim(lane, want)
            except Exception as again:
                if isinstance(again, StorageError) and not isinstance(again, DamagedStates):
                    raise
                self._skip(lane, again)
                return 0
            raise

    def _skip(self, lane: Lane, error: Exception) -> None:
        """Leave a lane alone until the next look, and report that once."""
        self._illegible.add(lane.id)
        if lane.id not in self._skipped:
            where = f"a lane of route {lane.key.route!r}"
            words = f": {scrubbed(str(error))}" if isinstance(error, StorageError) else ""
            doing = f"{where} cannot be claimed from, and waits{words}"
            self._context.teller.failed(doing, error, account=lane.key.account)
        self._skipped[lane.id] = error

    async def _claim(self, lane: Lane, want: int) -> int:
        context = self._context
        self._claims += 1
        token = context.new_id()
        asked: list[ClaimHeads] = []
        try:
            leased, decide, issued = await self._leased(lane, want, token, asked)
            # From here to the launch nothing of ours raises: what is leased and does not fly would wait for its lease to
            # end, and count as lost with its worker.
            self._held = token
            files, unread = await self._files(leased)
            for one in leased:
                self._launch(one, files, decide, lane, token, issued, unread.get(one.head.id))
            self._held = ""
        except BaseException as error:
            if asked and not isinstance(error, StorageError):
                ports = self._ports_after(error)
                await ports.to_the_end(partial(self._handed_back, ports, lane, token, asked[-1]))
            raise
        await self._tell(lane, decide)
        return len(leased)

    def _ports_after(self, error: BaseException) -> Ports:
        """Ports for cleaning up: a coroutine that is being closed must not wait for the loop, which has gone."""
        return self._ports.at_once() if isinstance(error, GeneratorExit) else self._ports

    async def _handed_back(self, ports: Ports, lane: Lane, token: str, claim: ClaimHeads) -> None:
        """What was claimed and does not fly, if it was claimed: as it stood before, its units given back."""
        flying = {flight.row for flight in self._flying.values() if flight.token == token}
        for row, grant in claim.grants.items():
            if row in flying:
                continue
            landing = Landing(
                uid="", row=row, token=token, lane=lane.key, ticket=claim.ticket, server=claim.config.server(grant.server),
                grant=grant, verdict=_NOTHING,
            )  # fmt: skip
            await last_word(self._context, ports, landing, quiet=True)

    async def _leased(
        self, lane: Lane, want: int, token: str, asked: list[ClaimHeads]
    ) -> tuple[tuple[Leased, ...], ClaimHeads, float]:
        """Claim on the configuration as it stands; the monotonic time before asking comes along."""
        context = self._context
        config = await self._ports.store(context.catalog.known, lane.key.account)
        heads = want
        while True:
            issued = context.clock.monotonic()
            ticket = Ticket.decode(lane.key.key)
            decide = ClaimHeads(
                config, _route(config, lane), ticket, lane.key, context.again_after, most=want, wide=heads > want
            )
            asked.append(decide)
            try:
                leased = await self._ports.store(
                    context.storage.claim, lane, heads, config.keys, decide, token=token, lease=context.lease
                )
            except MoreHeads:
                heads = max(PROBE_HEADS, want + 1)
            except Illegible:
                self._illegible.add(lane.id)
                return (), decide, issued
            except Stale:
                config = await self._ports.store(context.catalog.fresh, lane.key.account)
            else:
                return leased, decide, issued

    async def _tell(self, lane: Lane, decide: ClaimHeads) -> None:
        """What a claim found: a lane whose mail waits from now on, mail whose time is over."""
        teller = self._context.teller
        for claim, gone in decide.claims:
            waits = (claim.blocked_until, claim.blocked_by) if claim.blocked_until and not claim.pacing else None
            if teller.is_news(lane, waits) and waits:
                blocked(self._context, lane.key, Refusal(*waits))
            for uid in gone:
                row = await self._ports.store(self._context.storage.mail, uid)
                if row is None:
                    continue
                self._count(row.state)
                if teller.wants(MailDead, MailInDoubt):
                    buried(self._context, row)

    def _count(self, state: MailState) -> None:
        """Count a message that ended without an attempt: expired, late, or lost with its worker."""
        if state is MailState.DEAD:
            self._tally[Next.DEAD] += 1
        elif state is MailState.IN_DOUBT:
            self._tally[Next.IN_DOUBT] += 1

    async def _files(self, leased: Sequence[Leased]) -> tuple[dict[str, bytes], dict[int, Verdict]]:
        """What all of them enclose, and what becomes of those whose files cannot be had."""
        files: dict[str, bytes] = {}
        unread: dict[int, Verdict] = {}
        wanted = {one.head.id: enclosures(one.letter) for one in leased}
        every = sorted({digest for digests in wanted.values() for digest in digests})
        with suppress(Exception):  # one of them may be at fault for all: then each by itself
            files.update(await self._ports.store(self._context.storage.files, every) if every else {})
            return files, unread
        for id_, digests in wanted.items():
            try:
                files.update(await self._ports.store(self._context.storage.files, digests) if digests else {})
            except Exception as error:  # noqa: BLE001  whatever a storage raises
                words = clean(error) if isinstance(error, StorageError) else type(error).__name__
                unread[id_] = grounded(f"its attachments cannot be read: {words}")
        return files, unread

    def _launch(
        self,
        leased: Leased,
        files: dict[str, bytes],
        claim: ClaimHeads,
        lane: Lane,
        token: str,
        issued: float,
        verdict: Verdict | None,
    ) -> None:
        config = claim.config
        message = None
        if verdict is None:
            try:
                message = unpack(leased.letter, files)
            except Exception as error:  # noqa: BLE001  a message that cannot be read here waits, and stops no other
                verdict = self._unread(leased.head, lane, error)
        flight = Flight(
            uid=leased.head.uid, row=leased.head.id, token=token, lane=lane.key, ticket=claim.ticket, route=claim.route,
            config=config, server=config.server(leased.server), message=message,  # type: ignore[arg-type]
            grant=claim.grants[leased.head.id], issued=issued, attempts=leased.head.attempts,
            resend=leased.head.resend, resends=leased.head.resends, memo=leased.head.memo,
        )  # fmt: skip
        self._flying[task := asyncio.create_task(self._fly(flight, self._claims, verdict))] = flight
        task.add_done_callback(partial(self._landed, flight))

    def _unread(self, head: Head, lane: Lane, error: Exception) -> Verdict:
        """The message waits for a version that can read it, is reported once by this worker, and never dies for it."""
        if head.id not in self._reported:
            if len(self._reported) >= _REPORTED:
                self._reported.clear()
            self._reported.add(head.id)
            doing = f"message {head.uid} cannot be read and waits"
            self._context.teller.failed(doing, error, account=lane.key.account, mail=head.uid)
        words = str(error) if isinstance(error, Unreadable) else type(error).__name__
        return grounded(f"{UNREADABLE}: {words}")

    def _landed(self, flight: Flight, task: "asyncio.Task[None]") -> None:
        self._flying.pop(task, None)
        self._nudge.set()
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._context.teller.failed("a flight ended with a bug", error)
        elif error is not None and not task.cancelled():
            self._failure = error
            self._end()
        if error is not None and not flight.wire.settled:  # it was hit before its first line, say
            cut = asyncio.create_task(self._cut(error, flight, flight.landed(cut_short(self._context, flight) or _NOTHING)))
            self._flying[cut] = flight
            cut.add_done_callback(self._cleaned)

    def _missed(self) -> None:
        """See to flights that have ended and whose callback was hit by an exception from outside."""
        for task, flight in [(task, flight) for task, flight in self._flying.items() if task.done()]:
            self._landed(flight, task)

    def _cleaned(self, cut: "asyncio.Task[None]") -> None:
        self._flying.pop(cut, None)
        self._nudge.set()

    async def _fly(self, flight: Flight, claim: int, verdict: Verdict | None) -> None:
        """One mail; where a verdict is there already it stays on the ground."""
        landing = None
        try:
            if verdict is None:
                verdict = await self._flown(flight, claim)
            verdict = self._judged(flight, claim, verdict)
            landing = flight.landed(verdict)
            change = await self._flusher.settle(landing)
        except BaseException as error:
            # What is known by now is not to become a doubt.
            if landing is None or self._flusher.taken_back(landing):
                landing = flight.landed(cut_short(self._context, flight) or verdict or _NOTHING)
            await self._cut(error, flight, landing)
            raise
        if verdict.started and change is not None:
            self._tally[ended(verdict, change)] += 1

    def _judged(self, flight: Flight, claim: int, verdict: Verdict | None) -> Verdict:
        """The verdict, with what follows from it for this worker; ``None`` is mail that it did not start."""
        if verdict is None:
            lost = "the worker stops" if self._stopping else "its lease was lost before it started"
            lost = "its server closed before it started" if self._outdated(flight, claim) else lost
            verdict = Verdict(next=Next.AGAIN, outcome=NotSent(lost), refund=True, started=False)
        if verdict.bad_clock:
            # The ESP refuses this machine's clock: no fault of the server's, and no other mail of ours will do better. Before
            # anything is awaited: what waits for this mail's place on the wire must not get it.
            self._clock_error = ClockError(
                f"{flight.server.name} refuses this machine's clock ({verdict.reason}); set it right"
            )
            self.stop()
        if verdict.close or verdict.pause:
            self._shut[flight.lane.account, flight.server.id] = self._claims
        return verdict

    def _outdated(self, flight: Flight, claim: int) -> bool:
        """Whether its server has closed since the mail was claimed: it was claimed ahead, and asks again."""
        return self._shut.get((flight.lane.account, flight.server.id), 0) >= claim

    async def _cut(self, error: BaseException, flight: Flight, landing: Landing) -> None:
        """The loop is being ended under the worker, its flusher too: one last word for the books, at once."""
        ports = self._ports_after(error)
        try:
            await ports.to_the_end(partial(last_word, self._context, ports, landing))
        except Exception as failure:  # noqa: BLE001  the exception that came first goes on
            doing = f"the interrupted attempt of message {landing.uid} cannot be stored; its lease will end"
            self._context.teller.failed(doing, failure, account=landing.lane.account, mail=landing.uid)
            self._context.unsettled.append(landing)
        flight.wire.settled = True

    async def _flown(self, flight: Flight, claim: int) -> Verdict | None:
        """One attempt, in one of the places on the wire; mail that waits for one is only leased."""
        placed = False

        async def mark() -> bool:
            nonlocal placed
            placed = not self._stopping and await self._places.acquire()
            return placed and not self._stopping and not self._outdated(flight, claim) and await self._flusher.start(flight)

        try:
            return await fly(self._context, self._ports, flight, mark)
        finally:
            if placed:
                self._places.release()

    # -- waiting ------------------------------------------------------------------------------------

    async def _settled(self, seconds: float) -> None:
        """Give answers a moment to gather."""
        if self._flying:
            await asyncio.wait(self._flying, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    async def _wait(self, look: OpenLanes | None, pause: float, *, drain: bool) -> None:
        """Until something lands, the next instant at which anything can change, or the next look."""
        wake = NEVER if look is None else look.wake_at
        seconds = min(pause, max(0.001, (wake - self._context.clock.now()) / 1000))
        if drain and not self._flying and not self._nudge.is_set():
            await self._ports.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudge.wait()
        self._nudge.clear()

    async def _beat(self) -> None:
        """Renew the leases, well before they end."""
        while True:
            await asyncio.sleep(self._context.lease / 3000)
            tokens = sorted({flight.token for flight in self._flying.values()} | ({self._held} if self._held else set()))
            if tokens:
                with suppress(Exception):  # the next beat tries again; a lease lost is found out before anything is sent
                    await self._ports.store(self._context.storage.renew, tokens, self._context.lease)


def _look_anew(storage: Storage) -> None:
    """All that waits is asked for once more: the host's limits are code, so no store tells that they were raised."""
    storage.transact(DEFAULT_ACCOUNT, (state_key(DEFAULT_ACCOUNT), HOST_KEY), lambda view: Step(result=None, wake=True))


def _route(config: Config, lane: Lane) -> Route:
    try:
        return config.route(lane.key.route)
    except NotFound:  # removed by force under its mail: nobody may carry it until it is moved
        return Route(account=lane.key.account, name="", servers=(), strategy=Priority(), when_exhausted=WhenExhausted.QUEUE)
