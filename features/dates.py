"""Moments as the database keeps them."""

from datetime import datetime


def to_millisecond(moment: datetime) -> datetime:
    """A moment cut to the millisecond, which is how BSON keeps dates: what is written then equals what is read back."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
