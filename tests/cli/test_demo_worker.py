"""The demo's worker as a process: it works, it ends when it is told to or nobody is left to tell, and its clock is shared."""

import asyncio
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.fernet import Fernet

from deliverykit import Mailer, Message
from deliverykit.cli.demo import worker as process_worker
from deliverykit.cli.demo.clock import SharedClock
from deliverykit.cli.demo.process import WorkerProcess
from deliverykit.providers import SendGrid
from deliverykit.sandbox import Sandbox
from deliverykit.words.errors import DeliveryError

NOON = 1_767_225_600_000 + 12 * 3_600_000


def test_one_clock_in_two_processes(tmp_path: Path) -> None:
    clock = SharedClock.create(tmp_path / "clock", NOON)
    assert NOON <= clock.now() < NOON + 60_000
    asks = (
        "import sys; from pathlib import Path; from deliverykit.cli.demo.clock import SharedClock as C\n"
        "c = C(Path(sys.argv[1]))\n"
        "for line in sys.stdin: print(c.now(), c.monotonic(), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", asks, str(tmp_path / "clock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None

        def asked() -> tuple[int, float]:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write("\n")
            other.stdin.flush()
            now, steady = other.stdout.readline().split()
            return int(now), float(steady)

        before, steady = asked()
        clock.advance(3_600_000)
        after, later = asked()
        assert before < after - 3_599_000 <= clock.now() - 3_599_000
        assert later - steady >= 3_600
        other.stdin.close()


def test_a_sleeper_wakes_when_the_clock_is_moved(tmp_path: Path) -> None:
    clock = SharedClock.create(tmp_path / "clock", NOON)
    began = time.monotonic()

    async def main() -> None:
        sleeper = asyncio.create_task(clock.asleep(3_600))
        await asyncio.sleep(0.02)
        assert not sleeper.done()
        SharedClock(tmp_path / "clock").advance(3_600_000)
        await sleeper

    asyncio.run(main())
    clock.sleep(0.03)
    assert 0.05 <= time.monotonic() - began < 600


@pytest.fixture
def orders(tmp_path: Path) -> dict[str, object]:
    SharedClock.create(tmp_path / "clock", NOON)
    return {
        "storage": f"sqlite:///{tmp_path / 'mail.db'}", "key": Fernet.generate_key().decode(), "clock": str(tmp_path / "clock"),
        "concurrency": 2, "lease": 4, "patience": 2.0,
    }  # fmt: skip


@pytest.mark.parametrize("end", ["stop", "kill", "nobody"])
def test_it_works_until_it_is_ended(orders: dict[str, object], tmp_path: Path, end: str) -> None:
    with Sandbox() as sandbox, Mailer(str(orders["storage"]), secret_key=str(orders["key"])) as mailer:
        sandbox.check_clock(False)
        server = mailer.servers.add(
            name="a", provider=SendGrid(api_key="SG.x", base_url=sandbox.url("sendgrid")), sender="a@example.com"
        )
        mailer.servers.send_test(server, to="me@example.org")
        mailer.servers.activate(server)
        mailer.routes.add("r", [server])
        SharedClock(tmp_path / "clock").advance(round(time.time() * 1000) - NOON)
        mailer.enqueue([Message(to=f"u{n}@example.org", subject="s", text="t") for n in range(5)], route="r")
        worker = WorkerProcess(orders, tmp_path / "log")
        try:
            deadline = time.monotonic() + 60
            while sum(mailer.outbox.counts().values()) and time.monotonic() < deadline:
                worker.check()
                time.sleep(0.05)
            assert sandbox.count() == 6
        finally:
            status = {"stop": worker.stop, "kill": worker.kill, "nobody": lambda: _forsaken(worker)}[end]()
    assert status == (-9 if end == "kill" else 0), (tmp_path / "log").read_text()
    assert worker.stop() == status, "stopping what has ended is harmless"
    with pytest.raises(DeliveryError, match="ended by itself, with status"):
        worker.check()


def _forsaken(worker: WorkerProcess) -> int:
    worker._orders.close()
    return _ended(worker)


def _ended(worker: WorkerProcess) -> int:
    """Its exit status, once it has ended by itself; one that does not is not left running."""
    try:
        return worker._process.wait(30)
    except subprocess.TimeoutExpired:
        worker.kill()
        raise


def test_it_stops_when_nobody_is_left_to_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    pieces = iter([b"more", b"", b"never asked for"])
    monkeypatch.setattr(process_worker.os, "read", lambda fd, most: next(pieces))
    process_worker._stop_at_the_end(SimpleNamespace(stop=lambda: told.append("stop")))  # type: ignore[arg-type]
    assert (told, next(pieces)) == (["stop"], b"never asked for")


def test_what_ended_it_is_told(orders: dict[str, object], tmp_path: Path) -> None:
    orders["key"] = "no key"
    worker = WorkerProcess(orders, tmp_path / "log")
    _ended(worker)
    with pytest.raises(DeliveryError, match=r"(?s)status 1: .*secret_key"):
        worker.check()
    worker.stop()


def test_a_lease_is_the_hosts(orders: dict[str, object], tmp_path: Path) -> None:
    """A worker's orders reach its Mailer: what no Mailer takes ends it."""
    orders["lease"] = timedelta(milliseconds=5).total_seconds()
    worker = WorkerProcess(orders, tmp_path / "log")
    while not (worked := (tmp_path / "mail.db").exists()) and worker._process.poll() is None:
        time.sleep(0.02)
    if worked:
        worker.kill()
    assert not worked, "it has begun"
    with pytest.raises(DeliveryError, match="lease"):
        worker.check()
    worker.stop()
