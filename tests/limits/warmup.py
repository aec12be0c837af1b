"""A quota policy of a host's own: a new sender warms up, and may send more each day."""

from datetime import date
from typing import ClassVar

from attrs import frozen

from deliverykit.contracts.limit import QuotaPolicy, State, Terms, Usage
from deliverykit.words.clock import NEVER

DAY = 86_400_000


@frozen
class WarmUp(QuotaPolicy):
    """``start`` recipients on the first day (UTC), half as many again on each day after it."""

    name: ClassVar[str] = "warm-up"

    first_day: date
    start: int

    def limit(self, day: int) -> int:
        age = day - (self.first_day.toordinal() - date(1970, 1, 1).toordinal())
        return int(self.start * 1.5 ** min(age, 40)) if age >= 0 else 0

    def used(self, state: State, day: int) -> int:  # the state: a day and what was taken on it
        return state[1] if state and state[0] == day else 0

    def room(self, state: State, now: int) -> int:
        return self.limit(now // DAY) - self.used(state, now // DAY)

    def when(self, state: State, now: int, n: int) -> int:
        if self.room(state, now) >= n:
            return now
        later = (day * DAY for day in range(now // DAY + 1, now // DAY + 400) if self.limit(day) >= n)
        return next(later, NEVER)

    def take(self, state: State, now: int, n: int) -> tuple[State, Terms]:
        day = now // DAY
        return (day, self.used(state, day) + n), Terms(mark=day, until=(day + 1) * DAY)

    def give(self, state: State, mark: int, n: int) -> State:
        return (mark, state[1] - n) if state and state[0] == mark else state

    def rewound(self, state: State, now: int) -> State:
        return (min(state[0], now // DAY), state[1]) if state else state

    def usage(self, state: State, now: int) -> tuple[Usage, ...]:
        day = now // DAY
        return (Usage("day", self.used(state, day), self.limit(day), (day + 1) * DAY),)
