"""The storage contract on SQLite."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from deliverykit.contracts.books import (
    Condition,
    Document,
    Fate,
    Head,
    Lane,
    LaneKey,
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
from deliverykit.contracts.storage import Committed, Decide, DecideClaim, Late, Overtaken, Rewind, Rewound, View
from deliverykit.storages.sqlite import evidence, keeping, recovery
from deliverykit.storages.sqlite.cleansing import cleansed, cleansing_due
from deliverykit.storages.sqlite.clocking import SLACK, accept, behind, times_accepted
from deliverykit.storages.sqlite.condition import condition
from deliverykit.storages.sqlite.connection import Connection
from deliverykit.storages.sqlite.keeping import mail_row
from deliverykit.storages.sqlite.modes import PRIVATE
from deliverykit.storages.sqlite.steps import REMEMBERED, applied, insert_mails, marks, view
from deliverykit.words.clock import NEVER, Clock

__all__ = ["SQLiteStorage"]

R = TypeVar("R")

_ALONE = 2
"""A mail whose lease expired so often is claimed alone: it may be what kills its workers."""


_CLEANSE_EVERY = 15.0
"""Seconds between two looks whether the log is still to be emptied."""


class SQLiteStorage:
    """Books in one SQLite file (``path``), or in memory (``None``).

    ``durability="full"`` survives a power cut; ``"normal"`` may forget the last moments then, but
    never breaks. Many threads and processes share one file; not over a network file system.
    A new file has the ``mode``, whatever the umask; its side files follow it. One that exists keeps its own.
    """

    def __init__(self, path: str | None, clock: Clock, durability: str = "full", mode: int = PRIVATE) -> None:
        self._db = Connection(path, durability, mode)
        self._clock = clock
        self._seen = 0
        self._cleansed = 0.0
        """When this process last looked, on the monotonic clock, whether the log is still to be emptied."""
        self._accepted: int | None = None
        """How often an earlier clock had been accepted when this process last looked."""

    @property
    def outlives(self) -> bool:
        """Whether it outlives the process."""
        return self._db.path is not None

    def close(self) -> None:
        """Close the file. Memory is kept: it would be lost."""
        if self.outlives:
            self._db.close()

    def interrupted(self) -> None:
        """Roll back and release: see :class:`~deliverykit.contracts.storage.Interruptible`."""
        self._db.let_go()

    def condition(self) -> Condition:
        """How it stands: see :class:`~deliverykit.contracts.storage.SelfAware`."""
        return condition(self._db)

    def now(self) -> int:
        """The clock, never backwards; ``ClockError`` where it lies more than an hour behind."""
        self._seen = self._held(self._clock.now())
        return self._seen

    def _held(self, clock: int) -> int:
        if self._accepted is None:
            self._newly_accepted()
        if clock < self._seen - SLACK and not self._newly_accepted():
            raise behind(clock, self._seen)
        return max(clock, self._seen)

    def _newly_accepted(self) -> bool:
        """Whether an earlier clock was accepted since this process last looked, by whomever: then it forgets the later one."""
        before, self._accepted = self._accepted, times_accepted(self._db)
        if before in (None, self._accepted):
            return False
        self._seen = 0
        return True

    def accept_clock(self, rewind: Rewind) -> Rewound:
        """All of it in one transaction."""
        with self._db.writing() as db:
            moved = accept(db, self._clock.now(), self._seen, rewind)
        self._seen, self._accepted = moved.now, None
        return moved

    def _view(self, db: Connection, account: str, keys: Sequence[str]) -> View:
        clock = self._clock.now()
        seen = view(db, self._held(clock), account, keys)
        if clock < seen.now - SLACK:
            raise behind(clock, seen.now)
        self._seen = max(self._seen, seen.now)
        return seen

    # -- documents --------------------------------------------------------------------------------

    def accounts(self) -> tuple[str, ...]:
        """The ids of all accounts."""
        with self._db.reading() as db:
            return tuple(row[0] for row in db.rows("select id from dk_account order by rowid"))

    def snapshot(self, account: str) -> Snapshot:
        """An account's documents."""
        with self._db.reading() as db:
            (version,) = db.row("select version from dk_account where id=?", (account,)) or (0,)
            rows = db.rows("select kind, id, data, secrets from dk_document where account=? order by seq", (account,))
        return Snapshot(
            version, tuple(Document(kind=kind, id=id_, data=data, secrets=secrets) for kind, id_, data, secrets in rows)
        )

    def version(self, account: str) -> int:
        """The version of an account's documents."""
        (version,) = self._db.glance("select version from dk_account where id=?", (account,)) or (0,)
        return int(version)

    # -- the primitive and its sibling --------------------------------------------------------------

    def transact(self, account: str, keys: Sequence[str], decide: Decide[R]) -> tuple[R, Late]:
        """One write transaction around ``decide``."""
        transaction = self._db.deciding()
        made: list[tuple[R, Late]] = []
        try:
            with transaction as db:
                seen = self._view(db, account, keys)
                step = decide(seen)
                made.append((step.result, applied(db, account, keys, seen, step)))
            return made[0]
        except BaseException as error:
            if transaction.committed:
                raise Committed(*made[0]) from error
            raise

    def claim(
        self, lane: Lane, want: int, keys: Sequence[str], decide: DecideClaim, *, token: str, lease: int
    ) -> tuple[Leased, ...]:
        """One write transaction: look at the lane's head, decide, lease."""
        with self._db.deciding() as db:
            seen = self._view(db, lane.key.account, keys)
            (blocked,) = db.row("select blocked_until from dk_lane where id=?", (lane.id,)) or (NEVER,)
            heads = _heads(db, lane.id, want) if blocked <= seen.now else ()
            if not heads:
                return ()
            step = decide(View(seen.now, seen.version, seen.records, heads))
            applied(db, lane.key.account, keys, seen, step)
            claim = step.result
            recovery.expire(db, seen.now, claim.expired)
            recovery.bury(db, seen.now, claim.late, "late")
            keeping.served(db, seen.now, lane.id, claim)
            its: dict[str, list[int]] = {}
            for id_, server in claim.leases.items():
                its.setdefault(server, []).append(id_)
            for server, ids in its.items():
                db.run(
                    "update dk_mail set state=1, lease_until=?, token=?, server=? where id in (select value from json_each(?))",
                    (seen.now + lease, token, server, json.dumps(ids)),
                )
            every = list(claim.leases)
            letters: dict[int, bytes] = dict(db.rows(f"select mail, body from dk_letter where mail in ({marks(every)})", every))
        return tuple(
            [
                Leased(head=head, server=claim.leases[head.id], letter=keeping.payload(letters.get(head.id)))
                for head in heads
                if head.id in claim.leases
            ]
        )

    # -- the outbox ---------------------------------------------------------------------------------

    def enqueue(self, mails: Sequence[NewMail], version: int | None = None) -> None:
        """All in one transaction."""
        with self._db.writing() as db:
            if version is not None and mails:
                (stands,) = db.row("select version from dk_account where id=?", (mails[0].lane.account,)) or (0,)
                if stands != version:
                    raise Overtaken
            insert_mails(db, mails, self.now())

    def taken(self, account: str, keys: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """The known ones of these keys."""
        with self._db.reading() as db:
            rows = db.rows(
                "select key, uid, print from dk_once where account=? and at>? and key in (select value from json_each(?))",
                (account, self.now() - REMEMBERED, json.dumps(keys)),
            )
        return {key: (uid, print_) for key, uid, print_ in rows}

    def open_lanes(self) -> OpenLanes:
        """Lanes to claim from, or when to look again."""
        now = self.now()
        with self._db.reading() as db:
            rows = db.rows(
                "select id, account, route, stream, key, blocked_until, pacing, ready, served_at from dk_lane where ready>0"
                " order by served_at, id"
            )
            busy = db.row("select min(lease_until) from dk_mail where state in (1, 2)")
            later = db.row("select min(due) from dk_mail where state=4")
            expiring = db.row(f"select min(expires) from dk_mail where expires<{NEVER} and state in (0, 4)")
        waits = [row[5] for row in rows if row[5] > now]
        waits += [found[0] for found in (busy, later, expiring) if found and found[0] is not None]
        return OpenLanes(
            lanes=tuple(Lane(row[0], LaneKey(*row[1:5]), row[7], row[8]) for row in rows if row[5] <= now),
            wake_at=min(waits, default=NEVER),
            pacing=any(row[6] for row in rows if row[5] > now),
            busy=bool(busy and busy[0] is not None),
        )

    def start(self, tokens: Mapping[int, str]) -> frozenset[int]:
        """Mark as ``sending`` what is still ours."""
        with self._db.writing() as db:
            return frozenset(
                id_ for id_, token in tokens.items()
                if db.run("update dk_mail set state=2 where id=? and token=? and state=1", (id_, token))
            )  # fmt: skip

    def renew(self, tokens: Sequence[str], lease: int) -> None:
        """Keep leases."""
        with self._db.writing() as db:
            # What workers have in hand is little: it is looked through, rather than kept in order of its tokens for every mail.
            db.run(
                "update dk_mail set lease_until=? where state in (1, 2) and lease_until>0"
                " and token in (select value from json_each(?))",
                (self.now() + lease, json.dumps(list(tokens))),
            )

    def release(self, tokens: Sequence[str]) -> None:
        """Give up leases that were not started."""
        with self._db.writing() as db:
            db.run(
                # "state in (1, 2)" is what the index is made of; without it every row is looked at.
                "update dk_mail set state=0, token='', server='' where state in (1, 2) and lease_until>0 and state=1"
                " and token in (select value from json_each(?))",
                (json.dumps(list(tokens)),),
            )

    def recover(self) -> Sequence[Fate]:
        """What time alone does to the outbox."""
        now = self.now()
        self._go_on_cleansing()
        with self._db.reading() as db:
            if not recovery.needed(db, now):
                return ()
        with self._db.writing() as db:
            return recovery.recover(db, self.now())  # asked again: an earlier clock may have been accepted meanwhile

    def cancel(self, account: str, wanted: Wanted, limit: int, after: int = 0) -> tuple[int, ...]:
        """Bury what waits."""
        with self._db.writing() as db:
            rows = db.rows(*keeping.matching("m.id", account, wanted, limit, after, more=" and m.state in (0, 4)"))
            ids = tuple(id_ for (id_,) in rows)
            recovery.bury(db, self.now(), ids, "cancelled")
        return ids

    def prune(self, account: str, before: int, limit: int) -> int:
        """Drop old dead mail."""
        with self._db.writing() as db:
            return keeping.prune(db, self.now(), account, before, limit)

    def prune_log(self, account: str, before: int, limit: int, after: int = 0) -> tuple[int, int]:
        """Drop old lines of the log."""
        with self._db.writing() as db:
            return keeping.prune_log(db, self.now(), account, before, limit, after)

    def sweep(self, limit: int, after: int = 0) -> int:
        """Drop hashes of which no mail is left."""
        with self._db.writing() as db:
            return keeping.sweep(db, self.now(), limit, after)

    def forget(self, who: Sequence[bytes]) -> None:
        """Drop a person's hashes."""
        with self._db.writing() as db:
            keeping.forget_person(db, who)

    def scrub(
        self, account: str, named: Callable[[str], bool], uids: Sequence[str], limit: int, after: int = 0
    ) -> tuple[int, int]:
        """Blank lines of the log."""
        with self._db.writing() as db:
            return keeping.scrub(db, account, named, uids, limit, after)

    def cleanse(self) -> bool:
        """Empty the write-ahead log; what is deleted in the file itself is overwritten at once (``secure_delete``)."""
        self._cleansed = self._clock.monotonic()
        return cleansed(self._db)

    def _go_on_cleansing(self) -> None:
        """What :meth:`cleanse` could not do, here or in another process."""
        if self._clock.monotonic() - self._cleansed >= _CLEANSE_EVERY:
            self._cleansed = self._clock.monotonic()
            if cleansing_due(self._db):
                cleansed(self._db)

    def resolve(self, account: str, wanted: Wanted, limit: int, after: int = 0, *, sent: bool) -> tuple[int, ...]:
        """Settle what is in doubt."""
        with self._db.writing() as db:
            return keeping.resolve(db, self.now(), account, wanted, limit, after, sent=sent)

    def heard(self, account: str, uid: str, server: str, event: str) -> bool:
        """What an event proves."""
        with self._db.writing() as db:
            return evidence.heard(db, self.now(), account, uid, server, event)

    def files(self, hashes: Sequence[str]) -> Mapping[str, bytes]:
        """Attachments by content hash."""
        with self._db.reading() as db:
            return dict(db.rows(f"select hash, content from dk_file where hash in ({marks(hashes)})", hashes))

    # -- looking --------------------------------------------------------------------------------------

    def mail(self, uid: str) -> MailRow | None:
        """One mail."""
        with self._db.reading() as db:
            found = db.row(f"{keeping.MAIL} where m.uid=?", (uid,))
        return mail_row(found) if found else None

    def mails(self, account: str, wanted: Wanted, limit: int, after: int = 0) -> tuple[MailRow, ...]:
        """Mails, oldest first."""
        with self._db.reading() as db:
            rows = db.rows(*keeping.matching(keeping.COLUMNS, account, wanted, limit, after))
        return tuple(mail_row(row) for row in rows)

    def letters(self, account: str, limit: int, after: int = 0) -> tuple[tuple[MailRow, bytes], ...]:
        """Mails with their letters, oldest first."""
        with self._db.reading() as db:
            return keeping.letters(db, account, limit, after)

    def lanes(self, account: str) -> tuple[LaneRow, ...]:
        """Lanes with mail."""
        with self._db.reading() as db:
            return keeping.lanes(db, account)

    def rows(self, account: str) -> tuple[Row, ...]:
        """What waits, by its cost."""
        with self._db.reading() as db:
            return keeping.rows(db, account)

    def counts(self, account: str) -> Mapping[tuple[str, MailState], int]:
        """Mail by route and state."""
        with self._db.reading() as db:
            return keeping.by_route(db, account)

    def log(self, uid: str) -> tuple[tuple[int, LogLine], ...]:
        """A mail's lines of the log."""
        with self._db.reading() as db:
            return keeping.log_rows(db.rows(f"{keeping.LINE} where uid=? order by id", (uid,)))

    def told(self, account: str, wanted: Told, limit: int) -> tuple[tuple[int, LogLine], ...]:
        """Lines of the log, the latest first."""
        with self._db.reading() as db:
            return keeping.told(db, account, wanted, limit)


def _heads(db: Connection, lane: int, want: int) -> tuple[Head, ...]:
    rows = db.rows(
        "select id, uid, cost, attempts, expires, resend, resends, case when due>0 then since-due else 0 end, memo, expiries"
        " from dk_mail where lane=? and state=0 order by priority desc, id limit ?",
        (lane, want),
    )
    suspect = next((place for place, row in enumerate(rows) if row[9] >= _ALONE), None)
    if suspect is not None:
        rows = rows[: suspect or 1]
    return tuple([Head(*row[:8], *((_memo(row[8]),) if row[8] else ())) for row in rows])


def _memo(text: str) -> tuple[int, ...]:
    """What the engine keeps with a message; nothing where it cannot be read."""
    try:
        memo = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return ()
    return tuple(memo) if isinstance(memo, list) and all(type(one) is int for one in memo) else ()
