"""A call that is cancelled at any step leaves its place in the connection pool to the next."""

import asyncio
from typing import Any

import pytest

from deliverykit.sandbox import Sandbox
from deliverykit.transports import AsyncHttpTransport, lines
from deliverykit.words.wire import HttpRequest

HANGS = 60


@pytest.fixture(scope="module")
def request_() -> Any:
    with Sandbox() as sandbox:
        sandbox.check_clock(False)
        body = b"{}"
        yield HttpRequest(method="POST", url=f"{sandbox.url('sendgrid')}/v3/mail/send", headers={}, body=body)


def test_place_is_free_after_a_cancellation_at_every_step(request_: HttpRequest) -> None:
    async def main() -> int:
        transport = AsyncHttpTransport(connections=1)
        steps, ended = 0, False
        while not ended:
            steps += 1
            task = asyncio.create_task(transport.send(request_))
            for _ in range(steps):
                await asyncio.sleep(0)
            ended = task.done()
            task.cancel()
            await asyncio.wait([task])
            async with asyncio.timeout(HANGS):
                await transport.send(request_)
            ended = ended or steps > 200
        await transport.aclose()
        return steps

    assert asyncio.run(main()) > 3


def test_place_is_free_after_a_cancellation_while_old_connections_are_closed(
    request_: HttpRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, whole = asyncio.Event(), lines._aclose

    async def hangs(old: Any) -> None:
        if not closing.is_set():
            closing.set()
            await asyncio.Event().wait()
        await whole(old)

    async def main() -> int:
        transport = AsyncHttpTransport(connections=1)
        monkeypatch.setattr(lines, "_aclose", hangs)
        task = asyncio.create_task(transport.send(request_))
        await closing.wait()
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(HANGS):
            response = await transport.send(request_)
        await transport.aclose()
        return response.status

    assert asyncio.run(main()) > 0
