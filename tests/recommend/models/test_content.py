"""The content kernel against likenesses worked out pair by pair."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from worlds import dataset_of, play, track

from features.compute.embeddings import standardized_audio
from features.recommend.history import history_of
from features.recommend.models.content import (
    AUDIO_WIDTH,
    YEAR_WIDTH,
    Content,
    audio_waves,
    named_features,
    year_waves,
)
from features.schema.names import AUDIO_NAMES
from tests.recommend.models.histories import random_history

ONE_KIND = {"artist": 0.0, "album": 0.0, "genre": 0.0, "title": 0.0, "audio": 0.0, "year": 0.0, "lift": 0.0}


def catalog_of(*rows):
    return dataset_of(plays=[play("u", rows[0]["track_id"])], tracks=rows).catalog


CATALOG = catalog_of(
    {**track("a", "Abba", ["pop", "disco"], album="Gold"), "name": "Waterloo"},
    {**track("b", "Abba", ["pop"], album="Gold"), "name": "Dancing Queen"},
    {**track("c", "Queen", ["rock"], album="Gold"), "name": "Killer Queen"},
    {**track("d", "Queen", ["rock", "pop"], album="Jazz"), "name": "Mustapha (live)"},
    {**track("e"), "name": None},
)


def likeness(**shares) -> np.ndarray:
    """(tracks, tracks): what a listener of the track of a row alone is scored."""
    model = Content(**{**ONE_KIND, **shares}).fit(history_of(sp.eye(5), CATALOG))
    return model.scores(np.arange(5))


def test_tracks_of_one_artist_are_alike():
    expected = np.zeros((5, 5))
    expected[:2, :2] = expected[2:4, 2:4] = 1.0
    np.testing.assert_allclose(likeness(artist=1.0), expected, atol=1e-6)
    np.testing.assert_allclose(likeness(artist=2.5), 2.5 * expected, atol=1e-5)


def test_albums_of_one_name_by_two_artists_are_two():
    expected = np.diag([1.0, 1.0, 1.0, 1.0, 0.0])
    expected[0, 1] = expected[1, 0] = 1.0
    np.testing.assert_allclose(likeness(album=1.0), expected, atol=1e-6)


def test_genres_in_common_count_by_rarity_and_what_no_other_track_has_says_nothing():
    pop, rock = math.log(5 / 3), math.log(5 / 2)  # disco is of one track
    rows = np.array([[pop, 0], [pop, 0], [0, rock], [pop, rock], [0, 0]])
    length = np.maximum(np.linalg.norm(rows, axis=1), 1e-9)
    np.testing.assert_allclose(likeness(genre=1.0), (rows / length[:, None]) @ (rows / length[:, None]).T, atol=1e-6)


def test_words_of_titles_in_common_count_likewise():
    made = likeness(title=1.0)
    assert made[1, 2] == pytest.approx(1.0)  # "queen" is the only word that two have
    assert np.count_nonzero(made > 1e-6) == 4
    assert named_features(CATALOG)["title"].shape[0] == 5


def test_sound_and_year_are_gaussians_of_the_distance_and_unknown_is_like_nothing():
    rng = np.random.default_rng(5)
    history = random_history(1, tracks=40)
    audio = history.catalog.audio.copy()
    audio[7] = np.nan
    audio[8, 0] = np.nan  # one feature missing counts as average
    year = rng.integers(1960, 2026, 40).astype(float)
    year[9] = np.nan
    catalog = replace(history.catalog, audio=audio, year=year)
    for waves, values, width, unknown in (
        (audio_waves(catalog, 1), standardized_audio(audio), AUDIO_WIDTH, 7),
        (year_waves(catalog, 1), year[:, None], YEAR_WIDTH, 9),
    ):
        distance = np.linalg.norm(values[:, None, :] - values[None, :, :], axis=2)
        expected = np.exp(-(distance**2) / (2 * width**2))
        expected[unknown] = expected[:, unknown] = 0.0
        error = np.abs(waves @ waves.T - expected)
        # the mean of so many waves is off by their root
        assert error.mean() < 1.0 / np.sqrt(waves.shape[1])
        assert error.max() < 5.0 / np.sqrt(waves.shape[1])
        assert not (waves @ waves.T)[unknown].any()


def test_scores_are_summed_likeness_to_the_history_and_the_kinds_add_up():
    history = random_history(2, silent=1, refused=20)
    year = np.random.default_rng(3).integers(1990, 2020, 40).astype(float)
    history = replace(history, catalog=replace(history.catalog, year=year))
    shares = {"artist": 1.1, "album": 0.6, "genre": 0.5, "title": 0.2, "audio": 0.4, "year": 0.3}
    kernel = np.zeros((40, 40))
    for name, features in named_features(history.catalog).items():
        kernel += shares[name] * (features @ features.T).toarray()
    for name, waves in (("audio", audio_waves), ("year", year_waves)):
        rows = waves(history.catalog, 9)
        kernel += shares[name] * rows @ rows.T
    scored = history.recent(50.0, 0.2, 0.6).toarray().astype(np.float64)
    raw = scored @ kernel
    for lift in (0.0, 0.5):
        model = Content(**shares, lift=lift, half_life=50.0, floor=0.2, strength=0.6, seed=9).fit(history)
        mean = raw.sum(axis=0)
        expected = raw * np.maximum(mean / mean.mean(), 0.05) ** -lift
        np.testing.assert_allclose(model.scores(np.arange(30)), expected, rtol=1e-3, atol=2e-4)


def test_another_seed_makes_other_waves_of_the_same_kernel():
    catalog = random_history(1).catalog
    one, other = audio_waves(catalog, 1), audio_waves(catalog, 2)
    assert np.abs(one - other).max() > 0.01
    assert np.abs(one @ one.T - other @ other.T).mean() < 0.1
    assert len(AUDIO_NAMES) == catalog.audio.shape[1]


def test_without_a_catalog_there_is_nothing_to_fit():
    with pytest.raises(ValueError, match="no catalogue"):
        Content().fit(history_of(sp.eye(3)))
