"""A storage of every kind, on a clock that is moved by hand."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # storage_kit.py, beside the tests

from storage_kit import OPENERS

from deliverykit.contracts.storage import Storage
from deliverykit.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=list(OPENERS))
def storage(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Storage]:
    storage = OPENERS[request.param](tmp_path, clock)
    yield storage
    storage.close()
