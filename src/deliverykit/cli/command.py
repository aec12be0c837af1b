"""``main``: which command is meant, and what its errors become."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path

from deliverykit.words.errors import ConfigurationError, DeliveryError

__all__ = ["main"]

_USAGE = 2
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 is success, 1 that something did not hold, 2 that the call, a file of the user's or the
    installation has to be mended, 130 that Ctrl-C ended it. Errors of deliverykit's own kind are one
    line on standard error.
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
        return 1
    except DeliveryError as error:
        sys.stderr.write(f"deliverykit: {error}\n")
        return _USAGE if isinstance(error, ValueError | LookupError) else 1


def _ran(given: list[str]) -> int:
    if given[:1] == ["sandbox"]:  # its options are its own
        return _sandbox(given[1:])
    options = _parser().parse_args(given)
    if options.command is None:
        _parser().print_help()
        return 0
    _needs("demo", rich="cli", h11="sandbox", boto3="ses")
    from deliverykit.cli.demo import run

    return run(eml=options.eml, csv=options.csv, keep=options.keep)


def _parser() -> argparse.ArgumentParser:
    from deliverykit import __version__

    parser = argparse.ArgumentParser(
        prog="deliverykit", description="Mail through many delivery servers, under quotas, from a durable queue."
    )
    parser.add_argument("--version", action="version", version=f"deliverykit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    demo = commands.add_parser(
        "demo",
        help="the whole story in under a minute, on this machine only",
        description="Four ESPs played on this machine, four delivery servers, 2,000 recipients, quotas, a throttle and a "
        "failover: sent, shown, and compared with what the ESPs received. No account is needed and no mail leaves "
        "this machine. Exits 0 when everything held, 1 when not.",
    )
    demo.add_argument("--eml", type=Path, metavar="FILE", help="your own newsletter, a .eml file")
    demo.add_argument(
        "--csv", type=Path, metavar="FILE", help="your own recipients: a CSV file with a column email, and name if you like"
    )
    demo.add_argument("--keep", action="store_true", help="keep the SQLite file, and print where it is")
    commands.add_parser("sandbox", help="run the four ESPs on this machine, for your own tests", add_help=False)
    return parser


def _needs(command: str, **modules: str) -> None:
    """Refuse a command whose extras are not installed. ``modules`` maps what it imports to its extra."""
    missing = sorted(extra for module, extra in modules.items() if find_spec(module) is None)
    if missing:
        raise ConfigurationError(
            f"`deliverykit {command}` needs more than is installed; run: pip install 'deliverykit[{','.join(missing)}]'"
        )


def _sandbox(arguments: list[str]) -> int:
    if not {"-h", "--help"} & set(arguments):
        _needs("sandbox", h11="sandbox")
    from deliverykit.sandbox.server import main as serve

    try:
        return serve(arguments, announce=_pointed)
    except OSError as error:
        raise ConfigurationError(f"sandbox: cannot listen there ({error.strerror or error}); give another --port") from None


def _pointed(urls: Mapping[str, str]) -> None:
    """Print the URLs, and what to write where a host builds its providers."""
    sys.stdout.write(
        f"""Four ESPs on this machine. They accept mail and deliver none.

  Amazon SES     {urls["ses"]}
  SendGrid       {urls["sendgrid"]}
  Mailgun        {urls["mailgun"]}
  Elastic Email  {urls["elasticemail"]}

Point your delivery servers at them:

  SES(region="eu-west-1", access_key_id="AKIAIOSFODNN7EXAMPLE",
      secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
      base_url="{urls["ses"]}")
  SendGrid(api_key="SG.any", base_url="{urls["sendgrid"]}")
  Mailgun(api_key="any", domain="mg.example.com", base_url="{urls["mailgun"]}")
  ElasticEmail(api_key="any", base_url="{urls["elasticemail"]}")

and look at what they received, from Python:

  from deliverykit.sandbox import Sandbox
  Sandbox.attach("{urls["control"]}").received("sendgrid")

Ctrl-C ends it.
"""
    )
    sys.stdout.flush()
