"""deliverykit: send mail through many delivery servers, under quotas, from a durable queue."""

from deliverykit.async_mailer import AsyncMailer
from deliverykit.calls import BlockingCallWarning
from deliverykit.engine.rooms.health import HealthView
from deliverykit.engine.rooms.servers import QuotaView
from deliverykit.engine.rooms.views import Doubt, Eta, LaneView, LogEntry, Mail, Pruned, Trace
from deliverykit.engine.settling.verdicts import BackOff, TenacityBackOff
from deliverykit.engine.upkeep.doctor import Finding, Severity
from deliverykit.engine.upkeep.erasing import Erased
from deliverykit.furnishing import Options
from deliverykit.limits import CalendarQuota, Pause, Rate, RollingQuota
from deliverykit.mailer import Mailer
from deliverykit.records.account import Account
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import Budget, DeliveryServer, Status
from deliverykit.routers import By, LeastUsed, Priority, RoundRobin, Weighted
from deliverykit.words.addresses import Address
from deliverykit.words.checks import CheckProblem, CheckReport, CheckStatus
from deliverykit.words.credentials import Env, Named, Secret
from deliverykit.words.enclosures import Attachment, Unsubscribe
from deliverykit.words.errors import (
    AlreadyExists,
    ClockError,
    ConfigurationError,
    DeliveryError,
    EnqueueInterrupted,
    MessageError,
    NotFound,
    NotProven,
    SendFailed,
    StorageError,
    Unsupported,
)
from deliverykit.words.message import Message
from deliverykit.words.outcomes import InDoubt, Reconcile
from deliverykit.words.results import Attempt, ClockAccepted, DrainReport, Explanation, SendResult, SendStatus

__all__ = [
    "Account",
    "Address",
    "AlreadyExists",
    "AsyncMailer",
    "Attachment",
    "Attempt",
    "BackOff",
    "BlockingCallWarning",
    "Budget",
    "By",
    "CalendarQuota",
    "CheckProblem",
    "CheckReport",
    "CheckStatus",
    "ClockAccepted",
    "ClockError",
    "ConfigurationError",
    "DeliveryError",
    "DeliveryServer",
    "Doubt",
    "DrainReport",
    "EnqueueInterrupted",
    "Env",
    "Erased",
    "Eta",
    "Explanation",
    "Finding",
    "HealthView",
    "InDoubt",
    "LaneView",
    "LeastUsed",
    "LogEntry",
    "Mail",
    "Mailer",
    "Message",
    "MessageError",
    "Named",
    "NotFound",
    "NotProven",
    "Options",
    "Pause",
    "Priority",
    "Pruned",
    "QuotaView",
    "Rate",
    "Reconcile",
    "RollingQuota",
    "RoundRobin",
    "Route",
    "Secret",
    "SendFailed",
    "SendResult",
    "SendStatus",
    "Severity",
    "Status",
    "StorageError",
    "TenacityBackOff",
    "Trace",
    "Unsubscribe",
    "Unsupported",
    "Weighted",
    "WhenExhausted",
]

__version__ = "0.1.0"
