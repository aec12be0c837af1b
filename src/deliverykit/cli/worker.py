"""``deliverykit worker``: sends what waits, and shows it."""

import logging
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from deliverykit.cli.arguments import Menu, duration
from deliverykit.cli.call import Call
from deliverykit.cli.output import Record
from deliverykit.mailer import Worker
from deliverykit.words.errors import DeliveryError
from deliverykit.words.results import DrainReport

__all__ = ["add_commands"]

_LOOK: Final = 1.0
"""Seconds between two looks in a terminal."""
_SPAN: Final = 10.0
"""The rate is that of so many seconds."""


def add_commands(menu: Menu) -> None:
    """The commands of this module."""
    worker = menu.verb(
        "worker", _worker, "send what waits, until it is stopped (SIGTERM, Ctrl-C) or, with --drain, nothing more can go.",
        "Start as many as you like. It serves all accounts, and shows the one of --account.",
    )  # fmt: skip
    worker.add_argument("--concurrency", type=int, default=50, metavar="N", help="so many in flight at once (50)")
    worker.add_argument("--drain", action="store_true", help="end when all that is left waits for a quota, a retry or its time")
    worker.add_argument("--timeout", type=duration, metavar="TIME", help="of --drain: end after so long in any case")
    worker.add_argument("--verbose", "-v", action="store_true", help="tell each mail and every other fact on standard error")
    worker.add_argument(
        "--every",
        type=duration,
        metavar="TIME",
        default=duration("5s"),
        help="in a pipe: look so often, and tell what moved (5s)",
    )


def _worker(call: Call) -> int:
    options = call.options
    if options.timeout is not None and not options.drain:
        options.parser.error("--timeout belongs to --drain")
    if options.verbose:
        _told_on_standard_error()
    worker = call.host.worker(concurrency=options.concurrency)
    with _Watch(call, worker):
        report = worker.drain(timeout=options.timeout) if options.drain else worker.run()
    told = _told(report)
    if call.out.as_json:
        call.out.event({"event": "stopped", "at": datetime.now(UTC), **told}, "")
    else:
        call.out.say("Stopped: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in told.items()))
    return 0


class _StandardError(logging.Handler):
    """Writes to what standard error is at the moment: the live view puts something of its own there."""

    def emit(self, record: logging.LogRecord) -> None:
        """A line."""
        sys.stderr.write(f"{self.format(record)}\n")


def _told_on_standard_error() -> None:
    logger, handler = logging.getLogger("deliverykit"), _StandardError()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)


def _told(report: DrainReport) -> dict[str, int]:
    return {"sent": report.accepted, "dead": report.dead, "in_doubt": report.in_doubt, "returned": report.returned}


class _Watch:
    """Looks at the worker and the outbox while the block runs: in a thread, for the main one has the signals."""

    def __init__(self, call: Call, worker: Worker) -> None:
        self._call = call
        self._worker = worker
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._sent: deque[tuple[float, int]] = deque()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(10)

    def _run(self) -> None:
        out = self._call.out
        every = _LOOK if out.terminal else self._call.options.every.total_seconds()
        with ExitStack() as stack:
            draw = stack.enter_context(out.live()) if out.terminal else None
            before: Record = {}
            over = False
            while not over:
                over = self._over.wait(every)  # after the last look the picture is complete
                with suppress(DeliveryError):  # a store that is busy is asked again
                    look = self._looked()
                    if draw is not None:
                        draw(self._picture(look))
                    elif _moved(before, look):
                        out.event(look, _line(look))
                        before = look

    def _looked(self) -> dict[str, Any]:
        mailer = self._call.mailer
        counts = mailer.outbox.counts()
        told = _told(self._worker.report)
        return {
            "event": "progress",
            "at": datetime.now(UTC),
            **told,
            "rate": self._rate(told["sent"]),
            "waiting": counts["ready"] + counts["scheduled"],
            "on_its_way": counts["leased"] + counts["sending"],
            "held_in_doubt": counts["in_doubt"],
            "servers": [
                {
                    "server": one.id,
                    "name": one.name,
                    "status": one.status.value,
                    "left": {f"{each.owner} {each.window}": each.left for each in mailer.servers.quota(one)},
                }
                for one in mailer.servers.list()
            ],
        }

    def _rate(self, sent: int) -> float:
        """Mails a second, over the last ten."""
        now = time.monotonic()
        self._sent.append((now, sent))
        while now - self._sent[0][0] > _SPAN and len(self._sent) > 2:
            self._sent.popleft()
        since, then = self._sent[0]
        return round((sent - then) / (now - since), 1) if now > since else 0.0

    def _picture(self, look: Record) -> Any:
        from rich.console import Group
        from rich.text import Text

        rows = [
            [one["name"], one["status"], ", ".join(f"{left:,} {window}" for window, left in one["left"].items()) or "no quota"]
            for one in look["servers"]
        ]
        return Group(Text(_line(look)), self._call.out.picture(["server", "status", "left"], rows))


def _moved(before: Record, look: Record) -> bool:
    quiet = ("at", "rate")
    return {name: value for name, value in before.items() if name not in quiet} != {
        name: value for name, value in look.items() if name not in quiet
    }


def _line(look: Record) -> str:
    words = f"{look['sent']:,} sent   {look['waiting']:,} waiting   {look['on_its_way']:,} on their way   "
    words += f"{look['held_in_doubt']:,} in doubt   {look['rate']:,.1f}/s"
    left = [f"{one['name']}: {min(one['left'].values()):,} left" for one in look["servers"] if one["left"]]
    return "   ".join([words, *left])
