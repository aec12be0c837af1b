"""What every test of a storage needs: it is written against the contract alone, so that any storage can run it.

Another storage joins by an entry in ``OPENERS`` (name → how to open it in a folder, on a clock).
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from deliverykit.contracts.books import (
    Change,
    Document,
    Gone,
    Lane,
    LaneKey,
    Leased,
    LogLine,
    MailRow,
    MailState,
    NewMail,
    Wanted,
)
from deliverykit.contracts.storage import Claim, Step, Storage, View
from deliverykit.storages import open_storage
from deliverykit.words.clock import NEVER, Clock

OPENERS: Mapping[str, Callable[[Path, Clock], Storage]] = {
    "memory": lambda _folder, clock: open_storage("memory://", clock),
    "sqlite": lambda folder, clock: open_storage(f"sqlite:///{folder / 'mail.db'}", clock, "normal"),
}
DURABLE = [name for name in OPENERS if name != "memory"]
ACCOUNT, KEY = "default", "account:default"
EVERY = Wanted()
LEASE = 60_000


def key(name: str = "", *, route: str = "news", account: str = ACCOUNT, stream: str = "") -> LaneKey:
    return LaneKey(account, route, stream, name)


def mail(uid: str, **fields: Any) -> NewMail:
    return NewMail(**{"uid": uid, "lane": key(), "cost": 1, "letter": b"letter of " + uid.encode(), **fields})


def step(storage: Storage, account: str = ACCOUNT, keys: tuple[str, ...] = (KEY,), **fields: Any) -> frozenset[int]:
    """One transact that wants just this; the ids that came too late."""
    _, late = storage.transact(account, keys, lambda _view: Step(result=None, **fields))
    return late


def looked(storage: Storage, account: str = ACCOUNT, keys: tuple[str, ...] = (KEY,)) -> View:
    """What a decide object sees."""
    seen, _ = storage.transact(account, keys, lambda view: Step(result=view))
    return seen


def lane_of(storage: Storage, name: str = "", **fields: Any) -> Lane:
    """The open lane of this key."""
    return next(lane for lane in storage.open_lanes().lanes if lane.key == key(name, **fields))


def claimed(
    storage: Storage, lane: Lane | None = None, want: int = 100, *, token: str = "t", only: Iterable[str] | None = None,
    lease: int = LEASE, **fields: Any,
) -> tuple[Leased, ...]:  # fmt: skip
    """Claim what is at the head (or ``only`` these), for the server ``s``."""

    def decide(view: View) -> Step[Claim]:
        leases = {head.id: "s" for head in view.heads if only is None or head.uid in only}
        return Step(result=Claim(leases=leases, **fields), records=({"n": (len(leases),)},))

    return storage.claim(lane or lane_of(storage), want, (KEY,), decide, token=token, lease=lease)


def uids(leased: Iterable[Leased]) -> list[str]:
    return [one.head.uid for one in leased]


def settled(storage: Storage, one: Leased, token: str = "t", state: MailState | None = None, **fields: Any) -> bool:
    """Write a verdict down; whether it was in time."""
    made = Gone(one.head.id, token=token) if state is None else Change(id=one.head.id, token=token, state=state, **fields)
    return not step(storage, changes=(made,))


def state(storage: Storage, uid: str) -> MailState | None:
    found = storage.mail(uid)
    return None if found is None else found.state


def line(uid: str, outcome: str = "accepted") -> LogLine:
    return LogLine(uid=uid, account=ACCOUNT, server="s", outcome=outcome)


def document(id_: str, data: str | None = "{}") -> Document:
    return Document(kind="server", id=id_, data=data, secrets=b"x")


__all__ = [
    "ACCOUNT", "DURABLE", "KEY", "LEASE", "NEVER", "OPENERS", "claimed", "document", "key", "lane_of", "line", "looked",
    "mail", "settled", "state", "step", "uids",
]  # fmt: skip


def doubtful(storage: Storage, wanted: Wanted = EVERY, account: str = ACCOUNT) -> list[MailRow]:
    """The mail in doubt that is wanted."""
    return list(storage.mails(account, evolve(wanted, states=(MailState.IN_DOUBT,)), 10_000))


def resolve(storage: Storage, wanted: Wanted = EVERY, account: str = ACCOUNT, *, sent: bool) -> int:
    """Resolve all of it, in two pages; how many it was."""
    first = storage.resolve(account, wanted, 1, sent=sent)
    return len(first) + (len(storage.resolve(account, wanted, 10_000, first[-1], sent=sent)) if first else 0)
