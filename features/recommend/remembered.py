"""What is made of a catalogue alone is made once: a night fits models several times, on samples of the same tracks."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from features.compute.dataset import Catalog

Made = TypeVar("Made")


def remembered(make: Callable[[Catalog], Made]) -> Callable[[Catalog], Made]:
    """The function, which keeps what it made of a catalogue as long as that is there. Nobody may write to it."""
    kept: WeakKeyDictionary[Catalog, Made] = WeakKeyDictionary()

    @wraps(make)
    def once(catalog: Catalog) -> Made:
        if catalog not in kept:
            kept[catalog] = make(catalog)
        return kept[catalog]

    return once
