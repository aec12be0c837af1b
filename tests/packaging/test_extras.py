"""Without an extra everything else works, and what needs it says which."""

import subprocess
import sys
from pathlib import Path

from checkout import PROJECT

SCRIPT = Path(__file__).with_name("without_extras.py")


def _run(code: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *code], capture_output=True, text=True, timeout=60, check=False)


def test_every_module_imports_or_names_its_extra() -> None:
    done = _run([str(SCRIPT), "--pretend"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pretence_hides_the_packages() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import without_extras; "
    code += "sys.meta_path.insert(0, without_extras.Hidden()); import boto3"
    done = _run(["-c", code, str(SCRIPT.parent)])
    assert "No module named 'boto3'" in done.stderr


def test_every_package_of_an_extra_is_hidden() -> None:
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        from without_extras import EXTRAS
    finally:
        sys.path.remove(str(SCRIPT.parent))
    extras = {name: needs for name, needs in PROJECT["optional-dependencies"].items() if name != "all"}
    declared = {(need.split(">")[0].split("[")[0], extra) for extra, needs in extras.items() for need in needs}
    assert declared <= set(EXTRAS.items()), "an extra brings a package that without_extras.py does not know"
