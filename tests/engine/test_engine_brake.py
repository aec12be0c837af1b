"""The brake at work, through a Mailer: what is put back, what stops, what a person releases."""

import json
from datetime import timedelta

import pytest
from engine_kit import ESPS, NOON, World, message, messages, used

from deliverykit import CalendarQuota, SendStatus, Status
from deliverykit.transports import HttpTransport
from deliverykit.words.wire import HttpResponse

HOUR = timedelta(hours=1)
QUARTER = timedelta(minutes=15)


class Scripted(HttpTransport):
    """A transport that lets the sandbox answer, unless ``refuses`` has another answer to the request."""

    def __init__(self, refuses=lambda body: None) -> None:
        super().__init__()
        self.refuses = refuses
        self.calls = 0

    def send(self, request):
        self.calls += 1
        answer = self.refuses(request.body)
        return super().send(request) if answer is None else answer


def says(status: int, esp: str, text: str) -> HttpResponse:
    """An error in an ESP's own shape."""
    bodies = {
        "ses": {"message": text},
        "sendgrid": {"errors": [{"message": text, "field": None, "help": None}]},
        "mailgun": {"message": text},
        "elasticemail": {"Error": text},
    }
    headers = {"content-type": "application/json"}
    if esp == "ses":
        headers["x-amzn-errortype"] = "BadRequestException"
    return HttpResponse(status=status, headers=headers, body=json.dumps(bodies[esp]).encode())


UNLISTED = "Your reputation field is wobbly"
UNVERIFIED = {
    "ses": (400, "Email address is not verified. The following identities failed the check in region US-EAST-1: {}"),
    "sendgrid": (
        403,
        "The from address does not match a verified Sender Identity. Mail cannot be sent until this is resolved.",
    ),
    "mailgun": (403, "The from address {} is not allowed to send"),
    "elasticemail": (400, "The From address {} is not verified"),
}


def opened(world: World, esp: str = "sendgrid", **server):
    transport = Scripted()
    world.transports.append(transport)
    mailer = world.mailer(transport=transport)
    world.server(mailer, "a", esp, **server)
    transport.calls = 0
    return mailer, transport


def later(world: World, mailer, hours: float = 1, times: int = 1, **options) -> None:
    """Let time pass, a minute at first so that each probe has its turn, and work."""
    for _ in range(times):
        world.clock.advance(timedelta(hours=hours))
        mailer.worker(**options).drain()


def settle_down(world: World, mailer, rounds: int = 40) -> None:
    """Work for some hours, by minutes."""
    for number in range(rounds):
        world.clock.advance(timedelta(minutes=1 if number < 20 else 20))
        mailer.worker().drain()


@pytest.mark.parametrize("esp", ESPS)
@pytest.mark.parametrize("count", [1, 9, 200])
def test_an_unlisted_account_fault_kills_nothing(plain, esp, count):
    mailer, transport = opened(plain, esp)
    transport.refuses = lambda body: says(400, esp, UNLISTED)
    mailer.enqueue(messages(count))
    report = mailer.worker().drain()
    assert report.dead == 0
    settle_down(plain, mailer)
    counts = mailer.outbox.counts()
    assert counts["dead"] == 0
    assert counts["ready"] + counts["scheduled"] == count
    assert {mail.attempts for mail in mailer.outbox.list(limit=count)} == {0}
    if count == 200:
        server = mailer.servers.get("a")
        assert (server.status, server.paused_by) == (Status.PAUSED, "engine")
        assert UNLISTED in server.reason
        assert transport.calls < 110
    transport.refuses = lambda body: None
    mailer.servers.activate("a")
    assert mailer.worker().drain().accepted == count
    assert mailer.servers.get("a").active
    assert sum(mailer.outbox.counts().values()) == 0


@pytest.mark.parametrize("text", ['{} "{}"', "{} in letter {}", "{} since Monday, March {}", "{}: [{}]"])
def test_texts_that_repeat_the_message_are_one_reason(plain, text):
    mailer, transport = opened(plain)
    words = iter(range(10_000))
    names = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet")

    def refusal(body):
        told = json.loads(body)["subject"]
        return says(400, "sendgrid", text.format(UNLISTED, next(words) if "March" in text else told))

    transport.refuses = refusal
    mailer.enqueue([message(number, subject=f"{names[number % 10]} {names[number // 10 % 10]}") for number in range(60)])
    for _ in range(40):
        mailer.worker(concurrency=5).drain()
        plain.clock.advance(timedelta(minutes=2))
    assert mailer.servers.get("a").status is Status.PAUSED
    assert transport.calls < 40


SUSPENDED = {
    "ses": (400, "Sending paused for this account. For more information, please check the inbox of the email address"),
    "sendgrid": (401, "The provided authorization grant is invalid, expired, or revoked"),
    "mailgun": (403, "Domain example.com is not allowed to send: The domain is unverified and requires DNS configuration"),
    "elasticemail": (401, "APIKey Expired"),
}


@pytest.mark.parametrize("esp", ESPS)
@pytest.mark.parametrize("count", [1, 9, 200])
def test_a_listed_account_fault_pauses_at_once_and_kills_nothing(plain, esp, count):
    mailer, transport = opened(plain, esp)
    transport.refuses = lambda body: says(SUSPENDED[esp][0], esp, SUSPENDED[esp][1])
    mailer.enqueue(messages(count))
    assert mailer.worker(concurrency=5).drain().dead == 0
    assert mailer.servers.get("a").status is Status.PAUSED
    assert transport.calls <= 8
    assert mailer.outbox.counts()["ready"] == count
    transport.refuses = lambda body: None
    mailer.servers.activate("a")
    assert mailer.worker().drain().accepted == count


@pytest.mark.parametrize("esp", ESPS)
def test_one_unverified_from_among_200_stops_nothing(plain, esp):
    sender = "ann@lost.example"
    mailer, transport = opened(plain, esp, sender=None, senders=["example.com", "lost.example"])
    status, text = UNVERIFIED[esp]
    transport.refuses = lambda body: says(status, esp, text.format(sender)) if b"lost.example" in body else None
    mails = messages(200)
    mails.insert(77, message("bad", sender=sender))
    ids = mailer.enqueue(mails)
    report = mailer.worker().drain()
    assert (report.accepted, report.dead) == (200, 0)
    assert mailer.servers.get("a").active
    assert mailer.servers.health("a").circuit == "closed"
    assert mailer.outbox.get(ids[77]).state == "scheduled"


@pytest.mark.parametrize("esp", ESPS)
def test_one_refused_recipient_among_200_stops_nothing(plain, esp):
    mailer, transport = opened(plain, esp)
    transport.refuses = lambda body: says(400, esp, UNLISTED) if b"ubad@" in body else None
    mails = messages(200)
    mails.insert(77, message("bad"))
    ids = mailer.enqueue(mails)
    assert mailer.worker().drain().accepted == 200
    assert mailer.servers.health("a").circuit == "closed"
    plain.clock.advance(QUARTER)
    assert mailer.worker().drain().dead == 1
    assert mailer.outbox.get(ids[77]).state == "dead"
    assert UNLISTED in mailer.outbox.get(ids[77]).reason


@pytest.mark.parametrize("esp", ESPS)
def test_a_broken_template_stops_only_its_lane(plain, esp):
    """The text is one that no table knows: only what else is accepted tells it from an account fault."""
    mailer, transport = opened(plain, esp)
    transport.refuses = lambda body: says(400, esp, UNLISTED) if b"broken" in body else None
    mailer.enqueue(messages(150, text="broken", stream="bulk"))
    mailer.worker(concurrency=10).drain()
    for number in range(60):
        mailer.enqueue([message(f"r{number}", stream="receipts")])
        plain.clock.advance(timedelta(minutes=2))
        mailer.worker(concurrency=10).drain()
    assert mailer.servers.get("a").active
    assert plain.sandbox.count() == 60
    bulk = next(lane for lane in mailer.outbox.lanes() if lane.stream == "bulk")
    assert bulk.blocked
    assert UNLISTED in bulk.blocked_by
    said = mailer.explain(message(stream="bulk"), route="default")
    assert UNLISTED in str(said)
    assert any(UNLISTED in finding.what for finding in mailer.doctor())
    transport.refuses = lambda body: None
    assert mailer.outbox.release(stream="bulk") == 1
    settle_down(plain, mailer)
    assert sum(count for state, count in mailer.outbox.counts().items() if state != "dead") == 0


@pytest.mark.parametrize("esp", ESPS)
def test_twenty_malformed_recipients_in_a_row_stop_nothing(plain, esp):
    texts = {
        "ses": (400, "Missing final '@domain'"),
        "sendgrid": (400, "Does not contain a valid address."),
        "mailgun": (400, "to parameter is not a valid address. please check documentation"),
        "elasticemail": (400, "Invalid recipient email address"),
    }
    mailer, transport = opened(plain, esp)
    transport.refuses = lambda body: says(*texts[esp][:1], esp, texts[esp][1]) if b"ubad" in body else None
    mailer.enqueue([*messages(20), *(message(f"bad{number}") for number in range(20)), *messages(60)[20:]])
    report = mailer.worker(concurrency=5).drain()
    assert (report.accepted, report.dead) == (60, 20)
    assert mailer.servers.health("a").circuit == "closed"


def test_put_back_refunds_and_waits_longer_each_time(world):
    transport = Scripted()
    world.transports.append(transport)
    mailer = world.mailer(transport=transport) if world.kind == "blocking" else world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=5))
    world.sandbox.fault("sendgrid", "rejected", times=None, text=UNLISTED)
    (uid,) = mailer.enqueue([message()])
    mailer.worker().drain()
    waits = []
    for _ in range(7):
        mail = mailer.outbox.get(uid)
        assert (mail.state, mail.attempts, mail.server) == ("scheduled", 0, "a")
        assert UNLISTED in mail.reason
        assert used(mailer, "a") == {"the server a": 0}
        waits.append((mail.goes_at - NOON).total_seconds() / 60 - world.clock.monotonic() / 60)
        world.clock.set(mail.goes_at)
        mailer.worker().drain()
    assert [round(one) for one in waits] == [15, 30, 60, 120, 240, 240, 240]


def test_send_says_when_a_refused_message_is_tried_again(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    world.sandbox.fault("sendgrid", "rejected", times=1, text=UNLISTED)
    result = mailer.send(message())
    assert (result.status, result.goes_at) == (SendStatus.QUEUED, NOON + QUARTER)
    assert UNLISTED in result.reason
    world.clock.advance(QUARTER)
    assert mailer.worker().drain().accepted == 1


def test_what_a_reject_route_told_its_caller_stays_rejected(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.routes.add("now", ["a"], when_exhausted="reject")
    world.sandbox.fault("sendgrid", "rejected", times=None, text=UNLISTED)
    results = [mailer.send(one, route="now") for one in messages(5)]
    assert {one.status for one in results} == {SendStatus.REJECTED}
    assert sum(mailer.outbox.counts().values()) == 0
    assert mailer.servers.health("a").circuit != "closed"  # they count, though nothing of them is kept
    world.sandbox.clear_faults()
    world.clock.advance(HOUR)
    mailer.worker().drain()
    assert world.sandbox.count() == 0


def test_refused_again_after_activation_is_final_and_does_not_count(plain):
    mailer, transport = opened(plain)
    transport.refuses = lambda body: says(400, "sendgrid", UNLISTED)
    ids = mailer.enqueue(messages(200))
    mailer.worker().drain()
    settle_down(plain, mailer)
    assert mailer.servers.get("a").status is Status.PAUSED
    bad = [uid for uid in ids if mailer.outbox.get(uid).reason]
    transport.refuses = lambda body: says(400, "sendgrid", UNLISTED) if any(b"u%d@" % n in body for n in range(5)) else None
    mailer.servers.activate("a")
    report = mailer.worker().drain()
    assert (report.dead, report.accepted) == (5, 195)
    assert {mailer.outbox.get(uid).state for uid in ids[:5]} == {"dead"}
    assert set(ids[:5]) <= set(bad)
    assert mailer.servers.health("a").circuit == "closed"


def two_accounts_refuse(world: World, text: bytes):
    """A failover route "r" over servers at two ESPs, which refuse what has ``text`` in it.

    No digits of a hexadecimal number: each request has the message's id in it.
    """
    mailer, transport = opened(world)
    world.server(mailer, "b", "mailgun", sender="b@example.com")
    mailer.routes.add("r", ["a", "b"], when_exhausted="failover")

    def refuses(body):
        if text not in body:
            return None
        return says(400, "sendgrid" if body.startswith(b"{") else "mailgun", UNLISTED)

    transport.refuses = refuses
    return mailer, transport


def test_a_message_two_esp_accounts_refuse_counts_against_neither(plain):
    mailer, transport = two_accounts_refuse(plain, b"wrong")
    mailer.enqueue(messages(30, text="wrong"), route="r")
    assert mailer.worker().drain().dead == 0
    assert transport.calls >= 60
    assert {mailer.servers.health(one).circuit for one in "ab"} == {"closed"}
    assert mailer.outbox.counts()["scheduled"] == 30
    mailer.enqueue(messages(3), route="r")
    mailer.worker().drain()
    assert plain.sandbox.count() == 3


@pytest.mark.parametrize(("key", "stopped"), [("SG.a", True), ("SG.b", False)], ids=["one account", "two accounts"])
def test_servers_with_one_key_are_one_esp_account(plain, key, stopped):
    mailer, transport = opened(plain)
    plain.server(mailer, "b", key=key)
    mailer.routes.add("r", ["a", "b"], when_exhausted="failover")
    transport.refuses = lambda body: says(400, "sendgrid", UNLISTED)
    mailer.enqueue(messages(30), route="r")
    mailer.worker(concurrency=1).drain()
    assert (mailer.servers.health("b").circuit != "closed") is stopped


def test_a_lane_two_esp_accounts_refuse_is_held(plain):
    mailer, transport = two_accounts_refuse(plain, b"wrong")
    mailer.enqueue(messages(120, text="wrong", stream="news"), route="r")
    for number in range(24):
        mailer.enqueue(messages(2, stream=f"codes{number % 2}"), route="r")
        assert mailer.worker(concurrency=5).drain().dead == 0
        plain.clock.advance(HOUR)
    assert transport.calls < 200
    assert mailer.outbox.counts()["ready"] == 120
    assert any("refused by two ESP accounts" in str(lane) for lane in mailer.outbox.lanes())
    assert {mailer.servers.health(one).circuit for one in "ab"} == {"closed"}
    assert plain.sandbox.count() == 48
    transport.refuses = lambda body: None
    assert mailer.outbox.release(route="r", stream="news") == 1
    assert mailer.worker().drain().accepted == 120


def test_refused_by_two_accounts_counts_each_message_once(plain):
    mailer, transport = opened(plain)
    plain.server(mailer, "b", "mailgun", sender="b@example.com")
    mailer.routes.add("r", ["a", "b"], when_exhausted="failover")
    transport.refuses = lambda body: says(400, "sendgrid" if body.startswith(b"{") else "mailgun", UNLISTED)
    mailer.enqueue(messages(20), route="r")
    later(plain, mailer, hours=4, times=6)
    assert mailer.outbox.release(route="r") == 0


def test_refused_messages_do_not_wait_for_a_paused_server(plain):
    """The next server took them over and was then paused: the first is asked again, and they are put back."""
    mailer, transport = opened(plain)
    plain.server(mailer, "b", "mailgun", sender="b@example.com", quota=CalendarQuota(day=1))
    mailer.routes.add("r", ["a", "b"], when_exhausted="failover")
    transport.refuses = lambda body: says(400, "sendgrid", UNLISTED) if body.startswith(b"{") else None
    (first, second) = mailer.enqueue(messages(2), route="r")
    assert mailer.worker(concurrency=1).drain().accepted == 1
    assert mailer.outbox.get(second).state == "ready"  # it waits for b's quota
    mailer.servers.pause("b")
    mailer.worker(concurrency=1).drain()
    assert (mailer.outbox.get(second).state, mailer.outbox.get(second).server) == ("scheduled", "a")
    transport.refuses = lambda body: None
    plain.clock.advance(QUARTER)
    assert mailer.worker().drain().accepted == 1
    del first


def test_a_lost_sender_domain_waits_and_others_go_on(plain):
    mailer, transport = opened(plain, sender=None)
    logged = len(mailer.log.list())
    text = UNVERIFIED["sendgrid"][1]
    transport.refuses = lambda body: says(403, "sendgrid", text) if b"@lost.example" in body else None
    lost = [message(f"l{number}", sender=f"ann{number}@lost.example") for number in range(100)]
    mailer.enqueue([one for pair in zip(lost, messages(100), strict=True) for one in pair])
    mailer.worker(concurrency=5).drain()
    settle_down(plain, mailer)
    assert plain.sandbox.count() == 100
    assert transport.calls < 100 + 40
    assert mailer.servers.get("a").active
    assert mailer.outbox.counts()["dead"] == 0
    held = [lane for lane in mailer.outbox.lanes() if lane.blocked]
    assert [("lost.example" in lane.blocked_by, lane.goes_at) for lane in held] == [(True, None)]
    result = mailer.send(message(sender="eve@lost.example"))
    assert (result.status, tuple(result.attempts)) == (SendStatus.QUEUED, ())
    assert "lost.example" in result.reason
    transport.refuses = lambda body: None
    mailer.servers.activate("a")
    mailer.worker().drain()
    assert plain.sandbox.count() == 201
    assert len(mailer.log.list(limit=1000)) - logged == transport.calls, "one line for each submission, and no other"


def test_fifty_refused_for_what_they_are_hold_their_lane(plain):
    mailer, transport = opened(plain)
    text = "The content value must be a string at least one character in length."
    transport.refuses = lambda body: says(400, "sendgrid", text) if b"broken" in body else None
    mailer.enqueue(messages(120, text="broken", stream="bulk"))
    report = mailer.worker(concurrency=1).drain()
    assert report.dead == mailer.outbox.counts()["dead"]
    assert 50 <= report.dead <= 52
    mailer.enqueue(messages(5, stream="receipts"))
    assert mailer.worker().drain().accepted == 5
    lane = next(lane for lane in mailer.outbox.lanes() if lane.stream == "bulk")
    assert lane.blocked
    assert "50 messages in a row" in lane.blocked_by
    assert "50 messages in a row" in mailer.explain(message(stream="bulk"), route="default").reason
    assert any("50 messages in a row" in finding.what for finding in mailer.doctor())
    transport.refuses = lambda body: None
    assert mailer.outbox.release(route="default", stream="bulk") == 1
    assert mailer.worker().drain().accepted == 120 - report.dead


def dirty(count: int, *runs: tuple[int, int]) -> list:
    """A list with runs of bad recipients: where each begins, and its length."""
    bad = {number for begin, length in runs for number in range(begin, begin + length)}
    return [message(f"bad{number}" if number in bad else f"ok{number}") for number in range(count)]


def test_a_dirty_list_is_sent_by_one_worker_place(plain):
    """Runs of 20: a probe is a random message of the list, or the server would be PAUSED."""
    mailer, transport = opened(plain)
    transport.refuses = lambda body: says(400, "sendgrid", UNLISTED) if b"ubad" in body else None
    mailer.enqueue(dirty(260, (30, 20), (100, 5), (150, 20)))
    for _ in range(60):
        mailer.worker(concurrency=1).drain()
        plain.clock.advance(timedelta(minutes=1))
    assert mailer.servers.get("a").active
    assert plain.sandbox.count() == 260 - 45
    assert mailer.outbox.counts()["dead"] + mailer.outbox.counts()["scheduled"] == 45


def test_drain_report_is_true_with_several_workers(plain):
    """Each counts what its own messages came to, as the outbox has them at its end."""
    mailer, transport = opened(plain)
    transport.refuses = lambda body: says(400, "sendgrid", UNLISTED) if b"ubad" in body else None
    mailer.enqueue(dirty(300, (50, 5), (200, 20)))
    dead = accepted = 0
    for number in range(40):
        other = plain.mailer(transport=transport) if number % 2 else mailer
        report = other.worker(concurrency=20).drain()
        dead += report.dead
        accepted += report.accepted
        assert dead == mailer.outbox.counts()["dead"]
        assert accepted == plain.sandbox.count()
        if report.returned:
            assert mailer.outbox.counts()["ready"] + mailer.outbox.counts()["scheduled"] > 0
        plain.clock.advance(timedelta(minutes=2))
        mailer.enqueue([message(f"later{number}")])
    assert dead == 25


def test_drain_report_counts_what_expired_while_it_waited(plain):
    mailer, transport = opened(plain)
    transport.refuses = lambda body: says(403, "sendgrid", UNLISTED)
    mailer.enqueue(messages(40, expires_at=NOON + 2 * HOUR))
    dead = 0
    for _ in range(12):
        dead += mailer.worker(concurrency=5).drain().dead
        plain.clock.advance(timedelta(minutes=30))
    assert dead == mailer.outbox.counts()["dead"] == 40


def test_put_back_messages_come_due_late_like_any_retry(plain):
    mailer, transport = opened(plain)
    mailer.routes.add("r", ["a"], when_exhausted="queue", max_lateness=timedelta(hours=2))
    transport.refuses = lambda body: says(400, "sendgrid", UNLISTED)
    (uid,) = mailer.enqueue([message()], route="r")
    mailer.worker().drain()
    plain.clock.advance(timedelta(hours=3))  # no worker ran
    mailer.worker().drain()
    assert (mailer.outbox.get(uid).state, mailer.outbox.get(uid).reason) == ("dead", "late")
    assert transport.calls == 1


def test_put_back_messages_still_expire(plain):
    mailer, transport = opened(plain)
    transport.refuses = lambda body: says(400, "sendgrid", UNLISTED)
    (uid,) = mailer.enqueue([message(expires_at=NOON + timedelta(minutes=20))])
    mailer.worker().drain()
    later(plain, mailer, hours=0.25)
    later(plain, mailer, hours=0.25)
    assert (mailer.outbox.get(uid).state, mailer.outbox.get(uid).reason) == ("dead", "expired")
    assert transport.calls == 2


def test_the_brake_is_shared_and_survives_a_restart(world, restarted):
    mailer = world.mailer()
    world.server(mailer, "a")
    world.sandbox.fault("sendgrid", "rejected", times=None, text=UNLISTED)
    for number in range(3):
        world.mailer().send(message(number))
    again = restarted()
    assert again.servers.health("a").circuit in ("open", "half-open")
    assert again.servers.health("a").refusals == 3
    assert again.send(message(9)).attempts in ((), [])
    del mailer


def test_waiting_behind_an_open_brake_costs_nothing(plain):
    mailer, transport = opened(plain)
    transport.refuses = lambda body: says(400, "sendgrid", UNLISTED)
    mailer.enqueue(messages(200))
    mailer.worker(concurrency=5).drain()
    calls = transport.calls
    look = mailer._context.storage.open_lanes()
    assert look.lanes == ()  # no worker asks for them, so nothing is written
    assert look.wake_at > plain.clock.now()
    mailer.worker(concurrency=5).drain()
    assert transport.calls == calls
