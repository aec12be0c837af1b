"""The eye on the worker: what is shown while it runs, and when it has nothing to do but wait."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from attrs import frozen

from deliverykit.cli.demo.check import Rule
from deliverykit.cli.demo.process import WorkerProcess
from deliverykit.cli.demo.show import Bar, Bars, Screen
from deliverykit.cli.demo.stage import Branch
from deliverykit.mailer import AccountMailer
from deliverykit.records.server import DeliveryServer
from deliverykit.words.clock import Clock, instant
from deliverykit.words.errors import DeliveryError
from deliverykit.words.message import Message
from deliverykit.words.results import ServerView

__all__ = ["Server", "Watch"]

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
    clock: Clock
    desks: Mapping[str, AccountMailer]
    servers: Sequence[Server]
    samples: Mapping[str, Message]
    """By account: a message such as those under way, to ask ``explain`` about."""
    total: int
    worker: WorkerProcess

    def until_it_waits(self, *, shown: bool = True) -> None:
        """Show progress until all that is left waits for a quota's window, or is in doubt, or nothing is left."""
        if shown:
            self.until(lambda: False)
        else:
            self._until(lambda: False, lambda _: None)

    def until(self, reached: Callable[[], bool]) -> None:
        """The same, or until something is ``reached``."""
        with self.screen.live([_ALL, *(one.rule.name for one in self.servers)]) as bars:
            self._until(reached, lambda left: self._show(bars, left))

    def _until(self, reached: Callable[[], bool], show: Callable[[Mapping[str, Mapping[str, int]]], None]) -> None:
        moved, before = time.monotonic(), ""
        while True:
            self.worker.check()
            ends = reached() or self._waits()  # asked before the picture is taken, so that the last picture is complete
            left = {account: desk.outbox.counts() for account, desk in self.desks.items()}
            show(left)
            if ends:
                return
            if (now := str(left)) != before:
                moved, before = time.monotonic(), now
            if time.monotonic() - moved > _STALLED:
                raise DeliveryError(f"nothing has moved for {_STALLED:.0f} seconds; left in the outbox: {now}")
            time.sleep(_LOOK)

    def waiting(self, branch: Branch) -> int:
        """How many mails of a branch wait."""
        return self.desks[branch.account].outbox.counts()["ready"]

    def _waits(self) -> bool:
        for desk in self.desks.values():
            counts = desk.outbox.counts()
            if counts["leased"] or counts["sending"] or counts["scheduled"]:
                return False
            for lane in desk.outbox.lanes():
                if lane.waiting and (lane.goes_at is None or instant(lane.goes_at) < self.clock.now() + _FAR):
                    return False
        return True

    def _show(self, bars: Bars, left: Mapping[str, Mapping[str, int]]) -> None:
        whole = sum(sum(counts.values()) for counts in left.values())
        doubtful = sum(counts["in_doubt"] for counts in left.values())
        shown = [Bar(_ALL, self.total - whole, self.total, f"{doubtful:,} in doubt" if doubtful else "")]
        for account, desk in self.desks.items():
            branch = next(one.branch for one in self.servers if one.branch.account == account)
            views = {view.server: view for view in desk.explain(self.samples[account], route=branch.route).servers}
            for one in (each for each in self.servers if each.branch is branch):
                hour = next(view for view in desk.servers.quota(one.record) if view.window == "hour")
                words = _words(one, views[one.record.id], self.clock.now()) if any(left[account].values()) else ""
                shown.append(Bar(one.rule.name, hour.used, hour.limit, words))
        bars.show(shown)


def _words(server: Server, view: ServerView, now: int) -> str:
    """What a server does at the moment, in few words; from the library's own explanation."""
    if view.verdict == "waits" and view.at is not None:
        if " quota of " in view.reason:
            return f"hour full until {_clock(view.at, server.branch)}"
        if view.reason.startswith("ESP of "):
            return f"throttled for {max(0, instant(view.at) - now) / 1000:.1f} s"
    if "PAUSED" in view.reason:
        return "PAUSED"
    if server.rule.pause and view.verdict in {"waits", "takes it", "takes it now"}:
        return f"one every {server.rule.pause} ms"
    return "sending" if view.verdict.startswith("takes") else "in reserve"


def _clock(at: datetime, branch: Branch) -> str:
    return at.astimezone(UTC).astimezone(ZoneInfo(branch.timezone)).strftime("%H:%M")
