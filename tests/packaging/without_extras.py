"""Imports every module where no extra is installed; a module that cannot be without one must name it.

``nox -s no_extras`` runs it in an environment that really has none. ``--pretend`` hides the extras' packages
of an environment that has them.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

EXTRAS = {
    "boto3": "ses", "botocore": "ses", "h11": "sandbox", "rich": "cli", "opentelemetry": "otel", "opentelemetry-api": "otel",
    "pytest": "testing", "hypothesis": "testing",
}  # fmt: skip


class Hidden(MetaPathFinder):
    """Finds none of the extras' packages."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Say that it is not there, as the import system would."""
        if fullname.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def names() -> list[str]:
    """Every module, found without importing any of them."""
    from pathlib import Path

    import deliverykit

    root = Path(deliverykit.__file__).parent
    paths = [path.relative_to(root.parent).with_suffix("") for path in sorted(root.rglob("*.py")) if path.stem != "__main__"]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def problems() -> list[str]:
    """What a user without extras would meet that does not say what to install."""
    found = []
    for name in names():
        try:
            import_module(name)
        except Exception as error:
            cause = error if isinstance(error, ImportError) else error.__context__
            missing = (getattr(cause, "name", None) or "").partition(".")[0]
            extra = EXTRAS.get(missing, "?")
            if f"deliverykit[{extra}]" not in str(error):
                found.append(f"import {name}: {error!r} does not name deliverykit[{extra}]")
    return found


if __name__ == "__main__":
    if "--pretend" in sys.argv:
        import httpcore2  # noqa: F401  it has h11 of its own accord; only ours is to be missed

        del sys.modules["h11"]
        sys.meta_path.insert(0, Hidden())
    found = problems()
    print(f"{len(names())} modules, {len(found)} problems", *found, sep="\n")
    sys.exit(1 if found else 0)
