"""deliverykit: send mail through many delivery servers, under quotas, from a durable queue."""

from deliverykit.async_mailer import AsyncMailer
from deliverykit.limits import CalendarQuota, Pause, Rate, RollingQuota
from deliverykit.mailer import Mailer
from deliverykit.records.server import Budget, DeliveryServer, Status
from deliverykit.routers import Priority, RoundRobin, Weighted
from deliverykit.words.addresses import Address
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
    StorageError,
    Unsupported,
)
from deliverykit.words.message import Message
from deliverykit.words.results import Attempt, DrainReport, Explanation, SendResult, SendStatus

__all__ = [
    "Address",
    "AlreadyExists",
    "AsyncMailer",
    "Attachment",
    "Attempt",
    "Budget",
    "CalendarQuota",
    "ClockError",
    "ConfigurationError",
    "DeliveryError",
    "DeliveryServer",
    "DrainReport",
    "EnqueueInterrupted",
    "Env",
    "Explanation",
    "Mailer",
    "Message",
    "MessageError",
    "Named",
    "NotFound",
    "NotProven",
    "Pause",
    "Priority",
    "Rate",
    "RollingQuota",
    "RoundRobin",
    "Secret",
    "SendResult",
    "SendStatus",
    "Status",
    "StorageError",
    "Unsubscribe",
    "Unsupported",
    "Weighted",
]

__version__ = "0.1.0"
