"""Circuits at work: a server that fails is left alone and tried again, by all workers together, and the log says so."""

import logging
from datetime import timedelta

import pytest
from engine_kit import World, message, messages

from deliverykit import By, CalendarQuota, LeastUsed, SendStatus, Status

FAULTS = ["server_error", "unavailable"]


def fault(world: World, kind: str, id: str = "a", times: int | None = None) -> None:
    """``server_error``: 500, in doubt. ``unavailable``: 503."""
    options = {"server_error": {"status": 500}, "unavailable": {"status": 503}}[kind]
    world.sandbox.fault("sendgrid", "server_error", times=times, credential=f"SG.{id}", **options)


def trio(world: World, word: str = "failover", **options):
    mailer = world.mailer(**options)
    for one in "abc":
        world.server(mailer, one)
    mailer.routes.add("r", ["a", "b", "c"], when_exhausted=word)
    return mailer


def tried(results) -> list[str]:
    return ["".join(one.server for one in result.attempts) for result in results]


@pytest.mark.parametrize("kind", FAULTS)
def test_five_faults_in_a_row_open_it_and_the_next_is_the_first_even_under_queue(world, kind):
    mailer = trio(world, "queue")
    fault(world, kind)
    results = [mailer.send(one, route="r") for one in messages(7)]
    assert tried(results) == ["a"] * 5 + ["b"] * 2
    assert [one.status for one in results[5:]] == [SendStatus.ACCEPTED] * 2
    health = mailer.servers.health("a")
    assert (health.circuit, health.faults) == ("open", 5)
    assert health.probe_at - health.opened_at == timedelta(seconds=30)
    assert mailer.servers.health("b").circuit == "closed"
    assert mailer.servers.get("a").active


def test_what_was_not_sent_keeps_its_back_off_and_then_goes_by_the_next(world):
    mailer = trio(world, "queue")
    fault(world, "unavailable")
    results = [mailer.send(one, route="r") for one in messages(5)]
    assert [one.status for one in results] == [SendStatus.QUEUED] * 5
    assert mailer.outbox.counts()["scheduled"] == 5
    world.clock.set(max(one.goes_at for one in results) + timedelta(milliseconds=1))
    mailer.worker().drain()
    assert mailer.servers.health("a").circuit == "open"
    assert world.carriers() == ["b"] * 5


def test_recipients_and_throttling_never_count(world):
    mailer = trio(world, "queue")
    world.sandbox.recipients_refused("sendgrid", [f"u{number}@example.org" for number in range(9)])
    for one in messages(9):
        mailer.send(one, route="r")
    assert mailer.servers.health("a").faults == 0
    for _ in range(7):
        world.sandbox.fault("sendgrid", "throttle", times=1, credential="SG.a", retry_after=1)
        mailer.send(message("ok"), route="r")
        world.clock.advance(3)
    health = mailer.servers.health("a")
    assert (health.circuit, health.faults) == ("closed", 0)


def test_an_accepted_mail_between_ends_the_run(world):
    mailer = trio(world, "queue")
    for _ in range(3):
        fault(world, "server_error", times=4)
        for one in messages(4):
            mailer.send(one, route="r")
        assert mailer.servers.health("a").faults == 4
        assert mailer.send(message(), route="r").attempts[0].server == "a"
        assert mailer.servers.health("a").faults == 0


def test_one_probe_closes_it_or_leaves_it_open_for_longer(world):
    mailer = trio(world)
    fault(world, "unavailable", times=6)
    for one in messages(5):
        mailer.send(one, route="r")
    world.clock.advance(29)
    assert tried([mailer.send(message(), route="r")]) == ["b"]
    world.clock.advance(2)
    assert mailer.servers.health("a").circuit == "half-open"
    assert tried(mailer.send(one, route="r") for one in messages(2)) == ["ab", "b"]  # the sixth fault
    world.clock.advance(45)
    assert tried([mailer.send(message(), route="r")]) == ["b"]
    world.clock.advance(20)
    assert tried(mailer.send(one, route="r") for one in messages(2)) == ["a", "a"]
    assert mailer.servers.health("a").circuit == "closed"


def test_all_workers_and_processes_share_it(world, restarted):
    mailer = trio(world)
    fault(world, "unavailable")
    for number in range(5):
        world.mailer().send(message(number), route="r")
    again = restarted()
    assert again.servers.health("a").circuit == "open"
    again.enqueue(messages(10), route="r")
    again.worker().drain()
    again.worker().drain()
    assert world.carriers() == ["b"] * 15
    world.sandbox.clear_faults()
    world.clock.advance(31)
    again.enqueue(messages(10), route="r")
    again.worker().drain()
    assert world.carriers()[15:].count("a") >= 1
    assert again.servers.health("a").circuit == "closed"
    del mailer


@pytest.mark.parametrize("word", ["queue", "failover"])
def test_with_every_circuit_open_mail_waits_for_the_first_probe(world, word):
    mailer = trio(world, word)
    for one in "abc":
        fault(world, "server_error", one)  # each is in doubt, so none is tried by another
    for _ in range(15):
        mailer.send(message(), route="r")
    assert {mailer.servers.health(one).circuit for one in "abc"} == {"open"}
    probe = min(mailer.servers.health(one).probe_at for one in "abc")
    result = mailer.send(message("last"), route="r")
    assert (result.status, result.goes_at, result.attempts) == (SendStatus.QUEUED, probe, ())
    said = mailer.explain(message("last"), route="r")
    assert (said.server, said.goes_at, said.order) == (None, probe, ())
    assert {view.reason for view in said.servers} == {"its circuit is open, after 5 faults in a row"}
    world.sandbox.clear_faults()
    mailer.enqueue(messages(4), route="r")
    mailer.worker().drain()
    assert world.sandbox.count() == 0
    world.clock.set(probe + timedelta(milliseconds=1))
    mailer.worker().drain()
    assert world.sandbox.count() == 5
    assert mailer.outbox.counts()["ready"] == 0


def test_mail_that_waits_for_a_quota_looks_again_when_a_circuit_opens(world):
    """Under ``queue`` the first's window held it; without the first, the second is the first."""
    mailer = trio(world, "queue")
    mailer.servers.update("a", quota=CalendarQuota(day=6))
    mailer.routes.add("other", ["a"], when_exhausted="queue")
    fault(world, "server_error")
    many = [f"p{number}@example.org" for number in range(2)]
    mailer.enqueue([message(to=many)], route="r")
    for one in messages(4):
        mailer.send(one, route="other")
    mailer.servers.update("a", quota=CalendarQuota(day=5))
    mailer.worker().drain()
    assert mailer.outbox.get(mailer.outbox.list(state="ready")[0].id).goes_at.hour == 0  # blocked until midnight
    mailer.send(message(), route="other")  # the fifth fault: its lane is open again, whoever's worker looks
    assert mailer.outbox.list(state="ready")[0].goes_at is None
    mailer.worker().drain()
    assert world.carriers() == ["b"]


def test_a_test_email_does_not_wait_and_closes_it(world):
    mailer = trio(world)
    fault(world, "unavailable", times=5)
    for one in messages(5):
        mailer.send(one, route="r")
    assert mailer.servers.send_test("a", to="me@example.org").proof
    assert mailer.servers.health("a").circuit == "closed"


def test_activating_it_anew_forgets_it(world):
    mailer = trio(world)
    fault(world, "unavailable", times=5)
    for one in messages(5):
        mailer.send(one, route="r")
    mailer.servers.pause("a")
    mailer.servers.activate("a")
    assert mailer.servers.health("a").faults == 0
    assert tried([mailer.send(message(), route="r")]) == ["a"]


def test_the_log_says_once_that_a_route_runs_on_its_fallback(world, caplog):
    caplog.set_level(logging.INFO, "deliverykit")
    mailer = trio(world)
    mailer.routes.add("last", ["c", "a"])
    mailer.routes.add("alone", ["a"])
    caplog.clear()  # what the host did is told
    fault(world, "unavailable", times=8)  # a worker of five has claimed seven by then
    mailer.enqueue(messages(40), route="r")
    mailer.worker(concurrency=5).drain()
    said = [record.getMessage() for record in caplog.records]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert len([line for line in said if "its circuit is open, after 5 faults in a row (503" in line]) == 1
    assert "route 'r' runs on its fallback: 'the server b', 'the server c'" in said
    assert "route 'last' runs without 'the server a', on 'the server c'" in said
    assert "route 'alone' has no other server that can carry mail: its mail waits" in said
    assert len(said) == 5
    caplog.clear()
    world.clock.advance(31)
    mailer.send(message(), route="r")  # the eighth fault, by the probe: nothing has changed
    assert [record.getMessage() for record in caplog.records] == []
    world.clock.advance(61)
    mailer.send(message(), route="r")
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "server 'the server a': its circuit is closed, it accepts mail again"
    assert "route 'r' has 'the server a' again" in said
    assert len(said) == 5


def test_the_log_says_that_the_engine_paused_a_server(world, caplog):
    mailer = trio(world)
    world.sandbox.fault("sendgrid", "bad_key", times=None, credential="SG.a")
    mailer.enqueue(messages(3), route="r")
    mailer.worker().drain()
    assert mailer.servers.get("a").status is Status.PAUSED
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if "PAUSED by the engine: 401" in line]) == 1
    assert said.count("route 'r' runs on its fallback: 'the server b', 'the server c'") == 1


def test_explain_and_the_fallback(world):
    mailer = trio(world)
    fault(world, "unavailable", times=5)
    for one in messages(5):
        mailer.send(one, route="r")
    said = mailer.explain(message(), route="r")
    assert (said.server, said.fallback_for, said.order) == ("b", "a", ("b", "c"))
    assert [view.verdict for view in said.servers] == ["is passed over", "takes it now", "is passed over"]
    assert said.servers[0].at == mailer.servers.health("a").probe_at
    assert str(said).splitlines()[0] == "route r: the server b would take it now, as the fallback for the server a"


# -- routers at work -------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["send", "worker"])
def test_the_same_domain_goes_by_the_same_server_and_only_a_lost_servers_mail_moves(world, by):
    mailer = trio(world)
    mailer.routes.update("r", strategy=By("domain"))
    domains = [f"d{number}.example" for number in range(24)]

    def carried(turn: int) -> dict[str, str]:
        world.sandbox.clear()
        mails = [message(to=f"u{turn}{number}@{domain}") for number in range(2) for domain in domains]
        if by == "send":
            for one in mails:
                mailer.send(one, route="r")
        else:
            mailer.enqueue(mails, route="r")
            mailer.worker().drain()
        found: dict[str, set[str]] = {}
        for mail in world.sandbox.received("sendgrid"):
            found.setdefault(mail.to[0].partition("@")[2], set()).add(mail.sender.partition("@")[0])
        assert all(len(servers) == 1 for servers in found.values())
        return {domain: servers.pop() for domain, servers in found.items()}

    before = carried(1)
    assert set(before) == set(domains)
    assert set(before.values()) == {"a", "b", "c"}
    mailer.servers.pause("b")
    after = carried(2)
    assert {domain for domain in domains if before[domain] != after[domain]} == {
        domain for domain in domains if before[domain] == "b"
    }
    mailer.servers.activate("b")
    assert carried(3) == before


def test_least_used_goes_by_the_share_that_is_left_whichever_process_sends(world):
    mailer = trio(world)
    mailer.routes.update("r", strategy="least_used")
    for one, quota in zip("abc", (2, 4, 8), strict=True):
        mailer.servers.update(one, quota=CalendarQuota(day=quota))
    assert mailer.routes.get("r").strategy == LeastUsed()
    for number in range(7):
        world.mailer().send(message(number), route="r")
    mailer.enqueue(messages(7), route="r")
    mailer.worker(concurrency=2).drain()
    got = world.carriers()
    assert (got[:7].count("a"), got[:7].count("b"), got[:7].count("c")) == (1, 2, 4)
    assert (got.count("a"), got.count("b"), got.count("c")) == (2, 4, 8)


def test_a_server_too_small_for_a_mail_is_not_in_its_order(world):
    """DESIGN: servers that can never carry the mail are not in the order. Under ``queue`` it would wait for ever."""
    mailer = trio(world, "queue")
    mailer.servers.update("a", quota=CalendarQuota(day=1))
    many = [f"p{number}@example.org" for number in range(3)]
    assert tried([mailer.send(message(to=many), route="r")]) == ["b"]
    mailer.enqueue([message(to=many), message()], route="r")
    mailer.worker().drain()
    assert sorted(world.carriers()) == ["a", "b", "b"]  # the last two fly at once; which of them lands first is chance
