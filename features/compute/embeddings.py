"""Track embeddings: what listeners say of a track beside what the track itself is."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numba import njit

from features.compute.dataset import Catalog
from features.compute.decomposition import leading
from features.compute.profile_sums import counted
from features.compute.profiles import scaled_audio
from features.compute.shards import even_ranges, over_shards
from features.schema.names import AUDIO_NAMES

USER_SCALING = 0.3
TRACK_SCALING = 0.3
"""Weights are divided by degree to this power on either side, so that the very busy and the very popular do not
take the first dimensions for themselves (popularity-scaled SVD; the powers a search on real data preferred)."""
ROUNDING = 1e-9
"""What is smaller than this beside its like is rounding: scaled to unit length, noise would pass for knowledge."""
EVIDENCE_LISTENERS = 5
"""Listeners at which what they say of a track and what it is count alike."""
RANGES_A_THREAD = 8
EXACT_SVD_CELLS = 4_000_000
"""Up to this size the dense, exact decomposition is as fast as the randomized one."""

ARTIST_SHARE, GENRE_SHARE, AUDIO_SHARE = 0.30, 0.38, 0.32
"""How much artist, genres and audio features count in the content part, where a track has them all. One
artist's tracks come out nearest, then those of the genre that sound alike; with more weight on the artist, a
track's nearest neighbours are its own artist's and nobody else's (looked at on real songs)."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of all tracks.

    Attributes:
        vectors: (tracks, dimensions) float32, unit length; a zero row where nothing at all is known.
        content: (tracks, c) float32, the content part by itself, unit length or zero.
        listeners: (tracks,) int64, users with weight on the track.
        confidence: (tracks,) float64 in [0, 1].
    """

    vectors: np.ndarray
    content: np.ndarray
    listeners: np.ndarray
    confidence: np.ndarray


def build_embeddings(
    weights: sp.csr_matrix, catalog: Catalog, *, dimensions: int, content_dimensions: int, seed: int, threads: int = 1
) -> Embeddings:
    """Embeds every track, played or not.

    A track's vector is its collaborative direction times sqrt(e) beside its content direction times sqrt(1 - e),
    with e = listeners / (listeners + 5) shrunk so that content never vanishes: the cosine of two tracks is then
    a blend of how alike their listeners are and how alike they are themselves, in the measure that there are
    listeners to ask. A track that nobody played stands where its artist, genres and audio features put it.

    Confidence is 1 - (1 - e) (1 - c / 2): e as above, c the share of artist, genres and audio that is known.

    Args:
        weights: (users, tracks) CSR, positive.
        catalog: by track number.
        dimensions: of the collaborative part, at most.
        content_dimensions: of the content part, more than the twelve audio features.
        seed: for the decomposition and the projections.
        threads: to use; they change nothing.
    """
    track_factors = scaled_svd(weights, dimensions=dimensions, seed=seed, threads=threads)
    content, known_share = content_vectors(catalog, dimensions=content_dimensions, seed=seed)
    listeners = counted(weights.indices, weights.shape[1])
    evidence = listeners / (listeners + EVIDENCE_LISTENERS)
    has_content = np.linalg.norm(content, axis=1) > 0
    has_factors = np.any(track_factors != 0, axis=1)
    collaborative_share = np.where(has_content, 0.8 * evidence, 1.0) * has_factors
    joined = np.hstack(
        [
            unit_rows(track_factors) * np.sqrt(collaborative_share)[:, None],
            content * np.sqrt(1.0 - collaborative_share)[:, None],
        ]
    )
    return Embeddings(
        unit_rows(joined).astype(np.float32),
        content,
        listeners,
        1.0 - (1.0 - evidence) * (1.0 - known_share / 2.0),
    )


def unit_rows(matrix: np.ndarray) -> np.ndarray:
    """Rows at unit length; zero rows stay zero."""
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(length > 0, length, 1.0)


def degree_scaled(weights: sp.csr_matrix, threads: int = 1) -> sp.csr_matrix:
    """(users, tracks) CSR: weights as the decomposition sees them, over the powers of both degrees."""
    user_degree, track_degree = np.diff(weights.indptr), counted(weights.indices, weights.shape[1])
    by_user = np.maximum(user_degree, 1) ** -USER_SCALING
    by_track = np.maximum(track_degree, 1) ** -TRACK_SCALING
    data = np.empty(weights.nnz)
    over_shards(
        lambda start, stop: _scale(start, stop, weights.indptr, weights.indices, weights.data, by_user, by_track, data),
        even_ranges(user_degree + 1, RANGES_A_THREAD * threads),
        threads,
    )
    return sp.csr_matrix((data, weights.indices, weights.indptr), shape=weights.shape)


@njit(nogil=True, cache=True)
def _scale(
    start: int,
    stop: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    by_user: np.ndarray,
    by_track: np.ndarray,
    scaled: np.ndarray,
) -> None:
    for user in range(start, stop):
        for entry in range(indptr[user], indptr[user + 1]):
            scaled[entry] = data[entry] * by_user[user] * by_track[indices[entry]]


def scaled_svd(weights: sp.csr_matrix, *, dimensions: int, seed: int, threads: int = 1) -> np.ndarray:
    """Tracks' factors of the degree-scaled weights; the same for any number of threads.

    Returns:
        (tracks, d) float64: the right singular vectors. Users' factors, of which nothing is made here, are the scaled
        matrix times these. Signs are fixed; the order is by singular value. d is `dimensions`, or half the lesser of
        users and tracks if that is less: with all dimensions the product is the matrix itself and says nothing of a
        track unheard. Rows are zero for tracks without weight and for those that the first d say nothing of.

    Source:
        Cremonesi, Koren & Turrin (2010), "Performance of recommender algorithms on top-n recommendation tasks"
        (PureSVD), on a matrix scaled by degree; Halko, Martinsson & Tropp (2011) for the decomposition.
    """
    scaled = degree_scaled(weights, threads)
    rank = min(dimensions, (min(weights.shape) + 1) // 2)
    if rank == 0 or weights.nnz == 0:
        return np.zeros((weights.shape[1], 0))
    if weights.shape[0] * weights.shape[1] <= EXACT_SVD_CELLS:
        _, values, right = np.linalg.svd(scaled.toarray(), full_matrices=False)
        right, values = right[:rank], values[:rank]
    else:
        values, right = leading(scaled, rank, seed=seed, threads=threads)
    right = right[values > values[0] * ROUNDING]
    largest = np.argmax(np.abs(right), axis=1)
    right = right * np.sign(right[np.arange(len(right)), largest])[:, None]
    right[:, np.linalg.norm(right, axis=0) < ROUNDING] = 0.0  # tracks without weight, or outside these dimensions
    return right.T.copy()


def content_vectors(catalog: Catalog, *, dimensions: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What each track is, apart from who plays it: artist, genres and audio features.

    Audio features are standardized over the catalogue and kept as they are, twelve dimensions; artists and
    genres are projected at random into the others, which keeps their inner products (Johnson & Lindenstrauss
    1984): two tracks of one artist meet, two of different artists are nearly orthogonal. Whoever else is in the
    catalogue, a name's direction is the same.

    Returns:
        (tracks, dimensions) float32, unit length or zero, and the share of the three kinds that is known, (tracks,).

    Raises:
        ValueError: there is no dimension beyond the twelve.
    """
    if dimensions <= len(AUDIO_NAMES):
        raise ValueError(f"dimensions is {dimensions}, must be more than {len(AUDIO_NAMES)}")
    hidden = dimensions - len(AUDIO_NAMES)
    artist_directions = name_directions("artist", catalog.artist_names.ids(), dimensions=hidden, seed=seed)
    genre_directions = name_directions("genre", catalog.genre_names.ids(), dimensions=hidden, seed=seed)
    by_artist = np.zeros((len(catalog.artist), hidden))
    by_artist[catalog.artist >= 0] = artist_directions[catalog.artist[catalog.artist >= 0]]
    # a rare genre says more than a common one
    rarity = np.log1p(catalog.genres.shape[0] / np.maximum(np.asarray(catalog.genres.sum(axis=0)).ravel(), 1))
    by_genre = unit_rows(catalog.genres.astype(np.float64) @ (genre_directions * rarity[:, None]))
    audio = unit_rows(standardized_audio(catalog.audio))
    joined = np.hstack(
        [
            audio * np.sqrt(AUDIO_SHARE),
            by_artist * np.sqrt(ARTIST_SHARE) + by_genre * np.sqrt(GENRE_SHARE),
        ]
    )
    known = sum((np.linalg.norm(part, axis=1) > 0).astype(np.float64) for part in (audio, by_artist, by_genre))
    return unit_rows(joined).astype(np.float32), np.asarray(known) / 3.0


def name_directions(kind: str, names: Sequence[str], *, dimensions: int, seed: int) -> np.ndarray:
    """(names, dimensions) float64, unit length: signs drawn by nothing but seed, kind and name.

    Directions drawn one after the other would all change when a name comes in between.

    Source:
        Achlioptas (2003), "Database-friendly random projections": signs do as well as normal variates.
    """
    octets = (dimensions + 7) // 8
    drawn = b"".join(hashlib.shake_128(f"{seed} {kind} {name}".encode()).digest(octets) for name in names)
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8).reshape(len(names), octets), axis=1, count=dimensions)
    return (bits * 2.0 - 1.0) / np.sqrt(dimensions)


def standardized_audio(audio: np.ndarray) -> np.ndarray:
    """(tracks, 12) float64: mean 0 and spread 1 over the tracks that have the feature; 0 where missing or constant.

    The key is left out: its number is a place on a circle, and songs are not alike for being in D.
    """
    scaled = scaled_audio(audio)
    scaled[:, AUDIO_NAMES.index("key")] = np.nan
    known = ~np.isnan(scaled)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, scaled, 0.0)
    mean = filled.sum(axis=0) / count
    spread = np.sqrt((np.where(known, scaled - mean, 0.0) ** 2).sum(axis=0) / count)
    varies = spread > ROUNDING  # a feature that is the same everywhere tells no track from another
    return np.where(known & varies, (scaled - mean) / np.where(varies, spread, 1.0), 0.0)
