"""What sending tells the host."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from attrs import field, frozen

from deliverykit.words.arguments import Choice, items
from deliverykit.words.errors import SendFailed
from deliverykit.words.outcomes import Outcome

__all__ = ["Attempt", "ClockAccepted", "DrainReport", "Explanation", "SendResult", "SendStatus", "ServerView", "Wait"]


class SendStatus(Choice):
    """How ``send()`` ended."""

    ACCEPTED = "accepted"
    """The ESP took it."""
    QUEUED = "queued"
    """It waits in the outbox; a worker sends it. Also where it may have gone and is sent again (``in_doubt="resend"``)."""
    REJECTED = "rejected"
    """It was not sent and will not be."""
    IN_DOUBT = "in_doubt"
    """It may have gone; it is kept as ``in_doubt`` and not sent again until you say so."""


@frozen(kw_only=True)
class Attempt:
    """One try by one server."""

    server: str
    """The server's id."""
    outcome: Outcome
    reason: str = ""


def _attempts(value: "Iterable[Attempt]") -> tuple["Attempt", ...]:
    return tuple(items(value, "attempts", "give the attempts as a list", alone=()))


@frozen(kw_only=True)
class SendResult:
    """What became of one message.

    True when it was accepted, or is queued and leaves by itself; false when it was rejected, is in doubt, or is queued
    but stalled: no server sends it until a person acts (``stalled``, and ``reason`` says what is wrong). A stalled
    message is kept and is not lost, so do not send it again: put right what ``reason`` names.

    ``id`` is ours; ``provider_message_id`` the ESP's. ``goes_at`` is when a queued message can go, or when
    a refused one could: ``None`` where only a change will help.
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

    stalled: bool = False
    """Whether it is queued, but nothing sends it until a person acts; ``reason`` says what is wrong."""

    def __bool__(self) -> bool:
        return self.status is SendStatus.ACCEPTED or (self.status is SendStatus.QUEUED and not self.stalled)

    def raise_for_status(self) -> None:
        """Raise :class:`~deliverykit.SendFailed` unless the result is true; the error has the result and its reason."""
        if self:
            return
        states = {SendStatus.REJECTED: "was rejected", SendStatus.IN_DOUBT: "is in doubt"}
        because = f": {self.reason}" if self.reason else ""
        raise SendFailed(f"message {self.id} {states.get(self.status, 'is queued, but no server sends it')}{because}", self)


@frozen
class Wait:
    """One limit that refuses a mail now."""

    by: str
    """Which limit of whom, with its numbers: ``day quota of 'SES Mumbai' used up: 50 of 50, resets …``."""
    until: datetime | None
    """When it grants such a mail, if nothing else is taken; ``None`` where only a change will help."""


@frozen(kw_only=True)
class ServerView:
    """One server's line of an explanation."""

    server: str
    name: str
    verdict: str
    """``takes it now``, ``takes it`` (at ``at``, once its pace allows), ``waits`` (until ``at``), ``is passed over``,
    ``never``."""
    reason: str = ""
    at: datetime | None = None
    waits: tuple[Wait, ...] = ()
    """Every limit that refuses it now, the one that does so longest at the front."""


@frozen(kw_only=True)
class Explanation:
    """A dry run: what ``send()`` would do with a message now, and why not otherwise. ``str()`` says it in words."""

    route: str
    server: str | None
    """The id of the server that would take it now, or after as long as ``send()`` waits for its pace."""
    goes_at: datetime | None
    """When it goes, or could go, where that is not now; ``None`` where only a change will help."""
    servers: tuple[ServerView, ...]
    """Each server of the route, in the route's order."""
    status: SendStatus = SendStatus.QUEUED
    """What ``send()`` would answer if the ESP accepts the mail: ACCEPTED, QUEUED (it waits) or REJECTED."""
    reason: str = ""
    """Why no server takes it, where that lies not in its limits."""
    order: tuple[str, ...] = ()
    """The ids of those that can carry it now but for their limits, as the route's router puts them for this mail."""
    fallback_for: str | None = None
    """The id of the server that would have come first, were it not paused, its circuit open, or its quota used up."""

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterable[str]:
        at = self.goes_at.isoformat() if self.goes_at else ""
        if self.server is not None:
            names = {view.server: view.name for view in self.servers}
            first, when = self.fallback_for, f"at {at}" if at else "now"
            fallback = f", as the fallback for {names.get(first, first)}" if first else ""
            yield f"route {self.route}: {names.get(self.server, self.server)} would take it {when}{fallback}"
        elif self.status is SendStatus.REJECTED:
            yield f"route {self.route}: it would be refused{f'; it could go at {at}' if at else ''}{_because(self.reason)}"
        else:
            yield f"route {self.route}: it would wait until {at or 'something changes'}{_because(self.reason)}"
        for view in self.servers:
            word = " at" if view.verdict.startswith("takes") else " until"
            until = f"{word} {view.at.isoformat()}" if view.at else ""
            also = "".join(f", and {one.by}{_until(one.until)}" for one in view.waits[1:])
            yield f"  {view.name} ({view.server}) {view.verdict}{until}{_because(view.reason)}{also}"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _until(at: datetime | None) -> str:
    return f" until {at.isoformat()}" if at else ""


@frozen(kw_only=True)
class DrainReport:
    """What a worker did before it stopped."""

    accepted: int = 0
    dead: int = 0
    """Messages that ended, those that it found expired, late or three times lost with their worker among them."""
    in_doubt: int = 0
    """Messages of unknown fate, those of a lost worker among them."""
    returned: int = 0
    """Attempts after which the mail went back to the queue."""


@frozen(kw_only=True)
class ClockAccepted:
    """What ``accept_clock`` moved back. True when there was something to move."""

    seen: datetime
    """The latest instant that the store had seen."""
    now: datetime
    """The clock's, which counts from now on."""
    accounts: int = 0
    """How many accounts' limits moved (the host's own, where there are some, count as one more)."""
    lanes: int = 0
    mails: int = 0
    """Mails whose lease, retry or own time moved."""

    @property
    def back(self) -> timedelta:
        """How far."""
        return max(timedelta(), self.seen - self.now)

    def __bool__(self) -> bool:
        return self.back > timedelta()
