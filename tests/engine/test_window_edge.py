"""No request begins after its grant has ended: what is still connecting then asks again, and no attempt is spent."""

import socket
from datetime import timedelta

import pytest
from engine_kit import NOON, message, messages, used

from deliverykit import CalendarQuota
from deliverykit.contracts.transport import Transport
from deliverykit.transports import HttpTransport
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.results import SendStatus
from deliverykit.words.wire import HttpRequest, HttpResponse

LIMIT = 5


@pytest.fixture
def delays(world, monkeypatch):
    """Seconds that the resolver takes, one for each name it is asked for; after them it takes none."""
    seconds = []

    def resolver(_host, port, *_, **__):
        if seconds:
            world.clock.advance(seconds.pop(0))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return seconds


def near_the_edge(world, **options):
    """A server with so many an hour, ten seconds before the hour ends; no connection is open yet."""
    first = world.mailer()
    url = world.sandbox.url("sendgrid").replace("127.0.0.1", "localhost")
    world.server(first, "s", fields={"base_url": url}, quota=CalendarQuota(hour=LIMIT))
    world.clock.set(NOON.replace(minute=59, second=50))
    return world.mailer(**options)


@pytest.mark.parametrize("before", [0, 2, LIMIT])
def test_a_slow_connection_counts_where_it_begins(world, delays, before):
    mailer = near_the_edge(world)
    mailer.enqueue(messages(before))
    mailer.worker().drain()
    assert world.sandbox.count() == before
    mailer = world.mailer()  # it has no open connection
    mailer.enqueue(messages(3 * LIMIT))
    delays[:] = [15.0]
    mailer.worker().drain()
    within_the_old = min(before, LIMIT)
    assert world.sandbox.count() == within_the_old + (LIMIT if before < LIMIT else 0)
    if before < LIMIT:
        assert used(mailer, "s") == {"the server s": LIMIT}
        assert {one.attempts for one in mailer.outbox.list()} == {0}


def test_a_send_that_connects_into_the_next_hour_uses_its_quota(world, delays):
    mailer = near_the_edge(world)
    delays[:] = [15.0]
    assert mailer.send(message()).status is SendStatus.ACCEPTED
    assert used(mailer, "s") == {"the server s": 1}
    statuses = [mailer.send(one).status for one in messages(LIMIT)]
    assert statuses == [SendStatus.ACCEPTED] * (LIMIT - 1) + [SendStatus.QUEUED]
    assert world.sandbox.count() == LIMIT


@pytest.mark.parametrize("step", [timedelta(seconds=15), timedelta(days=2)])
def test_a_clock_set_forward_while_connecting_ends_the_grant(world, delays, step):
    mailer = near_the_edge(world)
    delays[:] = [step.total_seconds()]
    assert mailer.send(message()).status is SendStatus.ACCEPTED
    assert used(mailer, "s") == {"the server s": 1}, "counted where it began"


def test_a_clock_set_back_while_connecting_does_not_lengthen_a_grant(world, monkeypatch):
    """By the wall clock it is still the old hour when the connection is there; by the time that passed it is not."""

    def resolver(_host, port, *_, **__):
        if back:
            world.clock.advance(15)
            world.clock.set(NOON.replace(minute=59, second=back.pop()))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    back = []
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    mailer = near_the_edge(world)
    back.append(51)
    result = mailer.send(message())
    assert result.status is SendStatus.ACCEPTED
    assert [attempt.reason for attempt in result.attempts] == ["its window ended before it could start", ""]


class Ignores(Transport):
    """A transport that does not look at the time to start, and reports that it could not connect in time."""

    def __init__(self, clock):
        self.inner = HttpTransport()
        self.clock = clock
        self.slow = 0

    def send(self, request: HttpRequest) -> HttpResponse:
        if self.slow:
            self.slow -= 1
            self.clock.advance(15)
            raise TransportError(Stage.CONNECT, "no connection")
        return self.inner.send(request)

    def close(self) -> None:
        self.inner.close()


def test_another_transport_that_could_not_connect_in_time_spends_no_attempt(world):
    transport = Ignores(world.clock)
    mailer = near_the_edge(world, transport=transport)
    transport.slow = 1
    result = mailer.send(message())
    assert result.status is SendStatus.ACCEPTED
    assert used(mailer, "s") == {"the server s": 1}
    transport.close()
