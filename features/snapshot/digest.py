"""A digest of rows that does not depend on their order: incremental or whole, one part or many, it is the same."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""An odd multiplier between columns, so that two columns with swapped values hash differently."""
NULL_HASH = np.uint64(0xD1B54A32D192ED03)
"""Stands for a null in any column, whatever else is in its batch."""


class RowDigest:
    """The count of rows and the sum, modulo 2^64, of their hashes. For telling apart, not for security."""

    def __init__(self, leave_out: Sequence[str] = ()) -> None:
        self.leave_out = frozenset(leave_out)
        self.total = 0
        self.rows = 0

    def add(self, rows: pa.Table) -> None:
        """Takes in some more rows."""
        self.rows += rows.num_rows
        self.total = (self.total + int(row_hashes(rows, self.leave_out).sum(dtype=np.uint64))) % (1 << 64)

    def hex(self) -> str:
        """The digest as text, with the number of rows behind the dash."""
        return digest_text(self.total, self.rows)


def digest_text(total: int, rows: int) -> str:
    """A digest as text, from the sum of the rows' hashes and their number."""
    return f"{total:016x}-{rows}"


def sum_of_digests(digests: Iterable[str]) -> str:
    """The digest of several lots of rows together, by theirs."""
    total = rows = 0
    for digest in digests:
        hashes, _, count = digest.partition("-")
        total, rows = (total + int(hashes, 16)) % (1 << 64), rows + int(count)
    return digest_text(total, rows)


def row_hashes(rows: pa.Table, leave_out: Iterable[str] = ()) -> np.ndarray:
    """(n,) uint64: a hash a row, of all columns but those left out."""
    hashes = np.zeros(rows.num_rows, np.uint64)
    for name in rows.column_names:
        if name not in leave_out:
            hashes = _mixed(hashes * GOLDEN + _column_hashes(rows[name]))
    return hashes


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele, Lea & Flood 2014).

    Without it a row's hash would be a sum over its columns, and two rows that swap one value would go unnoticed.
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def _column_hashes(column: pa.ChunkedArray) -> np.ndarray:
    """A hash a value that depends on nothing but the value: not on nulls or types of others in the batch."""
    if pa.types.is_string(column.type):  # each distinct text is hashed once
        encoded = column.combine_chunks().dictionary_encode()
        texts = np.asarray(encoded.dictionary.to_numpy(zero_copy_only=False), object)
        of_texts = np.append(_hashed(texts), NULL_HASH)
        hashes: np.ndarray = of_texts[pc.fill_null(encoded.indices, len(texts)).to_numpy()]
        return hashes
    hashes = _hashed(_plain_values(column))
    hashes[pc.is_null(column).to_numpy()] = NULL_HASH
    return hashes


def _hashed(values: np.ndarray) -> np.ndarray:
    return np.array(pd.util.hash_array(values, categorize=False), np.uint64)


def _plain_values(column: pa.ChunkedArray) -> np.ndarray:
    """The values as integers, floats or texts; anything will do for a null."""
    if pa.types.is_nested(column.type):
        return np.array([repr(value) for value in column.to_pylist()], object)
    if not pa.types.is_floating(column.type):
        column = column.cast(pa.int64())
    return np.asarray(column.fill_null(0).to_numpy())
