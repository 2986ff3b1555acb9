"""What is met close to what: tracks that listeners begin with soon after one another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import scipy.sparse as sp

from features.compute.nearest import keep_strongest
from features.compute.sequences import Sequences, in_sequence, nearest_sources, squares
from features.recommend.history import History
from features.recommend.models.contract import Range
from features.recommend.models.neighbors import RECENCY, NearTracks

HALF_LIVES = 6.0
"""Pairs further apart than so many half-lives are left out: each would weigh less than a sixtieth."""
PAIRS_AT_ONCE = 4_000_000
PROXIMITY = {
    "gap_half_life": Range(4, 200, log=True),
    "degree_power": Range(0.0, 0.9, also=(0.0,)),
    "weight_power": Range(0.0, 1.0, also=(0.0,)),
}


@dataclass(eq=False)
class ProximityKNN(NearTracks):
    """Nearest neighbours by how soon one track follows another in listeners' lives, over all pairs of a history.

    Each listener adds degree^-`degree_power` · 2^-(gap / `gap_half_life`) to the pair of an earlier and a later track,
    the gap in tracks between their first listens; the opposite direction counts `backward` as much. Sums are divided by
    powers of both tracks' own, and each track keeps its strongest sources.

    Args:
        neighbors: sources kept a track.
        targets: tracks at most that each is kept as a source of, the strongest; 0 for any number.
        power: of their weights; above 1 the strongest decide.
        gap_half_life: in tracks.
        half_lives: pairs further apart than so many are left out.
        backward: worth of the opposite direction.
        source_power: sums are divided by the earlier track's own sum to it.
        target_power: and by the later one's.
        degree_power: how much less the very busy count.
        weight_power: of the weights it is fitted on.
        half_life: of the history at scoring, in tracks played since.
        floor: what is never forgotten of it.
        strength: power of the weights in it.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "neighbors": Range(15, 500, log=True, whole=True),
        "power": Range(0.7, 2.2),
        "backward": Range(0.1, 1.0, log=True),
        "source_power": Range(0.1, 0.8),
        "target_power": Range(0.1, 0.8),
        **PROXIMITY,
        **RECENCY,
    }

    neighbors: int = 200
    targets: int = 0
    power: float = 1.3
    gap_half_life: float = 40.0
    half_lives: float = HALF_LIVES
    backward: float = 0.6
    source_power: float = 0.5
    target_power: float = 0.5
    degree_power: float = 0.45
    weight_power: float = 0.0
    half_life: float = 8.0
    floor: float = 0.1
    strength: float = 0.3

    def fit(self, history: History) -> Self:
        """Sums over all pairs."""
        self.listeners_ = history.listeners
        self.scored_ = history.recent(self.half_life, self.floor, self.strength)
        sequences, scale = weighed_sequences(history, self.degree_power, self.weight_power)
        own = np.maximum(squares(sequences, scale, len(self.listeners_)), 0.5)
        longest = int(history.degree.max(initial=1)) - 1
        gaps = np.arange(min(int(np.ceil(self.half_lives * self.gap_half_life)), longest) + 1)
        kept = nearest_sources(
            sequences,
            self.neighbors,
            scale=scale,
            decay=2.0 ** (-gaps / self.gap_half_life),
            backward=self.backward,
            source=own**-self.source_power,
            target=own**-self.target_power,
        )
        kept.data **= np.float32(self.power)
        self.similarity_ = kept.T.tocsr()
        if self.targets:
            keep_strongest(self.similarity_, self.targets)
        return self


def weighed_sequences(history: History, degree_power: float, weight_power: float) -> tuple[Sequences, np.ndarray]:
    """Histories in the order of first listens; and (users,) float64 how much each counts, so that pairs' mean is 1."""
    weights = history.values(weight_power)
    degree = np.maximum(history.degree, 1)
    scale = (degree / degree.mean()) ** -degree_power if len(degree) else np.zeros(0)
    scale *= weights.nnz / max((scale * history.degree).sum(), 1e-9)
    return in_sequence(weights, history.first_at), scale


def proximity(
    history: History, gap_half_life: float, degree_power: float, weight_power: float
) -> tuple[sp.csr_matrix, np.ndarray]:
    """How often and how soon the one track follows the other, and each track's own sum.

    Tracks that began at one moment follow each other half in either direction.

    Returns:
        (tracks, tracks) float64 CSR, earlier by later, empty diagonal; and (tracks,) float64.
    """
    sequences, scale = weighed_sequences(history, degree_power, weight_power)
    owner, track, at = history.owner, sequences.track.astype(np.int64), sequences.at
    worth = sequences.worth.astype(np.float64)
    tracks = history.weights.shape[1]
    own = np.bincount(track, weights=scale[owner] * worth**2, minlength=tracks)
    total = sp.csr_matrix((tracks, tracks), dtype=np.float64)
    pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for gap in range(1, min(int(np.ceil(HALF_LIVES * gap_half_life)), int(history.degree.max(initial=1)) - 1) + 1):
        first = np.flatnonzero(owner[gap:] == owner[:-gap])
        second = first + gap
        value = scale[owner[first]] * worth[first] * worth[second] * 2.0 ** (-gap / gap_half_life)
        tied = at[first] == at[second]
        value[tied] /= 2.0
        pending += [(track[first], track[second], value), (track[second[tied]], track[first[tied]], value[tied])]
        if sum(len(values) for _, _, values in pending) > PAIRS_AT_ONCE:
            total = total + _summed(pending, tracks)
            pending = []
    return (total + _summed(pending, tracks)).tocsr(), own


def _summed(pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]], tracks: int) -> sp.csr_matrix:
    if not pairs:
        return sp.csr_matrix((tracks, tracks), dtype=np.float64)
    row, column, value = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    matrix = sp.csr_matrix((value, (row, column)), shape=(tracks, tracks))
    matrix.sum_duplicates()
    return matrix
