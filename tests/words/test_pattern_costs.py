"""No regular expression of the package takes more than linear time, whatever text it is given."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("pattern_costs.py")


def measured(*patterns: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(PROGRAM), *patterns], capture_output=True, text=True)


@pytest.mark.timeout(900)
def test_every_pattern_takes_linear_time() -> None:
    run = measured()
    assert run.returncode == 0, run.stderr
    assert not run.stdout, run.stdout
    assert int(run.stderr.split()[0]) > 100  # that many were found


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "pattern",
    [
        r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(\s*;\s*[^\x00-\x1f\x7f]+)*",
        r"[^\s<>]+@[^\s<>]+",
        r"a(\[[^\]]*\])?",
        r"\s+;",
        r"a.*b.*c",
        r"\s*\S+",
    ],
    ids=["exponential", "no sign", "no bracket", "blanks", "cubic", "blanks at the end"],
)
def test_a_slow_pattern_is_found(pattern: str) -> None:
    assert pattern[:4] in measured(pattern).stdout.replace("\\\\", "\\")
