"""The whole path against an ESP that answers after 50 ms, 100 in flight: enqueue, claim, send, settle.

The floor is the transport's own ceiling: the same client, the same bytes to the same ESP, as many in flight, and nothing else.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from statistics import median
from typing import Any

from attrs import evolve
from cryptography.fernet import Fernet

from benchmarks.measuring import Contender, Row, compared
from benchmarks.standin import running
from deliverykit import AsyncMailer, CalendarQuota, Message
from deliverykit.providers import SendGrid
from deliverykit.transports import async_transport_of
from deliverykit.words.wire import HttpRequest

IN_FLIGHT = 100
KEY = Fernet.generate_key()
TEXT = "Hello,\n" + "this is a line of a letter of the usual length.\n" * 40


def _message(number: int) -> Message:
    return Message(sender="news@example.com", to=f"reader{number}@example.org", subject="The news of today", text=TEXT)


async def _ceiling(url: str, count: int) -> tuple[float, float]:
    """Seconds and CPU seconds for so many bare submissions by the default transport."""
    captured: list[HttpRequest] = []

    class Capturing:
        async def send(self, request: HttpRequest):  # type: ignore[no-untyped-def]
            captured.append(request)
            return await transport.send(request)

    transport = async_transport_of(None)
    async with AsyncMailer("memory://", transport=Capturing()) as mailer:
        await _server(mailer, url)
    request = captured[0]
    left = iter(range(count))

    async def one() -> None:
        for _ in left:
            await transport.send(request)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))
    spent = time.perf_counter() - began, time.process_time() - cpu
    await transport.aclose()
    return spent


async def _server(mailer: AsyncMailer, url: str) -> None:
    await mailer.servers.add(
        id="a", name="a", provider=SendGrid(api_key="SG.bench", base_url=url), sender="news@example.com",
        quota=CalendarQuota(hour=10**7, day=10**8, month=10**9),
    )  # fmt: skip
    result = await mailer.servers.send_test("a", to="me@example.org")
    assert result.proof, result
    await mailer.servers.activate("a")


async def _whole(url: str, count: int, durability: str) -> tuple[float, float]:
    """Seconds and CPU seconds for a worker to send so many that wait."""
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{Path(folder) / 'mail.db'}"
        async with AsyncMailer(store, secret_key=KEY, durability=durability) as mailer:  # type: ignore[arg-type]
            await _server(mailer, url)
            await mailer.enqueue([_message(number) for number in range(count)])
            began, cpu = time.perf_counter(), time.process_time()
            report = await mailer.worker(concurrency=IN_FLIGHT).drain()
            spent = time.perf_counter() - began, time.process_time() - cpu
            assert report.accepted == count, report
            return spent


def full_path(short: bool) -> list[Row]:
    """A worker with a backlog; the CPU that a mail costs stands in the notes."""
    count, rounds = (200, 1) if short else (3_000, 5)
    cpus: dict[str, list[float]] = {}
    with running(latency=0.05) as url:

        def contender(name: str, flow: Callable[[], Coroutine[Any, Any, tuple[float, float]]]) -> Contender:
            def run() -> float:
                seconds, cpu = asyncio.run(flow())
                cpus.setdefault(name, []).append(cpu / count * 1000)
                return seconds / count

            return run

        flows: dict[str, Callable[[], Coroutine[Any, Any, tuple[float, float]]]] = {
            "floor: bare submissions by the same transport": lambda: _ceiling(url, count),
            "worker, durability full": lambda: _whole(url, count, "full"),
            "worker, durability normal": lambda: _whole(url, count, "normal"),
        }
        rows = compared(
            f"one mail of a backlog to an ESP that answers after 50 ms, {IN_FLIGHT} in flight",
            {name: contender(name, flow) for name, flow in flows.items()},
            rounds,
            {"worker, durability full": "≥ 0.7", "worker, durability normal": "≥ 0.7"},
        )
    return [evolve(row, note=f"CPU {median(cpus[row.what]):.2f} ms") for row in rows]


CLAIMS = (full_path,)
