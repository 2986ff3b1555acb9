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

    texts: pa.StringArray
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
    def of(cls, entries: int, said: Iterable[tuple[np.ndarray, np.ndarray, Texts]]) -> Self:
        """Of some entries at a time: (a,) which, (a,) whether it is their first, second or third sentence, texts."""
        places, parts, begin = np.full((entries, MOST_REASONS), -1, np.int32), [pa.array([], pa.string())], 0
        for about, place, made in said:
            places[about, place] = begin + made.place
            parts.append(made.texts)
            begin += len(made.texts)
        return cls(pa.concat_arrays(parts), places)

    @classmethod
    def in_turn(cls, entries: int, said: Iterable[tuple[np.ndarray, Texts]]) -> Self:
        """One text after the other: of each the (a,) entries that it is about, three for an entry at most."""
        said, count = list(said), np.zeros(entries, np.int64)
        places = []
        for about, _ in said:
            places.append(count[about])
            count[about] += 1
        return cls.of(entries, ((about, place, made) for (about, made), place in zip(said, places, strict=True)))

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
        first, *others = self.places.T  # numpy takes five times as long for rows of three
        found: np.ndarray = says[first]
        for places in others:
            found |= says[places]
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
        same, lead = (pc.index_in(some, first.texts).fill_null(-1).to_numpy() for some in (self.texts, first.texts))
        own = self.places[entries]
        own = np.where(np.append(same, -1)[own] == lead[first.place][:, None], -1, own)
        four = np.column_stack([len(self.texts) + first.place, own])
        filled_first = np.argsort(four < 0, axis=1, kind="stable")[:, :MOST_REASONS]
        places = self.places.copy()
        places[entries] = np.take_along_axis(four, filled_first, axis=1)
        return type(self)(pa.concat_arrays([self.texts, first.texts]), places)


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
    texts = [text(*row) for row in zip(*(column[one].tolist() for column in columns), strict=True)]
    return Texts(pa.array(texts, pa.string()), place)


def joined(head: Texts, tail: Texts) -> Texts:
    """One text of two for each of (a,), each distinct pair once."""
    width = max(len(tail.texts), 1)
    place, met = pd.factorize(head.place * width + tail.place)
    heads, tails = (
        part.take(pa.array(number))
        for part, number in zip((head.texts, tail.texts), np.divmod(met, width), strict=True)
    )
    return Texts(pc.binary_join_element_wise(heads, tails, ""), place)
