"""Mail that leaves the outbox: its line in the delivery log, its letter, its files."""

import json
from collections.abc import Sequence

from deliverykit.storages.sqlite.connection import Connection

__all__ = ["forget", "note", "was_sent"]


def note(db: Connection, now: int, ids: Sequence[int], outcome: str, detail: str = "") -> None:
    """A line of the log for each of these mails."""
    db.run_many(
        "insert into dk_log (at, uid, account, server, outcome, detail, provider_id)"
        " select ?, m.uid, l.account, m.server, ?, ?, '' from dk_mail m join dk_lane l on l.id=m.lane where m.id=?",
        [(now, outcome, detail, id_) for id_ in ids],
    )


def forget(db: Connection, ids: Sequence[int | str], *, files: bool = True) -> None:
    """Drop the letters of these mails, and the files that no other mail encloses. Not ``files`` where they enclose none."""
    rows = (json.dumps(ids),)
    db.run("delete from dk_letter where mail in (select value from json_each(?))", rows)
    if not files:
        return
    enclosed = set(db.rows("delete from dk_enclosed where mail in (select value from json_each(?)) returning hash", rows))
    for (digest,) in enclosed:
        db.run("delete from dk_file where hash=? and not exists (select 1 from dk_enclosed where hash=?)", (digest, digest))


def was_sent(db: Connection, now: int, id_: int, event: str) -> None:
    """An event of its ESP proves that this mail was sent: it is done with."""
    note(db, now, [id_], "resolved", f"as sent: {event}")
    db.run("delete from dk_mail where id=?", (id_,))
    forget(db, [id_])
