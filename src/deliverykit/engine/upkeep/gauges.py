"""What stands in the books at a moment, in numbers: what waits, since when, what is in doubt, what is used of each quota."""

from collections import Counter

from attrs import field, frozen

from deliverykit.contracts.books import LaneRow, MailState
from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.context import Context
from deliverykit.engine.ports import Ports
from deliverykit.engine.rooms.servers import QuotaView, Usage
from deliverykit.records.account import DEFAULT_ACCOUNT
from deliverykit.words.clock import NEVER

__all__ = ["Gauges", "gauges"]


@frozen(kw_only=True)
class Gauges:
    """One account, read at one moment."""

    account: str
    mails: dict[tuple[str, str, MailState], int] = field(factory=dict)
    """How many, by route, stream and state. Of routes without mail, nought in each of the states that one asks for."""
    age: dict[tuple[str, str], float] = field(factory=dict)
    """Seconds since which the first of the ready mail waits, by route and stream."""
    quotas: dict[str, tuple[QuotaView, ...]] = field(factory=dict)
    """By server id."""


_ASKED = (MailState.READY, MailState.SCHEDULED, MailState.IN_DOUBT, MailState.DEAD)


@frozen
class _Look:
    """All servers of an account at once; writes nothing."""

    config: Config

    def __call__(self, view: View) -> Step[tuple[int, dict[str, tuple[QuotaView, ...]]]]:
        servers = self.config.servers.values()
        return Step(result=(view.now, {server.id: Usage(self.config, server)(view).result for server in servers}))


async def gauges(context: Context, ports: Ports) -> list[Gauges]:
    """Every account's numbers: two look-ups each, whatever waits there."""
    found = []
    for account in await ports.store(context.storage.accounts) or (DEFAULT_ACCOUNT,):
        config = await ports.store(context.catalog.fresh, account)
        lanes = await ports.store(context.storage.lanes, account)
        now, quotas = await context.decided(ports, account, _Look)
        found.append(_counted(config, lanes, now, quotas))
    return found


def _counted(config: Config, lanes: tuple[LaneRow, ...], now: int, quotas: dict[str, tuple[QuotaView, ...]]) -> Gauges:
    mails: Counter[tuple[str, str, MailState]] = Counter()
    oldest: dict[tuple[str, str], int] = {}
    for route in {*config.routes, *(lane.key.route for lane in lanes)}:
        mails.update({(route, "", state): 0 for state in _ASKED})
        oldest[route, ""] = NEVER
    for lane in lanes:
        key = (lane.key.route, lane.key.stream)
        mails.update({(*key, state): count for state, count in lane.counts.items()})
        oldest[key] = min(oldest.get(key, NEVER), lane.oldest)
    age = {key: max(0, now - at) / 1000 if at < NEVER else 0.0 for key, at in oldest.items()}
    return Gauges(account=config.account.id, mails=dict(mails), age=age, quotas=quotas)
