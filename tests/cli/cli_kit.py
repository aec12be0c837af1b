"""What the command line's tests share: a desk to type at, with a real file and a real sandbox."""

import base64
import io
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import define, frozen

from deliverykit.cli import main
from deliverykit.mailer import Mailer
from deliverykit.sandbox import Sandbox

KEY = base64.urlsafe_b64encode(b"a key for tests".ljust(32)).decode()
OTHER_KEY = base64.urlsafe_b64encode(b"another key for tests".ljust(32)).decode()
SECRET = "SG.a-secret-nobody-may-see"
COMMAND = [sys.executable, "-m", "deliverykit"]


SHOP = """
from typing import ClassVar
from attrs import frozen
from deliverykit import Mailer
from deliverykit.contracts.provider import option, secret
from deliverykit.providers import SendGrid

@frozen(kw_only=True)
class Pooled(SendGrid):
    name: ClassVar[str] = "pooled"
    pool: str = option(label="IP pool", choices=("bulk", "fast"))
    seal: object = secret(label="Seal", default=None)

    def payload(self, mail):
        return super().payload(mail) | {"ip_pool_name": self.pool}

opened = 0

def mailer():
    global opened
    opened += 1
    return Mailer.from_env(register=[Pooled])
"""
"""A program with an adapter of its own."""


@frozen
class Said:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def calm() -> tuple[str, str]:
    """The zone of a quota whose use a test counts: commands have the system's clock.

    No hour of it ends within the next 15 minutes, and no day within the next hour.
    """

    def left(name: str) -> bool:
        now = datetime.now(ZoneInfo(name))
        return now.minute < 45 and now.hour < 23

    return "--quota-timezone", next(filter(left, ("Asia/Kolkata", "UTC", "America/New_York", "Asia/Tokyo")))


@define
class Desk:
    """Types commands; in this process, or as a process of their own."""

    folder: Path
    sandbox: Sandbox
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DELIVERYKIT_STORAGE": f"sqlite:///{self.folder / 'mail.db'}",
            "DELIVERYKIT_SECRET_KEY": KEY,
            "DELIVERYKIT_TIMEZONE": "Asia/Kolkata",
        }

    def __call__(self, *words: str, typed: str = "", status: int | None = 0) -> Said:
        """Run it here. ``typed`` is what stands in the pipe to its standard input."""
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed.encode()), encoding="utf-8"))
        self.capsys.readouterr()
        try:
            ended = main(words)
        except SystemExit as left:
            ended = int(left.code or 0)
        told = self.capsys.readouterr()
        said = Said(ended, told.out, told.err)
        assert status in (None, ended), said
        return said

    def alone(self, *words: str, typed: str = "", status: int | None = 0, **more: str) -> Said:
        """Run it as a process."""
        done = subprocess.run(
            [*COMMAND, *words], input=typed, capture_output=True, text=True, timeout=60, env={**os.environ, **more}
        )
        said = Said(done.returncode, done.stdout, done.stderr)
        assert status in (None, said.status), said
        return said

    def mailer(self, **options: Any) -> Mailer:
        """A mailer of the same file."""
        return Mailer(self.environment["DELIVERYKIT_STORAGE"], secret_key=KEY, **options)

    def server(self, id_: str = "sg", *more: str, active: bool = True) -> None:
        """Add a server, and let it carry mail."""
        self(
            "servers", "add", "--esp", "sendgrid", "--id", id_, "--name", f"Server {id_}", "--api-key-file", "-",
            "--sender", "News <news@example.com>", "--base-url", self.sandbox.url("sendgrid"), *more, typed=SECRET,
        )  # fmt: skip
        if active:
            self("servers", "test", id_, "--to", "me@example.org")
            self("servers", "activate", id_)
