"""Asking a person at the terminal. Questions go to standard error, so that the output may go into a pipe."""

import getpass
import sys
from collections.abc import Sequence

from deliverykit.words.errors import ConfigurationError
from deliverykit.words.untrusted import printable

__all__ = ["Asker"]


class Asker:
    """Asks, where somebody can answer."""

    @property
    def present(self) -> bool:
        """Whether there is somebody to ask."""
        return sys.stdin is not None and sys.stdin.isatty()

    def text(self, question: str, *, where: str = "", default: str = "", required: bool = False) -> str:
        """A line. An empty answer is the default."""
        while True:
            answer = self._line(f"{question}{_hint(where, default, required)}: ")
            if answer or default or not required:
                return answer or default
            self.say(f"{question} is needed.")

    def choice(self, question: str, choices: Sequence[tuple[str, str]], *, default: str = "") -> str:
        """One of several, by its number or its name."""
        for number, (_, label) in enumerate(choices, 1):
            self.say(f"  {number}  {label}")
        names = {name.casefold(): name for name, _ in choices}
        names |= {label.casefold(): name for name, label in choices}
        names |= {str(number): name for number, (name, _) in enumerate(choices, 1)}
        while True:
            answer = self.text(question, default=default, required=True)
            if answer.casefold() in names:
                return names[answer.casefold()]
            self.say(f"Give a number from 1 to {len(choices)}.")

    def secret(self, question: str, *, where: str = "", required: bool = True) -> str:
        """A line that is not shown."""
        while True:
            try:
                answer = getpass.getpass(f"{question}{_hint(where, '', required)}, not shown: ").strip()
            except EOFError:
                raise ConfigurationError(f"{question}: nothing was answered") from None
            if answer or not required:
                return answer
            self.say(f"{question} is needed.")

    def sure(self, question: str) -> bool:
        """Whether the answer is yes; nothing else is."""
        return self._line(f"{question} [y/N] ").casefold() in ("y", "yes")

    def say(self, text: str) -> None:
        """A word to whoever is asked."""
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()

    def _line(self, prompt: str) -> str:
        sys.stderr.write(printable(prompt))
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            sys.stderr.write("\n")
            raise ConfigurationError(f"{prompt.strip(' :')}: nothing was answered")
        return line.strip()


def _hint(where: str, default: str, required: bool) -> str:
    notes = [where] if where else []
    if default:
        notes.append(f"Enter: {default}")
    elif not required:
        notes.append("Enter: none")
    return f" ({'; '.join(notes)})" if notes else ""
