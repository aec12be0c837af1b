"""What is told of a host's own acts on a server."""

from attrs import evolve

from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.settling.notices import Notices
from deliverykit.records.server import VALUES, DeliveryServer, Status
from deliverykit.words.facts import Fact, ServerChanged
from deliverykit.words.privacy import scrubbed

__all__ = ["act", "activated", "updated"]


def act(server: DeliveryServer, what: str, changed: tuple[str, ...] = (), reason: str = "") -> tuple[Fact, ...]:
    """That somebody did this to a server."""
    return (
        ServerChanged(
            account=server.account, server=server.id, server_name=server.name,
            act=what, changed=changed, reason=scrubbed(reason),
        ),
    )  # fmt: skip


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
