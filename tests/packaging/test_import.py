"""``import deliverykit`` is light: it loads no HTTP client, no driver, no test tool, and runs in a blink."""

import os
import re
import subprocess
import sys

import pytest

from checkout import modules

HEAVY = {
    "aiohttp", "boto3", "botocore", "cryptography", "h11", "httpcore2", "httpx", "httpx2", "hypothesis", "opentelemetry", "psycopg", "pytest",
    "redis", "requests", "rich", "sqlite3",
}  # fmt: skip


def _loaded(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter loads for a statement."""
    # Coverage, where it is measuring, would start in the new interpreter too and load modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement],
        capture_output=True, text=True, check=True, timeout=60, env=environment,
    )  # fmt: skip
    lines = re.findall(r"^import time:\s+\d+ \|\s+\d+ \| *(\S+)$", done.stderr, re.MULTILINE)
    return {line.partition(".")[0] for line in lines}


def test_the_measure_sees_what_is_loaded() -> None:
    assert {"deliverykit", "sqlite3"} <= _loaded("import deliverykit, sqlite3")


def test_import_deliverykit_loads_nothing_heavy() -> None:
    assert not _loaded("import deliverykit") & HEAVY


def test_providers_load_no_client_and_no_aws_library() -> None:
    names = [name for name in modules() if name.startswith("deliverykit.providers")]
    assert not _loaded(f"import {', '.join(names)}") & HEAVY


@pytest.mark.parametrize("floor", ["words", "contracts", "records", "limits", "routers", "engine"])
def test_the_pure_floors_load_nothing_heavy(floor: str) -> None:
    names = [name for name in modules() if name.startswith(f"deliverykit.{floor}")]
    assert not _loaded(f"import {', '.join(names)}") & HEAVY


def test_every_name_of_deliverykit_resolves_in_a_fresh_interpreter() -> None:
    _loaded("import deliverykit; [getattr(deliverykit, name) for name in getattr(deliverykit, '__all__', ())]")
