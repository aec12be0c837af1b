"""What all commands share of their arguments: the parser, its menus, and words that stand for times and limits."""

import argparse
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final, NoReturn

from attrs import frozen

from deliverykit.limits import Pause, Rate, RollingQuota

if TYPE_CHECKING:
    from deliverykit.cli.call import Call
    from deliverykit.contracts.limit import RateLimiter

__all__ = ["Menu", "Parser", "When", "add_limits", "ago", "duration", "limits", "pair", "quota_words", "when"]

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_WINDOWS: Final = ("hour", "day", "week", "month")
NONE: Final = "none"
"""What is written for *no quota*, *no pause* where something is taken away."""


class Parser(argparse.ArgumentParser):
    """Takes no abbreviations, and never repeats a value: what stands where it should not may be a secret."""

    def __init__(self, **given: object) -> None:
        super().__init__(**{"allow_abbrev": False, **given})  # type: ignore[arg-type]

    def read(self, args: Sequence[str]) -> Namespace:
        """The options of these arguments. As ``parse_args``, but of what it does not know only the options' names are told."""
        found, unknown = self.parse_known_args(args)
        if unknown:
            self.unknown(unknown)
        return found

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """Refuse arguments that mean nothing here."""
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        others = len(words) - len(options)
        told = ", ".join([*options, *([f"{others} more (not shown: it may be a secret)"] if others else [])])
        hint = ""
        if any(re.search(r"(key|secret|token|password)(_?id)?$", option) for option in options):
            hint = "; a secret is no argument, where ps and the history show it: give a file, the environment or the prompt"
        self.error(f"unrecognized arguments: {told}{hint}")


class Menu:
    """The commands below a word."""

    def __init__(self, parser: Parser, dest: str) -> None:
        self._dest = dest
        self._commands = parser.add_subparsers(dest=dest, metavar="command", parser_class=Parser)

    def menu(self, name: str, words: str) -> "Menu":
        """A word with commands below it; alone it prints its help."""
        parser: Parser = self._commands.add_parser(name, help=words, description=words)
        parser.set_defaults(parser=parser)
        return Menu(parser, f"{self._dest}_{name}")

    def verb(self, name: str, run: "Callable[[Call], int]", words: str, more: str = "") -> Parser:
        """A command that needs a mailer."""
        parser: Parser = self._commands.add_parser(name, help=words, description=f"{words} {more}".strip())
        parser.set_defaults(run=run, parser=parser)
        common = parser.add_argument_group("the mailer, and the output")
        common.add_argument("--app", metavar="PACKAGE.MODULE:MAILER", help="your own Mailer, or a function that returns one")
        common.add_argument("--account", metavar="ID", help="of a program with many customers: whose")
        common.add_argument("--json", action="store_true", help="print JSON, for programs")
        return parser

    def plain(self, name: str, words: str, more: str = "", *, helped: bool = True) -> Parser:
        """A command that needs none."""
        parser: Parser = self._commands.add_parser(name, help=words, description=f"{words} {more}".strip(), add_help=helped)
        return parser


# -- words for times ----------------------------------------------------------------------------------


def duration(text: str) -> timedelta:
    """A length of time: ``500ms``, ``2s``, ``5m``, ``24h``, ``7d``, ``1h30m``."""
    parts = re.findall(r"(?<!\d)(\d++)(ms|[smhdw])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ArgumentTypeError(f"{text!r} is no length of time; write 500ms, 2s, 5m, 24h, 7d or 1h30m")
    return timedelta(milliseconds=sum(int(number) * _UNITS[unit] for number, unit in parts))


@frozen
class When:
    """An instant as it was written: so far from now, or a date and time."""

    text: str
    length: timedelta | None = None
    at: datetime | None = None

    def before_now(self, zone: tzinfo) -> datetime:
        """A length of time counts back from now."""
        return self._instant(zone, -1)

    def after_now(self, zone: tzinfo) -> datetime:
        """A length of time counts on from now."""
        return self._instant(zone, 1)

    def _instant(self, zone: tzinfo, sign: int) -> datetime:
        if self.at is not None:
            return self.at if self.at.tzinfo else self.at.replace(tzinfo=zone)
        return datetime.now(UTC) + sign * (self.length or timedelta())


def when(text: str) -> When:
    """``2h`` from now, or ``2026-11-23T18:30`` (in the account's zone where it names none)."""
    try:
        return When(text, length=duration(text))
    except ArgumentTypeError:
        pass
    try:
        return When(text, at=datetime.fromisoformat(text))
    except ValueError:
        raise ArgumentTypeError(f"{text[:60]!r} is not a time; write 2h (from now), or 2026-11-23T18:30") from None


def ago(text: str) -> When:
    """``2h`` ago, or ``2026-11-23T18:30`` (in the account's zone where it names none)."""
    try:
        return when(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(
            f"{text[:60]!r} is not a time; write 2h or 7d (that long ago), or a date: 2026-11-23 or 2026-11-23T18:30"
        ) from None


def pair(text: str) -> tuple[str, str]:
    """``name=value``."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


# -- words for limits ---------------------------------------------------------------------------------


def add_limits(parser: Parser) -> None:
    """The options that :func:`limits` of a server are read from."""
    group = parser.add_argument_group("its limits")
    group.add_argument(
        "--quota", action="append", type=quota_word, metavar="N/WINDOW",
        help="1000/hour, 10000/day, N/week, N/month by the calendar, or rolling as 200/24h; repeatable",
    )  # fmt: skip
    group.add_argument("--quota-timezone", metavar="ZONE", help="of the calendar, where it is not the account's")
    group.add_argument("--anchor-day", type=int, metavar="1-31", help="on which day a month begins")
    group.add_argument("--anchor-hour", type=int, metavar="0-23", help="at which hour a day begins")
    group.add_argument("--counts", choices=("recipients", "emails"), help="what a quota counts (recipients)")
    pace = group.add_mutually_exclusive_group()
    pace.add_argument("--pause", type=_pause, metavar="TIME", help="from start to start of two emails: 2s, 500ms")
    pace.add_argument("--rate", type=_rate, metavar="N/TIME", help="so many in each: 14/1s")


def limits(options: Namespace, *, update: bool = False) -> dict[str, object]:
    """``quota=`` and ``pause=`` of a server as its options say; what is not given is not in it."""
    found: dict[str, object] = {}
    if options.quota is not None:
        found["quota"] = quotas(options.quota, options)
    elif any(getattr(options, name) is not None for name in ("quota_timezone", "anchor_day", "anchor_hour", "counts")):
        options.parser.error("--quota-timezone, --anchor-day, --anchor-hour and --counts belong to --quota; give it too")
    if (paced := options.rate or options.pause) is not None:
        found["pause"] = None if paced == NONE else paced
    if not update:
        found = {name: value for name, value in found.items() if value not in (None, [])}
    return found


def quotas(given: Sequence[object], options: Namespace | None = None) -> list[object]:
    """The quotas of several words: those by the calendar are one."""
    from deliverykit.limits import CalendarQuota

    about: dict[str, Any] = {
        "timezone": getattr(options, "quota_timezone", None),
        "anchor_day": getattr(options, "anchor_day", None),
        "anchor_hour": getattr(options, "anchor_hour", None),
        "counts": getattr(options, "counts", None),
    }
    about = {name: value for name, value in about.items() if value is not None}
    windows = {one[0]: one[1] for one in given if isinstance(one, tuple)}
    rolling = [one for one in given if isinstance(one, RollingQuota)]
    if "counts" in about:
        rolling = [RollingQuota(one.limit, one.per, counts=about["counts"]) for one in rolling]
    calendar: list[object] = [CalendarQuota(**windows, **about)] if windows else []
    return [*calendar, *rolling]


def quota_words(text: str) -> list[object]:
    """Several in one line, as a person answers: ``1000/hour 200/24h``."""
    return quotas([quota_word(one) for one in text.replace(",", " ").split()])


def quota_word(text: str) -> object:
    """``("hour", 1000)``, a rolling quota, or ``"none"``."""
    if text == NONE:
        return NONE
    number, sign, window = text.partition("/")
    if not sign or not number.isdigit():
        raise ArgumentTypeError(f"{text!r} is no quota; write 1000/hour, 10000/day, N/week, N/month, or 200/24h for rolling")
    if window in _WINDOWS:
        return window, int(number)
    try:
        return RollingQuota(int(number), per=duration(window))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _pause(text: str) -> "RateLimiter | str":
    return NONE if text == NONE else _made(lambda: Pause(duration(text)))


def _rate(text: str) -> "RateLimiter":
    number, sign, per = text.partition("/")
    if not sign or not number.isdigit():
        raise ArgumentTypeError(f"{text!r} is no rate; write 14/1s")
    return _made(lambda: Rate(int(number), duration(per)))


def _made(make: "Callable[[], RateLimiter]") -> "RateLimiter":
    try:
        return make()
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
