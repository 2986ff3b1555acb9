"""A snapshot's tables as numbered arrays: the cut in time, the accounts, and tables that are empty."""

import numpy as np
import pyarrow as pa
import pytest
from worlds import AS_OF, DAY, accepted, account, dataset_of, play, random_world, said, tables, track

from features.compute.dataset import build_dataset

FAR_FUTURE = 10 * AS_OF


def test_rows_become_numbers_in_the_order_of_the_ids():
    data = dataset_of(
        plays=[play("bob", "t2", 3, 0.5), play("ann", "t1", 2, None)], feedback=[said("bob", "t1", "love", 1, 4)]
    )
    assert data.users.ids() == ["ann", "bob"]
    assert data.tracks.ids() == ["t1", "t2"]
    assert data.plays.user.tolist() == [0, 1]
    assert data.plays.track.tolist() == [0, 1]
    assert data.plays.completion[1] == 0.5
    assert np.isnan(data.plays.completion[0])
    assert data.feedback.signal.tolist() == ["love"]
    assert data.feedback.strength.tolist() == [4.0]
    assert (data.feedback.user[0], data.feedback.track[0]) == (1, 0)


def test_what_happens_at_the_moment_or_later_is_left_out_and_counted():
    data = dataset_of(
        plays=[
            play("ann", "before") | {"played_at": AS_OF - 1},
            play("ann", "at") | {"played_at": AS_OF},
            play("zoe", "after") | {"played_at": AS_OF + 1},
        ],
        feedback=[
            said("ann", "rated", "like") | {"created_at": AS_OF - 1},
            said("yan", "rated-later", "like") | {"created_at": AS_OF},
        ],
    )
    assert data.plays.played_at.tolist() == [AS_OF - 1]
    assert data.feedback.created_at.tolist() == [AS_OF - 1]
    assert data.later == {"plays": 2, "feedback": 1, "acceptances": 0}
    assert data.users.ids() == ["ann"]
    assert data.tracks.ids() == ["before", "rated"]


def test_a_play_after_the_moment_says_nothing_of_its_track():
    plays = [play("ann", "t", 2), play("ann", "t", -2, energy=0.5, track_name="Later")]
    data = dataset_of(plays=plays)
    assert np.isnan(data.catalog.audio).all()
    assert data.catalog.names[0] is None


def test_everyone_with_an_account_or_settings_is_a_user():
    data = dataset_of(plays=[play("p", "t")], users=[account("a")], settings=[account("s")])
    assert data.users.ids() == ["a", "p", "s"]


def test_the_string_and_the_object_id_of_the_same_digits_are_two_users():
    digits = "64b000000000000000000001"
    data = dataset_of(
        plays=[play(digits, "t1"), play(f"oid:{digits}", "t2")],
        users=[account(digits, explicit_content=False), account(f"oid:{digits}", country="DE")],
    )
    assert data.users.ids() == [digits, f"oid:{digits}"]
    assert data.plays.user.tolist() == [0, 1]
    assert data.explicit_allowed.tolist() == [False, True]
    assert data.country.tolist() == [None, "DE"]


def test_only_a_plain_no_switches_explicit_tracks_off():
    accounts = [account("a", explicit_content=False), account("b", explicit_content=True), account("c")]
    data = dataset_of(users=accounts, plays=[play("d", "t")])
    assert data.explicit_allowed.tolist() == [False, True, True, True]


def test_an_empty_country_is_unknown():
    data = dataset_of(users=[account("a", country=""), account("b", country="US"), account("c")])
    assert data.country.tolist() == [None, "US", None]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_of_two_accounts_with_one_id_any_no_and_the_later_country_count_in_any_order(order):
    rows = [
        account("a", document_id="1", country="DE", explicit_content=False),
        account("a", document_id="2", country="US", explicit_content=True),
        account("a", document_id="3"),
    ]
    data = dataset_of(users=[rows[i] for i in order])
    assert data.explicit_allowed.tolist() == [False]
    assert data.country.tolist() == ["US"]


@pytest.mark.parametrize("emptied", ["plays", "feedback", "tracks", "users", "settings"])
def test_any_table_may_be_empty(emptied):
    world = random_world(1)
    world[emptied] = world[emptied].slice(0, 0)
    data = build_dataset(world, as_of_ms=AS_OF)
    assert len(data.explicit_allowed) == len(data.country) == len(data.users)
    assert data.catalog.audio.shape == (len(data.tracks), 12)


def test_all_tables_may_be_empty():
    data = dataset_of()
    assert len(data.users) == len(data.tracks) == len(data.plays) == len(data.feedback) == 0
    assert data.catalog.genres.shape == (0, 0)
    assert data.later == {"plays": 0, "feedback": 0, "acceptances": 0}


def test_tables_in_many_chunks_are_read_as_one():
    world = random_world(2)
    chunked = {
        name: pa.concat_tables([t.slice(i, 7) for i in range(0, t.num_rows + 7, 7)]) for name, t in world.items()
    }
    assert chunked["plays"]["user_id"].num_chunks > 5
    one, other = build_dataset(world, as_of_ms=AS_OF), build_dataset(chunked, as_of_ms=AS_OF)
    for column in ("user", "track", "played_at", "completion"):
        np.testing.assert_array_equal(getattr(one.plays, column), getattr(other.plays, column))
    np.testing.assert_array_equal(one.catalog.audio, other.catalog.audio)


def test_tables_are_not_changed():
    world = random_world(3)
    before = {name: table.to_pylist() for name, table in world.items()}
    build_dataset(world, as_of_ms=FAR_FUTURE)
    for name, rows in before.items():
        assert repr(world[name].to_pylist()) == repr(rows)


def test_a_dataset_says_how_large_it_is():
    data = build_dataset(tables(plays=[play("a", "t")], tracks=[track("u")]), as_of_ms=AS_OF)
    assert repr(data) == "Dataset(1 users, 2 tracks, 1 plays)"


def test_an_accepted_recommendation_is_a_like_of_strength_four():
    data = dataset_of(sessions=[accepted("ann", "t1", "t2")], acceptances=[accepted("bob", "t3", days_ago=2)])
    assert data.users.ids() == ["ann", "bob"]
    assert data.tracks.ids() == ["t1", "t2", "t3"]
    rows = sorted(zip(data.feedback.user, data.feedback.track, data.feedback.created_at, strict=True))
    assert rows == [(0, 0, AS_OF - DAY), (0, 1, AS_OF - DAY), (1, 2, AS_OF - 2 * DAY)]
    assert data.feedback.signal.tolist() == ["like"] * 3
    assert data.feedback.strength.tolist() == [4.0] * 3


def test_one_acceptance_told_by_a_chat_and_an_event_counts_once_at_its_latest():
    data = dataset_of(
        sessions=[accepted("ann", "t1", "t1", days_ago=3)], acceptances=[accepted("ann", "t1", days_ago=2)]
    )
    assert data.feedback.created_at.tolist() == [AS_OF - 2 * DAY]


def test_an_acceptance_at_the_moment_is_left_out_and_a_session_without_any_says_nothing():
    data = dataset_of(
        sessions=[accepted("ann", "t1", days_ago=0), {"user_id": "zoe", "track_ids": [], "accepted_at": None}],
        acceptances=[{"user_id": "zoe", "track_ids": None, "accepted_at": None}],
    )
    assert len(data.feedback) == 0
    assert data.users.ids() == []
    assert data.later["acceptances"] == 1


def test_stated_taste_is_matched_to_the_catalogue_whatever_its_case():
    data = dataset_of(
        tracks=[track("t1", "Nina", ["Soul Jazz"]), track("t2", "Axl", ["rock"])],
        settings=[{"user_id": "ann", "genres": ["soul JAZZ", "polka"], "artists": [" axl"], "energy": 0.25}],
        users=[account("ann", favorite_genres=["rock"]), account("bob")],
    )
    genres, artists = data.catalog.genre_names.ids(), data.catalog.artist_names.ids()
    assert [genres[g] for g in data.stated.genres[0].indices] == ["rock", "soul jazz"]
    assert [artists[a] for a in data.stated.artists[0].indices] == ["Axl"]
    assert data.stated.audio[0, 0] == 0.25
    assert np.isnan(data.stated.audio[0, 1:]).all()
    assert data.stated.genres[1].nnz == data.stated.artists[1].nnz == 0


def test_of_markets_case_does_not_count_and_an_empty_list_is_unknown():
    data = dataset_of(
        tracks=[track("t1", markets=["de", "Us"]), track("t2", markets=[])], users=[account("ann", country=" de ")]
    )
    assert data.catalog.markets.tolist() == [frozenset({"DE", "US"}), None]
    assert data.country.tolist() == ["DE"]


def test_a_play_without_completion_is_measured_by_the_catalogues_duration():
    data = dataset_of(
        plays=[
            play("ann", "t1", 5, None, play_ms=50_000.0),
            play("ann", "t1", 4, 0.9, play_ms=50_000.0),  # what it says itself counts
            play("ann", "t1", 3, None, play_ms=900_000.0),
            play("ann", "t1", 2, None),
            play("ann", "t2", 1, None, play_ms=50_000.0),
            play("ann", "t3", 1, None, play_ms=50_000.0),
        ],
        tracks=[track("t1", duration_ms=200_000.0), track("t2", duration_ms=0.0), track("t3")],
    )
    order = np.argsort(data.plays.played_at, kind="stable")
    np.testing.assert_allclose(data.plays.completion[order], [0.25, 0.9, 1.0, np.nan, np.nan, np.nan])


def test_artists_that_differ_in_case_alone_are_two_and_stated_tastes_have_a_column_for_each():
    dataset = dataset_of(
        tracks=[track("a", "AJR"), track("b", "ajr")], settings=[{"user_id": "u", "artists": ["ajr"], "genres": []}]
    )
    assert len(dataset.catalog.artist_names) == 2
    assert dataset.stated.artists.shape == (1, 2)
    assert dataset.stated.artists.nnz == 1
