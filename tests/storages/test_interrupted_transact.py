"""An exception from outside at any line of ``transact``: it says whether the step has become true, and leaves no lock."""

import gc
import sys
from pathlib import Path
from typing import Any

import pytest
from storage_kit import mail

from deliverykit.contracts.storage import Committed, Step
from deliverykit.storages import sqlite
from deliverykit.storages.sqlite import SQLiteStorage
from deliverykit.testing import ManualClock

FOLDER = str(Path(sqlite.__file__).parent)


class Hit(BaseException):
    """What a signal handler raises."""


def inserting(uid: str) -> Any:
    return lambda view: Step(result=f"result of {uid}", inserts=(mail(uid),))


def watched(storage: SQLiteStorage, uid: str, at: int) -> tuple[int, object]:
    """Insert a message and raise at the line that is run as number ``at``: how many lines were run, and what came of it."""
    run = 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal run
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        if event == "line":
            run += 1
            if run == at:
                raise Hit
        return trace

    before = sys.gettrace()
    gc.disable()  # what other tests left behind is closed by lines of the same files
    sys.settrace(trace)
    try:
        found: object = storage.transact("a", (), inserting(uid))
    except (Hit, Committed) as error:
        found = error
    finally:
        sys.settrace(before)
        gc.enable()
    return run, found


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_exception_at_any_line_tells_whether_the_step_is_true(kind: str, tmp_path: Path) -> None:
    storage = SQLiteStorage(None if kind == "memory" else str(tmp_path / "mail.db"), ManualClock())
    watched(storage, "first", 0)
    lines, _ = watched(storage, "counted", 0)
    assert lines > 50
    came = set()
    for at in range(1, lines + 1):
        uid = f"m{at}"
        _, found = watched(storage, uid, at)
        storage.interrupted()
        is_true = storage.mail(uid) is not None
        came.add(type(found))
        assert is_true is not isinstance(found, Hit), at  # a call may run a line less than the one that was counted
        if isinstance(found, Committed):
            assert isinstance(found.__cause__, Hit)
            assert (found.result, found.late) == (f"result of {uid}", frozenset())
        storage.transact("a", (), inserting(f"after {at}"))
    assert came == {Hit, Committed}
    storage.close()
