"""Telling what became true: the log, and the host's hooks. Nothing that goes wrong here hurts a mail."""

import inspect
import traceback
from collections.abc import Iterable
from contextlib import suppress
from logging import Logger

from deliverykit.hooks import FACTS, Fact, Hooks
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.facts import PartFailed
from deliverykit.words.untrusted import printable

__all__ = ["Teller", "hooks_of"]

_REMEMBERED = 10_000


def hooks_of(given: object) -> tuple[Hooks, ...]:
    """What ``hooks=`` means. Raises ``ConfigurationError`` for what would never be called, or never be awaited."""
    every: tuple[object, ...] = () if given is None else tuple(given) if isinstance(given, list | tuple) else (given,)
    hooks: list[Hooks] = []
    for one in every:
        if isinstance(one, type) and issubclass(one, Hooks):
            raise ConfigurationError(f"hooks: the class {one.__name__}; give an object of it: {one.__name__}()")
        if not isinstance(one, Hooks):
            raise ConfigurationError(f"hooks: expected an object of a class made from Hooks, got {type(one).__name__}")
        for name in vars(Hooks):
            if inspect.iscoroutinefunction(getattr(one, name)):
                raise ConfigurationError(
                    f"hooks: {type(one).__name__}.{name} is a coroutine; hooks are called, not awaited: "
                    "put the fact into an asyncio.Queue and await it elsewhere"
                )
        hooks.append(one)
    return tuple(hooks)


class Teller:
    """Tells facts to the log and to the hooks, in order, each once."""

    def __init__(self, logger: Logger, hooks: Iterable[Hooks] = ()) -> None:
        self._logger = logger
        self._hooks = tuple(hooks)
        self._states: dict[object, object] = {}
        self._listening = {kind: tuple(one for one in self._hooks if one.wants(kind)) for kind in FACTS}

    def wants(self, *kinds: type[Fact]) -> bool:
        """Whether anybody listens to one of these kinds: else they need not be put together."""
        return any(self._listening[kind] or self._logger.isEnabledFor(kind.level) for kind in kinds)

    def is_news(self, subject: object, state: object) -> bool:
        """Whether a subject was told to be otherwise, or nothing was told of it yet by this Mailer."""
        if len(self._states) >= _REMEMBERED:
            self._states.clear()
        was, self._states[subject] = self._states.get(subject), state
        return state is not None and state != was

    def tell(self, facts: Iterable[Fact]) -> None:
        """Outside any transaction, once they are true."""
        with suppress(Exception):  # what cannot be told must not undo what is written down
            for fact in facts:
                self._log(fact)
                for hooks in self._listening[type(fact)]:
                    self._call(hooks, fact)

    def failed(self, doing: str, error: BaseException, *, account: str = "", mail: str = "", trace: bool = True) -> None:
        """Tell of an exception: its types and where it was raised. Its words may hold a secret or an address."""
        self.tell([_failure(doing, error, account=account, mail=mail, trace=trace)])

    def _log(self, fact: Fact) -> None:
        if self._logger.isEnabledFor(fact.level):
            with suppress(Exception):  # a host's handler
                self._logger.log(fact.level, "%s", _line(fact), extra=fact.fields())

    def _call(self, hooks: Hooks, fact: Fact) -> None:
        try:
            hooks.told(fact)
        except Exception as error:  # noqa: BLE001  whatever a host's hook raises
            # To the log alone: another hook may raise at that as well.
            self._log(_failure(f"the hook {type(hooks).__name__} failed at {fact.event}", error, account=fact.account))


def _line(fact: Fact) -> Fact | str:
    """The fact, or its text where a name in it holds what could forge another line of the log or command a terminal."""
    words = str(fact)
    if words.isprintable() or isinstance(fact, PartFailed):
        return fact
    return printable(words)


def _failure(doing: str, error: BaseException, *, account: str = "", mail: str = "", trace: bool = True) -> PartFailed:
    cause = f" from {type(error.__cause__).__name__}" if error.__cause__ is not None else ""
    frames = traceback.extract_tb(error.__traceback__) if trace else ()
    where = "\n".join(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    return PartFailed(doing=doing, error=f"{type(error).__name__}{cause}", trace=where, account=account, mail=mail)
