"""What sending tells the host."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from attrs import field, frozen

from deliverykit.words.outcomes import Outcome

__all__ = ["Attempt", "DrainReport", "Explanation", "SendResult", "SendStatus", "ServerView"]


class SendStatus(StrEnum):
    """How ``send()`` ended."""

    ACCEPTED = "accepted"
    """The ESP took it."""
    QUEUED = "queued"
    """It waits in the outbox; a worker sends it."""
    REJECTED = "rejected"
    """It was not sent and will not be."""
    IN_DOUBT = "in_doubt"
    """It may have gone; it is kept as ``in_doubt`` and not sent again."""


@frozen(kw_only=True)
class Attempt:
    """One try by one server."""

    server: str
    """The server's id."""
    outcome: Outcome
    reason: str = ""


def _attempts(value: "Iterable[Attempt]") -> tuple["Attempt", ...]:
    return tuple(value)


@frozen(kw_only=True)
class SendResult:
    """What became of one mail. True when it was accepted or queued.

    ``id`` is ours; ``provider_message_id`` the ESP's. ``goes_at`` is when queued mail can go, or when
    refused mail could: ``None`` where only a change will help.
    """

    status: SendStatus
    id: str
    attempts: tuple[Attempt, ...] = field(default=(), converter=_attempts)
    provider_message_id: str = ""
    reason: str = ""
    goes_at: datetime | None = None
    proof: bool = False
    """Of ``send_test`` only: whether the server may now be activated."""
    repeated: bool = False
    """Whether nothing was done, and this tells how the first mail with the same ``idempotency_key`` stands now."""

    def __bool__(self) -> bool:
        return self.status in (SendStatus.ACCEPTED, SendStatus.QUEUED)


@frozen(kw_only=True)
class ServerView:
    """One server's line of an explanation."""

    server: str
    name: str
    verdict: str
    """``takes it now``, ``is passed over``, ``waits``, ``never``."""
    reason: str = ""
    at: datetime | None = None


@frozen(kw_only=True)
class Explanation:
    """A dry run: which server would take a message now, and why not the others. ``str()`` says it in words."""

    route: str
    server: str | None
    """The id of the server that would take it now."""
    goes_at: datetime | None
    """When it could go, where none takes it now; ``None`` where only a change will help."""
    servers: tuple[ServerView, ...]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterable[str]:
        if self.server is not None:
            yield f"route {self.route}: {self.server} would take it now"
        else:
            yield f"route {self.route}: it would wait until {self.goes_at.isoformat() if self.goes_at else 'something changes'}"
        for view in self.servers:
            until = f" until {view.at.isoformat()}" if view.at else ""
            reason = f": {view.reason}" if view.reason else ""
            yield f"  {view.name} ({view.server}) {view.verdict}{until}{reason}"


@frozen(kw_only=True)
class DrainReport:
    """What a worker did before it stopped."""

    accepted: int = 0
    dead: int = 0
    in_doubt: int = 0
    returned: int = 0
    """Attempts after which the mail went back to the queue."""
