"""Every stage of a call provoked for real, over loopback sockets, for both colours and every client."""

import asyncio
import contextlib
import gzip
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import httpx2
import pytest
import wire_servers as servers
from attrs import evolve

from deliverykit.transports import AsyncHttpTransport, HttpTransport, Timeouts, async_transport_of, transport_of
from deliverykit.words.errors import ConfigurationError, Stage, TransportError
from deliverykit.words.untrusted import ANSWER_LIMIT
from deliverykit.words.wire import HttpRequest, HttpResponse

TIMES = {"connect": 60.0, "read": 60.0, "total": 120.0}
"""Long enough for any machine: a test about a time limit gives a short one, to a server that never answers."""
KINDS = ["sync", "async", "httpx", "httpx async", "httpx2", "httpx2 async", "httpx in threads"]

Send = Callable[[HttpRequest], HttpResponse]


@contextlib.contextmanager
def sender(kind: str, **changes: object) -> Iterator[Send]:
    """A blocking ``send`` over the transport of this kind; clients of the host's are made as a host makes them."""
    given = {**TIMES, **changes}
    timeouts = Timeouts(**{name: given.pop(name) for name in TIMES})  # type: ignore[arg-type]
    options: dict[str, object] = {"timeouts": timeouts, **given}
    tls = options.get("tls")
    hosts: dict[str, object] = {"verify": tls} if tls is not None else {}
    with contextlib.ExitStack() as stack:
        if kind in {"sync", "httpx", "httpx2"}:
            client = None
            if kind != "sync":
                client = stack.enter_context({"httpx": httpx, "httpx2": httpx2}[kind].Client(**hosts))
            sync = HttpTransport(client, **options)  # type: ignore[arg-type]
            stack.callback(sync.close)
            yield sync.send
            return
        runner = stack.enter_context(asyncio.Runner())
        if kind == "httpx in threads":
            inner = HttpTransport(stack.enter_context(httpx.Client(**hosts)), **options)  # type: ignore[arg-type]
            transport = async_transport_of(inner)
        else:
            module = {"httpx async": httpx, "httpx2 async": httpx2}.get(kind)
            made = module.AsyncClient(**hosts) if module else None
            transport = AsyncHttpTransport(made, **options)  # type: ignore[arg-type]
            if made is not None:
                stack.callback(lambda: runner.run(made.aclose()))
        stack.callback(lambda: runner.run(transport.aclose()))
        yield lambda request: runner.run(transport.send(request))


def request(url: str, body: bytes = b"{}") -> HttpRequest:
    return HttpRequest(url=url, headers={"Authorization": "Bearer secret", "Content-Type": "application/json"}, body=body)


def stage_of(send: Send, what: HttpRequest) -> Stage:
    with pytest.raises(TransportError) as caught:
        send(what)
    assert "secret" not in str(caught.value)
    return caught.value.stage


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_answer_is_read_whole_and_the_connection_kept(kind: str) -> None:
    with servers.serving(servers.answer(servers.ok())) as server, sender(kind) as send:
        for _ in range(3):
            response = send(request(server.url))
            assert (response.status, response.header("x-message-id"), response.json()) == (202, "abc", {"id": "1"})
        assert (server.requests, server.connections) == (3, 1)
        assert b"authorization: bearer secret" in server.seen[0].lower()


def test_what_follows_an_answer_is_never_taken_for_the_next_one(kind: str) -> None:
    with servers.serving(servers.talkative) as server, sender(kind) as send:
        assert [send(request(server.url)).body for _ in range(4)] == [b"1", b"2", b"3", b"4"]
        assert server.connections == 4


def test_a_name_that_does_not_resolve(kind: str) -> None:
    with sender(kind) as send:
        assert stage_of(send, request("http://nobody.invalid/v1")) is Stage.RESOLVE


def test_a_refused_connection(kind: str) -> None:
    with sender(kind) as send:
        assert stage_of(send, request(f"http://127.0.0.1:{servers.refused_port()}/")) is Stage.CONNECT


def test_tls_to_a_server_that_speaks_none(kind: str) -> None:
    with servers.serving(servers.at_once(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server, sender(kind) as send:
        assert stage_of(send, request(server.url.replace("http:", "https:"))) is Stage.TLS
        assert server.requests == 0


def test_tls_to_a_server_that_says_nothing(kind: str) -> None:
    with servers.serving(servers.deaf) as server, sender(kind, connect=0.4) as send:
        stage = stage_of(send, request(server.url.replace("http:", "https:")))
        assert stage.surely_not_sent


def test_an_untrusted_certificate_is_refused_and_a_trusted_one_taken(kind: str, tmp_path: Path) -> None:
    ours, theirs = servers.self_signed(tmp_path)
    with servers.serving(servers.answer(servers.ok()), ours) as server:
        with sender(kind) as send:
            assert stage_of(send, request(server.url)) is Stage.TLS
        assert server.requests == 0
        with sender(kind, tls=theirs) as send:
            assert send(request(server.url)).status == 202
        assert server.requests == 1


def test_a_server_that_reads_nothing(kind: str) -> None:
    with servers.serving(servers.deaf) as server, sender(kind, read=0.3, bytes_per_second=10**9) as send:
        assert stage_of(send, request(server.url, b"a" * 30_000_000)) is Stage.WRITE
        assert server.connections == 1


@pytest.mark.parametrize("behaviour", [servers.hang, servers.reset, servers.hang_up], ids=lambda one: one.__name__)
@pytest.mark.parametrize("body", [b"{}", b"a" * 1_000_000], ids=["small", "large"])
def test_a_request_that_went_out_and_got_no_answer(kind: str, behaviour: servers.Behaviour, body: bytes) -> None:
    read = 1.0 if behaviour is servers.hang else 60.0
    with servers.serving(behaviour) as server, sender(kind, read=read, bytes_per_second=10**9) as send:
        assert stage_of(send, request(server.url, body)) is Stage.READ
        assert (server.requests, server.connections) == (1, 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"nothing that HTTP knows\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\ntoo short",
        b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 202 Accepted\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz",
    ],
)
def test_an_answer_that_is_garbage(kind: str, raw: bytes) -> None:
    def behave(server: servers.Server, connection: socket.socket) -> None:
        server.request(connection)
        connection.sendall(raw)

    with servers.serving(behave) as server, sender(kind) as send:
        assert stage_of(send, request(server.url)) is Stage.READ
        assert server.requests == 1


def test_a_long_answer_is_read_to_its_limit(kind: str) -> None:
    with servers.serving(servers.endless) as server, sender(kind) as send:
        response = send(request(server.url))
        assert (len(response.body), response.complete) == (ANSWER_LIMIT, False)
        send(request(server.url))
        assert server.requests == 2
        assert server.connections == 2  # what was not read to its end is not used again


def test_an_answer_of_exactly_the_limit(kind: str) -> None:
    with servers.serving(servers.answer(servers.ok(b"a" * 1000))) as server:
        with sender(kind, max_response=1000) as send:
            response = send(request(server.url))
            assert (len(response.body), response.complete) == (1000, True)
        with sender(kind, max_response=999) as send:
            response = send(request(server.url))
            assert (len(response.body), response.complete) == (999, False)


@pytest.mark.parametrize("size", [999, 1000, 1001])
def test_limit_counts_what_is_unpacked(kind: str, size: int) -> None:
    packed = servers.ok(gzip.compress(b"a" * size), headers=b"Content-Encoding: gzip\r\n")
    with servers.serving(servers.answer(packed)) as server, sender(kind, max_response=1000) as send:
        response = send(request(server.url))
        assert (len(response.body), response.complete) == (min(size, 1000), size <= 1000)


def ends_reading(send: Send, what: HttpRequest, server: servers.Server) -> None:
    """Its time ends while the answer is read; on a machine so busy that the request had not left by then, before that."""
    stage = stage_of(send, what)
    assert stage is Stage.READ if server.requests else stage in (Stage.CONNECT, Stage.WRITE)


def test_an_answer_that_drips(kind: str) -> None:
    with servers.serving(servers.drip_body) as server, sender(kind, total=1.0) as send:
        ends_reading(send, request(server.url), server)
        assert server.requests <= 1


@pytest.mark.parametrize("kind", ["sync", "async", "httpx2 async"])
def test_a_head_that_drips(kind: str) -> None:
    """Here the blocking client has no time of its own: without the guard it would hold the thread for ever."""
    with servers.serving(servers.drip_head) as server, sender(kind, total=1.0) as send:
        ends_reading(send, request(server.url), server)


@pytest.mark.parametrize("kind", ["sync", "async", "httpx2 async"])
def test_a_request_may_have_less_time_than_the_whole(kind: str) -> None:
    with servers.serving(servers.drip_body) as server, sender(kind) as send:
        started = time.monotonic()
        ends_reading(send, evolve(request(server.url), within=1.0), server)
        assert time.monotonic() - started < 100  # the total is 120


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_large_body_gets_more_time(kind: str) -> None:
    with servers.serving(servers.slow_ok) as server:
        with sender(kind, total=0.05) as send:
            stage_of(send, request(server.url))  # it answers after 100 ms at the least
        with sender(kind, total=0.05, bytes_per_second=10) as send:
            assert send(request(server.url, b"a" * 600)).status == 202  # a minute more


def test_a_redirect_is_an_answer(kind: str) -> None:
    with servers.serving(servers.answer(servers.ok())) as elsewhere:
        raw = servers.ok(b"", b"307 Temporary Redirect", b"Location: %s\r\n" % elsewhere.url.encode())
        with servers.serving(servers.answer(raw)) as server, sender(kind) as send:
            assert send(request(server.url)).status == 307
            assert (server.requests, elsewhere.requests) == (1, 0)


def test_a_kept_connection_that_dies_under_the_second_request(kind: str) -> None:
    with servers.serving(servers.stale) as server, sender(kind) as send:
        assert send(request(server.url)).status == 202
        assert stage_of(send, request(server.url)) is Stage.READ
        assert (server.requests, server.connections) == (2, 1)


def test_a_kept_connection_that_the_server_closed_before_is_not_used() -> None:
    def once(server: servers.Server, connection: socket.socket) -> None:
        server.request(connection)
        connection.sendall(servers.ok())

    for kind in ("sync", "async"):
        with servers.serving(once) as server, sender(kind) as send:
            for _ in range(3):
                assert send(request(server.url)).status == 202
                server._threads[-1].join(60)  # it has closed the connection
            assert (server.requests, server.connections) == (3, 3)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_no_free_connection_is_surely_not_sent(kind: str) -> None:
    with servers.serving(servers.hang) as server:
        if kind == "sync":
            transport = HttpTransport(timeouts=Timeouts(connect=0.5, read=4.0), connections=1)
            with ThreadPoolExecutor(2) as threads:
                results = [threads.submit(transport.send, request(server.url)) for _ in range(2)]
                errors = [one.exception() for one in results]
            transport.close()
        else:

            async def both() -> list[BaseException | None]:
                transport = AsyncHttpTransport(timeouts=Timeouts(connect=0.5, read=4.0), connections=1)
                calls = [transport.send(request(server.url)) for _ in range(2)]
                results = await asyncio.gather(*calls, return_exceptions=True)
                await transport.aclose()
                return [one if isinstance(one, BaseException) else None for one in results]

            errors = asyncio.run(both())
        assert sorted(one.stage for one in errors if isinstance(one, TransportError)) == [Stage.POOL, Stage.READ]
        assert server.requests == 1


def test_a_whole_time_that_ends_while_waiting_for_a_connection_is_surely_not_sent() -> None:
    async def both(url: str) -> list[BaseException | HttpResponse]:
        transport = AsyncHttpTransport(timeouts=Timeouts(connect=60, read=60, total=1.0), connections=1)
        calls = [transport.send(request(url, body)) for body in (b"a" * 300_000, b"a")]  # the first has three seconds more
        results = await asyncio.gather(*calls, return_exceptions=True)
        await transport.aclose()
        return list(results)

    with servers.serving(servers.hang) as server:
        errors = asyncio.run(both(server.url))
        assert sorted(one.stage for one in errors if isinstance(one, TransportError)) == [Stage.POOL, Stage.READ]


def test_a_hundred_at_once_awaited() -> None:
    async def hundred(url: str) -> set[int]:
        transport = AsyncHttpTransport()
        found = await asyncio.gather(*(transport.send(request(url)) for _ in range(100)))
        await transport.aclose()
        return {one.status for one in found}

    with servers.serving(servers.slow_ok) as server:
        assert asyncio.run(hundred(server.url)) == {202}
        assert server.requests == 100


def test_a_hundred_at_once_in_threads() -> None:
    transport = HttpTransport()
    with servers.serving(servers.slow_ok) as server, ThreadPoolExecutor(100) as threads:
        found = list(threads.map(transport.send, [request(server.url)] * 100))
        transport.close()
        assert {one.status for one in found} == {202}
        assert server.requests == 100


def test_cancelling_passes_through() -> None:
    async def cancelled(url: str) -> bool:
        transport = AsyncHttpTransport()
        task = asyncio.create_task(transport.send(request(url)))
        while not server.requests:  # noqa: ASYNC110 - the server is a thread
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await transport.aclose()
        return task.cancelled()

    with servers.serving(servers.hang) as server:
        assert asyncio.run(cancelled(server.url))
        assert server.requests == 1


def test_one_transport_in_loops_one_after_the_other() -> None:
    transport = AsyncHttpTransport()

    async def one(url: str) -> int:
        status = (await transport.send(request(url))).status
        await transport.aclose()
        return status

    with servers.serving(servers.answer(servers.ok())) as server:
        assert [asyncio.run(one(server.url)) for _ in range(2)] == [202, 202]


# -- what stands between: proxies, hooks, a host's own things ------------------------------------------


@pytest.mark.parametrize("kind", ["sync", "async", "httpx", "httpx async"])
def test_a_proxy_that_refuses_the_tunnel_has_not_sent_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = servers.ok(b"no", b"403 Forbidden")
    with servers.serving(servers.answer(refusal)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with sender(kind) as send:
            assert stage_of(send, request("https://api.example.org/send")) is Stage.CONNECT
        assert proxy.seen[0].startswith(b"CONNECT api.example.org:443")
        assert b"secret" not in proxy.seen[0]


@pytest.mark.parametrize("module", [httpx, httpx2])
def test_the_hosts_client_adds_nothing_of_its_own(module: object) -> None:
    """No auth, cookie, parameter or default header of it, whatever it was made with; and it stays open."""
    with servers.serving(servers.answer(servers.ok())) as server:
        with module.Client(  # type: ignore[attr-defined]
            auth=("someone", "else"),
            cookies={"a": "b"},
            params={"c": "d"},
            headers={"X-Mine": "1"},
            follow_redirects=True,
            base_url="http://other.invalid",
        ) as client:
            transport = transport_of(client)
            assert transport.send(request(server.url)).status == 202
            transport.close()
            assert not client.is_closed
        head = server.seen[0].lower()
        assert b"bearer secret" in head
        assert not any(word in head for word in (b"cookie", b"x-mine", b"c=d", b"basic"))
        assert b"user-agent: deliverykit/" in head


@pytest.mark.parametrize("module", [httpx, httpx2])
def test_a_digest_client_submits_once(module: object) -> None:
    raw = servers.ok(b"", b"401 Unauthorized", b'WWW-Authenticate: Digest realm="a", nonce="b", qop="auth"\r\n')
    with (
        servers.serving(servers.answer(raw)) as server,
        module.Client(auth=module.DigestAuth("a", "b")) as client,  # type: ignore[attr-defined]
    ):
        assert transport_of(client).send(request(server.url)).status == 401
        assert server.requests == 1


@pytest.mark.parametrize("module", [httpx, httpx2])
def test_a_hook_that_raises_for_status_does_not_lose_the_answer(module: object) -> None:
    def read_and_raise(response: httpx.Response) -> None:
        response.read()
        response.raise_for_status()

    raw = servers.ok(b'{"errors": []}', b"400 Bad Request")
    with servers.serving(servers.answer(raw)) as server:
        with module.Client(event_hooks={"response": [read_and_raise]}) as client:  # type: ignore[attr-defined]
            response = transport_of(client).send(request(server.url))
            assert (response.status, response.json()) == (400, {"errors": []})
        with module.Client(event_hooks={"response": [lambda one: one.raise_for_status()]}) as client:  # type: ignore[attr-defined]
            assert stage_of(transport_of(client).send, request(server.url)) is Stage.READ


@pytest.mark.parametrize("module", [httpx, httpx2])
def test_a_hosts_transport_that_sends_again_never_counts_as_not_sent(module: object) -> None:
    """First attempt written and lost, second refused: the last exception alone would say *surely not sent*."""

    class Again(module.HTTPTransport):  # type: ignore[name-defined, misc]
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            try:
                return super().handle_request(request)  # type: ignore[no-any-return]
            except module.TransportError:  # type: ignore[attr-defined]
                server.close()
                return super().handle_request(request)  # type: ignore[no-any-return]

    with servers.serving(servers.hang_up) as server, module.Client(transport=Again()) as client:  # type: ignore[attr-defined]
        assert stage_of(transport_of(client).send, request(server.url)) is Stage.READ


@pytest.mark.parametrize("module", [httpx, httpx2])
@pytest.mark.parametrize(
    ("name", "stage"),
    [("KeyError", Stage.READ), ("OSError", Stage.READ), ("ReadError", Stage.READ), ("WriteError", Stage.WRITE),
     ("ConnectError", Stage.CONNECT), ("PoolTimeout", Stage.POOL), ("RemoteProtocolError", Stage.READ)],
)  # fmt: skip
def test_a_hosts_transport_that_tells_no_steps_is_judged_by_what_it_raises(module: object, name: str, stage: Stage) -> None:
    def handler(_: object) -> object:
        if name == "KeyError":
            raise KeyError("secret")
        raise OSError("broken") if name == "OSError" else getattr(module, name)("broken")

    with module.Client(transport=module.MockTransport(handler)) as client:  # type: ignore[attr-defined]
        assert stage_of(transport_of(client).send, request("https://api.example.org/")) is stage


def test_a_hosts_own_times_hold_and_the_librarys_default_does_not() -> None:
    with servers.serving(servers.slow_ok) as server:
        with httpx2.Client(timeout=0.02) as client:
            assert stage_of(HttpTransport(client, timeouts=Timeouts(read=5)).send, request(server.url)) is Stage.READ
        with httpx2.Client() as client:
            assert stage_of(HttpTransport(client, timeouts=Timeouts(read=0.02)).send, request(server.url)) is Stage.READ


class Own:
    def send(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=200 if threading.current_thread() is threading.main_thread() else 299)

    def close(self) -> None:
        pass


class AsyncOwn:
    async def send(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=200)

    async def aclose(self) -> None:
        pass


def test_what_a_host_may_hand_in() -> None:
    own, async_own = Own(), AsyncOwn()
    assert isinstance(transport_of(), HttpTransport)
    assert isinstance(async_transport_of(), AsyncHttpTransport)
    assert transport_of(own) is own
    assert async_transport_of(async_own) is async_own
    with pytest.raises(ConfigurationError, match="asynchronous and this side blocks"):
        transport_of(async_own)
    with pytest.raises(ConfigurationError, match=r"give an httpx2\.Client"):
        transport_of(httpx2.AsyncClient())
    for wrong in (object(), "http://x", httpx2.Client, 7):
        with pytest.raises(ConfigurationError, match="transport: "):
            transport_of(wrong)

    async def threaded() -> int:
        transport = async_transport_of(own)
        status = (await transport.send(request("http://x/"))).status
        await transport.aclose()
        return status

    assert asyncio.run(threaded()) == 299


def test_a_session_of_requests_is_named() -> None:
    requests = pytest.importorskip("requests")
    with pytest.raises(ConfigurationError, match="requests Session"):
        transport_of(requests.Session())


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), timedelta(), True, "5", None])
@pytest.mark.parametrize("name", ["connect", "read", "total"])
def test_timeouts_must_be_above_zero(name: str, wrong: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}="):
        Timeouts(**{name: wrong})  # type: ignore[arg-type]


def test_timeouts_take_seconds_and_timedeltas() -> None:
    assert Timeouts(total=timedelta(seconds=2.5), read=1) == Timeouts(total=2.5, read=timedelta(seconds=1))
    for wrong in ({"timeouts": 5}, {"bytes_per_second": 0}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            HttpTransport(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["https://exa mple/", "ftp://example.org/", "https://", "http://[::1", "https://example.org:99999/"]
)
def test_an_address_that_is_none_is_surely_not_sent_or_refused(url: str) -> None:
    for kind in ("sync", "async"):
        with sender(kind) as send:
            try:
                what = request(url)
            except ConfigurationError:
                continue
            assert stage_of(send, what).surely_not_sent


def test_after_a_fork_the_child_opens_its_own_connections() -> None:
    code = """
import os, sys, warnings
from deliverykit.transports import HttpTransport
from deliverykit.words.wire import HttpRequest
transport = HttpTransport()
def go(): return transport.send(HttpRequest(url=sys.argv[1], body=b"x")).status
assert go() == 202
child = os.fork()
if child == 0:
    os._exit(0 if go() == 202 and go() == 202 else 1)
assert os.waitpid(child, 0)[1] == 0
assert go() == 202
transport.close()
"""
    with servers.serving(servers.answer(servers.ok())) as server:
        subprocess.run([sys.executable, "-c", code, server.url], check=True, timeout=60)
        assert (server.requests, server.connections) == (4, 2)


def test_importing_the_transports_imports_no_client() -> None:
    code = (
        "import sys, deliverykit, deliverykit.transports; sys.exit(bool({'httpx', 'httpx2', 'httpcore2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_tls_is_verified_by_default() -> None:
    transport = HttpTransport()
    context = transport._lines()._opening._tls
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    transport.close()


def test_a_program_that_left_our_metadata_behind_sends_all_the_same() -> None:
    """As one that was frozen into one file does: no version is no reason to refuse every mail."""
    script = (
        "import importlib.metadata as metadata, sys\n"
        "found = metadata.MetadataPathFinder.find_distributions\n"
        "metadata.MetadataPathFinder.find_distributions = staticmethod(\n"
        "    lambda context=None, **given: iter(()) if context and context.name == 'deliverykit' else found(context, **given))\n"
        "from deliverykit.transports import HttpTransport\nfrom deliverykit.words.wire import HttpRequest\n"
        "transport = HttpTransport()\n"
        "print(transport.send(HttpRequest(method='POST', url=sys.argv[1], headers={}, body=b'{}')).status)\n"
        "transport.close()\n"
    )
    with servers.serving(servers.answer(servers.ok())) as server:
        ran = subprocess.run([sys.executable, "-c", script, server.url], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "202\n"), ran.stderr
