"""The opening: four ESPs, a storage, servers, routes and mail. What it sets up is what the rest of the demo works with."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from attrs import define, field
from cryptography.fernet import Fernet

from deliverykit.cli.demo.check import Expected
from deliverykit.cli.demo.clock import SharedClock
from deliverykit.cli.demo.files import Recipients, greeting, personal
from deliverykit.cli.demo.show import Screen
from deliverykit.cli.demo.stage import BRANCHES, ESP_NAMES, Branch, Cast, added, cast
from deliverykit.cli.demo.watch import Server
from deliverykit.mailer import AccountMailer, Mailer
from deliverykit.sandbox import Sandbox
from deliverykit.words.errors import DeliveryError, NotProven
from deliverykit.words.message import Message

__all__ = ["Scene", "first", "local_time"]

_SHOWN: Final = 10
"""So many bad rows, or mismatches, are shown; of more the number."""


@define
class Scene:
    """What is there once the mail is in the queue."""

    screen: Screen
    life: ExitStack
    path: Path
    message: Message
    people: Recipients
    sandbox: Sandbox = field(init=False)
    played: Cast = field(init=False)
    key: str = field(factory=lambda: Fernet.generate_key().decode(), init=False, repr=False)
    clock: SharedClock = field(init=False)
    mailer: Mailer = field(init=False)
    desks: Mapping[str, AccountMailer] = field(init=False)
    """By account: each branch's own face."""
    servers: tuple[Server, ...] = field(init=False)
    tests: set[str] = field(factory=set, init=False)
    expected: dict[str, Expected] = field(factory=dict, init=False)

    def open(self, names: tuple[str, str]) -> None:
        """Set it up, and tell it step by step; ``names`` are those of the two files."""
        self.screen.title("deliverykit demo", "One newsletter, four ESPs; no mail leaves this machine.")
        self._sandbox()
        self._storage()
        self._add()
        self._prove()
        self._routes()
        self._read(names)
        self._enqueue()

    def desk(self, server: Server) -> AccountMailer:
        """The face of a server's account."""
        return self.desks[server.branch.account]

    # -- before any mail ------------------------------------------------------------------------------

    def _sandbox(self) -> None:
        self.screen.step("Four ESPs start, as a process of their own")
        self.sandbox = self.life.enter_context(Sandbox(keep=2 * len(self.people.good) + 100))
        for esp, name in ESP_NAMES.items():
            self.screen.say(f"{name:<14}[dim]{self.sandbox.url(esp)}[/]")

    def _storage(self) -> None:
        self.screen.step("One SQLite file, two accounts in two time zones")
        # The demo and its workers run on a clock that can be moved, the sandbox's with it. Five minutes past a full hour
        # (UTC) no window is about to end in either zone, so the story is the same at any time of day.
        now = self.sandbox.now()
        self.clock = SharedClock.create(self.path.with_name("clock"), now)
        self.move(to=(now // 3_600_000 + 1) * 3_600_000 + 300_000)
        kolkata, new_york = BRANCHES
        self.mailer = self.life.enter_context(
            Mailer(
                f"sqlite:///{self.path}",
                secret_key=self.key,
                timezone=kolkata.timezone,
                clock=self.clock,
                base_urls=["127.0.0.1"],  # the sandbox, for the account that is not the default one
            )
        )
        self.mailer.accounts.add(new_york.account, timezone=new_york.timezone)
        self.desks = {kolkata.account: self.mailer, new_york.account: self.mailer.account(new_york.account)}
        self.screen.plain(str(self.path))
        for branch in BRANCHES:
            self.screen.say(f"{branch.city:<14}[dim]{branch.timezone}, its clock shows {self.local(branch)}[/]")
        self.screen.say("[dim]Neither account sees the other's servers; credentials are encrypted.[/]")

    def _add(self) -> None:
        self.screen.step("Four delivery servers, with quotas, a pause, and a forced From")
        self.played = cast(len(self.people.good))
        self.servers = tuple(
            Server(branch, rule, added(self.desks[branch.account], rule, self.sandbox))
            for branch, pair in zip(BRANCHES, self.played.rules, strict=True)
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
                told = "\n".join(first(list(map(str, rows))))
                self.screen.mark(f"{len(rows):,} rows {title}; the rest goes on", told, sign="!")

    def _enqueue(self) -> None:
        self.screen.step("Into the queue: on disk before enqueue() returns")
        share = self.played.shares[0]
        halves = (self.people.good[:share], self.people.good[share:])
        for branch, half in zip(BRANCHES, halves, strict=True):
            began = time.monotonic()
            mails = [personal(self.message, one.address) for one in half]
            ids = self.desks[branch.account].enqueue(mails, route=branch.route)
            for id_, one in zip(ids, half, strict=True):
                self.expected[id_] = Expected(one.address, greeting(one.address))
            took = f"[dim]in {time.monotonic() - began:.1f} s[/]"
            self.screen.say(f"{branch.city:<14}{len(ids):,} mails {took}")

    # -- time -------------------------------------------------------------------------------------------

    def move(self, *, to: int) -> None:
        """Move both clocks; the sandbox's first, so that no mail arrives there before it left here."""
        by = to - self.clock.now()
        self.sandbox.move_clock(timedelta(milliseconds=by))
        self.clock.advance(by)

    def local(self, branch: Branch) -> str:
        """What a clock shows there."""
        return local_time(datetime.fromtimestamp(self.clock.now() / 1000, UTC), branch)


def local_time(at: datetime, branch: Branch) -> str:
    """What a clock shows there at that instant."""
    return at.astimezone(ZoneInfo(branch.timezone)).strftime("%H:%M %Z")


def first(lines: list[str]) -> list[str]:
    """So many of them, and how many more there are."""
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"… and {len(lines) - _SHOWN:,} more"]
