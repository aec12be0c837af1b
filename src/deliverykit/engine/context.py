"""What every algorithm of the engine works with, and the loop around a decision."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from attrs import field, frozen

from deliverykit.contracts.books import LaneKey
from deliverykit.contracts.capabilities import DROPPABLE
from deliverykit.contracts.provider import Provider
from deliverykit.contracts.router import Router
from deliverykit.contracts.storage import Decide, Late, Storage
from deliverykit.engine.admission.admit import Grant
from deliverykit.engine.admission.catalog import Catalog, Config, Stale
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.outgoing import AdapterFailed, OnUnsupported, fitted, pure, stripped
from deliverykit.engine.permissions import Permissions
from deliverykit.engine.ports import Ports
from deliverykit.engine.renewal import Renewals
from deliverykit.engine.settling.batch import Landing
from deliverykit.engine.settling.verdicts import BackOff, TenacityBackOff
from deliverykit.engine.spacing import Spacing
from deliverykit.engine.telling import Teller
from deliverykit.engine.together import Question
from deliverykit.records.documents import Archive
from deliverykit.records.server import DeliveryServer
from deliverykit.words.clock import Clock
from deliverykit.words.errors import ConfigurationError, StorageError
from deliverykit.words.facts import FeaturesDropped
from deliverykit.words.message import Message

__all__ = ["Context", "Unfailing"]

R = TypeVar("R")
_PATIENCE = 50
_UNSETTLED = 10_000


@frozen
class Unfailing:
    """A host's back-off, and ours where that raises: an answer that was had must not be lost by it."""

    theirs: BackOff
    teller: Teller

    def seconds(self, attempts: int) -> float | None:
        """See :class:`~deliverykit.engine.settling.verdicts.BackOff`."""
        try:
            return self.theirs.seconds(attempts)
        except Exception as error:  # noqa: BLE001  it is told of
            self.teller.failed("the back-off failed, ours is used instead", error)
            return TenacityBackOff().seconds(attempts)


@frozen(kw_only=True)
class Context:
    """One Mailer's engine room: the books, the clock, the configuration, the host's choices."""

    storage: Storage
    clock: Clock
    catalog: Catalog
    archive: Archive
    back_off: BackOff
    new_id: Callable[[], str]
    permissions: Permissions = field(repr=False)
    teller: Teller
    """The host's log and hooks."""
    on_unsupported: OnUnsupported = "error"
    max_visible_recipients: int = 20
    max_wait: int = 5_000
    """How long ``send()`` waits for a pace, in ms."""
    lease: int = 60_000
    """How long mail stays a lost worker's, in ms."""
    spacing: Spacing = field(factory=Spacing, repr=False)
    renewals: Renewals = field(factory=Renewals, repr=False)
    unsettled: deque[Landing] = field(factory=lambda: deque(maxlen=_UNSETTLED), repr=False)
    """Outcomes that the storage could not take when they came. They are stored when it can be written again."""

    async def decided(self, ports: Ports, account: str, make: Callable[[Config], Decide[R]]) -> R:
        """Let a decide object decide on the configuration as it stands; read that again where it has moved."""
        result, _late = await self.decided_both(ports, account, make)
        return result

    async def decided_both(self, ports: Ports, account: str, make: Callable[[Config], Decide[R]]) -> tuple[R, Late]:
        """The same; the decision, and which changes came too late."""
        config = await ports.store(self.catalog.known, account)
        for _ in range(_PATIENCE):
            try:
                return await ports.decide(Question(self.storage, account, config.keys, make(config)))
            except Stale:
                config = await ports.store(self.catalog.fresh, account)
        raise StorageError(f"the configuration of account {account!r} changed {_PATIENCE} times while it was being used")

    def provider(self, server: DeliveryServer) -> Provider:
        """A server's provider with its ``Env`` and ``Named`` credentials filled in."""
        if server.provider is None:
            raise ConfigurationError(server.reason)
        return self.equipped(server.account, server.provider)

    def equipped(self, account: str, provider: Provider) -> Provider:
        """Return an account's provider with its ``Env`` and ``Named`` credentials filled in.

        Raises ``ConfigurationError`` where the account may not use one of them, or its address.
        """
        self.permissions.check(account, provider)
        return provider.with_credentials(partial(self.permissions.credential, account))

    def ticket(self, message: Message, members: Iterable[DeliveryServer], router: Router | None = None) -> Ticket:
        """What decides who of these may carry a message, ordered by this router, without what the host lets drop."""
        wanted = message if self.on_unsupported == "error" else stripped(message, DROPPABLE)
        return Ticket.of(wanted, members, router)

    def fitted(
        self, message: Message, server: DeliveryServer, provider: Provider, *, tell: bool = True
    ) -> tuple[Message, tuple[str, ...]]:
        """The message without what this ESP cannot carry and the host lets drop; and why the ESP cannot carry even that.

        ``tell``: report what is left out, where the host wants that. An exception of a plug-in's ``unsupported()`` is
        logged and counts as a reason.
        """
        try:
            message, reasons, gone = pure(partial(fitted, message, provider, server.sender, self.on_unsupported))
        except AdapterFailed as failure:
            doing = f"the provider {provider.name} failed to judge a message"
            self.teller.failed(doing, failure.error, account=server.account)
            return message, (f"{doing}: {type(failure.error).__name__}",)
        if gone and tell and self.on_unsupported == "warn":
            self.teller.tell([FeaturesDropped(esp=provider.label, features=tuple(sorted(gone)))])
        return message, reasons

    def again_after(self, attempts: int) -> float:
        """Seconds until another round, for mail that no server of this one could take; a minute where the back-off gives up."""
        seconds = self.back_off.seconds(attempts)
        return 60.0 if seconds is None else seconds

    def latest_now(self, grant: Grant, issued: float) -> int:
        """An upper bound of the store's clock, ``issued`` being the monotonic time before the grant was asked for."""
        return max(self.clock.now(), grant.now + round((self.clock.monotonic() - issued) * 1000))


def lane_of(account: str, route: str, message: Message, ticket: Ticket) -> LaneKey:
    """The lane a mail stands in."""
    return LaneKey(account, route, message.stream, ticket.encode())
