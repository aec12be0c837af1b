"""Sphinx: furo, MyST, autodoc. Built with -W -n: a reference that leads nowhere is an error."""

import pkgutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import deliverykit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from checkout import INNER

project = "deliverykit"
author = "the deliverykit authors"
copyright = "2026, the deliverykit authors"
version = release = deliverykit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"deliverykit {release}"
myst_enable_extensions = ["colon_fence", "deflist", "smartquotes"]
myst_heading_anchors = 3
nitpicky = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
copybutton_prompt_text = r"\$ "

# No intersphinx: the build needs no network. What is not ours, and type variables, are shown as text.
nitpick_ignore_regex = [(r"py:.*", r"(?!deliverykit\b).*"), (r"py:.*", r"deliverykit\..*\.[A-Z](_co|_contra)?")]


def _public_names() -> dict[str, str]:
    """Where a name is defined, to where the reference documents it: the room it is exported from."""
    exported: dict[str, str] = {}
    found = [module.name for module in pkgutil.walk_packages(deliverykit.__path__, "deliverykit.")]
    rooms = [name for name in found if name.count(".") == 1]
    contracts = [name for name in found if name.startswith("deliverykit.contracts.")]
    for room in (*contracts, *rooms, "deliverykit"):
        if room.rpartition(".")[2] in {*INNER, "__main__"}:
            continue
        module = import_module(room)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            home = f"{getattr(value, '__module__', room)}.{getattr(value, '__qualname__', name)}"
            exported[home] = f"{room}.{name}"
    return exported


PUBLIC = _public_names()


def resolve(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """A reference to where a name is defined leads to where it is exported."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or not target:
        return None
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        head, rest = ".".join(parts[:length]), parts[length:]
        ours = PUBLIC.get(head) or next((public for public in PUBLIC.values() if public.rpartition(".")[2] == head), None)
        if ours:
            wanted = ".".join((ours, *rest))
            if wanted == target:
                return None
            domain = env.get_domain("py")
            found = domain.resolve_any_xref(env, node.get("refdoc", env.docname), app.builder, wanted, node, contnode)
            return found[0][1] if found else None
    # What is there but not public is shown without a link; what is not there is an error.
    return contnode if _exists(target) else None


def _exists(target: str) -> bool:
    """Whether a full name of ours leads to a module or to something in one."""
    module, rest = target, []
    while module.startswith("deliverykit"):
        try:
            found: Any = import_module(module)
            for name in rest:
                found = getattr(found, name)
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
        except AttributeError:
            return False
        else:
            return True
    return False


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", resolve)
