"""One snapshot after another is what one whole snapshot would be, whatever has happened in between; and costs less."""

import filecmp
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import bson
import pyarrow.parquet as pq
import pytest
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from documents import BOUND, SMALL, play
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nights import KEY, MINUTE, STEPS, WITH_PLAYS, World, assert_same, fill, is_later

from features.erasure import files
from features.release.build import build_release
from features.release.manifest import release_folder
from features.snapshot import books, plays, spans, stored, take
from features.snapshot.fields import PLAYS
from features.snapshot.read import CAREFUL_CODEC, OTHER_ID, id_text
from features.snapshot.spans import joined
from features.snapshot.stored import Part, Snapshot, Span
from features.snapshot.take import SAFETY_LAG, take_snapshot

NIGHTS = st.lists(
    st.tuples(
        st.integers(1, 60),
        st.lists(st.tuples(st.sampled_from(WITH_PLAYS), st.integers(0, 10_000)), max_size=12),
    ),
    min_size=2,
    max_size=5,
)


def only_plays(patch: pytest.MonkeyPatch) -> None:
    """Nothing else goes on from night to night, and all else would take most of the time."""
    for module in (take, stored, files):
        patch.setattr(module, "SOURCES", (PLAYS,))


@given(NIGHTS, st.integers(1, 12), st.sampled_from([1, 3, 8, 50]), st.sampled_from([1, 100_000]), st.integers(0, 3))
@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each history empties the database
)
def test_one_night_after_another_is_what_a_whole_snapshot_would_be(
    db, quick_path, nights, part, batch, stretched, readers
):
    for name in db.list_collection_names():  # much cheaper than a database for each
        db[name].delete_many({})
    db.listening_history.create_index("importedAt")
    with TemporaryDirectory(dir=quick_path) as folder, pytest.MonkeyPatch.context() as patch:
        home = Path(folder)
        world = World(db, home)
        for module in (books, spans):
            patch.setattr(module, "PART_ROWS", part)
        patch.setattr(plays, "STRETCHED_DOCUMENTS", stretched)
        patch.setattr(plays, "WEEK", 7 * MINUTE)
        only_plays(patch)

        def one_more(bound: datetime) -> Snapshot:
            with patch.context() as small:
                small.setattr(books, "BATCH_DOCUMENTS", batch)
                return take_snapshot(db, home, bound, hash_key=KEY, readers=readers)

        one_more(BOUND)
        for minutes, steps in nights:
            bound = world.night(minutes)
            for step, number in steps:
                getattr(world, step)(number)
            one = one_more(bound)
            assert_same(one, take_snapshot(db, home / "whole", bound, hash_key=KEY, whole=True))
            known = [each for each in db.listening_history.find() if not is_later(each, bound, world.erased)]
            assert one.tables["plays"].read == len(known)


def test_the_number_of_threads_changes_no_byte_of_a_snapshot(db, quick_path, monkeypatch):
    world = World(db, quick_path)
    bound = world.night(25)
    for number in range(60):
        getattr(world, STEPS[number % len(STEPS)])(number * 7)
    db.listening_history.insert_many([play(importedAt=BOUND - MINUTE * number) for number in range(300)])
    monkeypatch.setattr(plays, "STRETCHED_DOCUMENTS", 1)
    monkeypatch.setattr(plays, "WEEK", 2 * MINUTE)
    monkeypatch.setattr(books, "BATCH_DOCUMENTS", 11)
    for module in (books, spans):
        monkeypatch.setattr(module, "PART_ROWS", 70)
    kept = []
    for readers in (0, 1, 2, 4):
        home = quick_path / str(readers)
        take_snapshot(db, home, bound, hash_key=KEY, readers=readers)
        kept.append({path.relative_to(home): path.read_bytes() for path in home.rglob("*") if path.is_file()})
    assert len(kept[0]) > 8
    assert kept[0] == kept[1] == kept[2] == kept[3]


def test_the_release_of_many_nights_is_that_of_one_byte_for_byte(db, quick_path):
    world = World(db, quick_path)
    take_snapshot(db, quick_path, BOUND)
    for night in range(6):
        bound = world.night(25)
        for number in range(40):
            getattr(world, STEPS[(night + number) % 8])(number * 7 + night)
        world.change(night)
        one = take_snapshot(db, quick_path, bound)
    whole = take_snapshot(db, quick_path / "whole", bound, whole=True)
    first = build_release(one, quick_path / "a", SMALL, bound)
    second = build_release(whole, quick_path / "b", SMALL, bound)
    assert first.id == second.id
    folders = [release_folder(quick_path / name, first.id) for name in ("a", "b")]
    files = sorted(path.name for path in folders[0].glob("*.parquet"))
    _, different, odd = filecmp.cmpfiles(*folders, files, shallow=False)
    # the lists hold how long they took to make; all else is the same bytes
    assert (different, odd) == (["recommendations.parquet"], [])
    lists = [pq.read_table(folder / "recommendations.parquet").drop_columns("generation_ms") for folder in folders]
    assert lists[0].equals(lists[1])
    measured = {"built_at", "timings", "peak_memory"}
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
    assert len({json.dumps({k: v for k, v in m.items() if k not in measured}) for m in manifests}) == 1


# --- what is read


def test_the_next_night_asks_for_what_is_new(db, quick_path):
    fill(db, days=10)
    first = take_snapshot(db, quick_path, BOUND).tables["plays"]
    assert first.fetched[0] == 200
    tomorrow = BOUND + timedelta(days=1)
    db.listening_history.insert_many([play("late", days=3000, importedAt=BOUND + MINUTE) for _ in range(3)])
    second = take_snapshot(db, quick_path, tomorrow).tables["plays"]
    assert (second.fetched[0], second.used) == (3, 203)
    assert 0 < second.fetched[1] < first.fetched[1] / 20


@pytest.mark.parametrize("document_id", ["play", "oid:play", "int:5", ObjectId(), 5, 5.5, {"a": 1}])
def test_a_play_set_aside_is_judged_again_whatever_its_id(db, quick_path, document_id):
    db.listening_history.create_index("importedAt")
    ahead = {"playedAt": BOUND + timedelta(hours=2)}
    db.listening_history.insert_many([play("ann", _id=document_id, **ahead), play("bob", playDuration=-1)])
    assert take_snapshot(db, quick_path, BOUND).tables["plays"].set_aside == 2
    tomorrow = take_snapshot(db, quick_path, BOUND + timedelta(days=1))
    assert tomorrow.table("plays")["user_id"].to_pylist() == ["ann"]
    db.listening_history.update_one({"userId": "bob"}, {"$unset": {"playDuration": ""}})
    mended = take_snapshot(db, quick_path, BOUND + timedelta(days=2))
    assert_same(mended, take_snapshot(db, quick_path / "whole", BOUND + timedelta(days=2)))
    assert mended.tables["plays"].used == 2


IDS = (1, Int64(2**40), 1.5, True, None, b"x", Binary(b"x", 5), Code("x"), DBRef("a", 1), DatetimeMS(5), {"a": 1})
MORE_IDS = (Decimal128("1"), MaxKey(), MinKey(), Regex("a"), Timestamp(1, 1))


@pytest.mark.parametrize("document_id", [*IDS, *MORE_IDS], ids=repr)
def test_the_text_of_an_id_of_another_type_tells_that_it_is_one(document_id):
    assert re.match(OTHER_ID, id_text(bson.decode(bson.encode({"_id": document_id}), CAREFUL_CODEC)["_id"]))


def test_what_was_set_aside_is_asked_for_by_its_id_alone(db, quick_path):
    fill(db, days=3)
    db.listening_history.insert_many(
        [play("ann", _id=each, playDuration=-1) for each in ("spotify:a:1", "", ObjectId())]
    )
    take_snapshot(db, quick_path, BOUND)
    assert take_snapshot(db, quick_path, BOUND + MINUTE).tables["plays"].fetched[0] == 3


def test_what_came_within_the_safety_lag_is_there_once(db, quick_path):
    at = BOUND - SAFETY_LAG / 2
    db.listening_history.insert_one(play("seen", importedAt=at))
    take_snapshot(db, quick_path, BOUND)
    db.listening_history.insert_one(play("slow", importedAt=at))  # stamped before the reading, written after it
    users = take_snapshot(db, quick_path, BOUND + MINUTE).table("plays")["user_id"].to_pylist()
    assert sorted(users) == ["seen", "slow"]


def test_a_bulk_import_of_one_moment_is_one_span(db, quick_path, monkeypatch):
    monkeypatch.setattr(spans, "PART_ROWS", 20)
    monkeypatch.setattr(books, "BATCH_DOCUMENTS", 10)
    fill(db, days=1, a_day=5)
    at = BOUND - timedelta(hours=3)
    db.listening_history.insert_many([play(f"u{n}", importedAt=at) for n in range(70)])
    found = [s for s in take_snapshot(db, quick_path, BOUND).tables["plays"].spans if s.after < at <= s.until]
    assert len(found) == 1
    assert found[0].documents >= 70
    assert len(found[0].parts) >= 3


def test_many_small_nights_become_few_files(db, quick_path, monkeypatch):
    only_plays(monkeypatch)
    db.listening_history.create_index("importedAt")
    most = 0
    for night in range(40):
        bound = BOUND + timedelta(days=night)
        db.listening_history.insert_many([play(importedAt=bound - timedelta(hours=1)) for _ in range(5)])
        table = take_snapshot(db, quick_path, bound).tables["plays"]
        most = max(most, len(table.parts))
        assert table.fetched[0] == 5
    assert table.used == 200
    assert most <= 8
    files = list((quick_path / "snapshot" / db.name / "plays").iterdir())
    assert len(files) == len(table.parts)


def test_spans_are_joined_only_while_small_and_lose_nothing(monkeypatch):
    monkeypatch.setattr(spans, "PART_ROWS", 100)
    one = timedelta(days=1)

    def span(number: int, documents: int) -> Span:
        part = Part(f"{number}", documents, "0", "")
        return Span(BOUND + number * one, BOUND + (number + 1) * one, documents, 7 * documents, [part])

    def join(parts: list[Part]) -> list[Part]:
        return [Part("+".join(part.name for part in parts), sum(part.rows for part in parts), "0", "")]

    sizes = [90, 4, 3, 3, 40, 60, 50]
    found = joined([span(number, size) for number, size in enumerate(sizes)], join)
    assert [(s.documents, s.dates) for s in found] == [(90, 630), (50, 350), (60, 420), (50, 350)]
    assert [(s.after, s.until) for s in found] == [
        (BOUND, BOUND + one),
        (BOUND + one, BOUND + 5 * one),
        (BOUND + 5 * one, BOUND + 6 * one),
        (BOUND + 6 * one, BOUND + 7 * one),
    ]
    assert sum(part.rows for s in found for part in s.parts) == sum(sizes)


@pytest.mark.parametrize(("documents", "stretches"), [(1000, 1), (10**6, 151), (10**9, 1051)])
def test_a_whole_history_is_cut_finer_the_more_there_is_of_it(documents, stretches):
    bounds = plays._stretches(plays.EARLIEST, BOUND, documents)
    assert (bounds[0], bounds[-1]) == (plays.EARLIEST, BOUND)
    assert len(bounds) == stretches + 1
    assert bounds == sorted(bounds)
