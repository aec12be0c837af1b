"""A storage that fails after the ESP has answered, or while a worker ends; and one damaged row among others."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from engine_kit import World, eventually, message, messages, used

from deliverykit import CalendarQuota, SendStatus, StorageError
from deliverykit.hooks import Hooks, MailAccepted
from deliverykit.words.wire import HttpRequest, HttpResponse

Trouble = Callable[[World, Any], Callable[[], None]]


def locked(world: World, mailer: Any) -> Callable[[], None]:
    mailer._context.storage._db.row("pragma busy_timeout=20")
    other = sqlite3.connect(world.path, isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")

    def free() -> None:
        other.execute("rollback")
        other.close()

    return free


def full(_: World, mailer: Any) -> Callable[[], None]:
    """Every change of a message needs more pages than the file may still get."""
    db = mailer._context.storage._db
    with db.writing() as writing:
        writing.run("create table if not exists filler (x)")
        for event in ("update", "delete", "insert"):
            writing.run(
                f"create temp trigger grow_{event} before {event} on dk_mail begin"
                " insert into filler values (zeroblob(1000000)); end"
            )
    (pages,) = db.row("pragma page_count")
    db.row(f"pragma max_page_count={pages}")

    def free() -> None:
        db.row("pragma max_page_count=1000000")
        for event in ("update", "delete", "insert"):
            db.row(f"drop trigger grow_{event}")

    return free


def read_only(_: World, mailer: Any) -> Callable[[], None]:
    db = mailer._context.storage._db
    db.row("pragma query_only=1")
    return lambda: db.row("pragma query_only=0")


def gone(world: World, mailer: Any) -> Callable[[], None]:
    away = world.path.with_name("away.db")
    world.path.rename(away)
    return lambda: away.rename(world.path)


TROUBLES = {"locked": locked, "full": full, "read-only": read_only, "gone": gone}


class Esp:
    """Answers as it is told to, and does something first."""

    def __init__(self, status: int = 202) -> None:
        self.status = status
        self.first: Callable[[], object] = lambda: None
        self.count = 0

    def send(self, request: HttpRequest) -> HttpResponse:
        self.count += 1
        self.first()
        body = b"" if self.status == 202 else b'{"errors": [{"message": "No", "field": "content"}]}'
        return HttpResponse(status=self.status, headers={"x-message-id": "theirs"}, body=body)

    def close(self) -> None: ...


class Accepted(Hooks):
    """The ids of accepted messages, as hooks hear of them."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def mail_accepted(self, fact: MailAccepted) -> None:
        self.ids.append(fact.mail)


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
@pytest.mark.parametrize(
    ("status", "says"), [(202, SendStatus.ACCEPTED), (400, SendStatus.IN_DOUBT), (500, SendStatus.IN_DOUBT)]
)
def test_send_tells_what_it_knows_after_the_wire(plain: World, trouble: Trouble, status: int, says: SendStatus) -> None:
    plain.server(plain.mailer(), "a", quota=CalendarQuota(day=50))
    esp = Esp(status)
    mailer = plain.mailer(transport=esp)
    mailer.outbox.counts()
    ends: list[Callable[[], None]] = []
    esp.first = lambda: ends.append(trouble(plain, mailer)) if not ends else None
    result = mailer.send(message())
    assert result.status is says
    assert result.id
    assert [one.server for one in result.attempts] == ["a"]
    assert result.provider_message_id == ("theirs" if status == 202 else "")
    assert "could not be stored: SQLite" in result.reason
    assert "again" not in result.reason
    assert "nothing" not in result.reason
    ends[0]()
    esp.status = 202
    esp.first = lambda: None
    with_another = [mailer.send(message(number)) for number in range(3) if not _refused(mailer)]
    assert with_another[-1].status is SendStatus.ACCEPTED
    plain.clock.advance(61)
    mailer.worker()  # its lease is over: whoever looks now finds it settled, or in doubt
    mailer._context.storage.recover()
    counts = {name: count for name, count in mailer.outbox.counts().items() if count}
    assert counts in ({}, {"in_doubt": 1})
    assert esp.count == 1 + len(with_another), "it was sent twice"
    if status == 202:
        assert counts == {}
        assert [line.outcome for line in mailer.log.get(result.id).lines] == ["accepted"]


def _refused(mailer: Any) -> bool:
    """A file that was taken away is missed once before it is opened again."""
    try:
        mailer.outbox.counts()
    except StorageError:
        return True
    return False


def test_send_stores_an_outcome_once_the_file_is_free(plain: World) -> None:
    plain.server(plain.mailer(), "a", quota=CalendarQuota(day=50))
    esp = Esp()
    mailer = plain.mailer(transport=esp)
    mailer.outbox.counts()
    tries: list[int] = []
    storage = mailer._context.storage
    transact = storage.transact

    def failing(*given: Any) -> Any:
        if esp.count and len(tries) < 3:
            tries.append(1)
            raise StorageError("database is locked")
        return transact(*given)

    storage.transact = failing
    result = mailer.send(message())
    assert (result.status, result.reason) == (SendStatus.ACCEPTED, "")
    assert len(tries) == 3
    assert not any(mailer.outbox.counts().values())
    assert used(mailer, "a") == {"the server a": 1}


# -- workers --------------------------------------------------------------------------------------------


HANGS = 60
"""Seconds: more than any time limit here, on any machine."""


@pytest.mark.parametrize("trouble", [locked, read_only, full], ids=["locked", "read-only", "full"])
@pytest.mark.parametrize("how", ["drain", "stop", "close"])
def test_worker_ends_in_time_when_it_cannot_write(live: World, trouble: Trouble, how: str) -> None:
    mailer = live.mailer()
    live.server(mailer, "a")
    mailer.enqueue(messages(4))
    live.sandbox.fault("sendgrid", "latency", times=None, seconds=2)
    worker = mailer.worker(concurrency=4)

    def work() -> None:
        with suppress(StorageError):
            worker.drain(timedelta(seconds=1)) if how == "drain" else worker.run()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert eventually(lambda: len(live.sandbox.requests("sendgrid")) == 4, HANGS)
    free = trouble(live, mailer)
    live.sandbox.clear_faults()
    assert eventually(lambda: live.sandbox.count() == 4, HANGS)
    if how == "stop":
        worker.stop()
    elif how == "close":
        mailer.close()
        live.opened.remove(mailer)
    thread.join(HANGS)
    assert not thread.is_alive(), "it does not end"
    if how != "close" or trouble is locked:
        free()
    live.sandbox.clear_faults()
    again = live.mailer()
    again.servers.list()
    if how != "close":
        mailer.close()
        live.opened.remove(mailer)
        assert not any(again.outbox.counts().values()), "what was known was not stored when it closed"
    assert live.sandbox.count() == 4


@pytest.mark.parametrize("trouble", [locked, read_only, full], ids=["locked", "read-only", "full"])
def test_closing_stores_what_could_not_be_stored(plain: World, trouble: Trouble) -> None:
    plain.server(plain.mailer(), "a", quota=CalendarQuota(day=50))
    esp = Esp()
    mailer = plain.mailer(transport=esp)
    mailer.outbox.counts()
    ends: list[Callable[[], None]] = []
    esp.first = lambda: ends.append(trouble(plain, mailer))
    assert "could not be stored" in mailer.send(message()).reason
    ends[0]()
    mailer.close()
    plain.opened.remove(mailer)
    again = plain.mailer()
    assert not any(again.outbox.counts().values())
    assert used(again, "a") == {"the server a": 1}


def test_an_outcome_is_stored_after_the_lease_has_ended(plain: World) -> None:
    """The message is in doubt by then; that it was accepted still counts, and hooks hear of it once."""
    plain.server(plain.mailer(), "a", quota=CalendarQuota(day=50))
    esp, heard = Esp(), Accepted()
    mailer = plain.mailer(transport=esp, hooks=heard)
    mailer.outbox.counts()
    ends: list[Callable[[], None]] = []
    esp.first = lambda: ends.append(locked(plain, mailer)) if not ends else None
    late = mailer.send(message()).id
    ends[0]()
    other = plain.mailer()
    plain.clock.advance(61)
    other._context.storage.recover()
    assert other.outbox.get(late).state == "in_doubt"
    assert heard.ids == []
    soon = mailer.send(message(1)).id
    assert heard.ids == [soon, late]
    assert not any(other.outbox.counts().values())
    assert [line.outcome for line in other.log.get(late).lines] == ["in_doubt", "accepted"]
    assert used(other, "a") == {"the server a": 2}


def test_settling_respects_the_time_limit_of_a_call(plain: World) -> None:
    plain.server(plain.mailer(), "a", quota=CalendarQuota(day=50))
    esp = Esp()
    mailer = plain.mailer(transport=esp)
    mailer.outbox.counts()
    storage, transact = mailer._context.storage, mailer._context.storage.transact

    def failing(*given: Any) -> Any:
        if esp.count:
            raise StorageError("database is locked")
        return transact(*given)

    storage.transact = failing
    began = plain.clock.monotonic()
    result = mailer.send(message(), timeout=1)
    assert result.status is SendStatus.ACCEPTED
    assert "could not be stored" in result.reason
    assert plain.clock.monotonic() - began <= 2
    began = plain.clock.monotonic()
    esp.count = 0
    mailer.send(message(2))
    assert plain.clock.monotonic() - began > 2, "without one it takes longer"
    storage.transact = transact


def test_damaged_row_delays_no_other_outcome(live: World) -> None:
    mailer = live.mailer()
    live.server(mailer, "a", quota=CalendarQuota(month=500))
    ids = mailer.enqueue(messages(12))
    db = sqlite3.connect(live.path)
    db.execute(
        f"create trigger damage before delete on dk_mail when old.uid='{ids[5]}' begin select raise(abort, 'damaged'); end"
    )
    db.commit()
    worker = mailer.worker()
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert eventually(lambda: sum(mailer.outbox.counts().values()) == 1, 30)
        assert [mail.id for mail in mailer.outbox.list()] == [ids[5]]
        more = mailer.enqueue([message("after")])
        assert eventually(lambda: mailer.log.get(more[0]).lines, 20)
    finally:
        worker.stop()
        thread.join(30)
    assert not thread.is_alive()
    db.execute("drop trigger damage")
    db.commit()
    db.close()
    mailer.worker().drain(timedelta(seconds=5))
    assert not any(mailer.outbox.counts().values())
    assert live.sandbox.count() == 13
    assert used(mailer, "a") == {"the server a": 13}
