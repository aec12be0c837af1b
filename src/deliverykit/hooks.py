"""Hooks: what a host does when something became true. One method, and one frozen object, for each kind of fact.

::

    class Pager(Hooks):
        def mail_dead(self, fact: MailDead) -> None:
            page(f"{fact.mail} by {fact.server}: {fact.reason}")


    mailer = Mailer("sqlite:///mail.db", hooks=Pager())
"""

from deliverykit.words.facts import (
    FACTS,
    AccountPaused,
    AccountResumed,
    AttemptFinished,
    CircuitClosed,
    CircuitOpened,
    Fact,
    FeaturesDropped,
    LaneBlocked,
    LaneHeld,
    LeaseLost,
    MailAccepted,
    MailDead,
    MailInDoubt,
    MailQueued,
    MailRecovered,
    MailRefused,
    MailResolved,
    MailReturned,
    MailsCancelled,
    MailScheduled,
    MailsPruned,
    MailsRequeued,
    MailsResolved,
    PartFailed,
    PersonErased,
    RecordChanged,
    RouteDegraded,
    RouteRestored,
    ServerChanged,
    ServerPaused,
    ServerThrottled,
    StorageFailed,
)

__all__ = [
    "FACTS",
    "AccountPaused",
    "AccountResumed",
    "AttemptFinished",
    "CircuitClosed",
    "CircuitOpened",
    "Fact",
    "FeaturesDropped",
    "Hooks",
    "LaneBlocked",
    "LaneHeld",
    "LeaseLost",
    "MailAccepted",
    "MailDead",
    "MailInDoubt",
    "MailQueued",
    "MailRecovered",
    "MailRefused",
    "MailResolved",
    "MailReturned",
    "MailScheduled",
    "MailsCancelled",
    "MailsPruned",
    "MailsRequeued",
    "MailsResolved",
    "PartFailed",
    "PersonErased",
    "RecordChanged",
    "RouteDegraded",
    "RouteRestored",
    "ServerChanged",
    "ServerPaused",
    "ServerThrottled",
    "StorageFailed",
]


class Hooks:
    """Override what you want to hear of; hand an object of it, or several, to ``Mailer(hooks=…)``.

    Each is called once what it tells is true and committed, outside any transaction, in the process that made it
    true: in the thread or the event loop that sends. So it must be quick and must not wait, and be safe for threads
    where threads share a Mailer; put what takes long into a queue. What it raises is logged and hurts no mail. A
    process that is killed between the commit and the call tells nobody: the delivery log is the truth.
    """

    def told(self, fact: Fact) -> None:
        """Every fact comes in here, and goes to the method of its kind; override it to hear them all in one place."""
        method = _METHODS.get(type(fact))
        if method is not None:
            getattr(self, method)(fact)

    def wants(self, kind: type[Fact]) -> bool:
        """Whether facts of a kind are told at all: those whose method, or :meth:`told`, is overridden."""
        method = _METHODS.get(kind, "told")
        return any(getattr(type(self), name) is not getattr(Hooks, name) for name in ("told", method))

    def mail_queued(self, fact: MailQueued) -> None:
        """See :class:`MailQueued`."""

    def attempt_finished(self, fact: AttemptFinished) -> None:
        """See :class:`AttemptFinished`."""

    def mail_accepted(self, fact: MailAccepted) -> None:
        """See :class:`MailAccepted`."""

    def mail_dead(self, fact: MailDead) -> None:
        """See :class:`MailDead`."""

    def mail_refused(self, fact: MailRefused) -> None:
        """See :class:`MailRefused`."""

    def mail_in_doubt(self, fact: MailInDoubt) -> None:
        """See :class:`MailInDoubt`."""

    def mail_scheduled(self, fact: MailScheduled) -> None:
        """See :class:`MailScheduled`."""

    def mail_returned(self, fact: MailReturned) -> None:
        """See :class:`MailReturned`."""

    def mail_recovered(self, fact: MailRecovered) -> None:
        """See :class:`MailRecovered`."""

    def lease_lost(self, fact: LeaseLost) -> None:
        """See :class:`LeaseLost`."""

    def lane_blocked(self, fact: LaneBlocked) -> None:
        """See :class:`LaneBlocked`."""

    def lane_held(self, fact: LaneHeld) -> None:
        """See :class:`LaneHeld`."""

    def server_paused(self, fact: ServerPaused) -> None:
        """See :class:`ServerPaused`."""

    def server_throttled(self, fact: ServerThrottled) -> None:
        """See :class:`ServerThrottled`."""

    def circuit_opened(self, fact: CircuitOpened) -> None:
        """See :class:`CircuitOpened`."""

    def circuit_closed(self, fact: CircuitClosed) -> None:
        """See :class:`CircuitClosed`."""

    def route_degraded(self, fact: RouteDegraded) -> None:
        """See :class:`RouteDegraded`."""

    def route_restored(self, fact: RouteRestored) -> None:
        """See :class:`RouteRestored`."""

    def server_changed(self, fact: ServerChanged) -> None:
        """See :class:`ServerChanged`."""

    def record_changed(self, fact: RecordChanged) -> None:
        """See :class:`RecordChanged`."""

    def account_paused(self, fact: AccountPaused) -> None:
        """See :class:`AccountPaused`."""

    def account_resumed(self, fact: AccountResumed) -> None:
        """See :class:`AccountResumed`."""

    def mails_cancelled(self, fact: MailsCancelled) -> None:
        """See :class:`MailsCancelled`."""

    def mails_requeued(self, fact: MailsRequeued) -> None:
        """See :class:`MailsRequeued`."""

    def mails_resolved(self, fact: MailsResolved) -> None:
        """See :class:`MailsResolved`."""

    def mail_resolved(self, fact: MailResolved) -> None:
        """See :class:`MailResolved`."""

    def mails_pruned(self, fact: MailsPruned) -> None:
        """See :class:`MailsPruned`."""

    def person_erased(self, fact: PersonErased) -> None:
        """See :class:`PersonErased`."""

    def storage_failed(self, fact: StorageFailed) -> None:
        """See :class:`StorageFailed`."""

    def part_failed(self, fact: PartFailed) -> None:
        """See :class:`PartFailed`."""

    def features_dropped(self, fact: FeaturesDropped) -> None:
        """See :class:`FeaturesDropped`."""


_METHODS = {kind: kind.event.removeprefix("deliverykit.").replace(".", "_") for kind in FACTS}
