"""What a host draws its form from."""

import json
import subprocess
import sys

import pytest

import deliverykit.providers as room
from deliverykit.contracts.provider import Provider
from deliverykit.providers import FieldInfo, ProviderInfo, available
from deliverykit.words.errors import ConfigurationError

INFOS = {one.name: one for one in available()}


def test_the_four_esps_in_order() -> None:
    assert [(one.name, one.label) for one in available()] == [
        ("ses", "Amazon SES"), ("sendgrid", "SendGrid"), ("mailgun", "Mailgun"), ("elasticemail", "Elastic Email"),
    ]  # fmt: skip


def test_mailgun_s_form() -> None:
    fields = {one.name: one for one in INFOS["mailgun"].fields}
    assert list(fields) == ["api_key", "domain", "region", "base_url"]
    assert [one.secret for one in fields.values()] == [True, False, False, False]
    assert [one.required for one in fields.values()] == [True, True, False, False]
    assert (fields["region"].choices, fields["region"].default) == (("us", "eu"), "us")
    assert fields["api_key"].where
    assert isinstance(fields["api_key"], FieldInfo)


@pytest.mark.parametrize("esp", ["SES", "SendGrid", "Mailgun", "ElasticEmail"])
def test_every_field_of_the_form_is_one_of_the_class_and_errors_use_its_name(esp: str) -> None:
    provider: type[Provider] = getattr(room, esp)
    info = ProviderInfo.of(provider)
    values = {
        one.name: {"region": "ap-south-1", "domain": "mg.example.com"}.get(one.name, "key")
        for one in info.fields
        if one.required
    }
    if esp != "SES":  # of its two ways to name credentials one must be taken, so neither field is required
        assert provider(**values).name == info.name
    assert all(one.label for one in info.fields)
    for one in info.fields:
        if one.required:
            with pytest.raises(ConfigurationError, match=rf"{esp} {one.name}\b"):
                provider(**{**values, one.name: ""})


def test_a_host_s_own_provider_is_described_too() -> None:
    class Company(room.SendGrid):
        name = "company"

    assert ProviderInfo.of(Company).name == "company"
    assert ProviderInfo.of(Company).fields == INFOS["sendgrid"].fields


def test_what_is_exported_is_there_and_nothing_else() -> None:
    assert set(room.__all__) <= set(dir(room))
    assert all(getattr(room, name) for name in room.__all__)
    with pytest.raises(AttributeError, match="Postmark"):
        room.Postmark  # noqa: B018


def test_the_form_loads_no_esp_s_own_library() -> None:
    script = (
        "import sys, json, deliverykit.providers as p; p.available();"
        "print(json.dumps([name for name in ('boto3', 'botocore', 'sendgrid', 'mailgun', 'ElasticEmail') if name in sys.modules]))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout
    assert json.loads(found) == []
