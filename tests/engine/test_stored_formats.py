"""Two versions of the library on one file: each leaves alone what only the other may act on, and loses nothing of it."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from engine_kit import World, message, messages, used
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deliverykit import CalendarQuota, ConfigurationError, DeliveryError, SendStatus, Status
from deliverykit.records import letter
from deliverykit.records.server import Budget

KINDS = ("account", "budget", "route", "server")
NEWER = {"v": [2, 2]}
COMPATIBLE = {"v": [2, 1], "colour": {"name": "red"}, "weight": [1, 2]}


def rows(world: World, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(world.path)) as db:
        return db.execute(sql, values).fetchall()


def write(world: World, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(world.path)) as db, db:
        assert db.execute(sql, values).rowcount
        db.execute("update dk_account set version=version+1")


def stored(world: World, kind: str) -> dict[str, Any]:
    ((text,),) = rows(world, "select data from dk_document where account='default' and kind=?", kind)
    data: dict[str, Any] = json.loads(text)
    return data


def amend(world: World, kind: str, change: Callable[[dict[str, Any]], object]) -> None:
    data = stored(world, kind)
    change(data)
    write(world, "update dk_document set data=? where account='default' and kind=?", json.dumps(data), kind)


def with_all_kinds(world: World) -> Any:
    """A Mailer with one record of each kind, and a message that waits for a time of its own."""
    mailer = world.mailer(timezone="Asia/Kolkata")
    world.server(mailer, "a", quota=CalendarQuota(day=50), budgets=[Budget(name="b", limits=(CalendarQuota(month=500),))])
    mailer.routes.add("r", servers=["a"], first=["news"], max_lateness=timedelta(hours=2))
    return mailer


def edit_everything(mailer: Any) -> None:
    """Every way in which a record is read, changed and written again."""
    mailer.accounts.update("default", quota=CalendarQuota(month=1000))
    mailer.budgets.update("b", CalendarQuota(month=400))
    mailer.routes.update("r", when_exhausted="queue")
    mailer.servers.pause("a")
    mailer.servers.activate("a")
    mailer.servers.update("a", name="another name", quota=CalendarQuota(day=40))


def test_every_stored_record_carries_its_format(plain: World) -> None:
    mailer = with_all_kinds(plain)
    plain.server(mailer, "gone")
    mailer.servers.remove("gone")
    mailer.enqueue(messages(2))
    mailer.pause_all("a test")
    assert {kind for (kind,) in rows(plain, "select distinct kind from dk_document")} == {*KINDS, "brake", "removed"}
    texts = [text for (text,) in rows(plain, "select data from dk_document union all select body from dk_letter")]
    assert all(json.loads(text)["v"] == [1, 1] for text in texts), texts


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_fields_survive_every_edit(world: World, kind: str) -> None:
    mailer = with_all_kinds(world)
    amend(world, kind, lambda data: data.update(COMPATIBLE))
    edit_everything(mailer)
    assert {name: stored(world, kind)[name] for name in COMPATIBLE} == COMPATIBLE
    assert mailer.send(message(1), route="r").status is SendStatus.ACCEPTED
    told = [one.what for one in mailer.doctor() if one.check == "records"]
    assert len(told) >= 1
    assert any(kind in one and "colour, weight" in one for one in told), told


def test_engine_pause_keeps_unknown_fields(plain: World) -> None:
    mailer = with_all_kinds(plain)
    amend(plain, "server", lambda data: data.update(COMPATIBLE))
    plain.sandbox.keys("sendgrid", ["SG.other"])
    mailer.send(message(1), route="r")
    assert (mailer.servers.get("a").status, mailer.servers.get("a").paused_by) == (Status.PAUSED, "engine")
    assert {name: stored(plain, "server")[name] for name in COMPATIBLE} == COMPATIBLE


def test_unknown_kind_is_left_alone_and_reported(world: World) -> None:
    mailer = with_all_kinds(world)
    insert = "insert into dk_document (account, kind, id, data, secrets) values ('default', 'policy', 'p', ?, x'01')"
    write(world, insert, "not even JSON")
    edit_everything(mailer)
    assert [server.id for server in mailer.servers.list()] == ["a"]
    assert [route.name for route in mailer.routes.list()] == ["r"]
    assert mailer.send(message(1), route="r").status is SendStatus.ACCEPTED
    mailer.enqueue(messages(2), route="r")
    mailer.worker().drain()
    assert world.sandbox.count() == 3
    assert rows(world, "select data, secrets from dk_document where kind='policy'") == [("not even JSON", b"\x01")]
    assert any("a kind that this version does not know: policy" in one.what for one in mailer.doctor())


DEFAULTED = [
    *(("route", name) for name in ("strategy", "when_exhausted", "in_doubt", "max_lateness", "first", "version")),
    *(("server", name) for name in ("name", "senders", "budgets", "reason", "paused_by", "proven", "version")),
    ("account", "limits"),
    *((kind, "v") for kind in KINDS),
]


@pytest.mark.parametrize(("kind", "name"), DEFAULTED)
def test_missing_field_takes_its_default(plain: World, kind: str, name: str) -> None:
    mailer = with_all_kinds(plain)
    amend(plain, kind, lambda data: data.pop(name))
    assert mailer.send(message(1), route="r").status is SendStatus.ACCEPTED
    mailer.enqueue(messages(1), route="r")
    mailer.worker().drain()
    assert plain.sandbox.count() == 2


@pytest.mark.parametrize("name", ["sender", "limits", "provider"])
def test_server_without_a_promise_is_broken(plain: World, name: str) -> None:
    """A forced sender or a quota that is missing has no default: without it the server would break a promise."""
    mailer = with_all_kinds(plain)
    amend(plain, "server", lambda data: data.pop(name))
    assert mailer.servers.get("a").status is Status.BROKEN
    assert mailer.send(message(1), route="r").status is SendStatus.QUEUED
    assert plain.sandbox.count() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_newer_record_is_left_alone(world: World, kind: str) -> None:
    """Nothing is sent by it, its messages wait untouched, no edit writes it; a version that may act on it goes on."""
    mailer = with_all_kinds(world)
    ids = mailer.enqueue(messages(3), route="r")
    amend(world, kind, lambda data: data.update(NEWER))
    before = rows(world, "select * from dk_document"), rows(world, "select * from dk_mail")
    mailer.worker().drain()
    assert world.sandbox.count() == 0
    assert before == (rows(world, "select * from dk_document"), rows(world, "select * from dk_mail"))
    for edit in (
        lambda: mailer.accounts.update("default", timezone="Asia/Kolkata", quota=None, pause=None),
        lambda: mailer.budgets.update("b", CalendarQuota(month=1)),
        lambda: mailer.routes.update("r", servers=["a"], strategy="priority"),
        lambda: mailer.servers.update(
            "a", name="n", provider=world.provider(), sender=None, senders=None, quota=None, pause=None, budgets=[]
        ),
    ):
        try:
            edit()
        except DeliveryError as error:
            told = str(error)
            assert "upgrade" in told or "BROKEN" in told or "cannot be changed" in told
    assert stored(world, kind)["v"] == [2, 2]
    assert any("format 2" in one.what for one in mailer.doctor())
    mailer.servers.list(), mailer.routes.list(), mailer.budgets.list(), mailer.outbox.lanes(), mailer.outbox.list()
    amend(world, kind, lambda data: data.update(v=[2, 1]))
    assert [mailer.outbox.get(one).state for one in ids] == ["ready"] * 3


@contextmanager
def older(*unknown: str) -> Iterator[None]:
    """A version that does not know these fields of a message yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(letter, "_DEFAULTS", {name: one for name, one in letter._DEFAULTS.items() if name not in unknown})
        yield


def test_older_worker_leaves_message_to_newer(world: World) -> None:
    mailer = with_all_kinds(world)
    tracked, plain_one = mailer.enqueue([message(1, track_opens=True), message(2)], route="r")
    with older("track_opens"):
        for _ in range(4):  # more often than what makes a message poison
            report = mailer.worker().drain()
            mail = mailer.outbox.get(tracked)
            assert (mail.state, mail.attempts, report.dead) == ("scheduled", 0, 0)
            assert "does not know its fields track_opens" in mail.reason
            assert any(tracked in one.what for one in mailer.doctor())
            assert world.got() == ["u2@example.org"], "the other message of the lane is sent"
            world.clock.advance(61)
    assert used(mailer, "a")["the server a"] == 1
    mailer.worker().drain()
    assert world.got() == ["u2@example.org", "u1@example.org"]
    assert mailer.log.get(plain_one).state == mailer.log.get(tracked).state == "accepted"


def test_older_worker_never_claims_newer_lane(world: World) -> None:
    """A newer version says in the lane key that its messages need a newer reader: then waiting writes nothing."""
    mailer = with_all_kinds(world)
    (one,) = mailer.enqueue(messages(1), route="r")
    ((lane, key),) = rows(world, "select id, key from dk_lane where route='r'")
    for foreign in ('{"needs_calendar":true}', '{"features":["calendar"]}', '{"v":[2,2]}', "[]", "nonsense"):
        write(world, "update dk_lane set key=? where id=?", foreign, lane)
        before = rows(world, "select * from dk_mail")
        mailer.worker().drain()
        assert (world.sandbox.count(), before) == (0, rows(world, "select * from dk_mail"))
        assert mailer.outbox.get(one).state == "ready"
        mailer.outbox.lanes(), mailer.outbox.eta(route="r"), mailer.doctor()
        assert mailer.send(message("other"), route="r").status is SendStatus.ACCEPTED
        world.sandbox.clear()
    write(world, "delete from dk_lane where key=? and route='r'", key)
    write(world, "update dk_lane set key=? where id=?", key, lane)
    mailer.worker().drain()
    assert world.got() == ["u0@example.org"]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [("route", "when_exhausted", "mirror"), ("route", "in_doubt", "ask"), ("server", "status", "draining")],
)
def test_unknown_choice_stops_that_record_only(plain: World, kind: str, field: str, value: str) -> None:
    mailer = with_all_kinds(plain)
    plain.server(mailer, "other")
    mailer.routes.add("second", servers=["other"])
    text = {**stored_one(plain, kind, "r" if kind == "route" else "a"), field: value}
    write(plain, "update dk_document set data=? where kind=? and id in ('r', 'a')", json.dumps(text), kind)
    assert mailer.send(message(1), route="second").status is SendStatus.ACCEPTED
    mailer.servers.list(), mailer.routes.list(), mailer.doctor()
    if kind == "server":
        assert "draining" in mailer.servers.get("a").reason
    else:
        with pytest.raises(ConfigurationError, match="BROKEN"):
            mailer.send(message(2), route="r")


def stored_one(world: World, kind: str, id: str) -> dict[str, Any]:
    ((text,),) = rows(world, "select data from dk_document where account='default' and kind=? and id=?", kind, id)
    data: dict[str, Any] = json.loads(text)
    return data


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


Whole = tuple[World, Any, dict[str, str]]


@pytest.fixture
def whole(plain: World) -> Whole:
    """A world with one record of each kind, its Mailer, and the undamaged records by kind."""
    mailer = with_all_kinds(plain)
    return plain, mailer, dict(rows(plain, "select kind, data from dk_document where account='default'"))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_raises_only_delivery_errors(whole: Whole, data: st.DataObject) -> None:
    """Whatever a record holds: what is listed, sent, worked off and examined raises nothing of another kind."""
    world, mailer, records = whole
    for kind, text in records.items():
        write(world, "update dk_document set data=? where account='default' and kind=?", text, kind)
    kind = data.draw(st.sampled_from(KINDS))
    fields = json.loads(records[kind])
    name = data.draw(st.sampled_from([*sorted(fields), "new"]))
    text = data.draw(st.sampled_from([json.dumps({**fields, name: data.draw(VALUES)}), json.dumps(data.draw(VALUES)), "{"]))
    write(world, "update dk_document set data=? where account='default' and kind=?", text, kind)
    for call in (
        mailer.servers.list,
        mailer.routes.list,
        mailer.budgets.list,
        mailer.accounts.list,
        mailer.outbox.lanes,
        lambda: mailer.outbox.eta(route="r"),
        mailer.doctor,
        lambda: mailer.send(message(1), route="r"),
        lambda: mailer.explain(message(1), route="r"),
        lambda: mailer.enqueue(messages(1), route="r"),
        lambda: mailer.servers.quota("a"),
        mailer.worker().drain,
    ):
        with suppress(DeliveryError):
            call()
