"""Run as a program: measure the CPU time of messages and attachments of two sizes. Prints each that is not about linear."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from deliverykit import Attachment, DeliveryError, Message

SHORT, LONG = 100_000, 1_000_000
FACTOR = 20
FLOOR = 0.02
"""Seconds of CPU below which a time at the short size counts as this much."""

TO = "ann@example.org"


def _message(**fields: Any) -> Callable[[], object]:
    return lambda: Message(**{"to": TO, "text": "t", **fields})


def _raw(size: int) -> Callable[[], object]:
    folded = b"Subject: s\r\nX-Folded: a\r\n" + b" b\r\n" * (size // 4)
    raw = b"From: a@example.com\r\nTo: ann@example.org\r\n" + folded + b"\r\nbody\r\n"
    return lambda: Message(to=TO, raw=raw)


def _content_type(part: str) -> Callable[[int], Callable[[], object]]:
    def made(size: int) -> Callable[[], object]:
        content_type = "a/b" + part * (size // len(part)) + "\t"
        return lambda: Attachment(filename="a.txt", content=b"x", content_type=content_type)

    return made


CASES: dict[str, Callable[[int], Callable[[], object]]] = {
    "content type of short parameters": _content_type(";a"),
    "content type of quoted parameters": _content_type('; a="\\b"'),
    "content type of blanks": _content_type("; "),
    "many headers": lambda size: _message(headers={f"X-{one}": "v" for one in range(size // 8)}),
    "one long header": lambda size: _message(headers={"X-Long": "word " * (size // 5)}),
    "folded raw lines": _raw,
    "many attachments": lambda size: _message(
        attachments=[Attachment(filename=f"{n}.txt", content=b"x") for n in range(size // 50)]
    ),
    "many recipients": lambda size: _message(to=[f"u{one}@example.org" for one in range(size // 20)]),
    "many addresses in one text": lambda size: _message(to=", ".join(f"u{one}@example.org" for one in range(size // 20))),
    "many metadata entries": lambda size: _message(metadata={f"k{one}": "v" for one in range(size // 8)}),
    "many tags": lambda size: _message(tags=[f"t{one}" for one in range(size // 8)]),
    "extra with many keys": lambda size: _message(extra={"sendgrid": {f"k{one}": "v" for one in range(size // 8)}}),
    "extra with a long list": lambda size: _message(extra={"sendgrid": {"a": ["x"] * (size // 8)}}),
    "deep extra": lambda size: _message(extra={"sendgrid": _nested(size // 100)}),
}


def _nested(depth: int) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for _ in range(depth):
        nested = {"a": nested}
    return nested


def quadratic(size: int) -> Callable[[], object]:
    """What must be found: removing from the front of a list, for each of its members."""

    def run() -> None:
        left = list(range(size))
        while left:
            left = left[5_000:]
            sum(left[:: 1 + len(left) // 100_000])

    return run


def cost(made: Callable[[], object]) -> float:
    begun = time.process_time()
    with suppress(DeliveryError):
        made()
    return time.process_time() - begun


def main(names: list[str]) -> None:
    cases = {"quadratic": quadratic} if names == ["quadratic"] else CASES
    for name, case in cases.items():
        short, long = (min(cost(case(size)) for _ in range(2)) for size in (SHORT, LONG))
        if long > FACTOR * max(short, FLOOR):
            print(f"{name}: {short:.3f} s at {SHORT:,}, {long:.3f} s at {LONG:,}")


if __name__ == "__main__":
    main(sys.argv[1:])
