"""From an outcome to what becomes of the mail and of the server: one pure function."""

from enum import StrEnum
from typing import Protocol

from attrs import frozen
from tenacity import RetryCallState, Retrying, stop_after_attempt, wait_random_exponential
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from deliverykit.contracts.books import MailState, rest_of
from deliverykit.words.arguments import refused
from deliverykit.words.clock import NEVER
from deliverykit.words.outcomes import (
    About,
    Accepted,
    NotSent,
    Outcome,
    Rejected,
    Scope,
    ServerFault,
    Throttled,
    Unfit,
    Unknown,
)

__all__ = ["BackOff", "Next", "Situation", "Verdict", "judge", "unequipped"]

CLOCK = "clock:"
"""How an adapter begins the reason when the ESP refuses our clock: no fault of the server's."""


class Next(StrEnum):
    """What becomes of a mail after an attempt."""

    DONE = "done"
    AGAIN = "again"
    """Ready at once: by another server, or by this one when it can."""
    LATER = "later"
    """Scheduled for a retry."""
    BACK = "back"
    """Put back: refused in a way that may be the server's fault. The brake says for how long, or that it is final."""
    DEAD = "dead"
    IN_DOUBT = "in_doubt"


@frozen(kw_only=True)
class Verdict:
    """What an outcome leads to. ``refund`` tells that the mail surely did not go, so its units are given back."""

    next: Next
    outcome: Outcome
    reason: str = ""
    refund: bool = False
    spend: bool = False
    """Whether an attempt is spent."""
    delay: float = 0.0
    """Seconds, for LATER."""
    pass_over: bool | None = None
    """Pass this server over: ``True`` for good, ``False`` for this round, ``None`` not at all."""
    close: tuple[Scope, int | None] | None = None
    slow: bool = False
    """The server's pace is halved: the ESP said that it was asked too fast."""
    pause: str = ""
    """The server is to be PAUSED, with this reason."""
    about: About | None = None
    """Of a refusal: what its text is about. The brake rules on it where no other server takes the message."""
    domain: str = ""
    """Where the message leaves its lane for one of its From domain, which is stopped at this server: that domain."""
    fault: bool = False
    """Counts towards the server's circuit: it could not be reached, or did not answer as it should."""
    bad_clock: bool = False
    started: bool = True
    """Whether it was an attempt at all: mail that missed its instant was not, and the log does not tell of it."""
    left_at: int | None = None
    """When the request left; ``None`` where none was made."""
    took: float | None = None
    """Seconds from there to the end of the answer."""


class BackOff(Protocol):
    """When a mail that surely did not go is tried again."""

    def seconds(self, attempts: int) -> float | None:
        """How long after the ``attempts``-th attempt; ``None`` to give up."""
        ...


class TenacityBackOff:
    """tenacity's own strategies; it computes, it never wraps a send.

    By default full jitter between 0 and 2, 4, 8 … s, at most an hour, twenty attempts. Raises
    :class:`~deliverykit.ConfigurationError` for what is neither a strategy of tenacity nor a function.
    """

    def __init__(self, wait: wait_base | None = None, stop: stop_base | None = None) -> None:
        for name, given, example in (("wait", wait, "wait_fixed(60)"), ("stop", stop, "stop_after_attempt(5)")):
            if given is not None and not callable(given):  # tenacity takes any function of a RetryCallState
                refused(
                    name,
                    given,
                    f"expected a {name} strategy of tenacity or a function of its state",
                    f"write tenacity.{example}",
                )
        self._wait = wait_random_exponential(multiplier=2, min=1, max=3600) if wait is None else wait
        self._stop = stop_after_attempt(20) if stop is None else stop

    def seconds(self, attempts: int) -> float | None:
        """See :class:`BackOff`."""
        state = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})
        state.attempt_number = attempts
        return None if self._stop(state) else float(self._wait(state))


@frozen(kw_only=True)
class Situation:
    """What judging needs to know beside the outcome."""

    attempts: int
    """Attempts spent before this one."""
    others: bool
    """Whether the route may give this mail to another ACTIVE server now (failover, reject)."""
    alternatives: bool
    """Whether any other server of the route could ever carry it."""
    able: bool = False
    """Whether another ACTIVE server of the route may carry it, once its limits have room."""
    resend: int = 0
    """How many ms it first rests before it is sent again, where its fate is unknown; 0: it is held then."""
    resends: int = 0
    """How often it was sent again so."""
    life: int = NEVER
    """How many ms are left until it expires."""


def judge(outcome: Outcome, situation: Situation, back_off: BackOff) -> Verdict:
    """Exactly one verdict for every outcome. The ESP's word on our account never falls on the mail, nor the other way."""
    match outcome:
        case Accepted():
            return Verdict(next=Next.DONE, outcome=outcome)
        case Rejected(reason, about) | Unfit(reason, about):
            return _refused(outcome, reason, about, situation)
        case ServerFault(reason):
            return Verdict(next=Next.AGAIN, outcome=outcome, reason=reason, refund=True, pause=reason)
        case Throttled(reason, until, scope, too_fast):
            close = (scope, until)
            return Verdict(next=Next.AGAIN, outcome=outcome, reason=reason, refund=True, close=close, slow=too_fast)
        case NotSent(reason, retry_after):
            if reason.startswith(CLOCK):
                return Verdict(next=Next.AGAIN, outcome=outcome, reason=reason, refund=True, bad_clock=True)
            return _not_sent(outcome, reason, retry_after, situation, back_off)
        case Unknown(reason):
            state, rest = rest_of(situation.resend, situation.resends, situation.life)
            return Verdict(next=_DOUBTED[state], outcome=outcome, reason=reason, spend=True, delay=rest / 1000, fault=True)


def _refused(outcome: Rejected | Unfit, reason: str, about: About, situation: Situation) -> Verdict:
    """By what the text is about: the server at fault, the message alone, or one of the two."""
    if about is About.ACCOUNT:
        return Verdict(next=Next.AGAIN, outcome=outcome, reason=reason, refund=True, pause=reason)
    alone = about is About.MESSAGE
    others = isinstance(outcome, Unfit) and situation.alternatives if alone else situation.able
    if others:
        return Verdict(next=Next.AGAIN, outcome=outcome, reason=reason, refund=True, pass_over=True, about=about)
    return Verdict(next=Next.DEAD if alone else Next.BACK, outcome=outcome, reason=reason, refund=True, about=about)


_DOUBTED = {MailState.IN_DOUBT: Next.IN_DOUBT, MailState.SCHEDULED: Next.LATER, MailState.DEAD: Next.DEAD}


_EQUIP = 60.0


def unequipped(reason: str, situation: Situation) -> Verdict:
    """This process lacks what the server needs (a credential): no attempt is spent, another process may have it."""
    if situation.others:
        return Verdict(next=Next.AGAIN, outcome=NotSent(reason), reason=reason, refund=True, pass_over=False)
    return Verdict(next=Next.LATER, outcome=NotSent(reason), reason=reason, refund=True, delay=_EQUIP)


def _not_sent(outcome: Outcome, reason: str, retry_after: float, situation: Situation, back_off: BackOff) -> Verdict:
    wait = back_off.seconds(situation.attempts + 1)
    if wait is None:
        gave_up = f"gave up after {situation.attempts + 1} attempts: {reason}"
        return Verdict(next=Next.DEAD, outcome=outcome, reason=gave_up, refund=True, spend=True, fault=True)
    if situation.others:
        return Verdict(next=Next.AGAIN, outcome=outcome, reason=reason, refund=True, spend=True, pass_over=False, fault=True)
    delay = max(wait, retry_after)
    return Verdict(next=Next.LATER, outcome=outcome, reason=reason, refund=True, spend=True, delay=delay, fault=True)
