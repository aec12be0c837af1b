"""A fork server for real kills: everything is imported once, then each life is a fork that dies by ``kill -9``.

An order is a line of JSON: a list of children, each with its ``role`` (``work``, ``send``) and how it dies: by its own hand at
the ``nth`` time it comes to a named ``step``, and else by this server's after so many ``ms``. Workers run until then; the
answer is, for each, the signal it died by, or 0 for a sender that came to its end first.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from process_kit import KEY, ROUTE, FileClock, message

from deliverykit import Mailer
from deliverykit.engine.admission.asking import Place
from deliverykit.engine.delivery.landing import _SettleAndStart
from deliverykit.engine.settling.settle import Settle
from deliverykit.storages.sqlite import SQLiteStorage
from deliverykit.transports import HttpTransport
from deliverykit.words.wire import HttpRequest, HttpResponse


class Fate:
    """The step, and the time, at which this process dies."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.step = order.get("step")
        self.left = order.get("nth", 1)

    def meets(self, step: str) -> bool:
        """Whether this is it."""
        if step != self.step:
            return False
        self.left -= 1
        return self.left == 0

    def at(self, step: str) -> None:
        if self.meets(step):
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(10)


class DyingStorage(SQLiteStorage):
    """Dies before, in and after the transaction of a step; in it means: all is written, nothing is committed."""

    def __init__(self, path: str, clock: FileClock, fate: Fate, poison: str = "") -> None:
        super().__init__(path, clock, "normal")
        self._fate = fate
        self._poison = poison

    def claim(self, *given: Any, **named: Any) -> Any:
        if self._fate.meets("claiming"):
            self._die_at_commit()
        leased = super().claim(*given, **named)
        if any(one.head.uid == self._poison for one in leased):
            die()
        if leased:
            self._fate.at("claimed")
        return leased

    def transact(self, account: str, keys: Sequence[str], decide: Any) -> Any:
        before, within, after = _steps(decide)
        for step in before:
            self._fate.at(step)
        if any(self._fate.meets(step) for step in within):
            self._die_at_commit()
        found = super().transact(account, keys, decide)
        for step in after:
            self._fate.at(step)
        return found

    def _die_at_commit(self) -> None:
        def trace(sql: str) -> None:
            if sql.lower().startswith("commit"):
                die()

        self._db._opened().set_trace_callback(trace)


def _steps(decide: Any) -> tuple[list[str], list[str], list[str]]:
    before, within, after = [], [], []
    if isinstance(decide, Place):
        within, after = ["placing"], ["placed"]
    settle = decide.settle if isinstance(decide, _SettleAndStart) else decide if isinstance(decide, Settle) else None
    if isinstance(decide, _SettleAndStart) and decide.starts:
        within, after = ["marking"], ["marked"]
    if settle is not None and settle.landings:
        before, within, after = ["before settle"], [*within, "in settle"], [*after, "settled"]
    return before, within, after


class DyingTransport:
    """Dies while a request is on its way, or when its answer has come."""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self._inner = HttpTransport()

    def send(self, request: HttpRequest) -> HttpResponse:
        if self._fate.meets("wire"):
            threading.Thread(target=self._inner.send, args=[request], daemon=True).start()
            time.sleep(0.012)
            die()
        response = self._inner.send(request)
        self._fate.at("answered")
        return response

    def close(self) -> None:
        self._inner.close()


def live(folder: Path, clock: FileClock, order: dict[str, Any]) -> None:
    fate = Fate(order)
    storage = DyingStorage(str(folder / "mail.db"), clock, fate, order.get("poison", ""))
    mailer = Mailer(storage, clock=clock, secret_key=KEY, transport=DyingTransport(fate))
    if order["role"] == "work":
        mailer.worker(concurrency=4, poll=timedelta(milliseconds=20)).run()
        return
    with (folder / "told").open("a") as told:
        for number in range(order["start"], order["start"] + order["count"]):
            result = mailer.send(message(number, **order.get("fields", {})), route=ROUTE)
            told.write(f"{number} {result.status}\n")
            told.flush()


def forked(folder: Path, clock: FileClock, order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(60)
    code = 1
    try:
        with (folder / "errors").open("a") as errors:
            os.dup2(errors.fileno(), 2)
        os.dup2(2, 1)
        live(folder, clock, order)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def ended(pid: int, at: float) -> int:
    """The signal it died by; killed at the instant ``at`` of the steady clock, where it lives so long."""
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() >= at:
            os.kill(pid, signal.SIGKILL)  # nobody has waited for it yet, so nobody else can have its id
            found = os.waitpid(pid, 0)
            break
        time.sleep(0.002)
    status = found[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    if os.WEXITSTATUS(status):
        raise SystemExit(f"a child failed with {os.WEXITSTATUS(status)}")
    return 0


def main() -> None:
    folder = Path(sys.argv[1])
    clock = FileClock(folder / "clock")
    # What a first use would load, so that no child has to.
    warm = HttpTransport()
    warm.open()
    warm.close()
    asyncio.run(asyncio.sleep(0))
    for line in sys.stdin:
        orders = json.loads(line)
        children = [(forked(folder, clock, order), order) for order in orders]
        began = time.monotonic()
        dies = {pid: began + order.get("ms", 60_000) / 1000 for pid, order in children}
        ends = {pid: ended(pid, at) for pid, at in sorted(dies.items(), key=lambda one: one[1])}
        print(json.dumps([ends[pid] for pid, _ in children]), flush=True)


if __name__ == "__main__":
    main()
