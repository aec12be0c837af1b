"""``deliverykit doctor``: whether mail leaves, and what to mend."""

from typing import Final

from deliverykit.cli.arguments import Menu
from deliverykit.cli.call import NOTHING_DID, Call
from deliverykit.cli.output import Column, Lines, Record
from deliverykit.cli.wording import in_options
from deliverykit.engine.upkeep.doctor import Finding, Severity

__all__ = ["add_commands"]

_BAD: Final = (Severity.WARNING, Severity.PROBLEM)


def add_commands(menu: Menu) -> None:
    """The commands of this module."""
    menu.verb(
        "doctor", _doctor, "look at everything that could keep mail from leaving; ends with 1 where something is to be done.",
        "Of all accounts, where --account names none.",
    )  # fmt: skip


def _doctor(call: Call) -> int:
    found = _found(call)
    records = [
        {
            "severity": one.severity.value,
            "check": one.check,
            "account": one.account,
            "what": in_options(one.what),
            "mend": in_options(one.mend),
        }
        for one in found
    ]
    columns = [Column("", "severity", state=True), Column("check"), Column("what", _words)]
    if len({one.account for one in found if one.account}) > 1:
        columns.insert(1, Column("account"))
    call.out.rows("findings", records, columns, empty="")
    bad = sum(one.severity in _BAD for one in found)
    call.out.say("")
    call.out.say(f"{bad} to be looked at." if bad else "All is well.")
    return NOTHING_DID if bad else 0


def _found(call: Call) -> list[Finding]:
    """Those of the accounts, each once: storage and clock are the same for all."""
    found = list(call.mailer.doctor())
    if call.options.account is None and not any(one.check == "storage" and one.severity in _BAD for one in found):
        others = [one.id for one in call.host.accounts.list() if one.id != call.account]
        found += [finding for id_ in others for finding in call.host.account(id_).doctor()]
    return list(dict.fromkeys(found))


def _words(record: Record) -> Lines:
    mend = (f"→ {record['mend']}",) if record["mend"] else ()
    return Lines((str(record["what"]), *mend))
