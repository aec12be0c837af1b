"""The fields of an adapter: plain options, destinations and credentials, and how each refuses what it cannot be."""

import hashlib
import inspect
import re
from abc import ABCMeta
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import Attribute, field

from deliverykit.words.arguments import choice, line, short
from deliverykit.words.credentials import Credential, Env, Named, Secret
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.origins import origin_of

__all__ = ["fingerprint", "option", "secret", "web_address"]


def _filled(instance: Any, attribute: "Attribute[Any]", value: Any) -> None:
    what = f"{type(instance).__name__} {attribute.name}"
    if isinstance(value, str | Secret) and not value and attribute.default != "":
        raise ConfigurationError(f"{what}: empty; give the {attribute.metadata.get('label', attribute.name)}")
    if choices := attribute.metadata.get("choices", ()):
        choice(value, what, choices)
    elif isinstance(value, str):
        line(value, what, most=1_000)


def _is_text(instance: Any, attribute: "Attribute[Any]", value: Any) -> None:
    _filled(instance, attribute, line(value, f"{type(instance).__name__} {attribute.name}", most=1_000))


def _credential(value: object) -> object:
    return Secret(value) if isinstance(value, str) else value


def _is_credential(instance: Any, attribute: "Attribute[Any]", value: Any) -> None:
    if value is None and attribute.default is None:
        return
    if not isinstance(value, Secret | Env | Named):
        got = short(type(value).__name__)  # never the value: it may be the key in another form
        raise ConfigurationError(
            f"{type(instance).__name__} {attribute.name}: expected text, Env(…) or Named(…), got {got}; give the key as str"
        )
    _filled(instance, attribute, value)
    if isinstance(value, Secret) and (wrong := _misread(value.reveal(), spaces=attribute.metadata.get("spaces", False))):
        raise ConfigurationError(f"{type(instance).__name__} {attribute.name}: {wrong}")


def _misread(key: str, *, spaces: bool) -> str:
    """Why this text is not a key alone, without showing it; ``""`` where it may be one."""
    # A client's "illegal header value" would print it, so it is refused here, by name only.
    if not (key.isascii() and key.isprintable()):
        return "holds a line break or another character no key has; paste it again"
    if len(key) > 10_000:
        return "longer than any key; paste the key alone"
    if scheme := re.match(r"(Bearer|Basic|Token)(\s|:|$)", key, re.IGNORECASE):
        return f"begins with {scheme[1]!r}, which belongs to the HTTP header; give the key alone"
    if key[0] in "'\"`" or key[-1] in "'\"`":
        return "has quotation marks around it; leave them out"
    if key != key.strip():
        return "has blanks around it; leave them out"
    if not spaces and " " in key:
        return "contains a blank, which no key has; paste it again"
    return ""


def _is_web_address(instance: Any, attribute: "Attribute[Any]", value: Any) -> None:
    if isinstance(value, str) and value == attribute.default:
        return
    _filled(instance, attribute, value)
    try:
        origin_of(value)
    except (ValueError, TypeError, AttributeError) as error:
        reason = error if isinstance(error, ValueError) else f"expected text, got {type(value).__name__}"
        # Without the value: it may hold a password.
        raise ConfigurationError(
            f"{type(instance).__name__} {attribute.name}: not a web address ({reason}); give https:// and the host alone"
        ) from None
    if version := re.search(r"/v\d+/?$", value):
        ends = version[0].rstrip("/")
        raise ConfigurationError(
            f"{type(instance).__name__} {attribute.name}: ends in {ends}, which is added to every request; leave it out"
        )


def web_address(*, label: str, default: str = "", where: str = "") -> Any:
    """An option that holds where the ESP's API is: ``https://host``, without user, query or fragment.

    It is a destination, see :func:`option`.
    """
    metadata = {"label": label, "where": where, "choices": (), "secret": False, "destination": True, "address": True}
    return field(metadata=metadata, validator=_is_web_address, default=default)


def option(
    *,
    label: str,
    where: str = "",
    choices: Sequence[str] = (),
    default: Any = ...,
    repr: bool = True,
    destination: bool = False,
) -> Any:
    """A plain field of a provider: ``label`` and ``where`` to find it draw the host's form.

    ``destination`` says that it decides where the credentials are sent: a host, a region, a sending domain. A stored
    secret is not used with another value of it; it has to be given again.
    """
    metadata = {
        "label": label, "where": where, "choices": tuple(choices), "secret": False, "destination": destination,
    }  # fmt: skip
    extra = {} if default is ... else {"default": default}
    check = _filled if default is ... or choices else _is_text if isinstance(default, str) else None
    return field(metadata=metadata, validator=check, repr=repr, **extra)


def secret(*, label: str, where: str = "", default: Any = ..., named: bool = False, spaces: bool = False) -> Any:
    """A credential: text (kept encrypted), ``Env(…)`` or ``Named(…)``; in no repr. ``default=None`` makes it optional.

    ``named`` says that it takes nothing but ``Named(…)``: its form asks for that name, which is no secret.
    ``spaces`` lets it contain blanks, as a password may; a key with one was pasted wrongly.
    """
    metadata = {"label": label, "where": where, "choices": (), "secret": True, "named": named, "spaces": spaces}
    extra = {} if default is ... else {"default": default}
    return field(metadata=metadata, converter=_credential, validator=_is_credential, repr=False, **extra)


def fingerprint(*parts: Credential | str | None) -> str:
    """Sixteen hex digits that are the same for the same credentials and tell nothing about them.

    A reference counts by its name, so take it of the provider as it is stored, not as it is resolved.
    """
    words = [one.reveal() if isinstance(one, Secret) else repr(one) for one in parts]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


class Concealing(ABCMeta):
    """Makes secrets of a class's secret arguments before ``__init__`` is called.

    The frame of ``__init__`` holds all arguments, and it is in the traceback of every refusal.
    """

    if not TYPE_CHECKING:  # type checkers and readers see the signature of __init__

        def __call__(cls, *args, **kwargs):
            """Make one, with its credentials as :class:`~deliverykit.Secret`."""
            known = [one for one in getattr(cls, "__attrs_attrs__", ()) if one.init]
            secrets = {one.alias or one.name for one in known if one.metadata.get("secret")}
            places = [one.metadata.get("secret") for one in known if not one.kw_only]
            args = [_concealed(value) if place >= len(places) or places[place] else value for place, value in enumerate(args)]
            # A misspelled name is refused with these arguments in the traceback; a class's own __init__ may take any name.
            plain = {one.alias or one.name for one in known} - secrets
            strict = bool(known) and not hasattr(cls, "__attrs_init__")
            hidden = [name for name in kwargs if name in secrets or (strict and name not in plain)]
            kwargs |= {name: _concealed(kwargs[name]) for name in hidden}
            return super().__call__(*args, **kwargs)

    @property
    def __signature__(cls) -> inspect.Signature:
        whole = inspect.signature(cls.__init__)  # type: ignore[misc]
        return whole.replace(parameters=list(whole.parameters.values())[1:])


def _concealed(value: object) -> object:
    if isinstance(value, str):
        return Secret(value)
    if value is None or isinstance(value, Secret | Env | Named):
        return value
    # It will be refused by its type's name; its value may be the key in another form.
    return type(type(value).__name__, (), {"__slots__": ()})()
