"""Nothing in an ESP's text or a server's name commands a terminal or forges a line."""

import json
from datetime import UTC

import pytest

from deliverykit.cli.output import Column, Lines, Output
from deliverykit.words.checks import CheckProblem, CheckReport

HOSTILE = "a\x1b]52;c;aGk=\x07\x1b[2J\x9b2J\u202e\u2028\n2026-11-24 12:00:00 ERROR forged\x7f\ud83d\U000e0041"


@pytest.mark.parametrize("way", ["rows", "record", "done", "lines", "say", "event"])
def test_no_command_reaches_the_terminal(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=False, zone=lambda: UTC)
    record = {"name": HOSTILE, "list": [HOSTILE], "map": {HOSTILE: HOSTILE}}
    match way:
        case "rows":
            out.rows("x", [record], [Column("name"), Column("both", lambda one: Lines((one["name"], one["name"])))], empty="")
        case "record":
            out.record(record)
        case "done":
            out.done(f"{HOSTILE} is added.", record)
        case "lines":
            out.done(Lines((HOSTILE, "second")), record)
        case "say":
            out.say(HOSTILE)
        case _:
            out.event(record, HOSTILE)
    shown = capsys.readouterr().out
    assert all(one.isprintable() for one in shown.split("\n"))
    assert not any(line.startswith("2026-11-24") for line in shown.split("\n"))
    shown.encode()


@pytest.mark.parametrize("way", ["rows", "record", "event"])
def test_json_keeps_the_text_in_escapes(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=True, zone=lambda: UTC)
    record = {"name": HOSTILE}
    match way:
        case "rows":
            out.rows("x", [record], [], empty="")
        case "record":
            out.record(record)
        case _:
            out.event(record, "")
    shown = capsys.readouterr().out
    assert all(one.isprintable() for one in shown.split("\n"))
    read = json.loads(shown)
    assert (read["x"][0] if way == "rows" else read)["name"] == HOSTILE


def test_a_report_is_shown_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from deliverykit.cli.servers import _told

    report = CheckReport.of({HOSTILE: HOSTILE}, [CheckProblem(what=HOSTILE, mend=HOSTILE)])
    Output(as_json=False, zone=lambda: UTC).say(_told(report))
    shown = capsys.readouterr().out
    assert shown.count("\n") == 4
    assert "\x1b" not in shown
