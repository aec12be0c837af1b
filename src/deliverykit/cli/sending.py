"""``deliverykit send`` and ``deliverykit explain``: one message, sent or asked about."""

from deliverykit.cli import views
from deliverykit.cli.arguments import Menu
from deliverykit.cli.call import NOTHING_DID, Call
from deliverykit.cli.messages import add_message, message
from deliverykit.cli.output import Column, Record, words
from deliverykit.records.route import DEFAULT_ROUTE
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.results import Explanation, SendStatus

__all__ = ["add_commands"]

_WORDS = {
    SendStatus.ACCEPTED: "was accepted",
    SendStatus.QUEUED: "waits in the outbox",
    SendStatus.REJECTED: "is rejected",
    SendStatus.IN_DOUBT: "is in doubt",
}


def add_commands(menu: Menu) -> None:
    """The commands of this module."""
    send = menu.verb("send", _send, "send one message now, or hand it to the outbox")
    send.add_argument("--route", default=DEFAULT_ROUTE, metavar="NAME", help=f"which way ({DEFAULT_ROUTE})")
    how = send.add_mutually_exclusive_group()
    how.add_argument("--server", metavar="SERVER", help="exactly by this one, an id or a name")
    how.add_argument("--enqueue", action="store_true", help="leave it to a worker")
    explain = menu.verb(
        "explain", _explain, "what `send` would do with a message now, and why; spends nothing.",
        "Without a message it is about a plain one.",
    )  # fmt: skip
    explain.add_argument("--route", default=DEFAULT_ROUTE, metavar="NAME", help=f"which way ({DEFAULT_ROUTE})")
    for parser in (send, explain):
        add_message(parser)


def _send(call: Call) -> int:
    options = call.options
    mail = message(options, call.zone)
    if options.enqueue:
        (id_,) = call.mailer.enqueue([mail], route=options.route)
        call.out.done(f"{id_} waits in the outbox.", {"id": id_, "status": SendStatus.QUEUED.value})
        return 0
    server = None if options.server is None else call.server(options.server)
    if server is not None and options.route != DEFAULT_ROUTE:
        raise ConfigurationError("--server: goes through exactly this one; leave --route out")
    result = call.mailer.send(mail, route=options.route, server=server)
    last = f" by {call.names.get(result.attempts[-1].server, '?')}" if result.attempts else ""
    until = f", until {words(result.goes_at, lambda: call.zone)}" if result.goes_at else ""
    because = f": {result.reason}" if result.reason else ""
    call.out.done(f"{result.id} {_WORDS[result.status]}{last}{until}{because}", views.result(result))
    return 0 if result else NOTHING_DID


def _explain(call: Call) -> int:
    answer = call.mailer.explain(message(call.options, call.zone, sample=True), route=call.options.route)
    if call.out.as_json:
        call.out.record(views.explained(answer))
    else:
        call.out.say(_said(call, answer))
        columns = (Column("server", "name"), Column("verdict", state=True), Column("at"), Column("why", _why))
        call.out.rows("servers", views.explained(answer)["servers"], columns, empty="The route has no server that is ACTIVE.")
    return 1 if answer.status is SendStatus.REJECTED else 0


def _said(call: Call, answer: Explanation) -> str:
    at = words(answer.goes_at, lambda: call.zone) if answer.goes_at else ""
    because = f": {answer.reason}" if answer.reason else ""
    if answer.server is not None:
        instead = f", as the fallback for {call.names.get(answer.fallback_for, '?')}" if answer.fallback_for else ""
        return (
            f"Route {answer.route}: {call.names[answer.server]} would take it {f'at {at}' if at else 'now'}{instead}{because}"
        )
    if answer.status is SendStatus.REJECTED:
        return f"Route {answer.route}: it would be refused{f'; it could go at {at}' if at else ''}{because}"
    return f"Route {answer.route}: it would wait until {at or 'something changes'}{because}"


def _why(record: Record) -> str:
    return "; and ".join(filter(None, [record["reason"], *(one["by"] for one in record["waits"][1:])]))
