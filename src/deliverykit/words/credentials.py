"""Secrets that do not leak: a value that hides itself, and two ways to name one kept elsewhere."""

import re
from collections.abc import Hashable
from typing import Any, final

from attrs import Attribute, field, frozen

from deliverykit.words.arguments import line, short
from deliverykit.words.errors import ConfigurationError

__all__ = ["Credential", "Env", "Named", "Secret", "concealed", "revealed"]


@final
class Secret:
    """A secret's value. Only :meth:`reveal` shows it.

    ``str()``, ``repr()`` and formatting give ``Secret('…')``; pickling, ``json`` and ``__getstate__`` raise
    ``TypeError``. A copy is the same object. Two secrets of the same value are equal.
    """

    __slots__ = ("_home", "_value")

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):  # the error does not show it: it may be the secret in another form
            raise ConfigurationError(f"Secret: expected text, got {short(type(value).__name__)}; give the secret as str")
        self._value = value
        self._home: Hashable = None

    def reveal(self) -> str:
        """Return the value itself. Call it only where it goes onto the wire or into encryption."""
        return self._value

    def kept_for(self, home: Hashable) -> "Secret":
        """Return the same secret, marked as one that was stored for this account and destination."""
        kept = Secret(self._value)
        kept._home = home
        return kept

    @property
    def home(self) -> Hashable:
        """What it was stored for; ``None`` for one that was just given. Equality ignores it."""
        return self._home

    def __repr__(self) -> str:
        return "Secret('…')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not pickled; give Env(…) or Named(…) to another process")

    def __getstate__(self) -> Any:
        raise TypeError("a Secret has no readable state; reveal() returns the value")


def _variable(_: object, __: "Attribute[str]", value: object) -> None:
    # Whoever took it for the secret itself wrote that: the error does not show it.
    if not isinstance(value, str) or len(value) > 255 or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ConfigurationError(
            "Env name: not the name of an environment variable; write one such as Env('SENDGRID_KEY'), not the secret itself"
        )


def _name(_: object, __: "Attribute[str]", value: object) -> None:
    line(value, "Named name", least=1, write="write the key of an entry of Mailer(credentials={…})")


@frozen
class Env:
    """A secret read from the environment variable ``name`` whenever it is needed; never stored."""

    name: str = field(validator=_variable)


@frozen
class Named:
    """A secret the host hands over at run time: ``Mailer(credentials={name: value})``.

    The value is a string, a boto3 session (SES), or a callable that returns either.
    """

    name: str = field(validator=_name)


_DEEPEST = 20


def concealed(value: Any, depth: int = 0) -> Any:
    """Return the same with every text in it as a :class:`Secret`: alone, in a list, tuple or mapping.

    For what a caller hands over: a frame that holds it is in the traceback of a refusal, and tools show its locals.
    """
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, bytes):
        return Secret(value.decode("utf-8", "replace"))
    if depth > _DEEPEST:  # it may hold itself; no credential is that deep
        return Secret("…")
    if type(value) in (list, tuple):
        return [concealed(one, depth + 1) for one in value]
    if type(value) is dict:
        return {name: concealed(one, depth + 1) for name, one in value.items()}
    return value


Credential = str | Secret | Env | Named
"""What a provider's secret field takes. Text becomes a :class:`Secret` at once; no provider holds it in the clear."""


def revealed(credential: Credential) -> str:
    """The value of a secret, for the wire; :class:`~deliverykit.ConfigurationError` for a reference nobody resolved."""
    if isinstance(credential, Secret):
        return credential.reveal()
    if isinstance(credential, str):
        return credential
    raise ConfigurationError(f"{credential!r} is a reference; it has to be resolved before a request is built")
