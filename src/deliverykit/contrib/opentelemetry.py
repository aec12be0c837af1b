"""OpenTelemetry: a span for each delivery with a child for each attempt, and metrics. Needs ``deliverykit[otel]``.

::

    telemetry = OpenTelemetry()
    mailer = Mailer("sqlite:///mail.db", hooks=telemetry)
    telemetry.observe(mailer)  # in one process only: the gauges are of the store, which all share

It speaks to OpenTelemetry's API alone: which SDK and exporter there are is the host's choice. No recipient, subject or
body is in any attribute, and what an ESP said is there without the addresses it quotes.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from weakref import ref

from deliverykit.async_mailer import AsyncMailer
from deliverykit.colours import BlockingPorts
from deliverykit.contracts.books import MailState
from deliverykit.engine.ports import blocking
from deliverykit.engine.upkeep.gauges import Gauges, gauges
from deliverykit.hooks import (
    AttemptFinished,
    Hooks,
    LeaseLost,
    MailAccepted,
    MailDead,
    MailInDoubt,
    MailQueued,
    MailRefused,
    MailReturned,
    MailScheduled,
)
from deliverykit.mailer import Mailer
from deliverykit.words.arguments import called, instance
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.locks import Guard

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider
except ModuleNotFoundError:
    raise ConfigurationError("OpenTelemetry's API is missing; pip install 'deliverykit[otel]'") from None

__all__ = ["OpenTelemetry"]

_NAME = "deliverykit"
_UNDER_WAY = 10_000
"""So many mails whose delivery is not over are remembered at most."""
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_End = MailAccepted | MailDead | MailInDoubt | MailScheduled | MailReturned | MailQueued | MailRefused | LeaseLost
_Labels = dict[str, str]
_Read = Callable[[Gauges], Iterator[tuple[float, _Labels]]]


class OpenTelemetry(Hooks):
    """Hooks that make spans and metrics; the providers are the global ones where none are given.

    A *delivery* is one go at a mail: a whole ``send()``, or one claim of a worker. Its span says in
    ``deliverykit.result`` what became of the mail; mail that is tried again later has another span then, with the same
    ``deliverykit.mail.id``. Spans are made when all is over, with the times at which it happened; that of a ``send()``
    inside a span of yours is its child.
    """

    def __init__(self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None) -> None:
        if tracer_provider is not None:
            called(tracer_provider, "tracer_provider", ("get_tracer",), "give a TracerProvider of opentelemetry")
        if meter_provider is not None:
            called(meter_provider, "meter_provider", ("get_meter",), "give a MeterProvider of opentelemetry")
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        self._meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
        self._under_way: OrderedDict[str, list[AttemptFinished]] = OrderedDict()
        self._guard = Guard()
        meter = self._meter
        self._sent = meter.create_counter("deliverykit.mail.sent", "{mail}", "Mails that an ESP accepted")
        self._refused = meter.create_counter(
            "deliverykit.mail.refused", "{mail}", "Mails that are dead, or were refused by send()"
        )
        self._attempts = meter.create_counter("deliverykit.attempts", "{attempt}", "Attempts that are over, by outcome")
        self._duration = meter.create_histogram(
            "deliverykit.attempt.duration", "s", "From the request to the end of the answer",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )  # fmt: skip

    # -- facts ----------------------------------------------------------------------------------------

    def attempt_finished(self, fact: AttemptFinished) -> None:
        """One attempt: counted, and kept until its delivery is over."""
        labels = {**_where(fact), "deliverykit.server": fact.server, "deliverykit.esp": fact.esp}
        labels["deliverykit.outcome"] = fact.outcome
        self._attempts.add(1, labels)
        if fact.duration is not None:
            self._duration.record(fact.duration, labels)
        self._guard(self._keep, fact)

    def _keep(self, fact: AttemptFinished) -> None:
        self._under_way.setdefault(fact.mail, []).append(fact)
        if len(self._under_way) > _UNDER_WAY:
            self._under_way.popitem(last=False)

    def mail_accepted(self, fact: MailAccepted) -> None:
        """Sent."""
        self._sent.add(1, {**_where(fact), "deliverykit.server": fact.server})
        self._delivered(fact, "accepted")

    def mail_dead(self, fact: MailDead) -> None:
        """Refused for good."""
        self._refused.add(1, {**_where(fact), "deliverykit.server": fact.server, "deliverykit.cause": fact.cause})
        self._delivered(fact, "dead", fact.reason or fact.cause)

    def mail_refused(self, fact: MailRefused) -> None:
        """Refused for now, by a limit."""
        self._refused.add(1, {**_where(fact), "deliverykit.cause": "limit"})
        self._delivered(fact, "refused", fact.reason)

    def mail_in_doubt(self, fact: MailInDoubt) -> None:
        """Perhaps sent."""
        self._delivered(fact, "in_doubt", fact.reason)

    def mail_scheduled(self, fact: MailScheduled) -> None:
        """Tried again later."""
        self._delivered(fact, "scheduled")

    def mail_returned(self, fact: MailReturned) -> None:
        """Back in the outbox."""
        self._delivered(fact, "returned")

    def mail_queued(self, fact: MailQueued) -> None:
        """In the outbox: after attempts of a ``send()``, the end of its delivery."""
        self._delivered(fact, "queued")

    def lease_lost(self, fact: LeaseLost) -> None:
        """Somebody else's now."""
        self._delivered(fact, "lease_lost", "its lease was lost before it was settled")

    # -- spans ----------------------------------------------------------------------------------------

    def _delivered(self, end: _End, result: str, error: str = "") -> None:
        none: list[AttemptFinished] = []
        attempts = self._guard(self._under_way.pop, end.mail, none)
        if not attempts:
            return
        times = list(_times(attempts, time.time_ns()))
        attributes: dict[str, str | int] = {
            **_where(end), "deliverykit.mail.id": end.mail, "deliverykit.result": result, "deliverykit.attempts": len(attempts),
            "messaging.operation.type": "send", "messaging.destination.name": end.route,
        }  # fmt: skip
        span = self._tracer.start_span(
            f"deliver {end.route}".strip(), kind=SpanKind.PRODUCER, attributes=attributes, start_time=times[0][0]
        )
        if error:
            span.set_attribute("error.type", result)
            span.set_status(Status(StatusCode.ERROR, error))
        inside = trace.set_span_in_context(span)
        for attempt, (begun, ended) in zip(attempts, times, strict=True):
            child = self._tracer.start_span(
                f"attempt {attempt.esp}".strip(), inside, SpanKind.CLIENT, attributes=_told(attempt), start_time=begun
            )
            if attempt.outcome != "accepted":
                child.set_attribute("error.type", attempt.outcome)
                child.set_status(Status(StatusCode.ERROR, attempt.reason))
            child.end(ended)
        span.end(max(ended for _, ended in times))

    # -- gauges ---------------------------------------------------------------------------------------

    def observe(self, mailer: Mailer | AsyncMailer) -> None:
        """Let the gauges be read from this Mailer's store whenever metrics are collected.

        Of all accounts: what waits, what is in doubt or dead, how long the first waits, what is used and left of each
        window of each quota. All processes share a store, so call it in one of them. Shut the meter provider down
        before you close the Mailer; one that you let go of is read no more.
        """
        instance(mailer, "mailer", (Mailer, AsyncMailer), "give a Mailer or an AsyncMailer")
        read = _Reading(mailer)
        for name, unit, description, what in _GAUGES:
            self._meter.create_observable_gauge(name, [read.of(name, what)], unit, description)


class _Reading:
    """One look at the store for all gauges of one collection: each asks once, and who asks again looks anew."""

    def __init__(self, mailer: Mailer | AsyncMailer) -> None:
        self._mailer = ref(mailer)
        self._guard = Guard()
        self._found: list[Gauges] = []
        self._asked: set[str] | None = None

    def of(self, name: str, what: _Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observed(_options: CallbackOptions) -> Iterable[Observation]:
            found = self._guard(self._look, name)
            return [
                Observation(value, {"deliverykit.account": one.account, **labels})
                for one in found
                for value, labels in what(one)
            ]

        return observed

    def _look(self, name: str) -> list[Gauges]:
        if self._asked is None or name in self._asked:
            mailer = self._mailer()
            if mailer is None:
                return []
            context = mailer._context  # noqa: SLF001  the engine room of our own door
            self._found = blocking(gauges, context, BlockingPorts(context.clock, None, context.storage))
            self._asked = set()
        self._asked.add(name)
        return self._found


def _mails(*states: MailState) -> _Read:
    def read(one: Gauges) -> Iterator[tuple[float, _Labels]]:
        for (route, stream, state), count in one.mails.items():
            if state in states:
                named = {"deliverykit.state": state.name.lower()} if len(states) > 1 else {}
                yield count, {"deliverykit.route": route, "deliverykit.stream": stream, **named}

    return read


def _age(one: Gauges) -> Iterator[tuple[float, _Labels]]:
    for (route, stream), seconds in one.age.items():
        yield seconds, {"deliverykit.route": route, "deliverykit.stream": stream}


def _quota(field: str) -> _Read:
    def read(one: Gauges) -> Iterator[tuple[float, _Labels]]:
        for server, views in one.quotas.items():
            for view in views:
                labels = {"deliverykit.server": server, "deliverykit.owner": view.owner, "deliverykit.window": view.window}
                yield getattr(view, field), labels

    return read


_GAUGES: tuple[tuple[str, str, str, _Read], ...] = (
    (
        "deliverykit.outbox.waiting",
        "{mail}",
        "Mails that wait: ready, or scheduled",
        _mails(MailState.READY, MailState.SCHEDULED),
    ),
    ("deliverykit.outbox.in_doubt", "{mail}", "Mails that may or may not have gone", _mails(MailState.IN_DOUBT)),
    ("deliverykit.outbox.dead", "{mail}", "Mails that will not be sent and are kept", _mails(MailState.DEAD)),
    ("deliverykit.outbox.age", "s", "How long the first of the ready mails waits", _age),
    ("deliverykit.quota.used", "{email}", "What is used of each window", _quota("used")),
    ("deliverykit.quota.left", "{email}", "What is left of each window", _quota("left")),
)


def _where(fact: AttemptFinished | _End) -> _Labels:
    return {"deliverykit.account": fact.account, "deliverykit.route": fact.route, "deliverykit.stream": fact.stream}


def _told(attempt: AttemptFinished) -> dict[str, str | int]:
    return {
        **_where(attempt), "deliverykit.mail.id": attempt.mail, "deliverykit.server": attempt.server,
        "deliverykit.esp": attempt.esp, "deliverykit.outcome": attempt.outcome, "deliverykit.attempt": attempt.attempt,
        "deliverykit.recipients": attempt.recipients, "messaging.message.id": attempt.provider_message_id,
    }  # fmt: skip


def _times(attempts: Iterable[AttemptFinished], now: int) -> Iterator[tuple[int, int]]:
    """When each began and ended, in ns; one that made no request takes no time, where the one before it ended."""
    last: int | None = None
    for attempt in attempts:
        if attempt.started_at is None or attempt.duration is None:
            begun = ended = now if last is None else last
        else:
            begun = _ns(attempt.started_at)
            ended = begun + round(attempt.duration * 1e9)
        last = ended
        yield begun, ended


def _ns(moment: datetime) -> int:
    return round(moment.timestamp() * 1000) * 1_000_000
