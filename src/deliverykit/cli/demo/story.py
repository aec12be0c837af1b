"""The demo, told in numbered steps. Each says what it does and shows what came of it; the last compares."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path

from deliverykit.cli.demo.check import Check, Records, compare
from deliverykit.cli.demo.files import example, newsletter, recipients
from deliverykit.cli.demo.opening import Scene, first
from deliverykit.cli.demo.show import Screen
from deliverykit.cli.demo.stage import BRANCHES
from deliverykit.cli.demo.work import Work
from deliverykit.mailer import AccountMailer
from deliverykit.words.errors import ConfigurationError

__all__ = ["run"]


def run(*, eml: Path | None = None, csv: Path | None = None, keep: bool = False) -> int:
    """Tell the story; 0 where everything held, 1 where something did not.

    Raises :class:`~deliverykit.ConfigurationError` for a file of the user's that cannot be used, before
    anything is started.
    """
    began = time.monotonic()
    message = newsletter(_content(eml, "newsletter.eml"), _name(eml, "newsletter.eml"))
    people = recipients(_content(csv, "recipients.csv"), _name(csv, "recipients.csv"))
    if not people.good:
        wrong = "; ".join(map(str, people.bad[:3]))
        raise ConfigurationError(f"{_name(csv, 'recipients.csv')}: nobody in it can be mailed ({wrong or 'it has no rows'})")
    folder = Path(tempfile.mkdtemp(prefix="deliverykit-demo-"))
    try:
        with ExitStack() as open_until_the_end:
            scene = Scene(Screen(), open_until_the_end, folder / "mail.db", message, people)
            scene.open((_name(eml, "newsletter.eml"), _name(csv, "recipients.csv")))
            work = Work(scene)
            work.done()
            checks = _compared(scene, work)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return _ended(scene, checks, time.monotonic() - began, folder / "mail.db" if keep else None)


def _content(given: Path | None, name: str) -> bytes:
    if given is None:
        return example(name)
    try:
        return given.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{given}: {error.strerror or error}") from None


def _name(given: Path | None, name: str) -> str:
    return f"examples/{name}" if given is None else str(given)


def _ended(scene: Scene, checks: Sequence[Check], seconds: float, kept: Path | None) -> int:
    screen = scene.screen
    screen.console.print()
    failed = [check for check in checks if check.problems]
    if failed:
        screen.mark(f"{len(failed)} of {len(checks)} did not hold: {'; '.join(one.title for one in failed)}", sign="✗")
    else:
        screen.mark(f"All of it held: {len(scene.people.good):,} mails, {seconds:.0f} seconds, no account anywhere.")
    if kept:
        screen.plain(f"The queue and its log are kept in {kept}")
    if not failed:
        screen.say("[dim]Next: your own files with --eml and --csv; the sandbox for your tests with [/]deliverykit sandbox")
    screen.console.print()
    return 1 if failed else 0


# -- the proof --------------------------------------------------------------------------------------


def _compared(scene: Scene, work: Work) -> tuple[Check, ...]:
    screen, sandbox = scene.screen, scene.sandbox
    screen.step("What was asked for, against what the four ESPs received")
    rules = [one.rule for one in scene.servers]
    records = Records(accepted=_accepted(scene), doubts=work.doubts.settled, spent=work.spent)
    received, submissions = sandbox.received(), sandbox.requests()
    checks = (*compare(scene.expected, rules, received, scene.tests, records, submissions), _nothing_left(scene))
    for check in checks:
        screen.mark(check.title, check.detail if not check.problems else "", sign="✗" if check.problems else "✓")
        if check.problems:
            screen.plain("\n".join(first(list(check.problems))), style="red")
    return checks


def _accepted(scene: Scene) -> dict[str, str]:
    """Who has each mail by our own log: the ESP that accepted it, or that is said to have."""
    esps = {one.record.id: one.rule.esp for one in scene.servers}
    found = {}
    for id_, desk in zip(scene.expected, _desks(scene), strict=True):
        lines = desk.log.get(id_).lines
        if lines and (lines[-1].outcome == "accepted" or (lines[-1].outcome, lines[-1].detail) == ("resolved", "as sent")):
            found[id_] = esps[lines[-1].server]
    return found


def _desks(scene: Scene) -> Iterator[AccountMailer]:
    """Each mail's, in the order in which they were handed in."""
    for branch, share in zip(BRANCHES, scene.played.shares, strict=True):
        yield from repeat(scene.desks[branch.account], share)


def _nothing_left(scene: Scene) -> Check:
    problems = [
        f"{branch.city}: {count} mails are {state}"
        for branch in BRANCHES
        for state, count in scene.desks[branch.account].outbox.counts().items()
        if count
    ]
    return Check("The queue is empty", "no mail waits, is in doubt or dead", tuple(problems))
