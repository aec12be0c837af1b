"""A loop that is ended under a worker, by a program that returns without stopping it: what is known is written down."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine_kit import KEY, World, messages

from deliverykit import AsyncMailer
from deliverykit.coalescing import AwaitingQueue
from deliverykit.contracts.storage import Step
from deliverykit.engine.together import Answer, Question
from deliverykit.storages import open_storage
from deliverykit.testing import ManualClock
from deliverykit.transports import AsyncHttpTransport
from deliverykit.words.wire import HttpRequest, HttpResponse


def _cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


class Ending(AsyncHttpTransport):
    """The loop is ended a moment after its first answer."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        answer = await super().send(request)
        asyncio.get_running_loop().call_later(0.001, _cancel_all)
        return answer


def test_an_answer_that_was_had_is_no_doubt(plain: World) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a")
    mailer.enqueue(messages(1))

    async def main() -> None:
        transport = Ending()
        ending = AsyncMailer(f"sqlite:///{plain.path}", secret_key=KEY, clock=plain.clock, transport=transport)
        try:
            await ending.worker().run()
        finally:
            await ending.aclose()
            await transport.aclose()

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main())
    assert plain.sandbox.count() == 1
    with contextlib.closing(sqlite3.connect(plain.path)) as books:
        assert books.execute("select state from dk_mail").fetchall() == []
        outcomes = books.execute("select outcome from dk_log order by id").fetchall()
    assert outcomes == [("accepted",)] * 2  # the server's test, and this one


def test_questions_are_asked_after_the_task_that_asks_was_cancelled_before_it_began(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'mail.db'}", ManualClock(), "normal")

    async def run(ask: Any, questions: Sequence[Question[Any]]) -> list[Answer[Any]]:
        return ask(questions)  # type: ignore[no-any-return]

    async def main() -> int:
        queue = AwaitingQueue(run)
        question = Question(storage, "default", (), lambda _: Step(result=7))
        first = asyncio.create_task(queue.ask(question))
        await asyncio.sleep(0)  # it has queued; the task that asks has not begun
        assert queue._asking is not None
        queue._asking.cancel()
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        result, _ = await asyncio.wait_for(queue.ask(question), 5)
        return result

    assert asyncio.run(main()) == 7
    storage.close()
