"""What became true, one frozen class for each kind of fact: what hooks are given, and what the log tells.

No fact names a recipient or quotes a message; what an ESP said stands in one without the addresses in it.
"""

from datetime import datetime
from logging import DEBUG, ERROR, INFO, WARNING
from typing import ClassVar

from attrs import fields, frozen

__all__ = [
    "FACTS",
    "AccountPaused",
    "AccountResumed",
    "AttemptFinished",
    "CircuitClosed",
    "CircuitOpened",
    "Fact",
    "FeaturesDropped",
    "LaneBlocked",
    "LeaseLost",
    "MailAccepted",
    "MailDead",
    "MailInDoubt",
    "MailQueued",
    "MailRecovered",
    "MailRefused",
    "MailResolved",
    "MailReturned",
    "MailScheduled",
    "MailsCancelled",
    "MailsRequeued",
    "MailsResolved",
    "PartFailed",
    "PersonErased",
    "RouteDegraded",
    "RouteRestored",
    "ServerChanged",
    "ServerPaused",
    "ServerThrottled",
    "StorageFailed",
]

Plain = str | int | float | bool | list[str] | None


@frozen(kw_only=True)
class Fact:
    """Something that became true. ``event`` is its name for ever, ``level`` the log's; ``str()`` says it in words."""

    event: ClassVar[str]
    level: ClassVar[int]

    account: str = ""
    """The account's id; ``""`` where it is about no account."""

    def fields(self) -> dict[str, Plain]:
        """All it says, flat and fit for JSON, ``event`` first: instants as ISO 8601, lists as lists."""
        return {"event": self.event, **{name: _plain(getattr(self, name)) for name in _names(type(self))}}


_NAMES: dict[type, tuple[str, ...]] = {}


def _names(kind: type) -> tuple[str, ...]:
    if kind not in _NAMES:
        _NAMES[kind] = tuple(one.name for one in fields(kind))
    return _NAMES[kind]


def _plain(value: object) -> Plain:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _until(at: datetime | None) -> str:
    return f" until {at.isoformat(timespec='seconds')}" if at else ""


@frozen(kw_only=True)
class _OfMail(Fact):
    """A fact of one mail."""

    mail: str
    """Our id of the mail."""
    route: str = ""
    """``""`` for test emails, and for ``send(server=…)``."""
    stream: str = ""


# -- mail ---------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class MailQueued(_OfMail):
    """A mail is written down in the outbox: by ``enqueue``, or by ``send`` because it cannot go now."""

    event: ClassVar[str] = "deliverykit.mail.queued"
    level: ClassVar[int] = DEBUG

    reason: str = ""
    """What it waits for, where that is known."""
    goes_at: datetime | None = None
    """Its ``send_at``, or when its limit is expected to have room."""

    def __str__(self) -> str:
        return f"mail {self.mail}: queued{_because(self.reason)}"


@frozen(kw_only=True)
class AttemptFinished(_OfMail):
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
        return f"mail {self.mail}: {self.outcome} by {self.server}{_because(self.reason)}"


@frozen(kw_only=True)
class MailAccepted(_OfMail):
    """An ESP took a mail."""

    event: ClassVar[str] = "deliverykit.mail.accepted"
    level: ClassVar[int] = DEBUG

    server: str
    provider_message_id: str = ""

    def __str__(self) -> str:
        return f"mail {self.mail}: accepted by {self.server} as {self.provider_message_id or 'no id'}"


@frozen(kw_only=True)
class MailDead(_OfMail):
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
        return f"mail {self.mail}: dead{_because(self.reason)}"


@frozen(kw_only=True)
class MailRefused(_OfMail):
    """``send`` told its caller that a mail cannot go now; nothing of it is kept."""

    event: ClassVar[str] = "deliverykit.mail.refused"
    level: ClassVar[int] = INFO

    reason: str
    goes_at: datetime | None = None
    """When it could go."""

    def __str__(self) -> str:
        return f"mail {self.mail}: refused{_because(self.reason)}"


@frozen(kw_only=True)
class MailInDoubt(_OfMail):
    """A mail may or may not have gone; it is held until somebody says which."""

    event: ClassVar[str] = "deliverykit.mail.in_doubt"
    level: ClassVar[int] = WARNING

    server: str
    reason: str

    def __str__(self) -> str:
        return f"mail {self.mail}: in doubt at {self.server}{_because(self.reason)}"


@frozen(kw_only=True)
class MailScheduled(_OfMail):
    """A mail is tried again later."""

    event: ClassVar[str] = "deliverykit.mail.scheduled"
    level: ClassVar[int] = INFO

    goes_at: datetime | None
    reason: str
    doubtful: bool = False
    """Whether it may have gone already, and is sent again because it was told to."""

    def __str__(self) -> str:
        at = self.goes_at.isoformat(timespec="seconds") if self.goes_at else "later"
        return f"mail {self.mail}: tried again at {at}{_because(self.reason)}"


@frozen(kw_only=True)
class MailReturned(_OfMail):
    """A worker put a mail back: another server takes it, or the same one when it can."""

    event: ClassVar[str] = "deliverykit.mail.returned"
    level: ClassVar[int] = DEBUG

    server: str
    reason: str

    def __str__(self) -> str:
        return f"mail {self.mail}: back in the outbox{_because(self.reason)}"


@frozen(kw_only=True)
class MailRecovered(_OfMail):
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
class LeaseLost(_OfMail):
    """This process stood still for so long that others took its mail back; its attempt is logged and changes nothing more."""

    event: ClassVar[str] = "deliverykit.lease.lost"
    level: ClassVar[int] = WARNING

    server: str

    def __str__(self) -> str:
        return f"mail {self.mail}: its lease was lost before it was settled"


# -- lanes, servers, routes -----------------------------------------------------------------------------


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
        return f"route {self.route!r}{stream}: mail waits{_until(self.until)}{_because(self.by)}"


@frozen(kw_only=True)
class _OfServer(Fact):
    """A fact of one server."""

    server: str
    """The server's id."""
    server_name: str


@frozen(kw_only=True)
class ServerPaused(_OfServer):
    """The engine PAUSED a server: its ESP refuses it, or it rejects everything with the same words.

    Mail that was told to be dead by those words is back in the outbox.
    """

    event: ClassVar[str] = "deliverykit.server.paused"
    level: ClassVar[int] = WARNING

    reason: str

    def __str__(self) -> str:
        return f"server {self.server_name!r}: PAUSED by the engine: {self.reason}"


@frozen(kw_only=True)
class ServerThrottled(_OfServer):
    """An ESP takes nothing more for a time. Told when the door closes, not again while it is closed."""

    event: ClassVar[str] = "deliverykit.server.throttled"
    level: ClassVar[int] = INFO

    scope: str
    """``server``, ``account`` (all servers of the same account at the ESP) or ``domain``."""
    until: datetime | None
    reason: str

    def __str__(self) -> str:
        return f"server {self.server_name!r}: throttled{_until(self.until)}: {self.reason}"


@frozen(kw_only=True)
class CircuitOpened(_OfServer):
    """A server failed so often in a row that it is left out, but for one email at a time."""

    event: ClassVar[str] = "deliverykit.circuit.opened"
    level: ClassVar[int] = WARNING

    faults: int
    reason: str
    probe_at: datetime | None
    """When an email tries it."""

    def __str__(self) -> str:
        at = self.probe_at.isoformat(timespec="seconds") if self.probe_at else "no time"
        words = f"server {self.server_name!r}: its circuit is open, after {self.faults} faults in a row ({self.reason});"
        return f"{words} one email tries it at {at}"


@frozen(kw_only=True)
class CircuitClosed(_OfServer):
    """A server accepts mail again."""

    event: ClassVar[str] = "deliverykit.circuit.closed"
    level: ClassVar[int] = WARNING

    def __str__(self) -> str:
        return f"server {self.server_name!r}: its circuit is closed, it accepts mail again"


@frozen(kw_only=True)
class _OfRoute(Fact):
    """A fact of one route and one of its servers."""

    route: str
    server: str
    """The id of the server that left its order, or is back in it."""
    server_name: str

    def _title(self) -> str:
        return f"route {self.route!r}" + ("" if self.account in ("", "default") else f" of account {self.account!r}")


@frozen(kw_only=True)
class RouteDegraded(_OfRoute):
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
class RouteRestored(_OfRoute):
    """A route has a server again that it had lost."""

    event: ClassVar[str] = "deliverykit.route.restored"
    level: ClassVar[int] = WARNING

    def __str__(self) -> str:
        return f"{self._title()} has {self.server_name!r} again"


# -- what the host did ------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ServerChanged(_OfServer):
    """A server was added, changed, paused, activated or removed by this Mailer's host."""

    event: ClassVar[str] = "deliverykit.server.changed"
    level: ClassVar[int] = INFO

    act: str
    """``added``, ``updated``, ``paused``, ``activated`` or ``removed``."""
    changed: tuple[str, ...] = ()
    """By an update: the names of the values that are others now, ``status`` among them where it was paused with it."""
    reason: str = ""

    def __str__(self) -> str:
        what = f" ({', '.join(self.changed)})" if self.changed else ""
        return f"server {self.server_name!r}: {self.act}{what} by the host{_because(self.reason)}"


@frozen(kw_only=True)
class AccountPaused(Fact):
    """The host paused a whole account: nothing of it is admitted."""

    event: ClassVar[str] = "deliverykit.account.paused"
    level: ClassVar[int] = INFO

    reason: str

    def __str__(self) -> str:
        return f"account {self.account!r}: paused as a whole{_because(self.reason)}"


@frozen(kw_only=True)
class AccountResumed(Fact):
    """The host lets a paused account send again."""

    event: ClassVar[str] = "deliverykit.account.resumed"
    level: ClassVar[int] = INFO

    def __str__(self) -> str:
        return f"account {self.account!r}: it may send again"


@frozen(kw_only=True)
class MailsCancelled(Fact):
    """The host cancelled mail that waited. One fact for each call; the delivery log tells it of each mail."""

    event: ClassVar[str] = "deliverykit.mails.cancelled"
    level: ClassVar[int] = INFO

    count: int

    def __str__(self) -> str:
        return f"{self.count} mails were cancelled"


@frozen(kw_only=True)
class MailsRequeued(Fact):
    """The host put dead mail back into the queue. One fact for each call; the delivery log tells it of each mail."""

    event: ClassVar[str] = "deliverykit.mails.requeued"
    level: ClassVar[int] = INFO

    count: int

    def __str__(self) -> str:
        return f"{self.count} dead mails are back in the queue"


@frozen(kw_only=True)
class MailsResolved(Fact):
    """The host said what mail in doubt was. One fact for each call; the delivery log tells it of each mail."""

    event: ClassVar[str] = "deliverykit.mails.resolved"
    level: ClassVar[int] = INFO

    count: int
    word: str
    """``as_sent`` or ``resend``."""

    def __str__(self) -> str:
        return f"{self.count} mails in doubt were resolved: {'as sent' if self.word == 'as_sent' else 'to be sent again'}"


@frozen(kw_only=True)
class MailResolved(_OfMail):
    """An event of an ESP proved that it had a mail: if that was in doubt, or about to be sent again, it is done with."""

    event: ClassVar[str] = "deliverykit.mail.resolved"
    level: ClassVar[int] = INFO

    server: str
    heard: str
    """What the ESP told: ``delivered``, ``bounced``, …"""

    def __str__(self) -> str:
        return f"mail {self.mail}: {self.server or 'its ESP'} had it, for it told that it was {self.heard}"


@frozen(kw_only=True)
class PersonErased(Fact):
    """The host removed a person from mail and log; whom, nothing says."""

    event: ClassVar[str] = "deliverykit.person.erased"
    level: ClassVar[int] = INFO

    removed: int
    """How many mails went to this person alone, and are gone."""
    changed: int
    """How many go to the others only, from now on."""
    lines: int
    """How many lines of the delivery log were blanked."""

    def __str__(self) -> str:
        return (
            f"a person was erased: {self.removed} mails removed, {self.changed} changed, {self.lines} lines of the log blanked"
        )


# -- what goes wrong here -------------------------------------------------------------------------------


@frozen(kw_only=True)
class StorageFailed(Fact):
    """A worker cannot read or write the outbox; it tries again, and nothing is lost."""

    event: ClassVar[str] = "deliverykit.storage.failed"
    level: ClassVar[int] = ERROR

    doing: str
    reason: str

    def __str__(self) -> str:
        return f"{self.doing}: {self.reason}"


@frozen(kw_only=True)
class PartFailed(Fact):
    """Code that was plugged in, or ours, raised what it should not. The mail it was about is safe."""

    event: ClassVar[str] = "deliverykit.part.failed"
    level: ClassVar[int] = ERROR

    doing: str
    """Which part, and what it could not do."""
    error: str
    """The types of the exception and of what caused it. Its words may hold a secret or an address, so they are left out."""
    trace: str = ""
    """Where it was raised: files, lines and functions."""
    mail: str = ""

    def __str__(self) -> str:
        trace = f"\n{self.trace.rstrip()}" if self.trace else ""
        return f"{self.doing}: {self.error}{trace}"


@frozen(kw_only=True)
class FeaturesDropped(Fact):
    """A mail leaves without what its ESP cannot carry, as ``on_unsupported="warn"`` asks to be told."""

    event: ClassVar[str] = "deliverykit.features.dropped"
    level: ClassVar[int] = WARNING

    esp: str
    features: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.esp} cannot carry {', '.join(self.features)}; left out"


FACTS: tuple[type[Fact], ...] = (
    MailQueued,
    AttemptFinished,
    MailAccepted,
    MailDead,
    MailRefused,
    MailInDoubt,
    MailScheduled,
    MailReturned,
    MailRecovered,
    LeaseLost,
    LaneBlocked,
    ServerPaused,
    ServerThrottled,
    CircuitOpened,
    CircuitClosed,
    RouteDegraded,
    RouteRestored,
    ServerChanged,
    AccountPaused,
    AccountResumed,
    MailsCancelled,
    MailsRequeued,
    MailsResolved,
    MailResolved,
    PersonErased,
    StorageFailed,
    PartFailed,
    FeaturesDropped,
)
"""Every kind there is."""
