"""No byte of a request is written once its time to start is over, however long the way to the first byte takes."""

import asyncio
import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wire_servers as servers
from attrs import evolve, frozen
from test_transports import Send, request, sender, stage_of

from deliverykit.transports import AsyncHttpTransport, HttpTransport, Timeouts
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.wire import HttpRequest

KINDS = ["sync", "async", "httpx", "httpx async", "httpx2", "httpx2 async", "httpx in threads"]
PATHS = ["plain", "tls", "proxy", "kept"]
GENEROUS = {"connect": 20.0, "read": 20.0, "total": 40.0}


class Asked:
    """A time to start that is over from the n-th time on that it is asked for."""

    def __init__(self, over_from: float = math.inf) -> None:
        self.over_from = over_from
        self.count = 0

    def __call__(self) -> float:
        self.count += 1
        return 0.0 if self.count > self.over_from else 60.0


class Until:
    """A time to start that is over once ``end`` was called."""

    def __init__(self) -> None:
        self._over = threading.Event()

    def end(self) -> None:
        self._over.set()

    def __call__(self) -> float:
        return 0.0 if self._over.is_set() else 60.0


@frozen
class Way:
    """A server, and a sender whose requests take the way to it that is tested."""

    server: servers.Server
    send: Send


@contextlib.contextmanager
def way(kind: str, path: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    with contextlib.ExitStack() as stack:
        ours, theirs = servers.self_signed(folder) if path in ("tls", "proxy") else (None, None)
        server = stack.enter_context(servers.serving(servers.answer(servers.ok()), ours))
        if path == "proxy":
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{stack.enter_context(servers.serving(servers.proxy())).port}")
        send = stack.enter_context(sender(kind, tls=theirs, **GENEROUS))
        yield Way(server, send)


def started(send: Send, what: HttpRequest) -> Stage | None:
    """``None`` where it was sent, else how far it came."""
    try:
        send(what)
    except TransportError as error:
        return error.stage
    return None


@pytest.mark.parametrize("body", [b"{}", b"a" * 200_000], ids=["small", "large"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_after_the_time_to_start(
    kind: str, path: str, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over at any of the moments at which it is asked for up to the first byte; a request that has begun is finished."""
    with way(kind, path, tmp_path, monkeypatch) as there:
        for moment in range(30):
            if path == "kept":
                assert there.send(request(there.server.url)).status == 202
            before = there.server.requests
            late = evolve(request(there.server.url, body), time_to_start=Asked(moment))
            stage = started(there.send, late)
            assert there.server.requests == before + (stage is None)
            if stage is None:
                break
            assert stage.surely_not_sent
        else:
            pytest.fail("it never started")
        assert moment > 1, "it was not asked at the last moment"


def test_the_last_moment_is_after_tls(kind: str, tmp_path: Path) -> None:
    until = Until()
    ours, theirs = servers.self_signed(tmp_path)
    with (
        servers.serving(servers.answer(servers.ok()), ours, before_tls=until.end) as server,
        sender(kind, tls=theirs, **GENEROUS) as send,
    ):
        assert stage_of(send, evolve(request(server.url), time_to_start=until)).surely_not_sent
        assert (server.connections, server.requests) == (1, 0)


def test_a_proxy_may_be_too_slow_to_start(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    until = Until()
    ours, theirs = servers.self_signed(tmp_path)
    with (
        servers.serving(servers.answer(servers.ok()), ours) as server,
        servers.serving(servers.proxy(before_reply=until.end)) as between,
        sender(kind, tls=theirs, **GENEROUS) as send,
    ):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{between.port}")
        assert stage_of(send, evolve(request(server.url), time_to_start=until)).surely_not_sent
        assert (between.requests, server.requests) == (1, 0)


def slow_names(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """The system's resolver, for which every name is this machine, after ``meanwhile``."""

    def resolver(_host: object, port: object, *_: object, **__: object) -> list[object]:
        meanwhile()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(str(port), 10)))]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)


def test_a_resolver_may_be_too_slow_to_start(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    until = Until()
    with servers.serving(servers.answer(servers.ok())) as server, sender(kind, **GENEROUS) as send:
        slow_names(monkeypatch, until.end)
        url = server.url.replace("127.0.0.1", "esp.test")
        assert stage_of(send, evolve(request(url), time_to_start=until)).surely_not_sent
        assert server.requests == 0


def test_a_hung_resolver_ends_with_the_call(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocking too, where the system's resolver cannot be interrupted."""
    answered = threading.Event()
    slow_names(monkeypatch, lambda: answered.wait(30))
    started = time.monotonic()
    with sender(kind, connect=0.3, total=40.0, read=20.0) as send:
        assert stage_of(send, request("http://esp.test:9/")).surely_not_sent
        took = time.monotonic() - started
        answered.set()
    assert took < 25, "the resolver held the call"


def test_a_connection_that_came_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, closed = threading.Event(), threading.Event()

    def behave(_server: servers.Server, connection: socket.socket) -> None:
        if not connection.recv(1):
            closed.set()

    slow_names(monkeypatch, lambda: answered.wait(30))
    with servers.serving(behave) as server, sender("sync", connect=0.2, total=40.0, read=20.0) as send:
        assert stage_of(send, request(server.url.replace("127.0.0.1", "esp.test"))).surely_not_sent
        answered.set()
        assert closed.wait(20)


def test_waiting_for_a_connection_may_be_too_slow_to_start(kind: str) -> None:
    """The only connection is in use until the time to start is over."""
    until, begun = Until(), threading.Event()

    def behave(server: servers.Server, connection: socket.socket) -> None:
        while server.request(connection):
            begun.set()
            until._over.wait(20)
            connection.sendall(servers.ok())

    with servers.serving(behave) as server:
        late = evolve(request(server.url), time_to_start=until)
        timeouts = Timeouts(**GENEROUS)
        if kind == "sync":
            transport = HttpTransport(timeouts=timeouts, connections=1)
            first = threading.Thread(target=transport.send, args=(request(server.url),))
            first.start()
            assert begun.wait(20)
            ending = threading.Timer(0.05, until.end)
            ending.start()
            assert stage_of(transport.send, late).surely_not_sent
            first.join()
            transport.close()
        else:

            async def both() -> None:
                transport = AsyncHttpTransport(timeouts=timeouts, connections=1)
                first = asyncio.create_task(transport.send(request(server.url)))
                await asyncio.to_thread(begun.wait, 20)
                asyncio.get_running_loop().call_later(0.05, until.end)
                with pytest.raises(TransportError) as caught:
                    await transport.send(late)
                assert caught.value.stage.surely_not_sent
                await first
                await transport.aclose()

            asyncio.run(both())
        assert server.requests == 1


def test_no_step_before_the_request_outlasts_its_time_to_start(kind: str) -> None:
    """A handshake that nobody answers ends with the time to start, not with the time for a connection."""
    with servers.serving(servers.deaf) as server, sender(kind, **GENEROUS) as send:
        url = server.url.replace("http:", "https:")
        end = time.monotonic() + 0.3
        late = HttpRequest(url=url, time_to_start=lambda: end - time.monotonic())
        assert stage_of(send, late).surely_not_sent
        assert time.monotonic() - end < 15, "it went on as long as a connection may take"
