"""The benchmarks run, and check what they count; how long anything takes is never asserted."""

import json
import os
import subprocess
import sys

import pytest

from checkout import ROOT


@pytest.mark.parametrize(
    "name",
    [
        "single",
        "by_tasks",
        "memory",
        "claim_and_settle",
        "two_processes",
        "beside_a_blocked_lane",
        "idle",
        "any_backlog",
        "full_path",
        "send_cpu",
        "importing",
        "longest_hold",
        "neighbours",
    ],
)
def test_a_benchmark_runs(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--short", "--json", name],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout)
    assert rows
    assert all(row["us"] > 0 for row in rows)
