"""What time alone does to the outbox: due mail is promoted, expired mail buried, lost leases taken back."""

import json
from collections.abc import Mapping, Sequence

from deliverykit.contracts.books import Fate, MailState, rest_of
from deliverykit.storages.sqlite.connection import Connection
from deliverykit.storages.sqlite.leaving import note, was_sent
from deliverykit.storages.sqlite.steps import overtake
from deliverykit.words.clock import NEVER

__all__ = ["bury", "expire", "needed", "recover"]

_BATCH = 500
_POISON = 3
"""A mail whose lease expired so often has killed its workers."""
_LOST = "the worker was lost while it was sending"
_EXPIRED = "it may have gone, and expired before it was sent again"


def needed(db: Connection, now: int) -> bool:
    """Whether there is anything to do. Three index look-ups."""
    found = db.row(
        "select exists(select 1 from dk_mail where state in (1, 2) and lease_until<=?)"
        " or exists(select 1 from dk_mail where state=4 and due<=?)"
        f" or exists(select 1 from dk_mail where expires<{NEVER} and state in (0, 4) and expires<=?)",
        (now, now, now),
    )
    return bool(found and found[0])


def recover(db: Connection, now: int) -> tuple[Fate, ...]:
    """One batch of each kind; a worker comes again. What became of the lost and of the expired."""
    lost = db.rows(
        "select id, state, expiries, resend, resends, expires, heard, server from dk_mail"
        " where state in (1, 2) and lease_until<=? limit ?",
        (now, _BATCH),
    )
    db.run_many("update dk_mail set expiries=expiries+1 where id=?", [(row[0],) for row in lost])
    poison = [id_ for id_, state, expiries, *_ in lost if state == 1 and expiries + 1 >= _POISON]
    bury(db, now, poison, "poison")
    db.run_many(
        "update dk_mail set state=0, token='', server='' where id=? and state=1",
        [(id_,) for id_, state, *_ in lost if state == 1],
    )
    for id_, state, _, resend, resends, expires, heard, _ in lost:
        if state == 2 and heard:
            was_sent(db, now, id_, heard)
        elif state == 2:
            _doubt(db, now, id_, resends, *rest_of(resend, resends, expires - now))
    expired = db.rows(
        f"select id, state, server from dk_mail where expires<{NEVER} and state in (0, 4) and expires<=? limit ?", (now, _BATCH)
    )
    expire(db, now, [id_ for id_, *_ in expired])
    were = {row[0]: (row[1], row[-1]) for row in (*lost, *expired)}
    due = db.rows("select id, lane, priority from dk_mail where state=4 and due<=? order by due limit ?", (now, _BATCH))
    for id_, lane, priority in due:
        overtake(db, lane, priority)
        db.run("update dk_mail set state=0, server='', since=? where id=?", (now, id_))
    return _fates(db, were)


def _fates(db: Connection, were: Mapping[int, tuple[int, str]]) -> tuple[Fate, ...]:
    """How these mails stand now, with the state and the server each had before."""
    rows = db.rows(
        "select m.id, m.uid, l.account, l.route, l.stream, m.state, m.reason, m.due, m.server"
        " from dk_mail m join dk_lane l on l.id=m.lane where m.id in (select value from json_each(?)) order by m.id",
        (json.dumps(list(were)),),
    )
    return tuple(
        Fate(
            uid=row[1], account=row[2], route=row[3], stream=row[4], server=row[8] or were[row[0]][1],
            was=MailState(were[row[0]][0]), state=MailState(row[5]), reason=row[6], due=row[7],
        )
        for row in rows
    )  # fmt: skip


def _doubt(db: Connection, now: int, id_: int, resends: int, state: MailState, rest: int) -> None:
    """Mail whose worker was lost while it was sending. The token stays: a late answer may still settle that attempt."""
    again, dead = state is MailState.SCHEDULED, state is MailState.DEAD
    db.run(
        "update dk_mail set state=?, due=?, resends=?, doubt_at=?, doubt_server=server, reason=?, since=?,"
        " attempts=attempts+1 where id=?",
        (state, now + rest if again else 0, resends + again, now, "in_doubt" if dead else _LOST, now, id_),
    )
    note(db, now, [id_], "dead" if dead else "in_doubt", f"in_doubt: {_LOST}" if dead else _LOST)


def expire(db: Connection, now: int, ids: Sequence[int]) -> None:
    """Mail whose time is over: dead, but in doubt again where it may have gone."""
    _reopen(db, ids)
    again = "update dk_mail set state=3, due=0, server=doubt_server, reason=?, since=doubt_at where id=? and doubt_at>0"
    doubtful = [id_ for id_ in ids if db.run(again, (_EXPIRED, id_))]
    note(db, now, doubtful, "in_doubt", _EXPIRED)
    bury(db, now, [id_ for id_ in ids if id_ not in doubtful], "expired")


def _reopen(db: Connection, ids: Sequence[int]) -> None:
    """What blocked a lane may be among them; the mail behind it may cost less."""
    db.run_many(
        "update dk_lane set blocked_until=0 where blocked_until>0 and id in (select lane from dk_mail where id=? and state=0)",
        [(id_,) for id_ in ids],
    )


def bury(db: Connection, now: int, ids: Sequence[int], reason: str) -> None:
    """Mail that will not be sent, with its reason."""
    _reopen(db, ids)
    db.run_many("update dk_mail set state=5, token='', reason=?, since=? where id=?", [(reason, now, id_) for id_ in ids])
    note(db, now, ids, "dead", reason)
