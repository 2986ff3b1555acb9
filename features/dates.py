"""Moments as the database keeps them."""

from datetime import UTC, datetime, timedelta

EPOCH, MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


def to_millisecond(moment: datetime) -> datetime:
    """A moment cut to the millisecond, which is how BSON keeps dates: what is written then equals what is read back."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def epoch_ms(moment: datetime) -> int:
    """Whole milliseconds from 1970 to an aware moment, exactly, as `int(timestamp() * 1000)` not always is."""
    return (moment - EPOCH) // MILLISECOND
