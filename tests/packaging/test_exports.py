"""What is exported: named once in ``__all__``, documented, and nothing besides."""

import ast
import inspect
import re
from importlib import import_module
from itertools import pairwise
from types import ModuleType

import pytest

from checkout import ROOT, SOURCE, modules, public_modules

REFERENCE = ROOT / "docs" / "reference.md"


def _own_names(module: ModuleType) -> set[str]:
    """Classes and functions defined in a room, or, for ``deliverykit`` itself, anywhere in the house."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith(module.__name__)
    }


@pytest.mark.parametrize("name", modules())
def test_all_names_what_is_there(name: str) -> None:
    module = import_module(name)
    exported = list(getattr(module, "__all__", ()))
    assert len(exported) == len(set(exported)), "a name is exported twice"
    absent = [one for one in exported if not hasattr(module, one)]
    assert not absent, f"{name}.__all__ names what is not there: {absent}"


@pytest.mark.parametrize("name", [name for name in public_modules() if not name.startswith("deliverykit.contracts.")])
def test_the_rooms_export_every_public_name(name: str) -> None:
    module = import_module(name)
    hidden = _own_names(module) - set(module.__all__)
    assert not hidden, f"public in {name}, yet not in its __all__: {sorted(hidden)}"


@pytest.mark.parametrize("name", public_modules())
def test_every_public_module_is_in_the_reference(name: str) -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert re.search(rf"^\.\. automodule:: {re.escape(name)}\n(?:   :[a-z-]+:.*\n)*   :members:", text, re.MULTILINE), (
        f"docs/reference.md has no `.. automodule:: {name}` with `:members:`"
    )


def _described_data() -> set[str]:
    """Names of module-level data with a text under the assignment, as autodoc reads it."""
    described = set()
    for path in SOURCE.rglob("*.py"):
        for statement, below in pairwise(ast.parse(path.read_text(encoding="utf-8")).body):
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
                described.update(target.id for target in targets if isinstance(target, ast.Name))
    return described


def test_what_one_section_leaves_out_another_describes() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    left_out = {one.strip() for names in re.findall(r":exclude-members: (.+)", text) for one in names.split(",")}
    elsewhere = {one for name in public_modules() if name != "deliverykit" for one in import_module(name).__all__}
    assert left_out
    assert left_out <= elsewhere


@pytest.mark.parametrize("name", public_modules())
def test_every_public_name_has_its_documentation(name: str) -> None:
    module, text, described = import_module(name), REFERENCE.read_text(encoding="utf-8"), _described_data()
    silent = []
    for one in module.__all__:
        value = getattr(module, one)
        if inspect.isclass(value):
            documented = "__doc__" in vars(value) and bool(value.__doc__)
        elif inspect.isroutine(value):
            documented = bool(value.__doc__)
        else:
            documented = one in described or re.search(rf"\b{one}\b", text) is not None
        if not documented and one != "__version__":
            silent.append(one)
    assert not silent, f"{name} exports without a word of explanation: {silent}"
