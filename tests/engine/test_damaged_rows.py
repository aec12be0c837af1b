"""Rows of the storage that a newer version wrote, or that are damaged: each stops itself alone, and is kept as it is."""

import json
import sqlite3
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any

import pytest
from engine_kit import World, message, messages, used

from deliverykit import Attachment, CalendarQuota, DeliveryError, RollingQuota, SendStatus, StorageError, Unsupported
from deliverykit.providers import SendGrid

FIRST = "=(select min(m.id) from dk_mail m join dk_lane l on l.id=m.lane where l.route='r')"


def write(world: World, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(world.path)) as db, db:
        assert db.execute(sql, values).rowcount


def read(world: World, sql: str) -> Any:
    with closing(sqlite3.connect(world.path)) as db:
        return db.execute(sql).fetchall()


def stocked(world: World) -> Any:
    """A Mailer with messages on two routes of its account, and on one of another account."""
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=50))
    world.server(mailer, "c")
    mailer.routes.add("r", servers=["a"])
    mailer.routes.add("other", servers=["c"])
    mailer.accounts.add("acme", timezone="UTC")
    tenant = mailer.account("acme")
    world.server(tenant, "z")
    file = Attachment(filename="a.txt", content=b"abc", content_type="text/plain")
    mailer.enqueue([message("damaged"), message("neighbour"), message("file", attachments=[file])], route="r")
    mailer.enqueue([message("route")], route="other")
    tenant.enqueue([message("tenant")])
    return mailer


def every_call(mailer: Any) -> None:
    """What a host does with its outbox: nothing but a DeliveryError is raised."""
    outbox = mailer.outbox
    for call in (
        outbox.list, outbox.lanes, outbox.counts, outbox.in_doubt, lambda: outbox.eta(route="r"), mailer.doctor,
        lambda: mailer.servers.quota("a"), lambda: mailer.servers.health("a"), lambda: mailer.explain(message(1), route="r"),
        lambda: mailer.send(message("later"), route="other"), lambda: mailer.erase("damaged@example.org"),
        lambda: outbox.prune(older_than=timedelta(days=1)), lambda: outbox.requeue(route="r"),
        lambda: outbox.resolve(route="r", as_sent=True), lambda: outbox.cancel(route="r"),
    ):  # fmt: skip
        with suppress(DeliveryError):
            call()


PAYLOADS = {
    "missing": f"delete from dk_letter where mail{FIRST}",
    "text": f"update dk_letter set body='text' where mail{FIRST}",
    "number": f"update dk_letter set body=5 where mail{FIRST}",
    "attachments": f"""update dk_letter set body='{{"v":[2,2],"attachments":{{"x":1}},"raw":5}}' where mail{FIRST}""",
    "file entry": f"""update dk_letter set body='{{"v":[1,1],"attachments":[5]}}' where mail{FIRST}""",
    "memo": f"update dk_mail set memo='[' where id{FIRST}",
    "memo of text": f"""update dk_mail set memo='["a"]' where id{FIRST}""",
    "newer memo": f"""update dk_mail set memo='{{"a":1}}' where id{FIRST}""",
    "newer state": f"update dk_mail set state=6 where id{FIRST}",
    "state of text": f"update dk_mail set state='paused' where id{FIRST}",
}


@pytest.mark.parametrize("damage", PAYLOADS.values(), ids=PAYLOADS)
def test_damaged_message_stops_itself_alone(plain: World, damage: str) -> None:
    mailer = stocked(plain)
    write(plain, damage)
    mailer.worker().drain(timedelta(seconds=90))
    got = {one.partition("@")[0].removeprefix("u") for one in plain.got()}
    assert got >= {"neighbour", "file", "route", "tenant"}
    assert got - {"neighbour", "file", "route", "tenant"} <= ({"damaged"} if "memo" in damage else set())
    every_call(mailer)


def test_message_in_newer_state_is_left_alone(plain: World) -> None:
    mailer = stocked(plain)
    write(plain, f"update dk_mail set state=6 where id{FIRST}")
    (shown,) = [one for one in mailer.outbox.list(route="r") if "newer version" in one.reason]
    assert shown.state == "sending", "somebody else has it"
    assert mailer.erase("udamaged@example.org").in_flight == (shown.id,)
    mailer.outbox.cancel(ids=[shown.id])
    mailer.worker().drain(timedelta(seconds=90))
    every_call(mailer)
    assert (6,) in read(plain, "select state from dk_mail")


COLUMNS = {"expires": "x", "cost": "x", "expiries": "x"}


@pytest.mark.parametrize("column", COLUMNS)
def test_lane_that_cannot_be_claimed_stops_no_other(plain: World, column: str, caplog: pytest.LogCaptureFixture) -> None:
    """The error of the claim ends a drain once all else was served; it is logged once."""
    mailer = stocked(plain)
    write(plain, f"update dk_mail set {column}='x' where id{FIRST}")
    with pytest.raises(TypeError):
        mailer.worker().drain(timedelta(seconds=90))
    assert {"uroute@example.org", "utenant@example.org"} <= set(plain.got())
    assert len([one for one in caplog.messages if "cannot be claimed from, and waits" in one]) <= 2


@pytest.mark.parametrize("damage", ["record='{'", "record='5'", "seen='x'"])
def test_unreadable_states_of_an_account_stop_that_account_alone(plain: World, damage: str) -> None:
    mailer = stocked(plain)
    write(plain, f"update dk_state set {damage} where key='account:default'")
    with pytest.raises(StorageError, match="limit states of 'account:default'"):
        mailer.worker().drain(timedelta(seconds=90))
    assert plain.got() == ["utenant@example.org"]


# -- limit states of another form ---------------------------------------------------------------------


def amended(world: World, name: str, value: Any) -> str:
    """Give a limit this state; the record as it is stored then."""
    (text,) = [one for (one,) in read(world, "select record from dk_state where key='account:default'")]
    record = json.dumps({**json.loads(text), name: value}, separators=(",", ":"))
    write(world, "update dk_state set record=? where key='account:default'", record)
    return record


def state_of(world: World, name: str) -> Any:
    ((text,),) = read(world, "select record from dk_state where key='account:default'")
    return json.loads(text)[name]


FORMS: dict[str, Any] = {
    "longer": lambda state: [*state, 7],
    "shorter": lambda state: state[:-1],
    "nested": lambda state: [state],
    "text": lambda state: [str(one) for one in state],
    "fraction": lambda state: [1.5] * len(state),
    "named": lambda state: {"used": 1},
    "huge": lambda state: [10**30] * len(state),
    "number": lambda state: 5,
}


@pytest.mark.parametrize("quota", [CalendarQuota(day=5), RollingQuota(5, timedelta(hours=1))], ids=["calendar", "rolling"])
@pytest.mark.parametrize("form", FORMS)
def test_quota_with_unreadable_counts_grants_nothing(plain: World, quota: Any, form: str) -> None:
    """Its messages wait, the state is kept as it is, and a process that can read it sends at once."""
    world, mailer = plain, plain.mailer()
    world.server(mailer, "a", quota=quota)
    world.server(mailer, "c")
    mailer.routes.add("r", servers=["a"])
    mailer.routes.add("both", servers=["a", "c"], when_exhausted="failover")
    assert mailer.send(message(0), route="r").status is SendStatus.ACCEPTED
    name = f"s:a/{quota.key}"
    whole = state_of(world, name)
    odd = FORMS[form](whole)
    amended(world, name, odd)
    assert mailer.send(message(1), route="both").status is SendStatus.ACCEPTED
    waits = mailer.send(message(2), route="r")
    assert waits.status is SendStatus.QUEUED
    assert waits.stalled
    assert "newer version" in waits.reason
    mailer.enqueue(messages(2), route="r")
    mailer.worker().drain(timedelta(seconds=90))
    every_call(mailer)
    assert world.carriers() == ["a", "c", *["c"] * (len(world.carriers()) - 2)]
    assert state_of(world, name) == odd
    mailer.enqueue([message("again")], route="r")
    mailer.worker().drain(timedelta(seconds=90))
    amended(world, name, whole)
    mailer.worker().drain(timedelta(seconds=90))
    assert "uagain@example.org" in world.got()
    assert used(mailer, "a")["the server a"] == 1 + world.carriers().count("a") - 1


def test_states_of_unknown_limits_are_kept(plain: World) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=5))
    unknown = {"s:a/warp": [1], "s:gone/warp": {"a": [1.5, "x"]}, "new": "text", "x": None}
    for name, value in unknown.items():
        amended(plain, name, value)
    assert mailer.send(message(1)).status is SendStatus.ACCEPTED
    mailer.accept_clock()
    assert {name: state_of(plain, name) for name in unknown} == unknown


@pytest.mark.parametrize("name", ["circuit", "closed", "slowed", "brake"])
@pytest.mark.parametrize("form", ["longer", "named", "huge"])
def test_unreadable_health_stops_no_server(plain: World, name: str, form: str) -> None:
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=50))
    odd = FORMS[form]([1, 2, 3, 4, 5])
    amended(plain, f"s:a/{name}", odd)
    every_call(mailer)
    assert mailer.send(message(1)).status is SendStatus.ACCEPTED
    amended(plain, f"s:a/{name}", odd)
    plain.sandbox.fault("sendgrid", "server_error", times=1, status=503)
    mailer.send(message(2))
    amended(plain, f"s:a/{name}", odd)
    mailer.enqueue(messages(2))
    mailer.worker().drain(timedelta(seconds=90))
    assert plain.sandbox.count() >= 3


# -- an exception from outside in an adapter -------------------------------------------------------------


class TimeLimit(Exception):
    """What a task queue's signal handler raises."""


@pytest.mark.parametrize("method", ["unsupported", "request", "outcome"])
@pytest.mark.parametrize("how", ["send", "worker"])
def test_time_limit_in_an_adapter_refuses_no_message(
    plain: World, method: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing about the message: it is sent by this call, or by the next."""
    mailer = plain.mailer()
    plain.server(mailer, "a")
    inner, hits = getattr(SendGrid, method), [0]

    def hit(*given: Any, **named: Any) -> Any:
        hits[0] += 1
        if hits[0] == 1:
            raise TimeLimit
        return inner(*given, **named)

    monkeypatch.setattr(SendGrid, method, hit)
    with suppress(TimeLimit):
        try:
            mailer.send(message(1)) if how == "send" else mailer.enqueue([message(1)])
        except Unsupported:
            pytest.fail("the message was refused for good")
    if method == "unsupported" or how == "worker":
        with suppress(TimeLimit):
            mailer.enqueue([message(1)]) if method == "unsupported" else None
    for _ in range(3):
        plain.clock.advance(timedelta(minutes=2))
        mailer.worker().drain(timedelta(seconds=90))
    assert hits[0] > 1
    assert plain.got() == ["u1@example.org"]
    assert mailer.outbox.counts()["dead"] == 0
