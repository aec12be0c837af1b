"""The asynchronous transport's connections: used again, never more than allowed, closed when nobody needs them."""

import asyncio
import contextlib
import ssl
import time

import pytest
import wire_servers as servers

from deliverykit.transports import origins
from deliverykit.transports.httpx2 import AsyncHttpTransport
from deliverykit.words.wire import HttpRequest


def post(url: str) -> HttpRequest:
    return HttpRequest(method="POST", url=url + "/mail", headers={}, body=b"{}")


def test_as_many_connections_as_are_in_flight_and_no_more_than_allowed() -> None:
    async def main(url: str) -> None:
        transport = AsyncHttpTransport(connections=3)
        for _ in range(4):
            await asyncio.gather(*(transport.send(post(url)) for _ in range(12)))
        await transport.send(post(url))
        await transport.aclose()

    with servers.serving(servers.slow_ok) as server:
        asyncio.run(main(server.url))
        assert (server.requests, server.connections) == (49, 3)


def test_each_origin_has_lines_of_its_own() -> None:
    async def main(*urls: str) -> None:
        transport = AsyncHttpTransport()
        for _ in range(5):
            for url in urls:
                await transport.send(post(url))
        (held,) = transport._own.values()
        assert len(held._idle._by_origin) == len(urls)
        await transport.aclose()

    with servers.serving(servers.answer(servers.ok())) as one, servers.serving(servers.answer(servers.ok())) as other:
        asyncio.run(main(one.url, other.url))
        assert [(server.requests, server.connections) for server in (one, other)] == [(5, 1), (5, 1)]


def test_what_is_idle_for_long_is_closed_and_what_is_in_use_is_not(monkeypatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(origins, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now)}))

    async def main(url: str) -> None:
        nonlocal now
        async with contextlib.aclosing(AsyncHttpTransport()) as transport:
            await asyncio.gather(*(transport.send(post(url)) for _ in range(4)))
            (held,) = transport._own.values()
            assert [len(idle) for idle in held._idle._by_origin.values()] == [4]
            for _ in range(6):  # one after the other: the one that was used last is used again
                now += 10
                await transport.send(post(url))
            assert [len(idle) for idle in held._idle._by_origin.values()] == [1]

    with servers.serving(servers.slow_ok) as server:
        asyncio.run(main(server.url))
        assert (server.requests, server.connections) == (10, 4)


@pytest.mark.parametrize(
    ("given", "port"),
    [
        ("http://proxy.example", 80), ("https://proxy.example", 443), ("proxy.example", 80), ("socks5://proxy.example", 1080),
        ("http://proxy.example:3128", 3128), ("proxy.example:3128", 3128),
    ],
)  # fmt: skip
def test_proxy_without_port_has_that_of_its_scheme(given: str, port: int, monkeypatch) -> None:
    monkeypatch.setenv("https_proxy", given)
    proxy = origins._proxy(origins.address("https://api.example.org/send"), ssl.create_default_context())
    assert proxy is not None
    assert (proxy.url.host, proxy.url.port) == (b"proxy.example", port)
