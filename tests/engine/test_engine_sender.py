"""The forced sender, at every ESP: exactly that From, and the author can still be answered."""

import pytest
from engine_kit import ESPS, message

from deliverykit import MessageError, SendStatus

FORCED = "Example News <news@example.com>"


def sent(world, mailer, esp, **fields):
    mailer.send(message(**fields))
    (mail,) = world.sandbox.received(esp)
    return mail


@pytest.mark.parametrize("esp", ESPS)
@pytest.mark.parametrize("by", ["send", "worker"])
def test_exactly_the_forced_from(world, esp, by):
    mailer = world.mailer()
    world.server(mailer, "s", esp, sender=FORCED)
    one = message(sender="Ann Author <ann@elsewhere.org>", cc="c@example.org", headers={"X-Own": "1"})
    if by == "send":
        assert mailer.send(one)
    else:
        mailer.enqueue([one])
        mailer.worker().drain()
    (mail,) = world.sandbox.received(esp)
    assert (mail.sender, mail.sender_name) == ("news@example.com", "Example News")
    assert mail.reply_to == ("ann@elsewhere.org",)
    assert b"ann@elsewhere.org" not in mail.raw.split(b"eply")[0]


@pytest.mark.parametrize("esp", ESPS)
@pytest.mark.parametrize(
    ("fields", "reply_to"),
    [
        ({"sender": "ann@example.com", "reply_to": "help@example.org"}, ("help@example.org",)),
        ({"sender": "News <NEWS@example.com>"}, ()),
        ({"sender": "no-reply@example.com"}, ()),
        ({"sender": "root@localhost"}, ()),
        ({"sender": None}, ()),
        ({"sender": "ann@example.com"}, ("ann@example.com",)),
    ],
    ids=["has one", "equals", "no-reply", "not routable", "none", "becomes"],
)
def test_who_is_answered(plain, esp, fields, reply_to):
    mailer = plain.mailer()
    plain.server(mailer, "s", esp, sender=FORCED)
    mail = sent(plain, mailer, esp, **fields)
    assert mail.sender == "news@example.com"
    assert mail.reply_to == reply_to


@pytest.mark.parametrize("esp", ESPS)
def test_without_a_forced_sender_the_messages_own(plain, esp):
    mailer = plain.mailer()
    plain.server(mailer, "s", esp, sender=None)
    mail = sent(plain, mailer, esp, sender="Ann <ann@example.com>")
    assert (mail.sender, mail.sender_name, mail.reply_to) == ("ann@example.com", "Ann", ())


def test_neither_is_refused(world):
    mailer = world.mailer()
    world.server(mailer, "s", sender=None)
    for take in (mailer.send, lambda one: mailer.enqueue([one])):
        with pytest.raises(MessageError, match="sender: the message has none"):
            take(message(sender=None))
    assert sum(mailer.outbox.counts().values()) == 0
    assert world.sandbox.count() == 0
    world.server(mailer, "t", sender=FORCED)
    assert mailer.send(message(sender=None))  # by the one that forces its own
    assert [mail.sender for mail in world.sandbox.received()] == ["news@example.com"]


def test_servers_that_name_their_senders(world):
    mailer = world.mailer()
    world.server(mailer, "s", sender=None, senders=["example.com"])
    world.server(
        mailer, "m", "mailgun", sender=None, fields={"domain": "mg.example.net"}, senders=["example.net", "me@example.com"]
    )
    mailer.enqueue([message(1, sender="a@example.com"), message(2, sender="b@example.net"), message(3, sender="c@example.com")])
    with pytest.raises(MessageError, match="may not send for elsewhere.org"):
        mailer.send(message(sender="d@elsewhere.org"))
    mailer.worker().drain()
    assert {mail.sender for mail in world.sandbox.received("sendgrid")} == {"a@example.com", "c@example.com"}
    assert {mail.sender for mail in world.sandbox.received("mailgun")} == {"b@example.net"}


def test_senders_may_name_all_subdomains(world):
    mailer = world.mailer()
    world.server(mailer, "s", sender=None, senders=["*.Example.net", "example.com"])
    assert mailer.servers.get("s").senders == ("*.example.net", "example.com")
    assert mailer.send(message(sender="a@eu.example.net")).status is SendStatus.ACCEPTED
    with pytest.raises(MessageError, match=r"may not send for example.net \(only for \*\.example\.net, example\.com\)"):
        mailer.send(message(sender="a@example.net"))
