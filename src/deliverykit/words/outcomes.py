"""What one attempt came to: a closed set, one class per thing the engine does next.

An adapter returns exactly one of these; whatever it cannot place is ``Unknown`` (the mail may
have gone) or ``NotSent`` (it surely has not), never an exception.
"""

from enum import StrEnum

from attrs import field, frozen

__all__ = [
    "Accepted",
    "InDoubt",
    "NotSent",
    "Outcome",
    "Rejected",
    "Scope",
    "ServerFault",
    "Throttled",
    "Unfit",
    "Unknown",
]


class Scope(StrEnum):
    """How much an ESP's "not now" closes."""

    SERVER = "server"
    ACCOUNT = "account"
    DOMAIN = "domain"


class InDoubt(StrEnum):
    """What becomes of mail whose fate is unknown."""

    HOLD = "hold"
    """It is kept and not sent again, until somebody says what it was."""
    RESEND = "resend"
    """It is sent again after a rest, twice at most: it comes at least once, and may come twice."""


@frozen
class Accepted:
    """The ESP took the mail. ``provider_message_id`` is its id, ``""`` where it names none."""

    provider_message_id: str


@frozen
class Rejected:
    """The ESP refuses this message for good: bad address, bad content, too large."""

    reason: str


@frozen
class Unfit:
    """This server cannot carry this message, another may: the message's From is not verified here."""

    reason: str


@frozen
class ServerFault:
    """The server cannot send at all until somebody mends it: bad key, account suspended."""

    reason: str


@frozen
class Throttled:
    """Not now. The scope is closed until ``until`` (UTC ms; ``None`` where the ESP names no time)."""

    reason: str
    until: int | None = None
    scope: Scope = Scope.SERVER
    too_fast: bool = False
    """Whether the ESP was asked too fast, so the server's pace is halved as well; a quota that is spent is not that."""


@frozen
class NotSent:
    """Surely not sent, and worth another try, ``retry_after`` seconds from now at the earliest."""

    reason: str
    retry_after: float = field(default=0.0)


@frozen
class Unknown:
    """The mail may or may not have gone; nobody may send it again without being told to."""

    reason: str


Outcome = Accepted | Rejected | Unfit | ServerFault | Throttled | NotSent | Unknown
