"""What a host may configure, what is refused by name, and where keys come from."""

import boto3
import pytest
from attrs import frozen
from provider_cases import NOW, plain

from deliverykit.contracts.provider import option
from deliverykit.providers.ses import SES
from deliverykit.words.credentials import Env, Named, Secret
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.outcomes import Scope

KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalr-very-secret"}
PLACE = {"region": "eu-west-1"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "access_key_id: missing"),
        ({"access_key_id": "A"}, "secret_access_key: missing"),
        ({"secret_access_key": "A"}, "access_key_id: missing"),
        ({"session_token": "T"}, "access_key_id: missing"),
        ({"access_key_id": "", "secret_access_key": "B"}, "access_key_id: empty"),
        ({**KEYS, "credentials": Named("mumbai")}, "access_key_id: given beside credentials"),
        ({"session_token": "T", "credentials": Named("mumbai")}, "session_token: given beside credentials"),
        ({"credentials": "mumbai"}, r"credentials: give Named"),
        ({"credentials": Env("X")}, r"credentials: give Named"),
        ({**KEYS, "configuration_set": "a b"}, "configuration_set: 'a b'"),
        ({**KEYS, "configuration_set": "x" * 65}, "configuration_set"),
        ({**KEYS, "secret_access_key": "abc\n"}, "secret_access_key: holds a line break"),
        ({**KEYS, "base_url": "email.eu-west-1.amazonaws.com"}, "base_url: not a web address"),
        ({**KEYS, "base_url": "https://user:pw@host"}, "base_url"),
        ({"access_key_id": 5, "secret_access_key": "B"}, "access_key_id: expected text"),
    ],
)
def test_what_cannot_work_is_refused_by_the_fields_name(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        SES(**{**PLACE, **fields})


@pytest.mark.parametrize(
    ("region", "hint"),
    [
        ("ap-south1", "'ap-south-1'"),
        ("AP-SOUTH-1", "'ap-south-1'"),
        ("us-esat-1", "'us-east-1'"),
        ("eu_west_1", "'eu-west-1'"),
        ("eu-west-1 ", "'eu-west-1'"),
        ("Mumbai", "looks like"),
        ("eu-west-1.evil.example/", "'eu-west-1'|looks like"),
    ],
)
def test_a_mistyped_region_is_refused_with_the_one_meant(region: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=f"SES region: .*({hint})"):
        SES(region=region, **KEYS)


@pytest.mark.parametrize("region", ["eu-west-1", "us-gov-west-1", "ap-southeast-19", "us-iso-east-1", "eu-northwest-4"])
def test_a_region_that_may_have_opened_since_is_taken(region: str) -> None:
    request = SES(region=region, **KEYS).request(plain(), NOW)
    assert request.url == f"https://email.{region}.amazonaws.com/v2/email/outbound-emails"


def test_every_known_region_is_botocores() -> None:
    from deliverykit.providers.ses.regions import _KNOWN

    session = boto3.Session()
    theirs = {*session.get_available_regions("sesv2"), *session.get_available_regions("sesv2", "aws-us-gov")}
    assert theirs <= {*_KNOWN}


def test_base_url_is_where_the_request_goes() -> None:
    assert (
        SES(**PLACE, **KEYS, base_url="http://127.0.0.1:9/").request(plain(), NOW).url
        == "http://127.0.0.1:9/v2/email/outbound-emails"
    )


class Moment:
    """What botocore gives for credentials that renew themselves."""

    access_key, secret_key, token = "ASIA", "s3cr3t-of-session", "t0ken-of-session"


class Session:
    """As a boto3 session, whose keys are others every time."""

    def __init__(self) -> None:
        self.asked = 0

    def get_credentials(self) -> "Session":
        self.asked += 1
        return self

    def get_frozen_credentials(self) -> Moment:
        return Moment()


@pytest.mark.parametrize(
    "value",
    [
        boto3.Session(
            aws_access_key_id="ASIA", aws_secret_access_key="s3cr3t-of-session", aws_session_token="t0ken-of-session"
        ),
        Session(),
        Session,
        lambda: Session(),
        lambda: {"access_key_id": "ASIA", "secret_access_key": "s3cr3t-of-session", "session_token": "t0ken-of-session"},
        {"aws_access_key_id": "ASIA", "aws_secret_access_key": "s3cr3t-of-session", "aws_session_token": "t0ken-of-session"},
    ],
)
def test_named_credentials_become_keys(value: object) -> None:
    named = SES(**PLACE, credentials=Named("mumbai"), configuration_set="events")
    resolved = named.with_credentials({Named("mumbai"): value}.__getitem__)
    assert resolved == SES(
        **PLACE,
        access_key_id="ASIA",
        secret_access_key="s3cr3t-of-session",
        session_token="t0ken-of-session",
        configuration_set="events",
    )
    request = resolved.request(plain(), NOW)
    assert request.headers["X-Amz-Security-Token"] == "t0ken-of-session"
    assert "s3cr3t" not in repr(resolved) + str(request)
    assert "t0ken" not in repr(resolved) + repr(request)


@pytest.mark.parametrize(
    "value", [None, "text", 5, {}, {"access_key_id": "A"}, lambda: None, {"access_key_id": 1, "secret_access_key": 2}]
)
def test_named_credentials_without_keys_are_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"SES credentials: Named\(name='mumbai'\) gives no keys"):
        SES(**PLACE, credentials=Named("mumbai")).with_credentials(lambda _: value)


def test_a_reference_that_names_nothing_is_refused_by_field_and_name() -> None:
    with pytest.raises(ConfigurationError, match=r"SES credentials: there is no Named\(name='mumbai'\)"):
        SES(**PLACE, credentials=Named("mumbai")).with_credentials({}.__getitem__)
    with pytest.raises(ConfigurationError, match=r"SES secret_access_key: Env\(name='KEY'\) gives no text"):
        SES(**PLACE, access_key_id="A", secret_access_key=Env("KEY")).with_credentials(lambda _: None)


def test_references_to_single_keys_are_resolved() -> None:
    found = {Env("ID"): "A", Named("key"): lambda: "B", Env("TOKEN"): Secret("C")}
    stored = SES(**PLACE, access_key_id=Env("ID"), secret_access_key=Named("key"), session_token=Env("TOKEN"))
    assert stored.with_credentials(found.__getitem__) == SES(
        **PLACE, access_key_id="A", secret_access_key="B", session_token="C"
    )
    plain_keys = SES(**PLACE, **KEYS)
    assert plain_keys.with_credentials(found.__getitem__) is plain_keys


@pytest.mark.parametrize("fields", [{"credentials": Named("mumbai")}, {"access_key_id": Env("ID"), "secret_access_key": "B"}])
def test_an_unresolved_reference_signs_nothing(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="resolved before a request"):
        SES(**PLACE, **fields).request(plain(), NOW)


def test_no_secret_in_any_text() -> None:
    ses = SES(**PLACE, **KEYS, session_token="t0ken-secret")
    request = ses.request(plain(), NOW)
    texts = [repr(ses), str(ses), repr(request), str(request), repr(ses.plain())]
    for call in (
        lambda: SES(**PLACE, secret_access_key="wJalr-very-secret"),
        lambda: SES(**PLACE, **{**KEYS, "session_token": "t0ken-secret\r"}),
    ):
        with pytest.raises(ConfigurationError) as caught:
            call()
        texts.append(f"{caught.value!r} {caught.value}")
    for secret in (*KEYS.values(), "t0ken-secret"):
        assert not any(secret in text for text in texts)
    assert ses.plain() == {"region": "eu-west-1", "configuration_set": "", "base_url": ""}


def test_servers_of_one_key_in_one_region_are_throttled_together() -> None:
    one = SES(**PLACE, **KEYS)
    key = one.scope_key(Scope.ACCOUNT)
    assert len(key) == 16
    assert key == SES(**PLACE, **{**KEYS, "secret_access_key": "renewed"}, configuration_set="x").scope_key(Scope.ACCOUNT)
    others = [
        SES(region="eu-west-2", **KEYS),
        SES(**PLACE, **{**KEYS, "access_key_id": "AKIDOTHER"}),
        SES(**PLACE, credentials=Named("mumbai")),
        SES(**PLACE, credentials=Named("other")),
        SES(**PLACE, **{**KEYS, "access_key_id": Env("ID")}),
    ]
    assert len({key, *(other.scope_key(Scope.ACCOUNT) for other in others)}) == 6
    assert one.scope_key(Scope.SERVER) == one.scope_key(Scope.DOMAIN) == ""


def test_a_subclass_with_a_field_of_its_own() -> None:
    @frozen(kw_only=True)
    class Tenant(SES):
        name = "tenant-ses"
        tenant: str = option(label="Tenant")

        def payload(self, mail):
            return super().payload(mail) | {"TenantName": self.tenant}

    tenant = Tenant(**PLACE, credentials=Named("mumbai"), tenant="acme")
    resolved = tenant.with_credentials(lambda _: Session())
    assert isinstance(resolved, Tenant)
    assert b'"TenantName": "acme"' in resolved.request(plain(), NOW).body
    assert [one.name for one in Tenant.options()] == [*(one.name for one in SES.options()), "tenant"]
    with pytest.raises(ConfigurationError, match="Tenant tenant: empty"):
        Tenant(**PLACE, **KEYS, tenant="")
