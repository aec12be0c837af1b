"""Secrets at rest, and the keyed hashes.

Credentials are encrypted together with the values they are bound to, so that a ciphertext that is copied
to another record, or a record that is changed beside its ciphertext, is noticed. The first key encrypts
and any key decrypts, so that keys can be rotated.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from deliverykit.words.credentials import Secret, concealed
from deliverykit.words.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

__all__ = ["HOW_TO_MAKE", "Binding", "LostKey", "Tampered", "Vault"]

HOW_TO_MAKE = "make one with  python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
_GIVE_AGAIN = "give its credentials again with servers.update(provider=…), or put a backup of the record in its place"

_OF_THIS_PROCESS = base64.urlsafe_b64encode(os.urandom(32))
"""Encrypts what never leaves the process (``memory://`` without a key), so that no traceback shows it either."""


class LostKey(ConfigurationError):
    """A secret was encrypted under a key that is not among those given."""


class Tampered(ConfigurationError):
    """A record is not the one that its credentials were encrypted for."""


@frozen
class Binding:
    """What the credentials of a server are bound to: its account, its id, and its whole stored provider."""

    account: str
    server: str
    provider: Mapping[str, Any] = field(repr=False)
    """As it is stored: the registered name as ``part``, and the plain ``fields``, references included."""

    def bound(self) -> dict[str, str]:
        """The bound values by the name that an error uses, each as canonical JSON."""
        values: dict[str, Any] = {name: value for name, value in self.provider.items() if name != "fields"}
        return {
            "account": _canonical(self.account),
            "id": _canonical(self.server),
            **{f"provider {name}": _canonical(value) for name, value in values.items()},
            **{f"provider field {name}": _canonical(value) for name, value in dict(self.provider["fields"]).items()},
        }


class Vault:
    """Encrypts and decrypts the credentials of records. ``required`` where the storage outlives the process.

    ``secret_key`` is a Fernet key, or several. All spellings of one key (text or bytes, standard or URL-safe
    base64, padded or not, with a line end) are the same key; anything else raises ``ConfigurationError``.
    """

    def __init__(self, secret_key: str | bytes | Sequence[str | bytes] | Secret | None, *, required: bool) -> None:
        self._keys: tuple[bytes, ...] = ()  # the repr of a half-made vault is in that traceback too
        secret_key = concealed(secret_key)  # this frame is in the traceback of a refusal
        self._keys = _keys(secret_key)
        self._required = required
        self._fernet: MultiFernet | None = None
        self._stamping = [_derived(key, b"deliverykit correlation id") for key in self._keys]
        self._marking = [_derived(key, b"deliverykit recipient") for key in (*self._keys, b"")]
        self._binding = [_derived(key, b"deliverykit idempotency key") for key in (*self._keys, b"")]

    def __repr__(self) -> str:
        return f"Vault({len(self._keys)} keys)"

    @property
    def has_key(self) -> bool:
        """Whether a key was given."""
        return bool(self._keys)

    def _unlocked(self) -> "MultiFernet":
        if self._fernet is None:
            from cryptography.fernet import Fernet, MultiFernet

            keys = [base64.urlsafe_b64encode(key) for key in self._keys] or [_OF_THIS_PROCESS]
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        return self._fernet

    def seal(self, secrets: Mapping[str, Secret], binding: Binding) -> bytes:
        """Encrypt the secrets of a record together with what they are bound to.

        Where there is a key, a record without secrets is sealed as well: then nobody who lacks the key can put a
        reference into it. Without a key there is nothing to seal it with. Raises ``ConfigurationError`` where
        secrets would be stored in the clear.
        """
        if not self._keys and self._required:
            if secrets:
                raise ConfigurationError(
                    f"secret_key: needed to store {', '.join(secrets)}; {HOW_TO_MAKE}, "
                    "or give the credential as Env(…) or Named(…)"
                )
            return b""
        fernet, bound = self._unlocked(), binding.bound()
        return fernet.encrypt(
            json.dumps({"bound": bound, "secrets": {name: one.reveal() for name, one in secrets.items()}}).encode()
        )

    def unseal(self, stored: bytes, binding: Binding) -> dict[str, Secret]:
        """The secrets of a record. Raises :class:`LostKey`, and :class:`Tampered` naming what does not belong to them."""
        if not self._keys and self._required:
            if stored:
                raise LostKey("secret_key: the credentials are encrypted and no key was given; give secret_key=")
            return {}
        if not stored:
            raise Tampered(f"its record is not protected by secret_key; {_GIVE_AGAIN}")
        opened = self._opened(stored)
        sealed, found = opened.bound, binding.bound()
        changed = [name for name in dict.fromkeys((*sealed, *found)) if sealed.get(name) != found.get(name)]
        if changed:
            names = ", ".join(name[:80] for name in changed[:5])
            raise Tampered(f"its stored {names} is not what its credentials were encrypted for; {_GIVE_AGAIN}")
        return dict(opened.secrets)

    def _opened(self, stored: bytes) -> "_Sealed":
        from cryptography.fernet import InvalidToken

        try:
            return _Sealed.of(self._unlocked().decrypt(stored))
        except InvalidToken:
            raise LostKey(
                "secret_key: the credentials were encrypted under another key; add that key to secret_key=[…], "
                "or give them again with servers.update(provider=…)"
            ) from None

    def marks(self, account: str, person: str) -> tuple[bytes, ...]:
        """The keyed hashes under which the log may know a person (:attr:`~deliverykit.Address.key`), the one to keep first.

        One for each key, and one without: from before there was a key.
        """
        text = f"{account}\x00{person}".encode()
        return tuple(_mac(key, text)[:16] for key in self._marking)

    def mark(self, account: str, person: str) -> bytes:
        """The first of :meth:`marks`."""
        return _mac(self._marking[0], f"{account}\x00{person}".encode())[:16]

    def once_keys(self, account: str, key: str) -> tuple[str, ...]:
        """The keyed hashes under which a store may know an idempotency key, the one to keep first. As :meth:`marks`."""
        text = f"key\x00{account}\x00{key}".encode("utf-8", "surrogatepass")
        return tuple(_mac(one, text).hex() for one in self._binding)

    def prints(self, account: str, fingerprint: str) -> tuple[str, ...]:
        """The same of the message that an idempotency key stands for."""
        text = f"print\x00{account}\x00{fingerprint}".encode()
        return tuple(_mac(one, text).hex() for one in self._binding)

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


@frozen
class _Sealed:
    """What a ciphertext holds."""

    bound: Mapping[str, str]
    secrets: Mapping[str, Secret]

    @classmethod
    def of(cls, plain: bytes) -> "_Sealed":
        data = json.loads(plain)
        return cls(data["bound"], {name: Secret(value) for name, value in data["secrets"].items()})


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


_SHAPE = re.compile(rb"[A-Za-z0-9_-]{43}")


def _keys(given: str | bytes | Sequence[str | bytes] | Secret | None) -> tuple[bytes, ...]:
    """The keys as 32 bytes each, in order. No exception of another library is raised here: its frames would hold the key."""
    if given is None:
        return ()
    one = isinstance(given, str | bytes | Secret)
    spelled = [given] if one else list(given) if isinstance(given, list | tuple) else []
    if not spelled:
        raise ConfigurationError(f"secret_key: expected a Fernet key, or a list of one or more; {HOW_TO_MAKE}")
    found = tuple(map(_key, spelled))
    if b"" in found:
        which = "" if one else f" at place {found.index(b'') + 1} of the list"
        del found
        raise ConfigurationError(f"secret_key: not a Fernet key{which} (32 bytes in URL-safe base64); {HOW_TO_MAKE}")
    return tuple(dict.fromkeys(found))


def _key(given: object) -> bytes:
    """The 32 bytes of a key however it is spelled; ``b""`` where it is none."""
    text = given.reveal() if isinstance(given, Secret) else given
    spelled = text.encode("utf-8", "replace") if isinstance(text, str) else text if isinstance(text, bytes) else b""
    spelled = spelled.strip().replace(b"+", b"-").replace(b"/", b"_").rstrip(b"=")
    try:
        return base64.urlsafe_b64decode(spelled + b"=") if _SHAPE.fullmatch(spelled) else b""
    except binascii.Error:
        return b""


def _derived(secret: bytes, purpose: bytes) -> hmac.HMAC:
    """The key for one purpose, ready to be copied: a copy costs less than a new HMAC for each mail."""
    return hmac.new(hmac.digest(secret, purpose, hashlib.sha256), digestmod=hashlib.sha256)


def _mac(ready: hmac.HMAC, text: bytes) -> bytes:
    mac = ready.copy()
    mac.update(text)
    return mac.digest()


def _stamped(key: hmac.HMAC, uid: str, account: str, server: str) -> str:
    mac = _mac(key, f"{uid}\x00{account}\x00{server}".encode())
    return f"{uid}-{mac.hex()[:16]}"
