"""Every property has a fault that it must find: each fault is put into a copy of the package, and its test must fail.

The faults are in ``tests/mutants/*.toml``::

    [[mutant]]
    file = "src/deliverykit/limits/rolling.py"
    old = '''the exact source text, that occurs once'''
    new = '''what the fault makes of it'''
    test = "tests/limits/test_rolling_quota.py::TestHour::runTest"

The copy is made of the package under test, whether it is a checkout or an installed wheel. Hypothesis
runs derandomised there, so a mutant that dies today dies tomorrow.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import deliverykit

pytestmark = pytest.mark.mutants

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = Path(deliverykit.__file__).resolve().parent
SECONDS = 110
KEYS = {"file", "old", "new", "test"}


def _read() -> list[tuple[str, dict[str, str]]]:
    found = []
    for path in sorted(HERE.glob("*.toml")):
        for number, mutant in enumerate(tomllib.loads(path.read_text("utf-8"))["mutant"], 1):
            found.append((f"{path.stem}-{number}", mutant))
    return found


MUTANTS = _read()
TESTS = sorted({mutant["test"] for _, mutant in MUTANTS if "test" in mutant})

# A plugin of the inner run: it makes sure that the copy is what is tested, and that every run is the same.
GUARD = """
import os
from pathlib import Path

import pytest

import deliverykit

if not Path(deliverykit.__file__).resolve().is_relative_to(Path(os.environ["DELIVERYKIT_MUTANT"]).resolve()):
    raise pytest.UsageError(f"{deliverykit.__file__} is tested, not the copy")

try:
    from hypothesis import Phase, settings
except ImportError:
    pass
else:
    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(session):
        # After every conftest, before any test module: a fault has to be found, not made small.
        settings.register_profile(
            "mutants", settings.default, derandomize=True, database=None, deadline=None, phases=(Phase.explicit, Phase.generate)
        )
        settings.load_profile("mutants")
"""


def _run(copy: Path, test: str) -> "subprocess.CompletedProcess[str]":
    """The test, in a process of its own, against the package in ``copy``."""
    (copy / "mutant_guard.py").write_text(GUARD, "utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COVERAGE_", "COV_"))}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(copy / "src"), str(copy)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "DELIVERYKIT_MUTANT": str(copy),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "-p",
        "mutant_guard",
        test,
    ]
    try:
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{test} takes more than {SECONDS} s; name one that finds the fault sooner")


def _copy(to: Path) -> Path:
    shutil.copytree(PACKAGE, to / "src" / "deliverykit", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return to


def _tail(run: "subprocess.CompletedProcess[str]") -> str:
    return "\n".join((run.stdout + run.stderr).splitlines()[-30:])


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=name) for name, mutant in MUTANTS])
def test_a_mutant_is_found(mutant: dict[str, str], tmp_path: Path) -> None:
    assert set(mutant) == KEYS, f"a mutant has the keys {sorted(KEYS)}, not {sorted(mutant)}"
    copy = _copy(tmp_path)
    path = copy / mutant["file"]
    assert path.is_file(), f"there is no {mutant['file']}"
    source = path.read_text("utf-8")
    times = source.count(mutant["old"])
    assert times == 1, f"{mutant['file']} has this text {times} times, it should have it once:\n{mutant['old']}"
    assert mutant["new"] != mutant["old"], "the fault changes nothing"
    mutated = source.replace(mutant["old"], mutant["new"])
    if path.suffix == ".py":
        compile(mutated, mutant["file"], "exec")
    path.write_text(mutated, "utf-8")
    run = _run(copy, mutant["test"])
    assert run.returncode != 0, f"{mutant['test']} passes with this fault in {mutant['file']}:\n{mutant['new']}"
    assert run.returncode == 1, f"{mutant['test']} did not fail, it did not run (exit {run.returncode}):\n{_tail(run)}"


@pytest.mark.parametrize("test", TESTS)
def test_without_a_mutant_it_passes(test: str, tmp_path: Path) -> None:
    run = _run(_copy(tmp_path), test)
    assert run.returncode == 0, f"{test} does not pass unchanged (exit {run.returncode}):\n{_tail(run)}"


def test_there_are_mutants() -> None:
    assert MUTANTS
