"""What a limit on memory means, and that it moves sizes of blocks and nothing of a release."""

from itertools import pairwise

import pytest
from commands import echotune

from features.compute.budget import (
    LEAST_CELLS,
    LEAST_SHARD,
    MOST_CELLS,
    MOST_SHARD,
    Budget,
    Sizes,
    blocks_for,
    held_bytes,
)
from features.errors import InputError
from features.memory_limit import in_words, resolve_memory_limit

BIG = Sizes(users=1_020_000, tracks=384_000, plays=121_000_000, pairs=50_000_000)


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("512MB", 512 * 10**6), (" 7.5 GiB", 7.5 * 2**30), ("600mib", 600 * 2**20)],
)
def test_a_size_is_so_many_bytes(text, size):
    assert resolve_memory_limit(text) == size


@pytest.mark.parametrize("text", ["8", "GB", "-1GB", "8TB", "1e3GB", "8GB4", "", "٨GB٨"])
def test_what_is_no_size_is_refused_with_how_to_write_it(text):
    with pytest.raises(InputError, match=r"^--memory-limit .*is no size; write 8GB, 512MB or 7\.5GiB$"):
        resolve_memory_limit(text)


def test_less_than_any_night_takes_is_refused():
    with pytest.raises(InputError, match="less than the 500 MB that any night takes"):
        resolve_memory_limit("499MB")


def test_bytes_are_told_in_two_digits():
    assert [in_words(size) for size in (35_000_000, 999_000_000, 1_249_000_000)] == ["35 MB", "999 MB", "1.2 GB"]


def test_the_command_refuses_a_limit_that_is_no_size_before_anything_is_started():
    status, out, err = echotune("nightly", "--memory-limit", "lots")
    assert (status, out) == (2, "")
    assert "--memory-limit lots is no size; write 8GB" in err


def test_blocks_grow_with_the_limit_within_bounds_and_shrink_with_what_is_held():
    limits = [Budget(limit, 2) for limit in range(1 * 10**9, 13 * 10**9, 10**8)]
    blocks = [blocks_for(budget, BIG) for budget in limits]
    for one, two in pairwise(blocks):
        assert one.cells <= two.cells
        assert one.shard_users <= two.shard_users
    assert (blocks[0].cells, blocks[0].shard_users) == (LEAST_CELLS, LEAST_SHARD)
    assert (blocks[-1].cells, blocks[-1].shard_users) == (MOST_CELLS, MOST_SHARD)
    more = Sizes(BIG.users, BIG.tracks, BIG.plays, BIG.pairs * 2)
    assert held_bytes(more) > held_bytes(BIG)
    assert blocks_for(Budget(9 * 10**9, 2), more).cells <= blocks_for(Budget(9 * 10**9, 2), BIG).cells


def test_a_shard_is_the_smaller_the_more_threads_work_on_one():
    one, four = (blocks_for(Budget(held_bytes(BIG) + 50_000_000, threads), BIG).shard_users for threads in (1, 4))
    assert one // 4 == four
