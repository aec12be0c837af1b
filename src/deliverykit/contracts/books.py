"""The words of the books: mail as it is written down, as it is changed, and as it is shown."""

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

from attrs import field, frozen

from deliverykit.words.clock import NEVER

__all__ = [
    "RESENDS",
    "Change",
    "Condition",
    "Document",
    "Fate",
    "Gone",
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
    "Row",
    "Snapshot",
    "Told",
    "Wanted",
    "rest_of",
]


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
    ready: int = field(default=0, eq=False)
    """How many of its mails are ready."""
    served: int = field(default=0, eq=False)
    """When a mail of it was leased last."""


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
    memo: tuple[int, ...] = ()
    """What :attr:`Change.memo` gave it last."""


@frozen
class Once:
    """What keeps a mail from being written down twice: a key (hashed), and what tells its message from another."""

    key: str
    print: str


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
    who: tuple[bytes, ...] = field(default=(), repr=False)
    """Its recipients, each as a keyed hash: by these the log is asked what somebody got."""
    once: Once | None = None
    """Remembered for 24 hours in its account, whatever becomes of the mail; :class:`Taken` where it is there already."""


@frozen(kw_only=True)
class Change:
    """What becomes of one mail that stays. Done only while its row still bears ``token`` (and ``was``, where given)."""

    id: int = 0
    uid: str = ""
    """Names the row where the id is not known yet."""
    token: str | None = None
    was: MailState | None = None
    state: MailState
    lane: LaneKey | None = None
    due: int = 0
    server: str = ""
    reason: str = ""
    spend: bool = False
    """Whether this was an attempt. It is not counted again where recovery has counted it, for its lease was lost."""
    resends: int | None = None
    """Given where the attempt of ``server`` is of unknown fate: how often the mail will have been sent again. The
    store notes the server and the instant with it."""
    afresh: bool = False
    """Whether attempts and lost leases are counted from nought again."""
    letter: bytes | None = field(default=None, repr=False)
    """Another letter in place of the old one, which encloses the same files; ``cost`` is what it costs."""
    cost: int = 0
    memo: tuple[int, ...] | None = None
    """Whole numbers that the engine keeps with the message: the store returns them in its :class:`Head` and reads nothing
    into them. ``None`` leaves them as they are."""
    lease: int = 0
    """Where the mail stays held: for how many ms from now; 0: as long as it was."""

    @property
    def name(self) -> int | str:
        """The row as the change names it: by its id, or its uid."""
        return self.id or self.uid


@frozen
class Gone:
    """One mail is done with: its row, its letter and its files go. Done only while the row bears ``token`` (and ``was``)."""

    id: int = 0
    uid: str = ""
    """Names the row where the id is not known yet."""
    token: str | None = None
    was: MailState | None = None
    unbind: bool = False
    """Whether its ``once`` key is free again, for nothing of it has left."""
    reason: str = ""
    """For those who tell of it; it goes with the row."""
    state: ClassVar[None] = None

    @property
    def name(self) -> int | str:
        """The row as the change names it: by its id, or its uid."""
        return self.id or self.uid


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
    put_back: bool = False
    """Whether it carries a :attr:`Change.memo` and no attempt of unknown fate: it was refused and is tried again."""


@frozen(kw_only=True)
class Fate:
    """What :meth:`~deliverykit.contracts.storage.Storage.recover` did to one mail."""

    uid: str
    account: str
    route: str
    stream: str
    server: str
    """Whose attempt it was, where it was leased or sending; else as its row has it."""
    was: MailState
    state: MailState
    reason: str
    due: int


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
class Told:
    """Which lines of an account's log. Each field that is given narrows it."""

    who: tuple[bytes, ...] | None = None
    """Those of mail to somebody: the keyed hashes that the address may be kept under."""
    server: str | None = None
    outcome: str | None = None
    since: int | None = None
    before: int | None = None


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
    oldest: int = NEVER
    """Since when the first of its ready mail waits; NEVER where there is none."""


@frozen
class Row:
    """Mails of a lane in a row that cost the same."""

    lane: LaneKey
    due: int
    """When they come due; 0: they are ready."""
    cost: int
    count: int
    turn: int = field(default=0, eq=False)
    """The place of their lane among the account's: that of which no mail was leased for longest is the first."""


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


@frozen(kw_only=True)
class Condition:
    """How a storage finds itself; ``None`` where it has no such thing."""

    place: str
    """What to call it, without passwords: its path."""
    durability: str
    """``full``, ``normal``, or ``none`` where it ends with the process."""
    seen: int
    """The highest clock that anybody decided on."""
    size: int | None = None
    """In bytes."""
    log_size: int | None = None
    """Of what it has written ahead and not yet put in its place."""
    free: int | None = None
    """How many bytes are left where it lies."""
    exposed: tuple[str, ...] = ()
    """For people: which of its files others may read or own."""
