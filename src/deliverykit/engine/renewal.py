"""Credentials that expired: one more try with fresh ones before a server is paused."""

from itertools import count

from attrs import define

from deliverykit.records.server import DeliveryServer
from deliverykit.words.credentials import Env, Named
from deliverykit.words.outcomes import Accepted, Outcome, Rejected, ServerFault, Throttled, Unfit

__all__ = ["Renewals"]


@define
class _Renewal:
    at: int
    """The number of the refusal that started it."""
    helped: bool = False
    """Whether the ESP took credentials that were read after it."""


class Renewals:
    """Which servers of this process are trying fresh credentials. Safe for threads; never blocks.

    ``Env`` and ``Named`` credentials are read for every attempt. So when the ESP refuses the ones that an attempt used,
    it is enough to put the message back: its next attempt reads fresh ones. Messages that were on their way with the
    old ones are put back too, however many they are. If the ESP then refuses credentials that were read after the
    first refusal, fresh ones did not help. Reads and refusals are numbered, so that no clock matters.
    """

    def __init__(self) -> None:
        self._by_server: dict[tuple[str, str], _Renewal] = {}
        self._numbers = count(1)

    def number(self) -> int:
        """Return the number of a read; call it before the credentials are read."""
        return next(self._numbers)

    def tries_again(self, server: DeliveryServer, outcome: Outcome, read: int) -> bool:
        """Return whether the message should go again with fresh credentials before the server is paused.

        Call it with every outcome of an attempt; ``read`` is the number of the read that the attempt used.
        """
        key = (server.account, server.id)
        known = self._by_server.get(key)
        if not isinstance(outcome, ServerFault) or not outcome.renewable:
            if known is not None and read > known.at and isinstance(outcome, Accepted | Rejected | Unfit | Throttled):
                known.helped = True
            return False
        if known is not None and read < known.at:
            return True
        if not _by_reference(server) or (known is not None and not known.helped):
            return False
        self._by_server[key] = _Renewal(self.number())
        return True


def _by_reference(server: DeliveryServer) -> bool:
    provider = server.provider
    return provider is not None and any(isinstance(getattr(provider, one.name), Env | Named) for one in provider.options())
