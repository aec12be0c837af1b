"""Windows that end, clocks that jump, zones and limits that change, all while several processes send."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from process_kit import HOUR, FileClock, Stage, eventually, messages, open_mailer

from deliverykit import CalendarQuota

RUNNERS = 3


@contextmanager
def runners(
    stage: Stage, count: int = RUNNERS, first: Callable[[], object] = lambda: None, **options: object
) -> Iterator[None]:
    """Worker processes that run until the block ends; each must end well. ``first`` is done when they are about to begin."""
    workers = [stage.start("run", gate=True, **{"concurrency": 10, **options}) for _ in range(count)]
    stage.release(count, first)
    yield
    for worker in workers:
        worker.terminate()
    stage.finished(*workers)


def by_hour(stage: Stage) -> dict[int, int]:
    """How many the ESP has taken in each hour of everybody's clock."""
    return dict(Counter(mail.at - mail.at % HOUR for mail in stage.received()))


def arrived(stage: Stage, count: int, seconds: float = 120) -> bool:
    return eventually(lambda: stage.sandbox.count("sendgrid") >= count, seconds)


def still(stage: Stage, count: int, seconds: float = 0.5) -> None:
    """Nothing more comes."""
    time.sleep(seconds)
    assert stage.sandbox.count("sendgrid") == count


@pytest.mark.parametrize("quota", [60, 400])
def test_the_hour_ends_while_mail_is_on_its_way(stage: Stage, quota: int) -> None:
    """The first hour has seconds left: what it cannot start is not charged to it, and the next hour has all of its quota."""
    stage.server(quota=CalendarQuota(hour=quota))
    stage.sandbox.fault("sendgrid", "latency", times=None, seconds=0.15)
    stage.mailer.enqueue(messages(quota + 120), route="bulk")
    ends: list[int] = []
    with runners(stage, first=lambda: ends.append(stage.before_the_hour(4))):
        (end,) = ends
        assert eventually(lambda: stage.clock.now() >= end + 500)
        # A loaded machine may have sent little in the first hour's seconds, or nothing; the next has its quota, and no more.
        first = by_hour(stage).get(end - HOUR, 0)
        assert first <= quota
        assert arrived(stage, min(first + quota, quota + 120))
        still(stage, min(first + quota, quota + 120), 0.3)
    hours = by_hour(stage)
    assert hours.pop(end - HOUR, 0) == first
    assert 0 < hours.pop(end) <= quota
    assert hours == {}
    assert stage.used() == [by_hour(stage)[end]]


def test_the_last_second_of_an_hour_is_left_alone_and_the_first_of_the_next_is_used(stage: Stage) -> None:
    stage.server(quota=CalendarQuota(hour=50))
    stage.mailer.enqueue(messages(80), route="bulk")
    end = stage.before_the_hour(0.9)
    with runners(stage):
        assert arrived(stage, 50)
        still(stage, 50)
    assert by_hour(stage) == {end: 50}


def test_mail_that_is_too_late_for_its_window_is_not_charged_to_it(stage: Stage) -> None:
    """The hour ends while admitted mail waits for its slots: it asks again, and is counted where it leaves."""
    stage.server(quota=CalendarQuota(hour=8), pause=timedelta(milliseconds=200))
    stage.mailer.enqueue(messages(40), route="bulk")
    end = stage.before_the_hour(20)
    with runners(stage, 1):
        assert arrived(stage, 4)  # and nothing is on the wire until the next slot
        stage.move(timedelta(milliseconds=end + 5_000 - stage.clock.now()))
        assert arrived(stage, 12)
        still(stage, 12, 0.5)
    assert by_hour(stage) == {end - HOUR: 4, end: 8}
    assert stage.used() == [8]


def test_many_hours_in_mid_run(stage: Stage) -> None:
    """Each jump to the last seconds of an hour and over its end: never over, and each hour used to the full."""
    stage.server(quota=CalendarQuota(hour=20))
    stage.sandbox.fault("sendgrid", "latency", times=None, seconds=0.05)
    stage.mailer.enqueue(messages(90), route="bulk")
    with runners(stage):
        for turn in range(1, 4):
            assert arrived(stage, 20 * turn)
            still(stage, 20 * turn, 0.2)
            end = stage.before_the_hour(1)
            assert eventually(lambda end=end: stage.clock.now() >= end)
        assert arrived(stage, 80)
        still(stage, 80)
    assert list(by_hour(stage).values()) == [20] * 4


def test_a_clock_that_steps_back_gives_no_second_quota_and_stops_nothing(stage: Stage) -> None:
    """Ten minutes back, in mid-run and into an hour that was used up."""
    end = stage.before_the_hour(1_000)
    stage.server(quota=CalendarQuota(hour=40))
    stage.mailer.enqueue(messages(130), route="bulk")
    with runners(stage):
        assert arrived(stage, 40)
        stage.move(timedelta(milliseconds=end - stage.clock.now() + 1_000))
        assert arrived(stage, 45)
        stage.move(timedelta(minutes=-10))
        # What is left of the new hour's quota goes, promptly: it is charged to the hour that was seen.
        assert arrived(stage, 80)
        still(stage, 80)
        stage.move(timedelta(minutes=9))
        still(stage, 80)
        stage.move(timedelta(minutes=62))
        assert arrived(stage, 120)
        still(stage, 120)
    assert stage.states() == {"READY": 10}


def test_send_does_not_hang_on_a_clock_that_steps_back(stage: Stage) -> None:
    stage.before_the_hour(1_000)
    stage.server(quota=CalendarQuota(hour=3))
    assert stage.mailer.send(messages(1)[0], route="bulk")
    stage.move(timedelta(minutes=-10))
    results = [stage.mailer.send(one, route="bulk").status for one in messages(3, start=10)]
    assert [str(one) for one in results] == ["accepted", "accepted", "queued"]


def test_raising_and_lowering_the_limit_with_workers_running(stage: Stage) -> None:
    stage.before_the_hour(1_800)
    stage.server(quota=CalendarQuota(hour=30))
    stage.mailer.enqueue(messages(200), route="bulk")
    with runners(stage):
        assert arrived(stage, 30)
        still(stage, 30, 0.5)
        stage.mailer.servers.update("sg", quota=CalendarQuota(hour=70))
        assert arrived(stage, 70)
        still(stage, 70, 0.5)
        stage.mailer.servers.update("sg", quota=CalendarQuota(hour=50))
        still(stage, 70, 0.5)
        stage.mailer.servers.update("sg", quota=CalendarQuota(hour=71))
        assert arrived(stage, 71)
        still(stage, 71, 0.5)
    assert stage.used() == [71]


def test_a_zone_change_in_mid_run_gives_no_second_quota(stage: Stage) -> None:
    """To the half hour and back, and across midnight: the day's count is carried over each time."""
    stage.before_the_hour(1_500)
    stage.server(quota=CalendarQuota(day=40))
    stage.mailer.enqueue(messages(100), route="bulk")
    with runners(stage):
        assert arrived(stage, 40)
        for zone in ("Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Niue", "UTC"):
            stage.mailer.accounts.update("default", timezone=zone)
            still(stage, 40, 0.4)
    assert stage.states() == {"READY": 60}


def test_limits_that_change_under_full_load_are_never_passed(stage: Stage) -> None:
    """The limit goes up by ten again and again while eight threads and two workers spend it."""
    stage.before_the_hour(1_800)
    stage.server(quota=CalendarQuota(hour=10))
    stage.mailer.enqueue(messages(300), route="bulk")
    overs: list[tuple[int, int]] = []
    with runners(stage, 2):
        for limit in range(20, 160, 10):
            before = stage.sandbox.count("sendgrid")
            if before > limit - 10:
                overs.append((before, limit - 10))
            stage.mailer.servers.update("sg", quota=CalendarQuota(hour=limit))
            arrived(stage, limit - 5, 3)
        assert arrived(stage, 150)
        still(stage, 150)
    assert overs == []


def test_the_shared_clock_is_one_for_all(stage: Stage) -> None:
    """The helper itself: another mapping of the file, in another thread, sees the shift."""
    other = FileClock(stage.folder / "clock")
    before = stage.clock.shift
    stage.move(timedelta(hours=5))
    assert abs(other.now() - stage.clock.now()) < 1_000
    assert abs(stage.sandbox.now() - stage.clock.now()) < 1_000
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(other.shift))
    thread.start()
    thread.join()
    assert seen == [before + 5 * HOUR]
    other.close()
    open_mailer(stage.folder, stage.clock).close()
