"""Where the checkout is, and what it says of itself."""

import pkgutil
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path

import deliverykit

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "deliverykit"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

INNER = (
    "words",
    "records",
    "engine",
    "beating",
    "clocks",
    "calls",
    "coalescing",
    "colours",
    "furnishing",
    "mailer",
    "async_mailer",
    "cli",
    "demo",
)
"""Floors that nobody imports from: what of them is for hosts is exported higher up."""


def modules() -> list[str]:
    """The name of every module of the installed package."""
    found = pkgutil.walk_packages(deliverykit.__path__, "deliverykit.")
    return ["deliverykit", *sorted(module.name for module in found if not module.name.endswith("__main__"))]


def public_modules() -> list[str]:
    """Those a host or a plug-in author imports from: they export something."""
    rooms = [name for name in modules() if name.count(".") == 1 and name.partition(".")[2] not in INNER]
    contracts = [name for name in modules() if name.startswith("deliverykit.contracts.")]
    return [name for name in ("deliverykit", *rooms, *contracts) if getattr(import_module(name), "__all__", ())]


def tracked_files() -> list[Path]:
    """Every file under version control, or, where git is not there, every file that is no product."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        products = {".venv", ".nox", ".git", "dist", "_build", "__pycache__"}
        return [path for path in ROOT.rglob("*") if path.is_file() and not products & set(path.parts)]
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]
