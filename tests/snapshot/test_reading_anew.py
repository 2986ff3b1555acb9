"""What makes plays be read anew: damage, removals, an earlier bound, other code, a person erased; and what does not."""

import base64
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from documents import BOUND, account, play
from nights import KEY, MINUTE, Killed, assert_same, fill, killed
from pymongo.collection import Collection
from pymongo.database import Database

from features.erasure import files
from features.erasure.erase import erase
from features.erasure.tombstones import write_tombstone
from features.erasure.traces import find_traces
from features.errors import StorageError
from features.snapshot import books, conditions, plays, spans
from features.snapshot.books import Books
from features.snapshot.stored import Snapshot, open_snapshot
from features.snapshot.take import take_snapshot


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


def test_other_code_that_reads_plays_makes_the_next_snapshot_a_whole_one(db, quick_path, monkeypatch):
    fill(db, days=3)
    take_snapshot(db, quick_path, BOUND)
    monkeypatch.setattr(conditions, "_hash_of_code", lambda: "another")
    after = take_snapshot(db, quick_path, BOUND + MINUTE)
    assert after.notes == ("the code that reads plays has changed since the last snapshot: all are read anew",)
    assert after.tables["plays"].fetched[0] == 60


def test_a_bound_before_the_last_one_is_a_snapshot_of_that_moment(db, quick_path, monkeypatch):
    for module in (books, spans):
        monkeypatch.setattr(module, "PART_ROWS", 20)
    fill(db, days=5)
    # by the clock of who imported it, played after the import; known to be wrong only by an earlier bound
    db.listening_history.insert_one(play("ahead", importedAt=BOUND - timedelta(days=5), days=0.5))
    assert "ahead" in take_snapshot(db, quick_path, BOUND).table("plays")["user_id"].to_pylist()
    earlier = BOUND - timedelta(days=1)
    one = take_snapshot(db, quick_path, earlier)
    assert one.notes == ("the last snapshot was of a later moment, 2026-03-01 03:00: all plays are read anew",)
    assert_same(one, take_snapshot(db, quick_path / "whole", earlier))


# --- what is found changed


def test_removed_plays_are_noticed_and_a_line_says_so(db, quick_path):
    fill(db, days=3)
    take_snapshot(db, quick_path, BOUND)
    db.listening_history.delete_many({"userId": "user-3"})
    snapshot = take_snapshot(db, quick_path, BOUND + MINUTE)
    assert "user-3" not in snapshot.table("plays")["user_id"].to_pylist()
    [note] = snapshot.notes
    assert note.startswith("of the 60 plays imported up to 2026-03-01 02:50 there are ")
    assert note.endswith(" fewer now: they are read anew")
    assert take_snapshot(db, quick_path, BOUND + 2 * MINUTE).notes == ()


def test_as_many_plays_removed_as_a_slow_import_adds_are_noticed(db, quick_path):
    fill(db, days=3)
    take_snapshot(db, quick_path, BOUND)
    db.listening_history.delete_one({"userId": "user-3"})
    db.listening_history.insert_one(play("slow", importedAt=BOUND - timedelta(hours=2)))
    one = take_snapshot(db, quick_path, BOUND + MINUTE)
    assert one.notes == ("of the 60 plays imported up to 2026-03-01 02:50 there are others now: they are read anew",)
    assert_same(one, take_snapshot(db, quick_path / "whole", BOUND + MINUTE))


def test_only_the_span_that_changed_is_read_again(db, quick_path, monkeypatch):
    monkeypatch.setattr(spans, "PART_ROWS", 50)
    monkeypatch.setattr(books, "BATCH_DOCUMENTS", 10)
    monkeypatch.setattr(plays, "ASKED_FOR", 0)  # found by the number of all
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


def test_a_play_mended_and_moved_is_there_once_even_where_its_old_place_looks_unchanged(db, quick_path, monkeypatch):
    monkeypatch.setattr(plays, "ASKED_FOR", 0)
    fill(db, days=3)
    db.listening_history.insert_one(play("ann", playDuration=-1))
    take_snapshot(db, quick_path, BOUND)
    db.listening_history.update_one({"userId": "ann"}, {"$set": {"playDuration": 1, "importedAt": BOUND + MINUTE}})
    db.listening_history.insert_one(play("slow"))
    users = take_snapshot(db, quick_path, BOUND + timedelta(hours=1)).table("plays")["user_id"].to_pylist()
    assert users.count("ann") == 1


def test_an_import_at_work_is_no_reason_to_look_at_old_spans(db, quick_path, monkeypatch):
    monkeypatch.setattr(spans, "PART_ROWS", 50)
    monkeypatch.setattr(books, "BATCH_DOCUMENTS", 10)
    monkeypatch.setattr(plays, "ASKED_FOR", 0)
    fill(db, days=10)
    take_snapshot(db, quick_path, BOUND)
    number_of_all, asked = Collection.estimated_document_count, []

    def while_plays_come(collection: Collection) -> int:
        collection.insert_one(play("now", importedAt=BOUND + timedelta(hours=2)))
        number = number_of_all(collection)
        collection.insert_one(play("now", importedAt=BOUND + timedelta(hours=2)))
        return number

    monkeypatch.setattr(Collection, "estimated_document_count", while_plays_come)
    monkeypatch.setattr(plays, "_state", lambda _books, span: asked.append(span) or (0, 0))
    assert take_snapshot(db, quick_path, BOUND + timedelta(hours=1)).notes == ()
    assert asked == []


def test_plays_that_come_and_go_while_a_snapshot_reads_are_there_once_and_right_the_night_after(
    db, quick_path, monkeypatch
):
    monkeypatch.setattr(books, "BATCH_DOCUMENTS", 10)
    fill(db, days=5)
    history = db.listening_history

    def meanwhile(what: str, done: int, _total: int | None) -> None:
        if what == "reading listening_history":
            dates = [BOUND + MINUTE, BOUND - MINUTE, BOUND - timedelta(days=2), None]
            history.insert_one(play("slow", importedAt=dates[done // 10 % 4]))
            history.delete_one({"userId": f"user-{done % 7}"})

    for night in range(2):
        bound = BOUND + night * timedelta(hours=1)
        ids = take_snapshot(db, quick_path, bound, meanwhile).table("plays")["document_id"].to_pylist()
        assert len(ids) == len(set(ids))
        assert len(ids) > 50
    bound = BOUND + timedelta(hours=2)
    assert_same(take_snapshot(db, quick_path, bound), take_snapshot(db, quick_path / "whole", bound))


# --- what stands in the place of an import date

INSTEAD_OF_A_DATE: tuple[Any, ...] = (
    *(None, True, 1, Int64(5), 1.5, float("nan"), Decimal128("5"), "now", b"x", Binary(b"x", 5), {"a": 1}),
    *(MinKey(), MaxKey(), Timestamp(1767311999, 1), Regex("a"), Code("x"), ObjectId()),
    *(DatetimeMS(ms) for ms in (2**63 - 1, -(2**63), -62135596800001, -62135596800000, -62135596799999, -1, 0)),
)
LISTS: tuple[Any, ...] = (
    *([], ["x"], ["x", BOUND - timedelta(days=1)], [BOUND - timedelta(days=2)]),
    [BOUND - timedelta(days=3), BOUND + timedelta(days=9)],  # on either side of everything else
    [BOUND - timedelta(days=3), BOUND - MINUTE],  # settled, and not
)


def test_a_late_play_in_a_newest_span_is_no_reason_to_look_elsewhere(db, quick_path, monkeypatch):
    monkeypatch.setattr(spans, "PART_ROWS", 50)
    monkeypatch.setattr(books, "BATCH_DOCUMENTS", 10)
    monkeypatch.setattr(plays, "ASKED_FOR", 60)
    fill(db, days=10)
    first = take_snapshot(db, quick_path, BOUND).tables["plays"]
    assert len(first.spans) >= 4
    db.listening_history.insert_one(play("late", importedAt=BOUND - timedelta(minutes=30)))
    asked: list[Any] = []
    read, state = Books.write_all, plays._state
    monkeypatch.setattr(Books, "write_all", lambda *of: asked.append(of[1].get("importedAt")) or read(*of))
    monkeypatch.setattr(plays, "_state", lambda *of: asked.append(of[1].until) or state(*of))
    second = take_snapshot(db, quick_path, BOUND + MINUTE)
    assert (second.tables["plays"].used, len(second.notes)) == (201, 1)
    assert first.spans[0].until not in asked
    assert not any(isinstance(each, dict) and "$not" in each for each in asked)


def test_something_else_for_an_import_date_is_looked_for_where_numbers_do_not_add_up(db, quick_path, monkeypatch):
    monkeypatch.setattr(plays, "ASKED_FOR", 0)
    fill(db, days=3)
    asked: list[Any] = []
    read = Books.write_all
    monkeypatch.setattr(Books, "write_all", lambda *of: asked.append(of[1].get("importedAt")) or read(*of))

    def night(number: int) -> tuple[bool, int]:
        """Whether it was looked for, and how many documents were read."""
        asked.clear()
        count = take_snapshot(db, quick_path, BOUND + number * MINUTE).tables["plays"].read
        return any(isinstance(each, dict) and "$not" in each for each in asked), count

    assert night(0) == (True, 60)  # the first reads all
    assert night(1) == (False, 60)
    db.listening_history.insert_one(play("ann", importedAt=None))
    assert night(2) == (False, 61)
    db.listening_history.insert_one(play("ann", importedAt="yesterday"))
    assert night(3) == night(4) == (True, 62)
    db.listening_history.delete_one({"importedAt": {"$type": "date"}})
    assert night(5) == (True, 61)
    db.listening_history.delete_one({"importedAt": "yesterday"})
    assert night(6) == (True, 60)  # there were some the last time
    assert night(7) == (False, 60)


@pytest.mark.parametrize("part", [2, 1000])
@pytest.mark.parametrize("values", [INSTEAD_OF_A_DATE, LISTS], ids=["one", "several"])
def test_whatever_is_in_the_place_of_an_import_date_is_counted_once(db, quick_path, monkeypatch, values, part):
    for module in (books, spans):
        monkeypatch.setattr(module, "PART_ROWS", part)
    monkeypatch.setattr(books, "BATCH_DOCUMENTS", 5)
    fill(db, days=3, a_day=3)
    ids: list[Any] = [f"p{number}" if number % 2 else number for number in range(len(values))]
    db.listening_history.insert_many(
        [{"_id": each, **play("ann", importedAt=value)} for each, value in zip(ids, values, strict=True)]
    )
    for night in range(3):
        bound = BOUND + night * 7 * MINUTE
        one = take_snapshot(db, quick_path, bound)
        assert_same(one, take_snapshot(db, quick_path / "whole", bound, whole=True))
        assert one.tables["plays"].read == db.listening_history.count_documents({})
        listed = "there are plays with a list of import dates: all are read anew each time until that is mended"
        assert one.notes == ((listed,) if values is LISTS else ())
        db.listening_history.insert_one(play("new", importedAt=bound))


def test_a_list_of_dates_in_a_bulk_import_is_counted_once(db, quick_path, monkeypatch):
    monkeypatch.setattr(spans, "PART_ROWS", 2)
    at = BOUND - timedelta(days=1)
    db.listening_history.insert_many([play("ann", importedAt=value) for value in (at, at, [at], at)])
    table = take_snapshot(db, quick_path, BOUND).tables["plays"]
    assert (table.used, table.reasons) == (3, {"importedAt is of type array": 1})


def test_a_bulk_import_of_broken_plays_makes_no_empty_files(db, quick_path, monkeypatch):
    monkeypatch.setattr(spans, "PART_ROWS", 10)
    monkeypatch.setattr(books, "BATCH_DOCUMENTS", 5)
    db.listening_history.insert_many([play("late", playDuration=-1) for _ in range(60)] + [play("late")])
    assert [part.rows for part in take_snapshot(db, quick_path, BOUND).tables["plays"].files] == [1]


# --- who is erased in between


@pytest.fixture
def known(db: Database, quick_path: Path) -> Snapshot:
    """Sixty plays of seven listeners; of "user-3" also one that is set aside, feedback and an account."""
    fill(db, days=3)
    db.listening_history.insert_one(play("user-3", playDuration=-1))
    db.user_feedback.insert_one({"userId": "user-3", "trackId": "t", "signal": "like", "createdAt": BOUND})
    db.users.insert_one(account("user-3"))
    return take_snapshot(db, quick_path, BOUND)


def erased(database: Database, home: Path) -> None:
    erase(database, home, KEY, "user-3", BOUND)


def assert_next_is_whole(database: Database, home: Path) -> Snapshot:
    bound = BOUND + MINUTE
    one = take_snapshot(database, home, bound, hash_key=KEY)
    assert_same(one, take_snapshot(database, home / "whole", bound, hash_key=KEY, whole=True))
    assert "user-3" not in one.table("plays")["user_id"].to_pylist()
    return one


def test_an_erasure_between_two_nights_costs_the_second_nothing(db, quick_path, known):
    erased(db, quick_path)
    one = assert_next_is_whole(db, quick_path)
    assert one.notes == ()
    assert one.tables["plays"].fetched[0] == 0
    assert known.tables["plays"].fetched[0] == 61


def test_an_erasure_writes_over_nothing_that_a_manifest_names(db, quick_path, known, monkeypatch):
    monkeypatch.setattr(files, "write_manifest", killed)
    with pytest.raises(Killed):
        erased(db, quick_path)
    assert open_snapshot(quick_path, db.name) == known
    assert known.table("plays").num_rows == 60


@pytest.mark.parametrize("after", [0, 1, 4, 5])
@pytest.mark.parametrize("again", [True, False], ids=["erased again", "a night first"])
def test_an_erasure_killed_at_any_write_is_made_good(db, quick_path, known, monkeypatch, after, again):
    left = [after]

    def until_killed(original: Callable[..., object]) -> Callable[..., object]:
        def write(*arguments: object) -> object:
            left[0] -= 1
            return killed() if left[0] < 0 else original(*arguments)

        return write

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_part", until_killed(files.write_part))
        patch.setattr(files, "write_manifest", until_killed(files.write_manifest))
        patch.setattr(files, "remove_strays", until_killed(files.remove_strays))
        with pytest.raises(Killed):
            erased(db, quick_path)
    if again:
        erased(db, quick_path)
        assert find_traces(db, quick_path, "user-3") == []
    assert_next_is_whole(db, quick_path)
    assert [trace for trace in find_traces(db, quick_path, "user-3") if "snapshot" in trace.where] == []


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"not Parquet")], ids=["gone", "junk"])
@pytest.mark.parametrize("which", ["span", "apart"])
def test_an_erasure_that_meets_a_damaged_part_leaves_it_to_the_next_night(db, quick_path, known, which, harm):
    table = known.tables["plays"]
    part = table.apart if which == "apart" else table.spans[0].parts[0]
    harm(known.folder / part.name)
    erased(db, quick_path)
    assert not (known.folder / part.name).exists()
    assert f"snapshot file {part.name} is gone" in assert_next_is_whole(db, quick_path).notes[0]


def test_whether_a_damaged_part_knows_someone_is_one_clear_error(db, quick_path, known):
    first_part(known).write_bytes(b"not Parquet")
    with pytest.raises(StorageError, match="remove it if it is damaged, then erase again") as error:
        erase(db, quick_path, KEY, "nobody", BOUND)
    assert "\n" not in str(error.value)


def test_an_erasure_vouches_for_no_other_rows_than_those_that_were_read(db, quick_path, known):
    path = first_part(known)
    rows = pq.read_table(path)
    others = pa.array([f"track-{n}" for n in range(rows.num_rows)])
    pq.write_table(rows.set_column(rows.column_names.index("track_id"), "track_id", others), path)
    erased(db, quick_path)
    assert_next_is_whole(db, quick_path)


@pytest.mark.usefixtures("known")
def test_who_was_erased_on_another_machine_is_looked_for_once(db, quick_path, monkeypatch):
    write_tombstone(db, base64.b64decode(KEY.get_secret_value()), "user-3", BOUND)
    assert_next_is_whole(db, quick_path)
    monkeypatch.setattr(plays, "_holds", lambda _books, _part, erased: bool(erased.hashes) and killed())
    snapshot = take_snapshot(db, quick_path, BOUND + 2 * MINUTE, hash_key=KEY)
    assert "user-3" not in snapshot.table("plays")["user_id"].to_pylist()


def test_a_snapshot_is_opened_as_it_was_taken(db, quick_path):
    fill(db, days=3)
    db.listening_history.update_one({}, {"$set": {"playDuration": -1}})
    taken = take_snapshot(db, quick_path, BOUND)
    assert open_snapshot(quick_path, db.name) == taken
