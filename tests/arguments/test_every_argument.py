"""Every public callable with odd values for each of its parameters: a ``DeliveryError`` or success, nothing else."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from argument_kit import ODD, arguments, filled, message, parameters, prepared, public

from deliverykit import AsyncMailer, Budget, DeliveryError, Mailer, Message
from deliverykit.contracts.limit import Limit
from deliverykit.contracts.provider import Provider
from deliverykit.contracts.router import Router
from deliverykit.providers import SendGrid

_FACES = ("servers", "routes", "budgets", "outbox", "log", "accounts")
_ALONE = {"run", "close", "aclose", "start", "stop"}
"""Methods without arguments that block, or end the object under test."""


def _methods(thing: Any) -> list[str]:
    return [
        name
        for name in dir(type(thing))
        if not name.startswith("_")
        and name not in _ALONE
        and callable(getattr(thing, name))
        and parameters(getattr(thing, name))
    ]


def _tried(
    label: str, call: Callable[..., Any], name: str, run: Callable[[Any], Any], after: Callable[[Any], Any]
) -> list[str]:
    """What went wrong, over all odd values of one parameter."""
    wrong = []
    for odd, make in ODD.items():
        positional, named = arguments(label, call, name, make())
        try:
            made = run(call(*positional, **named))
        except DeliveryError as error:
            if len(text := str(error)) > 2_000:
                wrong.append(f"{label}({name}={odd}): the error has {len(text)} characters")
            continue
        except Exception as error:
            wrong.append(f"{label}({name}={odd}): {type(error).__name__}: {str(error)[:200]}")
            continue
        try:
            after(made)
        except DeliveryError as error:
            if isinstance(made, Mailer | AsyncMailer):
                wrong.append(f"{label}({name}={odd}): only later {type(error).__name__}: {str(error)[:200]}")
        except Exception as error:
            wrong.append(f"{label}({name}={odd}): {type(error).__name__}: {str(error)[:200]}")
    return wrong


def _used(made: Any) -> None:
    """Use what was made from odd values: an error must come when it is made, or be a ``DeliveryError``."""
    if isinstance(made, Mailer | AsyncMailer):
        loop = None if isinstance(made, Mailer) else asyncio.new_event_loop()
        run = _runner(loop)
        try:
            run(made.servers.add(id="a", name="A", provider=SendGrid(api_key="SG.abcdefgh", base_url="http://127.0.0.1:9")))
            if run(made.servers.send_test("a", to="ann@example.org", sender="a@example.com")).proof:
                run(made.servers.activate("a"))
            run(made.send(message()))
            run(made.enqueue([message()]))
            run(made.worker().drain())
            run(made.accounts.get("default"))
            run(made.doctor())
        finally:
            _closed(made, run)
            if loop is not None:
                loop.close()
        return
    change: dict[str, Any] = {}
    if isinstance(made, Limit):
        change = {"quota": made}
    elif isinstance(made, Budget):
        change = {"budgets": [made]}
    elif isinstance(made, Provider):
        change = {"provider": made}
    elif not isinstance(made, Router | Message):
        return
    with prepared() as mailer:
        filled(mailer, lambda value: value)
        if change:
            mailer.servers.update("a", **change)
            mailer.servers.quota("a")
            mailer.servers.check("a")
            mailer.explain(message(), route="r")
            mailer.send(message(), route="r")
        elif isinstance(made, Router):
            mailer.routes.update("r", strategy=made)
            mailer.send(message(), route="r")
        else:
            mailer.explain(made, route="r")
            mailer.send(made, route="r")
            mailer.enqueue([made], route="r")
            mailer.worker().drain()


def _runner(loop: asyncio.AbstractEventLoop | None) -> Callable[[Any], Any]:
    if loop is None:
        return lambda value: value
    return lambda value: loop.run_until_complete(value) if inspect.isawaitable(value) else value


_MADE = [pytest.param(label, one, name, id=f"{label}-{name}") for label, one in public() for name in parameters(one)]


@pytest.mark.parametrize(("label", "one", "name"), _MADE)
def test_constructors_refuse_odd_values(
    label: str, one: Any, name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if inspect.isabstract(one):
        pytest.skip("abstract")
    assert _tried(label, one, name, lambda value: value, _used) == []


def _faces() -> Iterator[Any]:
    for kind in (Mailer, AsyncMailer):
        mailer = prepared(kind)
        for name in _methods(mailer):
            for parameter in parameters(getattr(mailer, name)):
                yield pytest.param(kind, "", name, parameter, id=f"{kind.__name__}.{name}-{parameter}")
        for face in (*_FACES, "worker"):
            thing = mailer.worker() if face == "worker" else getattr(mailer, face)
            for name in _methods(thing):
                for parameter in parameters(getattr(thing, name)):
                    yield pytest.param(kind, face, name, parameter, id=f"{kind.__name__}.{face}.{name}-{parameter}")
        assert {one for one in vars(mailer) if not one.startswith("_")} == set(_FACES), "a face that this test does not know"


@pytest.mark.parametrize(("kind", "face", "name", "parameter"), list(_faces()))
def test_methods_refuse_odd_values(
    kind: type, face: str, name: str, parameter: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = []
    loop = asyncio.new_event_loop()

    def run(value: Any) -> Any:
        return loop.run_until_complete(value) if inspect.isawaitable(value) else value

    label = f"{face}.{name}" if face else name
    mailer = None
    for odd, make in ODD.items():
        if mailer is None:
            mailer = prepared(kind)
            uid = filled(mailer, run)
        thing = mailer if not face else mailer.worker() if face == "worker" else getattr(mailer, face)
        call = getattr(thing, name)
        positional, named = arguments(label, call, parameter, make())
        if face in ("outbox", "log") and "id" in named and parameter != "id":
            named["id"] = uid
        accepted = False
        try:
            run(call(*positional, **named))
            accepted = True
            _still_works(mailer, run)
        except DeliveryError as error:
            if len(text := str(error)) > 2_000:
                wrong.append(f"{label}({parameter}={odd}): the error has {len(text)} characters")
        except Exception as error:
            accepted = True
            wrong.append(f"{label}({parameter}={odd}): {type(error).__name__}: {str(error)[:200]}")
        if accepted:  # A refusal changes nothing, so only an accepted value needs a new Mailer after it.
            _closed(mailer, run)
            mailer = None
    if mailer is not None:
        _still_works(mailer, run)  # after all the refusals
        _closed(mailer, run)
    loop.close()
    assert wrong == []


def _still_works(mailer: Any, run: Callable[[Any], Any]) -> None:
    run(mailer.servers.list())
    run(mailer.routes.list())
    run(mailer.doctor())
    run(mailer.outbox.list())
    run(mailer.send(message()))
    run(mailer.worker().drain())


def _closed(mailer: Any, run: Callable[[Any], Any]) -> None:
    run(mailer.close() if isinstance(mailer, Mailer) else mailer.aclose())
