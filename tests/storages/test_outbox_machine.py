"""The outbox against a dict: whatever is done to it in whatever order, no mail is lost and none is in two places."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from storage_kit import ACCOUNT, KEY, NEVER, OPENERS, doubtful, key, mail, resolve, step

from deliverykit.contracts.books import Change, Gone, MailState, Wanted, rest_of
from deliverykit.contracts.storage import Claim, Step, Storage, View
from deliverykit.testing import ManualClock

READY, LEASED, SENDING, IN_DOUBT, SCHEDULED, DEAD = MailState
LEASE = 1_000
LANES = ("x", "x", "y")


@define
class Row:
    """A mail as the model has it."""

    order: int
    lane: str
    priority: int
    expires: int
    state: MailState
    due: int = 0
    token: str = ""
    lease_until: int = 0
    expiries: int = 0
    attempts: int = 0
    resend: int = 0
    resends: int = 0
    doubted: bool = False


@define
class Flight:
    """A claim that somebody once had, and may still believe in."""

    uid: str
    id: int
    token: str


class Outbox(RuleBasedStateMachine):
    kind = "sqlite"
    rest = 0
    """How many ms every other mail of unknown fate rests before it is sent again."""

    @initialize()
    def opened(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.storage: Storage = OPENERS[self.kind](Path(self.folder.name), self.clock)
        self.rows: dict[str, Row] = {}
        self.done: set[str] = set()
        self.flights: list[Flight] = []
        self.serial = 0

    def teardown(self) -> None:
        if hasattr(self, "storage"):
            self.storage.close()
            self.folder.cleanup()

    def number(self) -> int:
        self.serial += 1
        return self.serial

    # -- what is done to it ---------------------------------------------------------------------------

    @rule(
        count=st.integers(1, 3), lane=st.sampled_from(LANES), priority=st.integers(0, 2),
        due=st.sampled_from([0, 0, 500, 3_000]), life=st.sampled_from([NEVER, NEVER, 800, 5_000]),
    )  # fmt: skip
    def enqueue(self, count: int, lane: str, priority: int, due: int, life: int) -> None:
        now, new = self.clock.now(), []
        for _ in range(count):
            order = self.number()
            resend = self.rest * (order % 2)
            row = Row(
                order, lane, priority, NEVER if life == NEVER else now + life,
                SCHEDULED if due else READY, due=now + due if due else 0, resend=resend,
            )  # fmt: skip
            self.rows[f"m{order}"] = row
            new.append(
                mail(
                    f"m{order}", lane=key(lane), priority=priority, state=row.state, due=row.due, expires=row.expires,
                    resend=resend,
                )
            )  # fmt: skip
        self.storage.enqueue(new)

    @rule(lane=st.sampled_from(LANES), want=st.integers(1, 4), take=st.sampled_from([4, 1, 0]))
    def claim(self, lane: str, want: int, take: int) -> None:
        found = [one for one in self.storage.open_lanes().lanes if one.key == key(lane)]
        expected = sorted(
            (uid for uid, row in self.rows.items() if row.lane == lane and row.state is READY),
            key=lambda uid: (-self.rows[uid].priority, self.rows[uid].order),
        )[:want]
        assert bool(found) == bool(expected)
        if not found:
            return
        suspect = next((place for place, uid in enumerate(expected) if self.rows[uid].expiries >= 2), None)
        if suspect is not None:
            expected = expected[: suspect or 1]
        token, seen = f"t{self.number()}", []

        def decide(view: View) -> Step[Claim]:
            seen[:] = [head.uid for head in view.heads]
            return Step(result=Claim(leases={head.id: "s" for head in view.heads[:take]}))

        leased = self.storage.claim(found[0], want, (KEY,), decide, token=token, lease=LEASE)
        assert seen == expected
        assert [one.head.uid for one in leased] == expected[:take]
        for one in leased:
            row = self.rows[one.head.uid]
            assert (one.head.attempts, one.head.resend, one.head.resends) == (row.attempts, row.resend, row.resends)
            row.state, row.token, row.lease_until = LEASED, token, self.clock.now() + LEASE
            self.flights.append(Flight(one.head.uid, one.head.id, token))

    def flight(self, data: st.DataObject) -> Flight | None:
        """One of the last few claims: most of what goes wrong is between neighbours."""
        return data.draw(st.sampled_from(self.flights[-4:])) if self.flights else None

    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        flight = self.flight(data)
        if flight is not None:
            row = self.rows.get(flight.uid)
            ours = row is not None and row.token == flight.token and row.state is LEASED
            assert self.storage.start({flight.id: flight.token}) == ({flight.id} if ours else frozenset())
            if row is not None and ours:
                row.state = SENDING

    @rule(
        data=st.data(), to=st.sampled_from([None, None, READY, SCHEDULED, DEAD, IN_DOUBT]), lane=st.sampled_from([None, *LANES])
    )
    def settle(self, data: st.DataObject, to: MailState | None, lane: str | None) -> None:
        """By whoever once had it: only the last holder's word counts, and only while the row bears its token."""
        flight = self.flight(data)
        if flight is None:
            return
        row = self.rows.get(flight.uid)
        ours = row is not None and row.token == flight.token
        due = self.clock.now() + 700 if to is SCHEDULED else 0
        change = Gone(flight.id, token=flight.token) if to is None else Change(
            id=flight.id, token=flight.token, state=to, due=due, spend=True, lane=None if lane is None else key(lane),
            resends=0 if to is IN_DOUBT else None,
        )  # fmt: skip
        assert step(self.storage, changes=(change,)) == (frozenset() if ours else {flight.id})
        if row is None or not ours:
            return
        if to is None:
            del self.rows[flight.uid]
            self.done.add(flight.uid)
            return
        row.attempts += row.state in (LEASED, SENDING)  # a late answer is of an attempt that recovery has counted
        row.state, row.due, row.lane = to, due, lane or row.lane
        row.token = row.token if to is IN_DOUBT else ""
        if to is IN_DOUBT:
            row.doubted, row.resends = True, 0

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        flight = self.flight(data)
        if flight is not None:
            self.storage.release([flight.token])
            for row in self.rows.values():
                if row.token == flight.token and row.state is LEASED:
                    row.state, row.token = READY, ""

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        flight = self.flight(data)
        if flight is not None:
            self.storage.renew([flight.token], LEASE)
            for row in self.rows.values():
                if row.token == flight.token and row.state in (LEASED, SENDING):
                    row.lease_until = self.clock.now() + LEASE

    @rule(by=st.sampled_from([0, 300, 700, LEASE]))
    def recover(self, by: int) -> None:
        self.clock.advance(by / 1000)
        self.storage.recover()
        now = self.clock.now()
        for row in self.rows.values():
            if row.state in (LEASED, SENDING) and row.lease_until <= now:
                row.expiries += 1
                if row.state is SENDING:
                    row.doubted = True
                    row.attempts += 1
                    row.state, rest = rest_of(row.resend, row.resends, row.expires - now)
                    row.due, row.resends = now + rest if rest else 0, row.resends + (row.state is SCHEDULED)
                elif row.expiries >= 3:
                    row.state, row.token = DEAD, ""
                else:
                    row.state, row.token = READY, ""
        for row in self.rows.values():
            if row.state in (READY, SCHEDULED) and row.expires <= now:
                row.state, row.token = (IN_DOUBT, row.token) if row.doubted else (DEAD, "")
            if row.state is SCHEDULED and row.due <= now:
                row.state = READY

    @rule()
    def reopen(self) -> None:
        self.storage.close()

    # -- what must hold ---------------------------------------------------------------------------------

    @invariant()
    def every_mail_stands_where_the_model_has_it(self) -> None:
        if not hasattr(self, "storage"):
            return
        rows = self.storage.mails(ACCOUNT, Wanted(), 10_000)
        assert [row.uid for row in rows] == sorted(self.rows, key=lambda uid: self.rows[uid].order)
        found: dict[str, Any] = {row.uid: (row.state, row.attempts) for row in rows}
        assert found == {uid: (row.state, row.attempts) for uid, row in self.rows.items()}
        assert not self.done & found.keys()
        assert self.storage.counts(ACCOUNT) == Counter(("news", row.state) for row in self.rows.values())
        counted = {lane.key.key: lane.counts for lane in self.storage.lanes(ACCOUNT)}
        assert counted == {
            name: Counter(row.state for row in self.rows.values() if row.lane == name)
            for name in {row.lane for row in self.rows.values()}
        }
        ready = {lane.key.key: lane.ready for lane in self.storage.open_lanes().lanes}
        assert ready == {name: counts[READY] for name, counts in counted.items() if READY in counts}
        busy = any(row.state in (LEASED, SENDING) for row in self.rows.values())
        assert self.storage.open_lanes().busy == busy


class MemoryOutbox(Outbox):
    kind = "memory"


class DoubtfulOutbox(Outbox):
    """The same where mail in doubt is sent again, and resolved by the host."""

    rest = 400

    @precondition(lambda self: any(row.state is IN_DOUBT for row in self.rows.values()))
    @rule(data=st.data(), sent=st.booleans())
    def resolve(self, data: st.DataObject, sent: bool) -> None:
        """By the host: what it says was sent is gone, what it wants sent again is ready unless it has expired."""
        waiting = [row.uid for row in doubtful(self.storage)]
        assert waiting == [uid for uid, row in self.rows.items() if row.state is IN_DOUBT]
        chosen = data.draw(st.lists(st.sampled_from(waiting), unique=True))
        now = self.clock.now()
        fit = [uid for uid in chosen if sent or self.rows[uid].expires > now]
        assert resolve(self.storage, Wanted(uids=tuple(chosen)), sent=sent) == len(fit)
        for uid in fit:
            row = self.rows[uid]
            row.state, row.token, row.resends = READY, "", row.resends + 1
            if sent:
                del self.rows[uid]
                self.done.add(uid)


TestOutbox = Outbox.TestCase
TestOutbox.settings = settings(max_examples=300)  # states that need a story of five steps
TestMemoryOutbox = MemoryOutbox.TestCase
TestDoubtfulOutbox = DoubtfulOutbox.TestCase
