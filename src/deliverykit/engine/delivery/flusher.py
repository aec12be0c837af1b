"""Group commit: every few milliseconds one transaction settles what came back and marks what starts next."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from deliverykit.contracts.books import Change, Gone
from deliverykit.contracts.storage import Late
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.journey import Flight
from deliverykit.engine.delivery.landing import landed_in, settle_late
from deliverykit.engine.delivery.reports import settled
from deliverykit.engine.ports import Ports
from deliverykit.engine.settling.batch import Landing
from deliverykit.words.errors import StorageError
from deliverykit.words.facts import StorageFailed
from deliverykit.words.untrusted import scrubbed

__all__ = ["Flusher"]

GATHER = 0.005
"""Seconds that a flush waits for company."""
RETRY = 0.5

R = TypeVar("R")
_Starts = list[tuple[Flight, asyncio.Future[bool]]]
_Landings = list[tuple[Landing, "asyncio.Future[Change | Gone | None]"]]
"""What waits to be written, each with what its flight waits for."""
_Ends = dict[int, Change | Gone]
"""What became of each landing's message."""


class Flusher:
    """Collects starts and landings of all flights of a worker.

    While the storage cannot be written it keeps what came back and tries again. ``enough`` tells that the worker's time
    is over: then it gives up, and hands what is left to ``Context.unsettled``.
    """

    def __init__(self, context: Context, ports: Ports, enough: Callable[[], bool] = lambda: False) -> None:
        self._context = context
        self._ports = ports
        self._enough = enough
        self._starts: _Starts = []
        self._landings: _Landings = []
        self._writing: tuple[_Starts, _Landings] = ([], [])
        """What is being written."""
        self._uncertain: _Landings = []
        """What was being written when an exception ended that: it may be stored already."""
        self._failures = 0
        """How often in a row the storage did not take what was to be written."""
        self._work = asyncio.Event()

    async def start(self, flight: Flight) -> bool:
        """Mark as ``sending``; whether the mail is still ours."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._starts.append((flight, done))
        self._work.set()
        return await done

    async def settle(self, landing: Landing) -> Change | Gone | None:
        """Write a verdict down; what became of the message, ``None`` where it was no longer ours."""
        done: asyncio.Future[Change | Gone | None] = asyncio.get_running_loop().create_future()
        self._landings.append((landing, done))
        self._work.set()
        return await done

    def taken_back(self, landing: Landing) -> bool:
        """Whether the verdict was not being written yet; then it will not be."""
        kept = [one for one in self._landings if one[0] is not landing]
        found, self._landings = len(kept) < len(self._landings), kept
        return found

    def recover(self) -> None:
        """Go on after an exception has ended :meth:`run`: what was being written is looked at one by one."""
        starts, landings = self._writing
        self._writing = ([], [])
        for _, started in starts:
            _resolve(started, False)
        uncertain = [one for one in landings if not one[1].done()]
        self._landings = [one for one in self._landings if one not in uncertain]
        self._uncertain += uncertain
        self._work.set()

    async def run(self) -> None:
        """Flush for ever; cancelled when nothing flies any more."""
        while True:
            await self._work.wait()
            await asyncio.sleep(GATHER)
            self._work.clear()
            await self._flush()

    async def _flush(self) -> None:
        while self._uncertain:
            await self._settled_late(*self._uncertain[-1])
            self._uncertain.pop()
        self._writing, self._starts, self._landings = (self._starts, self._landings), [], []
        starts, landings = self._writing
        shares: dict[str, tuple[_Starts, _Landings]] = defaultdict(lambda: ([], []))
        for flight, started in starts:
            shares[flight.lane.account][0].append((flight, started))
        for landing, landed in landings:
            shares[landing.lane.account][1].append((landing, landed))
        for account, (to_start, to_settle) in shares.items():
            try:
                late, ends = await self._written(account, to_start, to_settle)
            except StorageError as error:
                await self._failed(error, account, to_start, to_settle)
                continue
            except Exception:  # noqa: BLE001  it is told of whatever landing raises it again
                await self._one_by_one(account, to_start, to_settle)
                continue
            self._failures = 0
            for flight, started in to_start:
                _resolve(started, flight.row not in late)
            for landing, landed in to_settle:
                _resolve(landed, ends.get(id(landing)))
        self._writing = ([], [])

    async def _failed(self, error: StorageError, account: str, starts: _Starts, landings: _Landings) -> None:
        """Nothing starts. One row may be at fault, or the whole storage: the second time that is found out."""
        for _, started in starts:
            _resolve(started, False)
        self._failures += 1
        if self._enough():
            for landing, landed in landings:
                self._give_up(landing, landed, error)
        elif self._failures > 1 and len(landings) > 1 and await self._halved(account, landings):
            self._failures = 0
        else:
            await self._postponed(error, landings)

    async def _halved(self, account: str, landings: _Landings) -> bool:
        """Settle each half by itself, and so on down to the row at fault; whether any of it could be settled."""
        middle = len(landings) // 2
        failed: list[tuple[_Landings, StorageError]] = []
        for half in (landings[:middle], landings[middle:]):
            try:
                _, ends = await self._written(account, [], half)
            except StorageError as error:
                failed.append((half, error))
            except Exception:  # noqa: BLE001  as above
                await self._one_by_one(account, [], half)
            else:
                for landing, landed in half:
                    _resolve(landed, ends.get(id(landing)))
        if len(failed) == 2:
            return False
        for half, trouble in failed:
            if len(half) == 1:
                self._give_up(*half[0], trouble)
            elif not await self._halved(account, half):
                await self._postponed(trouble, half)
        return True

    async def _one_by_one(
        self,
        account: str,
        starts: _Starts,
        landings: _Landings,
    ) -> None:
        """A host's own limit raised while something was settled: that hurts its own mail only, whose lease then ends."""
        for _, started in starts:
            _resolve(started, False)
        for landing, landed in landings:
            ends: _Ends = {}
            try:
                _, ends = await self._written(account, [], [(landing, landed)])
            except StorageError as error:
                await self._postponed(error, [(landing, landed)])
                continue
            except Exception as error:  # noqa: BLE001  whatever a host's limit raises
                doing = f"mail {landing.uid} cannot be settled; its lease will end"
                self._context.teller.failed(doing, error, account=landing.lane.account, mail=landing.uid)
            _resolve(landed, ends.get(id(landing)))

    async def _settled_late(self, landing: Landing, landed: "asyncio.Future[Change | Gone | None]") -> None:
        try:
            await settle_late(self._context, self._ports, landing)
        except StorageError as error:
            self._give_up(landing, landed, error)
        except Exception as error:  # noqa: BLE001  as above
            doing = f"mail {landing.uid} cannot be settled; its lease will end"
            self._context.teller.failed(doing, error, account=landing.lane.account, mail=landing.uid)
        _resolve(landed, None)

    async def _written(
        self,
        account: str,
        starts: _Starts,
        landings: _Landings,
    ) -> tuple[Late, _Ends]:
        landed = [landing for landing, _ in landings]
        done, late = await landed_in(self._context, self._ports, account, landed, [flight for flight, _ in starts])
        settled(self._context, done, late)
        return late, {id(landing): change for landing, change in done.landed if change.name not in late}

    async def _postponed(self, error: StorageError, landings: _Landings) -> None:
        """The storage does not answer: what came back is kept and tried again."""
        doing = f"the outbox cannot be written, {len(landings)} verdicts wait"
        self._context.teller.tell([StorageFailed(doing=doing, reason=scrubbed(str(error)))])
        self._landings = landings + self._landings
        await asyncio.sleep(RETRY)
        self._work.set()

    def _give_up(self, landing: Landing, landed: "asyncio.Future[Change | Gone | None]", error: StorageError) -> None:
        """Its flight ends without it. It is stored once that works; until then its lease ends, and it is in doubt."""
        doing = f"the outcome of message {landing.uid} cannot be stored; its lease will end"
        self._context.teller.tell([StorageFailed(doing=doing, reason=scrubbed(str(error)))])
        self._context.unsettled.append(landing)
        _resolve(landed, None)


def _resolve(future: "asyncio.Future[R]", value: R) -> None:
    if not future.done():
        future.set_result(value)
