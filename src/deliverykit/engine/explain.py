"""The dry run: which server would take a message now, and why not the others."""

from deliverykit.engine.catalog import Config
from deliverykit.engine.context import Context
from deliverykit.engine.decisions import Peek, Placed, waits_for
from deliverykit.engine.intake import never
from deliverykit.engine.lanes import Ticket
from deliverykit.engine.ports import Ports
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import DeliveryServer
from deliverykit.routers import Priority
from deliverykit.words.clock import moment
from deliverykit.words.message import Message
from deliverykit.words.results import Explanation, ServerView

__all__ = ["explain"]


async def explain(context: Context, ports: Ports, account: str, message: Message, route: str) -> Explanation:
    """Which server would take it now, and why not the others; spends and writes nothing."""
    config = await ports.store(context.catalog.fresh, account)
    config.usable(route)
    ticket = context.ticket(message, config.members(route))
    cost = len(message.recipients)

    async def asked(on: Route | None) -> Placed:
        return await context.decided(
            ports, account, lambda config: Peek(config=config, route=on or config.route(route), ticket=ticket, cost=cost)
        )

    answer = await asked(None)
    taker = answer.grant.server if answer.grant else None
    views: list[ServerView] = []
    for server in config.members(route):
        known = _known(config, server, message, ticket, taker)
        if known is None:
            known = _waiting(server, await asked(_alone(account, server)))
        views.append(known)
    return Explanation(route=route, server=taker, goes_at=None if taker else moment(waits_for(answer)), servers=tuple(views))


def _alone(account: str, server: DeliveryServer) -> Route:
    return Route(account=account, name="", servers=(server.id,), strategy=Priority(), when_exhausted=WhenExhausted.QUEUE)


def _known(config: Config, server: DeliveryServer, message: Message, ticket: Ticket, taker: str | None) -> ServerView | None:
    """What can be said of a server without asking its limits."""
    if reasons := never(config, server, message, ticket):
        return ServerView(server=server.id, name=server.name, verdict="never", reason="; ".join(reasons))
    if not server.active:
        words = f"is {server.status.value.upper()}" + (f": {server.reason}" if server.reason else "")
        return ServerView(server=server.id, name=server.name, verdict="is passed over", reason=words)
    if server.id == taker:
        return ServerView(server=server.id, name=server.name, verdict="takes it now")
    return None


def _waiting(server: DeliveryServer, answer: Placed) -> ServerView:
    if answer.grant:
        return ServerView(
            server=server.id, name=server.name, verdict="is passed over", reason="another comes first in the order"
        )
    by = answer.refusal.by if answer.refusal else ""
    return ServerView(server=server.id, name=server.name, verdict="waits", reason=by, at=moment(waits_for(answer)))
