"""Routers by what they promise: LeastUsed the largest share left, By the same server for the same thing."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliverykit import By, CalendarQuota, ConfigurationError, LeastUsed, Message, RollingQuota
from deliverykit.contracts.limit import State
from deliverykit.contracts.router import Standing
from deliverykit.engine.admission.admit import Candidates, admit
from deliverykit.engine.admission.gates import Gate
from deliverykit.engine.admission.lanes import Ticket
from deliverykit.records.route import WhenExhausted
from deliverykit.routers import Priority, RoundRobin
from deliverykit.words.clock import instant

NOON = instant(datetime(2026, 5, 4, 12, 30, tzinfo=UTC))
SERVERS = st.lists(st.text("abcdefgh0123-", min_size=1, max_size=12), min_size=1, max_size=6, unique=True)
SHARES = [str(share) for share in range(64)]
FIELDS = st.sampled_from(["recipient", "domain", "tag", "sender"])
WORDS = st.text("abcdefgh0123456789", min_size=1, max_size=8)


def ranked(router: By, servers: list[str], share: str) -> list[str]:
    return list(router.ranked(servers, (), Standing(share)))


@given(SERVERS, st.sampled_from(SHARES), st.randoms(use_true_random=False))
def test_by_is_a_permutation_that_does_not_hang_on_how_the_route_lists_them(servers, share, random) -> None:
    order = ranked(By("recipient"), servers, share)
    assert sorted(order) == sorted(servers)
    shuffled = list(servers)
    random.shuffle(shuffled)
    assert ranked(By("recipient"), shuffled, share) == order


@given(SERVERS, st.data())
def test_who_goes_moves_only_his_own_share_and_who_comes_takes_only_his(servers, data) -> None:
    gone = data.draw(st.sampled_from(servers))
    weights = data.draw(st.dictionaries(st.sampled_from(servers), st.integers(1, 9)))
    router = By("domain", weights)
    rest = [one for one in servers if one != gone]
    for share in SHARES:
        before, after = ranked(router, servers, share), ranked(router, rest, share)
        assert after == [one for one in before if one != gone]
        if before[0] != gone:
            assert after[0] == before[0]


@given(SERVERS, st.data())
def test_each_server_gets_about_its_weight_of_the_shares(servers, data) -> None:
    weights = {one: data.draw(st.integers(1, 5)) for one in servers}
    got = Counter(ranked(By("tag", weights), servers, share)[0] for share in SHARES)
    for one in servers:
        part = weights[one] / sum(weights.values())
        assert abs(got[one] - 64 * part) <= 1 + 5 * sqrt(64 * part * (1 - part))


@given(FIELDS, WORDS, WORDS, WORDS, WORDS)
def test_by_asks_for_its_field_alone(field, local, domain, tag, other) -> None:
    def mail(what: str, subject: str) -> Message:
        given = {"recipient": f"{local}@{domain}.example", "domain": domain, "tag": tag, "sender": "ann@example.com"}
        if what != field:
            given[what] = {"recipient": f"{other}@{domain}.example", "tag": other, "sender": f"{other}@example.com"}.get(
                what, ""
            )
        to = given["recipient"] if field == "recipient" or what == "recipient" else f"{local}@{domain}.example"
        return Message(to=to, sender=given["sender"], tags=[given["tag"]], subject=subject, text="…")

    asked = By(field).asks(mail(field, "one"))
    assert asked in SHARES
    for what in {"recipient", "tag", "sender"} - {field}:
        assert By(field).asks(mail(what, "two")) == asked


@given(st.lists(WORDS, min_size=200, max_size=200, unique=True))
def test_different_values_fall_into_different_shares_and_lanes_stay_few(words) -> None:
    mails = [Message(to=f"{word}@example.org", sender="ann@example.com", subject="…", text="…") for word in words]
    tickets = {Ticket.of(mail, (), By("recipient")) for mail in mails}
    assert 40 <= len(tickets) <= 64
    assert {Ticket.decode(ticket.encode()) for ticket in tickets} == tickets
    assert len({Ticket.of(mail, (), By("domain")) for mail in mails}) == 1


def test_mail_without_the_field_goes_in_the_routes_order() -> None:
    bare = Message(to="ann@example.org", subject="…", text="…")
    assert By("tag").asks(bare) == By("sender").asks(bare) == ""
    assert ranked(By("tag"), ["z", "a", "m"], "") == ["z", "a", "m"]
    assert Ticket.of(bare, (), By("tag")).encode() == Ticket.of(bare, ()).encode()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("colour",), "By field='colour': expected 'recipient', 'domain'"),
        (("tag", {"a": 0}), r"By weights\['a'\]=0: out of range"),
    ],
)
def test_by_refuses_what_it_cannot_do(arguments, words) -> None:
    with pytest.raises(ConfigurationError, match=words):
        By(*arguments)


# -- LeastUsed, in admission ---------------------------------------------------------------------------


@given(
    quotas=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 30)), min_size=1, max_size=4),
    costs=st.lists(st.integers(1, 4), min_size=1, max_size=25),
    rolling=st.booleans(),
    cut=st.integers(1, 25),
)
def test_least_used_is_the_largest_share_left_at_every_single_mail(quotas, costs, rolling, cut) -> None:
    gates, budget = {}, Gate(0, "b:plan/calendar", CalendarQuota(day=1000, timezone="UTC"), "budget plan")
    for place, (hour, day) in enumerate(quotas):
        server = f"s{place}"
        limits = (
            [RollingQuota(hour, per=timedelta(hours=3)), CalendarQuota(day=day, timezone="UTC")]
            if rolling
            else [CalendarQuota(hour=hour, day=day, timezone="UTC")]
        )
        gates[server] = (*(Gate(0, f"s:{server}/{one.key}", one, server) for one in limits), budget)
    candidates = Candidates(gates=gates, router=LeastUsed(), when_exhausted=WhenExhausted.FAILOVER)
    left = [[hour, day] for hour, day in quotas]
    expected = []
    for cost in costs:
        order = sorted(
            range(len(quotas)), key=lambda one: -min(rest / whole for rest, whole in zip(left[one], quotas[one], strict=True))
        )
        taker = next((one for one in order if min(left[one]) >= cost and min(quotas[one]) >= cost), None)
        if taker is None:
            break
        left[taker] = [rest - cost for rest in left[taker]]
        expected.append(f"s{taker}")
    whole = admit(candidates, costs, [{}], NOON)
    assert [grant.server for grant in whole.grants] == expected
    first = admit(candidates, costs[:cut], [{}], NOON)
    if len(first.grants) == len(costs[:cut]):
        second = admit(candidates, costs[cut:], [first.records[0]], NOON)
        assert [grant.server for grant in (*first.grants, *second.grants)] == expected


@given(SERVERS, st.data())
def test_least_used_is_a_permutation_and_keeps_the_routes_order_among_equals(servers, data) -> None:
    left = {one: data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])) for one in servers}
    order = list(LeastUsed().ranked(servers, (), Standing(left=left.__getitem__)))
    assert sorted(order) == sorted(servers)
    keys = [(-left[one], servers.index(one)) for one in order]
    assert keys == sorted(keys)


def test_what_is_said_of_a_routers_order_is_not_said_of_its_subclasses() -> None:
    class Turned(Priority):
        def order(self, servers: Sequence[str], state: State) -> Sequence[str]:
            return servers[::-1]

    assert (Priority.steady, By.steady, RoundRobin.steady, LeastUsed.steady, Turned.steady) == (True, True, False, False, False)
