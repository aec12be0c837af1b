"""How far a request came, by our own connections: surely not sent exactly where no byte of it was handed over."""

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from pathlib import Path
from typing import Any

import httpcore2
import pytest
import wire_servers as servers
from hypothesis import given, settings
from hypothesis import strategies as st
from test_transports import request, sender, stage_of

from deliverykit.transports.line import Line
from deliverykit.transports.stages import failure
from deliverykit.transports.streams import _PIECE, _Awaited, _Blocking
from deliverykit.words.errors import Stage
from deliverykit.words.wire import HttpRequest


def cut(after: int, answered: int, *, hang: bool) -> servers.Behaviour:
    """Answers so many requests of a connection; of the next it reads so many bytes, then resets or falls silent."""

    def behave(server: servers.Server, connection: socket.socket) -> None:
        for _ in range(answered):
            server.request(connection)
            connection.sendall(servers.ok())
        read = 0
        while read < after and (piece := connection.recv(after - read)):
            read += len(piece)
        if hang:
            server.done.wait(0.05)  # a silence that ends: no time limit of the client's decides here
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave


@pytest.mark.parametrize("kind", ["sync", "async"])
@settings(max_examples=12, deadline=None)
@given(
    after=st.integers(1, 200) | st.integers(200, 90_000), answered=st.integers(0, 2), size=st.sampled_from([2, 70_000, 200_000]),
    hang=st.booleans(),
)  # fmt: skip
def test_what_an_esp_read_a_byte_of_never_counts_as_not_sent(
    kind: str, after: int, answered: int, size: int, hang: bool
) -> None:
    with servers.serving(cut(min(after, size), answered, hang=hang)) as server, sender(kind) as send:
        for _ in range(answered):
            assert send(request(server.url)).status == 202
        assert stage_of(send, request(server.url, b"a" * size)) in {Stage.WRITE, Stage.READ}


def test_bytes_for_a_proxy_are_not_the_request() -> None:
    line: Line[Any] = Line()
    line.call(request("https://api.example.org/send"), ends=0.0)
    line.writes(b"CONNECT api.example.org:443 HTTP/1.1\r\n\r\n")
    line.reads()
    assert line.stage.surely_not_sent
    line.writes(b"POST /send HTTP/1.1\r\n\r\n")
    assert line.stage is Stage.WRITE
    line.reads()
    assert line.stage is Stage.READ


def test_a_proxy_that_says_nothing_has_not_been_given_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serving(servers.hang) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        for times in ({"connect": 0.4}, {"total": 0.4}):
            with sender(kind, **times) as send:
                assert stage_of(send, request("https://api.example.org/send")) is Stage.CONNECT
        assert [head.split()[0] for head in proxy.seen] == [b"CONNECT", b"CONNECT"]


def test_a_tunnel_that_breaks_before_the_esp_was_met_has_not_sent_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(server: servers.Server, connection: socket.socket) -> None:
        server.request(connection)
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        connection.recv(1)

    _, trusting = servers.self_signed(tmp_path)
    with servers.serving(breaks) as proxy, sender(kind, tls=trusting) as send:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        assert stage_of(send, request("https://api.example.org/send")) is Stage.TLS


def test_under_tls_it_is_the_request_that_counts_and_not_the_greeting(kind: str, tmp_path: Path) -> None:
    def hangs(server: servers.Server, connection: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError):
            servers.hang(server, connection)

    ours, theirs = servers.self_signed(tmp_path)
    with servers.serving(hangs, ours) as server, sender(kind, tls=theirs, read=1.0) as send:
        assert stage_of(send, request(server.url)) is Stage.READ
        assert server.requests == 1


def test_a_request_that_cannot_be_written_is_surely_not_sent(kind: str) -> None:
    """Whether the connection is new or another call's request went over it before."""
    with servers.serving(servers.answer(servers.ok())) as server, sender(kind) as send:
        unwritable = HttpRequest(method="PO ST", url=server.url)
        assert stage_of(send, unwritable) is Stage.CONNECT
        assert send(request(server.url)).status == 202
        assert stage_of(send, unwritable) is Stage.POOL
        assert send(request(server.url)).status == 202
        assert server.requests == 2


class Written(httpcore2.NetworkStream, httpcore2.AsyncNetworkStream):  # type: ignore[misc]
    """Remembers what is handed to it."""

    def __init__(self, *, awaited: bool) -> None:
        self.pieces: list[bytes] = []
        self._awaited = awaited

    def write(self, buffer: Any, timeout: float | None = None) -> Any:
        self.pieces.append(bytes(buffer))
        return asyncio.sleep(0) if self._awaited else None

    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        return asyncio.sleep(0, b"HTTP/1.1") if self._awaited else b"HTTP/1.1"


def test_a_small_request_leaves_whole_and_a_large_body_is_not_copied(kind: str) -> None:
    under = Written(awaited=kind == "async")
    line: Line[object] = Line()  # type: ignore[type-var]
    line.call(HttpRequest(url="https://api.example.org/"), time.monotonic() + 60)
    stream: Any = _Awaited(under, line) if kind == "async" else _Blocking(under, line)

    def done(step: Any) -> None:
        if kind == "async":

            async def main() -> None:
                await step

            asyncio.run(main())

    done(stream.write(b"POST / HTTP/1.1\r\n"))
    done(stream.write(b"body"))
    assert under.pieces == []
    done(stream.read(9))
    assert under.pieces == [b"POST / HTTP/1.1\r\nbody"]
    done(stream.write(b"POST / HTTP/1.1\r\n"))
    done(stream.write(b"a" * (_PIECE + 1)))
    assert under.pieces[1] == b"POST / HTTP/1.1\r\n"
    assert b"".join(under.pieces[2:]) == b"a" * (_PIECE + 1)


def test_no_step_has_more_time_than_the_call() -> None:
    line: Line[object] = Line()  # type: ignore[type-var]
    now = time.monotonic()
    line.call(HttpRequest(url="https://api.example.org/"), now + 60, 20)
    assert line.left(None) == 20
    assert line.left(5) == 5
    line.writes(b"POST / HTTP/1.1")
    assert 0.001 <= line.left(None) <= 60  # type: ignore[operator]
    assert line.left(5) == 5
    line.call(HttpRequest(url="https://api.example.org/"), now - 60, 20)
    assert line.left(None) == 0.001


class Untouched(httpcore2.NetworkStream, httpcore2.AsyncNetworkStream):  # type: ignore[misc]
    """Raises at whatever is handed to it."""


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_request_whose_time_is_over_before_its_first_byte_is_surely_not_sent(kind: str, size: int) -> None:
    def blocking() -> None:
        stream = _Blocking(Untouched(), line)
        stream.write(b"POST / HTTP/1.1")
        stream.write(b"a" * size)
        stream.read(9)

    async def awaited() -> None:
        stream = _Awaited(Untouched(), line)
        await stream.write(b"POST / HTTP/1.1")
        await stream.write(b"a" * size)
        await stream.read(9)

    line: Line[object] = Line()  # type: ignore[type-var]
    line.call(HttpRequest(url="https://api.example.org/"), time.monotonic() - 1)
    with pytest.raises(httpcore2.TimeoutException) as late:
        blocking() if kind == "sync" else asyncio.run(awaited())
    assert failure(late.value, line.stage).stage is Stage.POOL


@given(st.binary().filter(lambda data: not data.startswith(b"POST ")), st.sampled_from([Stage.CONNECT, Stage.TLS]))
def test_what_is_said_to_a_proxy_is_not_the_request(said: bytes, stage: Stage) -> None:
    """SOCKS's greeting and password among it, which no library here speaks."""
    line: Line[object] = Line()  # type: ignore[type-var]
    line.call(HttpRequest(url="https://api.example.org/"), 0.0)
    line.stage = stage
    for _ in range(2):
        line.writes(said)
        line.reads()
        assert line.stage is stage
    line.writes(b"POST ")
    assert line.stage is Stage.WRITE
    line.reads()
    assert line.stage is Stage.READ
