"""What goes wrong here."""

from logging import ERROR, WARNING
from typing import ClassVar

from attrs import frozen

from deliverykit.words.facts.fact import Fact

__all__ = ["FeaturesDropped", "PartFailed", "StorageFailed"]


@frozen(kw_only=True)
class StorageFailed(Fact):
    """A worker cannot read or write the outbox; it tries again, and nothing is lost."""

    event: ClassVar[str] = "deliverykit.storage.failed"
    level: ClassVar[int] = ERROR

    doing: str
    reason: str

    def __str__(self) -> str:
        return f"{self.doing}: {self.reason}"


@frozen(kw_only=True)
class PartFailed(Fact):
    """Code that was plugged in, or ours, raised what it should not. The mail it was about is safe."""

    event: ClassVar[str] = "deliverykit.part.failed"
    level: ClassVar[int] = ERROR

    doing: str
    """Which part, and what it could not do."""
    error: str
    """The types of the exception and of what caused it. Its words may hold a secret or an address, so they are left out."""
    trace: str = ""
    """Where it was raised: files, lines and functions."""
    mail: str = ""

    def __str__(self) -> str:
        trace = f"\n{self.trace.rstrip()}" if self.trace else ""
        return f"{self.doing}: {self.error}{trace}"


@frozen(kw_only=True)
class FeaturesDropped(Fact):
    """A mail leaves without what its ESP cannot carry, as ``on_unsupported="warn"`` asks to be told."""

    event: ClassVar[str] = "deliverykit.features.dropped"
    level: ClassVar[int] = WARNING

    esp: str
    features: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.esp} cannot carry {', '.join(self.features)}; left out"
