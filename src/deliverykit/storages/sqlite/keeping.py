"""Looking through the outbox, and keeping house: filters, lanes, letters, what is pruned and erased."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from deliverykit.contracts.books import LaneKey, LaneRow, LogLine, MailRow, MailState, Row, Told, Wanted
from deliverykit.contracts.storage import Claim
from deliverykit.storages.sqlite.connection import Connection
from deliverykit.storages.sqlite.leaving import forget, note
from deliverykit.storages.sqlite.steps import REMEMBERED
from deliverykit.words.clock import NEVER

__all__ = [
    "COLUMNS", "LINE", "MAIL", "by_route", "lanes", "letters", "log_rows", "mail_row", "matching", "payload", "prune",
    "prune_log", "resolve", "rows", "scrub", "served", "sweep", "told",
]  # fmt: skip

KEPT = 90 * 24 * 3_600_000
"""How long, in ms, it can be told by which server a mail went to whom."""

_COLUMNS = {
    "uid": "m.uid", "account": "l.account", "route": "l.route", "stream": "l.stream", "state": "m.state", "server": "m.server",
    "reason": "m.reason", "attempts": "m.attempts", "due": "m.due", "expires": "m.expires",
    "blocked_until": "l.blocked_until", "blocked_by": "l.blocked_by", "since": "m.since", "id": "m.id", "key": "l.key",
    "put_back": "(m.memo<>'' and m.doubt_at=0)",
}  # fmt: skip
_STATES: dict[object, MailState] = {state.value: state for state in MailState}
_FROM = "from dk_mail m join dk_lane l on l.id=m.lane"
COLUMNS = ", ".join(_COLUMNS.values())
MAIL = f"select {COLUMNS} {_FROM}"
"""What :func:`mail_row` reads, but for its condition."""


def mail_row(row: Sequence[Any]) -> MailRow:
    """A row of :data:`MAIL`.

    A state that only a newer version knows is shown as ``sending``: somebody else has the message, and it is not touched here.
    """
    values = dict(zip(_COLUMNS, row, strict=True))
    state = _STATES.get(values["state"])
    if state is None:
        state = MailState.SENDING
        values["reason"] = values["reason"] or f"a newer version has it, in its state {values['state']!r:.20}"
    return MailRow(**{**values, "state": state, "put_back": bool(values["put_back"])})


def payload(value: object) -> bytes:
    """A stored payload. One that is missing, or of another type, is not readable as a message; that is found out later."""
    return value if isinstance(value, bytes) else b"" if value is None else str(value).encode()


def matching(columns: str, account: str, wanted: Wanted, limit: int, after: int, *, more: str = "") -> tuple[str, list[Any]]:
    """The statement for a page of mails that are wanted, oldest first, with its values."""
    where, values = _condition(account, wanted)
    # Ids are looked up one by one; all else goes by the account's lanes, whose index tells the states.
    source = _FROM if wanted.uids is None else _FROM.replace("join", "cross join")
    return f"select {columns} {source} where {where}{more} and m.id>? order by m.id limit ?", [*values, after, limit]


_WITHIN = {
    frozenset({MailState.IN_DOUBT, MailState.DEAD}): "m.state in (3, 5) and ",
    frozenset({MailState.LEASED, MailState.SENDING}): "m.state in (1, 2) and ",
    frozenset({MailState.SCHEDULED}): "m.state=4 and ",
}


def _condition(account: str, wanted: Wanted) -> tuple[str, list[Any]]:
    parts: list[tuple[str, Any]] = [("l.account=?", account)]
    if wanted.uids is not None:
        parts.append(("m.uid in (select value from json_each(?))", json.dumps(wanted.uids)))
    if wanted.states:
        # The words of a partial index, where it holds all that is wanted.
        within = next((text for states, text in _WITHIN.items() if states.issuperset(wanted.states)), "")
        parts.append((f"{within}m.state in (select value from json_each(?))", json.dumps(wanted.states)))
    plain = {
        "l.route=?": wanted.route, "l.stream=?": wanted.stream, "m.server=?": wanted.server,
        "instr(lower(m.reason), lower(?))>0": wanted.reason, "m.since>=?": wanted.since, "m.since<?": wanted.before,
    }  # fmt: skip
    parts += [(text, value) for text, value in plain.items() if value is not None]
    return " and ".join(text for text, _ in parts), [value for _, value in parts]


_LINE = ("uid", "account", "server", "outcome", "detail", "provider_message_id")
LINE = "select at, uid, account, server, outcome, detail, provider_id from dk_log"
"""What :func:`log_rows` reads, but for its condition."""


def log_rows(rows: Iterable[Sequence[Any]]) -> tuple[tuple[int, LogLine], ...]:
    """Rows of :data:`LINE`."""
    return tuple((row[0], LogLine(**dict(zip(_LINE, row[1:], strict=True)))) for row in rows)


def told(db: Connection, account: str, wanted: Told, limit: int) -> tuple[tuple[int, LogLine], ...]:
    """The last lines that are wanted: of somebody's mail by its hashes, else by their instants."""
    parts: list[tuple[str, Any]] = [("account=?", account)]
    if wanted.who is not None:
        known = {uid for who in wanted.who for (uid,) in db.rows("select uid from dk_recipient where who=?", (who,))}
        # The plus keeps the other index out of it: these are few, an account's lines may be millions.
        parts = [("+account=?", account), ("uid in (select value from json_each(?))", json.dumps(sorted(known)))]
    plain = {"server=?": wanted.server, "outcome=?": wanted.outcome, "at>=?": wanted.since, "at<?": wanted.before}
    parts += [(text, value) for text, value in plain.items() if value is not None]
    where = " and ".join(text for text, _ in parts)
    return log_rows(db.rows(f"{LINE} where {where} order by at desc, id desc limit ?", [*(value for _, value in parts), limit]))


def letters(db: Connection, account: str, limit: int, after: int) -> tuple[tuple[MailRow, bytes], ...]:
    """A page of mails with what was written."""
    rows = db.rows(
        f"select {COLUMNS}, b.body {_FROM} left join dk_letter b on b.mail=m.id"
        " where l.account=? and m.id>? order by m.id limit ?",
        (account, after, limit),
    )
    return tuple((mail_row(row[:-1]), payload(row[-1])) for row in rows)


def lanes(db: Connection, account: str) -> tuple[LaneRow, ...]:
    """Nothing is counted but what workers have in hand; of the mails themselves only a lane's oldest is read."""
    counts = _counts(db, account)
    rows = db.rows(
        "select l.id, l.route, l.stream, l.key, l.blocked_by, l.blocked_until, l.blocked_since, l.pacing,"
        " (select since from dk_mail where id=(select min(id) from dk_mail where lane=l.id and state=0)),"
        f" (select coalesce(min(due), {NEVER}) from dk_mail where lane=l.id and state=4)"
        " from dk_lane l where l.account=? order by l.id",
        (account,),
    )
    return tuple(
        LaneRow(
            key=LaneKey(account, *row[1:4]), counts=counts[row[0]][1], blocked_by=row[4], blocked_until=row[5],
            # What is left of a block of long ago, when other mail stood here, is older than any mail.
            blocked_since=max(row[6], row[8] or 0), pacing=bool(row[7]), due=row[9],
            oldest=NEVER if row[8] is None else row[8],
        )
        for row in rows
        if row[0] in counts
    )  # fmt: skip


def rows(db: Connection, account: str) -> tuple[Row, ...]:
    """What waits, by its cost. The index gives the order, and only where the cost changes a row of it leaves the database."""
    keys = {id_: LaneKey(account, *key) for id_, *key in db.rows(
        "select id, route, stream, key from dk_lane where account=? and ready+scheduled>0 order by served_at, id", (account,)
    )}  # fmt: skip
    turns = {id_: turn for turn, id_ in enumerate(keys)}
    found: list[Row] = []
    for id_, key in keys.items():
        ((count,),) = db.rows("select count(*) from dk_mail where lane=? and state=0", (id_,))
        begins = db.rows(
            "select n, cost from (select row_number() over w as n, cost, lag(cost) over w as before from dk_mail"
            " where lane=? and state=0 window w as (order by priority desc, id)) where before is not cost",
            (id_,),
        )
        ends = [*(place for place, _ in begins[1:]), count + 1]
        found += [Row(key, 0, cost, end - place, turns[id_]) for (place, cost), end in zip(begins, ends, strict=False)]
    later = db.rows(
        "select lane, due, cost, count(*) from dk_mail where state=4 and lane in (select value from json_each(?))"
        " group by due, lane, cost order by due, lane",
        (json.dumps(list(keys)),),
    )
    return (*found, *(Row(keys[lane], due, cost, count, turns[lane]) for lane, due, cost, count in later))


def by_route(db: Connection, account: str) -> Mapping[tuple[str, MailState], int]:
    """Mail by route and state."""
    totals: Counter[tuple[str, MailState]] = Counter()
    for route, counts in _counts(db, account).values():
        totals.update({(route, state): count for state, count in counts.items()})
    return totals


_COUNTED = (MailState.READY, MailState.IN_DOUBT, MailState.SCHEDULED, MailState.DEAD)


def _counts(db: Connection, account: str) -> dict[int, tuple[str, dict[MailState, int]]]:
    """By lane with mail: its route, and how many stand where."""
    rows = db.rows("select id, route, ready, in_doubt, scheduled, dead from dk_lane where account=?", (account,))
    kept = {id_: (route, dict(zip(_COUNTED, counts, strict=True))) for id_, route, *counts in rows}
    for lane, state, count in db.rows(
        "select lane, state, count(*) from dk_mail indexed by dk_mail_leased where state in (1, 2) group by 1, 2"
    ):
        if lane in kept:
            kept[lane][1][MailState(state)] = count
    found = {id_: (route, {state: count for state, count in counts.items() if count}) for id_, (route, counts) in kept.items()}
    return {id_: one for id_, one in found.items() if one[1]}


def served(db: Connection, now: int, lane: int, claim: Claim) -> None:
    """What a claim leaves of its lane: its turn is over if it got something, and it is blocked since something of it went."""
    db.run(
        "update dk_lane set ready=ready-:got, blocked_until=:until, blocked_by=:by, pacing=:pacing,"
        " served_at=case when :got>0 then :now else served_at end,"
        " blocked_since=case when :until=0 then 0 when :got>0 or blocked_since=0 then :now else blocked_since end"
        " where id=:lane",
        {
            "now": now,
            "until": claim.blocked_until,
            "by": claim.blocked_by,
            "pacing": claim.pacing,
            "got": len(claim.leases),
            "lane": lane,
        },
    )


def resolve(db: Connection, now: int, account: str, wanted: Wanted, limit: int, after: int, *, sent: bool) -> tuple[int, ...]:
    """A page of mail in doubt: done with, or ready again."""
    more = " and m.state in (3, 5) and m.state=3" + ("" if sent else f" and m.expires>{now}")
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
        f"select m.id, m.reason {_FROM} where l.account=? and m.state in (3, 5) and m.state=5 and m.since<? limit ?",
        (account, before, limit),
    )
    for id_, reason in rows:
        note(db, now, [id_], "pruned", reason)
        db.run("delete from dk_mail where id=?", (id_,))
    forget(db, [id_ for id_, _ in rows])
    return len(rows)


def prune_log(db: Connection, now: int, account: str, before: int, limit: int, after: int) -> tuple[int, int]:
    """A stretch of the log without its old lines; those of mail that somebody may still ask for stay.

    Of what is left the details go, but for our own reasons of death: an ESP's words may name a person.
    """
    last, on = _stretch(db, "dk_log", limit, after)
    old = (
        "id>? and id<=? and account=? and at<? and not exists (select 1 from dk_mail where uid=dk_log.uid)"
        " and not exists (select 1 from dk_once where uid=dk_log.uid and at>?)"
    )
    values = (after, last, account, before, now - REMEMBERED)
    passing = "outcome not in ('accepted', 'unknown', 'in_doubt')"
    later = "exists (select 1 from dk_log l where l.uid=dk_log.uid and l.id>dk_log.id)"
    gone = db.run(f"delete from dk_log where {old} and (at<? or ({passing} and {later}))", (*values, now - KEPT))
    bared = db.run(f"update dk_log set detail='' where {old} and detail not in ('', 'erased') and outcome<>'dead'", values)
    return gone + bared, on


def sweep(db: Connection, now: int, limit: int, after: int) -> int:
    """A stretch of the recipients without those of mail of which nothing is left."""
    last, on = _stretch(db, "dk_recipient", limit, after)
    db.run(
        "delete from dk_recipient where id>? and id<=? and at<?"
        " and not exists (select 1 from dk_mail where uid=dk_recipient.uid)"
        " and not exists (select 1 from dk_log where uid=dk_recipient.uid)",
        (after, last, now - KEPT),
    )
    young = db.row("select 1 from dk_recipient where id=? and at>=?", (last, now - KEPT))
    return 0 if young else on


def scrub(
    db: Connection, account: str, named: Callable[[str], bool], uids: Sequence[str], limit: int, after: int
) -> tuple[int, int]:
    """A stretch of the log without what it says of these mails, or of whoever is named."""
    last, on = _stretch(db, "dk_log", limit, after)
    lines = db.rows(
        "select id, uid, detail, provider_id from dk_log where id>? and id<=? and account=? and outcome<>'erased'",
        (after, last, account),
    )
    gone = frozenset(uids)
    hit = [id_ for id_, uid, detail, id_there in lines if uid in gone or (detail and named(detail)) or named(id_there)]
    db.run_many("update dk_log set detail='erased', provider_id='' where id=?", [(id_,) for id_ in hit])
    if not after:
        lanes = db.rows("select id, blocked_by from dk_lane where account=? and blocked_by<>''", (account,))
        db.run_many("update dk_lane set blocked_by='erased' where id=?", [(id_,) for id_, words in lanes if named(words)])
    return len(hit), on


def forget_person(db: Connection, who: Sequence[bytes]) -> None:
    """A person's hashes, and the ``once`` keys of mail to this person alone."""
    mine = f"({', '.join('?' * len(who))})"
    db.run(
        f"delete from dk_once where uid in (select uid from dk_recipient where who in {mine})"
        f" and not exists (select 1 from dk_recipient where uid=dk_once.uid and who not in {mine})",
        [*who, *who],
    )
    db.run_many("delete from dk_recipient where who=?", [(one,) for one in who])


def _stretch(db: Connection, table: str, limit: int, after: int) -> tuple[int, int]:
    """The last id of the next ``limit`` rows, and where to go on: 0 where that was the end."""
    rows = db.rows(f"select id from {table} where id>? order by id limit ?", (after, limit))
    last = int(rows[-1][0]) if rows else after
    return last, last if len(rows) == limit else 0
