"""Numbers for texts as they are met: a hash table on their bytes, which stays from one piece of a history to the next.

The plain way is a dict of Python strings, and Arrow's `index_in` hashes all known texts anew for each piece: at a
million ids that took a third of numbering. Here each text of a piece is hashed once and looked for in what is known
(`compute/text_kernels.py`). Held besides the texts: 24 to 48 bytes each.
"""

from collections.abc import Callable
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.compute.text_kernels import EMPTY, fill, number_texts

LEAST_SLOTS = 1 << 12
STRETCH = 1 << 16
"""Texts for which there is room made at once, as if all were new."""


class TextTable:
    """Texts and their numbers, from 0 in the order in which they were first met."""

    def __init__(self) -> None:
        self._slots = np.full(LEAST_SLOTS, EMPTY, np.int64)
        self._ends = np.zeros(2, np.int64)
        self._bytes = np.zeros(1, np.uint8)
        self._count = 0

    @classmethod
    def of(cls, texts: pa.Array) -> Self:
        """Of distinct texts none of which is null, numbered as they stand there."""
        table = cls()
        table.numbers(texts)
        return table

    def __len__(self) -> int:
        return self._count

    def numbers(self, texts: pa.Array) -> np.ndarray:
        """(n,) int32: of texts none of which is null, known or new."""
        return self._looked_up(texts, keep=True)

    def known(self, texts: pa.Array) -> np.ndarray:
        """(n,) int32: -1 for what has no number or is null; nothing gets one."""
        numbers = self._looked_up(texts, keep=False)
        if texts.null_count:
            numbers[pc.is_null(texts).to_numpy(zero_copy_only=False)] = -1
        return numbers

    def texts(self) -> pa.Array:
        """(n,) the texts by number.

        Raises:
            ArrowInvalid: two gigabytes of them and more.
        """
        ends, letters = self._ends[: self._count + 1].copy(), self._bytes[: self._ends[self._count]].copy()
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(letters)]
        return pa.Array.from_buffers(pa.large_string(), self._count, buffers).cast(pa.string())

    def _looked_up(self, texts: pa.Array, *, keep: bool) -> np.ndarray:
        texts = texts.cast(pa.large_string())
        _, ends, letters = texts.buffers()
        numbers = np.zeros(len(texts), np.int32)
        if not len(texts) or ends is None:
            return numbers
        offsets = np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        given = np.frombuffer(letters, np.uint8) if letters is not None else np.zeros(0, np.uint8)
        for start in range(0, len(texts), STRETCH):
            some = offsets[start : start + STRETCH + 1]
            if keep:
                self._make_room(len(some) - 1, int(some[-1] - some[0]))
            self._count = number_texts(
                some, given, self._slots, self._ends, self._bytes, self._count, numbers[start : start + STRETCH], keep
            )
        return numbers

    def _make_room(self, texts: int, letters: int) -> None:
        """For so many more, were they all new: a table that is at most half full."""
        most = self._count + texts
        if len(self._ends) <= most:
            self._ends = np.concatenate([self._ends[: self._count + 1], np.zeros(most + texts, np.int64)])
        used = int(self._ends[self._count])
        if len(self._bytes) < used + letters:
            self._bytes = np.concatenate([self._bytes[:used], np.zeros(used + 2 * letters, np.uint8)])
        if len(self._slots) < 2 * most:
            self._slots = np.full(1 << (2 * most).bit_length(), EMPTY, np.int64)
            fill(self._slots, self._ends, self._bytes, self._count)


def numbers_by_chunk(column: pa.ChunkedArray, numbers: Callable[[pa.Array], np.ndarray]) -> np.ndarray:
    """(n,) int32: of a column of texts, plain or in dictionaries, of which each distinct one is looked up once.

    Args:
        column: chunk by chunk, since the texts of 100 million rows overflow one Arrow array.
        numbers: (m,) int32 of m texts. It is not asked for what a dictionary holds and no row does; nulls of one
            have -1.
    """
    return np.concatenate([np.zeros(0, np.int32), *(_of_chunk(chunk, numbers) for chunk in column.chunks)])


def _of_chunk(chunk: pa.Array, numbers: Callable[[pa.Array], np.ndarray]) -> np.ndarray:
    if not pa.types.is_dictionary(chunk.type):
        return numbers(chunk)
    texts = chunk.dictionary
    places = pc.fill_null(chunk.indices.cast(pa.int32()), len(texts)).to_numpy()
    used = np.zeros(len(texts) + 1, bool)
    used[places] = True
    used[-1] = False
    lookup = np.full(len(used), -1, np.int32)
    lookup[used] = numbers(texts.filter(pa.array(used[:-1])))
    return lookup[places]
