"""From an ESP's status and text to an outcome: a table in code, read from the top."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Final

from attrs import field, frozen

from deliverykit.contracts.echoes import Echoes
from deliverykit.contracts.naming import plain_words
from deliverykit.contracts.outgoing import Outgoing
from deliverykit.words.clock import instant
from deliverykit.words.outcomes import About, NotSent, Outcome, Rejected, Scope, ServerFault, Throttled, Unfit, Unknown
from deliverykit.words.wire import HttpResponse

__all__ = [
    "Answer",
    "Judge",
    "Row",
    "by_subject",
    "denied",
    "fault",
    "foreign",
    "judged",
    "key_refused",
    "not_sent",
    "on_our_clock",
    "rejected",
    "retry_at",
    "row_for",
    "throttled",
    "unfit",
    "unknown",
    "within_a_day",
]


@frozen(kw_only=True)
class Answer:
    """An error answer, and what is needed to judge it."""

    status: int
    text: str
    response: HttpResponse
    mail: Outgoing
    now: int
    origin: str = ""
    """For people: who else answered, where it was not the ESP."""

    @property
    def reason(self) -> str:
        """``status: the ESP's words``, for people."""
        # A foreign body is in no reason: a base_url may lead to an internal page, whose words are not for whoever set it.
        return f"{self.status}: {self.text}" if self.text and not self.origin else f"{self.status}{self.origin}"

    @cached_property
    def words(self) -> str:
        """The beginning of the text as the rows search it: plain quotes and spaces; see :func:`~.naming.plain_words`."""
        return plain_words(self.text)

    @cached_property
    def said(self) -> str:
        """The same without what the ESP repeats of the message: a subject or a file name must not pause a server."""
        return Echoes(self.mail.message, self.mail.sender).removed(self.words)

    def on_our_clock(self, at: int) -> int:
        """An instant that the ESP names, on our clock; see :func:`on_our_clock`."""
        return on_our_clock(self.response, self.now, at)


Judge = Callable[[Answer, About], Outcome]
"""Turns an answer and what its text is about into the outcome."""


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.DOTALL)


@frozen
class Row:
    """One line of a table: status, a pattern searched in the text, what such a text is about, and the outcome.

    ``about`` is a function where it depends on what the text names. A row whose pattern is empty matches a text that
    no other row knows; it must be about ``About.UNKNOWN`` unless the status alone leaves no doubt, as 413 and 429 do.
    A row with ``foreign=True`` also judges answers that are not in the ESP's own shape.
    """

    status: int | range | tuple[int, ...] = field()
    text: re.Pattern[str] = field(converter=_pattern)
    about: About | Callable[[Answer], About]
    judge: Judge
    foreign: bool = field(default=False, kw_only=True)

    def lists(self, status: int) -> bool:
        """Return whether this row is for a status."""
        return status == self.status if isinstance(self.status, int) else status in self.status

    def matches(self, answer: Answer) -> bool:
        """Return whether this row is for an answer."""
        return self.lists(answer.status) and self.text.search(answer.said) is not None

    def subject(self, answer: Answer) -> About:
        """Return what the text of an answer is about."""
        return self.about if isinstance(self.about, About) else self.about(answer)

    def outcome(self, answer: Answer) -> Outcome:
        """Return the outcome of an answer that matches."""
        return self.judge(answer, self.subject(answer))


def row_for(table: Sequence[Row], answer: Answer) -> Row | None:
    """Return the first row that matches an answer, or ``None``."""
    return next((row for row in table if row.matches(answer)), None)


def judged(table: Sequence[Row], answer: Answer) -> Outcome:
    """Judge an error in the ESP's own shape: by the first row that matches, else by HTTP alone.

    Every 429 is ``Throttled`` and every 413 is about the message, whatever the text. 503 is a refusal to process, and
    408 and 425 say that the request was not read. Any other 4xx text that no row knows is ``Rejected`` about
    ``UNKNOWN``: it may be about the account or about this message, and the engine finds out which. A 3xx is worth
    another try. 500, 502, 504 and everything stranger may hide an accepted message.
    """
    row = row_for(table, answer)
    if row is not None:
        return row.outcome(answer)
    if answer.status in _GENERIC:
        return _GENERIC[answer.status](answer, About.UNKNOWN)
    if 400 <= answer.status < 500:
        return Rejected(answer.reason, About.UNKNOWN)
    return not_sent(answer, About.UNKNOWN) if 300 <= answer.status < 400 else Unknown(answer.reason)


def foreign(table: Sequence[Row], answer: Answer) -> Outcome:
    """Judge an error that is not in the ESP's shape: the page of a proxy or of a server in front of the ESP.

    Only rows with ``foreign=True`` are asked. Then 429, 413 and 503 mean what HTTP says, any other 3xx or 4xx is
    ``NotSent``, since the ESP did not judge the message, and the rest may hide an accepted one.
    """
    row = row_for([row for row in table if row.foreign], answer)
    if row is not None:
        return row.outcome(answer)
    if answer.status in _GENERIC:
        return _GENERIC[answer.status](answer, About.UNKNOWN)
    return not_sent(answer, About.UNKNOWN) if 300 <= answer.status < 500 else Unknown(answer.reason)


def rejected(answer: Answer, about: About) -> Outcome:
    """Refuse this message."""
    return Rejected(answer.reason, about)


def unfit(answer: Answer, about: About) -> Outcome:
    """Refuse this message on this server; another ESP may carry it."""
    return Unfit(answer.reason, about)


def fault(answer: Answer, about: About) -> Outcome:
    """Stop the whole server until a person has fixed it."""
    return ServerFault(answer.reason)


def key_refused(answer: Answer, about: About) -> Outcome:
    """Stop the whole server, unless fresh credentials help: the ESP does not accept the ones it was given."""
    return ServerFault(answer.reason, renewable=True)


def unknown(answer: Answer, about: About) -> Outcome:
    """Leave open whether the message went."""
    return Unknown(answer.reason)


def not_sent(answer: Answer, about: About) -> Outcome:
    """Surely not sent; to be tried again when the answer's Retry-After says, if it has one."""
    at = retry_at(answer.response, answer.now)
    return NotSent(answer.reason, max(0.0, (at - answer.now) / 1000) if at is not None else 0.0)


def by_subject(answer: Answer, about: About) -> Outcome:
    """Judge a refusal by what it is about.

    The account, or the sender where the server forces it on every message: the server's fault. Another sender, a
    recipient, or a name that is none of these: another server may carry this message. The message: rejected.
    """
    if about is About.ACCOUNT or (about is About.SENDER and answer.mail.forced):
        return ServerFault(answer.reason)
    return Rejected(answer.reason, about) if about is About.MESSAGE else Unfit(answer.reason, about)


def denied(answer: Answer, about: About) -> Outcome:
    """Judge a refusal that no other row knows, by what it names: nothing it names is ``Rejected`` about ``UNKNOWN``."""
    return Rejected(answer.reason, about) if about is About.UNKNOWN else by_subject(answer, about)


_SOON: Final = 60_000
_SOONEST: Final = 1_000
_LATEST: Final = 86_400_000
_DATE_LENGTH: Final = 100
_SECONDS = re.compile(r"[0-9]{1,100}(\.[0-9]{1,100})?")


def throttled(
    scope: Scope = Scope.SERVER,
    *,
    after: float | None = None,
    until: Callable[[Answer], int | None] | None = None,
    too_fast: bool = False,
) -> Judge:
    """Not now. Until what ``until`` reads from the answer, else its Retry-After, else for ``after`` seconds, else unknown.

    ``too_fast``: the answer speaks of a rate, unless it names an instant more than a minute away. A rate frees
    itself sooner; what does not is a quota, whatever the words.
    """

    def judge(answer: Answer, about: About) -> Outcome:
        at = until(answer) if until else None
        if at is None:
            at = retry_at(answer.response, answer.now)
        if at is None and after is not None:
            at = answer.now + round(after * 1000)
        return Throttled(answer.reason, at, scope, too_fast and (at is None or at - answer.now <= _SOON))

    return judge


_GENERIC: dict[int, Judge] = {
    408: not_sent,
    413: lambda answer, _: Rejected(answer.reason, About.MESSAGE),
    425: not_sent,
    # The address or the account was too fast for whoever answered; Retry-After says for how long.
    429: throttled(Scope.ACCOUNT, too_fast=True),
    503: not_sent,
}


def retry_at(response: HttpResponse, now: int) -> int | None:
    """Return the instant of a Retry-After header (RFC 9110: seconds or an HTTP date), 1 s to 24 h from now; or ``None``."""
    value = response.header("retry-after")
    if _SECONDS.fullmatch(value):
        return within_a_day(now + float(value) * 1000, now)
    at = http_date(value)
    return None if at is None else on_our_clock(response, now, at)


def on_our_clock(response: HttpResponse, now: int, at: int) -> int:
    """Return an instant of the ESP's clock on ours: as far from ``now`` as it is from the answer's own ``Date``.

    Clocks differ, and a server must not stay closed for as long as ours is behind. Without a ``Date`` it is as it is. The
    result is 1 s to 24 h from now.
    """
    theirs = http_date(response.header("date"))
    return within_a_day(at if theirs is None else now + at - theirs, now)


def within_a_day(at: float, now: int) -> int:
    """Return an instant that was named outside, moved into the time from 1 second to 24 hours after ``now``."""
    return now + round(min(max(at - now, _SOONEST), _LATEST)) if at == at else now + _SOONEST  # noqa: PLR0124  not a number


def http_date(value: str) -> int | None:
    """Return the instant of an RFC 1123 date, or ``None``."""
    if len(value) > _DATE_LENGTH:
        return None
    try:
        parsed = parsedate_to_datetime(value)
        return instant(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
