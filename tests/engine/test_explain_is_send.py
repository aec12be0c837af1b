"""``explain`` against ``send``: in small random worlds its answer is what ``send`` then does, and it spends nothing."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, field
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deliverykit import By, CalendarQuota, Mailer, Message, MessageError, Pause, Priority, SendStatus, Unsupported, Weighted
from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.catalog import HOST_KEY, state_key
from deliverykit.engine.settling.verdicts import TenacityBackOff
from deliverykit.providers import SendGrid
from deliverykit.testing import ManualClock
from deliverykit.words.clock import instant
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.wire import HttpRequest, HttpResponse

NOON = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
ANSWERS = (
    "accepted",
    "rejected",
    "bad key",
    "no credits",
    "throttled",
    "unfit",
    "unavailable",
    "bad gateway",
    "refused",
    "hang",
)
FAULTS = ("unavailable", "bad gateway", "refused", "hang")
SAID = {
    "rejected": (400, "The to email does not contain a valid address."),
    "bad key": (401, "The provided authorization grant is invalid, expired, or revoked"),
    "no credits": (401, "Maximum credits exceeded"),
    "throttled": (429, "too many requests"),
    "unfit": (403, "The from address does not match a verified Sender Identity."),
    "unavailable": (503, "Service Unavailable"),
    "bad gateway": (502, "Bad Gateway"),
}


@define
class SendGridsMood:
    """A transport that answers as SendGrid does, by what it is told for each key."""

    clock: ManualClock
    answers: dict[str, str] = field(factory=dict)
    calls: list[tuple[str, int]] = field(factory=list)

    def send(self, request: HttpRequest) -> HttpResponse:
        server = {name.lower(): value for name, value in request.headers.items()}["authorization"].removeprefix("Bearer SG.")
        self.calls.append((server, self.clock.now()))
        answer = self.answers.get(server, "accepted")
        if answer == "accepted":
            return HttpResponse(status=202, headers={"x-message-id": f"id{len(self.calls)}"})
        if answer in ("refused", "hang"):
            raise TransportError(Stage.CONNECT if answer == "refused" else Stage.READ, answer)
        status, words = SAID[answer]
        return HttpResponse(status=status, body=json.dumps({"errors": [{"message": words}]}).encode())

    def close(self) -> None:
        """Nothing was opened."""


def books(mailer: Mailer) -> Any:
    """Everything that could be spent or written: all states, the outbox, the documents' version."""
    storage = mailer._context.storage

    def look(view: View) -> Step[Any]:
        return Step(result=(view.version, view.records))

    outbox = [(mail.id, mail.state, mail.attempts, mail.goes_at) for mail in mailer.outbox.list(limit=100)]
    return storage.transact("default", (state_key("default"), HOST_KEY), look)[0], outbox


@st.composite
def configured(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 3))
    servers = [
        {
            "quota": draw(st.none() | st.integers(1, 4) | st.just(0)),
            "pause": draw(st.none() | st.sampled_from([1, 3, 5.25, 20])),
            "senders": draw(st.sampled_from([None, None, None, ["other.example"]])),
            "forced": draw(st.booleans()),
            "keep": draw(st.sampled_from([0, 0, 0.3, 0.5])),
        }
        for _ in range(count)
    ]
    return {
        "servers": servers,
        "word": draw(st.sampled_from(["queue", "failover", "reject"])),
        "strategy": draw(
            st.sampled_from(["priority", "round_robin", "least_used", Weighted({"a": 2}), By("recipient"), By("tag", {"b": 3})])
        ),
        "budget": draw(st.none() | st.integers(2, 6)),
        "keep": draw(st.sampled_from([0, 0, 0.4])),
    }


MAILS = st.fixed_dictionaries(
    {
        "cost": st.sampled_from([1, 1, 1, 2, 3]),
        "who": st.integers(0, 5),
        "tag": st.sampled_from([(), ("x",), ("y",)]),
        "stream": st.sampled_from(["", "", "t"]),
    },
    optional={"send_in": st.sampled_from([60, 3600]), "expires_in": st.sampled_from([-5, 5, 90])},
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("mail"), MAILS),
        st.tuples(st.just("mail"), MAILS),
        st.tuples(st.just("mood"), st.tuples(st.sampled_from("abc"), st.sampled_from(ANSWERS))),
        st.tuples(st.just("run of faults"), st.tuples(st.sampled_from("abc"), st.sampled_from(FAULTS))),
        st.tuples(st.just("advance"), st.sampled_from([1, 4, 25, 40, 400, 3600, 90_000])),
        st.tuples(st.just("pause"), st.sampled_from("abc")),
        st.tuples(st.just("activate"), st.sampled_from("abc")),
    ),
    min_size=1,
    max_size=12,
)
PLAIN = {"cost": 1, "who": 0, "tag": (), "stream": ""}


def server(**given: Any) -> dict[str, Any]:
    return {"quota": None, "pause": None, "senders": None, "forced": True, "keep": 0, **given}


def world(*servers: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {"servers": list(servers), "word": "failover", "strategy": "priority", "budget": None, "keep": 0, **given}


@example(world(server(), server()), [("run of faults", ("a", "refused")), ("mail", PLAIN), ("advance", 40), ("mail", PLAIN)])
@example(world(server(quota=1), server(), word="queue"), [("mail", {**PLAIN, "cost": 3}), ("mail", PLAIN), ("mail", PLAIN)])
@example(world(server(pause=3), server()), [("mail", PLAIN), ("mail", PLAIN), ("mail", PLAIN)])
@example(world(server(pause=5.25), server()), [("mail", PLAIN), ("mail", PLAIN)])  # just as long as send() waits
@example(world(server(pause=20), word="reject"), [("mail", PLAIN), ("mail", PLAIN)])
@example(world(server(), word="queue"), [("run of faults", ("a", "hang")), ("mail", PLAIN), ("mail", {**PLAIN, "send_in": 60})])
@given(configured(), STEPS)
@settings(deadline=None)
def test_what_explain_says_is_what_send_does(given: dict[str, Any], steps: list[tuple[str, Any]]) -> None:
    clock = ManualClock(NOON)
    mood = SendGridsMood(clock)
    wait = TenacityBackOff(wait=lambda _: 7.0)  # type: ignore[arg-type]
    with Mailer("memory://", clock=clock, transport=mood, back_off=wait) as mailer:
        ids = "abc"[: len(given["servers"])]
        furnish(mailer, ids, given)
        for what, value in steps:
            match what:
                case "mood":
                    mood.answers[value[0]] = value[1]
                case "advance":
                    clock.advance(value)
                case "pause" | "activate":
                    if value in ids:
                        getattr(mailer.servers, what)(value)
                case "run of faults":
                    if value[0] in ids:
                        break_down(mailer, mood, *value)
                case _:
                    compare(mailer, mood, value)


def kept(share: float) -> dict[str, float]:
    return {"t": share} if share else {}


def furnish(mailer: Mailer, ids: str, given: dict[str, Any]) -> None:
    for one in ids:
        options = given["servers"]["abc".index(one)]
        forced = {"sender": f"{one}@example.com"} if options["forced"] else {}
        mailer.servers.add(id=one, name=one.upper(), provider=SendGrid(api_key=f"SG.{one}"), **forced)
        assert mailer.servers.send_test(one, to="me@example.org", **({} if forced else {"sender": "me@example.com"})).proof
        mailer.servers.activate(one)
        mailer.servers.update(
            one,
            senders=options["senders"],
            quota=None if options["quota"] is None else CalendarQuota(day=options["quota"], keep=kept(options["keep"])),
            pause=None if options["pause"] is None else Pause(timedelta(seconds=options["pause"])),
        )
    if given["budget"] is not None:
        from deliverykit import Budget

        budget = Budget(name="plan", limits=(CalendarQuota(hour=given["budget"], keep=kept(given["keep"])),))
        for one in ids:
            mailer.servers.update(one, budgets=[budget])
    mailer.routes.add("r", list(ids), strategy=given["strategy"], when_exhausted=given["word"])


def break_down(mailer: Mailer, mood: SendGridsMood, one: str, answer: str) -> None:
    """Five faults of one server in a row, by its tests; it keeps its mood."""
    before = mood.answers.get(one)
    mood.answers[one] = answer
    for _ in range(5):
        sender = {} if mailer.servers.get(one).sender else {"sender": "me@other.example"}
        try:
            mailer.servers.send_test(one, to="me@example.org", **sender)
        except Unsupported:
            return
    mood.answers.pop(one) if before is None else mood.answers.update({one: before})


def compare(mailer: Mailer, mood: SendGridsMood, value: dict[str, Any]) -> None:
    clock = mood.clock
    now = datetime.fromtimestamp(clock.now() / 1000, UTC)
    others: dict[str, Any] = {}
    if "send_in" in value:
        others["send_at"] = now + timedelta(seconds=value["send_in"])
    if "expires_in" in value and value.get("send_in", 0) < value["expires_in"]:
        others["expires_at"] = now + timedelta(seconds=value["expires_in"])
    people = [f"p{value['who']}-{number}@example.org" for number in range(value["cost"])]
    mail = Message(
        to=people, sender="ann@example.com", tags=value["tag"], stream=value["stream"], subject="…", text="…", **others
    )
    before = books(mailer)
    said = mailer.explain(mail, route="r")
    assert books(mailer) == before, "explain spent or wrote something"
    assert mailer.explain(mail, route="r") == said
    check_views(said, mailer, now)
    asked = clock.now()
    calls = len(mood.calls)
    try:
        done = mailer.send(mail, route="r")
    except Unsupported:
        assert {view.verdict for view in said.servers} == {"never"}
        assert (said.server, said.goes_at, said.status) == (None, None, SendStatus.REJECTED)
        return
    except MessageError:
        assert (said.server, said.status) == (None, SendStatus.REJECTED)
        assert "expires_at" in said.reason or "send_at" in said.reason
        return
    assert said.server == (done.attempts[0].server if done.attempts else None)
    if said.server is None:
        assert (done.status, done.goes_at) == (said.status, said.goes_at)
        assert len(mood.calls) == calls
        return
    starts = asked if said.goes_at is None else instant(said.goes_at)
    if len(mood.calls) > calls:
        assert mood.calls[calls][0] == said.server
        assert 0 <= mood.calls[calls][1] - starts <= 2
    if mood.answers.get(said.server, "accepted") == "accepted" and "expires_in" not in value:
        assert done.status is said.status is SendStatus.ACCEPTED


def check_views(said: Any, mailer: Mailer, now: datetime) -> None:
    """Every server of the route has its line, and it says why."""
    route = mailer.routes.get("r")
    views = {view.server: view for view in said.servers}
    assert list(views) == list(route.servers)
    takes = [view for view in said.servers if view.verdict.startswith("takes")]
    assert [view.server for view in takes] == ([said.server] if said.server else [])
    for view in said.servers:
        assert view.verdict in {"takes it now", "takes it", "waits", "is passed over", "never"}
        assert view.verdict.startswith("takes") or view.reason
        assert view.at is None or view.at >= now
        if view.verdict.startswith("takes"):
            assert (view.verdict == "takes it now") is (view.at is None)
        if view.verdict == "waits":
            assert view.waits
            assert view.at == view.waits[0].until
        health = mailer.servers.health(view.server)
        if health.circuit == "open" and mailer.servers.get(view.server).active and view.verdict != "never":
            assert view.server not in said.order
            assert (view.verdict, view.at) == ("is passed over", health.probe_at)
            assert "circuit" in view.reason
    assert all(mailer.servers.get(one).active and views[one].verdict != "never" for one in said.order)
    assert said.fallback_for is None or (said.fallback_for in views and said.fallback_for != said.server)
    if said.server and route.strategy == Priority():
        first = next(one for one in views if views[one].verdict != "never")
        assert said.fallback_for == (None if first == said.server else first)
    assert said.route in str(said)
    assert len(str(said).splitlines()) == 1 + len(views)
