"""The comparison at the end: what was asked for against what the ESPs received. Pure, and none of the library's own counting.

Windows are computed anew here from the instants at which mail arrived, by the local clock of the
server's time zone: a mistake of the library's windows would be seen, not repeated.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from attrs import frozen

from deliverykit.sandbox.received import Received, Submission
from deliverykit.words.addresses import Address
from deliverykit.words.errors import MessageError

__all__ = ["Check", "Doubtful", "Expected", "Records", "Rule", "Spent", "compare"]

_MOVED: Final = 60_000
"""In ms: between two mails so far apart the clock was moved, or mail waited."""
LATE: Final = 1_000
"""How late a submission may start after its slot, in ms, and the next still be on time: a busy machine does that."""


@frozen
class Expected:
    """One mail that was enqueued: the mailbox it is for, and the line it must begin with."""

    recipient: Address
    greeting: str


@frozen(kw_only=True)
class Rule:
    """What one server promised."""

    esp: str
    name: str
    sender: Address
    hour: int
    day: int
    timezone: str
    pause: int = 0
    """In ms."""
    idle: bool = False
    """Whether its route must never have used it for anything but its test."""


@frozen(kw_only=True)
class Doubtful:
    """One mail that was in doubt, and what was said of it."""

    id: str
    server: str
    """The name of the server that may have sent it."""
    recipient: str
    killed: bool
    """Whether it was on the wire of the worker that was killed; otherwise no answer came."""
    received: bool
    """Whether the ESP had it."""


@frozen(kw_only=True)
class Spent:
    """What the books of one server say was spent in its window, and what for."""

    name: str
    used: int
    received: int
    missing: int = 0
    """Mail in doubt that did not arrive: its unit stays spent."""
    dropped: int = 0
    """Mail that the killed worker held and had not begun: so does its unit."""
    paused: bool = False


@frozen(kw_only=True)
class Records:
    """What deliverykit itself says happened."""

    accepted: Mapping[str, str]
    """By the id of a mail: the ESP that has it."""
    doubts: Sequence[Doubtful] = ()
    spent: Sequence[Spent] = ()


@frozen
class Check:
    """One thing that was compared. It holds where there is no problem."""

    title: str
    detail: str
    problems: tuple[str, ...] = ()


def compare(
    expected: Mapping[str, Expected],
    rules: Sequence[Rule],
    received: Sequence[Received],
    tests: Collection[str],
    records: Records,
    submissions: Sequence[Submission] = (),
) -> tuple[Check, ...]:
    """Hold what was received against what was promised.

    ``expected`` is by the id that ``enqueue`` returned, ``received`` all mail of all four ESPs, test
    emails included; ``tests`` are the ids of those. ``submissions`` are all requests that wanted to send.
    """
    mail = [one for one in received if _ours(one) not in tests]
    return (
        _once(expected, mail),
        _told(expected, mail, records.accepted),
        _doubts(mail, submissions, records.doubts),
        _whole(expected, mail),
        _windows(rules, received),
        _spending(records.spent),
        _senders(rules, received),
        _paces(rules, received, mail),
        _idle(rules, mail),
    )


def _ours(mail: Received | Submission) -> str:
    """The id ``enqueue`` returned; what travels has a checksum behind it."""
    return mail.id.partition("-")[0]


def _key(email: str) -> str:
    try:
        return Address(email).key
    except MessageError:
        return email


def _once(expected: Mapping[str, Expected], mail: Sequence[Received]) -> Check:
    wanted = Counter(one.recipient.key for one in expected.values())
    found = Counter(_key(recipient) for one in mail for recipient in one.recipients)
    problems = [
        f"{key}: received {found[key]} times instead of {wanted[key]}"
        for key in {**wanted, **found}
        if found[key] != wanted[key]
    ]
    detail = f"{sum(found.values()):,} mails received for {len(wanted):,} recipients; none missing, none twice, no stranger"
    return Check("Every recipient exactly once", detail, tuple(problems))


def _told(expected: Mapping[str, Expected], mail: Sequence[Received], accepted: Mapping[str, str]) -> Check:
    has = {_ours(one): one.esp for one in mail}
    problems = [
        f"{expected[id_].recipient.email}: we say {accepted.get(id_) or 'nobody'} has it, but {has.get(id_) or 'nobody'} does"
        for id_ in expected
        if accepted.get(id_, "") != has.get(id_, "")
    ]
    detail = f"{len(accepted):,} that our log says an ESP took; each is at exactly that ESP, and nothing else is"
    return Check("Our log against theirs", detail, tuple(problems))


def _doubts(mail: Sequence[Received], submissions: Sequence[Submission], doubts: Sequence[Doubtful]) -> Check:
    """Mail in doubt may have gone once until its word was given, and once more where that word was to send it again."""
    tries = Counter(_ours(one) for one in submissions if one.accepted or not one.status)  # what was refused did not go
    has = Counter(map(_ours, mail))
    problems = [
        f"{one.recipient}: in doubt, {'had' if one.received else 'had not'} arrived, may have gone {tries[one.id]} times"
        for one in doubts
        if tries[one.id] > (1 if one.received else 2) or has[one.id] != 1
    ]
    killed = sum(one.killed for one in doubts)
    again = sum(not one.received for one in doubts)
    detail = (
        f"{len(doubts):,} mails: {killed:,} were on the killed worker's wire, {len(doubts) - killed:,} never answered; "
        f"{len(doubts) - again:,} had arrived, {again:,} had not and went again when told to"
    )
    return Check("In doubt, and never sent again unasked", detail, tuple(problems))


def _spending(spent: Sequence[Spent]) -> Check:
    problems, shown = [], []
    for one in spent:
        due = one.received + one.missing + one.dropped
        if one.used != due:
            problems.append(f"{one.name}: {one.used} units are spent where {due} had to be")
        if one.paused:
            shown.append(f"{one.name} is PAUSED: {one.used:,} units for {due:,} mails, none for the refusal")
    lost = sum(one.missing + one.dropped for one in spent)
    shown.append(f"{lost:,} stay spent for mail of the killed worker, or in doubt, that did not arrive")
    return Check("A unit for each mail, none for a refusal", "; ".join(shown), tuple(problems))


def _whole(expected: Mapping[str, Expected], mail: Sequence[Received]) -> Check:
    problems = []
    for one in mail:
        asked = expected.get(_ours(one))
        if asked is None:
            problems.append(f"{one.esp}: a mail to {', '.join(one.recipients)} has the id {one.id!r}, which nobody enqueued")
            continue
        if tuple(map(_key, one.recipients)) != (asked.recipient.key,):
            problems.append(f"{one.esp}: the mail for {asked.recipient.email} went to {', '.join(one.recipients)}")
        if asked.greeting not in (one.text or "") and asked.greeting not in (one.html or ""):
            problems.append(f"{one.esp}: the mail to {asked.recipient.email} does not say {asked.greeting!r}")
    foreign = sum(not one.greeting.isascii() for one in expected.values())
    idn = sum(not one.recipient.email.isascii() for one in expected.values())
    detail = f"each greets its own reader; {foreign:,} names beyond ASCII, {idn:,} IDN domains"
    return Check("Every mail its own", detail, tuple(problems))


def _windows(rules: Sequence[Rule], received: Sequence[Received]) -> Check:
    problems, fullest = [], []
    for rule in rules:
        counts: Counter[tuple[str, str]] = Counter()
        for one in _by(rule, received):
            local = datetime.fromtimestamp(one.at / 1000, UTC).astimezone(ZoneInfo(rule.timezone))
            # With the offset, so that an hour the clock shows twice is two hours.
            counts["hour", local.strftime("%Y-%m-%d %H:00 %z")] += len(one.recipients)
            counts["day", local.strftime("%Y-%m-%d")] += len(one.recipients)
        limits = {"hour": rule.hour, "day": rule.day}
        problems += [
            f"{rule.name}: {used} in the {unit} {window}, its quota is {limits[unit]}"
            for (unit, window), used in counts.items()
            if used > limits[unit]
        ]
        hours = [used for (unit, _), used in counts.items() if unit == "hour"]
        fullest.append(f"{rule.name} {max(hours, default=0):,} of {rule.hour:,}")
    return Check("No window over its quota", f"fullest hours: {', '.join(fullest)}", tuple(problems))


def _senders(rules: Sequence[Rule], received: Sequence[Received]) -> Check:
    forced = {rule.esp: rule.sender for rule in rules}
    problems = [
        f"{one.esp}: a mail to {', '.join(one.recipients)} came from {one.sender_name} <{one.sender}>, not {forced[one.esp]}"
        for one in received
        if one.esp in forced and (_key(one.sender) != forced[one.esp].key or one.sender_name != forced[one.esp].name)
    ]
    return Check("The forced From on each", f"{len(received):,} mails, test emails included", tuple(problems))


def _paces(rules: Sequence[Rule], received: Sequence[Received], mail: Sequence[Received]) -> Check:
    problems, shown = [], []
    for rule in (one for one in rules if one.pause):
        arrivals = sorted(one.at for one in _by(rule, received))
        ahead = _ahead(arrivals, rule.pause)
        if ahead > LATE:
            problems.append(f"{rule.name}: {ahead} ms faster than one every {rule.pause} ms")
        run = sorted(one.at for one in _by(rule, mail))
        steps = [later - earlier for earlier, later in pairwise(run) if later - earlier < _MOVED]
        lasted, least = sum(steps) / 1000, rule.pause * len(steps) / 1000
        shown.append(
            f"{rule.name}: {len(run):,} mails, {rule.pause} ms apart, took {lasted:.2f} s ({least:.2f} s if none had been late)"
        )
    return Check("The pause kept", "; ".join(shown), tuple(problems))


def _ahead(arrivals: Iterable[int], pause: int) -> int:
    """By how much any run of arrivals was faster than the pace, in ms; what was merely late makes nobody fast."""
    most, latest = 0, None
    for place, at in enumerate(arrivals):
        drift = at - place * pause
        latest = drift if latest is None else max(latest, drift)
        most = max(most, latest - drift)
    return most


def _idle(rules: Sequence[Rule], mail: Sequence[Received]) -> Check:
    problems, shown = [], []
    for rule in (one for one in rules if one.idle):
        used = len(_by(rule, mail))
        if used:
            problems.append(f"{rule.name}: carried {used} mails of a route that waits for another server")
        shown.append(f"{rule.name} stayed idle while mail waited for the server before it")
    return Check("The queue route waited", "; ".join(shown), tuple(problems))


def _by(rule: Rule, received: Iterable[Received]) -> list[Received]:
    return [one for one in received if one.esp == rule.esp]
