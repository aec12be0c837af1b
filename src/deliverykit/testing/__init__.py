"""The kit for a host's own tests. Each name is imported when it is first asked for, so none needs another's libraries."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from deliverykit.testing.clock import ManualClock
    from deliverykit.testing.crash import CrashTest, Life, Submission
    from deliverykit.testing.crashing import Crash, CrashingPorts, Cut, When
    from deliverykit.testing.quota import QuotaPolicyMachine

__all__ = [
    "Crash",
    "CrashTest",
    "CrashingPorts",
    "Cut",
    "Life",
    "ManualClock",
    "QuotaPolicyMachine",
    "Submission",
    "When",
]

_LAZY: Final = {
    **dict.fromkeys(("CrashTest", "Life", "Submission"), "deliverykit.testing.crash"),
    **dict.fromkeys(("Crash", "CrashingPorts", "Cut", "When"), "deliverykit.testing.crashing"),
    "ManualClock": "deliverykit.testing.clock",
    "QuotaPolicyMachine": "deliverykit.testing.quota",
}


def __getattr__(name: str) -> object:
    """Import what is asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
