"""The same message handed in again: an idempotency key binds the first mail, and every later call is told of that one."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from deliverykit.contracts.books import LogLine, MailState, NewMail, Once
from deliverykit.contracts.storage import Taken
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.context import Context
from deliverykit.engine.delivery.reports import queued
from deliverykit.engine.ports import Ports
from deliverykit.records.letter import fingerprint
from deliverykit.records.vault import Vault
from deliverykit.words.clock import NEVER, moment
from deliverykit.words.errors import MessageError
from deliverykit.words.message import Message
from deliverykit.words.results import SendResult, SendStatus

__all__ = ["once", "once_of", "write_down"]


def once_of(vault: Vault, account: str, message: Message, letter: bytes) -> Once | None:
    """Return the idempotency key as a storage keeps it: a keyed hash, because hosts put addresses into keys."""
    if not message.idempotency_key:
        return None
    return Once(vault.once_keys(account, message.idempotency_key)[0], vault.prints(account, fingerprint(letter))[0])


async def once(
    context: Context, ports: Ports, account: str, message: Message, mail: NewMail, first: Callable[[], Awaitable[SendResult]]
) -> SendResult:
    """What ``first`` comes to; where the key is bound already, how that mail stands, and nothing is done."""
    while mail.once is not None:
        (uid,) = await _bound(context, ports, account, [(message, mail)])
        if uid != mail.uid:
            return await _told(context, ports, uid)
        with suppress(Taken):  # by another call, between the look and the writing: look again
            return await first()
    return await first()


async def write_down(
    context: Context, ports: Ports, config: Config, messages: Sequence[Message], mails: Sequence[NewMail]
) -> list[str]:
    """All mails but those whose key is bound, durably; the ids by which each message is known, in order.

    Raises :class:`~deliverykit.contracts.storage.Overtaken`, and writes nothing, where the configuration has changed.
    """
    account = config.account.id
    while True:
        ids = await _bound(context, ports, account, list(zip(messages, mails, strict=True)))
        fresh = [mail for mail, uid in zip(mails, ids, strict=True) if mail.uid == uid]
        with suppress(Taken):
            await ports.store(context.storage.enqueue, fresh, config.version)
            queued(context, fresh)
            return ids


async def _bound(context: Context, ports: Ports, account: str, given: Iterable[tuple[Message, NewMail]]) -> list[str]:
    """The id each message is known by: that of the first mail under its key, here or in the store, or its own."""
    given, vault = list(given), context.archive.vault
    # Under an older secret_key a key has another hash; so it is looked up by all of them.
    hashes = {mail.uid: vault.once_keys(account, message.idempotency_key) for message, mail in given if mail.once is not None}
    keys = list(dict.fromkeys(one for found in hashes.values() for one in found))
    known = dict(await ports.store(context.storage.taken, account, keys)) if keys else {}
    ids = []
    for message, mail in given:
        if mail.once is None:
            ids.append(mail.uid)
            continue
        older = next((known[one] for one in hashes[mail.uid] if one in known), (mail.uid, mail.once.print))
        uid, print_ = known.setdefault(mail.once.key, older)
        if print_ not in vault.prints(account, fingerprint(mail.letter)):
            raise MessageError(
                f"idempotency_key: {message.idempotency_key!r} stands for another message since less than 24 hours "
                f"(mail {uid}); give this one a key of its own"
            )
        ids.append(uid)
    return ids


_STATUSES = {MailState.DEAD: SendStatus.REJECTED, MailState.IN_DOUBT: SendStatus.IN_DOUBT}
_FLYING = (MailState.LEASED, MailState.SENDING)


def _as_sent(line: LogLine) -> bool:
    return line.outcome == "resolved" and line.detail.startswith("as sent")


async def _told(context: Context, ports: Ports, uid: str) -> SendResult:
    """How a mail stands: by its row, or where that is gone by the last line of its log."""
    row = await ports.store(context.storage.mail, uid)
    if row is not None:
        waits = row.due if row.state is MailState.SCHEDULED else row.blocked_until if row.state is MailState.READY else 0
        return SendResult(
            status=_STATUSES.get(row.state, SendStatus.QUEUED),
            id=uid,
            reason=row.reason or ("is on its way" if row.state in _FLYING else row.blocked_by if waits else ""),
            goes_at=moment(waits) if waits else None,
            stalled=row.state is MailState.READY and row.blocked_until >= NEVER,
            repeated=True,
        )
    lines = [line for _, line in await ports.store(context.storage.log, uid)]
    accepted = next((line for line in lines if line.outcome == "accepted" or _as_sent(line)), None)
    if accepted is not None:
        return SendResult(status=SendStatus.ACCEPTED, id=uid, provider_message_id=accepted.provider_message_id, repeated=True)
    return SendResult(status=SendStatus.REJECTED, id=uid, reason=lines[-1].detail if lines else "", repeated=True)
