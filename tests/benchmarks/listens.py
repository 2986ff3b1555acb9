"""Listens by hand and by chance for tests of the quality harness."""

import numpy as np

from benchmarks.quality.cases import Listens


def listens(user, item, at=None, count=None):
    user, item = np.array(user), np.array(item)
    return Listens(
        user,
        item,
        np.ones(len(user)) if count is None else np.array(count, float),
        None if at is None else np.array(at, np.int64),
        int(item.max()) + 1,
    )


def by_chance(seed=3, users=12, items=40, rows=400, times=True):
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, users, rows), rng.integers(0, items, rows)
    user[:users], item[:items] = np.arange(users), np.arange(items)
    if not times:
        user, item = np.unique(np.stack([user, item]), axis=1)
        return listens(user, item)
    return listens(user, item, rng.integers(0, 300, rows))
