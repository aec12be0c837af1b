"""Other credentials for a server that carries mail: proven by a real test first, swapped in one step; or revoked under load."""

from datetime import timedelta
from typing import ClassVar

import pytest
from attrs import frozen
from cryptography.fernet import Fernet
from engine_kit import ESPS, eventually, message, messages, running, used

from deliverykit import Budget, CalendarQuota, ConfigurationError, MessageError, NotProven, SendStatus, Status, Unsupported
from deliverykit.contracts.answers import Row, throttled
from deliverykit.providers import SendGrid
from deliverykit.transports import HttpTransport
from deliverykit.words.outcomes import About

OLD, NEW = "AKIAOLDKEY", "AKIANEWKEY"
"""At SES a key is known by its id; elsewhere these are the keys themselves."""


def with_key(world, esp, key, **fields):
    return world.provider(esp, **({"access_key_id": key, **fields} if esp == "ses" else {"key": key, **fields}))


def active(world, mailer, esp="sendgrid", key=OLD, id="s", **values):
    return world.server(mailer, id, esp, **({"fields": {"access_key_id": key}} if esp == "ses" else {"key": key}), **values)


def keys_used(world, esp):
    return [mail.credential for mail in world.sandbox.received(esp)]


@pytest.mark.parametrize("esp", ESPS)
def test_the_new_key_is_proven_and_takes_the_place_of_the_old(world, esp):
    mailer = world.mailer()
    before = active(world, mailer, esp, quota=CalendarQuota(day=5))
    mailer.send(message())
    changed = mailer.servers.update("s", provider=with_key(world, esp, NEW), name="renamed", test_to="me@example.org")
    assert changed == mailer.servers.get("s")
    assert (changed.status, changed.proven, changed.name, changed.version) == (
        Status.ACTIVE,
        True,
        "renamed",
        before.version + 1,
    )
    assert mailer.send(message(2))
    assert keys_used(world, esp) == [OLD, NEW, NEW]
    test = world.sandbox.received(esp)[1]
    assert (test.to, test.sender) == (("me@example.org",), "s@example.com")
    assert used(mailer, "s") == {"renamed": 3}
    assert sum(mailer.outbox.counts().values()) == 0


@pytest.mark.parametrize("esp", ESPS)
def test_a_new_key_that_is_no_good_changes_nothing(world, esp):
    mailer = world.mailer()
    before = active(world, mailer, esp, quota=CalendarQuota(day=20))
    world.sandbox.keys(esp, [OLD])
    for _ in range(6):  # more than would open a circuit
        with pytest.raises(NotProven, match="was not changed") as told:
            mailer.servers.update("s", provider=with_key(world, esp, NEW), quota=CalendarQuota(day=9), test_to="me@example.org")
        assert told.value.result.status is SendStatus.REJECTED
        assert NEW not in str(told.value)
    now = mailer.servers.get("s")
    assert (now.status, now.provider, now.limits) == (Status.ACTIVE, before.provider, before.limits)
    assert used(mailer, "s") == {"the server s": 0}
    assert mailer.send(message()).status is SendStatus.ACCEPTED
    assert keys_used(world, esp) == [OLD]


@pytest.mark.parametrize("fault", ["server_error", "hang", "throttle", "rejected", "garbage"])
def test_a_test_that_fails_harms_nothing_of_what_is(world, fault):
    """Neither the circuit, nor the brake, nor a closing of the live server; and it stays as it was."""
    mailer = world.mailer(transport=world.hasty() if world.kind == "blocking" else None)
    options = {"hang": {"seconds": 0.05}, "throttle": {"retry_after": 1}}.get(fault, {})
    before = active(world, mailer)
    world.sandbox.fault("sendgrid", fault, times=None, credential=NEW, **options)
    for _ in range(12):
        with pytest.raises(NotProven) as told:
            mailer.servers.update("s", provider=with_key(world, "sendgrid", NEW), test_to="me@example.org")
        assert told.value.result is not None
        world.clock.advance(timedelta(days=2))
    assert mailer.servers.get("s") == before
    health = mailer.servers.health("s")
    assert (health.circuit, health.faults, health.throttled_until) == ("closed", 0, None)
    assert sum(mailer.outbox.counts().values()) == 0
    assert mailer.send(message()).status is SendStatus.ACCEPTED


@frozen(kw_only=True)
class OwnScope(SendGrid):
    """A host's adapter that closes its own server where the ESP asks to wait."""

    name: ClassVar[str] = "own-scope"
    table: ClassVar = (Row(429, "", About.ACCOUNT, throttled()), *SendGrid.table)


def test_a_test_that_is_asked_to_wait_closes_nothing_of_what_is(world):
    mailer = world.mailer(register=[OwnScope])
    active(world, mailer)
    world.sandbox.fault("sendgrid", "throttle", credential=NEW)
    with pytest.raises(NotProven):
        mailer.servers.update(
            "s", provider=OwnScope(api_key=NEW, base_url=world.sandbox.url("sendgrid")), test_to="me@example.org"
        )
    assert mailer.servers.health("s").throttled_until is None
    assert mailer.send(message()).status is SendStatus.ACCEPTED


def test_a_test_that_was_too_fast_slows_nothing_of_what_is(world):
    mailer = world.mailer()
    active(world, mailer, "ses", pause=timedelta(milliseconds=100))
    world.sandbox.fault("ses", "throttle", credential=NEW)
    with pytest.raises(NotProven, match="rate exceeded"):
        mailer.servers.update("s", provider=with_key(world, "ses", NEW), test_to="me@example.org")
    assert mailer.servers.health("s").slowed is None
    world.sandbox.fault("ses", "throttle", credential=OLD)
    mailer.send(message())
    assert mailer.servers.health("s").slowed is not None  # as the server's own mail does


def test_the_test_holds_the_new_limits_and_budgets(world):
    mailer = world.mailer()
    active(world, mailer, quota=CalendarQuota(day=1), pause=timedelta(seconds=3))
    began = world.clock.monotonic()
    mailer.send(message())
    with pytest.raises(NotProven, match="day quota of 'the server s' used up") as told:
        mailer.servers.update("s", provider=with_key(world, "sendgrid", NEW), test_to="me@example.org")
    assert told.value.result.goes_at is not None
    assert world.sandbox.count() == 1
    shared = Budget(name="tenant", limits=(CalendarQuota(month=7),))
    mailer.servers.update(
        "s",
        provider=with_key(world, "sendgrid", NEW),
        quota=CalendarQuota(day=2),
        budgets=[shared],
        test_to="me@example.org",
    )
    assert world.clock.monotonic() - began >= 3  # the pause since the mail before
    assert used(mailer, "s") == {"the server s": 2, "budget tenant": 1}
    with pytest.raises(NotProven):
        mailer.servers.update("s", provider=with_key(world, "sendgrid", "SG.third"), budgets=[], test_to="me@example.org")
    assert mailer.servers.get("s").budgets == ("tenant",)


def test_budgets_that_are_new_hold_for_the_test(world):
    mailer = world.mailer()
    active(world, mailer)
    nothing = Budget(name="none", limits=(CalendarQuota(day=0),))
    with pytest.raises(NotProven, match="budget 'none'"):
        mailer.servers.update("s", provider=with_key(world, "sendgrid", NEW), budgets=[nothing], test_to="me@example.org")
    assert world.sandbox.count() == 0


def test_what_a_test_needs(world):
    mailer = world.mailer()
    active(world, mailer, sender=None, senders=["example.com"])
    new = with_key(world, "sendgrid", NEW)
    with pytest.raises(MessageError, match=r"update\(test_sender="):
        mailer.servers.update("s", provider=new, test_to="me@example.org")
    with pytest.raises(Unsupported, match="may not send for elsewhere.org"):
        mailer.servers.update("s", provider=new, test_to="me@example.org", test_sender="me@elsewhere.org")
    with pytest.raises(ConfigurationError, match="test_to"):
        mailer.servers.update("s", provider=new, test_sender="me@example.com")
    with pytest.raises(MessageError, match="to"):
        mailer.servers.update("s", provider=new, test_to="nobody")
    assert world.sandbox.requests() == []
    assert mailer.servers.update("s", provider=new, test_to="me@example.org", test_sender="me@example.com").active
    # the new forced sender is what the test goes by
    assert mailer.servers.update("s", sender="Other <other@example.com>", test_to="me@example.org").active
    assert [mail.sender for mail in world.sandbox.received()] == ["me@example.com", "other@example.com"]


def test_the_simulator_is_refused_before_anything_is_sent(world):
    mailer = world.mailer()
    active(world, mailer, "ses")
    with pytest.raises(NotProven, match="simulator") as told:
        mailer.servers.update("s", provider=with_key(world, "ses", NEW), test_to="success@simulator.amazonses.com")
    assert told.value.result is None
    assert world.sandbox.requests() == []


def test_what_was_paused_stays_so_and_is_proven(world):
    mailer = world.mailer()
    active(world, mailer)
    mailer.servers.pause("s", reason="holiday")
    changed = mailer.servers.update("s", provider=with_key(world, "sendgrid", NEW), test_to="me@example.org")
    assert (changed.status, changed.proven, changed.reason) == (Status.PAUSED, True, "holiday")
    assert mailer.servers.activate("s").active


def test_a_broken_server_is_given_credentials_and_proven_at_once(world, restarted):
    active(world, world.mailer())
    mailer = restarted(secret_key=Fernet.generate_key())
    assert mailer.servers.get("s").status is Status.BROKEN
    with pytest.raises(ConfigurationError, match="BROKEN"):
        mailer.servers.update("s", name="other", test_to="me@example.org")
    changed = mailer.servers.update("s", provider=with_key(world, "sendgrid", NEW), test_to="me@example.org")
    assert (changed.status, changed.proven, changed.unread) == (Status.PAUSED, True, ())
    assert mailer.servers.activate("s").active


class Meddling(HttpTransport):
    """While the first request of the new key is on its way, somebody else does something."""

    def __init__(self, key, act):
        super().__init__()
        self.key, self.act = key, act

    def send(self, request):
        answer = super().send(request)
        if self.key in request.headers.get("Authorization", ""):
            self.key = "done"
            self.act()
        return answer


def meddled(plain, act):
    """``update(test_to=)`` of an ACTIVE server, ``act`` happening between its test and its swap."""
    other = plain.mailer()
    active(plain, other)
    transport = Meddling(NEW, lambda: act(other))
    plain.transports.append(transport)
    mailer = plain.mailer(transport=transport)
    return mailer, lambda: mailer.servers.update("s", provider=with_key(plain, "sendgrid", NEW), test_to="me@example.org")


def test_the_old_key_dies_while_the_new_one_is_tested(plain):
    """What the ESP said of the old key pauses no server that has it no more."""

    def revoke(other):
        plain.sandbox.keys("sendgrid", [NEW])
        assert other.send(message()).status is SendStatus.QUEUED
        assert other.servers.get("s").paused_by == "engine"

    mailer, update = meddled(plain, revoke)
    changed = update()
    assert (changed.status, changed.paused_by, changed.reason) == (Status.ACTIVE, "", "")
    mailer.worker().drain()
    assert plain.sandbox.count() == 2  # the test, and the mail that waited


def test_a_person_pauses_while_the_new_key_is_tested(plain):
    _, update = meddled(plain, lambda other: other.servers.pause("s", reason="stop"))
    changed = update()
    assert (changed.status, changed.reason, changed.proven) == (Status.PAUSED, "stop", True)


def test_somebody_else_edits_while_the_new_key_is_tested(plain):
    _, update = meddled(plain, lambda other: other.servers.update("s", name="theirs", quota=CalendarQuota(day=3)))
    changed = update()
    assert (changed.name, changed.limits, changed.active) == ("theirs", (CalendarQuota(day=3),), True)
    assert changed.provider.api_key.reveal() == NEW


def test_somebody_else_changes_the_sender_while_the_new_key_is_tested(plain):
    mailer, update = meddled(plain, lambda other: other.servers.update("s", sender="Else <else@example.com>"))
    with pytest.raises(NotProven, match="changed by another"):
        update()
    now = mailer.servers.get("s")
    assert (now.status, now.provider.api_key.reveal()) == (Status.PAUSED, OLD)


# -- under load ----------------------------------------------------------------------------------------

LOAD = 160


def loaded(live, esp, *, route, servers=("s",), mode="queue"):
    mailer = live.mailer()
    for one in servers:
        active(live, mailer, esp, key=OLD if one == "s" else "AKIAOTHERKEY", id=one, quota=CalendarQuota(day=10_000))
    mailer.routes.add(route, list(servers), when_exhausted=mode)
    live.sandbox.fault(esp, "latency", times=None, seconds=0.03)
    mailer.enqueue(messages(LOAD), route=route)
    return mailer


def once_each(live, esp):
    """Everybody's mail came, and to each once; the test emails are left out."""
    got = sorted(mail.to[0] for mail in live.sandbox.received(esp) if mail.to[0] != "me@example.org")
    return got == sorted(one.to[0].email for one in messages(LOAD))


@pytest.mark.parametrize("esp", ESPS)
def test_a_key_rotated_in_mid_run(live, esp):
    """The old key is refused, late, from before the swap on. Nothing is lost, nothing twice, and the server stays ACTIVE."""
    mailer = loaded(live, esp, route="r")
    seen = set()

    def over():
        seen.add(mailer.servers.get("s").status)
        return seen != {Status.ACTIVE} or sum(mailer.outbox.counts().values()) == 0

    with running(mailer, concurrency=20):
        assert eventually(lambda: live.sandbox.count(esp) > LOAD // 5)
        # From now on the answers to the old key come late, and are refusals: some land after the swap.
        live.sandbox.fault(esp, "latency", times=None, seconds=1.0, credential=OLD)
        live.sandbox.fault(esp, "bad_key", times=None, credential=OLD)
        assert eventually(lambda: any(one.fault == "bad_key" for one in live.sandbox.requests(esp)))
        swapped = mailer.servers.update("s", provider=with_key(live, esp, NEW), test_to="me@example.org")
        assert swapped.status is Status.ACTIVE
        live.sandbox.keys(esp, [NEW])
        assert eventually(over)
    assert seen == {Status.ACTIVE}
    assert once_each(live, esp)
    assert mailer.servers.get("s") == swapped  # not even paused for a moment: its version has not moved
    assert any(one.fault == "bad_key" for one in live.sandbox.requests(esp))
    assert set(keys_used(live, esp)) == {OLD, NEW}
    assert used(mailer, "s") == {"the server s": LOAD + 1}  # what was refused was given back; the test counts


@pytest.mark.parametrize("esp", ESPS)
def test_a_key_revoked_in_mid_run_and_the_mail_waits(live, esp):
    mailer = loaded(live, esp, route="r")
    with running(mailer, concurrency=20):
        assert eventually(lambda: live.sandbox.count(esp) > LOAD // 5)
        live.sandbox.keys(esp, [NEW])
        assert eventually(lambda: mailer.servers.get("s").status is Status.PAUSED)
        assert eventually(lambda: mailer.outbox.counts()["sending"] + mailer.outbox.counts()["leased"] == 0)
        server, sent = mailer.servers.get("s"), live.sandbox.count(esp)
        assert server.paused_by == "engine"
        assert server.reason
        assert mailer.outbox.counts()["ready"] == LOAD - sent  # it waits, and none is dead or in doubt
        assert {mail.attempts for mail in mailer.outbox.list(state="ready", limit=LOAD)} == {0}
        assert used(mailer, "s") == {"the server s": sent}  # nothing was spent on it
        assert not mailer.servers.check("s")
        proven = mailer.servers.update("s", provider=with_key(live, esp, NEW), test_to="me@example.org")
        assert (proven.status, proven.proven) == (Status.PAUSED, True)
        mailer.servers.activate("s")
        assert eventually(lambda: sum(mailer.outbox.counts().values()) == 0)
    assert once_each(live, esp)
    assert used(mailer, "s") == {"the server s": LOAD + 1}


@pytest.mark.parametrize("esp", ESPS)
def test_a_key_revoked_in_mid_run_and_the_mail_fails_over(live, esp):
    mailer = loaded(live, esp, route="r", servers=("s", "t"), mode="failover")
    with running(mailer, concurrency=20):
        assert eventually(lambda: live.sandbox.count(esp) > LOAD // 5)
        live.sandbox.keys(esp, ["AKIAOTHERKEY"])
        assert eventually(lambda: sum(mailer.outbox.counts().values()) == 0)
    assert once_each(live, esp)
    assert [mailer.servers.get(one).status for one in "st"] == [Status.PAUSED, Status.ACTIVE]
    by = live.carriers(esp)
    assert used(mailer, "s") == {"the server s": by.count("s")}
    assert used(mailer, "t") == {"the server t": by.count("t")}
    assert by.count("s") + by.count("t") == LOAD
