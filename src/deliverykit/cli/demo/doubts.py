"""Mail in doubt: named on the screen, and settled by what the ESPs received. In real life their own logs tell that."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from attrs import define, field

from deliverykit.cli.demo.check import Doubtful, Expected
from deliverykit.cli.demo.show import Screen
from deliverykit.cli.demo.watch import Server
from deliverykit.mailer import AccountMailer
from deliverykit.sandbox import Sandbox

__all__ = ["Doubts"]

_NAMED: Final = 40


@define
class Doubts:
    """All mail that was in doubt so far."""

    screen: Screen
    sandbox: Sandbox
    desks: Mapping[str, AccountMailer]
    servers: Sequence[Server]
    expected: Mapping[str, Expected]
    patience: float
    """How many seconds the worker waits for an answer."""
    pid: int = 0
    """The worker that was killed."""
    on_its_wire: Collection[str] = ()
    """What it was sending then."""
    settled: list[Doubtful] = field(factory=list, init=False)

    def open(self) -> tuple[Doubtful, ...]:
        """The mail in doubt now."""
        names = {one.record.id: one.rule.name for one in self.servers}
        doubts = [one for desk in self.desks.values() for one in desk.outbox.in_doubt()]
        has = {one.id.partition("-")[0] for one in self.sandbox.received()} if doubts else set()
        return tuple(
            Doubtful(
                id=one.id, server=names[one.server], recipient=self.expected[one.id].recipient.email,
                killed=one.id in self.on_its_wire, received=one.id in has,
            )
            for one in doubts
        )  # fmt: skip

    def settle(self) -> None:
        """Name them, and say what each was."""
        found = self.open()
        if not found:
            return
        self.screen.step("In doubt: mail that may have gone, and nobody here can know")
        self.screen.say("[dim]It is never sent again unasked: somebody might get it twice.[/]")
        killed = [one for one in found if one.killed]
        silent = [one for one in found if not one.killed]
        self._named(f"{len(killed):,} on the wire of process {self.pid} when it was killed:", killed)
        self._named(f"{len(silent):,} given to an ESP that did not answer within {self.patience:g} seconds:", silent)
        self.screen.say("[dim]The ESPs' own logs tell what arrived. Each is settled by that:[/]")
        for there, words, call in (
            (True, "had arrived", "as_sent=True"),
            (False, "had not: back in line", "resend=True"),
        ):
            ids = [one.id for one in found if one.received is there]
            if ids:
                count = sum(self._resolved(desk, ids, sent=there) for desk in self.desks.values())
                self.screen.mark(f"mailer.outbox.resolve(ids=…, {call}): {count:,} {words}")
        self.settled += found

    def _resolved(self, desk: AccountMailer, ids: Sequence[str], *, sent: bool) -> int:
        return desk.outbox.resolve(ids=ids, as_sent=True) if sent else desk.outbox.resolve(ids=ids, resend=True)

    def _named(self, title: str, doubts: Sequence[Doubtful]) -> None:
        if not doubts:
            return
        self.screen.say(title)
        rows = [[one.id, one.server, "yes" if one.received else "no", one.recipient] for one in doubts[:_NAMED]]
        self.screen.table(["mail", "server", "arrived", "for"], rows)
        if len(doubts) > _NAMED:
            self.screen.say(f"… and {len(doubts) - _NAMED:,} more")
