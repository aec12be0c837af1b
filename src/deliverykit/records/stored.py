"""The format of stored records and payloads: who wrote one, who may act on it, and which of its fields are unknown here.

Several versions of the library may share one storage during a rolling deployment. Every document of an account and every
message payload is a JSON object whose key ``"v"`` holds two whole numbers: the format version that wrote it, and the lowest
format version whose readers may act on it.

==========================================  ===============================================================
what a reader finds                         what it does
==========================================  ===============================================================
it may act on it, all fields are known      uses it
it may act on it, a field is unknown        ignores the field, keeps it in every write, and reports it
it may act on it, a field is missing        takes the field's default
it must be newer to act on it               leaves it as it is, and reports it
==========================================  ===============================================================
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from attrs import field, frozen

from deliverykit.words.errors import ConfigurationError

__all__ = ["FORMAT", "UPGRADE", "NewerFormat", "Stored", "fields_of", "with_format"]

FORMAT: Final = 1
"""The format version that this code writes, and the highest that it may act on.

Raise it with every change of a stored shape. Where a reader of an earlier version must not ignore a new field, name its lowest
reader as well; see :func:`with_format`.
"""

_KEY: Final = "v"
_LONGEST: Final = 32
UPGRADE: Final = "upgrade this process to the version of deliverykit that wrote it"
"""What to do about a record of a newer version."""


class NewerFormat(ConfigurationError):
    """A record or payload may be acted on only by a newer version of the library."""


@frozen
class Stored:
    """What a stored record says of its format, and the fields that this version does not know."""

    version: int = 1
    """The format version that wrote it."""
    reader: int = 1
    """The lowest format version whose readers may act on it."""
    unknown: Mapping[str, Any] = field(factory=dict, repr=False)
    """Fields that this version does not know, as they were read. Every write keeps them."""

    @property
    def newer(self) -> bool:
        """Whether only a newer version of the library may act on it."""
        return self.reader > FORMAT

    @property
    def hint(self) -> str:
        """Why this version may not act on it, and what to do."""
        return f"it is stored in format {self.version}, which needs format {self.reader} or later here; {UPGRADE}"


def with_format(data: Mapping[str, Any], stored: Stored | None = None, *, reader: int = 1) -> dict[str, Any]:
    """Return the fields as they are stored: with the format version, and the unknown fields they were read with.

    ``reader`` is the lowest format version whose readers may act on these fields. Raises :class:`NewerFormat` where only a
    newer version may change the record.
    """
    if stored is None:
        return {_KEY: [FORMAT, reader], **data}
    if stored.newer:
        raise NewerFormat(stored.hint)
    return {_KEY: [max(FORMAT, stored.version), max(reader, stored.reader)], **stored.unknown, **data}


def fields_of(text: str | bytes, known: Collection[str]) -> tuple[dict[str, Any], Stored]:
    """Return the fields of a stored JSON object without its format version, and what it says of its format.

    ``known`` names the fields of this version. Raises ``ValueError`` where the text is no JSON object or its format version
    is damaged. An object without a version has format 1.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object, got {type(data).__name__}")  # noqa: TRY004  damage, as any other
    version, reader = _versions(data.pop(_KEY, [1, 1]))
    unknown = {name: value for name, value in data.items() if name not in known}
    return data, Stored(version, reader, unknown)


def _versions(value: object) -> tuple[int, int]:
    match value:
        case [int(version), int(reader)] if 0 < reader <= version and not isinstance(version, bool):
            return version, reader
    raise ValueError(f"format version {json.dumps(value)[:_LONGEST]} is not a pair of whole numbers")
