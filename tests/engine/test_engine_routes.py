"""Routes: what happens when the first server has no quota left, who comes next, and who is not in the order."""

from datetime import UTC, datetime, timedelta

import pytest
from engine_kit import THREE_A_DAY, World, message, messages

from deliverykit import ConfigurationError, NotFound, SendStatus, Weighted

MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)


def route(world: World, mailer, word: str, strategy="priority", quota=THREE_A_DAY):
    for one in "ab":
        world.server(mailer, one, quota=quota)
    mailer.routes.add("r", ["a", "b"], when_exhausted=word, strategy=strategy)


@pytest.mark.parametrize(("word", "carried", "waiting"), [("queue", "aaa", 5), ("failover", "aaabbb", 2)])
def test_send_when_the_first_is_exhausted(world, word, carried, waiting):
    mailer = world.mailer()
    route(world, mailer, word)
    results = [mailer.send(one, route="r") for one in messages(8)]
    assert world.carriers() == list(carried)
    assert [bool(one) for one in results] == [True] * 8
    assert [one.status for one in results].count(SendStatus.QUEUED) == waiting
    assert {one.goes_at for one in results if one.status is SendStatus.QUEUED} == {MIDNIGHT}
    assert mailer.outbox.counts(route="r")["ready"] == waiting


def test_send_is_refused_with_the_instant_on_a_route_that_rejects(world):
    mailer = world.mailer()
    route(world, mailer, "reject")
    results = [mailer.send(one, route="r") for one in messages(8)]
    assert world.carriers() == list("aaabbb")
    assert [one.status for one in results[6:]] == [SendStatus.REJECTED] * 2
    assert [one.goes_at for one in results[6:]] == [MIDNIGHT] * 2
    assert not any(results[6:])
    assert "quota" in results[7].reason
    assert sum(mailer.outbox.counts().values()) == 0


@pytest.mark.parametrize(("word", "carried", "waiting"), [("queue", "aaa", 5), ("failover", "aaabbb", 2)])
def test_a_worker_when_the_first_is_exhausted(world, word, carried, waiting):
    mailer = world.mailer()
    route(world, mailer, word)
    mailer.enqueue(messages(8), route="r")
    report = mailer.worker().drain()
    assert sorted(world.carriers()) == sorted(carried)
    assert report.accepted == 8 - waiting
    assert mailer.outbox.counts()["ready"] == waiting
    assert {one.goes_at for one in mailer.outbox.list()} == {MIDNIGHT}
    assert {one.attempts for one in mailer.outbox.list()} == {0}
    world.clock.set(MIDNIGHT + timedelta(seconds=1))
    mailer.worker().drain()
    left = max(0, waiting - (3 if word == "queue" else 6))
    assert mailer.outbox.counts()["ready"] == left
    if word == "queue":
        assert set(world.carriers()) == {"a"}


def test_enqueue_on_a_route_that_rejects_is_a_mistake(world):
    mailer = world.mailer()
    route(world, mailer, "reject")
    with pytest.raises(ConfigurationError, match="rejects what has no quota"):
        mailer.enqueue(messages(1), route="r")
    assert sum(mailer.outbox.counts().values()) == 0


def test_a_route_changed_to_reject_keeps_what_waits(world):
    mailer = world.mailer()
    route(world, mailer, "queue")
    mailer.enqueue(messages(1), route="r")
    mailer.routes.update("r", when_exhausted="reject")
    mailer.worker().drain()
    assert world.carriers() == ["a"]


@pytest.mark.parametrize("by", ["send", "worker"])
@pytest.mark.parametrize(("strategy", "shares"), [("round_robin", (4, 4)), (Weighted({"a": 3}), (6, 2))])
def test_shares(world, by, strategy, shares):
    mailer = world.mailer()
    route(world, mailer, "failover", strategy, quota=None)
    if by == "send":
        for one in messages(8):
            mailer.send(one, route="r")
        assert world.carriers()[:4] == (["a", "b", "a", "b"] if strategy == "round_robin" else ["a", "a", "b", "a"])
    else:
        mailer.enqueue(messages(8), route="r")
        mailer.worker(concurrency=3).drain()  # several claims, so the turn is kept between them
    carried = world.carriers()
    assert (carried.count("a"), carried.count("b")) == shares


def test_paused_servers_are_not_in_the_order(world):
    mailer = world.mailer()
    route(world, mailer, "queue")
    mailer.servers.pause("a")
    assert mailer.send(message(), route="r").status is SendStatus.ACCEPTED
    mailer.enqueue(messages(1), route="r")
    mailer.worker().drain()
    assert world.carriers() == ["b", "b"]
    mailer.servers.pause("b")
    result = mailer.send(message(), route="r")
    assert (result.status, result.goes_at) == (SendStatus.QUEUED, None)
    mailer.servers.activate("a")
    mailer.worker().drain()
    assert world.carriers() == ["b", "b", "a"]


def test_default_is_made_of_the_active_servers(world):
    mailer = world.mailer()
    for one in "abc":
        world.server(mailer, one)
    mailer.servers.pause("a")
    assert mailer.routes.get("default").servers == ("b", "c")
    mailer.send(message())
    mailer.servers.activate("a")
    mailer.send(message())
    mailer.enqueue(messages(1))
    mailer.worker().drain()
    assert world.carriers() == ["b", "a", "a"]
    mailer.routes.add("default", ["c"])
    mailer.send(message())
    assert world.carriers()[-1] == "c"


def test_three_short_lived_processes_rotate(world):
    first = world.mailer()
    route(world, first, "failover", "round_robin", quota=None)
    for number in range(4):
        mailer = world.mailer()
        mailer.send(message(number), route="r")
        getattr(mailer, "close" if world.kind == "blocking" else "aclose")()
    assert world.carriers() == ["a", "b", "a", "b"]
    mailer = world.mailer()
    for _ in range(3):
        mailer.enqueue(messages(1), route="r")
        mailer.worker().drain()
    assert world.carriers()[4:] == ["a", "b", "a"]


def test_a_route_is_repeatable_and_names_what_differs(world):
    mailer = world.mailer()
    route(world, mailer, "queue")
    assert mailer.routes.add("r", ["a", "b"], when_exhausted="queue") == mailer.routes.get("r")
    from deliverykit import AlreadyExists

    with pytest.raises(AlreadyExists) as told:
        mailer.routes.add("r", ["b", "a"], when_exhausted="failover")
    assert set(told.value.fields) == {"servers", "when_exhausted"}
    with pytest.raises(ConfigurationError, match="did you mean 'a"):
        mailer.routes.add("s", ["aa"])


def test_a_route_with_waiting_mail_is_not_lost(world):
    mailer = world.mailer()
    route(world, mailer, "queue", quota=None)
    mailer.routes.add("other", ["b"])
    ids = mailer.enqueue(messages(2), route="r")
    with pytest.raises(ConfigurationError, match="move_to"):
        mailer.routes.remove("r")
    mailer.routes.remove("r", move_to="other")
    mailer.worker().drain()
    assert world.carriers() == ["b", "b"]
    mailer.enqueue(messages(1), route="other")
    mailer.routes.remove("other", cancel=True)
    assert mailer.outbox.counts() == {**dict.fromkeys(mailer.outbox.counts(), 0), "dead": 1}
    assert mailer.outbox.list()[0].reason == "cancelled"
    assert mailer.log.get(ids[0]).lines[-1].outcome == "accepted"


@pytest.mark.parametrize(
    ("given", "because"),
    [
        ({"name": " "}, "name=' ': empty; give the route a name of 1 to 64 characters"),
        ({"name": "x" * 65}, "too long; give at most 64 characters"),
        ({"servers": []}, "servers: empty; a route needs at least one delivery server"),
        ({"servers": ["a", "none"]}, "servers='none'"),
        ({"strategy": "fastest"}, "strategy='fastest': expected 'priority' or"),
        ({"strategy": 5}, "strategy=5: not of the expected type; write 'priority'"),
        ({"when_exhausted": "drop"}, "when_exhausted='drop': expected 'queue'"),
        ({"in_doubt": "ask"}, "in_doubt"),
        ({"first": [3]}, r"first=3: expected text; give the names of streams"),
        ({"max_lateness": timedelta(0)}, "max_lateness=.*too short"),
    ],
)
def test_a_route_that_cannot_be_is_refused_by_name(world, given, because):
    mailer = world.mailer()
    world.server(mailer, "a")
    with pytest.raises((ConfigurationError, NotFound), match=because):
        mailer.routes.add(**{"name": "r", "servers": ["a"], **given})
    assert mailer.routes.list() == ()


def test_what_a_route_that_is_removed_leaves(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    with pytest.raises(ConfigurationError, match="is made up of the ACTIVE servers"):
        mailer.routes.remove("default")
    mailer.routes.add("r", mailer.servers.get("a"))
    with pytest.raises(ConfigurationError, match="move_to: 'r' is the route that is being removed"):
        mailer.routes.remove("r", move_to="r")
    mailer.enqueue([message()], route="r")
    with pytest.raises(ConfigurationError, match="mail waits on route 'r'"):
        mailer.routes.remove("r")
    mailer.routes.remove("r", cancel=True)
    assert mailer.routes.list() == ()
    assert [(mail.state, mail.reason) for mail in mailer.outbox.list()] == [("dead", "cancelled")]
