"""What lanes, servers and routes come to."""

from datetime import datetime
from logging import INFO, WARNING
from typing import ClassVar

from attrs import frozen

from deliverykit.words.facts.fact import Fact, OfServer, because, until

__all__ = [
    "CircuitClosed",
    "CircuitOpened",
    "LaneBlocked",
    "LaneHeld",
    "RouteDegraded",
    "RouteRestored",
    "ServerPaused",
    "ServerThrottled",
]


@frozen(kw_only=True)
class LaneBlocked(Fact):
    """The mail of a lane waits: its servers have no quota left, are throttled, or out of order; or the account is paused."""

    event: ClassVar[str] = "deliverykit.lane.blocked"
    level: ClassVar[int] = INFO

    route: str
    stream: str
    by: str
    """Whose limit, and which."""
    until: datetime | None
    """``None`` where only a change will help."""

    def __str__(self) -> str:
        stream = f", stream {self.stream!r}" if self.stream else ""
        return f"route {self.route!r}{stream}: mail waits{until(self.until)}{because(self.by)}"


@frozen(kw_only=True)
class LaneHeld(Fact):
    """The engine holds messages until a person releases them: those of a lane, or of one From domain at one server."""

    event: ClassVar[str] = "deliverykit.lane.held"
    level: ClassVar[int] = WARNING

    route: str
    """The lane's route; ``""`` where a From domain is held, on every route."""
    stream: str
    server: str
    """The id of the server that takes none of them; ``""`` where none does."""
    server_name: str
    domain: str
    """The From domain that is held; ``""`` where a lane is."""
    reason: str

    def __str__(self) -> str:
        where = f"messages from {self.domain}" if self.domain else f"route {self.route!r}"
        stream = f", stream {self.stream!r}" if self.stream else ""
        server = f" at server {self.server_name!r}" if self.server else ""
        return f"{where}{stream}: held{server}{because(self.reason)}"


@frozen(kw_only=True)
class ServerPaused(OfServer):
    """The engine PAUSED a server: its ESP refuses the account, or every message for the same reason.

    The messages that it refused so are back in the outbox.
    """

    event: ClassVar[str] = "deliverykit.server.paused"
    level: ClassVar[int] = WARNING

    reason: str

    def __str__(self) -> str:
        return f"server {self.server_name!r}: PAUSED by the engine: {self.reason}"


@frozen(kw_only=True)
class ServerThrottled(OfServer):
    """An ESP takes nothing more for a time. Told when the door closes, not again while it is closed."""

    event: ClassVar[str] = "deliverykit.server.throttled"
    level: ClassVar[int] = INFO

    scope: str
    """``server``, ``account`` (all servers of the same account at the ESP) or ``domain``."""
    until: datetime | None
    reason: str

    def __str__(self) -> str:
        return f"server {self.server_name!r}: throttled{until(self.until)}: {self.reason}"


@frozen(kw_only=True)
class CircuitOpened(OfServer):
    """A server failed so often in a row that it is left out, but for one email at a time."""

    event: ClassVar[str] = "deliverykit.circuit.opened"
    level: ClassVar[int] = WARNING

    faults: int
    """Faults in a row; 0 where it opened because of refusals."""
    refusals: int = 0
    """The number of different messages refused for the same reason; 0 where it opened because of faults."""
    reason: str
    probe_at: datetime | None
    """When an email tries it."""

    def __str__(self) -> str:
        at = self.probe_at.isoformat(timespec="seconds") if self.probe_at else "no time"
        count = f"{self.refusals} messages were refused alike" if self.refusals else f"{self.faults} faults in a row"
        words = f"server {self.server_name!r}: its circuit is open, after {count} ({self.reason});"
        return f"{words} one email tries it at {at}"


@frozen(kw_only=True)
class CircuitClosed(OfServer):
    """A server accepts mail again."""

    event: ClassVar[str] = "deliverykit.circuit.closed"
    level: ClassVar[int] = WARNING

    def __str__(self) -> str:
        return f"server {self.server_name!r}: its circuit is closed, it accepts mail again"


@frozen(kw_only=True)
class OfRoute(Fact):
    """A fact of one route and one of its servers."""

    route: str
    server: str
    """The id of the server that left its order, or is back in it."""
    server_name: str

    def _title(self) -> str:
        return f"route {self.route!r}" + ("" if self.account in ("", "default") else f" of account {self.account!r}")


@frozen(kw_only=True)
class RouteDegraded(OfRoute):
    """A route lost one of its servers; ``left`` names those that still carry its mail."""

    event: ClassVar[str] = "deliverykit.route.degraded"
    level: ClassVar[int] = WARNING

    left: tuple[str, ...]
    """Ids, in the route's order; none: its mail waits."""
    left_names: tuple[str, ...]
    fallback: bool
    """Whether the one it lost stood before all of these: it runs on its fallback."""

    def __str__(self) -> str:
        if not self.left:
            return f"{self._title()} has no other server that can carry mail: its mail waits"
        names = ", ".join(map(repr, self.left_names))
        runs = f"runs on its fallback: {names}" if self.fallback else f"runs without {self.server_name!r}, on {names}"
        return f"{self._title()} {runs}"


@frozen(kw_only=True)
class RouteRestored(OfRoute):
    """A route has a server again that it had lost."""

    event: ClassVar[str] = "deliverykit.route.restored"
    level: ClassVar[int] = WARNING

    def __str__(self) -> str:
        return f"{self._title()} has {self.server_name!r} again"
