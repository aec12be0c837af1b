"""The brake over traffic: bad lists, broken templates, account faults, allow-listed accounts, lost domains, several at once."""

from random import Random

import pytest
from attrs import evolve
from brake_traffic import HOUR, MINUTE, START, Answer, Mail, Traffic, listed
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from deliverykit.limits import Brake
from deliverykit.limits.brake import Effect, Refused
from deliverykit.words.outcomes import About

DAY = 24 * HOUR
SIMULATED = settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
"""A random seed has nothing to shrink."""
SEEDS = st.integers(0, 2**32)
UNLISTED = (About.UNKNOWN, "400: something about you is wrong")
NO_SUCH_USER = (About.UNKNOWN, "400: no such user")


def bad_recipients(mail: Mail, now: int) -> Answer:
    return NO_SUCH_USER if mail.bad else None


def ids(mails: list[Mail]) -> set[int]:
    return {mail.id for mail in mails}


@given(
    seed=SEEDS,
    share=st.floats(0.005, 0.05),
    run=st.sampled_from([1, 5, 20]),
    about=st.sampled_from([About.UNKNOWN, About.RECIPIENT]),
    places=st.sampled_from([1, 7, 50]),
    beside=st.booleans(),
)
@SIMULATED
def test_a_dirty_list_sends_all_that_is_good(
    seed: int, share: float, run: int, about: About, places: int, beside: bool
) -> None:
    random = Random(seed)
    traffic = Traffic(lambda mail, now: (about, "400: no such user") if mail.bad else None, random, places)
    bulk = listed(1_500, "bulk", share=share, run=run, random=random)
    traffic.add(*bulk)
    if beside:
        traffic.add(*listed(60, "receipts", random=random, first=10_000))
    for number in range(12):  # the list is over; some other message comes now and then
        traffic.run(until=START + (number + 1) * 4 * HOUR)
        traffic.add(Mail(20_000 + number, "bulk"))
    traffic.run(until=START + 4 * DAY)
    assert not traffic.paused
    assert not traffic.held
    assert ids(traffic.sent) >= {mail.id for mail in bulk if not mail.bad}
    assert all(mail.bad for mail in traffic.dead)
    assert all(mail.lane != "receipts" for mail in traffic.waiting)
    assert ids(traffic.dead) == {mail.id for mail in bulk if mail.bad}  # each got its second chance, and no third
    assert max((mail.calls for mail in bulk), default=0) <= 6


@given(seed=SEEDS, count=st.sampled_from([1, 2, 9, 200, 1_000]), lanes=st.integers(1, 3), places=st.sampled_from([1, 7, 50]))
@SIMULATED
def test_an_unlisted_account_fault_kills_nothing(seed: int, count: int, lanes: int, places: int) -> None:
    random = Random(seed)
    traffic = Traffic(lambda mail, now: UNLISTED if START + MINUTE <= now < START + 3 * DAY else None, random, places)
    for lane in range(lanes):
        traffic.add(*listed(30, f"lane {lane}", random=random, first=100_000 * lane + 1))
    traffic.run(until=START + MINUTE)
    before = len(traffic.sent)
    traffic.now = max(traffic.now, START + MINUTE)
    for lane in range(lanes):
        traffic.add(*listed(count, f"lane {lane}", random=random, first=100_000 * lane + 1_000))
    traffic.run(until=START + 3 * DAY)
    assert not traffic.dead
    assert len(traffic.sent) <= before + places
    assert traffic.calls - len(traffic.sent) <= 2 * places + 24 * lanes * min(count, 9)
    if count * lanes >= places + 10:
        assert traffic.paused
    assert not traffic.held
    traffic.now = START + 3 * DAY
    traffic.activate()
    effects = len(traffic.effects)
    traffic.run(until=START + 4 * DAY)
    assert not traffic.waiting
    assert not traffic.dead
    assert len(traffic.effects) == effects  # nothing trips again


@given(seed=SEEDS, fault=st.integers(1, 150), places=st.sampled_from([7, 50]))
@SIMULATED
def test_answers_under_way_when_the_fault_begins_are_no_evidence(seed: int, fault: int, places: int) -> None:
    """Messages sent before the fault are accepted after the first refusals come in."""
    traffic = Traffic(lambda mail, now: UNLISTED if traffic.calls > fault else None, Random(seed), places)
    traffic.add(*(Mail(number + 1, "one") for number in range(200)))
    traffic.run(until=START + DAY)
    assert not traffic.dead
    assert traffic.paused
    assert len(traffic.sent) == fault


def test_accepted_before_a_refusal_does_not_make_it_final() -> None:
    """Only a message that was admitted after the refusal shows that the server is well and the message is not."""
    refused = Refused(server=1, about=About.UNKNOWN, reason=7, lane=1, message=1)
    first = Brake.refused((), START, refused)
    again = evolve(refused, memo=first.memo)
    earlier, _ = Brake.accepted(first.state, START, lane=1, domain=0, mark=0)
    assert Brake.refused(earlier, START, again).delay > 0
    _, terms = Brake().take(first.state, START, 1)
    later, _ = Brake.accepted(first.state, START, lane=1, domain=0, mark=terms.mark)
    assert Brake.refused(later, START, again).delay == 0


@given(seed=SEEDS, fault=st.integers(0, 20))
@SIMULATED
def test_nine_messages_a_day_end_paused_and_none_dead(seed: int, fault: int) -> None:
    """Slow traffic: each message is alone with its refusal."""
    random = Random(seed)
    broken = START + fault * HOUR
    traffic = Traffic(lambda mail, now: UNLISTED if now >= broken else None, random)
    for number in range(60):
        traffic.add(Mail(number + 1, random.choice(["receipts", "codes"])))
        traffic.run(until=START + number * 160 * MINUTE)
    assert traffic.paused
    assert not traffic.dead
    traffic.answer = lambda mail, now: None
    traffic.activate()
    traffic.run(until=traffic.now + DAY)
    assert len(traffic.sent) == 60


@given(seed=SEEDS, places=st.sampled_from([1, 7, 50]), text=st.sampled_from([About.UNKNOWN]))
@SIMULATED
def test_a_broken_template_stops_only_its_lane(seed: int, places: int, text: About) -> None:
    random = Random(seed)
    traffic = Traffic(lambda mail, now: (text, "400: bad content") if mail.lane == "bulk" else None, random, places)
    traffic.add(*listed(400, "bulk", random=random))
    for number in range(200):
        traffic.add(Mail(10_000 + number, "receipts"))
        traffic.run(until=START + number * 5 * MINUTE)
    traffic.run(until=START + DAY)
    assert not traffic.paused
    assert sum(mail.lane == "receipts" for mail in traffic.sent) == 200
    assert traffic.held == {"bulk"}
    waited = [mail for mail in traffic.sent if mail.put_back]
    assert not waited
    bulk = sum(mail.calls for mail in [*traffic.waiting, *traffic.dead])
    assert bulk <= 3 * places + 60


@given(seed=SEEDS, allowed=st.floats(0.05, 0.5), gap=st.sampled_from([0, 160 * MINUTE]))
@SIMULATED
def test_an_allow_listed_account_is_stopped(seed: int, allowed: float, gap: int) -> None:
    """It accepts some recipients, so what it accepts between proves nothing."""
    random = Random(seed)
    traffic = Traffic(lambda mail, now: (About.RECIPIENT, "not on the list") if mail.bad else None, random)
    for number in range(300):
        traffic.add(Mail(number + 1, "receipts", bad=random.random() > allowed))
        traffic.run(until=START + number * gap + 1)
    traffic.run(until=traffic.now + 2 * DAY)
    opened = [one for one in traffic.effects if one is Effect.OPENED]
    assert opened
    assert traffic.calls < 1_200
    refused = sum(mail.bad for mail in traffic.dead)
    assert refused == len(traffic.dead)


@given(seed=SEEDS, places=st.sampled_from([1, 7, 50]), domains=st.integers(2, 6))
@SIMULATED
def test_a_lost_sender_domain_stops_that_domain_only(seed: int, places: int, domains: int) -> None:
    random = Random(seed)
    lost = START + MINUTE
    traffic = Traffic(
        lambda mail, now: (About.SENDER, "403: not verified") if mail.domain == "d0" and now >= lost else None, random, places,
        domains=tuple(f"d{number}" for number in range(domains)),
    )  # fmt: skip
    for number in range(400):
        traffic.add(Mail(number + 1, "one", domain=f"d{number % domains}"))
        traffic.run(until=START + number * MINUTE)
    traffic.run(until=START + 2 * DAY)
    assert not traffic.paused
    assert not traffic.dead
    assert traffic.held_domains == {"d0"}
    assert {mail.domain for mail in traffic.waiting} == {"d0"}
    assert sum(mail.calls - 1 for mail in traffic.sent) == 0
    traffic.answer = lambda mail, now: None
    traffic.activate()
    traffic.run(until=traffic.now + DAY)
    assert len(traffic.sent) == 400


@given(seed=SEEDS, about=st.sampled_from([About.UNKNOWN, About.RECIPIENT, About.SENDER]))
@SIMULATED
def test_one_bad_message_among_200_stops_nothing(seed: int, about: About) -> None:
    random = Random(seed)
    traffic = Traffic(lambda mail, now: (about, "refused") if mail.bad else None, random, places=50)
    mails = [Mail(number + 1, "one") for number in range(201)]
    mails[random.randrange(201)].bad = True
    traffic.add(*mails)
    traffic.run(until=START + 10 * MINUTE)
    assert len(traffic.sent) == 200
    assert not traffic.effects
    traffic.add(Mail(500, "one"))  # after the refusal: so it was the message, and the next one is final
    traffic.run(until=START + DAY)
    assert [mail.calls for mail in traffic.dead] == [2]


@given(seed=SEEDS)
@settings(SIMULATED, max_examples=10)
def test_a_dirty_list_and_an_account_fault_at_once(seed: int) -> None:
    """Before the fault the list's bad ones die; during it nobody does, bad or good."""
    random = Random(seed)
    fault = START + random.randrange(1, 40) * MINUTE

    def answer(mail: Mail, now: int) -> Answer:
        return UNLISTED if now >= fault else bad_recipients(mail, now)

    traffic = Traffic(answer, random, places=20)
    for batch in range(30):
        traffic.add(*listed(60, "bulk", share=0.03, run=5, random=random, first=batch * 100 + 1))
        traffic.add(Mail(50_000 + batch, "receipts"))
        traffic.run(until=START + batch * 2 * MINUTE)
    traffic.run(until=START + 2 * DAY)
    assert traffic.paused
    assert all(mail.bad for mail in traffic.dead)
    traffic.answer = lambda mail, now: None if now < 0 else bad_recipients(mail, now)
    traffic.activate()
    traffic.run(until=traffic.now + DAY)
    assert all(mail.bad for mail in [*traffic.dead, *traffic.waiting])
    assert not traffic.paused


@given(seed=SEEDS, texts=st.integers(1, 40))
@settings(SIMULATED, max_examples=10)
def test_the_state_stays_small(seed: int, texts: int) -> None:
    random = Random(seed)
    abouts = [About.UNKNOWN, About.RECIPIENT, About.SENDER]

    def answer(mail: Mail, now: int) -> Answer:
        kind = mail.id % texts
        return (abouts[kind % 3], f"text {kind}") if mail.bad else None

    traffic = Traffic(answer, random, places=20, domains=tuple(f"d{number}" for number in range(12)))
    for number in range(200):
        bad = random.random() < 0.3
        traffic.add(Mail(number + 1, random.choice("ab"), bad=bad, domain=f"d{random.randrange(12)}"))
        traffic.run(until=START + number * MINUTE)
    traffic.run(until=START + DAY)
    assert traffic.longest <= 2 + 8 * 16
    assert all(len(mail.memo) <= 25 for mail in traffic.waiting)


def test_good_traffic_leaves_the_state_as_it_is() -> None:
    """An accepted message is news once, after a refusal: then the store is not written for it."""
    random = Random(1)
    traffic = Traffic(bad_recipients, random, places=1)
    traffic.add(Mail(1, "one", bad=True), *(Mail(number, "one") for number in range(2, 5)))
    traffic.run(until=START + MINUTE)
    before = traffic.state
    traffic.add(*(Mail(number, "one") for number in range(10, 60)))
    traffic.run(until=START + 2 * MINUTE)
    assert traffic.state is before


@pytest.mark.parametrize("state", [(), (1,), (4, 3, 2), tuple(range(17))])
def test_a_state_of_another_form_stops_nothing(state: tuple[int, ...]) -> None:
    assert Brake().room(state, START) > 1
