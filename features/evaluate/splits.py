"""What was known, and what came of it: the splits that rankings are measured on."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from features.compute.dataset import Dataset
from features.compute.ids import Vocabulary
from features.compute.interactions import MS_A_DAY, Feedback, Interactions, Plays, build_interactions
from features.compute.numbering import looked_up, marked
from features.compute.weights import SKIPPED
from features.recommend.cold import chances
from features.recommend.history import build_history


@dataclass(frozen=True, eq=False)
class Split:
    """A dataset cut in two.

    Attributes:
        dataset: everything, with plays and feedback of the part that is learned from. Catalogue, accounts and stated
            tastes bear no date and are as they are now.
        interactions: of those plays and that feedback.
        relevant: (users, tracks) bool CSR: what was taken to in the part held out.
    """

    dataset: Dataset
    interactions: Interactions
    relevant: sp.csr_matrix

    @property
    def users(self) -> np.ndarray:
        """(n,) int64, ascending: who has a taste in the one part and took to something in the other."""
        return np.flatnonzero((np.diff(self.interactions.weights.indptr) > 0) & (np.diff(self.relevant.indptr) > 0))


def sample_of(dataset: Dataset, most: int, seed: int) -> Dataset:
    """The dataset of so many listeners at most, and of nobody else: numbers of users are their own.

    Who is in is told by hashes of ids: of two nights it is nearly the same people. Tracks keep their numbers.

    Args:
        dataset: not changed; returned itself where no more than so many did anything, with those who did nothing.
        most: how many at most; 0 for all.
        seed: of the hashes.
    """
    plays, said = dataset.plays, dataset.feedback
    active = marked(plays.user, len(dataset.users)) | marked(said.user, len(dataset.users))
    if most == 0 or active.sum() <= most:
        return dataset
    chance = np.where(active, chances(dataset.users, seed), np.inf)
    chosen = np.sort(np.argsort(chance, kind="stable")[:most])
    inside = np.zeros(len(active), bool)
    inside[chosen] = True
    number = np.cumsum(inside, dtype=np.int32) - 1
    part = _kept(dataset, looked_up(inside, plays.user), looked_up(inside, said.user))
    return replace(
        part,
        users=Vocabulary(dataset.users.index[chosen]),
        plays=replace(part.plays, user=number[part.plays.user]),
        feedback=replace(part.feedback, user=number[part.feedback.user]),
        explicit_allowed=dataset.explicit_allowed[chosen],
        country=dataset.country[chosen],
        stated=replace(
            dataset.stated,
            genres=dataset.stated.genres[chosen],
            artists=dataset.stated.artists[chosen],
            audio=dataset.stated.audio[chosen],
        ),
    )


def split_by_time(
    dataset: Dataset, *, as_of_ms: int, holdout_days: int, half_life_days: float, repeats: bool = False
) -> Split:
    """Cuts for everyone at once, `holdout_days` before `as_of_ms`: how a release would have fared.

    Relevant is what was played since the cut, not only skipped, and not known before.

    Args:
        dataset: plays and feedback before `as_of_ms`; not changed.
        as_of_ms: the moment of the release.
        holdout_days: how much is held out.
        half_life_days: as for the release's own interactions.
        repeats: True lets what was known before be relevant too.
    """
    cut_ms = as_of_ms - holdout_days * MS_A_DAY
    plays = dataset.plays
    before = _kept(dataset, plays.played_at < cut_ms, dataset.feedback.created_at < cut_ms)
    interactions = _interactions(before, as_of_ms=cut_ms, half_life_days=half_life_days)
    # a completion that is unknown is no skip, and NaN is below nothing
    taken = (plays.played_at >= cut_ms) & ~(plays.completion < np.float32(SKIPPED))
    relevant = _pairs(plays.user[taken], plays.track[taken], _shape(dataset))
    return Split(before, interactions, relevant if repeats else _new(relevant, interactions))


def hold_out_last(
    dataset: Dataset,
    *,
    as_of_ms: int,
    half_life_days: float,
    share: float = 0.2,
    seed: int = 0,
    repeats: bool = False,
) -> Split:
    """Cuts each user's own time: of the tracks they took to, the last ones in order of the first listen are held out.

    Whatever the user did after the first of those is held out with them. Tracks that began at one moment are drawn by
    chance, so that data without time is split at random. Of `share` of fewer than five tracks nothing is left.

    Args:
        dataset: not changed.
        as_of_ms: moment that weights are decayed to.
        half_life_days: as for the release's own interactions.
        share: of each user's tracks, in (0, 1).
        seed: for what began at one moment.
        repeats: True holds out the last plays instead, whatever was played; relevant is all that is among them. Plays
            of one moment stay together, so that of data without time nobody can be asked.
    """
    shape = _shape(dataset)
    history = build_history(dataset, _interactions(dataset, as_of_ms=as_of_ms, half_life_days=half_life_days))
    if repeats:
        user, track, at = history.plays.user, history.plays.track, history.plays.played_at
    else:
        user, track, at = history.owner, history.weights.indices, history.first_at
    held = _last_of_each(user, at, share, seed)
    cut = np.full(shape[0], np.iinfo(np.int64).max)
    np.minimum.at(cut, user[held], at[held])
    if repeats:
        held = np.flatnonzero(at >= cut[user])
        gone = np.zeros(0, np.int64)
        last = cut - 1
    else:
        gone = np.unique(user[held].astype(np.int64) * shape[1] + track[held])
        last = cut
    plays, said = dataset.plays, dataset.feedback
    before = _kept(
        dataset,
        (plays.played_at <= last[plays.user]) & ~_among(plays, shape, gone),
        (said.created_at <= last[said.user]) & ~_among(said, shape, gone),
    )
    interactions = _interactions(before, as_of_ms=as_of_ms, half_life_days=half_life_days)
    relevant = _pairs(user[held], track[held], shape)
    return Split(before, interactions, relevant if repeats else _new(relevant, interactions))


def hold_out_random(
    dataset: Dataset, *, as_of_ms: int, half_life_days: float, share: float = 0.2, seed: int = 0
) -> Split:
    """Holds out tracks of each user by chance, with all that the user did with them: for data without time.

    Of those a user took to the lesser part is held out: of `share` of fewer than five tracks nothing is.

    Args:
        dataset: not changed.
        as_of_ms: moment that weights are decayed to.
        half_life_days: as for the release's own interactions.
        share: of each user's tracks, in (0, 1).
        seed: which.
    """
    shape = _shape(dataset)
    weights = _interactions(dataset, as_of_ms=as_of_ms, half_life_days=half_life_days).weights
    user = np.repeat(np.arange(shape[0]), np.diff(weights.indptr))
    held = _last_of_each(user, np.zeros(len(user)), share, seed)
    gone = user[held].astype(np.int64) * shape[1] + weights.indices[held]
    before = _kept(dataset, ~_among(dataset.plays, shape, gone), ~_among(dataset.feedback, shape, gone))
    interactions = _interactions(before, as_of_ms=as_of_ms, half_life_days=half_life_days)
    return Split(before, interactions, _pairs(user[held], weights.indices[held], shape))


def _last_of_each(user: np.ndarray, at: np.ndarray, share: float, seed: int) -> np.ndarray:
    """(h,) int: positions of the last `share` of each user's entries by `at`; of one moment by chance."""
    chance = np.random.default_rng(seed).permutation(len(user))
    order = np.lexsort((chance, at, user))
    count = np.bincount(user)
    place = np.arange(len(order)) - (np.cumsum(count) - count)[user[order]]
    last: np.ndarray = order[place >= np.ceil(count[user[order]] * (1.0 - share))]
    return last


def _shape(dataset: Dataset) -> tuple[int, int]:
    return len(dataset.users), len(dataset.tracks)


def _interactions(dataset: Dataset, *, as_of_ms: int, half_life_days: float) -> Interactions:
    return build_interactions(
        dataset.plays, dataset.feedback, _shape(dataset), as_of_ms=as_of_ms, half_life_days=half_life_days
    )


def _kept(dataset: Dataset, plays: np.ndarray, said: np.ndarray) -> Dataset:
    heard, told = dataset.plays, dataset.feedback
    return replace(
        dataset,
        plays=Plays(heard.user[plays], heard.track[plays], heard.played_at[plays], heard.completion[plays]),
        feedback=Feedback(
            told.user[said], told.track[said], told.signal[said], told.strength[said], told.created_at[said]
        ),
    )


def _among(events: Plays | Feedback, shape: tuple[int, int], pairs: np.ndarray) -> np.ndarray:
    """(n,) bool: which events are of the given pairs, users · tracks + track."""
    found: np.ndarray = np.isin(events.user.astype(np.int64) * shape[1] + events.track, pairs)
    return found


def _pairs(user: np.ndarray, track: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    matrix = sp.csr_matrix((np.ones(len(user), bool), (user, track)), shape=shape)
    matrix.sum_duplicates()
    matrix.sort_indices()
    return matrix


def _new(relevant: sp.csr_matrix, interactions: Interactions) -> sp.csr_matrix:
    """Without what was known."""
    new = (relevant > interactions.known).tocsr()
    new.sort_indices()
    return new
