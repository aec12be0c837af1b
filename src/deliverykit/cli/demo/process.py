"""The worker as the demo sees it: a process that it starts, looks after, and kills."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from deliverykit.words.errors import DeliveryError

__all__ = ["WorkerProcess"]

_GRACE: Final = 15.0
"""Seconds that a worker has to finish what is on the wire."""
_QUOTED: Final = 800


class WorkerProcess:
    """A worker in a process of its own. ``log`` is a file for what it has to say; ``orders`` are :func:`.worker.main`'s."""

    def __init__(self, orders: Mapping[str, object], log: Path) -> None:
        source = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
        self._log = log
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deliverykit.cli.demo.worker"],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is the demo's, which ends its worker in order
            )
        assert self._process.stdin is not None  # noqa: S101  it is a pipe
        self._orders = self._process.stdin
        with suppress(BrokenPipeError):  # it has ended already: check() tells why
            self._orders.write(json.dumps(orders).encode() + b"\n")
            self._orders.flush()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def check(self) -> None:
        """Raise where it has ended, though nobody wanted it to."""
        if (status := self._process.poll()) is not None:
            said = self._log.read_text(errors="replace").strip()
            raise DeliveryError(f"the worker ended by itself, with status {status}: {said[-_QUOTED:]}")

    def kill(self) -> int:
        """``kill -9``; its exit status, which is then -9."""
        self._process.kill()
        status = self._process.wait()
        self._orders.close()
        return status

    def stop(self) -> int:
        """SIGTERM: it finishes what is on the wire; its exit status. Harmless when it has ended."""
        self._process.terminate()
        try:
            status = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return self.kill()
        self._orders.close()
        return status
