"""Limits together or not at all; and whatever can bring quota sooner lets waiting mail go at once."""

import sqlite3
import time
from datetime import UTC, datetime, timedelta

import pytest
from engine_kit import NOON, Held, World, eventually, message, messages, running, used

from deliverykit import Budget, CalendarQuota, ConfigurationError, Mailer, Named, Pause, Rate, RollingQuota, SendStatus
from deliverykit.transports import HttpTransport

ONE, TWO, FIVE = CalendarQuota(day=1), CalendarQuota(day=2), CalendarQuota(day=5)


def test_a_budget_is_shared(world):
    mailer = world.mailer()
    plan = Budget(name="plan", limits=(CalendarQuota(day=3),))
    world.server(mailer, "a", budgets=[plan])
    world.server(mailer, "b", budgets=["plan"])
    mailer.routes.add("r", ["a", "b"], strategy="round_robin")
    results = [mailer.send(one, route="r") for one in messages(5)]
    assert world.carriers() == ["a", "b", "a"]
    assert [one.status for one in results[3:]] == [SendStatus.QUEUED] * 2
    assert used(mailer, "a") == used(mailer, "b") == {"budget plan": 3}
    mailer.servers.remove("a", force=True)
    world.server(mailer, "a2")
    mailer.servers.update("a2", budgets=["plan"])
    assert used(mailer, "a2") == {"budget plan": 3}  # the count outlives its servers
    mailer.budgets.update("plan", CalendarQuota(day=4))
    mailer.worker().drain()
    assert len(world.carriers()) == 1  # since the last server was proven
    with pytest.raises(ConfigurationError, match="did you mean 'plan"):
        mailer.servers.update("a2", budgets=["plam"])
    with pytest.raises(ConfigurationError, match=r"budgets\.update"):
        mailer.servers.update("a2", budgets=[plan])


@pytest.mark.parametrize("by", ["send", "worker"])
def test_mail_whose_window_ends_before_it_leaves_is_counted_where_it_leaves(world, by):
    """The host's vault takes until the next hour: the unit of the old one goes back, and the mail asks again."""
    slow = []

    def vault():
        if slow:
            world.clock.advance(timedelta(seconds=slow.pop()))
        return "SG.named"

    mailer = world.mailer(credentials={"main": vault})
    world.server(mailer, "s", key=Named("main"), quota=CalendarQuota(hour=1))
    world.clock.set(NOON.replace(minute=59, second=50))
    slow.append(15)
    if by == "send":
        assert mailer.send(message()).status is SendStatus.ACCEPTED
    else:
        mailer.enqueue(messages(1))
        mailer.worker().drain()
    assert world.carriers() == ["s"]
    assert list(used(mailer, "s").values()) == [1]
    assert mailer.send(message(2)).status is SendStatus.QUEUED, "the new hour has one, and that is spent"


def test_an_account_limit(world):
    mailer = world.mailer()
    mailer.accounts.add("acme", timezone="Asia/Tokyo", quota=CalendarQuota(day=4))
    acme = mailer.account("acme")
    world.server(acme, "a")
    world.server(acme, "b")  # each was proven by an email of this account
    acme.routes.add("r", ["a", "b"])
    assert [acme.send(one, route="r").status for one in messages(3)] == [SendStatus.ACCEPTED] * 2 + [SendStatus.QUEUED]
    (view,) = acme.servers.quota("a")
    assert (view.owner, view.used, view.left) == ("account", 4, 0)
    assert view.resets_at == datetime(2026, 11, 24, 15, tzinfo=UTC)  # midnight in Tokyo


def test_a_host_limit_is_over_all_accounts(world):
    host = CalendarQuota(day=4)
    mailer = world.mailer(quota=host)
    mailer.accounts.add("acme", timezone="Asia/Tokyo")
    acme = mailer.account("acme")
    world.server(mailer, "a")
    world.server(acme, "b")
    assert mailer.send(message())
    assert acme.send(message()).status is SendStatus.ACCEPTED
    assert mailer.send(message()).status is SendStatus.QUEUED
    assert acme.send(message()).status is SendStatus.QUEUED
    acme.enqueue(messages(2))
    mailer.worker().drain()
    assert world.sandbox.count() == 2  # the two tests were counted as well
    assert used(mailer, "a") == used(acme, "b") == {"host": 4}


@pytest.mark.parametrize("now", [CalendarQuota(day=9), None])
def test_the_hosts_limit_is_changed_in_code(world, restarted, now):
    """Nothing in the store tells of it, so a new worker looks at what waits once."""
    mailer = world.mailer(quota=CalendarQuota(day=1))
    world.server(mailer, "a")
    mailer.enqueue(messages(2))
    mailer.worker().drain()
    assert mailer.outbox.counts()["ready"] == 2
    restarted(quota=now).worker().drain()
    assert world.sandbox.count() == 2


@pytest.mark.parametrize("last", ["host", "account", "budget", "other window"])
def test_a_refusal_by_the_last_spends_nothing_of_the_first(world, last):
    """Hour, day, budget, account and host are asked together; what was asked in vain is not charged."""
    options = {"quota": CalendarQuota(day=2)} if last == "host" else {}
    mailer = world.mailer(**options)
    mailer.accounts.add("acme", timezone="UTC", **({"quota": CalendarQuota(day=2)} if last == "account" else {}))
    acme = mailer.account("acme")
    world.server(acme, "a")
    budget = [Budget(name="plan", limits=(ONE,))] if last == "budget" else []
    own = CalendarQuota(hour=9, day=1) if last == "other window" else CalendarQuota(hour=9)
    acme.servers.update("a", quota=own, pause=timedelta(seconds=10), budgets=budget)
    assert acme.send(message()).status is SendStatus.ACCEPTED
    before = acme.servers.quota("a")
    assert acme.send(message()).status is SendStatus.QUEUED
    acme.enqueue(messages(3))
    acme_worker = mailer.worker()
    acme_worker.drain()
    assert acme.explain(message()).server is None
    assert acme.servers.quota("a") == before
    assert world.sandbox.count() == 1
    # The pace was not spent either: the next may go 10 s after the first, not later.
    world.clock.advance(11)
    if last == "budget":
        acme.budgets.update("plan", CalendarQuota(day=2))
    elif last == "account":
        acme_limits = CalendarQuota(day=3)
        mailer.accounts.update("acme", quota=acme_limits)
    elif last == "other window":
        acme.servers.update("a", quota=CalendarQuota(hour=9, day=2))
    else:
        return
    begun = world.clock.monotonic()
    assert acme.send(message()).status is SendStatus.ACCEPTED
    assert world.clock.monotonic() == begun


def test_a_mail_of_many_costs_many_and_a_pace_counts_emails(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=4), pause=timedelta(seconds=1))
    assert mailer.send(message(to=["a@example.org", "b@example.org"], cc="c@example.org"))
    assert used(mailer, "a") == {"the server a": 3}
    assert mailer.send(message(to=["a@example.org", "b@example.org"])).status is SendStatus.QUEUED
    assert mailer.send(message()).status is SendStatus.ACCEPTED
    world.server(mailer, "b", quota=CalendarQuota(day=2, counts="emails"))
    mailer.routes.add("b", ["b"])
    assert (
        mailer.send(message(to=["a@example.org", "b@example.org"], cc="c@example.org"), route="b").status is SendStatus.ACCEPTED
    )
    assert used(mailer, "b") == {"the server b": 1}


def test_a_big_mail_keeps_its_place(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=3))
    mailer.enqueue([message(1), message(2), message(3, to=["a@example.org", "b@example.org"]), message(4)])
    mailer.worker().drain()
    assert world.got() == ["u1@example.org", "u2@example.org"]
    world.clock.advance(timedelta(days=1))
    mailer.worker().drain()
    assert sorted(world.got()[2:]) == ["a@example.org", "u4@example.org"]


def test_the_pause_holds_between_send_worker_and_test(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.servers.update("a", pause=timedelta(seconds=3))
    begun = world.clock.monotonic()
    mailer.send(message())
    mailer.enqueue(messages(2))
    mailer.worker().drain()
    mailer.servers.send_test("a", to="me@example.org")
    other = world.mailer()
    other.send(message())
    assert world.clock.monotonic() - begun == pytest.approx(12, abs=0.01)
    assert world.sandbox.count() == 5


def test_send_waits_for_a_pace_only_so_long(world):
    mailer = world.mailer(max_wait=timedelta(seconds=2))
    world.server(mailer, "a", pause=timedelta(seconds=3))
    mailer.send(message())
    result = mailer.send(message())
    assert result.status is SendStatus.QUEUED
    assert NOON + timedelta(seconds=2.5) <= result.goes_at <= NOON + timedelta(seconds=3)
    assert world.clock.monotonic() == 0


def test_a_paced_first_server_is_waited_for_under_failover(world):
    mailer = world.mailer()
    world.server(mailer, "a", pause=timedelta(seconds=1))
    world.server(mailer, "b")
    mailer.routes.add("r", ["a", "b"])
    for one in messages(3):
        mailer.send(one, route="r")
    mailer.enqueue(messages(3), route="r")
    mailer.worker().drain()
    assert world.carriers() == ["a"] * 6


# -- whatever can bring quota sooner -------------------------------------------------------------------


def raise_limit(world: World, mailer: Mailer) -> None:
    mailer.servers.update("a", quota=CalendarQuota(month=2))


def activate(world: World, mailer: Mailer) -> None:
    mailer.servers.activate("b")


def edit_route(world: World, mailer: Mailer) -> None:
    mailer.routes.update("r", servers=["a", "c"])


def raise_budget(world: World, mailer: Mailer) -> None:
    mailer.budgets.update("plan", CalendarQuota(month=2))


def resume(world: World, mailer: Mailer) -> None:
    mailer.servers.update("a", quota=None)


def move(world: World, mailer: Mailer) -> None:
    mailer.routes.remove("r", move_to="other")


@pytest.mark.parametrize("change", [raise_limit, activate, edit_route, raise_budget, resume, move])
def test_waiting_mail_goes_within_one_poll(live, change):
    mailer, other = live.mailer(), live.mailer()
    live.server(mailer, "a", quota=CalendarQuota(month=1))
    live.server(mailer, "b")
    live.server(mailer, "c")
    mailer.servers.pause("b")
    mailer.routes.add("r", ["a", "b"])
    mailer.routes.add("other", ["c"])
    if change is raise_budget:
        mailer.servers.update("a", quota=None, budgets=[Budget(name="plan", limits=(CalendarQuota(month=1),))])
    mailer.send(message(), route="r")
    mailer.enqueue(messages(1), route="r")
    with running(mailer):
        assert eventually(lambda: any(mail.goes_at for mail in other.outbox.list()))  # the lane is blocked
        time.sleep(0.3)
        assert live.sandbox.count() == 1
        change(live, other)
        assert eventually(lambda: live.sandbox.count() == 2)


def test_another_zone_brings_another_day(world):
    """Waiting mail is asked for again, by the new zone's days."""
    world.clock.set(datetime(2026, 11, 24, 18, 29, 0, tzinfo=UTC))  # 23:59 in Kolkata
    mailer = world.mailer()
    mailer.accounts.add("acme", timezone="UTC")
    acme = mailer.account("acme")
    world.server(acme, "a", quota=CalendarQuota(day=2))
    assert [acme.send(one).status for one in messages(3)] == [SendStatus.ACCEPTED] * 2 + [SendStatus.QUEUED]
    mailer.worker().drain()
    assert acme.outbox.list()[0].goes_at == datetime(2026, 11, 25, tzinfo=UTC)
    mailer.accounts.update("acme", timezone="Asia/Kolkata")
    assert used(acme, "a") == {"the server a": 2}
    mailer.worker().drain()
    # The day that begins in a minute overlaps with what was sent, so it is no second budget; the one after is free of it.
    assert acme.outbox.list()[0].goes_at == datetime(2026, 11, 25, 18, 30, tzinfo=UTC)
    world.clock.set(datetime(2026, 11, 25, 18, 29, tzinfo=UTC))
    mailer.worker().drain()
    assert world.sandbox.count() == 2
    world.clock.advance(61)
    mailer.worker().drain()
    assert world.sandbox.count() == 3


def test_the_zone_that_the_code_names_is_not_changed_behind_it(world):
    mailer = world.mailer(timezone="Asia/Kolkata")
    assert mailer.accounts.get("default").timezone == "Asia/Kolkata"
    with pytest.raises(ConfigurationError, match=r"timezone.*Mailer\(timezone="):
        mailer.accounts.update("default", timezone="UTC")
    assert mailer.accounts.update("default", quota=FIVE).timezone == "Asia/Kolkata"
    assert world.mailer(timezone="Asia/Tokyo").accounts.get("default").timezone == "Asia/Tokyo"
    assert world.mailer().accounts.get("default").timezone == "Asia/Tokyo"


@pytest.mark.parametrize("scope", ["own", "host"])
def test_a_refund_lets_waiting_mail_go(live, scope):
    """The unit of a refused mail comes back while another lane, or another account, waits for it."""
    limit = CalendarQuota(month=3 if scope == "host" else 1)
    held = Held(HttpTransport())
    options = {"quota": limit} if scope == "host" else {}
    mailer = live.mailer(**options)
    mailer.accounts.add("acme", timezone="UTC")
    acme = mailer.account("acme")
    live.server(mailer, "a", **({"quota": limit} if scope == "own" else {}))
    live.server(acme, "b")
    waits = acme if scope == "host" else mailer
    live.sandbox.fault("sendgrid", "rejected")
    mailer.enqueue([message(1, stream="one")])
    with running(live.mailer(transport=held, **options)):
        assert held.arrived.wait(90)
        waits.enqueue([message(2, stream="two")])
        assert eventually(lambda: any(one.goes_at for one in waits.outbox.list() if one.state == "ready"))
        assert live.sandbox.count() == 0
        held.release()
        assert eventually(lambda: live.sandbox.count() == 1)
    held.close()
    assert live.got() == ["u2@example.org"]
    assert mailer.outbox.counts()["dead"] == 1


def test_waiting_costs_no_write(live):
    mailer = live.mailer()
    live.server(mailer, "a")
    mailer.servers.update("a", quota=CalendarQuota(month=0))
    mailer.enqueue(messages(1000))
    with sqlite3.connect(live.path, isolation_level=None) as looking, running(mailer, poll=timedelta(milliseconds=50)):
        assert eventually(lambda: looking.execute("select max(blocked_until) from dk_lane").fetchone()[0] > 0)
        time.sleep(0.2)
        version = looking.execute("pragma data_version").fetchone()
        size = (live.path.parent / "mail.db-wal").stat().st_size
        time.sleep(1)
        assert looking.execute("pragma data_version").fetchone() == version
        assert (live.path.parent / "mail.db-wal").stat().st_size == size
        assert looking.execute("select count(*), sum(attempts) from dk_mail where state=0").fetchone() == (1000, 0)
    looking.close()
    assert live.sandbox.count() == 0


def test_a_rolling_quota_and_a_rate(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=RollingQuota(limit=2, per=timedelta(hours=1)), pause=Rate(10))
    assert [mailer.send(one).status for one in messages(3)] == [SendStatus.ACCEPTED] * 2 + [SendStatus.QUEUED]
    mailer.worker().drain()
    (waiting,) = mailer.outbox.list()
    assert NOON + timedelta(minutes=60) <= waiting.goes_at <= NOON + timedelta(minutes=62)
    world.clock.set(waiting.goes_at)
    mailer.worker().drain()
    assert world.sandbox.count() == 3


def test_paces_and_quotas_of_one_kind_are_one(world):
    mailer = world.mailer()
    with pytest.raises(ConfigurationError, match="two limits of the same kind"):
        world.server(mailer, "a", quota=[CalendarQuota(day=1), CalendarQuota(hour=1)])
    server = world.server(mailer, "b", quota=[CalendarQuota(day=5), RollingQuota(limit=2, per=timedelta(hours=1))])
    assert len(server.limits) == 2
    assert mailer.servers.update("b", pause=Pause(timedelta(seconds=1))).limits[:2] == server.limits
    mailer.routes.add("b", ["b"])
    assert [mailer.send(one, route="b").status for one in messages(3)][-1] is SendStatus.QUEUED
