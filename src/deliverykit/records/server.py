"""A delivery server: one configured sender at an ESP."""

from collections.abc import Iterable

from attrs import Attribute, field, frozen

from deliverykit.contracts.limit import Limit
from deliverykit.contracts.provider import Provider
from deliverykit.records.stored import Stored
from deliverykit.words.addresses import Address
from deliverykit.words.arguments import Choice, instance, items, line
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.message import Message

__all__ = ["VALUES", "Budget", "DeliveryServer", "Status"]

VALUES = ("name", "provider", "sender", "senders", "limits", "budgets")
"""What a host gives a server."""


class Status(Choice):
    """What a server may do."""

    PAUSED = "paused"
    """Carries nothing but its test."""
    ACTIVE = "active"
    """Carries mail."""
    BROKEN = "broken"
    """This process cannot read it; ``reason`` says what to mend. Another may."""


def _budget_name(_: object, __: "Attribute[str]", value: object) -> None:
    line(value, "Budget name", least=1, most=64, write="give the budget a name of 1 to 64 characters")


def _budget_limits(value: "Limit | Iterable[Limit]") -> tuple[Limit, ...]:
    write = "give limits such as [CalendarQuota(day=1_000)]"
    limits = tuple(items(value, "Budget limits", write, alone=(Limit,)))
    for one in limits:
        instance(one, "Budget limits", Limit, write)
    return limits


def _stored(_budget: object, _attribute: object, value: object) -> None:
    instance(value, "Budget stored", Stored, "leave it out; the library sets it")


@frozen(kw_only=True)
class Budget:
    """Limits with a name, shared by several servers. Its count outlives edits, removal and re-adding of servers."""

    name: str = field(validator=_budget_name)
    limits: tuple[Limit, ...] = field(converter=_budget_limits)
    broken: str = ""
    """What to mend where this process cannot read its limits; then its servers are BROKEN here."""
    stored: Stored = field(factory=Stored, eq=False, repr=False, validator=_stored)
    """The format it is stored in, and the fields that this version does not know."""


@frozen(kw_only=True)
class DeliveryServer:
    """One configured sender at an ESP, as it stands now. Change it through ``mailer.servers``.

    ``name`` is for people and appears nowhere in any request. ``provider`` is ``None`` where the
    server is BROKEN and cannot be read. ``proven`` tells whether a test email was accepted since the
    last change of credentials, region, domain or forced sender.
    """

    id: str
    account: str
    name: str
    provider: Provider | None
    sender: Address | None = None
    senders: tuple[str, ...] | None = None
    limits: tuple[Limit, ...] = ()
    budgets: tuple[str, ...] = ()
    status: Status = Status.PAUSED
    reason: str = ""
    paused_by: str = ""
    """``"host"``, ``"engine"``, or ``""`` where it never ran."""
    proven: bool = False
    unread: tuple[str, ...] = ()
    """Where it is BROKEN: which of its values this process cannot read, and so cannot keep."""
    version: int = field(default=1)
    """Moves with every change; what a verdict about an old key is held against."""
    stored: Stored = field(factory=Stored, eq=False, repr=False)
    """The format it is stored in, and the fields that this version does not know."""

    @property
    def active(self) -> bool:
        """Whether it carries mail."""
        return self.status is Status.ACTIVE

    @property
    def damaged(self) -> bool:
        """Whether its record itself cannot be read, by this process or another; ``name`` is its id then."""
        return "name" in self.unread

    def may_send(self, sender: Address | None) -> str:
        """Why it may not send mail of this From; ``""`` where it may. A forced sender replaces any From."""
        if self.sender is not None:
            return ""
        if sender is None:
            return "the message has no sender and the server forces none"
        allowed = self.allowed_senders
        if allowed is None or sender.key in allowed or sender.domain in allowed or _below(sender.domain, allowed):
            return ""
        return f"may not send for {sender.domain} (only for {', '.join(allowed)})"

    @property
    def allowed_senders(self) -> tuple[str, ...] | None:
        """The From domains and addresses it may send for; ``None`` is any."""
        if self.senders is not None or self.provider is None:
            return self.senders
        return self.provider.senders()

    def unsupported(self, message: Message) -> tuple[str, ...]:
        """Return why it can never carry this message, as it is configured; empty where it can.

        See :meth:`~deliverykit.contracts.provider.Provider.unsupported`; and for whom it may not send. Raises
        :class:`~deliverykit.ConfigurationError` where a plug-in's ``unsupported()`` fails.
        """
        if self.provider is None:
            return (self.reason,)
        try:
            reasons = self.provider.unsupported(message, self.sender)
        except Exception as error:
            name, kind = self.provider.name, type(error).__name__
            raise ConfigurationError(
                f"the provider {name} failed to judge a message: {kind}; correct its unsupported()"
            ) from error
        return (*reasons, *filter(None, [self.may_send(message.sender)]))


def _below(domain: str, allowed: tuple[str, ...]) -> bool:
    """Whether a domain is a subdomain of one that is allowed with all below it (``*.example.com``)."""
    return any(one.startswith("*.") and domain.endswith(one[1:]) for one in allowed)
