"""What stands between our own connections and an ESP: proxies, codings, and what is said out of turn. Both colours."""

import asyncio
import contextlib
import gzip
import socket
import threading
import time
import zlib
from pathlib import Path

import pytest
import wire_servers as servers
from test_transports import request, sender, stage_of

from deliverykit.transports import AsyncHttpTransport, HttpTransport
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.untrusted import ANSWER_LIMIT


def tunnel(server: servers.Server, connection: socket.socket) -> None:
    """A proxy: connects to whom it is told to, and passes on."""
    head = server.request(connection)
    host, _, port = head.split()[1].decode().partition(":")
    with socket.create_connection((host, int(port))) as other:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_pass_on, args=(other, connection), daemon=True)
        back.start()
        _pass_on(connection, other)
        back.join(5)


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := one.recv(65536):
            other.sendall(piece)
        other.shutdown(socket.SHUT_WR)


def test_through_a_tunnel_to_an_esp_under_tls(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = servers.self_signed(tmp_path)
    with servers.serving(servers.answer(servers.ok()), ours) as server, servers.serving(tunnel) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:w%20rd@127.0.0.1:{proxy.port}")
        with sender(kind, tls=theirs) as send:
            for _ in range(3):
                assert send(request(server.url, b"a" * 200_000)).status == 202
        assert (server.requests, server.connections, proxy.connections) == (3, 1, 1)
        assert b"Proxy-Authorization: Basic bWU6dyByZA==" in proxy.seen[0]  # me:w rd
        assert b"secret" not in proxy.seen[0]
        assert b"Proxy-Authorization" not in server.seen[0]


def test_by_a_proxy_without_tls(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serving(servers.answer(servers.ok())) as proxy:
        monkeypatch.setenv("all_proxy", f"127.0.0.1:{proxy.port}")
        with sender(kind) as send:
            assert send(request("http://api.example.org/send")).status == 202
        assert proxy.seen[0].startswith(b"POST http://api.example.org/send HTTP/1.1\r\nHost: api.example.org\r\n")


def test_whom_the_environment_excepts_is_asked_directly(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.serving(servers.answer(servers.ok())) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{servers.refused_port()}")
        with sender(kind) as send:
            assert stage_of(send, request(server.url)) is Stage.CONNECT
        for excepted in ("*", "example.org,127.0.0.1", f"127.0.0.1:{server.port}"):
            monkeypatch.setenv("no_proxy", excepted)
            with sender(kind) as send:
                assert send(request(server.url)).status == 202


def answered(coding: str, body: bytes) -> servers.Behaviour:
    return servers.answer(servers.ok(body, headers=f"Content-Encoding: {coding}\r\n".encode()))


@pytest.mark.parametrize(
    ("coding", "body"), [("gzip", gzip.compress(b"{}")), ("deflate", zlib.compress(b"{}"))], ids=["gzip", "zlib"]
)
def test_an_answer_in_a_coding_that_was_not_asked_for_is_read(kind: str, coding: str, body: bytes) -> None:
    with servers.serving(answered(coding, body)) as server, sender(kind) as send:
        assert send(request(server.url)).json() == {}


@pytest.mark.parametrize(
    ("coding", "body"),
    [("gzip", gzip.compress(b"{}" * 99)[:-9]), ("br", b"{}")],
    ids=["half", "unknown"],
)
def test_an_answer_that_cannot_be_decoded_is_none(kind: str, coding: str, body: bytes) -> None:
    with servers.serving(answered(coding, body)) as server, sender(kind) as send:
        assert stage_of(send, request(server.url)) is Stage.READ


def test_a_compression_bomb_is_read_to_the_limit(kind: str) -> None:
    with servers.serving(answered("gzip", gzip.compress(b"0" * (1 << 24)))) as server, sender(kind) as send:
        response = send(request(server.url))
        assert (len(response.body), response.complete) == (ANSWER_LIMIT, False)


def test_headers_that_come_twice_are_one(kind: str) -> None:
    raw = servers.ok(headers=b"X-Note: one\r\nx-note: two\r\n")
    with servers.serving(servers.answer(raw)) as server, sender(kind) as send:
        assert send(request(server.url)).header("X-Note") == "one, two"


def test_a_refusal_that_comes_before_all_was_written_is_an_answer(kind: str) -> None:
    def refuse(server: servers.Server, connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(servers.ok(b"too large", b"413 Content Too Large"))
        server.done.wait(10)

    with servers.serving(refuse) as server, sender(kind, bytes_per_second=10**9) as send:
        assert send(request(server.url, b"a" * 60_000)).status == 413


def later(server: servers.Server, connection: socket.socket) -> None:
    """Says which request it answers; after a while goes on with the answer to another that nobody has made."""
    while server.request(connection):
        connection.sendall(servers.ok(str(server.requests).encode(), headers=b""))
        time.sleep(0.02)
        connection.sendall(servers.ok(b"another's", headers=b""))
        server.went_on.release()


def test_what_comes_while_nobody_asked_is_no_answer(kind: str) -> None:
    """It would be taken for the answer to the next request: another mail would be called accepted."""

    async def awaited(url: str) -> list[bytes]:
        transport, bodies = AsyncHttpTransport(), []
        for _ in range(3):
            bodies.append((await transport.send(request(url))).body)
            await asyncio.to_thread(server.went_on.acquire, timeout=60)
        await transport.aclose()
        return bodies

    def blocking(url: str) -> list[bytes]:
        transport, bodies = HttpTransport(), []
        for _ in range(3):
            bodies.append(transport.send(request(url)).body)
            server.went_on.acquire(timeout=60)
        transport.close()
        return bodies

    with servers.serving(later) as server:
        found = blocking(server.url) if kind == "sync" else asyncio.run(awaited(server.url))
        assert found == [b"1", b"2", b"3"]


@pytest.mark.parametrize("url", ["", "mail.example.org", "ftp://example.org/", "http:///path"])
def test_an_address_without_a_place_is_none(url: str) -> None:
    with sender("sync") as send, pytest.raises(TransportError) as caught:
        send(request(url))
    assert caught.value.stage is Stage.POOL


def test_a_proxy_that_is_none_is_said_each_time_and_holds_no_place(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has been dialled, so no mail is in doubt by it."""
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:none")
    with sender(kind, connections=1) as send:
        for _ in range(3):
            with pytest.raises(TransportError, match="environment's proxies") as caught:
                send(request("http://api.example.org/send"))
            assert caught.value.stage is Stage.POOL
            assert "secret" not in str(caught.value)
