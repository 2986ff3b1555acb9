"""Which tracks are one song on several releases: a single, the album, its anniversary edition."""

import numba
import numpy as np
import scipy.sparse as sp

from features.compute.dataset import Catalog
from features.recommend.models.credits import plain
from features.recommend.remembered import remembered

ALONE = -1
"""Of a track that is the only release of its song, or whose title or artist is unknown."""


@remembered
def songs(catalog: Catalog) -> np.ndarray:
    """(tracks,) int32: the number of each track's song, from 0; `ALONE` for none.

    Tracks of one first artist and one title are one song, case and accents aside. "(Live)" or "- Remix" in a title
    makes another one.
    """
    artists = [plain(name) for name in catalog.artist_names.ids()]
    numbers: dict[tuple[str, str], int] = {}
    song = np.full(len(catalog.names), ALONE, np.int32)
    for track, (title, artist) in enumerate(zip(catalog.names, catalog.artist.tolist(), strict=True)):
        if artist >= 0 and (words := plain(title or "")):
            song[track] = numbers.setdefault((artists[artist], words), len(numbers))
    known = np.flatnonzero(song >= 0)
    several = known[np.bincount(song[known])[song[known]] > 1]
    found = np.full(len(song), ALONE, np.int32)
    found[several] = np.unique(song[several], return_inverse=True)[1]
    return found


def other_releases(heard: sp.csr_matrix, song: np.ndarray) -> sp.csr_matrix:
    """(users, tracks) bool CSR: what a user has not heard, but has on another release.

    Args:
        heard: (users, tracks) bool CSR: what each user has heard; or something else of which this is asked.
        song: (tracks,) int, as of `songs`.
    """
    several = np.flatnonzero(song >= 0)
    if not len(several):
        return sp.csr_matrix(heard.shape, dtype=bool)
    shape = (len(song), int(song.max()) + 1)
    released = sp.csr_matrix((np.ones(len(several), bool), (several, song[several])), shape=shape)
    on_any = ((heard @ released) @ released.T).tocsr()
    others = (on_any > heard).tocsr()
    others.eliminate_zeros()
    others.sort_indices()
    return others


def only_best(values: np.ndarray, song: np.ndarray) -> np.ndarray:
    """(n, m) float64: values with -inf for all releases of a song but the best; ties go to the first column.

    Args:
        values: (n, m) float, a row a user. Not changed.
        song: (m,) or (n, m) int: as of `songs`, of each column.
    """
    best = np.array(values, np.float64)
    if (song >= 0).any():
        _drop_lesser(best, np.broadcast_to(song, best.shape), np.full(int(song.max()) + 1, -1, np.int64))
    return best


@numba.njit(nogil=True, cache=True)
def _drop_lesser(values: np.ndarray, song: np.ndarray, leader: np.ndarray) -> None:
    """Overwrites `values`; `leader` holds -1 for each song, and does so again in the end."""
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            number = song[row, column]
            if number < 0:
                continue
            before = leader[number]
            if before < 0:
                leader[number] = column
            elif values[row, column] > values[row, before]:
                values[row, before] = -np.inf
                leader[number] = column
            else:
                values[row, column] = -np.inf
        for column in range(values.shape[1]):
            if song[row, column] >= 0:
                leader[song[row, column]] = -1
