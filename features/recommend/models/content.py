"""What tracks are, as one kernel: artist, album, genres, title, sound, age, popularity. It needs no listeners."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp

from features.compute.gather import likeness_at, products_at
from features.compute.gram import gram
from features.compute.rows import row_entries
from features.recommend.history import History, liked_row
from features.recommend.models.contract import Range
from features.recommend.models.ridge import inverted
from features.recommend.models.track_features import WAVE_ROWS, felt_columns, felt_features, named_features, waves_of

DAMPING = 0.7
"""Power of a user's sums by artist, album, genre and title: the tenth track of an artist says less than the first."""
SMOOTHED_USERS = 6000
"""Most users that are compared with each other by default: a matrix of them all."""
MEAN_USERS, MEAN_CELLS = 2000, 100_000_000
"""Users over whom a track's usual score is averaged, evenly drawn, and their scores: as many as are worth it."""
LEAST = 1e-9


@dataclass(eq=False)
class Content:
    """Kernel ridge regression on what tracks are, in two steps.

    A user's profile is the sum over their history of what the tracks are, damped by kind, with what they stated. A
    track's score is its likeness to the profile. Scores are smoothed over users of like profiles, by
    K (K + `ridge`)^-1 of the users' kernel K, and divided by a track's usual score to a power: what counts is how much
    of the interest in it is this user's.

    Shares are those of kinds whose users' kernels have been brought to one scale: of tracks heard in common (`heard`,
    between users only), artists credited, album, genres, title words (rare ones say more), closeness in sound, in age
    and in the catalogue's popularity. What is unknown of a track adds nothing.

    Args:
        artist: share; guests and remixers that a title names count.
        album: share.
        genre: share.
        title: share.
        audio: share.
        age: share.
        popularity: share.
        heard: share of tracks in common.
        appeal: how much scores rise with a point of the catalogue's popularity, exp(`appeal` · popularity).
        ridge: of the smoothing.
        own: how much a user counts for themselves beside the others.
        lift: scores are divided by the usual one to it.
        cold_lift: likewise of tracks without listeners: few are like them, so that what is usual says more.
        half_life: of the history, in tracks played since.
        floor: what is never forgotten of it.
        strength: power of the weights in it.
        smoothed_users: users up to which scores are smoothed.
        waves: random features of sound, and in proportion of the others: the more, the nearer to the kernel itself.
        seed: of the random features.

    Source:
        Stock, Pahikkala, Airola, De Baets & Waegeman (2018), "A comparative study of pairwise learning methods based on
        kernel ridge regression" (two-step); Rahimi & Recht (2007) for the random features of sound, age and popularity.
    """

    scores_heard: ClassVar[bool] = False
    """Whether `heard` likens tracks as well as users."""

    space: ClassVar[Mapping[str, Range]] = {
        "artist": Range(0.01, 3.0, log=True),
        "album": Range(0.03, 8.0, log=True),
        "genre": Range(0.01, 3.0, log=True, also=(0.0,)),
        "title": Range(0.003, 0.3, log=True, also=(0.0,)),
        "audio": Range(0.01, 1.0, log=True, also=(0.0,)),
        "age": Range(0.01, 1.0, log=True, also=(0.0,)),
        "popularity": Range(0.005, 1.0, log=True, also=(0.0,)),
        "heard": Range(0.1, 10.0, log=True),
        "appeal": Range(0.0, 0.02, also=(0.0,)),
        "ridge": Range(0.05, 5.0, log=True),
        "own": Range(0.5, 5.0, log=True),
        "lift": Range(0.0, 0.8),
        "half_life": Range(3, 300, log=True, also=(1e9,)),
        "floor": Range(0.05, 1.0, log=True),
    }

    artist: float = 0.1
    album: float = 4.0
    genre: float = 0.05
    title: float = 0.006
    audio: float = 0.04
    age: float = 0.07
    popularity: float = 0.04
    heard: float = 10.0
    appeal: float = 0.005
    ridge: float = 0.25
    own: float = 1.33
    lift: float = 0.15
    cold_lift: float = 1.1
    half_life: float = 20.0
    floor: float = 0.3
    strength: float = 0.3
    smoothed_users: int = SMOOTHED_USERS
    waves: int = 256
    seed: int = 20_260_101

    def fit(self, history: History) -> Self:
        """Lays out what tracks are, and how alike users are in it.

        Raises:
            ValueError: the history knows nothing of tracks.
        """
        if history.catalog is None:
            raise ValueError("the history has no catalogue; a content model needs one")
        self.scored_ = history.recent(self.half_life, self.floor, self.strength)
        named = dict(named_features(history.catalog))
        if self.scores_heard:
            named["heard"] = sp.diags((history.listeners > 0).astype(np.float64)).tocsr()
        self.kinds_, self.features_ = tuple(named), named
        self.degree_, self.stated_ = history.degree, history.stated
        self.felt_ = felt_features(history.catalog, self.seed, self.waves)
        users = len(history.degree)
        most = min(MEAN_USERS, MEAN_CELLS // max(len(self.felt_), 1))
        some = np.unique(np.linspace(0, users - 1, most).astype(np.int64))
        asked = np.arange(users) if users <= self.smoothed_users else some
        profiles, felt = self._named_profiles(asked), self._felt_profiles(asked)
        by_feel = {kind: felt[:, columns].astype(np.float64) for kind, columns in felt_columns(self.waves).items()}
        self.share_ = {kind: getattr(self, kind) / _scale(rows) for kind, rows in (profiles | by_feel).items()}
        widths = waves_of(self.waves)
        root = np.sqrt(np.repeat([self.share_[kind] for kind in widths], list(widths.values())))
        self.felt_ *= root.astype(np.float32)  # from here on products of rows have the shares
        self.named_ = self._joined(self.features_)
        self.known_ = (np.diff(self.named_.indptr) > 0) | _any_felt(self.felt_)
        self.smoothing_ = None
        if users <= self.smoothed_users:
            self.named_profiles_, self.felt_profiles_ = self._joined(profiles), felt * root.astype(np.float32)
            self.smoothing_ = self._smoothing(history, profiles | by_feel)
        some = some[history.degree[some] > 0]
        usual = np.zeros(len(self.known_))
        step = max(1, 4_000_000 // max(len(self.known_), 1))
        for start in range(0, len(some), step):
            usual += self._above_least(some[start : start + step]).sum(axis=0)
        usual = usual / usual[self.known_].mean() if usual.any() else np.ones_like(usual)
        power = np.where(history.listeners > 0, self.lift, self.cold_lift)
        appeal = np.exp(self.appeal * _from_mean(history.catalog.popularity))
        self.lift_ = (np.maximum(usual, 1e-3) ** -power * appeal).astype(np.float32)
        self.word_ends_ = np.cumsum([kind.shape[1] for kind in named.values()])
        self.usual_named_ = (self.named_.T @ self.lift_) / max(len(self.lift_), 1)
        self.usual_felt_ = (self.lift_ @ self.felt_) / max(len(self.lift_), 1)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32, not negative: likeness to the profile; 0 for tracks of which nothing is known."""
        return self._above_least(users) * self.lift_[None, :]

    def scores_at(self, users: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        """(n, m) float32: likewise of each user's choice, from the least of these on."""
        if self.smoothing_ is not None:
            return np.take_along_axis(self.scores(users), np.maximum(tracks, 0), axis=1)
        named, felt = self.profiles_of(users)
        rows = np.arange(len(users))
        raw = likeness_at(named, self.named_, rows, tracks) + products_at(felt, self.felt_, rows, tracks)
        raw -= np.where(tracks >= 0, raw, np.inf).min(axis=1, keepdims=True, initial=np.inf)
        some = np.maximum(tracks, 0)
        raw[~self.known_[some] | (tracks < 0)] = 0.0
        return raw * self.lift_[some]

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) float64: how like each track of the history is to these, by its worth in it."""
        history, worth = liked_row(self.scored_, user)
        lift = self.lift_[tracks].astype(np.float64)
        total = self.named_[history] @ (self.named_[tracks].T @ lift)
        return worth * (total + self.felt_[history] @ (self.felt_[tracks].T @ lift))

    def influences(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h, n) float64: likewise."""
        history, worth = liked_row(self.scored_, user)
        total = (self.named_[history] @ self.named_[tracks].T).toarray().astype(np.float64)
        total += self.felt_[history] @ self.felt_[tracks].T
        return worth[:, None] * total * self.lift_[tracks][None, :]

    def parts(self, user: int, tracks: np.ndarray) -> dict[str, np.ndarray]:
        """By kind, (n,) float64: what likeness in it adds to the scores of tracks, less what it adds to one on average.

        Without lifts their sum is a track's score less the mean score.
        """
        if self.smoothing_ is None:
            rows, felt_rows = self.profiles_of(np.array([user]))
            named, felt = rows.toarray()[0].astype(np.float64), felt_rows[0].astype(np.float64)
        else:
            weight = self.smoothing_[user].astype(np.float64)
            named, felt = self.named_profiles_.T @ weight, weight @ self.felt_profiles_
        count = len(self.kinds_)
        lift = self.lift_[tracks].astype(np.float64)[:, None]
        owner, word, value = row_entries(self.named_, tracks)
        kind_of = np.searchsorted(self.word_ends_, np.arange(self.word_ends_[-1]), side="right")
        by_name = np.bincount(owner * count + kind_of[word], value * named[word], minlength=len(tracks) * count)
        usual = np.bincount(kind_of, self.usual_named_ * named, minlength=count)
        found = dict(zip(self.kinds_, (by_name.reshape(-1, count) * lift - usual).T, strict=True))
        for kind, columns in felt_columns(self.waves).items():
            by_feel = self.felt_[tracks, columns] @ felt[columns] * lift[:, 0]
            found[kind] = by_feel - self.usual_felt_[columns] @ felt[columns]
        return found

    def profiles_of(self, users: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
        """(n, k) float32 CSR of what has a name and (n, w) float32 of what is felt: profiles, in tracks' columns."""
        return self._joined(self._named_profiles(users)), self._felt_profiles(users)

    def _named_profiles(self, users: np.ndarray) -> dict[str, sp.csr_matrix]:
        """By kind, (n, k) float64 CSR: what the tracks of users' histories are, damped, with what they stated."""
        scored, fade = self.scored_[users], sp.diags(self._fade(users))
        return {
            kind: (fade @ _damped(scored @ matrix)).tocsr() + self._said(kind, users, matrix.shape[1])
            for kind, matrix in self.features_.items()
        }

    def _said(self, kind: str, users: np.ndarray, width: int) -> sp.csr_matrix:
        """(n, k) float64 CSR: stated artists and genres, in a profile as one track of each would stand."""
        if self.stated_ is None or kind not in {"artist", "genre"}:
            return sp.csr_matrix((len(users), width))
        said = (self.stated_.artists if kind == "artist" else self.stated_.genres)[users]
        many = np.sqrt(np.maximum(np.diff(said.indptr), 1) * np.maximum(self.degree_[users], 1.0))
        return (sp.diags(1.0 / many) @ said.astype(np.float64)).tocsr()

    def _felt_profiles(self, users: np.ndarray) -> np.ndarray:
        """(n, w) float32: what the tracks of users' histories feel like, in the columns of `felt_`."""
        felt: np.ndarray = self.scored_[users] @ self.felt_
        return felt * self._fade(users).astype(np.float32)[:, None]

    def _fade(self, users: np.ndarray) -> np.ndarray:
        """(n,) float64: what brings sums over long histories and short ones to one size."""
        fade: np.ndarray = np.maximum(self.degree_[users], 1.0) ** -0.5
        return fade

    def _joined(self, rows: Mapping[str, sp.csr_matrix]) -> sp.csr_matrix:
        """Kinds side by side, float32, each by the root of its share: products of rows have the share itself."""
        joined = sp.hstack([rows[kind] * np.sqrt(self.share_[kind]) for kind in self.kinds_], format="csr")
        joined.sort_indices()  # so that kinds follow one another
        return joined.astype(np.float32)

    def _smoothing(self, history: History, profiles: Mapping[str, sp.csr_matrix | np.ndarray]) -> np.ndarray:
        """(users, users) float32: how much of whose scores each user takes."""
        heard = (sp.diags(np.maximum(history.degree, 1.0) ** -0.5) @ self.scored_).tocsr()
        sides = {
            kind: rows * np.sqrt(getattr(self, kind) / _scale(rows))
            for kind, rows in ({"heard": heard} | dict(profiles)).items()
        }
        alike = gram(sp.hstack([rows for rows in sides.values() if sp.issparse(rows)], format="csr"))
        for rows in sides.values():
            if not sp.issparse(rows):
                alike += rows @ rows.T
        length = np.sqrt(np.maximum(alike.diagonal(), LEAST))
        alike /= length[:, None]
        alike /= length[None, :]
        alike[np.diag_indices_from(alike)] += self.ridge
        smoothing = -self.ridge * inverted(alike)  # K (K + r)^-1 = 1 - r (K + r)^-1
        smoothing[np.diag_indices_from(smoothing)] += 1.0
        smoothing[np.diag_indices_from(smoothing)] *= self.own
        return np.asarray(smoothing, np.float32)

    def _above_least(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: likeness, smoothed, from the user's least on; 0 for tracks of which nothing is known."""
        if self.smoothing_ is None:
            named, felt = self.profiles_of(users)
            raw = (named @ self.named_.T).toarray()
        else:
            rows = self.smoothing_[users]
            named, felt = np.asarray((self.named_profiles_.T @ rows.T).T), rows @ self.felt_profiles_
            raw = np.asarray((self.named_ @ named.T).T)
        raw = raw + felt @ self.felt_.T
        raw -= raw.min(axis=1, keepdims=True, initial=np.inf)
        raw[:, ~self.known_] = 0.0
        return np.ascontiguousarray(raw, np.float32)


@dataclass(eq=False)
class Kernel(Content):
    """The same with the tracks themselves as one kind more: a track is also like itself, whatever it is made of.

    So users are drawn to what users like them have heard, and content decides the rest. Beyond `smoothed_users` it
    says no more than `Content`.
    """

    scores_heard: ClassVar[bool] = True


def _any_felt(felt: np.ndarray) -> np.ndarray:
    """(tracks,) bool: whether anything is told of each."""
    blocks = [felt[start : start + WAVE_ROWS] for start in range(0, len(felt), WAVE_ROWS)]
    return np.concatenate([np.zeros(0, bool), *((block != 0).any(axis=1) for block in blocks)])


def _damped(sums: sp.csr_matrix) -> sp.csr_matrix:
    sums = sums.tocsr()
    sums.data = np.sign(sums.data) * np.abs(sums.data) ** DAMPING
    return sums


def _from_mean(values: np.ndarray) -> np.ndarray:
    """Values less their mean, 0 where unknown."""
    known = ~np.isnan(values)
    return np.where(known, values - np.mean(values, where=known), 0.0) if known.any() else np.zeros(len(values))


def _scale(rows: sp.csr_matrix | np.ndarray) -> float:
    """Root mean square of the rows' squared lengths, the scale of their kernel; 1 for nothing."""
    squares = np.asarray((sp.csr_matrix(rows).power(2)).sum(axis=1), np.float64)
    size = float(np.sqrt(np.mean(squares**2)))
    return size if size > 0 else 1.0
