"""The work: one worker is killed, another takes over and meets every limit and trouble, until all mail has gone."""

from collections import Counter
from itertools import pairwise
from typing import Final

from attrs import define, field

from deliverykit.cli.demo.check import Spent
from deliverykit.cli.demo.doubts import Doubts
from deliverykit.cli.demo.files import personal
from deliverykit.cli.demo.opening import Scene, local_time
from deliverykit.cli.demo.process import WorkerProcess
from deliverykit.cli.demo.stage import BRANCHES, ESP_NAMES, RETRY_AFTER
from deliverykit.cli.demo.watch import Server, Watch
from deliverykit.words.clock import instant

__all__ = ["Work"]

_PATIENCE: Final = 2.0
"""Seconds that the demo's workers wait for an answer; 30 by default."""
_LEASE: Final = 5
"""Seconds for which mail of a killed worker stays its own; 60 by default."""
_HELD: Final = 2.0
"""Seconds by which every answer is late while the worker is killed: so there is mail on its wire."""
_WINDOWS: Final = 12
"""After so many windows all mail has to be gone; two are enough for a long list."""


@define
class Work:
    """What the two workers do on this scene, and what is kept of it for the proof."""

    scene: Scene
    doubts: Doubts = field(init=False)
    dropped: Counter[str] = field(factory=Counter, init=False)
    """By server: what the killed worker had claimed and not begun to send."""
    spent: tuple[Spent, ...] = field(default=(), init=False)

    def done(self) -> None:
        """Until all mail has gone."""
        self._killed()
        watch = self._troubled()
        self._stand()
        self._settle(watch)
        self._next_windows(watch)
        watch.worker.stop()

    def _worker(self, name: str, concurrency: int) -> Watch:
        """Start one, as a process of its own."""
        orders = {
            "storage": f"sqlite:///{self.scene.path}", "key": self.scene.key, "clock": str(self.scene.path.with_name("clock")),
            "concurrency": concurrency, "lease": _LEASE, "patience": _PATIENCE,
        }  # fmt: skip
        worker = WorkerProcess(orders, self.scene.path.with_name(f"{name} worker.log"))
        self.scene.life.callback(worker.stop)
        samples = {branch.account: personal(self.scene.message, self.scene.people.good[0].address) for branch in BRANCHES}
        return Watch(
            self.scene.screen, self.scene.clock, self.scene.desks, self.scene.servers, samples, len(self.scene.expected), worker
        )

    def _killed(self) -> None:
        self.scene.screen.step("A worker sends, as a process of its own, and is killed with -9 in the middle")
        held = [False]

        def on_the_wire() -> bool:
            """Once enough is sent the answers come late; then whatever arrives is on the wire until its answer."""
            if not held[0] and self.scene.sandbox.count() - len(self.scene.tests) >= self.scene.played.killed_after():
                held[0] = True
                for esp in ESP_NAMES:
                    self.scene.sandbox.fault(esp, "latency", times=None, seconds=_HELD)
            return held[0] and any(one.fault == "latency" for one in self.scene.sandbox.requests())

        on_the_wire()
        watch = self._worker("first", concurrency=8)
        watch.until(on_the_wire)
        status = watch.worker.kill()
        self.scene.sandbox.clear_faults()
        sending, leased = (
            [mail for desk in self.scene.desks.values() for mail in desk.outbox.list(state=state, limit=1_000)]
            for state in ("sending", "leased")
        )
        self.dropped = Counter(mail.server for mail in leased)
        self.doubts = Doubts(
            self.scene.screen, self.scene.sandbox, self.scene.desks, self.scene.servers, self.scene.expected, _PATIENCE,
            pid=watch.worker.pid, on_its_wire={mail.id for mail in sending},
        )  # fmt: skip
        self.scene.screen.mark(
            f"Process {watch.worker.pid} was killed in mid-run, its exit status is {status}",
            f"On its wire: {len(sending):,} mails. In its hands and not begun: {len(leased):,}.",
            sign="!",
        )

    def _troubled(self) -> Watch:
        self.scene.screen.step("Another worker takes over, and meets its limits")
        ses, sendgrid, mailgun, _ = self.scene.servers
        self.scene.screen.say(
            f"[dim]In the middle of it {mailgun.rule.name} will answer 429, “come back in {RETRY_AFTER} seconds”, "
            f"{ses.rule.name} will read a few mails and never answer, {sendgrid.rule.name} will revoke its key.[/]"
        )
        self.scene.played.trouble(self.scene.sandbox)
        watch = self._worker("second", concurrency=50)
        watch.until_it_waits()
        self.scene.screen.mark(f"Process {watch.worker.pid} took over, and the killed one's lease ran out after {_LEASE} s")
        self._overflow(watch)
        self._silence()
        self._revoked(watch)
        return watch

    def _overflow(self, watch: Watch) -> None:
        ses, sendgrid, mailgun, _ = self.scene.servers
        spilled = self.scene.sandbox.count("sendgrid") - 1
        if spilled and self._full(ses):
            self.scene.screen.mark(
                f"{ses.rule.name} had its {ses.rule.hour:,} for this hour; {sendgrid.rule.name} took over the next {spilled:,}"
            )
        if (held := watch.waiting(mailgun.branch)) and self._full(mailgun):
            self.scene.screen.mark(
                f"{mailgun.rule.name} had its {mailgun.rule.hour:,} for this hour; {held:,} mails wait for it",
                "The other server of that route has quota, and is not used: the route says queue.",
            )

    def _silence(self) -> None:
        ses, _, mailgun, _ = self.scene.servers
        seen = self.scene.sandbox.requests("mailgun")
        struck = [one for one in seen if one.fault == "throttle"]
        if struck:
            after = [struck[0].at, *(one.at for one in seen if one.at > struck[0].at)]
            silence = max((later - earlier for earlier, later in pairwise(after)), default=0) / 1000
            self.scene.screen.mark(
                f"{mailgun.rule.name} answered {struck[0].status} in mid-run, and then heard nothing for {silence:.1f} s",
                "The mail went back to its place in the queue, and left from there.",
            )
        if hung := sum(one.fault == "hang" for one in self.scene.sandbox.requests("ses")):
            self.scene.screen.mark(f"{ses.rule.name} read {hung:,} mails and never answered; they are in doubt", sign="!")

    def _revoked(self, watch: Watch) -> None:
        sendgrid = self.scene.servers[1]
        record = self.scene.desk(sendgrid).servers.get(sendgrid.record)
        if record.active:
            return
        held = watch.waiting(sendgrid.branch)
        self.scene.screen.mark(
            f"{sendgrid.rule.name} is {record.status.upper()}, by the {record.paused_by}", record.reason, sign="!"
        )
        if held:
            self.scene.screen.say(f"  [dim]{held:,} mails wait for {self.scene.servers[0].rule.name}.[/]")

    def _full(self, server: Server) -> bool:
        views = self.scene.desk(server).servers.quota(server.record)
        return any(view.window == "hour" and not view.left for view in views)

    def _stand(self) -> None:
        self.scene.screen.step("Where everything stands")
        rows, spent = [], []
        doubts = self.doubts.open()
        for one in self.scene.servers:
            desk = self.scene.desk(one)
            views = {view.window: view for view in desk.servers.quota(one.record)}
            hour, day = (f"{views[window].used:,}/{views[window].limit:,}" for window in ("hour", "day"))
            count = self.scene.sandbox.count(one.rule.esp)
            doubtful = [doubt for doubt in doubts if doubt.server == one.rule.name]
            rows.append([one.rule.name, f"{count:,}", str(len(doubtful) or "–"), hour, day, self._waits(one)])
            spent.append(
                Spent(
                    name=one.rule.name, used=views["hour"].used, received=count, dropped=self.dropped[one.record.id],
                    missing=sum(not doubt.received for doubt in doubtful), paused=not desk.servers.get(one.record).active,
                )
            )  # fmt: skip
        self.spent = tuple(spent)
        self.scene.screen.table(
            ["server", "received", "in doubt", "this hour", "this day", "waiting"], rows, right=["received", "in doubt"]
        )

    def _waits(self, server: Server) -> str:
        """What waits for this server, as the outbox says it."""
        desk = self.scene.desk(server)
        if not desk.servers.get(server.record).active:
            return "PAUSED"
        held = [
            lane for lane in desk.outbox.lanes() if lane.goes_at is not None and f" of {server.rule.name!r} " in lane.blocked_by
        ]
        if not held:
            return "–"
        first = min(lane.goes_at for lane in held if lane.goes_at is not None)
        return f"{sum(lane.waiting for lane in held):,} until {local_time(first, server.branch)}"

    def _settle(self, watch: Watch) -> None:
        """Name what is in doubt and settle it; what goes again at once has gone when this returns."""
        if self.doubts.open():
            self.doubts.settle()
            watch.until_it_waits(shown=False)

    def _next_windows(self, watch: Watch) -> None:
        for _ in range(_WINDOWS):
            due = [
                (instant(lane.goes_at), branch)
                for branch in BRANCHES
                for lane in self.scene.desks[branch.account].outbox.lanes()
                if lane.waiting and lane.goes_at is not None
            ]
            if not due:
                return
            at, branch = min(due, key=lambda one: one[0])
            self.scene.screen.step("The clock moves to the next window; held mail leaves by itself")
            was = self.scene.local(branch)
            self.scene.move(to=at + 2_000)
            self.scene.screen.say(
                f"{branch.city:<14}{was} → [bold]{self.scene.local(branch)}[/]  [dim]the same worker, told nothing[/]"
            )
            watch.until_it_waits()
            self._settle(watch)
