"""Nothing leaves the queue silently: of each mail that was ever written down there is a row, or a line that says how it ended."""

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, field
from engine_kit import NOON
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deliverykit import AsyncMailer, CalendarQuota, ConfigurationError, Mailer, Message, NotFound, SendStatus, Unsupported
from deliverykit.contracts.books import MailState
from deliverykit.contracts.storage import Storage
from deliverykit.providers import SendGrid
from deliverykit.storages import open_storage
from deliverykit.testing import ManualClock
from deliverykit.words.errors import Stage, TransportError
from deliverykit.words.wire import HttpRequest, HttpResponse

SAID = {
    "rejected": (400, "The to email does not contain a valid address."),
    "throttled": (429, "too many requests"),
    "unavailable": (503, "Service Unavailable"),
    "unfit": (403, "The from address does not match a verified Sender Identity."),
}
ENDS = {"accepted", "resolved", "pruned", "erased"}
"""What the last line of a mail may say that is no longer there."""
REFUSED = {"rejected", "refused", "notsent", "throttled", "serverfault", "unfit"}
"""And of one that send() did not keep, as it told its caller."""


@define
class Mood:
    """An ESP whose answers are told beforehand, for both colours."""

    answers: list[str] = field(factory=list)

    def answer(self) -> HttpResponse:
        mood = self.answers.pop(0) if self.answers else "accepted"
        if mood == "hang":
            raise TransportError(Stage.READ, mood)
        if mood in SAID:
            status, words = SAID[mood]
            return HttpResponse(status=status, body=json.dumps({"errors": [{"message": words}]}).encode())
        return HttpResponse(status=202, headers={"x-message-id": "x"})


@define
class Blocking:
    mood: Mood

    def send(self, request: HttpRequest) -> HttpResponse:
        return self.mood.answer()

    def close(self) -> None:
        """Nothing was opened."""


@define
class Awaited:
    mood: Mood

    async def send(self, request: HttpRequest) -> HttpResponse:
        return self.mood.answer()

    async def aclose(self) -> None:
        """Nothing was opened."""


ROUTES = st.sampled_from(["over", "later", "never"])
WHO = st.sampled_from(["ann", "bob"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enqueue"), st.tuples(st.sampled_from(["over", "later"]), WHO, st.sampled_from([0, 0, 90, 7_200]),
                                                st.sampled_from([0, 0, 60, 9_000]))),
        st.tuples(st.just("send"), st.tuples(ROUTES, WHO)),
        st.tuples(st.just("moods"), st.lists(st.sampled_from([*SAID, "hang", "accepted"]), max_size=4)),
        st.tuples(st.just("work"), st.sampled_from([0, 100, 4_000, 90_000])),
        st.tuples(st.sampled_from(["cancel", "requeue", "prune", "as sent", "resend", "move", "brake"]), st.none()),
        st.tuples(st.just("erase"), WHO),
    ),
    min_size=2,
    max_size=12,
)  # fmt: skip


async def worked(storage: Storage, clock: ManualClock, mood: Mood) -> None:
    async with AsyncMailer(storage, clock=clock, transport=Awaited(mood)) as mailer:
        await mailer.worker().drain(timedelta(minutes=1))


def done(mailer: Mailer, storage: Storage, mood: Mood, clock: ManualClock, what: str, value: Any, told: set[str]) -> list[str]:
    """One step; the ids of mail that was handed in."""
    now = datetime.fromtimestamp(clock.now() / 1000, UTC)
    match what:
        case "enqueue":
            route, who, later, life = value
            times: dict[str, Any] = {"send_at": now + timedelta(seconds=later)} if later else {}
            times |= {"expires_at": now + timedelta(seconds=life + later)} if life else {}
            doubt = "resend" if later == 90 else "hold"
            people = [f"{who}@example.org", "carl@example.org"] if life else [f"{who}@example.org"]
            mail = Message(to=people, subject="…", text="…", in_doubt=doubt, **times)
            try:
                return mailer.enqueue([mail], route=route)
            except Unsupported:  # two people, and a quota of one: never written down
                return []
        case "send":
            result = mailer.send(Message(to=f"{value[1]}@example.org", subject="…", text="…"), route=value[0])
            if result.status is SendStatus.REJECTED:
                told.add(result.id)
            # Without an attempt it was never written down, and the caller knows.
            return [result.id] if result.attempts or result.id not in told else []
        case "moods":
            mood.answers = list(value)
        case "work":
            clock.advance(value)
            asyncio.run(worked(storage, clock, mood))
        case "cancel" | "requeue":
            getattr(mailer.outbox, what)(since=NOON - timedelta(days=9))
        case "prune":
            clock.advance(1)
            mailer.outbox.prune(older_than=timedelta(milliseconds=1))
        case "as sent" | "resend":
            mailer.outbox.resolve(before=now + timedelta(days=1), **{what.replace(" ", "_"): True})
        case "erase":
            mailer.erase(f"{value}@example.org")
        case "brake":
            mailer.pause_all("…") if not mailer.accounts.get("default").paused else mailer.resume_all()
        case "move":
            with suppress(ConfigurationError):  # something of it is in doubt
                mailer.routes.remove("over", move_to="later")
                mailer.routes.add("over", ["a", "b"])
    return []


@given(STEPS)
@example([("send", ("over", "bob"))] * 2 + [("moods", ["unavailable"]), ("send", ("never", "ann"))])
@example([("moods", ["hang"]), ("enqueue", ("over", "ann", 90, 0)), ("work", 100), ("work", 4_000), ("prune", None)])
@example([("enqueue", ("later", "bob", 0, 0)), ("cancel", None), ("prune", None)])
@example([("moods", ["hang"]), ("send", ("over", "ann")), ("as sent", None)])
@example([("moods", ["unavailable", "unavailable"]), ("send", ("never", "ann"))])
@settings(max_examples=150, deadline=None)
def test_each_mail_is_there_or_has_a_line_that_says_how_it_ended(steps: list[tuple[str, Any]]) -> None:
    clock, mood = ManualClock(NOON), Mood()
    storage = open_storage("memory://", clock)
    with Mailer(storage, clock=clock, transport=Blocking(mood)) as mailer:
        for id_ in ("a", "b"):
            mailer.servers.add(id=id_, name=id_, provider=SendGrid(api_key=f"SG.{id_}"), sender="n@example.com")
            assert mailer.servers.send_test(id_, to="me@example.org").proof
            mailer.servers.activate(id_)
        mailer.servers.update("a", quota=CalendarQuota(day=2))
        mailer.servers.update("b", quota=CalendarQuota(day=1))
        mailer.routes.add("over", ["a", "b"])
        mailer.routes.add("later", ["b"], when_exhausted="queue")
        mailer.routes.add("never", ["b", "a"], when_exhausted="reject")
        handed: list[str] = []
        refused: set[str] = set()
        for what, value in steps:
            handed += done(mailer, storage, mood, clock, what, value, refused)
            for uid in handed:
                check(mailer, uid, refused)
    storage.close()


def check(mailer: Mailer, uid: str, refused: set[str]) -> None:
    try:
        trace = mailer.log.get(uid)
    except NotFound:
        raise AssertionError(f"mail {uid} is gone, and nothing tells how") from None
    if trace.mail is not None:
        assert trace.mail.state in {state.name.lower() for state in MailState}
        assert trace.mail.state != "dead" or trace.lines
        assert trace.mail.state != "in_doubt" or trace.lines
        return
    assert trace.lines[-1].outcome in (ENDS | REFUSED if uid in refused else ENDS), trace
    assert trace.state == ("accepted" if any(line.outcome == "accepted" for line in trace.lines) else trace.lines[-1].outcome)
