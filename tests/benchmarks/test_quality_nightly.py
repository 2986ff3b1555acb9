from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.quality.cases import TrackTable, first_listens_case, track_ids, user_ids
from benchmarks.quality.nightly import night, plays_of, served, tracks_of
from tests.benchmarks.listens import by_chance


def test_plays_end_when_they_are_told_to_and_keep_their_distances():
    split = first_listens_case("a", "A", by_chance()).test
    table = plays_of(split, datetime(2026, 11, 1, 12, tzinfo=UTC))
    assert table["played_at"].max() == datetime(2026, 11, 1, 12, tzinfo=UTC)
    moved = table["played_at"].astype("datetime64[ms, UTC]").astype(np.int64) - split.history.plays.played_at
    assert moved.nunique() == 1
    assert len(table) == len(split.dataset.plays)


def test_a_catalogue_to_import_names_genres_artist_and_year():
    made = by_chance()
    catalog = TrackTable({"released_at": [datetime(1999, 5, 1, tzinfo=UTC)] * made.tracks}).catalog(
        ["Somebody"] * made.tracks, [["b", "a"]] + [[]] * (made.tracks - 1)
    )
    split = first_listens_case("a", "A", made.__class__(**{**made.__dict__, "catalog_of": lambda _: catalog})).test
    row = tracks_of(split).to_dict("records")[0]
    assert row.pop("release_date") in ("1999-04-30", "1999-05-01", "1999-05-02")
    assert row == {
        "track_id": "track-0000000",
        "name": None,
        "artist": "Somebody",
        "album": None,
        "album_id": None,
        "genres": ["a", "b"],
    }


@pytest.mark.slow
@pytest.mark.timeout(900)  # three processes one after another, on machines that do other things
def test_what_a_night_published_is_read_back_from_the_database_as_it_was_built(quick_path):
    split = first_listens_case("a", "A", by_chance(users=40, items=60, rows=2000)).test
    recipes = night(split, quick_path)
    assert {"collaborative", "hybrid"} <= set(recipes)
    answers = served(split, quick_path / "home")
    built = pq.read_table(next((quick_path / "home" / "releases").glob("2*/recommendations.parquet"))).to_pylist()
    names, tracks = user_ids(split.relevant.shape[0]), np.array(track_ids(split.relevant.shape[1]))
    for strategy, answer in answers.items():
        expected = {row["user_id"]: row["track_ids"] for row in built if row["strategy"] == strategy}
        assert len(answer.lists) == len(split.users) > 20
        for user, row in zip(split.users, answer.lists, strict=True):
            assert tracks[row[row >= 0]].tolist() == expected[names[user]][:100]
            assert not set(row.tolist()) & set(split.history.weights[user].indices.tolist())
