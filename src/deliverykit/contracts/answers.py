"""From an ESP's status and text to an outcome: a table in code, read from the top."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

from attrs import field, frozen

from deliverykit.contracts.outgoing import Outgoing
from deliverykit.words.clock import instant
from deliverykit.words.outcomes import NotSent, Outcome, Rejected, Scope, ServerFault, Throttled, Unfit, Unknown
from deliverykit.words.wire import HttpResponse

__all__ = [
    "Answer",
    "Row",
    "fault",
    "judged",
    "not_sent",
    "on_our_clock",
    "rejected",
    "retry_at",
    "sender_refused",
    "throttled",
    "unfit",
    "unknown",
]


@frozen(kw_only=True)
class Answer:
    """An error answer, and what is needed to judge it."""

    status: int
    text: str
    response: HttpResponse
    mail: Outgoing
    now: int

    @property
    def reason(self) -> str:
        """``status: the ESP's words``, for people."""
        return f"{self.status}: {self.text}" if self.text else str(self.status)

    def on_our_clock(self, at: int) -> int:
        """An instant that the ESP names, on our clock; see :func:`on_our_clock`."""
        return on_our_clock(self.response, self.now, at)


Judge = Callable[[Answer], Outcome]


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.DOTALL)


@frozen
class Row:
    """One line of the table: a status (or several), a pattern searched in the text, an outcome."""

    status: int | range | tuple[int, ...] = field()
    text: re.Pattern[str] = field(converter=_pattern)
    judge: Judge

    def lists(self, status: int) -> bool:
        """Whether this row speaks of a status."""
        return status == self.status if isinstance(self.status, int) else status in self.status

    def matches(self, answer: Answer) -> bool:
        """Whether this row speaks of the answer."""
        return self.lists(answer.status) and self.text.search(answer.text) is not None


def judged(table: Sequence[Row], answer: Answer) -> Outcome:
    """The first row that matches; else what HTTP itself says.

    503 is a refusal to process. An unlisted text of a status the table knows is the message's fault;
    an unlisted 3xx or 4xx, not ours to judge, is worth another try. 500, 502, 504 and everything
    stranger may hide an accepted mail.
    """
    for row in table:
        if row.matches(answer):
            return row.judge(answer)
    if answer.status == 503:
        return not_sent()(answer)
    if 300 <= answer.status < 500:
        known = any(row.lists(answer.status) for row in table)
        return Rejected(answer.reason) if known else NotSent(answer.reason)
    return Unknown(answer.reason)


def rejected(answer: Answer) -> Outcome:
    """This message, for good."""
    return Rejected(answer.reason)


def unfit(answer: Answer) -> Outcome:
    """This message, on this server."""
    return Unfit(answer.reason)


def fault(answer: Answer) -> Outcome:
    """The whole server, until somebody mends it."""
    return ServerFault(answer.reason)


def unknown(answer: Answer) -> Outcome:
    """It may have gone."""
    return Unknown(answer.reason)


def sender_refused(answer: Answer) -> Outcome:
    """The From is not verified: the server's fault where it forces that From, else only this message's."""
    return ServerFault(answer.reason) if answer.mail.forced else Unfit(answer.reason)


def not_sent() -> Judge:
    """Surely not sent; as long as the answer's Retry-After says."""

    def judge(answer: Answer) -> Outcome:
        at = retry_at(answer.response, answer.now)
        return NotSent(answer.reason, max(0.0, (at - answer.now) / 1000) if at is not None else 0.0)

    return judge


_SOON = 60_000


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

    def judge(answer: Answer) -> Outcome:
        at = until(answer) if until else None
        if at is None:
            at = retry_at(answer.response, answer.now)
        if at is None and after is not None:
            at = answer.now + round(after * 1000)
        return Throttled(answer.reason, at, scope, too_fast and (at is None or at - answer.now <= _SOON))

    return judge


def retry_at(response: HttpResponse, now: int) -> int | None:
    """The instant of a Retry-After header (RFC 9110: seconds or an HTTP date), or ``None``."""
    value = response.header("retry-after").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        return now + round(float(value) * 1000)
    at = http_date(value)
    return None if at is None else on_our_clock(response, now, at)


def on_our_clock(response: HttpResponse, now: int, at: int) -> int:
    """An instant of the ESP's clock on ours: as far from ``now`` as it is from the answer's own ``Date``.

    Clocks differ, and a server must not stay closed for as long as ours is behind. Without a ``Date`` it is as it is.
    """
    theirs = http_date(response.header("date"))
    return at if theirs is None else now + at - theirs


def http_date(value: str) -> int | None:
    """The instant of an RFC 1123 date, or ``None``."""
    try:
        parsed = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return instant(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
