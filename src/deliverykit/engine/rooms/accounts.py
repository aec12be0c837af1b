"""Accounts: many tenants, none seeing another's servers; and the budgets inside one."""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from attrs import evolve, frozen

from deliverykit.contracts.limit import Limit, RateLimiter
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.rooms.acts import recorded
from deliverykit.engine.rooms.room import UNSET, Amendment, Room, Unset, chosen, limits_kept, limits_of
from deliverykit.limits.zones import zone
from deliverykit.records.account import DEFAULT_ACCOUNT, Account
from deliverykit.records.server import Budget
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

    async def add(self, id: str, *, timezone: str, quota: Quota = None, pause: Pausing = None) -> F:
        """Add an account with its IANA time zone and limits over all its servers, and return the face that is bound to it.

        Repeatable with the same values.
        """
        if not isinstance(id, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", id):
            raise ConfigurationError(f"id: {id!r} must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit")
        zone(timezone)
        account = Account(id=id, timezone=timezone, limits=limits_of(quota, pause, new=True))

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

        await evolve(self, account=id).amend(make)
        return self.face(id)

    async def get(self, id: str) -> Account:
        """An account. Raises :class:`~deliverykit.NotFound`."""
        config = await self.ports.store(self.context.catalog.fresh, id)
        if config.version == 0 and id != self.account:
            # Without the names of the others: this may be shown to a tenant.
            raise NotFound(f"no account {id!r}; accounts.add() adds it, accounts.list() shows all")
        return config.account

    async def list(self) -> tuple[Account, ...]:
        """All accounts, the default one first."""
        stored = await self.ports.store(self.context.storage.accounts)
        ids = dict.fromkeys((self.account, *stored))
        return tuple([(await self.ports.store(self.context.catalog.fresh, one)).account for one in ids])

    async def update(
        self,
        id: str,
        *,
        timezone: str | Unset = UNSET,
        quota: Quota | Unset = UNSET,
        pause: Pausing | Unset = UNSET,
    ) -> Account:
        """Change what is given. A zone change keeps every count; it never gives a second budget."""
        await self.get(id)
        if not isinstance(timezone, Unset):
            zone(timezone)
            named = self.context.catalog.timezone
            if id == DEFAULT_ACCOUNT and named not in (None, timezone):
                raise ConfigurationError(
                    f"timezone: Mailer(timezone={named!r}) names that of account {id!r}, and would do so again; change it there"
                )

        def make(config: Config) -> Amendment:
            old = config.account
            if old.broken and (isinstance(quota, Unset) or isinstance(pause, Unset)):
                raise ConfigurationError(f"account {id!r}: {old.broken}; or give quota= and pause= again")
            if old.damaged and isinstance(timezone, Unset):
                raise ConfigurationError(f"account {id!r}: {old.broken}; or give timezone=, quota= and pause= again")
            limits = limits_kept(old.limits, quota, pause)
            new = evolve(old, timezone=chosen(timezone, old.timezone), limits=limits, broken="", damaged=False)
            told = recorded(id, "updated", new, old)
            return Amendment(config=config, result=new, documents=(self.context.archive.account(new),), facts=told)

        changed: Account = await evolve(self, account=id).amend(make)
        return changed


class Brake(Room):
    """``mailer.pause_all`` and ``resume_all``: one account, as a whole."""

    async def pull(self, reason: str) -> None:
        """Admit nothing more."""
        if not isinstance(reason, str) or not reason.strip():
            raise ConfigurationError(f"reason: {reason!r}; say why, for explain() and send() tell it")

        def make(config: Config) -> Amendment:
            told = AccountPaused(account=self.account, reason=scrubbed(reason))
            return Amendment(config=config, result=None, documents=(self.context.archive.brake(reason),), facts=(told,))

        await self.amend(make)

    async def release(self) -> None:
        """Admit again."""

        def make(config: Config) -> Amendment:
            if not config.account.paused:
                return Amendment(config=config, result=None)
            gone, told = self.context.archive.brake(""), AccountResumed(account=self.account)
            return Amendment(config=config, result=None, documents=(gone,), facts=(told,))

        await self.amend(make)


class Budgets(Room):
    """``mailer.budgets``: limits with a name that several servers share. The first server that names one adds it."""

    async def get(self, name: str) -> Budget:
        """A budget. Raises :class:`~deliverykit.NotFound`."""
        return _budget(await self.config(), name)

    async def list(self) -> tuple[Budget, ...]:
        """All budgets of the account."""
        return tuple((await self.config()).budgets.values())

    async def update(self, name: str, *limits: Limit) -> Budget:
        """Other limits for a budget; its counts are kept."""

        def make(config: Config) -> Amendment:
            old = _budget(config, name)
            new = evolve(old, limits=limits_of(limits, None, new=False), broken="")
            told = recorded(self.account, "updated", new, old)
            return Amendment(config=config, result=new, documents=(self.context.archive.budget(new),), facts=told)

        changed: Budget = await self.amend(make)
        return changed


def _budget(config: Config, name: str) -> Budget:
    if name not in config.budgets:
        raise NotFound(f"no budget {name!r}; there are: {', '.join(config.budgets) or 'none'}")
    return config.budgets[name]
