"""Refusals that no other server took: put back or final, and what else they stop."""

import re
from calendar import day_abbr, day_name, month_abbr, month_name

from deliverykit.contracts.limit import State
from deliverykit.contracts.naming import plain_words
from deliverykit.engine.admission.gates import ACCOUNT, BRAKE, brake_name
from deliverykit.engine.admission.lanes import hashed, lane_hash
from deliverykit.engine.settling.batch import REFUSED_LANES, Batch, Landing
from deliverykit.engine.settling.verdicts import Next
from deliverykit.limits import Brake
from deliverykit.limits.brake import Effect, Refused, Ruling
from deliverykit.records.hold import Hold
from deliverykit.words.outcomes import About, Scope

__all__ = ["TEMPLATE", "accepted", "fewer", "more", "passed_on", "reason_hash", "refused"]

TEMPLATE = 50
"""This many messages of one lane, refused in a row for what they are, hold the lane: its template is broken."""
_LANES = 32
"""The number of lanes whose runs are counted."""
_LONGEST_WORD = 24
_QUOTED = re.compile(r"""(?<!\w)(["'])[^"']{1,200}\1(?!\w)|\[[^\[\]]{1,200}\]|<[^<>]{1,200}>""")
_HEX = re.compile("[a-f]{8,}")
_NO_WORDS = frozenset(
    {"address", "am", "pm", "gmt", "utc", *(name.lower() for name in (*day_name, *day_abbr, *month_name, *month_abbr))}
)
"""What a date is written with, and what stands for an address."""


def refused(landing: Landing, batch: Batch) -> Ruling | None:
    """Rule on a refusal and note it. ``None`` where it is final for what the message is."""
    about = landing.verdict.about
    assert about is not None  # noqa: S101  asked for refusals only
    lane = lane_hash(landing.lane.route, landing.lane.stream, landing.ticket)
    if about is About.MESSAGE:
        _count(landing, batch, lane, "for what they are")
        return None
    by_two = _by_another_account(landing, batch)
    if by_two and not Brake.times(landing.memo):
        _count(landing, batch, lane, "by two ESP accounts")
    server = landing.server
    name = brake_name(server.id)
    before = batch.own(name)
    ruling = Brake.refused(
        before,
        batch.now,
        Refused(
            server=hashed(server.id),
            about=about if landing.domain or about is not About.SENDER else About.UNKNOWN,  # a forced sender is the server's
            reason=reason_hash(landing.alike),
            lane=lane,
            message=hashed(landing.uid),
            domain=hashed(landing.domain),
            mark=_mark(landing, name),
            memo=landing.memo,
            counts=not by_two,
        ),
    )
    if ruling.state != before:
        batch.put_own(name, ruling.state)
    _stop(landing, batch, ruling.effect, lane, before)
    return ruling


def _stop(landing: Landing, batch: Batch, effect: Effect, lane: int, before: State) -> None:
    """What else a refusal stops."""
    server, told = landing.server, landing.told
    if effect is not Effect.NONE:
        batch.wake = True
    match effect:
        case Effect.PAUSE:
            batch.pause(server, f"it refused every message that tried it, for the same reason: {landing.verdict.reason}")
        case Effect.HOLD_LANE:
            words = f"{server.name} refuses these messages and takes others: {told}"
            batch.hold(Hold(reason=words, server=server.id, lane=lane, route=landing.lane.route, stream=landing.lane.stream))
        case Effect.HOLD_DOMAIN:
            words = f"{server.name} refuses messages from {landing.domain}: {told}"
            batch.hold(Hold(reason=words, server=server.id, domain=landing.domain))
        case _:
            now = batch.own(brake_name(server.id))
            if BRAKE.is_open(now) and not BRAKE.is_open(before):
                batch.notices.opened(server, 0, told, BRAKE.probe_at(now), refusals=BRAKE.run)


def accepted(landing: Landing, batch: Batch) -> None:
    """Note that a message was accepted, where anything is known against its server or its lane."""
    lane = lane_hash(landing.lane.route, landing.lane.stream, landing.ticket)
    if runs := batch.own(REFUSED_LANES):
        batch.put_own(REFUSED_LANES, fewer(runs, lane))
    name = brake_name(landing.server.id)
    before = batch.own(name)
    if not before:
        return
    mark, domain = _mark(landing, name), hashed(landing.domain)
    state, effect = Brake.accepted(before, batch.now, lane=lane, domain=domain, mark=mark)
    if state != before:
        batch.put_own(name, state)
    if effect is not Effect.NONE:
        batch.wake = True
        if BRAKE.is_open(before) and not BRAKE.is_open(state):
            batch.notices.closed(landing.server)


def passed_on(landing: Landing) -> State | None:
    """What the message remembers where it goes on to another server; ``None`` where that is what it did before."""
    verdict = landing.verdict
    if verdict.next is not Next.AGAIN or verdict.about in (None, About.MESSAGE):
        return None
    return Brake.passed_on(landing.memo, hashed(landing.server.id))


def _mark(landing: Landing, name: str) -> int:
    """The brake's mark on the grant; 0 where the brake was not asked."""
    return next((mark for gate, mark in landing.grant.charges if gate.record == ACCOUNT and gate.name == name), 0)


def _by_another_account(landing: Landing, batch: Batch) -> bool:
    """Whether a server of another ESP account refused the message before this one did."""
    mine = _esp_account(landing, batch, landing.server.id)
    refusers = Brake.refusers(landing.memo)
    return any(_esp_account(landing, batch, one) != mine for one in landing.ticket.unfit if hashed(one) in refusers)


def _esp_account(landing: Landing, batch: Batch, id_: str) -> tuple[str, str]:
    server = landing.server if id_ == landing.server.id else batch.notices.config.servers.get(id_)
    provider = server.provider if server is not None else None
    if provider is None:
        return ("", id_)
    return (provider.name, provider.scope_key(Scope.ACCOUNT) or id_)


# -- a broken template ------------------------------------------------------------------------------------


def _count(landing: Landing, batch: Batch, lane: int, why: str) -> None:
    """One more message of the lane was refused, and not for its server's sake; the fiftieth holds the lane."""
    if not landing.lane.route:
        return  # send(server=…) and tests share no lane
    state, count = more(batch.own(REFUSED_LANES), lane)
    if count >= TEMPLATE:
        words = f"{TEMPLATE} messages in a row were refused {why}: {landing.told}"
        batch.hold(Hold(reason=words, lane=lane, route=landing.lane.route, stream=landing.lane.stream))
        batch.wake = True
        state = fewer(state, lane)
    batch.put_own(REFUSED_LANES, state)


def more(state: State, lane: int) -> tuple[State, int]:
    """Count one more refusal in a lane; the state is pairs of lane and count, the latest at the end."""
    rest = _without(state, lane)
    count = 1 + next((state[at + 1] for at in range(0, len(state) - 1, 2) if state[at] == lane), 0)
    return (*rest[-2 * (_LANES - 1) :], lane, count), count


def fewer(state: State, lane: int) -> State:
    """End the run of a lane."""
    return _without(state, lane)


def _without(state: State, lane: int) -> State:
    if lane not in state[::2]:
        return state
    return tuple(value for at in range(0, len(state) - 1, 2) if state[at] != lane for value in state[at : at + 2])


# -- what a text says -------------------------------------------------------------------------------------


def reason_hash(text: str) -> int:
    """The hash of an ESP's text without what differs from message to message.

    Addresses, domains, ids, numbers, dates and what stands in quotes do not count, unless nothing else is left.
    """
    text = plain_words(text).lower()
    for kept in (_QUOTED.sub(" ", text), text):
        if found := " ".join(word for word in map(_plain, kept.split()) if word):
            return hashed(found)
    return hashed("no text")


def _plain(word: str) -> str:
    """A word without punctuation; ``""`` for one that may name a message, a person, a date or a number."""
    bare = word.strip(".,;:!?()[]{}<>\"'`…")
    if len(bare) > _LONGEST_WORD or any(one.isdigit() or one in "@./\\=%&" for one in bare):
        return ""
    return "" if bare in _NO_WORDS or _HEX.fullmatch(bare) else bare
