"""``mailer.doctor()``: asks the storage and the rooms, and lets :mod:`deliverykit.engine.upkeep.doctor` judge."""

from collections import Counter
from collections.abc import Sequence

from deliverykit.contracts.storage import SelfAware
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.journey import UNREADABLE
from deliverykit.engine.ports import Ports
from deliverykit.engine.rooms.outbox import Outbox
from deliverykit.engine.rooms.servers import Servers
from deliverykit.engine.rooms.views import LaneView, Mail
from deliverykit.engine.upkeep.doctor import Facts, Finding, Severity, findings, house
from deliverykit.records.route import DEFAULT_ROUTE, Route
from deliverykit.words.clock import moment
from deliverykit.words.errors import ClockError, ConfigurationError, StorageError

__all__ = ["examined"]

_SAMPLE = 1_000
"""The reasons of so many dead mails are read."""


async def examined(context: Context, ports: Ports, account: str) -> tuple[Finding, ...]:
    """Every check of the storage, the clock and one account. What fails is a finding, never an exception."""
    clock = context.clock.now()
    storage = context.storage
    try:
        condition = await ports.store(storage.condition) if isinstance(storage, SelfAware) else None
        told = house(condition, clock)
    except StorageError as error:
        return (Finding(severity=Severity.PROBLEM, check="storage", what=str(error), mend="mend that; nothing is lost"),)
    try:
        return (*told, *findings(await _facts(context, ports, account, clock)))
    except ClockError as error:
        if any(one.check == "clock" and one.severity is Severity.PROBLEM for one in told):
            return told
        return (*told, Finding(severity=Severity.PROBLEM, check="clock", what=str(error), mend="set the clock"))
    except StorageError as error:
        return (*told, Finding(severity=Severity.PROBLEM, check="storage", what=str(error), mend="mend that"))


async def _facts(context: Context, ports: Ports, account: str, clock: int) -> Facts:
    outbox, room = Outbox(context, ports, account), Servers(context, ports, account)
    config = await room.config()
    servers = tuple(config.servers.values())
    counts = await outbox.counts()
    lanes = await outbox.lanes()
    now = moment(clock)
    assert now is not None  # noqa: S101  a clock does not say NEVER
    return Facts(
        account=config.account,
        now=now,
        servers=servers,
        health={one.id: await room.health(one) for one in servers if one.provider is not None},
        routes=_routes(config),
        lanes=lanes,
        unattended=[mail for lane in lanes for mail in await _first(outbox, lane)],
        doubt=counts["in_doubt"],
        doubted=next(iter(await outbox.list(state="in_doubt", limit=1)), None),
        dead=Counter(one.reason for one in await outbox.list(state="dead", limit=_SAMPLE)),
        budgets=tuple(config.budgets.values()),
        holds=config.holds,
        foreign=config.foreign,
        unread=await outbox.list(state="scheduled", reason=UNREADABLE, limit=_SAMPLE),
        has_key=context.archive.vault.has_key or not context.storage.outlives,
    )


def _routes(config: Config) -> Sequence[Route]:
    """Those that were added, and the one that is made up."""
    routes = dict(config.routes)
    routes.setdefault(DEFAULT_ROUTE, config.route(DEFAULT_ROUTE))
    return tuple(routes.values())


async def _first(outbox: Outbox, lane: LaneView) -> Sequence[Mail]:
    """The oldest mail that is ready in a lane that nothing holds up."""
    if lane.blocked or not lane.counts["ready"]:
        return ()
    try:
        return await outbox.list(state="ready", route=lane.route, stream=lane.stream, limit=1)
    except ConfigurationError:  # somebody wrote a name into the store that no argument may be
        return ()
