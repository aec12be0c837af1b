"""Putting the outbox in order: what waits where, cancel, requeue, prune, erase, the brake, one server, lateness."""

import sqlite3
from datetime import datetime, timedelta

import pytest
from attrs import evolve
from engine_kit import DAY, NOON, World, message, messages

from deliverykit import Attachment, CalendarQuota, ConfigurationError, MessageError, Pruned, SendStatus
from deliverykit.contracts.books import MailRow, MailState
from deliverykit.engine.rooms.views import mail_of
from deliverykit.words.clock import NEVER, moment

NOTHING = {"ready": 0, "leased": 0, "sending": 0, "in_doubt": 0, "scheduled": 0, "dead": 0}
HOUR = timedelta(hours=1)


def outcomes(mailer, one_id):
    return [entry.outcome for entry in mailer.log.get(one_id).lines]


def minute(at):
    """Without what a worker's looks take of the clock."""
    return at.replace(second=30, microsecond=0)


def dead(world, mailer, *numbers, **fields):
    """Mails that the ESP refuses, each with words of its own."""
    ids = []
    for number in numbers:
        world.sandbox.fault("sendgrid", "rejected", times=1)
        ids += mailer.enqueue([message(number, **fields)])
        mailer.worker().drain()
        assert mailer.outbox.get(ids[-1]).state == "dead"
    return ids


# -- lanes --------------------------------------------------------------------------------------------------


def test_lanes_say_how_many_since_when_by_what_and_until_when(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(hour=2))
    mailer.routes.add("later", ["a"])
    mailer.enqueue(messages(3, stream="bulk"))
    mailer.enqueue([message(send_at=NOON + timedelta(hours=5))], route="later")
    (fresh, scheduled) = mailer.outbox.lanes()
    assert (fresh.blocked, fresh.blocked_by, fresh.blocked_since, fresh.goes_at) == (False, "", None, None)
    assert (scheduled.route, scheduled.waiting, scheduled.goes_at) == ("later", 1, NOON + timedelta(hours=5))
    mailer.worker().drain()
    world.clock.advance(timedelta(minutes=10))
    mailer.enqueue(messages(2, stream="bulk"))
    mailer.worker().drain()
    (lane,) = mailer.outbox.lanes(route="default")
    assert lane.counts == NOTHING | {"ready": 3}
    assert (lane.route, lane.stream, lane.waiting, lane.blocked) == ("default", "bulk", 3, True)
    assert lane.blocked_by == "hour quota of 'the server a' used up: 2 of 2, resets 2026-11-24 13:00 UTC"
    assert lane.blocked_since == NOON  # the second look let nothing go
    assert lane.goes_at == NOON.replace(hour=13, second=0, minute=0)
    world.clock.advance(HOUR)
    (lane,) = mailer.outbox.lanes(route="default")
    assert (lane.blocked, lane.goes_at) == (False, None)
    mailer.worker().drain()
    (lane,) = mailer.outbox.lanes(route="default")
    assert (lane.waiting, minute(lane.blocked_since)) == (1, NOON + HOUR + timedelta(minutes=10))
    world.clock.advance(HOUR)
    mailer.worker().drain()
    assert mailer.outbox.lanes(route="default") == ()


def test_a_block_of_long_ago_is_not_that_of_todays_mail(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=0))
    mailer.enqueue(messages(1))
    mailer.worker().drain()
    mailer.outbox.cancel(route="default")
    world.clock.advance(3 * DAY)
    mailer.enqueue(messages(1))
    mailer.worker().drain()
    (lane,) = mailer.outbox.lanes()
    assert minute(lane.blocked_since) == NOON + 3 * DAY


# -- filters ------------------------------------------------------------------------------------------------


def test_list_with_filters(world):
    mailer = world.mailer()
    server = world.server(mailer, "a")
    mailer.routes.add("r", ["a"])
    (gone,) = dead(world, mailer, "gone")
    world.clock.advance(HOUR)
    one, two = mailer.enqueue(messages(2, stream="s"))
    (three,) = mailer.enqueue(messages(1), route="r")

    def listed(**filters):
        return [mail.id for mail in mailer.outbox.list(**filters)]

    assert listed() == [gone, one, two, three]
    assert listed(state="dead") == listed(server="a") == listed(server=server) == listed(before=NOON + HOUR) == [gone]
    words = mailer.outbox.get(gone).reason
    assert listed(reason=words[:9].upper()) == [gone]
    assert listed(reason="%") == []
    assert listed(route="r") == [three]
    assert listed(stream="s") == [one, two]
    assert listed(stream="s", since=NOON + HOUR, limit=1) == [one]
    assert listed(ids=[three, one, "none"]) == [one, three]
    assert listed(ids=[]) == []
    assert [mail.since for mail in mailer.outbox.list(ids=[gone, one])] == [NOON, NOON + HOUR]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, "a filter is needed: give ids="),
        ({"route": None}, "a filter is needed"),
        ({"ids": 7}, "ids=7: expected a list"),
        ({"ids": [1]}, "ids"),
        ({"route": 3}, "route=3: expected text"),
        ({"since": "2026-01-01"}, "since=.*expected a datetime"),
        ({"before": datetime(2026, 1, 1)}, "before=.*has no time zone"),  # noqa: DTZ001  that is the fault
    ],
)
def test_a_filter_must_be_given_and_be_what_it_seems(world, filters, names):
    mailer = world.mailer()
    world.server(mailer, "a")
    ids = mailer.enqueue(messages(2))
    for act in (mailer.outbox.cancel, mailer.outbox.requeue):
        with pytest.raises(ConfigurationError, match=names):
            act(**filters)
    assert [mail.state for mail in mailer.outbox.list()] == ["ready", "ready"]
    with pytest.raises(TypeError):
        mailer.outbox.cancel(ids)
    with pytest.raises(TypeError):
        mailer.outbox.cancel(rout="x")


def test_cancelled_mail_does_not_leave_and_its_history_says_so(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.routes.add("r", ["a"])
    now, later = mailer.enqueue([message(0), message(1, send_at=NOON + HOUR)], route="r")
    (kept,) = mailer.enqueue([message(2)])
    assert mailer.outbox.cancel(route="r", ids=[kept]) == 0
    assert mailer.outbox.cancel(route="r") == 2
    assert mailer.outbox.cancel(route="r") == 0
    for one_id in (now, later):
        assert (mailer.outbox.get(one_id).state, mailer.outbox.get(one_id).reason) == ("dead", "cancelled")
        assert [(entry.outcome, entry.detail) for entry in mailer.log.get(one_id).lines] == [("dead", "cancelled")]
    world.clock.advance(2 * HOUR)
    mailer.worker().drain()
    assert world.got() == ["u2@example.org"]
    assert outcomes(mailer, kept) == ["accepted"]


def test_more_than_a_page_is_cancelled_and_requeued(plain: World):
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=0))
    mailer.enqueue(messages(1_203))
    mailer.enqueue(messages(1, stream="other"))
    assert mailer.outbox.cancel(stream="") == 1_203
    assert mailer.outbox.counts()["ready"] == 1
    assert mailer.outbox.requeue(reason="cancelled") == 1_203
    assert mailer.outbox.counts()["dead"] == 0


def test_requeued_mail_is_as_new(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    world.server(mailer, "b")
    first, second, third = dead(world, mailer, 1, 2, 3)
    assert mailer.outbox.requeue(server="b") == 0
    assert mailer.outbox.requeue(ids=[first], reason="no such words") == 0
    assert mailer.outbox.requeue(ids=[first, third], server="a") == 2
    assert [mail.id for mail in mailer.outbox.list(state="ready")] == [first, third]
    assert mailer.outbox.get(first).attempts == 0
    mailer.worker().drain()
    assert outcomes(mailer, first) == ["rejected", "requeued", "accepted"]
    assert [mail.id for mail in mailer.outbox.list()] == [second]


def test_requeued_mail_is_offered_to_every_server_again(world):
    """A server that could not carry it may have been mended since."""
    mailer = world.mailer()
    world.server(mailer, "a", sender=None)
    world.sandbox.verify_only("sendgrid", ["example.com"])
    one_id, again = mailer.enqueue([message(sender="ann@other.example"), message("again", sender="eve@other.example")])
    mailer.worker().drain()
    world.sandbox.verify_only("sendgrid", ["other.example"])
    assert mailer.send(message("good", sender="bob@other.example"))
    world.sandbox.verify_only("sendgrid", ["example.com"])
    world.clock.advance(15 * 60)
    mailer.worker().drain()
    assert (mailer.outbox.get(one_id).state, outcomes(mailer, one_id)) == ("dead", ["unfit", "unfit"])
    assert mailer.outbox.requeue(ids=[one_id, again]) == 2
    world.sandbox.verify_only("sendgrid", ["example.com", "other.example"])
    mailer.worker().drain()
    assert sorted(world.got()) == ["u0@example.org", "uagain@example.org", "ugood@example.org"]


def test_requeued_mail_is_offered_to_a_server_it_was_kept_from(world):
    """a refused it and b has no quota; it was cancelled while it waited for b, and a takes it now."""
    mailer = world.mailer()
    world.server(mailer, "a", sender=None)
    world.server(mailer, "b", "elasticemail", sender=None, quota=CalendarQuota(day=1))
    mailer.routes.add("b only", ["b"])
    mailer.routes.add("r", ["a", "b"], when_exhausted="failover")
    assert mailer.send(message("spent"), route="b only")
    world.sandbox.verify_only("sendgrid", ["example.com"])
    mailer.enqueue([message(sender="ann@other.example")], route="r")
    mailer.worker().drain()
    assert world.got() == ["uspent@example.org"]
    assert mailer.outbox.cancel(route="r") == 1
    world.sandbox.verify_only("sendgrid", ["example.com", "other.example"])
    assert mailer.outbox.requeue(route="r") == 1
    mailer.worker().drain()
    assert world.sandbox.count("sendgrid") == 1


def test_mail_that_has_expired_stays_dead(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    old, new = mailer.enqueue([message(0, expires_at=NOON + HOUR), message(1)])
    mailer.outbox.cancel(route="default")
    world.clock.advance(2 * HOUR)
    assert mailer.outbox.requeue(route="default") == 1
    assert {mail.id: mail.state for mail in mailer.outbox.list()} == {old: "dead", new: "ready"}


def test_mail_of_a_route_that_is_gone_is_not_requeued(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.routes.add("r", ["a"])
    (lost,) = mailer.enqueue(messages(1), route="r")
    mailer.enqueue(messages(1))
    mailer.outbox.cancel(route="default")
    mailer.routes.remove("r", cancel=True)
    with pytest.raises(ConfigurationError, match=f"route 'r' of mail {lost}"):
        mailer.outbox.requeue(reason="cancelled")
    assert mailer.outbox.counts()["dead"] == 2
    assert mailer.outbox.requeue(route="default") == 1
    mailer.routes.add("r", ["a"])
    assert mailer.outbox.requeue(reason="cancelled") == 1
    mailer.worker().drain()
    assert len(world.got()) == 2


def test_no_account_touches_anothers_mail(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.accounts.add("acme", timezone="UTC")
    acme = mailer.account("acme")
    ids = mailer.enqueue(messages(2, to="ann@example.org"))
    assert acme.outbox.cancel(ids=ids) == 0
    assert acme.outbox.lanes() == acme.outbox.list(ids=ids) == ()
    acme.erase("ann@example.org")
    mailer.outbox.cancel(ids=ids)
    world.clock.advance(9 * DAY)
    assert acme.outbox.prune(older_than=DAY).dead == acme.outbox.requeue(ids=ids) == 0
    assert mailer.outbox.counts()["dead"] == 2
    assert len(mailer.log.get(ids[0]).lines) == 1


# -- pruning --------------------------------------------------------------------------------------------------


def test_prune_by_age(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=4))
    (sent,) = mailer.enqueue([message("sent")])
    (keyed,) = mailer.enqueue([message("keyed", idempotency_key="k")])
    mailer.worker().drain()
    (old,) = dead(world, mailer, "old")
    world.clock.advance(DAY * 10)
    (fresh,) = dead(world, mailer, "fresh")
    assert mailer.outbox.prune(older_than=DAY * 11) == Pruned(dead=0, log=0)
    assert mailer.outbox.get(old)
    pruned = mailer.outbox.prune(older_than=DAY * 10 - HOUR)
    assert (pruned.dead, pruned.log) == (1, 1)  # the line of its rejection; how each mail ended stays
    assert outcomes(mailer, old) == ["pruned"]
    assert mailer.log.get(old).lines[0].detail
    assert outcomes(mailer, sent) == outcomes(mailer, keyed) == ["accepted"]
    assert outcomes(mailer, fresh) == ["rejected"]
    assert [mail.id for mail in mailer.outbox.list()] == [fresh]
    for wrong in (3, timedelta(), -DAY):
        with pytest.raises(ConfigurationError, match="older_than"):
            mailer.outbox.prune(older_than=wrong)


def test_prune_keeps_what_may_still_be_asked_for(world):
    """The history of mail that is here yet, and of mail whose key is known yet."""
    mailer = world.mailer()
    world.server(mailer, "a")
    keyed = message("keyed", idempotency_key="k")
    first = mailer.send(keyed)
    bad = message("bad", idempotency_key="b")
    world.sandbox.fault("sendgrid", "rejected", times=1)
    refused = mailer.send(bad)
    (waits,) = dead(world, mailer, "waits")
    mailer.outbox.requeue(ids=[waits])
    mailer.servers.pause("a")
    world.clock.advance(timedelta(hours=23))
    mailer.outbox.prune(older_than=HOUR)
    assert outcomes(mailer, waits) == ["rejected", "requeued"]
    again = mailer.send(keyed)
    assert (again.id, again.status, again.provider_message_id) == (first.id, first.status, first.provider_message_id)
    assert refused.reason
    assert mailer.send(bad).reason == refused.reason  # the ESP's words too, as long as the key is known


# -- the brake --------------------------------------------------------------------------------------------------


def test_pause_all_admits_nothing_until_resume_all(world, restarted):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.routes.add("reject", ["a"], when_exhausted="reject")
    (waits,) = mailer.enqueue(messages(1))
    mailer.pause_all("wrong list")
    mailer.pause_all("wrong list!")
    assert mailer.accounts.get("default").paused == "wrong list!"
    sent = mailer.send(message(1))
    assert (sent.status, sent.reason, sent.goes_at) == (SendStatus.QUEUED, "the account is paused: wrong list!", None)
    assert mailer.send(message(2), route="reject").status is SendStatus.REJECTED
    assert mailer.send(message(2), server="a").status is SendStatus.REJECTED
    assert not mailer.servers.send_test("a", to="me@example.org")
    mailer.worker().drain()
    said = mailer.explain(message())
    assert said.server is None
    assert "the account is paused: wrong list!" in str(said)
    (lane,) = mailer.outbox.lanes()
    assert (lane.waiting, lane.blocked, lane.blocked_by, lane.goes_at) == (2, True, sent.reason, None)
    assert mailer.outbox.get(waits).reason == sent.reason
    assert mailer.servers.get("a").active
    mailer = restarted()
    mailer.enqueue([message(3, priority=9)])
    mailer.servers.update("a", quota=CalendarQuota(day=9))
    mailer.worker().drain()
    assert world.sandbox.count() == 0
    mailer.servers.pause("a")
    mailer.resume_all()
    mailer.resume_all()
    mailer.worker().drain()
    assert world.sandbox.count() == 0
    mailer.servers.activate("a")
    mailer.worker().drain()
    assert world.got() == ["u3@example.org", "u0@example.org", "u1@example.org"]


def test_the_brake_is_one_accounts_and_needs_a_reason(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.accounts.add("acme", timezone="UTC")
    mailer.account("acme").pause_all("theirs")
    assert mailer.send(message()).status is SendStatus.ACCEPTED
    for wrong in ("", " ", None):
        with pytest.raises(ConfigurationError, match="say why"):
            mailer.pause_all(wrong)
    assert mailer.accounts.update("acme", timezone="Asia/Tokyo").paused == "theirs"
    assert mailer.account("acme").pause_all("still") is None
    assert mailer.accounts.get("acme").timezone == "Asia/Tokyo"


def test_a_mailer_that_read_the_configuration_before_obeys_the_brake(world):
    one, other = world.mailer(), world.mailer()
    world.server(one, "a")
    one.send(message())
    other.pause_all("stop")
    assert one.send(message(1)).status is SendStatus.QUEUED
    one.worker().drain()
    assert world.sandbox.count() == 1


def test_a_mail_on_its_second_round_does_not_turn_while_the_brake_is_pulled(world):
    """It waits in its lane; nothing is written over and over."""
    mailer = world.mailer()
    world.server(mailer, "a")
    world.server(mailer, "b", quota=CalendarQuota(day=0))
    world.sandbox.fault("sendgrid", "server_error", status=503, times=1)
    (one_id,) = mailer.enqueue(messages(1))
    mailer.worker().drain(timedelta(milliseconds=1))
    mailer.pause_all("stop")
    for _ in range(3):
        world.clock.advance(2 * HOUR)
        mailer.worker().drain()
        (lane,) = mailer.outbox.lanes()
        assert (lane.counts["ready"], lane.blocked_by) == (1, "the account is paused: stop")
    assert outcomes(mailer, one_id) == ["notsent"]


# -- one server --------------------------------------------------------------------------------------------------


def test_send_through_exactly_one_server(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    b = world.server(mailer, "b", quota=CalendarQuota(day=2))
    for server in ("b", b):
        result = mailer.send(message(), server=server)
        assert (result.status, [one.server for one in result.attempts]) == (SendStatus.ACCEPTED, ["b"])
    assert {mail.sender for mail in world.sandbox.received()} == {"b@example.com"}
    refused = mailer.send(message(), server="b")
    assert (refused.status, refused.attempts, refused.goes_at) == (
        SendStatus.REJECTED, (), (NOON + DAY).replace(hour=0, minute=0, second=0),
    )  # fmt: skip
    assert refused.reason == "day quota of 'the server b' used up: 2 of 2, resets 2026-11-25 00:00 UTC"
    assert mailer.outbox.counts() == NOTHING
    assert mailer.servers.quota("b")[0].used == 2


@pytest.mark.parametrize("fault", ["throttle", "rejected", "bad_key"])
def test_what_that_one_server_refuses_is_refused(world, fault):
    mailer = world.mailer()
    world.server(mailer, "a")
    world.server(mailer, "b")
    world.sandbox.fault("sendgrid", fault, credential="SG.b")
    result = mailer.send(message(), server="b")
    assert (result.status, [one.server for one in result.attempts]) == (SendStatus.REJECTED, ["b"])
    assert mailer.outbox.counts() == NOTHING
    mailer.worker().drain()
    assert world.sandbox.count() == 0


def test_mail_in_doubt_through_one_server_is_held(world):
    mailer = world.mailer(transport=world.hasty()) if world.kind == "blocking" else world.mailer()
    world.server(mailer, "a")
    world.sandbox.fault("sendgrid", "reset", times=1)
    result = mailer.send(message(), server="a")
    assert result.status is SendStatus.IN_DOUBT
    assert mailer.outbox.get(result.id).state == "in_doubt"


def test_that_one_server_must_be_active_and_able(world):
    mailer = world.mailer()
    world.server(mailer, "a", senders=None)
    mailer.routes.add("r", ["a"])
    with pytest.raises(ConfigurationError, match="server='a' or route='r'"):
        mailer.send(message(), server="a", route="r")
    with pytest.raises(MessageError, match="send_at"):
        mailer.send(message(send_at=NOON + HOUR), server="a")
    with pytest.raises(MessageError, match="server 'the server a' can never carry this"):
        mailer.send(message(raw=b"From: a@example.com\r\n\r\nx", subject="", text=None), server="a")
    with pytest.raises(LookupError):
        mailer.send(message(), server="none")
    mailer.servers.pause("a", reason="holiday")
    with pytest.raises(ConfigurationError, match="PAUSED: holiday"):
        mailer.send(message(), server="a")
    assert mailer.outbox.counts() == NOTHING


# -- lateness ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "state"), [(30, None), (31, "dead")])
def test_what_comes_due_too_late_is_dead(world, minutes, state):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.routes.add("r", ["a"], max_lateness=timedelta(minutes=30))
    (one_id,) = mailer.enqueue([message(send_at=NOON + HOUR)], route="r")
    world.clock.advance(HOUR + timedelta(minutes=minutes))
    mailer.worker().drain()
    assert [mail.state for mail in mailer.outbox.list()] == ([state] if state else [])
    assert world.sandbox.count() == (0 if state else 1)
    if state:
        assert [mail.id for mail in mailer.outbox.list(reason="late", state="dead")] == [one_id]
        assert [(one.outcome, one.detail) for one in mailer.log.get(one_id).lines] == [("dead", "late")]
        assert mailer.outbox.requeue(reason="late") == 1
        mailer.worker().drain()
        assert world.sandbox.count() == 1


def test_waiting_for_quota_is_not_lateness(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=0))
    mailer.routes.add("r", ["a"], max_lateness=HOUR)
    mailer.enqueue([message(0, send_at=NOON + HOUR), message(1), message(2, send_at=NOON - DAY)], route="r")
    world.clock.advance(HOUR)
    mailer.worker().drain()
    world.clock.advance(3 * DAY)
    mailer.servers.update("a", quota=None)
    mailer.worker().drain()
    assert sorted(world.got()) == [f"u{number}@example.org" for number in range(3)]


def test_max_lateness_is_a_routes_and_changes_at_once(world, restarted):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.routes.add("r", ["a"], max_lateness=HOUR)
    assert mailer.routes.add("r", ["a"], max_lateness=HOUR).max_lateness == HOUR
    with pytest.raises(ConfigurationError, match="max_lateness"):
        mailer.routes.add("r", ["a"])
    for wrong in (3, timedelta(), -HOUR):
        with pytest.raises(ConfigurationError, match="max_lateness"):
            mailer.routes.update("r", max_lateness=wrong)
    mailer.enqueue([message(send_at=NOON + HOUR)], route="r")
    mailer = restarted()
    assert mailer.routes.get("r").max_lateness == HOUR
    world.clock.advance(3 * DAY)
    assert mailer.routes.update("r", max_lateness=None).max_lateness is None
    mailer.worker().drain()
    assert world.sandbox.count() == 1


# -- erasing -------------------------------------------------------------------------------------------------------

ANN = "Ann.Person@example.org"


def test_erase_removes_a_person_and_leaves_the_others(world, restarted):
    mailer = world.mailer()
    world.server(mailer, "a")
    alone, shared, promoted, free = mailer.enqueue(
        [
            message(to=f"Ann <{ANN}>", text="for Ann"),
            message(to=["bob@example.org", ANN.lower()], cc="carl@example.org", reply_to=ANN, send_at=NOON + HOUR),
            message(to=ANN, cc=["carl@example.org", "dora@example.org"], bcc="eve@example.org"),
            message("free"),
        ]
    )
    world.sandbox.fault("sendgrid", "rejected", times=1)
    refused = mailer.send(message(to=ANN))
    report = mailer.erase("ann.person@Example.org")
    assert (report.removed, report.changed, report.in_flight, report.mentioned) == ((alone,), (shared, promoted), (), ())
    assert [mail.id for mail in mailer.outbox.list()] == [shared, promoted, free]
    for one_id in (alone, shared, promoted):
        assert [(one.outcome, one.detail) for one in mailer.log.get(one_id).lines] == [("erased", "")]
    assert refused.status is SendStatus.REJECTED
    again = mailer.erase(ANN)
    assert (again.removed, again.changed, again.log) == ((), (), 0)
    mailer = restarted()
    world.clock.advance(HOUR)
    mailer.worker().drain()
    got = sorted(sorted((*mail.to, *mail.cc, *mail.bcc)) for mail in world.sandbox.received())
    assert got == [
        ["bob@example.org", "carl@example.org"],
        ["carl@example.org", "dora@example.org", "eve@example.org"],
        ["ufree@example.org"],
    ]
    assert mailer.outbox.counts() == NOTHING


def test_blind_copies_do_not_see_each_other_when_the_only_to_is_erased(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=0))
    hidden = ["b1@example.org", "b2@example.org", "b3@example.org"]
    (one_id,) = mailer.enqueue([message(to=ANN, bcc=hidden, priority=7, attachments=[attachment()])])
    (doomed,) = mailer.enqueue([message(to=ANN, bcc=hidden)])
    mailer.outbox.cancel(ids=[doomed])
    report = mailer.erase(ANN)
    assert (report.changed, report.removed) == ((one_id,), (doomed,))
    others = [mail.id for mail in mailer.outbox.list() if mail.id != one_id]
    assert [outcomes(mailer, one) for one in others] == [["erased"], ["erased"]]
    mailer.servers.update("a", quota=CalendarQuota(day=3))
    mailer.worker().drain()
    received = world.sandbox.received()
    assert sorted(mail.to for mail in received) == [(one,) for one in hidden]
    assert all(not mail.cc and not mail.bcc and mail.attachments for mail in received)
    assert mailer.servers.quota("a")[0].left == 0


def test_erase_says_where_the_address_stays(world):
    mailer = world.mailer()
    world.server(mailer, "a", "mailgun", sender=None)
    raw = f"From: ann@example.com\r\nTo: {ANN}\r\nSubject: x\r\n\r\nx".encode()
    text, mime, none = mailer.enqueue(
        [
            message(text=f"write to {ANN.upper()}"),
            message(to=[ANN, "bob@example.org"], raw=raw, subject="", text=None),
            message(),
        ]
    )
    report = mailer.erase(ANN)
    assert (report.mentioned, report.changed) == ((text, mime), (mime,))
    assert mailer.outbox.get(none).state == "ready"


def test_erase_blanks_what_the_log_says_of_a_person(plain):
    mailer = plain.mailer()
    plain.server(mailer, "a")
    (sent,) = mailer.enqueue([message()])
    mailer.worker().drain()
    (gone, both) = mailer.enqueue([message(to=ANN), message(to=[ANN, "bob@example.org"])])
    books = sqlite3.connect(plain.path)
    books.execute(f"insert into dk_log (at, uid, account, server, outcome, detail, provider_id) values (1, 'x', 'default', 'a',"
                  f" 'rejected', 'no mailbox {ANN.lower()}', 'p')")  # fmt: skip
    books.execute("update dk_mail set state=5, reason=? where uid=?", (f"no mailbox {ANN}", both))
    books.commit()
    report = mailer.erase(ANN)
    assert (report.removed, report.changed, report.log) == ((gone,), (both,), 1)
    assert [(one.detail, one.provider_message_id) for one in mailer.log.get("x").lines] == [("erased", "")]
    assert mailer.log.get(sent).lines[0].provider_message_id
    assert (mailer.outbox.get(both).state, mailer.outbox.get(both).reason) == ("dead", "erased")
    everything = "\n".join(line for line in books.iterdump())
    letters = [row[0] for row in books.execute("select body from dk_letter")]
    books.close()
    assert "ann.person" not in everything.lower()
    assert not any(b"ann.person" in letter.lower() for letter in letters)


def test_erased_mail_in_a_workers_hands(plain):
    """Leased: it is taken away, and the worker does not send it. On the wire: it is named, and not touched."""
    mailer = plain.mailer()
    plain.server(mailer, "a")
    leased, sending = mailer.enqueue([message(to=ANN), message(to=ANN)])
    books = sqlite3.connect(plain.path)
    books.execute("update dk_mail set state=1, token='t', lease_until=? where uid=?", (1 << 60, leased))
    books.execute("update dk_lane set ready=ready-1 where ready>0")  # which a claim does
    books.execute("update dk_mail set state=2, token='t', lease_until=? where uid=?", (1 << 60, sending))
    books.commit()
    books.close()
    report = mailer.erase(ANN)
    assert (report.removed, report.in_flight) == ((leased,), (sending,))
    assert mailer.outbox.get(sending).state == "sending"
    with pytest.raises(MessageError, match="erase"):
        mailer.erase("no address")


def attachment():
    return Attachment(filename="a.txt", content=b"hello", content_type="text/plain")


@pytest.mark.parametrize("state", MailState)
def test_time_of_a_message_is_its_own_or_its_lanes(state):
    row = MailRow(
        uid="m", account="default", route="r", stream="", state=state, server="", reason="", attempts=0, due=2_000,
        expires=NEVER, blocked_until=3_000, blocked_by="day quota", since=1_000, id=1, key="",
    )  # fmt: skip
    goes_at = {MailState.SCHEDULED: moment(2_000), MailState.READY: moment(3_000)}.get(state)
    assert mail_of(row).goes_at == goes_at
    assert mail_of(row).reason == ("day quota" if state is MailState.READY else "")
    assert mail_of(evolve(row, blocked_until=0)).goes_at == (goes_at if state is MailState.SCHEDULED else None)
    assert mail_of(evolve(row, blocked_until=0, reason="expired")).reason == "expired"
