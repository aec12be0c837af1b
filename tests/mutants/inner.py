"""One inner run of pytest over a copy of the package, in a process forked from one that has loaded all but the package.

A process of its own for each of some hundred faults would spend most of its time on importing pytest and Hypothesis.
"""

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["TooLong", "run"]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "pytest", "_pytest.python", "_pytest.fixtures", "hypothesis", "hypothesis.stateful", "hypothesis.strategies", "asyncio",
        "sqlite3", "zoneinfo", "attrs", "tenacity", "httpx2", "cryptography.fernet", "h11",
    ]
)  # fmt: skip


_NEVER_RAN = 99


class TooLong(Exception):
    """It did not end in time."""


def run(copy: Path, tests: Sequence[str], root: Path, seconds: float) -> tuple[int, str]:
    """pytest's exit status, and what it said."""
    report = copy / "report.txt"
    with _the_same_hashes():
        process = _FORKS.Process(target=_inner, args=(str(copy), list(tests), str(root), str(report), _environment(copy)))
        process.start()
    process.join(seconds)
    if process.exitcode is None:
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        raise TooLong
    return process.exitcode, report.read_text("utf-8", "replace") if report.exists() else ""


def _environment(copy: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COVERAGE_", "COV_"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(copy / "src"), str(copy)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "DELIVERYKIT_MUTANT": str(copy),
    }


@contextmanager
def _the_same_hashes() -> Iterator[None]:
    """The server that forks is started with the first process, and hashes as it was told then."""
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


def _inner(copy: str, tests: list[str], root: str, report: str, environment: Mapping[str, str]) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(root)
    output = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdin = open(os.devnull)  # noqa: SIM115  for the process's life
    sys.dont_write_bytecode = True
    sys.path[:0] = [f"{copy}/src", copy]
    import pytest

    # What is loaded ahead needs no rewritten assertions: they are not ours.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options = ["-x", "-q", *quiet, "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "mutant_guard"]
    status = _NEVER_RAN
    try:
        status = int(pytest.main([*options, *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
