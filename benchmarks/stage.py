"""A configuration with one ACTIVE server under hour, day, month and pause, without any ESP; the engine's decisions on it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from attrs import evolve, frozen

from deliverykit import CalendarQuota, Message
from deliverykit.contracts.books import LaneKey, Leased, NewMail
from deliverykit.contracts.limit import Record
from deliverykit.contracts.storage import Step, Storage
from deliverykit.engine.admission.admit import Grant, Refusal
from deliverykit.engine.admission.asking import Asking, Place
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.decisions import ClaimHeads
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.settling.settle import Landing, Settle
from deliverykit.engine.settling.verdicts import Next, Verdict
from deliverykit.limits import Pause
from deliverykit.providers import SendGrid
from deliverykit.records.account import Account
from deliverykit.records.letter import pack
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import DeliveryServer, Status
from deliverykit.routers import Priority
from deliverykit.words.outcomes import Accepted

PLENTY = 1_000_000_000
LEASE = 3_600_000


class TickingClock:
    """A clock that goes on by some ms whenever it is read: a pause of 1 ms never refuses, and is reckoned each time.

    It begins with an hour of Asia/Kolkata: at an hour's end what cannot start in it any more is rightly refused.
    """

    def __init__(self, step: int = 2) -> None:
        self._now = 1_795_393_800_000
        self._step = step

    def now(self) -> int:
        self._now += self._step
        return self._now

    def monotonic(self) -> float:
        return self._now / 1000

    def sleep(self, seconds: float) -> None:
        """Nobody sleeps here."""

    async def asleep(self, seconds: float) -> None:
        """Nobody sleeps here."""


CLOCK = TickingClock()
ACCOUNT = "default"
SERVER = DeliveryServer(
    id="s", account=ACCOUNT, name="S", provider=SendGrid(api_key="SG.none"), status=Status.ACTIVE,
    limits=(CalendarQuota(hour=PLENTY, day=PLENTY, month=PLENTY, timezone="Asia/Kolkata"), Pause(timedelta(milliseconds=1))),
)  # fmt: skip
ROUTE = Route(account=ACCOUNT, name="r", servers=("s",), strategy=Priority(), when_exhausted=WhenExhausted.FAILOVER)
CONFIG = Config(
    version=0, account=Account(id=ACCOUNT, timezone="Asia/Kolkata"), servers={"s": SERVER}, routes={"r": ROUTE}, budgets={}
)
TICKET = Ticket()
LANE = LaneKey(ACCOUNT, "r", "", "")
LETTER, _ = pack(Message(sender="a@example.com", to="ann@example.org", subject="Hello", text="x" * 900))


def unpaced(config: Config) -> Config:
    """The same without a pause, for claims of a hundred, which a pause would cut to what starts within 250 ms."""
    server = evolve(SERVER, limits=SERVER.limits[:1])
    return evolve(config, servers={"s": server}, gates={})


@frozen
class Admit(Asking[Grant]):
    """One admission and nothing else: the engine's own, over a circuit, two closings, hour, day, month and pause."""

    config: Config = CONFIG
    route: Route = ROUTE
    ticket: Ticket = TICKET
    patience: int = 0
    stream: str = ""
    cost: int = 1

    def granted(self, grant: Grant, now: int, records: Sequence[Record | None]) -> Step[Grant]:
        return Step(result=grant, records=tuple(records))

    def refused(self, refusal: Refusal, now: int) -> Step[Grant]:
        raise AssertionError(refusal)


def place(uid: str) -> Place:
    """What ``send()`` asks: one admission, and the mail written down as ``sending`` in the same step."""
    mail = NewMail(uid=uid, lane=LANE, cost=1, token=uid, letter=LETTER)
    return Place(config=CONFIG, route=ROUTE, ticket=TICKET, mail=mail, patience=0, lease=LEASE)


def mails(prefix: str, count: int, lane: LaneKey = LANE) -> list[NewMail]:
    """Plain mail that is ready."""
    return [NewMail(uid=f"{prefix}{number}", lane=lane, cost=1, letter=LETTER) for number in range(count)]


def fill(storage: Storage, prefix: str, count: int, lane: LaneKey = LANE) -> None:
    """Enqueue so many, by thousands."""
    for first in range(0, count, 1_000):
        storage.enqueue(mails(f"{prefix}{first}-", min(1_000, count - first), lane))


Claimed = tuple[Leased, Grant, str]
"""A claimed mail, its grant, the token it is leased under."""


class Puller:
    """Claims and settles as a worker does, without sending: what the outbox itself costs."""

    def __init__(self, storage: Storage, batch: int = 100) -> None:
        self.storage = storage
        self.batch = batch
        self._config = unpaced(CONFIG)
        self._turn = 0

    def claim(self) -> list[Claimed]:
        """What is leased; nothing where nothing is open."""
        self._turn += 1
        token = f"{id(self)}-{self._turn}"
        lane = next((lane for lane in self.storage.open_lanes().lanes if lane.key == LANE), None)
        if lane is None:
            return []
        decide = ClaimHeads(self._config, ROUTE, TICKET, LANE, lambda attempts: 60.0)
        leased = self.storage.claim(lane, self.batch, self._config.keys, decide, token=token, lease=LEASE)
        return [(one, decide.grants[one.head.id], token) for one in leased]

    def settle(self, claimed: Sequence[Claimed]) -> None:
        """All of it accepted."""
        verdict = Verdict(next=Next.DONE, outcome=Accepted("id"))
        landings = tuple(
            [
                Landing(
                    uid=one.head.uid, row=one.head.id, token=token, lane=LANE, ticket=TICKET, server=SERVER,
                    grant=grant, verdict=verdict,
                )
                for one, grant, token in claimed
            ]
        )  # fmt: skip
        nothing: Any = None  # an archive is needed to write servers only
        self.storage.transact(ACCOUNT, self._config.keys, Settle(self._config, landings, nothing))
