"""The brake: what the refusals of one server come to. It tells a bad message from a bad server, lane or From domain."""

from enum import Enum
from typing import ClassVar, Final

from attrs import evolve, field, frozen

from deliverykit.contracts.limit import Counts, Limit, State, Terms
from deliverykit.limits.cases import LANE, OPEN, RECIPIENT, SENDER, UNKNOWN, WATCHED, Case, Memory, memo_of, read, remembered
from deliverykit.words.clock import NEVER
from deliverykit.words.outcomes import About

__all__ = ["Brake", "Effect", "Refused", "Ruling"]

RUN: Final = 3
"""This many different messages, put back for the same reason, stop their scope."""
PROBES: Final = 5
"""This many refused probes stop it until a person acts."""
FIRST_DELAY: Final = 900_000
"""The first wait of a message that is put back, in ms. It doubles each time …"""
LAST_DELAY: Final = 4 * 3_600_000
"""… up to this."""
OTHERS_FIRST: Final = 5_000
"""For this many ms, a probe belongs to the other lanes."""
_PROBE: Final = 60_000
"""A probe must start within this many ms."""
_STEPS: Final = (0, 30_000, 60_000, 120_000, 300_000, 600_000)
"""The wait before the next probe, by the number of refused ones."""
_DAY: Final = 86_400_000
_FREE: Final = Terms(0)

_CODES: Final = {About.SENDER: SENDER, About.RECIPIENT: RECIPIENT}


class Effect(Enum):
    """What an answer changes beside its own message."""

    NONE = "none"
    OPENED = "opened"
    """The server, or one From domain at it, takes single messages only, as probes."""
    CLOSED = "closed"
    """The server, lane or From domain that was stopped is open again."""
    LANE_STOPPED = "lane stopped"
    """The server is open again, but one lane gets probes only."""
    PAUSE = "pause"
    """The server must be PAUSED."""
    HOLD_LANE = "hold lane"
    """The lane must be held at this server until a person releases it."""
    HOLD_DOMAIN = "hold domain"
    """The From domain must be held at this server until a person releases it."""


@frozen(kw_only=True)
class Refused:
    """One refusal that no other server took. Hashes are whole numbers other than 0."""

    server: int
    """The server's hash."""
    about: About
    """What the text is about: sender, recipient or unknown."""
    reason: int
    """The hash of the text, compared without addresses, ids and numbers."""
    lane: int
    """The lane's hash."""
    message: int
    """The message's hash."""
    domain: int = 0
    """The hash of the From domain."""
    mark: int = 0
    """The mark of the brake's :class:`Terms` when the message was admitted; 0 where the brake was not asked."""
    memo: State = ()
    """What was kept with the message when it was last put back."""
    counts: bool = True
    """Whether it counts against the server; not where another ESP account refuses the message as well."""


@frozen(kw_only=True)
class Ruling:
    """What becomes of a refused message."""

    state: State
    memo: State = ()
    """To be kept with the message."""
    delay: int = 0
    """The ms until it is due again; 0 where the refusal is final."""
    effect: Effect = Effect.NONE


def _scope(one: Refused) -> tuple[int, int]:
    about = _CODES.get(one.about, UNKNOWN)
    return about, one.domain if about == SENDER else 0


@frozen
class Brake(Limit):
    """The limit that a server's refusals set, as the messages of one lane and one From domain meet it.

    A refused message that no other server took is put back and due in 15 minutes, then in 30, 60, 120 and 240. It is
    refused for good only when the same reason returns after this server accepted another message of the same scope:
    of the same From domain for a text about the sender, any message otherwise; or after a person activated the server.

    Three different messages put back for the same reason, nothing of that scope accepted between, stop the scope: the
    From domain for a text about the sender, else the server. (What is accepted between does not count for a text about
    the recipient: an account that may only mail a list accepts some.) Then single messages go as probes, those of other
    lanes first. A probe that is accepted opens the scope again; if it was another lane's, the run's lane gets probes of
    its own. Another lane's message refused for the same reason, or five refused probes, end it until a person acts. A
    probe that was put back for that reason before tells nothing new; it counts once the scope is stopped for a day.

    The order of events is kept by a sequence number, not by instants: an admission carries the number of its moment as its
    mark, so an answer to a message that was under way before a refusal is never taken for evidence after it.
    """

    name: ClassVar[str] = "brake"
    run: ClassVar[int] = RUN
    idle: ClassVar[bool] = True

    lane: int = field(default=0)
    domain: int = field(default=0)

    # The state: the epoch, the sequence number, then up to 8 cases of 16 numbers each.

    @property
    def counts(self) -> Counts:
        """A probe is one email, whoever it goes to."""
        return "emails"

    def bound_to(self, lane: int, domain: int) -> "Brake":
        """The same brake as messages of this lane meet it; ``domain`` is 0 where the lane holds several From domains."""
        return evolve(self, lane=lane, domain=domain)

    # -- admission ----------------------------------------------------------------------------------------

    def room(self, state: State, now: int) -> int:
        """One where a probe may go, nothing before that, any number where nothing is stopped."""
        at = self._at(read(state))
        return NEVER if at is None else int(now >= at)

    def when(self, state: State, now: int, n: int) -> int:
        """When the next probe may go; never for more than one."""
        at = self._at(read(state))
        if at is None:
            return now
        return NEVER if n > 1 else max(now, at)

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        """Note when it was admitted. Where this is a probe, it must start within 60 seconds, after which the next may go."""
        memory = read(state)
        if self._at(memory) is None:
            return state, Terms(memory.seq)
        seq, until = memory.seq + 1, now + _PROBE

        def sent(case: Case) -> Case:
            return evolve(case, probe=seq, probe_until=until) if self._stops(case) else case

        return evolve(memory.each(sent), seq=seq).stored(), Terms(seq, until)

    def give(self, state: State, mark: int, n: int) -> State:
        """The probe did not go, or its answer said nothing: the next may go at once."""
        memory = read(state)
        if not mark or all(case.probe != mark for case in memory.cases):
            return state
        return memory.each(lambda case: evolve(case, probe=0, probe_until=0) if case.probe == mark else case).stored()

    def is_open(self, state: State) -> bool:
        """Whether the server, this lane or this From domain takes probes only."""
        return bool(state) and self._at(read(state)) is not None

    def probe_at(self, state: State) -> int:
        """When the next probe may go, where it is open."""
        return self._at(read(state)) or 0

    def opened_at(self, state: State) -> int:
        """Since when it is open; 0 where it is not."""
        return min((case.opened_at for case in read(state).cases if self._stops(case)), default=0)

    def refused_probes(self, state: State) -> int:
        """The number of probes refused since it opened."""
        return max((case.refused for case in read(state).cases if self._stops(case)), default=0)

    def probing(self, state: State, now: int) -> bool:
        """Whether a probe is on its way."""
        return any(case.probe_until > now for case in read(state).cases if self._stops(case))

    @staticmethod
    def domains(state: State) -> frozenset[int]:
        """The From domains that are stopped at this server."""
        if not state:
            return frozenset()
        return frozenset(case.domain for case in read(state).cases if case.local and case.phase == OPEN)

    def _stops(self, case: Case) -> bool:
        if case.phase == LANE:
            return case.lane == self.lane
        return case.phase == OPEN and (not case.local or case.domain == self.domain)

    def _at(self, memory: Memory) -> int | None:
        """When the next probe may go; ``None`` where nothing is stopped."""
        return max((self._ready(case) for case in memory.cases if self._stops(case)), default=None)

    def _ready(self, case: Case) -> int:
        own = case.phase == OPEN and not case.local and case.lane == self.lane != 0
        return max(case.next_at + (OTHERS_FIRST if own else 0), case.probe_until)

    # -- answers ------------------------------------------------------------------------------------------

    @staticmethod
    def refused(state: State, now: int, one: Refused) -> Ruling:
        """Rule on a refusal: put the message back, or end it, and say what else stops."""
        memory = read(state)
        times, known = remembered(one.memo)
        last = known.get(one.server)
        returned = last is not None and last[0] == one.reason
        case = memory.find(*_scope(one), one.reason)
        if last is not None and returned and (last[1] != memory.epoch or (case is not None and case.accepted >= last[2])):
            return Ruling(state=_spent(memory, one.mark, now).stored())
        seq = memory.seq + 1
        memory = _spent(evolve(memory, seq=seq), one.mark, now, but=case)
        if case is None:
            about, domain = _scope(one)
            case = Case(about=about, domain=domain, reason=one.reason, touched=seq)
        case = evolve(case, touched=seq, put_back=seq)
        effect = Effect.NONE
        if case.phase == WATCHED or (case.phase == LANE and one.lane != case.lane):
            case, effect = _lengthened(case, one, seq, now) if one.counts else (case, Effect.NONE)
        elif one.mark >= case.opened:
            case, effect = _probed(case, one, now, returned=returned)
        known.pop(one.server, None)
        known[one.server] = (one.reason, memory.epoch, seq)
        memo = memo_of(times + 1, known)
        delay = min(FIRST_DELAY << min(times, 8), LAST_DELAY)
        return Ruling(state=memory.put(case).stored(), memo=memo, delay=delay, effect=effect)

    @staticmethod
    def accepted(state: State, now: int, *, lane: int, domain: int, mark: int) -> tuple[State, Effect]:
        """Note that this server accepted a message. The state stays as it is where that is no news."""
        memory = read(state)
        effects: list[Effect] = []

        def noted(case: Case) -> Case:
            if case.local and case.domain != domain:
                return case
            if case.accepted < case.put_back and mark > case.accepted:
                case = evolve(case, accepted=mark)
            if case.phase == WATCHED or (case.phase == LANE and lane != case.lane):
                ends = case.run and case.about != RECIPIENT
                return evolve(case, first=0, second=0, lane=case.lane if case.phase else 0) if ends else case
            if mark < case.opened:
                return case
            if case.phase == OPEN and not case.local and case.lane not in (0, lane):
                effects.append(Effect.LANE_STOPPED)
                return case.stopped(LANE, memory.seq + 1, now)
            effects.append(Effect.CLOSED)
            return case.watched()

        seen = memory.each(noted)
        if Effect.LANE_STOPPED in effects:
            seen = evolve(seen, seq=memory.seq + 1)
        effect = next((one for one in (Effect.LANE_STOPPED, Effect.CLOSED) if one in effects), Effect.NONE)
        return (seen.stored() if seen != memory else state), effect

    @staticmethod
    def activated(state: State, *, anew: bool) -> State:
        """The state after a person activated the server: nothing is stopped any more.

        ``anew``: it was not ACTIVE. A message that was put back before is then refused for good if it is refused again.
        """
        memory = read(state)
        if not (memory.seq or memory.epoch):
            return state
        freed = memory.each(lambda case: case.watched() if case.phase != WATCHED else case)
        return evolve(freed, epoch=memory.epoch + 1, cases=()).stored() if anew else freed.stored()

    @staticmethod
    def passed_on(memo: State, server: int) -> State:
        """What to keep with a message that a server refused and another server of its route gets."""
        times, known = remembered(memo)
        known.setdefault(server, (0, 0, 0))
        return memo_of(times, known)

    @staticmethod
    def times(memo: State) -> int:
        """How often a message was put back."""
        return remembered(memo)[0]

    @staticmethod
    def refusers(memo: State) -> frozenset[int]:
        """The servers that refused a message, hashed."""
        return frozenset(remembered(memo)[1])

    def rewound(self, state: State, now: int) -> State:
        """After the clock was set back: a probe waits no longer than the longest step from now."""
        if not state:
            return state

        def moved(case: Case) -> Case:
            longest = now + _STEPS[min(case.refused, len(_STEPS) - 1)]
            return evolve(
                case, opened_at=min(case.opened_at, now), next_at=min(case.next_at, longest),
                probe_until=min(case.probe_until, now + _PROBE),
            )  # fmt: skip

        return read(state).each(moved).stored()


def _spent(memory: Memory, mark: int, now: int, but: Case | None = None) -> Memory:
    """A probe was refused for another reason, or for good: that decides nothing, and the next one waits its step."""

    def waits(case: Case) -> Case:
        if case is but or case.phase == WATCHED or mark < case.opened:
            return case
        return evolve(case, next_at=max(case.next_at, now + (_STEPS[min(case.refused, len(_STEPS) - 1)])))

    return memory.each(waits)


def _lengthened(case: Case, one: Refused, seq: int, now: int) -> tuple[Case, Effect]:
    """The run with one more message; the third stops the scope."""
    run = case.run
    if one.message in run:
        return case, Effect.NONE
    lane = one.lane if not run or case.lane == one.lane else 0
    if case.phase == LANE:  # messages of other lanes are refused as well
        lane = case.lane if len(run) + 1 < RUN else one.lane
    if len(run) + 1 >= RUN:
        return evolve(case.stopped(OPEN, seq, now), lane=lane), Effect.OPENED
    first, second = (*run, one.message, 0)[:2]
    return evolve(case, lane=lane, first=first, second=second), Effect.NONE


def _probed(case: Case, one: Refused, now: int, *, returned: bool) -> tuple[Case, Effect]:
    """A probe was refused for the same reason."""
    news = one.counts and (not returned or now - case.opened_at >= _DAY)
    if news and case.phase == OPEN and not case.local and case.lane not in (0, one.lane):
        return evolve(case, refused=PROBES), Effect.PAUSE  # nothing goes there until it is activated, and that forgets the case
    refused = case.refused + news
    case = evolve(case, refused=refused, next_at=now + _STEPS[min(refused or 1, len(_STEPS) - 1)])
    if refused < PROBES or not news:
        return case, Effect.NONE
    if case.phase == LANE:
        return case.watched(), Effect.HOLD_LANE
    return (case.watched(), Effect.HOLD_DOMAIN) if case.local else (case, Effect.PAUSE)
