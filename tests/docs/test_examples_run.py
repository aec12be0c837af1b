"""Every Python example of the README and the documentation is executed, page by page, from the top.

A page's blocks share one namespace, as a reader's session would, and run in an empty folder that has a
copy of ``examples/``. Two HTML comments, which no reader sees, steer it:

``<!-- not run: reason -->`` before a block leaves it out; without a reason the test fails.
``<!-- setup … -->`` holds code that runs at its place; ``cleanup``, an ``ExitStack``, is in every namespace.
"""

import re
import shutil
import textwrap
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen

from checkout import ROOT

FENCE = re.compile(
    r"(?:^<!-- not run:(?P<reason>.*?)-->\s*\n+)?"
    r"^(?P<indent> *)```(?P<language>python|py|pycon)\b[^\n]*\n(?P<code>.*?)^(?P=indent)```"
    r"|^<!-- setup\n(?P<setup>.*?)-->",
    re.MULTILINE | re.DOTALL,
)


@frozen
class Block:
    """One example: where it stands, and its code."""

    line: int
    code: str
    left_out: str | None


def blocks(text: str) -> list[Block]:
    """The Python examples of a page, in order."""
    found = []
    for match in FENCE.finditer(text):
        which = "setup" if match["setup"] is not None else "code"
        line = text.count("\n", 0, match.start(which)) + 1
        reason = match["reason"]
        found.append(Block(line, textwrap.dedent(match[which]), None if reason is None else reason.strip()))
    return found


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts and blocks(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    with ExitStack() as cleanup:
        namespace = {"__name__": "__main__", "cleanup": cleanup}
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.left_out is not None:
                assert block.left_out, f"{page.name}:{block.line} is left out without a reason"
                continue
            # Lines are counted as in the page, so that a traceback points into it.
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)


def test_the_documentation_has_examples_that_run() -> None:
    run = [block for page in PAGES for block in blocks(page.read_text(encoding="utf-8")) if block.left_out is None]
    assert len(run) >= 8


def test_the_reader_of_pages_sees_what_it_should() -> None:
    page = "a\n```python\nx = 1\n```\n<!-- not run: a key -->\n```python\nboom\n```\n<!-- setup\ny = 2\n-->\n```sh\nno\n```\n"
    assert blocks(page) == [Block(3, "x = 1\n", None), Block(7, "boom\n", "a key"), Block(10, "y = 2\n", None)]
