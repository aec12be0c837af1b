"""Whatever an ESP answers: it is judged, settled, and nothing of it does harm where it is stored or shown."""

import base64
import html
import json
import logging
import sqlite3
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
from attrs import define, field, frozen
from engine_kit import AWS, ESPS, World, message

from deliverykit import CalendarQuota, SendStatus, Status
from deliverykit.contracts.provider import secret
from deliverykit.hooks import Hooks
from deliverykit.providers import SendGrid
from deliverykit.transports import HttpTransport
from deliverykit.words.checks import CheckProblem, CheckReport
from deliverykit.words.credentials import Credential
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.wire import HttpResponse

KEY = "SG.abcdefgh1234.XYZ/+secret="
HOSTILE = "\x1b]52;c;aGk=\x07\x1b[2J\u202e\u2028\x00\n2026-11-24 12:00:00 ERROR forged\ud83d"
SECONDS = 86_400


@define
class Scripted:
    """A host's own transport: it gives the answers it was told, and forwards to the sandbox where it was told none."""

    answers: list[Any] = field(factory=list)
    always: Any = None
    sent: int = 0
    inner: HttpTransport = field(factory=HttpTransport)

    def send(self, request: Any) -> Any:
        if not self.answers and self.always is None:
            return self.inner.send(request)
        self.sent += 1
        answer = self.answers.pop(0) if self.answers else self.always
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.inner.close()


class Heard(Hooks):
    def __init__(self) -> None:
        self.facts: list[Any] = []

    def told(self, fact: Any) -> None:
        self.facts.append(fact)


def taken(esp: str, id: str) -> HttpResponse:
    """How an ESP says that it took a message."""
    match esp:
        case "ses":
            return HttpResponse(status=200, body=json.dumps({"MessageId": id}).encode())
        case "sendgrid":
            return HttpResponse(status=202, headers={"x-message-id": id})
        case "mailgun":
            return HttpResponse(status=200, body=json.dumps({"id": f"<{id}>", "message": "Queued"}).encode())
        case _:
            return HttpResponse(status=200, body=json.dumps({"TransactionID": id, "MessageID": id}).encode())


def refused(esp: str, text: str, status: int = 401, **headers: str) -> HttpResponse:
    """How an ESP refuses a key, or anything else."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    match esp:
        case "ses":
            headers = {"x-amzn-errortype": "UnrecognizedClientException", "x-amzn-requestid": "r", **headers}
            body: Any = {"message": text}
        case "sendgrid":
            key = "The provided authorization grant is invalid, expired, or revoked: " if status == 401 else ""
            body = {"errors": [{"message": key + text, "field": None}]}
        case "mailgun":
            body = {"message": f"Invalid private key: {text}" if status == 401 else text}
        case _:
            body, status = {"Error": f"api key: {text}"}, 400 if status == 401 else status
    return HttpResponse(status=status, headers=headers, body=json.dumps(body).encode())


def stage(world: World, esp: str = "sendgrid", **options: Any) -> tuple[Any, Scripted, Heard]:
    """An ACTIVE server "a" at this ESP, whose transport is scripted from now on."""
    transport, heard = Scripted(), Heard()
    world.transports.append(transport.inner)
    mailer = world.mailer(transport=transport, hooks=heard, **options)
    world.server(mailer, "a", esp, key=KEY)
    return mailer, transport, heard


def shown(mailer: Any, heard: Heard, caplog: Any, *results: Any) -> str:
    """Everything that a host, a person or another program can see."""
    told = [*results, *(vars_of(one) for one in results), mailer.servers.list(), mailer.outbox.list(), mailer.outbox.lanes()]
    told += [
        mailer.log.list(),
        mailer.doctor(),
        heard.facts,
        [fact.fields() for fact in heard.facts],
        [str(fact) for fact in heard.facts],
    ]
    return "\n".join(map(repr, told)) + "\n".join(str(server.reason) for server in mailer.servers.list()) + caplog.text


def vars_of(result: Any) -> Any:
    return [getattr(result, name, None) for name in ("reason", "provider_message_id", "attempts")]


def stored(world: World) -> bytes:
    """The bytes of the database and its log."""
    files = [world.path, world.path.with_name(world.path.name + "-wal")]
    return b"".join(one.read_bytes() for one in files if one.exists())


def odd_failure() -> TransportError:
    error = TransportError(Stage.READ, "x" * 5000 + "\x1b")
    error.stage = "connect"  # type: ignore[assignment]
    return error


# -- A3, A5: characters and lengths -------------------------------------------------------------------------


@pytest.mark.parametrize("esp", ESPS)
def test_an_accepted_message_stays_accepted(plain: World, esp: str, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    mailer, transport, heard = stage(plain, esp)
    for odd in ("\ud83d", "a" + HOSTILE, "x" * 100_000, "\u200b\ufeff"):
        transport.answers = [taken(esp, odd)]
        result = mailer.send(message(in_doubt="resend"))
        assert result.status is SendStatus.ACCEPTED
        assert result.provider_message_id.isprintable()
        assert len(result.provider_message_id) <= 255
    assert transport.sent == 4
    assert mailer.outbox.list() == ()
    shown(mailer, heard, caplog).encode()


@pytest.mark.parametrize("esp", ESPS)
@pytest.mark.parametrize("text", ["bad key \ud83d", HOSTILE, "bad key " + "x" * 1_000_000, "\u202e" * 5000], ids=range(4))
def test_a_refused_key_pauses_whatever_its_text(world: World, esp: str, text: str, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    mailer, transport, heard = stage(world, esp)
    transport.always = refused(esp, text)
    result = mailer.send(message())
    (server,) = mailer.servers.list()
    assert server.status is Status.PAUSED
    assert len(server.reason) <= 1000
    assert server.reason.isprintable()
    told = shown(mailer, heard, caplog, result)
    told.encode()
    assert not set("\x1b\x07\x00\u202e\u2028\x9b") & set(told)
    assert "\n2026-11-24 12:00:00 ERROR forged" not in told
    assert b"\x1b]52" not in stored(world)
    assert "x" * 1001 not in told


def test_a_long_success_is_unknown(world: World) -> None:
    mailer, transport, _ = stage(world, "ses")
    body = json.dumps({"MessageId": "id-1", "x": "y" * 300_000}).encode()
    transport.answers = [HttpResponse(status=200, body=body)]
    assert mailer.send(message()).status is SendStatus.IN_DOUBT
    transport.answers = [HttpResponse(status=200, body=b'{"MessageId": "id-1"}', complete=False)]
    assert mailer.send(message()).status is SendStatus.IN_DOUBT


@pytest.mark.parametrize(
    "answer",
    [None, {"status": 200}, b"", 202, odd_failure()],
    ids=["none", "dict", "bytes", "int", "stage"],
)
def test_a_transport_of_wrong_types_leaves_it_in_doubt(world: World, answer: Any) -> None:
    class Wrong(Scripted):
        def send(self, request: Any) -> Any:
            if not self.always:
                return self.inner.send(request)
            if isinstance(answer, Exception):
                raise answer
            return answer

    transport = Wrong()
    world.transports.append(transport.inner)
    mailer = world.mailer(transport=transport)
    world.server(mailer, "a")
    transport.always = True
    result = mailer.send(message())
    assert result.status is SendStatus.IN_DOUBT
    assert len(result.reason) <= 1000
    assert not mailer.servers.check("a").ok


# -- A6: secrets --------------------------------------------------------------------------------------------


def keys_of(esp: str) -> list[str]:
    return list(AWS) if esp == "ses" else [KEY]


FORMS: dict[str, Any] = {
    "raw": str,
    "base64 user:key": lambda key: base64.b64encode(f"api:{key}".encode()).decode(),
    "base64 unpadded": lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
    "quoted": lambda key: quote(key, safe=""),
    "quoted in lower case": lambda key: quote(key, safe="").lower(),
    "json": lambda key: json.dumps(key).replace("/", "\\/"),
    "html": html.escape,
}


@pytest.mark.parametrize("esp", ESPS)
@pytest.mark.parametrize("status", [401, 400, 500])
def test_an_echoed_secret_is_nowhere(plain: World, esp: str, status: int, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    mailer, transport, heard = stage(plain, esp)
    echoes = [form(key) for key in keys_of(esp) for form in FORMS.values()]
    transport.always = refused(esp, f"your key is {' or '.join(echoes)}", status)
    results = [mailer.send(message()), mailer.servers.send_test("a", to="me@example.org"), mailer.servers.check("a")]
    transport.always = TransportError(Stage.READ, f"proxy said {' or '.join(echoes)}")
    results += [mailer.servers.send_test("a", to="me@example.org"), mailer.servers.check("a")]
    told = shown(mailer, heard, caplog, *results)
    assert "***" in told
    for echo in echoes:
        assert echo.strip('"') not in told
        assert echo.strip('"').encode() not in stored(plain)


def test_a_secret_at_the_limit_leaks_no_beginning(plain: World) -> None:
    mailer, transport, _ = stage(plain)
    for before in range(960, 1001, 5):
        transport.always = refused("sendgrid", "." * before + KEY + "!" * 3000, 500)
        assert KEY[:5] not in mailer.send(message()).reason


@frozen(kw_only=True)
class Own(SendGrid):
    """A host's own provider, with another secret and what is made of it."""

    name: ClassVar[str] = "own"
    pin: Credential = secret(label="PIN")
    token: Credential = secret(label="Token")

    def derived_secrets(self) -> list[str]:
        return ["derived-from-token"]

    def check(self, now: int) -> Any:
        yield from ()
        problem = CheckProblem(what="pin 4711 of 14711 \x1b[2J", mend="token-of-a-host")
        return CheckReport.of({"token-of-a-host": "derived-from-token", "Number": 5}, [problem])  # type: ignore[dict-item]


def test_a_hosts_own_provider_is_masked_alike(plain: World) -> None:
    transport = Scripted()
    plain.transports.append(transport.inner)
    mailer = plain.mailer(transport=transport, register=[Own])
    provider = Own(api_key=KEY, pin="4711", token="token-of-a-host", base_url=plain.sandbox.url("sendgrid"))
    plain.sandbox.keys("sendgrid", [KEY])
    mailer.servers.add(id="own", name="own", provider=provider, sender="a@example.com")
    mailer.servers.send_test("own", to="me@example.org")
    mailer.servers.activate("own")
    transport.always = refused("sendgrid", "pin 4711 of 14711, Token-Of-A-Host, derived-from-token", 400)
    result = mailer.send(message())
    assert "pin *** of 14711, ***, ***" in result.attempts[-1].reason
    report = mailer.servers.check("own")
    assert report.facts == {"***": "***", "Number": "5"}
    assert report.problems[0].what == "pin *** of 14711 \ufffd[2J"


# -- A4: times ----------------------------------------------------------------------------------------------

TIMES = [
    {"retry_after": "999999999"},
    {"retry_after": "9" * 500},
    {"retry_after": "Fri, 31 Dec 9999 23:59:59 GMT"},
    {"retry_after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": "Mon, 01 Jan 0001 00:00:00 GMT"},
    {"retry_after": "Mon, 01 Jan 0001 00:00:00 GMT"},
    {"retry_after": "Mon, 01 Jan 0001 00:00:00 +2359", "date": "Fri, 31 Dec 9999 23:59:59 -2359"},
    {"retry_after": "0"},
    {"retry_after": "-5"},
    {"x_ratelimit_reset": "99999999999"},
    {"x_ratelimit_reset": "0", "date": "Fri, 31 Dec 9999 23:59:59 GMT"},
]


@pytest.mark.parametrize("esp", ["sendgrid", "mailgun"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("headers", TIMES, ids=range(len(TIMES)))
def test_a_time_from_outside_is_at_most_a_day_away(plain: World, esp: str, status: int, headers: dict[str, str]) -> None:
    mailer, transport, _ = stage(plain, esp)
    transport.always = refused(esp, "wait", status, **headers)
    result = mailer.send(message())
    now = plain.clock.now()
    assert result.status is SendStatus.QUEUED
    for goes_at in (
        result.goes_at,
        *(mail.goes_at for mail in mailer.outbox.list()),
        *(one.goes_at for one in mailer.outbox.lanes()),
    ):
        if goes_at is not None:
            assert now <= goes_at.timestamp() * 1000 <= now + (SECONDS + 1) * 1000
    mailer.outbox.eta(route="default")
    mailer.doctor()


INSTANTS = {"due", "since", "expires", "lease_until", "doubt_at", "at", "blocked_since", "blocked_until", "served_at"}
EXTREMES = (2**63 - 1, 2**62 - 1, 2**62, 10**15, 253402300800000, -1, -(2**63), -62135596800001)


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("state", [0, 2, 3, 4, 5])
def test_any_stored_instant_can_be_shown(plain: World, extreme: int, state: int) -> None:
    mailer, *_ = stage(plain)
    mailer.enqueue([message(1), message(2, send_at=datetime(2026, 12, 1, tzinfo=UTC)), message(3)])
    mailer.close()
    plain.opened.clear()
    with sqlite3.connect(plain.path) as db:
        tables = [name for (name,) in db.execute("select name from sqlite_master where type='table' and name like 'dk_%'")]
        for table in tables:
            columns = {row[1] for row in db.execute(f"pragma table_info({table})")}
            for column in columns & INSTANTS:
                db.execute(f"update {table} set {column}=?", (extreme,))
        db.execute("update dk_mail set state=?", (state,))
        db.execute("update dk_lane set ready=0, in_doubt=0, scheduled=0, dead=0")
        for name, number in (("ready", 0), ("in_doubt", 3), ("scheduled", 4), ("dead", 5)):
            db.execute(f"update dk_lane set {name}=(select count(*) from dk_mail where lane=dk_lane.id and state={number})")
    db.close()
    mailer = plain.mailer()
    mailer.outbox.list()
    mailer.log.list()
    mailer.outbox.lanes()
    mailer.outbox.eta(route="default")
    mailer.outbox.counts()
    mailer.outbox.in_doubt()
    mailer.doctor()


@pytest.mark.parametrize("extreme", EXTREMES)
def test_a_forecast_ends_at_any_stored_instant(plain: World, extreme: int) -> None:
    mailer, *_ = stage(plain)
    mailer.servers.update("a", quota=CalendarQuota(day=1, month=10))
    mailer.enqueue([message(1, send_at=datetime(2026, 12, 1, tzinfo=UTC)), message(2)])
    with sqlite3.connect(plain.path) as db:
        db.execute("update dk_mail set due=? where state=4", (extreme,))
    db.close()
    mailer.outbox.eta(route="default")
    mailer.outbox.lanes()


def test_the_doctor_reads_any_stored_name(plain: World) -> None:
    mailer, *_ = stage(plain)
    mailer.enqueue([message(1)])
    with sqlite3.connect(plain.path) as db:
        db.execute("update dk_lane set route=?, stream=? where ready>0", ("r\x1b[2J\n", "s\x9b"))
    db.close()
    assert mailer.doctor()
    mailer.outbox.list()
    mailer.outbox.lanes()
