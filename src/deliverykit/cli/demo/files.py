"""What the demo reads: a newsletter and its recipients. Bad rows are told by line and reason; the rest goes on."""

import csv
import email
import email.policy
import html
import io
import re
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Final

from attrs import frozen

from deliverykit.words.addresses import Address
from deliverykit.words.enclosures import Unsubscribe
from deliverykit.words.errors import ConfigurationError, MessageError
from deliverykit.words.message import Message

__all__ = ["BadRow", "Recipient", "Recipients", "example", "greeting", "newsletter", "personal", "recipients"]


def example(name: str) -> bytes:
    """A file of ``examples/``: from the installed wheel, or from the checkout of an editable install."""
    package = files("deliverykit")
    for place in (package / "examples" / name, Path(str(package)).parents[1] / "examples" / name):
        if place.is_file():
            return place.read_bytes()
    raise ConfigurationError(f"the example {name} is not where deliverykit is installed; give your own file instead")


# -- recipients -----------------------------------------------------------------------------------


@frozen
class Recipient:
    """One row: who gets a mail."""

    line: int
    address: Address


@frozen
class BadRow:
    """A row that gets none, by its line in the file."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@frozen
class Recipients:
    """What a CSV file holds."""

    good: tuple[Recipient, ...]
    bad: tuple[BadRow, ...]
    duplicates: tuple[BadRow, ...]


def recipients(content: bytes, name: str = "the CSV file") -> Recipients:
    """Read a CSV file of UTF-8 text (a byte order mark is fine), separated by commas, semicolons or tabs.

    The first line names the columns: ``email``, perhaps ``name``; others are not used. A mailbox that
    stands twice gets one mail. Raises :class:`~deliverykit.ConfigurationError` where the file as a
    whole cannot be read.
    """
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise ConfigurationError(f"{name}: is UTF-16; save it as CSV in UTF-8")
    # A byte that is no UTF-8 spoils its own row, not the file: it becomes a lone surrogate until that row is read.
    lines = list(io.StringIO(content.decode("utf-8-sig", "surrogateescape"), newline=""))
    delimiter = _delimiter(lines[0] if lines else "")
    rows = _rows(lines, delimiter)
    _, header = next(rows, (0, []))
    columns = [column.strip().casefold().replace("-", "") for column in header if isinstance(header, list)]
    if "email" not in columns:
        there = f"it has {', '.join(repr(str(one)) for one in header)}" if header else "it is empty"
        raise ConfigurationError(f"{name}: its first line must name the columns, one of them email; {there}")
    good: list[Recipient] = []
    bad: list[BadRow] = []
    duplicates: list[BadRow] = []
    seen: dict[str, int] = {}
    for line, row in rows:
        try:
            found = _address(row, columns)
        except MessageError as error:
            bad.append(BadRow(line, str(error)))
            continue
        if (first := seen.setdefault(found.key, line)) != line:
            duplicates.append(BadRow(line, f"{found.email} again, as on line {first}; it gets one mail"))
        else:
            good.append(Recipient(line, found))
    return Recipients(tuple(good), tuple(bad), tuple(duplicates))


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _rows(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Each row with the line it begins on, or, instead of the row, what is wrong with it.

    A quote that is never closed would swallow every row after it without a word. So where the reader
    fails, or a field runs over several lines, only the line on which that begins is given up.
    """
    start = 0
    while start < len(lines):
        reader = csv.reader(islice(lines, start, None), delimiter=delimiter, strict=True)
        begun = 0
        restart = len(lines)
        while True:
            row: list[str] | None
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error:
                row = None
            if row is None or any("\n" in one or "\r" in one for one in row):
                yield start + begun + 1, "a quote in it is not closed on this line, or not where its field ends"
                restart = start + begun + 1
                break
            if row and any(one.strip() for one in row):
                yield start + begun + 1, row
            begun += 1  # a row is a line here; one of several was given up above
        start = restart


def _address(row: list[str] | str, columns: Sequence[str]) -> Address:
    if isinstance(row, str):
        raise MessageError(row)
    if any("\udc80" <= character <= "\udcff" for one in row for character in one):
        raise MessageError("is not UTF-8; save the file as CSV in UTF-8")
    if len(row) > len(columns):
        raise MessageError(f"has {len(row)} fields where the first line has {len(columns)}; put fields with a comma in quotes")
    values = dict(zip(columns, (one.strip() for one in row), strict=False))
    if not values.get("email"):
        raise MessageError("has no email")
    found = Address(values["email"], values.get("name", ""))
    if found.international:
        raise MessageError(f"address {found.email!r}: letters before the @ beyond ASCII, which Amazon SES cannot carry")
    return found


# -- the newsletter ---------------------------------------------------------------------------------

_KEPT: Final = re.compile(r"from|reply-to|subject|mime-version|content-.*|precedence|list-.*", re.IGNORECASE)
"""A file that was saved from a mailbox is full of what mail servers wrote into it; only this is the author's."""
_ANYBODY: Final = "reader@example.org"


def newsletter(content: bytes, name: str = "the .eml file") -> Message:
    """The message of an ``.eml`` file, addressed to nobody in particular yet; see :func:`personal`.

    Raises :class:`~deliverykit.ConfigurationError` saying what of it cannot be taken over.
    """
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    for header in set(parsed.keys()):
        if not _KEPT.fullmatch(header):
            del parsed[header]
    try:
        message = Message.from_email(_as_email(parsed), to=_ANYBODY)
        others = {key: value for key, value in message.headers.items() if key.lower() not in _UNSUBSCRIBE}
        return message.evolve(headers=others, unsubscribe=_unsubscribe(message))
    except (MessageError, ValueError, LookupError) as error:
        raise ConfigurationError(f"{name}: {error}") from None


_UNSUBSCRIBE: Final = {"list-unsubscribe", "list-unsubscribe-post"}


def _as_email(parsed: object) -> EmailMessage:
    assert isinstance(parsed, EmailMessage)  # noqa: S101  the default policy makes no other
    return parsed


def _unsubscribe(message: Message) -> Unsubscribe | None:
    """``List-Unsubscribe`` as the field every ESP is given in its own way; what is neither https nor mailto is left out."""
    value = next((value for key, value in message.headers.items() if key.lower() == "list-unsubscribe"), "")
    found: dict[str, str] = {}
    for target in re.findall(r"<\s*([^<>\s]+)\s*>", value):
        try:
            one = Unsubscribe(mailto=target) if target.lower().startswith("mailto:") else Unsubscribe(url=target)
        except MessageError:
            continue
        found.setdefault("mailto" if one.mailto else "url", target)
    return Unsubscribe(**found) if found else None


def greeting(recipient: Address) -> str:
    """The line each mail begins with."""
    return f"Hello {recipient.name}," if recipient.name else "Hello,"


def personal(message: Message, recipient: Address) -> Message:
    """The newsletter for one reader: addressed to them, and greeting them by name in text and HTML."""
    hello = greeting(recipient)
    text = None if message.text is None else f"{hello}\n\n{message.text}"
    page = message.html
    if page is not None:
        body = re.search(r"<body\b[^<>]*>", page, re.IGNORECASE)
        at = body.end() if body else 0
        page = f"{page[:at]}<p>{html.escape(hello)}</p>{page[at:]}"
    return message.evolve(to=(recipient,), text=text, html=page)
