"""Verdicts: what is given back and what is spent for every outcome, in every situation."""

from itertools import product
from typing import Any

import pytest

from deliverykit.engine.settling.verdicts import CLOCK, Next, Situation, judge, unequipped
from deliverykit.words.outcomes import About, Accepted, NotSent, Outcome, Rejected, ServerFault, Throttled, Unfit, Unknown

SITUATIONS = [
    Situation(attempts=attempts, others=others, alternatives=alternatives, able=able, resend=resend, life=life)
    for attempts, others, alternatives, able, resend, life in product((0, 5), *[(False, True)] * 3, (0, 1000), (500, 10**9))
]
OUTCOMES: dict[str, Outcome] = {
    "accepted": Accepted("id"),
    **{f"rejected for {about}": Rejected("no", about) for about in About},
    **{f"unfit for {about}": Unfit("no", about) for about in About},
    "server fault": ServerFault("bad key"),
    "throttled": Throttled("later"),
    "not sent": NotSent("no route"),
    "clock": NotSent(f"{CLOCK} too old"),
    "unknown": Unknown("cut off"),
}


class Patience:
    """Gives up after the fifth attempt."""

    def seconds(self, attempts: int) -> "float | None":
        return 2.0 if attempts <= 5 else None


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_units_come_back_unless_it_may_have_gone(outcome: Outcome) -> None:
    for situation in SITUATIONS:
        verdict = judge(outcome, situation, Patience())
        assert verdict.refund is not isinstance(outcome, Accepted | Unknown), situation
        assert verdict.started


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_only_faults_of_the_way_spend_an_attempt(outcome: Outcome) -> None:
    for situation in SITUATIONS:
        verdict = judge(outcome, situation, Patience())
        of_the_way = isinstance(outcome, Unknown) or outcome == OUTCOMES["not sent"]
        assert verdict.spend is verdict.fault is of_the_way, situation
        assert bool(verdict.pause) is (isinstance(outcome, ServerFault) or getattr(outcome, "about", None) is About.ACCOUNT)
        assert bool(verdict.close) is isinstance(outcome, Throttled)
        assert verdict.bad_clock is (outcome == OUTCOMES["clock"])


@pytest.mark.parametrize(
    ("outcome", "given", "expected"),
    [
        ("not sent", {}, (Next.LATER, None)),
        ("not sent", {"others": True}, (Next.AGAIN, False)),
        ("not sent", {"attempts": 4}, (Next.LATER, None)),
        ("not sent", {"attempts": 5}, (Next.DEAD, None)),
        ("not sent", {"attempts": 5, "others": True}, (Next.DEAD, None)),
        ("rejected for message", {"able": True, "alternatives": True}, (Next.DEAD, None)),
        ("rejected for unknown", {"able": True}, (Next.AGAIN, True)),
        ("rejected for unknown", {"alternatives": True}, (Next.BACK, None)),
        ("unfit for message", {"alternatives": True}, (Next.AGAIN, True)),
        ("unfit for message", {"able": True}, (Next.DEAD, None)),
        ("unfit for unknown", {"able": True}, (Next.AGAIN, True)),
        ("unfit for unknown", {"alternatives": True}, (Next.BACK, None)),
    ],
)
def test_where_the_message_goes_on(outcome: str, given: "dict[str, Any]", expected: "tuple[Next, bool | None]") -> None:
    situation = Situation(**{"attempts": 0, "others": False, "alternatives": False, **given})
    verdict = judge(OUTCOMES[outcome], situation, Patience())
    assert (verdict.next, verdict.pass_over) == expected
    assert verdict.delay == (2.0 if verdict.next is Next.LATER else 0.0)


@pytest.mark.parametrize(
    ("others", "expected"), [(False, (Next.LATER, None, 60.0)), (True, (Next.AGAIN, False, 0.0))], ids=["alone", "others"]
)
def test_missing_credential_gives_the_units_back(others: bool, expected: "tuple[Next, bool | None, float]") -> None:
    verdict = unequipped("no password here", Situation(attempts=3, others=others, alternatives=True))
    assert (verdict.next, verdict.pass_over, verdict.delay) == expected
    assert verdict.refund
    assert (verdict.spend, verdict.fault, verdict.pause) == (False, False, "")
