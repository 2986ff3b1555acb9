"""A data set as the harness asks it: what may be learned, who is asked, which tracks may be answered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from benchmarks.quality.splits import (
    TEST_SEED,
    VALIDATION_SEED,
    held_out,
    held_out_first_listens,
    held_out_plays,
)
from features.compute.dataset import Catalog, Dataset, StatedTaste, build_catalog
from features.compute.ids import Vocabulary
from features.compute.interactions import Feedback, Plays, build_interactions
from features.compute.numbering import Pieces
from features.recommend.history import History, build_history
from features.snapshot.fields import PLAYS, TRACKS

MOST_ASKED = 2_000
"""Users whose lists are measured; of more, that many are drawn."""
DRAW_SEED = 20_260_101
TIMELESS_MS = 1_700_000_000_000
"""When plays without a time were; any moment would do."""
NEVER_DAYS = 1e12
"""A half-life."""


@dataclass(frozen=True, eq=False)
class Split:
    """What may be learned from, and what is asked.

    Attributes:
        dataset: the training part, as a nightly run has it.
        as_of_ms: right after its last play.
        history: of the dataset, without forgetting; its catalogue is None where nothing is known of tracks.
        relevant: (users, tracks) bool CSR: what was held out.
        candidates: (tracks,) bool: what may be answered.
        mask_heard: whether tracks of the history are left out of answers.
    """

    dataset: Dataset
    as_of_ms: int
    history: History
    relevant: sp.csr_matrix
    candidates: np.ndarray
    mask_heard: bool

    @cached_property
    def users(self) -> np.ndarray:
        """(n,) int64, ascending: with a history and something held out among the candidates."""
        asked = np.flatnonzero((self.history.degree > 0) & (np.diff(self.asked.indptr) > 0))
        if len(asked) <= MOST_ASKED:
            return asked
        return np.sort(np.random.default_rng(DRAW_SEED).choice(asked, MOST_ASKED, replace=False))

    @cached_property
    def asked(self) -> sp.csr_matrix:
        """(users, tracks) bool CSR: what was held out among the candidates."""
        kept = self.relevant.multiply(self.candidates[None, :]).tocsr().astype(bool)
        kept.eliminate_zeros()
        kept.sort_indices()
        return kept

    def __repr__(self) -> str:
        return f"Split({self.history!r}, {self.asked.nnz:,} held out of {len(self.users):,} users)"


@dataclass(frozen=True, eq=False)
class Case:
    """One table: a data set, or a way to ask it. Parameters are chosen on `validation`, figures are of `test`."""

    name: str
    title: str
    validation: Split
    test: Split


@dataclass(frozen=True, eq=False)
class Listens:
    """A data set's rows as numbers, `user` and `item` from 0 without gaps.

    Attributes:
        user: (n,) int.
        item: (n,) int, by `neutral`.
        count: (n,) float64, how often; what is learned from is the logarithm.
        at_ms: (n,) int64, or None where unknown.
        tracks: how many there are.
        catalog_of: what is known of tracks, given which rows may be learned from; None where nothing is.
        stated: of users; None where nothing is.
    """

    user: np.ndarray
    item: np.ndarray
    count: np.ndarray
    at_ms: np.ndarray | None
    tracks: int
    catalog_of: Callable[[np.ndarray], Catalog] | None = None
    stated_of: Callable[[Catalog], StatedTaste] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(users, tracks)."""
        return int(self.user.max()) + 1, self.tracks


def pair_case(name: str, title: str, listens: Listens) -> Case:
    """Of unique pairs: a fifth of each user's held out for the test, and a fifth of the rest for validation."""
    rows = np.arange(len(listens.user))
    splits = []
    for seed in (TEST_SEED, VALIDATION_SEED):
        at = None if listens.at_ms is None else listens.at_ms[rows]
        out = held_out(listens.user[rows], at, seed)
        splits.append(_split(listens, rows[~out], rows[out], mask_heard=True))
        rows = rows[~out]
    return Case(name, title, splits[1], splits[0])


def first_listens_case(name: str, title: str, listens: Listens) -> Case:
    """Of plays with times: the last fifth of each user's first listens held out, with all that was played since."""
    assert listens.at_ms is not None
    rows = np.arange(len(listens.user))
    splits = []
    for seed in (TEST_SEED, VALIDATION_SEED):
        kept, asked = held_out_first_listens(listens.user[rows], listens.item[rows], listens.at_ms[rows], seed)
        splits.append(_split(listens, rows[kept], rows[asked], mask_heard=True))
        rows = rows[kept]
    return Case(name, title, splits[1], splits[0])


def next_plays_case(name: str, title: str, listens: Listens) -> Case:
    """Of plays with times: the last fifth of each user's plays held out, tracks already heard among the answers."""
    assert listens.at_ms is not None
    rows = np.arange(len(listens.user))
    splits = []
    for _ in range(2):
        out = held_out_plays(listens.user[rows], listens.at_ms[rows])
        splits.append(_split(listens, rows[~out], rows[out], mask_heard=False))
        rows = rows[~out]
    return Case(name, title, splits[1], splits[0])


def warm_and_cold(case: Case) -> tuple[Case, Case]:
    """The same split asked twice: for tracks somebody has in training, and for those nobody has.

    Nothing is known in validation of tracks that come up in the test only, so they are no candidates there.
    """
    learned = case.test.history.listeners > 0
    variants = []
    for suffix, title, warm in (("warm", "tracks with a listener in training", True), ("cold", "without one", False)):
        validation, test = (
            replace(split, candidates=((split.history.listeners > 0) == warm) & known)
            for split, known in ((case.validation, learned), (case.test, np.ones(len(learned), bool)))
        )
        variants.append(Case(f"{case.name}-{suffix}", f"{case.title}, {title}", validation, test))
    return variants[0], variants[1]


def _split(listens: Listens, learned: np.ndarray, asked: np.ndarray, *, mask_heard: bool) -> Split:
    """Weights are log2(1 + plays): nothing fades, unless a model makes it."""
    catalog = None if listens.catalog_of is None else listens.catalog_of(learned)
    dataset = _dataset(listens, learned, catalog)
    ones = np.ones(len(asked), np.int32)
    relevant = sp.csr_matrix((ones, (listens.user[asked], listens.item[asked])), shape=listens.shape).astype(bool)
    relevant.sort_indices()
    as_of_ms = int(dataset.plays.played_at.max()) + 1
    interactions = build_interactions(
        dataset.plays, dataset.feedback, listens.shape, as_of_ms=as_of_ms, half_life_days=NEVER_DAYS
    )
    history = replace(build_history(dataset, interactions), catalog=catalog)
    return Split(dataset, as_of_ms, history, relevant, np.ones(listens.tracks, bool), mask_heard)


def _dataset(listens: Listens, rows: np.ndarray, catalog: Catalog | None) -> Dataset:
    """The rows as plays heard to the end; of rows without a time all at one moment."""
    times = np.rint(listens.count[rows]).astype(np.int64)
    user, item = (np.repeat(numbers[rows].astype(np.int32), times) for numbers in (listens.user, listens.item))
    at = np.full(len(user), TIMELESS_MS) if listens.at_ms is None else np.repeat(listens.at_ms[rows], times)
    users, tracks = listens.shape
    nothing = np.zeros(0, np.int32)
    silent = Feedback(nothing, nothing, nothing.astype(object), nothing.astype(float), nothing.astype(np.int64))
    known = catalog if catalog is not None else TrackTable().catalog([None] * tracks, [[]] * tracks)
    return Dataset(
        Vocabulary.of(user_ids(users)),
        Vocabulary.of(track_ids(tracks)),
        Plays(user, item, at, np.ones(len(user), np.float32)),
        silent,
        known,
        np.ones(users, bool),
        np.full(users, None, object),
        _stated(listens, known),
        {"plays": 0, "feedback": 0, "acceptances": 0},
    )


def _stated(listens: Listens, catalog: Catalog) -> StatedTaste:
    if listens.stated_of is not None:
        return listens.stated_of(catalog)
    users = listens.shape[0]
    genres = sp.csr_matrix((users, len(catalog.genre_names)), dtype=bool)
    artists = sp.csr_matrix((users, len(catalog.artist_names)), dtype=bool)
    return StatedTaste(genres, artists, np.full((users, 3), np.nan))


@dataclass(frozen=True)
class TrackTable:
    """Columns of a catalogue by track number, put together as a snapshot holds them."""

    columns: Mapping[str, Any] = field(default_factory=dict)

    def catalog(self, artists: list[str | None], genres: list[list[str]]) -> Catalog:
        """The catalogue, as the nightly job builds it.

        Args:
            artists: of each track, one name or None.
            genres: of each track.
        """
        count = len(artists)
        ids = track_ids(count)
        entries = [
            [{"id": None, "name": name, "genres": words}] if name or words else None
            for name, words in zip(artists, genres, strict=True)
        ]
        given = {"document_id": ids, "track_id": ids, "artists": entries, **self.columns}
        table = pa.table(
            {
                column.name: pa.array(given[column.name], column.type, from_pandas=True)
                if column.name in given
                else pa.nulls(count, column.type)
                for column in TRACKS.raw_schema
            }
        )
        nothing = Pieces.of(PLAYS.raw_schema.empty_table())
        return build_catalog(Vocabulary.of(ids), table, nothing, np.zeros(0, np.int32))


def user_ids(count: int) -> list[str]:
    """Ids whose order is that of their numbers."""
    return [f"user-{number:07d}" for number in range(count)]


def track_ids(count: int) -> list[str]:
    """Likewise."""
    return [f"track-{number:07d}" for number in range(count)]
