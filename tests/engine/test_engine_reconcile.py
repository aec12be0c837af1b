"""Events that carry our id settle mail of unknown fate; without one it is held, or sent again, as was said."""

from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from engine_kit import ESPS, KEY, NOON, message, messages

from deliverykit import CalendarQuota, ConfigurationError, InDoubt, MessageError, Reconcile
from deliverykit.records.vault import Vault
from deliverykit.words.outcomes import on_doubt

HOUR = timedelta(hours=1)


def hasty(world, id="a", esp="sendgrid", **values):
    mailer = world.mailer(transport=world.hasty())
    world.server(mailer, id, esp, **values)
    return mailer


def stamps(world, esp="sendgrid"):
    """Our id as the ESP's events would carry it, of each mail that it has."""
    return [mail.id for mail in world.sandbox.received(esp)]


@pytest.mark.parametrize("esp", ESPS)
@pytest.mark.parametrize("word", [None, "resend", "reconcile", Reconcile(then="resend")])
def test_an_event_settles_what_was_in_doubt(plain, esp, word):
    mailer = hasty(plain, esp=esp, quota=CalendarQuota(day=9))
    plain.sandbox.fault(esp, "hang", seconds=0.05)
    (uid,) = mailer.enqueue([message(in_doubt=word)])
    mailer.worker().drain()
    (stamp,) = stamps(plain, esp)
    assert stamp.startswith(uid)
    assert mailer.outbox.heard(stamp, "bounced")
    assert mailer.outbox.list() == ()
    assert [one.outcome for one in mailer.log.get(uid).lines] == ["unknown", "resolved"]
    assert mailer.log.get(uid).lines[1].detail == "as sent: bounced"
    plain.clock.advance(3 * 24 * 3600)
    assert mailer.worker().drain().accepted == 0
    assert len(plain.sandbox.requests(esp)) == 1
    assert not mailer.outbox.heard(stamp, "delivered")  # it is done with


def test_without_an_event_it_is_held_or_sent_again(world):
    mailer = hasty(world)
    mailer.routes.add("r", ["a"], in_doubt=Reconcile("resend", timedelta(hours=2)))
    world.sandbox.fault("sendgrid", "server_error", times=2, status=502)
    (held,) = mailer.enqueue([message(1, in_doubt="reconcile")], route="r")
    (again,) = mailer.enqueue([message(2)], route="r")
    mailer.worker().drain()
    assert [mailer.outbox.get(one).state for one in (held, again)] == ["in_doubt", "scheduled"]
    assert mailer.outbox.get(again).goes_at == NOON + 2 * HOUR
    world.clock.advance(2 * 3600)
    assert mailer.worker().drain().accepted == 1
    assert [one.id for one in mailer.outbox.list()] == [held]
    assert mailer.routes.get("r").in_doubt == Reconcile("resend", timedelta(hours=2))


def test_an_event_that_comes_before_the_answer_is_not_forgotten(plain):
    """The webhook is often faster than a connection that hangs."""
    mailer = plain.mailer()
    plain.server(mailer, "a")

    class Told:
        """Hears of the mail while its answer is awaited, which then never comes."""

        def __init__(self, inner):
            self.inner = inner

        def send(self, request):
            try:
                return self.inner.send(request)
            finally:
                (stamp,) = stamps(plain)
                assert teller.outbox.heard(stamp)

        def open(self):
            self.inner.open()

        def close(self):
            self.inner.close()

    teller = plain.mailer()
    told = plain.mailer(transport=Told(plain.hasty()))
    plain.sandbox.fault("sendgrid", "hang", seconds=0.05)
    result = told.send(message(idempotency_key="k"))
    assert result.status == "in_doubt"
    assert mailer.outbox.list() == ()
    assert mailer.send(message(idempotency_key="k")).status == "accepted"
    assert plain.sandbox.count("sendgrid") == 1


def test_a_stamp_that_we_did_not_make_changes_nothing(world):
    mailer = hasty(world)
    world.server(mailer, "b")
    world.sandbox.fault("sendgrid", "hang", times=1, seconds=0.05)
    (uid,) = mailer.enqueue(messages(1))
    mailer.worker().drain()
    (stamp,) = stamps(world)
    vault = Vault(Fernet.generate_key(), required=True)
    for forged in (
        uid,
        "",
        "-",
        stamp[:-1] + ("0" if stamp[-1] != "0" else "1"),
        vault.stamp(uid, "default", "a"),
        stamp + "é",
    ):
        assert not mailer.outbox.heard(forged)
    assert [one.id for one in mailer.outbox.in_doubt()] == [uid]
    acme = mailer.accounts.add("acme", timezone="UTC")
    assert not acme.outbox.heard(stamp)
    assert mailer.outbox.heard(stamp)


def test_an_event_of_another_server_proves_nothing_of_this_one(world):
    """Refused by ``a`` beyond doubt; of unknown fate at ``b``. An event of ``a`` is a mistake of somebody's."""
    mailer = hasty(world)
    world.server(mailer, "b")
    mailer.routes.add("r", ["b"])
    world.sandbox.fault("sendgrid", "server_error", times=1, status=502)
    (uid,) = mailer.enqueue(messages(1), route="r")
    mailer.worker().drain()
    vault = Vault(KEY, required=True)
    assert not mailer.outbox.heard(vault.stamp(uid, "default", "a"))
    assert mailer.outbox.heard(vault.stamp(uid, "default", "b"))


def test_words_and_how_they_are_stored():
    for word in (InDoubt.HOLD, InDoubt.RESEND, Reconcile(), Reconcile("resend", timedelta(seconds=1))):
        assert on_doubt(str(word)) == word
    assert on_doubt("reconcile") == Reconcile(InDoubt.HOLD, HOUR)
    with pytest.raises(ValueError, match="within"):
        Reconcile(within=timedelta(0))
    with pytest.raises(MessageError, match=r"in_doubt='again': expected 'hold', 'resend', 'reconcile'"):
        message(in_doubt="again")


def test_a_route_that_keeps_nothing_cannot_send_again(world):
    mailer = hasty(world)
    with pytest.raises(ConfigurationError, match="when_exhausted='reject'"):
        mailer.routes.add("r", ["a"], when_exhausted="reject", in_doubt=Reconcile("resend"))
    mailer.routes.add("r", ["a"], when_exhausted="reject", in_doubt="reconcile")
