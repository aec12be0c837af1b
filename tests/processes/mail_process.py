"""What a process of these tests does: ``run`` or ``drain`` a worker, ``send`` one mail after the other, ``attach`` a file to many."""

import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import asdict
from process_kit import ROUTE, FileClock, message, open_mailer, wait_at_gate

from deliverykit import Attachment
from deliverykit.contracts.books import LaneKey, NewMail
from deliverykit.engine.spacing import Spacing
from deliverykit.transports import HttpTransport
from deliverykit.words.wire import HttpRequest, HttpResponse


def peak() -> int:
    """The most memory that this process has had so far, in bytes; 0 where the system does not tell (``getrusage`` also counts
    what its parent had when it made it)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


class RecordedStarts(Spacing):
    """Writes down when each submission starts, on the clock that all processes of the machine share."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def start(self, gaps: Sequence[tuple[str, int]], now: int, late: float = 0) -> int:
        wait = super().start(gaps, now, late)
        if not wait:
            os.write(self._file, f"{now}\n".encode())
        return wait


class Held:
    """A transport that keeps each answer until the file ``release`` is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._inner = HttpTransport()

    def send(self, request: HttpRequest) -> HttpResponse:
        response = self._inner.send(request)
        (self._folder / "held").touch()
        while not (self._folder / "release").exists():
            time.sleep(0.01)
        return response

    def close(self) -> None:
        self._inner.close()


def main(given: dict[str, Any]) -> object:
    folder = Path(given["folder"])
    options = dict(given.get("options", {}))
    if given.get("hold"):
        options["transport"] = Held(folder)
    mailer = open_mailer(folder, FileClock(folder / "clock"), **options)
    if given.get("record"):
        object.__setattr__(mailer._context, "spacing", RecordedStarts(folder / "starts"))
    if given.get("gate"):
        if given["gate"] != "early":
            mailer.servers.list()
        wait_at_gate(folder)
    numbers = range(given.get("start", 0), given.get("start", 0) + given.get("count", 0))
    if given["role"] == "send":
        return [str(mailer.send(message(number), route=ROUTE).status) for number in numbers]
    if given["role"] == "enqueue":
        key = LaneKey("default", ROUTE, "", "")
        mails = [NewMail(uid=str(number), lane=key, cost=1, letter=b"") for number in numbers]
        mailer._context.storage.enqueue(mails)
        return [mail.uid for mail in mails]
    if given["role"] == "attach":
        mailer.routes.list()
        attached = Attachment(filename="film.bin", content=(folder / given["file"]).read_bytes())
        before = peak()
        one = message(0, attachments=[attached])
        ids = mailer.enqueue([one.evolve(to=f"u{number}@example.org") for number in numbers], route=ROUTE)
        return {"ids": ids, "grown": peak() - before}
    worker = mailer.worker(concurrency=given.get("concurrency", 20), poll=timedelta(milliseconds=given.get("poll", 100)))
    if given["role"] == "run":
        return asdict(worker.run())
    return asdict(worker.drain(timedelta(seconds=given.get("timeout", 60))))


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
