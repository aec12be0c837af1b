"""How a server does at the moment: its circuit, and what its ESP said."""

from datetime import datetime, timedelta
from typing import Literal

from attrs import frozen

from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.gates import ACCOUNT, BRAKE, CIRCUIT, brake_name, circuit, closings
from deliverykit.limits import Brake, Circuit, Slowed
from deliverykit.records.server import DeliveryServer
from deliverykit.words.clock import length, moment

__all__ = ["Health", "HealthView"]


@frozen(kw_only=True)
class HealthView:
    """How a server does. Its status (ACTIVE, PAUSED, BROKEN) stands on the server itself."""

    circuit: Literal["closed", "open", "half-open"]
    """``open``: it is out of the order of its routes; ``half-open``: one email tries it, or may do so now."""
    faults: int
    """Faults in a row, none accepted between."""
    refusals: int = 0
    """Where the circuit is open because of refusals: the number of messages refused for the same reason."""
    opened_at: datetime | None
    """Since when the circuit is open, or when the last probe failed."""
    probe_at: datetime | None
    """When the next email may try it."""
    throttled_until: datetime | None
    """Until when the ESP takes nothing, as it said; later of the server's own, its ESP account's and its domain's."""
    slowed: timedelta | None
    """The gap it keeps between two emails, because the ESP said that it was asked too fast; ``None`` where it is not slowed."""
    slowed_until: datetime | None
    """When only its own pause holds again, if no such answer comes before; until then the gap shrinks step by step."""


@frozen
class Health:
    """Reads a server's health; writes nothing."""

    config: Config
    server: DeliveryServer

    def __call__(self, view: View) -> Step[HealthView]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        record, now = view.records[ACCOUNT], view.now
        state = circuit(self.server).known(record)
        refusals = record.get(brake_name(self.server.id), ())
        limit: Circuit | Brake = CIRCUIT
        told, faulty = state, CIRCUIT.is_open(state)
        refusing = BRAKE.is_open(refusals)
        if refusing and not faulty:
            limit, told = BRAKE, refusals
        is_open = faulty or refusing
        probe_at = limit.probe_at(told) if is_open else 0
        half = is_open and (
            (faulty and state[3] > 0) or limit.room(told, now) > 0 or (refusing and BRAKE.probing(refusals, now))
        )
        closed = [gate.limit.when(gate.known(record), now, 1) for gate in closings(self.server).values()]
        gap, over = self._slowed(view)
        opened_at = state[1] if faulty else BRAKE.opened_at(refusals)
        return Step(
            result=HealthView(
                circuit="half-open" if half else "open" if is_open else "closed",
                faults=state[0] if state else 0,
                refusals=BRAKE.run + BRAKE.refused_probes(refusals) if refusing else 0,
                opened_at=moment(opened_at) if is_open else None,
                probe_at=moment(probe_at) if is_open else None,
                throttled_until=moment(max(closed)) if max(closed) > now else None,
                slowed=length(gap) if gap else None,
                slowed_until=moment(over) if gap else None,
            )
        )

    def _slowed(self, view: View) -> tuple[int, int]:
        """The gap it keeps now, and until when."""
        for gate in self.config.gates(self.server):
            if isinstance(gate.limit, Slowed):
                state = gate.known(view.records[gate.record])
                return gate.limit.gap(state, view.now), gate.limit.over(state)
        return 0, 0
