"""``deliverykit log``: what happened to a mail."""

from deliverykit.cli import views
from deliverykit.cli.arguments import Menu
from deliverykit.cli.call import Call
from deliverykit.cli.output import Column

__all__ = ["add_commands"]

_COLUMNS = (
    Column("at"),
    Column("outcome", state=True),
    Column("server", "server_name"),
    Column("the ESP's id", "provider_message_id"),
    Column("detail"),
)


def add_commands(menu: Menu) -> None:
    """The commands of this module."""
    log = menu.verb("log", _log, "what happened to a mail, the oldest first, and how it stands")
    log.add_argument("id", help="its id, as `send` and `enqueue` gave it")


def _log(call: Call) -> int:
    id_ = call.options.id
    trace = call.mailer.log.get(id_)
    lines = [views.log_line(one, id_) | {"server_name": call.names.get(one.server, one.server)} for one in trace.lines]
    here = () if trace.mail is None else (trace.mail,)
    if call.out.as_json:
        call.out.record({"id": id_, "mail": views.mail(here[0]) if here else None, "lines": lines})
        return 0
    call.out.rows("lines", lines, _COLUMNS, empty="Nothing has happened to it yet.")
    for mail in here:
        call.out.say("")
        call.out.record(views.mail(mail))
    return 0
