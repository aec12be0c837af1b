"""What hostile answers cost: how long one holds the event loop, and what one tenant's take from another's throughput.

The answers are as large and as awkward as an ESP, or whoever answers in its place, can make them: a quarter of a megabyte of
small JSON values, escapes upon escapes, base64, control characters, a text that repeats the beginning of the key. A message
has 1,000 recipients, each of whom is looked for in the text before it is told.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import quote

from benchmarks.full_path import KEY
from benchmarks.measuring import Contender, Row, compared
from deliverykit import AsyncMailer, Message
from deliverykit.contracts.outgoing import Outgoing
from deliverykit.contracts.provider import Provider
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.words.untrusted import ANSWER_LIMIT, named, scrubbed
from deliverykit.words.wire import HttpRequest, HttpResponse

SECRET = "SG.abcdefghijklmnop%2Fqrstuv/wxyz=0123456789"
NOW = 1_795_860_000_000


def _providers() -> Iterator[Provider]:
    yield SES(region="eu-west-1", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key=SECRET, session_token=SECRET * 30)
    yield SendGrid(api_key=SECRET)
    yield Mailgun(api_key=SECRET, domain="example.com")
    yield ElasticEmail(api_key=SECRET)


def _texts(size: int) -> Iterator[str]:
    """Texts of a refusal."""
    for piece in (
        "a[",
        "@ ",
        "%25",
        "\\u0025",
        "&amp;",
        "…",
        "...",
        SECRET[:-1],
        f"{SECRET} ",
        quote(SECRET),
        "QUJD",
        "\x1b",
        "\u202e",
    ):
        yield piece * (size // len(piece))
    for words in ("from not verified ", "domain is not ", "try again after ", "limit credit quota ", "identity arn:aws:"):
        yield words * (size // len(words))
    yield ", ".join(f"r{number}@example.org" for number in range(size // 18))


def _bodies() -> Iterator[bytes]:
    """Whole bodies, in no ESP's shape or with theirs at the beginning."""
    shape = b'{"MessageId":"id","id":"<id>","TransactionID":"id","x":'
    for piece in (b"[],", b'"",', b"{},", b'{"a":1},', b"1,", b'"\\ud83d",', b"\xff", b"<b>", b"[", b'{"a":'):
        junk = piece * (ANSWER_LIMIT // len(piece))
        yield junk[:ANSWER_LIMIT]
        yield shape + b"[" + junk[: ANSWER_LIMIT - len(shape) - 10].rpartition(b",")[0] + b"]}"


def _answers() -> Iterator[HttpResponse]:
    for status in (200, 202, 400, 401, 403, 429, 500, 503):
        for text in _texts(60_000):
            errors = {"message": text, "Error": text, "errors": [{"message": text, "field": text}] * 2}
            headers = {"x-amzn-errortype": text, "x-message-id": text, "retry-after": text, "date": text}
            yield HttpResponse(status=status, headers=headers, body=json.dumps(errors).encode())
        for body in _bodies():
            yield HttpResponse(status=status, body=body)


def longest_hold(short: bool) -> list[Row]:
    """The CPU time from an answer to its outcome, and to the text that is told of it; the longest of all answers."""
    people = tuple(f"r{number}@example.org" for number in range(20 if short else 1_000))
    message = Message(sender="news@example.com", to=people, subject="s", text="t")
    mail = Outgoing(id="id", message=message, sender=message.sender)  # type: ignore[arg-type]
    answers = list(_answers())[:: 20 if short else 1]
    rows = []
    for provider in _providers():
        longest = 0.0
        for answer in answers:
            best = min(_once(provider, answer, mail) for _ in range(1 if short else 3))
            longest = max(longest, best)
        rows.append(
            Row(
                claim="hostile: the longest hold of the loop by one answer",
                what=provider.label,
                us=longest * 1e6,
                goal="50,000",
            )
        )
    return rows


def _once(provider: Provider, answer: HttpResponse, mail: Outgoing) -> float:
    began = time.process_time()
    outcome = provider.outcome(answer, mail, NOW)
    scrubbed(getattr(outcome, "reason", ""), named(mail.message.recipients))
    return time.process_time() - began


class _Answering:
    """Answers in this process, after the time an ESP takes: the tenant whose key it is gets what it sends."""

    def __init__(self, answer: HttpResponse, latency: float) -> None:
        self.last = 0.0
        self.begun = False
        self._answer = answer
        self._latency = latency

    async def send(self, request: HttpRequest) -> HttpResponse:
        """One answer."""
        await asyncio.sleep(self._latency)
        if self.begun and "SG.noisy" in request.headers["Authorization"]:
            return self._answer
        self.last = time.perf_counter()
        return HttpResponse(status=202, headers={"x-message-id": "id"})

    async def aclose(self) -> None:
        """Nothing is open."""


def neighbours(short: bool) -> list[Row]:
    """A tenant's messages by a worker, beside another tenant whose answers are ordinary, or hostile; 50 a second each."""
    count = 20 if short else 200
    ordinary = HttpResponse(status=202, headers={"x-message-id": "id"})
    hostile = HttpResponse(status=202, headers={"x-message-id": "\x1b\u202e" * 50_000, "retry-after": "9" * 50_000})
    long = HttpResponse(status=202, body=b"x" * ANSWER_LIMIT)
    refusal = HttpResponse(status=503, body=json.dumps({"errors": [{"message": "a[%25" * 40_000}]}).encode())
    contenders: dict[str, Contender] = {
        "beside ordinary answers": _round(ordinary, count),
        "beside hostile message ids": _round(hostile, count),
        "beside bodies of 256 KB": _round(long, count),
        "beside hostile refusals": _round(refusal, count),
    }
    goals = dict.fromkeys(list(contenders)[1:], "0.90 of the floor")
    return compared("hostile: a message of the quiet tenant", contenders, 1 if short else 3, goals)


def _round(answer: HttpResponse, count: int) -> Callable[[], float]:
    return lambda: asyncio.run(_drained(answer, count))


async def _drained(answer: HttpResponse, count: int) -> float:
    transport = _Answering(answer, 0.02)
    async with AsyncMailer("memory://", secret_key=KEY, transport=transport) as host:
        tenants = [await host.accounts.add(name, timezone="UTC") for name in ("noisy", "quiet")]
        for tenant, name in zip(tenants, ("noisy", "quiet"), strict=True):
            await tenant.servers.add(id="a", name="a", provider=SendGrid(api_key=f"SG.{name}"), sender=f"news@{name}.example")
            await tenant.servers.send_test("a", to="me@example.org")
            await tenant.servers.activate("a")
            await tenant.servers.update("a", pause=timedelta(milliseconds=20))
        transport.begun = True
        for tenant in tenants:
            await tenant.enqueue([Message(to=f"r{number}@example.org", subject="s", text="t") for number in range(count)])
        began = time.perf_counter()
        await host.worker().drain(timeout=timedelta(seconds=60))
        return (transport.last - began) / count


CLAIMS = (longest_hold, neighbours)
