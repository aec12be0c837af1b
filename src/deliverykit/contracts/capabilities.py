"""What a message asks of an ESP, and what an ESP declares it can do: data on both sides."""

from enum import StrEnum
from typing import Self

from attrs import field, frozen

from deliverykit.words.message import Message

__all__ = ["Capabilities", "Feature", "Needs"]


class Feature(StrEnum):
    """What a message may use beyond to, subject, text and html."""

    CC = "cc"
    BCC = "bcc"
    REPLY_TO = "reply_to"
    HEADERS = "headers"
    ATTACHMENTS = "attachments"
    INLINE = "inline"
    TAGS = "tags"
    METADATA = "metadata"
    TRACK_OPENS = "track_opens"
    TRACK_CLICKS = "track_clicks"
    UNSUBSCRIBE = "unsubscribe"
    RAW = "raw"
    INTERNATIONAL = "international"
    """A local part that is not ASCII (RFC 6531)."""


DROPPABLE = frozenset({Feature.TAGS, Feature.METADATA, Feature.TRACK_OPENS, Feature.TRACK_CLICKS})
"""What ``on_unsupported="warn"`` and ``"drop"`` may leave out: the reader's mail stays the same."""


@frozen(kw_only=True)
class Needs:
    """What one message asks for. Mail with equal needs can be carried by the same servers."""

    features: frozenset[Feature] = field(factory=frozenset, converter=frozenset)
    recipients: int = 1
    reply_to: int = 0
    tags: int = 0
    headers: int = 0
    bytes: int = 0
    """Size after base64, rounded up to whole mebibytes, 0 below one."""

    @classmethod
    def of(cls, message: Message) -> Self:
        """The needs of a message."""
        used = {
            Feature.CC: message.cc,
            Feature.BCC: message.bcc,
            Feature.REPLY_TO: message.reply_to,
            Feature.HEADERS: message.headers,
            Feature.ATTACHMENTS: any(not one.inline for one in message.attachments),
            Feature.INLINE: any(one.inline for one in message.attachments),
            Feature.TAGS: message.tags,
            Feature.METADATA: message.metadata,
            Feature.TRACK_OPENS: message.track_opens is not None,
            Feature.TRACK_CLICKS: message.track_clicks is not None,
            Feature.UNSUBSCRIBE: message.unsubscribe,
            Feature.RAW: message.raw is not None,
            Feature.INTERNATIONAL: any(one.international for one in (*message.recipients, *message.reply_to)),
        }
        mebibytes = -(-_encoded_size(message) // (1 << 20))
        return cls(
            features=frozenset(feature for feature, present in used.items() if present),
            recipients=len(message.recipients),
            reply_to=len(message.reply_to),
            tags=len(message.tags),
            headers=len(message.headers) + (2 if message.unsubscribe else 0),
            bytes=mebibytes << 20 if mebibytes > 1 else 0,
        )


def _encoded_size(message: Message) -> int:
    bodies = sum(len(part.encode()) for part in (message.text, message.html) if part)
    files = sum((len(one.content) + 2) // 3 * 4 for one in message.attachments)
    return bodies + files + len(message.raw or b"")


@frozen(kw_only=True)
class Capabilities:
    """What an ESP can carry in one call. ``0`` is no limit of its own; sizes are in bytes after base64."""

    features: frozenset[Feature] = field(converter=frozenset)
    max_recipients: int
    max_bytes: int
    max_reply_to: int = 0
    max_tags: int = 0
    max_headers: int = 0

    def lacks(self, needs: Needs) -> tuple[str, ...]:
        """Why this ESP cannot carry it, one reason each; empty where it can."""
        reasons = [f"cannot carry {feature.value}" for feature in sorted(needs.features - self.features)]
        for what, asked, limit in (
            ("recipients", needs.recipients, self.max_recipients),
            ("reply_to addresses", needs.reply_to, self.max_reply_to),
            ("tags", needs.tags, self.max_tags),
            ("headers", needs.headers, self.max_headers),
            ("bytes", needs.bytes, self.max_bytes),
        ):
            if limit and asked > limit:
                reasons.append(f"takes at most {limit} {what}, the message has {asked}")
        return tuple(reasons)
