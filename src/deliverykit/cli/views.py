"""What is told of each kind of thing, by the names that the JSON has: documented, and stable."""

from datetime import datetime, timedelta
from typing import Any

from attrs import fields, has

from deliverykit.cli.output import Record
from deliverykit.contracts.limit import Limit
from deliverykit.contracts.router import Router
from deliverykit.engine.rooms.health import HealthView
from deliverykit.engine.rooms.servers import QuotaView
from deliverykit.engine.rooms.views import Eta, LaneView, LogEntry, Mail
from deliverykit.limits import CalendarQuota, Pause, Rate, RollingQuota
from deliverykit.limits.checks import brief
from deliverykit.records.route import Route
from deliverykit.records.server import DeliveryServer
from deliverykit.words.checks import CheckReport
from deliverykit.words.credentials import Env, Named, Secret
from deliverykit.words.results import Explanation, SendResult

__all__ = ["check", "eta", "explained", "health_of", "lane", "limit", "log_line", "mail", "quota", "result", "route", "server"]


def server(one: DeliveryServer) -> dict[str, Any]:
    """A server; of its secrets only where they are kept."""
    return {
        "id": one.id,
        "name": one.name,
        "esp": one.provider.name if one.provider else None,
        "status": one.status.value,
        "reason": one.reason,
        "paused_by": one.paused_by,
        "proven": one.proven,
        "sender": str(one.sender) if one.sender else None,
        "senders": None if one.senders is None else list(one.senders),
        "quota": [limit(each) for each in one.limits if not each.paces],
        "pause": next((limit(each) for each in one.limits if each.paces), None),
        "budgets": list(one.budgets),
        "fields": _fields(one),
    }


def _fields(one: DeliveryServer) -> dict[str, str]:
    if one.provider is None:
        return {}
    found = {each.name: getattr(one.provider, each.name) for each in one.provider.options()}
    return {name: _kept(value) for name, value in found.items() if value not in (None, "")}


def _kept(value: object) -> str:
    if isinstance(value, Secret):
        return "(kept encrypted)"
    if isinstance(value, Env):
        return f"(in the sender's environment: {value.name})"
    return f"(handed over by the program: {value.name})" if isinstance(value, Named) else str(value)


def limit(one: Limit) -> str:
    """A limit as the command line takes it; one of your own as Python shows it."""
    if isinstance(one, CalendarQuota):
        windows = {name: getattr(one, name) for name in ("hour", "day", "week", "month")}
        told = [f"{number}/{name}" for name, number in windows.items() if number is not None]
        return " ".join([*told, *([f"in {one.timezone}"] if one.timezone else [])])
    if isinstance(one, RollingQuota):
        return f"{one.limit}/{brief(one.per // timedelta(milliseconds=1))}"
    if isinstance(one, Pause):
        return brief(one.length // timedelta(milliseconds=1))
    if isinstance(one, Rate):
        return f"{one.n}/{brief(one.per // timedelta(milliseconds=1))}"
    return repr(one)


def health_of(one: HealthView) -> dict[str, Any]:
    """How a server does."""
    return {
        "circuit": one.circuit,
        "faults": one.faults,
        "opened_at": one.opened_at,
        "probe_at": one.probe_at,
        "throttled_until": one.throttled_until,
        "slowed": one.slowed,
        "slowed_until": one.slowed_until,
    }


def check(one: CheckReport) -> dict[str, Any]:
    """What an ESP said of credentials."""
    return {
        "status": one.status.value,
        "facts": dict(one.facts),
        "problems": [{"what": each.what, "mend": each.mend, "blocks": each.blocks} for each in one.problems],
    }


def quota(one: QuotaView, of: DeliveryServer) -> dict[str, Any]:
    """One window of a quota that a server is under."""
    return {
        "server": of.id,
        "name": of.name,
        "owner": one.owner,
        "window": one.window,
        "used": one.used,
        "limit": one.limit,
        "left": one.left,
        "resets_at": one.resets_at,
    }


def route(one: Route) -> dict[str, Any]:
    """A route."""
    return {
        "name": one.name,
        "servers": list(one.servers),
        "strategy": one.strategy.name,
        "strategy_fields": _details(one.strategy),
        "when_exhausted": one.when_exhausted.value,
        "in_doubt": str(one.in_doubt),
        "max_lateness": one.max_lateness,
        "broken": one.broken,
    }


def _details(strategy: Router) -> dict[str, Any]:
    """What a router is told beside its name: the weights of ``Weighted``, the field of ``By``."""
    kind: type = type(strategy)
    names = [one.name for one in fields(kind)] if has(kind) else []
    return {name: _plain(getattr(strategy, name)) for name in names}


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float | bool | dict | list | datetime) else repr(value)


def mail(one: Mail) -> dict[str, Any]:
    """A mail of the outbox."""
    return {
        "id": one.id,
        "route": one.route,
        "stream": one.stream,
        "state": one.state,
        "server": one.server,
        "reason": one.reason,
        "attempts": one.attempts,
        "since": one.since,
        "goes_at": one.goes_at,
        "expires_at": one.expires_at,
    }


def lane(one: LaneView) -> dict[str, Any]:
    """A lane: what waits together, and for what."""
    return {
        "route": one.route,
        "stream": one.stream,
        "key": one.key,
        "waiting": one.waiting,
        "counts": dict(one.counts),
        "blocked": one.blocked,
        "blocked_by": one.blocked_by,
        "blocked_since": one.blocked_since,
        "goes_at": one.goes_at,
    }


def eta(route: str, one: Eta) -> dict[str, Any]:
    """By when what waits on a route will have left."""
    return {
        "route": route,
        "waiting": one.waiting,
        "at": one.at,
        "limited_by": one.limited_by,
        "later_than": one.later_than,
    }


def log_line(one: LogEntry) -> dict[str, Any]:
    """One thing that happened to a mail."""
    return {
        "at": one.at,
        "id": one.id,
        "server": one.server,
        "outcome": one.outcome,
        "detail": one.detail,
        "provider_message_id": one.provider_message_id,
    }


def result(one: SendResult) -> dict[str, Any]:
    """What became of a mail that was sent."""
    return {
        "id": one.id,
        "status": one.status.value,
        "reason": one.reason,
        "provider_message_id": one.provider_message_id,
        "goes_at": one.goes_at,
        "proof": one.proof,
        "repeated": one.repeated,
        "attempts": [
            {"server": each.server, "outcome": type(each.outcome).__name__, "reason": each.reason} for each in one.attempts
        ],
    }


def explained(one: Explanation) -> Record:
    """What ``send`` would do with a message, and why."""
    return {
        "route": one.route,
        "status": one.status.value,
        "server": one.server,
        "goes_at": one.goes_at,
        "reason": one.reason,
        "order": list(one.order),
        "fallback_for": one.fallback_for,
        "servers": [
            {
                "server": each.server,
                "name": each.name,
                "verdict": each.verdict,
                "reason": each.reason,
                "at": each.at,
                "waits": [{"by": wait.by, "until": wait.until} for wait in each.waits],
            }
            for each in one.servers
        ],
    }
