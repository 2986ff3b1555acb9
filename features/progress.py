"""Progress as the rooms see it: a callable. What is drawn, and whether, is the command line's choice."""

from typing import Protocol


class Progress(Protocol):
    """Called with what is being done, how much of it is done, and how much there is (None: not known)."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Take note of progress; must be cheap and must not raise."""


def silent(what: str, done: int, total: int | None) -> None:
    """Shows nothing."""
