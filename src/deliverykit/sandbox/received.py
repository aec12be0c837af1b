"""What tests look at: a mail an ESP accepted, and a submission it saw, the same shape for all four."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from attrs import asdict, field, frozen

from deliverykit.sandbox.parsing import opened
from deliverykit.sandbox.wire import File, Mail

__all__ = ["Received", "Submission"]


@frozen(kw_only=True)
class Received:
    """One mail an ESP accepted for delivery.

    ``at`` is when its request's first byte came, in UTC milliseconds of the sandbox's clock.
    Addresses are bare and ASCII, ``names`` are the display names by address; ``recipients`` is the
    envelope. ``headers`` are those with no field of their own. ``tags`` and ``metadata`` are what
    the ESP calls so, and what deliverykit puts in their place: at SES EmailTags ``tag_1``, ``tag_2``
    … are tags, the others and the header ``X-Deliverykit-Metadata`` metadata; at Elastic Email the
    channel is the tag. ``id`` is deliverykit's id in the mail. ``provider_message_id`` is what the
    ESP answered, as its events name it: Mailgun's without brackets, Elastic Email's TransactionID.
    ``credential`` is the key that was used (SES: the access key id), ``raw`` the request's body.
    """

    esp: str
    at: int
    sender: str
    sender_name: str
    recipients: tuple[str, ...]
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: tuple[str, ...]
    names: Mapping[str, str]
    subject: str
    headers: Mapping[str, str]
    text: str | None
    html: str | None
    attachments: tuple[File, ...]
    tags: tuple[str, ...]
    metadata: Mapping[str, str]
    id: str
    provider_message_id: str
    credential: str = field(repr=False)
    raw: bytes = field(repr=False)

    @classmethod
    def of(cls, mail: Mail, *, esp: str, at: int, credential: str, raw: bytes) -> "Received":
        """The record of a mail; takes its MIME apart."""
        mail = opened(mail)
        return cls(
            esp=esp, at=at, credential=credential, raw=raw, sender=mail.sender, sender_name=mail.names.get(mail.sender, ""),
            recipients=mail.recipients, to=mail.to, cc=mail.cc, bcc=mail.bcc, reply_to=mail.reply_to,
            names={email: name for email, name in mail.names.items() if name},
            subject=mail.subject, headers=mail.headers, text=mail.text, html=mail.html, attachments=mail.attachments,
            tags=mail.tags, metadata=mail.metadata | _metadata(mail), id=mail.id, provider_message_id=mail.provider_message_id,
        )  # fmt: skip

    def header(self, name: str) -> str:
        """A header's value whatever its case, or ``""``."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        values = asdict(self, recurse=False)
        values["raw"] = _packed(self.raw)
        values["attachments"] = [asdict(one) | {"content": _packed(one.content)} for one in self.attachments]
        return values

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "Received":
        """The other way round."""
        lists = {name: tuple(values[name]) for name in ("recipients", "to", "cc", "bcc", "reply_to", "tags")}
        files = tuple(File(**one | {"content": base64.b64decode(one["content"])}) for one in values["attachments"])
        return cls(**{**values, **lists, "raw": base64.b64decode(values["raw"]), "attachments": files})


def _metadata(mail: Mail) -> dict[str, str]:
    """What the header ``X-Deliverykit-Metadata`` says, where an ESP has no place for metadata."""
    text = next((value for name, value in mail.headers.items() if name.lower() == "x-deliverykit-metadata"), "")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _packed(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


@frozen(kw_only=True)
class Submission:
    """One request that wanted to send mail, whatever became of it.

    ``status`` is what was answered, 0 where nothing was (hang, reset); ``fault`` names the fault
    that struck it, ``id`` is deliverykit's id where the request could be read.
    """

    esp: str
    at: int
    id: str
    status: int
    accepted: bool
    fault: str
    credential: str = field(repr=False)
