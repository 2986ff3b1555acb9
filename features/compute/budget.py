"""How much memory a night may take, and what sizes of blocks follow. They cost time and memory and change nothing else.

What a night holds for good goes by its inputs: each play, each pair of user and track, each user, each track. What is
left of the limit is for blocks, which can be as small as need be; larger ones than `MOST_CELLS` gain nothing, since
they leave the processor's caches.
"""

from dataclasses import dataclass, field

import numba

GB = 1_000_000_000
DEFAULT_LIMIT = 8 * GB

PROCESS_BYTES = 450_000_000
"""An interpreter with all that is imported, compiled kernels among it."""
PLAY_BYTES = 20
"""User and track in four bytes each, the moment in eight, the completion in four."""
PAIR_BYTES = 64
"""Weights, counts and what is known, each with its columns; when it began and was last confirmed; what models add."""
USER_BYTES, TRACK_BYTES = 1_500, 4_000
"""Ids, accounts and neighbours; names, artists, genres, audio features and vectors."""

CELL_BYTES = 250
"""Of a block of users and candidates: scores of some models, what they are blended from, and what lists are told of."""
LEAST_CELLS, MOST_CELLS = 250_000, 1_000_000
SHARD_USER_BYTES = 20 * 50
LEAST_SHARD, MOST_SHARD = 1 << 10, 1 << 16


@dataclass(frozen=True)
class Budget:
    """What a night may take.

    Attributes:
        limit_bytes: of memory, all together.
        threads: that work at once; as many as numba may use by default.
    """

    limit_bytes: int = DEFAULT_LIMIT
    threads: int = field(default_factory=numba.get_num_threads)


@dataclass(frozen=True)
class Sizes:
    """How much there is to compute with."""

    users: int
    tracks: int
    plays: int
    pairs: int


@dataclass(frozen=True)
class Blocks:
    """How much is worked on at once.

    Attributes:
        cells: of blocks of users and candidates.
        shard_users: rows of a shard of similar users, for each thread.
    """

    cells: int
    shard_users: int


def held_bytes(sizes: Sizes) -> int:
    """About how much is held through a night, blocks aside."""
    return (
        PROCESS_BYTES
        + sizes.plays * PLAY_BYTES
        + sizes.pairs * PAIR_BYTES
        + sizes.users * USER_BYTES
        + sizes.tracks * TRACK_BYTES
    )


def blocks_for(budget: Budget, sizes: Sizes) -> Blocks:
    """The largest blocks that fit beside what is held, within bounds; the least ones where nothing is left.

    >>> blocks_for(Budget(8 * GB, 2), Sizes(users=1000, tracks=1000, plays=100_000, pairs=50_000))
    Blocks(cells=1000000, shard_users=65536)
    >>> blocks_for(Budget(600_000_000, 2), Sizes(users=1000, tracks=1000, plays=100_000, pairs=50_000)).cells
    557200
    """
    left = max(budget.limit_bytes - held_bytes(sizes), 0)
    return Blocks(
        min(max(left // CELL_BYTES, LEAST_CELLS), MOST_CELLS),
        min(max(left // (2 * SHARD_USER_BYTES * budget.threads), LEAST_SHARD), MOST_SHARD),
    )
