"""What a person would look at to see whether mail leaves: pure, over what the rooms and the storage tell."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from attrs import field, frozen

from deliverykit.contracts.books import Condition
from deliverykit.engine.rooms.health import HealthView
from deliverykit.engine.rooms.views import LaneView, Mail
from deliverykit.limits.checks import brief
from deliverykit.limits.zones import zone
from deliverykit.records.account import Account
from deliverykit.records.hold import Hold
from deliverykit.records.route import DEFAULT_ROUTE, Route
from deliverykit.records.server import Budget, DeliveryServer, Status
from deliverykit.words.arguments import Choice
from deliverykit.words.clock import length
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.untrusted import scrubbed

__all__ = ["Facts", "Finding", "Severity", "findings", "house"]

_DAY: Final = timedelta(days=1)
_UNATTENDED: Final = timedelta(minutes=2)
_MB: Final = 1_000_000
_SLACK: Final = 5_000
"""Machines whose clocks differ by less, in ms, are of one time."""
_HOUR: Final = 3_600_000


class Severity(Choice):
    """How much a finding matters."""

    OK = "ok"
    """As it should be."""
    NOTE = "note"
    """Worth knowing; nothing to mend."""
    WARNING = "warning"
    """It works, and somebody should look: mail waits for a person, or a reserve is used up."""
    PROBLEM = "problem"
    """Something does not work until it is mended."""


@frozen(kw_only=True)
class Finding:
    """One thing that ``mailer.doctor()`` found. It names no recipient and no secret."""

    severity: Severity
    check: str
    """What was looked at: ``storage``, ``clock``, ``secret key``, ``servers``, ``routes``, ``queue``, …"""
    what: str
    mend: str = ""
    """What to do about it; ``""`` where nothing is to be done."""
    account: str = ""
    """Whose; ``""`` for what all accounts share."""


@frozen(kw_only=True)
class Facts:
    """What is known of one account."""

    account: Account
    now: datetime
    servers: Sequence[DeliveryServer] = ()
    health: Mapping[str, HealthView] = field(factory=dict)
    routes: Sequence[Route] = ()
    lanes: Sequence[LaneView] = ()
    unattended: Sequence[Mail] = ()
    """The oldest mail of each lane that nothing holds up."""
    doubt: int = 0
    doubted: Mail | None = None
    """The oldest in doubt."""
    dead: Mapping[str, int] = field(factory=dict)
    """By reason."""
    holds: Sequence[Hold] = ()
    """What the engine holds until a person releases it."""
    has_key: bool = True
    budgets: Sequence[Budget] = ()
    foreign: Sequence[tuple[str, str]] = ()
    """Kind and id of the stored records whose kind this version does not know."""
    unread: Sequence[Mail] = ()
    """Messages that a process could not read, the oldest first."""


# -- what all accounts share ----------------------------------------------------------------------------


def house(condition: Condition | None, clock: int) -> tuple[Finding, ...]:
    """Of the storage and the clock."""
    if condition is None:
        return (_ok("storage", "it answers"),)
    return (
        *_checked("storage", _told(condition), _storage(condition)),
        *_checked("clock", "it agrees with what the storage has seen", _clock(condition, clock)),
    )


def _told(one: Condition) -> str:
    size = "" if one.size is None else f", {_size(one.size)}"
    free = "" if one.free is None else f", {_size(one.free)} free beside it"
    return f"{one.place} can be written, durability {one.durability}{size}{free}"


def _storage(one: Condition) -> Iterator[Finding]:
    if one.free is not None and one.free < 500 * _MB:
        tell = _problem if one.free < 50 * _MB else _warning
        yield tell("storage", f"only {_size(one.free)} are free beside {one.place}", "make room; a full disk takes no mail")
    if one.log_size is not None and one.log_size > max(64 * _MB, one.size or 0):
        words = f"the write-ahead log of {one.place} has grown to {_size(one.log_size)}"
        yield _warning("storage", words, "end what keeps a read transaction open on the file")
    for words in one.exposed:
        yield _warning(
            "storage", words, "it holds people's mail: chown and chmod 600 it, or open it with ?mode=0660 for a group"
        )
    if one.durability == "normal":
        yield _note("storage", f"{one.place} may forget the last moments in a power cut (durability normal)")


def _clock(one: Condition, clock: int) -> Iterator[Finding]:
    ahead = one.seen - clock
    if ahead > _SLACK:
        refused = ahead > _HOUR
        words = f"this machine's clock lies {length(ahead)} behind what the storage has seen"
        words += "; nothing is admitted" if refused else ""
        tell = _problem if refused else _warning
        yield tell(
            "clock", words, "set the clocks of all machines by NTP; if it was the other that was wrong, mailer.accept_clock()"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


# -- one account ------------------------------------------------------------------------------------------


def findings(facts: Facts) -> tuple[Finding, ...]:
    """Of one account: at least one finding for every check."""
    name = facts.account.id
    checks: tuple[tuple[str, str, Callable[[Facts], Iterable[Finding]]], ...] = (
        ("account", f"account {name}, in {facts.account.timezone}", _account),
        ("secret key", "every credential that is kept can be read", _key),
        ("servers", _active(facts), _servers),
        ("routes", _sending(facts), _routes),
        ("records", "every record and message can be read by this version", _records),
        ("queue", _waiting(facts), _queue),
        ("in doubt", "no mail is in doubt", _doubt),
        ("dead", "no mail is dead", _dead),
    )
    return tuple(
        Finding(severity=one.severity, check=one.check, what=one.what, mend=one.mend, account=name)
        for check, fine, look in checks
        for one in _checked(check, fine, look(facts))
    )


def _account(facts: Facts) -> Iterator[Finding]:
    if facts.account.paused:
        words = f"the whole account is paused: {facts.account.paused}"
        yield _problem("account", words, "mailer.resume_all() lets it send again")
    if facts.account.broken:
        yield _problem("account", f"its limits cannot be read: {facts.account.broken}", "register them")
    limits = [*facts.account.limits, *(limit for server in facts.servers for limit in server.limits)]
    for name in dict.fromkeys([facts.account.timezone, *(getattr(limit, "timezone", None) or "UTC" for limit in limits)]):
        try:
            zone(name)
        except ConfigurationError as error:
            yield _problem("account", f"{error}", "update the package tzdata")


def _key(facts: Facts) -> Iterator[Finding]:
    broken = [one for one in facts.servers if one.status is Status.BROKEN and one.reason.startswith("secret_key:")]
    if broken:
        words = f"the credentials of {_names(broken)} cannot be decrypted"
        yield _finding(Severity.PROBLEM, "secret key", words, "add the key they were kept under to secret_key=")
    elif not facts.has_key:
        yield _note(
            "secret key",
            "none is given; credentials are taken by reference only, references are not protected against whoever can write "
            "the file, and the hashes of recipients and idempotency keys can be guessed",
            "give secret_key=",
        )


def _servers(facts: Facts) -> Iterator[Finding]:
    if not facts.servers:
        yield _warning("servers", "there is no delivery server", "deliverykit servers add")
    for server in facts.servers:
        yield from _server(server, facts.health.get(server.id))


def _server(server: DeliveryServer, health: HealthView | None) -> Iterator[Finding]:
    name = f"{server.name} ({server.id})"
    test = f"deliverykit servers test {server.id} --to an-address-you-read; deliverykit servers activate {server.id}"
    if server.status is Status.BROKEN:
        yield _problem("servers", f"{name} is BROKEN: {server.reason}", "mend what it names")
        return
    if server.status is Status.PAUSED:
        if server.paused_by == "engine":
            yield _finding(
                Severity.PROBLEM, "servers", f"{name} was PAUSED by the engine: {_plain(server.reason)}", f"mend that; {test}"
            )
        elif not server.proven:
            yield _note("servers", f"{name} is PAUSED and has no accepted test since its last change", test)
        else:
            because = f": {server.reason}" if server.reason else ""
            yield _note("servers", f"{name} is PAUSED{because}", f"deliverykit servers activate {server.id}")
        return
    if health is None:
        return
    if health.circuit != "closed":
        severity = Severity.PROBLEM if health.circuit == "open" else Severity.WARNING
        since = f" since {_at(health.opened_at)}" if health.opened_at else ""
        count = f"{health.refusals} messages refused alike" if health.refusals else f"{health.faults} faults in a row"
        words = f"the circuit of {name} is {health.circuit}{since}, after {count}"
        yield _finding(severity, "servers", words, f"one email tries it at {_at(health.probe_at)}; the log has its faults")
    if health.throttled_until is not None:
        words = f"the ESP of {name} takes nothing until {_at(health.throttled_until)}, as it said"
        yield _warning("servers", words, "lower its quota or its pace, or wait")
    if health.slowed is not None:
        gap = brief(health.slowed // timedelta(milliseconds=1))
        words = f"{name} was asked too fast and is slowed to an email each {gap}, until {_at(health.slowed_until)}"
        yield _note("servers", words, "give it a longer pause if this comes again")


def _routes(facts: Facts) -> Iterator[Finding]:
    known = {one.id: one for one in facts.servers}
    waits = {lane.route for lane in facts.lanes if lane.waiting}
    for route in facts.routes:
        if route.name == DEFAULT_ROUTE and not route.servers and route.name not in waits:
            continue  # made up of the ACTIVE servers, and nothing asks for it
        yield from _route(route, [known[id_] for id_ in route.servers if id_ in known], facts, waits=route.name in waits)


def _route(route: Route, members: Sequence[DeliveryServer], facts: Facts, *, waits: bool) -> Iterator[Finding]:
    if route.broken:
        yield _problem("routes", f"route {route.name} is BROKEN: {route.broken}", "register its router")
        return
    able = [one for one in members if one.active and not _out(facts.health.get(one.id))]
    if not able:
        severity = Severity.PROBLEM if waits else Severity.WARNING
        words = f"route {route.name} has no server that can carry mail now{'; its mail waits' if waits else ''}"
        yield _finding(severity, "routes", words, "activate one of its servers, or add another to it")
    elif able[0] is not members[0]:
        words = f"route {route.name} runs on its fallback {able[0].name}: {members[0].name} does not carry mail"
        yield _warning("routes", words, f"see {members[0].name} under servers")


def _records(facts: Facts) -> Iterator[Finding]:
    """Records and messages of another version: nothing is lost, and a newer process takes care of them."""
    upgrade = "upgrade this process; until then they are left as they are"
    kinds = sorted({kind for kind, _ in facts.foreign})
    if kinds:
        words = f"{_count(facts.foreign, 'record')} of a kind that this version does not know: {', '.join(kinds)}"
        yield _note("records", words, upgrade)
    records = (
        ("account", facts.account.id, facts.account.stored),
        *(("server", one.name, one.stored) for one in facts.servers),
        *(("route", one.name, one.stored) for one in facts.routes),
        *(("budget", one.name, one.stored) for one in facts.budgets),
    )
    for kind, name, stored in records:
        if stored.newer:
            yield _warning("records", f"{kind} {name}: {stored.hint}", upgrade)
        elif stored.unknown:
            names = ", ".join(sorted(stored.unknown))
            yield _note("records", f"{kind} {name} has fields that this version does not know and keeps: {names}", upgrade)
    for budget in facts.budgets:
        if budget.broken and not budget.stored.newer:
            yield _problem(
                "records", f"budget {budget.name}: {budget.broken}", "give its limits again, by mailer.budgets.update()"
            )
    if facts.unread:
        first = facts.unread[0]
        words = f"message {first.id} waits: {first.reason}"
        more = f", and {len(facts.unread) - 1} others" if len(facts.unread) > 1 else ""
        yield _warning("records", f"{words}{more}", "run a worker of the version that wrote it; a damaged one can be cancelled")


def _active(facts: Facts) -> str:
    active = sum(one.active for one in facts.servers)
    return f"{active} of {_count(facts.servers, 'server')} {'is' if len(facts.servers) == 1 else 'are'} ACTIVE"


def _sending(facts: Facts) -> str:
    """How many routes have a server that sends; the one made up of the ACTIVE servers may have none."""
    known = {one.id: one for one in facts.servers}
    sends = [one for one in facts.routes if any(known[id_].active for id_ in one.servers if id_ in known)]
    if not sends:
        return "no route has a server that sends, and no message waits"
    return f"{_count(sends, 'route')} with a server that sends"


def _out(health: HealthView | None) -> bool:
    return health is not None and health.circuit == "open"


def _queue(facts: Facts) -> Iterator[Finding]:
    for hold in facts.holds:
        where = f"messages from {hold.domain}" if hold.domain else f"route {hold.route}"
        stream = f", stream {hold.stream}" if hold.stream else ""
        release = f"deliverykit queue release --route {hold.route}"
        hint = f"deliverykit servers activate {hold.server}" if hold.server else release
        yield _problem("queue", f"{where}{stream}: held: {_plain(hold.reason)}", f"fix that, then {hint}")
    for lane in facts.lanes:
        where = f"route {lane.route}{f', stream {lane.stream}' if lane.stream else ''}"
        if not lane.blocked:
            continue
        mend = f"deliverykit explain --route {lane.route}"
        if lane.goes_at is None:
            words = f"{where}: {_mails(lane.waiting, 'wait')} for {lane.blocked_by}, and nothing but a change ends that"
            yield _problem("queue", words, mend)
        elif lane.blocked_since is not None and facts.now - lane.blocked_since > _DAY:
            words = f"{where}: {_mails(lane.waiting, 'wait')} for {lane.blocked_by} since {_at(lane.blocked_since)}"
            yield _warning("queue", words, f"the next goes at {_at(lane.goes_at)}; {mend}")
    late = [mail for mail in facts.unattended if mail.since is not None and facts.now - mail.since > _UNATTENDED]
    if late:
        oldest = min(one.since for one in late if one.since is not None)
        words = f"mail that could go has waited since {_at(oldest)}: no worker takes it"
        yield _problem("queue", words, "deliverykit worker")


def _waiting(facts: Facts) -> str:
    waiting = sum(lane.waiting for lane in facts.lanes)
    return f"{_mails(waiting, 'wait')}, none for too long" if waiting else "no mail waits"


def _doubt(facts: Facts) -> Iterator[Finding]:
    if facts.doubt:
        oldest = f", the oldest since {_at(facts.doubted.since)}" if facts.doubted and facts.doubted.since else ""
        yield _finding(
            Severity.WARNING, "in doubt", f"{_mails(facts.doubt)} may or may not have gone{oldest}",
            "deliverykit queue list --state in_doubt; deliverykit queue resolve --as-sent or --resend",
        )  # fmt: skip


def _dead(facts: Facts) -> Iterator[Finding]:
    reasons: dict[str, int] = {}
    for reason, count in facts.dead.items():
        reasons[_plain(reason)] = reasons.get(_plain(reason), 0) + count
    for reason, count in sorted(reasons.items(), key=lambda one: -one[1]):
        tell = _note if reason in {"cancelled", "expired", "late"} else _warning
        words = f"{_mails(count)}: {reason or 'no reason was kept'}"
        yield tell("dead", words, "deliverykit queue list --state dead; queue requeue, or queue prune --older-than 30d")


# -- words ------------------------------------------------------------------------------------------------


def _checked(check: str, fine: str, found: Iterable[Finding]) -> tuple[Finding, ...]:
    """What was found, or that all is well; notes stand beside that."""
    told = tuple(found)
    if any(one.severity is not Severity.NOTE for one in told):
        return told
    return (_ok(check, fine), *told)


def _ok(check: str, what: str) -> Finding:
    return _finding(Severity.OK, check, what)


def _finding(severity: Severity, check: str, what: str, mend: str = "") -> Finding:
    return Finding(severity=severity, check=check, what=what, mend=mend)


_note = partial(_finding, Severity.NOTE)
_warning = partial(_finding, Severity.WARNING)
_problem = partial(_finding, Severity.PROBLEM)


def _plain(reason: str) -> str:
    """An ESP's text without the addresses it may quote."""
    return scrubbed(reason)


def _at(at: datetime | None) -> str:
    return "no known time" if at is None else at.replace(microsecond=0).isoformat()


def _count(things: Sequence[object], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _mails(count: int, verb: str = "") -> str:
    """How many, with a verb that agrees."""
    one = count == 1
    return f"{count:,} {'mail' if one else 'mails'}{f' {verb}' if verb else ''}{'s' if one and verb else ''}"


def _names(servers: Sequence[DeliveryServer]) -> str:
    return ", ".join(one.name for one in servers)
