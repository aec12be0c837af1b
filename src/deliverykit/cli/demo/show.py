"""What the demo puts on the screen: colour and live bars in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from attrs import define, field, frozen

from deliverykit.words.errors import ConfigurationError

try:
    from rich.console import Console
    from rich.padding import Padding
    from rich.progress import BarColumn, Progress, TaskID, TextColumn
    from rich.table import Column, Table
    from rich.text import Text
except ImportError:
    raise ConfigurationError("the command line needs rich; install deliverykit[cli]") from None

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Bar", "Bars", "Screen"]

_INDENT: Final = 4
_PLAIN_WIDTH: Final = 1_000
_SIGNS: Final = {"✓": "bold green", "✗": "bold red", "!": "bold yellow"}
_WORDS: Final = 22
"""The width of a bar's words."""
_EVERY: Final = 1.0
"""Seconds between two lines of progress where there is no terminal."""


@frozen
class Bar:
    """One line of the live view."""

    name: str
    done: int
    total: int
    words: str = ""


class Bars(Protocol):
    """Where the live view is shown."""

    def show(self, bars: Sequence[Bar]) -> None:
        """Bring it up to date; the first bar is the whole."""
        ...


class Screen:
    """The story's page. Markup (``[bold]…[/]``) is for our own words; what comes from files goes through ``plain``."""

    def __init__(self, console: Console | None = None) -> None:
        self.console: Console = console or Console(highlight=False)
        if console is None and not self.console.is_terminal:
            self.console = Console(highlight=False, width=_PLAIN_WIDTH)
        self._step = 0

    def title(self, name: str, words: str) -> None:
        """The head of the page."""
        self.console.print()
        self.console.print(f"[bold reverse] {name} [/]  {words}", soft_wrap=True)

    def step(self, title: str) -> None:
        """Begin the next step of the story."""
        self._step += 1
        self.console.print()
        self.console.print(f"[bold cyan]{self._step:>2}[/]  [bold]{title}[/]")

    def say(self, words: str) -> None:
        """A sentence or two, indented."""
        self._put(Text.from_markup(words))

    def plain(self, words: str, style: str = "") -> None:
        """The same for text that may hold brackets, or letters of any script."""
        self._put(Text(words, style=style))

    def mark(self, words: str, more: str = "", *, sign: str = "✓") -> None:
        """A line with a sign before it: ``✓``, ``✗`` or ``!``; ``more`` stands dimmed below."""
        row = Table.grid(padding=(0, 1))
        body = Text(words, style="bold")
        if more:
            body.append(f"\n{more}", style="not bold dim")
        row.add_row(Text(sign, style=_SIGNS[sign]), body)
        self._put(row)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
        """A table; the columns named in ``right`` hold numbers."""
        drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
        for column in columns:
            drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            drawn.add_row(*(Text(cell) for cell in row))
        self._put(drawn)

    @contextmanager
    def live(self, names: Sequence[str]) -> Iterator[Bars]:
        """Show progress while the block runs; in a terminal the last picture stays."""
        if not self.console.is_terminal:
            yield _Lines(self)
            return
        progress = Progress(
            TextColumn(" " * _INDENT + "{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None, style="grey30", complete_style="cyan", finished_style="green"),
            TextColumn("{task.fields[count]}", justify="right", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[words]}", style="dim", table_column=Column(no_wrap=True, width=_WORDS)),
            console=self.console,
            expand=True,
        )
        tasks = {name: progress.add_task(name, total=1, count="", words="") for name in names}
        with progress:
            yield _Live(progress, tasks)

    def _put(self, what: "RenderableType") -> None:
        inset = Padding(what, (0, 0, 0, _INDENT), expand=False)
        if self.console.is_terminal:
            self.console.print(inset)
            return
        with self.console.capture() as drawn:
            self.console.print(inset)
        self.console.file.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))


@frozen
class _Live:
    progress: Progress
    tasks: Mapping[str, TaskID]

    def show(self, bars: Sequence[Bar]) -> None:
        for bar in bars:
            self.progress.update(
                self.tasks[bar.name],
                completed=bar.done,
                total=max(1, bar.total),
                count=f"{bar.done:,}/{bar.total:,}",
                words=bar.words,
            )


@define
class _Lines:
    """A line now and then, and only when something moved."""

    screen: Screen
    last: str = field(default="", init=False)
    at: float = field(default=0.0, init=False)

    def show(self, bars: Sequence[Bar]) -> None:
        whole, *rest = bars
        counts = "   ".join(f"{bar.name} {bar.done:,}/{bar.total:,}" for bar in rest)
        line = f"{whole.done:,} of {whole.total:,} sent   {counts}"
        now = time.monotonic()
        if line != self.last and (now - self.at >= _EVERY or whole.done >= whole.total):
            self.last, self.at = line, now
            self.screen.plain(line)
