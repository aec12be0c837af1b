"""The README keeps its headings, and its two commands stay one line each."""

import re

import pytest

from checkout import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
HEADINGS = ["Run it", "Test it", "Quickstart", "Support table", "Guarantees", "Known limits"]


def test_the_headings_stand_in_their_order() -> None:
    found = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    assert [one for one in found if one in HEADINGS] == HEADINGS


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_each_command_is_one_line_and_needs_python_only(heading: str) -> None:
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```\w*\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert blocks, f"no fenced block under {heading}"
    assert blocks[0].count("\n") == 1
    programs = {part.split()[0] for part in blocks[0].split("&&")}
    assert programs <= {"python3"} | {program for program in programs if program.startswith(".venv/bin/")}


def test_ci_runs_what_the_readme_says() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for heading in ("Run it", "Test it"):
        assert f"readme_command '{heading}'" in script
