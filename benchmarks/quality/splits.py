"""Who is asked what: the last fifth of each listener's tracks held out, by chance or by time, for every data set alike.

The seeds and the order of draws are kept as they are: figures of other studies on these splits stay comparable.
"""

import numpy as np

TEST_SEED, VALIDATION_SEED = 0, 1
KEPT_SHARE = 0.8
NEUTRAL_SEED = 12_345


def neutral(item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers for items that say nothing of them: data sets often number by popularity or age, which would break ties.

    Args:
        item: (n,) ids of any kind that sorts.

    Returns:
        (n,) int64, the number of each; (items,) the ids by number.
    """
    ids, sorted_number = np.unique(item, return_inverse=True)
    number_of = np.random.default_rng(NEUTRAL_SEED).permutation(len(ids))
    by_number = np.empty(len(ids), ids.dtype)
    by_number[number_of] = ids
    return number_of[sorted_number], by_number


def held_out(user: np.ndarray, at: np.ndarray | None, seed: int) -> np.ndarray:
    """Which of unique pairs of user and item are held out: of n a user's last n - ceil(0.8 n), so none of up to four.

    Args:
        user: (n,) int, whose pair it is.
        at: (n,) when it began; ties, and all pairs where None, are in random order.
        seed: of that order.

    Returns:
        (n,) bool.
    """
    order = np.random.default_rng(seed).permutation(len(user))
    if at is not None:
        order = order[np.argsort(at[order], kind="stable")]
    return _last_fifth(user, order)


def held_out_first_listens(
    user: np.ndarray, item: np.ndarray, at: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which first listens are held out, and which plays may be learned from: those before the first one held out.

    Args:
        user: (n,) int of each play.
        item: (n,) int.
        at: (n,) int, its moment.
        seed: of the order of first listens at one moment.

    Returns:
        (n,) bool: plays to learn from; (m,) int64: positions of the plays that are held-out first listens.
    """
    order = np.lexsort((at, item, user))
    begins = np.ones(len(order), bool)
    begins[1:] = (user[order][1:] != user[order][:-1]) | (item[order][1:] != item[order][:-1])
    first = order[begins]
    asked = first[held_out(user[first], at[first], seed)]
    cut = np.full(int(user.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(cut, user[asked], at[asked])
    return at < cut[user], asked


def held_out_plays(user: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(n,) bool: the last fifth of each user's plays, known tracks or not; of plays at one moment the later rows."""
    return _last_fifth(user, np.argsort(at, kind="stable"))


def _last_fifth(user: np.ndarray, order: np.ndarray) -> np.ndarray:
    order = order[np.argsort(user[order], kind="stable")]
    count = np.bincount(user, minlength=1)
    begin = np.concatenate([[0], np.cumsum(count)[:-1]])
    owner = user[order]
    mask = np.zeros(len(user), bool)
    mask[order] = np.arange(len(order)) - begin[owner] >= np.ceil(count[owner] * KEPT_SHARE)
    return mask
