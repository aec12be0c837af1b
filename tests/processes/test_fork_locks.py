"""A fork while another thread holds a lock: the child sends all the same, whichever lock it was."""

import asyncio
import functools
import inspect
import os
import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from process_kit import Stage

from deliverykit import AsyncMailer, Mailer, Message
from deliverykit.contrib.opentelemetry import OpenTelemetry
from deliverykit.providers import SendGrid
from deliverykit.testing import ManualClock

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()"),
    # 3.12 and later warn of a fork beside threads; that is what is tested here.
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]
KEY = "k" * 43
HANGS = 60
LOCKS = (type(threading.Lock()), type(threading.RLock()))
OURS = ("deliverykit", "httpx2", "httpcore2", "concurrent.futures", "threading")
"""Whose objects are looked into. ``logging`` and other modules of the standard library take care of their own locks."""


def parts(one: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, by name."""
    if isinstance(one, dict):
        yield from ((f"[{key!r:.40}]", value) for key, value in list(one.items()))
    elif isinstance(one, list | tuple | set | frozenset | deque | WeakSet):
        yield from ((f"[{place}]", value) for place, value in enumerate(list(one)))
    elif isinstance(one, functools.partial):
        yield from (("()", value) for value in (one.func, *one.args, *one.keywords.values()))
    elif isinstance(one, types.MethodType):
        yield from (("", one.__self__), ("", one.__func__))
    elif isinstance(one, types.FunctionType):
        yield from (("()", cell.cell_contents) for cell in one.__closure__ or () if cell != types.CellType())
    elif isinstance(one, types.ModuleType):
        yield from ((f".{name}", value) for name, value in list(vars(one).items()))
    elif str(inspect.getattr_static(one if isinstance(one, type) else type(one), "__module__", "")).startswith(OURS):
        names = list(getattr(one, "__dict__", ()))
        for kind in () if isinstance(one, type) else type(one).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            names += [slots] if isinstance(slots, str) else slots
        for name in names:
            try:
                yield f".{name}", inspect.getattr_static(one, name) if isinstance(one, type) else getattr(one, name)
            except AttributeError:
                continue


def locks_of(roots: dict[str, Any]) -> dict[str, Any]:
    """Every lock that can be reached, by the way to it."""
    found: dict[str, Any] = {}
    seen: dict[int, Any] = {}
    todo = deque(roots.items())
    while todo:
        way, one = todo.popleft()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        if isinstance(one, LOCKS):
            found[way] = one
        elif isinstance(one, threading.Thread):
            continue  # the interpreter gives these new locks
        elif not isinstance(one, types.ModuleType) or one.__name__.startswith("deliverykit"):
            todo.extend((way + name, part) for name, part in parts(one))
    return found


def fork_while_held(lock: Any, work: Callable[[], object]) -> int:
    """Fork while another thread holds a lock; the exit status of the child. What a fork waits for is let go of."""
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            forked.wait(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(HANGS)
    child = os.fork()
    if child == 0:
        signal.alarm(HANGS)  # a child that hangs ends itself
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    forked.set()
    thread.join()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_child_sends_whichever_lock_was_held(stage: Stage, tmp_path: Path) -> None:
    sandbox = stage.sandbox
    sandbox.check_clock(False)
    options: dict[str, Any] = {
        "secret_key": KEY, "clock": ManualClock(running=True), "hooks": OpenTelemetry(), "base_urls": ["127.0.0.1"],
    }  # fmt: skip
    url = f"sqlite:///{tmp_path / 'mail.db'}"
    with Mailer(url, **options) as mailer:
        provider = SendGrid(api_key="SG.a", base_url=sandbox.url("sendgrid"))
        mailer.servers.add(id="a", name="A", provider=provider, sender="a@example.com")
        assert mailer.servers.send_test("a", to="me@example.org").proof
        mailer.servers.activate("a")
        options["hooks"].observe(mailer)
        awaited = AsyncMailer(url, **options)
        one = Message(to="ann@example.org", subject="Hello", text="Hello")
        loop = asyncio.new_event_loop()
        loop.run_until_complete(awaited.send(one))

        def work() -> None:
            assert mailer.send(one).status == "accepted"
            assert asyncio.run(awaited.send(one)).status == "accepted"
            mailer.enqueue([one])
            assert mailer.worker().drain(HANGS).accepted == 1

        modules = {name: module for name, module in sys.modules.items() if name.startswith("deliverykit")}
        locks = locks_of({"mailer": mailer, "awaited": awaited, **modules})
        known = [mailer._ports._queue._turn, mailer._context.spacing._guard, options["clock"]._guard, options["hooks"]._guard]
        expected = [*(guard._lock for guard in known), mailer._context.storage._db._lock]
        assert all(any(lock is found for found in locks.values()) for lock in expected)
        failed = {way: status for way, lock in locks.items() if (status := fork_while_held(lock, work))}
        assert not failed, f"{failed} of {sorted(locks)}"
        loop.run_until_complete(awaited.aclose())
        loop.close()
