"""Lanes: made, moved to another route, and looked into before their route or a server is removed."""

from deliverykit.contracts.books import LaneKey
from deliverykit.contracts.storage import Occupied, Step
from deliverykit.storages.sqlite.connection import Connection

__all__ = ["lane_id", "moved_and_vacant"]

_ON_ROUTE = (
    "select 1 from dk_lane l where l.account=? and l.route=?"
    " and (ready+in_doubt+scheduled>0 or exists (select 1 from dk_mail where lane=l.id and state in (1, 2)))"
)
# One half for each partial index.
_AT_SERVER = (
    "select 1 from dk_mail m join dk_lane l on l.id=m.lane"
    "  where m.state in (1, 2) and m.lease_until>0 and m.server=? and l.account=?"
    " union all select 1 from dk_lane l join dk_mail m on m.lane=l.id"
    "  where m.state in (3, 5) and m.state=3 and m.server=? and l.account=?"
)


def lane_id(db: Connection, key: LaneKey) -> int:
    """The lane's row, made where there is none."""
    where = (key.account, key.route, key.stream, key.key)
    find = "select id from dk_lane where account=? and route=? and stream=? and key=?"
    found = db.row(find, where) or db.row(
        "insert into dk_lane (account, route, stream, key) values (?, ?, ?, ?) returning id", where
    )
    assert found is not None  # noqa: S101  an INSERT … RETURNING answers or raises
    return int(found[0])


def moved_and_vacant(db: Connection, account: str, step: Step[object]) -> None:
    """Move what a step moves between routes, then raise :class:`Occupied` where it needs a route or server to be empty."""
    for route, to in step.moves:
        _move(db, account, route, to)
    for route in step.vacant:
        if db.row(_ON_ROUTE, (account, route)):
            raise Occupied(route)
    for server in step.idle:
        if db.row(_AT_SERVER, (server, account, server, account)):
            raise Occupied(server)


def _move(db: Connection, account: str, route: str, to: str) -> None:
    for id_, stream, key in db.rows("select id, stream, key from dk_lane where account=? and route=?", (account, route)):
        target = lane_id(db, LaneKey(account, to, stream, key))
        db.run("update dk_mail set lane=? where lane=? and state in (0, 4, 5)", (target, id_))
    db.run("update dk_lane set blocked_until=0 where account=? and route=?", (account, to))
