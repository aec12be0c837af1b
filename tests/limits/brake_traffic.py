"""A model of one server behind its brake: lanes of messages, an ESP, a virtual clock, messages in flight in random order."""

from bisect import insort
from collections.abc import Callable
from functools import lru_cache
from heapq import heappop, heappush
from itertools import islice
from random import Random
from zlib import crc32

from attrs import define, field

from deliverykit.contracts.limit import State
from deliverykit.limits import Brake
from deliverykit.limits.brake import Effect, Refused
from deliverykit.words.clock import NEVER
from deliverykit.words.outcomes import About

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
START = 1_795_393_800_000

Answer = tuple[About, str] | None
"""What the ESP says to a message: nothing, or what its text is about and the text."""


@lru_cache
def hashed(text: str) -> int:
    return crc32(text.encode()) or 1


@define(eq=False)
class Mail:
    id: int
    lane: str
    bad: bool = False
    domain: str = "example.com"
    memo: State = ()
    due: int = 0
    mark: int = 0
    calls: int = 0
    put_back: int = 0
    said: "Answer" = None
    """The ESP's answer, given when the message was sent and seen when it lands."""


@define
class Traffic:
    """One server. ``answer`` is the ESP; ``places`` is how many messages are in flight at once."""

    answer: Callable[[Mail, int], Answer]
    random: Random
    places: int = 10
    domains: tuple[str, ...] = ("example.com",)
    now: int = START
    state: State = ()
    lanes: dict[str, list[Mail]] = field(factory=dict)
    """What is ready, in order."""
    later: list[tuple[int, int, Mail]] = field(factory=list)
    """What was put back, as a heap by its due."""
    flying: list[Mail] = field(factory=list)
    sent: list[Mail] = field(factory=list)
    dead: list[Mail] = field(factory=list)
    paused: bool = False
    held: set[str] = field(factory=set)
    held_domains: set[str] = field(factory=set)
    effects: list[Effect] = field(factory=list)
    calls: int = 0
    longest: int = 0

    @property
    def waiting(self) -> list[Mail]:
        return [*(mail for lane in self.lanes.values() for mail in lane), *(mail for *_, mail in self.later)]

    def add(self, *mails: Mail) -> None:
        for mail in mails:
            insort(self.lanes.setdefault(mail.lane, []), mail, key=lambda one: one.id)

    def run(self, until: int = NEVER) -> None:
        """Work until then; without a time, until nothing is left that can move."""
        while self.now < until:
            while self.later and self.later[0][0] <= self.now:
                self.add(heappop(self.later)[2])
            if self._claimed():
                continue
            if self.flying:
                self._land(self.flying.pop(self.random.randrange(len(self.flying))))
                self.now += self.random.randrange(0, 40)
                continue
            wake = self._wake()
            if wake >= NEVER and until >= NEVER:
                return
            self.now = max(self.now + 1, min(wake, until))

    def activate(self) -> None:
        """What ``servers.activate`` does for a server that is not ACTIVE."""
        self.state = Brake.activated(self.state, anew=self.paused)
        self.paused = False
        self.held.clear()
        self.held_domains.clear()
        back, self.later = self.later, []
        self.add(*(mail for *_, mail in back))

    def _brake(self, mail: Mail) -> Brake:
        return Brake().bound_to(hashed(mail.lane), hashed(mail.domain))

    def _stopped(self, mail: Mail) -> bool:
        return self.paused or mail.lane in self.held or mail.domain in self.held_domains

    def _claimed(self) -> bool:
        """Claim as a worker does: from each lane in turn; where only probes go, a random message of the lane."""
        lanes = list(self.lanes)
        self.random.shuffle(lanes)
        for lane in lanes:
            if len(self.flying) >= self.places:
                return False
            for one in self._heads(lane):
                brake = self._brake(one)
                if self.state and brake.room(self.state, self.now) < 1:
                    continue
                one.mark = 0
                if self.state:
                    self.state, terms = brake.take(self.state, self.now, 1)
                    one.mark = terms.mark
                self.lanes[lane].remove(one)
                self.calls += 1
                one.calls += 1
                one.said = self.answer(one, self.now)
                self.flying.append(one)
                return True
        return False

    def _heads(self, lane: str) -> list[Mail]:
        """One message of each From domain of the lane."""
        if self.paused or lane in self.held:
            return []
        heads = []
        for domain in self.domains:
            if domain in self.held_domains:
                continue
            same = (mail for mail in self.lanes[lane] if mail.domain == domain)
            if Brake().bound_to(hashed(lane), hashed(domain)).is_open(self.state):
                seen = list(islice(same, 200))
                heads += self.random.choices([mail for mail in seen if not mail.memo] or seen) if seen else []
            else:
                heads += islice(same, 1)
        return heads

    def _wake(self) -> int:
        times = [mail[0] for mail in self.later[:1]]
        for lane in self.lanes:
            for mail in self._heads(lane):
                times.append(self._brake(mail).when(self.state, self.now, 1))
        return min(times, default=NEVER)

    def _land(self, mail: Mail) -> None:
        answer = mail.said
        lane, domain = hashed(mail.lane), hashed(mail.domain)
        if answer is None:
            self.state, effect = Brake.accepted(self.state, self.now, lane=lane, domain=domain, mark=mail.mark)
            self.sent.append(mail)
            if effect is not Effect.NONE:
                self.effects.append(effect)
            return
        about, reason = answer
        self.state = self._brake(mail).give(self.state, mail.mark, 1)
        ruling = Brake.refused(
            self.state,
            self.now,
            Refused(
                server=1, about=about, reason=hashed(reason), lane=lane, message=mail.id, domain=domain, mark=mail.mark,
                memo=mail.memo,
            ),
        )  # fmt: skip
        self.state, mail.memo = ruling.state, ruling.memo
        self.longest = max(self.longest, len(self.state))
        if ruling.delay:
            mail.due = self.now + ruling.delay
            mail.put_back += 1
            heappush(self.later, (mail.due, mail.id, mail))
        else:
            self.dead.append(mail)
        match ruling.effect:
            case Effect.PAUSE:
                self.paused = True
            case Effect.HOLD_LANE:
                self.held.add(mail.lane)
            case Effect.HOLD_DOMAIN:
                self.held_domains.add(mail.domain)
        if ruling.effect is not Effect.NONE:
            self.effects.append(ruling.effect)


def listed(count: int, lane: str, *, share: float = 0.0, run: int = 1, random: Random, first: int = 1) -> list[Mail]:
    """A list with a share of bad recipients in runs; its last 30 are good."""
    mails = [Mail(first + number, lane) for number in range(count)]
    bad = round(count * share)
    while bad > 0:
        begin = random.randrange(0, max(1, count - 30 - run))
        for mail in mails[begin : begin + run]:
            bad -= not mail.bad
            mail.bad = True
    return mails
