"""What is taken in, when it goes, and what is refused at the earliest moment."""

import hashlib
from collections import Counter
from datetime import timedelta

import pytest
from engine_kit import NOON, World, message, messages, used
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deliverykit import (
    Attachment,
    CalendarQuota,
    ConfigurationError,
    EnqueueInterrupted,
    Message,
    MessageError,
    NotFound,
    SendStatus,
    Unsupported,
)

TOMORROW = NOON + timedelta(days=1)


def test_send_at_waits_and_is_charged_on_the_day_it_leaves(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=2))
    result = mailer.send(message(1, send_at=TOMORROW))
    assert (result.status, result.goes_at) == (SendStatus.QUEUED, TOMORROW)
    mailer.enqueue([message(2, send_at=TOMORROW)])
    mailer.worker().drain()
    assert used(mailer, "a") == {"the server a": 0}
    assert [mailer.send(one).status for one in messages(2)] == [SendStatus.ACCEPTED] * 2
    assert {mail.state for mail in mailer.outbox.list()} == {"scheduled"}
    world.clock.set(TOMORROW - timedelta(seconds=1))
    mailer.worker().drain()
    assert world.sandbox.count() == 2
    world.clock.advance(2)
    mailer.worker().drain()
    assert world.sandbox.count() == 4
    assert used(mailer, "a") == {"the server a": 2}


def test_send_at_on_a_route_that_rejects(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.routes.add("r", ["a"], when_exhausted="reject")
    with pytest.raises(MessageError, match="send_at"):
        mailer.send(message(send_at=TOMORROW), route="r")


def test_send_at_in_the_past_goes_now(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    assert mailer.send(message(send_at=NOON - timedelta(days=1))).status is SendStatus.ACCEPTED
    mailer.enqueue([message(send_at=NOON - timedelta(days=1))])
    mailer.worker().drain()
    assert world.sandbox.count() == 2


@pytest.mark.parametrize("how", ["while it waits for quota", "while scheduled", "while paced", "before a worker came"])
def test_expired_mail_is_never_sent(world, how):
    mailer = world.mailer()
    world.server(mailer, "a")
    soon = NOON + timedelta(minutes=5)
    fields = {"expires_at": soon}
    if how == "while it waits for quota":
        mailer.servers.update("a", quota=CalendarQuota(day=0))
    if how == "while scheduled":
        fields["send_at"] = NOON + timedelta(minutes=4)
    if how == "while paced":
        mailer.servers.update("a", pause=timedelta(minutes=10))
        mailer.send(message("first"))
    (uid,) = mailer.enqueue([message(**fields)])
    if how not in ("before a worker came", "while paced"):
        mailer.worker().drain()
        assert mailer.outbox.get(uid).state in ("ready", "scheduled")
    world.clock.set(soon)
    if how == "while it waits for quota":
        mailer.servers.update("a", quota=None)
    mailer.worker().drain()
    mail = mailer.outbox.get(uid)
    assert (mail.state, mail.reason, mail.attempts) == ("dead", "expired", 0)
    assert "u0@example.org" not in world.got()
    assert mailer.log.get(uid).lines[-1].detail == "expired"
    with pytest.raises(MessageError, match="expires_at"):
        mailer.send(message(expires_at=NOON))


def test_send_that_waits_in_the_outbox_expires_too(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=0))
    result = mailer.send(message(expires_at=NOON + timedelta(minutes=1)))
    assert result.status is SendStatus.QUEUED
    world.clock.advance(61)
    mailer.servers.update("a", quota=None)
    mailer.worker().drain()
    assert mailer.outbox.get(result.id).reason == "expired"
    assert world.sandbox.count() == 0


def test_an_expired_head_does_not_hold_up_the_lane(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=1))
    mailer.enqueue([message(1, expires_at=NOON + timedelta(seconds=9)), message(2)])
    world.clock.advance(10)
    mailer.worker().drain()
    assert world.got() == ["u2@example.org"]


def test_enqueue_is_all_or_none(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    with pytest.raises(Unsupported):
        mailer.enqueue([*messages(5), message(raw=b"From: a@example.com\r\n\r\nx", subject="", text=None)])
    with pytest.raises(MessageError, match=r"not a Message; write Message\(to="):
        mailer.enqueue([*messages(5), "no message"])

    def breaking():
        yield from messages(5)
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="the file ends here"):
        mailer.enqueue(breaking())
    with pytest.raises(MessageError, match=r"one Message; give a list, such as \[message\]"):
        mailer.enqueue(message())
    assert sum(mailer.outbox.counts().values()) == 0
    ids = mailer.enqueue(one for one in messages(5))
    assert [mail.id for mail in mailer.outbox.list()] == ids
    assert mailer.enqueue([]) == []


def test_chunks_are_kept_when_the_source_breaks(world):
    mailer = world.mailer()
    world.server(mailer, "a")

    def breaking():
        yield from messages(7)
        raise OSError("the file ends here")

    with pytest.raises(EnqueueInterrupted) as told:
        mailer.enqueue(breaking(), chunk=3)
    assert isinstance(told.value.__cause__, OSError)
    assert [mail.id for mail in mailer.outbox.list()] == list(told.value.ids)
    assert len(told.value.ids) == 6
    with pytest.raises(EnqueueInterrupted) as told:
        mailer.enqueue([*messages(4), "no message"], chunk=2)
    assert len(told.value.ids) == 4
    assert len(mailer.enqueue(messages(4), chunk=3)) == 4
    mailer.worker().drain()
    assert world.sandbox.count() == 14
    for wrong in (0, -1, "3", 2.5):
        with pytest.raises(ConfigurationError, match="chunk"):
            mailer.enqueue([], chunk=wrong)


CROWD = [f"p{number}@example.org" for number in range(59)]

NEVER = {
    "raw MIME on SendGrid": (
        "sendgrid", None, {"raw": b"From: a@example.com\r\nTo: b@example.org\r\n\r\nx", "subject": "", "text": None}, "cannot carry raw",
    ),
    "60 recipients at SES": ("ses", None, {"bcc": CROWD}, "at most 50 recipients, the message has 60"),
    "60 recipients at Elastic Email": ("elasticemail", None, {"bcc": CROWD}, "at most 50 recipients, the message has 60"),
    "metadata at Elastic Email": ("elasticemail", None, {"metadata": {"a": "b"}}, "cannot carry metadata"),
    "above every limit": ("sendgrid", CalendarQuota(hour=100, day=59), {"bcc": CROWD}, "costs 60 recipients, more than .*ever grants"),
}  # fmt: skip


@pytest.mark.parametrize("case", NEVER)
def test_what_no_server_can_ever_carry(world, case):
    esp, quota, fields, why = NEVER[case]
    mailer = world.mailer()
    world.server(mailer, "a", esp, quota=quota)
    for take in (mailer.send, lambda one: mailer.enqueue([one])):
        with pytest.raises(Unsupported, match=why) as told:
            take(message(**fields))
        assert set(told.value.reasons) == {"the server a"}
    assert sum(mailer.outbox.counts().values()) == 0
    assert [view.verdict for view in mailer.explain(message(**fields)).servers] == ["never"]
    world.server(mailer, "b", "mailgun", sender="b@example.com")  # it can
    assert mailer.send(message(**fields)).status is SendStatus.ACCEPTED
    mailer.enqueue([message(**fields)])
    mailer.worker().drain()
    assert world.sandbox.count("mailgun") == 2
    assert world.sandbox.count(esp) == 0


def test_each_servers_reason_is_told(world):
    mailer = world.mailer()
    world.server(mailer, "a", "ses")
    world.server(mailer, "b", "sendgrid", quota=CalendarQuota(day=10))
    with pytest.raises(Unsupported) as told:
        mailer.send(message(bcc=CROWD))
    assert "at most 50 recipients" in told.value.reasons["the server a"]
    assert "calendar ever grants" in told.value.reasons["the server b"]
    assert all(name in str(told.value) for name in told.value.reasons)


def test_so_many_who_see_each_other(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    people = CROWD[:20]
    for take in (mailer.send, lambda one: mailer.enqueue([one])):
        with pytest.raises(MessageError, match="21 people would see each other's.*enqueue one message each"):
            take(message(to=people, cc="one.more@example.org"))
    assert mailer.send(message(to=people, bcc=CROWD[20:])).status is SendStatus.ACCEPTED
    assert world.mailer(max_visible_recipients=30).send(message(to=CROWD[:30])).status is SendStatus.ACCEPTED


@pytest.mark.parametrize("choice", ["warn", "drop"])
def test_what_readers_do_not_see_may_be_left_out(world, choice, caplog):
    mailer = world.mailer(on_unsupported=choice)
    world.server(mailer, "a", "elasticemail")
    assert mailer.send(message(metadata={"a": "b"}, tags=["one"])).status is SendStatus.ACCEPTED
    mailer.enqueue([message(metadata={"a": "b"}, tags=["one"])])
    mailer.worker().drain()
    assert {mail.tags for mail in world.sandbox.received()} == {("one",)}
    assert ("left out" in caplog.text) == (choice == "warn")


def test_a_route_that_does_not_exist(world):
    mailer = world.mailer()
    with pytest.raises(ConfigurationError, match="no delivery server"):
        mailer.send(message())
    world.server(mailer, "a")
    for take in (mailer.send, lambda one, route: mailer.enqueue([one], route=route), mailer.explain):
        with pytest.raises(NotFound, match="there are: default"):
            take(message(), route="none")


def test_priority_and_order(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.enqueue([message(1), message(2, priority=5), message(3), message(4, priority=5), message(5, priority=-1)])
    mailer.worker(concurrency=1).drain()
    assert world.got() == [f"u{number}@example.org" for number in (2, 4, 1, 3, 5)]


def test_streams_do_not_wait_for_each_other(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=40))
    mailer.enqueue(messages(30, stream="bulk"))
    mailer.enqueue([message("urgent", stream="urgent")])
    mailer.worker(concurrency=4).drain()
    assert world.got().index("uurgent@example.org") < 8


# -- explain ---------------------------------------------------------------------------------------------


@given(
    word=st.sampled_from(["queue", "failover", "reject"]),
    strategy=st.sampled_from(["priority", "round_robin"]),
    quotas=st.tuples(st.none() | st.integers(0, 2), st.none() | st.integers(0, 2)),
    paused=st.tuples(st.booleans(), st.booleans()),
    count=st.integers(1, 4),
    cost=st.integers(1, 2),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_explain_says_what_send_does(plain: World, word, strategy, quotas, paused, count, cost):
    if not plain.opened:
        first = plain.mailer(url="memory://")
        for one in "ab":
            plain.server(first, one)
    (mailer,) = plain.opened
    plain.clock.advance(timedelta(days=1))
    for one, quota, off in zip("ab", quotas, paused, strict=True):
        mailer.servers.update(one, quota=CalendarQuota(day=9) if quota is None else CalendarQuota(day=quota))
        mailer.servers.pause(one) if off else mailer.servers.activate(one)
    name = f"{word}-{strategy}"
    mailer.routes.add(name, ["a", "b"], when_exhausted=word, strategy=strategy)
    fields = {"to": [f"p{number}@example.org" for number in range(cost)]}
    for _ in range(count):
        before = mailer.servers.quota("a"), mailer.servers.quota("b"), mailer.outbox.counts()
        try:
            said = mailer.explain(message(**fields), route=name)
            assert (mailer.servers.quota("a"), mailer.servers.quota("b"), mailer.outbox.counts()) == before
            done = mailer.send(message(**fields), route=name)
        except Unsupported:
            assert {view.verdict for view in said.servers} == {"never"}
            continue
        assert said.server == (done.attempts[0].server if done.attempts else None)
        assert (said.server is None) == (done.status is not SendStatus.ACCEPTED)
        if said.server is None:
            assert said.goes_at == done.goes_at
        assert [view.server for view in said.servers] == ["a", "b"]
        takes = [view.server for view in said.servers if view.verdict == "takes it now"]
        assert takes == ([said.server] if said.server else [])


def test_explain_in_words(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=1))
    world.server(mailer, "b", "elasticemail")
    world.server(mailer, "c")
    world.server(mailer, "d")
    mailer.servers.pause("c", reason="holiday")
    mailer.routes.add("r", ["a", "b", "c", "d"])
    mailer.send(message(), route="r")
    said = mailer.explain(message(metadata={"k": "v"}), route="r")
    assert said.server == "d"
    assert [view.verdict for view in said.servers] == ["waits", "never", "is passed over", "takes it now"]
    text = str(said)
    assert "the server a (a) waits until 2026-11-25T00:00:00+00:00: day quota of 'the server a' used up: " in text
    assert "never: cannot carry metadata" in text
    assert "PAUSED: holiday" in text


def test_explain_writes_nothing(live):
    import sqlite3

    mailer = live.mailer()
    live.server(mailer, "a", quota=CalendarQuota(month=1))
    mailer.enqueue(messages(1))
    looking = sqlite3.connect(live.path)
    version = looking.execute("pragma data_version").fetchone()
    for _ in range(3):
        mailer.explain(message())
        mailer.servers.quota("a")
        mailer.outbox.list()
    assert looking.execute("pragma data_version").fetchone() == version
    assert mailer.send(message()).status is SendStatus.ACCEPTED
    assert looking.execute("pragma data_version").fetchone() != version
    looking.close()


@pytest.mark.parametrize("handed_in", ["all at once", "one by one"])
def test_what_many_messages_share_is_hashed_once(world, monkeypatch, handed_in):
    """25 MB take 20 ms: 10,000 times that are minutes."""
    mailer = world.mailer()
    world.server(mailer, "a", "ses")
    shared = Attachment(filename="film.bin", content=b"film" * 25)
    raw = b"From: a@example.com\r\nSubject: s\r\n\r\n" + b"news" * 25
    hashed, sha256 = Counter(), hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda content=b"": hashed.update([bytes(content)]) or sha256(content))
    composed = [message(number, attachments=[shared]) for number in range(20)]
    ready = [Message(to=f"u{number}@example.org", raw=raw) for number in range(20)]
    for batch in [[*composed, *ready]] if handed_in == "all at once" else [[one] for one in composed]:
        mailer.enqueue(batch)
    assert hashed[shared.content] == 1
    assert hashed[raw] == (handed_in == "all at once")
