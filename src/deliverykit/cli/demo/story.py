"""The demo, told in numbered steps. Each says what it does and shows what came of it; the last compares."""

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from attrs import define, field
from cryptography.fernet import Fernet

from deliverykit.cli.demo.check import Check, Expected, compare
from deliverykit.cli.demo.files import Recipients, example, greeting, newsletter, personal, recipients
from deliverykit.cli.demo.show import Screen
from deliverykit.cli.demo.stage import BRANCHES, ESP_NAMES, Branch, added, cast
from deliverykit.cli.demo.watch import Server, Watch, Working
from deliverykit.mailer import AccountMailer, Mailer
from deliverykit.sandbox import Sandbox
from deliverykit.testing.clock import ManualClock
from deliverykit.words.clock import instant
from deliverykit.words.errors import ConfigurationError, DeliveryError, NotProven
from deliverykit.words.message import Message

__all__ = ["run"]

_RETRY_AFTER: Final = 2
"""Seconds for which the throttling ESP wants to be left alone."""
_SHOWN: Final = 10
"""So many bad rows, or mismatches, are shown; of more the number."""
_WINDOWS: Final = 3
"""After so many windows all mail has to be gone; two are enough."""


def run(*, eml: Path | None = None, csv: Path | None = None, keep: bool = False) -> int:
    """Tell the story; 0 where everything held, 1 where something did not.

    Raises :class:`~deliverykit.ConfigurationError` for a file of the user's that cannot be used, before
    anything is started.
    """
    began = time.monotonic()
    message = newsletter(_content(eml, "newsletter.eml"), _name(eml, "newsletter.eml"))
    people = recipients(_content(csv, "recipients.csv"), _name(csv, "recipients.csv"))
    if not people.good:
        wrong = "; ".join(map(str, people.bad[:3]))
        raise ConfigurationError(f"{_name(csv, 'recipients.csv')}: nobody in it can be mailed ({wrong or 'it has no rows'})")
    folder = Path(tempfile.mkdtemp(prefix="deliverykit-demo-"))
    try:
        with ExitStack() as open_until_the_end:
            story = Story(Screen(), open_until_the_end, folder / "mail.db", message, people)
            checks = story.told((_name(eml, "newsletter.eml"), _name(csv, "recipients.csv")))
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return _ended(story, checks, time.monotonic() - began, folder / "mail.db" if keep else None)


def _content(given: Path | None, name: str) -> bytes:
    if given is None:
        return example(name)
    try:
        return given.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{given}: {error.strerror or error}") from None


def _name(given: Path | None, name: str) -> str:
    return f"examples/{name}" if given is None else str(given)


def _ended(story: "Story", checks: Sequence[Check], seconds: float, kept: Path | None) -> int:
    screen = story.screen
    screen.console.print()
    failed = [check for check in checks if check.problems]
    if failed:
        screen.mark(f"{len(failed)} of {len(checks)} did not hold: {'; '.join(one.title for one in failed)}", sign="✗")
    else:
        screen.mark(f"All of it held: {len(story.people.good):,} mails, {seconds:.0f} seconds, no account anywhere.")
    if kept:
        screen.plain(f"The queue and its log are kept in {kept}")
    if not failed:
        screen.say("[dim]Next: your own files with --eml and --csv; the sandbox for your tests with [/]deliverykit sandbox")
    screen.console.print()
    return 1 if failed else 0


@define
class Story:
    """The demo's course: what is there at one step is used by the next."""

    screen: Screen
    life: ExitStack
    path: Path
    message: Message
    people: Recipients
    sandbox: Sandbox = field(init=False)
    clock: ManualClock = field(init=False)
    mailer: Mailer = field(init=False)
    desks: Mapping[str, AccountMailer] = field(init=False)
    """By account: each branch's own face."""
    servers: tuple[Server, ...] = field(init=False)
    tests: set[str] = field(factory=set, init=False)
    expected: dict[str, Expected] = field(factory=dict, init=False)

    def told(self, names: tuple[str, str]) -> tuple[Check, ...]:
        """From the first step to the comparison."""
        self.screen.title("deliverykit demo", "One newsletter, four ESPs; no mail leaves this machine.")
        self._sandbox()
        self._storage()
        self._add()
        self._prove()
        self._routes()
        self._read(names)
        self._enqueue()
        with self._work() as watch:
            self._first_window(watch)
            self._stand()
            self._next_windows(watch)
        return self._compare()

    # -- before any mail ------------------------------------------------------------------------------

    def _sandbox(self) -> None:
        self.screen.step("Four ESPs start, as a process of their own")
        self.sandbox = self.life.enter_context(Sandbox(keep=len(self.people.good) + 10))
        for esp, name in ESP_NAMES.items():
            self.screen.say(f"{name:<14}[dim]{self.sandbox.url(esp)}[/]")

    def _storage(self) -> None:
        self.screen.step("One SQLite file, two accounts in two time zones")
        # The demo runs on a clock that can be moved, the sandbox's with it. Five minutes past a full hour (UTC) no
        # window is about to end in either zone, so the story is the same at any time of day.
        now = self.sandbox.now()
        self.clock = ManualClock(now, running=True)
        self._move(to=(now // 3_600_000 + 1) * 3_600_000 + 300_000)
        kolkata, new_york = BRANCHES
        self.mailer = self.life.enter_context(
            Mailer(f"sqlite:///{self.path}", secret_key=Fernet.generate_key(), timezone=kolkata.timezone, clock=self.clock)
        )
        self.mailer.accounts.add(new_york.account, timezone=new_york.timezone)
        self.desks = {kolkata.account: self.mailer, new_york.account: self.mailer.account(new_york.account)}
        self.screen.plain(str(self.path))
        for branch in BRANCHES:
            self.screen.say(f"{branch.city:<14}[dim]{branch.timezone}, its clock shows {self._local(branch)}[/]")
        self.screen.say("[dim]Neither account sees the other's servers; credentials are encrypted.[/]")

    def _add(self) -> None:
        self.screen.step("Four delivery servers, with quotas, a pause, and a forced From")
        played = cast(len(self.people.good))
        self.servers = tuple(
            Server(branch, rule, added(self.desks[branch.account], rule, self.sandbox))
            for branch, pair in zip(BRANCHES, played.rules, strict=True)
            for rule in pair
        )
        self.screen.table(
            ["server", "account", "per hour", "per day", "pause", "every mail is from"],
            [
                [
                    one.rule.name,
                    one.branch.city,
                    f"{one.rule.hour:,}",
                    f"{one.rule.day:,}",
                    f"{one.rule.pause} ms" if one.rule.pause else "–",
                    one.rule.sender.email,
                ]
                for one in self.servers
            ],
            right=["per hour", "per day", "pause"],
        )

    def _prove(self) -> None:
        self.screen.step("No server carries mail before a test email was accepted")
        first = self.servers[0]
        try:
            self.desks[first.branch.account].servers.activate(first.record)
        except NotProven as error:
            self.screen.mark("activate() is refused before that", str(error).replace(repr(first.record.id), "…"))
        else:
            raise DeliveryError(f"{first.rule.name} was activated without proof")
        for one in self.servers:
            desk = self.desks[one.branch.account].servers
            result = desk.send_test(one.record, to="me@example.org")
            self.tests.add(result.id)
            if not result.proof:
                raise DeliveryError(f"{one.rule.name}: the test email was not accepted: {result.reason}")
            desk.activate(one.record)
        self.screen.mark("Four test emails accepted, four servers active", "They count against the quota like any other mail.")

    def _routes(self) -> None:
        self.screen.step("Two routes: what happens when the first server has no quota left")
        for branch in BRANCHES:
            first, second = (one for one in self.servers if one.branch is branch)
            self.desks[branch.account].routes.add(
                branch.route, servers=[first.record, second.record], when_exhausted=branch.when_exhausted
            )
            then = "the next one takes over" if branch.when_exhausted == "failover" else "mail waits for the first"
            self.screen.say(
                f"{branch.city:<14}{first.rule.name}, then {second.rule.name}; [bold]{branch.when_exhausted}[/]: {then}"
            )

    # -- the mail -------------------------------------------------------------------------------------

    def _read(self, names: tuple[str, str]) -> None:
        self.screen.step("The newsletter and its recipients")
        people = self.people
        files = f"{len(self.message.attachments)} files" if self.message.attachments else "no files"
        self.screen.plain(f"{names[0]}: “{self.message.subject}”, {files}")
        foreign = sum(not one.address.name.isascii() for one in people.good)
        idn = sum(not one.address.email.isascii() for one in people.good)
        counted = f"{len(people.good):,} recipients, {foreign:,} names beyond ASCII, {idn:,} IDN domains"
        self.screen.plain(f"{names[1]}: {counted}")
        for title, rows in (("cannot be mailed", people.bad), ("stand there twice", people.duplicates)):
            if rows:
                told = "\n".join(_first(list(map(str, rows))))
                self.screen.mark(f"{len(rows):,} rows {title}; the rest goes on", told, sign="!")

    def _enqueue(self) -> None:
        self.screen.step("Into the queue: on disk before enqueue() returns")
        share = cast(len(self.people.good)).shares[0]
        halves = (self.people.good[:share], self.people.good[share:])
        for branch, half in zip(BRANCHES, halves, strict=True):
            began = time.monotonic()
            mails = [personal(self.message, one.address) for one in half]
            ids = self.desks[branch.account].enqueue(mails, route=branch.route)
            for id_, one in zip(ids, half, strict=True):
                self.expected[id_] = Expected(one.address, greeting(one.address))
            took = f"[dim]in {time.monotonic() - began:.1f} s[/]"
            self.screen.say(f"{branch.city:<14}{len(ids):,} mails {took}")

    # -- the worker -----------------------------------------------------------------------------------

    def _work(self) -> "Working":
        self.screen.step("A worker sends, and meets its limits")
        self.screen.say(f"[dim]In the middle of it Mailgun will answer 429, “come back in {_RETRY_AFTER} seconds”.[/]")
        every = cast(len(self.people.good)).throttle_every()
        self.sandbox.fault("mailgun", "throttle", times=1, every=every, retry_after=_RETRY_AFTER)
        worker = self.mailer.worker(concurrency=50, poll=timedelta(milliseconds=200))
        samples = {branch.account: personal(self.message, self.people.good[0].address) for branch in BRANCHES}
        return Working(worker, partial(Watch, self.screen, self.clock, self.desks, self.servers, samples, len(self.expected)))

    def _first_window(self, watch: Watch) -> None:
        watch.until_it_waits()
        ses, sendgrid, mailgun, _ = self.servers
        spilled = self.sandbox.count("sendgrid") - 1
        if spilled and self._full(ses):
            self.screen.mark(
                f"{ses.rule.name} had its {ses.rule.hour:,} for this hour; {sendgrid.rule.name} took over the next {spilled:,}"
            )
        seen = self.sandbox.requests("mailgun")
        struck = [one for one in seen if one.fault == "throttle"]
        if struck:
            after = [struck[0].at, *(one.at for one in seen if one.at > struck[0].at)]
            silence = max((later - earlier for earlier, later in pairwise(after)), default=0) / 1000
            self.screen.mark(
                f"{mailgun.rule.name} answered {struck[0].status} in mid-run, and then heard nothing for {silence:.1f} s",
                "The mail went back to its place in the queue, and left from there.",
            )
        if (held := watch.waiting(mailgun.branch)) and self._full(mailgun):
            self.screen.mark(
                f"{mailgun.rule.name} had its {mailgun.rule.hour:,} for this hour; {held:,} mails wait for it",
                "The other server of that route has quota, and is not used: the route says queue.",
            )

    def _full(self, server: Server) -> bool:
        views = self.desks[server.branch.account].servers.quota(server.record)
        return any(view.window == "hour" and not view.left for view in views)

    def _stand(self) -> None:
        self.screen.step("Where everything stands")
        rows = []
        for one in self.servers:
            desk = self.desks[one.branch.account]
            used = {view.window: f"{view.used:,} of {view.limit:,}" for view in desk.servers.quota(one.record)}
            rows.append([one.rule.name, f"{self.sandbox.count(one.rule.esp):,}", used["hour"], used["day"], self._waits(one)])
        self.screen.table(["server", "sent", "this hour", "this day", "waiting for it"], rows, right=["sent"])

    def _waits(self, server: Server) -> str:
        """What waits for this server, as the outbox says it."""
        held = self.desks[server.branch.account].outbox.list(state="ready", limit=1)
        if not held or held[0].goes_at is None or not held[0].reason.startswith(server.rule.name):
            return "–"
        count = self.desks[server.branch.account].outbox.counts()["ready"]
        return f"{count:,} until {_clock(held[0].goes_at, server.branch)}"

    def _next_windows(self, watch: Watch) -> None:
        for _ in range(_WINDOWS):
            held = [mail for desk in self.desks.values() for mail in desk.outbox.list(state="ready", limit=1)]
            instants = [mail.goes_at for mail in held if mail.goes_at is not None]
            if not instants:
                return
            at = min(instants)
            self.screen.step("The clock moves to the next window; held mail leaves by itself")
            branch = BRANCHES[1]
            was = self._local(branch)
            self._move(to=instant(at) + 2_000)
            self.screen.say(f"{branch.city:<14}{was} → [bold]{self._local(branch)}[/]  [dim]the same worker, told nothing[/]")
            watch.until_it_waits()

    # -- the proof --------------------------------------------------------------------------------------

    def _compare(self) -> tuple[Check, ...]:
        self.screen.step("What was asked for, against what the four ESPs received")
        rules = [one.rule for one in self.servers]
        checks = (*compare(self.expected, rules, self.sandbox.received(), self.tests), self._nothing_left())
        for check in checks:
            self.screen.mark(check.title, check.detail if not check.problems else "", sign="✗" if check.problems else "✓")
            if check.problems:
                self.screen.plain("\n".join(_first(list(check.problems))), style="red")
        return checks

    def _nothing_left(self) -> Check:
        problems = [
            f"{branch.city}: {count} mails are {state}"
            for branch in BRANCHES
            for state, count in self.desks[branch.account].outbox.counts().items()
            if count
        ]
        return Check("The queue is empty", "no mail waits, is in doubt or dead", tuple(problems))

    # -- time -------------------------------------------------------------------------------------------

    def _move(self, *, to: int) -> None:
        """Move both clocks; the sandbox's first, so that no mail arrives there before it left here."""
        by = timedelta(milliseconds=to - self.clock.now())
        self.sandbox.move_clock(by)
        self.clock.advance(by)

    def _local(self, branch: Branch) -> str:
        return _clock(datetime.fromtimestamp(self.clock.now() / 1000, UTC), branch)


def _clock(at: datetime, branch: Branch) -> str:
    return at.astimezone(ZoneInfo(branch.timezone)).strftime("%H:%M %Z")


def _first(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"… and {len(lines) - _SHOWN:,} more"]
