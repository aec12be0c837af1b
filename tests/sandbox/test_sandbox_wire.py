"""The sandbox on raw sockets: framing, sizes, signatures, and what its own client shows."""

import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx2
import pytest

from deliverykit.contracts.provider import Outgoing
from deliverykit.providers.sendgrid import SendGrid
from deliverykit.sandbox import Sandbox
from deliverykit.words.addresses import address
from deliverykit.words.enclosures import Attachment
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.message import Message
from deliverykit.words.outcomes import Accepted, ServerFault
from deliverykit.words.wire import HttpResponse

BODY = json.dumps(
    {"personalizations": [{"to": [{"email": "a@example.org"}]}], "from": {"email": "n@example.com"}, "subject": "s",
     "content": [{"type": "text/plain", "value": "t"}]}
).encode()  # fmt: skip
HEAD = b"POST /v3/mail/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer SG.x\r\nContent-Type: application/json\r\n"


def connect(sandbox: Sandbox, esp: str = "sendgrid") -> socket.socket:
    where = urlsplit(sandbox.url(esp))
    raw = socket.create_connection((where.hostname, where.port), timeout=60)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw


def answer(raw: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found:
        piece = raw.recv(65536)
        if not piece:
            break
        found += piece
    return found


def test_keep_alive_and_pipelining(sandbox: Sandbox) -> None:
    one = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    with connect(sandbox) as raw:
        raw.sendall(one)
        assert answer(raw).startswith(b"HTTP/1.1 202 ")
        raw.sendall(one + one)
        deadline = time.monotonic() + 60
        while sandbox.count("sendgrid") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert sandbox.count("sendgrid") == 3


def test_chunked_body_in_small_pieces(sandbox: Sandbox) -> None:
    with connect(sandbox) as raw:
        raw.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(BODY), 11):
            piece = BODY[start : start + 11]
            raw.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
        raw.sendall(b"0\r\n\r\n")
        assert answer(raw).startswith(b"HTTP/1.1 202 ")
    assert sandbox.received("sendgrid")[0].raw == BODY


def test_expect_continue(sandbox: Sandbox) -> None:
    with connect(sandbox) as raw:
        raw.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        assert answer(raw).startswith(b"HTTP/1.1 100 ")
        raw.sendall(BODY)
        assert answer(raw).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize("framing", [b"Content-Length: 999999999\r\nExpect: 100-continue", b"Content-Length: 999999999"])
def test_a_body_beyond_the_bound_is_refused_unread(sandbox: Sandbox, framing: bytes) -> None:
    with connect(sandbox) as raw:
        raw.sendall(HEAD + framing + b"\r\n\r\n")
        assert answer(raw).startswith(b"HTTP/1.1 413 ")
    assert [one.status for one in sandbox.requests("sendgrid")] == [413]


def test_an_endless_chunked_body_is_cut_off(sandbox: Sandbox) -> None:
    with connect(sandbox) as raw:
        raw.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"%x\r\n" % (1 << 20) + b" " * (1 << 20) + b"\r\n"
        for _ in range(58):
            raw.sendall(piece)
        assert answer(raw).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("raw_request", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /v3/mail/send HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /v3/mail/send HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"HEAD /v3/scopes HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (HEAD + b"Content-Length: 3\r\n\r\n{{{", b"400"),
        (HEAD + b"Content-Length: 40000\r\n\r\n" + b"[" * 40_000, b"400"),
        (HEAD.replace(b"json", b"xml") + b"Content-Length: 2\r\n\r\n{}", b"415"),
        (b"POST /v3/mail/send HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", b"401"),
    ],
)
def test_odd_requests(sandbox: Sandbox, raw_request: bytes, status: bytes) -> None:
    with connect(sandbox) as raw:
        raw.sendall(raw_request)
        assert answer(raw).split(b" ")[1] == status
    assert raw_request in sandbox.bytes_seen("sendgrid")
    assert sandbox.count() == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reset_is_a_reset_and_not_an_end(sandbox: Sandbox, when: str) -> None:
    sandbox.fault("sendgrid", "reset", when=when)
    with connect(sandbox) as raw:
        raw.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + (BODY if when == "after" else b""))
        with pytest.raises(ConnectionResetError):
            raw.recv(1)
    assert sandbox.count("sendgrid") == (when == "after")


def test_a_client_that_leaves_in_the_middle_sends_nothing(sandbox: Sandbox) -> None:
    with connect(sandbox) as raw:
        raw.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:-1])
    assert httpx2.get(f"{sandbox.url('sendgrid')}/v3/scopes", headers={"Authorization": "Bearer x"}).is_success
    assert (sandbox.count(), sandbox.requests()) == (0, [])


def test_a_large_mail_and_its_limit(sandbox: Sandbox) -> None:
    for size, status in ((25_000_000, 200), (27_000_000, 413), (56_000_000, 413)):
        data = {"from": "n@example.com", "to": "a@example.org", "text": "t"}
        files = {"attachment": ("a.bin", b"\0" * size)}
        url = f"{sandbox.url('mailgun')}/v3/mg.example.com/messages"
        assert httpx2.post(url, data=data, files=files, auth=("api", "k"), timeout=120).status_code == status
    [mail] = sandbox.received("mailgun")
    assert len(mail.attachments[0].content) == 25_000_000


def test_many_connections_at_once(sandbox: Sandbox) -> None:
    def run() -> None:
        one = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
        with connect(sandbox) as raw:
            for _ in range(20):
                raw.sendall(one)
                assert answer(raw).startswith(b"HTTP/1.1 202 ")

    threads = [threading.Thread(target=run) for _ in range(30)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    mails = sandbox.received("sendgrid")
    assert len(mails) == len({mail.provider_message_id for mail in mails}) == sandbox.count() == 600


# -- signatures by hand, from AWS's documentation and not from anybody's code --------------------


def sign(secret: str, method: str, path: str, host: str, body: bytes, **changed: str) -> dict[str, str]:
    """The headers of a request signed by hand; ``changed`` replaces what is signed or sent."""
    sent = changed.get("date", datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"))
    day, region, service = changed.get("day", sent[:8]), changed.get("region", "eu-west-1"), changed.get("service", "ses")
    names = changed.get("names", "content-type;host;x-amz-date")
    values = {"content-type": "application/json", "host": host, "x-amz-date": sent}
    listed = "".join(f"{name}:{values[name]}\n" for name in names.split(";"))
    canonical = f"{method}\n{path}\n\n{listed}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{day}/{region}/{service}/{changed.get('end', 'aws4_request')}"
    text = f"AWS4-HMAC-SHA256\n{sent}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for step in (day, region, service, "aws4_request"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    who = f"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/{scope}, SignedHeaders={names}, Signature={signature}"
    return {"Content-Type": "application/json", "X-Amz-Date": sent, "Authorization": changed.get("authorization", who)}


SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
MAIL = json.dumps(
    {"FromEmailAddress": "n@example.com", "Destination": {"ToAddresses": ["a@example.org"]},
     "Content": {"Simple": {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}}}}
).encode()  # fmt: skip


def ses_post(sandbox: Sandbox, secret: str = SECRET, body: bytes = MAIL, **changed: str) -> httpx2.Response:
    url = sandbox.url("ses")
    headers = sign(secret, "POST", "/v2/email/outbound-emails", urlsplit(url).netloc, MAIL, **changed)
    return httpx2.post(f"{url}/v2/email/outbound-emails", headers=headers, content=body)


def test_a_signature_made_by_hand(sandbox: Sandbox) -> None:
    assert ses_post(sandbox).status_code == 200


@pytest.mark.parametrize(
    ("changed", "code", "text"),
    [
        ({"secret": "wrong"}, "InvalidSignatureException", "does not match the signature you provided"),
        ({"body": MAIL + b" "}, "InvalidSignatureException", "does not match the signature you provided"),
        ({"region": "nowhere"}, "InvalidSignatureException", "valid region"),
        ({"service": "email"}, "InvalidSignatureException", "correct service: 'ses'"),
        ({"day": "20200101"}, "InvalidSignatureException", "Date in Credential scope does not match"),
        ({"date": "20200101T000000Z"}, "InvalidSignatureException", "Signature expired: 20200101T000000Z is now earlier than"),
        ({"end": "aws4"}, "InvalidSignatureException", "valid terminator"),
        ({"names": "content-type;host"}, "InvalidSignatureException", "'x-amz-date' must be a 'SignedHeader'"),
        ({"names": "content-type;x-amz-date"}, "InvalidSignatureException", "'Host' or ':authority' must be"),
        ({"authorization": "AWS4-HMAC-SHA256 nonsense"}, "IncompleteSignatureException", "not a valid"),
        ({"authorization": ""}, "MissingAuthenticationTokenException", "Missing Authentication Token"),
    ],
)
def test_wrong_signatures_are_refused(sandbox: Sandbox, changed: dict[str, str], code: str, text: str) -> None:
    found = ses_post(sandbox, **changed)  # type: ignore[arg-type]
    assert (found.status_code, found.headers["x-amzn-ErrorType"]) == (403, code)
    assert text in found.json()["message"]
    assert found.headers["x-amzn-RequestId"]
    assert sandbox.count() == 0


# -- the client --------------------------------------------------------------------------------


def test_our_own_sendgrid_adapter(sandbox: Sandbox) -> None:
    provider = SendGrid(api_key="SG.ours", base_url=sandbox.url("sendgrid"))
    message = Message(
        to=["Ann <ann@bücher.example>"], bcc="b@example.net", subject="Grüße", text="Hällo", html="<p>x</p>", tags=["spring"],
        metadata={"order": "7"}, attachments=[Attachment(filename="a.png", content=b"\0\1", content_id="logo")],
    )  # fmt: skip
    mail = Outgoing(id="id-9", message=message, sender=address("Exämple <n@example.com>"))

    def send() -> object:
        request = provider.request(mail, sandbox.now())
        found = httpx2.request(request.method, request.url, headers=dict(request.headers), content=request.body)
        response = HttpResponse(status=found.status_code, headers=dict(found.headers), body=found.content)
        return provider.outcome(response, mail, sandbox.now())

    before = sandbox.now()
    outcome = send()
    [seen] = sandbox.received("sendgrid")
    assert outcome == Accepted(seen.provider_message_id)
    assert before <= seen.at <= sandbox.now()
    assert (seen.id, seen.metadata, seen.tags, seen.credential) == ("id-9", {"order": "7"}, ("spring",), "SG.ours")
    assert seen.recipients == ("ann@xn--bcher-kva.example", "b@example.net")
    assert (seen.sender, seen.sender_name, seen.text) == ("n@example.com", "Exämple", "Hällo")
    assert (seen.attachments[0].content, seen.attachments[0].content_id) == (b"\0\1", "logo")
    sandbox.keys("sendgrid", [])
    assert isinstance(send(), ServerFault)
    assert b"SG.ours" in sandbox.bytes_seen()
    assert b"SG.ours" not in sandbox.bytes_seen("ses")


def test_clear_forgets_mail_and_keeps_settings(sandbox: Sandbox) -> None:
    sandbox.keys("ses", {"AKIAIOSFODNN7EXAMPLE": SECRET})
    assert ses_post(sandbox).is_success
    sandbox.clear("sendgrid")
    assert sandbox.count("ses") == 1
    sandbox.clear()
    assert (sandbox.count(), sandbox.received(), sandbox.requests(), sandbox.bytes_seen()) == (0, [], [], b"")
    assert ses_post(sandbox).is_success
    sandbox.keys("ses", [])
    assert ses_post(sandbox).status_code == 403
    sandbox.reset()
    assert ses_post(sandbox).is_success


def test_the_clock(sandbox: Sandbox) -> None:
    assert abs(sandbox.now() - time.time() * 1000) < 1000
    moved = sandbox.move_clock(timedelta(days=-3))
    assert abs(moved - (time.time() - 3 * 86400) * 1000) < 1000
    sandbox.check_clock(False)
    assert ses_post(sandbox).is_success
    assert abs(sandbox.received("ses")[0].at - moved) < 2000


def test_a_long_list_comes_in_pages_and_from_anywhere(sandbox: Sandbox) -> None:
    one = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    with connect(sandbox) as raw:
        for _ in range(1203):
            raw.sendall(one)
            answer(raw)
    ids = [mail.provider_message_id for mail in sandbox.received("sendgrid")]
    assert len(ids) == len(set(ids)) == 1203
    assert [mail.provider_message_id for mail in sandbox.received("sendgrid", start=1200)] == ids[1200:]
    assert len(sandbox.requests("sendgrid", start=3)) == 1200


def test_keep_bounds_what_is_remembered_and_not_what_is_counted() -> None:
    with Sandbox(keep=2) as small:
        for _ in range(5):
            with connect(small) as raw:
                raw.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
                answer(raw)
        assert (small.count(), len(small.received("sendgrid")), len(small.requests("sendgrid"))) == (5, 2, 2)
        with pytest.raises(ConfigurationError, match="keep=2"):
            small.bytes_seen()


def test_a_sandbox_that_does_not_run_says_so() -> None:
    for use in (lambda one: one.url("ses"), lambda one: one.count(), lambda one: one.control_url):
        with pytest.raises(ConfigurationError, match="does not run"):
            use(Sandbox())
    with pytest.raises(ConfigurationError, match="expected 'ses', 'sendgrid'"), Sandbox() as running:
        running.url("postmark")
    with pytest.raises(ConfigurationError, match="does not run"):
        running.count()


def test_another_process_may_attach(sandbox: Sandbox) -> None:
    other = Sandbox.attach(sandbox.control_url)
    assert other.url("mailgun") == sandbox.url("mailgun")
    other.fault("mailgun", "throttle")
    other.stop()
    data = {"from": "n@example.com", "to": "a@example.org", "text": "t"}
    url = f"{sandbox.url('mailgun')}/v3/mg.example.com/messages"
    assert httpx2.post(url, data=data, auth=("api", "k")).status_code == 429


def test_given_secrets_are_verified_and_in_no_command_line() -> None:
    with Sandbox(ses_keys={"AKIAOWN": "own-secret"}) as own:
        pids = [pid for pid in os.listdir("/proc") if pid.isdigit()] if sys.platform == "linux" else []
        lines = []
        for pid in pids:
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    lines.append(file.read())
            except OSError:
                continue
        assert not any(b"own-secret" in line for line in lines if b"deliverykit.sandbox" in line)
        own.keys("ses", ["AKIAOWN"])
        assert ses_post(own).headers["x-amzn-ErrorType"] == "UnrecognizedClientException"


def test_the_command_line_prints_urls_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "deliverykit.sandbox", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = [json.loads(process.stdout.readline()) for _ in range(5)]
        assert [one["name"] for one in found] == ["ses", "sendgrid", "mailgun", "elasticemail", "control"]
        assert Sandbox.attach(found[-1]["url"]).count() == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_it_ends_with_the_process_that_started_it() -> None:
    code = (
        "import sys, time\nfrom deliverykit.sandbox import Sandbox\n"
        "s = Sandbox(); s.start(); print(s.control_url, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        control = process.stdout.readline().strip()
        client = Sandbox.attach(control)
        assert client.count() == 0
        process.kill()
    deadline = time.monotonic() + 60
    with pytest.raises(ConfigurationError, match="no sandbox answers at"):
        while time.monotonic() < deadline:
            client.count()
            time.sleep(0.05)


@pytest.mark.parametrize(
    "use",
    ["from deliverykit.sandbox import Sandbox; Sandbox().start()", "from deliverykit.sandbox.server import main; main([])"],
)
def test_without_h11_it_says_what_to_install(use: str) -> None:
    code = f"import sys; sys.modules['h11'] = None; {use}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "ConfigurationError: the sandbox needs h11; install deliverykit[sandbox]" in found.stderr
    assert found.returncode == 1
