"""Sentences about entries of lists, each made once and then spoken of by its place: they are far fewer than entries."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
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
        texts: some may stand there twice.
        places: (m, 3) int32, of each entry the places in `texts`, best first; -1 for none, at the end.
    """

    texts: pa.StringArray
    places: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str], places: np.ndarray) -> Self:
        """Of texts, and (m, 3) int places in them, as above."""
        return cls(pa.array(texts, pa.string()), places.astype(np.int32))

    @classmethod
    def in_turn(cls, entries: int, said: Iterable[tuple[np.ndarray, Texts]]) -> Self:
        """One text after the other: of each the (a,) entries that it is about, three for an entry at most."""
        places, count = np.full((entries, MOST_REASONS), -1, np.int32), np.zeros(entries, np.int64)
        texts: list[str] = []
        for about, made in said:
            places[about, count[about]] = len(texts) + made.place
            count[about] += 1
            texts += made.texts
        return cls.of(texts, places)

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """Those of several parts, one behind the other."""
        begins = np.cumsum([0, *(len(part.texts) for part in parts[:-1])], dtype=np.int32)
        places = [np.where(part.places < 0, -1, part.places + begin) for part, begin in zip(parts, begins, strict=True)]
        return cls(pa.concat_arrays([part.texts for part in parts]), np.concatenate(places, dtype=np.int32))

    @property
    def any(self) -> np.ndarray:
        """(m,) bool: whether anything is said of each entry."""
        says = np.append(pc.binary_length(self.texts).to_numpy() > 0, False)
        found: np.ndarray = says[self.places].any(axis=1)
        return found

    def once(self) -> Self:
        """The same with no text twice."""
        encoded = self.texts.dictionary_encode()
        return type(self)(encoded.dictionary, np.append(encoded.indices.to_numpy(), np.int32(-1))[self.places])

    def rows(self, entries: np.ndarray) -> Self:
        """Those of (a,) entries."""
        return type(self)(self.texts, self.places[entries])

    def led_by(self, entries: np.ndarray, first: Texts) -> Self:
        """With a text before the others of (a,) entries: the last gives way, and the same one further back goes."""
        texts = pa.array(first.texts, pa.string())
        same, lead = (pc.index_in(some, texts).fill_null(-1).to_numpy() for some in (self.texts, texts))
        own = self.places[entries]
        own = np.where(np.append(same, -1)[own] == lead[first.place][:, None], -1, own)
        four = np.column_stack([len(self.texts) + first.place, own])
        filled_first = np.argsort(four < 0, axis=1, kind="stable")[:, :MOST_REASONS]
        places = self.places.copy()
        places[entries] = np.take_along_axis(four, filled_first, axis=1)
        return type(self)(pa.concat_arrays([self.texts, texts]), places)


def distinct_texts(text: Callable[..., str], *columns: np.ndarray) -> Texts:
    """The text of each row of (a,) whole-numbered columns; that of equal rows is made once."""
    rows = len(columns[0])
    key, size = np.zeros(rows, np.int64), 1
    for column in columns:
        low, high = (int(column.min()), int(column.max())) if rows else (0, 0)
        width = high - low + 1
        if size * width >= 2**62:  # the key so far by its place among those there are, of which there are few
            key, met = pd.factorize(key)
            size = max(len(met), 1)
        key, size = key * width + (column.astype(np.int64) - low), size * width
    place, met = pd.factorize(key)  # by hashing; sorting would take five times as long
    one = np.empty(len(met), np.int64)
    one[place] = np.arange(rows)
    return Texts([text(*row) for row in zip(*(column[one].tolist() for column in columns), strict=True)], place)
