"""The pump around an outbox, the same one for us and for the floor: one task feeds, fifty handle, one settles in batches."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

HANDLERS = 50

Claim = Callable[[], Sequence[Any]]
Settle = Callable[[list[Any]], object]


def pump(claim: Claim, settle: Settle, batch: int) -> int:
    """Claim until nothing is left, handle each mail, which does nothing, and settle by batches; how many it were.

    What touches the storage is on a thread of its own. Nobody ever sleeps: a wait that both sides had would make them alike.
    """
    with ThreadPoolExecutor(1) as thread:
        return asyncio.run(_pumped(thread, claim, settle, batch))


async def _pumped(thread: ThreadPoolExecutor, claim: Claim, settle: Settle, batch: int) -> int:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[Any] = asyncio.Queue()
    batches: asyncio.Queue[list[Any]] = asyncio.Queue()
    done: list[Any] = []
    low = asyncio.Event()
    number = 0

    async def handle() -> None:
        while (one := await waiting.get()) is not None:
            await _nothing()
            done.append(one)
            if len(done) >= batch:
                batches.put_nowait(done[:])
                done.clear()
            if waiting.qsize() < batch // 2:
                low.set()

    async def flush() -> None:
        while batched := await batches.get():
            await loop.run_in_executor(thread, settle, batched)

    handlers = [asyncio.create_task(handle()) for _ in range(HANDLERS)]
    flusher = asyncio.create_task(flush())
    while claimed := await loop.run_in_executor(thread, claim):
        number += len(claimed)
        low.clear()
        for one in claimed:
            waiting.put_nowait(one)
        await low.wait()
    for _ in handlers:
        waiting.put_nowait(None)
    await asyncio.gather(*handlers)
    for last in (done[:], []) if done else ([],):
        batches.put_nowait(last)
    await flusher
    return number


async def _nothing() -> None:
    """What is done with a mail."""
