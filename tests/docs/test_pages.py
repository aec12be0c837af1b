"""The pages hold together: relative links lead somewhere, and every ESP has its page."""

import logging
import re
from pathlib import Path

import pytest
from attrs import fields

from checkout import ROOT, SOURCE
from deliverykit.hooks import FACTS

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
ESPS = sorted(path.name for path in (SOURCE / "providers").iterdir() if path.is_dir() and (path / "send.py").is_file())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) if "://" not in target]
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("esp", ESPS)
def test_every_esp_has_a_page_that_says_what_one_needs(esp: str) -> None:
    text = (ROOT / "docs" / "esp" / f"{esp}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == [
        "Credentials with the least rights",
        "Its quotas, and yours beside them",
        "What it cannot do",
        "What its answers come to",
        "What this was checked against",
    ]
    assert "Nothing was sent through a live account." in text.replace("\n", " ")


def test_the_worked_example_of_a_policy_is_the_one_that_is_tested() -> None:
    source = (ROOT / "tests" / "limits" / "warmup.py").read_text(encoding="utf-8")
    shown = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    assert source.partition('"""\n\n')[2] in shown
    assert "class WarmUp(QuotaPolicy)" in source


def test_the_table_of_facts_is_what_the_code_tells() -> None:
    rows = []
    for kind in FACTS:
        when = (kind.__doc__ or "").partition("\n")[0].replace("``", "`")
        told = " ".join(f"`{one.name}`" for one in fields(kind))
        rows.append(f"| `{kind.event}` | {logging.getLevelName(kind.level)} | {when} | {told} |")
    page = (ROOT / "docs" / "observing.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `deliverykit\.[a-z_.]+` \| (?:DEBUG|INFO|WARNING|ERROR) .*\|$", page, re.MULTILINE)
    assert shown == rows, "docs/observing.md should have:\n" + "\n".join(rows)
