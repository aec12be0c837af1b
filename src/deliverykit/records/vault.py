"""Secrets at rest: Fernet, the first key encrypts, any key decrypts, so that keys can be rotated."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from deliverykit.words.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

__all__ = ["LostKey", "Vault"]

_HOW = "make one with  python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


class LostKey(ConfigurationError):
    """A secret was encrypted under a key that is not among those given."""


class Vault:
    """Encrypts and decrypts secrets. ``required`` where the storage outlives the process."""

    def __init__(self, secret_key: str | bytes | Sequence[str | bytes] | None, *, required: bool) -> None:
        given = [secret_key] if isinstance(secret_key, str | bytes) else list(secret_key or ())
        self._keys = [one.encode() if isinstance(one, str) else one for one in given]
        self._required = required
        self._fernet: MultiFernet | None = None
        self._stamping = [_derived(key, b"deliverykit correlation id") for key in self._keys]
        self._marking = [_derived(key, b"deliverykit recipient") for key in (*self._keys, b"")]
        if self._keys:
            self._unlocked()  # a key of the wrong shape is refused now, not at the first mail

    def __repr__(self) -> str:
        return f"Vault({len(self._keys)} keys)"

    @property
    def has_key(self) -> bool:
        """Whether a key was given."""
        return bool(self._keys)

    def _unlocked(self) -> "MultiFernet":
        if self._fernet is None:
            from cryptography.fernet import Fernet, MultiFernet

            try:
                self._fernet = MultiFernet([Fernet(key) for key in self._keys])
            except ValueError:
                raise ConfigurationError(f"secret_key: not a Fernet key (32 bytes in URL-safe base64); {_HOW}") from None
        return self._fernet

    def lock(self, secrets: Mapping[str, str]) -> bytes:
        """Secrets as they are stored. Refused where they would be stored in the clear."""
        if not secrets:
            return b""
        plain = json.dumps(dict(secrets)).encode()
        if self._keys:
            return self._unlocked().encrypt(plain)
        if self._required:
            raise ConfigurationError(
                f"secret_key: needed to store {', '.join(secrets)}; {_HOW}, or give the credential as Env(…) or Named(…)"
            )
        return plain

    def unlock(self, stored: bytes) -> dict[str, str]:
        """The secrets again. Raises :class:`LostKey`."""
        if not stored:
            return {}
        if self._keys:
            from cryptography.fernet import InvalidToken

            try:
                stored = self._unlocked().decrypt(stored)
            except InvalidToken:
                raise LostKey(
                    "secret_key: the credentials were encrypted under another key; add that key to secret_key=[…]"
                ) from None
        elif self._required:
            raise LostKey("secret_key: the credentials are encrypted and no key was given; give secret_key=")
        secrets: dict[str, str] = json.loads(stored)
        return secrets

    def marks(self, account: str, person: str) -> tuple[bytes, ...]:
        """The keyed hashes under which the log may know a person (:attr:`~deliverykit.Address.key`), the one to keep first.

        One for each key, and one without: from before there was a key.
        """
        text = f"{account}\x00{person}".encode()
        return tuple(_mac(key, text)[:16] for key in self._marking)

    def mark(self, account: str, person: str) -> bytes:
        """The first of :meth:`marks`."""
        return _mac(self._marking[0], f"{account}\x00{person}".encode())[:16]

    def stamp(self, uid: str, account: str, server: str) -> str:
        """The id that travels with a mail: ours, and where there is a key a MAC that ties it to account and server."""
        return _stamped(self._stamping[0], uid, account, server) if self._keys else uid

    def stamped(self, stamp: str, account: str, servers: Iterable[str]) -> tuple[str, str] | None:
        """The mail and the server that a stamp names, under any of the keys; ``None`` where we did not make it.

        Without a key a stamp names no server: ``""``.
        """
        uid = stamp.partition("-")[0]
        if not self._keys:
            return (uid, "") if uid == stamp else None
        made = [
            server
            for server in servers
            for key in self._stamping
            if hmac.compare_digest(_stamped(key, uid, account, server).encode(), stamp.encode())
        ]
        return (uid, made[0]) if made else None


def _derived(secret: bytes, purpose: bytes) -> hmac.HMAC:
    """The key for one purpose, made ready: to copy it is cheaper than to begin with it anew for each mail."""
    return hmac.new(hmac.digest(secret, purpose, hashlib.sha256), digestmod=hashlib.sha256)


def _mac(ready: hmac.HMAC, text: bytes) -> bytes:
    mac = ready.copy()
    mac.update(text)
    return mac.digest()


def _stamped(key: hmac.HMAC, uid: str, account: str, server: str) -> str:
    mac = _mac(key, f"{uid}\x00{account}\x00{server}".encode())
    return f"{uid}-{mac.hex()[:16]}"
