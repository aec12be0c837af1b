"""Every Python example of the README and the documentation is executed, page by page, from the top.

A page's blocks share one namespace, as a reader's session would, and run in an empty folder that has a
copy of ``examples/``. Three HTML comments, which no reader sees, steer it:

``<!-- not run: reason -->`` before a block leaves it out; without a reason the test fails.
``<!-- setup … -->`` holds code that runs at its place; ``cleanup``, an ``ExitStack``, is in every namespace,
and ``__file__`` is the page.
``<!-- output -->`` before a ``text`` block says that the example above it prints that, where ``…`` stands for
anything within a line. Every ``text`` block has it, so that no output is shown that was not held against a run.
"""

import re
import shutil
import textwrap
from contextlib import ExitStack, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from attrs import evolve, frozen

from checkout import ROOT

FENCE = re.compile(
    r"(?:^<!-- not run:(?P<reason>.*?)-->\s*\n+)?"
    r"^(?P<indent> *)```(?P<language>python|py|pycon)\b[^\n]*\n(?P<code>.*?)^(?P=indent)```"
    r"|^<!-- output -->\s*\n```text\n(?P<output>.*?)^```"
    r"|^<!-- setup\n(?P<setup>.*?)-->",
    re.MULTILINE | re.DOTALL,
)


@frozen
class Block:
    """One example: where it stands, and its code."""

    line: int
    code: str
    left_out: str | None
    prints: str | None = None

    def shows(self, printed: str) -> bool:
        """Whether it printed what the page shows."""
        wanted = ".*?".join(re.escape(part) for part in (self.prints or "").split("…"))
        return self.prints is None or re.fullmatch(wanted, printed) is not None


def blocks(text: str) -> list[Block]:
    """The Python examples of a page, in order."""
    found: list[Block] = []
    for match in FENCE.finditer(text):
        if match["output"] is not None:
            found[-1] = evolve(found[-1], prints=match["output"])
            continue
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
        namespace = {"__name__": "__main__", "__file__": str(page), "cleanup": cleanup}
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.left_out is not None:
                assert block.left_out, f"{page.name}:{block.line} is left out without a reason"
                continue
            # Lines are counted as in the page, so that a traceback points into it.
            code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
            with redirect_stdout(StringIO()) as printed:
                exec(code, namespace)
            assert block.shows(printed.getvalue()), (
                f"{page.name}:{block.line} prints other than is shown:\n{printed.getvalue()}"
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_output_is_shown_that_was_not_printed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^```text$", text, re.MULTILINE)) == sum(block.prints is not None for block in blocks(text))


def test_the_documentation_has_examples_that_run() -> None:
    run = [block for page in PAGES for block in blocks(page.read_text(encoding="utf-8")) if block.left_out is None]
    assert len(run) >= 60
    assert sum(block.prints is not None for block in run) >= 8


def test_the_reader_of_pages_sees_what_it_should() -> None:
    page = "a\n```python\nx = 1\n```\n<!-- not run: a key -->\n```python\nboom\n```\n<!-- setup\ny = 2\n-->\n```sh\nno\n```\n"
    assert blocks(page) == [Block(3, "x = 1\n", None), Block(7, "boom\n", "a key"), Block(10, "y = 2\n", None)]


def test_an_output_is_held_against_what_was_printed() -> None:
    page = "```python\nprint(1)\n```\n\nIt prints:\n\n<!-- output -->\n```text\nid … of\ntwo (2)\n```\n"
    (block,) = blocks(page)
    assert block.prints == "id … of\ntwo (2)\n"
    assert block.shows("id 17 of\ntwo (2)\n")
    assert not block.shows("id 17 of\n")
    assert not block.shows("id\n of\ntwo (2)\n")
