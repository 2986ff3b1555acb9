"""Features as they were known: the right release for each row, whatever the order of clocks, and nothing too early."""

import math
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from documents import BOUND, TWIN, TWIN_TEXT
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st
from timelines import EVERYTHING, hours, write_release

from features.errors import InputError, NotFoundError, StorageError
from features.release import offline
from features.release.historical import get_historical_features
from features.release.manifest import release_folder
from features.release.store import FeatureStore, open_feature_store
from features.schema.names import STRATEGIES

ENERGY = ["user_profile:energy_mean"]


def rows_at(*moments: Any, user: Any = "ann") -> list[dict[str, Any]]:
    return [{"user_id": user, "event_timestamp": moment} for moment in moments]


def energies(home: Path, rows: Any, **options: Any) -> list[float | None]:
    return get_historical_features(home, rows, ENERGY, **options).to_dict()["energy_mean"]


# --- which release


def test_a_release_applies_from_the_moment_that_both_its_clocks_have_come_to(tmp_path):
    write_release(tmp_path, 1, as_of=1, known_at=1)
    write_release(tmp_path, 2, as_of=2, known_at=5)
    write_release(tmp_path, 3, as_of=8, known_at=3)
    moments = [hours(0.99), hours(1), hours(4.99), hours(5), hours(7.99), hours(8), hours(100)]
    assert energies(tmp_path, rows_at(*moments)) == [None, 1, 1, 2, 2, 3, 3]


def test_the_newest_has_the_latest_as_of_then_known_at_then_build(tmp_path):
    write_release(tmp_path, 1, as_of=3, known_at=3, built_at=1)
    write_release(tmp_path, 2, as_of=1, known_at=6, built_at=9)  # a backfill: known later, of an earlier moment
    assert energies(tmp_path, rows_at(hours(2), hours(10))) == [None, 1]
    write_release(tmp_path, 4, as_of=3, known_at=4, built_at=0)
    write_release(tmp_path, 3, as_of=3, known_at=4, built_at=2)
    assert energies(tmp_path, rows_at(hours(3), hours(10))) == [1, 3]


def test_a_release_that_its_gate_stopped_counts_only_where_it_was_published_all_the_same(tmp_path):
    write_release(tmp_path, 1, as_of=1)
    write_release(tmp_path, 2, as_of=2, stopped=True)
    assert energies(tmp_path, rows_at(hours(9))) == [1]
    write_release(tmp_path, 3, as_of=3, stopped=True, gate=False)
    assert energies(tmp_path, rows_at(hours(9))) == [3]


def test_the_ttl_counts_back_from_the_row_and_not_from_now(tmp_path):
    write_release(tmp_path, 1, as_of=24)
    long_ago = [hours(24), hours(48), hours(48) + timedelta(microseconds=1)]
    found = get_historical_features(tmp_path, rows_at(*long_ago), ENERGY, ttl=timedelta(days=1), with_release=True)
    assert found.to_dict()["energy_mean"] == [1, 1, None]
    assert found.to_dict()["release"][1:] == ["2026-01-02-000001", None]
    assert (found.without_release, found.unknown) == (1, {"user_profile": 0})
    days = [hours(24) + timedelta(days=90), hours(24) + timedelta(days=91)]
    assert energies(tmp_path, rows_at(*days)) == [1, None]  # by default as long as documents are served
    assert energies(tmp_path, rows_at(*days, hours(24 * 50_000)), ttl=None) == [1, 1, 1]


def test_a_newer_release_hides_an_older_one_that_knew_the_user(tmp_path):
    """One release is one version of everything: who was erased or has gone is not looked up further back."""
    write_release(tmp_path, 1, as_of=1)
    write_release(tmp_path, 2, as_of=2, profiles={"bob": [7.0]})
    found = get_historical_features(tmp_path, rows_at(hours(1), hours(2)), ENERGY)
    assert found.to_dict()["energy_mean"] == [1, None]
    assert (found.unknown, found.without_release) == ({"user_profile": 1}, 0)


# --- against a join that is slow and plain


CLOCKS = st.integers(0, 8)
DIMENSIONS = ("energy_mean", "genre_pop", "genre_jazz")
USERS = ("ann", "bob", "oid:64b000000000000000000001", "64b000000000000000000001")


@st.composite
def releases(draw):
    named = draw(st.lists(st.sampled_from(DIMENSIONS), min_size=1, unique=True))
    known = draw(st.lists(st.sampled_from(USERS), unique=True))
    value = st.one_of(st.just(math.nan), st.integers(0, 99).map(float))
    return {
        "as_of": draw(CLOCKS),
        "known_at": draw(CLOCKS),
        "built_at": draw(st.integers(0, 2)),
        "dimensions": named,
        "profiles": {user: [draw(value) for _ in named] for user in known},
        "stopped": draw(st.booleans()),
        "gate": draw(st.booleans()),
    }


ROWS = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from([*USERS, "nobody", None]),
        "event_timestamp": st.integers(0, 20).map(lambda half_hours: hours(half_hours / 2)),
    }
)


def naive_join(made, drawn, row, ttl):
    """The release and the profile of one row, by looking at every release there is."""
    at = row["event_timestamp"]
    applying = [
        (manifest.as_of, manifest.known_at, manifest.built_at, manifest.id, content)
        for manifest, content in zip(made, drawn, strict=True)
        if manifest.as_of <= at and manifest.known_at <= at and not (content["stopped"] and content["gate"])
    ]
    if not applying:
        return None, None
    as_of, *_, release, content = max(applying, key=lambda entry: entry[:4])
    if ttl is not None and as_of < at - ttl:
        return None, None
    user = row["user_id"]
    if user == TWIN_TEXT and user not in content["profiles"]:
        user = f"oid:{user}"
    vector = content["profiles"].get(user)
    return release, None if vector is None else dict(zip(content["dimensions"], vector, strict=True))


@run_with(max_examples=60)
@given(
    st.lists(releases(), min_size=1, max_size=6),
    st.lists(ROWS, max_size=12),
    st.one_of(st.none(), st.integers(0, 10).map(lambda half_hours: timedelta(hours=half_hours / 2))),
)
def test_every_row_gets_what_a_naive_join_gives_it(drawn, rows, ttl):
    drawn = [
        {"as_of": 0, "known_at": 0, "dimensions": DIMENSIONS, "profiles": {}, "stopped": False, "gate": True},
        *drawn,
    ]
    with TemporaryDirectory() as folder:
        made = [write_release(Path(folder), number, **content) for number, content in enumerate(drawn)]
        asked = [f"user_profile:{name}" for name in DIMENSIONS]
        found = get_historical_features(Path(folder), rows, asked, ttl=ttl, with_release=True)
    expected = [naive_join(made, drawn, row, ttl) for row in rows]
    assert found.to_dict()["release"] == [release for release, _ in expected]
    for name in DIMENSIONS:
        values = [None if profile is None else profile.get(name) for _, profile in expected]
        assert repr(found.to_dict()[name]) == repr(values)  # NaN is NaN, and not null
    assert found.without_release == sum(release is None for release, _ in expected)
    assert found.unknown["user_profile"] == sum(release is not None and p is None for release, p in expected)


# --- everything a release holds


USERS_BUILT = ("ann", "bob", "cat", TWIN, TWIN_TEXT, "nobody", None)


def everyone() -> list[dict[str, Any]]:
    pairs = [(user, track) for user in USERS_BUILT for track in ("track-01", "track-16", "track-99")]
    return [{"user_id": user, "track_id": track, "event_timestamp": BOUND} for user, track in pairs]


def test_each_kind_of_feature_is_what_was_built(home, manifest):
    found = get_historical_features(home, everyone(), EVERYTHING, full_feature_names=True)
    built = {
        name: pq.read_table(release_folder(home, manifest.id) / f"{name}.parquet").to_pylist()
        for name in ("user_profile", "track_embedding", "similarity", "recommendations")
    }
    profiles, similar = ({row["user_id"]: row for row in built[name]} for name in ("user_profile", "similarity"))
    tracks = {row["track_id"]: row for row in built["track_embedding"]}
    lists = {(row["user_id"], row["strategy"]): row["track_ids"] for row in built["recommendations"]}
    for row, asked in zip(found.to_arrow().to_pylist(), everyone(), strict=True):
        user = f"oid:{TWIN}" if asked["user_id"] == TWIN else asked["user_id"]
        assert (row["user_id"], row["track_id"]) == (user, asked["track_id"])
        if user in profiles:
            vector = [row[f"user_profile__{name}"] for name in manifest.dimensions]
            assert repr(vector) == repr(profiles[user]["vector"])
            assert row["user_profile__confidence"] == profiles[user]["confidence"]
            assert row["similarity__neighbors"] == [entry["user_id"] for entry in similar[user]["neighbors"]]
            assert row["similarity__scores"] == [entry["jaccard"] for entry in similar[user]["neighbors"]]
        else:
            assert {value for name, value in row.items() if name.startswith(("user_profile", "similarity"))} == {None}
        track = tracks.get(asked["track_id"], {"vector": None, "confidence": None})
        assert row["track_embedding__vector"] == track["vector"]
        assert row["track_embedding__confidence"] == track["confidence"]
        for strategy in STRATEGIES:
            assert row[f"recommendations__{strategy}"] == lists.get((user, strategy))
    # three rows a user; the text twin has a list of what is popular and nothing else
    assert found.unknown == {
        "user_profile": 9,
        "track_embedding": 7,
        "similarity": 9,
        **{f"recommendations:{name}": 9 for name in ("hybrid", "collaborative", "content-based")},
        "recommendations:popular": 18,
    }
    assert found.without_release == 0


def test_digits_mean_the_text_user_where_anything_asked_is_known_of_them_and_never_both_in_a_row(home):
    rows = rows_at(BOUND, user=TWIN_TEXT)
    alone = get_historical_features(home, rows, ["user_profile:confidence"]).to_dict()["confidence"]
    assert (
        alone
        == get_historical_features(home, rows_at(BOUND, user=TWIN), ["user_profile:confidence"]).to_dict()["confidence"]
    )
    both = get_historical_features(home, rows, ["user_profile:confidence", "recommendations:popular"]).to_dict()
    assert both["confidence"] == [None]
    assert both["popular"][0]


def test_a_dimension_that_a_release_lacks_is_null_there_and_its_place_may_change(tmp_path):
    write_release(tmp_path, 1, as_of=1, dimensions=("genre_pop", "energy_mean"), profiles={"ann": [0.1, 0.2]})
    write_release(tmp_path, 2, as_of=2, dimensions=("energy_mean", "genre_jazz"), profiles={"ann": [0.3, 0.4]})
    found = get_historical_features(tmp_path, rows_at(hours(1), hours(2)), "user_profile:*")
    assert [
        (name, values) for name, values in found.to_dict().items() if name not in {"user_id", "event_timestamp"}
    ] == [
        ("energy_mean", [0.2, 0.3]),  # the newest release's first, in its order
        ("genre_jazz", [None, 0.4]),
        ("genre_pop", [0.1, None]),
    ]
    assert found.unknown == {"user_profile": 0}


def test_a_feature_of_no_release_on_disk_is_an_error_with_the_close_names(tmp_path):
    write_release(tmp_path, 1, dimensions=("genre_pop", "energy_mean"))
    write_release(tmp_path, 2, dimensions=("genre_rock",), stopped=True)
    with pytest.raises(
        NotFoundError, match=r"^unknown feature 'user_profile:genre_rock'; close to it: user_profile:genre_pop"
    ):
        get_historical_features(tmp_path, rows_at(hours(1)), ["user_profile:genre_rock"])


def test_a_large_file_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(offline, "BATCH_ROWS", 3)
    write_release(tmp_path, 1, profiles={f"user-{number}": [float(number)] for number in range(10)})
    rows = [{"user_id": f"user-{number}", "event_timestamp": hours(1)} for number in (9, 0, 10, 4, 9)]
    assert energies(tmp_path, rows) == [9, 0, None, 4, 9]


def test_lists_cut_by_the_parts_keep_to_their_owners(home, monkeypatch):
    asked = ["similarity:neighbors", "similarity:scores", "recommendations:hybrid", "track_embedding:vector"]
    whole = get_historical_features(home, everyone(), asked)
    monkeypatch.setattr(offline, "BATCH_ROWS", 1)
    assert get_historical_features(home, everyone(), asked).table.equals(whole.table)


# --- moments


def test_a_moment_may_be_written_in_many_ways(tmp_path):
    write_release(tmp_path, 1, as_of=12)
    berlin = timezone(timedelta(hours=1))
    noon = [
        hours(12),
        datetime(2026, 1, 1, 12),  # noqa: DTZ001 - a naive one is in UTC
        datetime(2026, 1, 1, 13, tzinfo=berlin),
        "2026-01-01T12:00:00Z",
        "2026-01-01 13:00+01:00",
        pd.Timestamp("2026-01-01 12:00"),
        date(2026, 1, 2),
    ]
    assert energies(tmp_path, rows_at(*noon)) == [1] * 7
    assert energies(tmp_path, rows_at("2026-01-01 12:59+01:00", date(2026, 1, 1))) == [None] * 2
    found = get_historical_features(tmp_path, rows_at(*noon), ENERGY).to_arrow()["event_timestamp"]
    assert found.type == pa.timestamp("us", tz="UTC")
    assert found.to_pylist() == [hours(12)] * 6 + [hours(24)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_column_of_moments_is_taken_in_any_unit_and_zone(tmp_path, unit):
    write_release(tmp_path, 1, as_of=12)
    for zone in (None, "UTC", "Asia/Tokyo", "+05:30"):
        moments = pa.array([hours(11), hours(12)], pa.timestamp(unit, tz=zone))
        table = pa.table({"user_id": ["ann", "ann"], "event_timestamp": moments})
        backed = table.to_pandas(types_mapper=pd.ArrowDtype)
        assert [energies(tmp_path, rows) for rows in (table, table.to_pandas(), backed)] == [[None, 1]] * 3


def test_nanoseconds_before_a_release_are_before_it(tmp_path):
    write_release(tmp_path, 1, as_of=12)
    noon = int(hours(12).timestamp()) * 10**9
    moments = pa.array([noon - 1, noon, noon + 1], pa.timestamp("ns", tz="UTC"))
    assert energies(tmp_path, pa.table({"user_id": ["ann"] * 3, "event_timestamp": moments})) == [None, 1, 1]
    early = pa.array([-1], pa.timestamp("ns"))  # before 1970 too
    made = get_historical_features(tmp_path, pa.table({"user_id": ["ann"], "event_timestamp": early}), ENERGY)
    assert made.to_arrow()["event_timestamp"].cast(pa.int64()).to_pylist() == [-1]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "is missing"),
        (pd.NaT, "is missing"),
        (float("nan"), "is missing"),
        ("yesterday", "is 'yesterday', no moment"),
        (1767225600, "is 1767225600, no moment"),
        ("", "is '', no moment"),
    ],
)
def test_a_moment_that_is_none_is_told_with_its_row(tmp_path, value, said):
    write_release(tmp_path, 1)
    rows = rows_at(hours(1), hours(1), value, value)
    remedy = "give a datetime, or a text such as 2026-03-01T08:30:00Z"
    for asked in (rows, pd.DataFrame({"user_id": "ann", "event_timestamp": [row["event_timestamp"] for row in rows]})):
        with pytest.raises(InputError, match=f"^event_timestamp of row 2 {said}; {remedy}$"):
            energies(tmp_path, asked)


def test_a_missing_moment_in_a_column_of_moments_is_told_with_its_row(tmp_path):
    write_release(tmp_path, 1)
    table = pa.table({"user_id": ["ann"] * 3, "event_timestamp": pa.array([hours(1), hours(1), None])})
    for asked in (table, table.to_pandas()):
        with pytest.raises(InputError, match=r"^event_timestamp of row 2 is missing;"):
            energies(tmp_path, asked)


def test_a_moment_beyond_what_can_be_told_is_no_moment(tmp_path):
    write_release(tmp_path, 1)
    table = pa.table({"user_id": ["ann"] * 2, "event_timestamp": pa.array([0, 2**60], pa.timestamp("s"))})
    with pytest.raises(
        InputError, match=r"^event_timestamp has a moment that microseconds can't tell; leave its row out$"
    ):
        energies(tmp_path, table)


# --- what is not there


def test_without_a_release_on_disk_there_is_one_clear_error(tmp_path):
    remedy = "run `echotune nightly` or `echotune backfill`"
    with pytest.raises(NotFoundError, match=f"^there is no release under .*releases; {remedy}$"):
        energies(tmp_path, rows_at(hours(1)))
    write_release(tmp_path, 1, stopped=True)
    with pytest.raises(NotFoundError, match=r"^there is no release under"):
        energies(tmp_path, rows_at(hours(1)))


def test_a_damaged_file_is_told_with_its_path_and_the_remedy(tmp_path):
    made = write_release(tmp_path, 1)
    path = release_folder(tmp_path, made.id) / "user_profile.parquet"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(
        StorageError, match=r"^.*user_profile.parquet can't be read \(.*\); remove its folder, build"
    ) as told:
        energies(tmp_path, rows_at(hours(1)))
    assert "\n" not in str(told.value)
    path.unlink()
    with pytest.raises(StorageError, match=r"user_profile.parquet can't be read"):
        energies(tmp_path, rows_at(hours(1)))


def test_rows_that_no_release_applies_to_read_no_file(tmp_path):
    made = write_release(tmp_path, 1, as_of=5)
    (release_folder(tmp_path, made.id) / "user_profile.parquet").unlink()
    assert energies(tmp_path, rows_at(hours(1))) == [None]


def test_no_rows_give_no_rows_with_all_columns(tmp_path):
    write_release(tmp_path, 1)
    for rows in ([], pd.DataFrame({"user_id": [], "event_timestamp": []})):
        found = get_historical_features(tmp_path, rows, ENERGY, with_release=True)
        assert found.to_arrow().num_rows == 0
        assert found.to_arrow().column_names == ["user_id", "event_timestamp", "release", "energy_mean"]
        assert (found.unknown, found.without_release) == ({"user_profile": 0}, 0)


def test_a_column_named_release_is_not_overwritten(tmp_path):
    write_release(tmp_path, 1)
    rows = [{"user_id": "ann", "event_timestamp": hours(1), "release": "mine"}]
    assert get_historical_features(tmp_path, rows, ENERGY).to_dict()["release"] == ["mine"]
    with pytest.raises(InputError, match="the rows have a column release already; rename it"):
        get_historical_features(tmp_path, rows, ENERGY, with_release=True)


# --- through the store


def test_a_store_reads_the_past_of_its_data_folder_whatever_it_has_pinned(settings, ready, publish, home, manifest):
    publish(manifest)
    asked = ["user_profile:confidence"]
    with pytest.raises(
        InputError, match=r"^historical features are read from disk; make the store with home=, the data"
    ):
        FeatureStore(ready).get_historical_features(rows_at(BOUND), asked)
    write_release(home, 5, as_of=9, dimensions=manifest.dimensions)
    found = FeatureStore(ready, home=home).get_historical_features(rows_at(hours(10), BOUND), asked, with_release=True)
    assert found.to_dict()["release"] == ["2026-01-06-000005", manifest.id]
    with open_feature_store() as store:  # takes the folder from the settings
        found = store.get_historical_features(
            rows_at(hours(10)), asked, ttl=timedelta(hours=2), full_feature_names=True
        )
        assert found.to_dict()["user_profile__confidence"] == [0.5]
        assert store.get_historical_features(rows_at(hours(10)), asked, ttl=timedelta(0)).without_release == 1
