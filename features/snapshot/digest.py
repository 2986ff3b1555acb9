"""A digest of rows that does not depend on their order: incremental or whole, one part or many, it is the same."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""An odd multiplier between columns, so that two columns with swapped values hash differently."""


class RowDigest:
    """The count of rows and the sum, modulo 2^64, of their hashes. For telling apart, not for security."""

    def __init__(self, leave_out: Sequence[str] = ()) -> None:
        self.leave_out = frozenset(leave_out)
        self.total = 0
        self.rows = 0

    def add(self, rows: pa.Table) -> None:
        """Takes in some more rows."""
        self.rows += rows.num_rows
        hashes = np.zeros(rows.num_rows, np.uint64)
        for name in rows.column_names:
            if name not in self.leave_out:
                hashes = hashes * GOLDEN + _column_hashes(rows[name])
        self.total = (self.total + int(hashes.sum(dtype=np.uint64))) % (1 << 64)

    def hex(self) -> str:
        """The digest as text, with the number of rows behind the dash."""
        return f"{self.total:016x}-{self.rows}"


def _column_hashes(column: pa.ChunkedArray) -> np.ndarray:
    if column.null_count == len(column):
        return np.zeros(len(column), np.uint64)
    nested = pa.types.is_nested(column.type)
    values = pd.Series([repr(value) for value in column.to_pylist()]) if nested else column.to_pandas()
    return pd.util.hash_pandas_object(values, index=False).to_numpy()
