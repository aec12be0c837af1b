"""`log`: of one mail, by filters, and as it happens."""

import json
import select
import signal
import subprocess
from itertools import count

from cli_kit import COMMAND, Desk

from deliverykit import Message


def enqueue(desk: Desk, *recipients: str) -> list[str]:
    with desk.mailer() as mailer:
        return mailer.enqueue([Message(to=one, subject="s", text="t") for one in recipients])


def test_who_got_what(desk: Desk) -> None:
    desk.server("a")
    ann, bob = enqueue(desk, "ann@example.org", "bob@example.org")
    desk("worker", "--drain")
    (line,) = desk("log", "--recipient", "Ann@example.org", "--json").json["lines"]
    assert (line["id"], line["outcome"], line["server"], line["server_name"]) == (ann, "accepted", "a", "Server a")
    assert {one["id"] for one in desk("log", "--server", "Server a", "--since", "1h", "--json").json["lines"]} >= {ann, bob}
    assert desk("log", "--before", "1h").out == "The log has no such line.\n"
    assert desk("log", "--outcome", "rejected", "--json").json == {"lines": []}
    assert len(desk("log", "--limit", "1", "--json").json["lines"]) == 1
    assert bob in desk("log").lines[-1]  # the latest stands last
    assert "ann@example.org" not in desk("log").out


def test_what_does_not_go_together(desk: Desk) -> None:
    assert "not both" in desk("log", "some-id", "--outcome", "dead", status=2).err
    assert "leave one out" in desk("log", "-f", "--before", "1h", status=2).err
    assert "invalid choice" in desk("log", "--outcome", "nonsense", status=2).err
    assert "limit" in desk("log", "--limit", "0", status=2).err + desk("log", "--limit", "-1", status=2).err


def test_it_follows(desk: Desk) -> None:
    desk.server()
    (before,) = enqueue(desk, "early@example.org")
    desk("worker", "--drain")
    process = subprocess.Popen([*COMMAND, "log", "--follow", "--json"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        told: list[str] = []
        for number in count():  # until it follows: what went before that it does not tell
            enqueue(desk, f"warm{number}@example.org")
            desk("worker", "--drain")
            if select.select([process.stdout], [], [], 2)[0]:
                break
            assert number < 60
        warm = json.loads(process.stdout.readline())["id"]
        for number in range(3):
            (id_,) = enqueue(desk, f"u{number}@example.org")
            desk("worker", "--drain")
            while id_ not in told:
                told.append(json.loads(process.stdout.readline())["id"])
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert rest == ""
    assert before not in told
    assert warm not in told
    assert len(told) == len(set(told)) >= 3  # each line once
