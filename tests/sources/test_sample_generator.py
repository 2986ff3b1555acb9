"""The sample: the same for the same seed, true to the contract, and with tastes that can be learned."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import scipy.sparse as sp

from features.errors import InputError
from features.schema.collections import LISTENING_HISTORY, TRACKS, USER_FEEDBACK, USERS
from features.schema.names import AUDIO_FEATURES
from features.sources.sample import SampleSpec, make_sample, write_sample

END = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def sample():
    return make_sample(SampleSpec(), end=END)


@pytest.fixture(scope="module")
def plays(sample):
    return sample.plays.to_pandas()


@pytest.fixture(scope="module")
def tracks(sample):
    return sample.tracks.to_pandas()


def test_the_same_seed_and_end_give_the_same_sample(sample):
    again, other = make_sample(SampleSpec(), end=END), make_sample(SampleSpec(seed=8), end=END)
    for name in ("plays", "feedback", "tracks", "users"):
        assert getattr(sample, name).equals(getattr(again, name))
    assert not sample.plays.equals(other.plays)


@pytest.mark.parametrize("spec", [SampleSpec(1, 1, 1, 0), SampleSpec(3, 2, 2, 1), SampleSpec(40, 9, 30, 2)])
def test_the_smallest_samples_can_be_made_too(spec):
    made = make_sample(spec, end=END)
    assert (made.users.num_rows, made.tracks.num_rows) == (spec.users, spec.tracks)


@pytest.mark.parametrize(
    "bounds", [{"users": 0}, {"tracks": 0}, {"days": 0}, {"seed": -1}, {"users": 1_000_000, "days": 3_650}]
)
def test_a_size_out_of_bounds_is_one_line(bounds):
    with pytest.raises(InputError, match="sample: "):
        SampleSpec(**bounds)


def test_everything_ends_before_the_end_and_plays_are_known_after_they_happened(sample, plays):
    start = END - timedelta(days=90)
    assert plays.played_at.min() >= start
    assert plays.played_at.max() < END
    assert plays.imported_at.max() < END
    assert sample.feedback.to_pandas().created_at.max() < END
    assert (plays.imported_at >= plays.played_at).all()
    late = plays.imported_at - plays.played_at > timedelta(days=1.1)
    assert 0.01 < late.mean() < 0.05


def test_listeners_return_skip_and_listen_in_the_evening(plays):
    assert 0.60 <= plays.duplicated(["user_id", "track_id"]).mean() <= 0.75
    skipped = (plays.play_ms / plays.duration_ms).dropna() < 0.28
    assert 0.05 < skipped.mean() < 0.20
    hours = plays.played_at.dt.hour.value_counts(normalize=True).sort_index()
    assert hours.loc[17:22].sum() > 0.45
    weekend = plays.played_at.dt.day_of_week >= 5
    assert weekend.mean() > 2 / 7 + 0.02
    assert plays.user_id.nunique() < 200


def test_the_catalog_is_readable_and_in_range(tracks, plays):
    assert tracks.name.is_unique
    assert tracks.track_id.is_unique
    assert tracks.track_id.str.fullmatch("[0-9A-Za-z]{22}").all()
    assert 0.08 < tracks.explicit.mean() < 0.18
    assert 0.02 < tracks.energy.isna().mean() < 0.07
    assert 0.03 < tracks.markets.notna().mean() < 0.10
    assert set(tracks.release_date.str.len()) == {4, 7, 10}
    assert tracks.release_date.str[:4].astype(int).between(1965, 2026).all()
    for feature in AUDIO_FEATURES:
        assert tracks[feature.name].dropna().between(feature.low, feature.high).all()
    by_genre = tracks.groupby(tracks.genres.str[0]).energy.mean()
    assert by_genre["ambient"] < 0.3
    assert by_genre["metal"] > 0.8
    unknown = ~plays.track_id.isin(tracks.track_id)
    assert unknown.sum() == 5
    never = 1 - plays[~unknown].track_id.nunique() / len(tracks)
    assert 0.01 < never < 0.08


def test_popularity_follows_the_plays(tracks, plays):
    count = tracks.track_id.map(plays.track_id.value_counts()).fillna(0)
    assert np.corrcoef(np.log1p(count), tracks.popularity)[0, 1] > 0.9
    top = count.sort_values(ascending=False)
    assert top.head(120).sum() > 0.3 * top.sum()  # a tenth of the tracks, a third of the plays


def test_feedback_follows_taste(sample, plays):
    feedback = sample.feedback.to_pandas()
    assert 0.03 < len(feedback) / len(plays) < 0.08
    share = feedback.play_ms / feedback.duration_ms
    liked = feedback.signal.isin(["like", "love", "save", "replay"])
    assert share[liked].mean() > share[~liked].mean() + 0.2
    assert 0.1 < feedback.strength.isna().mean() < 0.3


def test_neighbours_predict_new_tracks_far_better_than_popularity(plays, tracks):
    cut = plays.played_at.quantile(0.8)
    users, items = (
        plays.user_id.astype("category").cat.codes,
        plays.track_id.map(dict(zip(tracks.track_id, range(len(tracks)), strict=True))),
    )
    known = items.notna()

    def matrix(rows):
        found = sp.csr_matrix((np.ones(rows.sum()), (users[rows], items[rows].astype(int))), shape=(200, len(tracks)))
        return (found.toarray() > 0).astype(float)

    train, test = matrix(known & (plays.played_at < cut)), matrix(known & (plays.played_at >= cut))
    new = test * (1 - train)
    popular = train.sum(axis=0)
    together = train.T @ train / np.sqrt(np.outer(popular, popular) + 1e-9)
    np.fill_diagonal(together, 0)

    def found_in_50(scores):
        top = np.argsort(-np.where(train > 0, -np.inf, scores), axis=1)[:, :50]
        return np.take_along_axis(new, top, axis=1).sum() / new.sum()

    assert found_in_50(train @ together) > 2 * found_in_50(np.broadcast_to(popular, train.shape))


def test_a_written_sample_passes_the_validators_and_has_the_legacy_shapes(db, tmp_path):
    for collection in (USERS, TRACKS, LISTENING_HISTORY, USER_FEEDBACK):
        made = db.create_collection(collection.name, validator=collection.validator)
        for index in collection.indexes:
            if index.unique:
                made.create_index(list(index.keys), name=index.name, **index.options)
    small = make_sample(SampleSpec(users=60, tracks=300, days=30), end=END)
    first = write_sample(db, small, home=tmp_path, now=END)
    again = write_sample(db, small, home=tmp_path, now=END)
    for kind, totals in first.items():
        rows = getattr(small, kind).num_rows
        assert (totals.read, totals.imported, totals.set_aside) == (rows, rows, 0)
        assert again[kind].already_there == rows
    history = db.listening_history
    total = history.count_documents({})
    shares = {
        "percentage": history.count_documents({"playedPercentage": {"$gte": 0}}) / total,
        "no duration": history.count_documents({"playedPercentage": {"$gte": 0}, "playDuration": None}) / total,
        "created only": history.count_documents({"importedAt": None, "createdAt": {"$ne": None}}) / total,
        "own audio": history.count_documents({"audioFeatures": {"$ne": None}}) / total,
        "unknown": history.count_documents({"completionRate": None, "playedPercentage": None}) / total,
    }
    assert 0.12 < shares["percentage"] < 0.18
    assert 0.05 < shares["no duration"] < 0.10
    assert 0.003 < shares["created only"] < 0.02
    assert 0.03 < shares["own audio"] < 0.07
    assert 0 < shares["unknown"] < 0.02
    assert not history.count_documents({"completionRate": {"$gte": 0}, "playedPercentage": {"$gte": 0}})
    assert {type(user["userId"]).__name__ for user in db.users.find()} == {"str", "ObjectId"}
    assert db.users.count_documents({"preferences.explicitContent": False})
