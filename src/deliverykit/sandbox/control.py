"""The control of a running sandbox: one JSON call per request, for the client in the host's process."""

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import asdict, define, field

from deliverykit.sandbox.connection import BadRequest, Connection, TooLarge
from deliverykit.sandbox.esp import Clock, Esp
from deliverykit.sandbox.faults import Armed, Fault
from deliverykit.sandbox.wire import Malformed, Reply, Request

__all__ = ["Control"]


_PAGE = 500
_PAGE_BYTES = 8_000_000


@define(eq=False)
class Control:
    """What the client may ask of the four ESPs. Every method is one call; its arguments are JSON.

    A call needs the ``token`` of the control URL, and names this machine as its host. So no web page that a developer has
    open can read the mail or change a setting, neither directly nor by a host name that leads here.
    """

    esps: Mapping[str, Esp]
    clock: Clock
    urls: Mapping[str, str]
    token: str = field(factory=lambda: secrets.token_urlsafe(24), repr=False)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one control connection."""
        connection = Connection(reader, writer, seen=lambda _: None, clock=self.clock)
        with contextlib.suppress(ConnectionError, BadRequest, TooLarge):
            while (request := await connection.request(10_000_000)) and await connection.reply(self.answered(request)):
                pass
        connection.close()

    def answered(self, request: Request) -> Reply:
        """The answer to one call: ``POST /NAME`` with the arguments as a JSON object."""
        if refused := self._refused(request):
            return Reply.of(403, {"error": refused})
        call = _CALLS.get(request.path.strip("/"))
        if request.method != "POST" or call is None:
            return Reply.of(404, {"error": f"there is no call {request.method} {request.path}"})
        try:
            result = call(self, **request.json())
        except (ValueError, TypeError, Malformed) as error:
            return Reply.of(400, {"error": str(error)})
        return (
            Reply(200, result, content_type="application/octet-stream") if isinstance(result, bytes) else Reply.of(200, result)
        )

    def _refused(self, request: Request) -> str:
        """Why this caller may not call; ``""`` where it may."""
        given = request.header("authorization").encode()
        if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return "the control needs its token; attach with the whole control URL that the sandbox printed"
        place = urlsplit(self.urls["control"])
        hosts = (place.netloc, f"localhost:{place.port}")
        if request.header("host").lower() not in hosts:
            return f"the control answers as {' and '.join(hosts)} only"
        origin = request.header("origin")
        if origin and origin.lower() not in [f"http://{host}" for host in hosts]:
            return "the control answers no other web site"
        return ""

    def _esp(self, esp: str) -> Esp:
        if esp not in self.esps:
            raise ValueError(f"esp {esp!r} is none of {', '.join(self.esps)}")
        return self.esps[esp]

    def _some(self, esp: str | None) -> list[Esp]:
        return list(self.esps.values()) if esp is None else [self._esp(esp)]

    def info(self) -> dict[str, str]:
        """The URLs."""
        return dict(self.urls)

    def received(self, esp: str, start: int) -> dict[str, Any]:
        """A page of the accepted mail, from the ``start``-th that this ESP accepted since the last ``clear``."""
        one = self._esp(esp)
        first = one.accepted - len(one.mails)
        place = max(start, first)
        page: list[dict[str, Any]] = []
        size = 0
        while place < one.accepted and len(page) < _PAGE and size < _PAGE_BYTES:
            record = one.received(place - first)
            size += len(record.raw)
            page.append(record.plain())
            place += 1
        return {"mails": page, "next": place, "more": place < one.accepted}

    def requests(self, esp: str, start: int) -> dict[str, Any]:
        """A page of the submissions, likewise."""
        one = self._esp(esp)
        first = one.submitted - len(one.submissions)
        place = max(start, first)
        end = min(one.submitted, place + 20 * _PAGE)
        return {
            "requests": [asdict(one.submissions[index - first]) for index in range(place, end)],
            "next": end,
            "more": end < one.submitted,
        }

    def count(self, esp: str | None) -> int:
        """How many mails were accepted."""
        return sum(one.accepted for one in self._some(esp))

    def bytes_seen(self, esp: str | None) -> bytes:
        """Every byte that came."""
        some = self._some(esp)
        if some[0].keep is not None:
            raise ValueError(f"bytes_seen: a sandbox with keep={some[0].keep} keeps no bytes; leave keep out")
        return b"".join(piece for one in some for piece in one.bytes_seen)

    def clear(self, esp: str | None) -> None:
        """Forget what was received."""
        for one in self._some(esp):
            one.clear()

    def reset(self) -> None:
        """As it was at the start."""
        self.clock.offset = 0
        for one in self.esps.values():
            one.reset()

    def fault(self, esp: str, kind: str, times: int | None, options: dict[str, Any]) -> None:
        """Arm a fault."""
        if times is not None and times < 1:
            raise ValueError(f"fault times={times!r} must be 1 or more, or None for every request")
        self._esp(esp).armed.append(Armed(Fault.of(kind, options), times))

    def clear_faults(self, esp: str | None) -> None:
        """Disarm all faults."""
        for one in self._some(esp):
            one.armed.clear()

    def verify_only(self, esp: str, names: list[str] | None) -> None:
        """Which From domains and addresses are verified."""
        self._esp(esp).account.verified = _lowered(names)

    def recipients_refused(self, esp: str, recipients: list[str]) -> None:
        """Whom this ESP turns down."""
        self._esp(esp).account.refused = _lowered(recipients) or frozenset()

    def domains(self, names: list[str] | None) -> None:
        """Which domains exist at Mailgun."""
        self._esp("mailgun").account.domains = _lowered(names)

    def keys(self, esp: str, keys: list[str] | None, secrets: dict[str, str]) -> None:
        """Which credentials work."""
        account = self._esp(esp).account
        account.keys = None if keys is None else frozenset(keys)
        account.secrets.update(secrets)

    def limit(self, esp: str, per_day: int | None, per_second: int | None) -> None:
        """The ESP's own limits."""
        account = self._esp(esp).account
        account.per_day, account.per_second = per_day, per_second

    def account(self, esp: str, fields: dict[str, Any]) -> None:
        """What its calls about the account tell."""
        one = self._esp(esp)
        if unknown := sorted(set(fields) - one.service.tells):
            raise ValueError(f"account: {esp} tells no {unknown[0]!r}, only {', '.join(sorted(one.service.tells))}")
        one.account.told = dict(fields)

    def check_clock(self, check: bool) -> None:
        """Whether SES refuses signatures more than five minutes off."""
        self._esp("ses").account.check_clock = check

    def move_clock(self, milliseconds: int) -> int:
        """Move the sandbox's clock; what it shows then."""
        self.clock.offset += milliseconds
        return self.clock()

    def now(self) -> int:
        """What the sandbox's clock shows."""
        return self.clock()


def _lowered(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(name.lower() for name in names)


_CALLS: Mapping[str, Callable[..., object]] = {
    name: getattr(Control, name)
    for name in ("info", "received", "requests", "count", "bytes_seen", "clear", "reset", "fault", "clear_faults",
                 "verify_only", "recipients_refused", "domains", "keys", "limit", "account", "check_clock", "move_clock", "now")
}  # fmt: skip
