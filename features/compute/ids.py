"""Ids become integers here, once, and only here."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from features.compute.text_table import TextTable, numbers_by_chunk


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Distinct ids in code-point order; an id's position is its number.

    The order depends on nothing but the ids, so the same people and tracks have the same numbers whatever
    order they were read in.
    """

    index: pd.Index

    @cached_property
    def _texts(self) -> list[str]:
        return [str(value) for value in self.index]

    @classmethod
    def of(cls, *columns: Iterable[str | None]) -> "Vocabulary":
        """The ids of all columns together; nulls are left out."""
        distinct: set[str] = set()
        for column in columns:
            distinct.update(value for value in column if value is not None)
        return cls(pd.Index(sorted(distinct), dtype=object))

    @classmethod
    def in_order(cls, ids: pa.Array) -> "Vocabulary":
        """Of distinct texts that are in code-point order already."""
        return cls(pd.Index(ids.to_pylist(), dtype=object))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> str:
        return self._texts[number]

    def __repr__(self) -> str:
        return f"Vocabulary({len(self):,} ids)"

    def numbers(self, ids: Iterable[str | None]) -> np.ndarray:
        """(n,) int32: the number of each id, -1 for one that is not in the vocabulary or null."""
        wanted = pd.Index(pd.Series(ids, dtype=object))
        return self.index.get_indexer(wanted).astype(np.int32)

    def numbers_of(self, column: pa.ChunkedArray) -> np.ndarray:
        """(n,) int32: the same for a column of texts, plain or in dictionaries, by their bytes."""
        return numbers_by_chunk(column, TextTable.of(self.texts).known)

    def ids(self) -> list[str]:
        """All ids, by number."""
        return list(self._texts)

    @cached_property
    def texts(self) -> pa.Array:
        """All ids as Arrow texts, by number: what tables of many ids are taken from."""
        return pa.array(self.index, pa.string(), from_pandas=False)
