"""``deliverykit log``: what happened to a mail, who got what, and what happens now."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from deliverykit.cli import views
from deliverykit.cli.arguments import Menu, ago
from deliverykit.cli.call import Call
from deliverykit.cli.output import Column, Record, words
from deliverykit.engine.rooms.log import OUTCOMES
from deliverykit.engine.rooms.views import LogEntry
from deliverykit.words.errors import ConfigurationError

__all__ = ["add_commands"]

_LOOK: Final = 0.5
"""Seconds between two looks of --follow."""
_MANY: Final = 10_000
"""More lines come in no such time."""
_LATE: Final = timedelta(seconds=10)
_LINES = (
    Column("at"),
    Column("outcome", state=True),
    Column("server", "server_name"),
    Column("the ESP's id", "provider_message_id"),
    Column("detail"),
)
_MAILS = (_LINES[0], Column("mail", "id"), *_LINES[1:])


def add_commands(menu: Menu) -> None:
    """The commands of this module."""
    log = menu.verb(
        "log", _log, "what happened to a mail; or lines of the log, the oldest first.",
        "The log keeps no addresses: --recipient is found by a keyed hash.",
    )  # fmt: skip
    log.add_argument("id", nargs="?", help="of one mail, as `send` and `enqueue` gave it")
    log.add_argument("--recipient", metavar="ADDRESS", help="of mail to this person")
    log.add_argument("--server", metavar="SERVER", help="about this server, an id or a name")
    log.add_argument("--outcome", choices=OUTCOMES, metavar="OUTCOME", help=f"one of {', '.join(OUTCOMES)}")
    log.add_argument("--since", type=ago, metavar="TIME", help="not before: 2h (ago), 2026-11-23")
    log.add_argument("--before", type=ago, metavar="TIME", help="before then")
    log.add_argument("--limit", type=int, metavar="N", help="the latest so many (100)")
    log.add_argument("--follow", "-f", action="store_true", help="go on telling what happens, until Ctrl-C")


def _log(call: Call) -> int:
    options = call.options
    filters = _filters(call)
    if options.id is not None:
        if filters or options.follow or options.limit is not None:
            raise ConfigurationError("log: give the id of a mail, or filters; not both")
        return _mail(call, options.id)
    if options.follow:
        if "before" in filters:
            raise ConfigurationError("log: --before has an end, --follow has none; leave one out")
        return _followed(call, filters)
    found = call.mailer.log.list(limit=100 if options.limit is None else options.limit, **filters)
    lines = [_line(call, one) for one in reversed(found)]
    call.out.rows("lines", lines, _MAILS, empty="The log has no such line.")
    return 0


def _filters(call: Call) -> dict[str, Any]:
    options = call.options
    found: dict[str, Any] = {name: getattr(options, name) for name in ("recipient", "server", "outcome", "since", "before")}
    found = {name: value for name, value in found.items() if value is not None}
    for name in found.keys() & {"since", "before"}:
        found[name] = found[name].before_now(call.zone)
    if "server" in found:
        found["server"] = call.server_id(found["server"])
    return found


def _line(call: Call, one: LogEntry) -> Record:
    return views.log_line(one) | {"server_name": call.names.get(one.server, one.server)}


def _mail(call: Call, id_: str) -> int:
    trace = call.mailer.log.get(id_)
    lines = [_line(call, one) for one in trace.lines]
    mail = None if trace.mail is None else views.mail(trace.mail)
    if call.out.as_json:
        told = {"id": trace.id, "state": trace.state, "server": trace.server, "provider_message_id": trace.provider_message_id}
        call.out.record({**told, "mail": mail, "lines": lines})
        return 0
    call.out.rows("lines", lines, _LINES, empty="Nothing has happened to it yet.")
    if mail is not None:
        call.out.say("")
        call.out.record(mail)
    return 0


def _followed(call: Call, filters: dict[str, Any]) -> int:
    """Line by line, as they are written; without --since from now on."""
    start = filters.pop("since", None) or datetime.now(UTC)
    horizon, told = start, frozenset[LogEntry]()
    while True:
        found = call.mailer.log.list(limit=_MANY, since=horizon, **filters)
        for one in reversed(found):
            if one not in told:
                record = _line(call, one)
                call.out.event(record, "  ".join(words(column.of(record), lambda: call.zone) for column in _MAILS))
        # A line may be written a moment after its instant: what was told lately is looked at again.
        horizon, told = max(start, datetime.now(UTC) - _LATE), frozenset(found)
        time.sleep(_LOOK)
