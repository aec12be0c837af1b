"""What an ESP knows besides the request: its keys, its verified senders, what was sent so far, the time."""

from collections import deque
from typing import Any

from attrs import define, field

from deliverykit.sandbox.wire import Reply

__all__ = ["DAY", "SECOND", "Account", "Meter"]

SECOND = 1000
DAY = 86_400_000


@define
class Meter:
    """How much happened in the trailing window of so many milliseconds."""

    window: int
    total: int = 0
    _seen: deque[tuple[int, int]] = field(factory=deque)

    def add(self, at: int, n: int) -> None:
        """Count ``n`` at an instant."""
        self._seen.append((at, n))
        self.total += n

    def read(self, now: int) -> int:
        """The count of the window that ends now."""
        while self._seen and self._seen[0][0] <= now - self.window:
            self.total -= self._seen.popleft()[1]
        return self.total


@define(kw_only=True)
class Account:
    """One ESP's state. The ESP's functions read it; the server and the control write it."""

    now: int = 0
    """The sandbox's clock when the request came, in UTC milliseconds."""
    token: str = "0" * 32
    """32 random hexadecimal digits, fresh for each request: message ids are made of it."""
    keys: frozenset[str] | None = None
    """The credentials that work; ``None`` is any that is well formed."""
    secrets: dict[str, str] = field(factory=dict, repr=False)
    """SES: secret access keys by access key id."""
    verified: frozenset[str] | None = None
    """Domains and addresses that may send; ``None`` is any."""
    domains: frozenset[str] | None = None
    """Mailgun: the domains that exist; ``None`` is any."""
    refused: frozenset[str] = frozenset()
    """Recipients this ESP turns down."""
    per_day: int | None = None
    per_second: int | None = None
    check_clock: bool = True
    day: Meter = field(factory=lambda: Meter(DAY))
    second: Meter = field(factory=lambda: Meter(SECOND))
    told: dict[str, Any] = field(factory=dict)
    """What the calls about the account tell instead of the usual, by the ESP's own field names."""
    replies: dict[str, tuple[str, int, Reply]] = field(factory=dict)
    """Idempotency keys: the body's digest, the instant, the answer."""

    def may_send(self, email: str) -> bool:
        """Whether the address or its domain is verified."""
        lowered = email.lower()
        return self.verified is None or lowered in self.verified or lowered.rpartition("@")[2] in self.verified

    def knows(self, key: str) -> bool:
        """Whether the credential works."""
        return self.keys is None or key in self.keys
