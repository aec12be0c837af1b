"""Mail of unknown fate: held, or sent again after a rest; listed with what is known, and settled by the host's word."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from engine_kit import ESPS, NOON, World, claimed, message, messages, used

from deliverykit import (
    AlreadyExists,
    CalendarQuota,
    ConfigurationError,
    Doubt,
    InDoubt,
    MessageError,
    SendStatus,
)
from deliverykit.contracts.books import Gone
from deliverykit.contracts.storage import Step

REST = 60
"""Seconds: a lease."""
FAULTS = {
    "hang": {"seconds": 0.05},
    "reset": {},
    "server_error": {"status": 502},
}


def hasty(world: World, id="a", esp="sendgrid", **values):
    """A Mailer that does not wait long for an answer, and an ACTIVE server on the default route."""
    mailer = world.mailer(transport=world.hasty())
    world.server(mailer, id, esp, **values)
    return mailer


def drained(world: World, mailer, seconds: float = 0):
    world.clock.advance(seconds)
    return mailer.worker().drain()


def doubtful(world: World, mailer, count=1, route="default", fault="server_error", **fields):
    """So many mails whose fate nobody knows; their ids."""
    world.sandbox.fault("sendgrid", fault, times=count, **FAULTS[fault])
    ids = mailer.enqueue(messages(count, **fields), route=route)
    mailer.worker().drain()
    return ids


# -- sent again ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("esp", ESPS)
def test_unknown_is_sent_again_after_a_rest(plain, esp, fault):
    mailer = hasty(plain, esp=esp, quota=CalendarQuota(day=9))
    plain.sandbox.fault(esp, fault, **FAULTS[fault])
    (uid,) = mailer.enqueue([message(in_doubt="resend")])
    assert mailer.worker().drain().returned == 1
    mail = mailer.outbox.get(uid)
    assert (mail.state, mail.attempts, mail.goes_at) == ("scheduled", 1, NOON + timedelta(seconds=REST))
    assert drained(plain, mailer, REST - 1).accepted == 0
    assert len(plain.sandbox.requests(esp)) == 1
    assert drained(plain, mailer, 1).accepted == 1
    assert len(plain.sandbox.requests(esp)) == 2
    assert used(mailer, "a") == {"the server a": 2}  # the doubtful attempt stays spent
    assert [line.outcome for line in mailer.log.get(uid).lines] == ["unknown", "accepted"]
    # What hung or was reset had been taken: only Elastic Email can tell that it is the same mail.
    twice = fault != "server_error" and esp != "elasticemail"
    assert plain.sandbox.count(esp) == (2 if twice else 1)


def test_twice_at_most_and_each_rest_is_twice_the_last(world):
    mailer = hasty(world, quota=CalendarQuota(day=9))
    world.sandbox.fault("sendgrid", "server_error", times=None, status=502)
    (uid,) = mailer.enqueue([message(in_doubt="resend")])
    drained(world, mailer)
    assert mailer.outbox.get(uid).goes_at == NOON + timedelta(seconds=REST)
    drained(world, mailer, REST)
    assert mailer.outbox.get(uid).goes_at == NOON + timedelta(seconds=REST + 2 * REST)
    drained(world, mailer, 2 * REST - 1)
    assert len(world.sandbox.requests("sendgrid")) == 2
    assert drained(world, mailer, 1).dead == 1
    mail = mailer.outbox.get(uid)
    assert (mail.state, mail.reason, mail.attempts) == ("dead", "in_doubt", 3)
    drained(world, mailer, 3 * 24 * 3600)
    assert len(world.sandbox.requests("sendgrid")) == 3
    assert [line.outcome for line in mailer.log.get(uid).lines] == ["unknown"] * 3
    assert "502" in mailer.log.get(uid).lines[-1].detail


def test_a_resend_is_admitted_anew_and_never_over_quota(world):
    mailer = hasty(world, quota=CalendarQuota(day=3))
    doubtful(world, mailer, 2, in_doubt="resend")
    drained(world, mailer, REST)
    assert len(world.sandbox.requests("sendgrid")) == 3  # two in doubt, one resend, and the day is full
    assert used(mailer, "a") == {"the server a": 3}
    drained(world, mailer, 3600)
    assert len(world.sandbox.requests("sendgrid")) == 3
    drained(world, mailer, 12 * 3600)  # the next day
    assert len(world.sandbox.requests("sendgrid")) == 4
    assert sorted(world.got()) == ["u0@example.org", "u1@example.org"]


def test_send_says_that_it_is_sent_again(world):
    mailer = hasty(world)
    world.sandbox.fault("sendgrid", "hang", seconds=0.05)
    result = mailer.send(message(in_doubt="resend"))
    assert result
    assert result.status is SendStatus.QUEUED
    assert result.goes_at == NOON + timedelta(seconds=REST)
    assert result.reason.startswith("it may have gone, and is sent again: ")
    assert mailer.outbox.get(result.id).state == "scheduled"
    assert drained(world, mailer, REST).accepted == 1


def test_a_resend_that_meets_the_same_mail_at_elastic_email_is_a_mail_once(world):
    """It hung after the mail was taken: the second request is answered with the first one's id, and spends nothing there."""
    mailer = hasty(world, esp="elasticemail")
    world.sandbox.fault("elasticemail", "hang", seconds=0.05)
    result = mailer.send(message(in_doubt="resend"))
    assert drained(world, mailer, REST).accepted == 1
    (taken,) = world.sandbox.received("elasticemail")
    assert mailer.log.get(result.id).lines[-1].provider_message_id == taken.provider_message_id


# -- who says which -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_route", "of_message", "state"),
    [
        ("hold", None, "in_doubt"), ("resend", None, "scheduled"), ("resend", "hold", "in_doubt"), ("hold", "resend", "scheduled"),
    ],
)  # fmt: skip
def test_the_message_goes_before_its_route(world, of_route, of_message, state, restarted):
    mailer = hasty(world)
    assert mailer.routes.add("r", ["a"]).in_doubt is InDoubt.HOLD  # what is said nowhere
    assert mailer.routes.update("r", in_doubt=of_route).in_doubt == of_route
    mailer = restarted(transport=world.hasty())
    assert mailer.routes.get("r").in_doubt == of_route
    world.sandbox.fault("sendgrid", "hang", times=2, seconds=0.05)
    result = mailer.send(message(1, in_doubt=of_message), route="r")
    assert result.status is (SendStatus.QUEUED if state == "scheduled" else SendStatus.IN_DOUBT)
    (uid,) = mailer.enqueue([message(2, in_doubt=of_message)], route="r")
    mailer.worker().drain()
    assert [mailer.outbox.get(one).state for one in (result.id, uid)] == [state, state]


def test_what_waits_keeps_the_word_it_came_under(plain):
    mailer = hasty(plain)
    mailer.routes.add("r", ["a"], in_doubt="resend")
    (uid,) = mailer.enqueue(messages(1), route="r")
    mailer.routes.update("r", in_doubt="hold")
    plain.sandbox.fault("sendgrid", "hang", seconds=0.05)
    mailer.worker().drain()
    assert mailer.outbox.get(uid).state == "scheduled"


def test_words_that_cannot_be(world):
    mailer = hasty(world)
    with pytest.raises(MessageError, match="in_doubt='perhaps': expected 'hold', 'resend'"):
        message(in_doubt="perhaps")
    with pytest.raises(ConfigurationError, match="in_doubt='again': expected 'hold', 'resend'"):
        mailer.routes.add("r", ["a"], in_doubt="again")
    with pytest.raises(ConfigurationError, match="when_exhausted='reject'"):
        mailer.routes.add("r", ["a"], when_exhausted="reject", in_doubt="resend")
    mailer.routes.add("r", ["a"], when_exhausted="reject")
    with pytest.raises(ConfigurationError, match="when_exhausted='reject'"):
        mailer.routes.update("r", in_doubt="resend")
    with pytest.raises(MessageError, match="in_doubt: route 'r' rejects"):
        mailer.send(message(in_doubt="resend"), route="r")
    assert mailer.send(message(in_doubt="hold"), route="r")
    mailer.routes.add("s", ["a"], in_doubt="resend")
    mailer.routes.add("s", ["a"], in_doubt="resend")
    with pytest.raises(AlreadyExists, match="in_doubt"):
        mailer.routes.add("s", ["a"])


def test_held_mail_never_fails_over_and_a_test_is_never_sent_again(world):
    mailer = hasty(world)
    world.server(mailer, "b", "mailgun")
    mailer.routes.add("r", ["a", "b"], when_exhausted="failover")
    doubtful(world, mailer, 1, "r")
    drained(world, mailer, 3 * 24 * 3600)
    assert world.sandbox.count("mailgun") == 0
    world.sandbox.fault("sendgrid", "hang", seconds=0.05)
    mailer.routes.update("r", in_doubt="resend")
    assert mailer.servers.send_test("a", to="me@example.org").status is SendStatus.IN_DOUBT
    assert [mail.route for mail in mailer.outbox.list()] == ["r"]


# -- expired ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("life", [30, 90], ids=["before the rest is over", "while it waits for quota"])
def test_expired_mail_in_doubt_stays_listed_and_is_never_sent_again(world, life):
    mailer = hasty(world, quota=CalendarQuota(day=1))
    expires = NOON + timedelta(seconds=life)
    (uid,) = doubtful(world, mailer, in_doubt="resend", expires_at=expires)
    assert mailer.outbox.get(uid).state == ("in_doubt" if life < REST else "scheduled")
    drained(world, mailer, REST)  # the quota is used up: it waits, ready
    drained(world, mailer, REST)
    (doubt,) = mailer.outbox.in_doubt()
    assert (doubt.id, doubt.server, doubt.since, doubt.expires_at) == (uid, "a", NOON, expires)
    assert mailer.outbox.resolve(ids=uid, resend=True) == 0
    drained(world, mailer, 3 * 24 * 3600)
    assert [one.id for one in mailer.outbox.in_doubt()] == [uid]
    assert len(world.sandbox.requests("sendgrid")) == 1
    assert mailer.outbox.resolve(ids=uid, as_sent=True) == 1


def test_what_expires_before_its_slot_is_in_doubt_still(world):
    """It was claimed in time, and its slot comes too late."""
    mailer = hasty(world, pause=timedelta(milliseconds=200))
    (uid,) = doubtful(world, mailer, in_doubt="resend", expires_at=NOON + timedelta(seconds=REST, milliseconds=100))
    mailer.enqueue([message("first", priority=5)])
    assert drained(world, mailer, REST).accepted == 1
    assert world.got() == ["ufirst@example.org"]
    assert [one.id for one in mailer.outbox.in_doubt(server="a")] == [uid]


def test_send_of_mail_that_would_expire_first_is_in_doubt(world):
    mailer = hasty(world)
    world.sandbox.fault("sendgrid", "hang", seconds=0.05)
    result = mailer.send(message(in_doubt="resend", expires_at=NOON + timedelta(seconds=REST)))
    assert result.status is SendStatus.IN_DOUBT
    assert not result


# -- listed and settled -------------------------------------------------------------------------------


@pytest.fixture
def troubled(world):
    """Two servers, two routes, and mail in doubt at each, an hour apart; and another account's."""
    mailer = hasty(world)
    world.server(mailer, "b")
    mailer.routes.add("ra", ["a"])
    mailer.routes.add("rb", ["b"])
    early = doubtful(world, mailer, 2, "ra")
    world.clock.advance(3600)
    late = doubtful(world, mailer, 1, "rb") + doubtful(world, mailer, 1, "ra")
    return mailer, early, late


def test_what_is_in_doubt_is_listed_with_what_is_known(world, troubled):
    mailer, early, late = troubled
    later = NOON + timedelta(hours=1)
    found = mailer.outbox.in_doubt()
    assert [one.id for one in found] == early + late
    assert all(type(one) is Doubt and one.attempts == 1 and one.expires_at is None for one in found)
    assert [(one.server, one.route, one.since) for one in found] == [
        ("a", "ra", NOON), ("a", "ra", NOON), ("b", "rb", later), ("a", "ra", later),
    ]  # fmt: skip
    assert found[2].reason.startswith("502")
    assert [one.id for one in mailer.outbox.in_doubt(server="b")] == late[:1]
    assert [one.id for one in mailer.outbox.in_doubt(server=mailer.servers.get("b"))] == late[:1]
    assert [one.id for one in mailer.outbox.in_doubt(route="ra")] == [*early, late[1]]
    assert [one.id for one in mailer.outbox.in_doubt(older_than=timedelta(minutes=30))] == early
    assert [one.id for one in mailer.outbox.in_doubt(older_than=timedelta(minutes=30), server="b")] == []
    with pytest.raises(ConfigurationError, match="older_than"):
        mailer.outbox.in_doubt(older_than=60)
    other = mailer.accounts.add("acme", timezone="UTC")
    assert other.outbox.in_doubt() == ()
    assert other.outbox.resolve(ids=early, as_sent=True) == 0


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ({"server": "b"}, [2]),
        ({"route": "ra"}, [0, 1, 3]),
        ({"before": NOON + timedelta(minutes=30)}, [0, 1]),
        ({"before": NOON}, []),
        ({"server": "a", "before": datetime(2027, 1, 1, tzinfo=UTC)}, [0, 1, 3]),
        ({"ids": []}, []),
    ],
)
@pytest.mark.parametrize("word", ["as_sent", "resend"])
def test_settled_by_the_hosts_word(world, troubled, which, expected, word):
    mailer, early, late = troubled
    ids = early + late
    chosen = [ids[place] for place in expected]
    assert mailer.outbox.resolve(**which, **{word: True}) == len(chosen)
    left = [one.id for one in mailer.outbox.in_doubt()]
    assert left == [one for one in ids if one not in chosen]
    before = len(world.sandbox.requests("sendgrid"))
    assert mailer.worker().drain().accepted == (len(chosen) if word == "resend" else 0)
    assert len(world.sandbox.requests("sendgrid")) == before + (len(chosen) if word == "resend" else 0)
    assert [one.id for one in mailer.outbox.list()] == left
    for uid in chosen:
        assert mailer.log.get(uid).lines[1].outcome == "resolved"
    assert mailer.outbox.resolve(**which, **{word: True}) == 0


def test_settled_one_by_one(world, troubled):
    mailer, early, late = troubled
    assert mailer.outbox.resolve(ids=early[0], as_sent=True) == 1
    assert mailer.outbox.resolve(ids=[*early, "nobody"], resend=True) == 1
    assert mailer.outbox.get(early[1]).state == "ready"
    assert [one.id for one in mailer.outbox.in_doubt()] == late


def test_a_word_that_is_missing(world):
    mailer = world.mailer()
    for words in ({}, {"as_sent": True, "resend": True}):
        with pytest.raises(ConfigurationError, match="one of the two"):
            mailer.outbox.resolve(route="default", **words)
    with pytest.raises(ConfigurationError, match="a filter is needed"):
        mailer.outbox.resolve(as_sent=True)
    with pytest.raises(ConfigurationError, match="before"):
        mailer.outbox.resolve(before=datetime(2026, 1, 1), as_sent=True)  # noqa: DTZ001


def test_what_the_host_sends_again_asks_for_leave_like_any(world):
    mailer = hasty(world, quota=CalendarQuota(day=2))
    ids = doubtful(world, mailer, 2)
    assert mailer.outbox.resolve(server="a", resend=True) == 2
    drained(world, mailer)
    assert len(world.sandbox.requests("sendgrid")) == 2
    assert {mailer.outbox.get(one).state for one in ids} == {"ready"}
    assert drained(world, mailer, 24 * 3600).accepted == 2


def test_what_the_host_sends_again_is_held_again(world):
    """Its word is for this once, as often as it is given."""
    mailer = hasty(world)
    (uid,) = doubtful(world, mailer)
    for turn in range(4):
        world.sandbox.fault("sendgrid", "server_error", status=502)
        assert mailer.outbox.resolve(ids=[uid], resend=True) == 1
        assert drained(world, mailer, 60).in_doubt == 1
        assert mailer.outbox.get(uid).attempts == turn + 2
    (doubt,) = mailer.outbox.in_doubt()
    assert doubt.since == NOON + timedelta(minutes=4)


# -- a worker that is lost on the wire ------------------------------------------------------------------


WORKERS = count()


def lost(world, mailer, uid):
    """Its worker starts to send it and dies; the row's number."""
    token = f"gone-{next(WORKERS)}"  # no two claims share a token
    storage, (leased,) = claimed(mailer, token)
    assert leased.head.uid == uid
    assert storage.start({leased.head.id: token}) == {leased.head.id}
    world.clock.advance(REST)
    return storage, leased.head.id, token


def test_a_lost_worker_obeys_the_word(world):
    mailer = hasty(world, quota=CalendarQuota(day=9))
    (uid,) = mailer.enqueue([message(in_doubt="resend")])
    for turn in range(2):
        lost(world, mailer, uid)
        mailer.worker().drain()
        mail = mailer.outbox.get(uid)
        rest = timedelta(seconds=REST << turn)
        assert (mail.state, mail.goes_at - rest) == ("scheduled", datetime.fromtimestamp(world.clock.now() / 1000, UTC))
        assert "lost while it was sending" in mail.reason
        world.clock.advance(rest)
    lost(world, mailer, uid)
    mailer.worker().drain()
    assert (mailer.outbox.get(uid).state, mailer.outbox.get(uid).reason) == ("dead", "in_doubt")
    assert world.sandbox.count() == 0


def test_a_late_answer_settles_its_own_attempt_until_another_has_the_mail(world):
    mailer = hasty(world)
    for number, settles in ((1, True), (2, False)):
        (uid,) = mailer.enqueue([message(number, in_doubt="resend")])
        storage, row, token = lost(world, mailer, uid)
        storage.recover()
        assert mailer.outbox.get(uid).state == "scheduled"
        world.clock.advance(REST)
        if not settles:
            claimed(mailer, "other")
        late = Gone(id=row, token=token)
        _, too_late = storage.transact("default", (), lambda _view, late=late: Step(result=None, changes=(late,)))
        assert (not too_late) == settles
    assert [mail.state for mail in mailer.outbox.list()] == ["leased"]
    assert mailer.worker().drain(timedelta(seconds=1)).accepted == 0
    assert world.sandbox.count() == 0


def test_a_lost_worker_after_the_mail_expired(world):
    mailer = hasty(world)
    (uid,) = mailer.enqueue([message(in_doubt="resend", expires_at=NOON + timedelta(seconds=30))])
    lost(world, mailer, uid)
    mailer.worker().drain()
    assert [one.id for one in mailer.outbox.in_doubt(server="a")] == [uid]
    drained(world, mailer, 24 * 3600)
    assert world.sandbox.count() == 0
