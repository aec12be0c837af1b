"""The store's clock: what was seen of it, and how an earlier one is accepted on purpose."""

from typing import Final

from deliverykit.contracts.limit import Record
from deliverykit.contracts.storage import DamagedStates, Rewind, Rewound
from deliverykit.storages.sqlite.connection import Connection
from deliverykit.storages.sqlite.known import text_of
from deliverykit.storages.sqlite.steps import loaded
from deliverykit.words.clock import moment
from deliverykit.words.errors import ClockError

__all__ = ["SLACK", "accept", "behind", "times_accepted"]

SLACK: Final = 3_600_000
"""A clock that lies at most so many ms behind is waited for; one further behind is refused."""

_ACCEPTED: Final = "clocks accepted"


def behind(now: int, seen: int) -> ClockError:
    """The refusal, which names both."""
    return ClockError(
        f"the clock says {_said(now)}, but the store has seen {_said(seen)}; set the clock right, or where it is right now, "
        "accept it with mailer.accept_clock()"
    )


def _said(at: int) -> str:
    found = moment(at)
    return "never" if found is None else f"{found:%Y-%m-%dT%H:%M:%SZ}"


def times_accepted(db: Connection) -> int:
    """How often an earlier clock was accepted: a process that still remembers a later one learns of it so."""
    found = db.asked("select value from dk_meta where key=?", (_ACCEPTED,))
    return int(found[0]) if found else 0


def accept(db: Connection, now: int, seen: int, rewind: Rewind) -> Rewound:
    """Everything that bears an instant of the later clock. ``seen`` is what this process has seen of it."""
    found = db.rows("select key, seen, record from dk_state")
    seen = max([seen, *(row[1] for row in found if isinstance(row[1], int))])
    if seen <= now:
        return Rewound(now=now, seen=seen)
    ahead = {key: states for key, later, text in found if (states := _states(key, text, later)) is not None and later > now}
    for key, states in ahead.items():
        db.run("update dk_state set seen=?, record=? where key=?", (now, text_of(rewind(key, states, now)), key))
    lanes = db.run("update dk_lane set blocked_until=0 where blocked_until>0")
    db.run(
        "update dk_lane set blocked_since=min(blocked_since, ?), served_at=min(served_at, ?)"
        " where blocked_since>? or served_at>?",
        (now, now, now, now),
    )
    mails = _mails(db, now, seen)
    db.run("update dk_once set at=? where at>?", (now, now))
    db.run(
        "insert into dk_meta (key, value) values (?, '1') on conflict (key) do update set value=value+1",
        (_ACCEPTED,),
    )
    return Rewound(now=now, seen=seen, records=len(ahead), lanes=lanes, mails=mails)


def _states(key: str, text: str, seen: object) -> Record | None:
    """The states of a record; ``None`` where they cannot be read, which stops that account alone."""
    try:
        return loaded(key, text, seen)
    except DamagedStates:
        return None


def _mails(db: Connection, now: int, seen: int) -> int:
    """How many leases, retries and own times moved.

    What lies beyond ``seen`` moves with the clock. What lies before it, and yet too far ahead to be of this clock, had
    passed by the other: it is over now.
    """
    moved = "case when {0}>:seen then {0}-(:seen-:now) when {0}>:now+:slack then :now else {0} end"
    values = {"now": now, "seen": seen, "slack": min(SLACK, seen - now)}
    leases = db.run(
        f"update dk_mail set lease_until={moved.format('lease_until')} where state in (1, 2) and lease_until>:now+:slack",
        values,
    )
    # Whatever schedules a mail anew gives a reason; a mail that waits for its own time has none.
    retries = db.run(f"update dk_mail set due={moved.format('due')} where state=4 and reason<>'' and due>:now+:slack", values)
    early = db.run("update dk_mail set state=4 where state=0 and reason='' and due>?", (now,))
    # How late it came due stays what it was.
    db.run("update dk_mail set due=max(1, due-(since-?)) where state=0 and due>?", (now, now))
    db.run("update dk_mail set since=? where since>?", (now, now))
    db.run("update dk_mail set doubt_at=? where doubt_at>?", (now, now))
    return leases + retries + early
