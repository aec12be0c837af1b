"""``main``: which command is meant, and what its errors become."""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from deliverykit.cli.arguments import Menu, Parser
from deliverykit.cli.wording import in_options
from deliverykit.words.errors import ConfigurationError, DeliveryError, StorageError
from deliverykit.words.untrusted import printable

if TYPE_CHECKING:
    from deliverykit.contracts.provider import Provider
    from deliverykit.mailer import Mailer

__all__ = ["main", "parser"]

_DID_NOT_HOLD = 1
_USAGE = 2
_STORAGE = 3
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 is success, 1 that something did not hold, 2 that the call, the configuration or the installation has to be
    mended, 3 that the storage failed, 130 that Ctrl-C ended it. Errors of deliverykit's own kind are one line
    on standard error.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a name shows ? for it
    try:
        return _ran(given)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (deliverykit demo | head): no traceback, and none at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _DID_NOT_HOLD
    except DeliveryError as error:
        sys.stderr.write(f"deliverykit: {printable(in_options(str(error)))}\n")
        if isinstance(error, ValueError | LookupError):
            return _USAGE
        return _STORAGE if isinstance(error, StorageError) else _DID_NOT_HOLD


def _ran(given: list[str]) -> int:
    if given[:1] == ["sandbox"]:  # its options are its own
        return _sandbox(given[1:])
    with _own(given) as mailer:
        options = parser(mailer.servers.providers() if mailer else ()).read(given)
        if "run" in options:
            return _called(options, mailer)
    if options.command == "demo":
        return _demo(options)
    options.parser.print_help()
    return 0


@contextmanager
def _own(given: Sequence[str]) -> "Iterator[Mailer | None]":
    """The host's own mailer, where its adapters decide which options a command has; it is opened once."""
    apps = [after for word, after in pairwise(given) if word == "--app"]
    apps += [word.partition("=")[2] for word in given if word.startswith("--app=")]
    if not apps or list(given[:2]) not in (["servers", "add"], ["servers", "update"]):
        yield None
        return
    from deliverykit.cli.call import opened

    with opened(apps[-1]) as mailer:
        yield mailer


def parser(own: "Sequence[type[Provider]]" = ()) -> Parser:
    """The whole command line; ``own`` are the adapters that the host's mailer knows."""
    from deliverykit import __version__
    from deliverykit.cli import doctor, log, queue, routes, sending, servers, worker

    whole = Parser(
        prog="deliverykit", description="Mail through many delivery servers, under quotas, from a durable queue.",
        epilog="The mailer is that of DELIVERYKIT_STORAGE, DELIVERYKIT_SECRET_KEY and DELIVERYKIT_TIMEZONE, or --app's. "
        "Exit status: 0 done, 1 something did not hold, 2 mend the call or the configuration, 3 the storage failed.",
    )  # fmt: skip
    whole.set_defaults(parser=whole)
    whole.add_argument("--version", action="version", version=f"deliverykit {__version__}")
    menu = Menu(whole, "command")
    servers.add_commands(menu, own)
    for module in (routes, sending, worker, queue, log, doctor):
        module.add_commands(menu)
    demo = menu.plain(
        "demo",
        "the whole story in under a minute, on this machine only.",
        "Four ESPs played on this machine, four delivery servers, 2,000 recipients, quotas, a failover, a "
        "throttle, an ESP that hangs, a key that is revoked, and a worker that is killed: sent, shown, and compared with what "
        "the ESPs received. No account is needed and no mail leaves "
        "this machine. Exits 0 when everything held, 1 when not.",
    )
    demo.add_argument("--eml", type=Path, metavar="FILE", help="your own newsletter, a .eml file")
    demo.add_argument(
        "--csv", type=Path, metavar="FILE", help="your own recipients: a CSV file with a column email, and name if you like"
    )
    demo.add_argument("--keep", action="store_true", help="keep the SQLite file, and print where it is")
    menu.plain("sandbox", "run the four ESPs on this machine, for your own tests", helped=False)
    return whole


def _called(options: Namespace, own: "Mailer | None") -> int:
    """A command that needs a mailer."""
    _needs(options.command, rich="cli")
    from deliverykit.cli.call import Call, opened

    with nullcontext(own) if own is not None else opened(options.app) as mailer:
        status: int = options.run(Call(options, mailer))
    return status


def _demo(options: Namespace) -> int:
    _needs("demo", rich="cli", h11="sandbox", boto3="ses")
    from deliverykit.cli.demo import run

    return run(eml=options.eml, csv=options.csv, keep=options.keep)


def _sandbox(arguments: list[str]) -> int:
    if not {"-h", "--help"} & set(arguments):
        _needs("sandbox", h11="sandbox")
    from deliverykit.cli.sandboxed import serve

    return serve(arguments)


def _needs(command: str, **modules: str) -> None:
    """Refuse a command whose extras are not installed. ``modules`` maps what it imports to its extra."""
    missing = sorted(extra for module, extra in modules.items() if find_spec(module) is None)
    if missing:
        raise ConfigurationError(
            f"`deliverykit {command}` needs more than is installed; run: pip install 'deliverykit[{','.join(missing)}]'"
        )
