"""The life of a delivery server: saved PAUSED, proven, activated, changed, paused, removed."""

from datetime import timedelta

import pytest
from engine_kit import World, message, messages, used

from deliverykit import (
    AlreadyExists,
    CalendarQuota,
    ConfigurationError,
    MessageError,
    NotFound,
    NotProven,
    Rate,
    SendStatus,
    Status,
    Unsupported,
)
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.words.outcomes import Unknown


def saved(world: World, mailer, esp="sendgrid", **fields):
    return mailer.servers.add(id="s", name="S", provider=world.provider(esp), sender="News <news@example.com>", **fields)


def test_saved_paused_and_there_after_a_restart(world, restarted):
    mailer = world.mailer()
    added = saved(world, mailer, quota=CalendarQuota(hour=5), pause=timedelta(seconds=2), senders=["example.com"])
    assert added.status is Status.PAUSED
    again = restarted()
    assert again.servers.get("s") == added
    assert again.servers.list() == (added,)
    assert again.servers.get("s").provider.api_key.reveal() == "SG.any"


def test_carries_nothing_but_its_test_until_it_is_active(world):
    mailer = world.mailer()
    saved(world, mailer)
    mailer.routes.add("r", ["s"])
    assert mailer.send(message(), route="r").status is SendStatus.QUEUED
    mailer.enqueue(messages(2), route="r")
    mailer.worker().drain()
    assert world.sandbox.count() == 0
    test = mailer.servers.send_test("s", to="me@example.org")
    assert test
    assert test.proof
    assert [mail.to for mail in world.sandbox.received()] == [("me@example.org",)]
    mailer.worker().drain()
    assert world.sandbox.count() == 1
    mailer.servers.activate("s")
    mailer.worker().drain()
    assert world.sandbox.count() == 4


CHANGES = {
    "credentials": {"provider": lambda world: world.provider(key="SG.new")},
    "address": {"provider": lambda world: world.provider(base_url=world.sandbox.url("sendgrid") + "/")},
    "forced sender": {"sender": lambda world: "Other <other@example.com>"},
    "no forced sender": {"sender": lambda world: None},
}


@pytest.mark.parametrize("change", CHANGES)
def test_activate_needs_a_test_since_the_last_change(world, change, restarted):
    mailer = world.mailer()
    saved(world, mailer)
    with pytest.raises(NotProven, match="send_test"):
        mailer.servers.activate("s")
    mailer.servers.send_test("s", to="me@example.org")
    assert mailer.servers.activate("s").active
    values = {name: value(world) for name, value in CHANGES[change].items()}
    changed = mailer.servers.update("s", **values)
    assert (changed.status, changed.proven) == (Status.PAUSED, False)
    mailer = restarted()
    with pytest.raises(NotProven):
        mailer.servers.activate("s")
    sender = {"sender": "me@example.com"} if change == "no forced sender" else {}
    assert mailer.servers.send_test("s", to="me@example.org", **sender).proof
    assert mailer.servers.activate("s").active


@pytest.mark.parametrize(
    ("esp", "change"),
    [("ses", {"region": "eu-west-1"}), ("mailgun", {"domain": "mg.example.com"}), ("mailgun", {"region": "eu"})],
)
def test_region_and_domain_need_another_test(world, esp, change):
    mailer = world.mailer()
    saved(world, mailer, esp)
    assert mailer.servers.send_test("s", to="me@example.org").proof
    mailer.servers.activate("s")
    assert mailer.servers.update("s", provider=world.provider(esp, **change)).status is Status.PAUSED
    with pytest.raises(NotProven):
        mailer.servers.activate("s")


@pytest.mark.parametrize("change", [{"name": "T"}, {"quota": CalendarQuota(day=9)}, {"pause": timedelta(seconds=1)}])
def test_what_is_no_matter_of_proof_keeps_it(world, change):
    mailer = world.mailer()
    saved(world, mailer)
    mailer.servers.send_test("s", to="me@example.org")
    mailer.servers.activate("s")
    changed = mailer.servers.update("s", **change)
    assert (changed.active, changed.proven) == (True, True)


def test_a_test_in_doubt_proves_nothing(world):
    mailer = world.mailer(transport=world.hasty())
    saved(world, mailer)
    world.sandbox.fault("sendgrid", "hang", seconds=0.05)
    test = mailer.servers.send_test("s", to="me@example.org")
    assert (test.status, test.proof) == (SendStatus.IN_DOUBT, False)
    assert "proves nothing" in test.reason
    assert isinstance(test.attempts[0].outcome, Unknown)
    assert sum(mailer.outbox.counts().values()) == 0
    with pytest.raises(NotProven):
        mailer.servers.activate("s")


def test_a_test_without_quota_proves_nothing(world):
    mailer = world.mailer()
    saved(world, mailer, quota=CalendarQuota(day=1))
    mailer.servers.send_test("s", to="me@example.org")
    mailer.servers.update("s", provider=world.provider(key="SG.other"))
    test = mailer.servers.send_test("s", to="me@example.org")
    assert (test.status, test.proof) == (SendStatus.REJECTED, False)
    assert "quota" in test.reason
    assert "proves nothing" in test.reason
    assert test.goes_at is not None
    assert world.sandbox.count() == 1
    assert sum(mailer.outbox.counts().values()) == 0
    with pytest.raises(NotProven):
        mailer.servers.activate("s")


def test_a_refused_test_proves_nothing(world):
    mailer = world.mailer()
    saved(world, mailer)
    for fault in ("bad_key", "rejected", "throttle", "server_error"):
        world.sandbox.fault("sendgrid", fault, **({"retry_after": 1} if fault == "throttle" else {}))
        test = mailer.servers.send_test("s", to="me@example.org")
        assert not test.proof
        assert "proves nothing" in test.reason
        world.clock.advance(timedelta(days=2))
    assert sum(mailer.outbox.counts().values()) == 0
    with pytest.raises(NotProven):
        mailer.servers.activate("s")


def test_the_simulator_proves_nothing(world):
    mailer = world.mailer()
    saved(world, mailer, "ses")
    test = mailer.servers.send_test("s", to="success@simulator.amazonses.com")
    assert test
    assert not test.proof
    assert "simulator" in test.reason
    with pytest.raises(NotProven):
        mailer.servers.activate("s")


def test_a_test_goes_as_later_mail_will(world):
    mailer = world.mailer()
    saved(world, mailer, quota=CalendarQuota(day=10), pause=timedelta(seconds=4))
    mailer.servers.send_test("s", to="me@example.org")
    mailer.servers.send_test("s", to="me@example.org")
    assert world.clock.monotonic() == 4.0  # the pause was waited for, on the clock
    assert used(mailer, "s") == {"S": 2}
    assert {mail.sender for mail in world.sandbox.received()} == {"news@example.com"}


def test_a_test_needs_a_sender_the_server_may_use(world):
    mailer = world.mailer()
    mailer.servers.add(id="s", name="S", provider=world.provider(), senders=["example.com"])
    with pytest.raises(MessageError, match=r"send_test\(sender="):
        mailer.servers.send_test("s", to="me@example.org")
    with pytest.raises(Unsupported, match="may not send for elsewhere.org"):
        mailer.servers.send_test("s", to="me@example.org", sender="me@elsewhere.org")
    assert mailer.servers.send_test("s", to="me@example.org", sender="me@example.com").proof


def test_nothing_is_admitted_once_pause_has_returned(world):
    mailer, other = world.mailer(), world.mailer()
    world.server(mailer, "s")
    mailer.routes.add("r", ["s"])
    assert other.send(message(), route="r").status is SendStatus.ACCEPTED  # it knows the server as ACTIVE
    other.enqueue(messages(5), route="r")
    worker = other.worker()
    assert mailer.servers.pause("s", reason="holiday").reason == "holiday"
    worker.drain()  # the first that this Mailer does since; nothing has told it but the store
    assert world.sandbox.count() == 1
    assert other.send(message(), route="r").status is SendStatus.QUEUED
    assert world.sandbox.count() == 1
    assert other.servers.get("s").paused_by == "host"


def test_remove(world):
    mailer = world.mailer(transport=world.hasty())
    world.server(mailer, "s")
    world.server(mailer, "t")
    mailer.routes.add("r", ["s", "t"])
    with pytest.raises(ConfigurationError, match="named by route r"):
        mailer.servers.remove("s")
    world.sandbox.fault("sendgrid", "hang", seconds=0.05)
    assert mailer.send(message(), route="r").status is SendStatus.IN_DOUBT
    mailer.routes.update("r", servers=["t"])
    with pytest.raises(ConfigurationError, match="in doubt"):
        mailer.servers.remove("s")
    mailer.servers.remove("s", force=True)
    with pytest.raises(NotFound):
        mailer.servers.get("s")
    mailer.servers.remove("t", force=True)
    assert mailer.routes.get("r").servers == ()
    assert [mail.server for mail in mailer.outbox.list(state="in_doubt")] == ["s"]


def test_a_removed_server_comes_back_with_its_count(world):
    mailer = world.mailer()
    world.server(mailer, "s", quota=CalendarQuota(day=2))
    mailer.send(message())
    mailer.servers.remove("s")
    again = saved(world, mailer, quota=CalendarQuota(day=2))
    assert again.status is Status.PAUSED
    assert used(mailer, "s") == {"S": 1}


def test_add_with_an_id_is_repeatable(world, restarted):
    mailer = world.mailer()
    values = {"quota": CalendarQuota(hour=3), "pause": timedelta(milliseconds=5), "senders": ["example.com", "ann@example.net"]}
    saved(world, mailer, **values)
    mailer.servers.send_test("s", to="me@example.org")
    active = mailer.servers.activate("s")
    mailer = restarted()
    assert saved(world, mailer, **values) == active
    assert len(mailer.servers.list()) == 1
    with pytest.raises(AlreadyExists, match=r"quota|limits") as told:
        mailer.servers.add(
            id="s", name="T", provider=world.provider(key="SG.x"), sender="News <news@example.com>", quota=CalendarQuota(hour=4)
        )
    assert set(told.value.fields) == {"name", "provider", "senders", "limits"}
    assert mailer.servers.get("s") == active


def test_update_keeps_counts(world):
    mailer = world.mailer()
    world.server(mailer, "s", quota=CalendarQuota(day=3))
    for one in messages(3):
        mailer.send(one)
    mailer.servers.update("s", quota=CalendarQuota(day=5, month=100))
    assert [view.used for view in mailer.servers.quota("s")] == [3, 3]
    assert [mailer.send(one).status for one in messages(3)] == [SendStatus.ACCEPTED] * 2 + [SendStatus.QUEUED]


def test_update_keeps_every_limit_it_does_not_name(world):
    mailer = world.mailer()
    limits = [CalendarQuota(day=3), Rate(1000)]
    world.server(mailer, "s", quota=limits, pause=timedelta(milliseconds=1))
    assert mailer.servers.update("s", name="Other").limits == mailer.servers.get("s").limits
    kinds = [type(limit).__name__ for limit in mailer.servers.update("s", quota=CalendarQuota(day=4)).limits]
    assert kinds == ["CalendarQuota", "Rate", "Pause"]
    kinds = [type(limit).__name__ for limit in mailer.servers.update("s", pause=None).limits]
    assert kinds == ["CalendarQuota"]


def test_a_quota_of_nothing(world):
    mailer = world.mailer()
    with pytest.raises(ConfigurationError, match=r"day=0.*leave day out"):
        saved(world, mailer, quota=CalendarQuota(day=0))
    assert mailer.servers.list() == ()
    world.server(mailer, "s")
    mailer.servers.update("s", quota=CalendarQuota(day=0))
    result = mailer.send(message())
    assert (result.status, result.goes_at) == (SendStatus.QUEUED, None)
    mailer.worker().drain()
    world.clock.advance(timedelta(days=40))
    mailer.worker().drain()
    assert world.sandbox.count() == 0
    mailer.servers.update("s", quota=None)
    mailer.worker().drain()
    assert world.sandbox.count() == 1


def test_a_zone_nobody_knows(world):
    with pytest.raises(ConfigurationError, match="Asia/Kolkata"):
        world.mailer(timezone="Asia/Kolkatta")
    mailer = world.mailer()
    with pytest.raises(ConfigurationError, match="Asia/Tokyo"):
        mailer.accounts.add("acme", timezone="Asia/Tokio")


@pytest.mark.parametrize("number", [2000, 2000.0])
def test_a_pause_without_a_unit(world, number):
    mailer = world.mailer()
    with pytest.raises(ConfigurationError, match=rf"timedelta\(milliseconds={number}\)"):
        saved(world, mailer, pause=number)
    assert mailer.servers.list() == ()


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: SES(region="mumbai", access_key_id="a", secret_access_key="b"), "region"),
        (lambda: SES(region="ap-south-1", secret_access_key="b"), "access_key_id"),
        (lambda: SES(region="ap-south-1", access_key_id="a"), "secret_access_key"),
        (
            lambda: SES(region="ap-south-1", access_key_id="a", secret_access_key="b", configuration_set="x y"),
            "configuration_set",
        ),
        (lambda: SendGrid(api_key=""), "api_key"),
        (lambda: SendGrid(api_key=12), "api_key"),
        (lambda: SendGrid(api_key="SG.x", base_url="api.sendgrid.com"), "base_url"),
        (lambda: Mailgun(api_key="k", domain=""), "domain"),
        (lambda: Mailgun(api_key="k", domain="example.com", region="asia"), "region"),
        (lambda: ElasticEmail(api_key="k\n"), "api_key"),
    ],
)
def test_a_wrong_field_is_refused_by_name(make, names):
    with pytest.raises(ConfigurationError, match=names) as told:
        make()
    assert "k\n" not in str(told.value)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"name": " "}, "^name"),
        ({"provider": "sendgrid"}, "^provider"),
        ({"sender": "nobody"}, "^sender"),
        ({"senders": ["not a domain"]}, "^senders"),
        ({"quota": 100}, "^quota"),
        ({"budgets": ["none"]}, "^budgets"),
        ({"id": "ein Server"}, "^id"),
    ],
)
def test_a_wrong_value_writes_nothing(world, fields, names):
    mailer = world.mailer()
    with pytest.raises(ConfigurationError, match=names):
        mailer.servers.add(**{"id": "s", "name": "S", "provider": world.provider(), **fields})
    assert mailer.servers.list() == ()
