"""Credentials that are refused: fresh ones are tried once, by whatever is on its way, before the server is paused."""

import pytest
from attrs import evolve
from engine_kit import ESPS, eventually, message, messages, running

from deliverykit import Env, Named, SendStatus, Status
from deliverykit.engine.renewal import Renewals
from deliverykit.providers import SendGrid
from deliverykit.records.server import DeliveryServer
from deliverykit.words.outcomes import Accepted, NotSent, ServerFault, Unknown

OLD, NEW, NEWER = "AKIAOLDKEY", "AKIANEWKEY", "AKIANEWERKEY"


class Vault:
    """A host's function: gives the same key until somebody rotates it, and counts how often it is asked."""

    def __init__(self, esp, *keys):
        self.esp, self.keys, self.asked = esp, list(keys), 0

    def __call__(self):
        self.asked += 1
        key = self.keys[0] if len(self.keys) == 1 else self.keys.pop(0)
        return {"access_key_id": key, "secret_access_key": "s", "session_token": "t"} if self.esp == "ses" else key


def by_name(world, esp, vault, **options):
    """A Mailer with one ACTIVE server whose credentials are the vault's."""
    mailer = world.mailer(credentials={"vault": vault})
    fields = {"credentials": Named("vault")} if esp == "ses" else {}
    world.server(mailer, "s", esp, key=Named("vault"), fields=fields, **options)
    return mailer


def refuse(world, esp, *keys):
    """From now on the ESP says of these keys that they have expired."""
    for key in keys:
        options = {"status": 403, "code": "ExpiredTokenException"} if esp == "ses" else {}
        text = "The security token included in the request is expired" if esp == "ses" else None
        world.sandbox.fault(esp, "rejected" if esp == "ses" else "bad_key", None, text=text, credential=key, **options)


def used(world, esp):
    return [one.credential for one in world.sandbox.received(esp)]


@pytest.mark.parametrize("esp", ESPS)
@pytest.mark.parametrize("by", ["send", "worker"])
def test_expired_credentials_are_read_again_once(world, esp, by):
    vault = Vault(esp, OLD)
    mailer = by_name(world, esp, vault)
    refuse(world, esp, OLD)
    vault.keys, vault.asked = [OLD, NEW], 0
    if by == "send":
        assert mailer.send(message()).status is SendStatus.ACCEPTED
    else:
        mailer.enqueue(messages(1))
        assert mailer.worker().drain().accepted == 1
    assert used(world, esp) == [NEW]
    assert vault.asked == 2
    assert mailer.servers.get("s").status is Status.ACTIVE


@pytest.mark.parametrize("esp", ESPS)
def test_fresh_credentials_that_are_refused_pause_the_server(world, esp):
    vault = Vault(esp, OLD)
    mailer = by_name(world, esp, vault)
    refuse(world, esp, OLD, NEW)
    vault.keys, before = [OLD, NEW], len(world.sandbox.requests(esp))
    (uid,) = mailer.enqueue(messages(1))
    mailer.worker().drain()
    assert len(world.sandbox.requests(esp)) - before == 2
    assert mailer.servers.get("s").status is Status.PAUSED
    assert (mailer.outbox.get(uid).state, mailer.outbox.get(uid).attempts) == ("ready", 0)


def test_stored_credentials_are_not_tried_again(world, monkeypatch):
    mailer = world.mailer()
    world.server(mailer, "s", key=OLD)
    monkeypatch.setenv("A_KEY", OLD)
    world.server(mailer, "e", key=Env("A_KEY"))
    refuse(world, "sendgrid", OLD)
    before = len(world.sandbox.requests("sendgrid"))
    for server, requests in (("s", 1), ("e", 2)):
        mailer.routes.add(server, [server])
        mailer.send(message(), route=server)
        assert mailer.servers.get(server).status is Status.PAUSED
        assert len(world.sandbox.requests("sendgrid")) - before == requests
        before += requests


def test_each_expiry_is_renewed_once_more(world):
    vault = Vault("ses", OLD)
    mailer = by_name(world, "ses", vault)
    refuse(world, "ses", OLD)
    vault.keys = [OLD, NEW]
    assert mailer.send(message(1)).status is SendStatus.ACCEPTED
    refuse(world, "ses", NEW)
    vault.keys = [NEW, NEWER]
    assert mailer.send(message(2)).status is SendStatus.ACCEPTED
    assert used(world, "ses") == [NEW, NEWER]
    assert mailer.servers.get("s").status is Status.ACTIVE


def test_a_refused_message_text_renews_nothing(world):
    vault = Vault("sendgrid", OLD)
    mailer = by_name(world, "sendgrid", vault)
    world.sandbox.fault("sendgrid", "bad_key", text="access forbidden", status=403)
    before = len(world.sandbox.requests("sendgrid"))
    mailer.enqueue(messages(1))
    mailer.worker().drain()
    assert mailer.servers.get("s").status is Status.PAUSED
    assert len(world.sandbox.requests("sendgrid")) - before == 1


EXPIRED, ACCEPTED = ServerFault("expired", renewable=True), Accepted("1")


def test_attempts_that_used_the_old_credentials_go_again():
    renewals = Renewals()
    server = DeliveryServer(id="s", account="default", name="s", provider=SendGrid(api_key=Named("vault")))
    first, second, third = (renewals.number() for _ in range(3))
    assert renewals.tries_again(server, EXPIRED, first)
    fresh, later = renewals.number(), renewals.number()
    assert renewals.tries_again(server, EXPIRED, second)  # it was on its way with the old ones
    assert not renewals.tries_again(server, EXPIRED, fresh)
    assert not renewals.tries_again(server, ACCEPTED, third)  # the old ones, taken before they expired: proves nothing
    assert not renewals.tries_again(server, EXPIRED, later)
    assert not renewals.tries_again(server, ACCEPTED, renewals.number())
    assert renewals.tries_again(server, EXPIRED, renewals.number())  # they worked, and have expired in their turn


def test_only_references_and_refused_credentials_are_renewed():
    renewals = Renewals()
    stored = DeliveryServer(id="s", account="default", name="s", provider=SendGrid(api_key="SG.stored"))
    broken = DeliveryServer(id="b", account="default", name="b", provider=None)
    named = evolve(stored, id="n", provider=SendGrid(api_key=Named("vault")))
    assert not renewals.tries_again(stored, EXPIRED, renewals.number())
    assert not renewals.tries_again(broken, EXPIRED, renewals.number())
    for outcome in (ServerFault("suspended"), NotSent("no connection"), Unknown("reset"), ACCEPTED):
        assert not renewals.tries_again(named, outcome, renewals.number())
    assert renewals.tries_again(named, EXPIRED, renewals.number())
    assert renewals.tries_again(evolve(named, account="other"), EXPIRED, renewals.number())


@pytest.mark.parametrize("esp", ["ses", "mailgun"])
def test_many_messages_on_their_way_share_one_renewal(live, esp):
    load = 150

    def key():
        refused = any(one.fault is not None for one in live.sandbox.requests(esp))
        return NEW if refused else OLD  # rotated as soon as the first is refused

    vault = (lambda: {"access_key_id": key(), "secret_access_key": "s"}) if esp == "ses" else key
    mailer = by_name(live, esp, vault)
    mailer.enqueue(messages(load))
    seen = set()

    def over():
        seen.add(mailer.servers.get("s").status)
        return sum(mailer.outbox.counts().values()) == 0

    with running(mailer, concurrency=20):
        assert eventually(lambda: live.sandbox.count(esp) > load // 5, 30)
        refuse(live, esp, OLD)
        assert eventually(over, 60)
    assert seen == {Status.ACTIVE}
    assert sorted(live.got()) == sorted(f"u{number}@example.org" for number in range(load))
    assert set(used(live, esp)) == {OLD, NEW}
