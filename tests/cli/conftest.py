"""One sandbox for all tests of the command line; a file of its own for every test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # cli_kit.py, beside the tests

from cli_kit import Desk

from deliverykit.sandbox import Sandbox


@pytest.fixture(scope="session")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def desk(_sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    _sandbox.reset()
    desk = Desk(tmp_path, _sandbox, capsys, monkeypatch)
    for name, value in desk.environment.items():
        monkeypatch.setenv(name, value)
    return desk
