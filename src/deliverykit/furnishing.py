"""What a Mailer is built from: its options, the environment, and the engine room made of them."""

import logging
import os
import secrets
from collections.abc import Iterable, Sequence
from datetime import timedelta, tzinfo
from os import PathLike
from typing import Any, TypedDict, cast, get_args
from zoneinfo import ZoneInfo

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
from deliverykit.limits.zones import known_zone
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.records.documents import Archive
from deliverykit.records.parts import Parts
from deliverykit.records.vault import Vault
from deliverykit.routers import By, LeastUsed, Priority, RoundRobin, Weighted
from deliverykit.storages import Durability, open_storage
from deliverykit.words.arguments import called, choice, duration, items, optional, refused, whole
from deliverykit.words.clock import Clock
from deliverykit.words.credentials import concealed
from deliverykit.words.errors import ConfigurationError

__all__ = ["Options", "conceal", "environment", "furnished"]

_DAY = timedelta(days=1)

OURS: tuple[type, ...] = (
    SES, SendGrid, Mailgun, ElasticEmail, CalendarQuota, RollingQuota, Pause, Rate,
    Priority, RoundRobin, Weighted, LeastUsed, By,
)  # fmt: skip
"""The parts that are registered from the start."""


class Options(TypedDict, total=False):
    """The keyword arguments of ``Mailer`` and ``AsyncMailer``. Each may be left out."""

    secret_key: str | bytes | Sequence[str | bytes] | None
    """A Fernet key for the credentials at rest, or several for rotation: the first encrypts, any decrypts."""
    timezone: str | ZoneInfo | tzinfo | None
    """The default account's IANA zone, in which its quotas reset: text, ``ZoneInfo`` or ``datetime.UTC``.

    Left out: as stored before, or UTC.
    """
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
    max_wait: timedelta | float
    """How long ``send()`` waits for a pace before it queues: a ``timedelta`` or seconds, 5 by default."""
    lease: timedelta | float
    """How long mail is a worker's own once its process has died; then others take it over. 60 seconds by default, 1 at least.

    A worker or a ``send()`` that lives renews it three times in its length. All processes on one storage should say the
    same. ``in_doubt="resend"`` first rests for so long.
    """
    back_off: BackOff
    """When mail that surely did not go is tried again."""
    durability: Durability
    """``"full"`` (the default) survives a power cut; ``"normal"`` is faster and may forget the last moments then."""


def furnished(storage: str | PathLike[str] | Storage, options: Options, *, blocking: bool = False) -> Context:
    """The engine room of a Mailer. Does no I/O; refuses what cannot work, naming the argument."""
    conceal(options)
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(
            f"Mailer() has no argument {', '.join(sorted(unknown))}; there are {', '.join(Options.__annotations__)}"
        )
    timezone = optional(known_zone, options.get("timezone"), "timezone")
    on_unsupported = choice(options.get("on_unsupported", "error"), "on_unsupported", get_args(OnUnsupported))
    max_wait = duration(options.get("max_wait", timedelta(seconds=5)), "max_wait", least=timedelta(), seconds=True)
    least = timedelta(seconds=1)
    lease = duration(options.get("lease", timedelta(seconds=60)), "lease", least=least, most=_DAY, seconds=True)
    visible = whole(options.get("max_visible_recipients", 20), "max_visible_recipients", least=1, most=1_000_000)
    clock = _clock(options.get("clock"))
    books = _books(storage, clock, options.get("durability", "full"))
    if (transport := options.get("transport")) is not None:
        from deliverykit.transports import async_transport_of, transport_of

        (transport_of if blocking else async_transport_of)(transport)  # refused here, made where it is used
    back_off = options.get("back_off")
    if back_off is not None:
        called(back_off, "back_off", ("seconds",), "give TenacityBackOff() or an object with seconds(attempts)")
    teller = Teller(logging.getLogger("deliverykit"), hooks_of(options.get("hooks")))
    vault = Vault(options.get("secret_key"), required=books.outlives)
    archive = Archive(Parts(OURS, _registered(options.get("register"))), vault)
    return Context(
        storage=books,
        clock=clock,
        catalog=Catalog(books, archive, timezone, limits_of(options.get("quota"), options.get("pause"), new=True)),
        archive=archive,
        back_off=Unfailing(back_off, teller) if back_off is not None else TenacityBackOff(),
        new_id=lambda: secrets.token_hex(12),
        permissions=permissions(
            os.environ, options.get("credentials"), options.get("env_allowed"), options.get("base_urls", ())
        ),
        teller=teller,
        on_unsupported=cast(OnUnsupported, on_unsupported),
        max_visible_recipients=visible,
        max_wait=round(max_wait.total_seconds() * 1000),
        lease=round(lease.total_seconds() * 1000),
    )


def _clock(given: object) -> Clock:
    if given is None:
        return SystemClock()
    called(given, "clock", ("now", "monotonic", "sleep", "asleep"), "give SystemClock(), ManualClock() or your own Clock")
    return cast(Clock, given)


def _books(given: object, clock: Clock, durability: Durability) -> Storage:
    if isinstance(given, str | PathLike):
        return open_storage(given, clock, durability)
    choice(durability, "durability", get_args(Durability))
    write = "write 'sqlite:///mail.db', Path('mail.db') or 'memory://'"
    if not isinstance(given, type) and not hasattr(given, "outlives"):
        refused("storage", given, "not a storage", write)
    called(given, "storage", ("transact", "claim", "snapshot", "close"), write)
    return cast(Storage, given)


def _registered(given: object) -> list[Any]:
    write = "give your classes as a list, such as register=[MyProvider]"
    return [] if given is None else items(given, "register", write, alone=())


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
    conceal(options)
    return storage, options


def conceal(options: Options) -> None:
    """Hide the secrets of a call's options in place: frames that hold them are in the traceback of every refusal."""
    for name in ("secret_key", "credentials"):
        if name in options:
            options[name] = concealed(options[name])
