"""Looking through the outbox, and keeping house: filters, lanes, letters, what is pruned and erased."""

import json
from collections.abc import Sequence
from typing import Any

from deliverykit.contracts.books import LaneKey, LaneRow, MailRow, MailState, Wanted
from deliverykit.contracts.storage import Claim
from deliverykit.storages.sqlite.connection import Connection
from deliverykit.storages.sqlite.leaving import forget, note
from deliverykit.storages.sqlite.steps import REMEMBERED
from deliverykit.words.clock import NEVER

__all__ = ["COLUMNS", "MAIL", "lanes", "letters", "mail_row", "matching", "prune", "prune_log", "resolve", "scrub", "served"]

_COLUMNS = {
    "uid": "m.uid", "account": "l.account", "route": "l.route", "stream": "l.stream", "state": "m.state", "server": "m.server",
    "reason": "m.reason", "attempts": "m.attempts", "due": "m.due", "expires": "m.expires",
    "blocked_until": "l.blocked_until", "blocked_by": "l.blocked_by", "since": "m.since", "id": "m.id", "key": "l.key",
}  # fmt: skip
_FROM = "from dk_mail m join dk_lane l on l.id=m.lane"
COLUMNS = ", ".join(_COLUMNS.values())
MAIL = f"select {COLUMNS} {_FROM}"
"""What :func:`mail_row` reads, but for its condition."""


def mail_row(row: Sequence[Any]) -> MailRow:
    """A row of :data:`MAIL`."""
    values = dict(zip(_COLUMNS, row, strict=True))
    return MailRow(**{**values, "state": MailState(values["state"])})


def matching(columns: str, account: str, wanted: Wanted, limit: int, after: int, *, more: str = "") -> tuple[str, list[Any]]:
    """The statement for a page of mails that are wanted, oldest first, with its values."""
    where, values = _condition(account, wanted)
    # Ids are looked up one by one; all else goes by the account's lanes, whose index tells the states.
    source = _FROM if wanted.uids is None else _FROM.replace("join", "cross join")
    return f"select {columns} {source} where {where}{more} and m.id>? order by m.id limit ?", [*values, after, limit]


def _condition(account: str, wanted: Wanted) -> tuple[str, list[Any]]:
    parts: list[tuple[str, Any]] = [("l.account=?", account)]
    if wanted.uids is not None:
        parts.append(("m.uid in (select value from json_each(?))", json.dumps(wanted.uids)))
    if wanted.states:
        parts.append(("m.state in (select value from json_each(?))", json.dumps(wanted.states)))
    plain = {
        "l.route=?": wanted.route, "l.stream=?": wanted.stream, "m.server=?": wanted.server,
        "instr(lower(m.reason), lower(?))>0": wanted.reason, "m.since>=?": wanted.since, "m.since<?": wanted.before,
    }  # fmt: skip
    parts += [(text, value) for text, value in plain.items() if value is not None]
    return " and ".join(text for text, _ in parts), [value for _, value in parts]


def letters(db: Connection, account: str, limit: int, after: int) -> tuple[tuple[MailRow, bytes], ...]:
    """A page of mails with what was written."""
    rows = db.rows(
        f"select {COLUMNS}, b.body {_FROM} join dk_letter b on b.mail=m.id where l.account=? and m.id>? order by m.id limit ?",
        (account, after, limit),
    )
    return tuple((mail_row(row[:-1]), row[-1]) for row in rows)


def lanes(db: Connection, account: str) -> tuple[LaneRow, ...]:
    """Counted over the index of lane and state alone; of the mails themselves only a lane's oldest is read."""
    counts: dict[int, dict[MailState, int]] = {}
    for lane, state, count in db.rows(
        "select m.lane, m.state, count(*) from dk_lane l join dk_mail m on m.lane=l.id where l.account=? group by 1, 2",
        (account,),
    ):
        counts.setdefault(lane, {})[MailState(state)] = count
    rows = db.rows(
        "select l.id, l.route, l.stream, l.key, l.blocked_by, l.blocked_until, l.blocked_since, l.pacing,"
        " (select since from dk_mail where id=(select min(id) from dk_mail where lane=l.id and state=0)),"
        f" (select coalesce(min(due), {NEVER}) from dk_mail where lane=l.id and state=4)"
        " from dk_lane l where l.account=? order by l.id",
        (account,),
    )
    return tuple(
        LaneRow(
            key=LaneKey(account, *row[1:4]), counts=counts[row[0]], blocked_by=row[4], blocked_until=row[5],
            # What is left of a block of long ago, when other mail stood here, is older than any mail.
            blocked_since=max(row[6], row[8] or 0), pacing=bool(row[7]), due=row[9],
            oldest=NEVER if row[8] is None else row[8],
        )
        for row in rows
        if row[0] in counts
    )  # fmt: skip


def served(db: Connection, now: int, lane: int, claim: Claim) -> None:
    """What a claim leaves of its lane; it is blocked since the last time that something of it went."""
    db.run(
        "update dk_lane set served_at=?1, blocked_until=?2, blocked_by=?3, pacing=?4,"
        " blocked_since=case when ?2=0 then 0 when ?5 or blocked_since=0 then ?1 else blocked_since end where id=?6",
        (now, claim.blocked_until, claim.blocked_by, claim.pacing, bool(claim.leases), lane),
    )


def resolve(db: Connection, now: int, account: str, wanted: Wanted, limit: int, after: int, *, sent: bool) -> tuple[int, ...]:
    """A page of mail in doubt: done with, or ready again."""
    more = " and m.state=3" if sent else f" and m.state=3 and m.expires>{now}"
    found = db.rows(*matching("m.id, m.lane", account, wanted, limit, after, more=more))
    ids = tuple(id_ for id_, _ in found)
    note(db, now, ids, "resolved", "as sent" if sent else "to be sent again")
    if sent:
        db.run_many("delete from dk_mail where id=?", [(id_,) for id_ in ids])
        forget(db, ids)
    else:
        db.run_many(
            "update dk_mail set state=0, token='', server='', reason='', resends=resends+1, since=? where id=?",
            [(now, id_) for id_ in ids],
        )
        db.run_many("update dk_lane set blocked_until=0 where id=?", [(lane,) for lane in {lane for _, lane in found}])
    return ids


def prune(db: Connection, now: int, account: str, before: int, limit: int) -> int:
    """Dead mail that nobody wants any more; that it was there stays in the log."""
    rows = db.rows(
        f"select m.id, m.reason {_FROM} where l.account=? and m.state=5 and m.since<? limit ?", (account, before, limit)
    )
    for id_, reason in rows:
        note(db, now, [id_], "pruned", reason)
        db.run("delete from dk_mail where id=?", (id_,))
    forget(db, [id_ for id_, _ in rows])
    return len(rows)


def prune_log(db: Connection, now: int, account: str, before: int, limit: int, after: int) -> tuple[int, int]:
    """A stretch of the log without its old lines; those of mail that somebody may still ask for stay."""
    last, on = _stretch(db, limit, after)
    gone = db.run(
        "delete from dk_log where id>? and id<=? and account=? and at<?"
        " and not exists (select 1 from dk_mail where uid=dk_log.uid)"
        " and not exists (select 1 from dk_once where uid=dk_log.uid and at>?)",
        (after, last, account, before, now - REMEMBERED),
    )
    return gone, on


def scrub(db: Connection, account: str, words: Sequence[str], uids: Sequence[str], limit: int, after: int) -> tuple[int, int]:
    """A stretch of the log without what it says of these mails, or by these words."""
    last, on = _stretch(db, limit, after)
    said = " or ".join(["instr(lower(detail), lower(?))>0"] * len(words)) or "0"
    done = db.run(
        "update dk_log set detail='erased', provider_id=''"
        f" where id>? and id<=? and account=? and outcome<>'erased' and (uid in (select value from json_each(?)) or {said})",
        [after, last, account, json.dumps(uids), *words],
    )
    return done, on


def _stretch(db: Connection, limit: int, after: int) -> tuple[int, int]:
    """The last id of the next ``limit`` lines, and where to go on: 0 where that was the end."""
    rows = db.rows("select id from dk_log where id>? order by id limit ?", (after, limit))
    last = int(rows[-1][0]) if rows else after
    return last, last if len(rows) == limit else 0
