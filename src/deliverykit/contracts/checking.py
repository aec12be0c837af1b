"""What every adapter's check says alike: an answer that tells nothing about the credentials."""

from collections.abc import Sequence

from deliverykit.contracts.answers import Answer, Row, judged
from deliverykit.contracts.outgoing import Outgoing
from deliverykit.words.addresses import Address
from deliverykit.words.checks import CheckReport
from deliverykit.words.message import Message
from deliverykit.words.outcomes import ServerFault, Throttled
from deliverykit.words.wire import HttpResponse

__all__ = ["asks_to_wait", "unclear", "would_not_send"]

_NOBODY = Address("nobody@deliverykit.invalid")
_NO_MESSAGE = Outgoing(id="check", message=Message(to=_NOBODY, subject="", text="-"), sender=_NOBODY)


def asks_to_wait(table: Sequence[Row], response: HttpResponse, text: str) -> bool:
    """Return whether an error means "not now" by the adapter's answer table: a rate or a used-up quota, not the key."""
    answer = Answer(status=response.status, text=text, response=response, mail=_NO_MESSAGE, now=0)
    return isinstance(judged(table, answer), Throttled)


def would_not_send(table: Sequence[Row], response: HttpResponse, text: str) -> bool:
    """Return whether an error is about the account and not about the key: suspended, paused, not paid."""
    answer = Answer(status=response.status, text=text, response=response, mail=_NO_MESSAGE, now=0)
    outcome = judged(table, answer)
    return isinstance(outcome, ServerFault) and not outcome.renewable


def unclear(label: str, response: HttpResponse, text: str = "", *, waits: bool = False) -> CheckReport:
    """UNKNOWN: the ESP named ``label`` asks to wait, fails, or something else answered in its place.

    ``text`` is the error in the ESP's own shape, where it is in that shape. A body of another shape is not quoted: the
    address may be that of an internal page. ``waits`` is what :func:`asks_to_wait` says.
    """
    said = f"{response.status}: {text}" if text else str(response.status)
    if response.status == 429 or waits:
        return CheckReport.unknown(f"{label} asks to wait ({said})", "check again in a minute")
    if response.status >= 500:
        return CheckReport.unknown(f"{label} failed to answer ({said})", "check again later")
    return CheckReport.unknown(
        f"this is not how {label} answers ({said})",
        "look whether its address (base_url) is right, and whether a proxy or a sign-in page stands between",
    )
