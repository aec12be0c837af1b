"""``deliverykit servers …`` and ``deliverykit quota``: delivery servers, from adding to removing."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from typing import Any

from deliverykit.cli import forms, views
from deliverykit.cli.arguments import NONE, Menu, Parser, add_limits, duration, limits, quota_words
from deliverykit.cli.call import NOTHING_DID, Call
from deliverykit.cli.output import Column, Lines
from deliverykit.contracts.provider import Provider
from deliverykit.records.server import DeliveryServer
from deliverykit.words.checks import CheckReport, CheckStatus
from deliverykit.words.errors import ConfigurationError, NotProven
from deliverykit.words.results import SendStatus

__all__ = ["add_commands"]

_COLUMNS = (
    Column("id"),
    Column("name"),
    Column("esp"),
    Column("status", state=True),
    Column("tested", "proven"),
    Column("sender"),
    Column("quota"),
    Column("pause"),
    Column("why", "reason"),
)
_WINDOWS = (
    Column("server", "name"),
    Column("of", "owner"),
    Column("window"),
    Column("used", right=True),
    Column("limit", right=True),
    Column("left", right=True),
    Column("resets", "resets_at"),
)


def add_commands(menu: Menu, own: Sequence[type[Provider]] = ()) -> None:
    """The commands of this module; ``own`` are the adapters that the host's mailer knows."""
    servers = menu.menu("servers", "the delivery servers: who sends, at which ESP")
    servers.verb("list", _list, "all servers, in order of adding")
    show = servers.verb("show", _show, "one server: its fields, its quota, how it does")
    add = servers.verb(
        "add",
        _add,
        "add a delivery server, PAUSED until a test was accepted.",
        "At a terminal it asks field by field; with --esp only for what is needed and not given.",
    )
    add.add_argument("--esp", choices=tuple(forms.esps(own)), help="which ESP; with --app those that it registers too")
    add.add_argument("--id", help="an id of your choosing; the same command may then be repeated")
    add.add_argument("--check", action="store_true", help="try the credentials first; refused ones are not added")
    _add_record(add, own)
    check = servers.verb("check", _check, "try the credentials of a server, without sending")
    test = servers.verb("test", _test, "send one real email by a server; an accepted one lets it be activated")
    test.add_argument("--to", required=True, metavar="ADDRESS", help="whom, an address you read")
    test.add_argument("--sender", metavar="ADDRESS", help="the From, where the server forces none")
    activate = servers.verb("activate", _activate, "let a server carry mail")
    pause = servers.verb("pause", _pause, "stop a server; what is on its way finishes")
    pause.add_argument("--reason", default="", help="why; `servers list` tells it")
    update = servers.verb(
        "update", _update, "change what is given and keep the rest.", "Counts of quotas are kept. 'none' takes a value away."
    )
    update.add_argument(
        "--test-to", metavar="ADDRESS", help="prove it by a test email first, and swap without a gap; else nothing is changed"
    )
    update.add_argument("--test-sender", metavar="ADDRESS", help="the From of that test, where the server forces none")
    _add_record(update, own)
    remove = servers.verb("remove", _remove, "remove a server that no route names and no mail needs")
    remove.add_argument("--force", action="store_true", help="also from its routes, and though mail of it is in doubt")
    for parser in (show, check, test, activate, pause, update, remove):
        parser.add_argument("server", help="its id, or its name")
    quota = menu.verb("quota", _quota, "what is used and left of every quota, and when it resets")
    quota.add_argument("server", nargs="*", help="only of these; an id, or a name")


def _add_record(parser: Parser, own: Sequence[type[Provider]]) -> None:
    group = parser.add_argument_group("the server")
    group.add_argument("--name", help="for people; never in an email, never at an ESP")
    group.add_argument("--sender", metavar="ADDRESS", help="replaces the From of every mail")
    group.add_argument("--senders", action="append", metavar="DOMAIN", help="a domain or address it may send for")
    group.add_argument("--budget", action="append", metavar="NAME", help="limits that it shares with others; repeatable")
    add_limits(parser)
    forms.add_fields(parser, own)


# -- looking ------------------------------------------------------------------------------------------


def _list(call: Call) -> int:
    call.out.rows(
        "servers",
        [views.server(one) for one in call.mailer.servers.list()],
        _COLUMNS,
        empty="There is no delivery server yet; `deliverykit servers add` asks for one.",
    )
    return 0


def _show(call: Call) -> int:
    server = call.server(call.options.server)
    record = views.server(server) | {"health": views.health_of(call.mailer.servers.health(server))}
    record["quota_used"] = [views.quota(one, server) for one in call.mailer.servers.quota(server)]
    record["routes"] = [one.name for one in call.mailer.routes.list() if server.id in one.servers]
    call.out.record(record, hidden=("health", "quota_used"))
    if not call.out.as_json:
        health = {name: value for name, value in record["health"].items() if value}
        call.out.record(health)
        if record["quota_used"]:
            call.out.say("")
            call.out.rows("quota", record["quota_used"], _WINDOWS[1:], empty="")
    return 0


def _quota(call: Call) -> int:
    servers = [call.server(word) for word in call.options.server] or call.mailer.servers.list()
    windows = [views.quota(one, server) for server in servers for one in call.mailer.servers.quota(server)]
    call.out.rows("quota", windows, _WINDOWS, empty="No server has a quota.")
    return 0


# -- adding and changing ------------------------------------------------------------------------------


def _add(call: Call) -> int:
    options, ask = call.options, call.ask
    own = call.mailer.servers.providers()
    whole = options.esp is None
    if whole and not ask.present:
        raise ConfigurationError(f"--esp: missing; give one of {', '.join(forms.esps(own))} (there is no terminal to ask at)")
    info = forms.esps(own)[options.esp or ask.choice("ESP", forms.choices(own))]
    provider = forms.made(info, forms.asked(info, forms.given(options, info, ask), ask, whole=whole), ask, own)
    report = call.mailer.servers.check(provider=provider) if options.check else None
    if report is not None and report.status is CheckStatus.REFUSED and not _all_the_same(call, report):
        return NOTHING_DID
    record = _given(call) | ({"id": options.id} if options.id else {})
    if whole:
        _ask_record(call, record, info.label)
    record.setdefault("name", info.label)
    server = call.mailer.servers.add(provider=provider, **record)
    if report is not None:
        call.out.say(_told(report))
    checked = {} if report is None else {"check": views.check(report)}
    call.out.done(f"{server.name} is added as {server.id}, {server.status.upper()}.", views.server(server) | checked)
    if not server.proven:
        call.out.say(f"Next: deliverykit servers test {server.id} --to an-address-you-read")
    return 0


def _all_the_same(call: Call, report: CheckReport) -> bool:
    """Whether a server is added though its credentials are refused: a person may have reasons."""
    if call.ask.present:
        for line in _told(report).lines:
            call.ask.say(line)
        return call.ask.sure("Add it all the same?")
    call.out.done(Lines((*_told(report).lines, "Nothing was added.")), {"check": views.check(report)})
    return False


def _told(report: CheckReport) -> Lines:
    """What the ESP said, in lines."""
    head = {CheckStatus.OK: "The credentials work.", CheckStatus.REFUSED: "The credentials cannot send."}
    lines = [head.get(report.status, "It could not be found out whether the credentials work.")]
    lines += [f"  {name}: {value}" for name, value in report.facts.items()]
    for one in report.problems:
        lines += [f"  ! {one.what}", f"    → {one.mend}"]
    return Lines(tuple(lines))


def _ask_record(call: Call, record: dict[str, Any], label: str) -> None:
    """The rest of the form, of what was not given."""
    ask = call.ask
    if "name" not in record:
        record["name"] = ask.text("Name, for people", default=label)
    if "sender" not in record and (sender := ask.text("Sender, replaces every From")):
        record["sender"] = sender
    if "quota" not in record:
        _ask_limit(call, record, "quota", "Quota, such as 1000/hour 10000/day 200/24h", quota_words)
    if "pause" not in record:
        _ask_limit(call, record, "pause", "Pause between two emails, such as 2s or 500ms", duration)


def _ask_limit(call: Call, record: dict[str, Any], name: str, question: str, read: Callable[[str], object]) -> None:
    """Ask until it is understood, or left out."""
    while answer := call.ask.text(question):
        try:
            record[name] = read(answer)
        except (ArgumentTypeError, ConfigurationError) as error:
            call.ask.say(str(error))
        else:
            return


def _given(call: Call, *, update: bool = False) -> dict[str, Any]:
    """What the options say of the record, beside the ESP's fields."""
    options = call.options
    found: dict[str, Any] = {name: getattr(options, name) for name in ("name", "sender", "senders")}
    found["budgets"] = options.budget
    found = {name: value for name, value in found.items() if value is not None}
    if update:
        empty: dict[str, Any] = {"sender": None, "senders": None, "budgets": ()}
        found = {name: empty[name] if name in empty and value in (NONE, [NONE]) else value for name, value in found.items()}
    return found | limits(options, update=update)


def _update(call: Call) -> int:
    server = call.server(call.options.server)
    changes = _given(call, update=True)
    provider = _changed(call, server)
    if provider is not None:
        changes["provider"] = provider
    if not changes:
        raise ConfigurationError("servers update: nothing is given that could be changed; see --help")
    try:
        changed = call.mailer.servers.update(
            server, test_to=call.options.test_to, test_sender=call.options.test_sender, **changes
        )
    except NotProven as error:
        call.out.done(f"{error}", {"server": server.id, "proven": False, "reason": str(error)})
        return NOTHING_DID
    _done(call, changed, f"{changed.name} is changed.")
    if not changed.proven:
        call.out.say(f"It needs a test: deliverykit servers test {changed.id} --to an-address-you-read")
    return 0


def _changed(call: Call, server: DeliveryServer) -> Provider | None:
    """The server's provider with other fields; ``None`` where none is given."""
    if server.provider is None:
        return None
    info = forms.esps(call.mailer.servers.providers())[server.provider.name]
    values = forms.given(call.options, info, call.ask)
    return forms.changed(server.provider, info, values) if values else None


# -- the life of a server -----------------------------------------------------------------------------


def _check(call: Call) -> int:
    server = call.server(call.options.server)
    report = call.mailer.servers.check(server)
    call.out.done(_told(report), {"server": server.id, **views.check(report)})
    return 0 if report else NOTHING_DID


def _test(call: Call) -> int:
    server = call.server(call.options.server)
    result = call.mailer.servers.send_test(server, to=call.options.to, sender=call.options.sender)
    told = {SendStatus.ACCEPTED: "was accepted"}.get(result.status, f"is {result.status.replace('_', ' ')}")
    because = f": {result.reason}" if result.reason else "."
    call.out.done(f"The test by {server.name} {told}{because}", views.result(result) | {"server": server.id})
    if result.proof and not server.active:
        call.out.say(f"Next: deliverykit servers activate {server.id}")
    return 0 if result.proof else NOTHING_DID


def _activate(call: Call) -> int:
    given = call.server(call.options.server)
    try:
        server = call.mailer.servers.activate(given)
    except NotProven:
        raise NotProven(
            f"server {given.name!r} has no accepted test email since its last change; "
            f"first: deliverykit servers test {given.id} --to an-address-you-read"
        ) from None
    return _done(call, server, f"{server.name} is ACTIVE.")


def _pause(call: Call) -> int:
    server = call.mailer.servers.pause(call.server(call.options.server), reason=call.options.reason)
    return _done(call, server, f"{server.name} is PAUSED; it is given nothing more.")


def _remove(call: Call) -> int:
    server = call.server(call.options.server)
    call.mailer.servers.remove(server, force=call.options.force)
    call.out.done(f"{server.name} is removed.", {"removed": server.id})
    return 0


def _done(call: Call, server: DeliveryServer, text: str) -> int:
    call.out.done(text, views.server(server))
    return 0
