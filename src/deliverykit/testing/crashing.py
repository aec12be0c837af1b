"""Ports that end a journey at one step: before it, after it, or by a cancelled caller."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from attrs import Attribute, field, frozen

from deliverykit.contracts.storage import Late
from deliverykit.engine.ports import Ports
from deliverykit.engine.together import Question
from deliverykit.words.arguments import Choice, member, whole
from deliverykit.words.wire import HttpRequest, HttpResponse

__all__ = ["Crash", "CrashingPorts", "Cut", "When"]

P = ParamSpec("P")
R = TypeVar("R")


class Crash(BaseException):
    """The process ends here. Nothing catches it; whatever it would do on its way out is not done."""


class When(Choice):
    """How a step is cut."""

    BEFORE = "before"
    """The process ends; the step is not done."""
    AFTER = "after"
    """The process ends once the step is done (a store call is committed, a request has arrived), before it learns of that."""
    CANCELLED = "cancelled"
    """The caller's task is cancelled while the step is under way; the process lives on. For ``async`` journeys."""


def _step(_: object, __: "Attribute[int]", value: object) -> None:
    whole(value, "step", least=1)


def _when(value: object) -> When:
    return member(value, "when", When)


@frozen
class Cut:
    """The one step at which a journey ends, counted from 1."""

    step: int = field(validator=_step)
    when: When = field(converter=_when)


class CrashingPorts:
    """Ports that abandon a journey at one step. After a :class:`Crash` they do nothing more for anybody.

    ``steps`` names what was begun: ``store Place`` (a decision), ``store claim``, ``transmit``, ``sleep``.
    ``caller`` is the task to be cancelled.
    """

    def __init__(self, inner: Ports, cut: Cut | None = None) -> None:
        self._inner = inner
        self._cut = cut
        self.steps: list[str] = []
        self.fell: bool = False
        self.caller: asyncio.Task[Any] | None = None
        self.ended: Callable[[], object] = lambda: None
        """Called at the crash."""

    @property
    def reached(self) -> bool:
        """Whether the journey came as far as the step at which it is cut."""
        return self._cut is not None and len(self.steps) >= self._cut.step

    async def store(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """One step."""
        return await self._step(f"store {getattr(call, '__name__', '?')}", lambda: self._inner.store(call, *args, **kwargs))

    async def decide(self, question: Question[R]) -> tuple[R, Late]:
        """One step."""
        return await self._step(f"store {type(question.decide).__name__}", lambda: self._inner.decide(question))

    async def prepare(self) -> None:
        """No step: it does nothing to the world."""
        self._alive()
        await self._inner.prepare()

    async def transmit(self, request: HttpRequest) -> HttpResponse:
        """One step."""
        return await self._step("transmit", lambda: self._inner.transmit(request))

    async def sleep(self, seconds: float) -> None:
        """One step."""
        await self._step("sleep", lambda: self._inner.sleep(seconds))

    async def to_the_end(self, flow: Callable[[], Coroutine[Any, Any, R]], /) -> R:
        """No step of its own."""
        return await self._inner.to_the_end(flow)

    async def during(self, flow: Callable[[], Coroutine[Any, Any, R]], renew: Callable[[], object], every: float) -> R:
        """No step of its own."""
        return await self._inner.during(flow, renew, every)

    def at_once(self) -> Ports:
        """Ports that crash alike: a coroutine that is closed after a crash does nothing more."""
        return self

    async def _step(self, name: str, do: Callable[[], Awaitable[R]]) -> R:
        self._alive()
        self.steps.append(name)
        when = self._cut.when if self._cut is not None and len(self.steps) == self._cut.step else None
        if when is When.BEFORE:
            self._fall()
        if when is When.CANCELLED and self.caller is not None:
            self.caller.cancel()
        try:
            result = await do()
        finally:
            if when is When.AFTER:
                self._fall()
        self._alive()
        return result

    def _alive(self) -> None:
        if self.fell:
            raise Crash

    def _fall(self) -> None:
        self.fell = True
        self.ended()
        raise Crash
