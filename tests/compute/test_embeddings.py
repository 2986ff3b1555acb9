"""Track embeddings: what listeners say beside what the track is, in every world however poor."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import AS_OF, dataset_of, evidence_of, play, random_world, said, shuffled, tables, track

from features.compute import embeddings
from features.compute.dataset import build_dataset
from features.compute.embeddings import (
    build_embeddings,
    content_vectors,
    degree_scaled,
    name_directions,
    scaled_svd,
    standardized_audio,
    unit_rows,
)
from features.schema.names import AUDIO_NAMES


def lengths(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors.astype(np.float64), axis=1)


def random_weights(seed: int, users: int = 30, tracks: int = 40, density: float = 0.2) -> sp.csr_matrix:
    weights = sp.random(users, tracks, density, format="csr", rng=np.random.default_rng(seed))
    weights.sort_indices()
    return weights


def factors(weights: sp.csr_matrix, *, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Of users and tracks: a score is the product of the two."""
    tracks = scaled_svd(weights, dimensions=dimensions, seed=1)
    return degree_scaled(weights) @ tracks, tracks


def two_scenes() -> dict:
    """Six listeners of rock, six of jazz; "new-rock" and "new-jazz" were never played."""
    rock, jazz = [f"r{i}" for i in range(6)], [f"j{i}" for i in range(6)]
    scenes = [("Rock Artist", "rock", 0.9, rock), ("Jazz Artist", "jazz", 0.2, jazz)]
    return tables(
        plays=[
            play(f"{genre}-fan-{fan}", t, 1 + fan)
            for _, genre, _, ids in scenes
            for fan in range(6)
            for t in ids
            if t[1] != str(fan)
        ],
        tracks=[
            track(t, artist, [genre], energy=energy)
            for artist, genre, energy, ids in scenes
            for t in [*ids, f"new-{genre}"]
        ],
    )


def test_a_track_nobody_played_stands_near_those_of_its_artist_and_genre():
    evidence = evidence_of(two_scenes())
    ids, vectors = evidence.dataset.tracks.ids(), evidence.embeddings.vectors
    for genre, other in (("rock", "jazz"), ("jazz", "rock")):
        new = vectors[ids.index(f"new-{genre}")]
        near = [float(new @ vectors[ids.index(f"{genre[0]}{i}")]) for i in range(6)]
        far = [float(new @ vectors[ids.index(f"{other[0]}{i}")]) for i in range(6)]
        assert min(near) > 0.5
        assert min(near) > max(far) + 0.5


def test_tracks_with_the_same_listeners_stand_closer_than_others():
    evidence = evidence_of(tables(plays=[play(f"u{i}", t) for i in range(8) for t in ("ab" if i < 4 else "cd")]))
    a, b, c, _ = evidence.embeddings.vectors
    assert a @ b == pytest.approx(1.0, abs=1e-6)
    assert a @ c == pytest.approx(0.0, abs=1e-6)


def test_of_a_track_nothing_is_known_of_the_vector_is_zero():
    evidence = evidence_of(tables(plays=[play("u", "a")], tracks=[track("blank"), track("c", "C")]))
    ids = evidence.dataset.tracks.ids()
    length = dict(zip(ids, lengths(evidence.embeddings.vectors), strict=True))
    assert length == pytest.approx({"a": 1.0, "blank": 0.0, "c": 1.0})
    confidence = dict(zip(ids, evidence.embeddings.confidence, strict=True))
    assert confidence == pytest.approx({"a": 1 / 6, "blank": 0.0, "c": 1 / 6})


def test_confidence_grows_with_listeners_and_with_what_is_known():
    full = {"artist": "A", "genres": ["rock"]}
    evidence = evidence_of(
        tables(
            plays=[play(f"u{i}", t) for i in range(5) for t in ("bare", "full")],
            tracks=[track("full", **full, energy=0.5), track("other", "B", ["jazz"], energy=0.1), track("unplayed")],
        )
    )
    bare, full, other, unplayed = evidence.embeddings.confidence
    assert (bare, full, other, unplayed) == pytest.approx((0.5, 0.75, 0.5, 0.0))


def test_dimensions_beyond_the_audio_features_are_asked_for():
    with pytest.raises(ValueError, match="dimensions is 12, must be more than 12"):
        content_vectors(dataset_of().catalog, dimensions=12, seed=1)


def test_a_feature_that_is_the_same_everywhere_tells_no_track_from_another():
    audio = np.full((3, 12), np.nan)
    audio[:, AUDIO_NAMES.index("energy")] = 0.1  # thrice 0.1 is not 0.3: their mean is off by a rounding
    audio[:, AUDIO_NAMES.index("valence")] = [0.2, 0.4, 0.6]
    audio[:, AUDIO_NAMES.index("key")] = [1, 5, 9]
    made = standardized_audio(audio)
    assert made[:, AUDIO_NAMES.index("valence")] == pytest.approx([-np.sqrt(1.5), 0.0, np.sqrt(1.5)])
    assert not np.delete(made, AUDIO_NAMES.index("valence"), axis=1).any()


@pytest.mark.parametrize("cells", [0, 4_000_000])
@pytest.mark.parametrize("seed", range(5))
def test_a_track_that_the_kept_dimensions_say_nothing_of_has_no_direction(seed, cells, monkeypatch):
    # three scenes that share no one, room for two: of the faintest there would be nothing but rounding
    monkeypatch.setattr(embeddings, "EXACT_SVD_CELLS", cells)
    rng = np.random.default_rng(seed)
    scenes = sp.block_diag([1 + rng.random((9, 6)) / 9, 2 + rng.random((8, 7)) / 9, 0.001 * rng.random((5, 4))]).tocsr()
    people, songs = rng.permutation(22), rng.permutation(17)
    weights = scenes[people][:, songs].tocsr()
    weights.sort_indices()
    users, tracks = factors(weights, dimensions=2)
    assert tracks.shape[1] == 2
    assert np.array_equal(~tracks.any(axis=1), songs >= 13)
    assert np.array_equal(~users.any(axis=1), people >= 17)


def test_half_the_dimensions_at_most_so_that_the_table_is_not_learned_by_heart():
    weights = random_weights(0, users=6, tracks=20)
    users, tracks = factors(weights, dimensions=48)
    assert tracks.shape == (20, 3)
    assert np.abs((users @ tracks.T)[weights.toarray() == 0]).max() > 1e-3


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (3, 4)])
def test_without_weights_there_are_no_factors(shape):
    users, tracks = factors(sp.csr_matrix(shape), dimensions=8)
    assert users.shape == (shape[0], 0)
    assert tracks.shape == (shape[1], 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (9, 9)])
def test_of_rank_one_there_is_one_dimension(shape):
    users, tracks = factors(sp.csr_matrix(np.ones(shape)), dimensions=8)
    assert users.shape == (shape[0], 1)
    assert lengths(tracks) == pytest.approx(1 / np.sqrt(shape[1]))


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_and_the_randomized_decomposition_agree(seed, monkeypatch):
    weights = random_weights(seed)
    exact = factors(weights, dimensions=6)
    monkeypatch.setattr(embeddings, "EXACT_SVD_CELLS", 0)
    randomized = factors(weights, dimensions=6)
    for one, other in zip(exact, randomized, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)  # the signs too
    again = factors(weights, dimensions=6)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(randomized, again, strict=True))


def test_the_randomized_decomposition_finds_the_rank_too(monkeypatch):
    monkeypatch.setattr(embeddings, "EXACT_SVD_CELLS", 0)
    weights = sp.csr_matrix(sp.block_diag([np.ones((8, 6)), np.ones((7, 9))]))
    users, tracks = factors(weights, dimensions=10)
    assert users.shape == (15, 2)
    assert tracks.shape == (15, 2)


@pytest.mark.parametrize("cells", [0, 4_000_000])
def test_the_largest_entry_of_each_dimension_is_positive(cells, monkeypatch):
    monkeypatch.setattr(embeddings, "EXACT_SVD_CELLS", cells)
    tracks = scaled_svd(random_weights(5), dimensions=6, seed=2)
    largest = np.abs(tracks).argmax(axis=0)
    assert (tracks[largest, np.arange(6)] > 0).all()


def test_unit_rows_are_made_beside_their_input():
    matrix = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert unit_rows(matrix).tolist() == [[0.6, 0.8], [0.0, 0.0]]
    assert matrix.tolist() == [[3.0, 4.0], [0.0, 0.0]]


def test_another_seed_makes_another_projection_and_the_same_seed_the_same():
    data = build_dataset(two_scenes(), as_of_ms=AS_OF)
    one, same, other = (content_vectors(data.catalog, dimensions=32, seed=seed)[0] for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes()
    assert one.tobytes() != other.tobytes()


@pytest.mark.parametrize("dimensions", [13, 21, 48, 200])
def test_an_artist_or_a_genre_keeps_its_direction_when_others_come(dimensions):
    few = [track("a1", "Nina"), track("a2", "Otis"), track("g1", "Nina", ["soul"]), track("g2", None, ["jazz"])]
    more = [
        track("b1", "Abba", ["disco"]),
        track("b2", "Nino", ["jazz", "soul", "rap"]),
        track("b3", "Zappa", ["rock"]),
    ]
    one, other = (
        dict(zip(data.tracks.ids(), content_vectors(data.catalog, dimensions=dimensions, seed=5)[0], strict=True))
        for data in (dataset_of(tracks=few), dataset_of(tracks=few + more))
    )
    for track_id, vector in one.items():
        np.testing.assert_allclose(other[track_id], vector, atol=1e-6, err_msg=track_id)


def test_directions_are_signs_of_unit_length_that_have_nothing_to_do_with_each_other():
    names = [f"name {number}" for number in range(300)]
    made = {kind: name_directions(kind, names, dimensions=36, seed=9) for kind in ("artist", "genre")}
    assert np.unique(np.abs(made["artist"])) == pytest.approx([1 / 6])
    among = (made["artist"] @ made["artist"].T)[np.triu_indices(300, 1)]
    across = (made["artist"] @ made["genre"].T).ravel()  # an artist called like a genre among them
    for cosines in (among, across):
        assert abs(cosines.mean()) < 0.01
        assert cosines.std() == pytest.approx(1 / 6, rel=0.05)
    assert name_directions("artist", [], dimensions=36, seed=9).shape == (0, 36)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_in_any_world_vectors_have_unit_length_or_nothing_is_known(seed, users, tracks):
    evidence = evidence_of(random_world(seed, users, tracks, plays=12))
    made, catalog = evidence.embeddings, evidence.dataset.catalog
    size = lengths(made.vectors)
    assert ((np.abs(size - 1) < 1e-6) | (size == 0)).all()
    telling = np.delete(catalog.audio, AUDIO_NAMES.index("key"), axis=1)
    measured = ~np.isnan(telling).all(axis=1)
    named = (catalog.artist >= 0) | (np.diff(catalog.genres.indptr) > 0)
    blank = ~named & ~measured & (made.listeners == 0)
    assert not size[blank].any()
    assert (size[named] > 0).all()
    assert ((made.confidence >= 0) & (made.confidence <= 1)).all()
    assert made.vectors.dtype == np.float32


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_any_order_of_rows_makes_the_same_embeddings(seed):
    world = random_world(seed)
    one, other = evidence_of(world).embeddings, evidence_of(shuffled(world, seed)).embeddings
    for name, values in vars(one).items():
        assert values.tobytes() == getattr(other, name).tobytes()


def test_weights_are_not_written_to():
    weights = random_weights(8)
    before = weights.copy()
    catalog = dataset_of(
        tracks=[track(f"t{i:02d}", "A") for i in range(40)], feedback=[said("u", "t00", "like")]
    ).catalog
    build_embeddings(weights, catalog, dimensions=4, content_dimensions=16, seed=3)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(weights, part), getattr(before, part))
