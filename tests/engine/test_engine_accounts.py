"""Accounts: none sees another's servers, routes, budgets or mail; each has its own zone."""

from datetime import UTC, datetime, timedelta

import pytest
from engine_kit import NOON, message, messages, used

from deliverykit import AlreadyExists, Budget, CalendarQuota, ConfigurationError, NotFound, SendStatus


def two(world):
    mailer = world.mailer()
    mailer.accounts.add("acme", timezone="Asia/Tokyo")
    mailer.accounts.add("bolt", timezone="America/New_York")
    return mailer, mailer.account("acme"), mailer.account("bolt")


def test_none_sees_another(world):
    mailer, acme, bolt = two(world)
    world.server(acme, "s", budgets=[Budget(name="plan", limits=(CalendarQuota(day=50),))])
    acme.routes.add("r", ["s"])
    (uid,) = acme.enqueue(messages(1), route="r")
    for other in (bolt, mailer):
        assert other.servers.list() == ()
        assert other.routes.list() == ()
        assert other.budgets.list() == ()
        assert other.outbox.list() == ()
        assert sum(other.outbox.counts().values()) == 0
        assert other.log.list() == ()
        for call in (
            lambda other=other: other.servers.get("s"),
            lambda other=other: other.servers.pause("s"),
            lambda other=other: other.servers.update("s", name="mine"),
            lambda other=other: other.servers.remove("s", force=True),
            lambda other=other: other.servers.send_test("s", to="me@example.org"),
            lambda other=other: other.servers.quota("s"),
            lambda other=other: other.routes.get("r"),
            lambda other=other: other.routes.remove("r", cancel=True),
            lambda other=other: other.budgets.get("plan"),
            lambda other=other: other.outbox.get(uid),
            lambda other=other: other.log.get(uid),
            lambda other=other: other.send(message(), route="r"),
        ):
            with pytest.raises(NotFound):
                call()
        with pytest.raises(ConfigurationError):
            other.routes.add("mine", ["s"])
        with pytest.raises(ConfigurationError):
            other.servers.add(name="S", provider=world.provider(), budgets=["plan"])
    mailer.worker().drain()  # one worker serves all accounts
    assert world.carriers() == ["s"]
    assert [line.outcome for line in acme.log.get(uid).lines] == ["accepted"]
    assert [line.id for line in acme.log.list(recipient="u0@example.org")] == [uid]
    assert bolt.log.list() == bolt.log.list(recipient="u0@example.org") == ()
    with pytest.raises(NotFound):
        bolt.log.get(uid)


def test_the_same_names_in_two_accounts(world):
    _, acme, bolt = two(world)
    for one, key in ((acme, "SG.acme"), (bolt, "SG.bolt")):
        world.server(one, "s", key=key, quota=CalendarQuota(day=2))
        one.routes.add("r", ["s"])
    acme.send(message(), route="r")
    acme.send(message(), route="r")
    assert acme.send(message(), route="r").status is SendStatus.QUEUED
    assert bolt.send(message(), route="r").status is SendStatus.ACCEPTED
    assert [mail.credential for mail in world.sandbox.received()] == ["SG.acme", "SG.acme", "SG.bolt"]
    assert used(bolt, "s") == {"the server s": 1}


def test_a_throttle_and_a_pause_stay_in_their_account(world):
    mailer, acme, bolt = two(world)
    for one in (acme, bolt):
        world.server(one, "s", "elasticemail", key="shared", quota=CalendarQuota(day=9))
    world.sandbox.fault("elasticemail", "bad_key")
    assert acme.send(message()).status is SendStatus.QUEUED
    assert not acme.servers.get("s").active
    assert bolt.servers.get("s").active
    assert bolt.send(message()).status is SendStatus.ACCEPTED
    mailer.worker().drain()
    assert world.sandbox.count() == 1


def test_each_in_its_own_zone(world):
    mailer, acme, bolt = two(world)
    ends = {}
    for one, name in ((acme, "acme"), (bolt, "bolt"), (mailer, "default")):
        world.server(one, "s", quota=CalendarQuota(day=1))
        one.send(message())
        result = one.send(message())
        ends[name] = result.goes_at
    assert ends == {
        "acme": datetime(2026, 11, 24, 15, tzinfo=UTC),
        "bolt": datetime(2026, 11, 25, 5, tzinfo=UTC),
        "default": datetime(2026, 11, 25, tzinfo=UTC),
    }
    world.clock.set(NOON + timedelta(hours=4))
    mailer.worker().drain()
    assert sum(acme.outbox.counts().values()) == 0
    assert bolt.outbox.counts()["ready"] == mailer.outbox.counts()["ready"] == 1


def test_an_account_is_repeatable_and_found(world, restarted):
    mailer, *_ = two(world)
    assert [one.id for one in mailer.accounts.list()] == ["default", "acme", "bolt"]
    acme = mailer.accounts.add("acme", timezone="Asia/Tokyo")
    world.server(acme, "its")
    assert [one.id for one in mailer.account("acme").servers.list()] == ["its"], "what is returned is bound to the account"
    assert mailer.servers.list() == ()
    with pytest.raises(AlreadyExists) as told:
        mailer.accounts.add("acme", timezone="Asia/Seoul")
    assert told.value.fields == ("timezone",)
    mailer = restarted()
    assert mailer.accounts.get("bolt").timezone == "America/New_York"
    with pytest.raises(NotFound, match="id='none': there is no such account; add it"):
        mailer.account("none")
    with pytest.raises(NotFound):
        mailer.accounts.update("none", timezone="UTC")
    for wrong in ("", "a b", "ä", "x" * 65, None):
        with pytest.raises(ConfigurationError, match="id"):
            mailer.accounts.add(wrong, timezone="UTC")


def test_the_default_accounts_zone_is_remembered(world, restarted):
    mailer = world.mailer(timezone="Asia/Kolkata")
    world.server(mailer, "s", quota=CalendarQuota(day=1))
    mailer = restarted()
    assert mailer.accounts.get("default").timezone == "Asia/Kolkata"
    mailer.send(message())
    assert mailer.send(message()).goes_at == datetime(2026, 11, 24, 18, 30, tzinfo=UTC)
