"""The same message handed in again within a day: one mail, whoever hands it in, however often."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from engine_kit import KEY, NOON, THREE_A_DAY, World, message, messages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deliverykit import CalendarQuota, EnqueueInterrupted, Mailer, MessageError, SendStatus

ORDER = {"idempotency_key": "order 17"}


def test_send_again_tells_of_the_first(world, restarted):
    mailer = world.mailer()
    world.server(mailer, "a")
    first = mailer.send(message(**ORDER))
    assert (first.status, first.repeated) == (SendStatus.ACCEPTED, False)
    mailer = restarted()
    again = mailer.send(message(**ORDER))
    assert (again.id, again.status, again.provider_message_id) == (first.id, first.status, first.provider_message_id)
    assert (again.repeated, again.attempts) == (True, ())
    assert mailer.enqueue([message(**ORDER)]) == [first.id]
    mailer.worker().drain()
    assert world.sandbox.count() == 1
    assert mailer.servers.get("a").active
    assert mailer.send(message()).id != first.id
    assert world.sandbox.count() == 2


def test_enqueue_again_gives_the_firsts_id(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=1))
    keyed = [message(number, idempotency_key=f"k{number}") for number in range(3)]
    ids = mailer.enqueue(keyed[:2])
    assert mailer.enqueue([message(9), *keyed])[1:3] == ids
    assert mailer.outbox.counts()["ready"] == 4
    told = mailer.send(keyed[0])
    assert (told.status, told.id, told.repeated) == (SendStatus.QUEUED, ids[0], True)
    mailer.worker().drain()
    told = mailer.send(keyed[1])
    assert (told.status, told.reason, told.goes_at) == (
        SendStatus.QUEUED, "day quota of 'the server a' used up: 1 of 1, resets 2026-11-25 00:00 UTC", (NOON + timedelta(days=1)).replace(hour=0, minute=0, second=0),
    )  # fmt: skip
    assert mailer.send(keyed[0]).status is SendStatus.ACCEPTED


def test_inside_one_list(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    one, other, third = mailer.enqueue([message(**ORDER), message(1), message(**ORDER)])
    assert one == third != other
    mailer.worker().drain()
    assert sorted(world.got()) == ["u0@example.org", "u1@example.org"]
    with pytest.raises(MessageError, match="idempotency_key: 'k2'"):
        mailer.enqueue([message(0, idempotency_key="k2"), message(1, idempotency_key="k2")])
    assert sum(mailer.outbox.counts().values()) == 0
    with pytest.raises(EnqueueInterrupted, match="'order 17'") as told:
        mailer.enqueue([message(5), message(1, **ORDER)], chunk=1)
    assert len(told.value.ids) == 1


@pytest.mark.parametrize(
    "other", [{"subject": "x"}, {"to": "b@example.org"}, {"priority": 1}, {"send_at": NOON + timedelta(hours=1)}]
)
def test_another_message_under_the_same_key(world, other):
    mailer = world.mailer()
    world.server(mailer, "a")
    first = mailer.send(message(**ORDER))
    for take in (mailer.send, lambda one: mailer.enqueue([message(3), one])):
        with pytest.raises(MessageError, match=f"'order 17'.*{first.id}"):
            take(message(**ORDER | other))
    assert sum(mailer.outbox.counts().values()) == 0
    assert world.sandbox.count() == 1


def test_the_same_message_in_another_order(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    first = mailer.send(message(headers={"X-A": "1", "X-B": "2"}, metadata={"a": "1", "b": "2"}, **ORDER))
    again = mailer.send(message(headers={"X-B": "2", "X-A": "1"}, metadata={"b": "2", "a": "1"}, **ORDER))
    assert again.id == first.id


def test_for_a_day(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    first = mailer.send(message(**ORDER))
    world.clock.advance(timedelta(hours=24) - timedelta(milliseconds=1))
    assert mailer.send(message(**ORDER)).id == first.id
    world.clock.advance(timedelta(milliseconds=1))
    second = mailer.send(message(1, **ORDER))
    assert second.id != first.id
    assert mailer.send(message(1, **ORDER)).id == second.id
    assert world.sandbox.count() == 2


def test_keys_are_an_accounts(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.accounts.add("acme", timezone="UTC")
    acme = mailer.account("acme")
    world.server(acme, "a")
    assert mailer.send(message(**ORDER)).id != acme.send(message(1, **ORDER)).id


def test_what_was_refused_before_anything_was_written_binds_no_key(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=1))
    mailer.routes.add("r", ["a"], when_exhausted="reject")
    mailer.send(message(9), route="r")
    assert mailer.send(message(**ORDER), route="r").status is SendStatus.REJECTED
    world.clock.advance(timedelta(days=1))
    assert mailer.send(message(**ORDER), route="r").status is SendStatus.ACCEPTED


@pytest.mark.parametrize(("fault", "status"), [("rejected", "rejected"), ("reset", "in_doubt"), ("hang", "in_doubt")])
def test_what_the_first_came_to_is_told(live: World, fault, status):
    mailer = live.mailer(transport=live.hasty())
    live.server(mailer, "a")
    live.sandbox.fault("sendgrid", fault, times=1, **({"seconds": 0.05} if fault == "hang" else {}))
    first = mailer.send(message(**ORDER))
    assert first.status == status
    again = mailer.send(message(**ORDER))
    assert (again.id, again.status, again.reason) == (first.id, first.status, first.reason)
    assert mailer.enqueue([message(**ORDER)]) == [first.id]


def test_cancelled_and_scheduled(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    later = message(send_at=NOON + timedelta(hours=1), expires_at=NOON + timedelta(hours=2), **ORDER)
    first = mailer.send(later)
    again = mailer.send(later)
    assert (again.id, again.status, again.goes_at) == (first.id, SendStatus.QUEUED, later.send_at)
    mailer.outbox.cancel(ids=[first.id])
    assert (mailer.send(later).status, mailer.send(later).reason) == (SendStatus.REJECTED, "cancelled")
    world.clock.advance(timedelta(hours=3))
    assert mailer.send(later).id == first.id


def test_a_key_is_a_line_and_not_kept_in_plain(plain):
    for wrong in ("a\nb", "x" * 256, 3):
        with pytest.raises(MessageError, match="idempotency_key"):
            message(idempotency_key=wrong)
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=0))
    mailer.enqueue([message(idempotency_key="welcome ann@example.org")])
    books = sqlite3.connect(plain.path)
    assert "welcome" not in "\n".join(books.iterdump())
    assert all(b"welcome" not in body for (body,) in books.execute("select body from dk_letter"))
    books.close()


def test_old_keys_go(plain):
    mailer = plain.mailer()
    plain.server(mailer, "a")
    mailer.enqueue([message(number, idempotency_key=f"k{number}") for number in range(30)])
    plain.clock.advance(timedelta(days=1))
    mailer.enqueue([message(number, idempotency_key=f"l{number}") for number in range(3)])
    books = sqlite3.connect(plain.path)
    assert books.execute("select count(*) from dk_once").fetchone() == (3,)
    books.close()


@pytest.mark.parametrize("way", ["send", "enqueue", "both"])
def test_many_at_once_make_one_mail(live: World, way):
    """Mailers of their own, each with its own connection, as processes have."""
    mailer = live.mailer()
    live.server(mailer, "a", quota=THREE_A_DAY)
    mailers = [live.mailer() for _ in range(8)]

    def hand_in(turn: int) -> str:
        one = mailers[turn]
        if way == "enqueue" or (way == "both" and turn % 2):
            return one.enqueue([message(7), message(**ORDER)])[1] if turn == 1 else one.enqueue([message(**ORDER)])[0]
        return one.send(message(**ORDER)).id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(hand_in, range(8)))
    mailer.worker().drain()
    assert len(ids) == 1
    assert world_count(live) == (1 if way == "send" else 2)


def world_count(world: World) -> int:
    return world.sandbox.count()


@given(
    data=st.lists(
        st.tuples(st.sampled_from(["send", "enqueue"]), st.lists(st.integers(0, 3), min_size=1, max_size=4)), max_size=6
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_as_many_mails_as_keys(plain: World, data):
    """However the same messages are handed in: each key is one mail, and its id is told every time."""
    plain.sandbox.clear()
    mailer = Mailer("memory://", clock=plain.clock, secret_key=KEY)
    plain.server(mailer, "a")
    ids: dict[int, set[str]] = {}
    for way, keys in data:
        given = [message(key, idempotency_key=f"k{key}") for key in keys]
        told = [mailer.send(one).id for one in given] if way == "send" else mailer.enqueue(given)
        for key, told_id in zip(keys, told, strict=True):
            ids.setdefault(key, set()).add(told_id)
    mailer.worker().drain()
    assert all(len(known) == 1 for known in ids.values())
    assert sorted(plain.got()) == sorted(f"u{key}@example.org" for key in ids)
    mailer.close()


def test_mail_without_a_key_is_never_held_for_a_repeat(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    assert len(set(mailer.enqueue(messages(2) + messages(2)))) == 4
