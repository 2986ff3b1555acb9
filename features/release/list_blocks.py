"""Lists of a block of users as the rows that a release has of them: one shard of the work, wherever it is done."""

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features.compute.runner import Runner, Threads
from features.compute.shards import Range
from features.evaluate.gate import ListFaults, faults_of
from features.progress import Progress, silent
from features.recommend.evidence import Evidence
from features.recommend.lists import ListMaker
from features.recommend.pairs import forbidden_pairs
from features.recommend.ranked import RankedLists
from features.release import outputs
from features.release.row_groups import Add


@dataclass(frozen=True, eq=False)
class ListedBlock:
    """What became of a block of users.

    Attributes:
        table: `outputs.LISTS`, a row a list, by user.
        faults: what is wrong with them.
        users: (lists,) int64, whose each one is.
    """

    table: pa.Table
    faults: ListFaults
    users: np.ndarray


def list_block(maker: ListMaker, users: Range) -> ListedBlock:
    """The lists of a range of users; a list's milliseconds are the block's time by the number of its lists."""
    start = time.perf_counter()
    lists = maker.lists(*users)
    spent = round((time.perf_counter() - start) * 1000 / max(len(lists), 1), 3)
    forbidden = _forbidden_count(maker.evidence, lists, include_heard=maker.shaper.how.include_heard)
    return ListedBlock(
        outputs.recommendation_table(maker.evidence.dataset, lists, spent),
        faults_of(lists.size, lists.scores, lists.reasons.any, forbidden),
        lists.users,
    )


def write_lists(
    maker: ListMaker, add: Add, progress: Progress = silent, runner: Runner | None = None
) -> tuple[ListFaults, np.ndarray]:
    """Makes all lists and writes them, block by block in the order of the users.

    Returns:
        What is wrong with them, and (lists,) int64 whose they are.
    """
    runner = runner or Threads()
    faults, users, count = ListFaults(), [np.zeros(0, np.int64)], 0
    for block in runner.ordered(list_block, [runner.share(maker)], maker.blocks()):
        add(block.table)
        faults += block.faults
        users.append(block.users)
        count += len(block.users)
        progress("computing recommendations", count, None)
    return faults, np.concatenate(users)


def _forbidden_count(evidence: Evidence, lists: RankedLists, *, include_heard: bool) -> int:
    """Recommended tracks that their user must not be shown; looked up again, pair by pair."""
    users = np.repeat(lists.users, lists.size)
    return int(forbidden_pairs(evidence.filters, users, lists.tracks, include_heard=include_heard).sum())
