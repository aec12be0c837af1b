"""Real processes on one file: a clock they all share, the script they run, and a stage with a server and a route."""

import base64
import json
import mmap
import os
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import define, field

from deliverykit import Mailer, Message
from deliverykit.clocks import SystemClock
from deliverykit.providers import SendGrid
from deliverykit.sandbox import Sandbox
from deliverykit.sandbox.received import Received

KEY = base64.urlsafe_b64encode(b"a key for tests".ljust(32)).decode()
SCRIPT = Path(__file__).with_name("mail_process.py")
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
ROUTE = "bulk"


class FileClock(SystemClock):
    """The system's clock plus a shift in ms that stands in a file: whoever maps the file sees it moved at once."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._shift = mmap.mmap(file.fileno(), 8)

    def now(self) -> int:
        return super().now() + self.shift

    @property
    def shift(self) -> int:
        return int(struct.unpack_from("<q", self._shift)[0])

    @shift.setter
    def shift(self, value: int) -> None:
        struct.pack_into("<q", self._shift, 0, value)

    def close(self) -> None:
        self._shift.close()


def message(number: int, **fields: Any) -> Message:
    given = {"to": f"u{number}@example.org", "subject": f"s{number}", "text": "Hello"}
    return Message(**{**given, **fields})


def messages(count: int, start: int = 0, **fields: Any) -> list[Message]:
    return [message(start + number, **fields) for number in range(count)]


@define
class Stage:
    """One SQLite file, one clock in a file, the sandbox, and the processes that work on them."""

    sandbox: Sandbox
    folder: Path
    clock: FileClock
    mailer: Mailer
    running: list["subprocess.Popen[str]"] = field(factory=list)

    @classmethod
    def of(cls, sandbox: Sandbox, folder: Path) -> "Stage":
        sandbox.reset()
        sandbox.check_clock(False)
        clock = FileClock(folder / "clock")
        stage = cls(sandbox, folder, clock, open_mailer(folder, clock))
        # Start at ten past twelve: no hour or day ends within a test unless the test moves the clock.
        stage.move(timedelta(milliseconds=DAY // 2 + 10 * MINUTE - clock.now() % DAY))
        return stage

    # -- the clock ----------------------------------------------------------------------------------

    def move(self, by: timedelta) -> None:
        """Everybody's clock at once, the sandbox's too."""
        self.clock.shift += round(by.total_seconds() * 1000)
        self.sandbox.move_clock(by)

    def before_the_hour(self, seconds: float) -> int:
        """Put all clocks so many seconds before the end of their hour; that end."""
        now = self.clock.now()
        end = now - now % HOUR + HOUR
        self.move(timedelta(milliseconds=end - now - seconds * 1000))
        return end

    # -- the configuration --------------------------------------------------------------------------

    def server(self, id: str = "sg", *, esp: Any = None, route: str = ROUTE, **limits: Any) -> None:
        """An ACTIVE server whose limits come after its test, on a route."""
        provider = esp or SendGrid(api_key=f"SG.{id}", base_url=self.sandbox.url("sendgrid"))
        self.mailer.servers.add(id=id, name=id, provider=provider, sender=f"{id}@example.com")
        result = self.mailer.servers.send_test(id, to="me@example.org")
        assert result.proof, result
        self.mailer.servers.activate(id)
        if limits:
            self.mailer.servers.update(id, **limits)
        self.mailer.routes.add(route, servers=[id])
        self.sandbox.clear()

    # -- the processes ------------------------------------------------------------------------------

    def start(self, role: str = "drain", **options: Any) -> "subprocess.Popen[str]":
        """A process of its own; it prints what it did as JSON."""
        given = {"role": role, "folder": str(self.folder), **options}
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps(given)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.running.append(process)
        return process

    def release(self, count: int, first: Callable[[], object] = lambda: None) -> None:
        """Let those begin that wait at the gate, once so many do, after ``first``: starting Python takes longer than the work."""
        assert eventually(lambda: len(list(self.folder.glob("here-*"))) >= count)
        first()
        (self.folder / "go").touch()

    def finished(self, *processes: "subprocess.Popen[str]", within: float = 120) -> list[dict[str, Any]]:
        """What each of them printed; fails where one failed."""
        found = []
        for process in processes or list(self.running):
            out, err = process.communicate(timeout=within)
            assert process.returncode == 0, f"exit {process.returncode}\n{out}\n{err}"
            found.append(json.loads(out))
            self.running.remove(process)
        return found

    def close(self) -> None:
        for process in self.running:
            process.kill()
            process.communicate()
        self.mailer.close()
        self.clock.close()

    # -- what came of it ------------------------------------------------------------------------------

    def received(self) -> list[Received]:
        """What the ESP has taken, each mail once or this fails."""
        found = self.sandbox.received("sendgrid")
        assert twice([one.id for one in found]) == []
        assert twice([one.to[0] for one in found]) == []
        return found

    def states(self) -> dict[str, int]:
        """How many mails of the route stand where."""
        return {state.name: count for (_, state), count in self.mailer._context.storage.counts("default").items()}

    def used(self, id: str = "sg") -> list[int]:
        return [view.used for view in self.mailer.servers.quota(id)]


def open_mailer(folder: Path, clock: FileClock, **options: Any) -> Mailer:
    given: dict[str, Any] = {"secret_key": KEY, "clock": clock, "durability": "normal", "base_urls": ["127.0.0.1"], **options}
    return Mailer(f"sqlite:///{folder / 'mail.db'}", **given)


def twice(items: Iterable[str]) -> list[str]:
    return [item for item, count in Counter(items).items() if count > 1]


def gaps(instants: Sequence[int]) -> list[int]:
    ordered = sorted(instants)
    return [after - before for before, after in pairwise(ordered)]


def eventually(what: Any, seconds: float = 90.0) -> bool:
    """Whether it becomes true within so many seconds of real time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return bool(what())


def wait_at_gate(folder: Path) -> None:
    (folder / f"here-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
