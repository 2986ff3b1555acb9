"""The hash table of `compute/text_table.py` in machine code: linear probing on texts' bytes, many looks at once.

Each text is hashed once, eight bytes at a time, looked for by linear probing, and compared byte for byte with what
stands there. At a million texts what is kept lies beyond the caches, and a text is looked for in three places one after
another: its slot, where its bytes begin, the bytes. So texts are looked for some hundred at a time, and each of the
three is a loop of its own over all of them, in which no look waits for another: the processor has many under way at
once ("group prefetching": Chen, Ailamaki, Gibbons, Mowry, Improving Hash Join Performance through Prefetching, 2004).
A slot holds 31 bits of the hash beside the number, so that the bytes of another text are looked at once in two billion
times. What these loops find is a guess, which is compared in the end; where it is wrong, as for each new text, the text
is looked for by itself. So numbers are given in the order of the texts.

A table is four arrays and a count:
    slots: (slots,) int64, a power of two and at most half of them taken; -1 empty, else the tag above the number.
    ends: (room + 1,) int64: number n's bytes are those from ends[n] to ends[n + 1].
    kept: (room,) uint8, the bytes of all texts one after the other.

Cost: 60 ns for a known text of 28 bytes among a million; one look after another takes 420.
"""

import numpy as np
from numba import njit

EMPTY = -1
BATCH = 256
"""Texts that are looked for at once: some more than looks can be under way, few enough to stay in the first cache."""
MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio, as of Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4)."""
ONE = np.uint64(1)
NUMBER_BITS = np.uint64(32)
NUMBER = np.int64(0xFFFFFFFF)


@njit(nogil=True, cache=True)
def _word(letters: np.ndarray, at: int) -> np.uint64:
    """Eight bytes as a number; spelled out and without signs, it is one load."""
    place = np.uint64(at)
    word = np.uint64(letters[place])
    word |= np.uint64(letters[place + np.uint64(1)]) << np.uint64(8)
    word |= np.uint64(letters[place + np.uint64(2)]) << np.uint64(16)
    word |= np.uint64(letters[place + np.uint64(3)]) << np.uint64(24)
    word |= np.uint64(letters[place + np.uint64(4)]) << np.uint64(32)
    word |= np.uint64(letters[place + np.uint64(5)]) << np.uint64(40)
    word |= np.uint64(letters[place + np.uint64(6)]) << np.uint64(48)
    word |= np.uint64(letters[place + np.uint64(7)]) << np.uint64(56)
    return word


@njit(nogil=True, cache=True)
def hash_of(letters: np.ndarray, begin: int, end: int) -> np.uint64:
    """Of a text's words and its length; the last word is the last eight bytes, some of them for the second time."""
    mixed = np.uint64(end - begin) * MIX
    if end - begin >= 8:
        for at in range(begin, end - 8, 8):
            mixed = (mixed ^ _word(letters, at)) * MIX
            mixed ^= mixed >> np.uint64(29)
        mixed = (mixed ^ _word(letters, end - 8)) * MIX
    else:
        word = np.uint64(0)
        for at in range(begin, end):
            word = word << np.uint64(8) | np.uint64(letters[at])
        mixed = (mixed ^ word) * MIX
    return mixed ^ (mixed >> np.uint64(32))


@njit(nogil=True, cache=True)
def _same(letters: np.ndarray, begin: int, kept: np.ndarray, first: int, size: int) -> bool:
    """Whether so many bytes are the same in two places."""
    if size >= 8:
        for place in range(0, size - 8, 8):
            if _word(letters, begin + place) != _word(kept, first + place):
                return False
        return _word(letters, begin + size - 8) == _word(kept, first + size - 8)
    for place in range(size):  # noqa: SIM110 - `all` of a generator is not for kernels
        if letters[begin + place] != kept[first + place]:
            return False
    return True


@njit(nogil=True, cache=True)
def _tag(hashed: np.uint64) -> np.int64:
    """The upper 31 bits; slots are chosen by the lower ones."""
    return np.int64(hashed >> np.uint64(33))


@njit(nogil=True, cache=True)
def fill(slots: np.ndarray, ends: np.ndarray, kept: np.ndarray, count: int) -> None:
    """Puts all that is kept into empty slots."""
    mask = np.uint64(len(slots) - 1)
    for number in range(count):
        hashed = hash_of(kept, ends[number], ends[number + 1])
        slot = hashed & mask
        while slots[slot] >= 0:
            slot = (slot + ONE) & mask
        slots[slot] = _tag(hashed) << NUMBER_BITS | number


@njit(nogil=True, cache=True)
def _slot_of(
    letters: np.ndarray,
    begin: int,
    end: int,
    hashed: np.uint64,
    slots: np.ndarray,
    ends: np.ndarray,
    kept: np.ndarray,
) -> np.uint64:
    """The slot of one text; the empty one where it belongs, if it has none."""
    mask = np.uint64(len(slots) - 1)
    slot = hashed & mask
    while slots[slot] >= 0:
        if slots[slot] >> NUMBER_BITS == _tag(hashed):
            number = slots[slot] & NUMBER
            first = ends[number]
            if ends[number + 1] - first == end - begin and _same(letters, begin, kept, first, end - begin):
                break
        slot = (slot + ONE) & mask
    return slot


@njit(nogil=True, cache=True)
def _guess(
    offsets: np.ndarray,
    letters: np.ndarray,
    slots: np.ndarray,
    ends: np.ndarray,
    kept: np.ndarray,
    hashes: np.ndarray,
    guessed: np.ndarray,
    firsts: np.ndarray,
) -> None:
    """Numbers that texts may have, by all but their bytes between the first and the last.

    Each loop reads what the one before brought near, and asks for what the next one reads.

    Args:
        offsets: (n + 1,) where the texts begin.
        letters: in which they do.
        slots: of the table.
        ends: of the table.
        kept: of the table.
        hashes: gets (n,) the texts' hashes.
        guessed: gets (n,) the numbers, -1 for none.
        firsts: gets (n,) where the bytes of those numbers begin.
    """
    mask = np.uint64(len(slots) - 1)
    texts = len(offsets) - 1
    for text in range(texts):
        hashes[text] = hash_of(letters, offsets[text], offsets[text + 1])
    for text in range(texts):
        guessed[text] = slots[hashes[text] & mask]
    for text in range(texts):
        found, slot, tag = guessed[text], hashes[text] & mask, _tag(hashes[text])
        while found >= 0 and found >> NUMBER_BITS != tag:
            slot = (slot + ONE) & mask
            found = slots[slot]
        guessed[text] = found & NUMBER if found >= 0 else -1
    for text in range(texts):
        number, size = max(guessed[text], 0), offsets[text + 1] - offsets[text]
        firsts[text] = ends[number]
        if ends[number + 1] - ends[number] != size or size == 0:
            guessed[text] = -1
    for text in range(texts):
        if guessed[text] >= 0:
            begin, end, first = offsets[text], offsets[text + 1], firsts[text]
            if letters[begin] != kept[first] or letters[end - 1] != kept[first + end - 1 - begin]:
                guessed[text] = -1


@njit(nogil=True, cache=True)
def number_texts(
    offsets: np.ndarray,
    letters: np.ndarray,
    slots: np.ndarray,
    ends: np.ndarray,
    kept: np.ndarray,
    count: int,
    numbers: np.ndarray,
    keep: bool,
) -> int:
    """Fills `numbers`; keeps what is new, or, where that is not wanted, gives it -1. Returns how many are kept."""
    hashes, guessed, firsts = np.empty(BATCH, np.uint64), np.empty(BATCH, np.int64), np.empty(BATCH, np.int64)
    for start in range(0, len(numbers), BATCH):
        stop = min(start + BATCH, len(numbers))
        _guess(offsets[start : stop + 1], letters, slots, ends, kept, hashes, guessed, firsts)
        for text in range(start, stop):
            begin, end, number = offsets[text], offsets[text + 1], guessed[text - start]
            if number < 0 or not _same(letters, begin, kept, firsts[text - start], end - begin):
                hashed = hashes[text - start]
                slot = _slot_of(letters, begin, end, hashed, slots, ends, kept)
                number = slots[slot] & NUMBER if slots[slot] >= 0 else -1
                if number < 0 and keep:
                    number, first = count, ends[count]
                    kept[first : first + end - begin] = letters[begin:end]
                    ends[count + 1] = first + end - begin
                    slots[slot] = _tag(hashed) << NUMBER_BITS | number
                    count += 1
            numbers[text] = number
    return count
