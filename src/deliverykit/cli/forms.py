"""The form of a delivery server: each ESP's fields as options and as questions, and the provider they make.

A secret is never an argument. It is read from a file, from standard input, from the environment or from a
prompt; or a reference is kept in its place, and whoever sends finds it.
"""

import os
import re
import sys
from argparse import ArgumentTypeError, Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import evolve

from deliverykit import providers
from deliverykit.cli.arguments import Parser
from deliverykit.cli.asking import Asker
from deliverykit.contracts.provider import Provider
from deliverykit.providers import FieldInfo, ProviderInfo
from deliverykit.words.credentials import Env, Named, Secret
from deliverykit.words.errors import ConfigurationError

__all__ = ["add_fields", "asked", "changed", "choices", "esps", "given", "made"]

Values = dict[str, object]
_DEST: Final = "esp field "


Own = Iterable[type[Provider]]
"""The adapters that the host's own mailer knows, ours among them."""


def esps(own: Own = ()) -> dict[str, ProviderInfo]:
    """The ESPs by name: ours, and those of the host's own adapters."""
    return {info.name: info for info in (*_ours(), *map(ProviderInfo.of, own))}


@cache
def _ours() -> tuple[ProviderInfo, ...]:
    return providers.available()


def _class(name: str, own: Own) -> type[Provider]:
    found = (*own, *(getattr(providers, one) for one in providers.__all__))
    return next(one for one in found if isinstance(one, type) and issubclass(one, Provider) and one.name == name)


def choices(own: Own) -> list[tuple[str, str]]:
    """What there is to choose from: names and labels. A subclass that has no label of its own is told by its name too."""
    found = esps(own).values()
    times = Counter(one.label for one in found)
    ours = {one.name for one in _ours()}
    return [
        (one.name, f"{one.label} ({one.name})" if times[one.label] > 1 and one.name not in ours else one.label) for one in found
    ]


def _fields(own: Own) -> dict[str, list[tuple[ProviderInfo, FieldInfo]]]:
    """The fields of all ESPs by name; some share one."""
    found: dict[str, list[tuple[ProviderInfo, FieldInfo]]] = {}
    for info in esps(own).values():
        for one in info.fields:
            found.setdefault(one.name, []).append((info, one))
    return found


# -- options ------------------------------------------------------------------------------------------


def add_fields(parser: Parser, own: Own) -> None:
    """An option for every field of every ESP; for a secret the ways to it, and none that takes it."""
    group = parser.add_argument_group(
        "the fields of its ESP",
        "of a secret say where it is: in a file ('-' is standard input, or a hidden prompt at a terminal), in the environment "
        "now (-env: it is kept encrypted), or in the environment of whoever sends (-env-ref: it is not kept)",
    )
    for name, known in _fields(own).items():
        flag = _flag(known[0][1])
        labels = {one.label.partition(",")[0] for _, one in known}
        words = f"{' or '.join(sorted(labels))} ({', '.join(info.label for info, _ in known)})"
        field = next((one for _, one in known if one.secret), known[0][1])
        if field.named:
            group.add_argument(flag, dest=_DEST + name, metavar="NAME", type=Named, help=words)
        elif field.secret:
            add = group.add_mutually_exclusive_group().add_argument
            add(f"{flag}-file", dest=_DEST + name, metavar="FILE", type=_In, help=f"{words}: in a file")
            add(f"{flag}-env", dest=_DEST + name, metavar="VARIABLE", type=_now, help="in the environment now")
            add(f"{flag}-env-ref", dest=_DEST + name, metavar="VARIABLE", type=_later, help="in the sender's environment")
        else:
            group.add_argument(flag, dest=_DEST + name, metavar="VALUE", help=words)


def _flag(field: FieldInfo) -> str:
    return f"--{field.name.replace('_', '-')}"


class _In(str):
    """The path of a file with a secret."""

    __slots__ = ()


class _Now(str):
    """The environment variable with a secret."""

    __slots__ = ()


def _variable(name: str) -> str:
    # Whoever took it for the secret itself wrote that: it is not repeated, and never kept as a name.
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ArgumentTypeError("give the name of an environment variable, such as SENDGRID_KEY; not the secret itself")
    return name


def _now(name: str) -> _Now:
    return _Now(_variable(name))


def _later(name: str) -> Env:
    return Env(_variable(name))


def given(options: Namespace, info: ProviderInfo, ask: Asker) -> Values:
    """What the options say of this ESP's fields; secrets are read. Refuses a field of another ESP."""
    fields = {one.name: one for one in info.fields}
    values: Values = {}
    for dest, value in vars(options).items():
        name = dest.removeprefix(_DEST)
        if name == dest or value is None:
            continue
        if name not in fields:
            raise ConfigurationError(f"{name}: {info.label} has no such field; it has {', '.join(fields)}")
        values[name] = _read(fields[name], value, ask)
    return values


def _read(field: FieldInfo, value: object, ask: Asker) -> object:
    if isinstance(value, _Now):
        if not os.environ.get(value):
            raise ConfigurationError(f"{field.name}: the environment variable named by {_flag(field)}-env is not set")
        return Secret(os.environ[value].strip())
    if isinstance(value, _In):
        return Secret(_file(field, value, ask))
    return value


def _file(field: FieldInfo, path: str, ask: Asker) -> str:
    if path == "-":
        if ask.present:
            return ask.secret(field.label, where=field.where)
        text = sys.stdin.readline()
    else:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ConfigurationError(f"{field.name}: the file named by {_flag(field)}-file cannot be read ({reason})") from None
    if not text.strip():
        raise ConfigurationError(f"{field.name}: {'standard input' if path == '-' else 'the file'} is empty")
    return text.strip()


# -- questions ----------------------------------------------------------------------------------------


def asked(info: ProviderInfo, values: Values, ask: Asker, *, whole: bool) -> Values:
    """The same values with what is missing asked for: all of it, or (not ``whole``) what is required only."""
    values = dict(values)
    for one in info.fields:
        pointless = one.named and any(field.secret and field.name in values for field in info.fields)
        if one.name not in values and (whole or one.required) and not pointless:
            _ask(one, values, ask)
    return values


def _ask(field: FieldInfo, values: Values, ask: Asker) -> None:
    if not ask.present:
        flag = _flag(field)
        ways = f"{flag}-file, {flag}-env or {flag}-env-ref" if field.secret and not field.named else flag
        raise ConfigurationError(f"{field.name}: missing; give {ways} (there is no terminal to ask at)")
    if field.named:
        answer = ask.text(field.label, where=field.where)
        values.update({field.name: Named(answer)} if answer else {})
    elif field.secret:
        answer = ask.secret(field.label, where=field.where, required=field.required)
        values.update({field.name: Secret(answer)} if answer else {})
    elif field.choices:
        values[field.name] = ask.choice(field.label, [(one, one) for one in field.choices], default=field.default)
    else:
        answer = ask.text(field.label, where=field.where, default=field.default, required=field.required)
        values.update({field.name: answer} if answer else {})


# -- the provider -------------------------------------------------------------------------------------


def made(info: ProviderInfo, values: Values, ask: Asker, own: Own = ()) -> Provider:
    """The provider. A field that it refuses is asked for once more, where somebody is there."""
    build = _class(info.name, own)
    return _made(lambda values: build(**values), info, values, ask)


def changed(provider: Provider, info: ProviderInfo, values: Values) -> Provider:
    """The provider with other values."""
    return evolve(provider, **values) if values else provider  # type: ignore[misc]


def _made(build: Callable[[Mapping[str, Any]], Provider], info: ProviderInfo, values: Values, ask: Asker) -> Provider:
    while True:
        try:
            return build(values)
        except ConfigurationError as error:
            wrong = _named_in(str(error), info.fields)
            if wrong is None or not ask.present:
                raise
            ask.say(f"{error}")
            values = {name: value for name, value in values.items() if name != wrong.name}
            _ask(wrong, values, ask)


def _named_in(text: str, fields: Iterable[FieldInfo]) -> FieldInfo | None:
    """The field that an error is about."""
    head, colon, _ = text.partition(":")
    label = head.split(" ")
    return next((one for one in fields if colon and len(label) == 2 and one.name == label[1]), None)
