"""One ESP as it runs: its account, its armed faults, what it received, and how it answers a connection."""

import asyncio
import contextlib
import gc
import os
import time
from collections import deque
from collections.abc import Callable, Mapping

from attrs import define, field

from deliverykit.sandbox.account import Account
from deliverykit.sandbox.connection import BadRequest, Connection, TooLarge
from deliverykit.sandbox.faults import Armed, Fault, struck
from deliverykit.sandbox.received import Received, Submission
from deliverykit.sandbox.service import Service
from deliverykit.sandbox.wire import Mail, Reply, Request, Verdict

__all__ = ["Clock", "Esp"]

_TOLD = frozenset({"throttle", "quota", "server_error", "bad_key", "rejected"})
_UNTOUCHED = frozenset({"drip", "truncate"})
_HTML = b"<!DOCTYPE html><html><head><title>Gateway</title></head><body>Something went wrong</body></html>"


@define
class Clock:
    """The sandbox's clock: the system's, moved by ``offset`` milliseconds."""

    offset: int = 0

    def __call__(self) -> int:
        """The instant, in UTC milliseconds."""
        return time.time_ns() // 1_000_000 + self.offset


@define(eq=False)
class Esp:
    """An ESP's state and its way with requests. ``keep`` bounds how many mails and submissions are remembered."""

    service: Service
    clock: Clock
    keep: int | None = None
    secrets: Mapping[str, str] = field(factory=dict, repr=False)
    account: Account = field(init=False)
    armed: list[Armed] = field(factory=list)
    accepted: int = 0
    submitted: int = 0
    mails: deque[tuple[Mail, int, str, bytes]] = field(init=False)
    submissions: deque[Submission] = field(init=False)
    bytes_seen: list[bytes] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.reset()

    def clear(self) -> None:
        """Forget what was received; settings, faults and what counts towards quotas stay."""
        self.mails = deque(maxlen=self.keep)
        self.submissions = deque(maxlen=self.keep)
        self.bytes_seen.clear()
        self.accepted = self.submitted = 0

    def reset(self) -> None:
        """Forget what was received and what was set; the secrets given at the start stay."""
        self.clear()
        self.armed.clear()
        self.account = Account(secrets=dict(self.secrets))

    def received(self, index: int) -> Received:
        """The mail at a place in ``mails``."""
        mail, at, credential, raw = self.mails[index]
        return Received.of(mail, esp=self.service.name, at=at, credential=credential, raw=raw)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        seen: Callable[[bytes], None] = self.bytes_seen.append if self.keep is None else lambda _: None
        connection = Connection(reader, writer, seen=seen, clock=self.clock)
        with contextlib.suppress(ConnectionError):
            try:
                while (request := await connection.head()) and await self._serve(connection, request):
                    pass
            except BadRequest as error:
                await connection.reply(Reply(400, f"Bad Request: {error}".encode(), content_type="text/plain"))
                await connection.finish()
            except TooLarge as problem:
                if self.service.submits(problem.request):
                    self._note(problem.request, connection.at, Verdict(reply=self.service.too_large()), "", 413)
                await connection.reply(self.service.too_large())
                await connection.finish()
        connection.close()

    async def _serve(self, connection: Connection, request: Request) -> bool:
        submits = self.service.submits(request)
        faults = struck(self.armed, submits, self.service.credential(request)) if self.armed else ()
        trouble = next((fault for fault in faults if fault.kind != "latency"), None)
        if trouble is not None and trouble.kind == "reset" and trouble.when == "before":
            if submits:
                self._note(request, connection.at, Verdict(reply=Reply(0)), "reset", 0)
            connection.reset()
            return False
        if not await connection.body(request, self.service.max_request):
            return False
        verdict = self._judged(request, connection.at, trouble)
        silent = trouble is not None and trouble.kind in {"hang", "reset"}
        if submits:
            name = trouble.kind if trouble else faults[0].kind if faults else ""
            self._note(request, connection.at, verdict, name, 0 if silent else verdict.reply.status)
        if faults and (wait := sum(fault.seconds or 0.1 for fault in faults if fault.kind == "latency")):
            await asyncio.sleep(wait)
        if trouble is None or trouble.kind in _TOLD or trouble.kind in {"garbage", "redirect"}:
            return await connection.reply(verdict.reply)
        await _misbehave(connection, trouble, verdict.reply)
        return False

    def _judged(self, request: Request, at: int, trouble: Fault | None) -> Verdict:
        """The ESP's answer and what it took, as the fault changes it."""
        account = self.account
        account.now = at
        account.token = os.urandom(16).hex()
        real = trouble is None or trouble.kind in _UNTOUCHED or trouble.accepted
        verdict = self.service.answer(request, account) if real else Verdict(reply=Reply(200))
        reply = self.service.decorated(verdict.reply, request, account)
        if verdict.remember is not None:
            key, digest = verdict.remember
            account.replies[key] = (digest, at, reply)
        if trouble is not None and trouble.kind in _TOLD:
            reply = self.service.decorated(self.service.told(trouble, request, account), request, account)
            if trouble.kind == "server_error" and trouble.retry_after is not None:
                reply = reply.plus(("Retry-After", str(round(trouble.retry_after))))
        elif trouble is not None and trouble.kind == "garbage":
            reply = Reply(trouble.status or 200, trouble.text.encode() if trouble.text else _HTML, content_type="text/html")
        elif trouble is not None and trouble.kind == "redirect":
            reply = Reply(trouble.status or 307, headers=(("Location", request.target),))
        return Verdict(reply=reply, mail=verdict.mail)

    def _note(self, request: Request, at: int, verdict: Verdict, fault: str, status: int) -> None:
        """Remember a submission, and the mail where one was taken."""
        mail = verdict.mail
        credential = self.service.credential(request)
        self.submitted += 1
        self.submissions.append(
            Submission(
                esp=self.service.name,
                at=at,
                id=mail.id if mail else self._id(request),
                status=status,
                accepted=mail is not None,
                fault=fault,
                credential=credential,
            )
        )
        if mail is None:
            return
        if mail.delivered or self.service.bills_tests:
            self.account.day.add(at, len(mail.recipients))
            self.account.second.add(at, 1)
        if mail.delivered:
            self.accepted += 1
            self.mails.append((mail, at, credential, request.body))

    def _id(self, request: Request) -> str:
        with contextlib.suppress(Exception):
            return self.service.correlation(request)
        return ""


async def _misbehave(connection: Connection, fault: Fault, reply: Reply) -> None:
    match fault.kind:
        case "hang":
            await connection.wait_for_end(fault.seconds)
        case "reset":
            connection.reset()
        case "drip":
            await connection.drip(reply, 1.0 if fault.seconds is None else fault.seconds)
        case "truncate":
            await connection.cut(reply)
        case "huge":
            await connection.flood(200, fault.size)


def calm() -> None:
    """Keep the garbage collector from walking all received mail again and again."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
