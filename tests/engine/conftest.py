"""One sandbox for all; a world of its own for every test."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # engine_kit.py, beside the tests

from engine_kit import NOON, World

from deliverykit.sandbox import Sandbox
from deliverykit.testing import ManualClock


@pytest.fixture(scope="session")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_sandbox: Sandbox) -> Sandbox:
    _sandbox.reset()
    _sandbox.check_clock(False)  # the tests' clocks stand still
    return _sandbox


@pytest.fixture(params=["blocking", "awaited"])
def world(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Iterator[World]:
    """Both faces, on a clock that is moved by hand: nothing here depends on the time of day."""
    world = World(sandbox, tmp_path / "mail.db", request.param, ManualClock(NOON))
    yield world
    world.close()


@pytest.fixture
def plain(sandbox: Sandbox, tmp_path: Path) -> Iterator[World]:
    """The blocking face on the hand-moved clock, where the face is not the matter."""
    world = World(sandbox, tmp_path / "mail.db", "blocking", ManualClock(NOON))
    yield world
    world.close()


@pytest.fixture
def live(sandbox: Sandbox, tmp_path: Path) -> Iterator[World]:
    """The blocking face on the system's clock, for what a worker in a thread does."""
    world = World(sandbox, tmp_path / "mail.db")
    yield world
    world.close()


@pytest.fixture
def restarted(world: World) -> Callable[..., object]:
    """Close every Mailer of the world, and open another on its file."""

    def again(**options: object) -> object:
        for mailer in world.opened:
            getattr(mailer, "close" if world.kind == "blocking" else "aclose")()
        world.opened.clear()
        return world.mailer(**options)

    return again
