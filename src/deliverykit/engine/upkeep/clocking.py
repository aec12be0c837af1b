"""An earlier clock, accepted on purpose: what every limit remembers is brought back to it."""

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from deliverykit.contracts.limit import Limit, Record
from deliverykit.engine.admission.catalog import HOST_KEY, Config, state_key
from deliverykit.engine.admission.gates import BRAKE, CIRCUIT
from deliverykit.engine.context import Context
from deliverykit.engine.ports import Ports
from deliverykit.limits import CalendarQuota, Closed
from deliverykit.records.account import DEFAULT_ACCOUNT
from deliverykit.words.clock import moment
from deliverykit.words.results import ClockAccepted

__all__ = ["accept_clock"]


async def accept_clock(context: Context, ports: Ports) -> ClockAccepted:
    """See ``Mailer.accept_clock``."""
    ids = dict.fromkeys([DEFAULT_ACCOUNT, *await ports.store(context.storage.accounts)])
    configs = [await ports.store(context.catalog.fresh, id_) for id_ in ids]
    moved = await ports.store(context.storage.accept_clock, _Rewind.of(configs))
    seen, now = moment(moved.seen), moment(moved.now)
    assert seen is not None and now is not None  # noqa: S101, PT018  instants that a clock has said
    return ClockAccepted(seen=seen, now=now, accounts=moved.records, lanes=moved.lanes, mails=moved.mails)


@frozen
class _Rewind:
    """Hands every state to the limit whose it is."""

    limits: Mapping[str, Mapping[str, Limit]]
    """By record and name."""
    zones: Mapping[str, str]

    @classmethod
    def of(cls, configs: "list[Config]") -> "_Rewind":
        return cls(
            {state_key(one.account.id): _limits(one) for one in configs}
            | {HOST_KEY: {f"h/{limit.key}": limit for one in configs for limit in one.host}},
            {state_key(one.account.id): one.account.timezone for one in configs},
        )

    def __call__(self, key: str, record: Record, now: int) -> Record:
        """See :class:`~deliverykit.contracts.storage.Rewind`."""
        known = self.limits.get(key, {})
        zone = self.zones.get(key, "UTC")
        limits = ((name, known.get(name) or _left(name, zone)) for name in record)
        return {
            name: limit.rewound(record[name], now) if limit and limit.readable(record[name]) else record[name]
            for name, limit in limits
        }


def _limits(config: Config) -> dict[str, Limit]:
    """Every limit of an account by the name of its state, in whatever status its server is."""
    zone = config.account.timezone
    found: dict[str, Limit] = {gate.name: gate.limit for one in config.servers.values() for gate in config.gates(one)}
    owned = [(f"b:{one.name}", one.limits) for one in config.budgets.values()] + [("a", config.account.limits)]
    for prefix, limits in owned:
        bound = (limit.bound(zone) for limit in limits)
        found |= {f"{prefix}/{limit.key}": limit for limit in bound}
    return found


_COUNTED: Final = CalendarQuota(hour=0)
"""Its numbers do not matter: all windows are counted, whatever has a limit."""


def _left(name: str, zone: str) -> Limit | None:
    """The limit whose state was left behind: by a server that was removed, or a quota that was taken away and may come back.

    ``None`` for what is told by its numbers or unknown; such a state is kept as it is.
    """
    kind = name.partition("/")[2]
    kinds: dict[str, Limit] = {
        _COUNTED.key: _COUNTED.bound(zone),
        f"{_COUNTED.key}/emails": _COUNTED.bound(zone),
        Closed().key: Closed(),
        CIRCUIT.key: CIRCUIT,
        BRAKE.key: BRAKE,
    }
    return kinds.get(kind) or kinds.get(name.rpartition("/")[2])
