"""Making a step true: what a decide object wants, inside the transaction it looked at."""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

from attrs import fields

from deliverykit.contracts.books import Change, Document, Gone, LaneKey, LogLine, MailState, NewMail
from deliverykit.contracts.limit import ForeignState, Record, State
from deliverykit.contracts.storage import DamagedStates, Late, Overtaken, Step, Taken, View
from deliverykit.storages.sqlite.connection import Connection
from deliverykit.storages.sqlite.lanes import lane_id, moved_and_vacant
from deliverykit.storages.sqlite.leaving import forget, was_sent
from deliverykit.words.clock import NEVER

__all__ = ["REMEMBERED", "applied", "insert_mails", "loaded", "overtake", "view"]

REMEMBERED = 24 * 3_600_000
"""How long, in ms, a ``once`` key is known."""
_but_its_id = attrgetter(*[one.name for one in fields(Change) if one.name != "id"])
_SWEPT = 10
"""So many keys that are no longer known go with each new one: their number stays that of a day."""


def view(db: Connection, now: int, account: str, keys: Sequence[str]) -> View:
    """What a decide object sees: the account's version and the limit states of ``keys``. Within ``db.deciding()``."""
    version = db.known.versions.get(account)
    if version is None:
        (version,) = db.row("select version from dk_account where id=?", (account,)) or (0,)
        db.known.versions[account] = version
    records = []
    for key in keys:
        seen, record = db.known.record(key) or _read(db, key)
        now = max(now, seen)
        records.append(record)
    return View(now, version, tuple(records))


def _read(db: Connection, key: str) -> tuple[int, Record]:
    seen, text = db.row("select seen, record from dk_state where key=?", (key,)) or (0, "{}")
    record = loaded(key, text, seen)
    db.known.put(key, seen, record)
    return seen, record


def loaded(key: str, text: str, seen: object) -> Record:
    """The states of a record, decided on at ``seen``. Raises :class:`DamagedStates` where it is none."""
    try:
        if type(seen) is not int:
            raise TypeError("seen")
        return {name: _state(state) for name, state in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError):
        raise DamagedStates(
            f"the limit states of {key!r} (table dk_state) cannot be read; put a backup of the file in its place, "
            "or delete that row: then all its counts begin at nought"
        ) from None


def _state(read: object) -> State:
    flat = isinstance(read, list) and all(type(one) is int and abs(one) <= NEVER for one in read)
    return tuple(read) if flat and isinstance(read, list) else ForeignState.of(read)


def marks(items: Sequence[Any]) -> str:
    """As many question marks."""
    return ",".join("?" * len(items))


def applied(db: Connection, account: str, keys: Sequence[str], seen: View, step: Step[Any]) -> Late:
    """Write what the step wants; which changes came too late."""
    states = [(key, record) for key, record in zip(keys, step.records, strict=False) if record is not None]
    more = bool(step.inserts or step.changes or step.log or step.documents or step.wake or step.moves)
    if step.moves or step.vacant or step.idle:
        moved_and_vacant(db, account, step)
    db.keep(states, seen.now, alone=not more)
    if not more:
        return frozenset()
    if step.inserts:
        insert_mails(db, step.inserts, seen.now)
    late = _changed(db, step.changes, seen.now) if step.changes else frozenset()
    if late and step.strict:
        raise Overtaken
    if step.log:
        write_log(db, seen.now, step.log)
    if step.documents:
        write_documents(db, account, step.documents)
    if step.wake and len(keys) > 1:  # what came back is the host's too, and any account's mail may wait for that
        db.run("update dk_lane set blocked_until=0 where blocked_until>0")
    elif step.wake or step.documents:
        db.run("update dk_lane set blocked_until=0 where account=? and blocked_until>0", (account,))
    return late


def insert_mails(db: Connection, mails: Iterable[NewMail], now: int) -> None:
    """New rows with their letters and files; a file that is there already is not stored again."""
    lanes: dict[LaneKey, int] = {}
    overtaking: set[tuple[int, int]] = set()
    filed: set[str] = set()
    letters: list[tuple[int, bytes]] = []
    people: list[tuple[int, bytes, str]] = []
    for mail in mails:
        if mail.once is not None:
            _remember(db, mail, now)
        if mail.lane not in lanes:
            lanes[mail.lane] = lane_id(db, mail.lane)
        lane = lanes[mail.lane]
        if mail.state is MailState.READY and (lane, mail.priority) not in overtaking:
            overtaking.add((lane, mail.priority))
            overtake(db, lane, mail.priority)
        row = db.insert(
            "insert into dk_mail"
            " (uid, lane, state, priority, due, expires, cost, server, token, lease_until, resend, since, encloses)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                mail.uid,
                lane,
                mail.state,
                mail.priority,
                mail.due,
                mail.expires,
                mail.cost,
                mail.server,
                mail.token,
                mail.lease_until,
                mail.resend,
                now,
                len(mail.files),
            ),
        )
        letters.append((row, mail.letter))
        people += [(now, who, mail.uid) for who in mail.who]
        for digest, content in mail.files.items():
            if digest not in filed:
                _file(db, digest, content)
                filed.add(digest)
            db.run("insert into dk_enclosed (mail, hash) values (?, ?) on conflict do nothing", (row, digest))
    db.run_many("insert into dk_letter (mail, body) values (?, ?)", letters)
    db.run_many("insert into dk_recipient (at, who, uid) values (?, ?, ?)", people)


def _file(db: Connection, digest: str, content: bytes) -> None:
    """Keep a content, once. SQLite copies what it is handed before it looks for a conflict, so it is asked first."""
    if db.row("select 1 from dk_file where hash=?", (digest,)) is None:
        db.run("insert into dk_file (hash, content) values (?, ?)", (digest, content))


def _remember(db: Connection, mail: NewMail, now: int) -> None:
    """Bind a mail's ``once`` key to it for a day; :class:`Taken` undoes the whole transaction."""
    assert mail.once is not None  # noqa: S101  asked for those that have one
    account, key = mail.lane.account, mail.once.key
    if db.row("select 1 from dk_once where account=? and key=? and at>?", (account, key, now - REMEMBERED)):
        raise Taken(key)
    db.run("delete from dk_once where id in (select id from dk_once where at<=? limit ?)", (now - REMEMBERED, _SWEPT))
    db.run(
        "insert into dk_once (account, key, at, uid, print) values (?, ?, ?, ?, ?)"
        " on conflict (account, key) do update set at=excluded.at, uid=excluded.uid, print=excluded.print",
        (account, key, now, mail.uid, mail.once.print),
    )


def overtake(db: Connection, lane: int, priority: int) -> None:
    """Mail of a higher priority than what blocked its lane is a new question: it may cost less."""
    db.run(
        "update dk_lane set blocked_until=0 where id=? and blocked_until>0"
        " and ? > (select priority from dk_mail where lane=? and state=0 order by priority desc, id limit 1)",
        (lane, priority, lane),
    )


def _changed(db: Connection, changes: Sequence[Change | Gone], now: int) -> Late:
    """Make changes true; which came too late. Those of a batch are mostly alike, and alike they are one statement."""
    alike: dict[object, tuple[Change | Gone, list[int | str]]] = {}
    for change in changes:
        # Of what is done with, little matters; it is most of what is settled.
        one = (change.token, change.was, change.unbind, not change.id) if isinstance(change, Gone) else _but_its_id(change)
        alike.setdefault(one, (change, []))[1].append(change.id or change.uid)
    names = {name for _, some in alike.values() for name in some}
    if len(names) < len(changes):  # in order, for the second finds what the first has left
        return frozenset(change.name for change in changes if not _done(db, change, [change.name], now))
    return frozenset(names.difference(*[_done(db, change, some, now) for change, some in alike.values()]))


def _done(db: Connection, change: Change | Gone, names: list[int | str], now: int) -> list[int | str]:
    """The same change for rows of these names; those that were not too late for it."""
    column = "uid" if change.uid else "id"
    where: str = f"{column}=?"
    values: list[Any] = [names[0]]
    if len(names) > 1:
        where, values = f"{column} in (select value from json_each(?))", [json.dumps(names)]
    if change.token is not None:
        where, values = where + " and token=?", [*values, change.token]
    if change.was is not None:
        where, values = where + " and state=?", [*values, change.was]
    if isinstance(change, Gone):
        if len(names) > 1 and not change.uid and not change.unbind:
            # Mostly all are still there. To count them and then to ask for nothing back takes less than to be told of each.
            ((still, files),) = db.rows(f"select count(*), max(encloses) from dk_mail where {where}", values)
            if still == len(names):
                db.run("delete from dk_mail where id in (select value from json_each(?))", values[:1])
                forget(db, names, files=bool(files))
                return names
        gone = db.rows(f"delete from dk_mail where {where} returning {column}, id, uid, encloses", values)
        forget(db, [row for _, row, _, _ in gone], files=any(encloses for *_, encloses in gone))
        if change.unbind:
            db.run_many("delete from dk_once where uid=?", [(uid,) for _, _, uid, _ in gone])
        return [name for name, *_ in gone]
    assignments, given = _assignments(db, change, now)
    done = db.rows(f"update dk_mail set {assignments} where {where} returning id, heard, {column}", [*given, *values])
    if change.letter is not None:
        db.run_many("update dk_letter set body=? where mail=?", [(change.letter, row) for row, _, _ in done])
    for row, heard, _ in done:
        if heard:  # an event came before the answer, or while it was sent again: whatever the answer is, the mail was sent
            was_sent(db, now, row, heard)
    return [name for _, _, name in done]


def _assignments(db: Connection, change: Change, now: int) -> tuple[str, list[Any]]:
    """What a change sets, and its values."""
    held = change.state in (MailState.LEASED, MailState.SENDING, MailState.IN_DOUBT)
    sets: dict[str, Any] = {"state": change.state, "due": change.due, "server": change.server, "reason": change.reason}
    if not held:
        sets["token"] = ""
    if change.resends is not None:
        sets |= {"resends": change.resends, "doubt_at": now, "doubt_server": change.server}
    if change.state in (MailState.SCHEDULED, MailState.IN_DOUBT, MailState.DEAD) or change.afresh:
        sets["since"] = now
    if change.letter is not None:
        sets["cost"] = change.cost
    if change.memo is not None:
        sets["memo"] = json.dumps(change.memo, separators=(",", ":")) if change.memo else ""
    if change.lease:
        sets["lease_until"] = now + change.lease
    if change.lane is not None:
        sets["lane"] = lane_id(db, change.lane)
    counts = "attempts=?, expiries=0" if change.afresh else "attempts=attempts+?*(state in (1, 2))"
    return ", ".join([*(f"{column}=?" for column in sets), counts]), [*sets.values(), int(change.spend)]


_LINE = "(?, ?, ?, ?, ?, ?, ?)"
_LOG = f"insert into dk_log (at, uid, account, server, outcome, detail, provider_id) values {_LINE}"
_LINES = 20
"""So many lines are one statement, which takes two thirds of the time. A fixed number, so that it is compiled once."""
_LOG_LINES = f"{_LOG}{f', {_LINE}' * (_LINES - 1)}"


def write_log(db: Connection, now: int, lines: Iterable[LogLine]) -> None:
    """Append to the delivery log."""
    rows = [(now, one.uid, one.account, one.server, one.outcome, one.detail, one.provider_message_id) for one in lines]
    whole = len(rows) - len(rows) % _LINES
    for first in range(0, whole, _LINES):
        db.run(_LOG_LINES, list(chain.from_iterable(rows[first : first + _LINES])))
    db.run_many(_LOG, rows[whole:])


def write_documents(db: Connection, account: str, documents: Iterable[Document]) -> None:
    """Documents of an account, and its next version."""
    for one in documents:
        if one.data is None:
            db.run("delete from dk_document where account=? and kind=? and id=?", (account, one.kind, one.id))
        else:
            db.run(
                "insert into dk_document (account, kind, id, data, secrets) values (?, ?, ?, ?, ?)"
                " on conflict (account, kind, id) do update set data=excluded.data, secrets=excluded.secrets",
                (account, one.kind, one.id, one.data, one.secrets),
            )
    # Drawn, not counted: a backup that was put in the place of the file and then changed must not come to a number that a
    # process remembers of the file as it was before.
    db.run(
        "insert into dk_account (id, version) values (?, (random() & 0x7ffffffffffffffe) + 1)"
        " on conflict (id) do update set version=excluded.version",
        (account,),
    )
    db.known.versions.pop(account, None)
