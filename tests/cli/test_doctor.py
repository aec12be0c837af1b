"""`mailer.doctor()` and `deliverykit doctor`: what is found, of what there is."""

import asyncio
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve
from cli_kit import Desk, calm

from deliverykit import (
    Account,
    AsyncMailer,
    CalendarQuota,
    DeliveryServer,
    Finding,
    Mailer,
    Message,
    Priority,
    Route,
    Severity,
    Status,
)
from deliverykit.contracts.books import Condition
from deliverykit.engine.rooms.health import HealthView
from deliverykit.engine.rooms.views import LaneView, Mail
from deliverykit.engine.upkeep.doctor import Facts, findings, house
from deliverykit.providers import SES, SendGrid
from deliverykit.testing import ManualClock

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MB = 1_000_000
MOMENT = timedelta(milliseconds=1)
BAD = (Severity.WARNING, Severity.PROBLEM)


def server(id_: str = "sg", **given: object) -> DeliveryServer:
    fields = {"name": f"Server {id_}", "provider": SendGrid(api_key="SG.any"), "status": Status.ACTIVE, "proven": True}
    return DeliveryServer(id=id_, account="default", **{**fields, **given})  # type: ignore[arg-type]


def health(**given: object) -> HealthView:
    plain = {
        "circuit": "closed", "faults": 0, "opened_at": None, "probe_at": None, "throttled_until": None, "slowed": None,
        "slowed_until": None,
    }  # fmt: skip
    return HealthView(**{**plain, **given})  # type: ignore[arg-type]


def route(*servers: str, **given: object) -> Route:
    from deliverykit import WhenExhausted

    fields = {"account": "default", "name": "news", "strategy": Priority(), "when_exhausted": WhenExhausted.FAILOVER}
    return Route(servers=servers, **{**fields, **given})  # type: ignore[arg-type]


def lane(**given: object) -> LaneView:
    counts = {"ready": 3, "leased": 0, "sending": 0, "in_doubt": 0, "scheduled": 0, "dead": 0}
    fields = {
        "route": "news", "stream": "", "key": "", "counts": counts, "blocked": True, "blocked_by": "S: calendar",
        "blocked_since": NOW - timedelta(hours=1), "goes_at": NOW + timedelta(hours=1),
    }  # fmt: skip
    return LaneView(**{**fields, **given})  # type: ignore[arg-type]


def mail(since: datetime) -> Mail:
    return Mail(
        id="m", route="news", stream="", state="ready", server="", reason="", attempts=0, goes_at=None, expires_at=None, since=since
    )  # fmt: skip


def facts(**given: object) -> Facts:
    fields = {
        "account": Account(id="default", timezone="Asia/Kolkata"), "now": NOW, "servers": (server(),),
        "health": {"sg": health()}, "routes": (route("sg"),),
    }  # fmt: skip
    return Facts(**{**fields, **given})  # type: ignore[arg-type]


def bad(found: "tuple[Finding, ...]") -> list[tuple[str, str]]:
    return [(one.severity.value, one.check) for one in found if one.severity in BAD]


CHECKS = ("account", "secret key", "servers", "routes", "records", "queue", "in doubt", "dead")


def test_all_is_well() -> None:
    found = findings(facts())
    assert [(one.check, one.severity, one.mend, one.account) for one in found] == [
        (check, Severity.OK, "", "default") for check in CHECKS
    ]


TWO = {"servers": (server("a"), server("b")), "routes": (route("a", "b"),)}


@pytest.mark.parametrize(
    ("given", "expected", "words"),
    [
        ({"account": Account(id="default", timezone="UTC", paused="a bad list")}, [("problem", "account")], "a bad list"),
        ({"account": Account(id="default", timezone="UTC", broken="no Warm")}, [("problem", "account")], "no Warm"),
        ({"account": Account(id="default", timezone="Mars/Crater")}, [("problem", "account")], "Mars/Crater"),
        ({"servers": (server(limits=(evolve(CalendarQuota(hour=1), timezone="UTC"),)),)}, [], ""),
        ({"servers": (), "routes": ()}, [("warning", "servers")], "no delivery server"),
        (
            {"servers": (server(status=Status.BROKEN, provider=None, reason="secret_key: lost"),), "routes": ()},
            [("problem", "secret key"), ("problem", "servers")], "cannot be decrypted",
        ),
        (
            {"servers": (server(status=Status.PAUSED, paused_by="engine", reason="key of bob@example.org"),), "routes": ()},
            [("problem", "servers")], "PAUSED by the engine: key of <address>",
        ),
        ({"servers": (server(status=Status.PAUSED, paused_by="host", reason="tidy"),), "routes": ()}, [], "is PAUSED: tidy"),
        ({"servers": (server(status=Status.PAUSED, proven=False),), "routes": ()}, [], "no accepted test"),
        (
            {"health": {"sg": health(circuit="open", faults=5, opened_at=NOW, probe_at=NOW)}},
            [("problem", "servers"), ("warning", "routes")], "after 5 faults in a row",
        ),
        ({"health": {"sg": health(circuit="half-open", faults=5)}}, [("warning", "servers")], "half-open"),
        ({"health": {"sg": health(throttled_until=NOW)}}, [("warning", "servers")], "takes nothing until 2026-11-23"),
        ({"health": {"sg": health(slowed=timedelta(milliseconds=250), slowed_until=NOW)}}, [], "an email each 250ms, until 2026"),
        ({"routes": (route("sg", broken="no router ByDay"),)}, [("problem", "routes")], "no router ByDay"),
        ({"routes": (route("gone"),)}, [("warning", "routes")], "no server that can carry"),
        ({"routes": (route("gone"),), "lanes": (lane(),)}, [("problem", "routes")], "its mail waits"),
        ({"routes": (route(name="default"),)}, [], ""),
        ({"routes": (route(name="default"),), "lanes": (lane(route="default"),)}, [("problem", "routes")], "its mail waits"),
        ({**TWO, "servers": (server("a", status=Status.PAUSED), server("b"))}, [("warning", "routes")], "runs on its fallback Server b"),
        ({**TWO, "health": {"a": health(circuit="open")}}, [("problem", "servers"), ("warning", "routes")], "fallback Server b"),
        ({**TWO, "servers": (server("a"), server("b", status=Status.PAUSED))}, [], ""),
        (TWO, [], "1 route with a server that sends"),
        ({"lanes": (lane(),)}, [], "3 mails wait, none for too long"),
        ({"lanes": (lane(blocked_since=NOW - timedelta(days=1)),)}, [], "3 mails wait, none for too long"),
        ({"lanes": (lane(blocked_since=NOW - timedelta(days=1) - MOMENT),)}, [("warning", "queue")], "wait for S: calendar since"),
        ({"lanes": (lane(goes_at=None),)}, [("problem", "queue")], "nothing but a change"),
        ({"unattended": (mail(NOW - timedelta(minutes=2)),)}, [], "no mail waits"),
        ({"unattended": (mail(NOW - timedelta(minutes=2) - MOMENT),)}, [("problem", "queue")], "no worker takes it"),
        ({"doubt": 2, "doubted": mail(NOW)}, [("warning", "in doubt")], "2 mails may or may not have gone, the oldest since 2026"),
        ({"dead": {"bad ann@example.org": 1, "bad bob@example.org": 2}}, [("warning", "dead")], "3 mails: bad <address>"),
        ({"dead": {"cancelled": 9, "expired": 1, "late": 1}}, [], "9 mails: cancelled"),
        ({"has_key": False}, [], "by reference only"),
    ],
)  # fmt: skip
def test_what_is_found(given: "dict[str, object]", expected: "list[tuple[str, str]]", words: str) -> None:
    found = findings(facts(**given))
    assert bad(found) == expected
    assert words in "\n".join(one.what for one in found)
    assert all(one.mend for one in found if one.severity in BAD)
    fine = {one.check for one in found if one.severity is Severity.OK}
    assert fine == set(CHECKS) - {check for _, check in expected}, "a check is passed over in silence"


def test_no_mend_asks_for_what_the_command_line_does_not_know() -> None:
    """Every `deliverykit …` that a finding names is a command."""
    from deliverykit.cli.command import parser

    every = facts(
        servers=(server("a", status=Status.PAUSED, proven=False), server("b", status=Status.PAUSED, paused_by="engine"),
                 server("c", status=Status.PAUSED)),
        lanes=(lane(goes_at=None),), unattended=(mail(NOW - timedelta(hours=3)),), doubt=1, dead={"x": 1},
    )  # fmt: skip
    told = "; ".join(one.mend for one in (*findings(every), *findings(facts(servers=()))))
    commands = [part.strip() for part in told.split(";") if part.strip().startswith("deliverykit ")]
    assert len(commands) >= 7
    for command in commands:
        words = command.replace("--as-sent or --resend", "--as-sent").split()[1:]
        if words != ["servers", "add"]:
            parser().read(words)


# -- storage and clock --------------------------------------------------------------------------------


def condition(**given: object) -> Condition:
    return Condition(
        **{"place": "mail.db", "durability": "full", "seen": 0, "size": MB, "log_size": 0, "free": 10**12, **given}
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"free": 500 * MB}, []),
        ({"free": 500 * MB - 1}, [("warning", "storage")]),
        ({"free": 50 * MB}, [("warning", "storage")]),
        ({"free": 50 * MB - 1}, [("problem", "storage")]),
        ({"log_size": 64 * MB}, []),
        ({"log_size": 64 * MB + 1}, [("warning", "storage")]),
        ({"log_size": 66 * MB, "size": 66 * MB}, []),
        ({"log_size": 66 * MB + 1, "size": 66 * MB}, [("warning", "storage")]),
        ({"durability": "normal"}, []),
        ({"size": None, "free": None, "log_size": None}, []),
        ({"seen": 1_000_000 + 5_001}, [("warning", "clock")]),
        ({"seen": 1_000_000 + 5_000}, []),
        ({"seen": 1_000_000 + 3_600_000}, [("warning", "clock")]),
        ({"seen": 1_000_000 + 3_600_001}, [("problem", "clock")]),
    ],
)
def test_what_is_found_of_the_house(given: "dict[str, object]", expected: "list[tuple[str, str]]") -> None:
    assert bad(house(condition(**given), 1_000_000)) == expected


def test_a_real_file(desk: Desk) -> None:
    desk.server("sg", "--quota", "2/day", *calm())
    with desk.mailer() as mailer:
        found = {one.check: one for one in mailer.doctor()}
        assert found["storage"].severity is Severity.OK
        assert f"{desk.folder / 'mail.db'} can be written, durability full" in found["storage"].what
        assert not bad(tuple(found.values()))

    async def awaited() -> "tuple[Finding, ...]":
        async with AsyncMailer(
            desk.environment["DELIVERYKIT_STORAGE"], secret_key=desk.environment["DELIVERYKIT_SECRET_KEY"]
        ) as one:
            return await one.doctor()

    told = asyncio.run(awaited())
    assert {one.check: one.severity for one in told} == {check: one.severity for check, one in found.items()}


def test_it_writes_nothing(desk: Desk) -> None:
    desk.server()

    def books() -> "list[object]":
        with sqlite3.connect(desk.folder / "mail.db") as db:
            tables = [name for (name,) in db.execute("select name from sqlite_master where type='table'")]
            rows = [db.execute(f"select * from {name} order by 1").fetchall() for name in tables]
        db.close()
        return rows

    before = books()
    desk("doctor")
    assert books() == before


def test_a_file_that_may_only_be_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.server()
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **more: real(f"file:{path}?mode=ro", uri=True, **more))
    (found,) = desk("doctor", "--json", status=1).json["findings"]
    assert (found["severity"], found["check"]) == ("problem", "storage")
    assert "readonly" in found["what"]


def test_a_file_that_is_none(desk: Desk) -> None:
    (desk.folder / "mail.db").write_bytes(b"this is no database " * 500)
    (found,) = desk("doctor", "--json", status=1).json["findings"]
    assert (found["severity"], found["check"]) == ("problem", "storage")
    assert found["mend"]


def test_a_file_that_another_holds(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.server()
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout, **more: real(path, timeout=0.05, **more))
    db = real(desk.folder / "mail.db", isolation_level=None)
    db.execute("begin immediate")
    try:
        (found,) = desk("doctor", "--json", status=1).json["findings"]
        assert "locked" in found["what"]
    finally:
        db.rollback()
        db.close()


def test_a_disk_that_is_nearly_full(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.server()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    found = desk("doctor", "--json", status=1).json["findings"]
    assert [(one["check"], one["severity"]) for one in found if one["severity"] != "ok"] == [("storage", "problem")]
    assert "only 1.0 MB are free" in found[0]["what"]


def test_a_clock_that_was_set_back(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    with Mailer(f"sqlite:///{tmp_path / 'mail.db'}", clock=clock) as mailer:
        mailer.servers.add(
            id="s", name="S", provider=SES(region="eu-west-1", credentials=None, access_key_id=_env(), secret_access_key=_env())
        )
        mailer.servers.health("s")
        with sqlite3.connect(tmp_path / "mail.db") as db:
            db.execute("insert into dk_state values ('x', ?, '{}')", (int(NOW.timestamp() * 1000),))
        db.close()
    clock = ManualClock(NOW - timedelta(days=1))
    with Mailer(f"sqlite:///{tmp_path / 'mail.db'}", clock=clock) as mailer:
        found = mailer.doctor()
        assert ("problem", "clock") in bad(found)


def _env() -> object:
    from deliverykit import Env

    return Env("A_VARIABLE")


# -- the command --------------------------------------------------------------------------------------


def test_the_command_tells_what_is_to_be_done_and_ends_with_it(desk: Desk) -> None:
    desk.server()
    assert desk("doctor").lines[-1] == "All is well."
    with desk.mailer() as mailer:
        mailer.enqueue([Message(to="a@example.org", subject="s", text="t")])
    desk.sandbox.fault("sendgrid", "reset")
    desk("worker", "--drain")
    said = desk("doctor", status=1)
    assert "1 mail may or may not have gone" in said.out
    assert "deliverykit queue resolve --as-sent or --resend" in said.out
    assert said.lines[-1] == "1 to be looked at."
    (id_,) = [one["id"] for one in desk("queue", "list", "--json").json["mails"]]
    desk("queue", "resolve", id_, "--as-sent", "--yes")
    assert desk("doctor").lines[-1] == "All is well."


def test_all_accounts_are_looked_at_and_the_house_once(desk: Desk) -> None:
    desk.server()
    with desk.mailer() as mailer:
        mailer.accounts.add("acme", timezone="Asia/Tokyo")
    found = desk("doctor", "--json", status=1).json["findings"]
    assert [one["check"] for one in found].count("storage") == 1
    assert {one["account"] for one in found} == {"", "default", "acme"}
    assert {one["account"] for one in found if one["severity"] == "warning"} == {"acme"}
    assert desk("doctor", "--account", "default").status == 0
