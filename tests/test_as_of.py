"""What `--as-of` means."""

from datetime import UTC, datetime, timedelta

import pytest

from features.errors import InputError
from features.parameters import resolve_as_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        (None, datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-21", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-21T03:00", datetime(2026, 11, 21, 3, tzinfo=UTC)),
        ("2026-11-21T03:00+02:00", datetime(2026, 11, 21, 1, tzinfo=UTC)),
    ],
)
def test_a_date_means_to_its_end_and_a_time_means_itself(given: str | None, moment: datetime) -> None:
    assert resolve_as_of(given, NOW) == moment


@pytest.mark.parametrize("given", ["yesterday", "2026-13-01", "", "2026-11-23", (NOW + timedelta(hours=1)).isoformat()])
def test_a_bad_or_future_as_of_is_one_clear_line(given: str) -> None:
    with pytest.raises(InputError, match=r"--as-of .*"):
        resolve_as_of(given, NOW)
