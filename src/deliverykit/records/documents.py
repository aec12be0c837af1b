"""Records as the documents a storage keeps, and back."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

from deliverykit.contracts.books import Document
from deliverykit.contracts.limit import Limit
from deliverykit.contracts.provider import Provider
from deliverykit.contracts.router import Router
from deliverykit.records.account import Account
from deliverykit.records.hold import Hold
from deliverykit.records.parts import Parts
from deliverykit.records.route import NoRouter, Route, WhenExhausted
from deliverykit.records.server import VALUES, Budget, DeliveryServer, Status
from deliverykit.records.stored import UPGRADE, NewerFormat, Stored, fields_of, with_format
from deliverykit.records.vault import Binding, Vault
from deliverykit.words.addresses import Address
from deliverykit.words.clock import length
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.outcomes import on_doubt

__all__ = ["KINDS", "Archive"]

T = TypeVar("T")

KINDS: Final = ("account", "server", "route", "budget", "removed", "brake", "hold")
"""The kinds of document that this version knows. It leaves others as they are, and ``doctor()`` reports them."""

_IN_ORDER: Final = {"part": "priority", "fields": {}}
"""The router of a route whose document names none."""

_FIELDS: Final = {
    "account": ("timezone", "limits"),
    "server": (
        "name", "provider", "sender", "senders", "limits", "budgets", "status", "reason", "paused_by", "proven", "version",
    ),
    "route": ("servers", "strategy", "when_exhausted", "in_doubt", "max_lateness", "first", "version"),
    "budget": ("limits",),
    "brake": ("reason",),
    "hold": ("reason", "server", "lane", "domain", "route", "stream"),
}  # fmt: skip

_ANOTHER = -(1 << 30)
"""The version of a server whose record cannot be read: no verdict on it as it was, or will be, is about it as it is."""


class Archive:
    """Writes and reads records. A server that cannot be read comes back BROKEN with the reason."""

    def __init__(self, parts: Parts, vault: Vault) -> None:
        self.parts = parts
        self.vault = vault

    def account(self, account: Account) -> Document:
        """An account as a document."""
        if account.broken:
            raise ConfigurationError(f"account {account.id!r} is BROKEN and cannot be written: {account.broken}")
        data = {"timezone": account.timezone, "limits": self._limits(account.limits)}
        return _document("account", account.id, data, account.stored)

    def brake(self, reason: str) -> Document:
        """Why nothing of an account is admitted; ``""`` takes it away. Apart, so that a BROKEN account can have one."""
        return _document("brake", "account", {"reason": reason}) if reason else Document(kind="brake", id="account", data=None)

    def read_brake(self, document: Document) -> str:
        """The reason again. Where the document cannot be read the account stays paused, and the reason says so."""
        try:
            data, _ = fields_of(document.data or "", _FIELDS["brake"])
        except ValueError:
            data = {}
        return str(data.get("reason") or "paused; the reason cannot be read")

    def hold(self, hold: Hold) -> Document:
        """A hold as a document."""
        data = {name: getattr(hold, name) for name in _FIELDS["hold"]}
        return _document("hold", hold.id, data, hold.stored)

    def read_hold(self, document: Document) -> Hold | None:
        """The hold again; ``None`` where this version cannot read it, and then it holds nothing here."""
        try:
            data, stored = _opened(document)
            texts = {name: _typed(data.get(name, ""), str) for name in ("reason", "server", "domain", "route", "stream")}
            return Hold(**texts, lane=_typed(data.get("lane", 0), int), stored=stored)
        except _UNREADABLE:
            return None

    def budget(self, budget: Budget) -> Document:
        """A budget as a document."""
        return _document("budget", budget.name, {"limits": self._limits(budget.limits)}, budget.stored)

    def route(self, route: Route) -> Document:
        """A route as a document."""
        if route.broken:
            raise ConfigurationError(f"route {route.name!r} is BROKEN and cannot be written: {route.broken}")
        strategy, _ = self.parts.dump(route.strategy)
        return _document(
            "route",
            route.name,
            {
                "servers": route.servers,
                "strategy": strategy,
                "when_exhausted": route.when_exhausted,
                "in_doubt": str(route.in_doubt),
                "max_lateness": None if route.max_lateness is None else route.max_lateness // timedelta(milliseconds=1),
                "first": route.first,
                "version": route.version,
            },
            route.stored,
        )

    def server(self, server: DeliveryServer) -> Document:
        """A server as a document, its credentials encrypted apart."""
        if server.stored.newer:
            raise ConfigurationError(f"server {server.name!r} cannot be changed here: {server.stored.hint}")
        if server.provider is None:
            raise ConfigurationError(f"server {server.name!r} is BROKEN and cannot be written: {server.reason}")
        provider, secrets = self.parts.dump(server.provider)
        # Bound to the provider exactly as it is written below.
        sealed = self.vault.seal(secrets, Binding(server.account, server.id, provider))
        data = {
            "name": server.name,
            "provider": provider,
            "sender": server.sender and [server.sender.email, server.sender.name],
            "senders": server.senders,
            "limits": self._limits(server.limits),
            "budgets": server.budgets,
            "status": server.status,
            "reason": server.reason,
            "paused_by": server.paused_by,
            "proven": server.proven,
            "version": server.version,
        }
        text = json.dumps(with_format(data, server.stored), ensure_ascii=False)
        return Document(kind="server", id=server.id, data=text, secrets=sealed)

    def removed(self, server: DeliveryServer) -> Document:
        """What is kept of a server that was removed: late events may name it."""
        return _document("removed", server.id, {"provider": server.provider.name if server.provider else ""})

    def _limits(self, limits: Iterable[Limit]) -> list[dict[str, Any]]:
        return [self.parts.dump(limit)[0] for limit in limits]

    def read_account(self, document: Document) -> Account:
        """The account again, ``broken`` where this version cannot read it or its limits."""
        try:
            data, stored = _opened(document)
            limits, broken = self._readable_limits(data.get("limits", ()))
            return Account(id=document.id, timezone=_typed(data["timezone"], str), limits=limits, broken=broken, stored=stored)
        except _UNREADABLE as error:
            why = _why(document, error)
            return Account(id=document.id, timezone="UTC", broken=why, damaged=True, stored=_format_of(error))

    def read_budget(self, document: Document) -> Budget:
        """The budget again, ``broken`` where this version cannot read it or its limits."""
        try:
            data, stored = _opened(document)
            limits, broken = self._readable_limits(data["limits"])
            return Budget(name=document.id, limits=limits, broken=broken, stored=stored)
        except _UNREADABLE as error:
            return Budget(name=document.id, limits=(), broken=_why(document, error), stored=_format_of(error))

    def read_route(self, account: str, document: Document) -> Route:
        """The route again, ``broken`` where this version cannot read it or its router."""
        try:
            data, stored = _opened(document)
            strategy, broken = self._readable_router(data.get("strategy", _IN_ORDER))
            lateness = _typed(data.get("max_lateness", 0) or 0, int)
            return Route(
                account=account,
                name=document.id,
                servers=_texts(data["servers"]),
                strategy=strategy,
                when_exhausted=WhenExhausted(data.get("when_exhausted", WhenExhausted.FAILOVER)),
                in_doubt=on_doubt(data.get("in_doubt", "hold")),
                max_lateness=length(lateness) if lateness else None,
                first=_texts(data.get("first", [])),
                version=_typed(data.get("version", 1), int),
                broken=broken,
                stored=stored,
            )
        except _UNREADABLE as error:
            return Route(
                account=account, name=document.id, servers=(), strategy=NoRouter(), when_exhausted=WhenExhausted.QUEUE,
                broken=_why(document, error), stored=_format_of(error),
            )  # fmt: skip

    def read_server(self, account: str, document: Document) -> DeliveryServer:
        """The server again, BROKEN where its credentials or parts cannot be read here, or its document by nobody."""
        try:
            return self._read_server(account, document)
        except _Newer as error:
            # Another process may read it, so its messages wait for that process; see Config.legible.
            return DeliveryServer(
                id=document.id, account=account, name=error.name or document.id, provider=None, status=Status.BROKEN,
                reason=str(error), unread=("provider",), version=_ANOTHER, stored=error.stored,
            )  # fmt: skip
        except Exception:  # noqa: BLE001  whatever somebody wrote there: it stops this server, not its account
            reason = (
                f"its record (table dk_document, kind server, id {document.id}) cannot be read; give all its values anew with "
                "servers.update(), remove it, or put a backup of the file in its place"
            )
            return DeliveryServer(
                id=document.id, account=account, name=document.id, provider=None, status=Status.BROKEN, reason=reason,
                unread=VALUES, version=_ANOTHER,
            )  # fmt: skip

    def _read_server(self, account: str, document: Document) -> DeliveryServer:
        data, stored = _opened(document)
        # What it may send, and how much, has no default: a record without it is damaged.
        sender, senders = data["sender"], data.get("senders")
        known: dict[str, Any] = {
            "id": document.id,
            "account": account,
            "name": _typed(data.get("name", document.id), str),
            "sender": None if sender is None else Address(*_texts(sender)),
            "senders": None if senders is None else _texts(senders),
            "budgets": _texts(data.get("budgets", [])),
            "paused_by": _typed(data.get("paused_by", ""), str),
            "proven": _typed(data.get("proven", False), bool),
            "version": _typed(data.get("version", 1), int),
            "stored": stored,
        }
        limits, broken = self._readable_limits(data["limits"])
        unread: tuple[str, ...] = ("limits",) if broken else ()
        provider: Provider | None = None
        try:
            secrets = self.vault.unseal(document.secrets, Binding(account, document.id, data["provider"]))
            loaded: Provider = self.parts.load("provider", data["provider"], secrets)
            provider = loaded.kept(account)
        except ConfigurationError as error:
            unread, broken = ("provider", *unread), "; ".join(filter(None, [str(error), broken]))
        if broken:
            return DeliveryServer(**known, provider=None, limits=limits, status=Status.BROKEN, reason=broken, unread=unread)
        status, reason = _typed(data.get("status", Status.PAUSED), str), _typed(data.get("reason", ""), str)
        if status not in (Status.PAUSED, Status.ACTIVE):
            raise _Newer(f"its status {status[:40]!r} is unknown to this version; {UPGRADE}", stored, known["name"])
        return DeliveryServer(**known, provider=provider, limits=limits, status=Status(status), reason=reason)

    def _readable_limits(self, data: Iterable[Mapping[str, Any]]) -> tuple[tuple[Limit, ...], str]:
        """The limits; none and what to mend where one of them cannot be read."""
        try:
            return tuple(self.parts.load("limit", one) for one in data), ""
        except ConfigurationError as error:
            return (), str(error)

    def _readable_router(self, data: Mapping[str, Any]) -> tuple[Router, str]:
        """The router; one that orders no server and what to do where it cannot be read."""
        try:
            router: Router = self.parts.load("router", data)
        except ConfigurationError as error:
            return NoRouter(), str(error)
        return router, ""


class _Newer(NewerFormat):
    """A record that only a newer version may act on; ``name`` is its name, where that can be read."""

    def __init__(self, text: str, stored: Stored, name: str = "") -> None:
        super().__init__(text)
        self.stored = stored
        self.name = name


_UNREADABLE: Final = (ConfigurationError, ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What reading a damaged or newer document raises."""


def _document(kind: str, id_: str, data: Mapping[str, Any], stored: Stored | None = None) -> Document:
    try:
        return Document(kind=kind, id=id_, data=json.dumps(with_format(data, stored), ensure_ascii=False))
    except NewerFormat as error:
        raise ConfigurationError(f"{kind} {id_!r} cannot be changed here: {error}") from None


def _opened(document: Document) -> tuple[dict[str, Any], Stored]:
    """The fields of a document. Raises :class:`_Newer` where only a newer version may act on it."""
    data, stored = fields_of(document.data or "", _FIELDS[document.kind])
    if stored.newer:
        raise _Newer(stored.hint, stored, str(data.get("name", "")))
    return data, stored


def _typed(value: object, kind: type[T]) -> T:
    """A field of a document. Raises ``ValueError`` where it is of another type."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_typed(one, str) for one in _typed(value, list))


def _format_of(error: BaseException) -> Stored:
    return error.stored if isinstance(error, _Newer) else Stored()


def _why(document: Document, error: BaseException) -> str:
    """What to do about a record that this version cannot read."""
    if isinstance(error, _Newer):
        return str(error)
    return (
        f"the stored {document.kind} {document.id!r} (table dk_document) cannot be read; a newer version wrote it, or it is "
        "damaged: upgrade this process, or put a backup of the file in its place"
    )
