"""The demo's worker, a process of its own: ``python -m deliverykit.cli.demo.worker``. Its orders come by standard input."""

import asyncio
import json
import os
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from deliverykit.async_mailer import AsyncMailer, AsyncWorker
from deliverykit.cli.demo.clock import SharedClock
from deliverykit.transports import AsyncHttpTransport, Timeouts

__all__ = ["main"]


def main() -> int:
    """Work until SIGTERM, or until whoever gave the orders has gone (standard input ends).

    The orders are one line of JSON: the key is a secret, and does not belong on a command line.
    """
    asyncio.run(_work(json.loads(_line())))
    return 0


async def _work(orders: dict[str, Any]) -> None:
    async with AsyncMailer(
        orders["storage"],
        base_urls=["127.0.0.1"],
        secret_key=orders["key"],
        clock=SharedClock(Path(orders["clock"])),
        lease=timedelta(seconds=orders["lease"]),
        transport=AsyncHttpTransport(timeouts=Timeouts(read=orders["patience"])),
    ) as mailer:
        worker = mailer.worker(concurrency=orders["concurrency"], poll=timedelta(milliseconds=200))
        threading.Thread(target=_stop_at_the_end, args=(worker,), daemon=True).start()
        await worker.run()


def _line() -> bytes:
    """The first line of standard input, unbuffered: no thread may hold that buffer's lock at exit."""
    line = b""
    while not line.endswith(b"\n") and (piece := os.read(0, 1)):
        line += piece
    return line


def _stop_at_the_end(worker: AsyncWorker) -> None:
    while os.read(0, 1024):
        pass
    worker.stop()


if __name__ == "__main__":
    sys.exit(main())
