"""What is told of a host's own acts on servers and other records."""

from attrs import evolve, fields

from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.settling.notices import Notices
from deliverykit.records.account import Account
from deliverykit.records.route import Route
from deliverykit.records.server import VALUES, Budget, DeliveryServer, Status
from deliverykit.words.facts import Fact, RecordChanged, ServerChanged
from deliverykit.words.untrusted import scrubbed

__all__ = ["act", "activated", "recorded", "updated"]

Record = Route | Budget | Account


def act(server: DeliveryServer, what: str, changed: tuple[str, ...] = (), reason: str = "") -> tuple[Fact, ...]:
    """That somebody did this to a server."""
    return (
        ServerChanged(
            account=server.account, server=server.id, server_name=server.name,
            act=what, changed=changed, reason=scrubbed(reason),
        ),
    )  # fmt: skip


def recorded(account: str, what: str, record: Record, old: Record | None = None) -> tuple[Fact, ...]:
    """That somebody did this to a route, budget or account; nothing where an update changed nothing."""
    changed: tuple[str, ...] = ()
    if old is not None:
        changed = tuple(
            one.name
            for one in fields(type(record))
            if one.name != "version" and getattr(record, one.name) != getattr(old, one.name)
        )
        if not changed:
            return ()
    name = record.id if isinstance(record, Account) else record.name
    return (RecordChanged(account=account, kind=type(record).__name__.lower(), name=name, act=what, changed=changed),)


def updated(config: Config, old: DeliveryServer, new: DeliveryServer) -> tuple[Fact, ...]:
    """Which values are others now; what that brings back to routes."""
    changed = tuple(name for name in (*VALUES, "status") if getattr(old, name) != getattr(new, name))
    back = _restored(config, new) if new.active and not old.active else ()
    return (*act(new, "updated", changed), *back) if changed else ()


def activated(config: Config, old: DeliveryServer) -> tuple[Fact, ...]:
    """That it carries mail again. Routes that were told to have lost it, for the engine PAUSED it, have it back."""
    if old.active:
        return ()
    back = _restored(config, old) if old.paused_by == "engine" else ()
    return (*act(old, "activated"), *back)


def _restored(config: Config, server: DeliveryServer) -> tuple[Fact, ...]:
    """Also by the route that is made up of the ACTIVE servers."""
    active = evolve(server, status=Status.ACTIVE)
    return Notices(evolve(config, servers={**config.servers, server.id: active})).restored(active)
