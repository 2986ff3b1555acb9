"""What tracks are, as one kernel: artist, album, genres, title, sound and year. It needs no listeners."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp

from features.compute.dataset import Catalog
from features.compute.embeddings import standardized_audio
from features.recommend.history import History, liked_row
from features.recommend.models.contract import Range
from features.recommend.models.neighbors import RECENCY

WORD = re.compile(r"\w+")
AUDIO_WAVES, YEAR_WAVES = 256, 32
AUDIO_WIDTH, YEAR_WIDTH = 3.0, 4.0
"""How far apart two tracks are that sound half alike: standard deviations in all, and years."""


@dataclass(eq=False)
class Content:
    """Kernel regression on what tracks are: a track scores by its likeness to the history.

    Two tracks are alike by the shares of: one artist, one album, genres and title words in common (rare ones say more),
    closeness in sound, closeness in year. What is unknown of a track adds nothing.

    Args:
        artist: share.
        album: share.
        genre: share.
        title: share of the words of the title.
        audio: share; closeness is a Gaussian of the standardized features.
        year: share; likewise.
        lift: scores are divided by a track's mean score to it, so that what is like everything does not win.
        half_life: of the history at scoring, in tracks played since.
        floor: what is never forgotten of it.
        strength: power of the weights in it.
        seed: of the random features.

    Source:
        Rahimi & Recht (2007), "Random features for large-scale kernel machines", for sound and year.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "artist": Range(0.1, 3.0, log=True),
        "album": Range(0.02, 1.0, log=True, also=(0.0,)),
        "genre": Range(0.02, 2.0, log=True, also=(0.0,)),
        "title": Range(0.02, 1.0, log=True, also=(0.0,)),
        "audio": Range(0.02, 2.0, log=True, also=(0.0,)),
        "year": Range(0.02, 2.0, log=True, also=(0.0,)),
        "lift": Range(0.0, 0.8),
        **RECENCY,
    }

    artist: float = 1.0
    album: float = 0.3
    genre: float = 0.4
    title: float = 0.1
    audio: float = 0.3
    year: float = 0.2
    lift: float = 0.3
    half_life: float = 100.0
    floor: float = 0.3
    strength: float = 0.3
    seed: int = 20_260_101

    def fit(self, history: History) -> Self:
        """Lays out what tracks are.

        Raises:
            ValueError: the history knows nothing of tracks.
        """
        if history.catalog is None:
            raise ValueError("the history has no catalogue; a content model needs one")
        self.scored_ = history.recent(self.half_life, self.floor, self.strength)
        shares = {"artist": self.artist, "album": self.album, "genre": self.genre, "title": self.title}
        named = [kind * np.sqrt(shares[name]) for name, kind in named_features(history.catalog).items()]
        self.named_ = sp.hstack(named, format="csr").astype(np.float32)
        self.felt_ = np.hstack(
            [
                audio_waves(history.catalog, self.seed) * np.sqrt(self.audio),
                year_waves(history.catalog, self.seed) * np.sqrt(self.year),
            ]
        ).astype(np.float32)
        total = np.asarray(self.scored_.sum(axis=0)).ravel()
        mean = self.named_ @ (total @ self.named_) + self.felt_ @ (total @ self.felt_)
        usual = max(float(mean.mean()), 1e-9)
        self.scale_ = (np.maximum(mean / usual, 0.05) ** -self.lift).astype(np.float32)
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """(n, tracks) float32: summed likeness to the history."""
        rows = self.scored_[users]
        raw = ((rows @ self.named_) @ self.named_.T).toarray() + (rows @ self.felt_) @ self.felt_.T
        return raw * self.scale_[None, :]

    def influence(self, user: int, tracks: np.ndarray) -> np.ndarray:
        """(h,) float64: exact, since scores are linear in the history."""
        history, worth = liked_row(self.scored_, user)
        scale = self.scale_[tracks].astype(np.float64)
        total = self.named_[history] @ (self.named_[tracks].T @ scale)
        total += self.felt_[history] @ (self.felt_[tracks].T @ scale)
        return worth * total


def named_features(catalog: Catalog) -> dict[str, sp.csr_matrix]:
    """(tracks, k) float64 CSR each: artist and album as 0 and 1; genres and title words by rarity, in unit rows."""
    tracks = len(catalog.artist)
    words: dict[str, int] = {}
    titled = [
        (track, words.setdefault(word, len(words)))
        for track, name in enumerate(catalog.names)
        for word in sorted(set(WORD.findall((name or "").lower())))
    ]
    return {
        "artist": artist_rows(catalog).T.tocsr(),
        "album": album_rows(catalog).T.tocsr(),
        "genre": _by_rarity(catalog.genres.astype(np.float64)),
        "title": _by_rarity(_ones(np.array(titled, np.int64).reshape(-1, 2), tracks)),
    }


def artist_rows(catalog: Catalog) -> sp.csr_matrix:
    """(artists, tracks) float64 CSR of ones: whose first artist is who."""
    known = np.flatnonzero(catalog.artist >= 0)
    shape = (len(catalog.artist_names), len(catalog.artist))
    return sp.csr_matrix((np.ones(len(known)), (catalog.artist[known], known)), shape=shape)


def album_rows(catalog: Catalog) -> sp.csr_matrix:
    """(albums, tracks) float64 CSR of ones: albums of one name by different artists are different ones."""
    numbers: dict[tuple[str, int], int] = {}
    known = np.flatnonzero([album is not None for album in catalog.albums])
    albums = [numbers.setdefault((catalog.albums[track], int(catalog.artist[track])), len(numbers)) for track in known]
    return sp.csr_matrix((np.ones(len(known)), (albums, known)), shape=(len(numbers), len(catalog.albums)))


def audio_waves(catalog: Catalog, seed: int) -> np.ndarray:
    """(tracks, `AUDIO_WAVES`) float64: products of rows are Gaussians of how far apart tracks sound; 0 where unknown.

    A feature that is missing counts as average.
    """
    heard = ~np.isnan(catalog.audio).all(axis=1)
    standard = standardized_audio(catalog.audio)
    return np.where(heard[:, None], _waves(standard, AUDIO_WIDTH, AUDIO_WAVES, seed), 0.0)


def year_waves(catalog: Catalog, seed: int) -> np.ndarray:
    """(tracks, `YEAR_WAVES`) float64: likewise of years."""
    dated = ~np.isnan(catalog.year)
    years = np.where(dated, catalog.year, 2000.0)[:, None] - 2000.0
    return np.where(dated[:, None], _waves(years, YEAR_WIDTH, YEAR_WAVES, seed), 0.0)


def _waves(values: np.ndarray, width: float, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    direction = rng.normal(0.0, 1.0 / width, (values.shape[1], count))
    return np.sqrt(2.0 / count) * np.cos(values @ direction + rng.uniform(0.0, 2.0 * np.pi, count))


def _ones(pairs: np.ndarray, tracks: int) -> sp.csr_matrix:
    columns = int(pairs[:, 1].max(initial=-1)) + 1
    return sp.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(tracks, columns))


def _by_rarity(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Columns by the logarithm of how rare they are, rows at unit length; what no other track has says nothing."""
    size = np.asarray((matrix > 0).sum(axis=0)).ravel()
    rarity = np.where(size > 1, np.log(max(matrix.shape[0], 1) / np.maximum(size, 1)), 0.0)
    weighed = (matrix @ sp.diags(np.maximum(rarity, 0.0))).tocsr()
    weighed.eliminate_zeros()
    length = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
    return (sp.diags(1.0 / np.where(length > 0, length, 1.0)) @ weighed).tocsr()
