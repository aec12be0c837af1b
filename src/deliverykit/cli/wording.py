"""The command line's own words: what an error says of Python arguments, as options of the command line."""

import re
from typing import Final

__all__ = ["in_options"]

_OWN: Final = {
    "servers": "--server", "strategies": "--strategy", "recipient": "--to", "budgets": "--budget", "tags": "--tag",
    "headers": "--header", "attachments": "--attach", "sender": "--sender", "storage": "DELIVERYKIT_STORAGE",
    "secret_key": "DELIVERYKIT_SECRET_KEY", "env_allowed": "your program's Mailer (--app)",
    "base_urls": "your program's Mailer (--app)", "credentials": "your program's Mailer (--app)",
    "register": "your program's Mailer (--app)", "provider": "its --esp fields", "id": "id",
}  # fmt: skip
_CALLS: Final = {
    "servers.update()": "deliverykit servers update",
    "routes.update()": "deliverykit routes update",
    "mailer.budgets.update()": "your program",
    "mailer.accounts.add()": "your program",
    "accounts.update()": "your program",
    "log.get()": "deliverykit log",
    "mailer.servers.add(…)": "deliverykit servers add",
    "mailer.accept_clock()": "accept the clock in your program",
    "mailer.resume_all()": "your program",
}
_NAME: Final = r"(?<![\w.\[-])([a-z][a-z_]{1,30})"
_BEGINS: Final = re.compile(rf"^{_NAME}=((?:'[^']{{0,80}}'|[^\s:'][^:]{{0,80}})…?(?: \([\d,]+ \w+\))?): ")
_FLAG: Final = re.compile(rf"{_NAME}=(?:True|False)\b")
_OPEN: Final = re.compile(rf"{_NAME}=(?:\[…\]|\(…\)|…)?(?=[\s,;.)]|$)")


def in_options(text: str) -> str:
    """The text of an error with options where it names Python arguments and calls. At most 4,000 characters."""
    text = text[:4_000]
    for call, instead in _CALLS.items():
        text = text.replace(call, instead)
    text = _BEGINS.sub(lambda found: f"{_option(found[1])} {found[2]}: ", text)
    text = _FLAG.sub(lambda found: _option(found[1]), text)
    return _OPEN.sub(lambda found: _option(found[1]), text)


def _option(name: str) -> str:
    return _OWN.get(name, f"--{name.replace('_', '-')}")
