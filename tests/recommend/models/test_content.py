"""The content kernels against likenesses worked out pair by pair."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from worlds import account, dataset_of, play, track

from features.compute.embeddings import standardized_audio
from features.compute.interactions import build_interactions
from features.recommend.history import History, build_history, history_of
from features.recommend.models.content import DAMPING, Content, Kernel
from features.recommend.models.track_features import (
    AGE_WIDTH,
    AUDIO_WIDTH,
    POPULARITY_WIDTH,
    YOUNGEST,
    felt_columns,
    felt_features,
    named_features,
    side_rows,
)
from tests.recommend.models.histories import random_history
from tests.worlds import AS_OF

KINDS = ("artist", "album", "genre", "title", "audio", "age", "popularity")
NO_LIFT = {"lift": 0.0, "cold_lift": 0.0, "appeal": 0.0}


def catalog_of(*rows):
    return dataset_of(plays=[play("u", rows[0]["track_id"])], tracks=rows).catalog


CATALOG = catalog_of(
    {**track("a", "Abba", ["pop", "disco"], album="Gold"), "name": "Waterloo"},
    {**track("b", "Abba", ["pop"], album="Gold"), "name": "Dancing Queen"},
    {**track("c", "Queen", ["rock"], album="Gold"), "name": "Killer Queen"},
    {**track("d", "Queen", ["rock", "pop"], album="Jazz"), "name": "Mustapha (live)"},
    {**track("e"), "name": None},
)


def likeness(kind: str) -> np.ndarray:
    features = named_features(CATALOG)[kind]
    return (features @ features.T).toarray()


def test_tracks_of_one_artist_are_alike():
    expected = np.zeros((5, 5))
    expected[:2, :2] = expected[2:4, 2:4] = 1.0
    np.testing.assert_array_equal(likeness("artist"), expected)


def test_albums_of_one_name_by_two_artists_are_two():
    expected = np.diag([1.0, 1.0, 1.0, 1.0, 0.0])
    expected[0, 1] = expected[1, 0] = 1.0
    np.testing.assert_array_equal(likeness("album"), expected)


def test_genres_in_common_count_by_rarity_and_what_no_other_track_has_says_nothing():
    pop, rock = math.log(5 / 3), math.log(5 / 2)  # disco is of one track
    rows = np.array([[pop, 0], [pop, 0], [0, rock], [pop, rock], [0, 0]])
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    np.testing.assert_allclose(likeness("genre"), unit @ unit.T, atol=1e-12)


def test_words_of_titles_in_common_count_likewise():
    made = likeness("title")
    assert made[1, 2] == pytest.approx(1.0)  # "queen" is the only word that two have
    assert np.count_nonzero(made) == 4


def test_rows_beside_the_listeners_are_of_kinds_that_two_tracks_share():
    made = side_rows(CATALOG, 1.0, 0.5, 0.0).toarray()
    assert made.tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0.5, 0.5, 0, 0, 0]]
    genres = named_features(CATALOG)["genre"].toarray().T
    found = side_rows(CATALOG, 0.0, 0.0, 2.0).toarray()
    np.testing.assert_allclose(found, 2.0 * genres[genres.any(axis=1)], rtol=1e-6)


def test_sound_age_and_popularity_are_gaussians_of_the_distance_less_what_is_usual_and_unknown_is_like_nothing():
    rng = np.random.default_rng(5)
    history = random_history(1, tracks=40)
    audio = history.catalog.audio.copy()
    audio[7] = np.nan
    audio[8, 0] = np.nan  # one feature missing counts as average
    year, popularity = rng.integers(1960, 2026, 40).astype(float), rng.integers(0, 101, 40).astype(float)
    year[9] = popularity[11] = np.nan
    catalog = replace(history.catalog, audio=audio, year=year, popularity=popularity)
    age = np.log(np.nanmax(year) - year + YOUNGEST)
    for kind, values, width, unknown in (
        ("audio", standardized_audio(audio), AUDIO_WIDTH, 7),
        ("age", age[:, None], AGE_WIDTH, 9),
        ("popularity", popularity[:, None], POPULARITY_WIDTH, 11),
    ):
        known = np.delete(np.arange(40), unknown)
        distance = np.linalg.norm(values[known, None, :] - values[None, known, :], axis=2)
        gaussian = np.exp(-(distance**2) / (2 * width**2))
        centred = gaussian - gaussian.mean(axis=0) - gaussian.mean(axis=1, keepdims=True) + gaussian.mean()
        # the mean of so many waves is off by the root of their number
        products = [felt_by_kind(catalog, seed)[kind] for seed in range(20)]
        mean = sum(waves @ waves.T for waves in products) / 20
        assert np.abs(mean[np.ix_(known, known)] - centred).max() < 6.0 / np.sqrt(20 * products[0].shape[1])
        assert not mean[unknown].any()


def felt_by_kind(catalog, seed: int) -> dict[str, np.ndarray]:
    features = felt_features(catalog, seed, 256)
    return {kind: features[:, columns].astype(np.float64) for kind, columns in felt_columns(256).items()}


def rich_history(seed: int, *, stated: bool = True) -> History:
    """Listeners by chance, the first of them silent, of tracks of which all is known, but of the last nothing."""
    rng = np.random.default_rng(seed)
    tracks = [
        track(
            f"t{number:02d}",
            f"artist {number % 7}",
            [f"genre {number % 3}", f"genre {number % 5}"],
            album=f"album {number % 14 // 2}",
            energy=float(rng.random()),
            valence=float(rng.random()),
            popularity=float(rng.integers(101)),
        )
        for number in range(30)
    ]
    data = dataset_of(
        plays=[
            play(f"u{rng.integers(1, 12):02d}", f"t{rng.integers(30) // 2:02d}", float(rng.uniform(0.1, 90)))
            for _ in range(120)
        ],
        tracks=[*tracks, {**track("unknown"), "name": None}],
        users=[account("u00", favorite_genres=["genre 1"]), account("u01", favorite_genres=["genre 2", "genre 3"])],
        settings=[{"user_id": "u00", "artists": ["artist 3"]}, {"user_id": "u02", "artists": ["artist 4"]}],
    )
    made = build_interactions(
        data.plays, data.feedback, (len(data.users), len(data.tracks)), as_of_ms=AS_OF, half_life_days=180.0
    )
    history = build_history(data, made)
    year = rng.integers(1990, 2020, 31).astype(float)
    year[30] = np.nan
    history = replace(history, catalog=replace(history.catalog, year=year))
    return history if stated else replace(history, stated=None)


def profiles_slowly(history: History, model: Content) -> dict[str, np.ndarray]:
    recent = history.recent(model.half_life, model.floor, model.strength).toarray().astype(np.float64)
    degree = np.maximum(history.degree, 1)
    found = {}
    for kind, features in named_features(history.catalog).items():
        sums = recent @ features.toarray()
        found[kind] = np.sign(sums) * np.abs(sums) ** DAMPING / np.sqrt(degree)[:, None]
    if history.stated is not None:
        for kind, said in (("artist", history.stated.artists), ("genre", history.stated.genres)):
            listed = said.toarray().astype(np.float64)
            many = np.maximum(listed.sum(axis=1, keepdims=True), 1)
            found[kind] = found[kind] + listed / np.sqrt(many * degree[:, None])
    for kind, features in felt_by_kind(history.catalog, model.seed).items():
        found[kind] = recent @ features / np.sqrt(degree)[:, None]
    return found


def scale_of(rows: np.ndarray) -> float:
    return float(np.sqrt(np.mean((rows**2).sum(axis=1) ** 2)))


def scores_slowly(history: History, model: Content, *, smoothed: bool) -> np.ndarray:
    """Scores before what is usual is taken off."""
    features = {kind: rows.toarray() for kind, rows in named_features(history.catalog).items()}
    features |= felt_by_kind(history.catalog, model.seed)
    profiles = profiles_slowly(history, model)
    share = {kind: getattr(model, kind) / scale_of(profiles[kind]) for kind in KINDS}
    raw = sum(share[kind] * profiles[kind] @ features[kind].T for kind in KINDS)
    recent = history.recent(model.half_life, model.floor, model.strength).toarray().astype(np.float64)
    heard = recent / np.sqrt(np.maximum(history.degree, 1))[:, None]
    if model.scores_heard:
        heard = np.sign(heard) * np.abs(recent) ** DAMPING / np.sqrt(np.maximum(history.degree, 1))[:, None]
        raw = raw + heard * model.heard / scale_of(heard)
    if smoothed:
        alike = heard @ heard.T * model.heard / scale_of(heard)
        alike = alike + sum(share[kind] * profiles[kind] @ profiles[kind].T for kind in KINDS)
        length = np.sqrt(np.maximum(np.diag(alike), 1e-9))
        alike = alike / length[:, None] / length[None, :]
        smoothing = alike @ np.linalg.inv(alike + model.ridge * np.eye(len(alike)))
        smoothing[np.diag_indices_from(smoothing)] *= model.own
        raw = smoothing @ raw
    raw = raw - raw.min(axis=1, keepdims=True)
    raw[:, 30] = 0.0  # of which nothing is known
    return raw


@pytest.mark.parametrize("kind", [Content, Kernel])
@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("smoothed", [True, False])
def test_scores_are_likeness_to_the_profile_smoothed_over_users_of_like_profiles(kind, stated, smoothed):
    history = rich_history(2, stated=stated)
    model = kind(**NO_LIFT, ridge=0.4, own=1.2, heard=1.5, smoothed_users=12 if smoothed else 3).fit(history)
    expected = scores_slowly(history, model, smoothed=smoothed)
    made = model.scores(np.arange(12))
    np.testing.assert_allclose(made, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())
    assert (made >= 0).all()


def test_what_is_usual_is_taken_off_and_more_so_of_tracks_without_listeners():
    history = rich_history(3)
    bare = Content(**NO_LIFT).fit(history).scores(np.arange(12)).astype(np.float64)
    usual = bare[history.degree > 0].sum(axis=0)
    usual /= usual[:30].mean()
    power = np.where(history.listeners > 0, 0.4, 0.9)
    made = Content(lift=0.4, cold_lift=0.9, appeal=0.0).fit(history).scores(np.arange(12))
    np.testing.assert_allclose(made, bare * np.maximum(usual, 1e-3) ** -power, rtol=1e-3, atol=1e-6)
    assert 5 < (history.listeners > 0).sum() < 20


def test_scores_rise_with_the_popularity_of_the_catalogue_and_what_is_unknown_counts_as_usual():
    history = rich_history(6)
    popularity = history.catalog.popularity.copy()
    popularity[[4, 9]] = np.nan
    history = replace(history, catalog=replace(history.catalog, popularity=popularity))
    bare = Content(**NO_LIFT).fit(history).scores(np.arange(12)).astype(np.float64)
    made = Content(**{**NO_LIFT, "appeal": 0.02}).fit(history).scores(np.arange(12))
    above = np.nan_to_num(popularity - np.nanmean(popularity))
    np.testing.assert_allclose(made, bare * np.exp(0.02 * above), rtol=1e-4)


def test_who_only_stated_a_taste_is_scored_by_it():
    history = rich_history(4)
    scores = Content(**NO_LIFT).fit(history).scores(np.array([0]))[0]
    assert history.degree[0] == 0
    best = np.argsort(-scores)[:3]
    assert {3, 10, 17, 24} & set(best.tolist())  # of the stated artist
    assert scores[30] == 0.0


def test_influence_is_likeness_to_the_tracks_by_their_worth_in_the_history():
    history = rich_history(5)
    model = Content(**NO_LIFT, title=0.0).fit(history)
    tracks = np.array([3, 8, 20])
    profiles = profiles_slowly(history, model)
    features = {kind: rows.toarray() for kind, rows in named_features(history.catalog).items()}
    features |= felt_by_kind(history.catalog, model.seed)
    kernel = sum(getattr(model, kind) / scale_of(profiles[kind]) * features[kind] @ features[kind].T for kind in KINDS)
    recent = history.recent(model.half_life, model.floor, model.strength).toarray().astype(np.float64)
    for user in range(12):
        heard = history.weights[user].indices
        expected = recent[user, heard] * kernel[heard][:, tracks].sum(axis=1)
        np.testing.assert_allclose(model.influence(user, tracks), expected, rtol=1e-3, atol=1e-5)


def test_another_seed_makes_other_waves():
    catalog = random_history(1).catalog
    one, other = (felt_by_kind(catalog, seed)["audio"] for seed in (1, 2))
    assert np.abs(one - other).max() > 0.01


def test_without_a_catalog_there_is_nothing_to_fit():
    with pytest.raises(ValueError, match="no catalogue"):
        Content().fit(history_of(sp.eye(3)))
