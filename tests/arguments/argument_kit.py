"""What the tests of arguments share: odd values, usual values by parameter name, and every public callable."""

import base64
import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from enum import EnumType
from importlib import import_module
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from deliverykit import Address, Budget, CalendarQuota, Mailer, Message
from deliverykit.contracts.limit import Limit
from deliverykit.contracts.provider import Provider
from deliverykit.contracts.router import Router
from deliverykit.hooks import Hooks
from deliverykit.providers import SendGrid
from deliverykit.testing import ManualClock
from deliverykit.words.wire import HttpRequest, HttpResponse

KEY = base64.urlsafe_b64encode(b"a key for tests".ljust(32)).decode()
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
TO = "ann@example.org"


class Hostile:
    """Raises whenever anybody looks at it."""

    def __repr__(self) -> str:
        raise RuntimeError("nobody shows me")

    __str__ = __repr__


class Array:
    """Compares with each of its items, as an array of numpy does, and is neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


def _holds_itself() -> Any:
    held: list[Any] = []
    held.append({"a": held})
    return held


def _generator() -> Iterator[object]:
    yield 5


ODD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "-1": lambda: -1,
    "0": lambda: 0,
    "2": lambda: 2,
    "1.5": lambda: 1.5,
    "2**70": lambda: 2**70,
    "-2**70": lambda: -(2**70),
    "10**5000": lambda: 10**5000,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "empty text": lambda: "",
    "blank": lambda: " ",
    "NUL": lambda: "\x00",
    "line break": lambda: "a\r\nb: c",
    "terminal escape": lambda: "\x1b[2J",
    "lone surrogate": lambda: "\ud83d",
    "very long": lambda: "x" * 100_000,
    "a word": lambda: "word",
    "empty bytes": lambda: b"",
    "bytes": lambda: b"\xff\x00",
    "empty list": list,
    "empty dict": dict,
    "object": object,
    "hostile": Hostile,
    "an array": Array,
    "holds itself": _holds_itself,
    "a class": lambda: Hostile,
    "a lambda": lambda: lambda: 5,
    "a lambda of one": lambda: lambda _one: 5,
    "timedelta.max": lambda: timedelta.max,
    "timedelta.min": lambda: timedelta.min,
    "no time": timedelta,
    "naive": lambda: datetime(2026, 1, 1),  # noqa: DTZ001
    "datetime.max": lambda: datetime.max.replace(tzinfo=UTC),
    "datetime.min": lambda: datetime.min.replace(tzinfo=UTC),
    "nested": lambda: [[[]], [["a"]]],
    "numbers": lambda: [1, None],
    "one text": lambda: ["word"],
    "one empty text": lambda: [""],
    "number keys": lambda: {1: 2},
    "object values": lambda: {"a": object()},
    "NUL keys": lambda: {"\x00": "\ud83d"},
    "a set": lambda: {"a", 5},
    "a path": lambda: Path("somewhere.db"),
    "generator": _generator,
    "a zone": lambda: ZoneInfo("Asia/Kolkata"),
    "utc": lambda: UTC,
    "message": lambda: Message(to=TO, sender="a@example.com", text="t"),
    "email": EmailMessage,
    "an address": lambda: Address(TO),
}


class Accepts:
    """An ESP that accepts everything, blocking."""

    def send(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=202, headers={"X-Message-Id": "taken"})

    def close(self) -> None: ...


def message() -> Message:
    return Message(to=TO, sender="a@example.com", subject="s", text="t")


def prepared(kind: type = Mailer, **options: Any) -> Any:
    """A Mailer with one of everything."""
    given: dict[str, Any] = {"clock": ManualClock(NOON), "transport": Accepts(), "secret_key": KEY, **options}
    return kind("memory://", **given)


def filled(mailer: Any, run: Callable[[Any], Any]) -> Any:
    """One ACTIVE server, a route, an account, and a message that waits."""
    run(mailer.servers.add(id="a", name="A", provider=SendGrid(api_key="SG.abcdefgh"), budgets=[Budget(name="b", limits=())]))
    run(mailer.servers.send_test("a", to=TO, sender="a@example.com"))
    run(mailer.servers.activate("a"))
    run(mailer.routes.add("r", ["a"]))
    run(mailer.accounts.add("acme", timezone="UTC"))
    (uid,) = run(mailer.enqueue([message().evolve(send_at=NOON + timedelta(days=1))], route="r"))
    return uid


USUAL: dict[str, Callable[[], Any]] = {
    "accounts": lambda: 0,
    "address": lambda: TO,
    "at": lambda: NOON,
    "by": lambda: timedelta(seconds=1),
    "client": lambda: None,
    "clock": lambda: ManualClock(NOON),
    "content": lambda: b"x",
    "email": lambda: TO,
    "event": lambda: "delivered",
    "field": lambda: "domain",
    "filename": lambda: "a.txt",
    "id": lambda: "a",
    "length": lambda: timedelta(seconds=2),
    "limit": lambda: 100,
    "limits": lambda: (),
    "message": message,
    "messages": lambda: [message()],
    "n": lambda: 1,
    "name": lambda: "a",
    "older_than": lambda: timedelta(days=1),
    "our_id": lambda: "abc",
    "per": lambda: timedelta(hours=1),
    "provider": lambda: SendGrid(api_key="SG.abcdefgh"),
    "reason": lambda: "a reason",
    "route": lambda: "r",
    "seconds": lambda: 0,
    "servers": lambda: ["a"],
    "storage": lambda: "memory://",
    "timezone": lambda: "UTC",
    "to": lambda: TO,
    "url": lambda: "memory://",
    "value": lambda: "secret",
    "weights": lambda: {"a": 1},
    "size": lambda: 5,
    "control_url": lambda: "http://127.0.0.1:9",
    # providers
    "api_key": lambda: "SG.abcdefgh",
    "domain": lambda: "example.com",
    "region": lambda: "us-east-1",
}

_ON_TEST = {"transport": Accepts, "clock": lambda: ManualClock(NOON), "secret_key": lambda: KEY}

BESIDE: dict[str, dict[str, Callable[[], Any]]] = {
    "Mailer": _ON_TEST,
    "AsyncMailer": _ON_TEST,
    # What must stand beside the argument under test, so that the call comes to it.
    "Message": {"to": lambda: TO, "text": lambda: "t"},
    "SES": {"access_key_id": lambda: "AKIAIOSFODNN7EXAMPLE", "secret_access_key": lambda: "x" * 40},
    "CalendarQuota": {"hour": lambda: 5},
    "Unsubscribe": {"mailto": lambda: "mailto:a@example.com"},
    "resolve": {"as_sent": lambda: True, "route": lambda: "r"},
    "cancel": {"stream": lambda: "none"},
    "requeue": {"stream": lambda: "none"},
    "update": {},
    "accounts.add": {"id": lambda: "other"},
    "accounts.get": {"id": lambda: "acme"},
    "accounts.update": {"id": lambda: "acme"},
    "account": {"id": lambda: "acme"},
    "servers.add": {"id": lambda: "other"},
    "servers.send_test": {"sender": lambda: "a@example.com"},
    "servers.update": {"test_sender": lambda: "a@example.com", "test_to": lambda: TO},
    "routes.add": {"name": lambda: "other"},
    "routes.get": {"name": lambda: "r"},
    "routes.update": {"name": lambda: "r"},
    "routes.remove": {"name": lambda: "r", "cancel": lambda: True},
    "budgets.get": {"name": lambda: "b"},
    "budgets.update": {"name": lambda: "b", "limits": lambda: ()},
}
VARIADIC = {"limits": lambda: CalendarQuota(day=5)}

MODULES = ("", ".providers", ".limits", ".routers", ".transports", ".storages", ".testing", ".sandbox", ".hooks", ".clocks")
CONTRACTS = (Limit, Router, Provider, Hooks)


def public() -> list[tuple[str, Any]]:
    """Every public class and function that can be called, by its dotted name."""
    found: dict[str, Any] = {}
    for suffix in MODULES:
        module = import_module(f"deliverykit{suffix}")
        for name in module.__all__:
            one = getattr(module, name)
            if callable(one) and getattr(one, "__origin__", None) is None and not getattr(one, "_is_protocol", False):
                found.setdefault(name, one)
    module = import_module("deliverykit.contrib.opentelemetry")
    found["OpenTelemetry"] = module.OpenTelemetry
    return sorted(found.items())


def parameters(call: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a callable; those of ``**options: Unpack[…]`` by their own names."""
    try:
        found = dict(inspect.signature(call).parameters)
    except (TypeError, ValueError):
        return {}
    found.pop("_", None)
    if isinstance(call, EnumType):
        return {"value": found["value"]}
    options = [one for one in found.values() if one.kind is inspect.Parameter.VAR_KEYWORD]
    for one in options:
        found.pop(one.name)
        if one.name == "options":
            from deliverykit import Options

            for name in Options.__annotations__:
                found[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
    return found


def usual(label: str, parameter: inspect.Parameter) -> Any:
    """A value that this argument takes; fails where none is known, so that a new argument is not forgotten."""
    for key in (label, label.rpartition(".")[2]):
        if parameter.name in BESIDE.get(key, {}):
            return BESIDE[key][parameter.name]()
    if "." not in label and label[:1].isupper():
        return USUAL.get(parameter.name, lambda: None)()  # what the library itself makes, as a result
    assert parameter.name in USUAL, f"{label}({parameter.name}=…): add a usual value to USUAL in argument_kit.py"
    return USUAL[parameter.name]()


def arguments(label: str, call: Callable[..., Any], name: str, value: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call with one odd value, everything else usual."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    found = parameters(call)
    beside = BESIDE.get(label, BESIDE.get(label.rpartition(".")[2], {}))
    for key, one in found.items():
        required = one.default is inspect.Parameter.empty
        if key != name and not required and key not in beside:
            continue
        given = value if key == name else beside[key]() if key in beside else usual(label, one) if required else None
        if one.kind is inspect.Parameter.VAR_POSITIONAL:
            if key == name:
                positional.append(value)
        elif one.kind is inspect.Parameter.POSITIONAL_ONLY or (
            any(v.kind is inspect.Parameter.VAR_POSITIONAL for v in found.values())
            and one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ):
            positional.append(given)
        else:
            named[key] = given
    return positional, named
