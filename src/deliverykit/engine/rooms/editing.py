"""The values of a delivery server, checked by name; and an edit of them, made on whatever the record is then."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from attrs import evolve, fields, frozen

from deliverykit.contracts.limit import Limit, RateLimiter
from deliverykit.contracts.provider import Provider
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.permissions import Permissions
from deliverykit.engine.rooms.acts import recorded
from deliverykit.engine.rooms.room import UNSET, Amendment, Unset, chosen, limits_kept, names
from deliverykit.records.documents import Archive
from deliverykit.records.server import Budget, DeliveryServer, Status
from deliverykit.words.addresses import Address, address, ascii_domain
from deliverykit.words.arguments import instance, items, line, refused, short
from deliverykit.words.errors import AlreadyExists, ConfigurationError, MessageError
from deliverykit.words.facts import Fact

__all__ = [
    "Edit",
    "Pausing",
    "Quota",
    "budgets_of",
    "name_of",
    "new_id",
    "own_id",
    "provider_of",
    "same",
    "saved",
    "sender_of",
    "senders_of",
]

Quota = Limit | Sequence[Limit] | None
Pausing = timedelta | RateLimiter | None


@frozen(kw_only=True)
class Edit:
    """What ``update`` was given. It is made on the record as it stands in the step that writes it."""

    name: str | Unset = UNSET
    provider: Provider | Unset = UNSET
    sender: Address | Unset | None = UNSET
    senders: tuple[str, ...] | Unset | None = UNSET
    quota: Quota | Unset = UNSET
    pause: Pausing | Unset = UNSET
    budgets: tuple[Budget | str, ...] | Unset = UNSET

    def of(self, config: Config, old: DeliveryServer) -> tuple[DeliveryServer, tuple[Budget, ...]]:
        """The record after it, status and proof as they were, and the budgets that are new with it."""
        # What cannot be read cannot be kept. Nothing may fall back to none in silence: neither a limit nor a forced sender.
        wanting = [name for name in _asked(old) if isinstance(getattr(self, name), Unset)]
        if wanting:
            raise ConfigurationError(
                f"server {old.name!r} is BROKEN: {old.reason}; or give {', '.join(f'{one}=' for one in wanting)} anew"
            )
        wanted, fresh = (old.budgets, ()) if isinstance(self.budgets, Unset) else budgets_of(config, self.budgets)
        new = evolve(
            old,
            name=name_of(chosen(self.name, old.name)),
            provider=chosen(self.provider, old.provider),
            sender=chosen(self.sender, old.sender),
            senders=chosen(self.senders, old.senders),
            limits=limits_kept(old.limits, self.quota, self.pause),
            budgets=wanted,
            version=old.version + 1,
        )
        if old.status is Status.BROKEN and not isinstance(self.provider, Unset):
            new = evolve(new, status=Status.PAUSED, reason="", proven=False, unread=())
        return new, fresh


def saved(
    archive: Archive, config: Config, server: DeliveryServer, fresh: Sequence[Budget], facts: Iterable[Fact]
) -> Amendment:
    """A server as it is from now on, with the budgets that are new with it."""
    added = [fact for budget in fresh for fact in recorded(server.account, "added", budget)]
    documents = (*(archive.budget(budget) for budget in fresh), archive.server(server))
    kept = evolve(server, provider=server.provider and server.provider.kept(server.account))
    return Amendment(config=config, result=kept, documents=documents, facts=(*added, *facts))


def _asked(old: DeliveryServer) -> tuple[str, ...]:
    """The arguments that must be given, since what the server has of them cannot be read."""
    if old.damaged:
        return tuple(one.name for one in fields(Edit))
    return ("quota", "pause") if "limits" in old.unread else ()


def new_id(given: str | None, make: Callable[[], str]) -> str:
    """An id of the host's choosing, checked; else a fresh one."""
    return make() if given is None else own_id(given)


def own_id(given: object) -> str:
    """An id of the host's choosing, checked."""
    write = "give 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first"
    if not isinstance(given, str):
        refused("id", given, "expected text", write)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", given):
        refused("id", given, "not an id", write)
    return given


def name_of(name: object) -> str:
    """A name for people."""
    return line(name, "name", least=1, write="give the server a name for people")


def provider_of(provider: object, account: str, permissions: Permissions) -> Provider:
    """Return the provider. Refuse anything else, what this account may not use, and stored secrets that would go elsewhere."""
    write = "give SES(…), SendGrid(…), Mailgun(…), ElasticEmail(…) or your own provider"
    known = instance(provider, "provider", Provider, write)
    if astray := known.astray(account):
        places = [one.name for one in known.options() if one.metadata.get("destination")]
        raise ConfigurationError(
            f"{', '.join(astray)}: stored for another account or another {' or '.join(places) or 'ESP'}; "
            "a stored secret is not sent elsewhere, so give it again"
        )
    permissions.check(account, known)
    return known


def sender_of(value: str | Address) -> Address:
    """A forced sender."""
    try:
        return address(value, "sender")
    except MessageError as error:
        raise ConfigurationError(str(error)) from None


def senders_of(value: Iterable[str] | None) -> tuple[str, ...] | None:
    """The domains and addresses a server may send for, in ASCII; ``*.example.com`` is all below it; ``None`` is any."""
    if value is None:
        return None
    allowed: list[str] = []
    write = "give domains and addresses such as ['example.com', 'ann@example.org']"
    for one in items(value, "senders", write, alone=(str, Address)):
        if isinstance(one, Address):
            allowed.append(one.key)
            continue
        try:
            known = line(one, "senders", least=1, write=write).strip()
            below = "*." if known.startswith("*.") else ""
            allowed.append(address(known, "senders").key if "@" in known else below + ascii_domain(known.removeprefix("*.")))
        except ConfigurationError:
            raise
        except ValueError as error:
            refused("senders", one, f"neither a domain nor an address ({short(str(error))})", write)
    return tuple(dict.fromkeys(allowed))


def budgets_of(config: Config, given: Iterable[Budget | str]) -> tuple[tuple[str, ...], tuple[Budget, ...]]:
    """The names of a server's budgets, and those that are new."""
    wanted: list[str] = []
    fresh: list[Budget] = []
    for one in given:
        if isinstance(one, str):
            wanted += names(one, "budgets", config.budgets)
            continue
        if not isinstance(one, Budget):
            refused("budgets", one, "not a budget", "give Budget(name=…, limits=…) or the name of one")
        known = config.budgets.get(one.name)
        if known is not None and known != one:
            raise AlreadyExists(
                f"budgets: {one.name!r} exists with other limits; change it with mailer.budgets.update()", ("budgets",)
            )
        if known is None:
            fresh.append(one)
        wanted.append(one.name)
    return tuple(dict.fromkeys(wanted)), tuple(fresh)


def same(known: DeliveryServer, wanted: DeliveryServer) -> DeliveryServer:
    """The known record, where nothing is wanted otherwise. Raises ``AlreadyExists`` naming the fields."""
    fields = ("name", "provider", "sender", "senders", "limits", "budgets")
    if known.status is Status.BROKEN:
        return known
    differing = [name for name in fields if getattr(known, name) != getattr(wanted, name)]
    if differing:
        raise AlreadyExists(
            f"id: {known.id!r} exists with other values in {', '.join(differing)}; use servers.update()", differing
        )
    return known
