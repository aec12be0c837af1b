"""A batch of answers while it is settled: each attempt with its verdict, and the states and lists that they add up in."""

from attrs import frozen

from deliverykit.contracts.books import Change, Gone, LaneKey, LogLine
from deliverykit.contracts.limit import Record, State
from deliverykit.contracts.storage import View
from deliverykit.engine.admission.admit import Grant
from deliverykit.engine.admission.gates import ACCOUNT, Gate, brake_name, circuit
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.settling.notices import Notices
from deliverykit.engine.settling.verdicts import Verdict
from deliverykit.limits import Closed
from deliverykit.records.hold import Hold
from deliverykit.records.server import DeliveryServer

__all__ = ["REFUSED_LANES", "Batch", "Landing"]

REFUSED_LANES = "lanes/refused"
"""The name of the state that counts, for each lane, the messages refused in a row for what they are."""


@frozen(kw_only=True)
class Landing:
    """An attempt that is over, and the verdict on it."""

    uid: str
    row: int
    """The row's id; 0 where only the uid is known (``send()``)."""
    token: str
    lane: LaneKey
    ticket: Ticket
    server: DeliveryServer
    grant: Grant
    verdict: Verdict
    held: bool = False
    """Whether the caller goes on with it (``send()``): AGAIN then keeps the row under its token."""
    keep: bool = True
    """Whether a dead mail is kept in the outbox; ``send()`` has told its caller."""
    resends: int = 0
    """How often it was sent again because its fate was unknown."""
    attempt: int = 1
    told: str = ""
    """The verdict's reason without the recipients it may quote: fit for other eyes than the delivery log's."""
    alike: str = ""
    """Of a refusal: its reason without what the ESP repeats of the message, to be compared with those of other messages."""
    domain: str = ""
    """The From domain, where the server forces none."""
    memo: tuple[int, ...] = ()
    """What the brake kept with the message."""
    undone: bool = False
    """Whether the call that handed it in was cancelled before anything went: then it is as if it never was."""


class Batch:
    """The states and lists that a batch of landings adds up in."""

    def __init__(self, view: View, notices: Notices) -> None:
        self.now: int = view.now
        self.notices = notices
        self._states: list[dict[str, State]] = [dict(record) for record in view.records]
        self._touched: set[int] = set()
        self._calm: dict[tuple[str, int], bool] = {}
        self.changes: list[Change | Gone] = []
        self.log: list[LogLine] = []
        self.paused: dict[str, tuple[int, str]] = {}
        self.held: dict[str, Hold] = {}
        self.wake = False

    def get(self, gate: Gate) -> State:
        """The state of a gate."""
        return gate.known(self._states[gate.record])

    def sealed(self, gate: Gate) -> bool:
        """Whether this version cannot read what the gate counts; its state is left as it is."""
        return gate.sealed(self._states[gate.record])

    def put(self, gate: Gate, state: State) -> None:
        """Change the state of a gate."""
        if state != self.get(gate):
            self._states[gate.record][gate.name] = state
            self._touched.add(gate.record)
            self._calm.clear()

    def own(self, name: str) -> State:
        """A state of the account, by name."""
        return self._states[ACCOUNT].get(name, ())

    def put_own(self, name: str, state: State) -> None:
        """Change a state of the account."""
        self._states[ACCOUNT][name] = state
        self._touched.add(ACCOUNT)
        self._calm.clear()

    def calm(self, landing: Landing) -> bool:
        """Whether an accepted mail changes nothing of its server: no fault, no run of rejections, no closed door to open.

        It is asked for nearly every mail, and a batch's mails by one server have one answer: they share their charges.
        """
        server, charges = landing.server, landing.grant.charges
        its = (server.id, id(charges))
        if its not in self._calm:
            closed = any(isinstance(gate.limit, Closed) and self.get(gate) for gate, _ in charges)
            names = (circuit(server).name, brake_name(server.id), REFUSED_LANES)
            self._calm[its] = not (closed or any(map(self.own, names)))
        return self._calm[its]

    def pause(self, server: DeliveryServer, reason: str) -> None:
        """Of several words on it the first on its latest version counts: what was said of an older one is out of date."""
        if server.id not in self.paused or self.paused[server.id][0] < server.version:
            self.paused[server.id] = (server.version, reason)

    def hold(self, hold: Hold) -> None:
        """Hold a lane or a From domain until a person releases it."""
        self.held.setdefault(hold.id, hold)
        self.notices.held(hold)

    def records(self) -> tuple[Record | None, ...]:
        """The states as they are now; ``None`` for a record that has not changed."""
        return tuple(state if index in self._touched else None for index, state in enumerate(self._states))
