"""A loop that is ended under a worker, by a program that returns without stopping it: what is known is written down."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from engine_kit import KEY, World, message, messages, used

from deliverykit import AsyncMailer, CalendarQuota
from deliverykit.coalescing import AwaitingQueue
from deliverykit.contracts.storage import Step
from deliverykit.engine.delivery.send import send
from deliverykit.engine.delivery.worker import Stream
from deliverykit.engine.together import Answer, Question
from deliverykit.storages import open_storage
from deliverykit.testing import ManualClock
from deliverykit.transports import AsyncHttpTransport
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.wire import HttpRequest, HttpResponse


def _cancel_all(after: int = 0) -> None:
    """So many turns of the loop later."""
    if after:
        asyncio.get_running_loop().call_soon(_cancel_all, after - 1)
        return
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


class EndingPorts:
    """Ports of a loop that is ended while one step of a journey is under way: every task is cancelled in it.

    At once, or so many turns of the loop later, when the storage's thread is at work on it.
    """

    def __init__(self, inner: Any, step: int, turns: int) -> None:
        self._inner = inner
        self._left = step
        self._turns = turns
        self.answered = self.ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.ended = True
            asyncio.get_running_loop().call_soon(_cancel_all, self._turns)

    async def store(self, call: Any, /, *args: Any, **named: Any) -> Any:
        self._step()
        return await self._inner.store(call, *args, **named)

    async def decide(self, question: Any) -> Any:
        self._step()
        return await self._inner.decide(question)

    async def transmit(self, request: HttpRequest) -> HttpResponse:
        self._step()
        self.answered = True  # nothing is awaited on the way: it has its answer before it can be ended
        answer: HttpResponse = await self._inner.transmit(request)
        return answer


class Answering:
    """An ESP that says one thing."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    async def send(self, request: HttpRequest) -> HttpResponse:
        match self._answer:
            case "accepted":
                return HttpResponse(status=202, headers={"x-message-id": "m"})
            case "rejected":
                return HttpResponse(status=400, body=b'{"errors": [{"message": "No", "field": "content"}]}')
            case _:
                raise TransportError(Stage.READ, "timed out")

    async def aclose(self) -> None:
        pass


async def _worked(mailer: Any, ports: Any) -> None:
    await Stream(mailer._context, ports, 10, 0.05).run(drain=True)


async def _sent(mailer: Any, ports: Any) -> None:
    await send(mailer._context, ports, "default", message("x"), "default")


@pytest.mark.parametrize("turns", [0, 2])
@pytest.mark.parametrize("how", [_worked, _sent])
@pytest.mark.parametrize(
    ("answer", "outcome", "spent"), [("accepted",) * 2 + (1,), ("rejected",) * 2 + (0,), ("none", "unknown", 1)]
)
def test_what_is_known_when_the_loop_ends_is_written_once(
    plain: World, how: Any, answer: str, outcome: str, spent: int, turns: int
) -> None:
    """At whichever step it ends: an answer that was had is in the books, and no unit of the quota comes back twice."""
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=50))
    if how is _worked:
        mailer.enqueue(messages(1))
    mailer.close()
    whole, first = plain.path.read_bytes(), plain.path
    reached = []
    for step in range(1, 60):
        plain.path = first.with_name(f"{step}.db")
        plain.path.write_bytes(whole)

        async def main(step: int = step) -> EndingPorts:
            ending = AsyncMailer(f"sqlite:///{plain.path}", secret_key=KEY, clock=plain.clock, transport=Answering(answer))
            ports = EndingPorts(ending._ports, step, turns)
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await how(ending, ports)
            finally:
                await ending.aclose()
            return ports

        ports = asyncio.run(main())
        with contextlib.closing(sqlite3.connect(plain.path)) as books:
            lines = [line for (line,) in books.execute("select outcome from dk_log where id>1")]
            rows = [state for (state,) in books.execute("select state from dk_mail")]
        if ports.answered:
            assert lines == [outcome], f"ended at step {step}"
            assert used(plain.mailer(), "a") == {"the server a": spent}, f"ended at step {step}"
            left = {"accepted": [], "rejected": [5] if how is _worked else [], "none": [3]}[answer]
            assert rows == left, f"ended at step {step}"
        elif ports.ended:  # nothing left, and nobody waits for a lease to end
            left = [0] if how is _worked else []
            assert (rows, used(plain.mailer(), "a")) == (left, {"the server a": 0}), f"ended at step {step}"
        reached.append(ports.answered and ports.ended)
        if not ports.ended:
            break
    assert not ports.ended
    assert any(reached), "it ended after its answer at least once"


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
