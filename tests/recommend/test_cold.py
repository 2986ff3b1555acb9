"""The ladder that newcomers climb, what is popular where, and places for tracks that nobody has played."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ranked_lists import by_user, ids_of, never_to_be_shown
from worlds import account, dataset_of, evidence_of, lists_of, play, random_world, tables, track

from features.recommend.cold import (
    FIRST_PLACES,
    HOME_LISTENERS,
    Exploration,
    Markets,
    exploration,
    new_reason,
)
from features.recommend.ranked import RankedList
from features.recommend.shape_kernels import best_new

SEEDS = st.integers(0, 10_000)
GERMANS, AMERICANS = [f"de-{n}" for n in range(4)], [f"us-{n}" for n in range(12)]
ACCOUNTS = [account(user, country="DE") for user in GERMANS] + [account(user, country="US") for user in AMERICANS]
HITS = [play(user, t) for user in GERMANS for t in ("schlager", "anthem")] + [
    play(user, t) for user in AMERICANS for t in ("country", "anthem")
]


def markets_of(**rows) -> tuple[Markets, list[str]]:
    evidence = evidence_of(tables(**rows))
    return Markets.of(evidence.dataset, evidence.interactions), evidence.dataset.tracks.ids()


def best_first(scores: np.ndarray, tracks: list[str]) -> list[str]:
    return [tracks[t] for t in np.argsort(-scores, kind="stable") if np.isfinite(scores[t])]


def exploring(share: float = 0.1, tracks: int = 60, users: int = 3, new: object = None, **more) -> Exploration:
    """Tracks 20 to 39 are new, unless told otherwise; everybody's chance is in the middle."""
    number = np.arange(tracks)
    fresh = (number >= 20) & (number < 40) if new is None else np.asarray(new)
    unknown = np.full(tracks, -1)
    return Exploration(share, fresh, more.pop("chance", np.full(users, 0.5)), more.pop("artist", unknown), **more)


def ranked(tracks: int = 60, k: int = 20, users: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Lists by number, and scores that fall with it."""
    return np.tile(np.arange(k, dtype=np.int32), (users, 1)), np.tile(-np.arange(float(tracks)), (users, 1))


# what is popular where


def test_a_country_of_few_is_drawn_to_what_is_popular_everywhere_by_the_formula():
    markets, tracks = markets_of(plays=HITS, users=ACCOUNTS)
    scores = dict(zip(tracks, markets.scores("DE"), strict=True))
    for name, here, all_ in (("schlager", 4, 4), ("country", 0, 12), ("anthem", 4, 16)):
        share = (here + HOME_LISTENERS * all_ / 16) / (4 + HOME_LISTENERS)
        assert scores[name] == pytest.approx(np.log1p(16 * share))


@pytest.mark.parametrize(("home_listeners", "first"), [(1e-9, "schlager"), (1.0, "schlager"), (1e9, "country")])
def test_how_many_listeners_a_country_needs_can_be_told(home_listeners, first):
    markets, tracks = markets_of(plays=HITS, users=ACCOUNTS)
    scores = markets.scores_of(["DE", "DE"], home_listeners)
    own = [t for t in best_first(scores[1], tracks) if t != "anthem"]
    assert own[0] == first
    np.testing.assert_array_equal(scores[0], markets.scores("DE", home_listeners))


def test_a_country_of_many_has_its_own_hits_first():
    many = [f"many-{n}" for n in range(250)]
    plays = [play(user, "schlager") for user in many] + [play(f"w-{n}", "country") for n in range(300)]
    markets, tracks = markets_of(plays=plays, users=[account(user, country="DE") for user in many])
    assert best_first(markets.scores("DE"), tracks) == ["schlager", "country"]
    assert best_first(markets.scores(None), tracks) == ["country", "schlager"]


@pytest.mark.parametrize("country", [None, "FR", "JP"])
def test_where_nobody_of_the_country_listens_it_is_what_is_popular_everywhere(country):
    markets, tracks = markets_of(plays=HITS, users=[*ACCOUNTS, account("alone", country="JP")])
    scores = dict(zip(tracks, markets.scores(country), strict=True))
    expected = {"anthem": np.log1p(16), "country": np.log1p(12), "schlager": np.log1p(4)}
    assert scores == pytest.approx(expected)
    assert not markets.speaks(country)


def test_what_nobody_plays_is_popular_nowhere():
    markets, tracks = markets_of(plays=HITS, users=ACCOUNTS, tracks=[track("unplayed", "A")])
    for country in ("DE", "US", None):
        assert "unplayed" not in best_first(markets.scores(country), tracks)


def test_how_often_somebody_plays_it_does_not_make_it_more_popular():
    once, _ = markets_of(plays=HITS, users=ACCOUNTS)
    often, _ = markets_of(plays=HITS + [play(GERMANS[0], "schlager") for _ in range(50)], users=ACCOUNTS)
    assert often.scores("DE").tolist() == once.scores("DE").tolist()


# the ladder


def step_of(**more) -> tuple[str, list[str], RankedList]:
    """What "new" gets: what it rests on, the tracks of the first list, and that list."""
    given_accounts = more.pop("users", [])
    given_plays = more.pop("plays", [])
    catalog = [track(t, t.title(), [genre]) for t, genre in (("schlager", "pop"), ("country", "folk"))]
    world = tables(
        plays=HITS + given_plays,
        users=ACCOUNTS + given_accounts,
        tracks=[*catalog, track("anthem", "Band", ["pop"]), track("waltz", "Band", ["pop"])],
        **more,
    )
    evidence, found = by_user(world)
    entries = found["new"]
    assert len({entry.basis for entry in entries.values()}) == 1
    entry = entries.get("hybrid") or next(iter(entries.values()))
    return entry.basis, ids_of(evidence, entry), entry


def test_the_ladder_falls_through_in_order():
    at_home, wants = account("new", country="DE"), {"user_id": "new", "genres": ["folk"]}
    assert step_of(users=[at_home], settings=[wants], plays=[play("new", "schlager")])[0] == "plays"
    assert step_of(users=[at_home], settings=[wants])[:2] == ("stated", ["country"])
    assert step_of(users=[at_home], settings=[{"user_id": "new", "genres": ["polka"]}])[0] == "market"
    assert step_of(users=[at_home])[0] == "market"
    assert step_of(users=[account("new", country="FR")])[0] == "popular"
    assert step_of(users=[account("new")])[0] == "popular"


def test_a_list_of_a_market_says_how_many_listen_there():
    _, tracks, entry = step_of(users=[account("new", country="DE")])
    reasons = dict(zip(tracks, entry.reasons, strict=True))
    assert reasons["schlager"] == ["Played by 4 listeners in DE", "Played by 4 listeners"]
    assert reasons["country"] == ["Played by 12 listeners"]
    assert entry.strategy == "popular"
    assert entry.explored == []


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_a_newcomer_is_never_shown_what_is_not_available_in_their_country(seed):
    world = random_world(seed)
    newcomers = [account(f"new-{country}", country=country) for country in ("DE", "US", "JP")]
    world["users"] = tables(users=[*world["users"].drop_columns("document_id").to_pylist(), *newcomers])["users"]
    evidence, found = by_user(world, k=50)
    for row in newcomers:
        never = never_to_be_shown(world, row["user_id"], include_heard=False)
        for entry in found.get(row["user_id"], {}).values():
            assert never.isdisjoint(ids_of(evidence, entry))
            assert entry.basis in ("market", "popular")


# places that explore


def test_each_stretch_of_a_list_gives_one_place_to_the_best_track_that_is_new_here():
    lists, values = ranked()
    found, given = exploring(0.1).into(lists, np.arange(3), values)
    # stretches 5-9, since the first five never explore, and 10-19; the chances .5 and .5 + .618 - 1
    assert found[0].tolist() == [*range(7), 20, *range(7, 10), 21, *range(10, 18)]
    assert np.flatnonzero(given[0]).tolist() == [7, 11]
    assert lists.tolist() == ranked()[0].tolist()


def test_the_first_places_never_explore():
    lists, values = ranked(users=50)
    found, given = exploring(0.5, users=50, chance=np.random.default_rng(1).random(50)).into(
        lists, np.arange(50), values
    )
    assert (found[:, :FIRST_PLACES] == lists[:, :FIRST_PLACES]).all()
    assert given.any(axis=1).all()


@pytest.mark.parametrize("share", [0.02, 0.03, 0.05, 0.1, 0.25, 0.5])
def test_the_share_is_kept_and_spread(share):
    k, users = 100, 200
    lists, values = ranked(400, k, users)
    made = exploring(share, 400, users, np.arange(400) >= k, chance=np.random.default_rng(0).random(users))
    found, given = made.into(lists, np.arange(users), values)
    count = given.sum(axis=1)
    assert (count <= k * share + 1e-9).all()
    assert (count >= np.floor(k * share) - np.ceil(FIRST_PLACES * share)).all()
    for row in given:
        assert max(b - a for a, b in pairwise([*np.flatnonzero(row), k])) <= 2 / share + 1
    assert all(len(set(row)) == k for row in found.tolist())
    assert len(set(map(tuple, np.argwhere(given).tolist()))) > users  # not everybody's at one place


def test_a_list_that_holds_as_many_new_tracks_already_stays_as_it_is():
    lists, values = ranked()
    found, given = exploring(0.1, new=np.arange(60) % 4 == 0).into(lists, np.arange(3), values)
    assert found.tolist() == lists.tolist()
    assert not given.any()


def test_a_new_track_from_further_down_goes_up_and_is_not_there_twice():
    lists, values = ranked()
    found, given = exploring(0.05, new=np.arange(60) == 18).into(lists, np.arange(3), values)
    place = int(np.flatnonzero(given[0])[0])
    assert found[0, place] == 18
    assert sorted(found[0].tolist()) == list(range(20))


def test_what_is_in_the_worse_half_or_must_not_be_listed_does_not_explore():
    lists, values = ranked()
    values[1:, 20:40] -= 99.0
    values[0, 20] = values[1, 21] = -np.inf
    values[2, 22] = -10.5
    found, given = exploring(0.1).into(lists, np.arange(3), values)
    assert found[0][given[0]].tolist() == [21, 22]
    assert found[1].tolist() == lists[1].tolist()
    assert found[2][given[2]].tolist() == [22]


def test_what_the_user_has_heard_is_not_new_to_them():
    lists, values = ranked()
    known = np.zeros(values.shape, bool)
    known[:, 20] = True
    found, given = exploring(0.1).into(lists, np.arange(3), values, known)
    assert found[0][given[0]].tolist() == [21, 22]


def test_an_empty_place_stays_empty_and_a_short_list_is_not_cut():
    lists, values = ranked()
    lists[0, 9:], lists[1, 3:] = -1, -1
    found, given = exploring(0.1).into(lists, np.arange(3), values)
    assert found[0].tolist() == [*range(7), 20, 7, 8, *[-1] * 10]
    assert found[1].tolist() == lists[1].tolist()
    assert not given[1].any()


def test_exploring_tracks_keep_the_limit_on_artists():
    lists, values = ranked()
    artist = np.full(60, -1)
    artist[[3, 4, 20]] = 7  # the new one would be the artist's third
    found, given = exploring(0.1, artist=artist, max_per_artist=2).into(lists, np.arange(3), values)
    assert found[0][given[0]].tolist() == [21, 22]
    found, given = exploring(0.1, artist=artist, max_per_artist=3).into(lists, np.arange(3), values)
    assert found[0][given[0]].tolist() == [20, 21]


@given(SEEDS, st.sampled_from([0.03, 0.1, 0.3, 0.5]), st.integers(0, 2), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_a_shorter_list_is_a_prefix_of_a_longer_one_and_nothing_stands_twice(seed, share, most, k):
    rng = np.random.default_rng(seed)
    users, tracks = 4, 60
    values = np.where(rng.random((users, tracks)) < 0.2, -np.inf, rng.normal(size=(users, tracks)))
    lists = np.argsort(-values, axis=1, kind="stable").astype(np.int32)
    lists[np.isneginf(np.take_along_axis(values, lists, axis=1))] = -1
    made = exploring(
        share,
        tracks,
        users,
        rng.random(tracks) < 0.4,
        chance=rng.random(users),
        artist=rng.integers(-1, 9, tracks),
        max_per_artist=most,
    )
    long, given_long = made.into(lists, np.arange(users), values)
    short, given_short = made.into(lists[:, :k], np.arange(users), values)
    assert short.tolist() == long[:, :k].tolist()
    assert given_short.tolist() == given_long[:, :k].tolist()
    assert not given_long[:, :FIRST_PLACES].any()
    for row, entry in enumerate(long):
        listed = entry[entry >= 0]
        assert sorted(listed.tolist()) == np.flatnonzero(np.isfinite(values[row])).tolist()
        explored = entry[given_long[row]]
        assert made.new[explored].all()
        assert all((values[row] > values[row, t]).sum() < np.isfinite(values[row]).sum() / 2 for t in explored)


def test_places_depend_on_the_id_and_the_seed_and_on_nobody_else():
    one, more = (dataset_of(plays=[play(user, "a") for user in users]) for users in (["u"], ["a", "u", "z"]))
    listeners = np.ones(1, int)
    alone, among = (
        exploration(world, listeners, share=0.1, seed=5, max_per_artist=0).places(np.array([number]), 100).tolist()
        for world, number in ((one, 0), (more, 1))
    )
    assert alone == among
    other = exploration(one, listeners, share=0.1, seed=6, max_per_artist=0)
    assert other.places(np.array([0]), 100).tolist() != alone
    assert exploration(one, listeners, share=0.0, seed=5, max_per_artist=0) is None


def test_new_is_what_nobody_or_one_has_played():
    world = dataset_of(plays=[play("u", t) for t in "abcd"])
    made = exploration(world, np.arange(4), share=0.1, seed=0, max_per_artist=0)
    assert made.new.tolist() == [True, True, False, False]


# in the lists of a release


def crowded() -> dict:
    """Fans of two bands who know a third of its forty songs each; six more of the one band nobody has played."""
    plays = [
        play(f"{band}-fan-{u:02d}", f"{band}-{n:02d}")
        for band in ("rock", "jazz")
        for u in range(12)
        for n in range(40)
        if (n * 7 + u * 5) % 12 < 4
    ]
    songs = [track(f"{band}-{n:02d}", band.title(), [band]) for band in ("rock", "jazz") for n in range(40)]
    return tables(plays=plays, tracks=songs + [track(f"new-{n}", "Rock", ["rock"]) for n in range(6)])


def test_a_place_of_a_hybrid_list_explores_is_flagged_and_says_so():
    evidence, found = by_user(crowded(), k=16, exploration=0.1)
    seen = 0
    for entries in found.values():
        entry = entries["hybrid"]
        assert entries["collaborative"].explored == entries["content-based"].explored == []
        assert (np.diff(entry.scores) <= 0).all()
        for number in entry.explored:
            place = entry.tracks.tolist().index(number)
            assert place >= FIRST_PLACES
            assert evidence.dataset.tracks[number].startswith("new-")
            assert entry.reasons[place][0] == "New here: nobody has played it yet"
            assert entry.scores[place] == entry.scores[place - 1]
            seen += 1
    assert seen > 0


def test_without_a_share_nothing_explores_and_the_others_keep_their_order():
    without, with_it = (by_user(crowded(), k=16, exploration=share)[1] for share in (0.0, 0.1))
    for user, entries in with_it.items():
        plain, entry = without[user]["hybrid"], entries["hybrid"]
        assert plain.explored == []
        kept = [t for t in entry.tracks.tolist() if t not in entry.explored]
        assert kept == [t for t in plain.tracks.tolist() if t not in entry.explored][: len(kept)]


@given(SEEDS, st.sampled_from([0.1, 0.5]), st.booleans(), st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_no_explored_track_is_one_that_must_not_be_shown(seed, share, include_heard, most):
    world = random_world(seed, tracks=30)
    evidence, found = by_user(world, k=25, exploration=share, include_heard=include_heard, max_per_artist=most)
    for user, entries in found.items():
        never = never_to_be_shown(world, user, include_heard=include_heard)
        heard = never_to_be_shown(world, user, include_heard=False)
        for entry in entries.values():
            assert never.isdisjoint(ids_of(evidence, entry))
            explored = {evidence.dataset.tracks[number] for number in entry.explored}
            assert heard.isdisjoint(explored)
            assert explored <= set(ids_of(evidence, entry))


def test_lists_are_the_same_each_time():
    evidence = evidence_of(crowded())
    once, again = (lists_of(evidence, k=16, exploration=0.1) for _ in range(2))
    assert [(e.user, e.strategy, e.tracks.tolist(), e.explored) for e in once] == [
        (e.user, e.strategy, e.tracks.tolist(), e.explored) for e in again
    ]


def test_reasons_of_new_tracks_count_listeners():
    assert new_reason(0) == "New here: nobody has played it yet"
    assert new_reason(1) == "New here: only one listener has played it yet"


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_what_may_explore_is_the_best_of_the_new_ones_in_the_better_half_within_the_limit_on_artists(seed):
    rng = np.random.default_rng(seed)
    rows, columns, count, most = 4, int(rng.integers(1, 25)), int(rng.integers(1, 5)), int(rng.integers(0, 3))
    values = np.where(rng.random((rows, columns)) < 0.2, -np.inf, rng.integers(0, 12, (rows, columns)).astype(float))
    new, artist = rng.random((rows, columns)) < 0.5, rng.integers(-1, 4, 40)
    of = np.stack([rng.permutation(40)[:columns] for _ in range(rows)]).astype(np.int32)
    found = np.empty((rows, count), np.int32)
    for some, stands_for in ((of, of), (np.zeros((0, 0), np.int32), np.tile(np.arange(columns), (rows, 1)))):
        best_new(values, new, artist, some, most, found)
        for row in range(rows):
            able, seen = [], Counter()
            for column in np.lexsort((np.arange(columns), -values[row])):
                who = artist[stands_for[row, column]]
                better = (values[row] > values[row, column]).sum() < np.isfinite(values[row]).sum() / 2
                if new[row, column] and better and (most == 0 or who < 0 or seen[who] < most):
                    able.append(int(column))
                seen[who] += 1
            assert found[row].tolist() == (able[:count] + [-1] * count)[:count]
