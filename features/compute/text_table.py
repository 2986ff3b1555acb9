"""Numbers for texts as they are met: a hash table on their bytes, which stays from one piece of a history to the next.

The plain way is a dict of Python strings, and Arrow's `index_in` hashes all known texts anew for each piece: at a
million ids that took a third of numbering. Here each text of a piece is hashed once, eight bytes at a time, looked for
by linear probing, and compared byte by byte with what stands there. Cost: two looks into memory a text; 4 to 8 bytes a
text besides the text itself.
"""

import numpy as np
import pyarrow as pa
from numba import njit

LEAST_SLOTS = 1 << 12
MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio, as of Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4)."""


class TextTable:
    """Texts and their numbers, from 0 in the order in which they were first met."""

    def __init__(self) -> None:
        self._slots = np.full(LEAST_SLOTS, -1, np.int32)
        self._ends = np.zeros(1, np.int64)
        self._bytes = np.empty(0, np.uint8)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def numbers(self, texts: pa.Array) -> np.ndarray:
        """(n,) int32: of texts none of which is null, known or new."""
        texts = texts.cast(pa.large_string())
        _, ends, letters = texts.buffers()
        if not len(texts) or ends is None:
            return np.zeros(len(texts), np.int32)
        offsets = np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        given = np.frombuffer(letters, np.uint8) if letters is not None else np.zeros(0, np.uint8)
        self._make_room(len(texts), int(offsets[-1] - offsets[0]))
        numbers = np.empty(len(texts), np.int32)
        self._count = _number(offsets, given, self._slots, self._ends, self._bytes, self._count, numbers)
        return numbers

    def texts(self) -> pa.Array:
        """(n,) the texts by number.

        Raises:
            ArrowInvalid: two gigabytes of them and more.
        """
        ends, letters = self._ends[: self._count + 1].copy(), self._bytes[: self._ends[self._count]].copy()
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(letters)]
        return pa.Array.from_buffers(pa.large_string(), self._count, buffers).cast(pa.string())

    def _make_room(self, texts: int, letters: int) -> None:
        """For so many more, were they all new: a table that is at most half full."""
        most = self._count + texts
        if len(self._ends) <= most:
            self._ends = np.concatenate([self._ends[: self._count + 1], np.zeros(2 * most - self._count, np.int64)])
        used = int(self._ends[self._count])
        if len(self._bytes) < used + letters:
            self._bytes = np.concatenate([self._bytes[:used], np.zeros(used + 2 * letters, np.uint8)])
        if len(self._slots) < 2 * most:
            self._slots = np.full(1 << (2 * most).bit_length(), -1, np.int32)
            _fill(self._slots, self._ends, self._bytes, self._count)


@njit(nogil=True, cache=True)
def _hashed(letters: np.ndarray, begin: int, end: int) -> np.uint64:
    mixed = np.uint64(end - begin)
    at = begin
    while at + 8 <= end:
        word = np.uint64(0)
        for place in range(8):
            word |= np.uint64(letters[at + place]) << np.uint64(8 * place)
        mixed = (mixed ^ word) * MIX
        mixed ^= mixed >> np.uint64(29)
        at += 8
    word, shift = np.uint64(0), np.uint64(0)
    while at < end:
        word |= np.uint64(letters[at]) << shift
        shift += np.uint64(8)
        at += 1
    mixed = (mixed ^ word) * MIX
    return mixed ^ (mixed >> np.uint64(32))


@njit(nogil=True, cache=True)
def _fill(slots: np.ndarray, ends: np.ndarray, kept: np.ndarray, count: int) -> None:
    """Puts all that is kept into empty slots."""
    mask = np.uint64(len(slots) - 1)
    for number in range(count):
        slot = _hashed(kept, ends[number], ends[number + 1]) & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = number


@njit(nogil=True, cache=True)
def _number(
    offsets: np.ndarray,
    letters: np.ndarray,
    slots: np.ndarray,
    ends: np.ndarray,
    kept: np.ndarray,
    count: int,
    numbers: np.ndarray,
) -> int:
    """Fills `numbers`; keeps what is new, and returns how many are kept then."""
    mask = np.uint64(len(slots) - 1)
    for text in range(len(numbers)):
        begin, end = offsets[text], offsets[text + 1]
        slot = _hashed(letters, begin, end) & mask
        while True:
            number = slots[slot]
            if number < 0:
                first = ends[count]
                for place in range(end - begin):
                    kept[first + place] = letters[begin + place]
                ends[count + 1] = first + end - begin
                slots[slot] = number = count
                count += 1
                break
            first = ends[number]
            if ends[number + 1] - first == end - begin:
                place = 0
                while place < end - begin and kept[first + place] == letters[begin + place]:
                    place += 1
                if place == end - begin:
                    break
            slot = (slot + np.uint64(1)) & mask
        numbers[text] = number
    return count
