"""The comparison at the end of the demo: it holds where all is well, and each fault is found and named."""

from collections.abc import Sequence

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.cli.demo.check import Check, Doubtful, Expected, Records, Rule, Spent, compare
from deliverykit.sandbox import Received, Submission
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


def log(received: Sequence[Received]) -> dict[str, str]:
    """A log of ours that says what the ESPs have."""
    return {one.id.partition("-")[0]: one.esp for one in received}


def broken(
    received: Sequence[Received],
    *,
    rules: Sequence[Rule] = (SES, SPARE),
    tests: Sequence[str] = (),
    records: Records | None = None,
    submissions: Sequence[Submission] = (),
) -> dict[str, str]:
    """The checks that do not hold, with their problems."""
    said = records or Records(accepted=log(received))
    checks = compare(EXPECTED, rules, received, tests, said, submissions)
    return {one.title: "; ".join(one.problems) for one in checks if one.problems}


def test_all_is_well() -> None:
    checks = compare(EXPECTED, (SES, SPARE), RECEIVED, (), Records(accepted=log(RECEIVED)))
    assert not [one for one in checks if one.problems]
    assert all(isinstance(one, Check) and one.title and one.detail for one in checks)


def test_a_recipient_who_got_nothing() -> None:
    assert broken(RECEIVED[:2]) == {"Every recipient exactly once": "li@xn--r8jz45g.example: received 0 times instead of 1"}


def test_a_recipient_who_got_it_twice() -> None:
    found = broken([*RECEIVED, evolve(RECEIVED[0], at=NOON + 3_600_000)])
    assert found == {"Every recipient exactly once": "ann@example.org: received 2 times instead of 1"}


def test_a_log_that_says_something_else() -> None:
    ours = log(RECEIVED)
    elsewhere = Records(accepted={**ours, "id0": "mailgun"})
    assert broken(RECEIVED, records=elsewhere) == {
        "Our log against theirs": "ann@example.org: we say mailgun has it, but ses does"
    }
    silent = Records(accepted={id_: esp for id_, esp in ours.items() if id_ != "id2"})
    assert broken(RECEIVED, records=silent) == {"Our log against theirs": "li@例え.example: we say nobody has it, but ses does"}
    assert broken(RECEIVED[:2], records=Records(accepted=ours))["Our log against theirs"] == (
        "li@例え.example: we say ses has it, but nobody does"
    )


def submission(id: str, *, accepted: bool = True, status: int = 200) -> Submission:
    return Submission(
        esp="ses", at=NOON, id=f"{id}-0123", status=status, accepted=accepted, fault="hang" * (not status), credential=""
    )


@pytest.mark.parametrize("received", [True, False])
def test_mail_in_doubt_that_was_sent_again_unasked(received: bool) -> None:
    """It may have gone once; once more where that did not arrive and it was sent again. A refusal is no such time."""
    doubt = Doubtful(id="id0", server="Amazon SES", recipient="ann@example.org", killed=False, received=received)
    records = Records(accepted=log(RECEIVED), doubts=(doubt,))
    hung = submission("id0", accepted=received, status=0)
    again = [] if received else [submission("id0")]
    refused = submission("id0", accepted=False, status=401)
    assert not broken(RECEIVED, records=records, submissions=[refused, hung, *again])
    found = broken(RECEIVED, records=records, submissions=[hung, *again, submission("id0", accepted=False, status=0)])
    assert "may have gone" in found["In doubt, and never sent again unasked"]
    lost = broken(RECEIVED[1:], records=evolve(records, accepted=log(RECEIVED[1:])), submissions=[hung])
    assert "In doubt, and never sent again unasked" in lost


def test_mail_in_doubt_is_counted_apart() -> None:
    doubts = [
        Doubtful(id=f"id{n}", server="Amazon SES", recipient="ann@example.org", killed=n > 0, received=n < 2) for n in range(3)
    ]
    checks = compare(EXPECTED, (SES, SPARE), RECEIVED, (), Records(accepted=log(RECEIVED), doubts=doubts))
    detail = next(one.detail for one in checks if one.title.startswith("In doubt"))
    assert detail == (
        "3 mails: 2 were on the killed worker's wire, 1 never answered; 2 had arrived, 1 had not and went again when told to"
    )


@pytest.mark.parametrize("used", [11, 13])
def test_units_that_were_spent_for_nothing_or_not_at_all(used: int) -> None:
    spent = Spent(name="SendGrid", used=12, received=9, missing=2, dropped=1, paused=True)
    assert not broken(RECEIVED, records=Records(accepted=log(RECEIVED), spent=(spent,)))
    found = broken(RECEIVED, records=Records(accepted=log(RECEIVED), spent=(evolve(spent, used=used),)))
    assert found == {"A unit for each mail, none for a refusal": f"SendGrid: {used} units are spent where 12 had to be"}


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
