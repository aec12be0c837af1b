"""What keeps the books: documents, limit states, the outbox. One atomic primitive and its sibling.

A storage is written in one colour, blocking; the engine calls it in batches and bridges. Nothing in
here knows what a quota is: a *decide* object looks at a :class:`View` and answers with a
:class:`Step`, which the storage makes true as a whole or not at all.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from attrs import field, frozen

from deliverykit.contracts.limit import Record
from deliverykit.words.clock import NEVER

__all__ = [
    "RESENDS",
    "Change",
    "Claim",
    "Decide",
    "DecideClaim",
    "Document",
    "Doubted",
    "Head",
    "Lane",
    "LaneKey",
    "LaneRow",
    "Leased",
    "LogLine",
    "MailRow",
    "MailState",
    "NewMail",
    "Once",
    "OpenLanes",
    "Overtaken",
    "Snapshot",
    "Step",
    "Storage",
    "Taken",
    "View",
    "Wanted",
    "rest_of",
]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class MailState(IntEnum):
    """Where a mail of the outbox stands."""

    READY = 0
    """Due. It may be in a lane that waits for quota; no query over ``ready`` mentions a time."""
    LEASED = 1
    """A worker holds it; surely nothing of it has left."""
    SENDING = 2
    """It may be on the wire."""
    IN_DOUBT = 3
    """It may have gone; nobody sends it again unless told to."""
    SCHEDULED = 4
    """It waits for a time of its own: ``send_at``, or a retry."""
    DEAD = 5
    """It will not be sent; the reason is kept with it."""


@frozen
class LaneKey:
    """Mail that competes for the same quota in the same order. ``key`` is all that decides who may carry it."""

    account: str
    route: str
    stream: str
    key: str


@frozen
class Lane:
    """A lane with something to do."""

    id: int
    key: LaneKey


@frozen
class Head:
    """A mail at the head of a lane: what admission must know of it."""

    id: int
    uid: str
    cost: int
    attempts: int
    expires: int
    resend: int = 0
    resends: int = 0
    late: int = 0
    """How many ms after its own time (``send_at``, a retry) it came due; waiting for quota is not in it."""


@frozen
class Once:
    """What keeps a mail from being written down twice: a key (hashed), and what tells its message from another."""

    key: str
    print: str


class Taken(Exception):
    """A mail's ``once`` key was written down within the last 24 hours: nothing of this step or batch becomes true."""


class Overtaken(Exception):
    """A change of a strict step came too late: nothing of the step becomes true."""


@frozen(kw_only=True)
class NewMail:
    """A mail to be written down. ``letter`` is the encoded message, ``files`` its attachments by content hash."""

    uid: str
    lane: LaneKey
    cost: int
    priority: int = 0
    state: MailState = MailState.READY
    due: int = 0
    expires: int = NEVER
    server: str = ""
    token: str = ""
    lease_until: int = 0
    resend: int = 0
    """How many ms it first rests before it is sent again, where its fate is unknown; 0: it is held then."""
    letter: bytes = field(repr=False)
    files: Mapping[str, bytes] = field(factory=dict, repr=False)
    once: Once | None = None
    """Remembered for 24 hours in its account, whatever becomes of the mail; :class:`Taken` where it is there already."""


@frozen(kw_only=True)
class Change:
    """What becomes of one mail. Done only while its row still bears ``token`` (and ``was``, where given)."""

    id: int = 0
    uid: str = ""
    """Names the row where the id is not known yet."""
    token: str | None = None
    was: MailState | None = None
    state: MailState | None
    """``None``: it is done with; the row, its letter and its files go."""
    lane: LaneKey | None = None
    due: int = 0
    server: str = ""
    reason: str = ""
    spend: bool = False
    """Whether this was an attempt."""
    resends: int | None = None
    """Given where the attempt of ``server`` is of unknown fate: how often the mail will have been sent again. The
    store notes the server and the instant with it."""
    afresh: bool = False
    """Whether attempts and lost leases are counted from nought again."""
    letter: bytes | None = field(default=None, repr=False)
    """Another letter in place of the old one, which encloses the same files; ``cost`` is what it costs."""
    cost: int = 0


@frozen(kw_only=True)
class LogLine:
    """One line of the append-only delivery log."""

    uid: str
    account: str
    server: str
    outcome: str
    detail: str = ""
    provider_message_id: str = ""


@frozen(kw_only=True)
class Document:
    """A record as stored: plain JSON text, and its secrets already encrypted. ``data=None`` deletes it."""

    kind: str
    id: str
    data: str | None
    secrets: bytes = field(default=b"", repr=False)


@frozen
class Snapshot:
    """All documents of one account, and the version that any change of them moves."""

    version: int
    documents: tuple[Document, ...]


@frozen
class View:
    """What a decide object sees, under the store's lock and clock.

    ``now`` never goes backwards and is never ahead of the store's clock.
    """

    now: int
    version: int
    """Of the account's documents."""
    records: tuple[Record, ...]
    """Limit states, one per key asked for."""
    heads: tuple[Head, ...] = ()


@frozen(kw_only=True)
class Step(Generic[R_co]):
    """What a decide object wants to become true, all of it or nothing. An empty step writes nothing."""

    result: R_co
    records: tuple[Record | None, ...] = ()
    """The new limit states, ``None`` where unchanged."""
    inserts: tuple[NewMail, ...] = ()
    changes: tuple[Change, ...] = ()
    log: tuple[LogLine, ...] = ()
    documents: tuple[Document, ...] = ()
    wake: bool = False
    """Quota may have come back: the account's lanes are looked at again; with more than one key, every account's."""
    strict: bool = False
    """Whether nothing becomes true, and :class:`Overtaken` is raised, where a change comes too late."""


class Decide(Protocol[R_co]):
    """Pure; may run several times. An object rather than a function, so that a store may know one by heart."""

    def __call__(self, view: View) -> Step[R_co]:
        """The step to take."""
        ...


@frozen(kw_only=True)
class Claim:
    """What a claim decided: who carries which head, and how long the lane must wait for the rest."""

    leases: Mapping[int, str] = field(factory=dict)
    """Server by mail id."""
    expired: tuple[int, ...] = ()
    late: tuple[int, ...] = ()
    """To be buried with the reason ``late``."""
    blocked_until: int = 0
    """0: the lane stays open."""
    blocked_by: str = ""
    pacing: bool = False
    """Whether it only waits for a pace."""


class DecideClaim(Protocol):
    """Decides a claim; the storage leases exactly the mails it names, in the same step."""

    def __call__(self, view: View) -> Step[Claim]:
        """The step to take."""
        ...


@frozen(kw_only=True)
class Leased:
    """A claimed mail, with its letter."""

    head: Head
    server: str
    letter: bytes = field(repr=False)


@frozen
class OpenLanes:
    """What a worker may do now, and when to look again if nothing."""

    lanes: tuple[Lane, ...]
    wake_at: int
    """The earliest instant at which anything can change by itself; NEVER if nothing can."""
    pacing: bool
    """Whether a lane with mail waits for a pace only."""
    busy: bool
    """Whether mail is leased or on the wire, anywhere."""


@frozen(kw_only=True)
class MailRow:
    """A mail as the outbox shows it."""

    uid: str
    account: str
    route: str
    stream: str
    state: MailState
    server: str
    reason: str
    attempts: int
    due: int
    expires: int
    blocked_until: int
    blocked_by: str
    since: int
    """Since when it waits (written down, or scheduled anew), is in doubt, or dead."""
    id: int
    key: str
    """Its lane's."""
    doubt_at: int = 0
    """When an attempt of it was last found to be of unknown fate; 0: none was."""


@frozen(kw_only=True)
class Wanted:
    """Which mails of an account. Each field that is given narrows it."""

    uids: tuple[str, ...] | None = None
    states: tuple[MailState, ...] = ()
    route: str | None = None
    stream: str | None = None
    server: str | None = None
    reason: str | None = None
    """Contained in the mail's; the case of ASCII letters does not count."""
    since: int | None = None
    """Those that have stood as they stand since this instant, or later."""
    before: int | None = None
    """Those that have stood as they stand since before this instant."""


@frozen(kw_only=True)
class LaneRow:
    """A lane with mail, as the last look of a worker left it."""

    key: LaneKey
    counts: Mapping[MailState, int]
    blocked_by: str
    """What stopped its head; counts only while ``blocked_until`` lies ahead."""
    blocked_until: int
    blocked_since: int
    """Since when nothing of what is ready in it could go."""
    pacing: bool
    due: int
    """The earliest time of its scheduled mail; NEVER where there is none."""


@frozen(kw_only=True)
class Doubted:
    """Which mail in doubt is meant: what meets everything given."""

    uids: tuple[str, ...] | None = None
    server: str | None = None
    """Whose attempt is of unknown fate."""
    route: str | None = None
    before: int = NEVER
    """In doubt since before this instant."""


RESENDS = 2
"""So often mail of unknown fate is sent again by itself."""


def rest_of(resend: int, resends: int, life: int) -> tuple[MailState, int]:
    """Where mail goes whose fate is unknown, and how many ms it rests there before it is sent again.

    ``resend`` is its first rest (0: it is held), ``resends`` how often it was sent again, ``life`` how many ms are
    left until it expires: what would expire meanwhile is held too. Each rest is twice the one before.
    """
    if not resend or life <= 0:
        return MailState.IN_DOUBT, 0
    if resends >= RESENDS:
        return MailState.DEAD, 0
    rest = resend << resends
    return (MailState.SCHEDULED, rest) if rest < life else (MailState.IN_DOUBT, 0)


class Storage(Protocol):
    """Blocking, safe for threads, reopened after a fork. Every method raises ``StorageError`` when it cannot.

    The store's clock decides: ``now`` is ``max(clock, what was seen before)``, and a clock more than
    an hour behind raises ``ClockError``.
    """

    @property
    def outlives(self) -> bool:
        """Whether it outlives the process, so that secrets must be encrypted."""
        ...

    def close(self) -> None:
        """Let go of what it opened; the next call opens it again."""
        ...

    def now(self) -> int:
        """The store's clock."""
        ...

    # -- documents ------------------------------------------------------------------------------
    def accounts(self) -> tuple[str, ...]:
        """The ids of all accounts, in order of adding."""
        ...

    def snapshot(self, account: str) -> Snapshot:
        """An account's documents, in order of adding."""
        ...

    def version(self, account: str) -> int:
        """Only the version of an account's documents: what a cache asks."""
        ...

    # -- the primitive and its sibling ------------------------------------------------------------
    def transact(self, account: str, keys: Sequence[str], decide: Decide[R]) -> tuple[R, frozenset[int]]:
        """Let ``decide`` look at ``keys`` and make its step true; also the ids of changes that came too late.

        Raises :class:`Taken`, and nothing becomes true, where an insert's ``once`` key is there already.
        """
        ...

    def claim(
        self, lane: Lane, want: int, keys: Sequence[str], decide: DecideClaim, *, token: str, lease: int
    ) -> tuple[Leased, ...]:
        """The same for the first ``want`` mails of a lane; leases what was decided for ``lease`` ms under ``token``."""
        ...

    # -- the outbox -------------------------------------------------------------------------------
    def enqueue(self, mails: Sequence[NewMail]) -> None:
        """Write them all down, or none; durable on return. Raises :class:`Taken` as :meth:`transact` does."""
        ...

    def taken(self, account: str, keys: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Of these ``once`` keys those written down within the last 24 hours: the first mail's uid, and its print."""
        ...

    def open_lanes(self) -> OpenLanes:
        """The lanes with mail and no block, least recently served first. A read."""
        ...

    def start(self, tokens: Mapping[int, str]) -> frozenset[int]:
        """Mark as ``sending`` those mails that are still leased under these tokens; their ids."""
        ...

    def renew(self, tokens: Sequence[str], lease: int) -> None:
        """Keep the leases under these tokens for another ``lease`` ms."""
        ...

    def release(self, tokens: Sequence[str]) -> None:
        """Put back what is leased under these tokens and not started."""
        ...

    def recover(self) -> None:
        """Promote what is due, bury what has expired, take back lost leases. A read when there is nothing.

        What was lost while it was sending goes where :func:`rest_of` says and keeps its token, so that a late
        answer still settles it until another worker claims it. Expired mail that was once of unknown fate is in doubt
        again, at the server of that attempt, not dead.
        """
        ...

    def move(self, account: str, route: str, to: str) -> None:
        """Let what waits on a route wait on another."""
        ...

    def cancel(self, account: str, wanted: Wanted, limit: int, after: int = 0) -> tuple[int, ...]:
        """Bury the first ``limit`` that are wanted and wait, of ids above ``after``, as ``cancelled``; their ids."""
        ...

    def prune(self, account: str, before: int, limit: int) -> int:
        """Drop up to ``limit`` mails that have been dead since before this instant, a line of the log each; how many."""
        ...

    def prune_log(self, account: str, before: int, limit: int, after: int = 0) -> tuple[int, int]:
        """Drop lines older than this instant among the ``limit`` behind line ``after``; how many, and where to go on (0: done).

        Lines of mail that is still here, and of mail whose ``once`` key is remembered, stay.
        """
        ...

    def scrub(self, account: str, words: Sequence[str], uids: Sequence[str], limit: int, after: int = 0) -> tuple[int, int]:
        """Blank what the log tells of these mails, and lines with one of these words, as :meth:`prune_log` goes through it."""
        ...

    def in_doubt(self, account: str, which: Doubted) -> tuple[MailRow, ...]:
        """Mail in doubt, oldest first."""
        ...

    def resolve(self, account: str, which: Doubted, *, sent: bool) -> int:
        """Mail in doubt is done with (``sent``), or ready again unless it has expired; how many it was."""
        ...

    def files(self, hashes: Sequence[str]) -> Mapping[str, bytes]:
        """Attachments by content hash."""
        ...

    # -- looking ----------------------------------------------------------------------------------
    def mail(self, uid: str) -> MailRow | None:
        """One mail of the outbox; ``None`` once it is done with."""
        ...

    def mails(self, account: str, wanted: Wanted, limit: int, after: int = 0) -> tuple[MailRow, ...]:
        """The first ``limit`` mails that are wanted, of ids above ``after``, oldest first."""
        ...

    def letters(self, account: str, limit: int, after: int = 0) -> tuple[tuple[MailRow, bytes], ...]:
        """The first ``limit`` mails of ids above ``after`` with their letters, oldest first."""
        ...

    def lanes(self, account: str) -> tuple[LaneRow, ...]:
        """The lanes that have mail, in order of making."""
        ...

    def counts(self, account: str) -> Mapping[tuple[str, MailState], int]:
        """How many mails stand where, by route and state."""
        ...

    def waiting(self, account: str, route: str) -> bool:
        """Whether the outbox holds mail of this route that is not dead."""
        ...

    def carried(self, account: str, server: str) -> bool:
        """Whether mail is in flight or in doubt at this server."""
        ...

    def log(self, uid: str) -> tuple[tuple[int, LogLine], ...]:
        """What happened to a mail: instant and line, oldest first."""
        ...
