"""Who has said what they like and played nothing: lists made of their own words."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import accepted, account, evidence_of, lists_of, play, random_world, said, tables, track

from features.recommend.ranked import RankedList
from features.recommend.stated import CLOSE, COLUMNS, has_stated, stated_scores

CATALOG = [
    track("jazz-1", "Nina", ["Jazz"], energy=0.2, valence=0.3, danceability=0.3),
    track("jazz-2", "Miles", ["jazz"], energy=0.8, valence=0.8, danceability=0.8),
    track("rock-1", "Nina", ["rock"], energy=0.9, valence=0.5, danceability=0.5),
    track("rock-2", "Axl", ["rock"], energy=0.85, valence=0.5, danceability=0.5, explicit=True),
    track("silent", None, []),
]
LISTENERS = [play(f"other-{n}", t) for n, t in enumerate(["jazz-1", "jazz-2", "rock-1", "rock-2", "rock-2"])]


def settings_of(user: str = "new", **stated) -> dict:
    return {"user_id": user, **stated}


def list_of(user: str = "new", **more) -> dict[str, tuple[RankedList, list[str]]]:
    world = tables(plays=LISTENERS + more.pop("plays", []), tracks=CATALOG, **more)
    evidence = evidence_of(world)
    number = evidence.dataset.users.ids().index(user)
    return {
        entry.strategy: (entry, [evidence.dataset.tracks[int(t)] for t in entry.tracks])
        for entry in lists_of(evidence)
        if entry.user == number
    }


def test_named_genres_and_artists_make_a_content_based_list_with_reasons_of_their_words():
    found = list_of(settings=[settings_of(genres=["JAZZ "], artists=["nina", "Nobody"])])
    entry, tracks = found["content-based"]
    assert set(found) == {"content-based"}
    assert tracks[0] == "jazz-1"  # genre and artist both
    assert set(tracks) == {"jazz-1", "jazz-2", "rock-1"}
    reasons = dict(zip(tracks, entry.reasons, strict=True))
    assert reasons["jazz-1"] == ["By Nina, an artist you named", "Jazz is among the genres you named"]
    assert reasons["jazz-2"] == ["Jazz is among the genres you named"]
    assert reasons["rock-1"] == ["By Nina, an artist you named"]
    assert entry.seeds == []
    assert 0 < entry.confidence < 1


def test_favourite_genres_of_the_account_count_as_well():
    _, tracks = list_of(users=[account("new", favorite_genres=["rock"])])["content-based"]
    assert set(tracks) == {"rock-1", "rock-2"}


def test_within_what_was_named_the_sound_asked_for_decides():
    _, tracks = list_of(settings=[settings_of(genres=["jazz"], energy=0.8)])["content-based"]
    assert tracks == ["jazz-2", "jazz-1"]


def test_a_sound_alone_is_enough_and_only_close_tracks_are_shown():
    entry, tracks = list_of(settings=[settings_of(energy=0.85, valence=0.5)])["content-based"]
    assert set(tracks) == {"rock-1", "rock-2"}
    assert all(reasons == ["Close in energy and mood to what you asked for"] for reasons in entry.reasons)


def test_what_must_not_be_shown_is_not_shown():
    found = list_of(
        settings=[settings_of(genres=["rock", "jazz"])],
        users=[account("new", explicit_content=False)],
        feedback=[said("new", "jazz-1", "dislike")],
    )
    assert set(found["content-based"][1]) == {"jazz-2", "rock-1"}


def test_words_that_no_track_has_leave_the_popular_list():
    assert set(list_of(settings=[settings_of(genres=["polka"], artists=["Nobody"])])) == {"popular"}
    assert set(list_of(users=[account("new")])) == {"popular"}


def test_who_has_played_something_gets_lists_of_that():
    found = list_of(settings=[settings_of(genres=["rock"])], plays=[play("new", "jazz-1")])
    for entry, _ in found.values():
        assert not any("you named" in reason for reasons in entry.reasons for reason in reasons)


def test_an_accepted_recommendation_counts_as_a_play_does():
    found = list_of(sessions=[accepted("new", "rock-1")])
    assert "rock-2" in found["content-based"][1]
    assert "popular" not in found


@pytest.mark.parametrize("stated", [{"genres": ["rock"]}, {"artists": ["Axl"]}, {"energy": 0.9}])
def test_scores_fall_with_distance_from_what_was_stated_and_never_rise_above_all_words_met(stated):
    evidence = evidence_of(tables(plays=LISTENERS, tracks=CATALOG, settings=[settings_of(**stated)]))
    new = np.array([evidence.dataset.users.ids().index("new")])
    scores = stated_scores(evidence, new)
    assert scores.shape == (1, 5)
    assert np.isneginf(scores[0, evidence.dataset.tracks.ids().index("silent")])
    assert "artists" in stated or scores.max() <= 1 + 1 + 0.5 + 0.1


def test_where_an_artist_is_named_the_likeness_of_content_orders_what_fits_and_lets_nothing_else_in():
    songs = [track(f"axl-{n}", "Axl", ["rock"], energy=0.5) for n in range(4)]
    songs += [track(f"nina-{n}", "Nina", ["rock"]) for n in range(2)] + [track("else", "Else", ["jazz"])]
    world = tables(
        plays=[play(f"fan-{n}", f"axl-{n}") for n in range(4)] + [play("fan-0", "nina-0"), play("fan-1", "nina-1")],
        tracks=songs,
        settings=[settings_of(genres=["rock"], artists=["Axl"])],
    )
    evidence = evidence_of(world)
    new = np.array([evidence.dataset.users.ids().index("new")])
    scores = dict(zip(evidence.dataset.tracks.ids(), stated_scores(evidence, new)[0], strict=True))
    assert np.isneginf(scores["else"])
    assert min(scores[f"axl-{n}"] for n in range(4)) > max(scores[f"nina-{n}"] for n in range(2))
    plain = stated_scores(replace(evidence, models={}), new)[0]
    assert np.isfinite(list(scores.values())).tolist() == np.isfinite(plain).tolist()
    assert sorted(scores.values()) != sorted(plain.tolist())


def fits_slowly(evidence, users):
    """(users, tracks): every feature, artist and genre laid out whole."""
    stated, catalog = evidence.dataset.stated, evidence.dataset.catalog
    genre = (stated.genres[users].astype(int) @ catalog.genres.T.astype(int)).toarray() > 0
    named = np.zeros((len(users), len(catalog.artist_names) + 1), bool)
    named[:, :-1] = stated.artists[users].toarray()
    artist = named[:, catalog.artist]
    apart = np.abs(catalog.audio[None, :, COLUMNS] - stated.audio[users][:, None, :])
    heard = ~np.isnan(apart)
    with np.errstate(invalid="ignore"):
        distance = np.where(heard, apart, 0.0).sum(axis=2) / np.where(heard.any(axis=2), heard.sum(axis=2), np.nan)
    words = np.diff(stated.genres[users].indptr) + named.sum(axis=1) > 0
    familiar = np.log1p(evidence.listeners) / np.log1p(evidence.listeners.max())
    scores = 1.0 * artist + 1.0 * genre + 0.5 * np.nan_to_num(1.0 - distance, nan=0.0) + 0.1 * familiar
    return np.where(np.where(words[:, None], genre | artist, distance <= CLOSE), scores, -np.inf)


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_every_word_and_feature_laid_out_whole(seed):
    rng = np.random.default_rng(seed)
    said = [
        {"genres": ["rock"], "artists": ["Artist 2"]},
        {"energy": float(rng.random()), "danceability": 0.5},
        {"genres": ["jazz", "ambient"], "valence": float(rng.random())},
        {"artists": ["Artist 1", "Artist 0"], "energy": 0.5},
    ]
    world = dict(random_world(seed, tracks=30))
    world["settings"] = tables(settings=[settings_of(f"new-{n}", **one) for n, one in enumerate(said)])["settings"]
    evidence = replace(evidence_of(world), models={})
    users = np.array([evidence.dataset.users.ids().index(f"new-{n}") for n in range(len(said))])
    assert has_stated(evidence, users).all()
    np.testing.assert_allclose(stated_scores(evidence, users), fits_slowly(evidence, users), rtol=1e-12)
