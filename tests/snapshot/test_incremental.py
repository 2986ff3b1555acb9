"""One snapshot after another is what one whole snapshot would be, whatever has happened in between; and costs less."""

import filecmp
import json
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bson import ObjectId
from documents import BOUND, SMALL, TWIN, account, fill_small_world, play, said, song
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pymongo.database import Database

from features.release.build import build_release
from features.release.manifest import release_folder
from features.snapshot import books, spans
from features.snapshot.spans import joined
from features.snapshot.stored import Part, Snapshot, Span, open_snapshot
from features.snapshot.take import SAFETY_LAG, take_snapshot

USERS = ["ann", "bob", TWIN, "cat"]
MINUTE = timedelta(minutes=1)


def rows(snapshot: Snapshot, name: str) -> Counter[str]:
    return Counter(map(repr, zip(*(c.to_pylist() if not pa.types.is_timestamp(c.type) else c.cast(pa.int64()).to_pylist() for c in snapshot.table(name).columns), strict=True)))


def aside(snapshot: Snapshot, name: str) -> Counter[tuple[str, str]]:
    path = snapshot.folder / snapshot.set_aside_name(name)
    found = pq.read_table(path, columns=["document_id", "reason"]).to_pylist() if path.exists() else []
    return Counter((row["document_id"], row["reason"]) for row in found)


def assert_same(one: Snapshot, other: Snapshot) -> None:
    """The same to everyone who reads it: rows, what was set aside and why, totals, digest."""
    for name, table in one.tables.items():
        whole = other.tables[name]
        assert rows(one, name) == rows(other, name), name
        assert aside(one, name) == aside(other, name), name
        assert (table.read, table.used, table.set_aside) == (whole.read, whole.used, whole.set_aside), name
        assert list(table.reasons.items()) == list(whole.reasons.items()), name
        assert table.digest == whole.digest, name
    assert one.digest == other.digest


# --- random histories

BROKEN: tuple[dict[str, Any], ...] = (
    {"playDuration": -1},
    {"playedAt": "yesterday"},
    {"userId": None},
    {"audioFeatures": {"energy": 7}},
    {"importedAt": "now"},
)


class World:
    """A database in which things happen, night after night; every step is one number drawn by chance."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = BOUND
        self.count = 0
        fill_small_world(database)

    def night(self, minutes: int) -> datetime:
        self.last, self.now = self.now, self.now + timedelta(minutes=minutes)
        return self.now

    def add(self, number: int, **more: Any) -> None:
        """A play that came since the last night, or within the safety lag before it; old or new, of anyone."""
        self.count += 1
        at = min(self.now, self.last - SAFETY_LAG + number % 17 * MINUTE + MINUTE)
        document = play(USERS[number % 4], f"track-{number % 16:02d}", days=number % 400, **{"importedAt": at} | more)
        ids: list[Any] = [f"play-{self.count}", ObjectId(f"{self.count:024x}"), self.count]
        self.database.listening_history.insert_one({"_id": ids[number % 3], **document})

    def broken(self, number: int) -> None:
        self.add(number, **BROKEN[number % len(BROKEN)])

    def ahead(self, number: int) -> None:
        """Played in the future: true some nights later."""
        self.add(number, playedAt=self.now + (number % 50) * MINUTE)

    def undated(self, number: int) -> None:
        self.add(number, importedAt=None)

    def far(self, number: int) -> None:
        self.add(number, importedAt=self.now + timedelta(hours=number % 60))

    def remove(self, number: int) -> None:
        found = list(self.database.listening_history.find({}, {"_id": 1}).sort("_id", 1))
        if found:
            self.database.listening_history.delete_one(found[number % len(found)])

    def leave(self, number: int) -> None:
        """A listener goes, with all that was theirs."""
        for name in ("listening_history", "user_feedback", "users", "user_settings"):
            self.database[name].delete_many({"userId": USERS[number % 4]})

    def mend(self, _number: int) -> None:
        self.database.listening_history.update_many({"playDuration": -1}, {"$unset": {"playDuration": ""}})

    def change(self, number: int) -> None:
        """What may change in place: tracks, settings, feedback, accounts."""
        self.database.tracks.update_one({}, {"$set": {"popularity": number % 120}})
        self.database.tracks.delete_one({"spotifyId": f"track-{number % 16:02d}"})
        self.database.tracks.insert_one(song(20 + number))
        self.database.user_settings.update_one(
            {"userId": "ann"}, {"$set": {"preferences.music.energy": number % 12 / 10}}, upsert=True
        )
        self.database.user_feedback.update_one({}, {"$set": {"strength": 1 + number % 6}})
        self.database.user_feedback.insert_one(said("cat", f"track-{number % 16:02d}"))
        if number % 2:
            self.database.user_feedback.delete_one({})
        self.database.users.insert_one(account(f"new-{self.count}-{number}"))


STEPS = ("add", "add", "add", "broken", "ahead", "undated", "far", "remove", "leave", "mend", "change")
NIGHTS = st.lists(
    st.tuples(
        st.integers(1, 60),
        st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 10_000)), max_size=12),
    ),
    min_size=2,
    max_size=5,
)


@given(NIGHTS, st.integers(1, 12), st.sampled_from([1, 3, 8, 50]))
@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes minutes
    suppress_health_check=[
        HealthCheck.function_scoped_fixture
    ],  # each history begins with an empty database and folder
)
def test_one_night_after_another_is_what_a_whole_snapshot_would_be(db, quick_path, nights, part, batch):
    for name in db.list_collection_names():  # much cheaper than a database for each
        db[name].delete_many({})
    db.listening_history.create_index("importedAt")
    world = World(db)
    with TemporaryDirectory(dir=quick_path) as folder, pytest.MonkeyPatch.context() as patch:
        home = Path(folder)
        for module in (books, spans):
            patch.setattr(module, "PART_ROWS", part)

        def one_more(bound: datetime) -> Snapshot:
            with patch.context() as small:
                small.setattr(books, "BATCH_DOCUMENTS", batch)
                return take_snapshot(db, home / "one", bound)

        one_more(BOUND)
        for minutes, steps in nights:
            bound = world.night(minutes)
            for step, number in steps:
                getattr(world, step)(number)
            one = one_more(bound)
            assert_same(one, take_snapshot(db, home / "whole", bound, whole=True))
            assert one.tables["plays"].read == db.listening_history.count_documents({}) - later(db, bound)


def later(database: Database, bound: datetime) -> int:
    """Plays that a snapshot leaves for the next, by the plain meaning of it."""
    count = 0
    for document in database.listening_history.find():
        imported, fault = document.get("importedAt"), isinstance(document["playedAt"], str) or not document["userId"]
        if isinstance(imported, datetime):
            count += bound < imported <= bound + timedelta(days=1)
        elif imported is None and not fault and document.get("playDuration", 1) > 0:
            count += bound < document["playedAt"] <= bound + timedelta(minutes=5)
    return count


def test_the_release_of_many_nights_is_that_of_one_byte_for_byte(db, quick_path):
    world = World(db)
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
    measured = {"built_at", "timings"}
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
    assert len({json.dumps({k: v for k, v in m.items() if k not in measured}) for m in manifests}) == 1


# --- what is read


def fill(database: Database, days: int, a_day: int = 20) -> None:
    """Plays that were imported day by day up to yesterday."""
    database.listening_history.create_index("importedAt")
    database.listening_history.insert_many(
        play(f"user-{n % 7}", f"track-{n % 5}", importedAt=BOUND - timedelta(days=1 + day, minutes=n))
        for day in range(days)
        for n in range(a_day)
    )


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


def test_what_came_within_the_safety_lag_is_there_once(db, quick_path):
    at = BOUND - SAFETY_LAG / 2
    db.listening_history.insert_one(play("seen", importedAt=at))
    take_snapshot(db, quick_path, BOUND)
    db.listening_history.insert_one(play("slow", importedAt=at))  # stamped before the reading, written after it
    users = take_snapshot(db, quick_path, BOUND + MINUTE).table("plays")["user_id"].to_pylist()
    assert sorted(users) == ["seen", "slow"]


def test_removed_plays_are_noticed_by_their_number_and_a_line_says_so(db, quick_path):
    fill(db, days=3)
    take_snapshot(db, quick_path, BOUND)
    db.listening_history.delete_many({"userId": "user-3"})
    snapshot = take_snapshot(db, quick_path, BOUND + MINUTE)
    assert "user-3" not in snapshot.table("plays")["user_id"].to_pylist()
    [note] = snapshot.notes
    assert note.startswith("of the 60 plays imported up to 2026-03-01 02:50 there are ")
    assert note.endswith(" fewer now: they are read anew")
    assert take_snapshot(db, quick_path, BOUND + 2 * MINUTE).notes == ()


def test_only_the_span_whose_number_changed_is_read_again(db, quick_path, monkeypatch):
    monkeypatch.setattr(spans, "PART_ROWS", 50)
    monkeypatch.setattr(books, "BATCH_DOCUMENTS", 10)
    fill(db, days=10)
    first = take_snapshot(db, quick_path, BOUND).tables["plays"]
    assert len(first.spans) >= 4
    db.listening_history.insert_one(play("very-late", importedAt=BOUND - timedelta(days=5)))
    second = take_snapshot(db, quick_path, BOUND + MINUTE).tables["plays"]
    assert second.used == 201
    assert second.fetched[0] <= 61


def test_a_play_whose_import_date_is_moved_is_there_once(db, quick_path):
    fill(db, days=3)
    take_snapshot(db, quick_path, BOUND)
    moved = db.listening_history.find_one_and_update({}, {"$set": {"importedAt": BOUND}})
    ids = take_snapshot(db, quick_path, BOUND + MINUTE).table("plays")["document_id"].to_pylist()
    assert len(ids) == len(set(ids)) == 60
    assert f"oid:{moved['_id']}" in ids


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


def test_many_small_nights_become_few_files(db, quick_path):
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


# --- what is damaged


def first_part(snapshot: Snapshot) -> Path:
    return snapshot.folder / snapshot.tables["plays"].spans[0].parts[0].name


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda s: first_part(s).unlink(), "snapshot file plays/000001-0000.parquet is gone: the 60 plays"),
        (lambda s: first_part(s).write_bytes(b"not Parquet"), "plays/000001-0000.parquet is damaged: the 60 plays"),
        (lambda s: (s.folder / "manifest.json").write_text("{"), "manifest.json can't be read"),
        (lambda s: (s.folder / s.tables["plays"].apart.name).unlink(), "is gone: all plays are read anew"),
    ],
)
def test_a_damaged_snapshot_is_mended_and_a_line_says_so(db, quick_path, harm: Callable[[Snapshot], object], said: str):
    fill(db, days=3)
    db.listening_history.update_one({}, {"$set": {"playDuration": -1}})
    harm(take_snapshot(db, quick_path, BOUND))
    mended = take_snapshot(db, quick_path, BOUND + MINUTE)
    assert any(said in note for note in mended.notes), mended.notes
    assert_same(mended, take_snapshot(db, quick_path / "whole", BOUND + MINUTE))
    assert take_snapshot(db, quick_path, BOUND + 2 * MINUTE).notes == ()


def test_one_flipped_byte_is_noticed(db, quick_path):
    fill(db, days=3)
    path = first_part(take_snapshot(db, quick_path, BOUND))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    mended = take_snapshot(db, quick_path, BOUND + MINUTE)
    assert "is damaged" in mended.notes[0]
    assert_same(mended, take_snapshot(db, quick_path / "whole", BOUND + MINUTE))


def test_a_lost_snapshot_is_taken_anew(db, quick_path):
    fill(db, days=3)
    taken = take_snapshot(db, quick_path, BOUND)
    shutil.rmtree(taken.folder)
    assert_same(take_snapshot(db, quick_path, BOUND), take_snapshot(db, quick_path / "whole", BOUND))


def test_a_migration_that_ran_since_makes_the_next_snapshot_a_whole_one(db, quick_path):
    fill(db, days=3)
    db.listening_history.update_many({}, {"$set": {"playedPercentage": 50}})
    take_snapshot(db, quick_path, BOUND)
    db.listening_history.update_many({}, {"$set": {"completionRate": 0.5}})
    db.releases.insert_one({"_id": "migration:completion", "startedAt": BOUND, "finishedAt": BOUND})
    after = take_snapshot(db, quick_path, BOUND + MINUTE)
    assert after.notes == ("a migration has run since the last snapshot: all plays are read anew",)
    assert after.tables["plays"].fetched[0] == 60
    assert take_snapshot(db, quick_path, BOUND + 2 * MINUTE).tables["plays"].fetched[0] == 0


def test_a_bound_before_the_last_one_is_a_snapshot_of_that_moment(db, quick_path):
    fill(db, days=5)
    take_snapshot(db, quick_path, BOUND)
    earlier = BOUND - timedelta(days=2)
    assert_same(take_snapshot(db, quick_path, earlier), take_snapshot(db, quick_path / "whole", earlier))


def test_a_snapshot_is_opened_as_it_was_taken(db, quick_path):
    fill(db, days=3)
    db.listening_history.update_one({}, {"$set": {"playDuration": -1}})
    taken = take_snapshot(db, quick_path, BOUND)
    assert open_snapshot(quick_path, db.name) == taken
