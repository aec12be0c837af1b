"""What a command prints: a table in a terminal, aligned lines in a pipe, JSON where it is asked for."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final

from attrs import define, frozen

from deliverykit.limits.checks import brief
from deliverykit.words.untrusted import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = ["Column", "Later", "Lines", "Output", "Record", "words"]

Record = Mapping[str, Any]
"""What is told of one thing: plain values by their name in the JSON. Times are aware datetimes here."""

_STYLES: Final = {
    "active": "green", "accepted": "green", "ok": "green", "closed": "green", "takes it now": "green",
    "paused": "yellow", "queued": "yellow", "warning": "yellow", "half-open": "yellow", "waits": "yellow",
    "broken": "bold red", "rejected": "red", "dead": "red", "problem": "bold red", "open": "red", "never": "red",
    "in_doubt": "bold magenta", "in doubt": "bold magenta",
}  # fmt: skip


@frozen
class Later:
    """Some time after this instant."""

    than: datetime


@frozen
class Lines:
    """Text of several lines; everywhere else a line end in a value is shown as a space."""

    lines: tuple[str, ...]


@frozen
class Column:
    """A column of a table: its title, and which value of the record it shows, or how it is put together."""

    title: str
    value: str | Callable[[Record], object] = ""
    right: bool = False
    state: bool = False
    """Whether it holds a state, which has its colour."""

    def of(self, record: Record) -> object:
        """Its value."""
        if callable(self.value):
            return self.value(record)
        return record[self.value or self.title.replace(" ", "_")]


@define
class Output:
    """Where a command's words go. ``zone`` is asked for where a time is shown to people."""

    as_json: bool
    zone: Callable[[], tzinfo]

    @property
    def terminal(self) -> bool:
        """Whether a person watches."""
        return not self.as_json and sys.stdout.isatty()

    # -- one thing, many things ---------------------------------------------------------------------

    def rows(self, name: str, records: Sequence[Record], columns: Sequence[Column], *, empty: str) -> None:
        """Many of one kind. In JSON they stand whole under ``name``."""
        if self.as_json:
            self._json({name: records})
        elif not records:
            self.say(empty)
        else:
            self._table(columns, [[words(one.of(record), self.zone) for one in columns] for record in records])

    def record(self, record: Record, *, hidden: Sequence[str] = ()) -> None:
        """One thing, a line for each value; empty ones and those in ``hidden`` are in the JSON only."""
        if self.as_json:
            self._json(record)
            return
        shown = {name.replace("_", " "): value for name, value in record.items() if name not in hidden}
        told = {name: words(value, self.zone) for name, value in shown.items() if value not in (None, "", [], {})}
        width = max(map(len, told), default=0)
        for name, text in told.items():
            first, *more = text.splitlines() or [""]
            self._line(f"{name:<{width}}  {first}", (width + 2, _STYLES.get(first, "")))
            for line in more:
                self._line(" " * (width + 2) + line)

    def done(self, text: str | Lines, record: Record) -> None:
        """What was done: a sentence for people, the record for programs."""
        if self.as_json:
            self._json(record)
        else:
            for line in _lines(text):
                self._line(line)

    def say(self, text: str | Lines) -> None:
        """A sentence that programs have no use for."""
        if not self.as_json:
            for line in _lines(text):
                self._line(line)

    # -- streams --------------------------------------------------------------------------------------

    def event(self, record: Record, text: str) -> None:
        """One of many that follow each other: a line, or a line of JSON. Told at once."""
        if self.as_json:
            sys.stdout.write(_json(record) + "\n")
        else:
            sys.stdout.write(f"{printable(text)}\n")
        sys.stdout.flush()

    @contextmanager
    def live(self) -> "Iterator[Callable[[RenderableType], None]]":
        """A picture that is drawn anew while the block runs. In a terminal only."""
        from rich.live import Live

        with Live(console=self._console(), auto_refresh=False) as live:
            yield lambda picture: live.update(picture, refresh=True)

    def picture(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> "Table":
        """A table to be shown by :meth:`live`."""
        shown = [[printable(cell) for cell in row] for row in rows]
        return _drawn([Column(title, right=title in right, state=title == "status") for title in columns], shown)

    # -- how it is drawn ------------------------------------------------------------------------------

    def _json(self, value: object) -> None:
        sys.stdout.write(_json(value, indent=2) + "\n")

    def _console(self) -> "Console":
        from rich.console import Console

        return Console(highlight=False)  # it heeds NO_COLOR

    def _line(self, text: str, styled: tuple[int, str] = (0, "")) -> None:
        text = printable(text)
        if not self.terminal:
            sys.stdout.write(f"{text.rstrip()}\n")
            return
        from rich.text import Text

        line = Text(text)
        line.stylize(styled[1], styled[0])
        self._console().print(line, soft_wrap=True)

    def _table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        if self.terminal:
            self._console().print(_drawn(columns, rows))
            return
        from rich.cells import cell_len

        whole = [[one.title for one in columns], *([_flat(cell) for cell in row] for row in rows)]
        widths = [max(cell_len(row[place]) for row in whole) for place in range(len(columns))]
        for row in whole:
            cells = []
            for cell, width, column in zip(row, widths, columns, strict=True):
                blank = " " * (width - cell_len(cell))
                cells.append(blank + cell if column.right else cell + blank)
            sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _drawn(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for column in columns:
        drawn.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        cells = zip(columns, row, strict=True)
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "") if column.state else "") for column, cell in cells))
    return drawn


def _flat(text: str) -> str:
    return " ".join(text.splitlines())


def words(value: object, zone: Callable[[], tzinfo]) -> str:
    """A value for people: times in the account's zone."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.astimezone(zone()).strftime("%Y-%m-%d %H:%M:%S %Z")
    if isinstance(value, Later):
        return f"later than {words(value.than, zone)}"
    if isinstance(value, timedelta):
        return brief(value // timedelta(milliseconds=1)) or "0s"
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(str(name))} {words(one, zone)}" for name, one in value.items()) or "-"
    if isinstance(value, Lines):
        return "\n".join(words(one, zone) for one in value.lines)
    if isinstance(value, list | tuple):
        return ", ".join(words(one, zone) for one in value) or "-"
    return printable(str(value))


def _lines(text: str | Lines) -> tuple[str, ...]:
    return text.lines if isinstance(text, Lines) else (text,)


def _json(value: object, indent: int | None = None) -> str:
    """A value as JSON; what a terminal could obey is an escape there, so nothing is lost."""
    text = json.dumps(_plain(value), ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join([one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text]).replace(
        "\x7f", "\\u007f"
    )


def _plain(value: object) -> object:
    """A value as JSON has it: times in UTC, lengths of time in seconds."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)
