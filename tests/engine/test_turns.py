"""How a worker's places are shared: between accounts, streams, lanes. And that nobody starves where there is less than places."""

from collections import Counter

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from deliverykit.contracts.books import Lane, LaneKey
from deliverykit.engine.delivery.turns import Turns

LANES = st.lists(
    st.tuples(st.sampled_from("AB"), st.sampled_from("rq"), st.sampled_from("st"), st.integers(0, 3), st.integers(1, 60)),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one[:4],
)


def lanes_of(given: list[tuple[str, str, str, int, int]]) -> list[Lane]:
    return [Lane(at, LaneKey(*names, str(number)), ready) for at, (*names, number, ready) in enumerate(given, 1)]


@given(LANES, st.sets(st.integers(1, 8)), st.integers(0, 60), st.dictionaries(st.sampled_from("AB"), st.integers(0, 40)))
def test_places_are_shared(given: list[tuple[str, str, str, int, int]], first: set[int], places: int, flying: dict[str, int]):
    lanes = lanes_of(given)
    firsts = frozenset(first)
    asked = Turns().shares(lanes, firsts, places, flying)
    shares = Counter({lane.id: count for lane, count in asked})
    assert len(shares) == len(asked)
    assert all(0 < shares[lane.id] <= lane.ready for lane, _ in asked)
    assert shares.total() == min(places, sum(lane.ready for lane in lanes))  # no place is left empty, none is given twice
    accounts = {name: [lane for lane in lanes if lane.key.account == name] for name in "AB"}
    got = {name: sum(shares[lane.id] for lane in mine) for name, mine in accounts.items()}
    for name, other in ("AB", "BA"):
        if got[name] < sum(lane.ready for lane in accounts[name]):  # it wants more: nobody has got past it
            assert not got[other] or flying.get(other, 0) + got[other] <= flying.get(name, 0) + got[name] + 1
        rest = [lane for lane in accounts[name] if lane.id not in firsts]
        least = min(sum(lane.ready for lane in rest), got[name] // 4)
        assert sum(shares[lane.id] for lane in rest) >= least
        ahead = [lane for lane in accounts[name] if lane.id in firsts]
        left = sum(lane.ready - shares[lane.id] for lane in ahead)
        assert not left or sum(shares[lane.id] for lane in rest) == min(sum(lane.ready for lane in rest), got[name] // 4)


def test_streams_are_equal_however_many_lanes_they_have():
    many = [Lane(at, LaneKey("A", "r", "news", str(at)), 1_000) for at in range(1, 51)]
    one = Lane(60, LaneKey("A", "r", "reset", ""), 100)
    shares = Counter({lane.key.stream: 0 for lane in many})
    for lane, count in Turns().shares([*many, one], frozenset(), 40, {}):
        shares[lane.key.stream] += count
    assert shares == {"news": 20, "reset": 20}


def served(lanes: list[Lane], firsts: frozenset[int], rounds: int) -> list[str]:
    """Which stream gets the one slot there is, round after round, whoever has how many places."""
    turns, got = Turns(), []
    for now in range(1, rounds + 1):
        lane, _ = turns.shares(sorted(lanes, key=lambda one: (one.served, one.id)), firsts, 50, {})[0]
        turns.took(lane, 1, first=lane.id in firsts)
        got.append(lane.key.stream)
        lanes = [evolve(one, served=now, ready=one.ready - 1) if one.id == lane.id else one for one in lanes]
    return got


def test_one_slot_at_a_time_goes_in_turn():
    news = [Lane(at, LaneKey("A", "r", "news", str(at)), 100) for at in (1, 2, 3)]
    reset = Lane(4, LaneKey("A", "r", "reset", ""), 100)
    assert served([*news, reset], frozenset(), 8) == ["news", "reset"] * 4
    assert served([*news, reset], frozenset({4}), 9) == ["reset", "reset", "reset", "news"] * 2 + ["reset"]
    other = Lane(5, LaneKey("B", "r", "other", ""), 100)
    assert served([*news, reset, other], frozenset({4}), 8) == [
        "reset",
        "other",
        "reset",
        "other",
        "reset",
        "other",
        "news",
        "other",
    ]
