"""The comparison at the end of the demo: it holds where all is well, and each fault is found and named."""

from collections.abc import Sequence

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.cli.demo.check import Check, Expected, Rule, compare
from deliverykit.sandbox import Received
from deliverykit.words.addresses import Address

NOON = 1_767_225_600_000 + 12 * 3_600_000  # 2026-01-01T12:00Z: 17:30 in Kolkata, 07:00 in New York
SENDER = Address("news@in.example.com", "Example News")
SES = Rule(esp="ses", name="Amazon SES", sender=SENDER, hour=3, day=5, timezone="Asia/Kolkata", pause=100)
SPARE = Rule(esp="sendgrid", name="SendGrid", sender=SENDER, hour=9, day=9, timezone="America/New_York", idle=True)
PEOPLE = [
    Address("ann@example.org", "Ann"),
    Address("jörg@example.org".replace("ö", "o"), "Jörg"),
    Address("li@例え.example", "李"),
]
EXPECTED = {f"id{n}": Expected(one, f"Hello {one.name},") for n, one in enumerate(PEOPLE)}


def mail(id: str, to: str, *, at: int = NOON, esp: str = "ses", text: str = "", sender: str = SENDER.email) -> Received:
    return Received(
        esp=esp, at=at, sender=sender, sender_name="Example News", recipients=(to,), to=(to,), cc=(), bcc=(), reply_to=(),
        names={}, subject="", headers={}, text=text, html=None, attachments=(), tags=(), metadata={}, id=f"{id}-0123",
        provider_message_id="", credential="", raw=b"",
    )  # fmt: skip


RECEIVED = [
    mail(id_, one.recipient.ascii, at=NOON + 100 * n, text=f"{one.greeting}\r\nnews")
    for n, (id_, one) in enumerate(EXPECTED.items())
]


def broken(received: Sequence[Received], *, rules: Sequence[Rule] = (SES, SPARE), tests: Sequence[str] = ()) -> dict[str, str]:
    """The checks that do not hold, with their problems."""
    return {one.title: "; ".join(one.problems) for one in compare(EXPECTED, rules, received, tests) if one.problems}


def test_all_is_well() -> None:
    checks = compare(EXPECTED, (SES, SPARE), RECEIVED, ())
    assert not [one for one in checks if one.problems]
    assert all(isinstance(one, Check) and one.title and one.detail for one in checks)


def test_a_recipient_who_got_nothing() -> None:
    assert broken(RECEIVED[:2]) == {"Every recipient exactly once": "li@xn--r8jz45g.example: received 0 times instead of 1"}


def test_a_recipient_who_got_it_twice() -> None:
    found = broken([*RECEIVED, evolve(RECEIVED[0], at=NOON + 3_600_000)])
    assert found == {"Every recipient exactly once": "ann@example.org: received 2 times instead of 1"}


def test_a_stranger() -> None:
    found = broken([*RECEIVED, mail("id9", "who@example.org", at=NOON + 3_600_000)])
    assert "who@example.org: received 1 times instead of 0" in found["Every recipient exactly once"]
    assert "nobody enqueued" in found["Every mail its own"]


def test_mails_that_were_swapped_or_greet_another() -> None:
    swapped = [evolve(RECEIVED[0], id=RECEIVED[1].id), evolve(RECEIVED[1], id=RECEIVED[0].id), RECEIVED[2]]
    assert "the mail for ann@example.org went to jorg@example.org" in broken(swapped)["Every mail its own"]
    mangled = [*RECEIVED[:2], evolve(RECEIVED[2], text="Hello ?,")]
    assert broken(mangled) == {"Every mail its own": "ses: the mail to li@例え.example does not say 'Hello 李,'"}


def test_an_hour_over_its_quota_and_test_emails_count() -> None:
    test = mail("test", "me@example.org", at=NOON - 1_000)
    found = broken([test, *RECEIVED], tests=["test"])
    assert found == {"No window over its quota": "Amazon SES: 4 in the hour 2026-01-01 17:00 +0530, its quota is 3"}


def test_the_hour_is_the_servers_own() -> None:
    # 17:30 in Kolkata: half an hour later its next hour begins, New York's does not.
    late = [evolve(one, at=one.at + 1_800_000) for one in RECEIVED]
    tests = [mail("test", "me@example.org", at=NOON)]
    assert not broken([*tests, *late], tests=["test"])
    there = evolve(SES, timezone="America/New_York")
    assert "07:00 -0500" in broken([*tests, *late], rules=(there, SPARE), tests=["test"])["No window over its quota"]


def test_an_hour_that_the_clock_shows_twice_is_two() -> None:
    new_york = evolve(SES, timezone="America/New_York", pause=0)
    first = 1_793_509_200_000  # 2026-11-01T05:00Z, 01:00 EDT; an hour later it is 01:00 EST
    tests = [mail(f"t{n}", "me@example.org", at=first + n * 1_800_000) for n in range(4)]
    assert not broken([*tests], rules=(new_york,), tests=["t0", "t1", "t2", "t3"]).get("No window over its quota")
    assert "No window over its quota" in broken(tests, rules=(evolve(new_york, hour=1),), tests=["t0", "t1", "t2", "t3"])


def test_a_day_over_its_quota() -> None:
    tests = [mail(f"t{n}", "me@example.org", at=NOON + 3_600_000 * n) for n in range(1, 4)]
    found = broken([*RECEIVED, *tests], tests=["t1", "t2", "t3"])
    assert found == {"No window over its quota": "Amazon SES: 6 in the day 2026-01-01, its quota is 5"}


def test_another_from() -> None:
    found = broken([*RECEIVED[:2], evolve(RECEIVED[2], sender="ceo@example.com")])
    assert "came from Example News <ceo@example.com>" in found["The forced From on each"]
    assert broken([*RECEIVED[:2], evolve(RECEIVED[2], sender_name="")]).keys() == {"The forced From on each"}


def test_a_spare_server_that_was_used() -> None:
    found = broken([*RECEIVED[:2], evolve(RECEIVED[2], esp="sendgrid")])
    assert found == {"The queue route waited": "SendGrid: carried 1 mails of a route that waits for another server"}


def test_mail_faster_than_the_pause() -> None:
    rule = evolve(SES, hour=1_000, day=1_000)
    tests = [mail(f"t{n}", "me@example.org", at=NOON + 10_000 + 50 * n) for n in range(100)]
    found = broken([*RECEIVED, *tests], rules=(rule, SPARE), tests=[f"t{n}" for n in range(100)])
    assert found == {"The pause kept": "Amazon SES: 4950 ms faster than one every 100 ms"}


@given(st.lists(st.integers(0, 200), min_size=1, max_size=60), st.integers(10, 100), st.data())
def test_what_is_late_is_never_too_fast_and_a_burst_is(late: list[int], pause: int, data: st.DataObject) -> None:
    """Slots a pause apart, each start late by up to 200 ms: held. The same with a burst of more than a second: not."""
    rule = evolve(SES, pause=pause, hour=10_000, day=10_000)
    tests = [f"t{n}" for n in range(len(late) + 1 + 1_002 // pause)]

    def faulty(instants: list[int]) -> bool:
        received = [mail(f"t{n}", "me@example.org", at=NOON + at) for n, at in enumerate(instants)]
        return "The pause kept" in broken([*RECEIVED, *received][3:], rules=(rule,), tests=tests)

    slots = [n * pause + wait for n, wait in enumerate(late)]
    assert not faulty(slots)
    place = data.draw(st.integers(0, len(slots) - 1))
    burst = [slots[place]] * (1 + 1_002 // pause)
    assert faulty(slots + burst)
