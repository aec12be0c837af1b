"""The command line speaks of its own options, never of Python arguments."""

import re
from pathlib import Path

import pytest
from cli_kit import KEY

from deliverykit.cli import main
from deliverykit.cli.wording import in_options

_PYTHON = re.compile(r"(?<![\w-])[a-z_]+=(True|False|…|\[|\()|\b[a-z_]+=(?=[ ,;]|$)|mailer\.[a-z]+|timedelta\(")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("update them first, or force=True", "update them first, or --force"),
        ("give move_to= or cancel=True, and wait", "give --move-to or --cancel, and wait"),
        ("give as_sent=True or resend=True, one", "give --as-sent or --resend, one"),
        ("servers='aa': there is none; did you mean 'a'?", "--server 'aa': there is none; did you mean 'a'?"),
        ("use servers.update()", "use deliverykit servers update"),
        ("give its limits again, by mailer.budgets.update()", "give its limits again, by your program"),
        ("give secret_key=", "give DELIVERYKIT_SECRET_KEY"),
        ("401: token=abc is wrong", "401: token=abc is wrong"),
    ],
)
def test_python_arguments_become_options(text: str, words: str) -> None:
    assert in_options(text) == words


def test_no_command_names_a_python_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DELIVERYKIT_STORAGE", f"sqlite:///{tmp_path}/mail.db")
    monkeypatch.setenv("DELIVERYKIT_SECRET_KEY", KEY)
    (tmp_path / "key").write_text("SG.x")
    add = ["servers", "add", "--esp", "sendgrid", "--name", "S", "--id", "s", "--sender", "a@example.com"]
    assert main([*add, "--api-key-file", str(tmp_path / "key")]) == 0
    assert main(["routes", "add", "r", "--server", "s"]) == 0
    capsys.readouterr()
    for call in (
        "servers remove s", "routes add r --server s --when-exhausted reject", "routes remove default", "servers activate s",
        "servers update s", "queue cancel --yes", "queue requeue --yes", "queue resolve --as-sent --yes", "log nothing",
        "servers list --account nobody", "send --to ann --text no-such-file", "explain --route nope", "doctor",
        "routes add x --server s --weight s=0 --strategy weighted", "queue list --limit 0", "servers show nope", "servers test s --to x",
    ):  # fmt: skip
        main(call.split())
        said = capsys.readouterr()
        assert not _PYTHON.search(said.out + said.err), (call, said.out + said.err)


def test_a_time_that_is_none_is_refused_as_a_past_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["queue", "list", "--since", "yesterday"])
    assert "write 2h or 7d (that long ago)" in capsys.readouterr().err
