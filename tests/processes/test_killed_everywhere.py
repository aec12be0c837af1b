"""``kill -9`` of workers and senders at every step and at any moment, hundreds of times, over one file and a real ESP stand-in.

A run that fails prints its seed; ``DELIVERYKIT_KILL_SEED=<seed>`` repeats the same kills (what the machine does
between them it cannot repeat).
"""

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from process_kit import HOUR, ROUTE, Stage, messages

from deliverykit import CalendarQuota
from deliverykit.contracts.books import RESENDS
from deliverykit.providers import SendGrid

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")

SERVER = Path(__file__).with_name("kill_server.py")
WORK = ("claiming", "claimed", "marking", "marked", "wire", "answered", "before settle", "in settle", "settled")
SEND = ("placing", "placed", "wire", "answered", "before settle", "in settle", "settled")
SMALL, LARGE = 60, 5_000


@define
class Field:
    """A stage, the fork server on it, and everything that was acknowledged."""

    stage: Stage
    server: "subprocess.Popen[str]"
    dice: random.Random
    kills: int = 0
    handed: dict[int, str] = field(factory=dict)
    """The ids of what ``enqueue`` acknowledged, by number."""
    next: int = 0

    def enqueue(self, count: int, **fields: Any) -> None:
        ids = self.stage.mailer.enqueue(messages(count, self.next, **fields), route=ROUTE)
        self.handed.update(zip(range(self.next, self.next + count), ids, strict=True))
        self.next += count

    def killed(self, *orders: dict[str, Any], at_least: int = 0) -> None:
        """Let these live and die; then their leases are over."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(orders) + "\n")
        self.server.stdin.flush()
        answer = self.server.stdout.readline()
        errors = self.stage.folder / "errors"
        assert answer, errors.read_text() if errors.exists() else "the fork server is gone"
        ends = json.loads(answer)
        assert set(ends) <= {0, signal.SIGKILL}, ends
        deaths = sum(end == signal.SIGKILL for end in ends)
        assert deaths >= at_least, f"{orders} was not killed"
        self.kills += deaths
        self.stage.clock.shift += 61_000

    def moments(self) -> Callable[[], int]:
        """Any moment of a life, from its first steps to where it has sent some mail, on this machine now: ms after its birth."""
        began = time.monotonic()
        self.killed({"role": "send", "start": self.next, "count": 1})
        self.next += 1
        life = min(400, int((time.monotonic() - began) * 1000))
        return lambda: self.dice.randint(life // 4, life * 3)

    def sent(self) -> dict[int, str]:
        """What ``send()`` told its caller before that was killed."""
        path = self.stage.folder / "told"
        lines = path.read_text().splitlines() if path.exists() else []
        return {int(number): status for number, status in (line.split() for line in lines)}

    def settle(self) -> None:
        """Everything that can still go goes."""
        for _ in range(5):
            self.stage.mailer.worker(concurrency=20).drain(timedelta(seconds=20))
            states = self.stage.states()
            if not states.keys() & {"LEASED", "SENDING", "SCHEDULED"}:
                return
            self.stage.clock.shift += 300_000

    def check(self, *, resend: bool = False) -> None:
        """Both sides: what the books say, and what the ESP has."""
        states = self.stage.states()
        assert states.keys() <= {"IN_DOUBT", "READY", "DEAD"}, states
        mails = self.stage.sandbox.received("sendgrid")
        copies = Counter(int(mail.to[0].removeprefix("u").partition("@")[0]) for mail in mails)
        rows = {mail.id: mail for mail in self.stage.mailer.outbox.list(limit=5_000)}
        for number, id_ in self.handed.items():
            assert number in copies or id_ in rows, f"mail {number} ({id_}) is lost"
        for number, status in self.sent().items():
            assert status in ("accepted", "queued"), (number, status)
            assert number in copies or status == "queued", f"mail {number} was said to be accepted"
        # Sent again twice in vain; or three workers were killed that held it.
        assert states.get("DEAD", 0) == sum(mail.reason in ("in_doubt", "poison") for mail in rows.values())
        assert max(copies.values(), default=0) <= (1 + RESENDS if resend else 1), copies.most_common(3)
        ids = {number: id_ for number, id_ in self.handed.items() if copies[number] > 1}
        for number, id_ in ids.items():
            doubts = [line for line in self.stage.mailer.log.get(id_).lines if line.outcome in ("in_doubt", "unknown")]
            assert len(doubts) >= copies[number] - 1, f"mail {number} is there {copies[number]} times without a doubt"
        by = Counter(mail.sender.partition("@")[0] for mail in mails)
        for id_, limit in (("a", SMALL), ("b", LARGE)):
            (used,) = self.stage.used(id_)
            assert by[id_] <= used <= limit, f"{id_}: {by[id_]} received, {used} counted, {limit} allowed"
        (verdict,) = self.stage.mailer._context.storage._db.row("pragma integrity_check")  # type: ignore[attr-defined]
        assert verdict == "ok"


@pytest.fixture
def field_of_kills(stage: Stage) -> Field:
    seed = int(os.environ.get("DELIVERYKIT_KILL_SEED") or secrets.randbelow(10**9))
    print(f"DELIVERYKIT_KILL_SEED={seed}")  # shown where the test fails
    now = stage.clock.now()
    stage.move(timedelta(milliseconds=HOUR * 24 - now % (HOUR * 24) + HOUR))  # a day lies ahead
    for id_, limit in (("a", SMALL), ("b", LARGE)):
        provider = SendGrid(api_key=f"SG.{id_}", base_url=stage.sandbox.url("sendgrid"))
        stage.mailer.servers.add(id=id_, name=id_, provider=provider, sender=f"{id_}@example.com")
        assert stage.mailer.servers.send_test(id_, to="me@example.org").proof
        stage.mailer.servers.activate(id_)
        stage.mailer.servers.update(id_, quota=CalendarQuota(day=limit))
    stage.mailer.routes.add(ROUTE, servers=["a", "b"], when_exhausted="failover")
    stage.sandbox.clear()
    server = subprocess.Popen(
        [sys.executable, str(SERVER), str(stage.folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    stage.running.append(server)
    return Field(stage, server, random.Random(seed))


def pairs(steps: Sequence[str], times: int) -> list[tuple[str, str]]:
    """Each step so often, two at once."""
    each = [step for _ in range(times) for step in steps]
    return list(zip(each[::2], each[1::2], strict=False))


@pytest.mark.parametrize("word", ["hold", "resend"])
def test_workers_at_every_named_step(field_of_kills: Field, word: str) -> None:
    """70 kills each: two workers at once on one file, each dying at its step."""
    lot = field_of_kills
    for one, other in pairs(WORK, 8)[:35]:
        lot.enqueue(8, in_doubt=word)
        lot.killed(*({"role": "work", "step": step, "nth": lot.dice.randint(1, 2), "ms": 800} for step in (one, other)))
    assert lot.kills == 70
    lot.settle()
    lot.check(resend=word == "resend")


def test_workers_at_any_moment(field_of_kills: Field) -> None:
    lot = field_of_kills
    lot.stage.sandbox.fault("sendgrid", "latency", times=None, seconds=0.01)
    moment = lot.moments()
    for _ in range(35):
        lot.enqueue(12)
        lot.killed(*({"role": "work", "ms": moment()} for _ in range(2)))
    assert lot.kills == 70
    lot.settle()
    lot.check()


def test_workers_at_any_moment_with_mail_to_be_sent_again(field_of_kills: Field) -> None:
    lot = field_of_kills
    lot.stage.sandbox.fault("sendgrid", "latency", times=None, seconds=0.02)
    moment = lot.moments()
    for _ in range(30):
        lot.enqueue(12, in_doubt="resend")
        lot.killed(*({"role": "work", "ms": moment()} for _ in range(2)))
    assert lot.kills == 60
    lot.settle()
    lot.check(resend=True)


def test_senders_at_every_named_step(field_of_kills: Field) -> None:
    """Inside ``send()``: 56 kills."""
    lot = field_of_kills
    for one, other in pairs(SEND, 8):
        orders = []
        for step in (one, other):
            orders.append({"role": "send", "start": lot.next, "count": 3, "step": step, "nth": lot.dice.randint(1, 3)})
            lot.next += 3
        lot.killed(*orders, at_least=2)
    assert lot.kills == 56
    lot.settle()
    lot.check()


def test_senders_at_any_moment(field_of_kills: Field) -> None:
    lot = field_of_kills
    moment = lot.moments()
    for _ in range(25):
        orders = []
        for _ in range(2):
            orders.append({"role": "send", "start": lot.next, "count": 10_000, "ms": moment()})
            lot.next += 10_000
        lot.killed(*orders)
    assert lot.kills == 50
    lot.settle()
    lot.check()


def test_a_mail_that_kills_its_workers_is_parked_and_the_others_go(field_of_kills: Field) -> None:
    """Whoever claims it dies: at last it is dead as poison, alone."""
    lot = field_of_kills
    lot.enqueue(9)
    killer = lot.handed[4]
    for _ in range(3):
        lot.killed({"role": "work", "poison": killer, "ms": 10_000})
    lot.settle()
    (dead,) = lot.stage.mailer.outbox.list(state="dead")
    assert (dead.id, dead.reason) == (killer, "poison")
    received = {mail.to[0] for mail in lot.stage.received()}
    doubtful = {mail.id for mail in lot.stage.mailer.outbox.in_doubt()}  # on the wire when the killer was claimed
    assert len(received) >= 4
    for number, id_ in lot.handed.items():
        assert (f"u{number}@example.org" in received or id_ in doubtful) is (id_ != killer), number
