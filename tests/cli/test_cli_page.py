"""docs/cli.md: every command stands there, no other does, and its examples print what they show."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator

import pytest
from cli_kit import SECRET, Desk, calm

from checkout import ROOT
from deliverykit.cli.arguments import Parser
from deliverykit.cli.command import parser

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands(whole: Parser, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Parser]]:
    """Every command that can be called, and its parser."""
    below = [action.choices for action in whole._actions if isinstance(action.choices, dict)]
    if not below and before:
        yield before, whole
    for choices in below:
        for name, one in choices.items():
            yield from commands(one, (*before, name))


COMMANDS = dict(commands(parser()))


def test_there_are_the_commands_that_were_promised() -> None:
    servers = ["list", "show", "add", "check", "test", "activate", "pause", "update", "remove"]
    assert set(COMMANDS) == {
        *(("servers", one) for one in servers), *(("routes", one) for one in ("list", "show", "add", "update", "remove")),
        *(("queue", one) for one in ("show", "list", "requeue", "cancel", "release", "resolve", "prune")),
        ("quota",), ("explain",), ("send",), ("worker",), ("log",), ("doctor",), ("demo",), ("sandbox",),
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_is_on_the_page(command: tuple[str, ...]) -> None:
    whole = " ".join(command)
    group = rf"`{command[0]}[^`]*`(, `[a-z]+`)*, `{command[1]}`" if len(command) == 2 else "(?!)"
    assert re.search(rf"`(deliverykit )?{whole}\b|\$ deliverykit {whole}\b|{group}", PAGE), (
        f"docs/cli.md does not name `{whole}`"
    )


def test_every_command_on_the_page_is_one() -> None:
    named = re.findall(r"(?:\$|`)\s?deliverykit ([a-z]+(?: [a-z]+)?)", PAGE)
    assert len(named) >= 20
    for words in named:
        first, *rest = words.split()
        assert (first,) in COMMANDS or (first, *rest) in COMMANDS, f"docs/cli.md names `deliverykit {words}`"


def test_every_option_on_the_page_is_one() -> None:
    known = {option for one in COMMANDS.values() for action in one._actions for option in action.option_strings}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= known


def test_the_examples_print_what_they_show(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", desk.folder / "examples")
    monkeypatch.chdir(desk.folder)
    monkeypatch.setenv("DELIVERYKIT_STORAGE", "sqlite:///mail.db")
    for name, text in (("key.txt", SECRET), ("new-key.txt", f"{SECRET}-new"), ("hello.txt", "Hello")):
        (desk.folder / name).write_text(text)
    examples = [example for block in BLOCKS for example in re.split(r"^\$ deliverykit ", block, flags=re.MULTILINE)[1:]]
    assert len(examples) >= 20
    for example in examples:
        line, _, shown = example.partition("\n")
        said = desk(*shlex.split(line.replace("$SENDGRID", desk.sandbox.url("sendgrid"))))
        wanted = ".*?".join(re.escape(part) for part in shown.split("…"))
        assert re.fullmatch(wanted, said.out, re.DOTALL), f"$ deliverykit {line}\nprints other than is shown:\n{said.out}"
    assert SECRET not in "".join(examples)


ROWS = dict(re.findall(r"^\| `([^|]+?)` \| (.+) \|$", PAGE.partition("| command | its JSON |")[2], re.MULTILINE))


def keys(row: str) -> set[str]:
    return {name for words in (ROWS[row],) for name in re.findall(r"`([a-z_]+)`", words)}


def test_the_keys_of_the_json_are_those_on_the_page(desk: Desk) -> None:
    desk.server("sg", "--quota", "5/day", *calm())
    desk("routes", "add", "news", "-s", "sg")
    sent = desk("send", "--route", "news", "--to", "a@example.org", "--subject", "s", "--text", "-", "--json", typed="t").json
    queued = desk(
        "send", "--route", "news", "--to", "a@example.org", "--subject", "s", "--text", "-", "--enqueue", "--json", typed="t"
    ).json

    def of(*words: str) -> "set[str]":
        return set(_names(json.loads(desk(*words, "--json", status=None).out)))

    server = keys("servers list") - {"servers"}
    assert of("servers", "list") - {"api_key", "base_url"} == keys("servers list")
    assert set(desk("servers", "show", "sg", "--json").json) == server | {"health", "quota_used", "routes"}
    assert of("servers", "check", "sg") >= keys("servers check") - {"what", "mend", "blocks"}
    assert set(_names(sent)) == keys("servers test`, `send")
    assert of("quota") == keys("quota")
    assert of("routes", "list") == keys("routes list")
    assert of("explain", "--route", "news") == keys("explain")
    states = {"ready", "leased", "sending", "in_doubt", "scheduled", "dead"}
    assert of("queue", "show", "--eta") - states == keys("queue show")
    assert of("queue", "list") == keys("queue list")
    assert of("log", sent["id"]) | {"mail"} == keys("log`".rstrip("`")) - {"null"}
    assert of("doctor") == keys("doctor")
    assert set(queued) == {"id", "status"}
    lines = [json.loads(line) for line in desk("worker", "--drain", "--every", "20ms", "--json").lines]
    assert {name for line in lines for name in line} | {"progress", "stopped"} == keys("worker")


def _names(value: object) -> "Iterator[str]":
    """Every key of a document, at any depth."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield name
            yield from _names(below)
    elif isinstance(value, list):
        for one in value:
            yield from _names(one)
