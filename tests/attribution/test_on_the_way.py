"""A play that names its recommendation, from a file to the next night: counted once everywhere, lost nowhere."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bson import ObjectId
from handmade import FIRST, NOW, World, answer, hours_ago, play

from features.schema import names
from features.snapshot.take import take_snapshot
from features.sources.importer import import_table, parse_mapping


@pytest.mark.parametrize("form", ["{id}", "oid:{id}"])
def test_an_imported_play_keeps_what_it_names_and_is_credited_once(world: World, tmp_path: Path, form: str) -> None:
    named = form.format(id=world.id_of(strategy="collaborative"))
    rows = {
        "plays": ("played_at,completion", f"{hours_ago(3).isoformat()},0.9"),
        "feedback": ("created_at,signal", f"{hours_ago(2).isoformat()},like"),
    }
    for kind, (columns, values) in rows.items():
        path = tmp_path / f"{kind}.csv"
        path.write_text(f"user_id,track_id,{columns},recommendation_id\nann,t1,{values},{named}\n")
        for _ in range(2):  # the same file again changes nothing
            import_table(world.db, kind, path, home=world.home, now=NOW, mapping=parse_mapping([]))
    done = world.attribute()
    assert (done.read, done.explicit) == ({"plays": 1, "feedback": 1}, 2)
    assert world.answered() == {(FIRST, "ann", "collaborative"): answer(["t1"], ["t1"], rating=5.0)}


def test_a_snapshot_takes_a_play_alike_whatever_it_names_and_is_not_changed_by_attribution(world: World) -> None:
    context = {"source": "recommendation", "recommendationId": world.id_of()}
    plays = [play("t1", 5), play("t2", 4), play("t3", 3)]
    world.db[names.LISTENING_HISTORY].insert_many(
        [{"_id": ObjectId(), **document, "importedAt": hours_ago(1)} for document in plays]
    )
    plain = take_snapshot(world.db, world.home, NOW)
    rows = plain.table("plays").drop_columns(["source"]).to_pylist()
    world.db[names.LISTENING_HISTORY].update_many({}, {"$set": {"context": context}})
    named = take_snapshot(world.db, world.home, NOW + timedelta(minutes=1), whole=True)
    assert named.tables["plays"].used == 3
    assert named.table("plays").drop_columns(["source"]).to_pylist() == rows
    assert world.attribute().explicit == 3
    for whole in (False, True):
        after = take_snapshot(world.db, world.home, datetime.now(UTC) + timedelta(minutes=2), whole=whole)
        assert after.digest == named.digest
        assert after.counts() == named.counts()
