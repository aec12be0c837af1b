"""Group commit: every few milliseconds one transaction settles what came back and marks what starts next."""

import asyncio
from collections import defaultdict
from typing import TypeVar

from deliverykit.contracts.books import Change, Gone
from deliverykit.contracts.storage import Late
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.journey import Flight
from deliverykit.engine.delivery.landing import landed_in
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
    """Collects starts and landings of all flights of a worker."""

    def __init__(self, context: Context, ports: Ports) -> None:
        self._context = context
        self._ports = ports
        self._starts: _Starts = []
        self._landings: _Landings = []
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

    async def run(self) -> None:
        """Flush for ever; cancelled when nothing flies any more."""
        while True:
            await self._work.wait()
            await asyncio.sleep(GATHER)
            self._work.clear()
            await self._flush()

    async def _flush(self) -> None:
        starts, self._starts = self._starts, []
        landings, self._landings = self._landings, []
        shares: dict[str, tuple[_Starts, _Landings]] = defaultdict(lambda: ([], []))
        for flight, started in starts:
            shares[flight.lane.account][0].append((flight, started))
        for landing, landed in landings:
            shares[landing.lane.account][1].append((landing, landed))
        for account, (to_start, to_settle) in shares.items():
            try:
                late, ends = await self._written(account, to_start, to_settle)
            except StorageError as error:
                await self._postponed(error, to_start, to_settle)
                continue
            except Exception:  # noqa: BLE001  it is told of whatever landing raises it again
                await self._one_by_one(account, to_start, to_settle)
                continue
            for flight, started in to_start:
                _resolve(started, flight.row not in late)
            for landing, landed in to_settle:
                _resolve(landed, ends.get(id(landing)))

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
                await self._postponed(error, [], [(landing, landed)])
                continue
            except Exception as error:  # noqa: BLE001  whatever a host's limit raises
                doing = f"mail {landing.uid} cannot be settled; its lease will end"
                self._context.teller.failed(doing, error, account=landing.lane.account, mail=landing.uid)
            _resolve(landed, ends.get(id(landing)))

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

    async def _postponed(
        self,
        error: StorageError,
        starts: _Starts,
        landings: _Landings,
    ) -> None:
        """The storage does not answer: nothing starts, and what came back is kept and tried again."""
        doing = f"the outbox cannot be written, {len(landings)} verdicts wait"
        self._context.teller.tell([StorageFailed(doing=doing, reason=scrubbed(str(error)))])
        for _, started in starts:
            _resolve(started, False)
        self._landings = landings + self._landings
        await asyncio.sleep(RETRY)
        self._work.set()


def _resolve(future: "asyncio.Future[R]", value: R) -> None:
    if not future.done():
        future.set_result(value)
