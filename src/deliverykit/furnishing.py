"""What a Mailer is built from: its options, the environment, and the engine room made of them."""

import logging
import os
import secrets
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TypedDict

from deliverykit.clocks import SystemClock
from deliverykit.contracts.limit import Limit, RateLimiter
from deliverykit.contracts.storage import Storage
from deliverykit.engine.admission.catalog import Catalog
from deliverykit.engine.context import Context, Unfailing
from deliverykit.engine.outgoing import OnUnsupported
from deliverykit.engine.permissions import Credentials, EnvAllowed, permissions
from deliverykit.engine.rooms.room import limits_of
from deliverykit.engine.settling.verdicts import BackOff, TenacityBackOff
from deliverykit.engine.telling import Teller, hooks_of
from deliverykit.hooks import Hooks
from deliverykit.limits import CalendarQuota, Pause, Rate, RollingQuota
from deliverykit.limits.zones import zone
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.records.documents import Archive
from deliverykit.records.parts import Parts
from deliverykit.records.vault import Vault
from deliverykit.routers import By, LeastUsed, Priority, RoundRobin, Weighted
from deliverykit.storages import Durability, open_storage
from deliverykit.words.clock import Clock
from deliverykit.words.durations import bounded
from deliverykit.words.errors import ConfigurationError

__all__ = ["Options", "environment", "furnished"]

OURS: tuple[type, ...] = (
    SES, SendGrid, Mailgun, ElasticEmail, CalendarQuota, RollingQuota, Pause, Rate,
    Priority, RoundRobin, Weighted, LeastUsed, By,
)  # fmt: skip
"""The parts that are registered from the start."""


class Options(TypedDict, total=False):
    """The keyword arguments of ``Mailer`` and ``AsyncMailer``. Each may be left out."""

    secret_key: str | bytes | Sequence[str | bytes] | None
    """A Fernet key for the credentials at rest, or several for rotation: the first encrypts, any decrypts."""
    timezone: str | None
    """The default account's IANA zone, in which its quotas reset. Left out: as stored before, or UTC."""
    register: Iterable[type]
    """Your own providers, quota policies, rate limiters and routers."""
    credentials: Credentials
    """What ``Named("x")`` stands for: text, a boto3 session, or a callable that returns one.

    A mapping of names to values serves the default account; a value that is itself a mapping serves the account of that id.
    A callable is asked with account id and name. See :data:`~deliverykit.engine.permissions.Credentials`.
    """
    env_allowed: EnvAllowed
    """Which environment variables ``Env("X")`` may read: names or patterns (``"MAIL_*"``) for every account, or by account id.

    Left out: any for the default account, none for the others.
    """
    base_urls: Iterable[str]
    """Where providers may send beside their ESPs' own hosts: ``https://host`` or ``http://host``, or a bare host for both.

    Accounts other than the default one are limited to the ESPs' hosts and these. Addresses without TLS must be here,
    or on this machine.
    """
    quota: Limit | Sequence[Limit] | None
    """The host's own quota, over all accounts."""
    pause: timedelta | RateLimiter | None
    """The host's own pause before every email, over all accounts."""
    clock: Clock
    """Another clock than the system's, such as ``deliverykit.testing.ManualClock``."""
    hooks: Hooks | Sequence[Hooks] | None
    """What is called when something became true, see :class:`~deliverykit.hooks.Hooks`: one object, or several."""
    transport: object
    """An httpx or httpx2 client, or your own transport; it is used as it is and never closed here."""
    on_unsupported: OnUnsupported
    """Where an ESP cannot carry tags, metadata or tracking: ``"error"`` (the default), ``"warn"`` or ``"drop"``."""
    max_visible_recipients: int
    """More people than this in to and cc of one message are refused. 20 by default."""
    max_wait: timedelta
    """How long ``send()`` waits for a pace before it queues. 5 seconds by default."""
    lease: timedelta
    """How long mail is a worker's own once its process has died; then others take it over. 60 seconds by default, 1 at least.

    A worker or a ``send()`` that lives renews it three times in its length. All processes on one storage should say the
    same. ``in_doubt="resend"`` first rests for so long.
    """
    back_off: BackOff
    """When mail that surely did not go is tried again."""
    durability: Durability
    """``"full"`` (the default) survives a power cut; ``"normal"`` is faster and may forget the last moments then."""


def furnished(storage: str | Storage, options: Options) -> Context:
    """The engine room of a Mailer. Does no I/O; refuses what cannot work, naming the argument."""
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(
            f"Mailer() has no argument {', '.join(sorted(unknown))}; there are {', '.join(Options.__annotations__)}"
        )
    timezone = options.get("timezone")
    if timezone is not None:
        zone(timezone)
    on_unsupported = options.get("on_unsupported", "error")
    if on_unsupported not in ("error", "warn", "drop"):
        raise ConfigurationError(f"on_unsupported: {on_unsupported!r} is none of 'error', 'warn', 'drop'")
    max_wait = options.get("max_wait", timedelta(seconds=5))
    if not isinstance(max_wait, timedelta):
        raise ConfigurationError(f"max_wait: {max_wait!r}; write timedelta(seconds={max_wait!r})")
    bounded("max_wait", max_wait)
    lease = options.get("lease", timedelta(seconds=60))
    if not isinstance(lease, timedelta) or lease < timedelta(seconds=1):
        raise ConfigurationError(f"lease: {lease!r}; give a timedelta of a second or more, such as timedelta(seconds=60)")
    bounded("lease", lease)
    clock = options.get("clock") or SystemClock()
    books = open_storage(storage, clock, options.get("durability", "full")) if isinstance(storage, str) else storage
    teller = Teller(logging.getLogger("deliverykit"), hooks_of(options.get("hooks")))
    archive = Archive(Parts(OURS, options.get("register", ())), Vault(options.get("secret_key"), required=books.outlives))
    return Context(
        storage=books,
        clock=clock,
        catalog=Catalog(books, archive, timezone, limits_of(options.get("quota"), options.get("pause"), new=True)),
        archive=archive,
        back_off=Unfailing(given, teller) if (given := options.get("back_off")) else TenacityBackOff(),
        new_id=lambda: secrets.token_hex(12),
        permissions=permissions(
            os.environ, options.get("credentials"), options.get("env_allowed"), options.get("base_urls", ())
        ),
        teller=teller,
        on_unsupported=on_unsupported,
        max_visible_recipients=options.get("max_visible_recipients", 20),
        max_wait=round(max_wait.total_seconds() * 1000),
        lease=round(lease.total_seconds() * 1000),
    )


def environment() -> tuple[str, Options]:
    """A Mailer's storage and options from the environment."""
    storage = os.environ.get("DELIVERYKIT_STORAGE")
    if not storage:
        raise ConfigurationError("DELIVERYKIT_STORAGE is not set; give a storage such as sqlite:///mail.db")
    keys = [key.strip() for key in os.environ.get("DELIVERYKIT_SECRET_KEY", "").split(",") if key.strip()]
    options: Options = {"secret_key": keys or None, "timezone": os.environ.get("DELIVERYKIT_TIMEZONE") or None}
    if (allowed := os.environ.get("DELIVERYKIT_ENV_ALLOWED")) is not None:
        options["env_allowed"] = [one.strip() for one in allowed.split(",") if one.strip()]
    if urls := os.environ.get("DELIVERYKIT_BASE_URLS"):
        options["base_urls"] = [one.strip() for one in urls.split(",") if one.strip()]
    return storage, options
