"""What `--as-of`, `--known-at` and `--every` mean, and moments in numbers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.dates import epoch_ms
from features.errors import InputError
from features.parameters import MOST_MOMENTS, moments_between, resolve_moments, resolve_step

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TOMORROW = datetime(2026, 11, 23, tzinfo=UTC)
DATES = [
    ("2026-11-22", TOMORROW),
    ("2026-11-21", datetime(2026, 11, 22, tzinfo=UTC)),
    ("2026-11-21T03:00", datetime(2026, 11, 21, 3, tzinfo=UTC)),
    ("2026-11-21T03:00+02:00", datetime(2026, 11, 21, 1, tzinfo=UTC)),
]
BAD = ["yesterday", "2026-13-01", "", "2026-11-23", (NOW + timedelta(hours=1)).isoformat()]


@pytest.mark.parametrize(("given", "moment"), DATES)
def test_a_date_means_to_its_end_and_a_time_means_itself(given: str, moment: datetime) -> None:
    assert resolve_moments(given, None, NOW) == (moment, None)
    # nothing can be known that is still to come
    assert resolve_moments("2026-11-01", given, NOW) == (datetime(2026, 11, 2, tzinfo=UTC), min(moment, NOW))


def test_all_that_is_known_counts_unless_something_else_is_said() -> None:
    assert resolve_moments(None, None, NOW) == (TOMORROW, None)


@pytest.mark.parametrize(("given", "moment"), DATES)
def test_known_by_a_moment_is_as_of_that_moment(given: str, moment: datetime) -> None:
    assert resolve_moments(None, given, NOW)[0] == moment


@pytest.mark.parametrize("given", BAD)
def test_a_bad_or_future_moment_is_one_clear_line(given: str) -> None:
    with pytest.raises(InputError, match=r"--as-of .*"):
        resolve_moments(given, None, NOW)
    with pytest.raises(InputError, match=r"--known-at .*"):
        resolve_moments(None, given, NOW)


def test_moments_go_from_the_first_day_to_the_last_each_to_its_end() -> None:
    found = moments_between("2026-11-18", "2026-11-21", "1d", NOW)
    assert found == [datetime(2026, 11, day, tzinfo=UTC) for day in (19, 20, 21, 22)]
    assert moments_between("2026-11-18", "2026-11-21", "2d", NOW) == found[::2]
    assert moments_between("2026-11-21", "2026-11-21", "1w", NOW) == found[-1:]
    hours = moments_between("2026-11-18T00:00", "2026-11-18T12:00", "6h", NOW)
    assert hours == [datetime(2026, 11, 18, hour, tzinfo=UTC) for hour in (0, 6, 12)]


@pytest.mark.parametrize("every", ["", "d", "0d", "-1d", "1.5d", "1m", "daily"])
def test_a_bad_step_is_one_clear_line(every: str) -> None:
    with pytest.raises(InputError, match=r"--every .*write 1d, 12h or 1w"):
        resolve_step(every)


def test_moments_that_are_none_or_too_many_or_still_to_come_are_one_clear_line() -> None:
    with pytest.raises(InputError, match="--from 2026-11-21 lies after --to 2026-11-20"):
        moments_between("2026-11-21", "2026-11-20", "1d", NOW)
    with pytest.raises(InputError, match=f"more than {MOST_MOMENTS:,}"):
        moments_between("1990-01-01", "2026-11-20", "1h", NOW)
    with pytest.raises(InputError, match=r"--to 2026-11-22 .*not over"):
        moments_between("2026-11-20", "2026-11-22", "1d", NOW)


@given(st.integers(-62_000_000_000_000, 253_000_000_000_000), st.integers(0, 999))
def test_milliseconds_since_1970_are_exact_and_cut(milliseconds: int, more: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds, microseconds=more)
    assert epoch_ms(moment) == milliseconds
    assert epoch_ms(moment.astimezone(timezone(timedelta(hours=2)))) == milliseconds
