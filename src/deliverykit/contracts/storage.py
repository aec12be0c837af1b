"""What keeps the books: documents, limit states, the outbox. One atomic primitive and its sibling.

A storage is written in one colour, blocking; the engine calls it in batches and bridges. Nothing in
here knows what a quota is: a *decide* object looks at a :class:`View` and answers with a
:class:`Step`, which the storage makes true as a whole or not at all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

from attrs import field, frozen

from deliverykit.contracts.books import (
    Change,
    Condition,
    Document,
    Fate,
    Gone,
    Head,
    Lane,
    LaneRow,
    Leased,
    LogLine,
    MailRow,
    MailState,
    NewMail,
    OpenLanes,
    Row,
    Snapshot,
    Told,
    Wanted,
)
from deliverykit.contracts.limit import Record
from deliverykit.words.errors import StorageError

__all__ = [
    "Claim",
    "Committed",
    "DamagedStates",
    "Decide",
    "DecideClaim",
    "Interruptible",
    "Late",
    "Occupied",
    "Overtaken",
    "Rewind",
    "Rewound",
    "SelfAware",
    "Step",
    "StepFailed",
    "Storage",
    "Taken",
    "View",
]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Late = frozenset[int | str]
"""The rows whose changes came too late, as the changes named them: by id or by uid."""


class Taken(Exception):
    """A mail's ``once`` key was written down within the last 24 hours: nothing of this step or batch becomes true."""


class DamagedStates(StorageError):
    """The limit states of one account cannot be read. Other accounts can be served."""


class StepFailed(StorageError):
    """What one step wants cannot be stored: a row that is there already, a value that is too large. Other steps can be."""


class Overtaken(Exception):
    """A change of a strict step came too late: nothing of the step becomes true."""


class Occupied(Exception):
    """A step needs a route or a server without messages, and there are some: nothing of the step becomes true."""


class Committed(BaseException):
    """An exception from outside hit ``transact`` after its commit: the step is true. ``__cause__`` is that exception.

    ``result`` and ``late`` are what ``transact`` would have returned.
    """

    def __init__(self, result: object, late: Late) -> None:
        super().__init__()
        self.result: object = result
        self.late: Late = late


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
    changes: tuple[Change | Gone, ...] = ()
    log: tuple[LogLine, ...] = ()
    documents: tuple[Document, ...] = ()
    wake: bool = False
    """Quota may have come back: the account's lanes are looked at again; with more than one key, every account's."""
    strict: bool = False
    """Whether nothing becomes true, and :class:`Overtaken` is raised, where a change comes too late."""
    moves: tuple[tuple[str, str], ...] = ()
    """Pairs of routes of the account: every ready, scheduled and dead message of the first is on the second from now on.

    Its order and lane key stay, and the lanes of the second route are asked again. Done before ``vacant`` is checked.
    """
    vacant: tuple[str, ...] = ()
    """Routes of the account that must hold no message but dead ones, and :class:`Occupied` is raised where one does."""
    idle: tuple[str, ...] = ()
    """Servers of the account that must have no message in flight or in doubt; likewise."""


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


class Rewind(Protocol):
    """Brings a record back to a clock that was set back on purpose. Pure."""

    def __call__(self, key: str, record: Record, now: int) -> Record:
        """The limit states of ``key`` at ``now``: every count kept, nothing left in the future."""
        ...


@frozen(kw_only=True)
class Rewound:
    """What accepting an earlier clock moved."""

    now: int
    seen: int
    """The latest instant that was seen before."""
    records: int = 0
    lanes: int = 0
    mails: int = 0


class DecideClaim(Protocol):
    """Decides a claim; the storage leases exactly the mails it names, in the same step."""

    def __call__(self, view: View) -> Step[Claim]:
        """The step to take."""
        ...


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

    def accept_clock(self, rewind: Rewind) -> Rewound:
        """Take the clock as it is, however far behind what was seen; in one step, and for every process.

        Records that saw a later instant go through ``rewind``. Lanes are open again. Leases and the dues of retries
        move back by as much as the clock did; a mail's own time (the ``due`` it was written down with) stays, and one
        that came due by the later clock waits for it again. ``once`` keys are known for 24 hours from now. The log stays.
        Nothing is written where nothing later was seen.
        """
        ...

    # -- documents ------------------------------------------------------------------------------
    def accounts(self) -> tuple[str, ...]:
        """The ids of all accounts, in order of adding."""
        ...

    def snapshot(self, account: str) -> Snapshot:
        """An account's documents, in order of adding."""
        ...

    def version(self, account: str) -> int:
        """Only the version of an account's documents: what a cache asks. 0 where there are none yet.

        Another after every change, and never one that stood for others: not even where a backup has taken the place of
        the books, and was changed since. So it is drawn, not counted.
        """
        ...

    # -- the primitive and its sibling ------------------------------------------------------------
    def transact(self, account: str, keys: Sequence[str], decide: Decide[R]) -> tuple[R, Late]:
        """Let ``decide`` look at ``keys`` and make its step true; also which changes came too late.

        Raises :class:`Taken`, and nothing becomes true, where an insert's ``once`` key is there already; :class:`Occupied`
        and :class:`Overtaken` likewise, see :class:`Step`; :class:`DamagedStates` where the states of ``keys`` are no record.
        A single state that is no flat row of whole numbers is a :class:`~deliverykit.contracts.limit.ForeignState`, and is
        written back as it was read. After any other exception nothing has become true either, but
        for :class:`Committed`.
        """
        ...

    def claim(
        self, lane: Lane, want: int, keys: Sequence[str], decide: DecideClaim, *, token: str, lease: int
    ) -> tuple[Leased, ...]:
        """The same for the first ``want`` mails of a lane; leases what was decided for ``lease`` ms under ``token``."""
        ...

    # -- the outbox -------------------------------------------------------------------------------
    def enqueue(self, mails: Sequence[NewMail], version: int | None = None) -> None:
        """Write them all down, or none; durable on return. Raises :class:`Taken` as :meth:`transact` does.

        They are of one account. With a ``version``, nothing is written and :class:`Overtaken` is raised where the
        documents of that account are of another version: a route may have been removed since it was looked up.
        """
        ...

    def taken(self, account: str, keys: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Of these ``once`` keys those written down within the last 24 hours: the first mail's uid, and its print."""
        ...

    def open_lanes(self) -> OpenLanes:
        """The lanes with mail and no block, that of which no mail was leased for longest at the front. A read."""
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

    def recover(self) -> Sequence[Fate]:
        """Promote what is due, bury what has expired, take back lost leases. A read when there is nothing.

        What became of mail that was taken back or has expired; of what is just due now it does not tell.

        What was lost while it was sending goes where :func:`rest_of` says and keeps its token, so that a late
        answer still settles it until another worker claims it. Expired mail that was once of unknown fate is in doubt
        again, at the server of that attempt, not dead.
        """
        ...

    def cancel(self, account: str, wanted: Wanted, limit: int, after: int = 0) -> tuple[int, ...]:
        """Bury the first ``limit`` that are wanted and wait, of ids above ``after``, as ``cancelled``; their ids."""
        ...

    def prune(self, account: str, before: int, limit: int) -> int:
        """Drop up to ``limit`` mails that have been dead since before this instant, a line of the log each; how many."""
        ...

    def prune_log(self, account: str, before: int, limit: int, after: int = 0) -> tuple[int, int]:
        """Prune what is older than this instant among the ``limit`` lines behind line ``after``.

        How many it was, and where to go on (0: done). Lines of mail that is still here, and of mail whose ``once`` key is
        remembered, stay. Of other mail the last line stays for 90 days, and those by which it went or may have gone,
        without their details: they tie mail, server and recipients.
        """
        ...

    def sweep(self, limit: int, after: int = 0) -> int:
        """Drop recipients' hashes, of ``limit`` behind ``after``, of mail of which nothing is left; where to go on (0: end)."""
        ...

    def forget(self, who: Sequence[bytes]) -> None:
        """Drop these recipients' hashes, and the ``once`` keys of mail that went to nobody else."""
        ...

    def scrub(
        self, account: str, named: Callable[[str], bool], uids: Sequence[str], limit: int, after: int = 0
    ) -> tuple[int, int]:
        """Replace by ``erased`` the details of log lines of these mails, and of lines whose text is ``named``.

        It goes through the log as :meth:`prune_log` does. ``named`` is pure; it is asked about the detail and the ESP's
        id of each line of the account, and about what blocks each of its lanes.
        """
        ...

    def cleanse(self) -> bool:
        """Overwrite what was deleted, in everything that outlives the process: free space, logs, journals.

        Return ``False`` where another process holds on to an older state; then :meth:`recover`, in any process, goes on
        with it later.
        """
        ...

    def resolve(self, account: str, wanted: Wanted, limit: int, after: int = 0, *, sent: bool) -> tuple[int, ...]:
        """Of mail in doubt that is wanted the first ``limit`` of ids above ``after``; their ids.

        It is done with (``sent``), or ready again unless it has expired.
        """
        ...

    def heard(self, account: str, uid: str, server: str, event: str) -> bool:
        """An event proves that an attempt of a mail by this server (``""``: by any) reached its ESP.

        Where that attempt is of unknown fate, the mail is done with: in doubt, resting, ready, or claimed and not yet on
        the wire. Where its answer is still awaited, this is kept for it. Whether the mail was there to be told of.
        """
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

    def rows(self, account: str) -> tuple[Row, ...]:
        """What is ready, lane by lane, in the order in which it is claimed; then what is scheduled, by its due."""
        ...

    def counts(self, account: str) -> Mapping[tuple[str, MailState], int]:
        """How many mails stand where, by route and state."""
        ...

    def log(self, uid: str) -> tuple[tuple[int, LogLine], ...]:
        """What happened to a mail: instant and line, oldest first."""
        ...

    def told(self, account: str, wanted: Told, limit: int) -> tuple[tuple[int, LogLine], ...]:
        """The last ``limit`` lines that are wanted, each with its instant, the latest first."""
        ...


@runtime_checkable
class Interruptible(Protocol):
    """An optional part of a storage: it can clean up after an exception that hit one of its calls from outside.

    A signal handler may raise anywhere, also where a storage has no ``except`` clause: between the end of a transaction
    and the release of its lock, for example.
    """

    def interrupted(self) -> None:
        """Roll back what the calling thread has begun and not ended, and release every lock that it holds.

        Called in the thread of the call, after an exception that is not a ``DeliveryError``. It does nothing where
        nothing is left.
        """
        ...


@runtime_checkable
class SelfAware(Protocol):
    """What a storage may also be: one that can say how it stands. ``mailer.doctor()`` asks."""

    def condition(self) -> Condition:
        """How it stands. Raises ``StorageError`` where it cannot be opened or written; a wrong clock is told, not raised."""
        ...
