"""The engine's whole world. One set awaits, one blocks and never suspends; the algorithms see no difference."""

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

from deliverykit.contracts.storage import Late
from deliverykit.engine.together import Question
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["Ports", "blocking"]

P = ParamSpec("P")
R = TypeVar("R")


class Ports(Protocol):
    """What an algorithm may do to the world."""

    async def store(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a method of the storage."""
        ...

    async def decide(self, question: Question[R]) -> tuple[R, Late]:
        """Let a decide object decide; its result and which changes came too late.

        What is asked while another decision is in flight shares the next transaction; nothing waits for company.
        """
        ...

    async def prepare(self) -> None:
        """Make ready for :meth:`transmit`, so that the first one does not load modules when its slot has come."""
        ...

    async def transmit(self, request: HttpRequest) -> HttpResponse:
        """Exactly one submission. Raises :class:`~deliverykit.words.errors.TransportError` with its stage."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait on the clock."""
        ...

    async def to_the_end(self, flow: Callable[[], Coroutine[Any, Any, R]], /) -> R:
        """Run a flow to its end even where the caller is cancelled, who then learns of that once it is done."""
        ...

    async def during(self, flow: Callable[[], Coroutine[Any, Any, R]], renew: Callable[[], object], every: float) -> R:
        """Run a flow, and call ``renew`` each time so many seconds have passed until it ends. What it raises is not heard."""
        ...

    def at_once(self) -> "Ports":
        """Return ports to the same storage that never suspend, for clean-up in a coroutine that is being closed."""
        ...


def blocking(flow: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow over blocking ports: it never suspends, so one step runs it whole.

    It is made and begun on one line: an exception from outside finds no coroutine that was never awaited.
    """
    try:
        (running := flow(*args, **kwargs)).send(None)
    except StopIteration as done:
        result: R = done.value
        return result
    running.close()
    raise RuntimeError("a blocking port suspended; hand the Mailer blocking parts, or use AsyncMailer")
