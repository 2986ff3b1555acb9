"""Sentences about entries of lists, each made once and then spoken of by its place: they are far fewer than entries."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MOST_REASONS = 3


class Texts(NamedTuple):
    """Texts, and (a,) int64 which of them is whose."""

    texts: list[str]
    place: np.ndarray


@dataclass(frozen=True, eq=False)
class Sentences:
    """What is said of entries.

    Attributes:
        texts: distinct.
        places: (m, 3) int32, of each entry the places in `texts`, best first; -1 for none, at the end.
    """

    texts: pa.StringArray
    places: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str] | pa.StringArray, places: np.ndarray) -> Self:
        """Of texts that need not be distinct, and (m, 3) int places in them, as above."""
        once, place = _once(texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string()))
        return cls(once, place[places])

    @classmethod
    def in_turn(cls, entries: int, said: Iterable[tuple[np.ndarray, Texts]]) -> Self:
        """One text after the other: of each the (a,) entries that it is about, three for an entry at most."""
        places, count = np.full((entries, MOST_REASONS), -1, np.int64), np.zeros(entries, np.int64)
        texts: list[str] = []
        for about, made in said:
            places[about, count[about]] = len(texts) + made.place
            count[about] += 1
            texts += made.texts
        return cls.of(texts, places)

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """Those of several parts, one behind the other."""
        sizes = [len(part.texts) for part in parts]
        begins = np.cumsum([0, *sizes[:-1]])
        places = [np.where(part.places < 0, -1, part.places + begin) for part, begin in zip(parts, begins, strict=True)]
        return cls.of(pa.concat_arrays([part.texts for part in parts]), np.concatenate(places))

    @property
    def any(self) -> np.ndarray:
        """(m,) bool: whether anything is said of each entry."""
        says = np.append(pc.binary_length(self.texts).to_numpy() > 0, False)
        found: np.ndarray = says[self.places].any(axis=1)
        return found

    def led_by(self, entries: np.ndarray, first: Texts) -> Self:
        """With a text before the others of (a,) entries: the last gives way, and the same one further back goes."""
        once, place = _once(pa.concat_arrays([self.texts, pa.array(first.texts, pa.string())]))
        places = place[self.places]
        four = np.column_stack([place[len(self.texts) + first.place], places[entries]])
        four[:, 1:][four[:, 1:] == four[:, :1]] = -1
        filled_first = np.argsort(four < 0, axis=1, kind="stable")[:, :MOST_REASONS]
        places[entries] = np.take_along_axis(four, filled_first, axis=1)
        return type(self)(once, places)


def _once(texts: pa.StringArray) -> tuple[pa.StringArray, np.ndarray]:
    """The distinct ones, and (n + 1,) int32 where among them each is; -1, the last, stays what it is."""
    encoded = texts.dictionary_encode()
    return encoded.dictionary, np.append(encoded.indices.to_numpy(), np.int32(-1))


def distinct_texts(text: Callable[..., str], *columns: np.ndarray) -> Texts:
    """The text of each row of (a,) whole-numbered columns; that of equal rows is made once."""
    rows = len(columns[0])
    key, size = np.zeros(rows, np.int64), 1
    for column in columns:
        low, high = (int(column.min()), int(column.max())) if rows else (0, 0)
        width = high - low + 1
        if size * width >= 2**62:  # the key so far by its place among those there are, of which there are few
            key = np.unique(key, return_inverse=True)[1]
            size = int(key.max(initial=0)) + 1
        key, size = key * width + (column.astype(np.int64) - low), size * width
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    return Texts([text(*row) for row in zip(*(column[first].tolist() for column in columns), strict=True)], place)
