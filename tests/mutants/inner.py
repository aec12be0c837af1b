"""One inner run of pytest over a copy of the package, in a process forked from one that has loaded all but the package.

A process of its own for each of some hundred faults would spend most of its time on importing pytest and Hypothesis, and
on compiling what the fault does not touch. What is shared is what no fault can change: other people's modules, bytecode of
unchanged source.
"""

import gc
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from _pytest.config import default_plugins

__all__ = ["TooLong", "run"]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [  # one that is not installed is passed over
        *(f"_pytest.{name}" for name in default_plugins), "_pytest._argcomplete", "_pytest.tracemalloc", "pytest",
        "pytest_timeout", "_hypothesis_pytestplugin", "hypothesis", "hypothesis.extra", "hypothesis.stateful",
        "hypothesis.strategies", "hypothesis.strategies._internal.flatmapped", "asyncio", "concurrent.futures.thread",
        "email.contentmanager", "email.policy", "encodings.idna", "hmac", "mmap", "pdb", "pickle", "secrets", "sqlite3", "tomllib",
        "xml.etree.ElementTree", "zoneinfo", "attrs", "cryptography.fernet", "h11", "httpx2", "httpcore2", "tenacity", "tzdata",
        "anyio._backends._asyncio", "anyio.streams.tls", "boto3", "botocore.auth", "botocore.session",
        "opentelemetry.sdk.metrics.export", "opentelemetry.sdk.trace.export.in_memory_span_exporter",
        "rich.console", "rich.live", "rich.progress", "rich.table",
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
    others = ("PYTEST_", "COVERAGE_", "COV_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {
        **kept,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # what else is installed here is no part of the tests, and takes longer to look up
        "PYTHONPATH": os.pathsep.join([str(copy / "src"), str(copy)]),
        "PYTHONHASHSEED": "0",
        "DELIVERYKIT_MUTANT": str(copy),
        "SSL_CERT_DIR": str(copy),  # nothing leaves this machine: the system's authorities take 20 ms for every client
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
    sys.dont_write_bytecode = False  # the copy is this run's own, and the tests are the same for all
    sys.path[:0] = [f"{copy}/src", copy]
    gc.freeze()  # pytest collects garbage when it ends, and what was loaded ahead is none
    # What is loaded ahead needs no rewritten assertions: they are not ours.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options = ["-x", "-q", *quiet, "--tb=native", "-p", "no:cacheprovider", f"--basetemp={copy}/tmp"]
    status = _NEVER_RAN
    try:
        import _hypothesis_pytestplugin
        import mutant_guard
        import pytest
        import pytest_timeout

        status = int(pytest.main([*options, *tests], plugins=[_hypothesis_pytestplugin, pytest_timeout, mutant_guard]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
