"""What became true, one frozen class for each kind of fact: what hooks are given, and what the log tells.

No fact names a recipient or quotes a message; what an ESP said stands in one without the addresses in it.
"""

from deliverykit.words.facts.fact import Fact
from deliverykit.words.facts.host import (
    AccountPaused,
    AccountResumed,
    MailResolved,
    MailsCancelled,
    MailsRequeued,
    MailsResolved,
    PersonErased,
    ServerChanged,
)
from deliverykit.words.facts.mail import (
    AttemptFinished,
    LeaseLost,
    MailAccepted,
    MailDead,
    MailInDoubt,
    MailQueued,
    MailRecovered,
    MailRefused,
    MailReturned,
    MailScheduled,
)
from deliverykit.words.facts.servers import (
    CircuitClosed,
    CircuitOpened,
    LaneBlocked,
    RouteDegraded,
    RouteRestored,
    ServerPaused,
    ServerThrottled,
)
from deliverykit.words.facts.trouble import FeaturesDropped, PartFailed, StorageFailed

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
