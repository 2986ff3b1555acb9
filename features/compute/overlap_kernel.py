"""The users with the highest Jaccard overlap, exact, for a range of rows, by counting over the listeners of tracks.

For a user and a tile of others (`overlap_index`) there is one counter each. Every track of the user adds one to its
listeners: from a list, one by one; from a row of bits, 64 users at a time. Seven rows go through four full adders of
bits, which leave three words: ones, twos and fours of 64 counts; those are added to words of the same kind
("carry-save adders"). One comparison then tells which of 64 users reach what is needed to come in.

Overlaps are ranked by their share, common / (size + other's size), which is J / (1 + J) of Jaccard's J and so in the
same order. What is needed: with the k-th best share so far, common ≥ share · (size + other's size). Sizes of a strip
are alike, so hardly anybody passes who does not come in. A tile is passed over where not even all tracks of the smaller
user would do; a strip where no counter would reach it with every row of bits. Users start with the tile of their own
size, where the best ones tend to be. Some words are compared at once, by what was needed before the first of them, and
only then those are looked at that hold somebody: a processor guesses badly which do, and waits each time it is wrong.

Where lists begin is looked up for all tracks of a user before any is counted, and the processor told to fetch them:
each is in another place of memory, and so is waited for beside the others.

Two different fractions of numbers below 2^26 are further apart than float64 rounds, so shares are in the order of the
fractions, and the same only where these are; ties go to the lower number. That is a total order, so that neither the
order of tiles nor shards nor threads change a thing.

Cost: the sum over tracks of listeners², most of it at 64 for a few cycles. Memory beside the index: k · 16 bytes a
row of the shard, and a tile's counters.

Sources:
    Jaccard, P. (1912), "The distribution of the flora in the alpine zone".
    Harley, R. & Seal, D., in Warren, H. S. (2012), "Hacker's Delight", section 5-1, for counting bits by carry-save
    adders.
    Bayardo, Ma & Srikant (2007), "Scaling up all pairs similarity search", for bounds by size.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from features.compute.bits import LANES, lowest_bit, prefetch, reach
from features.compute.overlap_index import TILE, WORDS, OverlapIndex

STRIP = 128
"""Words that are counted together: their planes of bits stay near the processor."""
CHUNK = 32
"""Words that are compared at once."""
DEPTH = 32
"""Planes of bits: sums of rows below 2^32."""
SLACK = 1.0 - 1e-9
"""What is needed is computed in float64, and must not be too much."""
U = np.uint64
"""numba looks for negative places before the end of an array unless a place is unsigned."""


class Scratch(NamedTuple):
    """What a search writes on again and again.

    Attributes:
        planes: ((DEPTH + 1) * STRIP,) uint64, words of ones, of twos, of fours and so on; the last of what is carried.
        met: (n,) uint64, where the rows of bits of a user's tracks begin.
        spans: (n, 2) uint64, where their lists begin and end.
        words: (STRIP,) int64, those of a strip that may hold somebody.
        hits: (CHUNK, 2) uint64, those of a chunk that do, and which of 64 it is.
    """

    planes: np.ndarray
    met: np.ndarray
    spans: np.ndarray
    words: np.ndarray
    hits: np.ndarray


def most_similar(
    index: OverlapIndex, start: int, stop: int, *, k: int, min_common: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k users with the highest Jaccard overlap, for users [start, stop).

    Args:
        index: made for the same `min_common`.
        start: of the rows.
        stop: of the rows.
        k: neighbours at most, one or more.
        min_common: tracks in common at least, one or more.

    Returns:
        Of shape (stop - start, k): numbers int32, best first, ties to the lower number, -1 where there are no more;
        common int32, tracks in common, 0 where there are no more.
    """
    numbers = np.full((stop - start, k), -1, np.int32)
    common = np.zeros(numbers.shape, np.int32)
    places = index.place_of[start:stop]
    rows = np.argsort(places, kind="stable")
    rows = rows[places[rows] >= 0]
    groups = np.searchsorted(places[rows], np.arange(len(index.begins) + 1) * TILE)
    _search(index, start, rows, groups, min_common, numbers, common)
    return numbers, common


@njit(nogil=True, cache=True)
def _search(
    index: OverlapIndex,
    start: int,
    rows: np.ndarray,
    groups: np.ndarray,
    min_common: int,
    numbers: np.ndarray,
    common: np.ndarray,
) -> None:
    """Fills in the last two; `rows` are by place, `groups` (tiles + 1) where the rows of each tile begin."""
    narrow = _on_border(np.zeros(TILE + 64, np.uint8))
    middle = _on_border(np.zeros(TILE + 64, np.uint16))
    wide = _on_border(np.zeros(TILE + 64, np.uint32))
    widest = np.max(index.starts[1:] - index.starts[:-1])
    scratch = Scratch(
        np.zeros((DEPTH + 1) * STRIP, np.uint64),
        np.empty(index.row_of.shape[1] + 7, np.uint64),
        np.empty((widest, 2), np.uint64),
        np.empty(STRIP, np.int64),
        np.empty((CHUNK, 2), np.uint64),
    )
    shares = np.zeros(numbers.shape)
    filled = np.zeros(len(numbers), np.int64)
    tiles = len(groups) - 1
    for step in range(2 * tiles - 1):
        away = (step + 1) // 2 if step % 2 else -(step // 2)  # 0, 1, -1, 2, -2 …
        for tile in range(max(away, 0), min(tiles + away, tiles)):
            own = tile - away
            for at in range(groups[own], groups[own + 1]):
                row = rows[at]
                size = index.starts[start + row + 1] - index.starts[start + row]
                most = min(size, _size_at(index, (tile + 1) * TILE - 1))
                user, heap = start + row, (numbers[row], common[row], shares[row])
                share = _share(heap, filled[row])
                if _needed(share, size, _size_at(index, tile * TILE), min_common) > most:
                    continue
                # common tracks are no more than `most`, so that the smallest counters that hold it will do
                if most < 1 << 8:
                    filled[row] = _meet(index, user, tile, narrow, scratch, min_common, heap, filled[row])
                elif most < 1 << 16:
                    filled[row] = _meet(index, user, tile, middle, scratch, min_common, heap, filled[row])
                else:
                    filled[row] = _meet(index, user, tile, wide, scratch, min_common, heap, filled[row])
    for row in range(len(numbers)):
        _sort((numbers[row], common[row], shares[row]), filled[row])


@njit(nogil=True, cache=True)
def _on_border(room: np.ndarray) -> np.ndarray:
    """(TILE,) of it, from the next border of 64 bytes on, where a processor reads and writes 64 at once."""
    first = -room.ctypes.data % 64 // room.itemsize
    return room[first : first + TILE]


@njit(nogil=True, cache=True)
def _meet(
    index: OverlapIndex,
    user: int,
    tile: int,
    counters: np.ndarray,
    scratch: Scratch,
    min_common: int,
    heap: tuple[np.ndarray, np.ndarray, np.ndarray],
    filled: int,
) -> int:
    """Offers a tile's users to a user's heap of so far `filled` entries; returns how many it has then.

    `counters` are (TILE,), zero before and after, of a type that holds every count.
    """
    planes, met, spans, words, hits = scratch
    own, size = U(index.place_of[user]), index.starts[user + 1] - index.starts[user]
    rows, lists = _look_up(index, user, tile, met, spans)
    _count(index.listeners, spans, lists, counters)
    depth = _depth_of(rows)
    share = _share(heap, filled)
    for strip in range(0, WORDS, STRIP):
        first = tile * TILE + strip * LANES
        smallest, most = _size_at(index, first), min(size, _size_at(index, first + STRIP * LANES - 1))
        needed = _needed(share, size, smallest, min_common)
        if needed > most:
            continue
        promising = _promising(counters, strip, needed - rows, planes, words)
        if promising == 0:
            continue
        _add_rows(index.bits, met, rows, strip, planes, depth)
        for chunk in range(0, promising, CHUNK):
            if needed > most:
                break
            found = _reaching(
                counters, strip, planes, depth, words[chunk : min(chunk + CHUNK, promising)], needed, hits
            )
            for hit in range(found):
                x, left = hits[hit, 0], hits[hit, 1]
                while left != U(0):
                    lane = lowest_bit(left)
                    left &= left - U(1)
                    at = (strip + np.int64(x)) * LANES + lane
                    place = U(tile * TILE + at)
                    common = int(counters[at]) + _in_planes(planes, x, lane, depth)
                    if common < needed or place == own:
                        continue
                    number, other = index.placed[place, 0], index.placed[place, 1]
                    if _offer(heap, filled, number, common, common / (size + other)):
                        filled = min(filled + 1, len(heap[0]))
                        share = _share(heap, filled)
                        needed = _needed(share, size, smallest, min_common)
    counters[:] = 0
    return filled


@njit(nogil=True, cache=True)
def _look_up(index: OverlapIndex, user: int, tile: int, met: np.ndarray, spans: np.ndarray) -> tuple[int, int]:
    """Puts places of the rows of bits of a user's tracks into `met`, and into `spans` where their lists begin and end.

    Returns:
        How many rows, behind which are six of row 0, which is empty; and how many lists.
    """
    rows = lists = 0
    for at in range(U(index.starts[user]), U(index.starts[user + 1])):
        track = U(index.tracks[at])
        row = index.row_of[tile, track] if track < U(index.row_of.shape[1]) else 0
        met[rows] = row * WORDS
        rows += row > 0
        begin, end = index.begins[tile, track], index.begins[tile, track + U(1)]
        spans[lists, 0], spans[lists, 1] = begin, end  # written over by the next if nobody is there
        prefetch(index.listeners, U(begin))
        lists += end > begin
    met[rows : rows + 6] = U(0)
    return rows, lists


@njit(nogil=True, cache=True)
def _count(listeners: np.ndarray, spans: np.ndarray, lists: int, counters: np.ndarray) -> None:
    """Adds one to the counter of each listener, list by list."""
    one = counters.dtype.type(1)
    for number in range(lists):
        for at in range(spans[number, 0], spans[number, 1]):
            counters[listeners[at]] += one


@njit(nogil=True, cache=True)
def _promising(counters: np.ndarray, strip: int, least: int, planes: np.ndarray, words: np.ndarray) -> int:
    """Puts the words of a strip in which a counter is `least` or more into `words`; returns how many."""
    if least <= 0:
        for x in range(STRIP):
            words[x] = x
        return STRIP
    found = 0
    for x in range(STRIP):
        words[found] = x
        found += reach(counters, (strip + x) * LANES, planes, x, STRIP, 0, counters.dtype.type(least)) != U(0)
    return found


@njit(nogil=True, cache=True)
def _reaching(
    counters: np.ndarray,
    strip: int,
    planes: np.ndarray,
    depth: int,
    words: np.ndarray,
    least: int,
    hits: np.ndarray,
) -> int:
    """Puts those of `words` with a sum of `least` or more into `hits`, and which of 64 it is; returns how many."""
    found = 0
    for x in words:
        word = reach(counters, (strip + x) * LANES, planes, x, STRIP, depth, counters.dtype.type(least))
        hits[found, 0], hits[found, 1] = x, word  # written over by the next if nobody is there
        found += word != U(0)
    return found


@njit(nogil=True, cache=True)
def _depth_of(rows: int) -> int:
    """Planes of bits that hold a count of so many rows."""
    depth = 0
    while rows >> depth:
        depth += 1
    return depth


@njit(nogil=True, cache=True)
def _size_at(index: OverlapIndex, place: int) -> int:
    """Tracks of who stands there; behind the last place, of who stands last."""
    return int(index.placed[min(place, len(index.placed) - 1), 1])


@njit(nogil=True, cache=True)
def _needed(share: float, size: int, other_size: int, min_common: int) -> int:
    """Tracks in common without which someone of `other_size` or more can't come in."""
    return max(min_common, int(np.ceil(share * (size + other_size))))


@njit(nogil=True, cache=True)
def _share(heap: tuple[np.ndarray, np.ndarray, np.ndarray], filled: int) -> float:
    """A little less than the share of the heap's worst entry; 0 while there is room."""
    shares = heap[2]
    return shares[0] * SLACK if filled == len(shares) else 0.0


@njit(nogil=True, cache=True)
def _add_rows(bits: np.ndarray, met: np.ndarray, rows: int, strip: int, planes: np.ndarray, depth: int) -> None:
    """Counts in `planes` what bits of a strip are set in rows: words of ones, of twos, of fours and so on."""
    planes[: max(depth, 3) * STRIP] = U(0)
    done = 0
    while done < rows:
        if rows - done > 3:
            _add_seven(bits, met, done, U(strip), planes)
            done += 7
        else:
            _add_three(bits, met, done, U(strip), planes)
            done += 3
        plane = 3
        while plane < depth and done >> plane:
            _carry_on(planes, plane)
            plane += 1


@njit(nogil=True, cache=True)
def _add_seven(bits: np.ndarray, met: np.ndarray, first: int, strip: np.uint64, planes: np.ndarray) -> None:
    """Adds seven rows to the lowest three planes; what is carried beyond goes to the last plane."""
    a, b, c, d = met[first] + strip, met[first + 1] + strip, met[first + 2] + strip, met[first + 3] + strip
    e, f, g = met[first + 4] + strip, met[first + 5] + strip, met[first + 6] + strip
    for x in range(U(0), U(STRIP)):
        one, two_a = _add(bits[a + x], bits[b + x], bits[c + x])
        one, two_b = _add(one, bits[d + x], bits[e + x])
        one, two_c = _add(one, bits[f + x], bits[g + x])
        two, four = _add(two_a, two_b, two_c)
        _add_to_planes(planes, x, one, two, four)


@njit(nogil=True, cache=True)
def _add_three(bits: np.ndarray, met: np.ndarray, first: int, strip: np.uint64, planes: np.ndarray) -> None:
    """Like `_add_seven`, three rows."""
    a, b, c = met[first] + strip, met[first + 1] + strip, met[first + 2] + strip
    for x in range(U(0), U(STRIP)):
        one, two = _add(bits[a + x], bits[b + x], bits[c + x])
        _add_to_planes(planes, x, one, two, one ^ one)  # no fours


@njit(inline="always")
def _add(a: int, b: int, c: int) -> tuple[int, int]:
    """A full adder of each of 64 bits: the sum's ones and its twos."""
    either = a ^ b
    return either ^ c, (a & b) | (either & c)


@njit(inline="always")
def _add_to_planes(planes: np.ndarray, x: int, one: int, two: int, four: int) -> None:
    low = planes[x]
    planes[x] = low ^ one
    planes[U(STRIP) + x], over = _add(planes[U(STRIP) + x], two, low & one)
    planes[U(2 * STRIP) + x], over = _add(planes[U(2 * STRIP) + x], four, over)
    planes[U(DEPTH * STRIP) + x] = over


@njit(nogil=True, cache=True)
def _in_planes(planes: np.ndarray, x: int, lane: int, depth: int) -> int:
    """The count that planes of bits hold for one lane of a word."""
    count = 0
    for plane in range(depth):
        count += int((planes[plane * STRIP + x] >> U(lane)) & U(1)) << plane
    return count


@njit(nogil=True, cache=True)
def _carry_on(planes: np.ndarray, plane: int) -> None:
    """Adds the last plane, of what is carried, to a plane, and leaves there what is carried on."""
    first = U(plane * STRIP)
    for x in range(U(0), U(STRIP)):
        here, over = planes[first + x], planes[U(DEPTH * STRIP) + x]
        planes[first + x] = here ^ over
        planes[U(DEPTH * STRIP) + x] = here & over


@njit(inline="always")
def _is_worse(share: float, number: int, other_share: float, other_number: int) -> bool:
    """Whether the first stands below the second: a lower share, or the same and a higher number."""
    return share < other_share or (share == other_share and number > other_number)


@njit(nogil=True, cache=True)
def _offer(
    heap: tuple[np.ndarray, np.ndarray, np.ndarray], filled: int, number: int, common: int, share: float
) -> bool:
    """Takes an entry in, at the cost of the worst if there is no room. Returns whether it is in."""
    numbers, commons, shares = heap
    if filled == len(numbers):
        if _is_worse(share, number, shares[0], numbers[0]):
            return False
        _sink(heap, filled, number, common, share)
        return True
    place = filled
    while place > 0:
        above = (place - 1) // 2
        if not _is_worse(share, number, shares[above], numbers[above]):
            break
        numbers[place], commons[place], shares[place] = numbers[above], commons[above], shares[above]
        place = above
    numbers[place], commons[place], shares[place] = number, common, share
    return True


@njit(nogil=True, cache=True)
def _sink(heap: tuple[np.ndarray, np.ndarray, np.ndarray], filled: int, number: int, common: int, share: float) -> None:
    """Puts an entry in the place of the worst, which stands in front, and lets it sink."""
    numbers, commons, shares = heap
    place, end = U(0), U(filled)
    while U(2) * place + U(1) < end:
        below = U(2) * place + U(1)
        beside = below + U(1)
        if beside < end and _is_worse(shares[beside], numbers[beside], shares[below], numbers[below]):
            below = beside
        if not _is_worse(shares[below], numbers[below], share, number):
            break
        numbers[place], commons[place], shares[place] = numbers[below], commons[below], shares[below]
        place = below
    numbers[place], commons[place], shares[place] = number, common, share


@njit(nogil=True, cache=True)
def _sort(heap: tuple[np.ndarray, np.ndarray, np.ndarray], filled: int) -> None:
    """Best first: the worst goes to the end, and again with what is left."""
    numbers, commons, shares = heap
    for last in range(filled - 1, 0, -1):
        number, common, share = numbers[last], commons[last], shares[last]
        numbers[last], commons[last], shares[last] = numbers[0], commons[0], shares[0]
        _sink(heap, last, number, common, share)
