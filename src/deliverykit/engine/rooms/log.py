"""The delivery log: what happened to this mail, who got what by which server."""

from datetime import datetime
from typing import get_args

from deliverykit.contracts.books import Told
from deliverykit.engine.rooms.room import Room
from deliverykit.engine.rooms.views import LogEntry, Trace, entry_of, mail_of
from deliverykit.engine.rooms.wanted import filter_of
from deliverykit.records.server import DeliveryServer
from deliverykit.words.addresses import Address, address
from deliverykit.words.arguments import choice, line, optional, shown, whole
from deliverykit.words.errors import NotFound
from deliverykit.words.outcomes import Outcome

__all__ = ["OUTCOMES", "Log"]

OUTCOMES = (
    *(one.__name__.lower() for one in get_args(Outcome)),
    "refused", "dead", "in_doubt", "resolved", "requeued", "pruned", "erased",
)  # fmt: skip
"""All that a line may say: what an answer came to, or what befell the mail here."""


class Log(Room):
    """``mailer.log``: what happened to the mail of one account."""

    async def get(self, id: str) -> Trace:
        """Of one mail: how it stands, by which server, and all that happened to it.

        Raises :class:`~deliverykit.NotFound` for one of which nothing is known: never written down, or pruned.
        """
        line(id, "id", least=1, write="give the id of a message, as send() returned it")
        row = await self.ports.store(self.context.storage.mail, id)
        mail = None if row is None or row.account != self.account else mail_of(row)
        rows = await self.ports.store(self.context.storage.log, id)
        lines = tuple(entry_of(at, line) for at, line in rows if line.account == self.account)
        if mail is None and not lines:
            raise NotFound(f"nothing is known of a mail {shown(id)} in account {self.account!r}")
        taken = next((one for one in reversed(lines) if one.outcome == "accepted"), None)
        last = next((one.server for one in reversed(lines) if one.server), "")
        return Trace(
            id=id,
            state=mail.state if mail is not None else taken.outcome if taken is not None else lines[-1].outcome,
            server=(mail.server if mail is not None else taken.server if taken is not None else "") or last,
            provider_message_id=taken.provider_message_id if taken is not None else "",
            mail=mail,
            lines=lines,
        )

    async def list(
        self,
        *,
        recipient: str | Address | None = None,
        server: str | DeliveryServer | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int = 100,
    ) -> tuple[LogEntry, ...]:
        """Lines of the log, the latest first; of what is given, those that fit all of it.

        ``recipient`` is one of the mail's recipients, however it is spelled; the log keeps no addresses, only a
        hash of each under the ``secret_key``. ``outcome`` is one of :attr:`LogEntry.outcome`. Raises
        :class:`~deliverykit.ConfigurationError`, or :class:`~deliverykit.MessageError` for what is no address.
        """
        optional(choice, outcome, "outcome", known=OUTCOMES)
        whole(limit, "limit", least=1)
        checked = filter_of(server=server, since=since, before=before)
        who = None
        if recipient is not None:
            who = self.context.archive.vault.marks(self.account, address(recipient, "recipient").key)
        told = Told(who=who, server=checked.server, outcome=outcome, since=checked.since, before=checked.before)
        rows = await self.ports.store(self.context.storage.told, self.account, told, limit)
        return tuple(entry_of(at, line) for at, line in rows)
