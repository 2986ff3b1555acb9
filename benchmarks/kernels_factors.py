"""The iALS solver beside implicit's ALS: seconds and quality. Then the decomposition's products beside scipy's.

`python -m benchmarks.kernels_factors` takes who heard what of a hundred thousand listeners, holds out a pair in five,
fits 64 factors to the rest in eight sweeps, and ranks all tracks that a listener has not heard; implicit does as many
sweeps, with its three steps of conjugate gradients. All in turn in one process, BLAS and everything else on one
thread. What the two minimize differs in how they regularise, so each has the best of as many settings drawn at random.
Quality is nDCG@100 of the held-out pairs. Then the sparse matrix times 80 columns, by ours and by scipy, and what a
decomposition into 64 dimensions takes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from benchmarks.kernels_overlaps import heard_of
from benchmarks.measuring import OURS, comparison, in_turns, run
from features.compute.decomposition import OVERSAMPLING, leading, there_and_back
from features.compute.top_n import top_n
from features.evaluate.metrics import ndcg_at_k
from features.recommend.history import history_of
from features.recommend.models.factors import IALS

DIMENSIONS, SWEEPS = 64, 8
OUR_SETTING = {"unobserved": 0.13, "regularization": 1.45, "frequency_power": 0.0}
ITS_SETTING = {"alpha": 7.6, "regularization": 11.0}
ROUNDS = {"S": 3, "M": 2}
HELD_OUT = 0.2
ASKED = 40_000
"""Users by whom quality is measured, at most: of three thousand chance alone moves it by a two-hundredth."""
IMPLICIT, SCIPY, SKLEARN = "implicit ALS", "scipy", "scikit-learn"


def measure(name: str, folder: Path) -> list[dict[str, Any]]:
    """Figures of the solver, of one product, and of the whole decomposition."""
    heard = heard_of(name, folder)
    heard.sort_indices()
    with threadpool_limits(1, "blas"):
        few = heard[:50].astype(np.float64)
        IALS(dimensions=8, iterations=1).fit(history_of(few), threads=1)  # compiled before it is timed
        there_and_back(few, few.data, np.ones((few.shape[1], 2)), 1)
        return [solving(heard, name), multiplying(heard, name), decomposing(heard)]


def solving(heard: sp.csr_matrix, name: str) -> dict[str, Any]:
    """Eight sweeps over users and tracks, and how well the rest is found."""
    from implicit.cpu.als import AlternatingLeastSquares  # in the bench extra

    train, test = parted(heard, HELD_OUT, seed=3)
    history = history_of(train)

    def ours() -> tuple[np.ndarray, np.ndarray]:
        model = IALS(
            dimensions=DIMENSIONS, iterations=SWEEPS, half_life=1e9, floor=1.0, strength=0.0, **OUR_SETTING
        ).fit(history, threads=1)
        return model.user_factors_, model.track_factors_

    def implicit() -> tuple[np.ndarray, np.ndarray]:
        model = AlternatingLeastSquares(
            factors=DIMENSIONS, iterations=SWEEPS, num_threads=1, random_state=1, **ITS_SETTING
        )
        model.fit(train, show_progress=False)
        return model.user_factors, model.item_factors

    turns = in_turns({OURS: ours, IMPLICIT: implicit}, ROUNDS[name])
    asked = np.sort(np.random.default_rng(4).choice(heard.shape[0], min(ASKED, heard.shape[0]), replace=False))
    found = {
        who: ndcg_at_k(top_n(users[asked], tracks, train[asked], 100).tracks, test[asked], 100)
        for who, (users, tracks) in turns.made.items()
    }
    quality = {who: round(float(np.nanmean(each)), 4) for who, each in found.items()}
    ahead = found[OURS] - found[IMPLICIT]
    ahead = ahead[~np.isnan(ahead)]
    about = f"{SWEEPS} sweeps of {DIMENSIONS} factors over {train.nnz:,} pairs of {heard.shape[0]:,} users"
    notes = [
        *(f"nDCG@100 of the pairs held out, {who}: {value:.4f}" for who, value in quality.items()),
        f"ours ahead by {ahead.mean():+.4f}, 95 % within {1.96 * ahead.std() / np.sqrt(len(ahead)):.4f} of it",
    ]
    return comparison("ials", about, turns.spent, peak=turns.peak_rss_bytes, ndcg100=quality, notes=notes)


def multiplying(heard: sp.csr_matrix, name: str) -> dict[str, Any]:
    """The sparse matrix and its transpose, each times a dense block, in single precision as in passes."""
    columns = DIMENSIONS + OVERSAMPLING
    wide = np.random.default_rng(1).normal(size=(heard.shape[1], columns)).astype(np.float32)
    heard, transposed = heard.astype(np.float32), heard.T.tocsr().astype(np.float32)
    works = {
        OURS: lambda: there_and_back(heard, heard.data, wide, 1),
        SCIPY: lambda: transposed @ (heard @ wide),
    }
    about = f"{heard.nnz:,} pairs times {columns} columns, and back"
    return comparison("sparse_times_dense", about, in_turns(works, ROUNDS[name]).spent)


def decomposing(heard: sp.csr_matrix) -> dict[str, Any]:
    """The first 64 dimensions; scikit-learn with as many iterations and columns."""
    from sklearn.utils.extmath import randomized_svd

    heard = heard.astype(np.float64)
    works = {
        OURS: lambda: leading(heard, DIMENSIONS, seed=1),
        SKLEARN: lambda: randomized_svd(heard, DIMENSIONS, n_oversamples=20, n_iter=6, random_state=1),
    }
    about = f"Decomposition of {heard.nnz:,} pairs into {DIMENSIONS} dimensions"
    return comparison("decomposition", about, in_turns(works, 1).spent)


def parted(heard: sp.csr_matrix, share: float, seed: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """What is learned from, float32 ones, and a share of pairs held out at random, bool."""
    out = np.random.default_rng(seed).random(heard.nnz) < share
    user = np.repeat(np.arange(heard.shape[0]), np.diff(heard.indptr))

    def pairs(chosen: np.ndarray, kind: type) -> sp.csr_matrix:
        where = (user[chosen], heard.indices[chosen])
        made = sp.csr_matrix((np.ones(len(where[0]), kind), where), shape=heard.shape)
        made.sort_indices()
        return made

    return pairs(~out, np.float32), pairs(out, bool)


if __name__ == "__main__":
    run(__doc__, measure, "SM")
