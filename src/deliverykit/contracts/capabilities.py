"""What a message asks of an ESP, and what an ESP declares it can do: data on both sides."""

import json
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Self

from attrs import field, frozen

from deliverykit.words.addresses import Address, header_text
from deliverykit.words.enclosures import Attachment
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
    EMPTY_SUBJECT = "empty_subject"
    EMPTY_FILES = "empty_files"
    """An attachment of no bytes."""
    FREE_TAGS = "free_tags"
    """A tag of more than letters, digits, ``-`` and ``_``, or of more than 250 characters."""
    LONG_HEADERS = "long_headers"
    """A header of more than 900 characters, name and value together, as encoded."""
    LONG_FILE_FIELDS = "long_file_fields"
    """A file name of more than 255 characters, or a media type or content id of more than 78."""


_WORDS = {
    Feature.EMPTY_SUBJECT: "a message without a subject",
    Feature.EMPTY_FILES: "an empty attachment",
    Feature.INTERNATIONAL: "an international address (with a character outside ASCII before its @)",
    Feature.FREE_TAGS: "tags of more than letters, digits, - and _ (at most 250 of them)",
    Feature.LONG_HEADERS: "a header of more than 900 characters",
    Feature.LONG_FILE_FIELDS: "a file name over 255 characters, or a media type or content id over 78",
}


DROPPABLE = frozenset({Feature.TAGS, Feature.METADATA, Feature.TRACK_OPENS, Feature.TRACK_CLICKS})
"""What ``on_unsupported="warn"`` and ``"drop"`` may leave out: the reader's mail stays the same."""


def _features(value: Iterable[Feature]) -> frozenset[Feature]:
    return frozenset(map(Feature, value))


@frozen(kw_only=True)
class Needs:
    """What one message asks for. Mail with equal needs can be carried by the same servers."""

    features: frozenset[Feature] = field(factory=frozenset, converter=_features)
    recipients: int = 1
    reply_to: int = 0
    tags: int = 0
    headers: int = 0
    bytes: int = 0
    """Size after base64, rounded up to whole mebibytes, 0 below one."""
    tag_length: int = 0
    """Characters of the longest tag: 0 up to 128, else 255, else rounded up to whole thousands."""
    metadata: int = 0
    """Bytes of the metadata as JSON: 0 up to 800, else rounded up to whole thousands."""

    @classmethod
    def of(cls, message: Message) -> Self:
        """The needs of a message."""
        mebibytes = -(-_encoded_size(message) // (1 << 20))
        return cls(
            features=frozenset(_used(message)),
            recipients=len(message.recipients),
            reply_to=len(message.reply_to),
            tags=len(message.tags),
            headers=len(message.headers) + (2 if message.unsubscribe else 0),
            bytes=mebibytes << 20 if mebibytes > 1 else 0,
            tag_length=_coarse(max(map(len, message.tags), default=0), 128, 255),
            metadata=_coarse(len(json.dumps(dict(message.metadata))) if message.metadata else 0, 800),
        )


_PLAIN_TAG = re.compile(r"[A-Za-z0-9_-]{1,250}")


_PLAINLY = tuple(
    (feature, feature.value)
    for feature in (
        Feature.CC, Feature.BCC, Feature.REPLY_TO, Feature.HEADERS, Feature.TAGS, Feature.METADATA, Feature.UNSUBSCRIBE
    )
)  # fmt: skip
"""Features that a message uses where its field of the same name holds anything."""


def _used(message: Message) -> list[Feature]:
    used = [feature for feature, name in _PLAINLY if getattr(message, name)]
    if message.tags and not all(map(_PLAIN_TAG.fullmatch, message.tags)):
        used.append(Feature.FREE_TAGS)
    if message.headers and _long(message.headers):
        used.append(Feature.LONG_HEADERS)
    if message.track_opens is not None:
        used.append(Feature.TRACK_OPENS)
    if message.track_clicks is not None:
        used.append(Feature.TRACK_CLICKS)
    if message.raw is not None:
        used.append(Feature.RAW)
    elif not message.subject:
        used.append(Feature.EMPTY_SUBJECT)
    if any(one.international for one in _people(message)):
        used.append(Feature.INTERNATIONAL)
    return used + _asked_by(message.attachments) if message.attachments else used


def _asked_by(files: Iterable[Attachment]) -> list[Feature]:
    asked = {Feature.INLINE if one.inline else Feature.ATTACHMENTS for one in files}
    if any(not one.content for one in files):
        asked.add(Feature.EMPTY_FILES)
    if any(len(one.filename) > 255 or len(one.content_type) > 78 or len(one.content_id) > 78 for one in files):
        asked.add(Feature.LONG_FILE_FIELDS)
    return list(asked)


def _long(headers: Mapping[str, str]) -> bool:
    return any(len(name) + len(header_text(value)) > 900 for name, value in headers.items())


def _people(message: Message) -> tuple[Address, ...]:
    return (*message.recipients, *message.reply_to, *([message.sender] if message.sender else ()))


def _coarse(size: int, free: int, *steps: int) -> int:
    """Rounded up, so that mail of nearly equal size has equal needs: 0 up to ``free``, a step, whole thousands."""
    return 0 if size <= free else next((step for step in steps if size <= step), -(-size // 1000) * 1000)


def _encoded_size(message: Message) -> int:
    bodies = sum([len(part) if part.isascii() else len(part.encode()) for part in (message.text, message.html) if part])
    files = sum([(len(one.content) + 2) // 3 * 4 for one in message.attachments])
    return bodies + files + len(message.raw or b"")


@frozen(kw_only=True)
class Capabilities:
    """What an ESP can carry in one call. ``0`` is no limit of its own; sizes are in bytes after base64."""

    features: frozenset[Feature] = field(converter=_features)
    max_recipients: int
    max_bytes: int
    max_reply_to: int = 0
    max_tags: int = 0
    max_headers: int = 0
    max_tag_length: int = 0
    max_metadata: int = 0

    def lacks(self, needs: Needs) -> tuple[str, ...]:
        """Why this ESP cannot carry it, one reason each; empty where it can."""
        reasons = [f"cannot carry {_WORDS.get(feature, feature.value)}" for feature in sorted(needs.features - self.features)]
        for what, asked, limit in (
            ("recipients", needs.recipients, self.max_recipients),
            ("reply_to addresses", needs.reply_to, self.max_reply_to),
            ("tags", needs.tags, self.max_tags),
            ("headers", needs.headers, self.max_headers),
            ("bytes", needs.bytes, self.max_bytes),
            ("characters in a tag", needs.tag_length, self.max_tag_length),
            ("bytes of metadata", needs.metadata, self.max_metadata),
        ):
            if limit and asked > limit:
                reasons.append(f"takes at most {limit} {what}, the message has {asked}")
        return tuple(reasons)
