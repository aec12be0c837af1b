"""``deliverykit queue …``: what waits, and what a person does about it."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import frozen

from deliverykit.cli import views
from deliverykit.cli.arguments import Menu, Parser, When, ago, duration
from deliverykit.cli.call import NOTHING_DID, Call
from deliverykit.cli.output import Column, Later, Record
from deliverykit.contracts.books import MailState
from deliverykit.words.errors import ConfigurationError

__all__ = ["add_commands"]


def _left_by(one: Record) -> object:
    if one["at"] is None and one["later_than"] is None:
        return "never, as it is"
    return one["at"] or Later(one["later_than"])


_COUNTED: Final = 10_000
"""So many mails are counted before somebody is asked about them."""
_FILTERS: Final = ("ids", "route", "stream", "server", "reason", "since", "before")
_LANES = (
    Column("route"),
    Column("stream"),
    Column("waiting", right=True),
    Column("in doubt", lambda one: one["counts"]["in_doubt"], right=True),
    Column("dead", lambda one: one["counts"]["dead"], right=True),
    Column("on its way", lambda one: one["counts"]["leased"] + one["counts"]["sending"], right=True),
    Column("waits for", "blocked_by"),
    Column("since", "blocked_since"),
    Column("goes at"),
)
_ETAS = (
    Column("route"),
    Column("waiting", right=True),
    Column("has left by", _left_by),
    Column("held up by", "limited_by"),
)
_MAILS = (
    Column("id"),
    Column("state", state=True),
    Column("route"),
    Column("server", "server_name"),
    Column("attempts", right=True),
    Column("since"),
    Column("goes at"),
    Column("why", "reason"),
)


def add_commands(menu: Menu) -> None:
    """The commands of this module."""
    queue = menu.menu("queue", "the outbox: what waits, and what becomes of it")
    show = queue.verb("show", _show, "what waits together: how much, for what, until when")
    show.add_argument("--route", metavar="NAME", help="only this route")
    show.add_argument(
        "--eta", action="store_true", help="also by when each route's mail will have left, as quotas and paces tell"
    )
    listed = queue.verb("list", _list, "mails, the oldest first")
    listed.add_argument("--state", choices=[one.name.lower() for one in MailState], help="only in this state")
    listed.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (100)")
    requeue = queue.verb("requeue", _requeue, "put dead mail back into the queue, as if it were new")
    cancel = queue.verb("cancel", _cancel, "cancel what waits; it can be requeued")
    release = queue.verb("release", _release, "release lanes that the engine holds after many refusals")
    release.add_argument("--route", metavar="NAME", help="only this route")
    release.add_argument("--stream", metavar="NAME", help="only this stream")
    resolve = queue.verb("resolve", _resolve, "say what the mail in doubt was")
    what = resolve.add_mutually_exclusive_group(required=True)
    what.add_argument("--as-sent", action="store_true", help="it was sent: it is done with")
    what.add_argument("--resend", action="store_true", help="it was not: it asks for leave again, and may come twice")
    _add_filters(listed, _FILTERS)
    _add_filters(requeue, _FILTERS)
    _add_filters(cancel, ("ids", "route", "stream", "since", "before"))
    _add_filters(resolve, ("ids", "server", "route", "before"))
    prune = queue.verb("prune", _prune, "drop what has been dead for longer, and older lines of the log")
    prune.add_argument("--older-than", type=duration, required=True, metavar="TIME", help="30d")
    for parser in (requeue, cancel, resolve, prune):
        parser.add_argument("--yes", action="store_true", help="do not ask")


def _add_filters(parser: Parser, names: Sequence[str]) -> None:
    words: dict[str, dict[str, Any]] = {
        "route": {"metavar": "NAME", "help": "of this route"},
        "stream": {"metavar": "NAME", "help": "of this stream"},
        "server": {"metavar": "SERVER", "help": "of this server, an id or a name"},
        "reason": {"metavar": "TEXT", "help": "whose reason contains this"},
        "since": {"metavar": "TIME", "type": ago, "help": "as it stands since then, or later: 2h (ago), 2026-11-23"},
        "before": {"metavar": "TIME", "type": ago, "help": "as it stands since before then"},
    }
    if "ids" in names:
        parser.add_argument("ids", nargs="*", metavar="ID", help="the ids of mails")
    for name in names:
        if name != "ids":
            parser.add_argument(f"--{name}", **words[name])


def _filters(call: Call, names: Sequence[str]) -> dict[str, Any]:
    """What was given of them, as the outbox takes it."""
    found = {name: getattr(call.options, name) for name in names}
    found = {name: value for name, value in found.items() if value not in (None, [])}
    for name in found.keys() & {"since", "before"}:
        found[name] = found[name].before_now(call.zone)
    if "server" in found:
        found["server"] = call.server_id(found["server"])
    return found


# -- looking ------------------------------------------------------------------------------------------


def _show(call: Call) -> int:
    lanes = [views.lane(one) for one in call.mailer.outbox.lanes(route=call.options.route)]
    counts = dict(call.mailer.outbox.counts(route=call.options.route))
    etas = [views.eta(name, call.mailer.outbox.eta(route=name)) for name in _routes(call, lanes)] if call.options.eta else []
    if call.out.as_json:
        call.out.record({"counts": counts, "lanes": lanes} | ({"eta": etas} if call.options.eta else {}))
        return 0
    call.out.rows("lanes", lanes, _LANES, empty="Nothing is in the outbox.")
    if lanes:
        told = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in counts.items() if count)
        call.out.say("")
        call.out.say(f"{sum(counts.values()):,} in the outbox: {told or 'none'}")
    if etas:
        call.out.say("")
        call.out.rows("eta", etas, _ETAS, empty="")
        call.out.say("If nothing else comes in, a worker runs all the time, and every email is accepted at once.")
    return 0


def _routes(call: Call, lanes: Sequence[Record]) -> list[str]:
    """Those whose mail waits; that which was asked for in any case."""
    return [call.options.route] if call.options.route else list(dict.fromkeys(one["route"] for one in lanes if one["waiting"]))


def _list(call: Call) -> int:
    found = call.mailer.outbox.list(state=call.options.state, limit=call.options.limit, **_filters(call, _FILTERS))
    mails = [views.mail(one) | {"server_name": call.names.get(one.server, one.server)} for one in found]
    call.out.rows("mails", mails, _MAILS, empty="No mail fits.")
    if len(found) == call.options.limit:
        call.out.say(f"These are the oldest {len(found):,}; --limit shows more.")
    return 0


# -- putting in order ---------------------------------------------------------------------------------


@frozen
class _Act:
    """Something that is done to many mails, once somebody is sure."""

    call: Call
    word: str
    states: tuple[str, ...]
    fits: dict[str, Any]

    def ended(self, act: Callable[[], int], told: str) -> int:
        """Count, ask, act, and say how many it was."""
        if not self.fits:
            raise ConfigurationError(f"queue {self.word}: say which mail is meant; see `deliverykit queue {self.word} --help`")
        if not self.sure():
            return NOTHING_DID
        done = act()
        self.call.out.done(f"{done:,} {'mail is' if done == 1 else 'mails are'} {told}.", {self.word: done})
        return 0

    def sure(self) -> bool:
        """Whether it is to be done; asked at a terminal only, where --yes is not given."""
        call = self.call
        if call.options.yes:
            return True
        count = self._count()
        many = (
            f"{'more than ' if count > _COUNTED else ''}{min(count, _COUNTED):,} {'mail fits' if count == 1 else 'mails fit'}"
        )
        if not call.ask.present:
            raise ConfigurationError(f"queue {self.word}: {many}; give --yes to go on (there is no terminal to ask at)")
        if call.ask.sure(f"{many}. {self.word.capitalize()}?"):
            return True
        call.ask.say("Nothing was done.")
        return False

    def _count(self) -> int:
        outbox = self.call.mailer.outbox
        return sum(len(outbox.list(state=state, limit=_COUNTED + 1, **self.fits)) for state in self.states)


def _requeue(call: Call) -> int:
    fits = _filters(call, _FILTERS)
    return _Act(call, "requeue", ("dead",), fits).ended(lambda: call.mailer.outbox.requeue(**fits), "in the queue again")


def _cancel(call: Call) -> int:
    fits = _filters(call, ("ids", "route", "stream", "since", "before"))
    act = _Act(call, "cancel", ("ready", "scheduled"), fits)
    return act.ended(lambda: call.mailer.outbox.cancel(**fits), "cancelled")


def _release(call: Call) -> int:
    released = call.mailer.outbox.release(route=call.options.route, stream=call.options.stream)
    call.out.done(f"{released} held {'lane is' if released == 1 else 'lanes are'} released.", {"release": released})
    return 0


def _resolve(call: Call) -> int:
    fits = _filters(call, ("ids", "server", "route", "before"))
    sent = call.options.as_sent
    told = "settled as sent" if sent else "in the queue again"
    act = _Act(call, "resolve", ("in_doubt",), fits)
    return act.ended(lambda: call.mailer.outbox.resolve(as_sent=sent, resend=not sent, **fits), told)


def _prune(call: Call) -> int:
    before = When("", length=call.options.older_than).before_now(call.zone)
    if not _Act(call, "prune", ("dead",), {"before": before}).sure():
        return NOTHING_DID
    dropped = call.mailer.outbox.prune(older_than=call.options.older_than)
    record: Record = {"dead": dropped.dead, "log": dropped.log}
    call.out.done(f"{dropped.dead:,} dead mails and {dropped.log:,} lines of the log are dropped.", record)
    return 0
