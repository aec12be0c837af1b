"""The life cycle of a delivery server: added PAUSED, proven by a test email, activated, changed, removed."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from attrs import evolve, frozen

from deliverykit.contracts.books import Document, LaneKey, NewMail
from deliverykit.contracts.capabilities import Needs
from deliverykit.contracts.limit import Limit, QuotaPolicy, RateLimiter
from deliverykit.contracts.provider import Provider
from deliverykit.contracts.storage import Step, View
from deliverykit.engine.catalog import Config
from deliverykit.engine.checking import checked
from deliverykit.engine.gates import circuit, closings, slowed
from deliverykit.engine.lanes import Ticket
from deliverykit.engine.rooms.health import Health, HealthView
from deliverykit.engine.rooms.room import UNSET, Amendment, Room, Unset, chosen, limits_kept, limits_of, names
from deliverykit.engine.send import Sending
from deliverykit.engine.settling import brake_name
from deliverykit.records.letter import pack
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import Budget, DeliveryServer, Status
from deliverykit.routers import Priority
from deliverykit.words.addresses import Address, address, ascii_domain
from deliverykit.words.checks import CheckReport
from deliverykit.words.clock import moment
from deliverykit.words.errors import AlreadyExists, ConfigurationError, MessageError, NotProven, Unsupported
from deliverykit.words.message import Message
from deliverykit.words.results import SendResult, SendStatus

__all__ = ["QuotaView", "Servers"]

ServerId = str | DeliveryServer
Quota = Limit | Sequence[Limit] | None
Pausing = timedelta | RateLimiter | None


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
    return server.id if isinstance(server, DeliveryServer) else server


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
            id=_new_id(id, self.context.new_id),
            account=self.account,
            name=_name(name),
            provider=_provider(provider),
            sender=None if sender is None else _sender(sender),
            senders=_senders(senders),
            limits=limits_of(quota, pause, new=True),
        )
        shared = tuple(budgets)

        def make(config: Config) -> Amendment:
            wanted, fresh = _budgets(config, shared)
            full = evolve(server, budgets=wanted)
            known = config.servers.get(full.id)
            if known is not None:
                return Amendment(config=config, result=_same(known, full))
            documents = (*(self.context.archive.budget(budget) for budget in fresh), self.context.archive.server(full))
            return Amendment(config=config, result=full, documents=documents)

        added: DeliveryServer = await self.amend(make)
        return added

    async def get(self, id: ServerId) -> DeliveryServer:
        """A server as it stands. Raises :class:`~deliverykit.NotFound`."""
        return (await self.config()).server(_id(id))

    async def list(self) -> tuple[DeliveryServer, ...]:
        """All servers, in order of adding."""
        return tuple((await self.config()).servers.values())

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
    ) -> DeliveryServer:
        """Change what is given and keep the rest. Counts of quotas are kept; new limits act at once.

        Other credentials, region, domain or forced sender need another test: an ACTIVE server is PAUSED.
        A quota of 0 is allowed here: nothing leaves.
        """
        new_sender = UNSET if isinstance(sender, Unset) else None if sender is None else _sender(sender)
        new_senders = UNSET if isinstance(senders, Unset) else _senders(senders)
        shared = None if isinstance(budgets, Unset) else tuple(budgets)

        def make(config: Config) -> Amendment:
            old = config.server(_id(id))
            if "limits" in old.unread and (isinstance(quota, Unset) or isinstance(pause, Unset)):
                raise ConfigurationError(f"server {old.name!r} is BROKEN: {old.reason}; or give quota= and pause= anew")
            wanted, fresh = (old.budgets, ()) if shared is None else _budgets(config, shared)
            new = evolve(
                old,
                name=_name(chosen(name, old.name)),
                provider=old.provider if isinstance(provider, Unset) else _provider(provider),
                sender=chosen(new_sender, old.sender),
                senders=chosen(new_senders, old.senders),
                limits=limits_kept(old.limits, quota, pause),
                budgets=wanted,
                version=old.version + 1,
            )
            if old.status is Status.BROKEN and not isinstance(provider, Unset):
                new = evolve(new, status=Status.PAUSED, reason="", proven=False, unread=())
            if new.provider != old.provider or new.sender != old.sender:
                paused = {
                    "status": Status.PAUSED,
                    "paused_by": "host",
                    "reason": "changed; send a test email and activate it again",
                }
                new = evolve(new, proven=False, **(paused if new.active else {}))  # type: ignore[arg-type]
            documents = (*(self.context.archive.budget(budget) for budget in fresh), self.context.archive.server(new))
            return Amendment(config=config, result=new, documents=documents)

        changed: DeliveryServer = await self.amend(make)
        return changed

    async def pause(self, id: ServerId, *, reason: str = "") -> DeliveryServer:
        """Stop a server. Nothing more is admitted once this has returned; what is on its way finishes."""

        def make(config: Config) -> Amendment:
            old = config.server(_id(id))
            new = evolve(old, status=Status.PAUSED, paused_by="host", reason=reason, version=old.version + 1)
            return Amendment(config=config, result=new, documents=(self.context.archive.server(new),))

        paused: DeliveryServer = await self.amend(make)
        return paused

    async def activate(self, id: ServerId) -> DeliveryServer:
        """Let a server carry mail.

        Raises :class:`~deliverykit.NotProven` until a test email was accepted since the last change of
        credentials, region, domain or forced sender.
        """

        def make(config: Config) -> Amendment:
            old = config.server(_id(id))
            if old.status is Status.BROKEN:
                raise ConfigurationError(f"server {old.name!r} is BROKEN: {old.reason}")
            if not old.proven:
                raise NotProven(
                    f"server {old.name!r} has no accepted test email since its last change; "
                    f"call servers.send_test({old.id!r}, to=an address you read) first"
                )
            new = evolve(old, status=Status.ACTIVE, paused_by="", reason="", version=old.version + (0 if old.active else 1))
            gates = (circuit(old), slowed(old), *closings(old).values())
            forget = () if old.active else (brake_name(old.id), *(gate.name for gate in gates))
            return Amendment(config=config, result=new, documents=(self.context.archive.server(new),), forget=forget)

        active: DeliveryServer = await self.amend(make)
        return active

    async def check(
        self, id: ServerId | None = None, *, provider: Provider | None = None, within: timedelta = timedelta(seconds=20)
    ) -> CheckReport:
        """Try a server's credentials without sending, or those of a ``provider`` that no server has yet.

        It asks the ESP about the key and the account, and the report says what was told and what to mend. It
        changes no status, proves nothing (a test email does), spends no quota, and ends after ``within``. What
        goes wrong on the way is in the report, never raised; a BROKEN server is a
        :class:`~deliverykit.ConfigurationError`.
        """
        if (id is None) == (provider is None):
            raise ConfigurationError("check: give a server's id, or provider=; one of the two")
        if not isinstance(within, timedelta) or within <= timedelta():
            raise ConfigurationError(f"within: {within!r} must be a timedelta above zero")
        if id is not None:
            server = (await self.config()).server(_id(id))
            provider = server.provider
            if provider is None:
                raise ConfigurationError(f"server {server.name!r} is BROKEN: {server.reason}")
        return await checked(self.context, self.ports, _provider(provider), within.total_seconds())

    async def send_test(
        self,
        id: ServerId,
        *,
        to: str | Address,
        sender: str | Address | None = None,
        subject: str = "Test email",
        text: str = "This is a test. It was sent exactly as later mail will be.",
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
        message = Message(sender=sender, to=to, subject=subject, text=text)
        if message.sender is None and server.sender is None:
            raise MessageError(f"sender: server {server.name!r} forces none; give send_test(sender=…)")
        if lacking := server.lacks(Needs.of(message), message.sender):
            raise Unsupported(
                f"server {server.name!r} cannot carry this test: {'; '.join(lacking)}", {server.name: "; ".join(lacking)}
            )
        letter, files = pack(message)
        lane = LaneKey(self.account, "", "test", "")
        mail = NewMail(uid=self.context.new_id(), lane=lane, cost=1, letter=letter, files=files)
        route = Route(
            account=self.account, name="", servers=(server.id,), strategy=Priority(), when_exhausted=WhenExhausted.QUEUE
        )
        ticket = Ticket.of(message, (server,))
        result = await Sending(self.context, self.ports, self.account, message, mail, ticket, route=route, test=server).run()
        return await self._proven(server, result, message.to[0])

    async def _proven(self, server: DeliveryServer, result: SendResult, to: Address) -> SendResult:
        if result.status is not SendStatus.ACCEPTED:
            return evolve(result, reason=f"{result.reason} (this proves nothing)".strip())
        if server.provider is not None and server.provider.simulates(to):
            return evolve(result, reason=f"{to.email} is the ESP's simulator; only a test to a real address is proof")

        def make(config: Config) -> Amendment:
            now = config.server(server.id)
            if now.provider != server.provider or now.sender != server.sender:
                return Amendment(config=config, result=False)
            proven = evolve(now, proven=True)
            return Amendment(config=config, result=True, documents=(self.context.archive.server(proven),))

        if await self.amend(make):
            return evolve(result, proof=True)
        return evolve(result, reason="the server was changed while it was tested; test it again")

    async def remove(self, id: ServerId, *, force: bool = False) -> None:
        """Remove a server; refused while a route names it or mail of it is in flight or in doubt (``force=True`` does it)."""
        server_id = _id(id)
        carried = await self.ports.store(self.context.storage.carried, self.account, server_id)

        def make(config: Config) -> Amendment:
            server = config.server(server_id)
            routes = [route.name for route in config.routes.values() if server.id in route.servers]
            if routes and not force:
                raise ConfigurationError(
                    f"server {server.name!r} is named by route {', '.join(routes)}; update them first, or force=True"
                )
            if carried and not force:
                raise ConfigurationError(f"mail of server {server.name!r} is in flight or in doubt; wait, or force=True")
            edited = [
                evolve(route, servers=tuple(one for one in route.servers if one != server.id), version=route.version + 1)
                for route in config.routes.values()
                if server.id in route.servers
            ]
            tombstone = Document(
                kind="removed", id=server.id, data=f'{{"provider": "{server.provider.name if server.provider else ""}"}}'
            )
            gone = Document(kind="server", id=server.id, data=None)
            return Amendment(config=config, result=None, documents=(*map(self.context.archive.route, edited), gone, tombstone))

        await self.amend(make)

    async def quota(self, id: ServerId) -> tuple[QuotaView, ...]:
        """What is used and left of every window this server is under, and when each resets."""

        def make(config: Config) -> "_Usage":
            return _Usage(config, config.server(_id(id)))

        await self.config()
        return await self.context.decided(self.ports, self.account, make)

    async def health(self, id: ServerId) -> HealthView:
        """How a server does: its run of faults, its circuit, and until when its ESP takes nothing."""

        def make(config: Config) -> Health:
            return Health(config, config.server(_id(id)))

        await self.config()
        return await self.context.decided(self.ports, self.account, make)


@frozen
class _Usage:
    config: Config
    server: DeliveryServer

    def __call__(self, view: View) -> Step[tuple[QuotaView, ...]]:
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
            for one in gate.limit.usage(view.records[gate.record].get(gate.name, ()), view.now)
        ]
        return Step(result=tuple(views))


def _new_id(given: str | None, make: "type[str] | object") -> str:
    if given is None:
        return str(make())  # type: ignore[operator]
    if not isinstance(given, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", given):
        raise ConfigurationError(f"id: {given!r} must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit")
    return given


def _name(name: object) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError("name: empty; give the server a name for people")
    return name


def _provider(provider: object) -> Provider:
    if not isinstance(provider, Provider):
        raise ConfigurationError(f"provider: expected SES(…), SendGrid(…) or another provider, got {type(provider).__name__}")
    return provider


def _sender(value: str | Address) -> Address:
    try:
        return address(value, "sender")
    except MessageError as error:
        raise ConfigurationError(str(error)) from None


def _senders(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    allowed: list[str] = []
    for one in [value] if isinstance(value, str) else value:
        try:
            allowed.append(address(one, "senders").key if "@" in one else ascii_domain(one))
        except ValueError as error:
            raise ConfigurationError(f"senders: {one!r} is neither a domain nor an address ({error})") from None
    return tuple(dict.fromkeys(allowed))


def _budgets(config: Config, given: Iterable[Budget | str]) -> tuple[tuple[str, ...], tuple[Budget, ...]]:
    """The names of a server's budgets, and those that are new."""
    wanted: list[str] = []
    fresh: list[Budget] = []
    for one in given:
        if isinstance(one, str):
            wanted += names(one, "budgets", config.budgets)
            continue
        if not isinstance(one, Budget):
            raise ConfigurationError(f"budgets: expected Budget(…) or the name of one, got {type(one).__name__}")
        known = config.budgets.get(one.name)
        if known is not None and known != one:
            raise AlreadyExists(
                f"budgets: {one.name!r} exists with other limits; change it with mailer.budgets.update()", ("budgets",)
            )
        if known is None:
            fresh.append(one)
        wanted.append(one.name)
    return tuple(dict.fromkeys(wanted)), tuple(fresh)


def _same(known: DeliveryServer, wanted: DeliveryServer) -> DeliveryServer:
    fields = ("name", "provider", "sender", "senders", "limits", "budgets")
    if known.status is Status.BROKEN:
        return known
    differing = [name for name in fields if getattr(known, name) != getattr(wanted, name)]
    if differing:
        raise AlreadyExists(
            f"id: {known.id!r} exists with other values in {', '.join(differing)}; use servers.update()", differing
        )
    return known
