"""What is refused at hand-over: ``send``, ``enqueue`` and ``explain`` ask the same question and say the same."""

import json
from typing import Any, ClassVar

import pytest
from attrs import frozen
from engine_kit import ESPS, World, message
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from deliverykit import Attachment, ConfigurationError, Message, MessageError, SendStatus, Unsupported
from deliverykit.contracts.provider import Outgoing
from deliverykit.providers import SendGrid
from deliverykit.words.addresses import Address
from deliverykit.words.wire import HttpRequest, HttpResponse
from odd_messages import odd_extras, odd_messages

# -- the property ----------------------------------------------------------------------------------

FORCED = {"ses": "news@example.com", "sendgrid": None, "mailgun": "Ns <n@example.com>", "elasticemail": None}


def opened(world: World) -> Any:
    """One Mailer with a server of each ESP, some with a forced sender, and routes of one and of several."""
    if not world.opened:
        mailer = world.mailer(url="memory://", max_visible_recipients=100)
        for esp in ESPS:
            # `senders=` so that any From is allowed: what is tested is the ESP.
            world.server(mailer, esp, esp, sender=FORCED[esp], senders=None if esp != "mailgun" else ["example.com"])
            mailer.routes.add(f"only-{esp}", [esp])
        mailer.routes.add("all", list(ESPS))
        mailer.routes.add("two", ["elasticemail", "ses"])
    return world.opened[0]


ROUTES = ["all", "two", *(f"only-{esp}" for esp in ESPS)]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(mail=odd_messages(extras=False), route=st.sampled_from(ROUTES))
@example(mail=message(tags=["größe"]), route="only-mailgun")
@example(mail=message(headers={"List-Unsubscribe": "<https://example.org/u>"}), route="two")
@example(mail=message(attachments=[Attachment(filename="a.exe", content=b"x")]), route="two")
def test_send_enqueue_and_explain_agree(plain: World, mail: Message, route: str) -> None:
    mailer = opened(plain)
    plain.sandbox.clear()
    said = mailer.explain(mail, route=route)
    if said.status is SendStatus.REJECTED:
        assert {view.verdict for view in said.servers} == {"never"}
        for take in (mailer.send, lambda one, route: mailer.enqueue([one], route=route)):
            with pytest.raises(Unsupported) as refused:
                take(mail, route=route)
            assert refused.value.reasons == {view.name: view.reason for view in said.servers}
        return
    result = mailer.send(mail, route=route)
    assert result.status is SendStatus.ACCEPTED, result
    assert [one.server for one in result.attempts] == [said.server]
    (id_,) = mailer.enqueue([mail], route=route)
    mailer.worker().drain()
    assert mailer.log.get(id_).lines[-1].outcome == "accepted", mailer.log.get(id_).lines
    assert plain.sandbox.count() == 2


class Answering:
    """A transport whose ESPs take everything."""

    def send(self, request: HttpRequest) -> HttpResponse:
        if "/v3/mail/send" in request.url:
            return HttpResponse(status=202, headers={"X-Message-Id": "id"})
        return HttpResponse(status=200, body=b'{"MessageId": "id", "id": "<id>", "TransactionID": "id"}')

    def close(self) -> None:
        pass


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(mail=odd_messages(), extra=odd_extras(only_json=True), route=st.sampled_from(ROUTES))
def test_extra_is_judged_alike_by_all_three(plain: World, mail: Message, extra: dict[str, Any], route: str) -> None:
    if not plain.opened:
        mailer = plain.mailer(url="memory://", max_visible_recipients=100, transport=Answering())
        for esp in ESPS:
            options = {"sender": FORCED[esp], "senders": ["example.com"] if esp == "mailgun" else None}
            mailer.servers.add(id=esp, name=esp, provider=plain.provider(esp), **options)
            sender = None if FORCED[esp] else "me@example.com"
            mailer.servers.send_test(esp, to="me@example.org", sender=sender)
            mailer.servers.activate(esp)
            mailer.routes.add(f"only-{esp}", [esp])
        mailer.routes.add("all", list(ESPS))
        mailer.routes.add("two", ["elasticemail", "ses"])
    mailer = plain.opened[0]
    try:
        mail = mail.evolve(extra=extra)
    except MessageError:
        reject()
    said = mailer.explain(mail, route=route)
    if said.status is SendStatus.REJECTED:
        for take in (mailer.send, lambda one, route: mailer.enqueue([one], route=route)):
            with pytest.raises(Unsupported) as refused:
                take(mail, route=route)
            assert refused.value.reasons == {view.name: view.reason for view in said.servers}
        return
    result = mailer.send(mail, route=route)
    assert (result.status, [one.server for one in result.attempts]) == (SendStatus.ACCEPTED, [said.server]), result
    (id_,) = mailer.enqueue([mail], route=route)
    mailer.worker().drain()
    assert [line.outcome for line in mailer.log.get(id_).lines] == ["accepted"]


# -- one server cannot, another can ----------------------------------------------------------------

CARRIED: dict[str, tuple[str, dict[str, Any]]] = {
    "a file SES blocks": ("ses", {"attachments": [Attachment(filename="setup.exe", content=b"x")]}),
    "two subjects": ("ses", {"raw": b"From: a@example.com\r\nSubject: a\r\nSubject: b\r\n\r\nx", "subject": "", "text": None}),
    "a long line": ("ses", {"raw": b"From: a@example.com\r\nSubject: a\r\n\r\n" + b"y" * 1500, "subject": "", "text": None}),
    "a type with a semicolon": (
        "sendgrid", {"attachments": [Attachment(filename="a.ics", content=b"x", content_type="text/calendar; method=REQUEST")]},
    ),
    "no subject": ("sendgrid", {"subject": ""}),
    "an extra that touches From": ("sendgrid", {"extra": {"sendgrid": {"from": {"email": "evil@example.net"}}}}),
    "an unsubscribe header": ("elasticemail", {"headers": {"List-Unsubscribe": "<https://example.org/u>"}}),
    "two files of one name": (
        "elasticemail", {"html": "<p>", "attachments": [Attachment(filename=n, content=b"x", content_id="logo") for n in "ab"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CARRIED)
def test_the_next_server_carries_what_one_cannot(world: World, case: str) -> None:
    esp, fields = CARRIED[case]
    mailer = world.mailer()
    world.server(mailer, "a", esp)
    mailer.routes.add("r", ["a"])
    with pytest.raises(Unsupported) as told:
        mailer.enqueue([message(**fields)], route="r")
    assert set(told.value.reasons) == {"the server a"}
    world.server(mailer, "b", "mailgun")
    mailer.routes.update("r", servers=["a", "b"])
    assert [view.verdict for view in mailer.explain(message(**fields), route="r").servers] == ["never", "takes it now"]
    result = mailer.send(message(**fields), route="r")
    assert [one.server for one in result.attempts] == ["b"]
    (id_,) = mailer.enqueue([message(**fields)], route="r")
    mailer.worker().drain()
    assert [(line.outcome, line.server) for line in mailer.log.get(id_).lines] == [("accepted", "b")]
    assert world.sandbox.count("mailgun") == 2


def test_a_server_that_joins_later_is_judged_before_the_wire(world: World) -> None:
    """At hand-over only the servers of the route are asked; the worker asks again."""
    mailer = world.mailer()
    world.server(mailer, "m", "mailgun")
    mailer.routes.add("r", ["m"])
    mailer.servers.pause("m")
    (id_,) = mailer.enqueue([message(attachments=[Attachment(filename="a.exe", content=b"x")])], route="r")
    world.server(mailer, "s", "ses")
    mailer.routes.update("r", servers=["s", "m"])
    mailer.worker().drain()
    assert world.sandbox.count() == 0
    assert mailer.outbox.get(id_).state == "ready"
    mailer.servers.activate("m")
    mailer.worker().drain()
    assert world.sandbox.count("mailgun") == 1


def test_a_server_given_another_esp_carries_what_waited(world: World) -> None:
    mailer = world.mailer()
    world.server(mailer, "s", "ses")
    world.server(mailer, "m", "mailgun")
    mailer.routes.add("r", ["s", "m"])
    mailer.servers.pause("m")
    mailer.enqueue([message(attachments=[Attachment(filename="a.exe", content=b"x")])], route="r")
    mailer.worker().drain()
    assert world.sandbox.count() == 0
    mailer.servers.update("s", provider=world.provider("elasticemail"), test_to="me@example.org")
    world.sandbox.clear()
    mailer.worker().drain()
    assert world.sandbox.count("elasticemail") == 1


@pytest.mark.parametrize("choice", ["warn", "drop"])
def test_only_the_feature_that_hinders_is_left_out(world: World, choice: str) -> None:
    mailer = world.mailer(on_unsupported=choice)
    world.server(mailer, "a", "ses")
    world.server(mailer, "b", "mailgun")
    for route, server in (("s", "a"), ("m", "b")):
        mailer.routes.add(route, [server])
    odd = message(tags=["größe"], metadata={"k": "v"})
    for route in "sm":
        assert mailer.explain(odd, route=route).status is SendStatus.ACCEPTED
        assert mailer.send(odd, route=route).status is SendStatus.ACCEPTED
        mailer.enqueue([odd], route=route)
    mailer.worker().drain()
    assert {mail.tags for mail in world.sandbox.received()} == {()}
    assert [json.loads(mail.headers["X-Deliverykit-Metadata"]) for mail in world.sandbox.received("ses")] == [{"k": "v"}] * 2
    assert [mail.metadata for mail in world.sandbox.received("mailgun")] == [{"k": "v"}] * 2
    with pytest.raises(Unsupported, match="headers: X-SES-A"):
        mailer.send(message(tags=["größe"], headers={"X-SES-A": "b"}), route="s")


# -- extra -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sendgird", "did you mean 'sendgrid'?"),
        ("SendGrid", "did you mean 'sendgrid'?"),
        ("elastic-email", "did you mean 'elasticemail'?"),
        ("company", "did you mean 'sendgrid'?"),
        ("postmark", "known are elasticemail, mailgun, sendgrid, ses"),
    ],
)
def test_an_unknown_esp_in_extra_is_refused(world: World, name: str, hint: str) -> None:
    @frozen(kw_only=True)
    class Company(SendGrid):
        name: ClassVar[str] = "company"

    mailer = world.mailer(register=[Company])
    world.server(mailer, "a")
    odd = message(extra={"mailgun": {}, name: {"x": 1}})
    for take in (mailer.send, lambda one: mailer.enqueue([one])):
        with pytest.raises(MessageError) as told:
            take(odd)
        assert str(told.value).startswith(f"extra: no registered provider is of the ESP {name!r}")
        assert hint in str(told.value)
    said = mailer.explain(odd)
    assert said.reason == str(told.value)
    assert [(view.verdict, view.reason) for view in said.servers] == [("never", said.reason)]
    assert mailer.send(message(extra={"mailgun": {"o:tag": "x"}})).status is SendStatus.ACCEPTED


def test_a_host_s_own_esp_is_known_in_extra(world: World) -> None:
    @frozen(kw_only=True)
    class Own(SendGrid):
        name: ClassVar[str] = "own"
        esp: ClassVar[str] = "own-esp"

    mailer = world.mailer(register=[Own])
    world.server(mailer, "a")
    assert mailer.send(message(extra={"own-esp": {"x": 1}})).status is SendStatus.ACCEPTED


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"to": [f"p{number}@example.org" for number in range(25)]}, "25 people would see each other"),
        ({"in_doubt": "resend"}, "in_doubt"),
    ],
)
def test_explain_shows_what_send_raises_for_the_message(world: World, fields: dict[str, Any], says: str) -> None:
    mailer = world.mailer()
    world.server(mailer, "a")
    mailer.routes.add("r", ["a"], when_exhausted="reject")
    with pytest.raises(MessageError, match=says):
        mailer.send(message(**fields), route="r")
    said = mailer.explain(message(**fields), route="r")
    assert says in said.reason
    assert (said.status, said.server) == (SendStatus.REJECTED, None)


def test_explain_takes_a_message_only(world: World) -> None:
    mailer = world.mailer()
    world.server(mailer, "a")
    for take in (mailer.send, mailer.explain, lambda one: mailer.enqueue([one])):
        with pytest.raises(MessageError, match="Message"):
            take("no message")


# -- plug-ins --------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Buggy(SendGrid):
    """Fails where a message is judged, or where its request is built."""

    name: ClassVar[str] = "buggy"

    def unsupported(self, message: Message, sender: Address | None = None) -> tuple[str, ...]:
        if message.subject == "judge":
            raise KeyError("a bug")
        return super().unsupported(message, sender)

    def payload(self, mail: Outgoing) -> dict[str, Any]:
        if mail.message.subject == "build":
            raise KeyError("another bug")
        return super().payload(mail)


def with_bugs(world: World) -> Any:
    mailer = world.mailer(register=[Buggy])
    provider = Buggy(api_key="SG.bug", base_url=world.sandbox.url("sendgrid"))
    mailer.servers.add(id="bug", name="Buggy", provider=provider, sender="bug@example.com")
    mailer.servers.send_test("bug", to="me@example.org")
    mailer.servers.activate("bug")
    world.sandbox.clear()
    return mailer


def test_a_bug_in_unsupported_is_logged_and_a_reason(world: World, caplog: pytest.LogCaptureFixture) -> None:
    mailer = with_bugs(world)
    with pytest.raises(Unsupported, match="the provider buggy failed to judge a message: KeyError"):
        mailer.send(message(subject="judge"))
    assert "in unsupported" in caplog.text
    assert "test_handover.py" in caplog.text
    world.server(mailer, "b")
    assert [one.server for one in mailer.send(message(subject="judge")).attempts] == ["b"]


def test_a_test_email_names_a_bug_in_unsupported(world: World) -> None:
    @frozen(kw_only=True)
    class Broken(SendGrid):
        name: ClassVar[str] = "broken"

        def unsupported(self, message: Message, sender: Address | None = None) -> tuple[str, ...]:
            raise KeyError("a bug")

    mailer = world.mailer(register=[Broken])
    mailer.servers.add(id="b", name="B", provider=Broken(api_key="SG.b", base_url=world.sandbox.url("sendgrid")))
    with pytest.raises(ConfigurationError, match="the provider broken failed to judge a message: KeyError"):
        mailer.servers.send_test("b", to="me@example.org", sender="me@example.com")


def test_a_bug_in_payload_is_logged_with_its_place(world: World, caplog: pytest.LogCaptureFixture) -> None:
    mailer = with_bugs(world)
    (id_,) = mailer.enqueue([message(subject="build")])
    mailer.worker().drain()
    assert "in payload" in caplog.text
    assert "test_handover.py" in caplog.text
    assert "another bug" not in caplog.text  # an exception's text may hold a secret or an address
    assert "KeyError" in mailer.outbox.get(id_).reason


def without(part: type, *names: str) -> type:
    """The class with class attributes that hold nothing of use."""
    return type(f"No{names[0].title()}", (part,), {"name": "own", **dict.fromkeys(names)})


@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        ("capabilities", r"NoCapabilities has no capabilities; add  capabilities: ClassVar\[Capabilities\] = "),
        ("table", r"NoTable has no table; add  table: ClassVar\[Sequence\[Row\]\] = "),
        ("esp", r"NoEsp has no esp; add  esp: ClassVar\[str\] = '…'"),
        ("label", r"NoLabel has no label; add  label: ClassVar\[str\] = '…'"),
        ("name", r"NoName has no name; add  name: ClassVar\[str\] = '…'"),
    ],
)
def test_a_provider_without_its_class_attributes_is_refused(world: World, attribute: str, says: str) -> None:
    for part in (without(SendGrid, attribute), type(f"No{attribute.title()}", (without(SendGrid, attribute),), {})):
        with pytest.raises(ConfigurationError, match=f"register: {says}"):
            world.mailer(register=[part])
