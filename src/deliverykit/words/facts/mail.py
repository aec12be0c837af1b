"""What becomes of mail."""

from datetime import datetime
from logging import DEBUG, INFO, WARNING
from typing import ClassVar

from attrs import frozen

from deliverykit.words.facts.fact import OfMail, because

__all__ = [
    "AttemptFinished",
    "LeaseLost",
    "MailAccepted",
    "MailDead",
    "MailInDoubt",
    "MailQueued",
    "MailRecovered",
    "MailRefused",
    "MailReturned",
    "MailScheduled",
]


@frozen(kw_only=True)
class MailQueued(OfMail):
    """A mail is written down in the outbox: by ``enqueue``, or by ``send`` because it cannot go now."""

    event: ClassVar[str] = "deliverykit.mail.queued"
    level: ClassVar[int] = DEBUG

    reason: str = ""
    """What it waits for, where that is known."""
    goes_at: datetime | None = None
    """Its ``send_at``, or when its limit is expected to have room."""

    def __str__(self) -> str:
        return f"mail {self.mail}: queued{because(self.reason)}"


@frozen(kw_only=True)
class AttemptFinished(OfMail):
    """One try by one server is over, and its outcome is in the books: one for each line of the delivery log."""

    event: ClassVar[str] = "deliverykit.attempt.finished"
    level: ClassVar[int] = DEBUG

    server: str
    """The server's id."""
    esp: str
    """The registered name of its provider."""
    outcome: str
    """As in the delivery log: accepted, rejected, unfit, serverfault, throttled, notsent or unknown."""
    reason: str = ""
    provider_message_id: str = ""
    attempt: int
    """1 for the first; only attempts that were spent count."""
    recipients: int
    """How many it would go to: what it costs of a quota."""
    started_at: datetime | None = None
    """When the request left; ``None`` where none was made."""
    duration: float | None = None
    """Seconds from there to the end of the answer."""

    def __str__(self) -> str:
        return f"mail {self.mail}: {self.outcome} by {self.server}{because(self.reason)}"


@frozen(kw_only=True)
class MailAccepted(OfMail):
    """An ESP took a mail."""

    event: ClassVar[str] = "deliverykit.mail.accepted"
    level: ClassVar[int] = DEBUG

    server: str
    provider_message_id: str = ""

    def __str__(self) -> str:
        return f"mail {self.mail}: accepted by {self.server} as {self.provider_message_id or 'no id'}"


@frozen(kw_only=True)
class MailDead(OfMail):
    """A mail will not be sent. What the host cancels, prunes or erases is not told so."""

    event: ClassVar[str] = "deliverykit.mail.dead"
    level: ClassVar[int] = WARNING

    server: str = ""
    cause: str
    """The outcome it ended by (``rejected``, ``unfit``, ``notsent`` …), or ``expired``, ``late``, ``poison``, ``in_doubt``."""
    reason: str
    kept: bool = True
    """Whether it stays in the outbox, to be looked at and requeued; ``send`` has told its caller instead."""

    def __str__(self) -> str:
        return f"mail {self.mail}: dead{because(self.reason)}"


@frozen(kw_only=True)
class MailRefused(OfMail):
    """``send`` told its caller that a mail cannot go now; nothing of it is kept."""

    event: ClassVar[str] = "deliverykit.mail.refused"
    level: ClassVar[int] = INFO

    reason: str
    goes_at: datetime | None = None
    """When it could go."""

    def __str__(self) -> str:
        return f"mail {self.mail}: refused{because(self.reason)}"


@frozen(kw_only=True)
class MailInDoubt(OfMail):
    """A mail may or may not have gone; it is held until somebody says which."""

    event: ClassVar[str] = "deliverykit.mail.in_doubt"
    level: ClassVar[int] = WARNING

    server: str
    reason: str

    def __str__(self) -> str:
        return f"mail {self.mail}: in doubt at {self.server}{because(self.reason)}"


@frozen(kw_only=True)
class MailScheduled(OfMail):
    """A mail is tried again later."""

    event: ClassVar[str] = "deliverykit.mail.scheduled"
    level: ClassVar[int] = INFO

    goes_at: datetime | None
    reason: str
    doubtful: bool = False
    """Whether it may have gone already, and is sent again because it was told to."""

    def __str__(self) -> str:
        at = self.goes_at.isoformat(timespec="seconds") if self.goes_at else "later"
        return f"mail {self.mail}: tried again at {at}{because(self.reason)}"


@frozen(kw_only=True)
class MailReturned(OfMail):
    """A worker put a mail back: another server takes it, or the same one when it can."""

    event: ClassVar[str] = "deliverykit.mail.returned"
    level: ClassVar[int] = DEBUG

    server: str
    reason: str

    def __str__(self) -> str:
        return f"mail {self.mail}: back in the outbox{because(self.reason)}"


@frozen(kw_only=True)
class MailRecovered(OfMail):
    """A mail was taken back from a process that died or stood still.

    What became of it is a fact of its own, unless it just waits again.
    """

    event: ClassVar[str] = "deliverykit.mail.recovered"
    level: ClassVar[int] = WARNING

    server: str
    was: str
    """``leased``: surely nothing of it left; ``sending``: it may have been on the wire."""

    def __str__(self) -> str:
        return f"mail {self.mail}: taken back from a lost worker, while it was {self.was} by {self.server}"


@frozen(kw_only=True)
class LeaseLost(OfMail):
    """This process stood still for so long that others took its mail back; its attempt is logged and changes nothing more."""

    event: ClassVar[str] = "deliverykit.lease.lost"
    level: ClassVar[int] = WARNING

    server: str

    def __str__(self) -> str:
        return f"mail {self.mail}: its lease was lost before it was settled"
