"""A clock that was ahead and is set right: refused by name, accepted on purpose, and every count kept."""

import time
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from engine_kit import NOON, World, eventually, message, messages, running, used
from hypothesis import given
from hypothesis import strategies as st

from deliverykit import AsyncMailer, CalendarQuota, ClockError, Mailer, RollingQuota, SendStatus
from deliverykit.contracts.limit import QuotaPolicy
from deliverykit.contracts.storage import Step
from deliverykit.engine.admission.catalog import state_key
from deliverykit.providers import SendGrid
from deliverykit.storages import open_storage
from deliverykit.testing import ManualClock
from deliverykit.words.clock import instant
from deliverykit.words.wire import HttpResponse

YEAR = timedelta(days=365)
QUOTA = CalendarQuota(hour=4, day=6)


def ahead(world: World, by: timedelta = YEAR) -> None:
    world.clock.advance(by)


def back(world: World) -> None:
    world.clock.set(NOON)


@pytest.mark.parametrize("by", [YEAR, timedelta(days=1)])
def test_refused_by_name_and_nothing_is_lost_or_spent_twice(world: World, by: timedelta) -> None:
    mailer = world.mailer()
    world.server(mailer, "a", quota=QUOTA)
    ahead(world, by)
    assert [mailer.send(message(number)).status for number in range(5)] == [SendStatus.ACCEPTED] * 4 + [SendStatus.QUEUED]
    back(world)
    for refused in (lambda: mailer.send(message("x")), lambda: mailer.worker().drain()):
        with pytest.raises(ClockError, match=rf"says 2026-11-24T12:00:30Z.*seen {(NOON + by):%Y-%m-%d}T12:00:30Z"):
            refused()
    assert mailer.outbox.counts()["ready"] == 1
    moved = mailer.accept_clock()
    assert moved
    assert (moved.back, moved.accounts, moved.lanes) == (by, 1, 0)
    assert used(mailer, "a") == {"the server a": 4}
    mailer.worker().drain()
    assert world.sandbox.count() == 4, "the hour of the later clock is this hour"
    assert not mailer.accept_clock()
    world.clock.advance(3_600)
    mailer.worker().drain()
    assert [mailer.send(message(number)).status for number in (8, 9)] == [SendStatus.ACCEPTED, SendStatus.QUEUED]
    assert world.sandbox.count() == 6, "the day's count came along"
    assert used(mailer, "a") == {"the server a": 6}


def test_all_accounts_budgets_and_the_host(plain: World) -> None:
    mailer = plain.mailer(quota=CalendarQuota(day=20))
    mailer.accounts.add("acme", timezone="Asia/Tokyo", quota=CalendarQuota(day=3))
    acme = mailer.account("acme")
    plain.server(mailer, "a")
    plain.server(acme, "b")
    ahead(plain)
    for number in range(4):
        mailer.send(message(number))
        acme.send(message(number))
    back(plain)
    assert mailer.accept_clock().accounts == 3
    assert acme.send(message("late")).status is SendStatus.QUEUED
    views = {view.owner: view.used for view in acme.servers.quota("b")}
    assert views["account"] == 3
    # 4 + 3, and the two tests before the clock was ahead, whose count the later windows have forgotten.
    assert views["host"] == 7


def test_a_removed_servers_count_and_a_quota_that_was_taken_away_are_kept(plain: World) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=3))
    ahead(plain)
    for number in range(3):
        assert mailer.send(message(number)).status is SendStatus.ACCEPTED
    mailer.servers.update("a", quota=None)
    back(plain)
    mailer.accept_clock()
    mailer.servers.update("a", quota=CalendarQuota(day=3))
    assert used(mailer, "a") == {"the server a": 3}
    assert mailer.send(message("x")).status is SendStatus.QUEUED
    plain.clock.advance(timedelta(days=1))
    assert used(mailer, "a") == {"the server a": 0}


def test_a_small_step_back_needs_nothing(world: World) -> None:
    mailer = world.mailer()
    world.server(mailer, "a", quota=QUOTA)
    ahead(world, timedelta(minutes=59))
    assert mailer.send(message(1))
    back(world)
    assert mailer.send(message(2)).status is SendStatus.ACCEPTED
    assert mailer.worker().drain().accepted == 0


def test_a_retry_and_its_own_time(world: World) -> None:
    mailer = world.mailer()
    world.server(mailer, "a")
    (own,) = mailer.enqueue([message("own", send_at=NOON + timedelta(days=7))])
    ahead(world)
    world.sandbox.fault("sendgrid", "server_error", times=1, status=503)
    retry = mailer.send(message("retry"))
    assert retry.status is SendStatus.QUEUED
    assert mailer.outbox.get(retry.id).state == "scheduled"
    back(world)
    mailer.accept_clock()
    world.clock.advance(3_700)
    mailer.worker().drain()
    assert world.got() == ["uretry@example.org"]
    world.clock.set(NOON + timedelta(days=7))
    mailer.worker().drain()
    assert world.got() == ["uretry@example.org", "uown@example.org"]
    assert mailer.log.get(own).lines[-1].outcome == "accepted"


def test_mail_admitted_by_the_other_clock_asks_again(plain: World) -> None:
    """The clock is set right while mail waits for its slot: its unit belongs to a window that is no more."""

    class SetRightBeforeTheWire(ManualClock):
        done = False

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if not self.done and self.now() > instant(NOON + timedelta(days=300)):
                self.done = True
                self.set(NOON)

    plain.clock = SetRightBeforeTheWire(NOON)
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=5), pause=timedelta(milliseconds=200))
    ahead(plain)
    assert mailer.send(message(1)).status is SendStatus.ACCEPTED
    result = mailer.send(message(2))
    assert result.status is SendStatus.IN_DOUBT  # its end could not be stored, so no "try again"
    assert "mailer.accept_clock()" in result.reason
    assert plain.got() == ["u1@example.org"]
    (held,) = mailer.outbox.list()
    assert held.id == result.id
    mailer.accept_clock()
    plain.clock.advance(61)
    mailer.worker().drain()
    # Its row said "sending" when the clock went: in doubt, like any mail whose sender was stopped there.
    assert mailer.outbox.get(held.id).state == "in_doubt"


def test_a_running_worker_waits_for_the_clock_and_goes_on(live: World) -> None:
    clock = live.clock = ManualClock(NOON, running=True)
    mailer = live.mailer()
    live.server(mailer, "a", quota=CalendarQuota(day=20))
    with running(mailer):
        clock.advance(YEAR)
        mailer.enqueue(messages(4))
        assert eventually(lambda: live.sandbox.count() == 4)
        clock.set(NOON)
        with pytest.raises(ClockError):
            mailer.enqueue(messages(1))
        time.sleep(0.5)  # the worker looks, and is refused as well
        other = live.mailer()
        assert other.accept_clock()
        mailer.enqueue(messages(30))
        assert eventually(lambda: live.sandbox.count() == 20)
    assert used(mailer, "a") == {"the server a": 20}
    assert mailer.outbox.counts()["ready"] == 14


@given(
    policy=st.sampled_from(
        [QUOTA, CalendarQuota(day=4, timezone="Asia/Kolkata"), CalendarQuota(month=5), RollingQuota(4, timedelta(hours=5))]
    ),
    moves=st.lists(st.tuples(st.sampled_from(["take", "on", "ahead", "right"]), st.integers(1, 90)), min_size=1, max_size=14),
)
def test_no_count_is_ever_lost_by_accepting(
    tmp_path_factory: pytest.TempPathFactory, policy: QuotaPolicy, moves: list[Any]
) -> None:
    """Through any days and years ahead and back: what is used before, of a window of now, is used after."""
    clock = ManualClock(NOON)
    storage = open_storage(f"sqlite:///{tmp_path_factory.mktemp('clock') / 'mail.db'}", clock, "normal")
    mailer = Mailer(storage, clock=clock, secret_key=Fernet.generate_key(), transport=Yes())
    try:
        mailer.servers.add(id="a", name="a", provider=SendGrid(api_key="SG.x"), sender="n@example.com")
        assert mailer.servers.send_test("a", to="me@example.org")
        mailer.servers.activate("a")
        mailer.servers.update("a", quota=policy)
        true = clock.now()
        for what, much in moves:
            if what == "take":
                mailer.send(message(much))
            elif what == "on":
                clock.advance(much * 60)
            elif what == "ahead":
                true = clock.now()
                clock.advance(timedelta(hours=much * 7))
            else:
                before = {view.window: view.used for view in mailer.servers.quota("a")}
                lies = clock.now()
                clock.set(max(true, lies - 90 * 7 * 3_600_000))
                mailer.accept_clock()
                after = {view.window: view.used for view in mailer.servers.quota("a")}
                assert all(after[window] >= count for window, count in before.items())
                found, _ = storage.transact("default", (state_key("default"),), Look())
                assert found <= clock.now()
            assert all(view.used <= view.limit or what == "right" for view in mailer.servers.quota("a"))
    finally:
        mailer.close()
        storage.close()


class Look:
    def __call__(self, view: Any) -> Any:
        return Step(result=view.now)


class Yes:
    """An ESP that takes everything at once."""

    def send(self, request: Any) -> Any:
        return HttpResponse(status=202, headers={"X-Message-Id": "x"}, body=b"")

    def close(self) -> None: ...


def test_both_faces_say_the_same() -> None:
    assert Mailer.accept_clock.__doc__ == AsyncMailer.accept_clock.__doc__
