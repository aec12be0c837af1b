"""An account: who owns servers and routes, and in which zone their quotas reset."""

from attrs import field, frozen

from deliverykit.contracts.limit import Limit
from deliverykit.records.stored import Stored

__all__ = ["DEFAULT_ACCOUNT", "Account"]

DEFAULT_ACCOUNT = "default"


@frozen(kw_only=True)
class Account:
    """An id, an IANA time zone, and the account's own limits over all its servers."""

    id: str
    timezone: str
    limits: tuple[Limit, ...] = ()
    broken: str = ""
    """What to mend where this process cannot read its limits; then none of its servers carries mail here."""
    damaged: bool = False
    """Whether not even its time zone can be read here; ``timezone`` is UTC then, and none of its servers carries mail."""
    paused: str = ""
    """The reason given to ``pause_all``, until ``resume_all``: nothing of it is admitted."""
    stored: Stored = field(factory=Stored, eq=False, repr=False)
    """The format it is stored in, and the fields that this version does not know."""
