"""What became true is told: each fact once, after the commit, to log and hooks, and no recipient in any of it."""

import asyncio
import json
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from attrs import define, field
from engine_kit import LEASE, NOON, CompanySendGrid, World, claimed, message, messages
from hypothesis import given, settings
from hypothesis import strategies as st

from deliverykit import Address, AsyncMailer, Budget, CalendarQuota, ConfigurationError, Mailer, Message, NotFound, SendStatus
from deliverykit.engine.settling.settle import Settle
from deliverykit.hooks import (
    FACTS,
    AttemptFinished,
    Fact,
    Hooks,
    MailAccepted,
    MailDead,
    MailQueued,
    MailScheduled,
    RecordChanged,
    RouteDegraded,
    RouteRestored,
    ServerPaused,
)
from deliverykit.providers import SendGrid
from deliverykit.testing import ManualClock
from deliverykit.testing.strategies import addresses
from deliverykit.words.clock import moment
from deliverykit.words.wire import HttpRequest, HttpResponse

OF_MAIL = "deliverykit.mail."


class Ears(Hooks):
    """Hears everything."""

    def __init__(self) -> None:
        self.heard: list[Fact] = []

    def told(self, fact: Fact) -> None:
        self.heard.append(fact)

    def events(self, mail: str = "") -> list[str]:
        return [one.event.removeprefix("deliverykit.") for one in self.heard if not mail or getattr(one, "mail", "") == mail]

    def of(self, kind: type[Fact]) -> list[Any]:
        return [one for one in self.heard if isinstance(one, kind)]


def told(world: World, *ids: str, word: str = "failover", **options: Any) -> tuple[Any, Ears]:
    """A Mailer with active servers on route r, and what it tells from now on."""
    ears = Ears()
    mailer = world.mailer(hooks=ears, **options)
    for one in ids:
        world.server(mailer, one)
    if ids:
        mailer.routes.add("r", list(ids), when_exhausted=word)
    ears.heard.clear()
    return mailer, ears


def fault(world: World, status: int = 503, id: str = "a", times: int | None = None) -> None:
    world.sandbox.fault("sendgrid", "server_error", times=times, credential=f"SG.{id}", status=status)


# -- each fact once --------------------------------------------------------------------------------------


def test_mail_that_goes_as_it_should(world):
    mailer, ears = told(world, "a")
    ids = mailer.enqueue(messages(20, stream="s"), route="r")
    assert ears.events() == ["mail.queued"] * 20
    mailer.worker(concurrency=5).drain()
    for uid in ids:
        assert ears.events(uid) == ["mail.queued", "attempt.finished", "mail.accepted"]
    assert len(ears.heard) == 60
    attempt, accepted = (one for one in ears.heard if one.mail == ids[0] and not isinstance(one, MailQueued))
    line = mailer.log.get(ids[0]).lines[0]
    assert (attempt.account, attempt.route, attempt.stream, attempt.server, attempt.esp) == (
        "default",
        "r",
        "s",
        "a",
        "sendgrid",
    )
    assert (attempt.outcome, attempt.reason, attempt.attempt, attempt.recipients) == ("accepted", "", 1, 1)
    assert attempt.provider_message_id == accepted.provider_message_id == line.provider_message_id != ""
    assert attempt.started_at == line.at
    assert 0 <= attempt.duration < 60


def test_send_tells_of_each_attempt(world):
    mailer, ears = told(world, "a", "b")
    fault(world)
    result = mailer.send(message(), route="r")
    assert ears.events(result.id) == ["attempt.finished", "attempt.finished", "mail.accepted"]
    first, second = ears.of(AttemptFinished)
    assert (first.server, first.outcome, second.server, second.outcome) == ("a", "notsent", "b", "accepted")
    assert "503" in first.reason


@pytest.mark.parametrize("by", ["send", "worker"])
def test_how_each_outcome_is_told(world, by):
    mailer, ears = told(world, "a")

    def goes(**fields: Any) -> list[str]:
        ears.heard.clear()
        if by == "send":
            return [mailer.send(message(**fields), route="r").id]
        ids = mailer.enqueue([message(**fields)], route="r")
        mailer.worker().drain()
        return ids

    begun = [] if by == "send" else ["mail.queued"]
    world.sandbox.recipients_refused("sendgrid", ["u0@example.org"])
    (uid,) = goes()
    assert ears.events(uid) == [*begun, "attempt.finished", "mail.dead"]
    (dead,) = ears.of(MailDead)
    assert (dead.cause, dead.server, dead.kept) == ("rejected", "a", by == "worker")
    fault(world, 500, times=1)
    (uid,) = goes(number=1)
    assert ears.events(uid) == [*begun, "attempt.finished", "mail.in_doubt"]
    fault(world, 503, times=1)
    (uid,) = goes(number=2)
    assert ears.events(uid) == [*begun, "attempt.finished", "mail.scheduled"]
    assert ears.heard[-1].goes_at == mailer.outbox.get(uid).goes_at
    fault(world, 500, times=1)
    (uid,) = goes(number=3, in_doubt="resend")
    assert ears.events(uid) == [*begun, "attempt.finished", "mail.scheduled"]
    assert ears.heard[-1].doubtful
    world.sandbox.fault("sendgrid", "throttle", times=1, credential="SG.a", retry_after=600)
    (uid,) = goes(number=4)
    back = ["mail.queued"] if by == "send" else ["mail.returned"]
    assert ears.events(uid) == [*begun, "attempt.finished", *back]
    (throttled,) = [one for one in ears.heard if one.event == "deliverykit.server.throttled"]
    assert throttled.server == "a"
    assert throttled.until == mailer.servers.health("a").throttled_until


def test_what_send_is_told_of_a_limit(world):
    mailer, ears = told(world, "a")
    mailer.routes.add("now", ["a"], when_exhausted="reject")
    mailer.servers.update("a", quota=CalendarQuota(day=1))
    mailer.send(message(), route="r")
    ears.heard.clear()
    queued, refused = mailer.send(message(1), route="r"), mailer.send(message(2), route="now")
    assert (queued.status, refused.status) == (SendStatus.QUEUED, SendStatus.REJECTED)
    assert ears.events(queued.id) == ["mail.queued"]
    assert ears.events(refused.id) == ["mail.refused"]
    for result, fact in zip((queued, refused), ears.heard, strict=True):
        assert (fact.reason, fact.goes_at) == (result.reason, result.goes_at)
    at = NOON + timedelta(days=2)
    later = mailer.send(message(3, send_at=at), route="r")
    assert ears.events(later.id) == ["mail.queued"]
    assert (ears.heard[-1].reason, ears.heard[-1].goes_at) == ("waits for its send_at", at)


def test_a_blocked_lane_is_told_once(world):
    mailer, ears = told(world, "a")
    mailer.servers.update("a", quota=CalendarQuota(day=2))
    mailer.enqueue(messages(9), route="r")
    mailer.worker().drain()
    mailer.worker().drain()
    (blocked,) = [one for one in ears.heard if one.event == "deliverykit.lane.blocked"]
    (lane,) = mailer.outbox.lanes()
    assert (blocked.route, blocked.by, blocked.until) == ("r", lane.blocked_by, lane.goes_at)
    assert Counter(ears.events())["mail.accepted"] == 2


def test_a_door_that_closes_is_told_once_however_many_mails_meet_it(world):
    mailer, ears = told(world, "a")
    world.sandbox.fault("sendgrid", "throttle", times=None, credential="SG.a", retry_after=600)
    mailer.enqueue(messages(20), route="r")
    mailer.worker(concurrency=20).drain()
    assert Counter(ears.events())["server.throttled"] == 1
    world.clock.advance(700)
    mailer.worker(concurrency=20).drain()
    assert Counter(ears.events())["server.throttled"] == 2


def test_refused_messages_are_reported_as_put_back(world):
    mailer, ears = told(world, "a")
    world.sandbox.fault("sendgrid", "rejected", times=None, credential="SG.a", text="no", status=400)
    world.sandbox.fault("sendgrid", "rejected", times=None, credential="SG.b", text="no", status=400)
    mailer.routes.add("alone", ["a"], when_exhausted="queue")
    mailer.enqueue(messages(12), route="alone")
    mailer.worker(concurrency=12).drain()
    assert Counter(ears.events())["circuit.opened"] == 1
    last = {one.mail: one.event for one in ears.heard if one.event.startswith(OF_MAIL)}
    assert set(last.values()) == {"deliverykit.mail.scheduled"}
    assert mailer.outbox.counts()["scheduled"] == 12


def test_a_lost_workers_mail(world):
    mailer, ears = told(world, "a")
    leased, sending, again = mailer.enqueue([message(0), message(1), message(2, in_doubt="resend")], route="r")
    storage, heads = claimed(mailer)
    storage.start({one.head.id: "gone" for one in heads[1:]})
    world.clock.advance(61)
    ears.heard.clear()
    mailer.worker().drain()
    assert ears.events(leased) == ["mail.recovered", "attempt.finished", "mail.accepted"]
    assert ears.events(sending) == ["mail.recovered", "mail.in_doubt"]
    assert ears.events(again) == ["mail.recovered", "mail.scheduled"]
    facts = {one.mail: one for one in ears.heard if one.event == "deliverykit.mail.recovered"}
    assert [(facts[uid].was, facts[uid].server) for uid in (leased, sending, again)] == [
        ("leased", "a"), ("sending", "a"), ("sending", "a")
    ]  # fmt: skip
    assert ears.heard[[one.mail for one in ears.heard].index(again) + 1].goes_at == mailer.outbox.get(again).goes_at


def test_poison_and_what_expires(world):
    mailer, ears = told(world, "a")
    (uid,) = mailer.enqueue(messages(1), route="r")
    for _ in range(3):
        claimed(mailer)
        world.clock.advance(LEASE // 1000 + 1)
    mailer.worker().drain()
    assert ears.events(uid)[-2:] == ["mail.recovered", "mail.dead"]
    assert ears.heard[-1].cause == "poison"
    mailer.servers.pause("a")
    (uid,) = mailer.enqueue([message(1, expires_at=moment(world.clock.now() + 5_000))], route="r")
    world.clock.advance(10)
    mailer.worker().drain()
    assert ears.events(uid) == ["mail.queued", "mail.dead"]
    assert ears.heard[-1].cause == "expired"


def test_what_a_claim_finds_late_is_told(world):
    mailer, ears = told(world, "a")
    mailer.routes.update("r", max_lateness=timedelta(minutes=1))
    due = moment(world.clock.now() + 5_000)
    (uid,) = mailer.enqueue([message(send_at=due)], route="r")
    assert ears.of(MailQueued)[0].goes_at == due
    world.clock.advance(600)
    mailer.worker().drain()
    assert ears.events(uid) == ["mail.queued", "mail.dead"]
    assert (ears.heard[-1].cause, mailer.outbox.get(uid).state) == ("late", "dead")


def test_an_answer_that_comes_after_its_lease_tells_of_the_attempt_only(world):
    """Another process recovers the mail while the first is still being answered."""
    mailer, ears = told(world, "a")
    (uid,) = mailer.enqueue(messages(1), route="r")
    storage = (getattr(mailer, "_context", None) or mailer._inner._context).storage
    inner = storage.transact

    def overtaken(account, keys, decide):
        if isinstance(decide, Settle) and decide.landings:
            with storage._db.writing() as db:
                db.run("update dk_mail set token='another'")
        return inner(account, keys, decide)

    storage.transact = overtaken
    mailer.worker().drain(timedelta(seconds=1))
    assert ears.events(uid) == ["mail.queued", "attempt.finished", "lease.lost"]


# -- after the commit -----------------------------------------------------------------------------------


@define
class Witness(Hooks):
    """At each fact, reads the file by a connection of its own: what is not committed is not there."""

    path: str
    clock: ManualClock
    seen: list[tuple[str, str]] = field(factory=list)

    def told(self, fact: Fact) -> None:
        if fact.event.startswith(OF_MAIL) or isinstance(fact, AttemptFinished):
            with ThreadPoolExecutor(1) as elsewhere:  # this thread may run an event loop, where a Mailer warns
                state, outcomes = elsewhere.submit(self._stored, fact.mail).result()
            self.seen.append((fact.event.rpartition(".")[2], state))
            assert not isinstance(fact, AttemptFinished) or outcomes[-1] == fact.outcome

    def _stored(self, mail: str) -> tuple[str, list[str]]:
        with Mailer(self.path, clock=self.clock) as other:
            outcomes = [line.outcome for line in other.log.get(mail).lines]
            try:
                return other.outbox.get(mail).state, outcomes
            except NotFound:
                return "gone", outcomes


def test_every_fact_is_true_in_the_books_when_it_is_told(world, caplog):
    world.server(world.mailer(), "a")
    witness = Witness(f"sqlite:///{world.path}", world.clock)
    mailer = world.mailer(hooks=witness)
    world.sandbox.recipients_refused("sendgrid", ["u1@example.org"])
    mailer.enqueue(messages(3))
    mailer.worker().drain()
    fault(world, 503, times=1)
    mailer.send(message(4))
    fault(world, 500, times=1)
    mailer.send(message(5))
    assert "failed at" not in caplog.text
    expected = {"queued": "ready", "accepted": "gone", "dead": "dead", "scheduled": "scheduled", "in_doubt": "in_doubt"}
    facts = [(event, state) for event, state in witness.seen if event != "finished"]
    assert {event for event, _ in facts} == set(expected)
    assert all(expected[event] == state for event, state in facts)


# -- hooks ------------------------------------------------------------------------------------------------


class Fails(Hooks):
    def mail_accepted(self, fact: MailAccepted) -> None:
        raise RuntimeError(f"cannot page ann@example.org about {fact.mail}")


def test_what_the_host_does_is_told_once_it_is_true(world):
    """One fact for each call that changed something, in the words of the vocabulary, and nobody's address."""
    mailer, ears = told(world, "a", "b")
    mailer.servers.pause("a", reason="ask ann@example.org")
    mailer.servers.pause("a")  # it is already
    mailer.servers.activate("a")
    mailer.servers.activate("a")
    mailer.servers.update("a", quota=CalendarQuota(day=9))
    mailer.servers.update("a", quota=CalendarQuota(day=9))
    mailer.servers.update("a", sender="new@example.com")
    mailer.servers.remove("b", force=True)
    of_a = {"account": "default", "server": "a", "server_name": "the server a"}
    assert [fact.fields() for fact in ears.heard] == [
        {"event": "deliverykit.server.changed", **of_a, "act": "paused", "changed": [], "reason": "ask <address>"},
        {"event": "deliverykit.server.changed", **of_a, "act": "activated", "changed": [], "reason": ""},
        {"event": "deliverykit.server.changed", **of_a, "act": "updated", "changed": ["limits"], "reason": ""},
        {"event": "deliverykit.server.changed", **of_a, "act": "updated", "changed": ["sender", "status"], "reason": ""},
        {
            "event": "deliverykit.server.changed", "account": "default", "server": "b", "server_name": "the server b",
            "act": "removed", "changed": [], "reason": "",
        },
    ]  # fmt: skip
    ears.heard.clear()
    mailer.pause_all("an incident")
    mailer.resume_all()
    mailer.resume_all()
    mailer.enqueue(messages(3))
    assert mailer.outbox.cancel(route="default") == 3
    assert mailer.outbox.cancel(route="default") == 0
    assert mailer.outbox.requeue(route="default") == 3
    mailer.erase("u1@example.org")
    facts = [fact for fact in ears.heard if not isinstance(fact, MailQueued)]
    assert [(fact.event.removeprefix("deliverykit."), getattr(fact, "count", None)) for fact in facts] == [
        ("account.paused", None), ("account.resumed", None), ("mails.cancelled", 3), ("mails.requeued", 3), ("person.erased", None),
    ]  # fmt: skip
    assert (facts[0].reason, facts[-1].removed) == ("an incident", 1)


def test_changes_of_other_records_are_told_once_they_are_true(world):
    mailer, ears = told(world, "a")
    mailer.accounts.add("acme", timezone="Asia/Kolkata")
    mailer.accounts.add("acme", timezone="Asia/Kolkata")  # repeatable, and then no news
    mailer.accounts.update("acme", timezone="Europe/Berlin", quota=CalendarQuota(day=9))
    mailer.servers.add(
        id="b", name="b", provider=SendGrid(api_key="SG.b"), budgets=[Budget(name="pool", limits=[CalendarQuota(day=9)])]
    )
    mailer.budgets.update("pool", CalendarQuota(day=10))
    mailer.budgets.update("pool", CalendarQuota(day=10))
    mailer.routes.add("n", ["a"])
    mailer.routes.add("n", ["a"])
    mailer.routes.update("n", servers=["a", "b"], when_exhausted="queue")
    mailer.routes.update("n", when_exhausted="queue")
    with pytest.raises(ConfigurationError, match="at least one"):
        mailer.routes.update("n", servers=[])
    mailer.routes.remove("n")
    facts = [fact for fact in ears.heard if isinstance(fact, RecordChanged)]
    assert [(fact.account, fact.kind, fact.name, fact.act, fact.changed) for fact in facts] == [
        ("acme", "account", "acme", "added", ()),
        ("acme", "account", "acme", "updated", ("timezone", "limits")),
        ("default", "budget", "pool", "added", ()),
        ("default", "budget", "pool", "updated", ("limits",)),
        ("default", "route", "n", "added", ()),
        ("default", "route", "n", "updated", ("servers", "when_exhausted")),
        ("default", "route", "n", "removed", ()),
    ]
    assert str(facts[5]) == "route 'n': updated (servers, when_exhausted) by the host"
    assert len(ears.heard) == len(facts) + 1  # the server


def test_what_is_pruned_is_told(world):
    mailer, ears = told(world, "a")
    mailer.enqueue(messages(3))
    assert mailer.outbox.cancel(route="default") == 3
    world.clock.advance(3600)
    ears.heard.clear()
    for _ in range(2):  # the second time there is nothing left to drop
        mailer.outbox.prune(older_than=timedelta(minutes=1))
    assert [(fact.event, fact.count) for fact in ears.heard] == [("deliverykit.mails.pruned", 3)]


def test_what_becomes_of_doubt_is_told(world):
    mailer, ears = told(world, "a")
    ids = mailer.enqueue(messages(3), route="r")
    storage, leased = claimed(mailer)
    storage.start({one.head.id: "gone" for one in leased})
    world.clock.advance(61)
    mailer.worker().drain(timedelta(seconds=0.1))
    ears.heard.clear()
    vault = (getattr(mailer, "_context", None) or mailer._inner._context).archive.vault
    assert mailer.outbox.heard(vault.stamp(ids[0], "default", "a"), "delivered")
    assert not mailer.outbox.heard(vault.stamp(ids[0], "default", "a"), "opened")
    assert mailer.outbox.resolve(ids=ids[1], as_sent=True) == 1
    assert mailer.outbox.resolve(ids=ids[2], resend=True) == 1
    assert mailer.outbox.resolve(ids=ids[2], resend=True) == 0
    assert [fact.fields() for fact in ears.heard] == [
        {
            "event": "deliverykit.mail.resolved", "account": "default", "mail": ids[0], "route": "r", "stream": "",
            "server": "a", "heard": "delivered",
        },
        {"event": "deliverykit.mails.resolved", "account": "default", "count": 1, "word": "as_sent"},
        {"event": "deliverykit.mails.resolved", "account": "default", "count": 1, "word": "resend"},
    ]  # fmt: skip


def test_a_route_that_the_engine_degraded_is_restored_by_an_activation(world):
    mailer, ears = told(world, "a", "b")

    world.sandbox.fault("sendgrid", "bad_key", times=1, credential="SG.a")
    mailer.send(message(), route="r")
    assert ears.of(ServerPaused)
    assert [fact.route for fact in ears.of(RouteDegraded)] == ["r", "default"]
    mailer.servers.activate("a")
    assert [(fact.route, fact.server) for fact in ears.of(RouteRestored)] == [("r", "a"), ("default", "a")]
    mailer.servers.pause("a")
    mailer.servers.activate("a")  # what its own host paused was never told as lost
    assert len(ears.of(RouteRestored)) == 2


def test_a_hook_that_raises_hurts_nobody(world, caplog):
    ears = Ears()
    mailer = world.mailer(hooks=[Fails(), ears])
    world.server(mailer, "a")
    (uid,) = mailer.enqueue([message()])
    result = mailer.send(message(1))
    assert result.status is SendStatus.ACCEPTED
    mailer.worker().drain()
    assert [line.outcome for line in mailer.log.get(uid).lines] == ["accepted"]
    assert "mail.accepted" in ears.events(uid)
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 3  # the test email, send, the worker
    assert said[0].event == "deliverykit.part.failed"
    assert "the hook Fails failed at deliverykit.mail.accepted: RuntimeError" in said[0].getMessage()
    assert "in mail_accepted" in said[0].getMessage()  # where
    assert "ann@example.org" not in caplog.text


def test_only_what_is_overridden_is_put_together(plain):
    class Dead(Hooks):
        def mail_dead(self, fact: MailDead) -> None: ...

    assert [kind for kind in FACTS if Dead().wants(kind)] == [MailDead]
    assert all(Ears().wants(kind) for kind in FACTS)
    assert not any(Hooks().wants(kind) for kind in FACTS)
    teller = plain.mailer(hooks=Dead())._context.teller
    assert teller.wants(MailDead)
    assert not teller.wants(MailQueued, AttemptFinished)


class Awaited(Hooks):
    async def mail_dead(self, fact: MailDead) -> None: ...


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (print, "hooks: expected an object of a class made from Hooks, got builtin_function_or_method"),
        (Ears, "hooks: the class Ears; give an object of it: Ears()"),
        ([Ears(), 3], "hooks: expected an object of a class made from Hooks, got int"),
        (
            Awaited(),
            "hooks: Awaited.mail_dead is a coroutine; hooks are called, not awaited: put the fact into an asyncio.Queue",
        ),
    ],
)
def test_what_would_never_be_called_is_refused(given, words):
    with pytest.raises(ConfigurationError) as caught:
        Mailer("memory://", hooks=given)
    assert str(caught.value).startswith(words)


def test_every_kind_has_a_name_a_method_and_words():
    assert len({kind.event for kind in FACTS}) == len(FACTS)
    methods = {name: value for name, value in vars(Hooks).items() if not name.startswith("_")}
    named = {kind.event.removeprefix("deliverykit.").replace(".", "_"): kind for kind in FACTS}
    assert set(methods) == {*named, "told", "wants"}
    for name, kind in named.items():
        assert methods[name].__annotations__["fact"] is kind
    assert set(FACTS) == _leaves(Fact)


def _leaves(kind: type) -> set[type]:
    import deliverykit.words.facts as home

    return {
        value
        for name, value in vars(home).items()
        if isinstance(value, type) and issubclass(value, kind) and "event" in vars(value)
    }


# -- the log ----------------------------------------------------------------------------------------------


def test_the_log_tells_the_same_flat_and_fit_for_json(world, caplog):
    caplog.set_level(logging.DEBUG, "deliverykit")
    mailer, ears = told(world, "a", "b")
    caplog.clear()
    mailer.servers.update("a", quota=CalendarQuota(day=3))
    fault(world, 503, "b", times=1)
    mailer.enqueue(messages(5), route="r")
    mailer.worker().drain()
    records = [record for record in caplog.records if record.name == "deliverykit"]
    assert [record.event for record in records] == [fact.event for fact in ears.heard]
    plain = vars(logging.LogRecord("", 0, "", 0, "", (), None))
    for record, fact in zip(records, ears.heard, strict=True):
        assert (record.levelno, record.getMessage()) == (fact.level, str(fact))
        given = {name: value for name, value in vars(record).items() if name not in plain and name != "message"}
        assert given == fact.fields()
        assert json.loads(json.dumps(given)) == given
        assert all(not isinstance(value, dict) for value in given.values())


def test_a_handler_that_raises_hurts_nobody(world):
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("no disk")

    mailer, ears = told(world, "a")
    logger, handler = logging.getLogger("deliverykit"), Broken()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        (uid,) = mailer.enqueue(messages(1), route="r")
        mailer.worker().drain()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert ears.events(uid) == ["mail.queued", "attempt.finished", "mail.accepted"]


# -- no recipient -----------------------------------------------------------------------------------------


@define
class Says:
    """An ESP that answers with whatever text it is told, in SendGrid's shape, blocking and awaited."""

    status: int = 202
    text: str = ""

    def send(self, request: HttpRequest) -> HttpResponse:
        if self.status == 202:
            return HttpResponse(status=202, headers={"x-message-id": "id"})
        return HttpResponse(status=self.status, body=json.dumps({"errors": [{"message": self.text}]}).encode())

    def close(self) -> None: ...


class SaysAwaited(Says):
    async def send(self, request: HttpRequest) -> HttpResponse:
        return super().send(request)

    async def aclose(self) -> None: ...


class OneByOne(SaysAwaited):
    """Says no to everything, each time a little later than the last, so that every answer is settled by itself."""

    asked = 0

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.asked += 1
        await asyncio.sleep(0.05 * self.asked)
        return HttpResponse(status=429, headers={"retry-after": "600"}, body=b'{"errors": [{"message": "too many requests"}]}')


def test_answers_that_come_one_by_one_close_a_door_once():
    ears = Ears()

    async def main() -> None:
        async with AsyncMailer("memory://", clock=ManualClock(), transport=SaysAwaited()) as first:
            await first.servers.add(id="a", name="a", provider=SendGrid(api_key="SG.x"), sender="news@sender.example")
            assert (await first.servers.send_test("a", to="me@sender.example")).proof
            await first.servers.activate("a")
            clock, storage = first._context.clock, first._context.storage
            async with AsyncMailer(storage, hooks=ears, transport=OneByOne(), clock=clock) as mailer:
                await mailer.enqueue(messages(5))
                await mailer.worker().drain()

    asyncio.run(main())
    assert Counter(ears.events())["attempt.finished"] == 5
    assert Counter(ears.events())["server.throttled"] == 1


class Lines(logging.Handler):
    """All that any log says, with its fields."""

    def __init__(self) -> None:
        super().__init__(0)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(" ".join([record.getMessage(), repr(vars(record))]))


def heard(answers: list[tuple[int, str]], people: list[Address]) -> str:
    """All that logs and hooks say while one mail after the other is answered so."""
    ears, lines, says = Ears(), Lines(), SaysAwaited()
    root = logging.getLogger("deliverykit")
    root.addHandler(lines)
    root.setLevel(logging.DEBUG)

    async def main() -> None:
        async with AsyncMailer("memory://", hooks=ears, transport=says, clock=ManualClock()) as mailer:
            await mailer.servers.add(id="a", name="a", provider=SendGrid(api_key="SG.x"), sender="news@sender.example")
            assert (await mailer.servers.send_test("a", to="me@sender.example")).proof
            await mailer.servers.activate("a")
            for says.status, says.text in answers:
                mail = Message(to=people[:1], cc=people[1:], subject="s3cr3t subject", text="b0dy", in_doubt="hold")
                await mailer.send(mail)
                await mailer.enqueue([mail])
                await mailer.worker().drain()
                await mailer.servers.activate("a")

    try:
        asyncio.run(main())
    finally:
        root.removeHandler(lines)
        root.setLevel(logging.NOTSET)
    assert {one.event for one in ears.heard} >= {"deliverykit.attempt.finished", "deliverykit.mail.queued"}
    return "\n".join([*lines.lines, *map(repr, ears.heard), *map(str, ears.heard), *(str(one.fields()) for one in ears.heard)])


@settings(max_examples=25)
@given(
    st.lists(addresses(), min_size=1, max_size=2, unique_by=lambda one: one.key),
    st.lists(st.tuples(st.sampled_from([400, 401, 403, 413, 429, 500, 503]), st.sampled_from(
        ["{} is no address", "Bad Request: <{}>", "verified sender identity {}", "Maximum credits exceeded, {}"])), min_size=1, max_size=3),
)  # fmt: skip
def test_no_recipient_is_in_what_is_told(people, answers):
    said = " and ".join(one.display for one in people)
    text = heard([(status, words.format(said)) for status, words in answers], people).lower()
    for one in people:
        assert one.email.lower() not in text
        assert one.ascii.lower() not in text
    assert "s3cr3t subject" not in text
    assert "b0dy" not in text


def test_the_delivery_log_still_has_the_whole(world):
    mailer, ears = told(world, "a")
    world.sandbox.fault("sendgrid", "rejected", times=1, credential="SG.a", text="u0@example.org is no address", status=400)
    mailer.routes.add("alone", ["a"])
    (uid,) = mailer.enqueue([message()], route="alone")
    mailer.worker().drain()
    assert "u0@example.org" in mailer.log.get(uid).lines[0].detail
    assert "<address> is no address" in ears.of(MailScheduled)[0].reason


def test_an_adapter_that_fails_is_told_without_its_words(world, caplog):
    class Careless(CompanySendGrid):
        name = "careless"

        def payload(self, mail: Any) -> dict[str, Any]:
            if "u7" in mail.message.to[0].email:
                raise ValueError(f"cannot handle {mail.message.to[0]} with {self.api_key.reveal()}")
            return super().payload(mail)

    caplog.set_level(logging.DEBUG, "deliverykit")
    ears = Ears()
    mailer = world.mailer(register=[Careless], hooks=ears)
    provider = Careless(api_key="SG.a", base_url=world.sandbox.url("sendgrid"))
    mailer.servers.add(id="a", name="a", provider=provider, sender="n@example.com")
    mailer.servers.send_test("a", to="me@example.org")
    mailer.servers.activate("a")
    mailer.send(message(7))
    (failed,) = [one for one in ears.heard if one.event == "deliverykit.part.failed"]
    assert (failed.doing, failed.error) == ("the adapter careless failed to build a request", "ValueError")
    assert "in payload" in failed.trace
    assert "u7@example.org" not in caplog.text + repr(failed)
    assert "SG.a" not in caplog.text + repr(failed)
