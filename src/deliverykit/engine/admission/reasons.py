"""Why a message must wait, in words for people: which limit, its numbers, and when it ends."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

from deliverykit.contracts.limit import QuotaPolicy, State, Usage
from deliverykit.engine.admission.gates import Gate
from deliverykit.limits import Brake, CalendarQuota, Circuit, Closed, Pause, Rate, Slowed
from deliverykit.records.server import DeliveryServer, Status
from deliverykit.words.arguments import short
from deliverykit.words.clock import LATEST, NEVER

__all__ = ["SEALED", "at_utc", "nobody", "pace_of", "unable", "why"]

_LISTED = 5
SEALED = (
    "cannot be kept here: its counts (table dk_state) were written by a newer version, or are damaged; "
    "upgrade this process, or put a backup of the file in its place"
)
_OWNERS = {"account": "the account", "host": "all accounts"}


def at_utc(at: int) -> str:
    """An instant as ``2026-12-01 18:30 UTC``."""
    return f"{datetime.fromtimestamp(min(max(at, 0), LATEST) / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def why(gate: Gate, state: State, now: int, cost: int, at: int, *, sealed: bool = False) -> tuple[str, str]:
    """The name of a limit that refuses now, and what is wrong with it until ``at``.

    The name stays the same while the same limit refuses; the rest has its numbers.
    """
    limit, owner = gate.limit, _owner(gate)
    if sealed:
        return f"{limit.name} limit of {owner}", SEALED
    until = "" if at >= NEVER else f" until {at_utc(at)}"
    if isinstance(limit, QuotaPolicy):
        return _quota(gate, limit, state, now, gate.cost(cost), at)
    if isinstance(limit, Closed):
        return f"ESP of {owner}", f"accepts nothing{until}: it said that it was asked too often"
    if isinstance(limit, Circuit):
        return f"circuit of {owner}", f"open after repeated faults; one message tries it at {at_utc(at)}"
    if isinstance(limit, Brake):
        return f"circuit of {owner}", f"open after repeated refusals; one message tries it at {at_utc(at)}"
    if isinstance(limit, Slowed):
        return f"pace of {owner}", f"slowed{until}, because its ESP said that it was asked too fast"
    if isinstance(limit, Pause | Rate):
        return pace_of(gate), f"the next may start at {at_utc(at)}"
    return f"{limit.name} of {owner}", f"refuses{until}"


def pace_of(gate: Gate) -> str:
    """The name of a pause or rate, as :func:`why` gives it."""
    return f"{'pause' if isinstance(gate.limit, Pause) else 'rate limit'} of {_owner(gate)}"


def _owner(gate: Gate) -> str:
    if gate.owner.startswith("budget ") and gate.name.startswith("b:"):
        return f"budget {gate.owner.removeprefix('budget ')!r}"
    return f"{gate.owner!r}" if gate.name.startswith(("s:", "e:")) else _OWNERS.get(gate.owner, repr(gate.owner))


def _quota(gate: Gate, limit: QuotaPolicy, state: State, now: int, cost: int, at: int) -> tuple[str, str]:
    window: Usage | None = None
    with suppress(Exception):  # a host's own policy: what it cannot tell is left out
        full = [one for one in limit.usage(state, now) if one.limit - one.used < cost]
        window = max(full, key=lambda one: one.resets_at, default=None)
    if window is None:
        return f"{limit.name} quota of {_owner(gate)}", "used up" if at >= NEVER else f"used up until {at_utc(at)}"
    name = f"{window.window} quota of {_owner(gate)}"
    if window.limit == 0:
        return name, "is 0, so nothing leaves until it is raised"
    used = f"used up: {window.used:,} of {window.limit:,}"
    if window.left:
        used = f"has {window.left:,} of {window.limit:,} left, and the message needs {cost:,}"
    if at >= NEVER:
        return name, f"{used}, and it never has room for so many"
    resets = "resets" if isinstance(limit, CalendarQuota) else "has room again"
    return name, f"{used}, {resets} {at_utc(at)}"


# -- no server at all -----------------------------------------------------------------------------


def nobody(route: str, members: Iterable[DeliveryServer]) -> str:
    """Why no server of a route can send now, server by server."""
    known = list(members)
    reasons = [f"{one.name!r} {unable(one)}" for one in known[:_LISTED]]
    if len(known) > _LISTED:
        reasons.append(f"and {len(known) - _LISTED} more")
    where = f"no server of route {route!r} can send" if route else "the server cannot send"
    return f"{where}: {'; '.join(reasons)}" if reasons else f"route {route!r} has no server; add one to it"


def unable(server: DeliveryServer) -> str:
    """Why a server carries nothing now."""
    because = f": {short(server.reason, 200)}" if server.reason else ""
    if server.status is Status.BROKEN:
        return f"is BROKEN{because}"
    if server.active:
        return "is ACTIVE, but may not carry this message"
    if server.paused_by == "engine":
        return f"was PAUSED after an answer of its ESP{because}"
    if not server.proven:
        return f"is PAUSED{because or ' and was never tested'}; send a test email and activate it"
    return f"is PAUSED{because or ' by a person'}"
