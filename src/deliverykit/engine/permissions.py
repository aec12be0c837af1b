"""What each account may use of the host program: credentials by name, environment variables, and web addresses."""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from attrs import evolve, field, frozen

from deliverykit.contracts.provider import Provider
from deliverykit.records.account import DEFAULT_ACCOUNT
from deliverykit.words.credentials import Env, Named, Secret
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.origins import Origin, origin_of

__all__ = ["Credentials", "EnvAllowed", "Permissions", "permissions"]

Credentials = Mapping[str, Any] | Callable[[str, str], Any]
"""What ``Named("x")`` stands for.

A mapping of names to values is for the default account. A value that is itself a mapping, other than a pair of AWS
keys, belongs to the account of that id: ``{"main": "SG.…", "acme": {"main": "SG.…"}}``. A callable is asked with account id
and name, and returns the value, or ``None`` where that account has none.

A value is text, a :class:`~deliverykit.Secret`, a boto3 session, a mapping of AWS keys, or a callable that
returns one of them.
"""

EnvAllowed = Iterable[str] | Mapping[str, Iterable[str]]
"""Names of environment variables, or patterns (``"MAIL_*"``): for every account, or for each account by its id."""

_KEYS: Final = {"access_key_id", "secret_access_key"}
_NONE: Final[tuple[str, ...]] = ()


@frozen(kw_only=True)
class Permissions:
    """What the accounts of one Mailer may use. The default account belongs to the host program itself."""

    environment: Mapping[str, str] = field(repr=False)
    named: Mapping[str, Mapping[str, Any]] = field(factory=dict, repr=False)
    """Values by account and name."""
    ask: Callable[[str, str], Any] | None = field(default=None, repr=False)
    variables: Mapping[str, tuple[str, ...]] | tuple[str, ...] | None = None
    """Patterns for all accounts, or by account. ``None``: any for the default account, none for the others."""
    origins: frozenset[Origin] = frozenset()
    """Beside the ESPs' own."""
    hosts: frozenset[str] = frozenset()
    """The same, on every port, with or without TLS."""

    def credential(self, account: str, reference: Env | Named) -> Any:
        """Return what a reference of this account stands for, text as a :class:`~deliverykit.Secret`.

        Raises ``ConfigurationError`` where there is nothing, or nothing for this account, and what a host's callable raises.
        """
        if isinstance(reference, Env):
            return self._variable(account, reference.name)
        value = self._named(account, reference.name)
        return _hidden(value()) if callable(value) else value

    def _variable(self, account: str, name: str) -> Secret:
        self._may_read(account, name)
        if name not in self.environment:
            raise ConfigurationError(f"the environment variable {name!r} is missing")
        return Secret(self.environment[name])

    def _may_read(self, account: str, name: str) -> None:
        allowed = self.variables
        if isinstance(allowed, Mapping):
            allowed = allowed.get(account, None if account == DEFAULT_ACCOUNT else _NONE)
        if allowed is None and account == DEFAULT_ACCOUNT:
            return
        if not any(fnmatchcase(name, pattern) for pattern in allowed or _NONE):
            raise ConfigurationError(
                f"account {account!r} may not read the environment variable {name!r}; Mailer(env_allowed=…) allows names"
            )

    def _named(self, account: str, name: str) -> Any:
        if self.ask is not None:
            try:
                value = _hidden(self.ask(account, name))
            except LookupError:
                value = None
        else:
            value = _hidden(self.named.get(account, {}).get(name))
        if value is None:
            raise ConfigurationError(f"Mailer(credentials=…) has no entry {name!r} for account {account!r}")
        return value

    def check(self, account: str, provider: Provider) -> None:
        """Refuse a provider whose references or addresses this account may not use. Reads no value of a credential."""
        for one in provider.options():
            value = getattr(provider, one.name)
            if isinstance(value, Env):
                self._may_read(account, value.name)
            elif one.metadata.get("address") and value:
                self.check_address(account, provider, value, f"{type(provider).__name__} {one.name}")

    def check_address(self, account: str, provider: Provider, url: str, what: str) -> None:
        """Refuse an address to which this account may not send credentials by this provider."""
        try:
            origin = origin_of(url)
        except ValueError as error:
            raise ConfigurationError(f"{what}: {error}") from None
        if origin in self.origins or origin.host in self.hosts:
            return
        if origin.scheme != "https" and not origin.loopback:
            raise ConfigurationError(
                f"{what}: http:// would send the credentials unencrypted; write https://, or let the program allow this "
                "address with Mailer(base_urls=[…])"
            )
        if account == DEFAULT_ACCOUNT:
            return
        own = provider.own_hosts()
        if origin.host in own and origin.scheme == "https" and origin.port == 443:
            return
        known = f"only https://{', https://'.join(own)}" if own else f"{type(provider).__name__} names no hosts of its own"
        raise ConfigurationError(
            f"{what}: account {account!r} may not use this address ({known}); the program allows others with "
            "Mailer(base_urls=[…])"
        )


def permissions(
    environment: Mapping[str, str],
    credentials: Credentials | None,
    env_allowed: EnvAllowed | None,
    base_urls: Iterable[str],
) -> Permissions:
    """Check the three options of a Mailer. Raises ``ConfigurationError`` naming the argument."""
    if credentials is not None and not isinstance(credentials, Mapping) and not callable(credentials):
        raise ConfigurationError(
            "credentials: expected a mapping of names to values, or a callable (account, name), "
            f"got {type(credentials).__name__}"
        )
    origins, hosts = _places(base_urls)
    return Permissions(
        environment=environment,
        named=_by_account(credentials) if isinstance(credentials, Mapping) else {},
        ask=None if credentials is None or isinstance(credentials, Mapping) else credentials,
        variables=_patterns(env_allowed),
        origins=origins,
        hosts=hosts,
    )


def _hidden(value: Any) -> Any:
    """Text as a secret, so that no frame of ours holds it in the clear."""
    return Secret(value) if isinstance(value, str) else value


def _by_account(credentials: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {DEFAULT_ACCOUNT: {}}
    for name, value in credentials.items():
        if not isinstance(name, str):
            raise ConfigurationError(f"credentials: a name must be text, got {type(name).__name__}")
        if isinstance(value, Mapping) and not _aws_keys(value):
            found.setdefault(name, {}).update(value)
        else:
            found[DEFAULT_ACCOUNT][name] = value
    return found


def _aws_keys(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping is one credential, a pair of AWS keys, and not the names of an account."""
    return {str(name).lower().removeprefix("aws_") for name in value} >= _KEYS


def _patterns(given: EnvAllowed | None) -> Mapping[str, tuple[str, ...]] | tuple[str, ...] | None:
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {str(account): _names(found) for account, found in given.items()}
    return _names(given)


def _names(given: object) -> tuple[str, ...]:
    found: tuple[Any, ...] = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes) else (None,)
    if not all(isinstance(one, str) and one for one in found):
        raise ConfigurationError(
            'env_allowed: expected a list of names or patterns such as ["MAIL_*"], or a mapping of account ids to such lists'
        )
    return found


def _places(given: Iterable[str]) -> tuple[frozenset[Origin], frozenset[str]]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError('base_urls: expected a list such as ["https://mail-proxy.example.com"]')
    origins: set[Origin] = set()
    hosts: set[str] = set()
    for one in given:
        if not isinstance(one, str):
            raise ConfigurationError(f"base_urls: expected text such as 'https://host', got {type(one).__name__}")
        try:
            if "://" in one:
                origins.add(origin_of(one, bare=True))
            else:
                found = origin_of(f"https://{one}", bare=True)
                if one.rstrip("/").lower() in (found.host, f"[{found.host}]"):
                    hosts.add(found.host)
                else:  # a port is named
                    origins |= {found, evolve(found, scheme="http")}
        except ValueError as error:
            raise ConfigurationError(f"base_urls: an entry is no address ({error}); give https:// and the host") from None
    return frozenset(origins), frozenset(hosts)
