"""User profiles: each dimension by hand, then what must hold for any world."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import AS_OF, DAY, account, evidence_of, play, random_world, said, shuffled, tables, track

from features.compute.profiles import Profiles, build_profiles
from features.schema.names import AUDIO_NAMES

THURSDAY = 7 * 2856 * DAY
"""A Thursday at midnight, in ms since 1970, which began on one."""


def profiles_of(world=None, top_genres: int = 24, **rows) -> Profiles:
    evidence = evidence_of(world or tables(**rows))
    data = evidence.dataset
    return build_profiles(evidence.interactions, data.plays, data.catalog, as_of_ms=AS_OF, top_genres=top_genres)


def dimension(profiles: Profiles, name: str, row: int = 0) -> float:
    return float(profiles.vectors[row, profiles.dimensions.index(name)])


def played_tracks(name: str, values: list[float | None]) -> dict:
    """One listener who completed each of some tracks once, today; the tracks differ in one audio feature."""
    return {
        "plays": [play("u", f"t{i}", 0.001) for i in range(len(values))],
        "tracks": [track(f"t{i}", **{name: value}) for i, value in enumerate(values)],
    }


def test_mean_and_spread_are_of_the_tracks_that_have_the_feature():
    made = profiles_of(**played_tracks("energy", [0.25, 0.75, None]))
    assert dimension(made, "energy_mean") == pytest.approx(0.5)
    assert dimension(made, "energy_spread") == pytest.approx(0.25)


def test_a_track_counts_by_its_weight():
    rows = played_tracks("energy", [0.0, 1.0])
    made = profiles_of(**rows, feedback=[said("u", "t1", "like", 0.001, 3)])  # weights 1 and 1 + 3
    assert dimension(made, "energy_mean") == pytest.approx(0.8, abs=1e-3)


def test_loudness_and_tempo_are_brought_beside_the_ratios():
    assert dimension(profiles_of(**played_tracks("loudness", [-6.0])), "loudness_mean") == pytest.approx(0.9)
    assert dimension(profiles_of(**played_tracks("tempo", [125.0])), "tempo_mean") == pytest.approx(0.5)
    assert dimension(profiles_of(**played_tracks("time_signature", [4.0])), "time_signature_mean") == 0.5


@pytest.mark.parametrize(
    ("keys", "mean"), [([11, 1], 0.0), ([0], 0.0), ([3], 0.25), ([9, 11], 10 / 12), ([5, 7, 6], 0.5)]
)
def test_keys_are_averaged_on_their_circle(keys, mean):
    assert dimension(profiles_of(**played_tracks("key", keys)), "key_mean") == pytest.approx(mean, abs=1e-9)


def test_keys_that_are_one_have_no_spread_and_opposite_ones_no_mean():
    same, opposite = (profiles_of(**played_tracks("key", keys)) for keys in ([4, 4], [0, 6]))
    assert dimension(same, "key_spread") == pytest.approx(0.0)
    assert math.isnan(dimension(opposite, "key_mean"))
    assert dimension(opposite, "key_spread") == pytest.approx(1.0)
    assert dimension(profiles_of(**played_tracks("key", [0, 3])), "key_spread") == pytest.approx(1 - math.sqrt(0.5))


def test_what_no_track_was_measured_for_is_undefined():
    made = profiles_of(plays=[play("u", "t", completion=None)])
    undefined = {name for name in made.dimensions if math.isnan(dimension(made, name))}
    audio = {f"{name}_{kind}" for name in AUDIO_NAMES for kind in ("mean", "spread")}
    assert undefined == audio | {"skip_rate", "completion_rate", "track_variety", "artist_variety"}


def test_who_only_skips_has_rhythm_and_rates_but_no_taste():
    made = profiles_of(plays=[play("u", "t", completion=0.0)], tracks=[track("t", "A", ["rock"], energy=0.5)])
    assert dimension(made, "skip_rate") == 1.0
    assert dimension(made, "plays_per_day_7d") == pytest.approx(1 / 7)
    for name in ("energy_mean", "genre_rock", "popularity_taste"):
        assert math.isnan(dimension(made, name))


def test_a_track_of_two_genres_is_half_each():
    made = profiles_of(
        plays=[play("u", "a"), play("u", "b"), play("u", "c")],
        tracks=[track("a", "A", ["rock", "jazz"]), track("b", "B", ["rock"]), track("c", "C")],
    )
    assert dimension(made, "genre_rock") == pytest.approx(0.75)
    assert dimension(made, "genre_jazz") == pytest.approx(0.25)
    assert "genre_other" not in made.dimensions


def test_the_genres_most_listeners_play_have_dimensions_and_the_rest_shares_one():
    rows = {
        "plays": [play("u", "a"), play("v", "a"), play("u", "b"), play("u", "c")],
        "tracks": [
            track("a", "A", ["rock"]),
            track("b", "B", ["zydeco"]),
            track("c", "C", ["jazz"]),
            track("d", "D", ["ska"]),
        ],
    }
    made = profiles_of(**rows, top_genres=2)
    assert [name for name in made.dimensions if name.startswith("genre_")] == [
        "genre_jazz",
        "genre_rock",
        "genre_other",
    ]
    assert dimension(made, "genre_other") == pytest.approx(1 / 3)
    assert dimension(made, "genre_other", row=1) == 0.0
    assert [name for name in profiles_of(**rows, top_genres=0).dimensions if "genre" in name] == ["genre_other"]


@pytest.mark.parametrize("top_genres", [0, 5])
def test_a_listener_of_no_genre_has_no_share_of_any(top_genres):
    made = profiles_of(
        plays=[play("u", "a")], tracks=[track("a", "A"), track("b", "B", ["rock"])], top_genres=top_genres
    )
    assert math.isnan(dimension(made, "genre_other"))


def test_genres_that_make_one_name_share_its_dimension():
    made = profiles_of(
        plays=[play("u", t) for t in "abcd"],
        tracks=[
            track("a", "A", ["hip hop"]),
            track("b", "B", ["hip_hop"]),
            track("c", "C", ["other"]),
            track("d", "D", ["x"]),
        ],
        top_genres=3,
    )
    assert [name for name in made.dimensions if name.startswith("genre_")] == ["genre_hip_hop", "genre_other"]
    assert dimension(made, "genre_hip_hop") == pytest.approx(0.5)
    assert dimension(made, "genre_other") == pytest.approx(0.5)


def test_hours_and_weekdays_are_shares_of_plays_in_utc():
    at = [THURSDAY, THURSDAY + 3_599_999, THURSDAY + 3_600_000, THURSDAY - 1]
    made = profiles_of(plays=[play("u", "t") | {"played_at": moment} for moment in at])
    assert [dimension(made, f"hour_{hour:02d}") for hour in (0, 1, 22, 23)] == [0.5, 0.25, 0.0, 0.25]
    assert dimension(made, "weekday_thursday") == 0.75
    assert dimension(made, "weekday_wednesday") == 0.25


def test_the_first_day_of_1970_was_a_thursday():
    made = profiles_of(plays=[play("u", "t") | {"played_at": 0}])
    assert dimension(made, "weekday_thursday") == 1.0


def test_rates_are_over_the_plays_something_is_known_of():
    made = profiles_of(
        plays=[play("u", "a", 1, 1.0), play("u", "a", 2, 0.5), play("u", "b", 3, 0.0), play("u", "b", 4, None)]
    )
    assert dimension(made, "skip_rate") == pytest.approx(1 / 3)
    assert dimension(made, "completion_rate") == pytest.approx(0.5)
    assert dimension(made, "repeat_rate") == pytest.approx(0.5)


def test_discovery_is_the_share_of_recent_tracks_never_played_before():
    old_and_new = [
        play("u", "old", 40),
        play("u", "old", 2),
        play("u", "new", 2),
        play("u", "new", 1),
        play("u", "edge", 30),
    ]
    made = profiles_of(plays=[*old_and_new, play("v", "old", 31)])
    assert dimension(made, "discovery_rate") == pytest.approx(2 / 3)
    assert math.isnan(dimension(made, "discovery_rate", row=1))


def test_variety_is_nothing_for_one_track_and_all_for_as_many_as_plays():
    made = profiles_of(
        plays=[
            *[play("all-one", "a")] * 4,
            *[play("each-other", t) for t in "abcd"],
            *[play("half", t) for t in "aabb"],
            play("single", "a"),
        ],
        tracks=[track(t, "One" if t in "ab" else "Two") for t in "abcd"],
    )
    tracks = [dimension(made, "track_variety", row) for row in range(4)]
    artists = [dimension(made, "artist_variety", row) for row in range(4)]
    assert tracks == pytest.approx([0.0, 1.0, 0.5, np.nan], nan_ok=True)
    assert artists == pytest.approx([0.0, 0.5, 0.0, np.nan], nan_ok=True)


def test_the_taste_for_the_popular_is_the_share_of_tracks_with_fewer_listeners():
    made = profiles_of(
        plays=[play("u", "hit"), play("v", "hit"), play("w", "hit"), play("w", "rare"), play("x", "rare2")]
    )
    assert [dimension(made, "popularity_taste", row) for row in range(4)] == pytest.approx([2 / 3, 2 / 3, 1 / 3, 0.0])


def test_activity_counts_the_plays_of_each_window():
    made = profiles_of(plays=[play("u", "t", days) for days in (1, 7, 8, 30, 31, 90, 91)])
    assert dimension(made, "plays_per_day_7d") == pytest.approx(2 / 7)
    assert dimension(made, "plays_per_day_30d") == pytest.approx(4 / 30)
    assert dimension(made, "plays_per_day_90d") == pytest.approx(6 / 90)


def test_figures_of_evidence():
    made = profiles_of(
        plays=[*[play("u", "a", 2.5)] * 19, play("u", "b", 1), play("v", "b", 1 / DAY)],
        tracks=[track("a", energy=0.5), track("b", energy=0.5)],
        users=[account("silent")],
    )
    assert made.users.tolist() == [1, 2]
    assert made.track_count.tolist() == [2, 1]
    assert made.history_days.tolist() == [3, 1]
    assert made.confidence == pytest.approx([0.5, 1 / 21])


def test_confidence_is_halved_where_no_track_has_audio():
    made = profiles_of(plays=[play("u", "a")] * 20)
    assert made.confidence == pytest.approx([0.25])


def test_without_plays_there_are_no_profiles():
    made = profiles_of(users=[account("a")], feedback=[said("b", "t", "like")])
    assert made.vectors.shape == (0, len(made.dimensions))
    assert len(made.users) == len(made.confidence) == len(made.history_days) == 0


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_in_any_world_shares_sum_to_one_and_everything_lies_where_it_should(seed):
    world = random_world(seed, plays=40)
    made = profiles_of(world, top_genres=2)
    assert len(set(made.dimensions)) == len(made.dimensions) == made.vectors.shape[1]
    assert made.users.tolist() == sorted(set(made.users.tolist()))
    assert ((made.confidence >= 0) & (made.confidence <= 1)).all()
    per_day = np.array([name.startswith("plays_per_day") for name in made.dimensions])
    values = made.vectors[:, ~per_day]
    assert ((values >= 0) & (values <= 1) | np.isnan(values)).all()
    for prefix in ("genre_", "hour_", "weekday_"):
        sums = made.vectors[:, [name.startswith(prefix) for name in made.dimensions]].sum(axis=1)
        assert sums[~np.isnan(sums)] == pytest.approx(1.0)
    assert not np.isnan(made.vectors[:, per_day]).any()


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_any_order_of_rows_makes_the_same_profiles(seed):
    world = random_world(seed, plays=40)
    one, other = profiles_of(world), profiles_of(shuffled(world, seed))
    assert one.dimensions == other.dimensions
    for name in ("users", "vectors", "confidence", "track_count", "history_days"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_of_users_make_the_same_profiles(block, monkeypatch):
    world = random_world(3, users=20, tracks=30, plays=400)
    whole = profiles_of(world)
    monkeypatch.setattr("features.compute.profiles.BLOCK_USERS", block)
    parts = profiles_of(world)
    assert parts.dimensions == whole.dimensions
    assert parts.vectors.tobytes() == whole.vectors.tobytes()
    assert parts.confidence.tobytes() == whole.confidence.tobytes()
