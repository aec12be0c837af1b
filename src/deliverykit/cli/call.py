"""One call of the command line: its options, the mailer it is about, and where its words go."""

import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from zoneinfo import ZoneInfo

from deliverykit.cli.asking import Asker
from deliverykit.cli.output import Output
from deliverykit.mailer import AccountMailer, Mailer
from deliverykit.records.account import DEFAULT_ACCOUNT
from deliverykit.records.server import DeliveryServer
from deliverykit.words.errors import ConfigurationError, NotFound

__all__ = ["Call", "opened"]

NOTHING_DID = 1
"""The status of a command that ran, and whose answer is no."""


class Call:
    """What a command works with."""

    def __init__(self, options: Namespace, host: Mailer) -> None:
        self.options = options
        self.host = host
        self.out: Output = Output(as_json=options.json, zone=lambda: self.zone)
        self.ask: Asker = Asker()

    @property
    def account(self) -> str:
        """Whose servers, routes and mail."""
        return self.options.account or DEFAULT_ACCOUNT

    @cached_property
    def mailer(self) -> AccountMailer:
        """The mailer, bound to that account."""
        return self.host if self.account == DEFAULT_ACCOUNT else self.host.account(self.account)

    @cached_property
    def zone(self) -> ZoneInfo:
        """The account's zone: times are shown in it, and read in it."""
        return ZoneInfo(self.host.accounts.get(self.account).timezone)

    @cached_property
    def names(self) -> dict[str, str]:
        """The servers' names by id."""
        return {one.id: one.name for one in self.mailer.servers.list()}

    def server(self, word: str) -> DeliveryServer:
        """A server by its id, or by its name where only one has it."""
        known = self.mailer.servers.list()
        found = [one for one in known if one.id == word] or [one for one in known if one.name == word]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotFound(f"{len(found)} servers are named {word!r}; give an id: {', '.join(one.id for one in found)}")
        there = ", ".join(f"{one.id} ({one.name})" for one in known)
        raise NotFound(f"no delivery server {word!r} in account {self.account!r}; there are: {there or 'none'}")

    def server_id(self, word: str) -> str:
        """The id of a server for a filter: one that was removed may be meant too."""
        try:
            return self.server(word).id
        except NotFound:
            if any(one.name == word for one in self.mailer.servers.list()):
                raise  # several of this name
            return word


@contextmanager
def opened(app: str | None) -> Iterator[Mailer]:
    """The mailer that ``--app`` names, or that of the environment. What was made here is closed here."""
    if app is None:
        if not os.environ.get("DELIVERYKIT_STORAGE"):
            raise ConfigurationError(
                "no mailer: set DELIVERYKIT_STORAGE (such as sqlite:///mail.db) and DELIVERYKIT_SECRET_KEY, "
                "or give --app package.module:mailer"
            )
        with Mailer.from_env() as mailer:
            yield mailer
        return
    found = _found(app)
    if isinstance(found, Mailer):
        yield found
        return
    made = found() if callable(found) else found
    if not isinstance(made, Mailer):
        kind = type(made).__name__
        raise ConfigurationError(f"--app {app}: is {kind}; name a deliverykit.Mailer, or a function that returns one")
    with made:
        yield made


def _found(app: str) -> object:
    where, sign, name = app.partition(":")
    if not sign or not where or not name:
        raise ConfigurationError(f"--app {app}: write it as package.module:mailer")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the folder one stands in, as `python -m` has it
    try:
        found: object = importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise  # the module is there and misses something: its own traceback says what
        raise ConfigurationError(f"--app {app}: there is no module {error.name} on the path") from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"--app {app}: {where} has no {name}")
        found = getattr(found, part)
    return found
