"""Specifications and samples that are kept beside the checkout, in a folder ``shared``, and not in it."""

import os
from pathlib import Path

import pytest


def shared(path: str) -> Path:
    """A file of the shared folder next to the checkout, or of the one ``DELIVERYKIT_SHARED`` names.

    Skips the test where it is not there. With ``CI=true`` and ``DELIVERYKIT_REQUIRE_SHARED=1`` a missing file fails instead.
    """
    named = os.environ.get("DELIVERYKIT_SHARED")
    folders = [Path(named)] if named else [parent / "shared" for parent in Path(__file__).resolve().parents]
    for folder in folders:
        if (found := folder / path).exists():
            return found
    missing = f"shared/{path} is not next to this checkout, nor in DELIVERYKIT_SHARED"
    if os.environ.get("CI") == "true" and os.environ.get("DELIVERYKIT_REQUIRE_SHARED") == "1":
        pytest.fail(missing)
    pytest.skip(missing)
