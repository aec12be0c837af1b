"""The control of a sandbox answers whoever has its token, and no web page."""

import json
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from deliverykit import ConfigurationError
from deliverykit.sandbox import Sandbox


def called(sandbox: Sandbox, headers: dict[str, str], path: str = "/info") -> tuple[int, str]:
    place = urlsplit(sandbox.control_url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=10)
    try:
        connection.request("POST", path, json.dumps({}), headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def token(sandbox: Sandbox) -> str:
    return urlsplit(sandbox.control_url).path.strip("/")


def test_the_token_lets_in(sandbox: Sandbox) -> None:
    headers = {"Authorization": f"Bearer {token(sandbox)}"}
    place = urlsplit(sandbox.control_url)
    assert called(sandbox, headers)[0] == 200
    assert called(sandbox, {**headers, "Host": f"localhost:{place.port}"})[0] == 200
    assert called(sandbox, {**headers, "Origin": f"http://127.0.0.1:{place.port}"})[0] == 200
    assert Sandbox.attach(sandbox.control_url).count() == sandbox.count()
    assert len(token(sandbox)) >= 32


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer x", "Basic {}", "{}", "Bearer {}x", "bearer {}"])
@pytest.mark.parametrize("call", ["info", "reset", "nothing"])
def test_no_call_without_the_token(sandbox: Sandbox, given: str, call: str) -> None:
    headers = {"Authorization": given.format(token(sandbox))} if given else {}
    status, body = called(sandbox, headers, path=f"/{call}")
    assert status == 403
    assert token(sandbox) not in body


@pytest.mark.parametrize(
    "foreign",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "rebound.example:80"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
    ],
    ids=str,
)
def test_no_call_from_a_web_page(sandbox: Sandbox, foreign: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {token(sandbox)}", **foreign}
    assert called(sandbox, headers)[0] == 403


def test_attaching_without_the_token_is_refused(sandbox: Sandbox) -> None:
    place = urlsplit(sandbox.control_url)
    for url in (f"http://{place.netloc}", f"http://{place.netloc}/wrong"):
        with pytest.raises(ConfigurationError, match="token"):
            Sandbox.attach(url)
