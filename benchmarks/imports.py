"""How long a program waits for ``import deliverykit``."""

import subprocess
import sys
from collections.abc import Callable

from benchmarks.measuring import Row, compared, timed


def _importing(statement: str) -> Callable[[], float]:
    return lambda: timed(lambda: subprocess.run([sys.executable, "-c", statement], check=True), 1)


def importing(short: bool) -> list[Row]:
    """Whole processes, so that nothing is warm but the disk."""
    return compared(
        "one start of Python",
        {
            "floor: bare Python": _importing("pass"),
            "import deliverykit": _importing("import deliverykit"),
            "import httpx2": _importing("import httpx2"),
        },
        2 if short else 9,
    )


CLAIMS = (importing,)
