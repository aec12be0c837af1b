"""What the rooms share: one account, one way to change its documents, one way to read a value that may be missing."""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

from attrs import field, frozen

from deliverykit.contracts.books import Document
from deliverykit.contracts.limit import Limit, Record, State
from deliverykit.contracts.storage import Step, View
from deliverykit.engine.admission.catalog import Config
from deliverykit.engine.context import Context
from deliverykit.engine.ports import Ports
from deliverykit.limits import check_new, pace
from deliverykit.words.arguments import items, line, near, refused, shown
from deliverykit.words.errors import ConfigurationError
from deliverykit.words.facts import Fact

__all__ = ["UNSET", "Amendment", "Room", "Unset", "amend", "chosen", "limits_kept", "limits_of", "named", "names"]

R = TypeVar("R")


class Unset(Enum):
    """The default of what an ``update`` leaves as it is."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@frozen(kw_only=True)
class Amendment:
    """A change of an account's documents: decided on one configuration, made true only while that holds."""

    config: Config
    result: Any
    documents: tuple[Document, ...] = ()
    forget: tuple[str, ...] = ()
    """Names of limit states that are cleared with it."""
    amend: Mapping[str, Callable[[State], State]] = field(factory=dict)
    """By name: limit states that are changed with it."""
    facts: tuple[Fact, ...] = ()
    """What is told of it once it is true."""
    moves: tuple[tuple[str, str], ...] = ()
    vacant: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    """These three: see :class:`~deliverykit.contracts.storage.Step`."""

    def __call__(self, view: View) -> Step[Any]:
        """See :class:`~deliverykit.contracts.storage.Decide`."""
        self.config.current(view)
        records: tuple[Record | None, ...] = ()
        if any(view.records[0].get(name) for name in (*self.forget, *self.amend)):
            kept = {name: state for name, state in view.records[0].items() if name not in self.forget}
            amended = {name: change(kept[name]) for name, change in self.amend.items() if kept.get(name)}
            records = ({**kept, **amended},)
        return Step(
            result=self.result, documents=self.documents, records=records, wake=bool(records),
            moves=self.moves, vacant=self.vacant, idle=self.idle,
        )  # fmt: skip


@frozen
class Room:
    """One account's view of one kind of record."""

    context: Context
    ports: Ports
    account: str

    async def config(self) -> Config:
        """The account's configuration as it stands."""
        return await self.ports.store(self.context.catalog.fresh, self.account)


async def amend(room: Room, make: Callable[[Config], Amendment]) -> Any:
    """Change documents of the room's account; ``make`` is called again if the configuration changed meanwhile."""
    await room.config()
    made: list[Amendment] = []

    def making(config: Config) -> Amendment:
        made[:] = [make(config)]
        return made[0]

    result = await room.context.decided(room.ports, room.account, making)
    room.context.teller.tell(made[0].facts)
    return result


def chosen(new: R | Unset, old: R) -> R:
    """The new value, or the old one where none is given."""
    return old if isinstance(new, Unset) else new


def limits_kept(old: Iterable[Limit], quota: object, pausing: object) -> tuple[Limit, ...]:
    """The limits after an ``update``: ``quota=`` replaces the quotas, and the paces if it holds some; ``pause=`` the paces."""
    kept = list(old)
    quotas = [limit for limit in kept if not limit.paces] if isinstance(quota, Unset) else quota
    if not isinstance(pausing, Unset):
        return limits_of(quotas, pausing, new=False)
    limits = limits_of(quotas, None, new=False)
    paced = any(limit.paces for limit in limits)
    return limits if paced else (*limits, *(limit for limit in kept if limit.paces))


def limits_of(quota: object, pausing: object, *, new: bool) -> tuple[Limit, ...]:
    """The limits of ``quota=`` (one, or several) and ``pause=``. Raises ``ConfigurationError`` naming which is wrong."""
    write = "give CalendarQuota(…), RollingQuota(…) or your own policy, or a list of them"
    given = () if quota is None else quota if isinstance(quota, list | tuple) else (quota,)
    limits: list[Limit] = []
    for one in given:
        if not isinstance(one, Limit):
            refused("quota", one, "not a limit", write)
        limits.append(one)
    paced = pace(pausing)
    if paced is not None:
        limits.append(paced)
    keys = [limit.key for limit in limits]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ConfigurationError(f"quota: two limits of the same kind and period ({twice}); give one of them")
    if new:
        for limit in limits:
            check_new(limit)
    return tuple(limits)


def names(value: Iterable[str] | str, what: str, known: Iterable[str]) -> tuple[str, ...]:
    """Names that must exist, each once. Raises ``ConfigurationError`` with near matches."""
    there = list(known)
    given = tuple(dict.fromkeys(line(one, what, least=1) for one in items(value, what, "give a list of names")))
    for name in given:
        if name not in there:
            raise ConfigurationError(f"{what}={shown(name)}: there is none of this name; {near(name, there)}")
    return given


def named(value: object, what: str, kind: type[R] | None = None) -> str:
    """The id or name of a record, from itself or from the record: ``kind`` has ``id`` or ``name``."""
    if kind is not None and isinstance(value, kind):
        value = getattr(value, "id", None) or getattr(value, "name", None)
    record = "" if kind is None else f", or the {kind.__name__} itself"
    return line(value, what, least=1, write=f"give its {'id' if what in ('id', 'server') else 'name'} as text{record}")
