"""A tenant reaches neither the host's credentials and variables nor an address that the host did not allow."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from attrs import evolve, field, frozen
from engine_kit import AWS, message
from test_bound_secrets import rewrite

from deliverykit import ConfigurationError, Env, Mailer, Named, NotFound, Secret, SendStatus
from deliverykit.contracts.provider import option
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid

PAGE = b"<html>internal page, root:x:0:0 aws_secret=canary</html>"


@pytest.fixture
def listener() -> Iterator[Any]:
    """An internal service: what came to it, and where it is."""
    came: list[tuple[str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        status = 200

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            came.append((self.path, str(self.headers), body))
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(PAGE)))
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.came, server.handler = came, Handler  # type: ignore[attr-defined]
    server.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def tenant(mailer, id="acme"):
    return mailer.accounts.add(id, timezone="UTC")


def test_named_credentials_belong_to_an_account(world):
    mailer = world.mailer(
        credentials={"main": "SG.operator", "acme": {"main": "SG.acme"}, "globex": {"other": lambda: "SG.globex"}}
    )
    acme, globex = tenant(mailer), tenant(mailer, "globex")
    url = world.sandbox.url("sendgrid")
    for face, name in ((mailer, "main"), (acme, "main"), (globex, "other")):
        face.servers.add(id="s", name="S", provider=SendGrid(api_key=Named(name), base_url=url), sender="n@example.com")
        assert face.servers.send_test("s", to="me@example.org").proof
    globex.servers.add(id="t", name="T", provider=SendGrid(api_key=Named("main"), base_url=url), sender="n@example.com")
    assert globex.servers.send_test("t", to="me@example.org").status is not SendStatus.ACCEPTED
    assert globex.servers.check("t").status == "refused"
    assert [mail.credential for mail in world.sandbox.received()] == ["SG.operator", "SG.acme", "SG.globex"]


def test_a_callable_answers_per_account(world):
    asked = []

    def vault(account: str, name: str) -> Any:
        asked.append((account, name))
        if account == "other":
            raise KeyError(name)
        return {("default", "main"): "SG.operator", ("acme", "main"): lambda: Secret("SG.acme")}.get((account, name))

    mailer = world.mailer(credentials=vault)
    url = world.sandbox.url("sendgrid")
    for face in (mailer, tenant(mailer)):
        face.servers.add(id="s", name="S", provider=SendGrid(api_key=Named("main"), base_url=url), sender="n@example.com")
        assert face.servers.send_test("s", to="me@example.org").proof
    assert set(asked) == {("default", "main"), ("acme", "main")}
    for face, name in ((tenant(mailer, "other"), "main"), (mailer.account("acme"), "operator")):
        report = face.servers.check(provider=SendGrid(api_key=Named(name), base_url=url))
        assert report.status == "refused"
        assert "no entry" in str(report)


@pytest.mark.parametrize("name", ["pair", "access_key_id", "secret_access_key", "acme"])
def test_a_pair_of_keys_is_nobodys_account(world, name):
    """A tenant may choose its id; one that is the name of the host's AWS keys must not read them as names."""
    mailer = world.mailer(credentials={"pair": {"access_key_id": AWS[0], "secret_access_key": AWS[1]}})
    face = tenant(mailer, "pair")
    report = face.servers.check(provider=SendGrid(api_key=Named(name), base_url=world.sandbox.url("sendgrid")))
    assert report.status == "refused"
    assert mailer.servers.check(provider=SES(region="us-east-1", credentials=Named("pair"), base_url=world.sandbox.url("ses")))
    assert not face.servers.check(
        provider=SES(region="us-east-1", credentials=Named("pair"), base_url=world.sandbox.url("ses"))
    )


def test_variables_are_read_by_list_only(world, monkeypatch):
    for name in ("DATABASE_URL", "MAIL_KEY", "ACME_KEY"):
        monkeypatch.setenv(name, f"SG.{name}")

    def may(face: Any, name: str) -> bool:
        provider = SendGrid(api_key=Env(name), base_url=world.sandbox.url("sendgrid"))
        try:
            report = face.servers.check(provider=provider)
        except ConfigurationError as error:
            assert "env_allowed" in str(error)  # noqa: PT017
            for act in (
                lambda: face.servers.add(name="S", provider=provider),
                lambda: face.servers.update("keep", provider=provider),
                lambda: face.servers.update("keep", provider=provider, test_to="me@example.org"),
            ):
                with pytest.raises(ConfigurationError, match="env_allowed"):
                    act()
            return False
        return bool(report)

    cases: list[tuple[Any, dict[tuple[str, str], bool]]] = [
        (None, {("default", "DATABASE_URL"): True, ("acme", "DATABASE_URL"): False, ("acme", "MAIL_KEY"): False}),
        (["MAIL_*"], {("default", "DATABASE_URL"): False, ("default", "MAIL_KEY"): True, ("acme", "MAIL_KEY"): True}),
        ([], {("default", "MAIL_KEY"): False, ("acme", "MAIL_KEY"): False}),
        (
            {"acme": ["ACME_KEY"]},
            {("default", "DATABASE_URL"): True, ("acme", "ACME_KEY"): True, ("acme", "MAIL_KEY"): False,
             ("other", "ACME_KEY"): False},
        ),
        (["mail_*", "Database_Url"], {("acme", "MAIL_KEY"): False, ("acme", "DATABASE_URL"): False}),
    ]  # fmt: skip
    for allowed, expected in cases:
        mailer = world.mailer(env_allowed=allowed)
        tenant(mailer)
        tenant(mailer, "other")
        for (account, name), answer in expected.items():
            face = mailer.account(account) if account != "default" else mailer
            if not any(one.id == "keep" for one in face.servers.list()):
                face.servers.add(id="keep", name="Keep", provider=SendGrid(api_key="SG.x"), sender="n@example.com")
            assert may(face, name) is answer, (allowed, account, name)


def test_a_stored_variable_is_checked_when_it_is_used(world, monkeypatch, restarted):
    """The list may be shorter today than when the server was added."""
    monkeypatch.setenv("MAIL_KEY", "SG.mail")
    face = tenant(world.mailer(env_allowed=["MAIL_*"]))
    url = world.sandbox.url("sendgrid")
    face.servers.add(id="s", name="S", provider=SendGrid(api_key=Env("MAIL_KEY"), base_url=url), sender="n@example.com")
    assert face.servers.send_test("s", to="me@example.org").proof
    face.servers.activate("s")
    mailer = restarted()
    face = mailer.account("acme")
    world.sandbox.clear()
    assert face.send(message()).status is SendStatus.QUEUED
    assert "env_allowed" in face.outbox.list()[0].reason
    with pytest.raises(ConfigurationError, match="env_allowed"):
        face.servers.send_test("s", to="me@example.org")
    assert face.servers.check("s").status == "refused"
    mailer.worker().drain()
    assert world.sandbox.requests() == []


# -- where credentials may go ----------------------------------------------------------------------------

FOREIGN = [
    "https://evil.example", "https://api.sendgrid.com.evil.example", "https://evil.example/api.sendgrid.com",
    "https://api.sendgrid.com:8443", "http://api.sendgrid.com", "https://127.0.0.1:9", "http://127.0.0.1:9",
    "http://localhost:9", "http://[::1]:9", "http://[::ffff:127.0.0.1]:9", "https://169.254.169.254", "https://10.0.0.1",
    "https://api-sendgrid.com", "https://xapi.sendgrid.com",
]  # fmt: skip
MALFORMED = [
    ("https://api.sendgrid.com@evil.example", "holds a user"), ("https://api.sendgrid.com.", "ends in a dot"),
    *[(f"http://{host}", "not an IPv4 address") for host in ("2130706433", "0x7f000001", "127.1")],
    ("https://ａpi.sendgrid.com", "xn--"), ("https://api.sendgrid.com\\@evil.example", "a backslash"),
]  # fmt: skip


@pytest.mark.parametrize("url", FOREIGN)
def test_a_tenant_sends_to_the_esp_only(world, url):
    mailer = world.mailer(base_urls=())
    face = tenant(mailer)
    face.servers.add(id="s", name="S", provider=SendGrid(api_key="SG.x"), sender="n@example.com")
    provider = SendGrid(api_key="SG.x", base_url=url)
    for act in (
        lambda: face.servers.check(provider=provider),
        lambda: face.servers.add(name="S", provider=provider),
        lambda: face.servers.update("s", provider=provider),
        lambda: face.servers.update("s", provider=provider, test_to="me@example.org"),
    ):
        with pytest.raises(ConfigurationError, match="base_urls"):
            act()
    assert len(face.servers.list()) == 1


@pytest.mark.parametrize(("url", "why"), MALFORMED)
def test_an_address_that_can_be_misread_is_refused(url, why):
    with pytest.raises(ConfigurationError, match=f"base_url: not a web address .*{why}"):
        SendGrid(api_key="SG.x", base_url=url)


@pytest.mark.parametrize(
    "provider",
    [
        SendGrid(api_key="x"),
        SendGrid(api_key="x", base_url="https://API.eu.sendgrid.com"),
        SES(region="ap-south-1", access_key_id="A", secret_access_key="B"),
        SES(region="ap-south-1", access_key_id="A", secret_access_key="B", base_url="https://email.ap-south-1.amazonaws.com"),
        Mailgun(api_key="x", domain="example.com", region="eu"),
        ElasticEmail(api_key="x", base_url="https://api.elasticemail.com/"),
    ],
    ids=str,
)
def test_a_tenant_uses_the_esps_own_hosts(world, provider):
    face = tenant(world.mailer(base_urls=()))
    assert face.servers.add(name="S", provider=provider)


@pytest.mark.parametrize(
    "url", ["https://email.eu-west-1.amazonaws.com", "https://email.s3.amazonaws.com", "https://s3.ap-south-1.amazonaws.com"]
)
def test_a_tenant_uses_its_own_region_only(world, url):
    face = tenant(world.mailer(base_urls=()))
    with pytest.raises(ConfigurationError, match="base_urls"):
        face.servers.add(name="S", provider=SES(region="ap-south-1", access_key_id="A", secret_access_key="B", base_url=url))


@pytest.mark.parametrize(
    ("allowed", "url", "may"),
    [
        ("https://proxy.example", "https://proxy.example/sendgrid", True),
        ("https://proxy.example", "https://PROXY.example:443", True),
        ("https://proxy.example", "http://proxy.example", False),
        ("https://proxy.example", "https://proxy.example:8443", False),
        ("https://proxy.example", "https://a.proxy.example", False),
        ("proxy.example", "http://proxy.example:8080", True),
        ("proxy.example:8080", "http://proxy.example:8080", True),
        ("proxy.example:8080", "http://proxy.example:8081", False),
        ("http://10.0.0.5:8080", "http://10.0.0.5:8080", True),
        ("http://[::1]:8025", "http://[0::0:1]:8025", True),
    ],
)
def test_the_program_allows_other_addresses(world, allowed, url, may):
    mailer = world.mailer(base_urls=[allowed])
    face = tenant(mailer)
    for one in (face, mailer):
        if may or (one is mailer and url.startswith("https://")):
            assert one.servers.add(name="S", provider=SendGrid(api_key="SG.x", base_url=url))
        else:
            with pytest.raises(ConfigurationError, match="base_urls"):
                one.servers.add(name="S", provider=SendGrid(api_key="SG.x", base_url=url))


@pytest.mark.parametrize("wrong", ["https://x", ["https://x/path"], ["https://u:p@x"], [5], 5, ["ftp://x"], ["http://127.1"]])
def test_wrong_options_are_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match="base_urls"):
        Mailer("memory://", base_urls=wrong)


@pytest.mark.parametrize(
    ("name", "wrong"), [("env_allowed", "MAIL_*"), ("env_allowed", [5]), ("env_allowed", 5), ("credentials", 5),
                        ("credentials", {5: "x"}), ("env_allowed", {"acme": "X"})]
)  # fmt: skip
def test_wrong_credentials_options_are_refused(name, wrong):
    with pytest.raises(ConfigurationError, match=name):
        Mailer("memory://", **{name: wrong})


@frozen(kw_only=True)
class Elsewhere(SendGrid):
    """A host's adapter that puts its address together from an option that is no web address."""

    name: ClassVar[str] = "elsewhere"
    place: str = option(label="Host", destination=True)
    built: list[str] = field(factory=list, init=False, eq=False)

    def payload(self, mail: Any) -> dict[str, Any]:
        object.__setattr__(self, "base_url", f"http://{self.place}")  # what a careless author might do
        return super().payload(mail)


def test_the_request_itself_is_checked(world, listener):
    mailer = world.mailer(base_urls=(), register=[Elsewhere])
    face = tenant(mailer)
    provider = Elsewhere(api_key="SG.x", place=listener.url.removeprefix("http://"))
    face.servers.add(id="s", name="S", provider=provider, sender="n@example.com")
    result = face.servers.send_test("s", to="me@example.org")
    assert result.status is not SendStatus.ACCEPTED
    assert "base_urls" in result.reason
    assert listener.came == []


def test_a_record_in_the_store_is_checked(world, restarted, listener):
    """Without a key nothing binds a record with references; the address is still checked at use."""
    mailer = world.mailer(secret_key=None, env_allowed=["MAIL_KEY"])
    face = tenant(mailer)
    face.servers.add(id="s", name="S", provider=SendGrid(api_key=Env("MAIL_KEY")), sender="n@example.com")

    def change(document: Any, _: object) -> Any:
        document["provider"]["fields"]["base_url"] = listener.url
        return {**document, "status": "active", "proven": True}

    rewrite(world.path, change, account="acme")
    mailer = restarted(secret_key=None, env_allowed=["MAIL_KEY"], base_urls=())
    face = mailer.account("acme")
    face.send(message())
    mailer.worker().drain()
    with pytest.raises(ConfigurationError, match="base_urls"):
        face.servers.send_test("s", to="me@example.org")
    assert not face.servers.check("s")
    assert listener.came == []


@pytest.mark.parametrize("status", [200, 302, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("esp", ["ses", "sendgrid", "mailgun", "elasticemail"])
def test_a_foreign_page_is_in_no_report(world, listener, status, esp):
    listener.handler.status = status
    mailer = world.mailer()
    provider = world.provider(esp, base_url=listener.url)
    mailer.servers.add(id="s", name="S", provider=provider, sender="n@example.com")
    seen = [mailer.servers.check("s"), mailer.servers.check(provider=provider)]
    seen.append(mailer.servers.send_test("s", to="me@example.org"))
    assert listener.came
    told = "\n".join([*map(str, seen), *map(repr, seen), repr(mailer.servers.get("s")), repr(mailer.log.list())])
    assert "internal page" not in told
    assert "canary" not in told


def test_a_tenant_learns_no_other_tenants_name(world):
    mailer = world.mailer()
    for name in ("acme", "secret-customer"):
        tenant(mailer, name)
    for call in (lambda: mailer.account("acm"), lambda: mailer.accounts.get("acm"), lambda: mailer.accounts.update("acm")):
        with pytest.raises(NotFound) as told:
            call()
        assert "secret-customer" not in str(told.value)
        assert "acme" not in str(told.value)


def test_a_copy_of_a_stored_provider_names_no_secret(world):
    mailer = world.mailer()
    mailer.servers.add(id="s", name="S", provider=world.provider(key="SG.canary"), sender="n@example.com")
    provider = mailer.servers.get("s").provider
    assert "SG.canary" not in repr(evolve(provider)) + str(provider.plain()) + json.dumps(provider.plain())
