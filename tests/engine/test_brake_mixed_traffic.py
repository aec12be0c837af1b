"""Several troubles at once, through a real Mailer on memory:// with a fake ESP and a manual clock."""

import json
from datetime import timedelta
from random import Random

from engine_kit import NOON
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from deliverykit import Mailer, Message
from deliverykit.providers import SendGrid
from deliverykit.testing import ManualClock
from deliverykit.words.wire import HttpRequest, HttpResponse


class FakeSendGrid:
    """Accepts every message, but refuses recipients named bad, the broken template, and the lost domain."""

    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.suspended = False

    def send(self, request: HttpRequest) -> HttpResponse:
        body = json.loads(request.body)
        to = body["personalizations"][0]["to"][0]["email"]
        text = next(iter(self._refused(body, to)), "")
        if text:
            return HttpResponse(status=400, headers={}, body=json.dumps({"errors": [{"message": text}]}).encode())
        self.accepted.append(to)
        return HttpResponse(status=202, headers={"x-message-id": f"m{len(self.accepted)}"}, body=b"")

    def _refused(self, body: dict, to: str):
        if self.suspended:
            yield "Nothing works for you any more"
        if to.startswith("bad"):
            yield "Nobody by that name lives here"
        if "broken" in body["subject"]:
            yield "Placeholders are wrong"
        if body["from"]["email"].endswith("@lost.example"):
            yield "The from address does not match a verified Sender Identity"

    def close(self) -> None:
        """Nothing is open."""


def opened(esp: FakeSendGrid, clock: ManualClock) -> Mailer:
    mailer = Mailer("memory://", clock=clock, transport=esp)
    mailer.servers.add(id="a", name="A", provider=SendGrid(api_key="SG.any"))
    assert mailer.servers.send_test("a", to="me@example.org", sender="news@example.com").proof
    mailer.servers.activate("a")
    esp.accepted.clear()
    return mailer


def mail(to: str, stream: str, *, sender: str = "news@example.com", subject: str = "Hello") -> Message:
    return Message(to=f"{to}@example.org", sender=sender, subject=subject, text="…", stream=stream)


@given(seed=st.integers(0, 2**32), places=st.sampled_from([1, 5, 50]), workers=st.sampled_from([1, 2]))
@settings(max_examples=3, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_each_trouble_stops_only_its_own(seed: int, places: int, workers: int) -> None:
    random, clock, esp = Random(seed), ManualClock(NOON), FakeSendGrid()
    with opened(esp, clock) as mailer:
        begin = random.randrange(10, 60)
        names = [f"{'bad' if begin <= n < begin + 5 else 'news'}{n}" for n in range(120)]
        mailer.enqueue([mail(name, "news") for name in names])
        mailer.enqueue([mail(f"offer{n}", "offers", subject="broken") for n in range(40)])
        mailer.enqueue([mail(f"lost{n}", "news", sender="shop@lost.example") for n in range(30)])
        dead = accepted = 0
        for number in range(90):
            mailer.enqueue([mail(f"code{number}", "codes")])
            for _ in range(workers):
                report = mailer.worker(concurrency=places).drain()
                dead, accepted = dead + report.dead, accepted + report.accepted
            clock.advance(timedelta(minutes=3))
        mailer.worker(concurrency=places).drain()
        assert mailer.servers.get("a").active
        got = set(esp.accepted)
        assert len(got) == len(esp.accepted)
        assert {f"code{number}@example.org" for number in range(90)} <= got
        assert {f"{name}@example.org" for name in names if name.startswith("news")} <= got
        assert dead == mailer.outbox.counts()["dead"]
        dead_ones = mailer.outbox.list(state="dead", limit=1_000)
        assert not [one for one in dead_ones if "Sender Identity" in one.reason]
        lost = mailer.outbox.list(reason="Sender Identity", limit=1_000)
        assert {one.attempts for one in lost} == {0}


@given(seed=st.integers(0, 2**32), places=st.sampled_from([1, 5, 50]), count=st.sampled_from([1, 9, 120]))
@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_a_fault_in_the_middle_of_traffic_kills_nothing(seed: int, places: int, count: int) -> None:
    random, clock, esp = Random(seed), ManualClock(NOON), FakeSendGrid()
    with opened(esp, clock) as mailer:
        for number in range(count):
            mailer.enqueue([mail(f"one{number}", random.choice(["news", "codes"]))])
        esp.suspended = False
        mailer.worker(concurrency=places).drain()
        esp.suspended = True
        for number in range(count):
            mailer.enqueue([mail(f"two{number}", random.choice(["news", "codes"]))])
        for _ in range(30):
            assert mailer.worker(concurrency=places).drain().dead == 0
            clock.advance(timedelta(minutes=20))
        counts = mailer.outbox.counts()
        assert counts["ready"] + counts["scheduled"] == count
        esp.suspended = False
        mailer.servers.activate("a")
        report = mailer.worker(concurrency=places).drain()
        assert (report.accepted, report.dead) == (count, 0)
        assert mailer.servers.get("a").active
        assert mailer.servers.health("a").circuit == "closed"
