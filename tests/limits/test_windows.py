"""Windows against a clock that is read minute by minute, in every zone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from clock_faces import MINUTE, boundaries, jumps, label, ms
from hypothesis import example, given
from hypothesis import strategies as st

from deliverykit.limits.windows import LONGEST, UNITS, boundary, window
from deliverykit.limits.zones import names, zone
from deliverykit.words.errors import ConfigurationError

HOUR = 60 * MINUTE
DAY = 24 * HOUR
ZONES = st.sampled_from(sorted(names()))
# The oracle reads minutes; before 1973 some offsets had seconds (Monrovia).
INSTANTS = st.integers(ms(1973, 1, 8), ms(2037, 12, 1))


def agree(unit: str, name: str, low: int, high: int, anchor_day: int = 1, anchor_hour: int = 0) -> None:
    """Every window that begins in this time begins and ends where the oracle says, to the millisecond."""
    edges = boundaries(unit, name, low, high, anchor_day, anchor_hour)
    for start, end in pairwise(edges):
        for at in (start, start + 1, start + 30 * MINUTE - 1, (start + end) // 2, end - 1):
            assert window(unit, name, at, anchor_day, anchor_hour) == (start, end), (
                unit,
                name,
                datetime.fromtimestamp(at / 1000, UTC),
            )
    for edge in edges[:1]:
        assert window(unit, name, edge - 1, anchor_day, anchor_hour)[1] == edge
    for edge in edges[-1:]:
        assert window(unit, name, edge, anchor_day, anchor_hour)[0] == edge


def test_every_jump_of_every_zone_from_2024_to_2028() -> None:
    # Zones that jump alike look alike for days around the jump: each kind of jump is looked at once.
    kinds = {jump: name for name in sorted(names()) for jump in jumps(name, ms(2024, 1, 1), ms(2029, 1, 1))}
    assert len(kinds) > 100
    for (at, _, _), name in kinds.items():
        agree("hour", name, at - 4 * HOUR, at + 4 * HOUR)
        agree("day", name, at - 26 * HOUR, at + 28 * HOUR)


@given(ZONES, INSTANTS, st.integers(1, 31), st.integers(0, 23))
@example("America/Havana", ms(2024, 11, 3, 5), 1, 0)
@example("Pacific/Kwajalein", ms(1993, 8, 21, 12), 1, 0)
def test_hours_and_days_are_those_of_the_clock_face(name: str, at: int, anchor_day: int, anchor_hour: int) -> None:
    at -= at % DAY
    near = jumps(name, at, at + 200 * DAY)
    around = near[0][0] if near else at
    agree("hour", name, around - 3 * HOUR, around + 3 * HOUR)
    agree("day", name, around - 50 * HOUR, around + 50 * HOUR, anchor_day, anchor_hour)


@given(ZONES, INSTANTS, st.integers(1, 31), st.integers(0, 23), st.sampled_from(["week", "month"]))
def test_weeks_and_months_begin_where_the_clock_face_says(
    name: str, at: int, anchor_day: int, anchor_hour: int, unit: str
) -> None:
    start, end = window(unit, name, at, anchor_day, anchor_hour)
    for edge in (start, end):
        minute = edge - edge % MINUTE
        assert boundaries(unit, name, minute - 30 * HOUR, minute + 30 * HOUR, anchor_day, anchor_hour) == [edge]
    # No other begins between: at every noon inside, the calendar's page is the same.
    pages = {
        label(
            unit,
            (datetime.fromtimestamp(noon // 1000, zone(name)).replace(tzinfo=None) - timedelta(hours=anchor_hour)).date(),
            anchor_day,
        )
        for noon in range(start + 12 * HOUR, end - 12 * HOUR, DAY)
    }
    assert len(pages) == 1


@given(st.sampled_from(UNITS), ZONES, st.integers(ms(1972, 2, 1), ms(2037, 12, 31)), st.integers(1, 31), st.integers(0, 23))
def test_windows_tile_time(unit: str, name: str, at: int, anchor_day: int, anchor_hour: int) -> None:
    start, end = window(unit, name, at, anchor_day, anchor_hour)
    assert start <= at < end
    assert end - start <= LONGEST[UNITS.index(unit)]
    for inside in (start, end - 1):
        assert window(unit, name, inside, anchor_day, anchor_hour) == (start, end)
    assert window(unit, name, end, anchor_day, anchor_hour)[0] == end
    assert window(unit, name, start - 1, anchor_day, anchor_hour)[1] == start
    assert boundary(unit, name, start, anchor_day, anchor_hour) == start
    assert boundary(unit, name, start + 1, anchor_day, anchor_hour) == end


@given(ZONES, INSTANTS)
def test_a_day_begins_with_its_date(name: str, at: int) -> None:
    start, _ = window("day", name, at)
    tz = ZoneInfo(name)
    date = datetime.fromtimestamp(start // 1000, tz).date()
    assert datetime.fromtimestamp(start // 1000 - 1, tz).date() < date
    assert datetime.fromtimestamp(at // 1000, tz).date() <= date  # never a later one; yesterday's where it comes back


@given(ZONES, st.integers(ms(2024, 1, 1), ms(2037, 12, 31)))
def test_an_hour_has_60_minutes_or_90(name: str, at: int) -> None:
    start, end = window("hour", name, at)
    assert end - start == 60 * MINUTE or (name in {"Australia/Lord_Howe", "Australia/LHI"} and end - start == 90 * MINUTE)


def lengths(unit: str, name: str, low: int, high: int) -> list[float]:
    """The lengths in hours of the windows that hold ``low`` up to the one that holds ``high``."""
    found = []
    while low <= high:
        start, low = window(unit, name, low)
        found.append((low - start) / HOUR)
    return found


@pytest.mark.parametrize(
    ("name", "at", "days"),
    [
        ("Pacific/Apia", ms(2011, 12, 29, 12), [24, 24]),  # 29 December, then 31: the 30th was skipped
        ("America/St_Johns", ms(2010, 11, 6, 12), [24, 25]),  # back from 00:01 to 23:01: the 7th had begun, and stays
        ("Australia/Lord_Howe", ms(2024, 4, 6, 0), [24, 24.5]),
        ("Australia/Lord_Howe", ms(2024, 10, 5, 0), [24, 23.5]),
        ("Antarctica/Troll", ms(2024, 3, 30, 12), [24, 22]),
        ("Antarctica/Troll", ms(2024, 10, 26, 12), [24, 26]),
        ("Africa/Cairo", ms(2024, 4, 25, 12), [24, 23]),  # from 00:00 to 01:00: the day begins at 01:00
        ("Africa/Cairo", ms(2024, 10, 31, 12), [25, 24]),  # back from 00:00 to 23:00: midnight comes once, late
        ("America/Havana", ms(2024, 3, 9, 12), [24, 23]),
        ("America/Havana", ms(2024, 11, 2, 12), [24, 25]),  # back from 01:00 to 00:00: midnight comes twice
        ("Asia/Beirut", ms(2024, 3, 30, 12), [24, 23]),
        ("America/Sao_Paulo", ms(2018, 11, 3, 12), [24, 23]),
        ("America/Sao_Paulo", ms(2018, 2, 17, 12), [25, 24]),
        ("Europe/Berlin", ms(2024, 3, 30, 12), [24, 23]),
    ],
)
def test_days_that_are_not_24_hours(name: str, at: int, days: list[float]) -> None:
    assert lengths("day", name, at, at + DAY) == days


def test_yesterday_stays_closed_when_its_date_comes_back() -> None:
    midnight = ms(2010, 11, 7, 2, 30)  # St John's: at 00:01 the clock goes back to 23:01 of the 6th
    for minutes in (0, 1, 30, 61, 24 * 60):
        assert window("day", "America/St_Johns", midnight + minutes * MINUTE) == (midnight, midnight + 25 * HOUR)


@pytest.mark.parametrize(("at", "hours"), [(ms(2024, 3, 30, 23), 23), (ms(2024, 10, 26, 22), 25), (ms(2024, 7, 1, 22), 24)])
def test_hours_tile_a_day_and_a_repeated_hour_is_two(at: int, hours: int) -> None:
    start, end = window("day", "Europe/Berlin", at)
    assert start == at
    assert lengths("hour", "Europe/Berlin", start, end - 1) == [1.0] * hours


def test_a_jump_by_half_an_hour_makes_one_long_hour() -> None:
    jump = ms(2024, 4, 6, 15)  # Lord Howe: back from 02:00 to 01:30
    assert lengths("hour", "Australia/Lord_Howe", jump - HOUR, jump + HOUR) == [1.5, 1.0]
    jump = ms(2024, 10, 5, 15, 30)  # on from 02:00 to 02:30
    assert lengths("hour", "Australia/Lord_Howe", jump - HOUR, jump + HOUR) == [1.5, 1.0]


def test_a_billing_month_begins_on_its_anchor_or_on_the_last_day() -> None:
    assert window("month", "UTC", ms(2024, 2, 29), 31) == (ms(2024, 2, 29), ms(2024, 3, 31))
    assert window("month", "UTC", ms(2023, 3, 1), 30) == (ms(2023, 2, 28), ms(2023, 3, 30))
    assert window("month", "UTC", ms(2024, 1, 14, 23, 59), 15) == (ms(2023, 12, 15), ms(2024, 1, 15))
    assert window("month", "UTC", ms(2024, 1, 15, 7), 15, 8) == (ms(2023, 12, 15, 8), ms(2024, 1, 15, 8))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Asia/Calcuta", "'Asia/Calcutta'"),
        ("Kolkata", "'Asia/Kolkata'"),
        ("europe/berlin", "'Europe/Berlin'"),
        ("new york", "'America/New_York'"),
        ("../../etc/passwd", "as 'Europe/Berlin' or 'Asia/Kolkata'"),
        ("", "as 'Europe/Berlin' or 'Asia/Kolkata'"),
        ("localtime", "not the name"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        zone(name)
    assert near in str(caught.value)
