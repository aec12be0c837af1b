"""Credentials: side by side, by reference, lost, rotated; and in no place where they could be read."""

import json
import logging
import traceback

import boto3
import pytest
from engine_kit import AWS, KEY, OTHER_KEY, World, eventually, message, messages, running

from deliverykit import ConfigurationError, Env, Named, SendStatus, Status
from deliverykit.providers import SES, Mailgun, SendGrid


def test_several_accounts_at_one_esp(world):
    mailer = world.mailer()
    world.sandbox.keys("sendgrid", ["SG.one", "SG.two"])
    world.server(mailer, "a", key="SG.one")
    world.server(mailer, "b", key="SG.two")
    world.server(mailer, "c", key="SG.one")
    mailer.routes.add("r", ["a", "b", "c"], strategy="round_robin")
    for one in messages(3):
        mailer.send(one, route="r")
    assert [mail.credential for mail in world.sandbox.received("sendgrid")] == ["SG.one", "SG.two", "SG.one"]
    mailer.servers.update("a", name="renamed")
    assert mailer.servers.get("b").provider.api_key.reveal() == "SG.two"


def test_a_throttled_account_closes_its_servers_and_no_others(world):
    mailer = world.mailer()
    for one, key in (("a", "k1"), ("b", "k1"), ("c", "k2")):
        world.server(mailer, one, "elasticemail", key=key)
    mailer.routes.add("r", ["a", "b", "c"])
    world.sandbox.fault("elasticemail", "throttle", retry_after=60)
    result = mailer.send(message(), route="r")
    assert [attempt.server for attempt in result.attempts] == ["a", "c"]
    assert result.status is SendStatus.ACCEPTED


def test_by_environment(world, monkeypatch, restarted):
    monkeypatch.setenv("A_SENDGRID_KEY", "SG.from.env")
    mailer = world.mailer(secret_key=None)  # nothing secret is stored, so no key is needed
    mailer.servers.add(id="s", name="S", sender="n@example.com", provider=world.provider(key=Env("A_SENDGRID_KEY")))
    mailer.servers.send_test("s", to="me@example.org")
    mailer.servers.activate("s")
    mailer = restarted(secret_key=None)
    monkeypatch.setenv("A_SENDGRID_KEY", "SG.rotated")
    assert mailer.send(message())
    assert [mail.credential for mail in world.sandbox.received()] == ["SG.from.env", "SG.rotated"]


def test_a_missing_variable_is_nobodys_fault(world, monkeypatch):
    """The mail waits in this process and no attempt counts against it: another process may have the variable."""
    monkeypatch.setenv("A_SENDGRID_KEY", "SG.from.env")
    mailer = world.mailer()
    world.server(mailer, "s", key=Env("A_SENDGRID_KEY"))
    monkeypatch.delenv("A_SENDGRID_KEY")
    (uid,) = mailer.enqueue(messages(1))
    for _ in range(30):
        mailer.worker().drain()
        world.clock.advance(7200)
    assert mailer.outbox.get(uid).state != "dead"
    assert mailer.outbox.get(uid).attempts == 0
    assert "A_SENDGRID_KEY" in mailer.outbox.get(uid).reason
    monkeypatch.setenv("A_SENDGRID_KEY", "SG.back")
    mailer.worker().drain()
    assert world.sandbox.count() == 1


@pytest.mark.parametrize("value", ["SG.named", lambda: "SG.named"], ids=["text", "callable"])
def test_by_name(world, value):
    mailer = world.mailer(credentials={"main": value})
    world.server(mailer, "s", key=Named("main"))
    assert mailer.send(message())
    assert [mail.credential for mail in world.sandbox.received()] == ["SG.named"]


def test_a_boto3_session(world):
    session = boto3.Session(aws_access_key_id=AWS[0], aws_secret_access_key=AWS[1], region_name="eu-west-1")
    mailer = world.mailer(credentials={"mumbai": session})
    world.server(mailer, "s", "ses", fields={"credentials": Named("mumbai")})
    assert mailer.send(message()).status is SendStatus.ACCEPTED
    assert [mail.credential for mail in world.sandbox.received("ses")] == [AWS[0]]


@pytest.mark.parametrize("by", ["send", "worker"])
def test_a_callable_that_fails_has_sent_nothing(world, by):
    """A vault that does not answer: surely not sent, so never in doubt."""
    calls = []

    def vault():
        calls.append(1)
        if len(calls) > 1:
            raise ConnectionError("the vault is sealed: hunter2")
        return "SG.named"

    mailer = world.mailer(credentials={"main": vault})
    world.server(mailer, "s", key=Named("main"))
    if by == "send":
        result = mailer.send(message())
        assert result.status is SendStatus.QUEUED
        assert "hunter2" not in str(result)
    else:
        mailer.enqueue(messages(1))
        mailer.worker().drain()
    assert len(calls) > 1
    counts = mailer.outbox.counts()
    assert (counts["in_doubt"], counts["sending"], counts["leased"]) == (0, 0, 0)
    assert counts["ready"] + counts["scheduled"] == 1
    assert [mail.reason for mail in mailer.outbox.list()] == ["the credentials cannot be had: ConnectionError"]
    assert world.sandbox.count() == 0


def test_adding_a_secret_without_a_key(world):
    mailer = world.mailer(secret_key=None)
    with pytest.raises(ConfigurationError, match="secret_key: needed to store api_key"):
        mailer.servers.add(id="s", name="S", provider=world.provider(key="SG.canary.clear"))
    assert mailer.servers.list() == ()
    with pytest.raises(ConfigurationError, match="secret_key: not a Fernet key"):
        world.mailer(secret_key="too short")


def test_a_lost_key_breaks_its_servers_and_nothing_else(world, monkeypatch, restarted):
    monkeypatch.setenv("A_SENDGRID_KEY", "SG.env")
    mailer = world.mailer()
    world.server(mailer, "s")
    world.server(mailer, "e", key=Env("A_SENDGRID_KEY"))
    mailer.routes.add("r", ["s"])
    ids = mailer.enqueue(messages(3), route="r")
    for key in (OTHER_KEY, None):
        mailer = restarted(secret_key=key)
        broken = mailer.servers.get("s")
        assert broken.status is Status.BROKEN
        assert "secret_key" in broken.reason
        # Without the key nobody can tell whether its reference was put there by somebody else.
        assert mailer.servers.get("e").status is Status.BROKEN
        with pytest.raises(ConfigurationError, match="BROKEN"):
            mailer.servers.activate("s")
        with pytest.raises(ConfigurationError, match="BROKEN"):
            mailer.servers.send_test("s", to="me@example.org")
        mailer.worker().drain()
        assert mailer.outbox.counts()["ready"] == 3
        assert [one.id for one in mailer.outbox.list()] == ids
    assert world.sandbox.count() == 0
    mailer = restarted()
    assert mailer.servers.get("s").active
    assert mailer.servers.get("e").active
    mailer.worker().drain()
    assert world.carriers() == ["s"] * 3


def test_a_worker_without_the_key_leaves_the_mail_to_one_that_has_it(live):
    """It must not close the lane for everybody: what is broken here works there."""
    mailer = live.mailer()
    live.server(mailer, "s")
    keyless = live.mailer(secret_key=OTHER_KEY)
    with running(keyless), running(mailer):
        for number in range(3):
            mailer.enqueue([message(number)])
            assert eventually(lambda number=number: live.sandbox.count() == number + 1), mailer.outbox.list()
    mailer.enqueue([message(9)])
    keyless.worker().drain()
    assert mailer.outbox.counts()["ready"] == 1
    assert mailer.outbox.list()[0].reason == "", "its lane is blocked for everybody"
    mailer.worker().drain()
    assert live.sandbox.count() == 4


def test_a_broken_server_gets_new_credentials_and_keeps_its_limits(world, restarted):
    from deliverykit import CalendarQuota

    mailer = world.mailer()
    world.server(mailer, "s", quota=CalendarQuota(day=2))
    mailer.send(message())
    mailer = restarted(secret_key=OTHER_KEY)
    mended = mailer.servers.update("s", provider=world.provider(key="SG.again"))
    assert (mended.status, mended.proven) == (Status.PAUSED, False)
    assert mended.limits == (CalendarQuota(day=2),)
    assert mailer.servers.send_test("s", to="me@example.org").proof
    mailer.servers.activate("s")
    assert mailer.send(message()).status is SendStatus.QUEUED


def test_keys_are_rotated(world, restarted):
    mailer = world.mailer()
    world.server(mailer, "s")
    mailer = restarted(secret_key=[OTHER_KEY, KEY])
    assert mailer.servers.get("s").active
    mailer.servers.update("s", name="written again")  # under the new key
    mailer = restarted(secret_key=OTHER_KEY)
    assert mailer.servers.get("s").active
    assert mailer.send(message()).status is SendStatus.ACCEPTED


CANARIES = {
    "sendgrid": {"api_key": "SG.canary.sendgrid.8c1f"},
    "mailgun": {"api_key": "key-canary-mailgun-5a77"},
    "elasticemail": {"api_key": "CANARYELASTIC93D2"},
    "ses": {"access_key_id": "AKIACANARYSESEXAMPLE", "secret_access_key": "canary/ses/secret/77b1"},
}


def test_no_secret_anywhere(world: World, caplog, restarted):
    caplog.set_level(logging.DEBUG)
    seen: list[object] = []
    mailer = world.mailer()
    for esp, secrets in CANARIES.items():
        fields = {"region": "eu-west-1"} if esp == "ses" else {}
        provider = world.provider(esp, **secrets, **fields)
        server = mailer.servers.add(id=esp, name=f"Blue Whale {esp}", provider=provider, sender="n@example.com")
        seen += [provider, server, provider.plain(), mailer.servers.send_test(esp, to="me@example.org")]
        seen.append(mailer.servers.activate(esp))
        mailer.routes.add(esp, [esp])
        for fault in ("bad_key", "rejected", "throttle", "garbage", "reset"):
            world.sandbox.fault(esp, fault)
            seen += [mailer.send(message(), route=esp), mailer.servers.get(esp), mailer.explain(message(), route=esp)]
            mailer.servers.activate(esp)
            world.clock.advance(90_000)
        for wrong in ({"sender": "x"}, {"quota": 3}, {"name": ""}):
            try:
                mailer.servers.add(**{"id": "x", "name": "X", "provider": provider, **wrong})
            except ConfigurationError as error:
                seen += [error, *traceback.format_exception(error)]
        try:
            mailer.servers.add(id=esp, name="another", provider=provider)
        except ConfigurationError as error:
            seen += [error, *traceback.format_exception(error)]
    mailer.worker().drain()
    seen += [mailer, mailer.servers, mailer.servers.list(), mailer.outbox.list()]
    words = [secret for secrets in CANARIES.values() for secret in secrets.values()]
    told = "\n".join([*map(repr, seen), *map(str, seen), caplog.text, json.dumps(caplog.messages)])
    assert [word for word in words if word in told] == []
    assert KEY not in told
    stored = b"".join(path.read_bytes() for path in world.path.parent.iterdir())
    assert b"Blue Whale" in stored  # the file is what was written to
    assert [word for word in (*words, KEY) if word.encode() in stored] == []
    # Every canary but SES's secret, which only signs, did travel; the server's name never does.
    wire = world.sandbox.bytes_seen()
    assert CANARIES["sendgrid"]["api_key"].encode() in wire
    assert b"Blue Whale" not in wire
    assert b"Blue%20Whale" not in wire
    assert CANARIES["ses"]["secret_access_key"].encode() not in wire


@pytest.mark.parametrize(
    "make",
    [
        lambda: SendGrid(api_key="SG.canary\nx"),
        lambda: SES(region="nowhere", access_key_id="AKIACANARY", secret_access_key="canary"),
        lambda: Mailgun(api_key="canary", domain="not a domain"),
    ],
)
def test_errors_hold_no_secret(make):
    with pytest.raises(ConfigurationError) as told:
        make()
    assert "canary" not in str(told.value).lower()


def test_the_rest_of_memory(world):
    """In memory nothing is at rest, so no key is asked for; with one they are encrypted all the same."""
    mailer = world.mailer(url="memory://", secret_key=None)
    mailer.servers.add(id="s", name="S", provider=world.provider(), sender="n@example.com")
    assert mailer.servers.send_test("s", to="me@example.org").proof
