"""What the catalogue says of tracks, as rows: artists, albums, genres, words by name; sound, age, popularity as felt.

What has a name is a sparse row. What is felt is a matter of more or less: random features, whose products fall with how
far apart two tracks are.

Source:
    Rahimi & Recht (2007), "Random features for large-scale kernel machines".
"""

import re

import numpy as np
import scipy.sparse as sp

from features.compute.dataset import Catalog
from features.compute.embeddings import standardized_audio
from features.recommend.models.credits import credit_rows
from features.recommend.remembered import remembered

WORD = re.compile(r"\w+")
WAVE_SHARES = {"audio": 1.0, "age": 0.1875, "popularity": 0.1875}
"""How many random features tell of what is felt, of `Content.waves`, side by side in this order."""
WAVE_ROWS = 16_384
"""Tracks whose random features are made at once: those of all in double precision would be gigabytes."""
AUDIO_WIDTH, AGE_WIDTH, POPULARITY_WIDTH = 3.0, 0.35, 12.0
"""How far apart two tracks are that count as half alike: standard deviations in all, the logarithm of age, points."""
YOUNGEST = 0.15
"""Years added to an age before its logarithm: weeks do not make two new releases unlike."""


@remembered
def named_features(catalog: Catalog) -> dict[str, sp.csr_matrix]:
    """(tracks, k) float64 CSR each, but for albums in unit rows; genres and words of titles weigh by rarity."""
    words: dict[str, int] = {}
    titled = [
        (track, words.setdefault(word, len(words)))
        for track, name in enumerate(catalog.names)
        for word in sorted(set(WORD.findall((name or "").lower())))
    ]
    return {
        "artist": credit_rows(catalog),
        "album": album_rows(catalog).T.tocsr(),
        "genre": by_rarity(catalog.genres.astype(np.float64)),
        "title": by_rarity(_ones(np.array(titled, np.int64).reshape(-1, 2), len(catalog.names))),
    }


def waves_of(waves: int) -> dict[str, int]:
    """By kind, how many random features tell of it."""
    return {kind: max(1, round(share * waves)) for kind, share in WAVE_SHARES.items()}


def felt_columns(waves: int) -> dict[str, slice]:
    """By kind, which columns of `felt_features` tell of it."""
    widths = waves_of(waves)
    ends = np.cumsum(list(widths.values())).tolist()
    return {kind: slice(end - width, end) for (kind, width), end in zip(widths.items(), ends, strict=True)}


def felt_features(catalog: Catalog, seed: int, waves: int) -> np.ndarray:
    """(tracks, w) float32: products of a kind's columns are Gaussians of how far apart tracks are, less the mean.

    What is unknown is 0; of the audio features, one that is missing counts as average. Ages are counted from the newest
    track.
    """
    known = ~np.isnan(catalog.year)
    newest = np.max(catalog.year, where=known, initial=-np.inf) if known.any() else 0.0
    age = np.log(np.maximum(newest - catalog.year, 0.0) + YOUNGEST)
    told = {
        "audio": (standardized_audio(catalog.audio), ~np.isnan(catalog.audio).all(axis=1), AUDIO_WIDTH),
        "age": (age[:, None], known, AGE_WIDTH),
        "popularity": (catalog.popularity[:, None], ~np.isnan(catalog.popularity), POPULARITY_WIDTH),
    }
    felt = np.zeros((len(age), sum(waves_of(waves).values())), np.float32)
    for kind, columns in felt_columns(waves).items():
        _fill_waves(felt[:, columns], *told[kind], seed)
    return felt


def artist_rows(catalog: Catalog) -> sp.csr_matrix:
    """(artists, tracks) float64 CSR of ones: whose first artist is who."""
    known = np.flatnonzero(catalog.artist >= 0)
    shape = (len(catalog.artist_names), len(catalog.artist))
    return sp.csr_matrix((np.ones(len(known)), (catalog.artist[known], known)), shape=shape)


def album_rows(catalog: Catalog) -> sp.csr_matrix:
    """(albums, tracks) float64 CSR of ones: which track is on which album."""
    known = np.flatnonzero(catalog.album >= 0)
    shape = (int(catalog.album.max(initial=-1)) + 1, len(catalog.album))
    return sp.csr_matrix((np.ones(len(known)), (catalog.album[known], known)), shape=shape)


def side_rows(catalog: Catalog, artist_share: float, album_share: float, genre_share: float) -> sp.csr_matrix:
    """(k, tracks) float32 CSR: a row for each artist, album and genre of at least two tracks, weighed by its kind.

    A track's genres share a length of 1, rare ones more of it.
    """
    genres = by_rarity(catalog.genres.astype(np.float64)).T
    kinds = ((artist_rows(catalog), artist_share), (album_rows(catalog), album_share), (genres, genre_share))
    stacked = sp.vstack([matrix * share for matrix, share in kinds], format="csr")
    stacked.eliminate_zeros()  # of kinds without a share
    return stacked[np.diff(stacked.indptr) > 1].astype(np.float32)


def by_rarity(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Columns by the logarithm of how rare they are, rows at unit length; what no other track has says nothing."""
    size = np.asarray((matrix > 0).sum(axis=0)).ravel()
    rarity = np.where(size > 1, np.log(max(matrix.shape[0], 1) / np.maximum(size, 1)), 0.0)
    weighed = (matrix @ sp.diags(np.maximum(rarity, 0.0))).tocsr()
    weighed.eliminate_zeros()
    length = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
    return (sp.diags(1.0 / np.where(length > 0, length, 1.0)) @ weighed).tocsr()


def _fill_waves(waves: np.ndarray, values: np.ndarray, known: np.ndarray, width: float, seed: int) -> None:
    """Random Fourier features of the known rows, less their mean; some rows at a time, in double precision each."""
    rng = np.random.default_rng(seed)
    count = waves.shape[1]
    direction = rng.normal(0.0, 1.0 / width, (values.shape[1], count))
    phase = rng.uniform(0.0, 2.0 * np.pi, count)
    rows, total = np.flatnonzero(known), np.zeros(count)
    blocks = [rows[start : start + WAVE_ROWS] for start in range(0, len(rows), WAVE_ROWS)]
    for block in blocks:
        made = np.sqrt(2.0 / count) * np.cos(values[block] @ direction + phase)
        total += made.sum(axis=0)
        waves[block] = made
    for block in blocks:
        waves[block] -= (total / len(rows)).astype(np.float32)


def _ones(pairs: np.ndarray, tracks: int) -> sp.csr_matrix:
    columns = int(pairs[:, 1].max(initial=-1)) + 1
    return sp.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(tracks, columns))
