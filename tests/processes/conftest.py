"""One sandbox for all; for every test a stage with a file and a clock of its own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # process_kit.py, beside the tests

from process_kit import Stage

from deliverykit.sandbox import Sandbox


@pytest.fixture(scope="session")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def stage(_sandbox: Sandbox, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage.of(_sandbox, tmp_path)
    yield stage
    stage.close()
