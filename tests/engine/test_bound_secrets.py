"""Stored credentials are bound to their record: whoever writes the file without the key cannot send them elsewhere."""

import json
import sqlite3
from contextlib import closing
from typing import Any, ClassVar

import pytest
from attrs import evolve, frozen
from engine_kit import ESPS, KEY, OTHER_KEY, message, messages, provider_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deliverykit import ConfigurationError, Env, Mailer, Named, SendStatus, Status
from deliverykit.contracts.provider import option, web_address
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid


def rewrite(path, change, id="s", account="default"):
    """Change the stored document of a server as somebody does who has the file and no key."""
    with closing(sqlite3.connect(path)) as books, books:
        account_id, data, secrets = books.execute(
            "select account, data, secrets from dk_document where kind='server' and id=? and account=?", (id, account)
        ).fetchone()
        changed = change(json.loads(data), secrets)
        document, secrets = changed if isinstance(changed, tuple) else (changed, secrets)
        books.execute(
            "update dk_document set data=?, secrets=? where kind='server' and id=? and account=?",
            (json.dumps(document), secrets, id, account_id),
        )


def stored(path, id="s", account="default"):
    with closing(sqlite3.connect(path)) as books:
        return books.execute(
            "select data, secrets from dk_document where kind='server' and id=? and account=?", (id, account)
        ).fetchone()


def field(name, value):
    def change(document, _secrets):
        document["provider"]["fields"][name] = value
        return document

    return change


def refuses(world, mailer, id="s", account=None):
    """The server is BROKEN with a hint, and nothing that is tried reaches any ESP."""
    face = mailer.account(account) if account else mailer
    world.sandbox.clear()
    broken = face.servers.get(id)
    assert broken.status is Status.BROKEN, broken
    assert "update(provider=" in broken.reason
    for call in (
        lambda: face.servers.check(id),
        lambda: face.servers.send_test(id, to="me@example.org"),
        lambda: face.servers.update(id, name="x"),
        lambda: face.servers.activate(id),
        lambda: face.servers.pause(id),
    ):
        with pytest.raises(ConfigurationError, match="BROKEN"):
            call()
    face.routes.add("only", [id])
    assert face.send(message(), route="only").status is not SendStatus.ACCEPTED
    face.enqueue(messages(2), route="only")
    mailer.worker().drain()
    assert world.sandbox.requests() == []
    return broken.reason


ELSEWHERE = {
    "ses": [("region", "eu-west-1"), ("base_url", "https://evil.example")],
    "sendgrid": [("base_url", "https://evil.example"), ("base_url", None)],
    "mailgun": [("domain", "evil.example"), ("region", "eu"), ("base_url", "https://evil.example")],
    "elasticemail": [("base_url", "https://evil.example")],
}


@pytest.mark.parametrize(("esp", "name", "value"), [(esp, *one) for esp in ESPS for one in ELSEWHERE[esp]])
def test_changed_destination_breaks_the_server(world, restarted, esp, name, value):
    world.server(world.mailer(), "s", esp)
    rewrite(world.path, field(name, value))
    assert name in refuses(world, restarted())


def test_copied_secret_breaks_the_server(world, restarted):
    mailer = world.mailer()
    world.server(mailer, "s", key="SG.first")
    world.server(mailer, "t", key="SG.second")
    rewrite(world.path, lambda document, _: (document, stored(world.path, "t")[1]))
    mailer = restarted()
    assert "id" in refuses(world, mailer)
    assert mailer.servers.get("t").active


def test_copied_record_breaks_in_another_account(world, restarted):
    mailer = world.mailer()
    world.server(mailer, "s", key="SG.operator")
    tenant = mailer.accounts.add("acme", timezone="UTC")
    tenant.servers.add(id="s", name="S", provider=SendGrid(api_key="SG.tenant"), sender="n@example.com")
    data, secrets = stored(world.path)
    rewrite(world.path, lambda *_: (json.loads(data), secrets), account="acme")
    assert "account" in refuses(world, restarted(), account="acme")


REFERENCES = [{"$env": "DATABASE_URL"}, {"$named": "operator"}, "SG.of.the.attacker"]


@pytest.mark.parametrize("value", REFERENCES)
@pytest.mark.parametrize("keep", [True, False], ids=["sealed", "stripped"])
def test_injected_reference_breaks_the_server(world, restarted, monkeypatch, value, keep):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    world.server(world.mailer(), "s")

    def change(document, secrets):
        document["provider"]["fields"]["api_key"] = value
        return document, secrets if keep else b""

    rewrite(world.path, change)
    refuses(world, restarted(credentials={"operator": "SG.operator"}))


@pytest.mark.parametrize("value", [{"$env": "DATABASE_URL"}, {"$named": "operator"}])
def test_changed_reference_breaks_the_server(world, restarted, monkeypatch, value):
    """A record without secrets is sealed too where there is a key."""
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    monkeypatch.setenv("A_SENDGRID_KEY", "SG.env")
    world.server(world.mailer(), "s", key=Env("A_SENDGRID_KEY"))
    rewrite(world.path, field("api_key", value))
    assert "api_key" in refuses(world, restarted(credentials={"operator": "SG.operator"}))


def test_reference_in_a_plain_option_breaks_the_server(world, restarted, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    world.server(world.mailer(), "s", "ses")
    rewrite(world.path, field("configuration_set", {"$env": "DATABASE_URL"}))
    refuses(world, restarted())


def test_added_option_breaks_the_server(world, restarted):
    world.server(world.mailer(), "s", "ses")
    rewrite(world.path, field("credentials", {"$named": "operator"}))
    refuses(world, restarted(credentials={"operator": "SG.operator"}))


def test_other_provider_name_breaks_the_server(world, restarted):
    world.server(world.mailer(), "s", "sendgrid")

    def change(document, _):
        document["provider"]["part"] = "elasticemail"
        return document

    rewrite(world.path, change)
    refuses(world, restarted())


def test_record_from_before_the_key_asks_for_its_provider(world, restarted, monkeypatch):
    monkeypatch.setenv("A_SENDGRID_KEY", "SG.env")
    mailer = world.mailer(secret_key=None)
    world.server(mailer, "s", key=Env("A_SENDGRID_KEY"))
    mailer = restarted()
    refuses(world, mailer)
    mailer.servers.update("s", provider=world.provider(key=Env("A_SENDGRID_KEY")))
    assert mailer.servers.send_test("s", to="me@example.org").proof


def test_broken_server_is_repaired_by_new_credentials(world, restarted):
    world.server(world.mailer(), "s")
    rewrite(world.path, field("base_url", "https://evil.example"))
    mailer = restarted()
    assert mailer.servers.get("s").status is Status.BROKEN
    mailer.servers.update("s", provider=world.provider(key="SG.again"))
    assert mailer.servers.send_test("s", to="me@example.org").proof
    mailer.servers.activate("s")
    assert restarted().send(message()).status is SendStatus.ACCEPTED


@frozen(kw_only=True)
class Older(SendGrid):
    name: ClassVar[str] = "grown"


@frozen(kw_only=True)
class Newer(SendGrid):
    name: ClassVar[str] = "grown"
    pool: str = option(label="Pool", default="")
    proxy: str = web_address(label="Proxy")


def test_edits_and_a_new_option_break_nothing(world, restarted):
    """Also where the new version's extra option is itself a destination."""
    mailer = world.mailer(register=[Older])
    mailer.servers.add(
        id="s", name="S", provider=Older(api_key="SG.any", base_url=world.sandbox.url("sendgrid")), sender="n@example.com"
    )
    assert mailer.servers.send_test("s", to="me@example.org").proof
    mailer.servers.activate("s")
    mailer.servers.update("s", name="renamed", quota=None, pause=None, senders=["example.com"])
    mailer = restarted(register=[Newer])
    assert mailer.servers.get("s").active
    assert mailer.send(message()).status is SendStatus.ACCEPTED
    mailer.servers.update("s", name="renamed by the new version")
    assert restarted(register=[Newer]).servers.get("s").active
    rewrite(world.path, field("proxy", "https://evil.example"))
    assert restarted(register=[Newer]).servers.get("s").status is Status.BROKEN


def test_renamed_and_limited_in_the_file_breaks_nothing(world, restarted):
    world.server(world.mailer(), "s")

    def change(document, _):
        return {**document, "name": "renamed in the file", "senders": ["example.com"], "limits": []}

    rewrite(world.path, change)
    assert restarted().servers.get("s").name == "renamed in the file"


@pytest.mark.parametrize("esp", ESPS)
def test_a_changed_destination_needs_the_secret_again(world, esp):
    mailer = world.mailer()
    mailer.servers.add(id="s", name="S", provider=world.provider(esp), sender="n@example.com")
    for server in (mailer.servers.get("s"), mailer.servers.update("s", name="T")):
        for name, value in ELSEWHERE[esp]:
            if value is None:
                continue
            moved = evolve(server.provider, **{name: value})
            with pytest.raises(ConfigurationError, match=r"give it again"):
                mailer.servers.update("s", provider=moved)
            with pytest.raises(ConfigurationError, match=r"give it again"):
                mailer.servers.update("s", provider=moved, test_to="me@example.org")
            with pytest.raises(ConfigurationError, match=r"give it again"):
                mailer.servers.check(provider=moved)
            with pytest.raises(ConfigurationError, match=r"give it again"):
                mailer.servers.add(name="U", provider=moved)
    assert world.sandbox.requests() == []
    again = {"access_key_id": "AKIAOTHER", "secret_access_key": "x" * 40} if esp == "ses" else {"key": "SG.any"}
    fields = {name: value for name, value in ELSEWHERE[esp][:1] if name != "base_url"}
    changed = mailer.servers.update("s", provider=world.provider(esp, **again, **fields))
    assert not changed.proven


def test_a_stored_secret_stays_in_its_account(world):
    mailer = world.mailer()
    world.server(mailer, "s")
    acme = mailer.accounts.add("acme", timezone="UTC")
    with pytest.raises(ConfigurationError, match="another account"):
        acme.servers.add(name="S", provider=mailer.servers.get("s").provider)
    with pytest.raises(ConfigurationError, match="another account"):
        acme.servers.check(provider=mailer.servers.get("s").provider)
    assert mailer.servers.add(name="copy", provider=mailer.servers.get("s").provider)


# -- any change of what is bound is noticed ------------------------------------------------------------

PROVIDERS = {
    "ses": SES(region="eu-west-1", access_key_id="AKIA", secret_access_key="wJalr", configuration_set="news"),
    "ses named": SES(region="eu-west-1", credentials=Named("operator")),
    "sendgrid": SendGrid(api_key="SG.any"),
    "sendgrid env": SendGrid(api_key=Env("SENDGRID_KEY")),
    "mailgun": Mailgun(api_key="key", domain="example.com", region="eu"),
    "elasticemail": ElasticEmail(api_key="key", base_url="https://api.elasticemail.com"),
}

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from(["", "us", "eu", "https://evil.example", "SG.any", "example.com "]),
    st.text(max_size=5),
    st.sampled_from([{"$env": "X"}, {"$named": "x"}, {"$env": "SENDGRID_KEY"}, ["a"], {}]),
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Any:
    path = tmp_path_factory.mktemp("bound") / "mail.db"
    with Mailer(f"sqlite:///{path}", secret_key=KEY) as mailer:
        for number, provider in enumerate(PROVIDERS.values()):
            mailer.servers.add(id=f"s{number}", name="S", provider=provider, sender="n@example.com")
    return path


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_every_change_of_a_bound_value_is_noticed(filled, tmp_path_factory, data):
    number = data.draw(st.integers(0, len(PROVIDERS) - 1))
    document, secrets = stored(filled, f"s{number}")
    before = json.loads(document)
    names = [*before["provider"]["fields"], "api_key", "credentials", "new"]
    name = data.draw(st.sampled_from(names))
    value = data.draw(VALUES)
    flipped = data.draw(st.one_of(st.none(), st.integers(0, len(secrets) - 1)))

    def change(found, sealed):
        if flipped is not None:
            at = bytearray(sealed)
            at[flipped] ^= 1
            return found, bytes(at)
        if data.draw(st.booleans(), label="drop") and name in found["provider"]["fields"]:
            del found["provider"]["fields"][name]
        else:
            found["provider"]["fields"][name] = value
        return found

    rewrite(filled, change, f"s{number}")
    after, sealed = stored(filled, f"s{number}")
    try:
        with Mailer(f"sqlite:///{filled}", secret_key=KEY) as mailer:
            status = mailer.servers.get(f"s{number}").status
        same = json.dumps(json.loads(after), sort_keys=True) == json.dumps(before, sort_keys=True) and sealed == secrets
        assert (status is not Status.BROKEN) == same
    finally:
        rewrite(filled, lambda *_: (before, secrets), f"s{number}")


def test_providers_of_other_files_stay_apart(world, restarted):
    """The same server under another key is a lost key, not a changed record."""
    world.server(world.mailer(), "s")
    assert "another key" in restarted(secret_key=OTHER_KEY).servers.get("s").reason
    assert provider_of(world.sandbox, "sendgrid")
