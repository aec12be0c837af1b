"""Accounts: many tenants, none seeing another's servers; and the budgets inside one."""

from collections.abc import Callable, Sequence
from datetime import timedelta, tzinfo
from typing import Generic, TypeVar

from attrs import evolve, frozen

from deliverykit.contracts.limit import Limit, RateLimiter
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.rooms.acts import recorded
from deliverykit.engine.rooms.editing import own_id
from deliverykit.engine.rooms.room import UNSET, Amendment, Room, Unset, amend, chosen, limits_kept, limits_of, named
from deliverykit.limits.zones import known_zone
from deliverykit.records.account import DEFAULT_ACCOUNT, Account
from deliverykit.records.server import Budget
from deliverykit.words.arguments import line, near, shown
from deliverykit.words.errors import AlreadyExists, ConfigurationError, NotFound
from deliverykit.words.facts import AccountPaused, AccountResumed
from deliverykit.words.untrusted import scrubbed

__all__ = ["Accounts", "Brake", "Budgets"]

Quota = Limit | Sequence[Limit] | None
Pausing = timedelta | RateLimiter | None


F = TypeVar("F")


@frozen
class Accounts(Room, Generic[F]):
    """The accounts of this storage. ``default`` exists by itself."""

    face: Callable[[str], F]
    """Makes the face of one account."""

    async def add(self, id: str, *, timezone: str | tzinfo, quota: Quota = None, pause: Pausing = None) -> F:
        """Add an account with its IANA time zone and limits over all its servers, and return the face that is bound to it.

        Repeatable with the same values.
        """
        own_id(id)
        account = Account(id=id, timezone=known_zone(timezone), limits=limits_of(quota, pause, new=True))

        def make(config: Config) -> Amendment:
            if config.version == 0:
                told = recorded(id, "added", account)
                return Amendment(config=config, result=None, documents=(self.context.archive.account(account),), facts=told)
            differing = [one for one in ("timezone", "limits") if getattr(config.account, one) != getattr(account, one)]
            if differing:
                raise AlreadyExists(
                    f"account {id!r} exists with other values in {', '.join(differing)}; use accounts.update()", differing
                )
            return Amendment(config=config, result=None)

        await amend(evolve(self, account=id), make)
        return self.face(id)

    async def get(self, id: str | Account) -> Account:
        """An account. Raises :class:`~deliverykit.NotFound`."""
        account = named(id, "id", Account)
        config = await self.ports.store(self.context.catalog.fresh, account)
        if config.version == 0 and account != self.account:
            # Without the names of the others: this may be shown to a tenant.
            raise NotFound(f"id={shown(account)}: there is no such account; add it with mailer.accounts.add()")
        return config.account

    async def list(self) -> tuple[Account, ...]:
        """All accounts, the default one first."""
        stored = await self.ports.store(self.context.storage.accounts)
        ids = dict.fromkeys((self.account, *stored))
        return tuple([(await self.ports.store(self.context.catalog.fresh, one)).account for one in ids])

    async def update(
        self,
        id: str | Account,
        *,
        timezone: str | tzinfo | Unset = UNSET,
        quota: Quota | Unset = UNSET,
        pause: Pausing | Unset = UNSET,
    ) -> Account:
        """Change what is given. A zone change keeps every count; it never gives a second budget."""
        account = (await self.get(id)).id
        place: str | Unset = timezone if isinstance(timezone, Unset) else known_zone(timezone)
        if not isinstance(place, Unset):
            fixed = self.context.catalog.timezone
            if account == DEFAULT_ACCOUNT and fixed not in (None, place):
                raise ConfigurationError(
                    f"timezone: Mailer(timezone={fixed!r}) sets that of account {account!r} at every start; change it there"
                )

        def make(config: Config) -> Amendment:
            old = config.account
            if old.broken and (isinstance(quota, Unset) or isinstance(pause, Unset)):
                raise ConfigurationError(f"account {account!r}: {old.broken}; or give quota= and pause= again")
            if old.damaged and isinstance(place, Unset):
                raise ConfigurationError(f"account {account!r}: {old.broken}; or give timezone=, quota= and pause= again")
            limits = limits_kept(old.limits, quota, pause)
            new = evolve(old, timezone=chosen(place, old.timezone), limits=limits, broken="", damaged=False)
            told = recorded(account, "updated", new, old)
            return Amendment(config=config, result=new, documents=(self.context.archive.account(new),), facts=told)

        changed: Account = await amend(evolve(self, account=account), make)
        return changed


class Brake(Room):
    """``mailer.pause_all`` and ``resume_all``: one account, as a whole."""

    async def pull(self, reason: str) -> None:
        """Admit nothing more."""
        line(reason, "reason", least=1, most=1_000, write="say why; explain() and send() show it")

        def make(config: Config) -> Amendment:
            told = AccountPaused(account=self.account, reason=scrubbed(reason))
            return Amendment(config=config, result=None, documents=(self.context.archive.brake(reason),), facts=(told,))

        await amend(self, make)

    async def release(self) -> None:
        """Admit again."""

        def make(config: Config) -> Amendment:
            if not config.account.paused:
                return Amendment(config=config, result=None)
            gone, told = self.context.archive.brake(""), AccountResumed(account=self.account)
            return Amendment(config=config, result=None, documents=(gone,), facts=(told,))

        await amend(self, make)


class Budgets(Room):
    """``mailer.budgets``: limits with a name that several servers share. The first server that names one adds it."""

    async def get(self, name: str) -> Budget:
        """A budget. Raises :class:`~deliverykit.NotFound`."""
        return _budget(await self.config(), named(name, "name", Budget))

    async def list(self) -> tuple[Budget, ...]:
        """All budgets of the account."""
        return tuple((await self.config()).budgets.values())

    async def update(self, name: str, *limits: Limit) -> Budget:
        """Other limits for a budget; its counts are kept."""
        name = named(name, "name", Budget)
        given = limits_of(limits, None, new=False)

        def make(config: Config) -> Amendment:
            old = _budget(config, name)
            new = evolve(old, limits=given, broken="")
            told = recorded(self.account, "updated", new, old)
            return Amendment(config=config, result=new, documents=(self.context.archive.budget(new),), facts=told)

        changed: Budget = await amend(self, make)
        return changed


def _budget(config: Config, name: str) -> Budget:
    if name not in config.budgets:
        raise NotFound(f"name={shown(name)}: there is no such budget; {near(name, config.budgets)}")
    return config.budgets[name]
