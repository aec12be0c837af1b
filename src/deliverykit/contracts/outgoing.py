"""What a provider is handed: one mail, as one server sends it."""

from typing import Self

from attrs import field, frozen

from deliverykit.words.addresses import Address
from deliverykit.words.message import Message
from deliverykit.words.raw import header_values

__all__ = ["Outgoing"]


@frozen(kw_only=True)
class Outgoing:
    """A message as one server sends it: the From decided, the recipients final, our id attached.

    ``id`` is our correlation id (letters, digits, ``-`` and ``_``); it travels with the mail and
    comes back in the ESP's events. ``forced`` tells that ``sender`` is the server's forced sender.
    """

    id: str
    message: Message = field(repr=False)
    sender: Address
    reply_to: tuple[Address, ...] = ()
    forced: bool = False
    retries: int = 0
    """How many attempts of it surely did not go. The same number means: this may be the same email once more."""

    @classmethod
    def of(cls, message: Message, id: str, sender: Address, *, forced: bool, retries: int = 0) -> Self:
        """Return the mail of this message from this sender.

        A forced sender replaces the From. The message's own sender becomes the Reply-To then, unless the message has a
        Reply-To, both are the same mailbox, or no answer could reach it.
        """
        reply_to: tuple[Address, ...] = message.reply_to
        original = message.sender
        if forced and original is not None and original.routable and original.key != sender.key:
            answered = reply_to or (message.raw is not None and header_values(message.raw, "reply-to"))
            reply_to = reply_to if answered else (original,)
        return cls(id=id, message=message, sender=sender, reply_to=reply_to, forced=forced, retries=retries)

    @property
    def to(self) -> tuple[Address, ...]:
        """The visible recipients."""
        return self.message.to

    @property
    def cc(self) -> tuple[Address, ...]:
        """The copied recipients."""
        return self.message.cc

    @property
    def bcc(self) -> tuple[Address, ...]:
        """The hidden recipients."""
        return self.message.bcc

    @property
    def headers(self) -> dict[str, str]:
        """The host's own headers and those of ``unsubscribe=``."""
        unsubscribe = self.message.unsubscribe
        return {**self.message.headers, **(unsubscribe.headers if unsubscribe else {})}
