"""The knobs on lists: each by hand, each against its slow and obvious version, and all of them at random."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ranked_lists import by_user, ids_of, never_to_be_shown
from worlds import evidence_of, lists_of, random_world

from features.parameters import NightlyParameters, RecommendationParameters
from features.recommend import rerank
from features.recommend.blend import standardized
from features.recommend.rerank import GRID, Ranked, Shaper, standing

SEEDS = st.integers(0, 10_000)
OFF = {"max_per_artist": 0, "diversity": 0.0, "damping": 0.0, "rotation": 0.0, "discovery": 0.0, "exploration": 0.0}
KNOBS = st.fixed_dictionaries(
    {
        "max_per_artist": st.integers(0, 3),
        "diversity": st.sampled_from([0.0, 0.1, 0.5, 1.0]),
        "damping": st.sampled_from([0.0, 0.2, 2.0]),
        "rotation": st.sampled_from([0.0, 0.5, 3.0]),
        "discovery": st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]),
        "include_heard": st.booleans(),
    }
)


def shaper(tracks: int, users: int = 1, artist: Any = None, known: Any = None, **how: Any) -> Shaper:
    """One for tracks of unknown artists that nobody knows, all knobs off but those given."""
    return Shaper(
        RecommendationParameters(**(OFF | how)),
        np.full(tracks, -1) if artist is None else np.asarray(artist),
        np.zeros(tracks),
        sp.csr_matrix((users, tracks), dtype=bool) if known is None else sp.csr_matrix(np.asarray(known, bool)),
    )


def falling(tracks: int) -> np.ndarray:
    """One user's scores, best first."""
    return -np.arange(tracks, dtype=float)[None, :]


def listed(shape: Shaper, scores: np.ndarray, **how: Any) -> list[list[int]]:
    found = shape.lists("hybrid", np.arange(len(scores)), scores, **how)
    return [found.row(row)[0].tolist() for row in range(len(scores))]


def grid_vectors(rng: np.random.Generator, tracks: int, dimensions: int = 5) -> np.ndarray:
    vectors = rng.normal(size=(tracks, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[rng.random(tracks) < 0.2] = 0.0
    return (np.rint(vectors / GRID) * GRID).astype(np.float32)


def chance(seed: int, users: int = 3, tracks: int = 40, **how: Any) -> tuple[Shaper, np.ndarray]:
    """A shaper with everything in it, and scores with gaps and ties."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=(users, tracks)), 1)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    known = rng.random(scores.shape) < rng.choice([0.1, 0.5, 0.9])
    made = shaper(tracks, users, rng.integers(-1, 5, tracks), known, **how)
    if not made.how.include_heard:
        scores[known] = -np.inf
    last = sp.csr_matrix(np.where(rng.random(scores.shape) < 0.3, rng.random(scores.shape), 0.0))
    vectors = grid_vectors(rng, tracks) if made.how.diversity > 0 else None
    return replace(made, fame=rng.normal(size=tracks), vectors=vectors, last={"hybrid": last}), scores


def test_with_all_knobs_off_a_list_is_the_best_by_score_and_ties_go_to_the_lower_number():
    scores = np.array([[1.0, 3.0, -np.inf, 3.0, 2.0], [0.0, -np.inf, 5.0, -np.inf, 1.0]])
    assert listed(shaper(5, 2, k=4), scores) == [[1, 3, 4, 0], [2, 4, 0]]


def test_of_an_artist_only_the_best_few_are_listed_while_there_are_others():
    made = shaper(7, artist=[0, 0, 0, 1, -1, -1, -1], k=5, max_per_artist=2)
    assert listed(made, falling(7)) == [[0, 1, 3, 4, 5]]  # of unknown artists any number


def test_what_is_over_the_limit_fills_a_list_that_would_be_short():
    made = shaper(5, artist=[0, 0, 0, 0, 1], k=5, max_per_artist=1)
    assert listed(made, falling(5)) == [[0, 4, 1, 2, 3]]


def test_the_limit_reaches_behind_any_number_of_one_artists_tracks():
    tracks = 3000
    made = shaper(tracks, artist=[0] * 2990 + list(range(1, 11)), k=12, max_per_artist=1)
    assert listed(made, falling(tracks)) == [[0, *range(2990, 3000), 1]]


def test_what_is_like_a_track_further_up_goes_behind():
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], np.float32)
    made = replace(shaper(4, k=4, diversity=0.5), vectors=vectors)
    assert listed(made, np.array([[4.0, 3.9, 3.5, 1.0]])) == [
        [0, 2, 3, 1]
    ]  # a copy is worth nothing beside half its score
    mild = replace(made, how=made.how.model_copy(update={"diversity": 0.05}))
    assert listed(mild, np.array([[4.0, 3.9, 3.5, 1.0]])) == [[0, 1, 2, 3]]


def test_where_nothing_is_known_of_tracks_diversity_changes_nothing():
    made = replace(shaper(6, k=6, diversity=1.0), vectors=np.zeros((6, 3), np.float32))
    assert listed(made, falling(6)) == [[0, 1, 2, 3, 4, 5]]


def test_damping_lets_the_less_popular_go_first_but_not_in_lists_that_are_popularity():
    made = replace(shaper(3, k=3, damping=0.2), fame=np.array([2.0, 0.0, -1.0]))
    scores = np.array([[1.2, 1.1, 0.0]])
    assert listed(made, scores) == [[1, 0, 2]]
    assert listed(made, scores, damped=False) == [[0, 1, 2]]


def test_at_least_the_share_asked_for_is_new_at_every_length():
    made = shaper(20, known=[[True] * 14 + [False] * 6], k=10, include_heard=True, discovery=0.3)
    assert listed(made, falling(20)) == [[0, 1, 2, 14, 3, 4, 15, 5, 6, 16]]
    asked = made.how.model_copy(update={"discovery": 0.0})
    assert listed(replace(made, how=asked), falling(20)) == [list(range(10))]


def test_where_nothing_new_is_left_heard_tracks_fill_the_list():
    made = shaper(6, known=[[True] * 5 + [False]], k=6, include_heard=True, discovery=0.5)
    assert listed(made, falling(6)) == [[0, 5, 1, 2, 3, 4]]


def test_new_tracks_are_found_behind_any_number_of_heard_ones():
    known = np.ones((1, 3000), bool)
    known[0, 2995:] = False
    made = shaper(3000, known=known, k=10, include_heard=True, discovery=0.5)
    assert listed(made, falling(3000)) == [[0, 2995, 1, 2996, 2, 2997, 3, 2998, 4, 2999]]


def test_nothing_but_new_tracks_is_as_without_heard_ones():
    both = NightlyParameters.model_validate({"recommendations": {"include_heard": True, "discovery": 1.0}})
    assert both == NightlyParameters.model_validate({"recommendations": {"discovery": 1.0}})


def test_what_stood_in_the_last_list_gives_way_to_what_is_next():
    made = shaper(6, k=3, rotation=2.0)
    last = sp.csr_matrix(([standing(np.array(0))], ([0], [1])), shape=(2, 6))
    rested = replace(made, known=sp.csr_matrix((2, 6), dtype=bool), last={"hybrid": last})
    scores = np.repeat(np.array([[1.0, 5.0, 4.0, 3.0, 2.0, 0.0]]), 2, axis=0)
    assert listed(rested, scores) == [[2, 3, 4], [1, 2, 3]]  # the second has listened since
    popular = rested.lists("popular", np.arange(2), scores)
    assert popular.row(0)[0].tolist() == [1, 2, 3]  # another strategy's list is another list


def test_what_gives_way_keeps_its_score():
    last = sp.csr_matrix(([1.0], ([0], [1])), shape=(1, 4))
    made = replace(shaper(4, k=3, rotation=0.5), last={"hybrid": last})
    scores = np.array([[0.0, 5.0, 4.5, 1.0]])
    rested = made.lists("hybrid", np.array([0]), scores)
    best = replace(made, last={}).lists("hybrid", np.array([0]), scores)
    assert rested.tracks.tolist() == [[2, 1, 3]]
    # the second place holds the better track, and is written with no more than the first
    assert rested.scores.tolist() == [[best.scores[0, 1], best.scores[0, 1], best.scores[0, 2]]]


@given(SEEDS, st.sampled_from([0.5, 1.0, 3.0]))
@settings(max_examples=25, deadline=None)
def test_rotation_puts_no_track_in_for_one_much_better(seed, rotation):
    made, scores = chance(seed, k=8, rotation=rotation, include_heard=True)
    standard = standardized(scores)
    for row, tracks in enumerate(listed(made, scores)):
        best = np.sort(standard[row][np.isfinite(standard[row])])[::-1]
        left_out = np.setdiff1d(np.flatnonzero(np.isfinite(scores[row])), tracks)
        if len(left_out):
            assert standard[row][tracks].min() >= standard[row][left_out].max() - rotation * best[:100].std() - 1e-9


def test_a_place_a_screen_further_down_gives_way_half_as_far():
    assert standing(np.array([0, 10, 20])).tolist() == [1.0, 0.5, 0.25]


def slowly(made: Shaper, scores: np.ndarray, user: int) -> list[int]:
    """One user's list by the words of the documentation, track by track."""
    how, values = made.how, standardized(scores[user][None, :])

    def spread(row: np.ndarray) -> float:
        best = np.sort(row[np.isfinite(row)])[-100:]
        return float(best.std()) if len(best) else 0.0

    if how.damping > 0:
        values = standardized(values - how.damping * spread(values[0]) * made.fame)
    value = values[0]
    if how.rotation > 0:
        value = value - how.rotation * spread(value) * made.last["hybrid"][user].toarray()[0]
    order = sorted(np.flatnonzero(np.isfinite(value)).tolist(), key=lambda track: (-value[track], track))
    within, beyond, seen = [], [], dict.fromkeys(range(5), 0)
    for track in order:
        artist = int(made.artist[track])
        over = how.max_per_artist > 0 and artist >= 0 and seen[artist] >= how.max_per_artist
        (beyond if over else within).append(track)
        if artist >= 0:
            seen[artist] += 1
    known = made.known[user].toarray()[0] & how.include_heard

    def walked(ranked: list[int], gain: dict[int, float] | None) -> list[int]:
        queues = [[t for t in ranked if t in within], [t for t in ranked if t in beyond]]
        taken: list[int] = []
        while any(queues):
            queue = queues[0] or queues[1]
            new = [track for track in queue if not known[track]]
            owed = int(how.discovery * (len(taken) + 1) + 1e-9)
            choice = new if new and (~known[taken]).sum() < owed else queue
            best = choice[0] if gain is None else max(choice, key=lambda track: marginal(track, taken, gain))
            queue.remove(best)
            taken.append(best)
        return taken

    def marginal(track: int, taken: list[int], gain: dict[int, float]) -> float:
        assert made.vectors is not None
        likeness = max((float(made.vectors[track] @ made.vectors[other]) for other in taken), default=0.0)
        return (1 - how.diversity) * gain[track] - how.diversity * max(likeness, 0.0)

    ranked = walked(order, None)
    if made.vectors is None or not made.vectors.any() or not ranked:
        return ranked[: how.k]
    low, high = value[ranked].min(), value[ranked].max()
    gain = {track: (value[track] - low) / (high - low) if high > low else 0.0 for track in ranked}
    return walked(ranked, gain)[: how.k]


@given(SEEDS, KNOBS, st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_lists_are_those_of_a_slow_walk(seed, knobs, k):
    made, scores = chance(seed, k=k, **(knobs | {"diversity": 0.0}))
    for user, tracks in enumerate(listed(made, scores)):
        assert tracks == slowly(made, scores, user)


@given(SEEDS, KNOBS, st.sampled_from([0.1, 0.5, 0.9]))
@settings(max_examples=60, deadline=None)
def test_diverse_lists_are_those_of_a_slow_walk(seed, knobs, diversity):
    made, scores = chance(seed, k=8, **(knobs | {"diversity": diversity}))
    rng = np.random.default_rng(seed)
    scores += np.where(np.isfinite(scores), rng.uniform(0, 0.01, scores.shape), 0.0)  # without ties to the last bit
    for user, tracks in enumerate(listed(made, scores)):
        assert tracks == slowly(made, scores, user)


@given(SEEDS, KNOBS, st.integers(1, 30), st.integers(2, 50))
@settings(max_examples=80, deadline=None)
def test_a_shorter_list_is_a_prefix_of_a_longer_one_whatever_the_knobs(seed, knobs, short, long):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rerank, "WINDOW", 6)  # fewer candidates than there are tracks
        made, scores = chance(seed, k=max(short, long), **knobs)
        longer = made.lists("hybrid", np.arange(3), scores)
        how = made.how.model_copy(update={"k": min(short, long)})
        shorter = replace(made, how=how).lists("hybrid", np.arange(3), scores)
        for row in range(3):
            for one, other in zip(shorter.row(row), longer.row(row), strict=True):
                assert one.tolist() == other[: len(one)].tolist()
            assert len(shorter.row(row)[0]) == min(how.k, len(longer.row(row)[0]))


@given(SEEDS, KNOBS)
@settings(max_examples=40, deadline=None)
def test_each_users_list_is_the_same_alone_and_among_others(seed, knobs):
    made, scores = chance(seed, k=9, **knobs)
    together = made.lists("hybrid", np.arange(3), scores)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rerank, "GRAM_CELLS", 1)
        for user in range(3):
            alone = made.lists("hybrid", np.array([user]), scores[[user]])
            assert alone.tracks[0].tobytes() == together.tracks[user].tobytes()
            assert alone.scores[0].tobytes() == together.scores[user].tobytes()


@given(SEEDS, KNOBS)
@settings(max_examples=60, deadline=None)
def test_scores_fall_with_rank_and_none_is_above_the_tracks_own(seed, knobs):
    made, scores = chance(seed, k=30, **knobs)
    given_scores, found = scores.copy(), made.lists("hybrid", np.arange(3), scores)
    np.testing.assert_array_equal(scores, given_scores)
    plain = replace(made, how=made.how.model_copy(update=OFF | {"k": 40, "damping": made.how.damping}), vectors=None)
    own = plain.lists("hybrid", np.arange(3), scores)
    for row in range(3):
        tracks, written = found.row(row)
        assert len(set(tracks.tolist())) == len(tracks)
        assert np.isfinite(scores[row, tracks]).all()
        assert ((written >= 0) & (written <= 1)).all()
        assert (np.diff(written) <= 0).all()
        best = dict(zip(*(part.tolist() for part in own.row(row)), strict=True))
        assert all(score <= best[track] for track, score in zip(tracks.tolist(), written.tolist(), strict=True))


def test_where_nothing_may_be_listed_there_are_empty_lists():
    for knobs in ({}, {"max_per_artist": 1}, {"include_heard": True, "discovery": 0.5}, {"rotation": 1.0}):
        made, scores = chance(3, k=5, **knobs)
        assert listed(made, np.full_like(scores, -np.inf)) == [[], [], []]
        assert isinstance(made.lists("hybrid", np.zeros(0, int), scores[:0]), Ranked)


@given(SEEDS, KNOBS, st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_no_knob_lets_in_what_a_user_must_not_be_shown(seed, knobs, k):
    world = random_world(seed)
    evidence, found = by_user(world, k=k, **knobs)
    heard = knobs["include_heard"] and knobs["discovery"] < 1
    for user, entries in found.items():
        never = never_to_be_shown(world, user, include_heard=heard)
        for entry in entries.values():
            assert never.isdisjoint(ids_of(evidence, entry))
            assert len(set(entry.tracks.tolist())) == len(entry.tracks) == len(entry.reasons) <= k


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_lists_hold_as_many_tracks_with_any_knobs_as_with_none(seed):
    evidence = evidence_of(random_world(seed))
    plain = lists_of(evidence, k=9, **OFF, include_heard=True)
    shaped = lists_of(evidence, k=9, max_per_artist=1, diversity=0.5, damping=1.0, discovery=0.5, include_heard=True)
    for one, other in zip(plain, shaped, strict=True):
        assert (one.user, one.strategy, one.confidence) == (other.user, other.strategy, other.confidence)
        assert len(one.tracks) == len(other.tracks)


def test_likenesses_of_few_lists_are_held_at_once():
    rng = np.random.default_rng(1)
    cells = []
    made = replace(shaper(800, 200, k=100, diversity=0.3), vectors=grid_vectors(rng, 800, 16))
    with pytest.MonkeyPatch.context() as patch:
        picked = rerank._picked
        patch.setattr(rerank, "_picked", lambda *given: cells.append(given[2].size) or picked(*given))
        made.lists("hybrid", np.arange(200), rng.normal(size=(200, 800)))
    assert max(cells) <= rerank.GRAM_CELLS
    assert len(cells) > 1
