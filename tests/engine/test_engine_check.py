"""Checking credentials without sending: both faces, every ESP, real answers and real faults of the sandbox."""

import time
from datetime import timedelta
from typing import ClassVar

import pytest
from attrs import frozen
from cryptography.fernet import Fernet
from engine_kit import ESPS, used

from deliverykit import CalendarQuota, CheckReport, CheckStatus, ConfigurationError, Env, Named, NotFound, Status
from deliverykit.contracts.provider import Provider
from deliverykit.providers import SendGrid
from deliverykit.words.checks import CheckProblem
from deliverykit.words.credentials import revealed
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.wire import HttpRequest, HttpResponse


def saved(world, mailer, esp="sendgrid", **fields):
    return mailer.servers.add(id="s", name="S", provider=world.provider(esp), sender="News <news@example.com>", **fields)


@pytest.mark.parametrize("esp", ESPS)
def test_a_server_and_a_provider_that_is_none_yet(world, esp):
    mailer = world.mailer()
    server = saved(world, mailer, esp)
    report = mailer.servers.check("s")
    assert report.ok, str(report)
    assert report.facts
    assert mailer.servers.check(server) == report == mailer.servers.check(provider=world.provider(esp))
    assert world.sandbox.requests() == []
    assert "SG.any" not in str(report)


@pytest.mark.parametrize("esp", ESPS)
@pytest.mark.parametrize("status", ["paused", "active"])
def test_a_check_changes_nothing_and_spends_nothing(world, esp, status):
    """Whatever it finds: no status, no proof, no quota, no circuit, no row."""
    mailer = world.mailer()
    if status == "active":
        world.server(mailer, "s", esp, quota=CalendarQuota(day=1))
    else:
        saved(world, mailer, esp, quota=CalendarQuota(day=1))
    before, count = mailer.servers.get("s"), used(mailer, "s")
    for fault in (None, "bad_key", "server_error", "throttle", "garbage"):
        if fault:
            world.sandbox.fault(esp, fault, times=None, on="all")
        for _ in range(6):
            assert isinstance(mailer.servers.check("s"), CheckReport)
        world.sandbox.clear_faults()
    assert mailer.servers.get("s") == before
    assert used(mailer, "s") == count
    health = mailer.servers.health("s")
    assert (health.circuit, health.faults, health.throttled_until) == ("closed", 0, None)
    assert sum(mailer.outbox.counts().values()) == 0
    assert world.sandbox.count() == 0


@pytest.mark.parametrize("esp", ESPS)
@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("bad_key", "refused", "refuses the key"),
        ("server_error", "unknown", "failed to answer"),
        ("throttle", "unknown", "wait"),
    ],
)
def test_what_the_esp_says_against_it(world, esp, fault, status, words):
    world.sandbox.fault(esp, fault, times=None, on="all")
    report = world.mailer().servers.check(provider=world.provider(esp))
    assert report.status == status
    assert not report
    assert words in report.problems[0].what
    assert report.problems[0].mend


@pytest.mark.parametrize("esp", ESPS)
def test_an_esp_that_hangs_is_waited_for_no_longer_than_asked(world, esp):
    world.sandbox.fault(esp, "hang", times=None, on="all")
    mailer = world.mailer()
    before = time.monotonic()
    report = mailer.servers.check(provider=world.provider(esp), within=timedelta(seconds=0.5))
    assert time.monotonic() - before < 28  # the transport alone would wait 30
    assert (report.status, "gave no answer" in report.problems[0].what) == (CheckStatus.UNKNOWN, True)


def test_what_may_be_repeated_is_repeated_a_few_times(world):
    world.sandbox.fault("sendgrid", "server_error", times=2, on="other")
    mailer = world.mailer()
    assert mailer.servers.check(provider=world.provider())
    assert 0 < world.clock.monotonic() < 10  # it waited between them, on the clock
    world.sandbox.fault("sendgrid", "throttle", times=3, on="other")
    assert mailer.servers.check(provider=world.provider()).status is CheckStatus.UNKNOWN
    assert mailer.servers.check(provider=world.provider())  # the three were all used up


class Broken:
    """A transport that fails in one way, and counts."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.requests: list[HttpRequest] = []

    def send(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        raise TransportError(self.stage, "out of order")

    def close(self) -> None: ...


@pytest.mark.parametrize(("stage", "tries"), [(Stage.CONNECT, 3), (Stage.READ, 1)])
def test_a_network_that_fails(plain, stage, tries):
    transport = Broken(stage)
    report = plain.mailer(transport=transport).servers.check(provider=plain.provider())
    assert (report.status, len(transport.requests)) == (CheckStatus.UNKNOWN, tries)
    assert f"{stage.value}: out of order" in report.problems[0].what
    assert "network" in report.problems[0].mend


def test_the_whole_time_holds_over_all_tries(plain):
    class Slow(Broken):
        def send(self, request):
            plain.clock.advance(timedelta(seconds=4))
            return super().send(request)

    transport = Slow(Stage.CONNECT)
    began = plain.clock.monotonic()
    plain.mailer(transport=transport).servers.check(provider=plain.provider(), within=timedelta(seconds=6))
    assert len(transport.requests) <= 2
    assert plain.clock.monotonic() - began <= 10
    lefts = [request.within for request in transport.requests]
    assert lefts[0] == 6
    assert all(left < 6 for left in lefts[1:])


def test_no_secret_is_in_a_report(world, caplog):
    key = "SG.canary-4711"
    world.sandbox.fault("sendgrid", "bad_key", text=f"key {key} is not known", on="other")
    report = world.mailer().servers.check(provider=world.provider(key=key))
    assert "key *** is not known" in str(report)
    assert "canary" not in str(report) + repr(report) + caplog.text


def test_credentials_by_reference(world, monkeypatch):
    monkeypatch.setenv("CHECK_KEY", "SG.env")
    world.sandbox.keys("sendgrid", ["SG.env", "SG.named"])

    def sealed():
        raise ConnectionError("the vault is sealed: hunter2")

    mailer = world.mailer(credentials={"good": "SG.named", "sealed": sealed})
    assert mailer.servers.check(provider=world.provider(key=Env("CHECK_KEY")))
    assert mailer.servers.check(provider=world.provider(key=Named("good")))
    assert mailer.servers.check(provider=world.provider(key="SG.other")).status is CheckStatus.REFUSED
    report = mailer.servers.check(provider=world.provider(key=Env("NOT_THERE")))
    assert (report.status, "'NOT_THERE' is missing" in report.problems[0].what) == ("refused", True)
    report = mailer.servers.check(provider=world.provider(key=Named("sealed")))
    assert "ConnectionError" in str(report)
    assert "hunter2" not in str(report)


def test_what_the_account_is_told_to_be(world):
    mailer = world.mailer()
    world.sandbox.account("ses", ProductionAccessEnabled=False)
    assert "sandbox" in str(mailer.servers.check(provider=world.provider("ses")))
    world.sandbox.account("sendgrid", scopes=["alerts.read"])
    assert "mail.send" in mailer.servers.check(provider=world.provider("sendgrid")).problems[0].what
    world.sandbox.verify_only("mailgun", ["other.example"])
    assert "unverified" in mailer.servers.check(provider=world.provider("mailgun")).problems[0].what
    world.sandbox.domains(["other.example"])
    assert "region" in mailer.servers.check(provider=world.provider("mailgun")).problems[0].mend
    world.sandbox.verify_only("elasticemail", ["example.com"])
    assert mailer.servers.check(provider=world.provider("elasticemail")).facts["Verified domains"] == "example.com"
    with pytest.raises(ConfigurationError, match="tells no 'Scopes', only scopes"):
        world.sandbox.account("sendgrid", Scopes=[])
    world.sandbox.account("sendgrid")
    assert mailer.servers.check(provider=world.provider("sendgrid"))


def test_a_mailgun_key_that_may_only_send(world):
    """The kind of key the documentation recommends: refused by the domain call, taken by the sending call."""
    world.sandbox.fault("mailgun", "bad_key", on="other")
    report = world.mailer().servers.check(provider=world.provider("mailgun"))
    assert report.ok
    assert "may send" in report.facts["Key"]
    assert [one.accepted for one in world.sandbox.requests("mailgun")] == [False]


def test_the_clock_of_this_machine(live):
    live.sandbox.check_clock(True)
    live.sandbox.move_clock(timedelta(minutes=10))
    report = live.mailer().servers.check(provider=live.provider("ses"))
    assert (report.status, "clock" in report.problems[0].what) == (CheckStatus.REFUSED, True)


def test_what_cannot_be_asked_for(world):
    mailer = world.mailer()
    for given in ({}, {"id": "s", "provider": world.provider()}):
        with pytest.raises(ConfigurationError, match="one of the two"):
            mailer.servers.check(**given)
    with pytest.raises(ConfigurationError, match="within"):
        mailer.servers.check(provider=world.provider(), within="5 s")
    with pytest.raises(ConfigurationError, match="provider"):
        mailer.servers.check(provider="sendgrid")
    with pytest.raises(NotFound):
        mailer.servers.check("nobody")


def test_a_server_that_is_broken(world, restarted):
    saved(world, world.mailer())
    mailer = restarted(secret_key=Fernet.generate_key())
    assert mailer.servers.get("s").status is Status.BROKEN
    with pytest.raises(ConfigurationError, match="BROKEN"):
        mailer.servers.check("s")


# -- a host's own adapter ---------------------------------------------------------------------------


@frozen(kw_only=True)
class Inherits(SendGrid):
    name: ClassVar[str] = "inherits"


@frozen(kw_only=True)
class Uncheckable(SendGrid):
    name: ClassVar[str] = "uncheckable"
    check = Provider.check


@frozen(kw_only=True)
class Endless(SendGrid):
    name: ClassVar[str] = "endless"

    def check(self, now):
        while True:
            yield HttpRequest(method="GET", url=f"{self.base_url}/v3/scopes")


@frozen(kw_only=True)
class Fails(SendGrid):
    name: ClassVar[str] = "fails"

    def check(self, now):
        yield HttpRequest(method="GET", url=f"{self.base_url}/v3/scopes")
        raise KeyError("oh")


@frozen(kw_only=True)
class Silent(SendGrid):
    name: ClassVar[str] = "silent"

    def check(self, now):
        yield from ()


@frozen(kw_only=True)
class Repeats(SendGrid):
    name: ClassVar[str] = "repeats"

    def check(self, now):
        yield from ()
        key = revealed(self.api_key)
        problem = CheckProblem(what=f"what {key}", mend=f"mend {key}")
        return CheckReport.of({f"name {key}": f"value {key}"}, [problem])


def test_no_secret_of_an_adapters_report_is_shown(world):
    report = world.mailer(register=[Repeats]).servers.check(provider=Repeats(api_key="SG.canary-4711"))
    assert report.facts == {"name ***": "value ***"}
    assert report.problems == (CheckProblem(what="what ***", mend="mend ***"),)


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        (Inherits, "ok", ""),
        (Uncheckable, "unknown", "cannot be asked without sending; send a test email"),
        (Endless, "unknown", "came to no report"),
        (Fails, "unknown", "KeyError"),
        (Silent, "unknown", "came to no report"),
    ],
)
def test_an_adapter_of_a_hosts_own(world, kind, status, words):
    report = world.mailer(register=[kind]).servers.check(
        provider=kind(api_key="SG.any", base_url=world.sandbox.url("sendgrid"))
    )
    assert report.status == status
    assert words in str(report)
