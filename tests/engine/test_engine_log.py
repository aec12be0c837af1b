"""The delivery log: what happened to this mail, who got what by which server, and what of it is kept."""

import sqlite3
from datetime import timedelta

import pytest
from engine_kit import DAY, KEY, NOON, OTHER_KEY, message, messages

from deliverykit import CalendarQuota, ConfigurationError, MessageError, NotFound, Pruned


def told(mailer, **filters):
    return [(entry.id, entry.outcome, entry.server) for entry in mailer.log.list(**filters)]


def test_get_says_how_a_mail_stands_and_what_happened(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    world.server(mailer, "b", "mailgun")
    with pytest.raises(NotFound, match="'nobody'"):
        mailer.log.get("nobody")
    (uid,) = mailer.enqueue(messages(1))
    trace = mailer.log.get(uid)
    assert (trace.id, trace.state, trace.server, trace.lines, trace.mail.state) == (uid, "ready", "", (), "ready")
    world.sandbox.fault("sendgrid", "server_error", times=1, status=503)
    mailer.worker().drain()
    trace = mailer.log.get(uid)
    assert (trace.state, trace.server, trace.mail) == ("accepted", "b", None)
    assert trace.provider_message_id
    assert [(line.id, line.server, line.outcome) for line in trace.lines] == [(uid, "a", "notsent"), (uid, "b", "accepted")]
    assert trace.provider_message_id == trace.lines[1].provider_message_id
    world.sandbox.fault("sendgrid", "rejected", times=1)
    (dead,) = mailer.enqueue(messages(1))
    mailer.worker().drain()
    trace = mailer.log.get(dead)
    assert (trace.state, trace.server, trace.mail.reason) == ("dead", "a", trace.lines[0].detail)
    sent = mailer.send(message())
    assert mailer.log.get(sent.id).state == "accepted"
    (late,) = mailer.enqueue([message(send_at=NOON + DAY)])
    mailer.outbox.cancel(ids=[late])
    world.clock.advance(DAY)
    mailer.outbox.prune(older_than=timedelta(hours=1))
    assert (mailer.log.get(late).state, mailer.log.get(late).mail) == ("pruned", None)


def test_who_got_what_by_which_server(world):
    mailer = world.mailer()
    for server in "ab":
        world.server(mailer, server)
        mailer.routes.add(f"by {server}", [server])
    (one,) = mailer.enqueue([message(to="Ann <ann@example.org>", cc="bob@example.org")], route="by a")
    mailer.worker().drain()
    world.clock.advance(timedelta(hours=1))
    two = mailer.send(message(to="carl@example.org", bcc="Ann@Example.ORG"), route="by b").id
    world.sandbox.fault("sendgrid", "rejected", times=1)
    three = mailer.send(message(to="ann@example.org"), route="by b").id
    (waits,) = mailer.enqueue([message(to="ann@example.org", send_at=NOON + DAY)])
    mailer.outbox.cancel(ids=[waits])
    everything = [(waits, "dead", ""), (three, "rejected", "b"), (two, "accepted", "b"), (one, "accepted", "a")]
    assert told(mailer, recipient="ANN@example.org") == everything
    assert told(mailer, recipient="bob@example.org") == everything[3:]
    assert told(mailer, recipient="ann@example.org", server="b", outcome="accepted") == everything[2:3]
    assert told(mailer, recipient="ann@example.org", before=NOON + timedelta(minutes=30)) == everything[3:]
    assert told(mailer, server="b", since=NOON + timedelta(minutes=30)) == everything[1:3]
    assert told(mailer, limit=2) == everything[:2]
    assert told(mailer, recipient="nobody@example.org") == []
    with pytest.raises(ConfigurationError, match="outcome='sent': expected 'accepted'"):
        mailer.log.list(outcome="sent")
    for wrong in (0, -1, True, "9"):
        with pytest.raises(ConfigurationError, match="limit"):
            mailer.log.list(limit=wrong)
    with pytest.raises(MessageError, match="recipient"):
        mailer.log.list(recipient="not an address")


def test_the_log_holds_no_address_and_its_hashes_are_keyed(world, restarted):
    mailer = world.mailer(secret_key=KEY)
    world.server(mailer, "a")
    mailer.accounts.add("acme", timezone="UTC")
    acme = mailer.account("acme")
    world.server(acme, "a")
    old = mailer.send(message(to="ann@example.org")).id
    acme.send(message(to="ann@example.org"))
    mailer = restarted(secret_key=[OTHER_KEY, KEY])  # rotated: both are looked under, the first is written
    new = mailer.send(message(to="ann@example.org")).id
    assert {line.id for line in mailer.log.list(recipient="ann@example.org")} == {old, new}
    books = sqlite3.connect(world.path)
    hashes = [bytes(row[0]) for row in books.execute("select who from dk_recipient")]
    everything = "\n".join(books.iterdump()).lower()
    books.close()
    assert "ann@example.org" not in everything
    assert len(set(hashes)) == len(hashes) == 5  # with the servers' test emails; no two accounts share one
    mailer = restarted(secret_key=[OTHER_KEY])
    assert {line.id for line in mailer.log.list(recipient="ann@example.org")} == {new}


def test_pruning_leaves_for_90_days_who_got_what(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    sent = mailer.send(message(to=["ann@example.org", "bob@example.org"])).id
    world.sandbox.fault("sendgrid", "rejected", times=1)
    refused = mailer.send(message(to="ann@example.org")).id
    world.clock.advance(2 * DAY)
    assert mailer.outbox.prune(older_than=DAY).log == 1
    assert told(mailer, recipient="ann@example.org") == [(refused, "rejected", "a"), (sent, "accepted", "a")]
    assert mailer.log.get(refused).lines[0].detail == ""
    assert mailer.log.get(sent).provider_message_id
    world.clock.advance(88 * DAY + timedelta(milliseconds=1))
    assert mailer.outbox.prune(older_than=200 * DAY) == Pruned(dead=0, log=0)
    assert mailer.outbox.prune(older_than=DAY).log == 3
    assert told(mailer, recipient="ann@example.org") == []
    with pytest.raises(NotFound):
        mailer.log.get(sent)


def test_erase_takes_a_persons_hashes_too(world):
    mailer = world.mailer()
    world.server(mailer, "a", quota=CalendarQuota(day=3))
    both = mailer.send(message(to=["ann@example.org", "bob@example.org"])).id
    (waits,) = mailer.enqueue([message(to="ann@example.org", bcc=["carl@example.org", "dora@example.org"])])
    mailer.erase("Ann@example.org")
    assert told(mailer, recipient="ann@example.org") == []
    assert told(mailer, recipient="bob@example.org") == [(both, "accepted", "a")]
    (copy,) = (mail.id for mail in mailer.outbox.list() if mail.id != waits)
    assert {entry[0] for entry in told(mailer, recipient="dora@example.org")} == {waits, copy}


def test_a_mail_that_no_other_server_takes_tells_why_it_was_refused(world):
    mailer = world.mailer()
    world.server(mailer, "a")
    world.server(mailer, "b", "mailgun", quota=CalendarQuota(day=1))
    mailer.routes.add("now", ["a", "b"], when_exhausted="reject")
    mailer.send(message(), server="b")
    world.sandbox.fault("sendgrid", "server_error", times=1, status=503)
    result = mailer.send(message(), route="now")
    assert (result.status, len(result.attempts)) == ("rejected", 1)
    trace = mailer.log.get(result.id)
    assert (trace.state, trace.mail) == ("refused", None)
    assert [(line.outcome, line.server) for line in trace.lines] == [("notsent", "a"), ("refused", "")]
    assert trace.lines[1].detail == "day quota of 'the server b' used up: 1 of 1, resets 2026-11-25 00:00 UTC"
