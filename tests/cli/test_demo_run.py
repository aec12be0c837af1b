"""The demo, run: on the shipped files and on one's own, in a terminal, at any time of day, interrupted, and failing."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from checkout import ROOT
from deliverykit.cli.demo import run
from deliverykit.sandbox import Received, Sandbox

COMMAND = [sys.executable, "-m", "deliverykit", "demo"]
MISTAKES = ROOT / "examples" / "recipients-with-mistakes.csv"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Temporary files go to a folder that can be looked into."""
    (tmp_path / "tmp").mkdir()
    return {**os.environ, "TMPDIR": str(tmp_path / "tmp")}


@pytest.mark.timeout(300)  # some twenty seconds, on a machine that has nothing else to do
def test_the_shipped_files(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    assert "\x1b" not in done.stdout, "colours where there is no terminal"
    told = re.sub(r"\s+", " ", done.stdout)
    for words in (
        "activate() is refused before that",
        "Four test emails accepted, four servers active",
        "recipients.csv: 2,000 recipients, 1,818 names beyond ASCII, 317 IDN domains",
        "was killed in mid-run, its exit status is -9",
        "took over, and the killed one's lease ran out",
        "Amazon SES had its 400 for this hour; SendGrid took over the next",
        "Amazon SES read 3 mails and never answered; they are in doubt",
        "SendGrid is PAUSED, by the engine 401: The provided authorization grant is invalid, expired, or revoked",
        "Mailgun answered 429 in mid-run",
        "Mailgun had its 600 for this hour;",
        "never sent again unasked: somebody might get it twice",
        "given to an ESP that did not answer within 2 seconds",
        "mailer.outbox.resolve(ids=…, as_sent=True)",
        "mailer.outbox.resolve(ids=…, resend=True)",
        "2,000 of 2,000 sent",
        "✓ Every recipient exactly once 2,000 mails received for 2,000 recipients",
        "✓ Our log against theirs 2,000 that our log says",
        "✓ In doubt, and never sent again unasked",
        "✓ Every mail its own",
        "✓ No window over its quota",
        "✓ A unit for each mail, none for a refusal SendGrid is PAUSED",
        "✓ The forced From on each 2,004 mails",
        "✓ The pause kept",
        "✓ The queue route waited",
        "✓ The queue is empty",
        "All of it held: 2,000 mails",
    ):
        assert words in told, f"{words!r} is not in\n{done.stdout}"
    assert "✗" not in told
    assert int(re.search(r"Mailgun (\d+) [\d–]+ 600/600 600/3,000 (\d+) until", told)[2]) >= 400  # type: ignore[index]
    assert re.search(r"heard nothing for [\d.]+ s", told)
    _doubts_are_named(done.stdout)
    _the_readme_shows_it(done.stdout)
    assert not list((tmp_path / "tmp").iterdir()), "something is left behind"
    assert not processes(environment)


def _the_readme_shows_it(told: str) -> None:
    """The lines in the README are the demo's, in this order, but for numbers."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("```console\n")[2].partition("```")[0]
    assert "killed with -9" in shown
    lines = [re.sub(r"[\d,.]+", "0", line.rstrip()) for line in told.splitlines()]
    place = 0
    for line in (re.sub(r"[\d,.]+", "0", line) for line in shown.splitlines() if line not in ("", "…")):
        assert line in lines[place:], f"{line!r} is in the README, and not in this order in\n{told}"
        place = lines.index(line, place) + 1


def _doubts_are_named(told: str) -> None:
    """Each mail in doubt by its id, its server and whom it is for; those of the killed worker apart from the others."""
    row = re.compile(r"^ +([0-9a-f]{24})  (\S.*?)  +(yes|no) +(\S+@\S+)$", re.MULTILINE)
    killed, silent = (row.findall(part) for part in told.partition("given to an ESP")[::2])
    claimed = re.search(r"On its wire: (\d+) mails", told)
    assert claimed
    assert len(killed) == int(claimed[1]) >= 1
    assert [server for _, server, *_ in silent].count("Amazon SES") >= 3
    assert {arrived for *_, arrived, _ in silent} == {"yes", "no"}
    names = [*killed, *silent]
    assert len({id_ for id_, *_ in names}) == len(names)
    people = (ROOT / "examples" / "recipients.csv").read_text(encoding="utf-8")
    assert all(f"{recipient}," in people for *_, recipient in names)
    gone = sum(arrived == "yes" for *_, arrived, _ in names)
    assert sum(map(int, re.findall(r"as_sent=True\): (\d+) had arrived", told))) == gone
    assert sum(map(int, re.findall(r"resend=True\): (\d+) had not", told))) == len(names) - gone >= 1


def processes(environment: dict[str, str]) -> list[str]:
    """The command lines of this test's processes that still run: they all have its folder in their environment."""
    mark = f"TMPDIR={environment['TMPDIR']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_ones_own_files(environment: dict[str, str], tmp_path: Path) -> None:
    letter = tmp_path / "own [bold].eml"
    letter.write_text(
        "From: Me <me@example.org>\nSubject: Own [/] words\nContent-Type: text/plain; charset=utf-8\n\nGrüße\n",
        encoding="utf-8",
    )
    command = [*COMMAND, "--eml", str(letter), "--csv", str(MISTAKES), "--keep"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "“Own [/] words”, no files" in done.stdout
    assert "! 4 rows cannot be mailed; the rest goes on" in done.stdout
    for line in (
        "line 4: address 'no-at-sign.example.com': not of the form local@domain",
        "line 7: address 'two@signs@example.org'",
        "line 9: address 'joao.araujo@-bad-.example'",
        "line 11: has no email",
    ):
        assert line in done.stdout
    assert "8 mails received for 8 recipients" in done.stdout
    kept = re.search(r"kept in (\S+)", done.stdout)
    assert kept
    assert Path(kept[1]).read_bytes().startswith(b"SQLite format 3")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.csv"
    file.write_text("email;name\n" + "".join(f"u{n}@bücher.example;Zoë {n}\n" for n in range(20)), encoding="utf-8")
    return file


@pytest.mark.parametrize("people", [1, 2, 7])
def test_few_recipients(people: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "few.csv"
    file.write_text("email\n" + "".join(f"u{n}@example.org\n" for n in range(people)))
    assert run(csv=file) == 0, capsys.readouterr().out
    assert f"{people} mails received for {people} recipients" in capsys.readouterr().out


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 10, 31, 18, 29, 59, tzinfo=UTC),  # a second before the day ends in Kolkata
        datetime(2026, 11, 1, 5, 10, tzinfo=UTC),  # an hour that New York's clock is about to show twice
        datetime(2027, 3, 14, 5, 59, 59, tzinfo=UTC),  # and one that it is about to leave out
        datetime(2027, 1, 1, 4, 30, tzinfo=UTC),  # the year ends in New York
    ],
)
def test_at_any_time_of_day(
    at: datetime, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = Sandbox.start

    def later(self: Sandbox) -> Sandbox:
        start(self).move_clock(at - datetime.now(UTC))
        return self

    monkeypatch.setattr(Sandbox, "start", later)
    assert run(csv=small) == 0, capsys.readouterr().out
    assert "mails wait for it" in capsys.readouterr().out


def test_a_mail_that_came_twice_fails_it(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    received = Sandbox.received

    def twice(self: Sandbox, esp: str | None = None, *, start: int = 0) -> list[Received]:
        found = received(self, esp, start=start)
        return found if esp else [*found, found[-1]]

    monkeypatch.setattr(Sandbox, "received", twice)
    letter = small.with_suffix(".eml")
    letter.write_text("Subject: Own\nContent-Type: text/plain\n\nwords\n")
    assert run(eml=letter, csv=small) == 1
    told = capsys.readouterr().out
    assert "✗ Every recipient exactly once" in told
    assert "received 2 times instead of 1" in told
    assert "did not hold: Every recipient exactly once" in told


def test_a_mail_that_an_esp_refuses_fails_it(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = Sandbox.start

    def refusing(self: Sandbox) -> Sandbox:
        start(self).recipients_refused("mailgun", ["u11@xn--bcher-kva.example"])
        return self

    monkeypatch.setattr(Sandbox, "start", refusing)
    assert run(csv=small) == 1
    told = capsys.readouterr().out
    assert "u11@xn--bcher-kva.example: received 0 times instead of 1" in told
    assert "New York: 1 mails are dead" in told


def test_in_a_terminal_with_live_bars(small: Path, environment: dict[str, str]) -> None:
    leader, follower = pty.openpty()
    environment |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"}
    process = subprocess.Popen([*COMMAND, "--csv", str(small)], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    told = b""
    while True:
        try:
            chunk = os.read(leader, 65_536)
        except OSError:  # the other side is closed (Linux)
            break
        if not chunk:
            break
        told += chunk
    os.close(leader)
    text = told.decode()
    assert process.wait(60) == 0, text
    assert "━" in text
    assert "\x1b[?25l" in text, "no live view"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor stays hidden"
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "\n").splitlines()
    bars = [line for line in lines if "━" in line]
    assert {line.split("━")[0].strip() for line in bars} == {"all mail", "Amazon SES", "SendGrid", "Mailgun", "Elastic Email"}
    assert any("20/20" in line for line in bars)
    assert max(map(len, bars)) <= 80


def test_ctrl_c(environment: dict[str, str], tmp_path: Path) -> None:
    # As in a terminal, the whole group gets the signal: the demo, and the sandbox it started.
    process = subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if " of 2,000 sent" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not list((tmp_path / "tmp").iterdir()), "something is left behind"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert not processes(environment)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_nothing_of_it_outlives_a_demo_that_is_killed_itself(environment: dict[str, str]) -> None:
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    with process:
        assert process.stdout is not None
        # The first of these lines may come before there is a worker.
        told = (line for line in process.stdout if " of 2,000 sent" in line)
        assert any("deliverykit.cli.demo.worker" in one for _ in told for one in processes(environment))
        process.kill()
    deadline = time.monotonic() + 60
    while processes(environment) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes(environment)
