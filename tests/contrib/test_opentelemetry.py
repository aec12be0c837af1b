"""OpenTelemetry, with its own SDK's in-memory exporters: spans of deliveries and attempts, counters, gauges of the store."""

import ast
import asyncio
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from engine_kit import NOON, claimed, message, messages
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from checkout import ROOT, SOURCE
from deliverykit import Address, AsyncMailer, CalendarQuota, Mailer, Message
from deliverykit.contrib.opentelemetry import OpenTelemetry
from deliverykit.providers import SendGrid
from deliverykit.sandbox import Sandbox
from deliverykit.testing import ManualClock
from deliverykit.testing.strategies import addresses
from deliverykit.words.wire import HttpRequest, HttpResponse


@define
class Scope:
    """A host's OpenTelemetry, whole, in memory."""

    spans: InMemorySpanExporter = field(factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(factory=InMemoryMetricReader)
    traces: TracerProvider = field(factory=TracerProvider)

    def __attrs_post_init__(self) -> None:
        self.traces.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meters = MeterProvider([self.reader])
        self.telemetry = OpenTelemetry(tracer_provider=self.traces, meter_provider=self.meters)

    meters: Any = field(init=False)
    telemetry: Any = field(init=False)

    def deliveries(self) -> list[tuple[ReadableSpan, list[ReadableSpan]]]:
        """Each delivery, oldest first, with its attempts."""
        every = self.spans.get_finished_spans()
        roots = [one for one in every if one.name.startswith("deliver")]
        return [
            (one, [child for child in every if child.parent and child.parent.span_id == one.context.span_id]) for one in roots
        ]

    def metrics(self) -> dict[str, dict[tuple[str, ...], float]]:
        """By name, the value for each set of labels, the account left out."""
        data = self.reader.get_metrics_data()
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        labels = tuple(str(value) for key, value in point.attributes.items() if key != "deliverykit.account")
                        value = point.count if hasattr(point, "count") else point.value
                        found.setdefault(metric.name, {})[labels] = value
        return found


@pytest.fixture
def scope() -> Iterator[Scope]:
    scope = Scope()
    yield scope
    scope.traces.shutdown()
    scope.meters.shutdown()


@pytest.fixture(scope="module")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_sandbox: Sandbox) -> Sandbox:
    _sandbox.reset()
    return _sandbox


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def mailer(scope: Scope, sandbox: Sandbox, clock: ManualClock) -> Iterator[Mailer]:
    with Mailer("memory://", hooks=scope.telemetry, clock=clock) as mailer:
        for one in "ab":
            provider = SendGrid(api_key=f"SG.{one}", base_url=sandbox.url("sendgrid"))
            mailer.servers.add(id=one, name=f"server {one}", provider=provider, sender=f"{one}@example.com")
            assert mailer.servers.send_test(one, to="me@example.org").proof
            mailer.servers.activate(one)
        mailer.routes.add("r", ["a", "b"], when_exhausted="failover")
        mailer.routes.add("now", ["a"], when_exhausted="reject")
        scope.spans.clear()
        yield mailer


def fault(sandbox: Sandbox, status: int, id: str = "a", times: int = 1) -> None:
    sandbox.fault("sendgrid", "server_error", times=times, credential=f"SG.{id}", status=status)


# -- spans ------------------------------------------------------------------------------------------------


def test_a_delivery_has_a_child_for_each_attempt(scope, sandbox, mailer):
    fault(sandbox, 503)
    with scope.traces.get_tracer("host").start_as_current_span("request") as request:
        result = mailer.send(message(stream="s"), route="r")
    ((delivery, attempts),) = scope.deliveries()
    assert delivery.parent.span_id == request.get_span_context().span_id
    assert (delivery.name, delivery.kind, delivery.status.status_code) == ("deliver r", SpanKind.PRODUCER, StatusCode.UNSET)
    wanted = {"mail.id": result.id, "route": "r", "stream": "s", "account": "default", "result": "accepted", "attempts": 2}
    assert {name: delivery.attributes[f"deliverykit.{name}"] for name in wanted} == wanted
    assert [one.name for one in attempts] == ["attempt sendgrid"] * 2
    assert [one.kind for one in attempts] == [SpanKind.CLIENT] * 2
    first, second = attempts
    assert (first.attributes["deliverykit.server"], first.attributes["deliverykit.outcome"]) == ("a", "notsent")
    assert (first.status.status_code, first.attributes["error.type"]) == (StatusCode.ERROR, "notsent")
    assert "503" in first.status.description
    assert (second.attributes["deliverykit.server"], second.status.status_code) == ("b", StatusCode.UNSET)
    assert second.attributes["messaging.message.id"] == result.provider_message_id
    assert delivery.start_time == first.start_time <= first.end_time <= second.end_time == delivery.end_time
    assert first.start_time == int(NOON.timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("status", "result", "code"),
    [(400, "dead", StatusCode.ERROR), (500, "in_doubt", StatusCode.ERROR), (503, "scheduled", StatusCode.UNSET)],
)
def test_a_workers_delivery_says_what_became_of_the_mail(scope, sandbox, mailer, status, result, code):
    mailer.routes.update("r", servers=["a"])
    if status == 400:
        sandbox.recipients_refused("sendgrid", ["u0@example.org"])
    else:
        fault(sandbox, status)
    mailer.enqueue([message()], route="r")
    assert scope.deliveries() == []  # nothing was tried yet
    mailer.worker().drain()
    ((delivery, attempts),) = scope.deliveries()
    assert (delivery.attributes["deliverykit.result"], delivery.status.status_code) == (result, code)
    assert [one.status.status_code for one in attempts] == [StatusCode.ERROR]
    assert delivery.parent is None


def test_what_send_leaves_to_a_worker_is_two_deliveries_of_one_mail(scope, sandbox, mailer, clock):
    mailer.routes.update("r", servers=["a"])
    fault(sandbox, 503)
    result = mailer.send(message(), route="r")
    clock.advance(timedelta(hours=1))
    mailer.worker().drain()
    names = ("deliverykit.mail.id", "deliverykit.result", "deliverykit.attempts")
    found = [tuple(one.attributes[name] for name in names) for one, _ in scope.deliveries()]
    assert found == [(result.id, "scheduled", 1), (result.id, "accepted", 1)]


def test_attempts_that_never_end_are_not_kept_for_ever(scope, mailer, monkeypatch):
    monkeypatch.setattr("deliverykit.contrib.opentelemetry._UNDER_WAY", 3)
    mailer.send(message(), route="r")
    telemetry = scope.telemetry
    monkeypatch.setattr(type(telemetry), "_delivered", lambda *_: None)
    for number in range(9):
        mailer.send(message(number), route="r")
    assert len(telemetry._under_way) == 3


# -- metrics ----------------------------------------------------------------------------------------------


def test_what_is_counted(scope, sandbox, mailer):
    before = scope.metrics()["deliverykit.attempts"]
    assert before == {("", "test", "a", "sendgrid", "accepted"): 1, ("", "test", "b", "sendgrid", "accepted"): 1}
    mailer.enqueue(messages(3), route="r")
    mailer.worker().drain()
    fault(sandbox, 503)
    mailer.send(message(4), route="r")
    sandbox.recipients_refused("sendgrid", ["u5@example.org"])
    mailer.send(message(5), route="r")
    mailer.servers.update("a", quota=CalendarQuota(day=1))
    mailer.send(message(6), route="now")
    mailer.send(message(7), route="now")
    found = scope.metrics()
    assert found["deliverykit.attempts"] == {
        **before,
        ("r", "", "a", "sendgrid", "accepted"): 3, ("r", "", "a", "sendgrid", "notsent"): 1,
        ("r", "", "b", "sendgrid", "accepted"): 1, ("r", "", "a", "sendgrid", "rejected"): 1,
        ("now", "", "a", "sendgrid", "accepted"): 1,
    }  # fmt: skip
    assert found["deliverykit.mail.sent"] == {
        ("", "test", "a"): 1, ("", "test", "b"): 1, ("r", "", "a"): 3, ("r", "", "b"): 1, ("now", "", "a"): 1
    }  # fmt: skip
    assert found["deliverykit.mail.refused"] == {("r", "", "a", "rejected"): 1, ("now", "", "limit"): 1}
    assert found["deliverykit.attempt.duration"] == found["deliverykit.attempts"]


@pytest.mark.parametrize("colour", ["blocking", "awaited"])
def test_the_gauges_are_of_the_store(scope, sandbox, mailer, clock, colour):
    other = AsyncMailer(mailer._context.storage, clock=clock)
    scope.telemetry.observe(mailer if colour == "blocking" else other)
    mailer.servers.update("a", quota=CalendarQuota(day=3, hour=10))
    nothing = scope.metrics()
    assert nothing["deliverykit.outbox.waiting"] == {
        ("r", "", "ready"): 0,
        ("r", "", "scheduled"): 0,
        ("now", "", "ready"): 0,
        ("now", "", "scheduled"): 0,
    }
    assert nothing["deliverykit.outbox.age"] == {("r", ""): 0.0, ("now", ""): 0.0}
    mailer.routes.update("r", servers=["a"])
    fault(sandbox, 500)
    mailer.send(message(1), route="r")  # in doubt; its unit stays spent
    mailer.enqueue(messages(5), route="r")
    mailer.enqueue([message(9, stream="s", send_at=NOON + timedelta(days=9))], route="r")
    clock.advance(timedelta(minutes=10))
    mailer.worker().drain()
    found = scope.metrics()
    assert found["deliverykit.outbox.waiting"][("r", "", "ready")] == 3
    assert found["deliverykit.outbox.waiting"][("r", "s", "scheduled")] == 1
    assert found["deliverykit.outbox.in_doubt"][("r", "")] == 1
    assert found["deliverykit.outbox.dead"][("r", "")] == 0
    assert 600 <= found["deliverykit.outbox.age"][("r", "")] < 660
    assert found["deliverykit.quota.used"] == {("a", "server a", "hour"): 3, ("a", "server a", "day"): 3}
    assert found["deliverykit.quota.left"] == {("a", "server a", "hour"): 7, ("a", "server a", "day"): 0}
    clock.advance(timedelta(days=1))
    mailer.worker().drain()
    assert scope.metrics()["deliverykit.outbox.waiting"][("r", "", "ready")] == 0
    del other


def test_each_collection_looks_once_and_a_mailer_that_is_gone_is_not_read(scope, clock):
    mailer = Mailer("memory://", clock=clock)
    scope.telemetry.observe(mailer)
    looks = []
    storage = mailer._context.storage
    inner = storage.lanes
    storage.lanes = lambda account: (looks.append(account), inner(account))[1]
    assert looks == []
    scope.metrics()
    assert looks == ["default"]
    scope.metrics()
    assert looks == ["default"] * 2
    del mailer
    scope.metrics()
    assert looks == ["default"] * 2


def test_every_account_is_observed(scope, clock):
    with Mailer("memory://", clock=clock) as mailer:
        acme = mailer.accounts.add("acme", timezone="Asia/Tokyo")
        acme.servers.add(id="x", name="X", provider=SendGrid(api_key="SG.x"), quota=CalendarQuota(day=7))
        scope.telemetry.observe(mailer)
        assert scope.metrics()["deliverykit.quota.left"] == {("x", "X", "day"): 7}


def test_a_lost_workers_mail_in_doubt_is_counted_by_the_gauge_alone(scope, mailer, clock):
    scope.telemetry.observe(mailer)
    mailer.enqueue(messages(1), route="r")
    storage, (leased,) = claimed(mailer)
    storage.start({leased.head.id: "gone"})
    clock.advance(61)
    mailer.worker().drain()
    assert scope.metrics()["deliverykit.outbox.in_doubt"][("r", "")] == 1
    assert scope.deliveries() == []


# -- no recipient -----------------------------------------------------------------------------------------


@define
class Says:
    """An ESP that answers with whatever text it is told, in SendGrid's shape."""

    status: int = 202
    text: str = ""

    async def send(self, request: HttpRequest) -> HttpResponse:
        if self.status == 202:
            return HttpResponse(status=202, headers={"x-message-id": "id"})
        return HttpResponse(status=self.status, body=json.dumps({"errors": [{"message": self.text}]}).encode())

    async def aclose(self) -> None: ...


@settings(max_examples=20)
@given(
    st.lists(addresses(), min_size=1, max_size=2, unique_by=lambda one: one.key),
    st.sampled_from([400, 401, 403, 413, 429, 500, 503]),
    st.sampled_from(["{} is no address", "Bad Request: <{}>", "verified sender identity {}", "Maximum credits exceeded, {}"]),
)
def test_no_recipient_is_in_a_span_or_a_metric(people: list[Address], status: int, words: str) -> None:
    scope, says = Scope(), Says()

    async def main() -> None:
        async with AsyncMailer("memory://", hooks=scope.telemetry, transport=says, clock=ManualClock()) as mailer:
            scope.telemetry.observe(mailer)
            await mailer.servers.add(id="a", name="a", provider=SendGrid(api_key="SG.x"), sender="news@sender.example")
            assert (await mailer.servers.send_test("a", to="me@sender.example")).proof
            await mailer.servers.activate("a")
            says.status, says.text = status, words.format(" and ".join(one.display for one in people))
            mail = Message(to=people, subject="s3cr3t subject", text="b0dy")
            await mailer.send(mail)
            await mailer.servers.activate("a")
            await mailer.enqueue([mail])
            await mailer.worker().drain()
            text.append(str(scope.reader.get_metrics_data()))

    text: list[str] = []
    asyncio.run(main())
    text += [span.to_json() for span in scope.spans.get_finished_spans()]
    text += [json.dumps(json.loads(one), ensure_ascii=False) for one in text[1:]]
    scope.traces.shutdown()
    scope.meters.shutdown()
    assert len(text) > 4
    told = "\n".join(text).lower()
    for one in people:
        assert one.email.lower() not in told
        assert one.ascii.lower() not in told
    assert "s3cr3t subject" not in told
    assert "b0dy" not in told


# -- the API alone ----------------------------------------------------------------------------------------


def test_it_speaks_to_the_api_alone() -> None:
    tree = ast.parse(Path(SOURCE / "contrib" / "opentelemetry.py").read_text(encoding="utf-8"))
    named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    theirs = {name for name in named if name.startswith("opentelemetry")}
    assert theirs == {"opentelemetry", "opentelemetry.metrics", "opentelemetry.trace"}


def test_the_documentation_names_every_metric(scope, mailer, sandbox):
    scope.telemetry.observe(mailer)
    mailer.servers.update("a", quota=CalendarQuota(day=3))
    sandbox.recipients_refused("sendgrid", ["u0@example.org"])
    mailer.send(message(), route="r")
    page = (ROOT / "docs" / "observing.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(deliverykit\.[a-z_.]+)` \| (?:counter|histogram|gauge) \|", page, re.MULTILINE))
    assert told == set(scope.metrics())


def test_without_an_sdk_nothing_happens(sandbox, clock):
    with Mailer("memory://", hooks=OpenTelemetry(), clock=clock) as mailer:
        provider = SendGrid(api_key="SG.a", base_url=sandbox.url("sendgrid"))
        mailer.servers.add(id="a", name="a", provider=provider, sender="a@example.com")
        assert mailer.servers.send_test("a", to="me@example.org").proof
