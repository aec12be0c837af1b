"""Run as a program: measure every regular expression of the package on hostile text. Prints one line for each that is too slow.

``python pattern_costs.py`` collects the patterns of the package; ``python pattern_costs.py PATTERN …`` measures those given.
"""

import ast
import importlib
import math
import pkgutil
import re
import signal
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]

import deliverykit

PACKAGE = Path(deliverykit.__file__).resolve().parent
SHORT, LONG = 100_000, 1_000_000
"""For what sees bodies and uploads."""
BOUNDED = 10_000, 100_000
"""For the rows of the answer tables: they see at most some thousand characters, bounded before."""
FACTOR = 20
NOTICEABLE = 0.03
"""Seconds at the short length below which no cost can be more than linear in it."""
AT_THE_START = "from the start"
END = "\x00"
"""What few patterns take, so that a repetition before it is tried in vain. The text is measured without it as well."""
MOST = 3.0
"""Seconds of CPU after which a measurement is given up."""
USUAL = ["a", " ", "\n", "0", '"', "a ", "a;", "a[", '\\"', "a.", "a@"]
ANCHORED = {"match", "fullmatch"}
CALLS = {"compile", "search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer"}


class TooSlow(Exception):
    pass


def _late(*_: object) -> None:
    raise TooSlow


# -- which patterns there are -----------------------------------------------------------------------------


def collected() -> tuple[dict[str, "re.Pattern[str] | re.Pattern[bytes]"], list[str]]:
    """Every pattern by where it stands, and the calls whose pattern cannot be known from the source."""
    found: dict[str, re.Pattern[str] | re.Pattern[bytes]] = {}
    unknown: list[str] = []
    for info in pkgutil.walk_packages([str(PACKAGE)], "deliverykit."):
        if info.name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError:
            continue  # an extra that is not installed; its source is read all the same
        _held(vars(module), info.name, found, set())
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(["deliverykit", *file.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
        _called(file, vars(sys.modules[name]) if name in sys.modules else {}, found, unknown)
    return found, unknown


def _held(value: object, where: str, found: dict, seen: set[int]) -> None:
    """The patterns in the attributes of a module, in classes, containers and table rows."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, re.Pattern):
        found.setdefault(f"{where}", value)
    elif isinstance(value, dict):
        for name, one in value.items():
            if not (isinstance(name, str) and name.startswith("__")):
                _held(one, f"{where}.{name}", found, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        for place, one in enumerate(value):
            _held(one, f"{where}[{place}]", found, seen)
    elif isinstance(value, type):
        if value.__module__.startswith("deliverykit"):
            _held(dict(vars(value)), where, found, seen)
    elif type(value).__module__.startswith("deliverykit"):
        for name in getattr(type(value), "__slots__", None) or list(getattr(value, "__dict__", ())):
            if name != "__weakref__":
                _held(getattr(value, name, None), f"{where}.{name}", found, seen)
    elif hasattr(value, "__func__") or hasattr(value, "__wrapped__"):
        _held(getattr(value, "__defaults__", None), where, found, seen)


def _called(file: Path, names: dict, found: dict, unknown: list[str]) -> None:
    """The patterns that are written into calls: ``re.search(r"…", text)``."""
    for call in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in CALLS):
            continue
        if not (isinstance(call.func.value, ast.Name) and call.func.value.id == "re"):
            continue
        where = f"{file.relative_to(PACKAGE)}:{call.lineno}"
        written = call.args[0]
        if call.func.attr in ANCHORED:
            where = f"{where} {AT_THE_START}"
        if isinstance(written, ast.Constant):
            found.setdefault(where, re.compile(written.value))
        elif isinstance(written, ast.Name) and isinstance(names.get(written.id), str | bytes):
            found.setdefault(where, re.compile(names[written.id]))
        elif where.startswith("contracts/echoes.py"):
            _echoes(where, names, found)
        elif call.func.attr != "compile":
            unknown.append(f"{where}: re.{call.func.attr} of a pattern that only exists at run time")


def _echoes(where: str, names: dict, found: dict) -> None:
    """A word of the message, escaped, in patterns of the module: measured with words that a hostile message would choose."""
    for word in ("a", "aaaaaaaa", "a a", "(("):
        escaped = re.escape(word)
        for pattern in (rf"(?<!\w){escaped}(?!\w)", *(names[one].replace("WORD", escaped) for one in ("_QUOTED", "_NAMED"))):
            found.setdefault(f"{where} TABLE[{word!r} {pattern[:12]!r}]", re.compile(pattern, re.IGNORECASE))


# -- what they cost ---------------------------------------------------------------------------------------


def hostile(pattern: "re.Pattern[str] | re.Pattern[bytes]") -> list[str]:
    """What is repeated to make a hostile text: characters and words of the pattern itself, and what is usual."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    runs = list(
        _literals(_parser.parse(source, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags))
    )
    words = [run for run in runs if len(run) > 1][:6]
    singles = list(dict.fromkeys("".join(runs)))[:6]
    joined = ["".join(runs)[:200], " ".join(runs)[:200], " ".join(words)[:200]]
    nested = [f"{one}a" for one in singles[:3]] + [f"{one} " for one in words] + [run[:-1] for run in words]
    return [one for one in dict.fromkeys([*USUAL, *singles, *words, *joined, *nested]) if one]


def _literals(parsed: object) -> Iterator[str]:
    """The runs of literal characters in a pattern, and a character of each of its sets."""
    run = ""
    for operation, argument in parsed:  # type: ignore[attr-defined]
        if operation is _constants.LITERAL:
            run += chr(argument)
            continue
        if run:
            yield run
            run = ""
        yield from _inside(operation, argument)
    if run:
        yield run


def _inside(operation: object, argument: object) -> Iterator[str]:
    if operation is _constants.IN:
        for kind, value in argument:  # type: ignore[attr-defined]
            if kind is _constants.LITERAL:
                yield chr(value)
            elif kind is _constants.RANGE:
                yield chr(value[0])
            if kind in (_constants.LITERAL, _constants.RANGE):
                return
    elif operation is _constants.BRANCH:
        for branch in argument[1]:  # type: ignore[index]
            yield from _literals(branch)
    elif isinstance(argument, tuple | list):
        for one in argument:
            if isinstance(one, _parser.SubPattern):
                yield from _literals(one)
    elif isinstance(argument, _parser.SubPattern):
        yield from _literals(argument)


def cost(pattern: "re.Pattern[str] | re.Pattern[bytes]", text: str, most: float, *, anchored: bool) -> float:
    """The CPU seconds of matching a text and, unless it is only matched from its start, of finding all in it."""
    given = text if isinstance(pattern.pattern, str) else text.encode("utf-8", "replace")
    signal.setitimer(signal.ITIMER_VIRTUAL, most)
    try:
        began = time.process_time()
        pattern.fullmatch(given)
        if not anchored:
            for _ in pattern.finditer(given):
                pass
        return time.process_time() - began
    except TooSlow:
        return most
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def least(pattern: "re.Pattern[str] | re.Pattern[bytes]", text: str, most: float, *, anchored: bool) -> float:
    """The least of up to five measurements that are above ``most``: beside other programs, CPU time varies by a factor."""
    found = math.inf
    for _ in range(5):
        found = min(found, cost(pattern, text, most * 1.1, anchored=anchored))
        if found <= most:
            break
    return found


def too_slow(
    pattern: "re.Pattern[str] | re.Pattern[bytes]", few: int = SHORT, many: int = LONG, *, anchored: bool = False
) -> str:
    """Why a pattern is too slow, or nothing."""
    noticeable = NOTICEABLE * few / SHORT
    for piece, end in product(hostile(pattern), (END, "")):
        short = cost(pattern, piece * (few // len(piece)) + end, MOST, anchored=anchored)
        if short >= MOST:
            return f"{piece!r} × {few:,}: more than {MOST} s"
        if short >= noticeable:
            most = FACTOR * max(short, noticeable)
            long = least(pattern, piece * (many // len(piece)) + end, most, anchored=anchored)
            if long > most:
                return f"{piece!r} × {few:,}: {short:.3f} s, × {many:,}: {long:.3f} s"
    return ""


def main() -> None:
    signal.signal(signal.SIGVTALRM, _late)
    if len(sys.argv) > 1:
        found: dict = {one: re.compile(one) for one in sys.argv[1:]}
        unknown: list[str] = []
    else:
        found, unknown = collected()
    for one in unknown:
        print(one)
    measured: set[object] = set()
    for where, pattern in found.items():
        if (pattern.pattern, pattern.flags) in measured:
            continue
        measured.add((pattern.pattern, pattern.flags))
        lengths = BOUNDED if "TABLE[" in where or ".table[" in where else (SHORT, LONG)
        if reason := too_slow(pattern, *lengths, anchored=where.endswith(AT_THE_START)):
            print(f"{where}: {pattern.pattern!r}: {reason}", flush=True)
    print(f"{len(measured)} patterns", file=sys.stderr)


main()
