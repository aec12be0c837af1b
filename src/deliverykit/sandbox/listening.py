"""The sandbox's listeners: four ESPs and the control in one process, one port each, on this machine only."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping

from deliverykit.sandbox.control import Control
from deliverykit.sandbox.elasticemail import ElasticEmail
from deliverykit.sandbox.esp import Clock, Esp, calm
from deliverykit.sandbox.mailgun import Mailgun
from deliverykit.sandbox.sendgrid import SendGrid
from deliverykit.sandbox.ses import EXAMPLE_KEYS, Ses

__all__ = ["listen"]

_HOST = "127.0.0.1"


async def listen(
    *,
    port: int,
    keep: int | None,
    ses_keys: Mapping[str, str],
    until_eof: bool,
    announce: Callable[[Mapping[str, str]], None],
) -> None:
    """Listen, announce the URLs, and serve until SIGTERM, SIGINT or (``until_eof``) the end of standard input."""
    clock = Clock()
    secrets = {**EXAMPLE_KEYS, **ses_keys}
    services = (Ses(), SendGrid(), Mailgun(), ElasticEmail())
    esps = {service.name: Esp(service, clock, keep, secrets if service.name == "ses" else {}) for service in services}
    urls: dict[str, str] = {}
    control = Control(esps, clock, urls)
    servers = []
    for offset, (name, handler) in enumerate(
        [*((name, esp.connected) for name, esp in esps.items()), ("control", control.connected)]
    ):
        server = await asyncio.start_server(handler, _HOST, port and port + offset, backlog=1024, limit=1 << 20)
        urls[name] = f"http://{_HOST}:{server.sockets[0].getsockname()[1]}"
        if name == "control":
            urls[name] += f"/{control.token}"
        servers.append(server)
    stop = _stop(until_eof)  # before anybody knows of us: who reads the URLs may end us at once
    announce(urls)
    calm()
    await stop.wait()
    # Connections that are still open are cancelled now; Python 3.11 prints a traceback for each.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    for server in servers:
        server.close()


def _stop(until_eof: bool) -> asyncio.Event:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if until_eof:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    return stop
