"""`servers`, `quota`, `routes`, `explain`: a real file, a real sandbox, the command itself."""

import json
import sqlite3
import sys
from pathlib import Path

import pytest
from cli_kit import OTHER_KEY, SECRET, SHOP, Desk, calm

from deliverykit.cli import forms
from deliverykit.cli.command import parser


def test_from_adding_to_the_first_mail(desk: Desk) -> None:
    assert "There is no delivery server yet" in desk("servers", "list").out
    desk.server("sg", "--quota", "100/hour", "--quota", "300/day", "--quota", "50/24h", "--pause", "5ms", active=False)
    (told,) = desk("servers", "list", "--json").json["servers"]
    assert told == {
        "id": "sg", "name": "Server sg", "esp": "sendgrid", "status": "paused", "reason": "", "paused_by": "",
        "proven": False, "sender": "News <news@example.com>", "senders": None, "quota": ["100/hour 300/day", "50/1d"],
        "pause": "5ms", "budgets": [], "fields": {"api_key": "(kept encrypted)", "base_url": desk.sandbox.url("sendgrid")},
    }  # fmt: skip
    refused = desk("servers", "activate", "sg", status=2)
    assert "deliverykit servers test sg --to" in refused.err
    desk("servers", "test", "Server sg", "--to", "me@example.org")
    assert desk.sandbox.received("sendgrid")[-1].recipients == ("me@example.org",)
    assert desk("servers", "activate", "sg", "--json").json["status"] == "active"
    desk("routes", "add", "news", "--server", "sg", "--when-exhausted", "queue")
    windows = {one["window"]: (one["used"], one["left"]) for one in desk("quota", "--json").json["quota"]}
    assert windows == {"hour": (1, 99), "day": (1, 299), "1d": (1, 49)}
    assert desk("explain", "--route", "news").lines[0] == "Route news: Server sg would take it now"
    told = desk("explain", "--route", "news", "--json").json
    assert (told["status"], told["server"], told["servers"][0]["verdict"]) == ("accepted", "sg", "takes it now")
    assert desk.sandbox.count("sendgrid") == 1  # asking sends nothing


def test_a_refused_test_says_so_and_is_no_proof(desk: Desk) -> None:
    desk.server(active=False)
    desk.sandbox.keys("sendgrid", ["SG.other"])
    said = desk("servers", "test", "sg", "--to", "me@example.org", "--json", status=1)
    assert (said.json["proof"], said.json["status"]) == (False, "rejected")
    assert desk("servers", "activate", "sg", status=2).err


def test_pausing_updating_and_removing(desk: Desk) -> None:
    desk.server("sg", "--quota", "100/hour", *calm(), "--pause", "5ms")
    desk("servers", "pause", "sg", "--reason", "new key comes")
    told = desk("servers", "list").lines[1]
    assert "paused" in told
    assert told.endswith("new key comes")
    changed = desk("servers", "update", "sg", "--name", "Mumbai", "--quota", "7/day", "--pause", "none", "--json").json
    assert (changed["name"], changed["quota"], changed["pause"], changed["proven"]) == ("Mumbai", ["7/day"], None, True)
    assert desk("servers", "update", "sg", "--quota", "none", "--sender", "none", "--json").json["quota"] == []
    changed = desk("servers", "update", "sg", "--api-key-file", "-", "--json", typed="SG.other").json
    assert changed["proven"] is False
    assert "nothing is given" in desk("servers", "update", "sg", status=2).err
    desk("routes", "add", "news", "--server", "sg")
    assert "named by route news" in desk("servers", "remove", "sg", status=2).err
    assert desk("servers", "remove", "sg", "--force", "--json").json == {"removed": "sg"}
    assert desk("servers", "show", "sg", status=2).err.startswith("deliverykit: no delivery server 'sg'")


def test_a_server_is_found_by_its_name_where_one_has_it(desk: Desk) -> None:
    for id_ in ("one", "two"):
        desk.server(id_, active=False)
        desk("servers", "update", id_, "--name", "The same")
    assert "give an id: one, two" in desk("servers", "show", "The same", status=2).err
    assert desk("servers", "show", "two", "--json").json["id"] == "two"


def test_routes(desk: Desk) -> None:
    for id_ in ("a", "b"):
        desk.server(id_)
    desk(
        "routes",
        "add",
        "news",
        "-s",
        "b",
        "-s",
        "Server a",
        "--strategy",
        "weighted",
        "--weight",
        "a=3",
        "--max-lateness",
        "6h",
    )
    (told,) = desk("routes", "list", "--json").json["routes"]
    assert told == {
        "name": "news", "servers": ["b", "a"], "strategy": "weighted", "strategy_fields": {"weights": {"a": 3}},
        "when_exhausted": "failover", "in_doubt": "hold", "max_lateness": 21600.0, "broken": "",
    }  # fmt: skip
    desk("routes", "update", "news", "--weight", "b=2", "--in-doubt", "resend", "--max-lateness", "none")
    told = desk("routes", "show", "news", "--json").json
    assert (told["strategy_fields"], told["in_doubt"], told["max_lateness"]) == ({"weights": {"b": 2}}, "resend", None)
    assert [one["id"] for one in told["members"]] == ["b", "a"]
    desk("routes", "update", "news", "--strategy", "by:domain")
    assert desk("routes", "list", "--json").json["routes"][0]["strategy_fields"]["field"] == "domain"
    assert "weight" in desk("routes", "update", "news", "--strategy", "priority", "--weight", "a=1", status=2).err
    desk("send", "--route", "news", "--enqueue", "--to", "x@example.org", "--subject", "s", "--text", "-", typed="words")
    assert "mail waits" in desk("routes", "remove", "news", status=2).err
    desk("routes", "remove", "news", "--move-to", "default")
    assert desk("routes", "list", "--json").json == {"routes": []}
    assert "at least one" in desk("routes", "add", "none", status=2).err


# -- secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["add", "update"])
def test_no_option_takes_a_secret(command: str) -> None:
    whole = parser()
    servers = whole._subparsers._group_actions[0].choices["servers"]
    options = {
        word for action in servers._subparsers._group_actions[0].choices[command]._actions for word in action.option_strings
    }
    secrets = {field.name for info in forms.esps().values() for field in info.fields if field.secret and not field.named}
    assert secrets == {"access_key_id", "secret_access_key", "session_token", "api_key"}
    for name in secrets:
        flag = f"--{name.replace('_', '-')}"
        assert {option for option in options if option.startswith(flag)} == {f"{flag}-file", f"{flag}-env", f"{flag}-env-ref"}
    plain = {f"--{field.name.replace('_', '-')}" for info in forms.esps().values() for field in info.fields} - {
        f"--{name.replace('_', '-')}" for name in secrets
    }
    assert plain <= options


@pytest.mark.parametrize(
    "words",
    [
        ["--api-key", SECRET], [f"--api-key={SECRET}"], [SECRET], ["--api-key-env", SECRET], ["--api-key-env-ref", SECRET],
        ["--api-key-file", SECRET], [f"--token={SECRET}"],
    ],
)  # fmt: skip
def test_a_secret_given_as_an_argument_is_refused_and_not_repeated(desk: Desk, words: list[str]) -> None:
    said = desk("servers", "add", "--esp", "sendgrid", *words, status=2)
    assert SECRET not in said.out + said.err
    assert "Traceback" not in said.err
    assert desk("servers", "list", "--json").json == {"servers": []}


def test_the_ways_to_a_secret(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A_KEY", SECRET)
    (tmp_path / "key").write_text(f"{SECRET}\n")
    base = ("servers", "add", "--esp", "sendgrid", "--base-url", desk.sandbox.url("sendgrid"), "--sender", "n@example.com")
    desk(*base, "--id", "file", "--api-key-file", str(tmp_path / "key"))
    desk(*base, "--id", "pipe", "--api-key-file", "-", typed=f"{SECRET}\nmore\n")
    desk(*base, "--id", "now", "--api-key-env", "A_KEY")
    desk(*base, "--id", "later", "--api-key-env-ref", "A_KEY")
    told = {one["id"]: one["fields"]["api_key"] for one in desk("servers", "list", "--json").json["servers"]}
    kept = "(kept encrypted)"
    assert told == {"file": kept, "pipe": kept, "now": kept, "later": "(in the sender's environment: A_KEY)"}
    desk.sandbox.keys("sendgrid", [SECRET])
    for id_ in told:
        desk("servers", "test", id_, "--to", "me@example.org")
    monkeypatch.setenv("A_KEY", "SG.another")
    desk("servers", "test", "now", "--to", "me@example.org")
    desk("servers", "test", "later", "--to", "me@example.org", status=1)
    for name in desk.folder.glob("mail.db*"):
        assert SECRET.encode() not in name.read_bytes()


def test_what_is_missing_is_named_with_its_ways(desk: Desk) -> None:
    said = desk("servers", "add", "--esp", "sendgrid", status=2)
    assert "api_key: missing; give --api-key-file, --api-key-env or --api-key-env-ref" in said.err
    assert "region: missing; give --region" in desk("servers", "add", "--esp", "ses", status=2).err
    assert "--esp: missing" in desk("servers", "add", status=2).err
    assert "has no such field" in desk("servers", "add", "--esp", "sendgrid", "--domain", "example.com", status=2).err
    assert "is empty" in desk("servers", "add", "--esp", "sendgrid", "--api-key-file", "-", status=2).err
    assert "is not set" in desk("servers", "add", "--esp", "sendgrid", "--api-key-env", "NOT_THERE", status=2).err
    assert "cannot be read" in desk("servers", "add", "--esp", "sendgrid", "--api-key-file", "/not/there", status=2).err


# -- the mailer ---------------------------------------------------------------------------------------


def test_without_a_mailer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DELIVERYKIT_STORAGE")
    said = desk("servers", "list", status=2)
    assert said.err == (
        "deliverykit: no mailer: set DELIVERYKIT_STORAGE (such as sqlite:///mail.db) and DELIVERYKIT_SECRET_KEY, "
        "or give --app package.module:mailer\n"
    )


def test_without_a_key_nothing_secret_is_added(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DELIVERYKIT_SECRET_KEY")
    said = desk("servers", "add", "--esp", "sendgrid", "--api-key-file", "-", typed=SECRET, status=2)
    assert "secret_key" in said.err
    assert SECRET not in said.err


def test_a_programs_own_mailer(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"hosts_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from deliverykit import Mailer\n"
        "mailer = Mailer('memory://', timezone='Asia/Tokyo')\n"
        "def make():\n    return Mailer('memory://')\n"
        "class Nested:\n    inside = mailer\n"
        "other = 5\n"
        "mailer.accounts.add('acme', timezone='Europe/Berlin')\n"
    )
    (tmp_path / f"{name}_broken.py").write_text("import not_to_be_found_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    for word in ("mailer", "make", "Nested.inside"):
        assert desk("servers", "list", "--app", f"{name}:{word}", "--json").json == {"servers": []}
    assert desk("servers", "list", "--app", f"{name}:mailer", "--account", "acme").status == 0
    assert "there is no such account" in desk("servers", "list", "--app", f"{name}:mailer", "--account", "other", status=2).err
    assert "has no absent" in desk("servers", "list", "--app", f"{name}:absent", status=2).err
    assert "is int; name a deliverykit.Mailer" in desk("servers", "list", "--app", f"{name}:other", status=2).err
    assert "there is no module nowhere" in desk("servers", "list", "--app", "nowhere.at.all:mailer", status=2).err
    assert "package.module:mailer" in desk("servers", "list", "--app", name, status=2).err
    with pytest.raises(ModuleNotFoundError, match="not_to_be_found_anywhere"):  # the module's own fault, told whole
        desk("servers", "list", "--app", f"{name}_broken:mailer")


def test_a_programs_own_adapters_are_added_like_ours(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"shop_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    app = f"--app={name}:mailer"
    add = ["servers", "add", "--esp", "pooled", "--id", "p", "--api-key-file", "-", "--base-url", desk.sandbox.url("sendgrid")]
    assert "invalid choice: 'pooled'" in desk(*add, status=2).err
    assert "pool: missing; give --pool" in desk(*add, app, typed=SECRET, status=2).err
    told = desk(*add, "--pool", "bulk", "--sender", "a@example.com", app, "--json", typed=SECRET).json
    assert (told["esp"], told["fields"]["pool"]) == ("pooled", "bulk")
    assert sys.modules[name].opened == 2, "a function is asked for its mailer once in each call"
    # A secret of its own has the same three ways, and none that takes it.
    refused = desk("servers", "update", "p", "--seal", SECRET, app, status=2).err
    assert "unrecognized arguments: --seal" in refused
    assert SECRET not in refused
    (tmp_path / "seal.txt").write_text(SECRET)
    changed = desk(
        "servers", "update", "p", "--seal-file", "seal.txt", "--pool", "fast", "--app", f"{name}:mailer", "--json"
    ).json
    assert (changed["fields"]["pool"], changed["fields"]["seal"]) == ("fast", "(kept encrypted)")
    desk("servers", "test", "p", "--to", "me@example.org", app)
    assert json.loads(desk.sandbox.received("sendgrid")[0].raw)["ip_pool_name"] == "fast"
    assert "--pool" not in desk("servers", "add", "--help").out
    assert "IP pool" in desk("servers", "add", "--help", app).out
    assert "SendGrid has no such field" in desk(
        "servers", "add", "--esp", "sendgrid", "--api-key-file", "-", "--pool", "bulk", app, typed=SECRET, status=2
    ).err  # fmt: skip


def test_a_storage_that_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "no.db").write_bytes(b"this is no database " * 100)
    monkeypatch.setenv("DELIVERYKIT_STORAGE", f"sqlite:///{tmp_path / 'no.db'}")
    said = desk("servers", "list", status=3)
    assert said.err.count("\n") == 1


def test_a_key_that_is_lost_leaves_a_broken_server_in_the_list(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.server()
    monkeypatch.setenv("DELIVERYKIT_SECRET_KEY", OTHER_KEY)
    (told,) = desk("servers", "list", "--json").json["servers"]
    assert (told["status"], told["esp"], told["fields"]) == ("broken", None, {})
    assert told["reason"]
    assert desk("servers", "show", "sg").status == 0


# -- how it is told -----------------------------------------------------------------------------------


def test_lines_in_a_pipe_are_aligned_and_bare(desk: Desk) -> None:
    desk.server("short", active=False)
    desk.server("a-longer-one", active=False)
    head, first, second = desk("servers", "list").lines
    places = [line.index("Server") for line in (first, second)]
    assert places == [head.index("name")] * 2
    assert "\x1b" not in head + first + second


def test_times_are_told_in_the_accounts_zone_and_in_utc_for_programs(desk: Desk) -> None:
    desk.server("sg", "--quota", "100/day")
    (window,) = desk("quota", "--json").json["quota"]
    assert window["resets_at"].endswith("18:30:00+00:00")  # midnight in India
    assert desk("quota").lines[1].endswith("00:00:00 IST")


def test_every_json_is_one_document(desk: Desk) -> None:
    desk.server()
    for words in (["servers", "list"], ["servers", "show", "sg"], ["quota"], ["routes", "list"], ["routes", "show", "default"]):
        assert isinstance(json.loads(desk(*words, "--json").out), dict)


def test_the_file_is_the_one_that_was_named(desk: Desk) -> None:
    desk.server()
    with sqlite3.connect(desk.folder / "mail.db") as db:
        assert db.execute("select count(*) from dk_document where kind='server'").fetchone() == (1,)
    db.close()


def test_each_command_says_what_it_does(desk: Desk) -> None:
    for words in (["servers", "--help"], ["servers", "add", "--help"], ["servers"], ["routes", "update", "--help"], ["--help"]):
        assert desk(*words).out.startswith("usage: deliverykit")


# -- checking -----------------------------------------------------------------------------------------


def test_credentials_are_checked_without_sending(desk: Desk) -> None:
    desk.sandbox.keys("sendgrid", ["SG.right"])
    add = ("servers", "add", "--esp", "sendgrid", "--base-url", desk.sandbox.url("sendgrid"), "--api-key-file", "-", "--check")
    refused = desk(*add, typed=SECRET, status=1)
    assert "The credentials cannot send." in refused.out
    assert "→" in refused.out
    assert "Nothing was added." in refused.out
    assert desk(*add, "--json", typed=SECRET, status=1).json["check"]["status"] == "refused"
    assert desk("servers", "list", "--json").json == {"servers": []}
    told = desk(*add, "--id", "sg", "--json", typed="SG.right").json
    assert (told["id"], told["status"], told["check"]["status"]) == ("sg", "paused", "ok")
    assert desk("servers", "check", "sg").out.startswith("The credentials work.")
    desk.sandbox.keys("sendgrid", ["SG.another"])
    told = desk("servers", "check", "sg", "--json", status=1).json
    assert (told["server"], told["status"], told["problems"][0]["blocks"]) == ("sg", "refused", True)
    assert desk.sandbox.count() == 0


def test_a_key_is_changed_without_a_gap(desk: Desk) -> None:
    desk.server()
    desk.sandbox.keys("sendgrid", ["SG.new"])
    update = ("servers", "update", "sg", "--api-key-file", "-", "--test-to", "me@example.org")
    refused = desk(*update, "--json", typed="SG.wrong", status=1)
    assert refused.json["proven"] is False
    assert "SG.wrong" not in refused.out + refused.err
    assert desk("servers", "show", "sg", "--json").json["status"] == "active"
    told = desk(*update, "--json", typed="SG.new").json
    assert (told["status"], told["proven"]) == ("active", True)
    assert "there is no test" in desk("servers", "update", "sg", "--test-sender", "a@example.com", "--name", "x", status=2).err
