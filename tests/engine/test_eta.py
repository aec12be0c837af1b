"""``outbox.eta`` against a worker that empties the outbox: it tells when the last will have left, and spends nothing."""

import json
from datetime import timedelta
from typing import Any

import pytest
from attrs import define, evolve, field
from engine_kit import DAY, NOON, OWN_PARTS, Breather, message, messages
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deliverykit import CalendarQuota, Eta, Mailer, NotFound, Pause, Rate, RollingQuota
from deliverykit.contracts.storage import Step
from deliverykit.engine.admission.catalog import HOST_KEY, state_key
from deliverykit.engine.delivery.forecast import Forecast
from deliverykit.providers import SendGrid
from deliverykit.testing import ManualClock
from deliverykit.words.clock import instant
from deliverykit.words.wire import HttpRequest, HttpResponse

HOUR = timedelta(hours=1)


@define
class Taker:
    """A transport that takes everything, and notes when it came."""

    clock: ManualClock
    came: list[tuple[int, str]] = field(factory=list)

    def send(self, request: HttpRequest) -> HttpResponse:
        self.came.append((self.clock.now(), json.loads(request.body)["subject"]))
        return HttpResponse(status=202, headers={"x-message-id": f"id{len(self.came)}"})

    def close(self) -> None:
        """Nothing was opened."""


def books(mailer: Mailer) -> Any:
    """Everything that could be spent or written."""
    look = lambda view: Step(result=(view.version, view.records))  # noqa: E731
    outbox = [(mail.id, mail.state, mail.attempts, mail.goes_at) for mail in mailer.outbox.list(limit=1000)]
    return mailer._context.storage.transact("default", (state_key("default"), HOST_KEY), look)[0], outbox


def emptied(mailer: Mailer, clock: ManualClock) -> None:
    """A worker that is there at every instant at which something may go."""
    worker = mailer.worker()
    for _ in range(2_000):
        worker.drain()
        wakes = [lane.goes_at for lane in mailer.outbox.lanes() if lane.waiting]
        if not wakes:
            return
        assert all(wakes), "it never goes"
        clock.set(max(instant(min(wakes)), clock.now()))
    raise AssertionError("it does not end")


def server(mailer: Mailer, one: str, quota: Any = None, pause: Any = None) -> None:
    mailer.servers.add(id=one, name=one, provider=SendGrid(api_key=f"SG.{one}"), sender=f"{one}@example.com")
    assert mailer.servers.send_test(one, to="me@example.org").proof
    mailer.servers.activate(one)
    mailer.servers.update(one, quota=quota, pause=pause)


QUOTAS = st.one_of(
    st.none(),
    st.builds(lambda hour: CalendarQuota(hour=hour), st.integers(3, 9)),
    st.builds(lambda hour, day: CalendarQuota(hour=hour, day=day), st.integers(3, 6), st.integers(7, 40)),
    st.builds(lambda n: RollingQuota(n, per=HOUR), st.integers(3, 9)),
)
PAUSES = st.none() | st.sampled_from([timedelta(milliseconds=40), timedelta(seconds=2), timedelta(seconds=70), Rate(3)])
SERVERS = st.lists(st.fixed_dictionaries({"quota": QUOTAS, "pause": PAUSES}), min_size=1, max_size=2)
MAILS = st.lists(
    st.fixed_dictionaries(
        {"count": st.integers(1, 15), "cost": st.sampled_from([1, 1, 2, 3]), "stream": st.sampled_from(["", "bulk"]), "route": st.sampled_from("rro"),
         "wait": st.sampled_from([0, 0, 0, 100, 30_000])}
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


def plain(count: int, **fields: Any) -> dict[str, Any]:
    return {"count": count, "cost": 1, "stream": "", "wait": 0, "route": "r", **fields}


def furnished(mailer: Mailer, servers: list[dict[str, Any]], word: str, mails: list[dict[str, Any]]) -> None:
    for one, options in zip("ab", servers, strict=False):
        server(mailer, one, **options)
    for route in "ro":
        mailer.routes.add(route, list("ab"[: len(servers)]), when_exhausted=word)
    later = any(heap["wait"] for heap in mails)
    for heap in mails:
        # Mail that comes due is reckoned behind what is ready; which of them stands before matters where they cost differently.
        people = [f"u{number}@example.org" for number in range(1 if later else heap["cost"])]
        due = {"send_at": NOON + timedelta(seconds=heap["wait"])} if heap["wait"] else {}
        mailer.enqueue(
            [message(to=people, subject=heap["route"], stream=heap["stream"], **due) for _ in range(heap["count"])],
            route=heap["route"],
        )


@example([{"quota": CalendarQuota(hour=5, day=12), "pause": None}], "queue", [plain(30)])
@example(
    [{"quota": CalendarQuota(hour=5), "pause": timedelta(seconds=2)}, {"quota": None, "pause": None}], "failover", [plain(8)]
)
@example([{"quota": CalendarQuota(hour=6), "pause": None}], "queue", [plain(3, cost=2), plain(2, wait=30_000)])
@example(
    [{"quota": CalendarQuota(hour=3), "pause": None}],
    "queue",  # a lane of scheduled mail alone has its turn before that which was made after it
    [plain(1, stream="bulk"), plain(2, route="o"), plain(3, stream="bulk", route="o", wait=100), plain(1)],
)
@given(SERVERS, st.sampled_from(["queue", "failover"]), MAILS)
@settings(deadline=None, max_examples=25)
def test_it_is_when_a_worker_has_emptied_the_outbox(
    servers: list[dict[str, Any]], word: str, mails: list[dict[str, Any]]
) -> None:
    clock = ManualClock(NOON)
    taker = Taker(clock)
    with Mailer("memory://", clock=clock, transport=taker) as mailer:
        furnished(mailer, servers, word, mails)
        before = books(mailer)
        etas = {route: mailer.outbox.eta(route=route) for route in "ro"}
        assert books(mailer) == before
        taker.came.clear()
        emptied(mailer, clock)
        slot = max([70_000 for one in servers if one["pause"] == timedelta(seconds=70)], default=2_000) + 1_000
        for route, eta in etas.items():
            came = [at for at, way in taker.came if way == route]
            assert eta.waiting == len(came) == sum(heap["count"] for heap in mails if heap["route"] == route)
            assert (eta.at is None, eta.later_than) == (False, None)
            assert abs(max(came, default=instant(NOON)) - instant(eta.at)) <= slot, (route, eta, came)


def test_what_else_waits_for_the_same_server_counts(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(hour=10))
    mailer.routes.add("n", ["a"])
    mailer.routes.add("o", ["a"])
    mailer.enqueue(messages(20, stream="bulk"), route="n")
    mailer.enqueue(messages(5, stream="receipts"), route="n")
    one = NOON.replace(minute=0, second=0) + HOUR
    assert mailer.outbox.eta(route="n") == Eta(waiting=25, at=one + HOUR, limited_by="hour quota of 'the server a'")
    mailer.enqueue(messages(10), route="o")
    # Whoever comes first of equals takes what there is; the others have their turn before it has another.
    assert mailer.outbox.eta(route="n", stream="receipts") == Eta(waiting=5, at=one, limited_by="hour quota of 'the server a'")
    assert mailer.outbox.eta(route="n").at == one + HOUR
    assert mailer.outbox.eta(route="o").at == one + 2 * HOUR
    assert mailer.outbox.eta(route="n", stream="none") == Eta(waiting=0, at=NOON, limited_by="")


def test_a_stream_with_precedence_has_left_before(plain):
    for first, hours in (((), 3), (("receipts",), 2)):
        mailer = plain.mailer(url="memory://")
        plain.server(mailer, "a", quota=CalendarQuota(hour=10))
        mailer.routes.add("n", ["a"], first=first)
        mailer.enqueue(messages(20, stream="bulk"), route="n")
        mailer.enqueue(messages(20, stream="receipts"), route="n")
        assert mailer.outbox.eta(route="n", stream="receipts").at == NOON.replace(hour=12 + hours, minute=0, second=0), first


def test_scheduled_mail_counts_from_its_due(world):
    mailer = world.mailer()
    world.server(mailer, "a", pause=timedelta(minutes=1))
    mailer.enqueue([message(send_at=NOON + 5 * HOUR)] * 4)
    assert mailer.outbox.eta(route="default") == Eta(
        waiting=4, at=NOON + 5 * HOUR + timedelta(minutes=3), limited_by="its own time"
    )


def test_without_anybody_to_carry_it_the_reason_is_told(world):
    mailer = world.mailer()
    assert mailer.outbox.eta(route="default") == Eta(waiting=0, at=NOON, limited_by="")
    world.server(mailer, "a")
    mailer.enqueue(messages(2))
    mailer.servers.pause("a")
    nobody = "no server of route 'default' can send: 'the server a' is PAUSED by a person"
    assert mailer.outbox.eta(route="default") == Eta(waiting=2, at=None, limited_by=nobody)
    mailer.servers.activate("a")
    assert mailer.outbox.eta(route="default") == Eta(waiting=2, at=NOON, limited_by="")
    mailer.pause_all("the wrong list")
    assert mailer.outbox.eta(route="default") == Eta(waiting=2, at=None, limited_by="the account is paused: the wrong list")
    with pytest.raises(NotFound, match="no route 'nwes'"):
        mailer.outbox.eta(route="nwes")


def test_a_server_that_the_esp_closed_is_open_again_once_a_probe_was_taken(plain):
    mailer = plain.mailer()
    plain.server(mailer, "a")
    mailer.enqueue(messages(30))
    plain.sandbox.fault("sendgrid", "quota", times=1)
    mailer.worker(concurrency=1).drain()
    eta = mailer.outbox.eta(route="default")
    (lane,) = mailer.outbox.lanes()
    assert (eta.waiting, eta.at) == (lane.waiting, lane.goes_at)
    assert eta.limited_by == "ESP of 'the server a'"


def test_a_pace_without_an_interval_and_too_many_windows_are_given_up(plain):
    mailer = plain.mailer(register=OWN_PARTS)
    plain.server(mailer, "a", quota=[CalendarQuota(hour=1), Breather(length=timedelta(seconds=5))])
    mailer.enqueue(messages(2))
    assert mailer.outbox.eta(route="default").at == NOON.replace(hour=13, minute=0, second=0)
    mailer.enqueue(messages(2_500))
    eta = mailer.outbox.eta(route="default")
    assert (eta.waiting, eta.at, eta.limited_by) == (2_502, None, "hour quota of 'the server a'")
    assert eta.later_than > NOON + 30 * DAY


@pytest.mark.parametrize(
    ("limits", "until"),
    [
        ((Pause(timedelta(seconds=2)),), NOON + timedelta(seconds=2 * 99_999)),
        ((Rate(10),), NOON + timedelta(seconds=99_999 / 10)),
        ((Pause(timedelta(seconds=2)), CalendarQuota(hour=1_000)), NOON.replace(minute=33, second=18) + 99 * HOUR),
    ],
)
def test_a_hundred_thousand_in_blocks_of_slots(plain, limits, until):
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=limits)
    mailer.enqueue([message()])
    context = mailer._context
    config = context.catalog.fresh("default")
    (row,) = context.storage.rows("default")
    forecast = Forecast(config, ({},), instant(NOON), [evolve(row, count=100_000)], {row.lane})
    assert forecast.run().at == instant(until)
    assert forecast._questions < 1_200


def test_a_block_that_the_window_cuts_gives_its_slots_back(plain):
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(hour=5_000), pause=timedelta(seconds=7))
    mailer.enqueue([message()])
    context = mailer._context
    (row,) = context.storage.rows("default")
    config = context.catalog.fresh("default")
    end = Forecast(config, ({},), instant(NOON), [evolve(row, count=20_000)], {row.lane}).run()
    # At each end of an hour nothing starts in its last second, which may cost a slot.
    ideal = instant(NOON + timedelta(seconds=7 * 19_999))
    assert ideal <= end.at <= ideal + 39 * 7_000


def test_nobody_goes_before_a_paced_server_has_sent_its_last(plain):
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=1_025), pause=timedelta(seconds=2))
    plain.server(mailer, "b", pause=timedelta(seconds=1))
    mailer.routes.add("r", ["a", "b"], when_exhausted="failover")
    mailer.enqueue([message()], route="r")
    context = mailer._context
    (row,) = context.storage.rows("default")
    config = context.catalog.fresh("default")
    end = Forecast(config, ({},), instant(NOON), [evolve(row, count=11_000)], {row.lane}).run()
    assert abs(end.at - instant(NOON + timedelta(seconds=2 * 1_024 + 9_974))) <= 2_000


def test_rows_are_in_the_order_of_claims(plain):
    mailer = plain.mailer()
    plain.server(mailer, "a")
    two = [f"u{number}@example.org" for number in range(2)]
    mailer.enqueue([message(), message(), message(to=two), message(priority=5), message(to=two, priority=-1), message(to=two)])
    mailer.enqueue([message(send_at=NOON + HOUR), message(send_at=NOON + HOUR), message(send_at=NOON + DAY)])
    rows = mailer._context.storage.rows("default")
    assert len({row.lane for row in rows}) == 1
    later = [(instant(NOON + HOUR), 1, 2), (instant(NOON + DAY), 1, 1)]
    assert [(row.due, row.cost, row.count) for row in rows] == [(0, 1, 3), (0, 2, 3), *later]


def test_whoever_got_something_last_is_the_last_in_turn() -> None:
    clock = ManualClock(NOON)
    taker = Taker(clock)
    with Mailer("memory://", clock=clock, transport=taker) as mailer:
        furnished(mailer, [{"quota": CalendarQuota(hour=1), "pause": None}], "queue", [plain(1)])
        mailer.worker().drain()
        mailer.enqueue([message(subject="r")], route="r")
        mailer.enqueue([message(subject="o")], route="o")
        etas = {route: mailer.outbox.eta(route=route).at for route in "ro"}
        taker.came.clear()
        emptied(mailer, clock)
        assert [way for _, way in taker.came] == ["o", "r"]
        assert etas["r"] - etas["o"] == HOUR
