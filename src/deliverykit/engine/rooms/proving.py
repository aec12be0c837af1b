"""Proof that a server works: one real email by it as it is, or as it is to be, before that takes the place of what is."""

from collections.abc import Sequence

from attrs import evolve

from deliverykit.contracts.books import LaneKey, NewMail
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.engine.delivery.send import Sending
from deliverykit.engine.rooms.acts import updated
from deliverykit.engine.rooms.editing import Edit, saved
from deliverykit.engine.rooms.room import Amendment, Room, amend
from deliverykit.records.letter import pack
from deliverykit.records.route import Route, WhenExhausted
from deliverykit.records.server import Budget, DeliveryServer, Status
from deliverykit.routers import Priority
from deliverykit.words.addresses import Address
from deliverykit.words.errors import ConfigurationError, MessageError, NotProven, Unsupported
from deliverykit.words.message import Message
from deliverykit.words.results import SendResult, SendStatus

__all__ = ["SUBJECT", "TEXT", "proven", "swapped", "trial_message", "tried"]

SUBJECT = "Test email"
TEXT = "This is a test. It was sent exactly as later mail will be."


def trial_message(
    server: DeliveryServer,
    to: str | Address,
    sender: str | Address | None,
    *,
    subject: str = SUBJECT,
    text: str = TEXT,
    field: str = "send_test(sender=…)",
) -> Message:
    """The message of a test. Raises what ``send`` would, ``field`` being where its From is given."""
    if server.provider is None:
        raise ConfigurationError(f"server {server.name!r} is BROKEN: {server.reason}")
    message = Message(sender=sender, to=to, subject=subject, text=text)
    if message.sender is None and server.sender is None:
        raise MessageError(f"sender: server {server.name!r} forces none; give {field}")
    if lacking := server.unsupported(message):
        raise Unsupported(
            f"server {server.name!r} cannot carry this test: {'; '.join(lacking)}", {server.name: "; ".join(lacking)}
        )
    return message


async def tried(
    room: Room, server: DeliveryServer, message: Message, *, stored: bool = True, budgets: Sequence[Budget] = ()
) -> SendResult:
    """Send it by this server alone, whatever its status, under its limits. Nothing of it stays in the outbox.

    ``stored`` is false where the server is what a record is to become, with ``budgets`` that are new with it: then
    what the ESP says against it closes, pauses and faults nothing of the record.
    """
    letter, files = pack(message)
    who = (room.context.archive.vault.mark(room.account, message.to[0].key),)
    lane = LaneKey(room.account, "", "test", "")
    mail = NewMail(uid=room.context.new_id(), lane=lane, cost=1, letter=letter, files=files, who=who)
    route = Route(account=room.account, name="", servers=(server.id,), strategy=Priority(), when_exhausted=WhenExhausted.QUEUE)
    ticket = Ticket.of(message, (server,))
    sending = Sending(
        room.context, room.ports, room.account, message, mail, ticket, route=route, test=server, stored=stored, budgets=budgets
    )
    return await sending.run()


async def proven(room: Room, server: DeliveryServer, result: SendResult, to: Address) -> SendResult:
    """The result of a test of the record itself; where it was accepted the record is proven, and the result says so."""
    if result.status is not SendStatus.ACCEPTED:
        return evolve(result, reason=f"{result.reason} (this proves nothing)".strip())
    if server.provider is not None and server.provider.simulates(to):
        return evolve(result, reason=_simulator(to))

    def make(config: Config) -> Amendment:
        now = config.server(server.id)
        if now.provider != server.provider or now.sender != server.sender:
            return Amendment(config=config, result=False)
        return Amendment(config=config, result=True, documents=(room.context.archive.server(evolve(now, proven=True)),))

    if await amend(room, make):
        return evolve(result, proof=True)
    return evolve(result, reason="the server was changed while it was tested; test it again")


async def swapped(room: Room, id_: str, edit: Edit, to: str | Address, sender: str | Address | None) -> DeliveryServer:
    """Test the record as it is to be, and make it so. Raises :class:`~deliverykit.NotProven`, and has changed nothing then.

    The old values go on carrying mail until the one step that writes the new. A pause that the engine set meanwhile
    was about the old ones, so it ends with them; what a person paused stays paused.
    """
    config = await room.config()
    before = config.server(id_)
    wanted, budgets = edit.of(config, before)
    message = trial_message(wanted, to, sender, field="update(test_sender=…)")
    if wanted.provider is not None and wanted.provider.simulates(message.to[0]):
        raise NotProven(f"test_to: {_simulator(message.to[0])}; server {before.name!r} was not changed")
    result = await tried(room, wanted, message, stored=False, budgets=budgets)
    if result.status is not SendStatus.ACCEPTED:
        raise NotProven(
            f"server {before.name!r} was not changed: the test by the new values was not accepted ({result.reason})", result
        )

    def make(config: Config) -> Amendment:
        old = config.server(id_)
        new, fresh = edit.of(config, old)
        if new.provider != wanted.provider or new.sender != wanted.sender:
            raise NotProven(f"server {old.name!r} was changed by another while the new values were tested; do it again", result)
        new = evolve(new, proven=True)
        if before.active and old.status is Status.PAUSED and old.paused_by == "engine":
            new = evolve(new, status=Status.ACTIVE, paused_by="", reason="")
        return saved(room.context.archive, config, new, fresh, updated(config, old, new))

    changed: DeliveryServer = await amend(room, make)
    return changed


def _simulator(to: Address) -> str:
    return f"{to.email} is the ESP's simulator; only a test to a real address is proof"
