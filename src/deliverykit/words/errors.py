"""Every exception the library raises, split by what the caller does next.

::

    DeliveryError
    ├── MessageError            mend the message            (also a ValueError)
    │   └── Unsupported         …or send it by another ESP
    ├── ConfigurationError      mend the configuration      (also a ValueError)
    │   ├── AlreadyExists       …the id or name is taken by something else
    │   └── NotProven           …send a test email first
    ├── NotFound                mend the id or name         (also a LookupError)
    ├── SendFailed              raised by SendResult.raise_for_status() alone: look at its result
    ├── StorageError            look at the storage
    │   └── ClockError          …and at the clock
    ├── EnqueueInterrupted      go on after what is committed
    └── TransportError          never leaves the library: a transport raises it, the engine judges it
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deliverykit.words.results import SendResult

__all__ = [
    "AlreadyExists",
    "ClockError",
    "ConfigurationError",
    "DeliveryError",
    "EnqueueInterrupted",
    "MessageError",
    "NotFound",
    "NotProven",
    "SendFailed",
    "Stage",
    "StorageError",
    "TransportError",
    "Unsupported",
]


def _texts(given: object) -> tuple[str, ...]:
    """What an error lists. An error that cannot be made would hide the one that it reports."""
    return tuple(given) if isinstance(given, list | tuple) else (given,) if isinstance(given, str) else ()


class DeliveryError(Exception):
    """The root: catch it to catch everything deliverykit raises."""


class MessageError(DeliveryError, ValueError):
    """This message cannot be sent as it is; the text names the field, what is wrong and the mend."""


class Unsupported(MessageError):
    """No server of the route can ever carry this message.

    ``reasons`` maps each server's name to why it cannot.
    """

    def __init__(self, text: str, reasons: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.reasons: dict[str, str] = dict(reasons) if isinstance(reasons, dict) else {}


class ConfigurationError(DeliveryError, ValueError):
    """A server, route, account or the Mailer itself is configured in a way that cannot work."""


class AlreadyExists(ConfigurationError):
    """The id or name is in use with other values; ``fields`` names those that differ."""

    def __init__(self, text: str, fields: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.fields: tuple[str, ...] = _texts(fields)


class NotProven(ConfigurationError):
    """No test email was accepted: a server cannot be activated, or was not changed by ``update(test_to=…)``.

    ``result`` is what became of the test that was to prove it; ``None`` where none was sent.
    """

    def __init__(self, text: str, result: "SendResult | None" = None) -> None:
        super().__init__(text)
        self.result: SendResult | None = result


class SendFailed(DeliveryError):
    """Raised by ``SendResult.raise_for_status()``: rejected, in doubt, or queued where no server sends it; see ``result``."""

    def __init__(self, text: str, result: "SendResult | None" = None) -> None:
        super().__init__(text)
        self.result: SendResult | None = result


class NotFound(DeliveryError, LookupError):
    """There is no server, route, account or mail of this id or name."""


class StorageError(DeliveryError):
    """The storage failed; nothing was acknowledged, so nothing is lost."""


class ClockError(StorageError):
    """The clock lies more than an hour behind what the storage has already seen.

    Admission refuses rather than reopen a closed quota window.
    """


class EnqueueInterrupted(DeliveryError):
    """An ``enqueue(..., chunk=)`` stopped in the middle; ``__cause__`` says why.

    ``ids`` are the mails already committed, in order: go on with the message after them.
    """

    def __init__(self, text: str, ids: Sequence[str]) -> None:
        super().__init__(text)
        self.ids: tuple[str, ...] = _texts(ids)


class Stage(StrEnum):
    """How far an HTTP call came before it failed; it decides *surely not sent* from *unknown*."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    POOL = "pool"
    WRITE = "write"
    READ = "read"

    @property
    def surely_not_sent(self) -> bool:
        """Whether no byte of the request can have been processed."""
        return self in {Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.POOL}


class TransportError(DeliveryError):
    """One HTTP call failed at ``stage``. Raised by transports for the engine, never to the host."""

    def __init__(self, stage: Stage, reason: str) -> None:
        super().__init__(f"{stage.value}: {reason}")
        self.stage: Stage = stage
        self.reason: str = reason
