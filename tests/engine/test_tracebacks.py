"""Tools show the locals of every frame of a traceback: none of them holds a secret."""

import copy
import json
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve, frozen
from engine_kit import KEY

from deliverykit import AsyncMailer, DeliveryError, Env, Mailer, Named, Secret, StorageError
from deliverykit.contracts.provider import Provider
from deliverykit.providers import SES, ElasticEmail, Mailgun, SendGrid
from deliverykit.storages import open_storage
from deliverykit.testing import ManualClock

CANARY = "SG.canary-4711"
BAD_KEY = "bad-canary-key-0815"


def shown(error: BaseException) -> str:
    """What such a tool shows, of causes and contexts too, but for the frames of this file."""
    seen: list[str] = []
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None:
            continue
        found = traceback.TracebackException.from_exception(one, capture_locals=True)
        seen += [str(one), repr(one), repr(one.args)]
        seen += [str(frame.locals) for frame in found.stack if frame.filename != __file__]
        left += [one.__cause__, one.__context__]
    return "\n".join(seen)


def failing_storage(where: str) -> Any:
    """A storage whose next write fails, deep inside SQLite's own wrapper."""
    storage = open_storage(where, ManualClock())
    connection = storage._db

    def fails(sql: str, parameters: Any = ()) -> Any:
        if sql.startswith("insert into dk_document"):
            raise StorageError("the disk is full")
        return type(connection).run(connection, sql, parameters)

    connection.run = fails
    return storage


def vault() -> str:
    raise ConnectionError("sealed")


def used(**options: Any) -> Any:
    return Mailer("memory://", **options)


def added(mailer: Any, provider: Any) -> Any:
    with mailer:
        return mailer.servers.add(name="S", provider=provider, sender="n@example.com", quota=None)


def twice(mailer: Any) -> None:
    for name in "ab":
        mailer.servers.add(id="s", name=name, provider=SendGrid(api_key=CANARY))


CASES: dict[str, Any] = {
    "misspelled": lambda _: SendGrid(api_kye=CANARY),  # type: ignore[call-arg]
    "of another provider": lambda _: SES(region="eu-west-1", api_key=CANARY),  # type: ignore[call-arg]
    "no key": lambda tmp: added(Mailer(f"sqlite:///{tmp}/a.db"), SendGrid(api_key=CANARY)),
    "no key, ses": lambda tmp: added(
        Mailer(f"sqlite:///{tmp}/a.db"), SES(region="eu-west-1", access_key_id=CANARY, secret_access_key=CANARY)
    ),
    "bad key": lambda tmp: Mailer("memory://", secret_key=BAD_KEY),
    "bad key as bytes": lambda tmp: Mailer("memory://", secret_key=BAD_KEY.encode()),
    "bad key of several": lambda tmp: Mailer("memory://", secret_key=[KEY, BAD_KEY]),
    "bad key, async": lambda tmp: AsyncMailer("memory://", secret_key=BAD_KEY),
    "bad zone beside a key": lambda tmp: Mailer("memory://", secret_key=KEY, timezone="Nowhere"),
    "bad base_urls beside credentials": lambda tmp: used(credentials={"main": CANARY, "acme": {"x": CANARY}}, base_urls=[5]),
    "bad env_allowed beside credentials": lambda tmp: used(credentials={"main": CANARY}, env_allowed=5),
    "unknown option": lambda tmp: used(secret_key=BAD_KEY, secret_kye=1),
    "bad mailgun domain": lambda tmp: Mailgun(api_key=CANARY, domain="not a domain"),
    "bad mailgun region": lambda tmp: Mailgun(api_key=CANARY, domain="example.com", region="xx"),
    "bad base_url": lambda tmp: SendGrid(api_key=CANARY, base_url="nowhere"),
    "bad base_url, elastic": lambda tmp: ElasticEmail(api_key=CANARY, base_url="https://api.elasticemail.com/v4"),
    "bad region": lambda tmp: SES(region="nowhere", access_key_id=CANARY, secret_access_key=CANARY),
    "half a pair": lambda tmp: SES(region="eu-west-1", secret_access_key=CANARY),
    "pair and name": lambda tmp: SES(region="eu-west-1", secret_access_key=CANARY, credentials=Named("x")),
    "key with a line end": lambda tmp: SendGrid(api_key=CANARY + "\n"),
    "key with a scheme": lambda tmp: SendGrid(api_key="Bearer " + CANARY),
    "key as bytes": lambda tmp: SendGrid(api_key=CANARY.encode()),
    "key in a list": lambda tmp: SendGrid(api_key=[CANARY]),
    "key by place": lambda tmp: SendGrid(CANARY),
    "unknown field": lambda tmp: SendGrid(api_key=CANARY, bogus=1),
    "bad sender": lambda tmp: Mailer("memory://").servers.add(name="S", provider=SendGrid(api_key=CANARY), sender="x"),
    "same id": lambda tmp: twice(Mailer("memory://")),
    "failing storage": lambda tmp: added(
        Mailer(failing_storage(f"sqlite:///{tmp}/b.db"), secret_key=KEY), SendGrid(api_key=CANARY)
    ),
    "failing memory": lambda tmp: added(Mailer(failing_storage("memory://")), SendGrid(api_key=CANARY)),
    "foreign provider": lambda tmp: added(Mailer("memory://"), Own(api_key=CANARY)),
    "pickled": lambda tmp: pickle.dumps(SendGrid(api_key=CANARY)),
}  # fmt: skip


@frozen(kw_only=True)
class Own(SendGrid):
    """Registered nowhere."""

    name = "own"


@pytest.mark.parametrize("case", CASES)
def test_no_local_holds_a_secret(case, tmp_path):
    with pytest.raises((DeliveryError, TypeError)) as told:
        CASES[case](tmp_path)
    text = shown(told.value)
    assert CANARY not in text
    assert BAD_KEY not in text
    assert KEY not in text


@pytest.mark.parametrize("variable", [BAD_KEY, f"{KEY},{BAD_KEY}"])
def test_no_local_holds_the_key_of_the_environment(monkeypatch, variable):
    monkeypatch.setenv("DELIVERYKIT_STORAGE", "memory://")
    monkeypatch.setenv("DELIVERYKIT_SECRET_KEY", variable)
    for build in (Mailer.from_env, AsyncMailer.from_env):
        with pytest.raises(DeliveryError) as told:
            build()
        assert BAD_KEY not in shown(told.value)


def test_a_failing_vault_shows_no_other_secret(caplog):
    with Mailer("memory://", credentials={"main": vault, "other": CANARY}) as mailer:
        report = mailer.servers.check(provider=SendGrid(api_key=Named("main")))
        assert report.status == "refused"
        assert CANARY not in str(report) + caplog.text


def test_a_failing_adapter_shows_no_key(monkeypatch):
    """The error that is logged carries the frames of the adapter's check."""
    seen: list[BaseException] = []

    def fails(self: Any, request: Any) -> Any:
        raise ZeroDivisionError

    for provider in (
        SendGrid(api_key=CANARY),
        Mailgun(api_key=CANARY, domain="example.com"),
        ElasticEmail(api_key=CANARY),
        SES(region="eu-west-1", access_key_id="AKIA", secret_access_key=CANARY),
    ):
        flow = provider.check(0)
        next(flow)
        with pytest.raises(ZeroDivisionError) as told:
            flow.throw(ZeroDivisionError())
        seen.append(told.value)
    assert CANARY not in "\n".join(map(shown, seen))


def secrets() -> Iterator[Secret]:
    yield Secret(CANARY)
    yield SendGrid(api_key=CANARY).api_key  # type: ignore[misc]
    yield evolve(SendGrid(api_key="x"), api_key=CANARY).api_key  # type: ignore[misc]


@pytest.mark.parametrize(
    "show",
    [
        repr, str, "{}".format, "{:>40}".format, "{!r:<40}".format, "%s".__mod__, lambda one: f"{one}", lambda one: f"{one:^30}",
        lambda one: repr([one]), lambda one: str({"a": one}), lambda one: json.dumps(one, default=repr),
        lambda one: repr(copy.copy(one)), lambda one: repr(copy.deepcopy([one])), lambda one: repr(dir(one)),
        lambda one: repr(one.home),
    ],
)  # fmt: skip
def test_a_secret_shows_itself_to_nobody(show):
    for one in secrets():
        assert CANARY not in show(one)


@pytest.mark.parametrize(
    "take",
    [
        pickle.dumps, lambda one: one.__reduce__(), lambda one: one.__reduce_ex__(4), lambda one: one.__getstate__(), json.dumps,
        vars, lambda one: copy.copy(one)._asdict(),
    ],
)  # fmt: skip
def test_a_secret_has_no_state_to_take(take):
    for one in secrets():
        with pytest.raises((TypeError, AttributeError)) as told:
            take(one)
        assert CANARY not in shown(told.value)
    assert copy.deepcopy(Secret(CANARY)) == Secret(CANARY)


def test_the_signature_of_a_provider_is_its_own():
    import inspect

    found = inspect.signature(SendGrid)
    assert list(found.parameters) == ["api_key", "base_url"]
    assert issubclass(SendGrid, Provider)
    assert SendGrid(api_key=Env("X")).api_key == Env("X")
