"""``deliverykit routes …``: which servers carry what, in which order."""

from argparse import ArgumentTypeError
from typing import Any

from deliverykit.cli import views
from deliverykit.cli.arguments import NONE, Menu, Parser, duration, pair
from deliverykit.cli.call import Call
from deliverykit.cli.output import Column, Record
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.routers import By, Weighted
from deliverykit.routers.sticky import FIELDS
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.outcomes import InDoubt

__all__ = ["add_commands"]

_STRATEGIES = ("priority", "round_robin", "least_used", "weighted", *(f"by:{field}" for field in FIELDS))


def add_commands(menu: Menu) -> None:
    """The commands of this module."""
    routes = menu.menu("routes", "the delivery routes: which servers, in which order")
    routes.verb("list", _list, "all routes that were added")
    show = routes.verb("show", _show, "one route, and how its servers stand")
    add = routes.verb("add", _add, "add a route over servers, in this order")
    update = routes.verb("update", _update, "change what is given and keep the rest; mail that waits looks again")
    remove = routes.verb("remove", _remove, "remove a route without losing what waits on it")
    what = remove.add_mutually_exclusive_group()
    what.add_argument("--move-to", metavar="ROUTE", help="where its mail waits from now on")
    what.add_argument("--cancel", action="store_true", help="its mail is cancelled")
    for parser in (show, add, update, remove):
        parser.add_argument("route", help="its name")
    for parser in (add, update):
        _add_record(parser)


def _add_record(parser: Parser) -> None:
    parser.add_argument(
        "--server", "-s", action="append", metavar="SERVER", help="an id or a name, in the order they are asked; repeatable"
    )
    parser.add_argument("--strategy", choices=_STRATEGIES, help="who orders them (priority)")
    parser.add_argument("--weight", action="append", type=_weight, metavar="SERVER=N", help="for weighted and by:…; repeatable")
    parser.add_argument(
        "--when-exhausted", choices=[one.value for one in WhenExhausted],
        help="when the first has no quota left: wait for it, take the next, or refuse (failover)",
    )  # fmt: skip
    parser.add_argument("--in-doubt", choices=[one.value for one in InDoubt], help="mail of unknown fate (hold)")
    parser.add_argument("--max-lateness", type=_lateness, metavar="TIME", help="mail that comes due later is dropped: 6h")


def _weight(text: str) -> tuple[str, int]:
    server, number = pair(text)
    if not number.isdigit():
        raise ArgumentTypeError(f"{text!r}: give a whole number, as in ses=3")
    return server, int(number)


def _lateness(text: str) -> object:
    return NONE if text == NONE else duration(text)


def _list(call: Call) -> int:
    columns = (
        Column("name"),
        Column("servers", lambda one: [call.names.get(id_, id_) for id_ in one["servers"]]),
        Column("strategy"),
        Column("when exhausted"),
        Column("in doubt"),
        Column("max lateness"),
        Column("why", "broken"),
    )
    call.out.rows(
        "routes",
        [views.route(one) for one in call.mailer.routes.list()],
        columns,
        empty="No route was added; the route `default` is made up of all ACTIVE servers.",
    )
    return 0


def _show(call: Call) -> int:
    route = call.mailer.routes.get(call.options.route)
    known = {one.id: one for one in call.mailer.servers.list()}
    members = [views.server(known[id_]) for id_ in route.servers if id_ in known]
    record = views.route(route) | {"members": members, "counts": call.mailer.outbox.counts(route=route.name)}
    call.out.record(record, hidden=("members", "servers"))
    if not call.out.as_json:
        call.out.say("")
        columns = [Column("id"), Column("name"), Column("esp"), Column("status", state=True), Column("why", "reason")]
        call.out.rows("members", members, columns, empty="No server is ACTIVE.")
    return 0


def _given(call: Call, old: Route | None = None) -> dict[str, Any]:
    options = call.options
    found: dict[str, Any] = {
        "when_exhausted": options.when_exhausted,
        "in_doubt": options.in_doubt,
        "max_lateness": options.max_lateness,
    }
    found = {name: value for name, value in found.items() if value is not None}
    if found.get("max_lateness") == NONE:
        found["max_lateness"] = None
    if options.server:
        found["servers"] = [call.server(word).id for word in options.server]
    weights = {call.server(word).id: number for word, number in options.weight or ()}
    strategy = options.strategy
    if strategy is None and weights:
        if old is None or not isinstance(old.strategy, Weighted | By):
            raise ConfigurationError("--weight: give --strategy weighted (or by:…) beside it")
        strategy = "weighted" if isinstance(old.strategy, Weighted) else f"by:{old.strategy.field}"
    if strategy is not None:
        found["strategy"] = _strategy(strategy, weights)
    return found


def _strategy(name: str, weights: dict[str, int]) -> object:
    if name == "weighted":
        if not weights:
            raise ConfigurationError("--strategy weighted: give --weight SERVER=N")
        return Weighted(weights)
    if name.startswith("by:"):
        return By(name.removeprefix("by:"), weights)
    if weights:
        raise ConfigurationError(f"--weight: {name} has no weights; give --strategy weighted, or by:…")
    return name


def _add(call: Call) -> int:
    given = _given(call)
    if "servers" not in given:
        raise ConfigurationError("--server: missing; a route needs at least one delivery server")
    route = call.mailer.routes.add(call.options.route, **given)
    call.out.done(f"Route {route.name}: {_told(call, views.route(route))}.", views.route(route))
    return 0


def _update(call: Call) -> int:
    given = _given(call, call.mailer.routes.get(call.options.route))
    if not given:
        raise ConfigurationError("routes update: nothing is given that could be changed; see --help")
    route = call.mailer.routes.update(call.options.route, **given)
    call.out.done(f"Route {route.name}: {_told(call, views.route(route))}.", views.route(route))
    return 0


def _remove(call: Call) -> int:
    name = call.options.route
    call.mailer.routes.remove(name, move_to=call.options.move_to, cancel=call.options.cancel)
    call.out.done(f"Route {name} is removed.", {"removed": name})
    return 0


def _told(call: Call, record: Record) -> str:
    servers = ", ".join(str(call.names.get(id_, id_)) for id_ in record["servers"])
    return f"{servers}; {record['strategy']}, {record['when_exhausted']} when the first is exhausted"
