"""At a real terminal: the form that asks, the secret that is not shown, tables, colour and the live view."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cli_kit import SECRET, SHOP, Desk, calm
from cli_terminal import Terminal

from deliverykit import Message

Open = Callable[..., Terminal]


@pytest.fixture
def terminal(desk: Desk) -> Iterator[Open]:
    with ExitStack() as stack:

        def opened(*words: str, **environment: str) -> Terminal:
            one = Terminal(*words, **environment)
            stack.callback(one.close)
            return one

        yield opened


def test_the_whole_form(desk: Desk, terminal: Open) -> None:
    form = terminal("servers", "add")
    form.until("Amazon SES")
    form.answer("ESP", "nine")
    form.until("Give a number from 1 to 4.")
    form.answer("ESP", "2")
    form.until("API key")
    form.until("not shown: ")
    form.type(SECRET)
    form.answer("API address", "no address")
    form.until("not a web address")
    form.answer("API address", desk.sandbox.url("sendgrid"))
    form.answer("Name, for people (Enter: SendGrid)", "Berlin")
    form.answer("Sender, replaces every From", "News <n@example.com>")
    form.answer("Quota, such as", "1000/fortnight")
    form.until("is no")
    form.answer("Quota, such as", "1000/hour 200/24h")
    form.answer("Pause between two emails", "250ms")
    form.until("Berlin is added as")
    assert form.end() == 0
    assert SECRET not in form.raw
    (told,) = desk("servers", "list", "--json").json["servers"]
    assert (told["name"], told["sender"], told["quota"], told["pause"]) == (
        "Berlin", "News <n@example.com>", ["1000/hour", "200/1d"], "250ms",
    )  # fmt: skip
    desk.sandbox.keys("sendgrid", [SECRET])
    desk("servers", "test", told["id"], "--to", "me@example.org")


def test_the_form_of_a_programs_own_adapter(desk: Desk, terminal: Open, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    form = terminal(
        "servers", "add", "--app", "shop:mailer", PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    )
    form.until("  2  SendGrid\r\n")
    form.until("  5  SendGrid (pooled)\r\n")
    form.answer("ESP", "5")
    form.until("not shown: ")
    form.type(SECRET)
    form.answer("API address", desk.sandbox.url("sendgrid"))
    form.until("  1  bulk")
    form.answer("IP pool", "fast")
    form.until("Seal (Enter: none), not shown: ")
    form.type("")
    for question in ("Name", "Sender", "Quota", "Pause"):
        form.answer(question)
    form.until("is added as")
    assert form.end() == 0
    (told,) = desk("servers", "list", "--json").json["servers"]
    assert (told["status"], told["name"]) == ("broken", "SendGrid")  # for whoever has not registered it
    assert "register=[its class]" in told["reason"]


def test_the_form_of_ses_asks_for_the_name_only_where_no_key_is_given(desk: Desk, terminal: Open) -> None:
    for key in (SECRET, ""):
        form = terminal("servers", "add")
        form.answer("ESP", "amazon ses")
        form.answer("Region", "eu-west-1")
        form.until("Access key id (AWS IAM: Users, Security credentials; Enter: none), not shown: ")
        form.type(key)
        form.until("Secret access key")
        form.until("not shown: ")
        form.type(key)
        form.until("Session token")
        form.until("not shown: ")
        form.type("")
        if not key:
            form.answer("Name of AWS credentials", "mumbai")
        form.until("Configuration set", unless="Name of AWS credentials")
        form.until(": ")
        form.type("")
        form.answer("API address")
        form.answer("Name, for people")
        form.answer("Sender")
        form.answer("Quota")
        form.answer("Pause")
        assert form.end() == 0
        assert ("Name of AWS credentials" in form.text) is (not key)
        assert SECRET not in form.raw
    kept, named = (one["fields"] for one in desk("servers", "list", "--json").json["servers"])
    assert kept["access_key_id"] == "(kept encrypted)"
    assert named == {"region": "eu-west-1", "credentials": "(handed over by the program: mumbai)"}


def test_with_esp_it_asks_only_for_what_is_needed(desk: Desk, terminal: Open) -> None:
    form = terminal("servers", "add", "--esp", "sendgrid", "--id", "sg")
    form.until("not shown: ")
    form.type(SECRET)
    assert form.end() == 0
    assert SECRET not in form.raw
    again = terminal("servers", "update", "sg", "--api-key-file", "-")
    again.until("not shown: ")
    again.type(f"{SECRET}-new")
    assert again.end() == 0
    assert SECRET not in again.raw


def test_refused_credentials_are_added_only_if_a_person_says_so(desk: Desk, terminal: Open) -> None:
    desk.sandbox.keys("sendgrid", ["SG.right"])
    for answer, status in (("n", 1), ("y", 0)):
        form = terminal("servers", "add", "--esp", "sendgrid", "--base-url", desk.sandbox.url("sendgrid"), "--check")
        form.until("not shown: ")
        form.type(SECRET)
        form.until("Add it all the same? [y/N] ")
        form.type(answer)
        assert form.end() == status
        assert SECRET not in form.raw
    assert len(desk("servers", "list", "--json").json["servers"]) == 1


def test_who_leaves_the_form_leaves_nothing(desk: Desk, terminal: Open) -> None:
    form = terminal("servers", "add", "--esp", "sendgrid")
    form.until("not shown: ")
    assert form.interrupted() == 130
    assert "Traceback" not in form.text
    assert desk("servers", "list", "--json").json == {"servers": []}


def test_a_table_has_colours_unless_they_are_unwanted(desk: Desk, terminal: Open) -> None:
    desk.server()
    shown = terminal("servers", "list")
    assert shown.end() == 0
    assert "\x1b[32mactive" in shown.raw
    bare = terminal("servers", "list", NO_COLOR="1")
    assert bare.end() == 0
    assert "active" in bare.raw
    assert "\x1b[3" not in bare.raw
    told = terminal("servers", "list", "--json")
    assert told.end() == 0
    assert "\x1b" not in told.raw


def test_a_worker_shows_itself_and_is_stopped_by_ctrl_c(desk: Desk, terminal: Open) -> None:
    desk.server("sg", "--quota", "1000/hour", *calm(), "--pause", "50ms")
    with desk.mailer() as mailer:
        mailer.enqueue([Message(to=f"u{number}@example.org", subject="s", text="t") for number in range(300)])
    worker = terminal("worker")
    worker.until("/s")
    worker.until("Server sg")
    worker.until("Server sg hour")
    worker.interrupt()
    worker.until("Stopped: ")
    assert worker.end() == 0
    assert "Traceback" not in worker.text
    counts = desk("queue", "show", "--json").json["counts"]
    assert 0 < counts["ready"] < 300
    assert counts["in_doubt"] == counts["sending"] == counts["leased"] == 0


def test_a_person_is_asked_before_mail_is_cancelled(desk: Desk, terminal: Open) -> None:
    desk.server()
    with desk.mailer() as mailer:
        mailer.enqueue([Message(to=f"u{number}@example.org", subject="s", text="t") for number in range(3)])
    for answer, status in (("", 1), ("yes", 0)):
        asked = terminal("queue", "cancel", "--route", "default")
        asked.until("3 mails fit. Cancel? [y/N] ")
        asked.type(answer)
        assert asked.end() == status
    assert "3 mails are cancelled." in asked.text
