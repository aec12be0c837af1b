"""Whose turn it is: a worker's free places, shared between accounts, then streams, then lanes."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from deliverykit.contracts.books import Lane

__all__ = ["Turns"]

_WEIGHT = 3
"""So many places go to streams with precedence for each one of the others."""

K = TypeVar("K", bound=Hashable)


class Turns:
    """Shares out places, and remembers between two looks how far streams with precedence are ahead.

    Accounts are equal, by what each has in flight: 100,000 waiting mails of one do not outweigh ten of another. So are the
    streams of an account's routes, but for those with precedence, which get three places in four while both wait; and so are
    the lanes of a stream. What somebody does not need is shared among the rest. Where there is less to have
    than there are places (one slot of a pace, the last of a quota), it goes to those who are asked first: whoever got
    something longest ago, and after three of streams with precedence one of the others.
    """

    def __init__(self) -> None:
        self._ahead: dict[str, int] = {}
        """By account, how many places those with precedence had more than three for each one of the others."""

    def took(self, lane: Lane, count: int, *, first: bool) -> None:
        """Tell what a lane got."""
        account = lane.key.account
        if account in self._ahead:
            ahead = self._ahead[account] + (count if first else -_WEIGHT * count)
            self._ahead[account] = min(max(ahead, 0), _WEIGHT)

    def shares(
        self, lanes: Sequence[Lane], firsts: frozenset[int], places: int, flying: Mapping[str, int]
    ) -> list[tuple[Lane, int]]:
        """Which lanes to ask, in order, each for how many; ``firsts`` are the ids of those with precedence."""
        accounts = _grouped(lanes, lambda lane: lane.key.account)
        given = _filled([(flying.get(name, 0), _ready(group)) for name, group in accounts.items()], places)
        asked: list[tuple[Lane, int]] = []
        for (name, group), count in zip(accounts.items(), given, strict=True):
            ahead = [lane for lane in group if lane.id in firsts]
            rest = [lane for lane in group if lane.id not in firsts]
            if not ahead or not rest:
                asked += _streams(group, count)
                continue
            turn = self._ahead.setdefault(name, 0) >= _WEIGHT
            least = min(_ready(rest), max(count // (_WEIGHT + 1), min(count, int(turn))))
            more = min(_ready(ahead), count - least)
            parts = [_streams(ahead, more), _streams(rest, count - more)]
            asked += [one for part in (reversed(parts) if turn else parts) for one in part]
        return asked


def _streams(lanes: Sequence[Lane], places: int) -> list[tuple[Lane, int]]:
    """Equal shares for the streams of each route, and in each for its lanes."""
    streams = list(_grouped(lanes, lambda lane: (lane.key.route, lane.key.stream)).values())
    shares = _filled([(0, _ready(group)) for group in streams], places)
    return [
        (lane, count)
        for group, share in zip(streams, shares, strict=True)
        for lane, count in zip(group, _filled([(0, lane.ready) for lane in group], share), strict=True)
        if count
    ]


def _grouped(lanes: Iterable[Lane], by: Callable[[Lane], K]) -> dict[K, list[Lane]]:
    """Groups of lanes, that which got nothing for longest at the front."""
    groups: dict[K, list[Lane]] = {}
    for lane in lanes:
        groups.setdefault(by(lane), []).append(lane)
    return dict(sorted(groups.items(), key=lambda item: max(lane.served for lane in item[1])))


def _ready(lanes: Iterable[Lane]) -> int:
    return sum(lane.ready for lane in lanes)


def _filled(wants: Sequence[tuple[int, int]], places: int) -> list[int]:
    """One place after the other to whoever has least and wants more, the first of them at the front."""
    given = [0] * len(wants)
    while places > 0:
        hungry = [at for at, (_, want) in enumerate(wants) if given[at] < want]
        if not hungry:
            break
        low = min(wants[at][0] + given[at] for at in hungry)
        level = [at for at in hungry if wants[at][0] + given[at] == low][:places]
        for at in level:
            given[at] += 1
        places -= len(level)
    return given
