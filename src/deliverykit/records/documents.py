"""Records as the documents a storage keeps, and back."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from deliverykit.contracts.limit import Limit
from deliverykit.contracts.storage import Document
from deliverykit.records.account import Account
from deliverykit.records.parts import Parts
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import Budget, DeliveryServer, Status
from deliverykit.records.vault import Vault
from deliverykit.words.addresses import Address
from deliverykit.words.errors import ConfigurationError

__all__ = ["Archive"]


class Archive:
    """Writes and reads records. A server that cannot be read comes back BROKEN with the reason."""

    def __init__(self, parts: Parts, vault: Vault) -> None:
        self.parts = parts
        self.vault = vault

    def account(self, account: Account) -> Document:
        """An account as a document."""
        return _document("account", account.id, {"timezone": account.timezone, "limits": self._limits(account.limits)})

    def budget(self, budget: Budget) -> Document:
        """A budget as a document."""
        return _document("budget", budget.name, {"limits": self._limits(budget.limits)})

    def route(self, route: Route) -> Document:
        """A route as a document."""
        strategy, _ = self.parts.dump(route.strategy)
        return _document(
            "route",
            route.name,
            {"servers": route.servers, "strategy": strategy, "when_exhausted": route.when_exhausted, "version": route.version},
        )

    def server(self, server: DeliveryServer) -> Document:
        """A server as a document, its credentials encrypted apart."""
        if server.provider is None:
            raise ConfigurationError(f"server {server.name!r} is BROKEN and cannot be written: {server.reason}")
        provider, secrets = self.parts.dump(server.provider)
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
        return Document(
            kind="server", id=server.id, data=json.dumps(data, ensure_ascii=False), secrets=self.vault.lock(secrets)
        )

    def _limits(self, limits: Iterable[Limit]) -> list[dict[str, Any]]:
        return [self.parts.dump(limit)[0] for limit in limits]

    def read_account(self, document: Document) -> Account:
        """The account again."""
        data = _data(document)
        return Account(id=document.id, timezone=data["timezone"], limits=self._read_limits(data["limits"]))

    def read_budget(self, document: Document) -> Budget:
        """The budget again."""
        return Budget(name=document.id, limits=self._read_limits(_data(document)["limits"]))

    def read_route(self, account: str, document: Document) -> Route:
        """The route again."""
        data = _data(document)
        return Route(
            account=account,
            name=document.id,
            servers=tuple(data["servers"]),
            strategy=self.parts.load("router", data["strategy"]),
            when_exhausted=WhenExhausted(data["when_exhausted"]),
            version=data["version"],
        )

    def read_server(self, account: str, document: Document) -> DeliveryServer:
        """The server again, BROKEN where its credentials or parts cannot be read here."""
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
        try:
            provider = self.parts.load("provider", data["provider"], self.vault.unlock(document.secrets))
            limits = self._read_limits(data["limits"])
        except ConfigurationError as error:
            return DeliveryServer(**known, provider=None, status=Status.BROKEN, reason=str(error))
        return DeliveryServer(**known, provider=provider, limits=limits, status=Status(data["status"]), reason=data["reason"])

    def _read_limits(self, data: Iterable[Mapping[str, Any]]) -> tuple[Limit, ...]:
        return tuple(self.parts.load("limit", one) for one in data)


def _document(kind: str, id_: str, data: Mapping[str, Any]) -> Document:
    return Document(kind=kind, id=id_, data=json.dumps(data, ensure_ascii=False))


def _data(document: Document) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(document.data or "{}")
    return data
