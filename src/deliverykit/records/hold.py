"""A hold: the messages of one lane or one From domain wait until a person releases them."""

from attrs import field, frozen

from deliverykit.records.stored import Stored

__all__ = ["Hold"]


@frozen(kw_only=True)
class Hold:
    """What is held, by whom, and why. The engine adds holds; a person releases them.

    With ``server`` only that server takes none of it, and other servers of the route do. Without, no server does.
    """

    reason: str
    server: str = ""
    """The server's id; ``""`` for every server."""
    lane: int = 0
    """The hash of the lane that is held; 0 where a From domain is."""
    domain: str = ""
    """The From domain that is held."""
    route: str = ""
    stream: str = ""
    stored: Stored = field(factory=Stored, eq=False)

    @property
    def id(self) -> str:
        """Its place among the account's records."""
        return f"{self.server}/{self.domain or format(self.lane, '08x')}"
