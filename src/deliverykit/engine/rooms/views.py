"""How the outbox and the delivery log look to a host."""

from collections.abc import Mapping
from datetime import datetime

from attrs import frozen

from deliverykit.contracts.books import LaneRow, LogLine, MailRow, MailState
from deliverykit.words.clock import NEVER, moment

__all__ = ["Doubt", "Eta", "LaneView", "LogEntry", "Mail", "Pruned", "Trace", "doubt_of", "entry_of", "lane_of", "mail_of"]


@frozen(kw_only=True)
class Mail:
    """A mail of the outbox as it stands."""

    id: str
    route: str
    stream: str
    state: str
    """``ready`` (also what waits for quota), ``leased``, ``sending``, ``in_doubt``, ``scheduled`` or ``dead``."""
    server: str
    reason: str
    attempts: int
    goes_at: datetime | None
    """When it can go by itself; ``None`` now, or never without a change."""
    expires_at: datetime | None
    since: datetime | None
    """Since when it waits (handed in, or scheduled anew), is in doubt, or dead."""


@frozen(kw_only=True)
class LaneView:
    """Mail of one route and stream that the same servers may carry: how much, and what it waits for.

    As the last look of a worker left it: mail that no worker has looked at yet is not blocked.
    """

    route: str
    stream: str
    key: str
    """What decides who may carry it, beside its route; ``""`` for plain mail."""
    counts: Mapping[str, int]
    """How many are in each state; every state is named."""
    blocked: bool
    """Whether what is ready must wait."""
    blocked_by: str
    """The limit it waits for, or what else keeps it; ``""`` where it is not blocked."""
    blocked_since: datetime | None
    """Since when nothing of it could go."""
    goes_at: datetime | None
    """When the next of it can go by itself, or comes due; ``None`` now, or never without a change (then ``blocked``)."""

    @property
    def waiting(self) -> int:
        """How many wait: ready or scheduled."""
        return self.counts["ready"] + self.counts["scheduled"]


@frozen(kw_only=True)
class Eta:
    """By when what waits will have left, as far as quotas and paces tell."""

    waiting: int
    """How many wait: ready or scheduled."""
    at: datetime | None
    """When the last of them can leave; this instant where none waits. ``None`` where that is not known: see ``later_than``."""
    limited_by: str
    """What holds them up for the most time: a limit, ``its own time`` (of scheduled mail), or why nothing can carry some of
    them; ``""`` where nothing does."""
    later_than: datetime | None = None
    """Where the reckoning was given up, for it took too long: it is later than this. ``None`` beside an ``at`` of ``None``:
    some of it does not leave without a change, for the reason that ``limited_by`` gives."""


@frozen(kw_only=True)
class Pruned:
    """What ``outbox.prune`` dropped."""

    dead: int
    """Dead mails."""
    log: int
    """Lines of the delivery log that went, or lost their details."""


@frozen(kw_only=True)
class Doubt:
    """A mail in doubt: what is known of it."""

    id: str
    server: str
    """The id of the server whose attempt is of unknown fate."""
    route: str
    since: datetime | None
    reason: str
    attempts: int
    """Attempts so far, the one of unknown fate among them."""
    expires_at: datetime | None
    """Once this has passed it is not sent again, whatever is said."""


@frozen(kw_only=True)
class LogEntry:
    """One thing that happened to a mail."""

    id: str
    """The mail's."""
    at: datetime | None
    server: str
    """The id of the server it is about; ``""`` where it is about none."""
    outcome: str
    """What an ESP's answer came to, in small letters (``accepted``, ``rejected``, ``notsent`` …; see :doc:`outcomes`), or what
    befell the mail here: ``refused``, ``dead``, ``in_doubt``, ``resolved``, ``requeued``, ``pruned``, ``erased``."""
    detail: str
    provider_message_id: str


@frozen(kw_only=True)
class Trace:
    """All that is known of one mail."""

    id: str
    state: str
    """How it stands: as :attr:`Mail.state` while it is in the outbox; then ``accepted``, or the outcome of its last line."""
    server: str
    """The id of the server that has or had it last; of an accepted mail the one that took it. ``""``: none yet."""
    provider_message_id: str
    """The ESP's own id, once it took the mail."""
    mail: Mail | None
    """As it stands in the outbox; ``None`` once it has left it."""
    lines: tuple[LogEntry, ...]
    """What happened, oldest first; empty where nothing has yet."""


def doubt_of(row: MailRow) -> Doubt:
    """A mail in doubt, as a host sees it."""
    return Doubt(
        id=row.uid,
        server=row.server,
        route=row.route,
        since=moment(row.since),
        reason=row.reason,
        attempts=row.attempts,
        expires_at=moment(row.expires),
    )


def mail_of(row: MailRow) -> Mail:
    """A mail of the outbox, as a host sees it."""
    at = row.due if row.state is MailState.SCHEDULED else row.blocked_until if row.state is MailState.READY else 0
    blocked = row.state is MailState.READY and row.blocked_until > 0
    return Mail(
        id=row.uid,
        route=row.route,
        stream=row.stream,
        state=row.state.name.lower(),
        server=row.server,
        reason=row.reason or (row.blocked_by if blocked else ""),
        attempts=row.attempts,
        goes_at=moment(at) if at else None,
        expires_at=moment(row.expires),
        since=moment(row.since),
    )


def lane_of(row: LaneRow, now: int) -> LaneView:
    """A lane at this instant, as a host sees it."""
    ready = row.counts.get(MailState.READY, 0)
    blocked = ready > 0 and row.blocked_until > now
    goes_at = NEVER if ready and not blocked else min(row.blocked_until if blocked else NEVER, row.due)
    return LaneView(
        route=row.key.route,
        stream=row.key.stream,
        key=row.key.key,
        counts={state.name.lower(): row.counts.get(state, 0) for state in MailState},
        blocked=blocked,
        blocked_by=row.blocked_by if blocked else "",
        blocked_since=moment(row.blocked_since) if blocked else None,
        goes_at=moment(goes_at),
    )


def entry_of(at: int, line: LogLine) -> LogEntry:
    """A line of the log, as a host sees it."""
    return LogEntry(
        id=line.uid,
        at=moment(at),
        server=line.server,
        outcome=line.outcome,
        detail=line.detail,
        provider_message_id=line.provider_message_id,
    )
