"""The message a host hands in: one frozen object, checked when it is made."""

from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from typing import Any

from attrs import evolve, field, frozen

from deliverykit.words import fields
from deliverykit.words.addresses import Address, address
from deliverykit.words.arguments import refused
from deliverykit.words.enclosures import Attachment, Unsubscribe
from deliverykit.words.errors import MessageError
from deliverykit.words.mime import fields_of
from deliverykit.words.outcomes import OnDoubt
from deliverykit.words.raw import begins_with_fields, header_values

__all__ = ["Message"]


def _only_sender(written: list[str]) -> Address | None:
    """The From of raw mail where it is exactly one address; anything else is no sender, and only a forced one helps."""
    try:
        return address(written[0], "raw: From") if len(written) == 1 else None
    except MessageError:
        return None


@frozen(kw_only=True)
class Message:
    """One email, to one or several recipients, independent of any ESP.

    Addresses are given as text (``"Ann <ann@example.org>"``) or :class:`Address`. ``sender`` is the
    From; a server's forced sender replaces it. An address given twice over ``to``, ``cc`` and ``bcc``
    is kept once, where it stands first. ``raw`` is a complete MIME message instead of ``subject``,
    ``text``, ``html``, ``headers`` and ``attachments``, for ESPs that take one; its From is the sender
    where none is given. ``extra`` holds an
    ESP's own fields by its name (``{"sendgrid": {"ip_pool_name": "bulk"}}``) and is merged last; it
    cannot touch what the library promises (From, recipients, our id). ``stream`` names a class of
    mail that queues on its own; ``priority`` (higher first) orders within it. ``send_at`` is waited
    for in the outbox; a message not on its way by ``expires_at`` is never sent. ``in_doubt`` says what
    becomes of it when nobody knows whether it has gone: ``"hold"`` or ``"resend"``; ``None`` is the route's word.
    A message handed in again with the ``idempotency_key`` it was handed in with in the last 24 hours is not written
    down a second time.

    Raises :class:`~deliverykit.MessageError` naming the field, what is wrong with it and the mend.
    """

    sender: Address | None = field(default=None, converter=fields.sender)
    to: tuple[Address, ...] = field(default=(), converter=fields.to)
    cc: tuple[Address, ...] = field(default=(), converter=fields.cc)
    bcc: tuple[Address, ...] = field(default=(), converter=fields.bcc)
    reply_to: tuple[Address, ...] = field(default=(), converter=fields.reply_to)
    subject: str = field(default="", converter=fields.subject)
    text: str | None = field(default=None, converter=fields.text, repr=False)
    html: str | None = field(default=None, converter=fields.html, repr=False)
    headers: Mapping[str, str] = field(factory=dict, converter=fields.headers)
    attachments: tuple[Attachment, ...] = field(default=(), converter=fields.attachments)
    tags: tuple[str, ...] = field(default=(), converter=fields.tags)
    metadata: Mapping[str, str] = field(factory=dict, converter=fields.metadata)
    unsubscribe: Unsubscribe | None = field(default=None, converter=fields.unsubscribe)
    track_opens: bool | None = field(default=None, converter=fields.track_opens)
    track_clicks: bool | None = field(default=None, converter=fields.track_clicks)
    raw: bytes | None = field(default=None, repr=False)
    stream: str = field(default="", converter=fields.stream)
    priority: int = field(default=0, converter=fields.priority)
    send_at: datetime | None = field(default=None, converter=fields.send_at)
    expires_at: datetime | None = field(default=None, converter=fields.expires_at)
    in_doubt: OnDoubt | None = field(default=None, converter=fields.in_doubt)
    idempotency_key: str = field(default="", converter=fields.idempotency_key)
    extra: Mapping[str, Mapping[str, Any]] = field(factory=dict, converter=fields.extra, repr=False)

    def __attrs_post_init__(self) -> None:
        self._keep_recipients_once()
        if not self.recipients:
            raise MessageError("to: a message needs at least one recipient in to, cc or bcc")
        if not self.to:
            raise MessageError("to: empty; every ESP wants at least one address in to beside cc and bcc")
        if len(self.stream) > 64:
            refused("stream", self.stream, "too long", "give at most 64", MessageError)
        if self.send_at is not None and self.expires_at is not None and self.expires_at <= self.send_at:
            raise MessageError("expires_at: not after send_at; the message would never be sent")
        if self.raw is None:
            self._check_composed()
        else:
            self._check_raw()

    def _keep_recipients_once(self) -> None:
        if not self.cc and not self.bcc:
            return  # each field by itself holds nobody twice
        seen: set[str] = set()
        for name in ("to", "cc", "bcc"):
            kept = tuple(one for one in getattr(self, name) if one.key not in seen)
            seen.update(one.key for one in kept)
            object.__setattr__(self, name, kept)

    def _check_composed(self) -> None:
        if self.text is None and self.html is None:
            raise MessageError("text: a message needs text, html or both (or raw)")
        if not self.text and not self.html:
            raise MessageError("text: empty, and no html; ESPs refuse a message without content")
        for one in self.attachments:
            if not isinstance(one, Attachment):
                refused("attachments", one, "expected an Attachment", "write Attachment(filename=…, content=…)", MessageError)
        if self.unsubscribe and {name.lower() for name in self.headers} & {"list-unsubscribe", "list-unsubscribe-post"}:
            raise MessageError("headers: List-Unsubscribe is given there and as unsubscribe=; give one of them")

    def _check_raw(self) -> None:
        if not isinstance(self.raw, bytes) or not self.raw.strip():
            raise MessageError("raw: expected the bytes of a MIME message")
        given = [name for name in ("subject", "text", "html", "headers", "attachments", "unsubscribe", "cc", "bcc", "reply_to")
                 if getattr(self, name)]  # fmt: skip
        if given:
            raise MessageError(
                f"raw: {given[0]}= cannot stand beside raw=; write it into the MIME message, recipients into to="
            )
        if not begins_with_fields(self.raw):
            raise MessageError("raw: does not begin with header fields; give a whole MIME message, head and body")
        if self.sender is None:
            object.__setattr__(self, "sender", _only_sender(header_values(self.raw, "from")))

    @property
    def recipients(self) -> tuple[Address, ...]:
        """Everybody the mail goes to: to, cc and bcc. Their number is what it costs of a quota."""
        return (*self.to, *self.cc, *self.bcc)

    @classmethod
    def from_email(cls, email: EmailMessage, **others: Any) -> "Message":
        """A message from the standard library's, taken apart; ``others`` are added or put in their place.

        Text, HTML, attachments and inline images are taken over, and every header that has no field
        of its own. Raises :class:`~deliverykit.MessageError` for a body that is not made of those;
        send such a message as ``raw=``.
        """
        return cls(**{**fields_of(email), **others})

    def evolve(self, **changes: Any) -> "Message":
        """A copy with some fields changed, checked again."""
        return evolve(self, **changes)
