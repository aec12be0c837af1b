"""Every kind of signal is emitted by something that really happens; a kind without a scenario fails here."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from engine_kit import LEASE, World, claimed, message, messages

from deliverykit import CalendarQuota, SendStatus, StorageError
from deliverykit.engine.settling.settle import Settle
from deliverykit.hooks import (
    FACTS,
    AccountPaused,
    AccountResumed,
    AttemptFinished,
    CircuitClosed,
    CircuitOpened,
    Fact,
    FeaturesDropped,
    Hooks,
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
from deliverykit.words.clock import moment

Scenario = Callable[[World, Any], object]


class Recorder(Hooks):
    def __init__(self) -> None:
        self.seen: list[Fact] = []

    def told(self, fact: Fact) -> None:
        self.seen.append(fact)


def context(mailer: Any) -> Any:
    return getattr(mailer, "_context", None) or mailer._inner._context


def queued(world: World, mailer: Any) -> Any:
    return mailer.enqueue(messages(1), route="r")[0]


def drained(world: World, mailer: Any) -> Any:
    one = queued(world, mailer)
    mailer.worker().drain()
    return one


def faults(world: World, status: int, times: int | None) -> None:
    world.sandbox.fault("sendgrid", "server_error", times=times, credential="SG.a", status=status)


def unverified(world: World, mailer: Any) -> None:
    """Mail of a From domain that the ESP account has lost, among mail of one it still has."""
    world.sandbox.verify_only("sendgrid", ["example.com"])
    world.server(mailer, "b", sender=None)
    mailer.routes.update("r", servers=["b"])
    lost = [message(f"l{number}", sender=f"ann{number}@lost.example") for number in range(30)]
    mailer.enqueue([one for pair in zip(lost, messages(30), strict=True) for one in pair], route="r")
    for _ in range(30):
        mailer.worker(concurrency=5).drain()
        world.clock.advance(300)  # type: ignore[union-attr]


def opened(world: World, mailer: Any) -> None:
    faults(world, 503, None)
    for number in range(12):
        mailer.send(message(number), route="r")


def closed_again(world: World, mailer: Any) -> None:
    opened(world, mailer)
    world.sandbox.clear_faults()
    world.clock.advance(120)  # type: ignore[union-attr]
    mailer.send(message("probe"), route="r")


def revoked(world: World, mailer: Any) -> None:
    world.sandbox.keys("sendgrid", ["SG.other"])
    mailer.send(message(), route="r")


def restored(world: World, mailer: Any) -> None:
    revoked(world, mailer)
    world.sandbox.keys("sendgrid", None)
    mailer.servers.send_test("a", to="me@example.org")
    mailer.servers.activate("a")


def throttled(world: World, mailer: Any) -> None:
    world.sandbox.fault("sendgrid", "throttle", times=1, credential="SG.a", retry_after=600)
    drained(world, mailer)


def blocked(world: World, mailer: Any) -> None:
    mailer.servers.update("a", quota=CalendarQuota(day=2))
    mailer.enqueue(messages(5), route="r")
    mailer.worker().drain()


def refused(world: World, mailer: Any) -> None:
    mailer.routes.update("r", when_exhausted="reject")
    mailer.servers.update("a", quota=CalendarQuota(day=0))
    assert mailer.send(message(), route="r").status is SendStatus.REJECTED


def expired(world: World, mailer: Any) -> None:
    mailer.servers.pause("a")
    mailer.enqueue([message(expires_at=moment(world.clock.now() + 5_000))], route="r")  # type: ignore[union-attr]
    world.clock.advance(10)  # type: ignore[union-attr]
    mailer.worker().drain()


def cancelled(world: World, mailer: Any) -> None:
    queued(world, mailer)
    mailer.outbox.cancel(route="r")


def pruned(world: World, mailer: Any) -> None:
    cancelled(world, mailer)
    world.clock.advance(3600)  # type: ignore[union-attr]
    mailer.outbox.prune(older_than=timedelta(minutes=1))


def requeued(world: World, mailer: Any) -> None:
    cancelled(world, mailer)
    mailer.outbox.requeue(route="r")


def lost(world: World, mailer: Any) -> None:
    """A worker that dies with a message on the wire."""
    queued(world, mailer)
    storage, leased = claimed(mailer)
    storage.start({one.head.id: "gone" for one in leased})
    world.clock.advance(LEASE // 1000 + 1)  # type: ignore[union-attr]
    mailer.worker().drain()


def overtaken(world: World, mailer: Any) -> None:
    """The lease of a message ends while its answer is being read: another process has the message now."""
    queued(world, mailer)
    storage = context(mailer).storage
    inner = storage.transact

    def late(account: str, keys: Any, decide: Any) -> Any:
        if getattr(decide, "settle", decide).__class__ is Settle or isinstance(decide, Settle):
            with storage._db.writing() as db:
                db.run("update dk_mail set token='another'")
        return inner(account, keys, decide)

    storage.transact = late
    mailer.worker().drain(timedelta(seconds=2))


def resolved(world: World, mailer: Any) -> None:
    faults(world, 500, 1)
    one = drained(world, mailer)
    mailer.outbox.resolve(ids=one, as_sent=True)


def heard(world: World, mailer: Any) -> None:
    faults(world, 500, 1)
    one = drained(world, mailer)
    assert mailer.outbox.heard(context(mailer).archive.vault.stamp(one, "default", "a"), "delivered")


def unreadable(world: World, mailer: Any) -> None:
    queued(world, mailer)
    with closing(sqlite3.connect(world.path)) as db, db:
        db.execute("update dk_letter set body='{'")
    mailer.worker().drain()


def dropped(world: World, mailer: Any) -> None:
    """SendGrid takes ten tags."""
    mailer.send(message(tags=[f"t{number}" for number in range(11)]), route="r")


def in_trouble(world: World, mailer: Any) -> None:
    """The outbox cannot be read when a worker looks at it; it looks again."""
    storage, worker = context(mailer).storage, mailer.worker(poll=timedelta(milliseconds=20))
    inner, failures = storage.recover, iter([True])

    def recover() -> Any:
        if next(failures, False):
            raise StorageError("the database is locked")
        worker.stop()
        return inner()

    storage.recover = recover
    worker.run()


SCENARIOS: dict[type[Fact], Scenario] = {
    MailQueued: queued,
    AttemptFinished: drained,
    MailAccepted: drained,
    MailDead: expired,
    MailRefused: refused,
    MailInDoubt: lambda world, mailer: (faults(world, 500, 1), drained(world, mailer)),
    MailScheduled: lambda world, mailer: (faults(world, 503, 1), drained(world, mailer)),
    MailReturned: throttled,
    MailRecovered: lost,
    LeaseLost: overtaken,
    LaneBlocked: blocked,
    LaneHeld: unverified,
    ServerPaused: revoked,
    ServerThrottled: throttled,
    CircuitOpened: opened,
    CircuitClosed: closed_again,
    RouteDegraded: revoked,
    RouteRestored: restored,
    ServerChanged: lambda world, mailer: mailer.servers.pause("a"),
    RecordChanged: lambda world, mailer: mailer.routes.update("r", when_exhausted="failover"),
    AccountPaused: lambda world, mailer: mailer.pause_all("a bad list"),
    AccountResumed: lambda world, mailer: (mailer.pause_all("a bad list"), mailer.resume_all()),
    MailsCancelled: cancelled,
    MailsRequeued: requeued,
    MailsResolved: resolved,
    MailResolved: heard,
    MailsPruned: pruned,
    PersonErased: lambda world, mailer: mailer.erase("u0@example.org"),
    StorageFailed: in_trouble,
    PartFailed: unreadable,
    FeaturesDropped: dropped,
}


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
def test_every_kind_of_signal_is_emitted(plain: World, kind: type[Fact]) -> None:
    recorder = Recorder()
    mailer = plain.mailer(hooks=recorder, on_unsupported="drop" if kind is not FeaturesDropped else "warn")
    plain.server(mailer, "a")
    mailer.routes.add("r", ["a"], when_exhausted="queue")
    recorder.seen.clear()
    SCENARIOS[kind](plain, mailer)
    emitted = [one for one in recorder.seen if type(one) is kind]
    assert emitted, [one.event for one in recorder.seen]
    assert all(one.event.startswith("deliverykit.") and str(one) for one in emitted)
