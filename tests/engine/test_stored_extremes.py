"""The most extreme whole numbers in every column of a store, and in the limits' states: an answer or a ``DeliveryError``."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from engine_kit import NOON, World, message
from test_hostile_answers import stage

from deliverykit import CalendarQuota, DeliveryError, Mailer, RollingQuota

EXTREMES = (2**63 - 1, 2**62 - 1, -(2**63))
Damage = Callable[[sqlite3.Connection, int], None]


@pytest.fixture
def sound(plain: World) -> Path:
    """A closed file with ready, scheduled, sent and cancelled messages, and a state of every usual limit."""
    mailer, *_ = stage(plain)
    quotas = [CalendarQuota(hour=50, day=50), RollingQuota(50, timedelta(hours=1))]
    mailer.servers.update("a", quota=quotas, pause=timedelta(milliseconds=10))
    mailer.send(message(0, idempotency_key="once"))
    mailer.enqueue([message(1), message(2, send_at=NOON + timedelta(days=1)), message(3)])
    (gone,) = mailer.enqueue([message(4)])
    mailer.outbox.cancel(ids=[gone])
    mailer.close()
    plain.opened.clear()
    return Path(plain.path)


def _columns(path: Path) -> Iterator[tuple[str, Damage]]:
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("select name from sqlite_master where type='table' and name like 'dk_%'")]
        for table in tables:
            for _, column, kind, _, _, key in db.execute(f"pragma table_info({table})").fetchall():
                if kind == "integer" and not key:
                    yield f"{table}.{column}", _in_column(table, column)


def _in_column(table: str, column: str) -> Damage:
    return lambda db, extreme: db.execute(f"update {table} set {column}=?", (extreme,)) and None


def _states(path: Path) -> Iterator[tuple[str, Damage]]:
    with closing(sqlite3.connect(path)) as db:
        for key, text in db.execute("select key, record from dk_state").fetchall():
            for name, state in json.loads(text).items():
                for place in range(len(state)):
                    yield f"{key} {name} {place}", _in_state(key, text, name, place)
                yield f"{key} {name}", _in_state(key, text, name, None)


def _in_state(key: str, text: str, name: str, place: int | None) -> Damage:
    """One number of a state, or all of them."""

    def damage(db: sqlite3.Connection, extreme: int) -> None:
        record = json.loads(text)
        record[name] = [extreme if place in (at, None) else number for at, number in enumerate(record[name])]
        db.execute("update dk_state set record=? where key=?", (json.dumps(record), key))

    return damage


USES: dict[str, Callable[[Mailer], Any]] = {
    "list": lambda mailer: mailer.outbox.list(),
    "log": lambda mailer: mailer.log.list(),
    "lanes": lambda mailer: mailer.outbox.lanes(),
    "counts": lambda mailer: mailer.outbox.counts(),
    "in_doubt": lambda mailer: mailer.outbox.in_doubt(),
    "eta": lambda mailer: mailer.outbox.eta(route="default"),
    "quota": lambda mailer: mailer.servers.quota("a"),
    "health": lambda mailer: mailer.servers.health("a"),
    "explain": lambda mailer: mailer.explain(message()),
    "doctor": lambda mailer: mailer.doctor(),
    "send": lambda mailer: mailer.send(message(5)),
    "drain": lambda mailer: mailer.worker().drain(timeout=timedelta(seconds=1)),
}


def _wrong(plain: World, sound: Path, cases: Iterator[tuple[str, Damage]]) -> list[str]:
    """Every use that raised anything but a ``DeliveryError``."""
    wrong = []
    copy = sound.with_name("sound.db")
    shutil.copy(sound, copy)
    for label, damage in list(cases):
        for extreme in EXTREMES:
            for side in ("-wal", "-shm"):
                Path(f"{sound}{side}").unlink(missing_ok=True)
            shutil.copy(copy, sound)
            with closing(sqlite3.connect(sound)) as db, db:
                damage(db, extreme)
            mailer = plain.mailer()
            for use, call in USES.items():
                try:
                    call(mailer)
                except DeliveryError:
                    pass
                except Exception as error:
                    wrong.append(f"{label}={extreme}: {use}: {type(error).__name__}: {str(error)[:100]}")
            mailer.close()
            plain.opened.clear()
    return wrong


@pytest.mark.timeout(900)
def test_extreme_numbers_in_every_column(plain: World, sound: Path) -> None:
    assert _wrong(plain, sound, _columns(sound)) == []


@pytest.mark.timeout(900)
def test_extreme_numbers_in_every_limit_state(plain: World, sound: Path) -> None:
    assert _wrong(plain, sound, _states(sound)) == []
