"""Records as the documents a storage keeps, and back."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from deliverykit.contracts.books import Document
from deliverykit.contracts.limit import Limit
from deliverykit.contracts.provider import Provider
from deliverykit.contracts.router import Router
from deliverykit.records.account import Account
from deliverykit.records.parts import Parts
from deliverykit.records.route import NoRouter, Route, WhenExhausted
from deliverykit.records.server import VALUES, Budget, DeliveryServer, Status
from deliverykit.records.vault import Binding, Vault
from deliverykit.words.addresses import Address
from deliverykit.words.errors import ConfigurationError, StorageError
from deliverykit.words.outcomes import on_doubt

__all__ = ["Archive"]

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
        return _document("account", account.id, {"timezone": account.timezone, "limits": self._limits(account.limits)})

    def brake(self, reason: str) -> Document:
        """Why nothing of an account is admitted; ``""`` takes it away. Apart, so that a BROKEN account can have one."""
        return _document("brake", "account", {"reason": reason}) if reason else Document(kind="brake", id="account", data=None)

    def read_brake(self, document: Document) -> str:
        """The reason again."""
        return str(_data(document)["reason"])

    def budget(self, budget: Budget) -> Document:
        """A budget as a document."""
        return _document("budget", budget.name, {"limits": self._limits(budget.limits)})

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
        )

    def server(self, server: DeliveryServer) -> Document:
        """A server as a document, its credentials encrypted apart."""
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
        return Document(kind="server", id=server.id, data=json.dumps(data, ensure_ascii=False), secrets=sealed)

    def _limits(self, limits: Iterable[Limit]) -> list[dict[str, Any]]:
        return [self.parts.dump(limit)[0] for limit in limits]

    def read_account(self, document: Document) -> Account:
        """The account again, ``broken`` where its limits cannot be read here."""
        data = _data(document)
        limits, broken = self._readable_limits(data["limits"])
        return Account(id=document.id, timezone=data["timezone"], limits=limits, broken=broken)

    def read_budget(self, document: Document) -> Budget:
        """The budget again, ``broken`` where its limits cannot be read here."""
        limits, broken = self._readable_limits(_data(document)["limits"])
        return Budget(name=document.id, limits=limits, broken=broken)

    def read_route(self, account: str, document: Document) -> Route:
        """The route again, ``broken`` where its router cannot be read here."""
        data = _data(document)
        strategy: Router = NoRouter()
        broken = ""
        try:
            strategy = self.parts.load("router", data["strategy"])
        except ConfigurationError as error:
            broken = str(error)
        return Route(
            account=account,
            name=document.id,
            servers=tuple(data["servers"]),
            strategy=strategy,
            when_exhausted=WhenExhausted(data["when_exhausted"]),
            in_doubt=on_doubt(data["in_doubt"]),
            max_lateness=None if data["max_lateness"] is None else timedelta(milliseconds=data["max_lateness"]),
            first=tuple(data["first"]),
            version=data["version"],
            broken=broken,
        )

    def read_server(self, account: str, document: Document) -> DeliveryServer:
        """The server again, BROKEN where its credentials or parts cannot be read here, or its document by nobody."""
        try:
            return self._read_server(account, document)
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
        data = _data(document)
        known: dict[str, Any] = {
            "id": document.id,
            "account": account,
            "name": data["name"],
            "sender": Address(*data["sender"]) if data["sender"] else None,
            "senders": None if data["senders"] is None else tuple(data["senders"]),
            "budgets": tuple(data["budgets"]),
            "paused_by": data["paused_by"],
            "proven": data["proven"],
            "version": data["version"],
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
        return DeliveryServer(**known, provider=provider, limits=limits, status=Status(data["status"]), reason=data["reason"])

    def _readable_limits(self, data: Iterable[Mapping[str, Any]]) -> tuple[tuple[Limit, ...], str]:
        """The limits; none and what to mend where one of them cannot be read."""
        try:
            return tuple(self.parts.load("limit", one) for one in data), ""
        except ConfigurationError as error:
            return (), str(error)


def _document(kind: str, id_: str, data: Mapping[str, Any]) -> Document:
    return Document(kind=kind, id=id_, data=json.dumps(data, ensure_ascii=False))


def _data(document: Document) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(document.data or "{}")
    except ValueError:
        raise StorageError(
            f"the stored {document.kind} {document.id!r} (table dk_document) cannot be read; "
            "put a backup of the file in its place"
        ) from None
    return data
