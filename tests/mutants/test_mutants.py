"""Every property has a fault that it must find: each fault is put into a copy of the package, and its test must fail.

The faults are in ``tests/mutants/*.toml``::

    [[mutant]]
    file = "src/deliverykit/limits/rolling.py"
    old = '''the exact source text, that occurs once'''
    new = '''what the fault makes of it'''
    test = "tests/limits/test_rolling_quota.py::TestHour::runTest"

The copy is made of the package under test, whether it is a checkout or an installed wheel. Hypothesis
runs derandomised there, so a mutant that dies today dies tomorrow; what else is left to luck has two tries.
"""

import compileall
import os
import py_compile
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import deliverykit

pytestmark = pytest.mark.mutants

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # inner.py, beside this file
import inner  # noqa: E402

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
TESTS: dict[str, list[str]] = {}
"""What the faults name, by their file."""
for _name, _mutant in MUTANTS:
    _known = TESTS.setdefault(_name.rpartition("-")[0], [])
    if (_test := _mutant.get("test", "")) and _test not in _known:
        _known.append(_test)

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
            "mutants", settings.default, derandomize=True, database=None, deadline=None, phases=(Phase.explicit, Phase.generate),
            max_examples=int(os.environ.get("DELIVERYKIT_EXAMPLES", settings.default.max_examples)),
        )
        settings.load_profile("mutants")

    def pytest_collection_modifyitems(items):
        # What a test or a machine asks for itself would stand above the profile.
        most = int(os.environ.get("DELIVERYKIT_EXAMPLES", 0))
        for item in items if most else ():
            test = getattr(item, "obj", None)
            for owner, name in ((item.getparent(pytest.Class), "settings"), (test, "_hypothesis_internal_use_settings")):
                owner = getattr(owner, "obj", owner)
                if isinstance(own := getattr(owner, name, None), settings):
                    setattr(owner, name, settings(own, max_examples=min(most, own.max_examples)))
"""


def _run(copy: Path, *tests: str, seconds: float = SECONDS) -> tuple[int, str]:
    """These tests, in a process of their own, against the package in ``copy``: exit status, and the last lines."""
    (copy / "mutant_guard.py").write_text(GUARD, "utf-8")
    try:
        status, said = inner.run(copy, tests, ROOT, seconds)
    except inner.TooLong:
        pytest.fail(f"{' '.join(tests)} takes more than {seconds} s; name one that finds the fault sooner")
    return status, "\n".join(said.splitlines()[-30:])


@pytest.fixture(scope="session")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package as it is, compiled once: a run compiles what its fault changes, and no more."""
    to = tmp_path_factory.mktemp("unchanged")
    package = to / "src" / "deliverykit"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    if not (PACKAGE / "examples").is_dir():  # in a checkout they stand beside the package, not in it
        shutil.copytree(ROOT / "examples", to / "examples")
    # Without times: an unchanged source is this bytecode's, whenever and wherever it was written.
    compileall.compile_dir(package, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    for path in to.rglob("*"):
        if path.is_file():
            path.chmod(0o444)  # all copies are links to it
    yield to
    files = [path.relative_to(package) for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    changed = [str(path) for path in files if (PACKAGE / path).read_bytes() != (package / path).read_bytes()]
    assert not changed, f"a test has written into the package, through all its copies: {changed}"


@pytest.fixture
def copy(unchanged: Path, tmp_path: Path) -> Path:
    """A tree of its own, of links to the files that stay as they are."""
    return shutil.copytree(unchanged, tmp_path / "copy", copy_function=os.link)


def _put(path: Path, fault: str) -> None:
    """A new file in place of the link, and no bytecode of the old one."""
    path.unlink()
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()
    path.write_text(fault, "utf-8")


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=name) for name, mutant in MUTANTS])
def test_a_mutant_is_found(mutant: dict[str, str], copy: Path) -> None:
    assert set(mutant) == KEYS, f"a mutant has the keys {sorted(KEYS)}, not {sorted(mutant)}"
    path = copy / mutant["file"]
    assert path.is_file(), f"there is no {mutant['file']}"
    source = path.read_text("utf-8")
    times = source.count(mutant["old"])
    assert times == 1, f"{mutant['file']} has this text {times} times, it should have it once:\n{mutant['old']}"
    assert mutant["new"] != mutant["old"], "the fault changes nothing"
    mutated = source.replace(mutant["old"], mutant["new"])
    if path.suffix == ".py":
        compile(mutated, mutant["file"], "exec")
    _put(path, mutated)
    status, said = _run(copy, mutant["test"])
    if status == 0:  # with threads, processes and drawn ids in play, a machine that does all this at once has its own luck
        status, said = _run(copy, mutant["test"])
    assert status != 0, f"{mutant['test']} passes with this fault in {mutant['file']}:\n{mutant['new']}"
    assert status == 1, f"{mutant['test']} did not fail, it did not run (exit {status}):\n{said}"


@pytest.mark.timeout(15 * 60)
@pytest.mark.parametrize("tests", [pytest.param(tests, id=name) for name, tests in TESTS.items()])
def test_without_a_mutant_they_pass(tests: list[str], copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run here at all; that they pass with all their examples, the suite itself tells."""
    monkeypatch.setenv("DELIVERYKIT_EXAMPLES", "5")
    status, said = _run(copy, *tests, seconds=14 * 60)
    assert status == 0, f"not all pass unchanged (exit {status}):\n{said}"


def test_there_are_mutants() -> None:
    assert MUTANTS
