"""What the host did, and what events made true."""

from logging import INFO
from typing import ClassVar

from attrs import frozen

from deliverykit.words.facts.fact import Fact, OfMail, OfServer, because

__all__ = [
    "AccountPaused",
    "AccountResumed",
    "MailResolved",
    "MailsCancelled",
    "MailsPruned",
    "MailsRequeued",
    "MailsResolved",
    "PersonErased",
    "RecordChanged",
    "ServerChanged",
]


@frozen(kw_only=True)
class ServerChanged(OfServer):
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
        return f"server {self.server_name!r}: {self.act}{what} by the host{because(self.reason)}"


@frozen(kw_only=True)
class RecordChanged(Fact):
    """A route, budget or account was added, changed or removed by this Mailer's host."""

    event: ClassVar[str] = "deliverykit.record.changed"
    level: ClassVar[int] = INFO

    kind: str
    """``route``, ``budget``, ``account`` or ``hold``."""
    name: str
    """The route's or budget's name, the account's id; of a hold, the route of its lane."""
    act: str
    """``added``, ``updated`` or ``removed``."""
    changed: tuple[str, ...] = ()
    """By an update: the names of the values that are others now."""

    def __str__(self) -> str:
        what = f" ({', '.join(self.changed)})" if self.changed else ""
        return f"{self.kind} {self.name!r}: {self.act}{what} by the host"


@frozen(kw_only=True)
class AccountPaused(Fact):
    """The host paused a whole account: nothing of it is admitted."""

    event: ClassVar[str] = "deliverykit.account.paused"
    level: ClassVar[int] = INFO

    reason: str

    def __str__(self) -> str:
        return f"account {self.account!r}: paused as a whole{because(self.reason)}"


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
class MailResolved(OfMail):
    """An event of an ESP proved that it had a mail: if that was in doubt, or about to be sent again, it is done with."""

    event: ClassVar[str] = "deliverykit.mail.resolved"
    level: ClassVar[int] = INFO

    server: str
    heard: str
    """What the ESP told: ``delivered``, ``bounced``, …"""

    def __str__(self) -> str:
        return f"mail {self.mail}: {self.server or 'its ESP'} had it, for it told that it was {self.heard}"


@frozen(kw_only=True)
class MailsPruned(Fact):
    """The host dropped old dead mail and old lines of the delivery log. One fact for each call that dropped anything."""

    event: ClassVar[str] = "deliverykit.mails.pruned"
    level: ClassVar[int] = INFO

    count: int
    """How many dead mails are gone."""
    lines: int
    """How many lines of the delivery log are gone."""

    def __str__(self) -> str:
        return f"{self.count} dead mails and {self.lines} lines of the delivery log were dropped"


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
