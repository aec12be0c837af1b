"""`send`, `worker`, `queue`, `log`: mail on its way, seen and handled from the command line."""

import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cli_kit import COMMAND, SECRET, Desk, calm

from deliverykit import Message
from deliverykit.cli import queue
from deliverykit.cli.asking import Asker
from deliverykit.cli.output import words


def enqueue(desk: Desk, count: int, route: str = "default") -> list[str]:
    with desk.mailer() as mailer:
        return mailer.enqueue(
            [Message(to=f"u{number}@example.org", subject="s", text="t") for number in range(count)], route=route
        )


# -- sending ------------------------------------------------------------------------------------------


def test_send_from_options(desk: Desk, tmp_path: Path) -> None:
    desk.server()
    (tmp_path / "page.html").write_text("<p>Hello</p>")
    (tmp_path / "note.txt").write_text("attached")
    told = desk(
        "send", "--to", "Ann <ann@example.org>", "--cc", "bob@example.org", "--subject", "Hi", "--text", "-",
        "--html", str(tmp_path / "page.html"), "--attach", str(tmp_path / "note.txt"), "--tag", "news",
        "--metadata", "order=7", "--header", "X-Thing=that", "--json", typed="Hello\n",
    ).json  # fmt: skip
    assert (told["status"], told["attempts"][0]["outcome"]) == ("accepted", "Accepted")
    mail = desk.sandbox.received("sendgrid")[-1]
    assert set(mail.recipients) == {"ann@example.org", "bob@example.org"}
    assert (mail.subject, mail.text.strip(), mail.html, mail.tags) == ("Hi", "Hello", "<p>Hello</p>", ("news",))
    assert mail.headers["X-Thing"] == "that"
    assert b"attached" in mail.raw or b"YXR0YWNoZWQ=" in mail.raw
    lines = desk("log", told["id"], "--json").json["lines"]
    assert [one["outcome"] for one in lines][-1] == "accepted"


def test_send_an_eml_file(desk: Desk, tmp_path: Path) -> None:
    desk.server()
    email = EmailMessage()
    email["From"], email["To"], email["Subject"] = "me@example.com", "ann@example.org", "As written"
    email.set_content("Plain words")
    (tmp_path / "mail.eml").write_bytes(bytes(email))
    desk("send", "--eml", str(tmp_path / "mail.eml"))
    assert desk.sandbox.received("sendgrid")[-1].subject == "As written"
    desk("send", "--eml", "-", "--subject", "Another", "--to", "bob@example.org", typed=bytes(email).decode())
    mail = desk.sandbox.received("sendgrid")[-1]
    assert (mail.subject, mail.recipients) == ("Another", ("bob@example.org",))
    assert "raw" in desk("send", "--eml", str(tmp_path / "mail.eml"), "--raw", "--to", "a@example.org", status=2).err
    assert "--raw is about an .eml file" in desk("send", "--raw", "--to", "a@example.org", status=2).err
    assert "has no headers" in desk("send", "--eml", "-", typed="\n", status=2).err
    assert "cannot be read" in desk("send", "--eml", "/not/there", status=2).err


def test_what_send_ends_with(desk: Desk) -> None:
    desk.server()
    words = ("send", "--to", "ann@example.org", "--subject", "s", "--text", "-")
    assert desk(*words, typed="t").status == 0
    desk.sandbox.fault("sendgrid", "rejected", text="bad content")
    assert desk(*words, "--json", typed="t", status=1).json["status"] == "rejected"
    desk.sandbox.fault("sendgrid", "reset")
    assert desk(*words, "--json", typed="t", status=1).json["status"] == "in_doubt"
    assert "subject" in desk("send", "--to", "ann@example.org", "--text", "-", typed="t", status=2).err
    assert "no route 'nowhere'" in desk(*words, "--route", "nowhere", typed="t", status=2).err
    desk("servers", "pause", "sg")
    assert "is PAUSED" in desk(*words, "--server", "sg", typed="t", status=2).err


# -- the worker ---------------------------------------------------------------------------------------


def test_a_worker_drains_and_tells_in_lines_of_json(desk: Desk) -> None:
    option, zone = calm()
    desk.server("sg", "--quota", "21/day", option, zone)
    enqueue(desk, 30)
    *progress, stopped = [json.loads(line) for line in desk("worker", "--drain", "--every", "50ms", "--json").lines]
    assert {name: stopped[name] for name in ("event", "sent", "dead", "in_doubt", "returned")} == {
        "event": "stopped", "sent": 20, "dead": 0, "in_doubt": 0, "returned": 0,
    }  # fmt: skip
    last = progress[-1]
    assert (last["event"], last["sent"], last["waiting"], last["on_its_way"], last["held_in_doubt"]) == (
        "progress",
        20,
        10,
        0,
        0,
    )
    assert last["servers"] == [{"server": "sg", "name": "Server sg", "status": "active", "left": {"Server sg day": 0}}]
    (lane,) = desk("queue", "show", "--json").json["lanes"]
    assert (lane["waiting"], lane["blocked"], lane["blocked_by"].partition(":")[0]) == (
        10,
        True,
        "day quota of 'Server sg' used up",
    )
    assert datetime.fromisoformat(lane["goes_at"]).astimezone(ZoneInfo(zone)).strftime("%H:%M") == "00:00"
    shown = desk("queue", "show").out
    assert "day quota of" in shown
    assert "10 in the outbox: 10 ready" in shown


def test_a_worker_in_a_pipe_tells_plain_lines(desk: Desk) -> None:
    desk.server()
    enqueue(desk, 5)
    lines = desk("worker", "--drain", "--every", "50ms").lines
    assert lines[-1] == "Stopped: 5 sent, 0 dead, 0 in doubt, 0 returned"
    assert lines[-2].startswith("5 sent   0 waiting   0 on their way   0 in doubt")


def test_a_worker_is_stopped_by_a_signal_and_ends_well(desk: Desk) -> None:
    desk.server("sg", "--pause", "30ms")
    enqueue(desk, 200)
    process = subprocess.Popen([*COMMAND, "worker", "--json", "--every", "50ms"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["sent"] < 3:
            pass
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read().splitlines()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    stopped = json.loads(rest[-1])
    counts = desk("queue", "show", "--json").json["counts"]
    assert stopped["event"] == "stopped"
    assert 3 <= stopped["sent"] < 200
    assert stopped["sent"] + counts["ready"] == 200
    assert desk.sandbox.count("sendgrid") == stopped["sent"] + 1


# -- the queue ----------------------------------------------------------------------------------------


def test_cancel_and_requeue(desk: Desk) -> None:
    desk.server()
    ids = enqueue(desk, 5)
    assert desk("queue", "cancel", "--yes", status=2).err.startswith("deliverykit: queue cancel: say which mail is meant")
    refused = desk("queue", "cancel", ids[0], ids[1], status=2)
    assert "2 mails fit; give --yes" in refused.err
    assert desk("queue", "show", "--json").json["counts"]["ready"] == 5
    assert desk("queue", "cancel", ids[0], ids[1], "--yes", "--json").json == {"cancel": 2}
    dead = desk("queue", "list", "--state", "dead", "--json").json["mails"]
    assert [(one["id"], one["reason"], one["goes_at"]) for one in dead] == [(id_, "cancelled", None) for id_ in ids[:2]]
    assert desk("queue", "cancel", "--route", "default", "--before", "1h", "--yes", "--json").json == {"cancel": 0}
    assert desk("queue", "requeue", "--reason", "cancel", "--yes").out == "2 mails are in the queue again.\n"
    assert desk("queue", "list", "--limit", "2").lines[-1] == "These are the oldest 2; --limit shows more."
    assert desk("queue", "list", "--route", "nowhere").out == "No mail fits.\n"


def test_by_when_it_will_have_left(desk: Desk) -> None:
    desk.server("slow", "--quota", "2/hour", *calm())
    desk.server("off")
    for route, server in (("news", "slow"), ("stuck", "off"), ("empty", "slow")):
        desk("routes", "add", route, "--server", server)
    desk("servers", "pause", "off")
    enqueue(desk, 5, "news")
    enqueue(desk, 1, "stuck")
    news, stuck = desk("queue", "show", "--eta", "--json").json["eta"]
    assert (news["route"], news["waiting"], news["limited_by"], news["later_than"]) == (
        "news",
        5,
        "hour quota of 'Server slow'",
        None,
    )
    hours = datetime.fromisoformat(news["at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < hours <= timedelta(hours=3)  # one of this hour's two went with its test
    assert (stuck["route"], stuck["at"], stuck["later_than"]) == ("stuck", None, None)
    *_, title, first, second, condition = desk("queue", "show", "--eta").lines
    assert title.split("  ")[0] == "route"
    assert title.endswith("has left by              held up by")
    assert first.startswith("news ")
    assert first.endswith(" IST  hour quota of 'Server slow'")
    assert "1  never, as it is" in second
    assert condition.startswith("If nothing else comes in")
    assert "eta" not in desk("queue", "show", "--json").json
    (empty,) = desk("queue", "show", "--eta", "--route", "empty", "--json").json["eta"]
    assert (empty["waiting"], empty["limited_by"]) == (0, "")
    assert "'nowhere'" in desk("queue", "show", "--eta", "--route", "nowhere", status=2).err


def test_what_takes_too_long_to_reckon_is_later_than_that() -> None:
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    told = queue._left_by({"at": None, "later_than": noon})
    assert words(told, lambda: UTC) == "later than 2026-11-24 12:00:00 UTC"


def test_mail_in_doubt_is_resolved(desk: Desk) -> None:
    desk.server()
    enqueue(desk, 3)
    desk.sandbox.fault("sendgrid", "reset", times=3)
    desk("worker", "--drain")
    mails = desk("queue", "list", "--state", "in_doubt", "--json").json["mails"]
    assert len(mails) == 3
    assert {one["server"] for one in mails} == {"sg"}
    assert desk("queue", "resolve", "--server", "sg", status=2).err
    assert desk("queue", "resolve", mails[0]["id"], "--as-sent", "--yes", "--json").json == {"resolve": 1}
    assert desk("queue", "resolve", "--server", "Server sg", "--resend", "--yes", "--json").json == {"resolve": 2}
    desk("worker", "--drain")
    assert desk("queue", "show", "--json").json["counts"] == dict.fromkeys(
        ("ready", "leased", "sending", "in_doubt", "scheduled", "dead"), 0
    )
    outcomes = [one["outcome"] for one in desk("log", mails[1]["id"], "--json").json["lines"]]
    assert outcomes[-1] == "accepted"


def test_prune(desk: Desk) -> None:
    desk.server()
    ids = enqueue(desk, 2)
    desk("queue", "cancel", *ids, "--yes")
    assert desk("queue", "prune", "--older-than", "1d", "--yes", "--json").json == {"dead": 0, "log": 0}
    time.sleep(0.02)
    assert "2 mails fit; give --yes" in desk("queue", "prune", "--older-than", "1ms", status=2).err
    assert desk("queue", "prune", "--older-than", "1ms", "--yes", "--json").json["dead"] == 2
    assert desk("queue", "show").out.startswith("Nothing is in the outbox.")


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("\n", 2), ("no\n", 2)])
def test_a_person_is_asked_with_the_count(desk: Desk, monkeypatch: pytest.MonkeyPatch, answer: str, left: int) -> None:
    desk.server()
    enqueue(desk, 2)
    monkeypatch.setattr(Asker, "present", True)
    said = desk("queue", "cancel", "--route", "default", typed=answer, status=1 if left else 0)
    assert "2 mails fit. Cancel? [y/N] " in said.err
    assert desk("queue", "show", "--json").json["counts"]["ready"] == left


def test_the_log_of_a_mail(desk: Desk) -> None:
    desk.server()
    (id_,) = enqueue(desk, 1)
    assert desk("log", id_).out.startswith("Nothing has happened to it yet.")
    told = desk("log", id_, "--json").json
    assert (told["mail"]["state"], told["lines"]) == ("ready", [])
    desk("worker", "--drain")
    told = desk("log", id_, "--json").json
    assert told["mail"] is None
    assert (told["lines"][-1]["outcome"], told["lines"][-1]["server_name"]) == ("accepted", "Server sg")
    assert desk("log", "nothing", status=2).err == "deliverykit: nothing is known of a mail 'nothing' in account 'default'\n"


def test_times_that_are_no_times(desk: Desk) -> None:
    for word in ("yesterday", "2x", "12", ""):
        assert "is not a time" in desk("queue", "list", "--before", word, status=2).err
    assert desk("queue", "list", "--before", "2026-11-23T10:00", "--since", "7d").status == 0


# -- as processes -------------------------------------------------------------------------------------


def test_the_whole_story_as_processes(desk: Desk, tmp_path: Path) -> None:
    url = desk.sandbox.url("sendgrid")
    desk.alone(
        "servers", "add", "--esp", "sendgrid", "--id", "sg", "--api-key-env", "THE_KEY", "--base-url", url,
        "--sender", "n@example.com", "--quota", "100/hour", *calm(), THE_KEY=SECRET,
    )  # fmt: skip
    desk.alone("servers", "test", "sg", "--to", "me@example.org")
    desk.alone("servers", "activate", "sg")
    desk.alone("routes", "add", "news", "-s", "sg")
    sent = desk.alone(
        "send", "--route", "news", "--to", "a@example.org", "--subject", "s", "--text", "-", "--enqueue", "--json", typed="t"
    )
    desk.alone("worker", "--drain")
    assert "accepted" in desk.alone("log", sent.json["id"]).out
    assert desk.alone("queue", "show").out == "Nothing is in the outbox.\n"
    assert desk.alone("quota", "--json").json["quota"][0]["used"] == 2
    assert [mail.recipients for mail in desk.sandbox.received("sendgrid")] == [("me@example.org",), ("a@example.org",)]


def test_secrets_are_not_in_the_process_list(desk: Desk) -> None:
    """While it runs, what `ps` shows of it: its arguments, from the kernel."""
    process = subprocess.Popen(
        [*COMMAND, "servers", "add", "--esp", "sendgrid", "--api-key-file", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(0.2)
    arguments = Path(f"/proc/{process.pid}/cmdline")
    shown = arguments.read_bytes() if arguments.exists() else b"servers"
    out, err = process.communicate(SECRET, timeout=60)
    assert b"servers" in shown
    assert SECRET.encode() not in shown
    assert SECRET not in out + err
    assert process.returncode == 0


def test_a_traceback_shows_no_secret(desk: Desk, tmp_path: Path) -> None:
    """A fault of our own in the middle of adding: Python's traceback has lines of code, and no values."""
    (tmp_path / "sitecustomize.py").write_text(
        "import deliverykit.engine.rooms.servers as s\n"
        "def broken(*_, **__):\n    raise RuntimeError('a bug')\n"
        "s.Servers.add = broken\n"
        "import deliverykit.mailer as m\n"
        "m.ServersFace.add = broken\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    said = desk.alone("servers", "add", "--esp", "sendgrid", "--api-key-file", "-", typed=SECRET, status=1, PYTHONPATH=path)
    assert "a bug" in said.err
    assert SECRET not in said.err


def test_a_reader_that_leaves(desk: Desk) -> None:
    desk.server()
    enqueue(desk, 2000)
    process = subprocess.Popen(
        [*COMMAND, "queue", "list", "--limit", "2000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 1
    with process.stderr as errors:
        assert errors.read() == ""


def test_a_worker_that_tells_every_fact(desk: Desk) -> None:
    desk.server()
    (id_,) = enqueue(desk, 1)
    said = desk.alone("worker", "--drain", "--verbose")
    assert id_ in said.err
    assert "DEBUG" in said.err
    assert "u0@example.org" not in said.err
    assert id_ not in said.out
    desk.sandbox.keys("sendgrid", ["SG.other"])
    enqueue(desk, 1)
    said = desk.alone("worker", "--drain")
    assert "PAUSED" in said.err
    assert said.err.count("\n") < 4
