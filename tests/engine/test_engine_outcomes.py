"""What each outcome leads to: what the ESP says about our account never touches a recipient, and the other way round."""

import json
from datetime import timedelta

import pytest
from engine_kit import NOON, Held, World, eventually, message, messages, running, used

from deliverykit import CalendarQuota, SendStatus, Status
from deliverykit.engine.admission.admit import Refusal
from deliverykit.engine.admission.decisions import back
from deliverykit.transports import HttpTransport
from deliverykit.words.clock import NEVER
from deliverykit.words.outcomes import NotSent, Rejected, ServerFault, Throttled, Unfit, Unknown

REFUSED = "http://127.0.0.1:1"
"""Nobody listens there: the connection is refused at once."""


def pair(world: World, mailer, word="failover", **limits):
    world.server(mailer, "a", **limits)
    world.server(mailer, "b")
    mailer.routes.add("r", ["a", "b"], when_exhausted=word)


def out_of_reach(mailer, world: World, id="a"):
    """The server's ESP is not there any more; the change of address was proven before."""
    server = mailer.servers.get(id)
    there = mailer.servers.update(id, provider=world.provider(base_url=REFUSED))
    assert not there.active
    import sqlite3

    with sqlite3.connect(world.path) as db:  # no test can be accepted there: prove it in the books
        (data,) = db.execute("select data from dk_document where kind='server' and id=?", (id,)).fetchone()
        data = json.dumps({**json.loads(data), "proven": True})
        db.execute("update dk_document set data=? where kind='server' and id=?", (data, id))
        db.execute("update dk_account set version=version+1")
    db.close()
    assert mailer.servers.activate(id).active
    return server


# -- Rejected, Unfit ----------------------------------------------------------------------------------


def test_one_unverified_from_among_a_thousand(plain):
    mailer = plain.mailer()
    plain.server(mailer, "a", sender=None)
    plain.sandbox.verify_only("sendgrid", ["example.com"])
    mails = messages(999)
    mails.insert(500, message("bad", sender="ann@unverified.example"))
    ids = mailer.enqueue(mails)
    report = mailer.worker().drain()
    assert (report.accepted, report.returned, report.dead) == (999, 1, 0)
    assert plain.sandbox.count() == 999
    assert mailer.servers.get("a").active
    (back,) = mailer.outbox.list()
    assert (back.state, back.attempts, back.goes_at) == ("scheduled", 0, NOON + timedelta(minutes=15))
    plain.clock.advance(timedelta(minutes=15))
    assert mailer.worker().drain().dead == 0  # what is accepted from other domains says nothing about this one
    (dead,) = mailer.outbox.list()
    assert dead.goes_at == NOON + timedelta(minutes=45)
    assert dead.id == ids[500]
    assert "verified Sender Identity" in dead.reason


def test_an_unfit_mail_goes_by_another(world):
    mailer = world.mailer()
    world.server(mailer, "a", sender=None, quota=CalendarQuota(day=5))
    world.server(mailer, "b", "elasticemail", sender=None)
    mailer.routes.add("r", ["a", "b"], when_exhausted="queue")
    world.sandbox.verify_only("sendgrid", ["example.com"])
    mails = [message("bad", sender="ann@other.example"), message("good")]
    result = mailer.send(mails[0], route="r")
    assert type(result.attempts[0].outcome) is Unfit
    assert result.status is SendStatus.ACCEPTED
    (uid, _) = mailer.enqueue(mails, route="r")
    mailer.worker().drain()
    assert [line.outcome for line in mailer.log.get(uid).lines] == ["unfit", "accepted"]
    assert world.sandbox.count("elasticemail") == 2
    assert [mail.to for mail in world.sandbox.received("sendgrid")] == [("ugood@example.org",)]
    assert used(mailer, "a") == {"the server a": 1}  # what it could not carry was given back
    assert mailer.servers.get("a").active


def test_a_forced_sender_that_is_not_verified_is_the_servers_fault(world):
    mailer = world.mailer()
    pair(world, mailer)
    world.sandbox.verify_only("sendgrid", ["b@example.com"])
    result = mailer.send(message(), route="r")
    assert type(result.attempts[0].outcome) is ServerFault
    assert result.status is SendStatus.ACCEPTED
    assert mailer.servers.get("a").status is Status.PAUSED
    assert world.carriers() == ["b"]


def test_a_rejected_mail_is_dead_and_its_unit_comes_back(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=2))
    world.sandbox.recipients_refused("sendgrid", ["u1@example.org"])
    result = mailer.send(message(1))
    assert result.status is SendStatus.REJECTED
    assert isinstance(result.attempts[0].outcome, Rejected)
    assert "valid address" in result.reason
    (uid,) = mailer.enqueue([message(1)])
    mailer.worker().drain()
    assert mailer.outbox.get(uid).state == "dead"
    assert "valid address" in mailer.outbox.get(uid).reason
    assert used(mailer, "a") == {"the server a": 0}
    assert [mailer.send(one).status for one in messages(3)[::2]] == [SendStatus.ACCEPTED] * 2


# -- ServerFault --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "goes"), [("failover", 8), ("queue", 8)])
def test_a_bad_key_in_mid_run(world, word, goes):
    """The server is PAUSED with the reason; a PAUSED server is not in the order, so the next takes over."""
    mailer = world.mailer()
    pair(world, mailer, word, quota=CalendarQuota(day=100))
    mailer.enqueue(messages(4), route="r")
    mailer.worker().drain()
    assert world.carriers() == ["a"] * 4
    world.sandbox.keys("sendgrid", ["SG.b"])
    mailer.enqueue(messages(4), route="r")
    mailer.worker().drain()
    server = mailer.servers.get("a")
    assert (server.status, server.paused_by) == (Status.PAUSED, "engine")
    assert "authorization grant is invalid" in server.reason
    assert world.carriers() == ["a"] * 4 + ["b"] * 4
    assert world.sandbox.count() == goes
    assert used(mailer, "a") == {"the server a": 4}


def test_a_bad_key_alone_waits_without_attempts(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    world.sandbox.fault("sendgrid", "bad_key")
    assert mailer.send(message()).status is SendStatus.QUEUED
    mailer.enqueue(messages(3))
    mailer.worker().drain()
    assert {(mail.state, mail.attempts) for mail in mailer.outbox.list()} == {("ready", 0)}
    mailer.servers.activate("a")
    mailer.worker().drain()
    assert world.sandbox.count() == 4


def test_a_verdict_on_an_older_key_does_not_stop_the_new_one(live):
    held = Held(HttpTransport())
    mailer, other = live.mailer(transport=held), live.mailer()
    live.server(other, "a")
    live.sandbox.fault("sendgrid", "bad_key")
    other.enqueue(messages(1))
    with running(mailer):
        assert held.arrived.wait(90)
        other.servers.update("a", provider=live.provider(key="SG.new"))
        live.sandbox.clear_faults()
        assert other.servers.send_test("a", to="me@example.org").proof
        other.servers.activate("a")
        held.release()
        assert eventually(lambda: "u0@example.org" in live.got())
    held.close()
    assert other.servers.get("a").active


# -- Throttled ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["send", "worker"])
def test_throttled_until_an_instant(world, by):
    mailer = world.mailer()
    world.server(mailer, "a", "elasticemail", quota=CalendarQuota(day=9))
    world.sandbox.fault("elasticemail", "throttle", retry_after=600)
    if by == "send":
        result = mailer.send(message())
        assert (result.status, result.goes_at) == (SendStatus.QUEUED, NOON + timedelta(seconds=600))
        assert isinstance(result.attempts[0].outcome, Throttled)
    else:
        mailer.enqueue(messages(1))
        mailer.worker().drain()
        assert mailer.outbox.list()[0].goes_at == NOON + timedelta(seconds=600)
    assert used(mailer, "a") == {"the server a": 0}
    assert {mail.attempts for mail in mailer.outbox.list()} == {0}
    world.clock.advance(599)
    mailer.worker().drain()
    assert world.sandbox.count() == 0
    world.clock.advance(1.5)
    mailer.worker().drain()  # it leaves by itself
    assert world.sandbox.count() == 1
    assert used(mailer, "a") == {"the server a": 1}
    assert mailer.servers.get("a").active


def test_throttled_without_an_instant_is_probed(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    world.sandbox.fault("sendgrid", "quota", times=2)  # 401 Maximum credits exceeded: no time is named
    mailer.enqueue(messages(5))
    mailer.worker(concurrency=1).drain()
    assert mailer.outbox.list()[0].goes_at == NOON + timedelta(minutes=1)
    world.clock.advance(61)
    mailer.worker().drain()
    assert len(world.sandbox.requests("sendgrid")) == 2  # one probe, not five
    assert timedelta(minutes=6) < mailer.outbox.list()[0].goes_at - NOON < timedelta(minutes=6, seconds=5)
    world.clock.advance(301)
    mailer.worker().drain()
    assert world.sandbox.count() == 5


@pytest.mark.parametrize(("word", "carried"), [("failover", ["b"]), ("queue", [])])
def test_throttled_is_being_out_of_quota(world, word, carried):
    mailer = world.mailer()
    world.server(mailer, "a", "elasticemail")
    world.server(mailer, "b", "mailgun", sender="b@example.com")
    mailer.routes.add("r", ["a", "b"], when_exhausted=word)
    world.sandbox.fault("elasticemail", "throttle", retry_after=60)
    mailer.enqueue(messages(1), route="r")
    mailer.worker().drain()
    assert world.carriers("mailgun") == carried


# -- NotSent ------------------------------------------------------------------------------------------


def test_not_sent_backs_off_and_counts(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=50))
    out_of_reach(mailer, world)
    result = mailer.send(message())
    assert result.status is SendStatus.QUEUED
    assert isinstance(result.attempts[0].outcome, NotSent)
    assert NOON < result.goes_at <= NOON + timedelta(seconds=3)
    (mail,) = mailer.outbox.list()
    assert (mail.state, mail.attempts) == ("scheduled", 1)
    seen = [1]
    for _ in range(40):
        world.clock.advance(3601)
        mailer.worker().drain()
        (mail,) = mailer.outbox.list()
        seen.append(mail.attempts)
        if mail.state == "dead":
            break
    assert seen == list(range(1, 21))
    assert mail.state == "dead"
    assert "gave up after 20 attempts" in mail.reason
    assert used(mailer, "a") == {"the server a": 0}


@pytest.mark.parametrize("by", ["send", "worker"])
def test_not_sent_goes_by_the_next_at_once_under_failover(world, by):
    mailer = world.mailer()
    pair(world, mailer)
    out_of_reach(mailer, world)
    if by == "send":
        result = mailer.send(message(), route="r")
        assert [attempt.server for attempt in result.attempts] == ["a", "b"]
        assert result.status is SendStatus.ACCEPTED
    else:
        mailer.enqueue(messages(3), route="r")
        mailer.worker().drain()
    assert set(world.carriers()) == {"b"}
    assert world.clock.monotonic() == 0


def test_not_sent_waits_for_the_first_under_queue(world):
    mailer = world.mailer()
    pair(world, mailer, "queue")
    out_of_reach(mailer, world)
    assert mailer.send(message(), route="r").status is SendStatus.QUEUED
    mailer.enqueue(messages(1), route="r")
    mailer.worker().drain()
    assert world.sandbox.count() == 0
    assert mailer.outbox.counts()["scheduled"] == 2


def test_not_sent_is_refused_where_the_route_rejects(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.routes.add("r", ["a"], when_exhausted="reject")
    out_of_reach(mailer, world)
    assert mailer.send(message(), route="r").status is SendStatus.REJECTED
    assert sum(mailer.outbox.counts().values()) == 0


@pytest.mark.parametrize("by", ["send", "worker"])
def test_not_sent_does_not_wait_for_another_servers_quota(world, by):
    """a could not be reached for a moment, b has no quota until tomorrow: a is tried again soon."""
    mailer = world.mailer()
    pair(world, mailer)
    mailer.servers.update("b", quota=CalendarQuota(day=1))
    mailer.routes.add("b only", ["b"])
    assert mailer.send(message(9), route="b only")
    world.sandbox.fault("sendgrid", "server_error", status=503)
    if by == "send":
        result = mailer.send(message(), route="r")
        assert result.status is SendStatus.QUEUED
    else:
        mailer.enqueue(messages(1), route="r")
        mailer.worker().drain()
    (mail,) = mailer.outbox.list()
    assert mail.state == "scheduled"
    assert timedelta(seconds=0.9) <= mail.goes_at - NOON <= timedelta(seconds=3)
    world.clock.advance(3601)
    mailer.worker().drain()
    assert world.carriers() == ["b", "a"]


@pytest.mark.parametrize(
    ("room_at", "expected"), [(NEVER, 3_500), (3_501, 3_500), (3_499, 3_499), (1_000, 1_000), (999, 1_000)]
)
def test_next_round_begins_with_the_back_off_or_with_room(room_at, expected):
    assert back(1_000, 2.5, Refusal(room_at, "day quota")) == expected


# -- Unknown ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble", [("hang", {"seconds": 0.05}), ("reset", {}), ("server_error", {"status": 500}), ("garbage", {})]
)
@pytest.mark.parametrize("by", ["send", "worker"])
def test_unknown_is_in_doubt_and_never_sent_again(world, by, trouble):
    kind, options = trouble
    mailer = world.mailer(transport=world.hasty())
    normal = world.mailer()
    pair(world, normal, quota=CalendarQuota(day=9))
    world.sandbox.fault("sendgrid", kind, **options)
    if by == "send":
        result = mailer.send(message(), route="r")
        assert result.status is SendStatus.IN_DOUBT
        assert not result
        assert isinstance(result.attempts[0].outcome, Unknown)
        uid = result.id
    else:
        (uid,) = mailer.enqueue(messages(1), route="r")
        assert mailer.worker().drain().in_doubt == 1
    assert len(world.sandbox.requests("sendgrid")) == 1
    assert used(normal, "a") == {"the server a": 1}
    world.clock.advance(timedelta(days=1, hours=2))
    normal.worker().drain()
    mail = normal.outbox.get(uid)
    assert (mail.state, mail.server, mail.attempts) == ("in_doubt", "a", 1)
    assert mail.reason
    assert len(world.sandbox.requests("sendgrid")) == 1


def test_a_mixed_thousand_is_settled_each_by_its_own(plain):
    """One claim of many: every outcome falls on its own mail."""
    mailer = plain.mailer()
    plain.server(mailer, "a")
    plain.sandbox.recipients_refused("sendgrid", ["u7@example.org", "u77@example.org"])
    plain.sandbox.fault("sendgrid", "server_error", times=None, every=25)
    ids = mailer.enqueue(messages(100))
    report = mailer.worker(concurrency=10).drain()
    assert report.in_doubt in (4, 3)  # a refused mail may be one of the 25th
    assert report.accepted + report.dead + report.in_doubt == 100
    left = {mail.id: mail.state for mail in mailer.outbox.list()}
    assert sorted(left.values()).count("in_doubt") == report.in_doubt
    assert {left.get(ids[7]), left.get(ids[77])} <= {"dead", "in_doubt"}
    assert plain.sandbox.count() == report.accepted


def test_a_refused_submission_has_used_its_slot(plain, sandbox):
    """A pause runs from start to start, whatever came of the first."""
    mailer = plain.mailer()
    plain.server(mailer, "a", pause=timedelta(seconds=2))
    sandbox.fault("sendgrid", "rejected", text="no such mailbox", times=1)
    first = mailer.send(message())
    asked = plain.clock.now()
    second = plain.mailer().send(message(1))  # another process knows only of the slots in the books
    assert (first.status, second.status) == (SendStatus.QUEUED, SendStatus.ACCEPTED)
    assert plain.clock.now() - asked >= 2_000
