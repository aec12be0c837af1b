"""The worker in its thread, and the eye on it: what is shown while it runs, and when it has nothing to do but wait."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Final
from zoneinfo import ZoneInfo

from attrs import frozen

from deliverykit.cli.demo.check import Rule
from deliverykit.cli.demo.show import Bar, Bars, Screen
from deliverykit.cli.demo.stage import Branch
from deliverykit.mailer import AccountMailer, Worker
from deliverykit.records.server import DeliveryServer
from deliverykit.testing.clock import ManualClock
from deliverykit.words.clock import instant
from deliverykit.words.errors import DeliveryError
from deliverykit.words.message import Message
from deliverykit.words.results import ServerView

__all__ = ["Server", "Watch", "Working"]

_LOOK: Final = 0.15
_STALLED: Final = 60.0
"""Seconds without any progress after which the demo gives up."""
_FAR: Final = 60_000
"""Mail that goes later than this, in ms, waits for a window; a pause or a throttle is shorter."""
_ALL: Final = "all mail"


@frozen
class Server:
    """One server on the stage."""

    branch: Branch
    rule: Rule
    record: DeliveryServer


@frozen
class Watch:
    """Follows the outbox and the quotas while the worker runs."""

    screen: Screen
    clock: ManualClock
    desks: Mapping[str, AccountMailer]
    servers: Sequence[Server]
    samples: Mapping[str, Message]
    """By account: a message such as those under way, to ask ``explain`` about."""
    total: int
    worker: "Working"

    def until_it_waits(self) -> None:
        """Show progress until all that is left waits for a quota's window, or nothing is left."""
        with self.screen.live([_ALL, *(one.rule.name for one in self.servers)]) as bars:
            moved, before = time.monotonic(), ""
            while True:
                self.worker.check()
                waits = self._waits()  # asked before the picture is taken, so that the last picture is complete
                left = {account: self._left(desk) for account, desk in self.desks.items()}
                self._show(bars, left)
                if waits:
                    return
                if (now := str(left)) != before:
                    moved, before = time.monotonic(), now
                if time.monotonic() - moved > _STALLED:
                    raise DeliveryError(f"nothing has moved for {_STALLED:.0f} seconds; left in the outbox: {now}")
                time.sleep(_LOOK)

    def waiting(self, branch: Branch) -> int:
        """How many mails of a branch wait."""
        return self.desks[branch.account].outbox.counts()["ready"]

    def _left(self, desk: AccountMailer) -> int:
        return sum(desk.outbox.counts().values())

    def _waits(self) -> bool:
        for desk in self.desks.values():
            counts = desk.outbox.counts()
            if counts["leased"] or counts["sending"] or counts["scheduled"]:
                return False
            for mail in desk.outbox.list(state="ready", limit=1):
                if mail.goes_at is None or instant(mail.goes_at) < self.clock.now() + _FAR:
                    return False
        return True

    def _show(self, bars: Bars, left: Mapping[str, int]) -> None:
        shown = [Bar(_ALL, self.total - sum(left.values()), self.total)]
        for account, desk in self.desks.items():
            branch = next(one.branch for one in self.servers if one.branch.account == account)
            views = {view.server: view for view in desk.explain(self.samples[account], route=branch.route).servers}
            for one in (each for each in self.servers if each.branch is branch):
                hour = next(view for view in desk.servers.quota(one.record) if view.window == "hour")
                words = _words(one, views[one.record.id], self.clock.now()) if left[account] else ""
                shown.append(Bar(one.rule.name, hour.used, hour.limit, words))
        bars.show(shown)


def _words(server: Server, view: ServerView, now: int) -> str:
    """What a server does at the moment, in few words; from the library's own explanation."""
    if view.verdict == "waits" and view.at is not None:
        if view.reason.endswith(": calendar"):
            return f"hour full until {_clock(view.at, server.branch)}"
        if view.reason.endswith(": closed"):
            return f"throttled for {max(0, instant(view.at) - now) / 1000:.1f} s"
    if server.rule.pause and view.verdict in {"waits", "takes it", "takes it now"}:
        return f"one every {server.rule.pause} ms"
    return "sending" if view.verdict.startswith("takes") else "in reserve"


def _clock(at: datetime, branch: Branch) -> str:
    return at.astimezone(UTC).astimezone(ZoneInfo(branch.timezone)).strftime("%H:%M")


class Working:
    """A worker that runs in a thread while the ``with`` block lasts; entering it gives the watch over it."""

    def __init__(self, worker: Worker, watch: "Callable[[Working], Watch]") -> None:
        self._worker = worker
        self._watch = watch
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def _run(self) -> None:
        try:
            self._worker.run()
        except BaseException as error:  # noqa: BLE001 - check() raises it in the thread that tells the story
            self._error = error

    def check(self) -> None:
        """Raise what ended the worker."""
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Watch:
        self._thread.start()
        return self._watch(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._worker.stop()
        self._thread.join(10)
        if kind is None:
            self.check()
