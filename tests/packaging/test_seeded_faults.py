"""Seeded faults fit the source and the tests as they are; `pytest -m mutants` runs them. Numbers of decisions are unique."""

import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import deliverykit

ROOT = Path(__file__).resolve().parents[2]
FAULTS = ROOT / "tests" / "mutants"
DECISIONS = ROOT / "docs" / "decisions"
PACKAGE = Path(deliverykit.__file__).resolve().parent
KEYS = {"file", "old", "new", "test"}


def _faults() -> list[tuple[str, dict[str, str]]]:
    if not FAULTS.is_dir():
        pytest.skip("tests/mutants is not here")
    return [
        (f"{path.stem}-{number}", fault)
        for path in sorted(FAULTS.glob("*.toml"))
        for number, fault in enumerate(tomllib.loads(path.read_text("utf-8"))["mutant"], 1)
    ]


@cache
def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""


def _of_the_package(file: str) -> Path:
    """The file of a checkout, where the package lies now: beside it, or installed."""
    return PACKAGE.parent / file.removeprefix("src/")


@cache
def _defines(path: Path, name: str) -> bool:
    """Whether a file has a function, a class or an assignment of this name, at any depth."""
    return re.search(rf"^\s*(?:(?:async )?def {name}\(|class {name}\b|{name} = )", _text(path), re.MULTILINE) is not None


def _missing(test: str) -> str:
    """The parts of a test's name (file, class, function) that do not exist; empty where all exist."""
    file, *names = test.partition("[")[0].split("::")
    if not (ROOT / file).is_file():
        return file
    if names[1:] == ["runTest"]:  # a state machine's: unittest makes it
        names.pop()
    return next((name for name in names if not _defines(ROOT / file, name)), "")


def test_faults_have_the_right_keys() -> None:
    faults = _faults()
    assert faults
    assert not [name for name, fault in faults if set(fault) != KEYS]
    assert not [name for name, fault in faults if fault["old"] == fault["new"]]


def test_faulty_source_text_occurs_once() -> None:
    times = {name: _text(_of_the_package(fault["file"])).count(fault["old"]) for name, fault in _faults()}
    assert not {name: count for name, count in times.items() if count != 1}


def test_source_without_a_removed_statement_compiles() -> None:
    """It may have been the only one of its block. What is replaced, the run of all faults compiles: here it would take seconds."""
    wrong = {}
    for name, fault in _faults():
        if not fault["new"].strip():
            try:
                compile(_text(_of_the_package(fault["file"])).replace(fault["old"], fault["new"]), fault["file"], "exec")
            except SyntaxError as error:
                wrong[name] = str(error)
    assert not wrong


def test_tests_that_faults_name_exist() -> None:
    missing = {name: lost for name, fault in _faults() if (lost := _missing(fault["test"]))}
    assert not missing


def test_decision_numbers_are_unique() -> None:
    if not DECISIONS.is_dir():
        pytest.skip("docs/decisions is not here")
    numbers = Counter(path.name.partition("-")[0] for path in DECISIONS.glob("[0-9]*.md"))
    assert numbers
    assert not [number for number, count in numbers.items() if count > 1]
