"""Facts, made of what was written down. Nothing is put together that nobody listens to."""

from collections.abc import Iterable, Iterator
from typing import TypedDict

from deliverykit.contracts.books import Change, Fate, Gone, LaneKey, MailRow, MailState, NewMail
from deliverykit.contracts.storage import Late
from deliverykit.engine.admission.admit import Refusal
from deliverykit.engine.admission.asking import Placed, waits_for
from deliverykit.engine.context import Context
from deliverykit.engine.settling.batch import Landing
from deliverykit.engine.settling.settle import Settled
from deliverykit.engine.telling import Teller
from deliverykit.words.clock import moment
from deliverykit.words.facts import (
    AttemptFinished,
    Fact,
    LaneBlocked,
    LeaseLost,
    MailAccepted,
    MailDead,
    MailInDoubt,
    MailQueued,
    MailRecovered,
    MailRefused,
    MailReturned,
    MailScheduled,
)
from deliverykit.words.outcomes import Accepted, Unknown
from deliverykit.words.untrusted import scrubbed

__all__ = ["blocked", "buried", "queued", "recovered", "settled", "waits"]

_ENDS = (AttemptFinished, MailAccepted, MailDead, MailInDoubt, MailScheduled, MailReturned, LeaseLost)
_OWN = ("expired", "late", "poison", "in_doubt", "cancelled")
"""Reasons of our own for mail that is dead."""


class _Mail(TypedDict):
    """Which mail a fact is about."""

    account: str
    mail: str
    route: str
    stream: str


def settled(context: Context, done: Settled, late: Late) -> None:
    """Tell of a batch that is settled; ``late`` are the rows that were no longer ours."""
    context.teller.tell(done.servers)
    if context.teller.wants(*_ENDS):
        context.teller.tell(_landed(context.teller, done, late))


def _landed(teller: Teller, done: Settled, late: Late) -> Iterator[Fact]:
    attempts, accepted = teller.wants(AttemptFinished), teller.wants(MailAccepted)
    for landing, change in done.landed:
        if attempts and landing.verdict.started:
            yield _attempt(landing)
        lost = change.name in late
        if not accepted and not lost and isinstance(landing.verdict.outcome, Accepted):
            continue
        if lost or (fact := _fate(landing, change)) is None:
            fact = LeaseLost(**_mail(landing), server=landing.server.id) if lost else None
        if fact is not None:
            yield fact


def _mail(landing: Landing) -> _Mail:
    lane = landing.lane
    return _Mail(account=lane.account, mail=landing.uid, route=lane.route, stream=lane.stream)


def _outcome(landing: Landing) -> str:
    return type(landing.verdict.outcome).__name__.lower()


def _attempt(landing: Landing) -> AttemptFinished:
    verdict, server = landing.verdict, landing.server
    outcome = verdict.outcome
    return AttemptFinished(
        **_mail(landing), server=server.id, esp=server.provider.name if server.provider else "", outcome=_outcome(landing),
        reason=landing.told, provider_message_id=outcome.provider_message_id if isinstance(outcome, Accepted) else "",
        attempt=landing.attempt, recipients=landing.grant.cost,
        started_at=None if verdict.left_at is None else moment(verdict.left_at), duration=verdict.took,
    )  # fmt: skip


def _fate(landing: Landing, change: Change | Gone) -> Fact | None:
    """What became of a mail by its attempt; ``None`` where ``send`` goes on with it."""
    verdict, server = landing.verdict, landing.server.id
    match change.state:
        case None if isinstance(verdict.outcome, Accepted):
            return MailAccepted(**_mail(landing), server=server, provider_message_id=verdict.outcome.provider_message_id)
        case None | MailState.DEAD:
            cause = next((word for word in (change.reason, verdict.reason) if word in _OWN), _outcome(landing))
            return MailDead(
                **_mail(landing), server=server, cause=cause, reason=landing.told, kept=change.state is MailState.DEAD
            )
        case MailState.IN_DOUBT:
            return MailInDoubt(**_mail(landing), server=server, reason=landing.told)
        case MailState.SCHEDULED:
            doubtful = isinstance(verdict.outcome, Unknown)
            return MailScheduled(**_mail(landing), goes_at=moment(change.due), reason=landing.told, doubtful=doubtful)
        case MailState.READY:
            return MailReturned(**_mail(landing), server=server, reason=landing.told)
        case _:
            return None


def _new(mail: NewMail) -> _Mail:
    return _Mail(account=mail.lane.account, mail=mail.uid, route=mail.lane.route, stream=mail.lane.stream)


def queued(context: Context, mails: Iterable[NewMail], reason: str = "") -> None:
    """Tell of mail that was written down to wait; ``reason`` where it waits for more than its turn."""
    if context.teller.wants(MailQueued):
        context.teller.tell(
            MailQueued(**_new(mail), reason="waits for its send_at", goes_at=moment(mail.due))
            if mail.due
            else MailQueued(**_new(mail), reason=reason)
            for mail in mails
        )


def waits(context: Context, mail: NewMail, placed: Placed, reason: str, *, lost: bool) -> None:
    """Tell of a mail that ``send`` got no leave for; ``lost`` where it is no longer ours."""
    goes_at, reason = moment(waits_for(placed)), scrubbed(reason)
    fact: Fact
    if lost:
        fact = LeaseLost(**_new(mail), server="")
    elif placed.state is MailState.SCHEDULED:
        fact = MailScheduled(**_new(mail), goes_at=goes_at, reason=reason)
    elif placed.state is MailState.READY:
        fact = MailQueued(**_new(mail), reason=reason, goes_at=goes_at)
    else:
        fact = MailRefused(**_new(mail), reason=reason, goes_at=goes_at)
    context.teller.tell([fact])


def recovered(context: Context, fates: Iterable[Fate]) -> None:
    """Tell of mail that was taken back, and of what has expired."""
    for fate in fates:
        mail = _Mail(account=fate.account, mail=fate.uid, route=fate.route, stream=fate.stream)
        if fate.was in (MailState.LEASED, MailState.SENDING):
            context.teller.tell([MailRecovered(**mail, server=fate.server, was=fate.was.name.lower())])
        _ended(context, mail, fate.server, fate.state, fate.reason, fate.due)


def buried(context: Context, row: MailRow) -> None:
    """Tell of mail that a claim found expired, or too late."""
    mail = _Mail(account=row.account, mail=row.uid, route=row.route, stream=row.stream)
    _ended(context, mail, row.server, row.state, row.reason, row.due)


def _ended(context: Context, mail: _Mail, server: str, state: MailState, reason: str, due: int) -> None:
    reason = scrubbed(reason)
    match state:
        case MailState.DEAD:
            cause = reason if reason in _OWN else "dead"
            context.teller.tell([MailDead(**mail, server=server, cause=cause, reason=reason)])
        case MailState.IN_DOUBT:
            context.teller.tell([MailInDoubt(**mail, server=server, reason=reason)])
        case MailState.SCHEDULED:
            context.teller.tell([MailScheduled(**mail, goes_at=moment(due), reason=reason, doubtful=True)])
        case _:
            pass


def blocked(context: Context, lane: LaneKey, refusal: Refusal) -> None:
    """Tell of a lane whose mail waits."""
    fact = LaneBlocked(
        account=lane.account, route=lane.route, stream=lane.stream, by=scrubbed(refusal.by), until=moment(refusal.at)
    )
    context.teller.tell([fact])
