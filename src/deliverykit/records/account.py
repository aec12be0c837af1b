"""An account: who owns servers and routes, and in which zone their quotas reset."""

from attrs import frozen

from deliverykit.contracts.limit import Limit

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
    paused: str = ""
    """The reason given to ``pause_all``, until ``resume_all``: nothing of it is admitted."""
