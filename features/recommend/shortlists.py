"""Of each user the few hundred tracks worth scoring, where users × tracks would be too many cells.

What a night of a million listeners and some hundred thousand tracks can't do is to score everything. What it can: ask
sparse models, whose work goes with a user's history and not with the catalogue, for the best they have, and score
only these by everything that the blend asks. Proposed are

- what the neighbours of the history's tracks add up to, of each model that is a matrix of near tracks,
- the most played tracks of the artists and of the genres that the user hears most,
- tracks by those artists that hardly anybody has played, or none would ever be heard,
- what is popular,
- and, where heard tracks may be listed, those of the history that weigh most.

A track that no source proposes is not listed. What that costs is in docs/models.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import scipy.sparse as sp

from features.compute.best_sums import best_sums
from features.compute.dataset import Catalog
from features.compute.topk import top_k
from features.recommend.cold import HARDLY_ANYBODY
from features.recommend.history import History
from features.recommend.models.contract import Model
from features.recommend.models.neighbors import NearTracks
from features.recommend.models.track_features import artist_rows

BY_NEIGHBORS, BY_ARTIST, BY_GENRE, NEW, POPULAR, OWN = 250, 80, 60, 20, 100, 200
"""Tracks of each source at most."""
OF_AN_ARTIST, NEW_OF_AN_ARTIST, OF_A_GENRE = 20, 5, 100
"""Tracks of an artist or a genre that are proposed to anybody."""


class Source(NamedTuple):
    """The best of `left` @ `through` @ `right`, a row a user: at most so many columns, all of them above 0.

    What users have of artists and genres, `left` @ `through`, would be some hundred numbers a user; it is never made.
    """

    left: sp.csr_matrix
    right: sp.csr_matrix
    most: int
    through: sp.csr_matrix | None = None


@dataclass(frozen=True, eq=False)
class Shortlists:
    """What proposes.

    Attributes:
        sources: each by itself.
        popular: (p,) int32, proposed to everyone.
        without: (users, tracks) bool CSR: what is not to be proposed, since it may not be listed; None for nothing.
    """

    sources: tuple[Source, ...]
    popular: np.ndarray
    without: sp.csr_matrix | None

    @classmethod
    def of(
        cls,
        history: History,
        models: Iterable[Model],
        listeners: np.ndarray,
        known: sp.csr_matrix,
        *,
        include_heard: bool,
    ) -> Self:
        """The sources of a history.

        Args:
            history: what users hear.
            models: fitted on it; those that are matrices of near tracks propose.
            listeners: (tracks,) int, who played each.
            known: (users, tracks) bool CSR, sorted: what users have heard.
            include_heard: whether that may be listed.
        """
        near = (model for model in models if isinstance(model, NearTracks))
        sources = [Source(model.scored_, model.similarity_, BY_NEIGHBORS) for model in near]
        weights = history.values(1.0)
        if history.catalog is not None:
            sources += _by_catalog(history.catalog, weights, listeners)
        if include_heard:
            sources.append(Source(weights, sp.identity(weights.shape[1], np.float32, "csr"), OWN))
        return cls(tuple(sources), _most_played(listeners, POPULAR), None if include_heard else known)

    @property
    def width(self) -> int:
        """Tracks of a user at most."""
        return len(self.popular) + sum(source.most for source in self.sources)

    def tracks_of(self, users: np.ndarray) -> np.ndarray:
        """(n, `width`) int32: of each user the tracks proposed, ascending, none twice, -1 at the end."""
        proposed = [
            best_sums(source.left, source.right, users, source.most, self.without, source.through)
            for source in self.sources
        ]
        proposed.append(np.broadcast_to(self.popular, (len(users), len(self.popular))))
        found = np.sort(np.hstack(proposed).view(np.uint32), axis=1)  # -1 is the highest
        found[:, 1:][found[:, 1:] == found[:, :-1]] = np.uint32(2**32 - 1)
        return np.sort(found, axis=1).view(np.int32)


def _by_catalog(catalog: Catalog, weights: sp.csr_matrix, listeners: np.ndarray) -> list[Source]:
    artists = artist_rows(catalog).astype(np.float32)
    genres = catalog.genres.T.astype(np.float32).tocsr()
    of_artist, of_genre = (rows.T.tocsr() for rows in (artists, genres))
    fame = np.log1p(listeners.astype(np.float64)).astype(np.float32)
    hardly = np.where(listeners <= HARDLY_ANYBODY, np.float32(1.0), np.float32(0.0))
    return [
        Source(weights, _best_of_rows(artists, fame, OF_AN_ARTIST), BY_ARTIST, of_artist),
        Source(weights, _best_of_rows(genres, fame, OF_A_GENRE), BY_GENRE, of_genre),
        Source(weights, _best_of_rows(artists, hardly, NEW_OF_AN_ARTIST), NEW, of_artist),
    ]


def _best_of_rows(rows: sp.csr_matrix, values: np.ndarray, count: int) -> sp.csr_matrix:
    """The entries of each row whose columns have the highest values above 0, ties to the lower; of those values."""
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    column, value = rows.indices, values[rows.indices]
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    place = np.arange(len(row)) - rows.indptr[row]
    kept = (place < count) & (value > 0)
    return sp.csr_matrix((value[kept], (row[kept], column[kept])), shape=rows.shape)


def _most_played(listeners: np.ndarray, count: int) -> np.ndarray:
    best = top_k(np.where(listeners > 0, listeners, -np.inf)[None, :], count)[0]
    return np.sort(best[best >= 0]).astype(np.int32)
