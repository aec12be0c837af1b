"""The command itself: what it says, and with which status it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import deliverykit.providers
from deliverykit.cli import main
from deliverykit.sandbox import Sandbox

COMMAND = [sys.executable, "-m", "deliverykit"]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version").stdout == f"deliverykit {deliverykit.__version__}\n"
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "demo" in said
    assert "sandbox" in said


@pytest.mark.parametrize("arguments", [["nonsense"], ["demo", "--nonsense"], ["sandbox", "--port", "x"]])
def test_what_it_does_not_know(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--eml", "--csv"])
def test_a_file_that_is_not_there(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", option, str(tmp_path / "absent")]) == 2
    said = capsys.readouterr()
    assert said.err == f"deliverykit: {tmp_path / 'absent'}: No such file or directory\n"
    assert not said.out


def test_recipients_of_whom_none_can_be_mailed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.csv").write_text("email\nnobody\n")
    assert main(["demo", "--csv", str(tmp_path / "list.csv")]) == 2
    assert "nobody in it can be mailed (line 2: address 'nobody'" in capsys.readouterr().err


def test_extras_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("deliverykit.cli.command.find_spec", lambda _: None)
    assert main(["demo"]) == 2
    assert "pip install 'deliverykit[cli,sandbox,ses]'" in capsys.readouterr().err
    assert main(["sandbox"]) == 2
    assert "pip install 'deliverykit[sandbox]'" in capsys.readouterr().err


def free_ports() -> int:
    """The first of five ports that are free in a row, most likely."""
    for first in range(20_000 + os.getpid() % 20_000, 60_000, 7):
        try:
            for port in range(first, first + 5):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no five free ports")


def test_the_sandbox_says_how_to_point_providers_at_it() -> None:
    port = free_ports()
    process = subprocess.Popen([*COMMAND, "sandbox", "--port", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while "Ctrl-C ends it.\n" not in lines:
            line = process.stdout.readline()
            assert line, "it ended"
            lines.append(line)
        said = "".join(lines)
        assert f'SendGrid(api_key="SG.any", base_url="http://127.0.0.1:{port + 1}")' in said
        pointed = re.search(r'Sandbox\.attach\("(.+)"\)\.received\("sendgrid"\)', said)
        assert pointed is not None
        control = pointed[1]
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port + 4}/[\w-]{{32}}", control)
        # What it prints is Python that works: each provider is built as it stands there, and sends.
        start, end = said.index("  SES("), said.index("and look at")
        providers = [
            eval(one, {name: getattr(deliverykit.providers, name) for name in deliverykit.providers.__all__})
            for one in _calls(said[start:end])
        ]
        with deliverykit.Mailer("memory://") as mailer:
            for number, provider in enumerate(providers):
                server = mailer.servers.add(name=f"S{number}", provider=provider, sender="a@mg.example.com")
                assert mailer.servers.send_test(server, to="b@example.org").proof
        assert Sandbox.attach(control).count() == 4
        taken = run("sandbox", "--port", str(port))
        assert taken.returncode == 2
        assert taken.stderr.startswith("deliverykit: sandbox: cannot listen there")
        assert taken.stderr.endswith("give another --port\n")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        process.stdout.close()


def _calls(text: str) -> list[str]:
    calls: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if calls and calls[-1].count("(") > calls[-1].count(")"):
            calls[-1] += line
        else:
            calls.append(line)
    return calls


def test_the_sandbox_as_json() -> None:
    process = subprocess.Popen([*COMMAND, "sandbox", "--json"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = [json.loads(process.stdout.readline()) for _ in range(5)]
        assert [one["name"] for one in found] == ["ses", "sendgrid", "mailgun", "elasticemail", "control"]
    finally:
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()


def test_a_reader_that_goes_away() -> None:
    process = subprocess.Popen([*COMMAND, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 1
    with process.stderr as errors:
        assert "Traceback" not in errors.read()
