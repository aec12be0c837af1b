"""The life cycle of a delivery server: added PAUSED, proven by a test email, activated, changed, removed."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial

from attrs import evolve, frozen

from deliverykit.contracts.books import Document
from deliverykit.contracts.limit import QuotaPolicy
from deliverykit.contracts.provider import Provider
from deliverykit.contracts.storage import Occupied, Step, View
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.gates import BRAKE, brake_name, circuit, closings, slowed
from deliverykit.engine.rooms.acts import act, activated, updated
from deliverykit.engine.rooms.checking import checked
from deliverykit.engine.rooms.editing import (
    Edit,
    Pausing,
    Quota,
    budgets_of,
    name_of,
    new_id,
    provider_of,
    same,
    saved,
    sender_of,
    senders_of,
)
from deliverykit.engine.rooms.health import Health, HealthView
from deliverykit.engine.rooms.proving import SUBJECT, TEXT, proven, swapped, trial_message, tried
from deliverykit.engine.rooms.releasing import due_now, released_at
from deliverykit.engine.rooms.room import UNSET, Amendment, Room, Unset, amend, limits_of, named
from deliverykit.records.server import Budget, DeliveryServer, Status
from deliverykit.words.addresses import Address
from deliverykit.words.arguments import duration, flag, items, line
from deliverykit.words.checks import CheckReport
from deliverykit.words.clock import moment
from deliverykit.words.errors import ConfigurationError, NotProven
from deliverykit.words.results import SendResult

__all__ = ["QuotaView", "Servers", "Usage"]

ServerId = str | DeliveryServer


@frozen(kw_only=True)
class QuotaView:
    """One window of one quota that a server is under."""

    owner: str
    """The server's name, ``budget …``, ``account`` or ``host``."""
    window: str
    used: int
    limit: int
    left: int
    resets_at: datetime | None


def _id(server: ServerId) -> str:
    return named(server, "id", DeliveryServer)


def _budgets(given: object) -> tuple[Budget | str, ...]:
    write = "give budgets as a list, such as [Budget(name='all', limits=[…])] or ['all']"
    return tuple(items(given, "budgets", write, alone=(str, Budget)))


class Servers(Room):
    """``mailer.servers``: the delivery servers of one account."""

    async def add(
        self,
        *,
        name: str,
        provider: Provider,
        sender: str | Address | None = None,
        senders: Iterable[str] | None = None,
        quota: Quota = None,
        pause: Pausing = None,
        budgets: Iterable[Budget | str] = (),
        id: str | None = None,
    ) -> DeliveryServer:
        """Add a server; it is saved PAUSED until a test email proves it.

        ``sender`` is its forced sender: every email leaves with exactly that From. ``senders`` are the
        domains and addresses it may send for where it forces none. ``quota`` is one limit or several,
        ``pause`` a ``timedelta`` (or ``Pause``, ``Rate``) before every email, ``budgets`` what it shares
        with other servers. With an ``id`` of your choosing the call may be repeated: the same values
        return the record as it stands, others raise :class:`~deliverykit.AlreadyExists` naming the fields.

        Raises :class:`~deliverykit.ConfigurationError` naming the field, and writes nothing then.
        """
        server = DeliveryServer(
            id=new_id(id, self.context.new_id),
            account=self.account,
            name=name_of(name),
            provider=provider_of(provider, self.account, self.context.permissions),
            sender=None if sender is None else sender_of(sender),
            senders=senders_of(senders),
            limits=limits_of(quota, pause, new=True),
        )
        shared = _budgets(budgets)

        def make(config: Config) -> Amendment:
            wanted, fresh = budgets_of(config, shared)
            full = evolve(server, budgets=wanted)
            known = config.servers.get(full.id)
            if known is not None:
                return Amendment(config=config, result=same(known, full))
            return saved(self.context.archive, config, full, fresh, act(full, "added"))

        added: DeliveryServer = await amend(self, make)
        return added

    async def get(self, id: ServerId) -> DeliveryServer:
        """A server as it stands. Raises :class:`~deliverykit.NotFound`."""
        return (await self.config()).server(_id(id))

    async def list(self) -> tuple[DeliveryServer, ...]:
        """All servers, in order of adding."""
        return tuple((await self.config()).servers.values())

    async def providers(self) -> tuple[type[Provider], ...]:
        """The adapters a server can be added with: ours, then those that were registered (``register=``).

        ``ProviderInfo.of(each)`` is what its form asks for. Reads nothing.
        """
        return self.context.archive.parts.providers()

    async def update(
        self,
        id: ServerId,
        *,
        name: str | Unset = UNSET,
        provider: Provider | Unset = UNSET,
        sender: str | Address | Unset | None = UNSET,
        senders: Iterable[str] | Unset | None = UNSET,
        quota: Quota | Unset = UNSET,
        pause: Pausing | Unset = UNSET,
        budgets: "Iterable[Budget | str] | Unset" = UNSET,
        test_to: str | Address | None = None,
        test_sender: str | Address | None = None,
    ) -> DeliveryServer:
        """Change what is given and keep the rest. Counts of quotas are kept; new limits act at once.

        Other credentials, region, domain or forced sender need another test. With ``test_to`` that comes first: one real
        email to this address, by the new values and under the server's limits (``test_sender`` is its From where
        the server forces none). Where it is accepted the new values take the place of the old in one step: an ACTIVE
        server stays so, and what is on its way by the old ones finishes. Where it is not, nothing is changed and
        :class:`~deliverykit.NotProven` says why (``error.result``). Without ``test_to`` such a change PAUSES an ACTIVE server.

        A quota of 0 is allowed here: nothing leaves.
        """
        edit = Edit(
            name=name,
            provider=UNSET if isinstance(provider, Unset) else provider_of(provider, self.account, self.context.permissions),
            sender=UNSET if isinstance(sender, Unset) else None if sender is None else sender_of(sender),
            senders=UNSET if isinstance(senders, Unset) else senders_of(senders),
            quota=quota,
            pause=pause,
            budgets=UNSET if isinstance(budgets, Unset) else _budgets(budgets),
        )
        if test_to is not None:
            return await swapped(self, _id(id), edit, test_to, test_sender)
        if test_sender is not None:
            raise ConfigurationError("test_sender: there is no test without test_to=; give both, or neither")

        def make(config: Config) -> Amendment:
            old = config.server(_id(id))
            new, fresh = edit.of(config, old)
            if new.provider != old.provider or new.sender != old.sender:
                paused = {
                    "status": Status.PAUSED,
                    "paused_by": "host",
                    "reason": "changed; send a test email and activate it again",
                }
                new = evolve(new, proven=False, **(paused if new.active else {}))  # type: ignore[arg-type]
            return saved(self.context.archive, config, new, fresh, updated(config, old, new))

        changed: DeliveryServer = await amend(self, make)
        return changed

    async def pause(self, id: ServerId, *, reason: str = "") -> DeliveryServer:
        """Stop a server. Nothing more is admitted once this has returned; what is on its way finishes."""
        line(reason, "reason", most=1_000, write="say why as text, or leave it out")
        server_id = _id(id)

        def make(config: Config) -> Amendment:
            old = config.server(server_id)
            new = evolve(old, status=Status.PAUSED, paused_by="host", reason=reason, version=old.version + 1)
            told = act(new, "paused", reason=reason) if old.active else ()
            return Amendment(config=config, result=new, documents=(self.context.archive.server(new),), facts=told)

        paused: DeliveryServer = await amend(self, make)
        return paused

    async def activate(self, id: ServerId) -> DeliveryServer:
        """Let a server carry mail, and what was held or put back at it with it.

        Lanes and From domains that the engine held at this server are released, and messages that it refused and that were
        put back are due at once. Where the server was not ACTIVE, such a message that is refused again is dead.

        Raises :class:`~deliverykit.NotProven` until a test email was accepted since the last change of
        credentials, region, domain or forced sender.
        """

        def make(config: Config) -> Amendment:
            old = config.server(_id(id))
            if old.status is Status.BROKEN:
                raise ConfigurationError(f"server {old.name!r} is BROKEN: {old.reason}")
            if old.provider is not None:
                self.context.permissions.check(self.account, old.provider)
            if not old.proven:
                raise NotProven(
                    f"server {old.name!r} has no accepted test email since its last change; "
                    f"call servers.send_test({old.id!r}, to=an address you read) first"
                )
            new = evolve(old, status=Status.ACTIVE, paused_by="", reason="", version=old.version + (0 if old.active else 1))
            gates = (circuit(old), slowed(old), *closings(old).values())
            released = released_at(config, old.id)
            return Amendment(
                config=config,
                result=new,
                documents=(self.context.archive.server(new), *released),
                forget=() if old.active else tuple(gate.name for gate in gates),
                amend={brake_name(old.id): partial(BRAKE.activated, anew=not old.active)},
                facts=activated(config, old),
            )

        active: DeliveryServer = await amend(self, make)
        await due_now(self, active.id)
        return active

    async def check(
        self, id: ServerId | None = None, *, provider: Provider | None = None, within: timedelta | float = timedelta(seconds=20)
    ) -> CheckReport:
        """Try a server's credentials without sending, or those of a ``provider`` that no server has yet.

        It asks the ESP about the key and the account, and the report says what was told and what to mend. It
        changes no status, proves nothing (a test email does), spends no quota, and ends after ``within``. What
        goes wrong on the way is in the report, never raised; a BROKEN server is a
        :class:`~deliverykit.ConfigurationError`.
        """
        if (id is None) == (provider is None):
            raise ConfigurationError("id: give the id of a server, or provider=; one of the two")
        limit = duration(within, "within", most=timedelta(days=1), seconds=True)
        if id is not None:
            server = (await self.config()).server(_id(id))
            provider = server.provider
            if provider is None:
                raise ConfigurationError(f"server {server.name!r} is BROKEN: {server.reason}")
        else:
            provider = provider_of(provider, self.account, self.context.permissions)
        return await checked(self.context, self.ports, self.account, provider, limit.total_seconds())

    async def send_test(
        self,
        id: ServerId,
        *,
        to: str | Address,
        sender: str | Address | None = None,
        subject: str = SUBJECT,
        text: str = TEXT,
    ) -> SendResult:
        """Send one real email by this server, exactly as later mail will go: forced sender, quota and pause.

        ``sender`` is the From where the server forces none. Only an *accepted* test to a real address is
        proof (``result.proof``); one in doubt, refused for quota, or to an ESP's simulator address proves
        nothing, and ``result.reason`` says so. Nothing of it stays in the outbox.
        """
        config = await self.config()
        server = config.server(_id(id))
        if server.provider is None:
            raise ConfigurationError(f"server {server.name!r} is BROKEN: {server.reason}")
        self.context.permissions.check(self.account, server.provider)
        message = trial_message(server, to, sender, subject=subject, text=text)
        result = await tried(self, server, message)
        return await proven(self, server, result, message.to[0])

    async def remove(self, id: ServerId, *, force: bool = False) -> None:
        """Remove a server; refused while a route names it or mail of it is in flight or in doubt (``force=True`` does it)."""
        server_id = _id(id)
        flag(force, "force")

        def make(config: Config) -> Amendment:
            server = config.server(server_id)
            routes = [route.name for route in config.routes.values() if server.id in route.servers]
            if routes and not force:
                raise ConfigurationError(
                    f"server {server.name!r} is named by route {', '.join(routes)}; update them first, or force=True"
                )
            edited = [
                evolve(route, servers=tuple(one for one in route.servers if one != server.id), version=route.version + 1)
                for route in config.routes.values()
                if server.id in route.servers
            ]
            gone = Document(kind="server", id=server.id, data=None)
            documents = (
                *map(self.context.archive.route, edited),
                gone,
                self.context.archive.removed(server),
                *released_at(config, server.id),
            )
            facts, idle = act(server, "removed"), () if force else (server.id,)
            return Amendment(config=config, result=None, documents=documents, facts=facts, idle=idle)

        try:
            await amend(self, make)
        except Occupied:
            server = await self.get(server_id)
            raise ConfigurationError(f"mail of server {server.name!r} is in flight or in doubt; wait, or force=True") from None

    async def quota(self, id: ServerId) -> tuple[QuotaView, ...]:
        """What is used and left of every window this server is under, and when each resets."""

        def make(config: Config) -> "Usage":
            return Usage(config, config.server(_id(id)))

        await self.config()
        return await self.context.decided(self.ports, self.account, make)

    async def health(self, id: ServerId) -> HealthView:
        """How a server does: its run of faults, its circuit, and until when its ESP takes nothing."""

        def make(config: Config) -> Health:
            return Health(config, config.server(_id(id)))

        await self.config()
        return await self.context.decided(self.ports, self.account, make)


@frozen
class Usage:
    """Reads what is used of every window a server is under; writes nothing."""

    config: Config
    server: DeliveryServer

    def __call__(self, view: View) -> Step[tuple[QuotaView, ...]]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        views = [
            QuotaView(
                owner=gate.owner,
                window=one.window,
                used=one.used,
                limit=one.limit,
                left=one.left,
                resets_at=moment(one.resets_at),
            )
            for gate in self.config.gates(self.server)
            if isinstance(gate.limit, QuotaPolicy)
            if not gate.sealed(view.records[gate.record])
            for one in gate.limit.usage(gate.known(view.records[gate.record]), view.now)
        ]
        return Step(result=tuple(views))
