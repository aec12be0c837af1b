"""Starting the sandbox from the command line: ``python -m deliverykit.sandbox``."""

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from deliverykit.words.errors import ConfigurationError

__all__ = ["KEYS_VARIABLE", "main"]

KEYS_VARIABLE = "DELIVERYKIT_SANDBOX_SES_KEYS"
"""``ID=secret`` pairs, one a line: secrets do not belong on a command line."""


def main(argv: Sequence[str] | None = None, *, announce: Callable[[Mapping[str, str]], None] | None = None) -> int:
    """Serve the four ESPs on this machine until SIGTERM; print where, and return 0.

    ``--port N`` takes N and the four ports after it, 0 any that are free; ``--json`` prints each URL
    as a JSON line; without it ``announce`` may print them in another way. Raises
    :class:`~deliverykit.ConfigurationError` where h11 is not installed.
    """
    parser = argparse.ArgumentParser(
        prog="deliverykit sandbox", description="Amazon SES, SendGrid, Mailgun and Elastic Email on localhost."
    )
    parser.add_argument("--port", type=int, default=0, help="the first of five ports; 0 (the default) takes free ones")
    parser.add_argument("--json", action="store_true", help="print the URLs as JSON lines")
    parser.add_argument("--keep", type=int, default=None, help="remember only so many mails per ESP, and no raw bytes")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    given = parser.parse_args(argv)
    from deliverykit.sandbox.listening import listen

    said = _json_lines if given.json else announce or _lines
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(listen(port=given.port, keep=given.keep, ses_keys=_keys(), until_eof=given.until_eof, announce=said))
    return 0


def _json_lines(urls: Mapping[str, str]) -> None:
    for name, url in urls.items():
        sys.stdout.write(json.dumps({"name": name, "url": url}) + "\n")
    sys.stdout.flush()


def _lines(urls: Mapping[str, str]) -> None:
    for name, url in urls.items():
        sys.stdout.write(f"{name:<13}{url}\n")
    sys.stdout.flush()


def _keys() -> dict[str, str]:
    keys = {}
    for line in os.environ.get(KEYS_VARIABLE, "").splitlines():
        name, equals, secret = line.partition("=")
        if not equals:
            raise ConfigurationError(f"{KEYS_VARIABLE}: expected ID=secret on each line")
        keys[name] = secret
    return keys
