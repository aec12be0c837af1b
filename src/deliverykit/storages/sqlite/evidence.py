"""What an ESP's event proves of a mail: that an attempt of it reached the ESP."""

from deliverykit.contracts.books import MailState
from deliverykit.storages.sqlite.connection import Connection
from deliverykit.storages.sqlite.leaving import was_sent

__all__ = ["heard"]


def heard(db: Connection, now: int, account: str, uid: str, server: str, event: str) -> bool:
    """Settle the mail; or keep the event for an answer that is still awaited."""
    row = db.row(
        "select m.id, m.state, m.server, m.doubt_server, m.doubt_at from dk_mail m join dk_lane l on l.id=m.lane"
        " where m.uid=? and l.account=?",
        (uid, account),
    )
    if row is None:
        return False
    id_, state, carrier, doubted, doubt_at = row
    flying = state == MailState.SENDING
    if not (doubt_at and server in ("", doubted)) and not (flying and server in ("", carrier)):
        return False  # of an attempt that is over and known; it proves nothing of any other
    if flying:
        db.run("update dk_mail set heard=? where id=?", (event, id_))
    else:
        was_sent(db, now, id_, event)
    return True
