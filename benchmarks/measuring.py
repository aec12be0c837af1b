"""Rounds, interleaved, so that a busy machine is busy for all; of each the median, and of the ratios of each round too."""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Row:
    """One line of the table. Times are in microseconds for each of what the claim counts."""

    claim: str
    what: str
    us: float
    of_floor: float | None = None
    """How many times as fast as the floor of the same round: 1 is as fast, 0.5 takes twice as long."""
    goal: str = ""
    note: str = ""


Contender = Callable[[], float]
"""Runs one round and answers with the seconds that one took."""


def timed(work: Callable[[], object], times: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds for one of ``times`` calls, by this clock."""
    began = clock()
    for _ in range(times):
        work()
    return (clock() - began) / times


def compared(claim: str, contenders: Mapping[str, Contender], rounds: int, goals: Mapping[str, str] | None = None) -> list[Row]:
    """Each contender in each round, in turn; the first is the floor."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    gc.collect()
    for contender in contenders.values():
        contender()  # a round that does not count
    for turn in range(rounds):
        order = list(contenders) if turn % 2 else list(reversed(contenders))
        for name in order:
            found[name].append(contenders[name]())
    floor = next(iter(contenders))
    ratios = {
        name: statistics.median(of / own for of, own in zip(found[floor], times, strict=True)) for name, times in found.items()
    }
    return [
        Row(
            claim=claim,
            what=name,
            us=statistics.median(times) * 1e6,
            of_floor=None if name == floor else ratios[name],
            goal=(goals or {}).get(name, ""),
        )
        for name, times in found.items()
    ]


@contextmanager
def folder() -> Iterator[Path]:
    """A folder of its own, on the disk that the measurements are about."""
    with tempfile.TemporaryDirectory(prefix="deliverykit-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)
