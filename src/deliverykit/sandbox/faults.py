"""What can go wrong on demand: each fault as data, and which of them strike a request."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import asdict, define, field, frozen

__all__ = ["KINDS", "Armed", "Fault", "struck"]

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "latency": ("seconds",),
    "throttle": ("retry_after", "status", "text"),
    "quota": ("retry_after", "status", "text"),
    "server_error": ("status", "text", "retry_after", "accepted"),
    "hang": ("accepted", "seconds"),
    "reset": ("when", "accepted"),
    "garbage": ("status", "text", "accepted"),
    "bad_key": ("text", "status"),
    "rejected": ("text", "status", "code"),
    "drip": ("seconds",),
    "truncate": (),
    "huge": ("size", "accepted"),
    "redirect": ("status",),
}
"""The kinds of fault, and the options each takes."""

_SCOPES: Final = ("send", "other", "all")
_ACCEPTED: Final = frozenset({"hang", "reset", "huge"})


@frozen
class Fault:
    """One kind of trouble. Options that a kind does not take are refused with a ``ValueError``."""

    kind: str
    seconds: float | None = None
    retry_after: float | None = None
    status: int | None = None
    text: str | None = None
    code: str | None = None
    when: str = "after"
    accepted: bool = False
    size: int = 64_000_000
    on: str = "send"
    credential: str | None = None
    every: int = 1

    @classmethod
    def of(cls, kind: str, options: Mapping[str, Any]) -> "Fault":
        """A fault from its name and options, checked."""
        if kind not in KINDS:
            raise ValueError(f"fault {kind!r} is none of {', '.join(KINDS)}")
        known = (*KINDS[kind], "on", "credential", "every")
        if unknown := sorted(set(options) - set(known)):
            raise ValueError(f"fault {kind!r} takes no {unknown[0]!r}, only {', '.join(known)}")
        fault = cls(kind, **{"accepted": kind in _ACCEPTED, **options})
        if fault.on not in _SCOPES:
            raise ValueError(f"fault on={fault.on!r} is none of {', '.join(_SCOPES)}")
        if fault.when not in {"before", "after"}:
            raise ValueError(f"fault when={fault.when!r} is neither 'before' nor 'after'")
        if fault.every < 1:
            raise ValueError(f"fault every={fault.every!r} must be 1 or more")
        return fault

    def strikes(self, submits: bool, credential: str) -> bool:
        """Whether it is meant for this request."""
        scope = self.on == "all" or (self.on == "send") == submits
        return scope and self.credential in {None, credential}

    def plain(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


@define
class Armed:
    """A fault that waits for requests: ``times`` is how many it still strikes, ``None`` for all."""

    fault: Fault
    times: int | None = 1
    met: int = field(default=0)


def struck(armed: list[Armed], submits: bool, credential: str) -> tuple[Fault, ...]:
    """The faults that strike this request: every latency, and the first of the others. Uses up their times."""
    chosen: list[Fault] = []
    for one in armed:
        late = one.fault.kind == "latency"
        if one.fault.strikes(submits, credential) and (late or not any(fault.kind != "latency" for fault in chosen)):
            one.met += 1
            if one.met % one.fault.every == 0:
                chosen.append(one.fault)
                one.times = None if one.times is None else one.times - 1
    armed[:] = _left(armed)
    return tuple(chosen)


def _left(armed: Iterable[Armed]) -> list[Armed]:
    return [one for one in armed if one.times is None or one.times > 0]
