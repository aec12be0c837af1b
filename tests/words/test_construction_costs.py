"""Large messages cost CPU time in proportion to their size, whichever field is large."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("construction_costs.py")


def measured(*names: str) -> str:
    run = subprocess.run([sys.executable, str(PROGRAM), *names], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.timeout(300)
def test_every_field_takes_linear_time() -> None:
    assert measured() == ""


@pytest.mark.timeout(300)
def test_quadratic_time_is_found() -> None:
    assert measured("quadratic").startswith("quadratic: ")
