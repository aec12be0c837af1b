"""What one attempt came to: a closed set, one class per thing the engine does next.

An adapter returns exactly one of these; whatever it cannot place is ``Unknown`` (the mail may
have gone) or ``NotSent`` (it surely has not), never an exception.
"""

import re
from datetime import timedelta

from attrs import Attribute, field, frozen

from deliverykit.words.arguments import Choice, duration, near, shown
from deliverykit.words.errors import ConfigurationError

__all__ = [
    "About",
    "Accepted",
    "InDoubt",
    "NotSent",
    "OnDoubt",
    "Outcome",
    "Reconcile",
    "Rejected",
    "Scope",
    "ServerFault",
    "Throttled",
    "Unfit",
    "Unknown",
    "first_rest",
    "on_doubt",
]


class Scope(Choice):
    """How much an ESP's "not now" closes."""

    SERVER = "server"
    ACCOUNT = "account"
    DOMAIN = "domain"


class About(Choice):
    """What the text of an ESP's refusal is about, judged by what the text names, not by its status alone."""

    ACCOUNT = "account"
    """The account at the ESP: its key, its plan, its configuration."""
    SENDER = "sender"
    """The From address or domain of the message."""
    RECIPIENT = "recipient"
    """One recipient, or whom this account may send to."""
    MESSAGE = "message"
    """This message alone: its content, its size, a malformed address."""
    UNKNOWN = "unknown"
    """No specific row of the adapter's table knows the text."""


class InDoubt(Choice):
    """What becomes of mail whose fate is unknown."""

    HOLD = "hold"
    """It is kept and not sent again, until somebody says what it was."""
    RESEND = "resend"
    """It is sent again after a rest, twice at most: it comes at least once, and may come twice."""


def _length(_: object, __: "Attribute[timedelta]", value: object) -> None:
    duration(value, "within", least=timedelta(seconds=1), most=timedelta(days=366), unit="hours")


def _then(value: object) -> InDoubt:
    if not isinstance(value, str):
        raise ConfigurationError(f"then={shown(value)}: expected 'hold' or 'resend'; write one of them")
    return InDoubt(value)


@frozen
class Reconcile:
    """Mail whose fate is unknown waits so long for an event that carries our id; what then, if none comes.

    An event settles it as sent. Without one it is held, or sent again, first after ``within`` and then as
    :attr:`InDoubt.RESEND` is. ``str()`` of it is how it is stored.
    """

    then: InDoubt = field(default=InDoubt.HOLD, converter=_then)
    within: timedelta = field(default=timedelta(hours=1), validator=_length)

    def __str__(self) -> str:
        return f"reconcile:{self.then}:{self.within // timedelta(milliseconds=1)}"


OnDoubt = InDoubt | Reconcile
"""The word on what becomes of mail whose fate is unknown."""


def first_rest(word: OnDoubt, usual: int) -> int:
    """How long, in ms, mail of unknown fate rests before it is first sent again; 0: it is held. ``usual`` is RESEND's."""
    if isinstance(word, Reconcile):
        return word.within // timedelta(milliseconds=1) if word.then is InDoubt.RESEND else 0
    return usual if word is InDoubt.RESEND else 0


_DOUBTS = tuple(one.value for one in InDoubt)
_STORED = re.compile(r"reconcile:(hold|resend):([0-9]{4,13})")


def on_doubt(value: object) -> OnDoubt:
    """A word on doubt, as a host gives it or a store keeps it. Raises ``ConfigurationError``."""
    if isinstance(value, Reconcile):
        return value
    if isinstance(value, str) and value == "reconcile":
        return Reconcile()
    if isinstance(value, str) and (stored := _STORED.fullmatch(value)):
        return Reconcile(InDoubt(stored[1]), timedelta(milliseconds=int(stored[2])))
    if isinstance(value, str) and value in _DOUBTS:
        return InDoubt(value)
    hint = near(value, (*_DOUBTS, "reconcile"))
    hint = hint if hint.startswith("did") else "write one of them"
    raise ConfigurationError(f"in_doubt={shown(value)}: expected 'hold', 'resend', 'reconcile' or Reconcile(…); {hint}")


@frozen
class Accepted:
    """The ESP took the mail. ``provider_message_id`` is its id, ``""`` where it names none."""

    provider_message_id: str


@frozen
class Rejected:
    """The ESP refuses this message: bad address, bad content, too large, or a text that no row knows."""

    reason: str
    about: About = About.UNKNOWN


@frozen
class Unfit:
    """This server cannot carry this message, another may: the message's From is not verified here."""

    reason: str
    about: About = About.UNKNOWN


@frozen
class ServerFault:
    """The server cannot send at all until a person fixes it: bad key, account suspended."""

    reason: str
    renewable: bool = False
    """Whether the ESP refused the credentials themselves, so that fresh ones may help."""


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
