"""What becomes of mail whose worker is gone."""

import asyncio
import contextlib
import sqlite3
from datetime import timedelta

import pytest
from engine_kit import LEASE, NOON, World, claimed, eventually, message, messages, running, used

from deliverykit import Attachment, CalendarQuota, ConfigurationError, SendStatus, StorageError
from deliverykit.beating import BlockingBeat
from deliverykit.contracts.books import Gone, MailState
from deliverykit.contracts.storage import Step
from deliverykit.engine.delivery.journey import HORIZON
from deliverykit.engine.delivery.send import Sending
from deliverykit.engine.ports import blocking
from deliverykit.hooks import Hooks
from deliverykit.testing import ManualClock
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.wire import HttpResponse


@pytest.fixture
def world_with_mail(world: World):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=50))
    return world, mailer


def test_an_expired_lease_goes_back_without_an_attempt(world_with_mail):
    world, mailer = world_with_mail
    (uid,) = mailer.enqueue(messages(1))
    claimed(mailer)
    assert mailer.outbox.get(uid).state == "leased"
    mailer.worker().drain(timedelta(seconds=1))
    assert world.sandbox.count() == 0  # somebody holds it
    world.clock.advance(61)
    mailer.worker().drain()
    assert world.sandbox.count() == 1
    assert [line.outcome for line in mailer.log.get(uid).lines] == ["accepted"]


def test_an_expired_sending_is_in_doubt(world_with_mail):
    world, mailer = world_with_mail
    (uid,) = mailer.enqueue(messages(1))
    storage, (leased,) = claimed(mailer)
    assert storage.start({leased.head.id: "gone"}) == {leased.head.id}
    world.clock.advance(61)
    mailer.worker().drain()
    mail = mailer.outbox.get(uid)
    assert (mail.state, mail.server) == ("in_doubt", "a")
    assert "lost while it was sending" in mail.reason
    world.clock.advance(timedelta(days=3))
    mailer.worker().drain()
    assert world.sandbox.count() == 0
    assert mailer.log.get(uid).lines[-1].outcome == "in_doubt"
    # A late answer of that attempt still settles its own row, nobody else's does.
    for token, late in (("other", 1), ("gone", 0)):

        def settle(view, token=token):
            return Step(result=None, changes=(Gone(id=leased.head.id, token=token),))

        _, came_late = storage.transact("default", (), settle)
        assert len(came_late) == late
    assert sum(mailer.outbox.counts().values()) == 0


def test_a_lease_of_the_hosts_own_length(world, monkeypatch):
    mailer = world.mailer(lease=timedelta(seconds=5))
    world.server(mailer, "a")
    assert mailer.outbox.in_doubt() == ()
    seen = []

    class Killed(BaseException):
        pass

    class Dies:
        """A process that is killed on the wire leaves its row as it is."""

        def send(self, request):
            raise Killed

    monkeypatch.setattr(Sending, "_may_be_stored", lambda *_: False)  # a killed process cleans nothing up
    dying = world.mailer(lease=timedelta(seconds=5), transport=Dies())
    with pytest.raises(Killed):
        dying.send(message())
    for _ in range(2):
        world.clock.advance(3)
        mailer.worker().drain(timedelta(seconds=0.1))
        seen.append(len(mailer.outbox.in_doubt()))
    assert seen == [0, 1]


@pytest.mark.parametrize("lease", [timedelta(milliseconds=999), timedelta(), 0.999, 0])
def test_a_lease_that_is_too_short(world, lease):
    with pytest.raises(ConfigurationError, match=r"^lease=.*: too short; give timedelta\(seconds=1\) or more"):
        world.mailer(lease=lease)


@pytest.mark.parametrize("lease", [None, True, "60", float("nan")])
def test_a_lease_that_is_none(world, lease):
    with pytest.raises(
        ConfigurationError, match="^lease=.*: (expected a timedelta or a number of seconds|not a finite number)"
    ):
        world.mailer(lease=lease)


@pytest.mark.parametrize("lease", [timedelta(seconds=1), 1, 60.0])
def test_a_lease_of_a_second_or_more(world, lease):
    mailer = world.mailer(lease=lease)
    world.server(mailer, "a")
    mailer.enqueue(messages(1))
    assert mailer.worker().drain().accepted == 1


def test_a_renewed_lease_is_kept_and_a_released_one_given_back(world_with_mail):
    world, mailer = world_with_mail
    (uid,) = mailer.enqueue(messages(1))
    storage, _ = claimed(mailer)
    world.clock.advance(50)
    storage.renew(["gone"], LEASE)
    world.clock.advance(50)
    storage.recover()
    assert mailer.outbox.get(uid).state == "leased"
    storage.release(["gone"])
    assert mailer.outbox.get(uid).state == "ready"


def test_poison_is_claimed_alone_and_buried_at_last(world_with_mail):
    world, mailer = world_with_mail
    ids = mailer.enqueue(messages(5))
    for _ in range(2):
        claimed(mailer, want=1)  # only the first mail's workers die
        world.clock.advance(61)
    mailer.enqueue([message("late", priority=1)])
    _, leased = claimed(mailer, "healthy")
    assert [one.head.uid for one in leased] == [mailer.outbox.list()[5].id]  # those before the suspect, without it
    _, leased = claimed(mailer, "third")
    assert [one.head.uid for one in leased] == [ids[0]]  # alone
    world.clock.advance(61)
    mailer.worker().drain()
    dead = mailer.outbox.get(ids[0])
    assert (dead.state, dead.reason) == ("dead", "poison")
    assert sorted(world.got()) == sorted(["ulate@example.org", *(f"u{number}@example.org" for number in range(1, 5))])


def test_a_lost_lease_is_not_submitted(world_with_mail):
    """A worker that comes back late: its mail has gone to another, and its token opens nothing."""
    world, mailer = world_with_mail
    (uid,) = mailer.enqueue(messages(1))
    storage, (leased,) = claimed(mailer, "slow")
    world.clock.advance(61)
    _, (again,) = claimed(mailer, "quick")
    assert again.head.id == leased.head.id
    assert storage.start({leased.head.id: "slow"}) == frozenset()
    assert storage.start({leased.head.id: "quick"}) == {leased.head.id}
    assert mailer.outbox.get(uid).state == "sending"


def test_send_that_dies_inside_is_in_doubt(world_with_mail, monkeypatch):
    """Its row is written as sending with the admission itself; a crash between leaves the row and the spent unit."""
    monkeypatch.setattr(Sending, "_may_be_stored", lambda *_: False)  # a killed process cleans nothing up
    world, mailer = world_with_mail

    class Dying(BaseException):
        pass

    class Dies:
        def send(self, request):
            raise Dying

        def close(self):
            pass

    crashing = world.mailer(transport=Dies())
    with pytest.raises(Dying):
        crashing.send(message())
    (mail,) = mailer.outbox.list()
    assert mail.state == "sending"
    assert used(mailer, "a") == {"the server a": 1}
    world.clock.advance(61)
    mailer.worker().drain()
    assert mailer.outbox.get(mail.id).state == "in_doubt"
    assert world.sandbox.count() == 0
    assert used(mailer, "a") == {"the server a": 1}


@pytest.mark.parametrize("body", ["{", '{"attachments":'], ids=["empty", "files"])
def test_unreadable_message_waits_alone(world_with_mail, body):
    world, mailer = world_with_mail
    ids = mailer.enqueue(messages(3))
    with sqlite3.connect(world.path) as db:
        db.execute("update dk_letter set body=? where mail=(select id from dk_mail where uid=?)", (body, ids[1]))
    db.close()
    mailer.worker().drain()
    assert world.sandbox.count() == 2
    assert (mailer.outbox.get(ids[1]).state, mailer.outbox.get(ids[1]).attempts) == ("scheduled", 0)
    assert "cannot read the message: its payload is damaged" in mailer.outbox.get(ids[1]).reason
    assert used(mailer, "a") == {"the server a": 2}


def expiries(world):
    with contextlib.closing(sqlite3.connect(world.path)) as books:
        return [row[0] for row in books.execute("select expiries from dk_mail order by id")]


def test_files_that_cannot_be_read_keep_that_mail_only_and_nobody_counts_as_dead(world, restarted):
    """A damaged page under one attachment: the mail rests and is looked at again, for the disk may be mended."""
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=50))
    bad = message("bad", attachments=[Attachment(filename="a.bin", content=b"\xa7" * 20_000)])
    good = message("good", attachments=[Attachment(filename="b.bin", content=b"b" * 20_000)])
    one, *_ = mailer.enqueue([bad, good, message("plain")])
    mailer = restarted()
    whole = world.path.read_bytes()
    page = next(at for at in range(0, len(whole), 4096) if whole[at + 4 : at + 4096] == b"\xa7" * 4092)
    world.path.write_bytes(whole[:page] + b"\xff" * 4 + whole[page + 4 :])  # the number of the page that follows it
    for _ in range(4):  # more often than what makes poison of a mail
        mailer.worker().drain()
        mail = mailer.outbox.get(one)
        assert (mail.state, mail.attempts, expiries(world)) == ("scheduled", 0, [0])
        assert "its attachments cannot be read: SQLite" in mail.reason
        assert sorted(world.got()) == ["ugood@example.org", "uplain@example.org"]
        assert used(mailer, "a") == {"the server a": 2}
        world.clock.advance(61)
    mailer = restarted()
    torn = world.path.read_bytes()
    world.path.write_bytes(torn[:page] + whole[page : page + 4] + torn[page + 4 :])
    mailer.worker().drain()
    assert world.got()[2:] == ["ubad@example.org"]


def test_what_cannot_be_told_of_a_claim_keeps_no_mail(plain):
    """What was found expired is told by its row; where that cannot be read, those that go are on their way already."""
    told = []

    class Told(Hooks):
        def mail_dead(self, fact):
            told.append(fact.cause)

    mailer = plain.mailer(hooks=Told())
    plain.server(mailer, "a", quota=CalendarQuota(day=50))
    mailer.enqueue([message("late", expires_at=NOON + timedelta(seconds=5)), message("x")])
    storage = mailer._context.storage
    storage.recover = tuple

    def mail(uid):
        del storage.mail, storage.recover
        raise StorageError("not now")

    storage.mail = mail
    plain.clock.advance(10)
    with pytest.raises(StorageError, match="not now"):
        mailer.worker().drain()
    assert plain.got() == ["ux@example.org"]
    assert mailer.outbox.counts()["leased"] == 0


class Naps(ManualClock):
    """A host's clock that fails, once it is armed, at a flight that waits for its slot."""

    armed = False

    async def asleep(self, seconds):
        if self.armed and seconds == HORIZON / 1000:  # marked already, and it waits for its slot
            self.armed = False
            raise ZeroDivisionError
        await super().asleep(seconds)


def test_a_flight_that_fails_on_the_ground_does_not_pass_for_a_worker_that_died(plain):
    plain.clock = Naps(NOON)
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=50), pause=timedelta(milliseconds=400))
    plain.clock.advance(2)
    plain.clock.armed = True
    mailer.enqueue(messages(2))
    mailer.worker().drain()
    (mail,) = mailer.outbox.list()
    assert (mail.state, mail.attempts, expiries(plain)) == ("scheduled", 0, [0])
    assert mail.reason == "a flight failed on the ground: ZeroDivisionError"
    assert used(mailer, "a")["the server a"] == 1
    plain.clock.advance(61)
    mailer.worker().drain()
    assert plain.sandbox.count() == 2


def test_a_transport_that_raises_leaves_doubt_at_once(world):
    """It may have gone; nobody waits for a lease to end to say so."""

    class Raises:
        def send(self, request):
            raise ZeroDivisionError("with a secret")

        def close(self):
            pass

    class Awaited(Raises):
        async def send(self, request):
            raise ZeroDivisionError("with a secret")

        async def aclose(self):
            pass

    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=50))
    raising = world.mailer(transport=Raises() if world.kind == "blocking" else Awaited())
    result = raising.send(message("sent"))
    assert (result.status, result.reason) == (SendStatus.IN_DOUBT, "the transport failed: ZeroDivisionError")
    raising.enqueue([message("queued")])
    raising.worker().drain()
    assert [mail.reason for mail in mailer.outbox.in_doubt()] == ["the transport failed: ZeroDivisionError"] * 2
    assert used(mailer, "a") == {"the server a": 2}


def test_a_back_off_that_raises_loses_no_answer(plain):
    """What surely was not sent is no doubt, whatever the host's part makes of it; ours is used instead."""

    class Never:
        def seconds(self, attempts):
            raise ZeroDivisionError

    class Nowhere:
        def send(self, request):
            raise TransportError(Stage.CONNECT, "refused")

        def close(self):
            pass

    plain.server(plain.mailer(), "a", quota=CalendarQuota(day=50))
    mailer = plain.mailer(back_off=Never(), transport=Nowhere())
    mailer.enqueue(messages(1))
    mailer.worker().drain()
    (mail,) = mailer.outbox.list()
    assert (mail.state, mail.attempts) == ("scheduled", 1)


class Looking:
    """A transport that looks at the lease of what it sends, through either door."""

    def __init__(self, world, looks):
        self.world, self.looks = world, looks

    def lease(self):
        with contextlib.closing(sqlite3.connect(self.world.path)) as books:
            return books.execute("select lease_until from dk_mail where state=2").fetchone()[0]

    def send(self, request):
        return self.looks(self, request)

    def close(self):
        pass


class LookingAwaited(Looking):
    async def send(self, request):
        return await asyncio.to_thread(self.looks, self, request)

    async def aclose(self):
        pass


def looking(world, looks):
    return (Looking if world.kind == "blocking" else LookingAwaited)(world, looks)


def test_each_attempt_of_a_send_has_a_whole_lease(world):
    """A chain of slow servers is no lost worker, however long those before it took."""
    left = []

    def slow(transport, request):
        left.append(transport.lease() - world.clock.now())
        world.clock.advance(50)
        raise TransportError(Stage.CONNECT, "out of reach")

    mailer = world.mailer()
    for name in "abc":
        world.server(mailer, name)
    result = world.mailer(transport=looking(world, slow)).send(message())
    assert len(result.attempts) == 3
    assert left == [60_000] * 3


def test_a_send_that_lives_keeps_its_lease(world):
    """An attempt that takes longer than the lease is not in doubt while it runs."""
    world.server(world.mailer(), "a")

    def slow(transport, request):
        first = transport.lease()
        world.clock.advance(0.5)
        assert eventually(lambda: transport.lease() == first + 500), "its lease is not renewed"
        return HttpResponse(status=202, headers={"x-message-id": "m"})

    mailer = world.mailer(lease=timedelta(seconds=1), transport=looking(world, slow))
    assert mailer.send(message()).status is SendStatus.ACCEPTED


def test_the_thread_that_renews_ends_when_nothing_is_held():
    beat, beats = BlockingBeat(), []

    async def flow():
        assert eventually(lambda: len(beats) >= 2)

    for _ in range(2):  # and another begins where it is needed again
        blocking(beat.during, flow, lambda: beats.append(1), 0.01)
        assert eventually(lambda: beat._thread is None)
        beats.clear()


def test_a_stopped_worker_hands_back_what_it_has_not_started(live):
    mailer = live.mailer()
    live.server(mailer, "a", quota=CalendarQuota(month=500), pause=timedelta(milliseconds=60))
    mailer.enqueue(messages(40))
    with running(mailer):
        assert eventually(lambda: live.sandbox.count() >= 3)
    counts = mailer.outbox.counts()
    assert counts == {**dict.fromkeys(counts, 0), "ready": 40 - live.sandbox.count()}
    assert 3 <= live.sandbox.count() < 30
    assert used(mailer, "a") == {"the server a": live.sandbox.count()}
    assert {mail.attempts for mail in mailer.outbox.list()} == {0}


def test_the_states_are_what_the_outbox_names(world_with_mail):
    _, mailer = world_with_mail
    assert set(mailer.outbox.counts()) == {state.name.lower() for state in MailState}
    assert mailer.send(message()).status is SendStatus.ACCEPTED


def test_control_c_on_the_wire_is_in_doubt_at_once(plain):
    mailer = plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=50))

    class Interrupted:
        def send(self, request):
            raise KeyboardInterrupt

        def close(self):
            pass

    with pytest.raises(KeyboardInterrupt):
        plain.mailer(transport=Interrupted()).send(message())
    (mail,) = mailer.outbox.in_doubt()
    assert (mail.server, mail.reason) == ("a", "it was cancelled while it was on the wire")
    assert used(mailer, "a") == {"the server a": 1}


def test_a_send_that_stalls_past_its_lease_submits_nothing_that_was_sent_meanwhile(plain):
    """Suspended between its row and the wire: another finds it in doubt, is told to send it, and does."""
    another = []

    class Stalls(ManualClock):
        def sleep(self, seconds):
            super().sleep(seconds)
            if another:
                other = another.pop()
                self.advance(61)
                other.worker().drain(timedelta(seconds=0.1))
                assert other.outbox.resolve(server="a", resend=True) == 1
                other.worker().drain()
                assert plain.got() == ["u1@example.org", "u2@example.org"]

    plain.clock = Stalls(NOON)
    mailer, other = plain.mailer(), plain.mailer()
    plain.server(mailer, "a", quota=CalendarQuota(day=50), pause=timedelta(milliseconds=200))
    assert mailer.send(message(1))
    another.append(other)
    assert mailer.send(message(2)).status is SendStatus.QUEUED
    assert plain.got() == ["u1@example.org", "u2@example.org"]
    assert used(mailer, "a")["the server a"] == 2
